/* SPDX-License-Identifier: MIT */
/*
 * Call and return.  The recursion must stay a recursion: this file is built with
 * -O1 -fno-optimize-sibling-calls.
 */
#include "bench.h"

static NOINLINE uint32_t fib(uint32_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint32_t run_fib(uint32_t n)
{
    uint32_t acc = 0;

    while (n--)
        acc += fib(27); /* 635 621 calls; 47 of them make one fib(35) */
    return acc;
}

const struct bench fib_benches[] = {
    {"fib",   "fib(27)", 4 * 47, run_fib, NULL, NULL, 0},
    {0}
};
