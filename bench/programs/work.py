# SPDX-License-Identifier: MIT
"""Python at work, for the programs suite: work.py KIND ROUNDS. Prints something that depends on all of it."""
import sys


class Node:
    __slots__ = ("value", "left", "right")

    def __init__(self, value):
        self.value, self.left, self.right = value, None, None

    def insert(self, value):
        node = self
        while True:
            if value < node.value:
                if node.left is None:
                    node.left = Node(value)
                    return
                node = node.left
            else:
                if node.right is None:
                    node.right = Node(value)
                    return
                node = node.right

    def walk(self):
        if self.left:
            yield from self.left.walk()
        yield self.value
        if self.right:
            yield from self.right.walk()


def objects(rounds):
    total = 0
    for r in range(rounds):
        root, x = Node(500), r + 1
        for _ in range(800):
            x = (x * 1103515245 + 12345) & 0x7FFFFFFF
            root.insert(x % 1000)
        total = (total * 31 + sum(i * v for i, v in enumerate(root.walk()))) % 1000000007
    return total


def dicts(rounds):
    total = 0
    for r in range(rounds):
        d = {}
        for i in range(4000):
            d.setdefault((i * 7919 + r) % 613, []).append(i)
        rows = sorted(((len(v), k, sum(v)) for k, v in d.items()), key=lambda t: (-t[0], t[2], t[1]))
        total = (total + sum(k * n for n, (_, k, s) in enumerate(rows))) % 1000000007
    return total


def text(rounds):
    import json
    import re
    words, total = re.compile(r"([a-z]+)=([0-9]+);"), 0
    for r in range(rounds):
        line = "".join(f"key{chr(97 + i % 26)}={i * r};" for i in range(600))
        found = words.findall(line)
        again = json.loads(json.dumps([{"name": k.upper(), "value": int(v), "text": k * 3} for k, v in found]))
        total += sum(len(o["text"].replace("e", "--")) + o["value"] % 97 for o in again)
        total += len(" ".join(w[0] for w in found).title().split())
    return total


def floats(rounds):
    import math
    x, y, u, v, steps = 1.0, 0.0, 0.0, 0.9, 0
    for _ in range(rounds):
        for _ in range(4000):
            r = math.sqrt(x * x + y * y)
            a = -1.0 / (r * r * r)
            u += a * x * 0.001
            v += a * y * 0.001
            x += u * 0.001
            y += v * 0.001
            steps += 1
    return f"{steps} {x:.9f} {y:.9f}"


def bignum(rounds):
    total = 0
    for r in range(rounds):
        a, b = 1, 1
        for i in range(1, 1200):
            a, b = a + b * i, a
        total = (total + pow(a, 3, b | 1) % 1000000007 + len(str(a)) + r) % 1000000007
    return total


print(sys.argv[1], globals()[sys.argv[1]](int(sys.argv[2])))
