#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs test kernels and judges them by their exit status and last line. A monitor may end in nothing but what its guest
# asked for, and says nothing then: one that ends by itself, or complains, has failed whatever the guest printed.
#   run.sh [--build DIR] [--engine bt|interp|lockstep [--compare N] [--stress WHAT]] [--vm ringdown|qemu] [--append S] [--timeout S] [-v] [NAME...]
# Without names: all kernels that were built.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$here/../../build engine=bt vm=ringdown append= compare=1000 stress= limit=120 verbose=0
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2; shift 2 ;;
    --engine) engine=$2; shift 2 ;;
    --vm) vm=$2; shift 2 ;;
    --append) append=$2; shift 2 ;;
    --compare) compare=$2; shift 2 ;;
    --stress) stress="--stress $2"; shift 2 ;;
    --timeout) limit=$2; shift 2 ;;
    -v) verbose=1; shift ;;
    -*) echo "run.sh: unknown option $1" >&2; exit 2 ;;
    *) break ;;
    esac
done
guests=$build/tests/guests
[ "$engine" != lockstep ] || append="$append lockstep"
[ $# -gt 0 ] || set -- $(cd "$guests" && ls ./*.elf | sed 's,^./,,;s,\.elf$,,')
log=$(mktemp) || exit 1
trap 'rm -f "$log" "$log.err"' EXIT
bad=0
for name; do
    if [ "$vm" = qemu ]; then
        timeout "$limit" qemu-system-i386 -accel tcg -cpu max -m 128M -kernel "$guests/$name.elf" -append "$append" \
            -device isa-debug-exit,iobase=0xf4,iosize=4 -serial stdio -display none -monitor none \
            -no-reboot -net none </dev/null >"$log" 2>&1
    else
        timeout "$limit" "${RINGDOWN:-$build/ringdown}" run --engine "$engine" --compare "$compare" $stress --memory 128M --kernel "$guests/$name.elf" \
            ${RINGDOWN_HOST_FACTS:+--host-facts "$RINGDOWN_HOST_FACTS"} --append "$append" --debug-exit --serial stdio </dev/null >"$log" 2>"$log.err"
    fi
    status=$?
    # What the monitor says comes from another thread than the guest's lines: not in the midst of them.
    said=
    if [ -s "$log.err" ]; then
        cat "$log.err" >>"$log"
        said=", and the monitor complains"
    fi
    want=1 # the debug-exit port's status for 0
    if [ "$name$vm" = tripleringdown ]; then # a guest that dies, of which the monitor tells
        want=3
        grep -q '^ringdown: .*triple fault' "$log.err" && said= || said=", and not a word of the triple fault"
    fi
    [ "$name$vm" = tripleqemu ] && want=0
    last=$(tr -d '\r' <"$log" | grep -a ' passed, [0-9]* failed$' | tail -1)
    grep -qa '^ringdown: lock step: ' "$log" && status="$status, engines differ"
    if [ "$status$said" = $want ] && [ "${last##*, }" = "0 failed" ]; then
        [ $verbose = 1 ] && cat "$log"
        echo "ok   $name: $last"
    else
        tr -d '\r' <"$log" | if [ $verbose = 1 ]; then cat; else grep -av '^PASS' | tail -60; fi
        echo "FAIL $name: status $status$said, ${last:-no result line}"
        bad=1
    fi
done
exit $bad
