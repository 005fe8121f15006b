#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# 32-bit user programs of Debian give the same output in the guest as directly on the host.
#
#   programs.sh [--engine bt] [--kernel 686] [--memory 768M] [--parts "busybox bc ..."] [--seconds 600]
#
# The host runs the same files, in a chroot of the same tree (as root, by an unprivileged user
# namespace, or by sudo); where none of these is allowed, the test is skipped.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/room.sh"
. "$TOP/tests/lib/vm.sh"

engine=bt kernel=686 memory=768M parts="busybox bc python sqlite openssl gcc" seconds=600
while [ $# -gt 0 ]; do
    case $1 in
    --engine) engine=$2 ;;
    --kernel) kernel=$2 ;;
    --memory) memory=$2 ;;
    --parts) parts=$2 ;;
    --seconds) seconds=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
need_guest "linux-$kernel/vmlinuz"
need_guest root-i386
need_vm
name=programs-$kernel-$engine
want=$LOGS/$name.host got=$LOGS/$name.guest
mkdir -p "$LOGS"

trap remove_room EXIT
make_room
case $? in
0) ;;
77) skip "no way to run the host's side: neither root, nor user namespaces, nor sudo" ;;
*) fail "cannot make a copy of the tree" ;;
esac
mkdir -p "$ROOM/test" && cp "$TOP"/tests/systems/programs/* "$ROOM/test/" || fail "cannot make a copy of the tree"
in_room /bin/busybox env PATH=/usr/bin:/bin PARTS="$parts" /bin/busybox timeout "$seconds" /bin/busybox sh /test/run.sh \
    </dev/null >"$want" 2>&1 || fail "the host's own run failed; see $want"

make_programs_image || fail "cannot make the initramfs"
log=$LOGS/$name.log
start=$(now_ms)
run_vm "$log" "$seconds" --engine "$engine" --kernel "$GUESTS/linux-$kernel/vmlinuz" --initrd "$PROGRAMS_IMAGE" \
    --append "console=ttyS0 quiet panic=-1 ringdown.mode=run ringdown.parts=$(echo "$parts" | tr ' ' ,)" --memory "$memory"
status=$?
tr -d '\r' <"$log" | sed -n '/^OUTPUT BEGINS/,/^OUTPUT ENDS/p' | sed '1d;$d' >"$got"
judge "$status" "$log" "^OUTPUT ENDS 0" || fail "$name"
if ! cmp -s "$want" "$got"; then
    say "the outputs differ (< host, > guest):"
    diff "$want" "$got" | head -n 20
    fail "$name"
fi
pass "$name: $(wc -l <"$want") lines equal, guest run $(($(now_ms) - start)) ms"
