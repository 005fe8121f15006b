# SPDX-License-Identifier: MIT
"""A tour of the interpreter and its C modules; every line printed is deterministic."""
import collections
import decimal
import fractions
import functools
import hashlib
import heapq
import itertools
import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import sys
import threading
import unicodedata
import zlib

print(sys.version_info[:3], sys.maxsize, sys.byteorder, struct.calcsize("P"))


def digest(value):
    return hashlib.sha256(repr(value).encode()).hexdigest()[:24]


# integers of any size
print("bignum", digest(math.factorial(1500)), digest(pow(7, 10007, 10**300 + 7)), (3**1000) // (2**1001 - 1) % 10**12)
print("isqrt", math.isqrt(10**120), math.gcd(2**200 - 1, 2**150 - 1))

# doubles, to the last bit
xs = [x * 0.37 - 11.3 for x in range(64)]
for f in (math.sin, math.cos, math.tan, math.atan, math.tanh, math.exp, math.expm1, math.erf, math.gamma, math.sinh):
    try:
        print(f.__name__, digest([f(x if f is not math.gamma else abs(x) + 0.5).hex() for x in xs]))
    except (OverflowError, ValueError) as e:
        print(f.__name__, e)
print("fsum", math.fsum(xs).hex(), math.hypot(*xs).hex(), math.dist(xs, xs[::-1]).hex())
print("special", float("inf") - 1, -0.0, float("nan"), 5e-324 / 2, 1e308 * 10, math.frexp(1e-310), math.nextafter(1, 2).hex())
print("repr", [0.1 + 0.2, 1e22, 1e23, 2 / 3, 123456789.123456789, 4.35])
print("round", [round(x, 2) for x in (2.675, 1.005, -0.125, 1e15 + 0.3)], [int(x) for x in (-1.5, 2.5, 1e18)])
print("complex", (1.5 + 2j) ** 7.3, abs(3 + 4j))


def mandelbrot(w, h):
    rows = []
    for j in range(h):
        row = ""
        for i in range(w):
            z, c, n = 0j, complex(i / w * 3 - 2, j / h * 2 - 1), 0
            while abs(z) < 2 and n < 30:
                z, n = z * z + c, n + 1
            row += chr(33 + n)
        rows.append(row)
    return rows


print("mandelbrot", digest(mandelbrot(48, 24)))
decimal.getcontext().prec = 60
print("decimal", decimal.Decimal(2).sqrt(), decimal.Decimal(1) / 7, decimal.Decimal("1.1").ln())
print("fractions", sum(fractions.Fraction(1, n) for n in range(1, 60)))

# generators of chance, seeded
random.seed(20240229)
sample = [random.random() for _ in range(2000)]
print("random", digest(sample), random.getrandbits(200), random.gauss(0, 1).hex())
random.shuffle(sample)
print("sort", digest(sorted(sample)), digest(heapq.nsmallest(20, sample)))

# text, containers, modules in C
text = " ".join(f"w{(i * 7919) % 613}" for i in range(20000))
print("counter", collections.Counter(text.split()).most_common(4))
print("regex", len(re.findall(r"\bw(\d)\1\d?\b", text)), re.sub(r"w(\d+)", lambda m: str(int(m[1]) * 3), text[:60]))
print("json", digest(json.loads(json.dumps({"a": [1, 2.5, None, True, "\u20ac"], "b": {str(i): i * 1.1 for i in range(500)}}))))
print("zlib", zlib.crc32(text.encode()), zlib.adler32(text.encode()), digest(zlib.compress(text.encode(), 9)))
for name in ("md5", "sha1", "sha224", "sha384", "sha512", "sha3_256", "blake2b", "blake2s"):
    print(name, hashlib.new(name, text.encode()).hexdigest()[:32])
print("pbkdf2", hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2000).hex())
print("struct", struct.pack("<hIqfd", -2, 0xDEADBEEF, -1 << 40, 1 / 3, math.pi).hex())
print("unicode", unicodedata.name("\u00e9"), unicodedata.normalize("NFD", "\u00e9").encode().hex())


def queens(n):
    return sum(1 for p in itertools.permutations(range(n)) if len({p[i] + i for i in range(n)}) == n == len({p[i] - i for i in range(n)}))


print("queens", queens(7))


@functools.lru_cache(None)
def ways(n, k):
    return 1 if n == 0 else 0 if n < 0 or k == 0 else ways(n - k, k) + ways(n, k - 1)


print("partitions", ways(120, 120))


class Tree:
    def __init__(self, d):
        self.kids = [Tree(d - 1), Tree(d - 1)] if d else []

    def __len__(self):
        return 1 + sum(map(len, self.kids))


print("objects", len(Tree(12)))
try:
    (lambda f: f(f))(lambda f: f(f))
except RecursionError as e:
    print("recursion", e)

# the system under it: threads, pipes, signals, processes
total, lock = [0], threading.Lock()


def add():
    for i in range(2000):
        with lock:
            total[0] += i


threads = [threading.Thread(target=add) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print("threads", total[0])
got = []
signal.signal(signal.SIGUSR1, lambda n, f: got.append(n))
for _ in range(50):
    os.kill(os.getpid(), signal.SIGUSR1)
print("signals", len(got))
r, w = os.pipe()
if os.fork() == 0:
    os.write(w, b"from the child")
    os._exit(7)
print("fork", os.read(r, 100), os.wait()[1] >> 8)
print("subprocess", subprocess.run(["/bin/busybox", "tr", "a-z", "b-za"], input=b"ringdown", stdout=subprocess.PIPE).stdout)
