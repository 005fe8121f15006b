# SPDX-License-Identifier: MIT
"""The pictures of a benchmark run, as SVG: ratios of all workloads, and curves of growth."""
import math
import statistics

from groups import grouped

COLOURS = {"native": "#888888", "bt": "#0b6e4f", "interp": "#b07d12", "qemu": "#c0392b", "bochs": "#6c4ba0", "kvm": "#2867b2"}
TITLES = {"native": "native", "bt": "ringdown bt", "interp": "ringdown interp", "qemu": "QEMU TCG", "bochs": "Bochs", "kvm": "KVM"}


class Picture:
    """An SVG file in the making."""

    def __init__(self):
        self.out, self.size = [], (0, 0)

    def text(self, x, y, words, size, colour="#222", anchor="start", weight="normal"):
        words = words.replace("&", "&amp;").replace("<", "&lt;")
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
                        f'font-weight="{weight}">{words}</text>')

    def write(self, path):
        with open(path, "w") as f:
            f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.size[0]:.0f}" height="{self.size[1]:.0f}" '
                    f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>\n' + "\n".join(self.out) + "\n</svg>\n")


class RatioChart(Picture):
    """Ratios on a logarithmic axis: a row a workload, a dot an engine, a line from its best to its worst round."""

    LEFT, WIDTH, ROW, TOP = 150, 620, 15, 96

    def __init__(self, s, headline):
        super().__init__()
        self.s = s
        engines = [e for e in s.times if e != s.base]
        ratios = [r for n in s.names for e in engines for r in [s.ratio(e, n)] if r]
        self.low = min([0.5] + [r[1] for r in ratios])
        self.high = max([10] + [r[2] for r in ratios])
        groups = list(grouped(s.names))
        rows = sum(len(n) + 2 for _, n in groups)
        self.bottom = self.TOP + rows * self.ROW + 8
        self.axis()
        y = self.TOP
        for title, names in groups:
            y += 1.4 * self.ROW
            self.text(12, y, title, 12, weight="bold")
            for i, e in enumerate(engines):
                m = s.mean(e, names)
                if m and len(names) > 1:
                    self.text(self.LEFT + self.WIDTH + 14 + 62 * i, y, f"{m[0]:.2f}", 11, COLOURS[e], weight="bold")
            for n in names:
                y += self.ROW
                self.row(n, y, engines)
            y += 0.6 * self.ROW
        self.legend(engines, headline)
        self.size = self.LEFT + self.WIDTH + 210, self.bottom + 12

    def x(self, v):
        return self.LEFT + self.WIDTH * (math.log(v) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))

    def axis(self):
        for v in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
            if self.low <= v <= self.high:
                x, wide = self.x(v), v == 1
                self.out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.TOP}" y2="{self.bottom}" '
                                f'stroke="{"#555" if wide else "#ddd"}" stroke-width="{1.5 if wide else 1}"/>')
                self.text(x, self.TOP - 6, f"{v:g}x", 11, "#555", "middle")

    def row(self, name, y, engines):
        self.text(self.LEFT - 8, y + 4, name, 11, anchor="end")
        for e in engines:
            r = self.s.ratio(e, name)
            if not r:
                continue
            c = COLOURS[e]
            self.out.append(f'<line x1="{self.x(r[1]):.1f}" x2="{self.x(r[2]):.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{c}" stroke-width="2"/>'
                            f'<circle cx="{self.x(r[0]):.1f}" cy="{y:.1f}" r="{5 if e == "bt" else 4}" fill="{c}"><title>{name} {e}: {r[0]:.2f}</title></circle>')

    def legend(self, engines, headline):
        self.text(12, 22, headline[0], 15, weight="bold")
        for i, line in enumerate(headline[1:3]):
            self.text(12, 40 + 15 * i, line, 11, "#555")
        x = 12
        for e in engines:
            m = self.s.mean(e, self.s.names)
            label = TITLES[e] + (f" ({m[0]:.2f})" if m else "")
            self.out.append(f'<circle cx="{x + 5}" cy="70" r="5" fill="{COLOURS[e]}"/>')
            self.text(x + 14, 74, label, 12)
            x += 30 + 7 * len(label)


class ScaleChart(Picture):
    """A panel for each cost: nanoseconds over the number of processes, both logarithmic, a curve an engine;
    below it the same over the guest's memory. A flat curve is what is hoped for."""

    WIDE, HIGH, GAP = 260, 190, 70

    def __init__(self, points, headline, growth):
        super().__init__()
        self.growth = growth
        self.text(12, 22, "Cost of an operation as the guest grows", 15, weight="bold")
        self.text(12, 40, headline, 11, "#555")
        x = 12
        for e in dict.fromkeys(p["engine"] for p in points):
            self.out.append(f'<circle cx="{x + 5}" cy="58" r="5" fill="{COLOURS[e]}"/>')
            self.text(x + 14, 62, TITLES[e], 12)
            x += 34 + 7 * len(TITLES[e])
        for row, (axis, unit) in enumerate((("processes", "processes"), ("mib", "MiB of guest memory"))):
            for column, what in enumerate(("switch", "fault", "fork")):
                self.panel(60 + column * (self.WIDE + self.GAP), 90 + row * (self.HIGH + self.GAP), what, axis, unit,
                           [p for p in points if p["what"] == what and (p["memory"] == "512M") == (axis == "processes")])
        self.size = 60 + 3 * (self.WIDE + self.GAP), 90 + 2 * (self.HIGH + self.GAP)

    def panel(self, left, top, what, axis, unit, points):
        curves = {}
        for p in points:
            mib = float(p["memory"][:-1]) * (1024 if p["memory"][-1] == "G" else 1)
            curves.setdefault(p["engine"], {}).setdefault(p["processes"] if axis == "processes" else mib, []).append(p["ns"])
        if not curves:
            return
        xs = sorted({x for c in curves.values() for x in c})
        ys = [statistics.median(v) for c in curves.values() for v in c.values()]
        low, high = 10 ** math.floor(math.log10(max(min(ys), 1))), 10 ** math.ceil(math.log10(max(max(ys), 10)))

        def at(x, y):
            span = math.log(xs[-1] / xs[0]) or 1
            return (left + self.WIDE * math.log(x / xs[0]) / span, top + self.HIGH * (1 - math.log(y / low) / math.log(high / low)))

        rows = self.growth.get((what, "processes" if axis == "processes" else "memory"), [])
        within = ", ".join(f"{e} {factor:.1f}" for e, factor, _, _ in rows)
        self.text(left, top - 8, f"{what}, ns", 12, weight="bold")
        self.text(left + self.WIDE, top - 8, f"within: {within}" if within else "", 10, "#555", "end")
        v = low
        while v <= high:
            y = at(xs[0], v)[1]
            self.out.append(f'<line x1="{left}" x2="{left + self.WIDE}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            self.text(left - 6, y + 4, f"{v:g}", 10, "#555", "end")
            v *= 10
        for x in xs:
            self.text(at(x, low)[0], top + self.HIGH + 14, f"{x:g}", 10, "#555", "middle")
        self.text(left + self.WIDE / 2, top + self.HIGH + 28, unit, 10, "#555", "middle")
        for e, curve in curves.items():
            dots = [at(x, max(statistics.median(curve[x]), 1)) for x in sorted(curve)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
            self.out.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[e]}" stroke-width="2"/>')
            self.out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[e]}"/>' for x, y in dots]
