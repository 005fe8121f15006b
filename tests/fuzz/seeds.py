#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seed corpus: seeds.py DIRECTORY -> DIRECTORY/TARGET/*. The same bytes each time."""
import gzip
import os
import struct
import sys

# Guest code of every kind that the translator treats in its own way; 32-bit unless said otherwise.
CODE = {
    "moves": "b878563412 89c3 8b4304 8945f8 0fb64c2401 a100200000 c70500300000efbeadde",
    "arith": "01d8 83c001 6bc903 f7e1 f7f3 0fafc1 d1e0 c1e805 d3f8 0fa4c205 99 98 9f 9e f5 f9 f8",
    "stack": "50 5b 60 61 6a05 6878563412 ff742404 8f442408 c8100001 c9 9c 9d 1e 1f 0fa0 0fa1",
    "strings": "fc f3a4 f3a5 f3ab f2ae f3a6 aa ac a4 fd a5 66f3a5 67f3a4 d7",
    "control": "7402 0f8400000000 e800000000 eb00 e900000000 e2fe e3fc ffe0 ff1500300000 c3 c20400 c8",
    "far": "ea000000001b00 9a000000001b00 cb ca0400 cf cc cd80 ce 0f34 0f35 62d0 ff2d00300000",
    "system": "0f01e0 0f00c8 0f0100 0f0110 0f011d00200000 0f20c0 0f22d8 0f06 0f09 0f30 0f32 0f31 0fa2 fa fb f4",
    "io": "e464 e664 ec ee ed ef 6c 6d 6e 6f e5f4 e7f4 f36c f36e",
    "segments": "8ec0 8ed8 8cd8 8ee0 0fb20500300000 c50500300000 640f6f00 65a100000000 64668b07",
    "sse": "0f28c1 660f6fc2 f30f10c8 660fefc0 0fae00 0fae08 0fc7c0 0f11442410 660fe700 0fae38",
    "x87": "d9e8 d9ee dec1 dd1c24 dbe3 9bdbe2 df e0 dd2424 d9eb d8c9 ddd8 db2b",
    "atomics": "f00fb10b f00fc10b 87 03 f0ff00 f00fc70f 0fc8 0fbae003 f00fab03 0fbcc1",
    "prefixes": "6667a1 34126667f3a5 2e3e26646566 0fb603 f2f3a6 66909066f390",
    "smc": "c605090001 0090 90c70500000100 90909090 ebf2",
    "int_loop": "40 75fd 49 75fd 4a 75fd ebfe",
}


def code():
    return {name: bytes.fromhex(text.replace(" ", "")) for name, text in CODE.items()}


def bzimage(protocol=0x20F, loadflags=1, setup=4, size=4096, **fields):
    image = bytearray((setup + 1) * 512 + size)
    image[0x1F1] = setup
    struct.pack_into("<I", image, 0x1F4, size // 16)
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, protocol)
    image[0x211] = loadflags
    struct.pack_into("<I", image, 0x214, fields.get("code32", 0x100000))
    struct.pack_into("<I", image, 0x22C, 0x7FFFFFFF)
    struct.pack_into("<I", image, 0x230, fields.get("align", 0x1000))
    image[0x234] = fields.get("relocatable", 1)
    struct.pack_into("<I", image, 0x238, fields.get("cmdline", 2047))
    struct.pack_into("<Q", image, 0x258, fields.get("pref", 0x100000))
    struct.pack_into("<I", image, 0x260, fields.get("init", 0x10000))
    return bytes(image)


def multiboot(flags, fields=(), body=b"\xf4" * 64):
    head = struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF)
    return head + struct.pack("<%dI" % len(fields), *fields) + body


def elf(segments, entry=0x10000, header=multiboot(0)):
    phoff = 52 + len(header)
    data = bytearray(b"\x7fELF\1\1\1" + bytes(9))
    data += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, entry, phoff, 0, 0, 52, 32, len(segments), 40, 0, 0)
    data += header
    for kind, offset, vaddr, paddr, filesz, memsz in segments:
        data += struct.pack("<8I", kind, offset, vaddr, paddr, filesz, memsz, 7, 0x1000)
    return bytes(data + bytes(256))


def board(*steps):
    return b"".join(steps)


def out(port, value, size=1):
    kind = {1: 0x01, 2: 0x11, 4: 0x21}[size]
    return bytes([kind]) + struct.pack("<H", port) + value.to_bytes(size, "little")


def inp(port, size=1):
    return bytes([{1: 0x00, 2: 0x10, 4: 0x20}[size]]) + struct.pack("<H", port)


def time(ns, shift=10):
    return bytes([4 | shift << 4 & 0xF0]) + struct.pack("<H", ns)


ACK = b"\x05"


def mmio(base, offset, value):
    return bytes([0x23 | base << 5 & 0xE0]) + struct.pack("<HI", offset, value)


