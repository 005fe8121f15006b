#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Differential tests: the host's processor against the engines, instruction by instruction.

Cases come from the instruction table in chunks; each chunk runs on the host (a 32-bit process) and in a guest
kernel under each engine, which compares with the host's results. A difference is shown with its code, inputs
and all results, and can be had again by the same seed and its number (--first N --count 1)."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

BATCH = 3200  # slots: chunks are multiples of it
TRIES = 3
PROGRESS = 500000  # a run of more cases tells how far it is


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default="build", help="build directory")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--first", type=int, default=0, help="number of the first case")
    p.add_argument("--count", type=int, default=64000)
    p.add_argument("--time", type=float, help="go on for so many seconds instead of a count")
    p.add_argument("--only", help="names of operations, comma-separated")
    p.add_argument("--engines", default="interp,bt")
    p.add_argument("--monitor", help="the ringdown to run, BUILD/ringdown without")
    p.add_argument("--stress", help="as ringdown's own, for all engines but interp")
    p.add_argument("--limit", type=int, default=10, help="differences shown")
    p.add_argument("--coverage", help="write the map of forms and tests as JSON")
    p.add_argument("--timeout", type=float, default=120, help="seconds a chunk may take")
    return p.parse_args()


class Run:
    def __init__(self, a, directory):
        self.a, self.dir = a, directory
        here = os.path.join(a.build, "tests", "differential")
        self.tool = os.path.join(here, "rd_cases")
        self.oracle = os.path.join(here, "rd_oracle")
        self.guest = os.path.join(here, "differential.elf")
        self.ringdown = a.monitor or os.path.join(a.build, "ringdown")
        self.cases = self.shown = self.different = self.stalls = self.unjudged = 0

    def patiently(self, command, **kw):
        """Some hosts punish a locked access across two cache lines so much that on a busy processor such an
        instruction does not get done for minutes, natively neither: so what takes too long is tried again."""
        for _ in range(TRIES - 1):
            try:
                return subprocess.run(command, timeout=self.a.timeout, **kw)
            except subprocess.TimeoutExpired:
                self.stalls += 1
                print("no end after %g s, trying again: %s" % (self.a.timeout, " ".join(command)), flush=True)
        return subprocess.run(command, timeout=self.a.timeout, **kw)

    def check(self, command, **kw):
        try:
            r = self.patiently(command, **kw)
        except subprocess.TimeoutExpired:
            sys.exit("%s: no end after %g s" % (" ".join(command), self.a.timeout))
        if r.returncode:
            sys.exit("%s: status %d" % (" ".join(command), r.returncode))
        return r

    def engine(self, name, path, append):
        command = [self.ringdown, "run", "--engine", name, "--memory", "256M", "--kernel", self.guest,
                   "--module", path, "--append", append, "--debug-exit", "--serial", "stdio"]
        if os.environ.get("RINGDOWN_HOST_FACTS"):
            command += ["--host-facts", os.environ["RINGDOWN_HOST_FACTS"]]
        if self.a.stress and name != "interp":
            command += ["--stress", self.a.stress]
        try:
            r = self.patiently(command, stdin=subprocess.DEVNULL, capture_output=True)
        except subprocess.TimeoutExpired:
            return None, "%s: no end after %g s" % (name, self.a.timeout)
        lines = r.stdout.decode("ascii", "replace").replace("\r", "").split("\n")
        if not any(" passed, " in l for l in lines):
            return None, "%s: status %d: %s %s" % (name, r.returncode, lines[-3:], r.stderr.decode()[-500:])
        return lines, None

    def result_of(self, engine, path, index):
        lines, error = self.engine(engine, path, "once limit=0 show=%d" % index)
        if error:
            return error
        return next((l.split()[3] for l in lines if l.startswith("D %d " % index)), "")

    def show(self, path, index, why):
        self.different += 1
        if self.shown >= self.a.limit:
            return
        self.shown += 1
        results = [self.result_of(e, path, index) for e in self.a.engines.split(",")]
        print("--- %s; after the host's result: %s" % (why, self.a.engines), flush=True)
        subprocess.run([self.tool, "show", path, str(index)] + results)

    def disagreement(self, path, outputs):
        """The engines' hashes differ: finds the cases."""
        lists = []
        for e in outputs:
            lines, error = self.engine(e, path, "once limit=0 list")
            if error:
                print(error)
                return
            lists.append({l.split()[1]: l.split()[2:] for l in lines if l.startswith("L ")})
        for index in lists[0]:
            if any(o.get(index) != lists[0][index] for o in lists[1:]):
                self.show(path, int(index), "the engines differ")

    def chunk(self, first, count):
        raw, path = os.path.join(self.dir, "cases"), os.path.join(self.dir, "results-%d" % first)
        only = [self.a.only] if self.a.only else []
        told = self.check([self.tool, "generate", str(self.a.seed), str(first), str(count), raw] + only,
                          capture_output=True, text=True)
        self.unjudged += int(told.stdout.split()[0])
        self.check([self.oracle, raw, path])
        outputs, seen = {}, set()
        for e in self.a.engines.split(","):
            lines, error = self.engine(e, path, "limit=100")
            if error:
                print("cases %d to %d: %s" % (first, first + count - 1, error))
                self.different += 1
                continue
            outputs[e] = [l for l in lines if l.startswith("H ")]
            for l in lines:
                w = l.split(" ")
                if w[0] in ("D", "T") and int(w[1]) not in seen:
                    seen.add(int(w[1]))
                    self.show(path, int(w[1]), "%s %s" % (e, "differs" if w[0] == "D" else
                                                          "differs in its second run"))
        values = list(outputs.values())
        if any(v != values[0] for v in values[1:]) and not seen:
            self.disagreement(path, outputs)
        self.cases += count
        return path


def main():
    a = arguments()
    with tempfile.TemporaryDirectory(prefix="rd-diff-") as directory:
        r = Run(a, directory)
        start, first, paths = time.monotonic(), a.first // BATCH * BATCH, []
        end = a.first + a.count
        while (time.monotonic() - start < a.time) if a.time else first < end:
            size = 16 * BATCH if a.time else min(16 * BATCH, end - first)
            path = r.chunk(first, size)
            if len(paths) < 4:
                paths.append(path)
            else:
                os.unlink(path)
            first += size
            if sys.stdout.isatty() or a.time or a.count > PROGRESS:
                print("%d cases, %d differences, %.0f s" % (r.cases, r.different, time.monotonic() - start),
                      flush=True)
        status = 1 if r.different else 0
        covered = subprocess.run([r.tool, "coverage"] + paths, capture_output=True, text=True)
        table = json.loads(covered.stdout)
        if a.coverage:
            with open(a.coverage, "w") as f:
                f.write(covered.stdout)
        print("forms with tests, of those offered: " +
              ", ".join("%s %d/%d" % (k, v[0], v[1]) for k, v in table["classes"].items()))
        if covered.returncode and not a.only and r.cases >= 16 * BATCH:
            print(covered.stderr, end="")
            status = 1
        if r.unjudged:
            print("%d cases not judged, wholly or in part, by this host, which does otherwise" % r.unjudged)
        stalls = ", %d stalls of the host" % r.stalls if r.stalls else ""
        print("%d cases, %s, seed %d: %d differences%s" % (r.cases, a.engines, a.seed, r.different, stalls))
        return status


if __name__ == "__main__":
    sys.exit(main())
