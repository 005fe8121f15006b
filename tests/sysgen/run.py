#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random system code, the translator against the interpreter in lock step.

One guest runs many cases (guest.c says what they are); a case that ends the guest ends with it, and the next
guest goes on behind it. A case in which the engines differ is cut down to the statements that it needs, which are
shown disassembled, with the command that runs it again. Same seed and number, same case."""
import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

STATEMENTS = 96
ENDINGS = {1: "debug exit", 3: "shutdown", 4: "halt"}


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--build", default="build", help="build directory")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--first", type=int, default=0, help="number of the first case")
    p.add_argument("--count", type=int, default=200)
    p.add_argument("--time", type=float, help="go on for so many seconds instead of a count")
    p.add_argument("--batch", type=int, default=100, help="cases a guest")
    p.add_argument("--crashme", action="store_true", help="random bytes outside ring 0 instead of system code")
    p.add_argument("--rep", action="store_true", help="repeated comparisons, too")
    p.add_argument("--option", action="append", default=[], help="an option for the monitor, e.g. --option=--compare=1")
    p.add_argument("--drop", default="", help="statements left out of a single case, to run a reduced one again")
    p.add_argument("--limit", type=int, default=5, help="differences after which to stop")
    p.add_argument("--timeout", type=float, default=3, help="seconds a case may stand still")
    p.add_argument("--reduce", type=float, default=60, help="seconds for cutting a case down")
    return p.parse_args()


class Result:
    def __init__(self, status, guest, said, hung):
        self.status, self.guest, self.said, self.hung = status, guest, said, hung
        cases = re.findall(r"^case (\d+)", guest, re.M)
        self.last = int(cases[-1]) if cases else None
        self.done = "1 passed, 0 failed" in guest
        self.differs = "ringdown: lock step: " in said
        self.astray = "FAIL unexpected trap" in guest # its own kernel trapped
        # The debug-exit port makes odd ones, whatever the guest has written there.
        ended = status in ENDINGS or status & 1 and status > 0
        self.monitor = not self.differs and not hung and (not ended or "the monitor itself has failed" in said)

    @property
    def bad(self):
        return self.differs or self.monitor


class Run:
    def __init__(self, a, directory):
        self.a, self.dir = a, directory
        self.ringdown = os.path.join(a.build, "ringdown")
        self.elf = os.path.join(a.build, "tests", "sysgen", "sysgen.elf")
        self.ends = collections.Counter()
        self.hung = [] # numbers of cases that stand still

    def append(self, first, count, drop="", show=False):
        words = ["seed=%d first=%d count=%d" % (self.a.seed, first, count)]
        words += ["crashme"] * self.a.crashme + ["rep"] * self.a.rep + ["show"] * show
        return " ".join(words + (["drop=" + drop] if drop else []))

    def command(self, append):
        return [self.ringdown, "run", "--engine", "lockstep", *self.a.option, "--memory", "8M", "--kernel", self.elf,
                "--append", append, "--debug-exit", "--serial", "stdio"]

    def guest(self, first, count, drop="", show=False):
        """Runs until nothing more comes."""
        files = [os.path.join(self.dir, n) for n in ("guest", "said")]
        hung, size, since = False, -1, time.monotonic()
        with open(files[0], "wb") as out, open(files[1], "wb") as err:
            p = subprocess.Popen(self.command(self.append(first, count, drop, show)), stdin=subprocess.DEVNULL,
                                 stdout=out, stderr=err)
            while True:
                try:
                    p.wait(timeout=0.5)
                    break
                except subprocess.TimeoutExpired:
                    pass
                now = os.path.getsize(files[0])
                if now != size:
                    size, since = now, time.monotonic()
                elif time.monotonic() - since > self.a.timeout:
                    hung = True
                    p.kill()
                    p.wait()
                    break
        text = [open(f, errors="replace").read().replace("\r", "") for f in files]
        return Result(p.returncode, text[0], text[1], hung)

    def reduce(self, first, number, result):
        """The statements left out of a failing case; None if the case alone does not fail."""
        if first != number and not self.guest(number, 1).bad:
            return None
        kept, chunk = list(range(STATEMENTS)), STATEMENTS // 2
        end = time.monotonic() + self.a.reduce
        dropped = lambda keep: ",".join(str(n) for n in range(STATEMENTS) if n not in keep)
        while chunk and time.monotonic() < end:
            at, shorter = 0, False
            while at < len(kept) and time.monotonic() < end:
                fewer = kept[:at] + kept[at + chunk:]
                r = self.guest(number, 1, dropped(fewer))
                if r.differs == result.differs and r.bad:
                    kept, shorter = fewer, True
                else:
                    at += chunk
            if not shorter or chunk > 1:
                chunk //= 2
        return dropped(kept)

    def disassemble(self, line):
        number, address, bits, kind, *code = line.split()[1:]
        print("  statement %s at %s (%s)" % (number, address, kind))
        if not code:
            return
        if not shutil.which("objdump"):
            print("    " + code[0])
            return
        path = os.path.join(self.dir, "code")
        with open(path, "wb") as f:
            f.write(bytes.fromhex(code[0]))
        out = subprocess.run(["objdump", "-D", "-b", "binary", "-m", "i386" if bits == "32" else "i8086", "-M", "intel",
                              "--adjust-vma=0x" + address, path], capture_output=True, text=True).stdout
        for text in re.findall(r"^ +[0-9a-f]+:\t.*$", out, re.M):
            print("    " + text.strip().expandtabs())

    def report(self, first, result):
        number = result.last
        print("\ncase %s of seed %d: %s" % (number, self.a.seed,
              "the engines differ" if result.differs else "the monitor ended with status %d" % result.status))
        drop = self.reduce(first, number, result) if number is not None else None
        if drop is None:
            print("  only after the cases before it, from %d on" % first)
            again = self.append(first, (number or first) - first + 1)
        else:
            again = self.append(number, 1, drop)
            shown = self.guest(number, 1, drop, True)
            lost = set(drop.split(","))
            for line in re.findall(r"^statement .*$", shown.guest, re.M):
                if line.split()[1] not in lost:
                    self.disassemble(line)
            for line in re.findall(r"^trap .*$", shown.guest, re.M)[-3:]:
                print("  " + line)
            result = self.guest(number, 1, drop) if not shown.bad else shown
        print(result.said.rstrip())
        print("again: " + " ".join(self.command("'%s'" % again)), flush=True)

    def all(self):
        a, at, bad, start = self.a, self.a.first, 0, time.monotonic()
        if a.drop:
            a.count = 1
        while (time.monotonic() - start < a.time) if a.time else at < a.first + a.count:
            count = a.batch if a.time else min(a.batch, a.first + a.count - at)
            r = self.guest(at, count, a.drop)
            if r.bad:
                bad += 1
                self.report(at, r)
            self.ends["hung" if r.hung else "all" if r.done else "different" if r.bad else "astray" if r.astray else ENDINGS.get(r.status, ENDINGS[1])] += 1
            if r.hung:
                self.hung.append(r.last)
            at = at + count if r.done or r.last is None else r.last + 1
            if bad >= a.limit:
                break
        what = "crashme" if a.crashme else "system code"
        print("%s: seed %d, cases %d to %d, %d differ; %d guests (%s), %.0f s" % (
            what, a.seed, a.first, at - 1, bad, sum(self.ends.values()),
            ", ".join("%d %s" % (n, k) for k, n in sorted(self.ends.items())), time.monotonic() - start))
        if self.hung:
            print("  stood still: " + " ".join(str(n) for n in self.hung))
        return bad or len(self.hung) * 4 > at - a.first # a generator that does nothing shows nothing


def main():
    a = arguments()
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(1 if Run(a, directory).all() else 0)


main()
