/* SPDX-License-Identifier: MIT */
/* x86 string instructions: short and long, with and without a repeat prefix. */
#include "bench.h"

#define LONG  (64u << 10)
#define SLOTS 256

static uint8_t *sa, *sb;
static uint16_t len_of[SLOTS];

static int setup_str(uint32_t n)
{
    uint32_t s = 77;

    (void)n;
    if (!sa) {
        sa = map_pages(LONG + 4096);
        sb = map_pages(LONG + 4096);
    }
    for (uint32_t i = 0; i < LONG + 4096; i++)
        sa[i] = sb[i] = (uint8_t)(i * 7 % 251 + 1);
    sa[LONG - 1] = 0;
    sb[LONG - 1] = 0xff;
    for (int i = 0; i < SLOTS; i++)
        len_of[i] = 1 + xs32(&s) % 63;
    return 0;
}

static uint32_t run_movsb_short(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = len_of[i % SLOTS];
        void *d = sb + (i & 1023), *s = sa + (i * 3 & 1023);

        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
    }
    return sb[5];
}

static uint32_t run_movsl_short(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = len_of[i % SLOTS] / 4;
        void *d = sb + (i & 1023), *s = sa + (i * 3 & 1023);

        __asm__ volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
    }
    return sb[5];
}

static uint32_t run_movsb_64k(uint32_t n)
{
    while (n--) {
        uint32_t c = LONG;
        void *d = sb, *s = sa;

        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
    }
    return sb[5];
}

static uint32_t run_stosb_short(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t c = len_of[i % SLOTS];
        void *d = sb + (i & 1023);

        __asm__ volatile("rep stosb" : "+D"(d), "+c"(c) : "a"(i) : "memory");
    }
    return sb[5];
}

static uint32_t run_scasb(uint32_t n)
{
    uint32_t acc = 0;

    while (n--) {
        uint32_t c = LONG;
        void *d = sa;

        __asm__ volatile("repne scasb" : "+D"(d), "+c"(c) : "a"(0) : "memory", "cc");
        acc += c;
    }
    return acc;
}

static uint32_t run_cmpsb(uint32_t n)
{
    uint32_t acc = 0;

    while (n--) {
        uint32_t c = LONG;
        void *d = sa, *s = sb;

        __asm__ volatile("repe cmpsb" : "+D"(d), "+S"(s), "+c"(c) : : "memory", "cc");
        acc += c;
    }
    return acc;
}

static uint32_t run_lodsb(uint32_t n)
{
    uint32_t acc = 0;

    while (n--) {
        uint32_t c = LONG;
        const void *s = sa;

        __asm__ volatile("1: xorl %%eax, %%eax\n"
                         "lodsb\n"
                         "addl %%eax, %2\n"
                         "decl %1\n"
                         "jnz 1b\n"
                         : "+S"(s), "+r"(c), "+r"(acc)
                         :
                         : "eax", "memory", "cc");
    }
    return acc;
}

const struct bench str_benches[] = {
    {"movsb_short", "1..63 bytes", 10000000, run_movsb_short, setup_str, NULL, 0},
    {"movsl_short",     "0..15 words", 10000000, run_movsl_short, setup_str, NULL, 0},
    {"stosb_short",    "1..63 bytes", 10000000, run_stosb_short, setup_str, NULL, 0},
    {"movsb_64k",            "64 KiB", 10000, run_movsb_64k, setup_str, NULL, 0},
    {"scasb_64k", "64 KiB", 4000, run_scasb, setup_str, NULL, 0},
    {"cmpsb_64k",     "64 KiB", 4000, run_cmpsb, setup_str, NULL, 0},
    {"lodsb_64k",    "64 KiB", 4000, run_lodsb, setup_str, NULL, 0},
    {0           }
};
