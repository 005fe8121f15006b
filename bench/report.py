# SPDX-License-Identifier: MIT
"""results.json -> a table, a CSV file and a picture.

Ratios are taken round by round against the reference of the same round, then the median of the rounds
is shown with the smallest and the largest. The reference is the native run, or QEMU where there is none.
Bochs counts instructions instead of time, so the host's clock times it; so it does every guest whose own
clock was found to run wrong.
"""
import csv
import json
import math
import os
import statistics

from chart import TITLES, RatioChart, ScaleChart
from groups import GROUPS, KERNEL_BOUND, SELF_MODIFYING, USER_COMPUTE, grouped


def per_iteration(entry, wrong_clock):
    column = 1 if wrong_clock else 0
    return statistics.median(r[column] / r[2] for r in entry)


def clock_is_wrong(rounds, engine):
    """The median of host time over guest time, over runs long enough to tell."""
    shares = [r[1] / r[0] for d in rounds for entry in d["results"].values() for r in entry if r[0] > 50e6]
    return engine == "bochs" or bool(shares) and not 0.9 < statistics.median(shares) < 1.1


class Suite:
    """times[engine][round][workload] = ns an iteration."""

    def __init__(self, rounds):
        self.times, self.sums, self.lost, self.wrong = {}, {}, {}, []
        for engine in dict.fromkeys(d["engine"] for d in rounds):
            own = [d for d in rounds if d["engine"] == engine]
            wrong = clock_is_wrong(own, engine)
            if wrong:
                self.wrong.append(engine)
            self.times[engine] = {d["round"]: {n: per_iteration(e, wrong) for n, e in d["results"].items()} for d in own}
            for d in own:
                for name, why in d["lost"].items():
                    self.lost.setdefault((engine, name), why)
                for name, entry in d["results"].items():
                    self.sums.setdefault((name, entry[0][2]), {}).setdefault(entry[0][3], set()).add(engine)
        self.names = list(dict.fromkeys(n for d in rounds for n in d["results"]))
        self.base = "native" if "native" in self.times else "qemu" if "qemu" in self.times else next(iter(self.times))

    def ns(self, engine, name):
        got = [r[name] for r in self.times[engine].values() if name in r]
        return statistics.median(got) if got else None

    def ratio(self, engine, name, base=None):
        base = base or self.base
        if engine not in self.times or base not in self.times:
            return None
        mine, other = self.times[engine], self.times[base]
        got = [mine[k][name] / other[k][name] for k in mine if k in other and name in mine[k] and other[k].get(name)]
        return (statistics.median(got), min(got), max(got)) if got else None

    def mean(self, engine, names, base=None, best=False):
        got = [r[1 if best else 0] for r in (self.ratio(engine, n, base) for n in names) if r]
        return (math.exp(sum(map(math.log, got)) / len(got)), len(got)) if got else None

    def disagreements(self):
        return [f"{name}: " + ", ".join(f"{s} on {'+'.join(sorted(e))}" for s, e in sums.items())
                for (name, _), sums in self.sums.items() if len(sums) > 1]


def suite_table(s):
    others = [e for e in s.times if e != s.base]
    out = [f"{'workload':16s}{s.base + ' ns':>14s}" + "".join(f"{e + '/' + s.base:>26s}" for e in others)
           + (f"{'qemu/bt':>10s}" if {"bt", "qemu"} <= set(s.times) else "")]
    for title, names in grouped(s.names):
        out.append(f"-- {title}")
        for n in names:
            base = s.ns(s.base, n)
            line = f"{n:16s}" + (f"{base:14.1f}" if base else f"{'-':>14s}")
            for e in others:
                r = s.ratio(e, n)
                text = f"{r[0]:.2f} [{r[1]:.2f}..{r[2]:.2f}]" if r else ("lost" if (e, n) in s.lost else "-")
                line += f"{text:>26s}"
            r = s.ratio("qemu", n, "bt")
            out.append(line + (f"{r[0]:10.2f}" if r else ""))
        for e in others:
            m = s.mean(e, names)
            if m and len(names) > 1:
                out.append(f"   geometric mean, {e}: {m[0]:.2f} ({m[1]} of {len(names)})")
    out.append("")
    out += [f"geometric mean of all, {e} over {s.base}: {m[0]:.2f} ({m[1]} workloads)" for e in others for m in [s.mean(e, s.names)] if m]
    out += [f"lost: {name} on {e}: {why}" for (e, name), why in s.lost.items()]
    out += [f"timed by the host's clock: {e}" for e in s.wrong]
    out += [f"CHECKSUMS DIFFER: {d}" for d in s.disagreements()]
    return out


def marks(s):
    """The figures that the project's speed goals are stated in."""
    out = []

    def worst(names, base):
        got = [(r[0], n) for n in names for r in [s.ratio("bt", n, base)] if r]
        return max(got) if got else None

    if "bt" not in s.times:
        return out
    if "native" in s.times:
        for title, names in (("user compute", USER_COMPUTE), ("floating point", GROUPS["floating point"])):
            m, w = s.mean("bt", names, "native"), worst(names, "native")
            if m:
                out.append(f"{title}: {m[0]:.2f} times native (geometric mean of {m[1]}), worst {w[1]} {w[0]:.2f}")
        for name in ("fib", "vdispatch", "switchvm", "gotovm", "fptrvm", "smc_data", "getppid_vdso"):
            r = s.ratio("bt", name, "native")
            if r:
                out.append(f"{name}: {r[0]:.2f} times native")
    if "qemu" in s.times:
        for title, names in (("self-modifying and generated code", SELF_MODIFYING), ("kernel-bound work", KERNEL_BOUND)):
            m, w = s.mean("qemu", names, "bt"), worst(names, "qemu")
            if m:
                out.append(f"{title}: {m[0]:.2f} times as fast as QEMU TCG (geometric mean of {m[1]}), "
                           f"least {w[1]} {1 / w[0]:.2f}")
    return out


def boot_table(rounds):
    out = [f"{'engine':8s}{'to /init, s':>28s}{'processor s':>13s}{'MiB above guest':>17s}{'page tables MiB':>17s}"]
    medians = {}
    for e in dict.fromkeys(d["engine"] for d in rounds):
        own = [d for d in rounds if d["engine"] == e and d["init_s"]]
        if not own:
            out.append(f"{e:8s}{'no boot':>28s}")
            continue
        t = [d["init_s"] for d in own]
        medians[e] = statistics.median(t)
        text = f"{medians[e]:.3f} [{min(t):.3f}..{max(t):.3f}]"
        line = f"{e:8s}{text:>28s}{statistics.median(d['cpu_s'] for d in own):13.2f}"
        held = [d["memory"] for d in own if d["memory"]]
        if held:
            line += f"{statistics.median(m['total_kib'] for m in held) / 1024:17.1f}"
            line += f"{statistics.median(m['page_tables_kib'] for m in held) / 1024:17.1f}"
        out.append(line)
    if {"bt", "qemu"} <= set(medians):
        out.append(f"boot: bt takes {medians['bt'] / medians['qemu']:.2f} of QEMU TCG's time")
    return out, medians


def nano_table(rounds):
    engines = list(dict.fromkeys(d["engine"] for d in rounds))
    names = list(dict.fromkeys(n for d in rounds for n in d["cycles"]))
    out = [f"{'cycles':20s}" + "".join(f"{e:>12s}" for e in engines)]
    for n in names:
        line = f"{n:20s}"
        for e in engines:
            got = [d["cycles"][n] for d in rounds if d["engine"] == e and n in d["cycles"]]
            line += f"{statistics.median(got):12.1f}" if got else f"{'-':>12s}"
        out.append(line)
    return out


def memory_mib(text):
    return float(text[:-1]) * (1024 if text[-1] == "G" else 1)


def scale_table(points):
    engines = list(dict.fromkeys(p["engine"] for p in points))
    rows = sorted({(p["memory"] == "512M", p["what"], p["memory"], p["processes"]) for p in points},
                  key=lambda r: (not r[0], r[1], memory_mib(r[2]), r[3]))
    out = [f"{'ns':8s}{'memory':>8s}{'processes':>11s}" + "".join(f"{e:>12s}" for e in engines)]
    for _, what, memory, processes in rows:
        line = f"{what:8s}{memory:>8s}{processes:11d}"
        for e in engines:
            got = [p["ns"] for p in points if (p["engine"], p["what"], p["memory"], p["processes"]) == (e, what, memory, processes)]
            line += f"{statistics.median(got):12.0f}" if got else f"{'-':>12s}"
        out.append(line)
    return out


def growth(points):
    """By what factor each cost varies: {(what, axis): [(engine, factor, (x, ns) of the least, of the most)]}.

    A single process has nobody to switch to, so its "switch" does not count.
    """
    out = {}
    for p in points:
        axis = "processes" if p["memory"] == "512M" else "memory"
        x = p["processes"] if axis == "processes" else memory_mib(p["memory"])
        if (p["what"], axis, x) != ("switch", "processes", 1):
            out.setdefault((p["what"], axis), {}).setdefault(p["engine"], {}).setdefault(x, []).append(p["ns"])
    for key, engines in out.items():
        rows = []
        for e, curve in engines.items():
            medians = sorted((statistics.median(ns), x) for x, ns in curve.items())
            if len(medians) > 1:
                rows.append((e, medians[-1][0] / max(medians[0][0], 1), medians[0][::-1], medians[-1][::-1]))
        out[key] = rows
    return out


