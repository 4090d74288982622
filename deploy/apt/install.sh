#!/bin/sh
# Installs what packages.txt names and this machine lacks. Run it as root:
#
#   sudo deploy/apt/install.sh          install what is missing
#   deploy/apt/install.sh --check       only say what is missing (exit code 1 if anything is)
set -eu

here=$(dirname "$0")
list=$(sed 's/#.*//' "$here/packages.txt")

# A program may be there from another source than Debian's package (node and npm come in one package from NodeSource).
provided() {
	case $1 in
	nodejs) command -v node ;;
	npm) command -v npm ;;
	*) return 1 ;;
	esac >/dev/null
}

installed() {
	status=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) || return 1
	[ "$status" = installed ]
}

missing=
for package in $list; do
	installed "$package" || provided "$package" || missing="$missing $package"
done

if [ -z "$missing" ]; then
	echo "Everything that packages.txt names is installed."
	exit 0
fi
echo "Missing:$missing"
[ "${1:-}" = --check ] && exit 1

install="apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" -ne 0 ]; then
	echo "Installing needs root. Run: sudo sh -c 'apt-get update && $install'" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "+ apt-get update"
apt-get update
echo "+ $install"
# Word splitting is wanted: one argument per package.
# shellcheck disable=SC2086
apt-get install --yes --no-install-recommends $missing
