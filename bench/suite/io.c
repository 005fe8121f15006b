/* SPDX-License-Identifier: MIT */
/* Device-bound workloads: a block device, port I/O, and instructions a VMM intercepts. */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <sys/io.h>
#include <unistd.h>

#define BLOCK (64u << 10)

static int disk_fd = -1;
static char *disk_buf;

static int open_disk(int flags)
{
    disk_fd = open(opt_disk, O_RDONLY | flags);
    if (!disk_buf)
        disk_buf = map_pages(BLOCK);
    return disk_fd < 0;
}

static int setup_disk(uint32_t n)
{
    (void)n;
    /* past the page cache where the file system allows it, else as it comes */
    return open_disk(O_DIRECT) && open_disk(0);
}

static void close_disk(void)
{
    close(disk_fd);
}

static uint32_t run_disk(uint32_t n)
{
    uint32_t sum = 0;

    lseek(disk_fd, 0, SEEK_SET);
    for (uint32_t i = 0; i < n; i++) {
        ssize_t got = read(disk_fd, disk_buf, BLOCK);

        if (got <= 0) {
            if (got < 0)
                die("disk read");
            lseek(disk_fd, 0, SEEK_SET);
            continue;
        }
        sum += (uint8_t)disk_buf[0];
    }
    return sum;
}

static uint32_t run_disk4k(uint32_t n)
{
    uint32_t sum = 0, seed = 1;

    for (uint32_t i = 0; i < n; i++) {
        off_t at = (off_t)(xs32(&seed) % 8192) * 4096;

        if (pread(disk_fd, disk_buf, 4096, at) != 4096)
            die("disk read");
        sum += (uint8_t)disk_buf[0];
    }
    return sum;
}

static int setup_ports(uint32_t n)
{
    (void)n;
    return ioperm(0x61, 1, 1) || ioperm(0x80, 1, 1);
}

static uint32_t run_outb(uint32_t n)
{
    while (n--)
        outb((uint8_t)n, 0x80);
    return 0;
}

static uint32_t run_inb(uint32_t n)
{
    uint32_t acc = 0;

    while (n--)
        acc += inb(0x61) & 1;
    return acc;
}

static uint32_t run_rdtsc(uint32_t n)
{
    uint32_t acc = 0;

    while (n--) {
        uint32_t lo, hi;

        __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
        acc |= hi;
    }
    return acc != 0;
}

static uint32_t run_cpuid(uint32_t n)
{
    uint32_t acc = 0;

    while (n--) {
        uint32_t a = 0, b, c = 0, d;

        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        acc |= b;
    }
    return acc;
}

const struct bench io_benches[] = {
    {"disk_seq64k",     "64 KiB", 512, run_disk, setup_disk, close_disk, BENCH_NEEDS_DISK},
    {"disk_rand4k",              "4 KiB", 4000, run_disk4k, setup_disk, close_disk, BENCH_NEEDS_DISK},
    {"outb_80",       "outb", 300000, run_outb, setup_ports, NULL, BENCH_GUEST_ONLY},
    {"inb_61", "inb", 300000, run_inb, setup_ports, NULL, BENCH_GUEST_ONLY},
    {"rdtsc",     "rdtsc", 3000000, run_rdtsc, NULL, NULL, 0},
    {"cpuid",             "cpuid", 30000, run_cpuid, NULL, NULL, 0},
    {0      }
};
