#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The shell in the guest answers what is typed, on a pipe and on a terminal; Ctrl-a x leaves.
#
#   shell.sh [--kernel 686] [--engine bt]
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/vm.sh"

kernel=686 engine=bt
while [ $# -gt 0 ]; do
    case $1 in
    --kernel) kernel=$2 ;;
    --engine) engine=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
need_guest "linux-$kernel/vmlinuz"
need_vm
[ "$VM" = ringdown ] || skip "this is about ringdown's own console"
make_small_image || fail "cannot make the initramfs"
mkdir -p "$LOGS"
arguments=(run --timeout 120 --engine "$engine" --kernel "$GUESTS/linux-$kernel/vmlinuz" --initrd "$SMALL_IMAGE"
    --append "console=ttyS0 quiet panic=-1" --memory 128M)
name=shell-$kernel-$engine

# A pipe that the test types into; standard input of the guest stays open.
keyboard=$(mktemp -u)
mkfifo "$keyboard" || fail "cannot make a pipe"
exec 8<>"$keyboard"
rm -f "$keyboard"
type_in() { printf '%s' "$1" >&8; }

# On a pipe: commands, their answers, and the end by exit.
log=$LOGS/$name.pipe.log
: >"$log"
timeout -k 5 150 "$RINGDOWN" "${arguments[@]}" <&8 >"$log" 2>"$log.err" &
runner=$!
await_or_end "$log" 100 "Ctrl-a x leaves" $runner || {
    stop_tree $runner
    tail -n 20 "$log" "$log.err"
    fail "$name: no shell"
}
sleep 1
type_in $'echo $((6 * 7)) is the answer\r'
await_or_end "$log" 20 '^42 is the answer' $runner || { stop_tree $runner; tail -n 5 "$log"; fail "$name: no answer on a pipe"; }
# A line longer than the receiver's queue, typed at once: flow control loses nothing.
long=$(seq -s ' ' 1 150)
type_in "echo $long | tr -d ' ' | md5sum"$'\r'
want=$(echo "$long" | tr -d ' ' | md5sum)
await_or_end "$log" 20 "^${want%% *}" $runner || { stop_tree $runner; tail -n 5 "$log"; fail "$name: a long line arrived damaged"; }
type_in $'exit\r'
wait $runner
status=$?
[ $status = 0 ] || { tail -n 5 "$log.err"; fail "$name: status $status after exit, wanted 0"; }

# On a terminal: script(1) lends one; Ctrl-c interrupts the guest's program, not the monitor.
if command -v script >/dev/null 2>&1; then
    log=$LOGS/$name.tty.log
    : >"$log"
    printf -v command '%q ' "$RINGDOWN" "${arguments[@]}"
    timeout -k 5 150 script -q -e -c "$command" /dev/null <&8 >"$log" 2>&1 &
    runner=$!
    await_or_end "$log" 100 "Ctrl-a x leaves" $runner || { stop_tree $runner; tail -n 20 "$log"; fail "$name: no shell on a terminal"; }
    sleep 1
    type_in $'sleep 100\r'
    sleep 1
    type_in $'\x03'
    sleep 0.5
    type_in $'echo $((7 * 8)) after the interrupt\r'
    await_or_end "$log" 20 '^56 after the interrupt' $runner || { stop_tree $runner; tail -n 5 "$log"; fail "$name: Ctrl-c did not reach the guest"; }
    start=$SECONDS
    type_in $'\x01x'
    while kill -0 $runner 2>/dev/null && [ $((SECONDS - start)) -lt 10 ]; do sleep 0.2; done
    kill -0 $runner 2>/dev/null && { stop_tree $runner; fail "$name: Ctrl-a x did not leave"; }
fi
pass "$name: answers on a pipe and on a terminal, leaves by exit and by Ctrl-a x"
