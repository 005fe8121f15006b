#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Debian's unmodified kernel boots to user space and powers off with status 0, as often as asked.
#
#   boot_linux.sh [--kernel 686|686-pae] [--engine bt|interp] [--memory 256M] [--count 1] [--mode demo]
#                 [--seconds 120] [--append WORDS] [--name NAME] [-- MORE RINGDOWN OPTIONS]
#
# The default mode, demo, also runs some hundred processes in the guest and checks what they computed.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/vm.sh"

kernel=686 engine=bt memory=256M count=1 mode=demo seconds=120 append= name=
while [ $# -gt 0 ]; do
    case $1 in
    --kernel) kernel=$2 ;;
    --engine) engine=$2 ;;
    --memory) memory=$2 ;;
    --count) count=$2 ;;
    --mode) mode=$2 ;;
    --seconds) seconds=$2 ;;
    --append) append=$2 ;;
    --name) name=$2 ;; # of the log and in the verdict
    --)
        shift
        break
        ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
need_guest "linux-$kernel/vmlinuz"
need_vm
make_small_image || fail "cannot make the initramfs"
name=${name:-boot-$kernel-$engine-$memory}

case $mode in
demo) wanted='^20000 lines, sum 200010000' ;;
suspend) wanted='^AWAKE 2' ;;
*) wanted='^INIT ' ;;
esac
times=()
for ((i = 1; i <= count; i++)); do
    log=$LOGS/$name.$i.log
    start=$(now_ms)
    run_vm "$log" "$seconds" --engine "$engine" --kernel "$GUESTS/linux-$kernel/vmlinuz" --initrd "$SMALL_IMAGE" \
        --append "console=ttyS0 panic=-1 ringdown.mode=$mode $append" --memory "$memory" "$@"
    status=$?
    times+=($(($(now_ms) - start)))
    judge "$status" "$log" "$wanted" || fail "$name, boot $i of $count"
    # 16 MiB of zeros have one sum.
    [ "$mode" != demo ] || grep -q -a '^080acf35a507ac9849cfcba47dc2ad83e01b75663a516279c8b9d243b719643e' "$log" ||
        fail "$name, boot $i of $count: the wrong SHA-256 in $log"
done
pass "$name: $count of $count, in ms: ${times[*]}"
