#!/bin/bash
# Runs every fuzz target for so much CPU time, one after the other, and prints a line for each: FUZZ=10m tests/fuzz.sh.
# ONLY is a regular expression of package/target. Inputs that break something are left under the package's testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds() { # of 90, 90s, 10m or 2h
	case $1 in
	*h) echo $((${1%h} * 3600)) ;;
	*m) echo $((${1%m} * 60)) ;;
	*) echo "${1%s}" ;;
	esac
}

budget=$(seconds "${FUZZ:-10m}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
ran=0 broken=0

# Each input that goes a new way is made smaller for a second at most: for a minute, as go does by itself, nothing else is tried.
fuzz() { # package target
	local used=0 execs=0 new=0 status=ok cpu TIMEFORMAT='%U %S'
	go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime 1x -parallel 1 >"$log" 2>&1 || true # builds it
	while ((used < budget)) && [[ $status == ok ]]; do
		cpu=$({ time go test "./$1" -run '^$' -fuzz "^$2\$" -fuzztime "$((budget - used))s" -fuzzminimizetime 1s -parallel 1 >"$log" 2>&1; } 2>&1) || status=FAILED
		used=$((used + $(awk '{ printf "%d", $1 + $2 + 1 }' <<<"$cpu")))
		execs=$((execs + $(grep -oE 'execs: [0-9]+' "$log" | tail -1 | grep -oE '[0-9]+' || echo 0)))
		new=$((new + $(grep -oE 'new interesting: [0-9]+' "$log" | tail -1 | grep -oE '[0-9]+' || echo 0)))
	done
	printf '%-7s %-38s %-30s %5d CPU s %12d inputs %6d new paths\n' "$status" "$1" "$2" "$used" "$execs" "$new"
	ran=$((ran + 1))
	if [[ $status == FAILED ]]; then
		broken=$((broken + 1))
		sed 's/^/    /' "$log" | tail -40
	fi
}

for package in $(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sed 's|^\./||' | sort -u); do
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$package"/*_test.go | cut -d' ' -f2); do # go test -list would build them all
		if [[ $package/$target =~ ${ONLY:-.} ]]; then
			fuzz "$package" "$target"
		fi
	done
done
echo "$ran targets, $broken found something"
((broken == 0))
