#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# GNU Mach, a Multiboot kernel with segments that do not start at 0, reaches the point where it asks
# for its bootstrap modules.
#
#   boot_mach.sh [--engine bt|interp] [--image gnumach|gnumach.gz] [--memory 128M] [--seconds 120]
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/vm.sh"

engine=bt image=gnumach memory=128M seconds=120
while [ $# -gt 0 ]; do
    case $1 in
    --engine) engine=$2 ;;
    --image) image=$2 ;;
    --memory) memory=$2 ;;
    --seconds) seconds=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
need_guest "gnumach/$image"
need_vm
name=boot-$image-$engine log=$LOGS/boot-$image-$engine.log
wanted='bootstrap_create: No bootstrap code loaded'
mkdir -p "$LOGS"
: >"$log"
start=$(now_ms)
# The kernel then waits for ever, so the run is ended once it has asked.
run_vm "$log" "$seconds" --engine "$engine" --kernel "$GUESTS/gnumach/$image" --append "console=com0" --memory "$memory" &
runner=$!
if await_or_end "$log" "$seconds" "$wanted" $runner; then
    took=$(($(now_ms) - start))
    stop_tree $runner
    grep -q -a '^GNU Mach' "$log" || fail "$name: no banner in $log"
    pass "$name: in $took ms"
fi
stop_tree $runner
say "it never said: $wanted; the end of its serial output ($log):"
tail -n 15 "$log" | tr -d '\r' | cat -v | cut -c1-160 | sed 's/^/  | /'
tail -n 25 "$log.err" | cut -c1-160 | sed 's/^/  ! /'
fail "$name"