def boards():
    pic = board(out(0x20, 0x11), out(0x21, 8), out(0x21, 4), out(0x21, 1), out(0xA0, 0x11), out(0xA1, 0x70),
                out(0xA1, 2), out(0xA1, 1), out(0x21, 0), out(0xA1, 0))
    return {
        "pic_pit": pic + out(0x43, 0x34) + out(0x40, 0x10) + out(0x40, 0) + time(60000) + ACK + inp(0x20) + out(0x20, 0x20),
        "rtc": pic + out(0x70, 0x0B) + out(0x71, 0x72) + time(60000, 15) + ACK + out(0x70, 0x0C) + inp(0x71),
        "uart": out(0x3F9, 0x0F) + out(0x3FA, 0xC7) + out(0x3FC, 0x1B) + out(0x3F8, 0x41) + time(999) + inp(0x3F8) + inp(0x3FD),
        "i8042": out(0x64, 0x60) + out(0x60, 0x47) + out(0x64, 0xD4) + out(0x60, 0xF2) + inp(0x60) + out(0x64, 0xD1) + out(0x60, 0xDF) + out(0x64, 0xFE),
        "pci": out(0xCF8, 0x80000000, 4) + inp(0xCFC, 4) + out(0xCFC, 0xFFFFFFFF, 4) + out(0xCF8, 0x80000810, 4) + out(0xCFE, 0x55AA, 2),
        "pm": out(0xCF8, 0x80001B40, 4) + out(0xCFC, 0xB001, 4) + inp(0xB008, 4) + out(0xB004, 0x2001, 2) + inp(0xB000, 2) + out(0xB2, 0xF1),
        "fw_cfg": out(0x510, 0x19, 2) + inp(0x511) * 8 + out(0x514, 0, 4) + out(0x518, 0x00100000, 4),
        "ioapic": mmio(0, 0, 0x10) + mmio(0, 0x10, 0x8020) + mmio(0, 0, 0x11) + mmio(0, 0x10, 0) + time(9999) + ACK,
        "lapic": mmio(1, 0xF0, 0x1FF) + mmio(1, 0x320, 0x20030) + mmio(1, 0x3E0, 0xB) + mmio(1, 0x380, 1000) + time(9999) + ACK + mmio(1, 0xB0, 0) + mmio(1, 0x300, 0x4C000),
        "debug": out(0x80, 1) + out(0xE9, 65) + out(0xF4, 3) + out(0xCF9, 6) + out(0x92, 3),
    }


def walks():
    base = 0x20000
    tail = b"".join(struct.pack("<IB", la, how) for la in (0, 0x1000, 0x400000, 0x7FFFFFFF, 0xC0000000, 0xFFFFFFFF) for how in range(0, 16, 3))
    seeds = {}
    for bits in (0x01, 0x05, 0x0D, 0x03, 0x13, 0xF3, 0xFB):
        wide = bits & 2
        for name, flags in (("user", 0x67), ("kernel", 0x63), ("read", 0x25), ("large", 0xE7), ("reserved", 0x1FE07)):
            entry = base + 0x1000 + flags
            body = struct.pack("<Q", entry | (1 << 63 if name == "reserved" else 0)) if wide else struct.pack("<I", entry)
            seeds["%s_%02x" % (name, bits)] = bytes([bits, 0, 1, 2, 3, 4, 0]) + body + tail
    return seeds


def corpus():
    programs = code()
    linux = {"plain": bzimage(), "old": bzimage(0x200, 1), "zimage": bzimage(0x203, 0), "high": bzimage(pref=0x1000000, align=0x200000)}
    address = {"address": multiboot(0x10000, (0x10000, 0x10000, 0, 0, 0x10000)), "bss": multiboot(0x10003, (0x10000, 0x10000, 0x10040, 0x20000, 0x10020))}
    elves = {"elf": elf([(1, 0, 0x10000, 0x10000, 128, 4096)]), "elf2": elf([(1, 0, 0xC0010000, 0x10000, 64, 64), (1, 64, 0xC0020000, 0x20000, 0, 512)], 0xC0010000)}
    boots = {**linux, **address, **elves}
    return {
        "fuzz_decode": {"%s_%d" % (n, i): bytes([mode]) + c[i:i + 15] for n, c in programs.items() for mode in (0, 1) for i in range(0, len(c), 5)},
        "fuzz_translate": {"%s_%02x" % (n, mode): bytes([mode, at & 255, at >> 8]) + c for n, c in programs.items() for mode, at in ((0, 0), (2, 0xFF8), (1, 16), (32, 0), (0x1E, 0))},
        "fuzz_interp": {"%s_%02x" % (n, mode): bytes([mode]) + c for n, c in programs.items() for mode in (0, 1, 2, 18, 32)},
        "fuzz_linux": linux,
        "fuzz_multiboot": {**{n: b"\x05" + c for n, c in address.items()}, **{n: b"\x00" + c for n, c in elves.items()}},
        "fuzz_gzip": {**{n + ".gz": gzip.compress(c, 9, mtime=0) for n, c in boots.items()}, **boots},
        "fuzz_board": boards(),
        "fuzz_walk": walks(),
    }


def main():
    for target, seeds in corpus().items():
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        for name, data in seeds.items():
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)


if __name__ == "__main__":
    main()
