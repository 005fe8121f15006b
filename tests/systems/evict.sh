#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# --stress evict, in a build whose tables have a few entries: code is dropped, modes renumbered, room refused, at
# every place where that may happen, by a seeded choice. All test guests under both engines, instructions
# against the host's processor, and Debian with tables of the usual size in lock step.
#
#   evict.sh [--seeds "1 2"] [--guests all|none|"NAME..."] [--engines "bt lockstep"] [--cases 10240] [--seconds 60] [--whole on|off]
#
# --seconds: how long Debian may take, 0: it is left out; --whole on: it has to get to user space and power off.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/build.sh"
. "$TOP/tests/lib/vm.sh"

seeds=1 guests=all engines="bt lockstep" cases=10240 seconds=60 whole=off
while [ $# -gt 0 ]; do
    case $1 in
    --seeds) seeds=$2 ;;
    --guests) guests=$2 ;;
    --engines) engines=$2 ;;
    --cases) cases=$2 ;;
    --seconds) seconds=$2 ;;
    --whole) whole=$2 ;;
    *) die "unknown option $1" ;;
    esac
    shift 2
done
tiny=$TOP/build-tiny
configure "$tiny" -DRINGDOWN_TINY_TABLES=ON && compile "$tiny" ringdown || fail "no build with small tables"
done_so_far=
run_guests() { # ENGINE SEED
    [ "$guests" != none ] || return 0
    [ "$guests" = all ] && set -- "$1" "$2" || set -- "$1" "$2" $guests
    RINGDOWN=$tiny/ringdown "$TOP/tests/guests/run.sh" --build "$BUILD" --engine "$1" --stress "evict:$2" --timeout 300 "${@:3}" ||
        fail "guests under $1 with seed $2"
}
for seed in $seeds; do
    for engine in $engines; do
        run_guests "$engine" "$seed"
    done
    if [ "$cases" != 0 ]; then
        python3 "$TOP/tests/differential/run.py" --build "$BUILD" --monitor "$tiny/ringdown" --stress "evict:$seed" --engines interp,bt --seed "$seed" --count "$cases" ||
            fail "instructions with seed $seed"
    fi
    if [ "$seconds" != 0 ]; then
        "$TOP/tests/systems/lockstep.sh" --guests none --selftest off --stress "evict:$seed" --seconds "$seconds" --whole "$whole" ||
            fail "lock step with seed $seed"
    fi
done
pass "evict: seeds $seeds, guests $guests under $engines, $cases cases, lock step of Debian for $seconds s each"
