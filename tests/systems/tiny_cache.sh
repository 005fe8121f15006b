#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The kernel boots with a code cache so small that it is flushed hundreds of times.
#
#   tiny_cache.sh [--kernel 686] [--size 512K] [--flushes 200]
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/vm.sh"

kernel=686 size=512K flushes=200
while [ $# -gt 0 ]; do
    case $1 in
    --kernel) kernel=$2 ;;
    --size) size=$2 ;;
    --flushes) flushes=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
report=$LOGS/tiny-cache-$kernel.json
mkdir -p "$LOGS"
rm -f "$report"
"$TOP/tests/systems/boot_linux.sh" --kernel "$kernel" --seconds 200 --name "boot-$kernel-tiny-cache" -- --cache-size "$size" --stats-json "$report"
status=$?
[ $status = 0 ] || exit $status
[ "$VM" = qemu ] && pass "tiny-cache: not counted under qemu"
got=$(stat_value "$report" flushes)
[ "${got:-0}" -ge "$flushes" ] || fail "tiny-cache: ${got:-no count of} flushes, wanted $flushes ($report)"
pass "tiny-cache-$kernel-$size: $got flushes"