def growth_lines(points):
    unit = {"processes": "processes", "memory": "MiB"}
    out = []
    for (what, axis), rows in growth(points).items():
        for e, factor, (least_at, least), (most_at, most) in rows:
            out.append(f"{what} over {axis}, {e}: flat within {factor:.1f} (least {least:.0f} ns at {least_at:g} {unit[axis]}, "
                       f"most {most:.0f} ns at {most_at:g})")
    return out


def write_csv(path, s):
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["workload", "engine", "round", "ns_per_iteration"])
        for engine, rounds in s.times.items():
            for number, times in rounds.items():
                for name, ns in times.items():
                    w.writerow([name, engine, number, f"{ns:.3f}"])


def check_limits(s, boots, path):
    """limits: {"bt/native": {"fib": 2.0, ...}, "bt/qemu": {...}, "boot bt/qemu": 0.5}: what is exceeded.

    Each workload's best round counts, so that a busy machine does not look like a slow engine.
    """
    over = []
    with open(path) as f:
        limits = json.load(f)
    for pair, wanted in limits.items():
        if pair == "boot bt/qemu":
            if {"bt", "qemu"} <= set(boots) and boots["bt"] / boots["qemu"] > wanted:
                over.append(f"boot: {boots['bt'] / boots['qemu']:.2f} of QEMU's time, limit {wanted}")
            continue
        engine, base = pair.split("/")
        for name, limit in wanted.items():
            names = s.names if name == "all" else GROUPS.get(name, [name])
            m = s.mean(engine, names, base, best=True) if s else None
            if m is None:
                over.append(f"{pair} {name}: not measured")
            elif m[0] > limit:
                over.append(f"{pair} {name}: {m[0]:.2f}, limit {limit}")
    return over


def machine_lines(d):
    m, busy = d["machine"], []
    for kind in ("suite", "boot", "programs"):
        busy += [r["others"] for r in d.get(kind, [])]
    return [f"machine: {m['processor']}, {m['processors']} processors{' (virtual machine)' if m['virtual'] else ''}, "
            f"{m['memory_mib']} MiB, Linux {m['host_kernel']}; {m['date']}",
            f"guest: Debian {d['settings']['kernel']} {d['settings']['append']}, {d['settings']['memory']}; "
            f"{d['settings']['rounds']} interleaved rounds, iterations divided by {d['settings']['scale']}",
            f"noise: others used {m['others_before']:.2f} processors before"
            + (f", {statistics.median(busy):.2f} (at most {max(busy):.2f}) during the runs" if busy else "")]


def write(data, out, limits=""):
    lines, s, boots = machine_lines(data), None, {}
    if any(d["results"] for d in data["suite"]):
        s = Suite(data["suite"])
        lines += [""] + suite_table(s) + [""] + marks(s)
        write_csv(os.path.join(out, "results.csv"), s)
        RatioChart(s, [f"Time as a multiple of {TITLES[s.base]}", machine_lines(data)[0], machine_lines(data)[1]]).write(os.path.join(out, "chart.svg"))
    if any(d["results"] for d in data.get("programs", [])):
        p = Suite(data["programs"])
        lines += ["", "programs of Debian's i386 packages"] + suite_table(p)
        write_csv(os.path.join(out, "programs.csv"), p)
        RatioChart(p, [f"Debian's programs: time as a multiple of {TITLES[p.base]}", machine_lines(data)[0], machine_lines(data)[1]]).write(os.path.join(out, "programs.svg"))
    if data["boot"]:
        table, boots = boot_table(data["boot"])
        lines += [""] + table
    if data["nano"]:
        lines += [""] + nano_table(data["nano"])
    if data["scale"]:
        lines += [""] + scale_table(data["scale"]) + [""] + growth_lines(data["scale"])
        ScaleChart(data["scale"], machine_lines(data)[0], growth(data["scale"])).write(os.path.join(out, "scale.svg"))
    with open(os.path.join(out, "table.txt"), "w") as f:
        f.writelines(line + "\n" for line in lines)
    print("\n" + "\n".join(lines))
    print(f"\nwritten to {out}")
    over = check_limits(s, boots, limits) if limits else []
    for line in over:
        print(f"OVER THE LIMIT: {line}")
    return 1 if over else 0
