#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Translator and interpreter run the same guest, instruction by instruction, and are never found to
# differ; and a difference that is made on purpose is found where it was made.
#
#   lockstep.sh [--guests all|none|"NAME ..."] [--selftest on|off] [--kernel 686|686-pae|none] [--seconds 300]
#               [--whole on|off] [--mode demo] [--compare N] [--memory 256M] [--append WORDS] [--stress none|precise|evict:SEED]
#
# The kernel boots until --seconds are over, which is a pass; with --whole on it must get through its mode
# and power off. --compare 1 compares after each single instruction. --stress precise recreates the state
# inside translated blocks, too, by what faults and interrupts rely on.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/vm.sh"

guests=all selftest=on kernel=686 seconds=300 whole=off mode=demo compare=1000 memory=256M append= stress=none
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
    --stress) stress=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
[ "$VM" = qemu ] && skip "lock step is ringdown's own"
need_vm
mkdir -p "$LOGS"
elves=$BUILD/tests/guests
done_so_far=
title=lockstep extra=() less=()
[ "$stress" = none ] || title=$stress extra=(--stress "$stress")
[ "$stress" != precise ] || less=(--append "kib=32 pages=4096 turns=65")

# --- our own kernels ---
[ "$guests" != none ] && [ ! -d "$elves" ] && skip "no guest kernels were built (gcc-multilib)"
if [ "$guests" = all ]; then
    guests=$(cd "$elves" && ls ./*.elf | sed 's,^\./,,; s,\.elf$,,')
fi
if [ "$guests" != none ]; then
    count=0
    for name in $guests; do
        "$TOP/tests/guests/run.sh" --build "$BUILD" --engine lockstep --compare "$compare" "${extra[@]}" "${less[@]}" --timeout $((seconds > 600 ? seconds : 600)) "$name" >"$LOGS/$title-$name.log" 2>&1 ||
            { tail -n 30 "$LOGS/$title-$name.log"; fail "$title: guest kernel $name"; }
        count=$((count + 1))
    done
    done_so_far="$count guest kernels"
fi

# --- differences made on purpose ---
# spoil WHAT AFTER BEGINNING PATTERN: found, with status 1, and told by a line that begins so and by the pattern.
spoil() {
    local log=$LOGS/$title-selftest-$1.log status
    timeout 120 "$RINGDOWN" run --engine lockstep --compare "$compare" "${extra[@]}" --memory 64M --kernel "$elves/hello.elf" \
        --debug-exit --serial null --selftest "$1:$2" </dev/null >"$log" 2>&1
    status=$?
    [ "$status" = 1 ] && grep -q -E "^ringdown: $3 at [0-9a-f]{4}:[0-9a-f]{8} \(CPL [0-3]\) [a-z]" "$log" && grep -q -E "$4" "$log" ||
        { cat "$log"; fail "$title: a spoiled $1 after $2 instructions, status $status"; }
    case $1 in mem | mark | state) ;; *) false ;; esac || grep -q "^  after $2 instructions" "$log" ||
        { cat "$log"; fail "$title: a spoiled $1 is reported elsewhere than after $2 instructions"; }
    spoiled=$((spoiled + 1))
}
spoiled=0
if [ "$selftest" = on ] && [ -e "$elves/hello.elf" ]; then
    differ='lock step: the engines differ'
    recreated='precise state: what is recreated differs'
    if [ "$stress" = precise ]; then
        spoil state 1000 "$recreated" '^  EBX  *[0-9a-f]{8} +[0-9a-f]{8}'
        spoil mark 1 "$recreated" '^  EIP  *[0-9a-f]{8} +[0-9a-f]{8}'
        spoil mark 40 "$recreated" '^  EIP  *[0-9a-f]{8} +[0-9a-f]{8}'
    else
        spoil reg 1 "$differ" '^  EBX  *[0-9a-f]{8} +[0-9a-f]{8}'
        spoil reg 1000003 "$differ" '^  EBX  *[0-9a-f]{8} +[0-9a-f]{8}'
        spoil flag 2000001 "$differ" '^    flag CF  *[01] +[01]'
        spoil mem 50000 "$differ" '^  memory [0-9a-f]{8} '
    fi
    done_so_far="$done_so_far, $spoiled spoiled states found"
fi
[ "$kernel" = none ] && pass "$title: $done_so_far"

# --- a whole system ---
# Time passes while nobody compares it: the guest must not take that for a lockup. With states recreated, no
# minutes in one loop.
append="nowatchdog $append"
[ "$stress" = none ] || append="cryptomgr.notests $append"
need_guest "linux-$kernel/vmlinuz"
make_small_image || fail "cannot make the initramfs"
name=$title-$kernel
log=$LOGS/$name.log report=$LOGS/$name.json
rm -f "$report"
run_vm "$log" "$seconds" --engine lockstep --compare "$compare" "${extra[@]}" --kernel "$GUESTS/linux-$kernel/vmlinuz" --initrd "$SMALL_IMAGE" \
    --append "console=ttyS0 panic=-1 ringdown.mode=$mode $append" --memory "$memory" --stats-json "$report"
status=$?
insns=$(stat_value "$report" lockstep_insns)
least=50000000
[ "$stress" = none ] || least=5000000
if [ "$whole" = off ] && [ "$status" = 4 ] && ! grep -q -E 'lock step:|precise state:' "$log.err"; then
    [ "${insns:-0}" -ge "$least" ] || fail "$name: only ${insns:-0} instructions in $seconds s ($log)"
    done_so_far="$done_so_far, $kernel as far as $seconds s go"
else
    case $mode in
    demo) wanted='^20000 lines, sum 200010000' ;;
    *) wanted='^INIT ' ;;
    esac
    judge "$status" "$log" "$wanted" || fail "$name after ${insns:-0} instructions"
    done_so_far="$done_so_far, the whole boot of $kernel"
fi
states=
[ "$stress" != precise ] || states=", $(stat_value "$report" precise_states) states recreated, $(stat_value "$report" precise_visited) of $(stat_value "$report" precise_armed) translated instructions visited"
pass "$title: ${done_so_far#, }, $insns instructions, $(stat_value "$report" lockstep_comparisons) comparisons$states"
