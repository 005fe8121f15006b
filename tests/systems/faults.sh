#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A host that fails: calls of the C library that are refused, cut short or interrupted, signals at any
# moment, hardly any mappings, a tiny code cache. The guest goes on and is right, or the run ends with
# one line and status 1 or 2: never a hang, a signal, or a wrong result.
#
#   faults.sh [--long] [--engine bt|interp] [--no-linux]
#
# --long: every call of the start-up instead of some, more seeds, more boots.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/initramfs.sh"
. "$TOP/tests/lib/vm.sh"
VM=ringdown
need_vm
engine=bt long=0 linux=1
while [ $# -gt 0 ]; do
    case $1 in
    --engine) engine=$2 && shift ;;
    --long) long=1 ;;
    --no-linux) linux=0 ;;
    *) die "unknown option $1" ;;
    esac
    shift
done
HERE=${RINGDOWN%/*}/tests
[ -e "$HERE/faults/inject.so" ] && [ -e "$HERE/guests/hello.elf" ] || skip "no injector or no guests in ${RINGDOWN%/*}"
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT
late=
runs=0 lines=0 faults=0 signals=0 escapes=0 bad=0

complain() { # TITLE WHY
    bad=$((bad + 1))
    say "$1: $2"
    head -n 4 "$DIR/err" | cut -c1-160 | sed 's/^/  ! /'
    tail -n 3 "$DIR/out" | tr -d '\r' | cut -c1-160 | sed 's/^/  | /'
}

# After a run: it went on and was right, or ended with one line.
judge_run() { # TITLE STATUS DONE-PATTERN RIGHT-STATUS
    local words
    runs=$((runs + 1))
    words=$(wc -l <"$DIR/err")
    if grep -q -a -E '^FAIL|^not ok' "$DIR/out"; then
        complain "$1" "the guest found something wrong (status $2)"
    elif [ "$2" = "$4" ] && [ "$words" = 0 ] && tr -d '\r' <"$DIR/out" | grep -q -a -E "$3"; then
        return 0
    elif { [ "$2" = 1 ] || [ "$2" = 2 ] || [ "$2" = "$4" ]; } && [ "$words" = 1 ] && grep -q '^ringdown: ' "$DIR/err"; then
        lines=$((lines + 1))
        return 1
    else
        complain "$1" "status $2, $words lines of complaint"
    fi
    return 2
}

# guest NAME FAULTS SEED [options]: one of the guest kernels under faults; sets `hits`.
guest() {
    local name=$1 what=$2 seed=$3
    shift 3
    rm -f "$DIR/count"
    timeout -s KILL 150 env FAULTS="$what" FAULTS_SEED="$seed" FAULTS_COUNT="$DIR/count" $late \
        LD_PRELOAD="$HERE/faults/inject.so" "$RINGDOWN" run --engine "$engine" --timeout 120 --memory 128M --kernel "$HERE/guests/$name.elf" \
        --debug-exit "$@" </dev/null >"$DIR/out" 2>"$DIR/err"
    local status=$?
    hits=$(od -A n -t u8 "$DIR/count" 2>/dev/null | tr -d ' ')
    hits=${hits:-0}
    faults=$((faults + hits))
    judge_run "$name, $what, seed $seed $*" $status ' passed, 0 failed$' 1
}

step "each call of the start-up refused"
for call in mmap mprotect memfd ftruncate open read-fail read-eintr read-short timer thread eventfd sigstack sigaction alloc madvise; do
    n=1 misses=0
    while [ $n -lt 400 ]; do
        guest hello "$call=#$n" 1
        [ "$hits" = 0 ] && break
        [ $long = 1 ] && n=$((n + 1)) || n=$((n < 4 ? n + 1 : n * 3 / 2))
    done
    # Whoever is interrupted for ever tries for ever.
    [ $call = read-eintr ] || guest hello "$call=@1" 1
done

step "refusals while a guest runs"
late=FAULTS_LATE=1
seeds=1
[ $long = 1 ] && seeds="1 2 3 4 5"
for name in paging smc calls interrupts; do
    for seed in $seeds; do
        for what in mmap=1/10 mmap=1/300 mprotect=1/3 "mmap=1/50 mprotect=1/10 munmap=1/2 alloc=1/30 madvise=1/2"; do
            guest "$name" "$what" "$seed"
        done
    done
done

step "few mappings, small caches"
for name in paging smc interrupts; do
    for options in "--view-budget 16" "--view-budget 300" "--cache-size 64K" "--cache-size 1M --view-budget 100"; do
        # shellcheck disable=SC2086
        guest "$name" "" 1 $options || complain "$name $options" "no fault, but it did not go on"
    done
done

# As the host counts them; also each single call of a run, with the tables of views full.
step "a limit of 100 to 400 mappings"
limits=$(seq 100 37 400) single="1 40 200"
[ $long = 1 ] && limits=$(seq 100 400) single=$(seq 1 300)
for limit in $limits; do
    guest hostmaps "maps=@$limit" 1 --append "small=64 frames=64 views=2"
    guest paging "maps=@$limit" 1
done
for n in $single; do
    for call in mmap mprotect munmap; do
        late=FAULTS_LATE=1 guest hostmaps "$call=#$n" 1 --append "small=64 frames=64 views=2"
    done
done
step "resident memory"
timeout -s KILL 150 "$RINGDOWN" run --engine "$engine" --memory 128M --kernel "$HERE/guests/hostmaps.elf" --append "views=300" \
    --debug-exit --stats-json "$DIR/stats" </dev/null >"$DIR/out" 2>"$DIR/err"
judge_run "hostmaps" $? ' passed, 0 failed$' 1 || complain "hostmaps" "it did not go on"
resident=$(($(stat_value "$DIR/stats" peak_resident) >> 20))
# The guest has little code, so of the cache there is hardly any.
[ "$resident" -gt 0 ] && [ "$resident" -le $((128 + 150)) ] || complain "hostmaps" "$resident MiB were resident"

step "output that is refused, interrupted, cut short"
guest hello "write-short=1/2 write-eintr=1/2" 1 || complain "write-short" "the output is not right"
guest hello "write-fail=#2" 1

step "signals at any moment"
for name in paging smc interrupts; do
    timeout -s KILL 150 "$HERE/faults/storm" 100 "$DIR/sent" "$RINGDOWN" run --engine "$engine" --timeout 120 --memory 128M \
        --kernel "$HERE/guests/$name.elf" --debug-exit </dev/null >"$DIR/out" 2>"$DIR/err"
    judge_run "$name in a storm" $? ' passed, 0 failed$' 1 || complain "$name in a storm" "it did not go on"
    signals=$((signals + $(cat "$DIR/sent" 2>/dev/null || echo 0)))
done

# mmap() of start-up and of a run: each opens a file, which the sandbox refuses once guest code may run.
if [ "$engine" = bt ]; then
    step "a monitor taken over"
    guest paging "escape=#60" 1
    grep -q 'sandbox: refused system call 257' "$DIR/err" && escapes=1 || complain "escape" "the sandbox let a file be opened"
fi

if [ $linux = 1 ]; then
    if [ -e "$GUESTS/linux-686/vmlinuz" ] && make_small_image; then
        step "Debian"
        boot() { # TITLE COMMAND...
            local title=$1
            shift
            rm -f "$DIR/count" "$DIR/sent"
            timeout -s KILL 330 env FAULTS_COUNT="$DIR/count" "$@" "$RINGDOWN" run --engine "$engine" --timeout 300 \
                --kernel "$GUESTS/linux-686/vmlinuz" --initrd "$SMALL_IMAGE" \
                --append "console=ttyS0 panic=-1 ringdown.mode=demo" --memory 256M "${options[@]}" \
                </dev/null >"$DIR/out" 2>"$DIR/err"
            judge_run "Debian, $title" $? '^20000 lines, sum 200010000' 0
            local verdict=$?
            if [ $verdict = 0 ] && grep -q -a -E "$LINUX_TROUBLE" "$DIR/out"; then
                complain "Debian, $title" "the guest complains"
            fi
            hits=$(od -A n -t u8 "$DIR/count" 2>/dev/null | tr -d ' ')
            faults=$((faults + ${hits:-0}))
            return $verdict
        }
        options=()
        boot "a storm" "$HERE/faults/storm" 200 "$DIR/sent" || complain "Debian in a storm" "it did not go on"
        signals=$((signals + $(cat "$DIR/sent" 2>/dev/null || echo 0)))
        inject=(env FAULTS_LATE=1 "LD_PRELOAD=$HERE/faults/inject.so")
        boot "refusals" "${inject[@]}" "FAULTS=mmap=1/300 mprotect=1/50 alloc=1/5000 write-short=1/3 write-eintr=1/5"
        options=(--view-budget 2000 --cache-size 1M)
        boot "few mappings, a small cache" env || complain "Debian with few mappings" "it did not go on"
        if [ $long = 1 ]; then
            options=(--view-budget 300)
            boot "300 mappings" env
            options=()
            for seed in 1 2 3 4 5; do
                boot "refusals, seed $seed" "${inject[@]}" "FAULTS_SEED=$seed" "FAULTS=mmap=1/1000 mprotect=1/20 read-short=1/2"
            done
        fi
    else
        say "no Debian guest: left out"
    fi
fi

[ $bad = 0 ] || fail "$bad of $runs runs; $faults faults, $signals signals"
pass "$runs runs, $faults faults and $signals signals; $((runs - lines)) went on, $lines ended with one line, $escapes stopped by the sandbox"
