#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fuzzes: any bytes as guest code, kernels, device accesses, page tables. Sanitizers, the verifier and a
# model judge.
#
#   run.sh [--seconds N] [--build DIR] [--evict] [TARGET...]
#
# N seconds (default 10) for each target (decode or fuzz_decode, ...), two at a time; without names, all.
# --evict: with small tables and --stress evict. What has been found interesting is kept in .cache/fuzz/TARGET and
# is where the next run begins. An input that fails is kept in .cache/fuzz/failed; to try one again: DIR/tests/fuzz/TARGET FILE.
# The last line tells the executions; status 0 when nothing was found, 77 without libFuzzer.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/build.sh"

seconds=10 build=${RINGDOWN_FUZZ_BUILD:-$TOP/build-fuzz} tiny=OFF targets=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds) seconds=$2 && shift ;;
    --build) build=$2 && shift ;;
    --evict) build=$TOP/build-fuzz-tiny tiny=ON && export RINGDOWN_FUZZ_EVICT=1 ;;
    -*) die "unknown option $1" ;;
    *) targets+=("fuzz_${1#fuzz_}") ;;
    esac
    shift
done

works=$(mktemp -d)
trap 'rm -rf "$works"' EXIT
echo 'int LLVMFuzzerTestOneInput(const char *p, long n) { (void)p, (void)n; return 0; }' >"$works/a.c"
clang -fsanitize=fuzzer,address "$works/a.c" -o "$works/a" 2>/dev/null || {
    say "skip: no clang with libFuzzer"
    exit 77
}
configure "$build" -DRINGDOWN_FUZZ=ON -DRINGDOWN_TINY_TABLES=$tiny -DCMAKE_C_COMPILER=clang && compile "$build" fuzz-targets || exit 1
corpus=$CACHE/fuzz logs=$CACHE/logs/fuzz failed=$CACHE/fuzz/failed
mkdir -p "$corpus" "$logs" "$failed"
python3 "$TOP/tests/fuzz/seeds.py" "$corpus/seeds" || exit 1
[ ${#targets[@]} -gt 0 ] || targets=($(cd "$TOP/tests/fuzz" && for f in fuzz_*.c; do echo "${f%.c}"; done))

export ASAN_OPTIONS=detect_leaks=0:handle_segv=1:allocator_may_return_null=1
export UBSAN_OPTIONS=print_stacktrace=1
fuzz() { # TARGET
    mkdir -p "$corpus/$1"
    timeout -k 10 $((seconds + 120)) "$build/tests/fuzz/$1" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 \
        -max_len=8192 -print_final_stats=1 -artifact_prefix="$failed/$1-" "$corpus/$1" "$corpus/seeds/$1" >"$logs/$1.log" 2>&1
    local status=$? unit
    # The limit on one input is of wall-clock time. Where the input is quick by itself, it was the host that stood still.
    if [ $status = 70 ]; then
        unit=$(sed -n 's/.*Test unit written to //p' "$logs/$1.log" | tail -n 1)
        if timeout -k 5 60 "$build/tests/fuzz/$1" -timeout=20 "$unit" >>"$logs/$1.log" 2>&1; then
            status=0
            rm -f "$unit"
            : >"$works/$1.stalled"
        fi
    fi
    echo $status >"$works/$1.status"
}
for target in "${targets[@]}"; do
    [ -x "$build/tests/fuzz/$target" ] || die "no target $target"
    while [ "$(jobs -pr | wc -l)" -ge 2 ]; do wait -n; done
    fuzz "$target" &
done
wait

total=0 bad=0
for target in "${targets[@]}"; do
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target.log")
    total=$((total + ${runs:-0}))
    if [ "$(cat "$works/$target.status")" = 0 ]; then
        stalled=
        [ -e "$works/$target.stalled" ] && stalled=" (ended early: the host stood still)"
        say "  $target: ${runs:-0} executions, $(ls "$corpus/$target" | wc -l) inputs kept$stalled"
    else
        bad=$((bad + 1))
        say "  $target: status $(cat "$works/$target.status"):"
        grep -a -E -A 12 'ERROR: |runtime error|libFuzzer: ' "$logs/$target.log" | head -n 25 | sed 's/^/  | /'
        grep -a 'Test unit written' "$logs/$target.log" | sed 's/^/  | /'
    fi
done
if [ $bad = 0 ]; then
    say "pass: $total executions of ${#targets[@]} targets found nothing"
else
    say "fail: $bad of ${#targets[@]} targets; $total executions"
    exit 1
fi
