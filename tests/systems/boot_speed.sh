#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Booting takes less host time than QEMU's translator needs for the same kernel and initramfs, in
# interleaved rounds on this machine.
#
#   boot_speed.sh [--kernel 686] [--rounds 3] [--ratio 1.0]
#
# RATIO is the most that the median of ringdown's times may be of the median of QEMU's.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/vm.sh"

kernel=686 rounds=3 ratio=1.0
while [ $# -gt 0 ]; do
    case $1 in
    --kernel) kernel=$2 ;;
    --rounds) rounds=$2 ;;
    --ratio) ratio=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
need_guest "linux-$kernel/vmlinuz"
need_vm
command -v qemu-system-i386 >/dev/null 2>&1 || skip "no qemu-system-i386 to compare with"
make_small_image || fail "cannot make the initramfs"

declare -A times=([ringdown]="" [qemu]="")
for ((i = 1; i <= rounds; i++)); do
    for VM in ringdown qemu; do
        log=$LOGS/speed-$kernel-$VM.$i.log
        start=$(now_ms)
        run_vm "$log" 180 --kernel "$GUESTS/linux-$kernel/vmlinuz" --initrd "$SMALL_IMAGE" \
            --append "console=ttyS0 quiet panic=-1 ringdown.mode=boot" --memory 256M
        judge $? "$log" '^INIT ' || fail "boot-speed-$kernel: $VM, round $i"
        times[$VM]+="$(($(now_ms) - start)) "
    done
done
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }
ours=$(median ${times[ringdown]})
theirs=$(median ${times[qemu]})
line="boot-speed-$kernel: ringdown $ours ms, qemu $theirs ms ($(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.2f", a / b }')); all: ${times[ringdown]}| ${times[qemu]}"
awk -v a="$ours" -v b="$theirs" -v r="$ratio" 'BEGIN { exit !(a < b * r) }' || fail "$line, over $ratio"
pass "$line"
