# SPDX-License-Identifier: MIT
"""One run of one program or virtual machine: its console stamped line by line, its memory, its time.

A console line `RES name repetition iterations nanoseconds checksum` is a result. The guest's own clock
gives the nanoseconds; the host's stamps of the lines around it tell whether that clock runs true.
"""
import os
import re
import select
import signal
import subprocess
import time


def machine_cpu():
    """Busy and stolen seconds of the whole machine since its start."""
    with open("/proc/stat") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    hz = os.sysconf("SC_CLK_TCK")
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / hz, v[7] / hz


def memory_above_guest(pid, guest_bytes):
    """KiB: what a machine's process holds beside its guest's memory, and what page tables it costs.

    Guest memory is the mapping, or the memfd however often it is mapped, that has the guest's size or
    more. Other files in memory count once, by the largest share of them that one mapping shows.
    """
    anon = 0
    files = {}
    is_guest = False
    try:
        with open(f"/proc/{pid}/smaps") as f:
            for line in f:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ (\S+) \S+ (\S+)\s*(.*)", line)
                if m:
                    size = int(m[2], 16) - int(m[1], 16)
                    what = m[4], m[5], m[3]
                    is_guest = "ringdown-ram" in m[5] or (m[4] == "0" and size >= guest_bytes)
                elif line.startswith("Rss:"):
                    rss = int(line.split()[1])
                elif line.startswith("Anonymous:") and not is_guest:
                    own = int(line.split()[1])
                    anon += own
                    files[what] = max(files.get(what, 0), rss - own)
        with open(f"/proc/{pid}/status") as f:
            tables = int(re.search(r"VmPTE:\s+(\d+)", f.read())[1])
    except (OSError, TypeError):
        return None
    shared = sum(files.values())
    return {"anon_kib": anon, "file_kib": shared, "total_kib": anon + shared, "page_tables_kib": tables}


class Run:
    """One run. lines: [(seconds, text)]; results: {name: [(guest_ns, host_ns, iterations, checksum)]}."""

    def __init__(self, command, env=None, guest_bytes=0, limit=600, patience=120, stop_at=None, show=None, console=None):
        self.lines, self.results, self.memory = [], {}, None
        self.begun = self.ended = False
        self.current = None
        busy0, steal0 = machine_cpu()
        self.before = os.times()
        self.start = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=env, start_new_session=True)
        fd = self.process.stdout.fileno() if console is None else console
        self.errors = b""
        buffer, last, stamp = b"", time.monotonic(), None
        streams = [fd, self.process.stderr.fileno()] + ([self.process.stdout.fileno()] if console is not None else [])
        why = None
        while why is None:
            ready, _, _ = select.select(streams, [], [], 0.25)
            now = time.monotonic()
            for s in ready:
                chunk = os.read(s, 65536)
                if not chunk:
                    streams.remove(s)
                elif s == fd:
                    last = now
                    buffer += chunk
                else:
                    self.errors = (self.errors + chunk)[-20000:]
            if fd not in streams:
                why = "end"
            while b"\n" in buffer:
                raw, buffer = buffer.split(b"\n", 1)
                text = raw.decode("latin-1").rstrip("\r")
                at = now - self.start
                self.lines.append((round(at, 6), text))
                stamp = self.note(text, at, stamp, guest_bytes, show)
                if stop_at and text.startswith(stop_at):
                    why = "stop"
            if now - self.start > limit or now - last > patience:
                why = "timeout"
            elif not ready and self.process.poll() is not None:
                why = "end"
        self.why = why
        self.finish()
        busy1, steal1 = machine_cpu()
        self.wall = time.monotonic() - self.start
        self.steal = steal1 - steal0
        self.others = max(0.0, busy1 - busy0 - self.cpu)

    def note(self, text, at, stamp, guest_bytes, show):
        word = text.split()
        if not word:
            return stamp
        if word[0] == "INIT":
            self.init_at = at
            if guest_bytes:
                self.memory = memory_above_guest(self.process.pid, guest_bytes)
        elif word[0] == "BEGIN" and len(word) == 2:
            self.current = word[1]
            return at
        elif word[0] == "DONE":
            self.ended = True
        elif word[0] == "RES" and len(word) == 6 and stamp is not None:
            self.results.setdefault(word[1], []).append((int(word[4]), int((at - stamp) * 1e9), int(word[3]), word[5]))
            self.current = None
            if show:
                show(word[1], int(word[4]) / int(word[3]))
            return at
        return stamp

    def finish(self):
        if self.why == "end":
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                pass
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        after = os.times()
        self.cpu = (after.children_user + after.children_system
                    - self.before.children_user - self.before.children_system)
        self.process.stdout.close()
        self.process.stderr.close()
        self.status = self.process.returncode

    def first(self, needle):
        return next((at for at, text in self.lines if needle in text), None)
