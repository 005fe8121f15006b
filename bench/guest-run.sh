#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# What the benchmark's guest executes: a program of the image and its arguments, as bench.py chose them.
export BENCH_BUSYBOX=/bin/busybox BENCH_TMP=/tmp
exec $PARTS
