#!/bin/sh
# Run once, as root, by cloud-init on the first start of a temporary process server. FARSHORE_ROOT, FARSHORE_LISTEN and
# FARSHORE_ADDRESS are for a lab, which runs it beside others on one host: then the process server is this process.
set -eu
umask 022
root=${FARSHORE_ROOT:-}
program=$root/usr/bin/farshore-dataplane
state=$root/var/lib/farshore/process-server
config=$root/etc/farshore/process-server.yaml
mkdir -p "${program%/*}" "$state" "${config%/*}" "$root/var/cache/farshore/process-server"
chmod 700 "$state" "$root/var/cache/farshore/process-server"

# Python is what cloud-init itself runs on.
python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(sys.argv[1], sys.argv[2])' @PROGRAM@ "$program"
echo @SHA256@"  $program" | sha256sum -c -
chmod 755 "$program"

# The cache has @CACHE@ bytes, or half of what is free if that is less.
half=$(($(df --output=avail -B1 "$root/var/cache/farshore/process-server" | tail -n 1) / 2))
bytes=$((half < @CACHE@ ? half : @CACHE@))

sed -e "s|^  bytes: .*|  bytes: $bytes|" -e "s|@LISTEN@|${FARSHORE_LISTEN:-0.0.0.0:9443}|" -e "s|@ADDRESS@|${FARSHORE_ADDRESS:-@OWN@:9443}|" -e "s|@ROOT@|$root|" >"$config" <<'END'
@CONFIG@
END
"$program" join --control @CONTROL@ --token @TOKEN@ --ca-pin @PIN@ --role process-server --name @NAME@ --state "$state"

if [ -n "$root" ]; then
	printf 'exec "%s" process-server --config "%s"\n' "$program" "$config" >"$root/start"
	exec "$program" process-server --config "$config"
fi
cat >/etc/systemd/system/farshore-process-server.service <<'END'
[Unit]
Description=Farshore temporary process server
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart=/usr/bin/farshore-dataplane process-server --config /etc/farshore/process-server.yaml
Restart=always
RestartSec=5
TimeoutStartSec=infinity
StateDirectory=farshore/process-server
CacheDirectory=farshore/process-server
UMask=0077
LimitNOFILE=16384
LimitCORE=0
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now farshore-process-server.service
