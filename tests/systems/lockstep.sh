#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Translator and interpreter run the same guest, instruction by instruction, and are never found to
# differ; and a difference that is made on purpose is found where it was made.
#
#   lockstep.sh [--guests all|none|"NAME ..."] [--selftest on|off] [--kernel 686|686-pae|none] [--seconds 300]
#               [--whole on|off] [--mode demo] [--compare N] [--memory 256M] [--append WORDS]
#
# The kernel boots until --seconds are over, which is a pass; with --whole on it must get through its mode
# and power off. --compare 1 compares after each single instruction.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/vm.sh"

guests=all selftest=on kernel=686 seconds=300 whole=off mode=demo compare=1000 memory=256M append=
while [ $# -gt 0 ]; do
    case $1 in
    --guests) guests=$2 ;;
    --selftest) selftest=$2 ;;
    --kernel) kernel=$2 ;;
    --seconds) seconds=$2 ;;
    --whole) whole=$2 ;;
    --mode) mode=$2 ;;
    --compare) compare=$2 ;;
    --memory) memory=$2 ;;
    --append) append=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
[ "$VM" = qemu ] && skip "lock step is ringdown's own"
need_vm
mkdir -p "$LOGS"
elves=$BUILD/tests/guests
done_so_far=

# --- our own kernels ---
[ "$guests" != none ] && [ ! -d "$elves" ] && skip "no guest kernels were built (gcc-multilib)"
if [ "$guests" = all ]; then
    guests=$(cd "$elves" && ls ./*.elf | sed 's,^\./,,; s,\.elf$,,')
fi
if [ "$guests" != none ]; then
    count=0
    for name in $guests; do
        "$TOP/tests/guests/run.sh" --build "$BUILD" --engine lockstep --compare "$compare" --timeout "$seconds" "$name" >"$LOGS/lockstep-$name.log" 2>&1 ||
            { tail -n 30 "$LOGS/lockstep-$name.log"; fail "lockstep: guest kernel $name"; }
        count=$((count + 1))
    done
    done_so_far="$count guest kernels"
fi

# --- differences made on purpose ---
# spoil WHAT AFTER PATTERN: found, after exactly so many instructions (if AFTER says so), and named.
spoil() {
    local log=$LOGS/lockstep-selftest-$1.log status
    timeout 60 "$RINGDOWN" run --engine lockstep --compare "$compare" --memory 64M --kernel "$elves/hello.elf" --debug-exit --serial null \
        --selftest "$1:$2" </dev/null >"$log" 2>&1
    status=$?
    [ "$status" = 1 ] && grep -q -E '^ringdown: lock step: the engines differ at [0-9a-f]{4}:[0-9a-f]{8} \(CPL [0-3]\) [a-z]' "$log" &&
        grep -q -E "$3" "$log" && { [ "$1" = mem ] || grep -q "^  after $2 instructions" "$log"; } ||
        { cat "$log"; fail "lockstep: a spoiled $1 after $2 instructions, status $status"; }
}
if [ "$selftest" = on ] && [ -e "$elves/hello.elf" ]; then
    spoil reg 1 '^  EBX  *[0-9a-f]{8} +[0-9a-f]{8}'
    spoil reg 1000003 '^  EBX  *[0-9a-f]{8} +[0-9a-f]{8}'
    spoil flag 2000001 '^    flag CF  *[01] +[01]'
    spoil mem 50000 '^  memory [0-9a-f]{8} '
    done_so_far="$done_so_far, 4 spoiled states found"
fi
[ "$kernel" = none ] && pass "lockstep: $done_so_far"

# --- a whole system ---
need_guest "linux-$kernel/vmlinuz"
make_small_image || fail "cannot make the initramfs"
name=lockstep-$kernel
log=$LOGS/$name.log report=$LOGS/$name.json
rm -f "$report"
run_vm "$log" "$seconds" --engine lockstep --compare "$compare" --kernel "$GUESTS/linux-$kernel/vmlinuz" --initrd "$SMALL_IMAGE" \
    --append "console=ttyS0 panic=-1 ringdown.mode=$mode $append" --memory "$memory" --stats-json "$report"
status=$?
insns=$(stat_value "$report" lockstep_insns)
if [ "$whole" = off ] && [ "$status" = 4 ] && ! grep -q 'lock step:' "$log.err"; then
    [ "${insns:-0}" -ge 100000000 ] || fail "$name: only ${insns:-0} instructions in $seconds s ($log)"
    done_so_far="$done_so_far, $kernel as far as $seconds s go"
else
    case $mode in
    demo) wanted='^20000 lines, sum 200010000' ;;
    *) wanted='^INIT ' ;;
    esac
    judge "$status" "$log" "$wanted" || fail "$name after ${insns:-0} instructions"
    done_so_far="$done_so_far, the whole boot of $kernel"
fi
pass "lockstep: $done_so_far, $insns instructions, $(stat_value "$report" lockstep_comparisons) comparisons"
