/* SPDX-License-Identifier: MIT */
/* Memory workloads: dependent loads at three footprints, copies, fills, a triad. */
#include "bench.h"

#include <sys/mman.h>

#define LINE 64

static void *chase_head;
static void *chase_map;
static size_t chase_bytes;

/* One random cycle through every cache line of the buffer (Sattolo's shuffle). */
static void build_cycle(size_t bytes)
{
    uint32_t n = bytes / LINE, seed = 2463534242u;
    char *base = chase_map = map_pages(bytes);

    chase_bytes = bytes;
    for (uint32_t i = 0; i < n; i++)
        *(uint32_t *)(base + (size_t)i * LINE) = i;
    for (uint32_t i = n - 1; i; i--) {
        uint32_t j = xs32(&seed) % i;
        uint32_t *a = (uint32_t *)(base + (size_t)i * LINE);
        uint32_t *b = (uint32_t *)(base + (size_t)j * LINE);
        uint32_t t = *a;

        *a = *b;
        *b = t;
    }
    for (uint32_t i = 0; i < n; i++) {
        char *p = base + (size_t)i * LINE;

        *(void **)p = base + (size_t) * (uint32_t *)p * LINE;
    }
    chase_head = base;
}

static int setup_16k(uint32_t n)
{
    (void)n;
    build_cycle(16u << 10);
    return 0;
}
static int setup_4m(uint32_t n)
{
    (void)n;
    build_cycle(4u << 20);
    return 0;
}
static int setup_64m(uint32_t n)
{
    (void)n;
    build_cycle(64u << 20);
    return 0;
}

static void free_cycle(void)
{
    munmap(chase_map, chase_bytes);
}

static uint32_t run_chase(uint32_t n)
{
    void **p = chase_head;

    for (uint32_t i = 0; i < n; i++) {
        p = *p;
        p = *p;
        p = *p;
        p = *p;
        p = *p;
        p = *p;
        p = *p;
        p = *p;
    }
    return (uint32_t)((char *)p - (char *)chase_map);
}

#define BUF (1u << 20)

static char *src, *dst, *skewed;

static int setup_copy(uint32_t n)
{
    (void)n;
    if (!src) {
        src = map_pages(BUF);
        dst = map_pages(BUF);
        skewed = (char *)map_pages(BUF + (64u << 10)) + (32u << 10);
    }
    return 0;
}

static NOINLINE void copy_words(uint32_t *d, const uint32_t *s, size_t words)
{
    for (size_t i = 0; i < words; i += 8) {
        uint32_t a = s[i], b = s[i + 1], c = s[i + 2], e = s[i + 3];

        d[i] = a;
        d[i + 1] = b;
        d[i + 2] = c;
        d[i + 3] = e;
        a = s[i + 4];
        b = s[i + 5];
        c = s[i + 6];
        e = s[i + 7];
        d[i + 4] = a;
        d[i + 5] = b;
        d[i + 6] = c;
        d[i + 7] = e;
    }
}

static uint32_t run_copy_words(uint32_t n)
{
    while (n--)
        copy_words((uint32_t *)dst, (const uint32_t *)src, BUF / 4);
    return (uint8_t)dst[BUF - 4096];
}

static uint32_t run_copy_movs(uint32_t n)
{
    while (n--) {
        uint32_t c = BUF / 4;
        void *d = dst;
        const void *s = src;

        __asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
    }
    return (uint8_t)dst[BUF - 4096];
}

/*
 * The same copy with the destination 32 KiB off a multiple of the buffer size, so
 * that source and destination pages do not share an index in a direct-mapped TLB.
 */
static uint32_t run_copy_skew(uint32_t n)
{
    while (n--) {
        uint32_t c = BUF / 4;
        void *d = skewed;
        const void *s = src;

        __asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
    }
    return (uint8_t)skewed[BUF - 4096];
}

static uint32_t run_copy_sse2(uint32_t n)
{
    while (n--) {
        uint32_t c = BUF / 32;
        void *d = dst;
        const void *s = src;

        __asm__ volatile("1: movdqu (%1), %%xmm0\n"
                         "movdqu 16(%1), %%xmm1\n"
                         "movdqu %%xmm0, (%0)\n"
                         "movdqu %%xmm1, 16(%0)\n"
                         "addl $32, %1\n"
                         "addl $32, %0\n"
                         "decl %2\n"
                         "jnz 1b\n"
                         : "+r"(d), "+r"(s), "+r"(c)
                         :
                         : "memory", "cc");
    }
    return (uint8_t)dst[BUF - 4096];
}

static uint32_t run_fill_stos(uint32_t n)
{
    while (n--) {
        uint32_t c = BUF / 4;
        void *d = dst;

        __asm__ volatile("rep stosl" : "+D"(d), "+c"(c) : "a"(n) : "memory");
    }
    return (uint8_t)dst[BUF - 4096];
}

static NOINLINE void byte_xor(uint8_t *d, const uint8_t *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        d[i] ^= (uint8_t)(s[i] + i);
}

static uint32_t run_bytes(uint32_t n)
{
    while (n--)
        byte_xor((uint8_t *)dst, (const uint8_t *)src, BUF);
    return (uint8_t)dst[BUF - 4096];
}

/* One 32-bit store and load per page over 32 MB: the cost of a TLB refill. */
#define PAGES 8192u

static volatile uint32_t *pages_map;

static int setup_pages(uint32_t n)
{
    (void)n;
    pages_map = map_pages(PAGES * 4096);
    for (uint32_t i = 0; i < PAGES; i++)
        pages_map[((i * 2677u) % PAGES) * 1024u + (i & 15) * 16] = 1;
    return 0;
}

static void free_pages(void)
{
    munmap((void *)pages_map, PAGES * 4096);
}

static uint32_t run_pages(uint32_t n)
{
    uint32_t acc = 0;

    while (n--)
        for (uint32_t i = 0; i < PAGES; i++) {
            /* odd multiplier: every page once, in a scattered order */
            volatile uint32_t *p = pages_map + ((i * 2677u) % PAGES) * 1024u + (i & 15) * 16;

            acc += *p + i;
            *p = 1;
        }
    return acc;
}

const struct bench mem_benches[] = {
    {"chase16k", "8 loads", 25000000, run_chase, setup_16k, free_cycle, 0},
    {"chase4m",  "8 loads", 2000000, run_chase, setup_4m, free_cycle, 0},
    {"chase64m", "8 loads", 300000, run_chase, setup_64m, free_cycle, 0},
    {"pages32m",         "8192 pages", 1000, run_pages, setup_pages, free_pages, 0},
    {"copy_words",  "MiB", 2000, run_copy_words, setup_copy, NULL, 0},
    {"copy_movs",   "MiB", 4000, run_copy_movs, setup_copy, NULL, 0},
    {"copy_skew",  "MiB", 4000, run_copy_skew, setup_copy, NULL, 0},
    {"copy_sse2",         "MiB", 4000, run_copy_sse2, setup_copy, NULL, 0},
    {"fill_stos", "MiB", 4000, run_fill_stos, setup_copy, NULL, 0},
    {"bytes",    "MiB", 400, run_bytes, setup_copy, NULL, 0},
    {0}
};
