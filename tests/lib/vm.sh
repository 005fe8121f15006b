# SPDX-License-Identifier: MIT
# Running a guest from a test, and judging its serial output. Sourced after common.sh.
#
# VM chooses who runs it: "ringdown" (the default; RINGDOWN names the program) or "qemu", which
# tells a broken test from a broken monitor.
#
# A test script ends by pass, fail or skip: exit status 0, 1 or 77, and one line that says why.

VM=${VM:-ringdown}
RINGDOWN=${RINGDOWN:-$BUILD/ringdown}
LOGS=${RINGDOWN_LOGS:-$CACHE/logs}

pass() {
    say "pass: $*"
    exit 0
}
fail() {
    say "fail: $*"
    exit 1
}
skip() {
    say "skip: $*"
    exit 77
}

need_guest() { # PATH within .cache/guests
    [ -e "$GUESTS/$1" ] || skip "no guest $1 (tests/lib/fetch-guests.sh fetches it)"
}

need_vm() {
    if [ "$VM" = qemu ]; then
        command -v qemu-system-i386 >/dev/null 2>&1 || skip "no qemu-system-i386"
    else
        [ -x "$RINGDOWN" ] || fail "no program $RINGDOWN"
    fi
}

# run_vm LOG SECONDS [ringdown options]: one guest to its end, serial output in LOG, the monitor's own
# words in LOG.err; the exit status is the monitor's (124 when it did not even heed its --timeout).
run_vm() {
    local log=$1 limit=$2
    shift 2
    mkdir -p "$(dirname "$log")"
    if [ "$VM" = qemu ]; then
        qemu_arguments "$@"
        timeout -k 5 "$limit" qemu-system-i386 "${QEMU_ARGS[@]}" </dev/null >"$log" 2>"$log.err"
    else
        timeout -k 5 $((limit + 20)) "$RINGDOWN" run --timeout "$limit" "$@" </dev/null >"$log" 2>"$log.err"
    fi
}

# The same machine for QEMU: options that only ringdown has are dropped.
qemu_arguments() {
    QEMU_ARGS=(-accel tcg -display none -serial stdio -monitor none -no-reboot)
    while [ $# -gt 0 ]; do
        case $1 in
        --kernel) QEMU_ARGS+=(-kernel "$2") ;;
        --initrd) QEMU_ARGS+=(-initrd "$2") ;;
        --append) QEMU_ARGS+=(-append "$2") ;;
        --memory) QEMU_ARGS+=(-m "$2") ;;
        --bios) QEMU_ARGS+=(-bios "$2") ;;
        --stats)
            shift
            continue
            ;;
        esac
        shift 2
    done
}

# What a Linux guest never says when the machine under it is right.
LINUX_TROUBLE='(BUG: |WARNING: |Oops: |kernel panic|Kernel panic|Call Trace:|general protection fault|unable to handle|spurious|Spurious|unexpected IRQ|nobody cared|Internal error|rcu_sched detected|soft lockup|segfault at|traps: )'

# judge STATUS LOG WANTED-PATTERN: returns whether the run was right; says what was wrong.
judge() {
    local status=$1 log=$2 wanted=$3
    if [ "$status" != 0 ]; then
        say "exit status $status"
    elif ! grep -q -a -E "$wanted" "$log"; then
        say "the guest never said: $wanted"
    elif grep -q -a -E "$LINUX_TROUBLE" "$log"; then
        say "the guest complains: $(grep -a -m 1 -E "$LINUX_TROUBLE" "$log" | tr -d '\r')"
    else
        return 0
    fi
    say "  the end of its serial output ($log):"
    tail -n 20 "$log" | tr -d '\r' | cat -v | cut -c1-160 | sed 's/^/  | /'
    if [ -s "$log.err" ]; then
        say "  the monitor's own words:"
        tail -n 30 "$log.err" | cat -v | cut -c1-160 | sed 's/^/  ! /'
    fi
    return 1
}

# stat_value FILE NAME: a number from a --stats-json report, wherever it stands in it.
stat_value() {
    sed -n "s/.*\"$2\"[ ]*:[ ]*\([0-9.]*\).*/\1/p" "$1" | head -n 1
}

now_ms() { date +%s%3N; }

# await_or_end LOG SECONDS PATTERN PID: waits until the serial output
# holds the pattern; gives up when the process is gone.
await_or_end() {
    local end=$((SECONDS + $2))
    while [ $SECONDS -le $end ]; do
        grep -q -a -E "$3" "$1" 2>/dev/null && return 0
        if ! kill -0 "$4" 2>/dev/null; then
            grep -q -a -E "$3" "$1"
            return
        fi
        sleep 0.1
    done
    return 1
}

# stop_tree PID: ends a background run_vm and the processes below it.
stop_tree() {
    local child
    for child in $(cat /proc/"$1"/task/"$1"/children 2>/dev/null); do stop_tree "$child"; done
    kill "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# vm_process PID: the monitor itself below a background run_vm.
vm_process() {
    local child
    for child in $(cat /proc/"$1"/task/"$1"/children 2>/dev/null); do
        case $(cat /proc/"$child"/comm 2>/dev/null) in
        ringdown* | qemu-system*) echo "$child" ;;
        *) vm_process "$child" ;;
        esac
    done
}

# cpu_ticks PID: user and system time of a process with all its threads, in clock ticks.
cpu_ticks() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }
