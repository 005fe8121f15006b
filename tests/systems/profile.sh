#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# --profile says where a guest's time goes, by name, in the sandbox; --perf-map makes perf say it.
#
# The guest is tests/guests/hotspots.c: its functions are what must be found, and what for.
set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"
. "$TOP/tests/lib/vm.sh"
VM=ringdown
need_vm
KERNEL=${1:-$BUILD/tests/guests/hotspots.elf}
[ -e "$KERNEL" ] || skip "no guest kernel $KERNEL (no 32-bit compiler)"
DIR=$(mktemp -d)
trap 'rm -rf "$DIR"' EXIT

# profiled NAME [options]: a run with its report in NAME.json and NAME.txt.
profiled() {
    local name=$1 status
    shift
    timeout 120 "$RINGDOWN" run --kernel "$KERNEL" --memory 64M --debug-exit --serial null --profile \
        --profile-json "$DIR/$name.json" --stats-json "$DIR/$name.stats" "$@" </dev/null 2>"$DIR/$name.txt"
    status=$?
    [ "$status" = 1 ] || fail "$name: status $status: $(tail -n 3 "$DIR/$name.txt")"
}

profiled bt --append long --symbols "$KERNEL"
profiled interp --symbols "$KERNEL" --engine interp
profiled unnamed
# The same names in System.map's form, 16 MiB off, which the offset makes good.
nm "$KERNEL" | python3 -c 'import sys
for line in sys.stdin:
    address, kind, name = line.split()
    print(f"{int(address, 16) + (16 << 20):08x} {kind} {name}")' >"$DIR/map"
profiled map --append long --symbols "$DIR/map@0xff000000"

python3 - "$DIR" <<'END' || fail "the profile is not what the guest did"
import json, sys
where = sys.argv[1]

def load(name):
    with open(f"{where}/{name}.json") as f, open(f"{where}/{name}.stats") as s, open(f"{where}/{name}.txt") as t:
        return json.load(f), json.load(s), t.read()

def share(profile, symbol, activities=None):
    got = sum(e["ns"] for e in profile["guest"] if e.get("symbol") == symbol and (activities is None or e["activity"] in activities))
    return got / profile["total"]["ns"]

def check(holds, what):
    if not holds:
        print(what)
        sys.exit(1)

for name in ("bt", "map"):
    p, stats, text = load(name)
    check(stats["sandbox"]["sandbox_calls"] > 0, "the run was not in the sandbox")
    check(p["total"]["samples"] > 100, f"only {p['total']['samples']} samples")
    check(share(p, "hot_loop", ["translated"]) > 0.4, f"{name}: hot_loop has {share(p, 'hot_loop'):.2f}")
    check("hot_loop" in text.split("guest functions")[1].splitlines()[1], f"{name}: hot_loop is not the first function:\n{text}")
    calls = {c["instruction"]: c for c in p["callouts"] if not c["soft"]}
    check(calls["IN"]["count"] >= 200000 and calls["INVLPG"]["count"] >= 60000, f"{name}: call-outs {calls}")
    check(calls["IN"]["samples"] > 0, f"{name}: no sample of IN")
    check(p["activities"]["retranslate"]["count"] >= 1000, f"{name}: {p['activities']['retranslate']}")
    check(p["activities"]["devices"]["count"] >= 200000, f"{name}: {p['activities']['devices']}")
    mapped = p["activities"]["fault"]["count"] + p["activities"]["soft_miss"]["count"]
    check(mapped >= 60000, f"{name}: {mapped} faults and misses for 60000 remapped pages")
    check(share(p, "hot_remap") + share(p, "pte_set") > 0.002, f"{name}: hot_remap is not seen")
    total = sum(a["ns"] for a in p["activities"].values())
    check(total == p["total"]["ns"] == sum(e["ns"] for e in p["guest"]), f"{name}: shares do not add up")
    check(p["total"]["lost"] == 0, f"{name}: samples lost")
p, _, text = load("interp")
check(share(p, "hot_loop", ["interpreter"]) > 0.1, f"interp: hot_loop has {share(p, 'hot_loop'):.2f}")
check(p["activities"]["translated"]["ns"] == 0, "interp: time in translated code")
p, _, text = load("unnamed")
check("symbol" not in p["guest"][0] and p["guest"][0]["ns"] > 0, "names from nowhere")
END

# perf's map of names: right, private, and started afresh when the cache is flushed.
mapped() { # NAME [options]: a run whose map is kept as NAME.map
    local name=$1 pid
    shift
    "$RINGDOWN" run --kernel "$KERNEL" --memory 64M --debug-exit --serial null --perf-map --timeout 60 \
        --stats-json "$DIR/$name.stats" "$@" </dev/null 2>"$DIR/$name.err" &
    pid=$!
    wait $pid
    [ $? = 1 ] && [ "$(stat -c %a "/tmp/perf-$pid.map")" = 600 ] && mv "/tmp/perf-$pid.map" "$DIR/$name.map" ||
        fail "--perf-map: $(head -n 1 "$DIR/$name.err")"
}
mapped whole --symbols "$KERNEL"
mapped small --symbols "$KERNEL" --cache-size 64K
grep -q '\[kernel\] hot_loop+0x' "$DIR/whole.map" || fail "hot_loop is not in perf's map"
[ "$(stat_value "$DIR/small.stats" flushes)" -ge 1 ] || fail "a cache of 64K was not flushed"
for name in whole small; do
    sort "$DIR/$name.map" | python3 -c '
import sys
end = 0
for line in sys.stdin:
    start, size, name = line.rstrip("\n").split(" ", 2)
    assert int(start, 16) >= end and int(size, 16) > 0 and name, line
    end = int(start, 16) + int(size, 16)
' || fail "$name: entries overlap"
done
[ "$(wc -c <"$DIR/small.map")" -lt 65536 ] || fail "the map of a small cache grows without bounds"

# perf itself, where it may be used.
seen="perf not tried"
if perf record -q -e cpu-clock -o "$DIR/none" true >/dev/null 2>&1; then
    perf record -q -e cpu-clock -o "$DIR/perf.data" "$RINGDOWN" run --kernel "$KERNEL" --memory 64M --debug-exit --serial null \
        --append long --perf-map --symbols "$KERNEL" >/dev/null 2>&1 </dev/null
    perf report -i "$DIR/perf.data" --stdio --sort symbol >"$DIR/report" 2>/dev/null
    rm -f "/tmp/perf-$(perf script -i "$DIR/perf.data" -F pid 2>/dev/null | head -n 1 | tr -d ' ').map"
    grep -v '^#' "$DIR/report" | grep . | head -n 1 | grep -q 'hot_loop+0x' ||
        fail "perf does not name the hot loop: $(grep -v '^#' "$DIR/report" | grep . | head -n 3)"
    seen="perf names it too"
fi
pass "the hot loop, call-outs and faults are named; $seen"
