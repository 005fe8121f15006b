/* SPDX-License-Identifier: MIT */
/*
 * Driver of the 32-bit workload suite.
 *
 *   workloads [-s DIV] [-r REPS] [-x NAME]... [-g] [-l] [NAME...]
 *
 * Prints, one line each:
 *   BEGIN name
 *   RES name rep iterations nanoseconds checksum
 * Every line is drained to the terminal before going on, so that a reader at
 * the other end of a serial line can stamp the lines with its own clock.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

const char *opt_busybox;
const char *opt_tmpdir;
const char *opt_disk;

static const struct bench *const tables[] = {
    int_benches,     fib_benches,  call_benches, mem_benches,  str_benches, fp_x87_benches,
    fp_sse2_benches, code_benches, ext_benches,  kern_benches, io_benches,
};

void die(const char *what)
{
    dprintf(2, "workloads: %s: %s\n", what, strerror(errno));
    exit(1);
}

void *map_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        die("mmap");
    for (size_t i = 0; i < bytes; i += 4096)
        ((volatile uint8_t *)p)[i] = 1;
    return p;
}

static void say(const char *fmt, ...)
{
    char line[256];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n > (int)sizeof(line) - 1)
        n = sizeof(line) - 1;
    if (write(1, line, n) != n)
        exit(1);
    if (isatty(1))
        tcdrain(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec;
}

/* "mem" selects every name starting with mem; a trailing '=' asks for an exact match. */
static int matches(const char *name, char *const *pats, int n)
{
    for (int i = 0; i < n; i++) {
        size_t len = strlen(pats[i]);

        if (len && pats[i][len - 1] == '=') {
            if (strlen(name) == len - 1 && !memcmp(name, pats[i], len - 1))
                return 1;
        } else if (!strncmp(name, pats[i], len)) {
            return 1;
        }
    }
    return 0;
}

static void run_one(const struct bench *b, unsigned div, unsigned reps)
{
    uint32_t iters = b->iters / div;

    if (!iters)
        iters = 1;
    if (b->setup && b->setup(iters)) {
        say("SKIP %s\n", b->name);
        return;
    }
    say("BEGIN %s\n", b->name);
    for (unsigned r = 0; r < reps; r++) {
        uint64_t t0 = now_ns();
        uint32_t sum = b->run(iters);
        uint64_t t1 = now_ns();

        say("RES %s %u %u %llu %08x\n", b->name, r, iters, (unsigned long long)(t1 - t0), sum);
    }
    if (b->cleanup)
        b->cleanup();
}

int main(int argc, char **argv)
{
    unsigned div = 1, reps = 1;
    int guest = 0, list = 0, nex = 0, c;
    char *ex[64];
    const char *e;

    while ((c = getopt(argc, argv, "s:r:x:gl")) != -1) {
        switch (c) {
        case 's':
            div = strtoul(optarg, NULL, 0);
            break;
        case 'r':
            reps = strtoul(optarg, NULL, 0);
            break;
        case 'x':
            if (nex < (int)(sizeof(ex) / sizeof(ex[0])))
                ex[nex++] = optarg;
            break;
        case 'g':
            guest = 1;
            break;
        case 'l':
            list = 1;
            break;
        default:
            dprintf(2, "usage: workloads [-s DIV] [-r REPS] [-x NAME]... [-g] [-l] [NAME...]\n");
            return 2;
        }
    }
    if (!div)
        div = 1;
    e = getenv("BENCH_BUSYBOX");
    opt_busybox = e ? e : "/bin/busybox";
    e = getenv("BENCH_TMP");
    opt_tmpdir = e ? e : "/tmp";
    e = getenv("BENCH_DISK");
    opt_disk = e && *e ? e : NULL;

    /* The same page size everywhere: no transparent huge pages on the host. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);

    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++) {
        for (const struct bench *b = tables[t]; b->name; b++) {
            if (optind < argc && !matches(b->name, argv + optind, argc - optind))
                continue;
            if (matches(b->name, ex, nex))
                continue;
            if ((b->flags & BENCH_GUEST_ONLY) && !guest)
                continue;
            if ((b->flags & BENCH_NEEDS_DISK) && !opt_disk)
                continue;
            if (list)
                say("%-18s %10u  %s\n", b->name, b->iters, b->unit);
            else
                run_one(b, div, reps);
        }
    }
    if (!list)
        say("DONE\n");
    return 0;
}
