# SPDX-License-Identifier: MIT
"""Interleaved rounds of ringdown, the host itself and other emulators; run it as bench/run.

  bench/run                     the workloads and the boot, three rounds: bt, native, QEMU
  bench/run nano                what single privileged operations cost in a guest
  bench/run scale               how costs grow with processes and with memory
  bench/run programs            Debian's python3, sqlite3, openssl, gcc and others
  bench/run suite --only fib    workloads whose names begin so (NAME= is exact)
  bench/run --engines native,bt,interp,qemu,bochs -s 10 --rounds 5
  bench/run --report DIR        the tables again, from what an earlier run wrote
  bench/run --limits FILE       ends with status 1 where a ratio exceeds the file's limit

Everything is written to the output directory: results.json, results.csv, chart.svg, table.txt.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import time

import bochs
import report
from measure import Run, machine_cpu

ENGINES = ("native", "bt", "interp", "qemu", "bochs", "kvm")
# How much slower than native an engine may be expected to run: its iterations are divided by this.
SLOWNESS = {"interp": 10, "bochs": 5}
SCALE_POINTS = (1, 2, 10, 50, 100, 200, 500)
MEMORY_POINTS = ("64M", "256M", "1G", "3G")
PROGRAMS_MEMORY = "768M"


def parse():
    ap = argparse.ArgumentParser(prog="bench/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", nargs="*", help="suite, boot, nano, scale, programs (default: suite boot)")
    ap.add_argument("--engines", default="native,bt,qemu", help="commas between: " + " ".join(ENGINES))
    ap.add_argument("--rounds", "-r", type=int, default=3)
    ap.add_argument("-s", "--scale", type=int, default=1, help="divide the workloads' iterations")
    ap.add_argument("--only", default="", help="workload names or their beginnings, commas between")
    ap.add_argument("--kernel", default="686", help="686 or 686-pae")
    ap.add_argument("--append", default="", help="more words for the guest kernel's command line")
    ap.add_argument("--memory", default="256M")
    ap.add_argument("--options", default="", help="more options for ringdown run")
    ap.add_argument("--qemu", default="qemu-system-i386")
    ap.add_argument("--bochs", default="bochs")
    ap.add_argument("--cpu", type=int, default=None, help="the processor to pin the native run to (default: the last)")
    ap.add_argument("--patience", type=int, default=180, help="seconds without output after which a guest is given up")
    ap.add_argument("--limits", default="")
    ap.add_argument("--out", default="")
    ap.add_argument("--report", default="", metavar="DIR")
    ap.add_argument("--ringdown", default="", help=argparse.SUPPRESS)
    ap.add_argument("--guests", default="", help=argparse.SUPPRESS)
    ap.add_argument("--parts", default="", help=argparse.SUPPRESS)
    ap.add_argument("--image", default="", help=argparse.SUPPRESS)
    ap.add_argument("--programs-image", default="", help=argparse.SUPPRESS)
    ap.add_argument("--room", default="", help=argparse.SUPPRESS)
    a = ap.parse_args()
    a.what = a.what or ["suite", "boot"]
    for w in a.what:
        if w not in ("suite", "boot", "nano", "scale", "programs"):
            ap.error(f"nothing called {w}: suite, boot, nano, scale, programs")
    a.engines = a.engines.split(",")
    for e in a.engines:
        if e not in ENGINES:
            ap.error(f"no engine {e}: {' '.join(ENGINES)}")
    if a.cpu is None:
        a.cpu = max(os.sched_getaffinity(0))
    return a


def memory_bytes(text):
    return int(text[:-1]) << {"M": 20, "G": 30}[text[-1]]


def available(engine, a):
    if engine in ("native", "bt", "interp"):
        return True
    if engine == "kvm":
        return os.access("/dev/kvm", os.R_OK | os.W_OK) and shutil.which(a.qemu)
    return bochs.available(a.bochs) if engine == "bochs" else shutil.which(a.qemu) is not None


def guest_command(engine, a, kernel, initrd, append, memory):
    if engine in ("bt", "interp"):
        command = [a.ringdown, "run", "--engine", engine, "--kernel", kernel, "--memory", memory]
        command += ["--initrd", initrd] if initrd else ["--debug-exit"]
        return command + ["--append", append] + a.options.split()
    if engine in ("qemu", "kvm"):
        command = [a.qemu, "-accel", "kvm" if engine == "kvm" else "tcg", "-m", memory, "-kernel", kernel,
                   "-append", append, "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"]
        if initrd:
            return command + ["-initrd", initrd]
        return command + ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    raise ValueError(engine)


def run_guest(engine, a, mode, memory=None, image=None, **how):
    """Debian's kernel with the benchmark's initramfs; mode is what its command line asks for."""
    memory, image = memory or a.memory, image or a.image
    append = f"console=ttyS0,115200 quiet panic=-1 {a.append} {mode}"
    kernel = os.path.join(a.guests, f"linux-{a.kernel}", "vmlinuz")
    if engine == "bochs":
        # It goes on after the guest's end.
        how["stop_at"] = "INIT" if "mode=boot" in mode else "DONE"
        return bochs.run(a, kernel, image, append, memory_bytes(memory) >> 20, memory_bytes(memory), **how)
    return Run(guest_command(engine, a, kernel, image, append, memory), guest_bytes=memory_bytes(memory),
               patience=a.patience, limit=7200, **how)


def run_native(a, arguments, show):
    """One processor as the guest has; no code paths in the C library that a 686 guest does not take."""
    env = dict(os.environ, BENCH_BUSYBOX=os.path.join(a.guests, "root-i386/bin/busybox"), BENCH_TMP=a.scratch,
               GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM")
    return Run(["taskset", "-c", str(a.cpu)] + arguments, env=env, patience=a.patience, limit=3600, show=show)


class Shower:
    """Says on a terminal which workload is running, so that a long round is seen to live."""

    def __init__(self, title):
        self.title, self.count, self.tty = title, 0, sys.stdout.isatty()

    def __call__(self, name, ns):
        self.count += 1
        if self.tty:
            print(f"\r\033[K    {self.title}: {self.count} {name} {ns:.0f} ns", end="", flush=True)

    def end(self, text):
        print(("\r\033[K" if self.tty else "") + f"    {self.title}: {text}", flush=True)


class Kit:
    """A program that times workloads and says so in RES lines, and where it is to be found."""

    def __init__(self, a, file, native, **guest):
        self.file, self.native, self.guest = file, native, guest
        self.names = workload_names(a, os.path.join(a.parts, file))


def suite_kit(a):
    return Kit(a, "workloads", [os.path.join(a.parts, "workloads")])


def programs_kit(a):
    """In the image and in the chroot it is /bin/programs."""
    return Kit(a, "programs", a.room.split() + ["/bin/programs"] if a.room else None,
               image=a.programs_image, memory=PROGRAMS_MEMORY)


def suite_round(engine, a, number, kit):
    """All workloads on one engine. A guest that dies or hangs at one loses that one: the rest run in another."""
    shower = Shower(f"round {number}, {engine}")
    division = a.scale * SLOWNESS.get(engine, 1)
    names, results, lost, walls, others, steal = list(kit.names), {}, {}, 0.0, 0.0, 0.0
    while names:
        words = [f"{n}=" for n in names]
        if engine == "native":
            run = run_native(a, [*kit.native, "-s", str(division), *words], shower)
        else:
            arguments = ",".join([f"/bin/{kit.file}", "-s", str(division), *words])
            run = run_guest(engine, a, f"ringdown.mode=run ringdown.parts={arguments}", show=shower, **kit.guest)
        walls, others, steal = walls + run.wall, others + run.others, steal + run.steal
        results.update(run.results)
        if run.ended:
            break
        left = [n for n in names if n not in run.results]
        if len(left) == len(names) and run.current is None:
            for n in left:
                lost[n] = "the guest did not reach it"
            keep_evidence(a, f"{engine}.{number}.start", run)
            break
        culprit = run.current or left[0]
        lost[culprit] = "no end in sight" if run.why == "timeout" else f"the guest ended (status {run.status})"
        keep_evidence(a, f"{engine}.{number}.{culprit}", run)
        shower.end(f"{culprit}: {lost[culprit]}")
        names = [n for n in left if n != culprit]
    shower.end(f"{len(results)} workloads in {walls:.1f} s" + (f", {len(lost)} lost: {' '.join(lost)}" if lost else ""))
    return {"engine": engine, "round": number, "scale": division, "results": results, "lost": lost,
            "wall_s": walls, "others": others / walls, "steal_s": steal}


def keep_evidence(a, name, run):
    with open(os.path.join(a.out, f"lost.{name}.txt"), "w") as f:
        f.writelines(text + "\n" for _, text in run.lines)
        f.write("--- monitor\n" + run.errors.decode("latin-1"))


def boot_round(engine, a, number):
    run = run_guest(engine, a, "ringdown.mode=boot")
    at = getattr(run, "init_at", None)
    if at is None:
        keep_evidence(a, f"{engine}.{number}.boot", run)
    print(f"    round {number}, {engine}: " + (f"/init after {at:.3f} s" if at else "no boot"), flush=True)
    return {"engine": engine, "round": number, "init_s": at, "wall_s": run.wall, "cpu_s": run.cpu,
            "memory": run.memory, "others": run.others / run.wall}


def nano_round(engine, a, number):
    kernel = os.path.join(a.parts, "nano.elf")
    run = Run(guest_command(engine, a, kernel, None, "", "128M"), patience=60, limit=600)
    got = {}
    for _, text in run.lines:
        word = text.split()
        if len(word) == 3 and word[0] == "NANO":
            got[word[1]] = float(word[2]) / 100
    if not got:
        keep_evidence(a, f"{engine}.{number}.nano", run)
    print(f"    round {number}, {engine}: {len(got)} operations", flush=True)
    return {"engine": engine, "round": number, "cycles": got}


def scale_round(engine, a, number):
    """Costs with 1 to 500 processes in 512M, then with one in 64M to 3G."""
    out = []
    points = [str(p) for p in SCALE_POINTS]
    for memory in ("512M",) + MEMORY_POINTS:
        if engine == "native":
            if memory != "512M":
                continue
            run = run_native(a, [os.path.join(a.parts, "scale"), *points], None)
        else:
            words = ",".join(["/bin/scale", *(points if memory == "512M" else ["1"])])
            run = run_guest(engine, a, f"ringdown.mode=run ringdown.parts={words}", memory=memory)
        for _, text in run.lines:
            word = text.split()
            if len(word) == 4 and word[0] == "SCALE":
                out.append({"engine": engine, "round": number, "memory": memory, "what": word[1],
                            "processes": int(word[2]), "ns": float(word[3])})
        if not run.ended:
            keep_evidence(a, f"{engine}.{number}.scale.{memory}", run)
        print(f"    round {number}, {engine}, {memory}: {'done' if run.ended else 'did not end'}", flush=True)
    return out


def machine():
    cpu = mhz = ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name") and not cpu:
                cpu = line.split(":", 1)[1].strip()
            elif line.startswith("cpu MHz") and not mhz:
                mhz = line.split(":", 1)[1].strip()
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) // 1024
    with open("/proc/cpuinfo") as f:
        virtual = " hypervisor" in f.read()
    return {"processor": cpu, "mhz": mhz, "processors": len(os.sched_getaffinity(0)), "memory_mib": memory,
            "virtual": virtual, "host_kernel": platform.release(),
            "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"), "load": os.getloadavg()}


def quiet_share():
    """How much of a processor somebody else uses at the moment: one second of watching."""
    before = machine_cpu()[0]
    time.sleep(1)
    return machine_cpu()[0] - before


def workload_names(a, program):
    listing = subprocess.run([program, "-l"], stdout=subprocess.PIPE, check=True, text=True).stdout
    names = [line.split()[0] for line in listing.splitlines()]
    if a.only:
        wanted = a.only.split(",")
        names = [n for n in names if any(n == w[:-1] if w.endswith("=") else n.startswith(w) for w in wanted)]
    else:
        names = [n for n in names if n not in ("outb_80", "inb_61", "disk_seq64k", "disk_rand4k")]
    return names


def main():
    a = parse()
    if a.report:
        with open(os.path.join(a.report, "results.json")) as f:
            data = json.load(f)
        sys.exit(report.write(data, a.report, a.limits))
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    a.out = a.out or os.path.join(os.path.dirname(a.image), "..", "bench", stamp)
    a.out = os.path.normpath(a.out)
    os.makedirs(a.out, exist_ok=True)
    a.scratch = "/dev/shm" if os.access("/dev/shm", os.W_OK) else a.out
    missing = [e for e in a.engines if not available(e, a)]
    if missing:
        print(f"not found, left out: {' '.join(missing)}")
    engines = [e for e in a.engines if e not in missing]
    kits = {what: make(a) for what, make in (("suite", suite_kit), ("programs", programs_kit)) if what in a.what}
    for what, kit in kits.items():
        if not kit.names:
            sys.exit(f"bench/run: no workload of {what} begins with {a.only}")
    data = {"machine": machine(), "settings": {k: getattr(a, k) for k in ("kernel", "append", "memory", "rounds", "scale", "options")},
            "suite": [], "boot": [], "nano": [], "scale": [], "programs": []}
    data["machine"]["others_before"] = quiet_share()
    rounds = {"boot": boot_round, "nano": nano_round}
    for what in a.what:
        print(f"==> {what}: {a.rounds} interleaved rounds of {' '.join(engines)}", flush=True)
        for number in range(1, a.rounds + 1):
            for engine in engines:
                if what in ("boot", "nano") and (engine == "native" or (what == "nano" and engine == "bochs")):
                    continue
                if what == "scale":
                    data["scale"] += scale_round(engine, a, number)
                elif what in kits:
                    if engine != "native" or kits[what].native:
                        data[what].append(suite_round(engine, a, number, kits[what]))
                else:
                    data[what].append(rounds[what](engine, a, number))
                with open(os.path.join(a.out, "results.json"), "w") as f:
                    json.dump(data, f, indent=1)
    sys.exit(report.write(data, a.out, a.limits))


main()
