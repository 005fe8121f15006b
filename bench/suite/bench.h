/* SPDX-License-Identifier: MIT */
/*
 * Shared declarations of the 32-bit workload suite.
 *
 * A workload is one row in a table.  setup() runs untimed before the first
 * repetition, run() is timed, cleanup() runs untimed after the last one.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdint.h>
#include <stddef.h>

#define BENCH_GUEST_ONLY 1u /* needs port I/O rights: only run with -g */
#define BENCH_NEEDS_DISK 2u /* needs BENCH_DISK in the environment */

struct bench {
    const char *name;
    const char *unit;                /* what one iteration is */
    uint32_t iters;                  /* iterations at scale 1 */
    uint32_t (*run)(uint32_t iters); /* returns a checksum */
    int (*setup)(uint32_t iters);    /* nonzero: skip the workload */
    void (*cleanup)(void);
    unsigned flags;
};

extern const struct bench int_benches[];
extern const struct bench fib_benches[];
extern const struct bench call_benches[];
extern const struct bench mem_benches[];
extern const struct bench str_benches[];
extern const struct bench fp_x87_benches[];
extern const struct bench fp_sse2_benches[];
extern const struct bench code_benches[];
extern const struct bench ext_benches[];
extern const struct bench kern_benches[];
extern const struct bench io_benches[];

/* Paths, taken from the environment once at start. */
extern const char *opt_busybox;
extern const char *opt_tmpdir;
extern const char *opt_disk;

/* Small deterministic generator, the same on every host. */
static inline uint32_t xs32(uint32_t *s)
{
    uint32_t x = *s;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *s = x;
}

void *map_pages(size_t bytes); /* anonymous, touched; exits on failure */
void die(const char *what);

#define NOINLINE __attribute__((noinline, noclone))

#endif
