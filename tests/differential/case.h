/* SPDX-License-Identifier: MIT */
/* case.h: one instruction test, as the generator writes it, the host's processor executes it
 * (oracle.c, a 32-bit process) and a guest executes it (guest.c, at CPL 3 with the same addresses).
 *
 * A case's code lies in a slot of its own, filled up with HLT, which raises #GP at CPL 3: so each
 * case ends in an exception, whose vector, error code, CR2 and EIP are part of the result. Memory
 * is a window of two pages with nothing mapped around it; its content is one image a batch, plus
 * the case's patches.
 *
 * A file is a struct case_file, then `count` cases, then (in what the guest gets) `count` results.
 */
#ifndef RINGDOWN_TESTS_DIFFERENTIAL_CASE_H
#define RINGDOWN_TESTS_DIFFERENTIAL_CASE_H

#include <stdint.h>

#define CASE_MAGIC      0x64726331u
#define CASE_CODE       0x50000000u
#define CASE_SLOT       80u   /* not a divisor of the page size: some slots cross pages */
#define CASE_BATCH      3200u /* slots */
#define CASE_CODE_PAGES 64u
#define CASE_DATA       0x50100000u
#define CASE_WINDOW     0x2000u
#define CASE_SIGNALS    0x70000000u /* the oracle's signal stack: no case has ESP near it */
#define CASE_BYTES      48u
#define CASE_DIFFS      8u
#define CASE_PATCHES    6u
_Static_assert(CASE_SLOT *CASE_BATCH <= CASE_CODE_PAGES * 4096, "the slots fit");
_Static_assert(CASE_DATA >= CASE_CODE + (CASE_CODE_PAGES + 16) * 4096, "a hole between them");

struct case_file {
    uint32_t magic, count, has_results, seed;
};

struct test_case {
    uint32_t index;
    uint16_t row;          /* of the last instruction in the instruction table */
    uint8_t length, start; /* bytes of code; where in the slot it begins */
    uint8_t code[CASE_BYTES];
    uint32_t gpr[8], eflags;
    uint32_t mem_seed, fpu_seed; /* fpu_seed 0: floating-point state is not looked at */
    uint32_t flags_undefined;    /* by the manual: not compared with the oracle */
    uint8_t native;              /* the oracle can run it */
    uint8_t patches;
    uint16_t ignore; /* DIFFERS_ bits that a fault leaves open, see facts_open() */
    struct {
        uint32_t off, value;
    } patch[CASE_PATCHES];
};
_Static_assert(sizeof(struct test_case) == 4 + 4 + 48 + 36 + 12 + 4 + 48,
               "the same for 32 and 64 bits");

struct case_result {
    uint32_t vector, error, cr2, eip, eflags;
    uint32_t gpr[8];
    uint32_t diffs; /* dwords of the window that changed */
    uint32_t mem_hash;
    struct {
        uint32_t off, value;
    } diff[CASE_DIFFS];
    uint8_t fx[288]; /* FXSAVE's image up to the XMM registers that 32-bit code has */
};
_Static_assert(sizeof(struct case_result) == 15 * 4 + 64 + 288, "no padding");

/* What the signal frame and the machine show differently: the operand and instruction pointers. */
static inline void case_fx_normalize(uint8_t fx[288])
{
    for (unsigned i = 6; i < 24; i++) /* FOP, FIP, FCS, FDP, FDS */
        fx[i] = 0;
    fx[5] = 0;
    for (unsigned i = 28; i < 32; i++) /* MXCSR_MASK */
        fx[i] = 0;
    for (unsigned r = 0; r < 8; r++) /* the padding of each ST register */
        for (unsigned i = 10; i < 16; i++)
            fx[32 + 16 * r + i] = 0;
}

static inline uint32_t case_random(uint32_t *s)
{
    uint32_t x = *s;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *s = x;
}

/* Values at which arithmetic does something: integer edges, and the parts of floating-point ones.
 */
static const uint32_t case_edges[] = {
    0,          1,          0xffffffff, 0x80000000, 0x7fffffff, 0x80,       0x7f,       0xff,
    0x8000,     0x7fff,     0xffff,     0x10000,    0x55555555, 0xaaaaaaaa, 2,          0x3f800000,
    0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0x00800000, 0x00000001, 0x3ff00000,
    0x7ff00000, 0x7ff80000, 0x00100000, 0x41dfffff, 0xc1e00000, 0x4f000000, 0x40490fdb, 0x3e99999a};

static inline uint32_t case_value(uint32_t *s)
{
    uint32_t r = case_random(s);
    if (r & 3)
        return case_random(s);
    return case_edges[r >> 4 & 31];
}

static inline void case_fill(uint32_t seed, uint32_t *words, unsigned n)
{
    uint32_t s = seed | 1;
    for (unsigned i = 0; i < n; i++)
        words[i] = case_value(&s);
}

/* A floating-point state: any stack, any rounding and precision; exceptions unmasked now and then.
 */
static inline void case_fill_fx(uint32_t seed, uint8_t fx[512])
{
    uint32_t s = seed | 1;
    uint32_t *w = (uint32_t *)(void *)fx;
    for (unsigned i = 0; i < 128; i++)
        w[i] = 0;
    uint32_t r = case_random(&s);
    uint32_t fcw = 0x40 | (r & 0x0c00) |
                   (r & 1                  ? 0x300
                    : (r & 0x300) == 0x100 ? 0
                                           : r & 0x300) |
                   ((r >> 16 & 15) ? 0x3f : r >> 20 & 0x3f);
    uint32_t fsw = (r >> 26 & 7) << 11 | (case_random(&s) & 0x4700);
    uint32_t sticky = case_random(&s);
    if (!(sticky & 3))
        fsw |= sticky >> 8 & 0x3f & fcw; /* none pending */
    w[0] = fcw | fsw << 16;
    w[1] = (sticky & 4 ? 0xff : sticky >> 16) & 0xff;
    uint32_t m = case_random(&s);
    uint32_t masks = (m >> 20 & 15) ? 0x1f80 : m & 0x1f80;
    w[6] = (m & 0x6000) | masks | (m >> 24 & 1 ? 0x8000 : 0) | (m >> 25 & 1 ? 0x40 : 0) |
           (m >> 26 & 1 ? m >> 8 & 0x3f & masks >> 7 : 0);
    for (unsigned i = 0; i < 8; i++) {
        uint32_t k = case_random(&s);
        w[8 + 4 * i] = k & 1 ? 0 : case_value(&s);
        w[9 + 4 * i] = (k & 6) ? case_value(&s) | 0x80000000 : case_value(&s);
        uint32_t e = (k & 0x18) ? 0x3fff - 40 + case_random(&s) % 80 : case_random(&s);
        w[10 + 4 * i] = (e & 0x7fff) | (k >> 8 & 0x8000);
        if (!(k >> 28)) /* a zero, an infinity or a NaN */
            w[10 + 4 * i] = (k & 0x40 ? 0x7fff : 0) | (k >> 8 & 0x8000),
                       w[9 + 4 * i] = k & 0x40 ? 0x80000000 | (k & 0x80 ? case_random(&s) : 0) : 0;
    }
    for (unsigned i = 40; i < 72; i++)
        w[i] = case_value(&s);
}

/* What two results differ in, by bits; undefined flags are left out. */
enum {
    DIFFERS_TRAP = 1,
    DIFFERS_GPR = 2,
    DIFFERS_FLAGS = 4,
    DIFFERS_MEMORY = 8,
    DIFFERS_FPU = 16,
    DIFFERS_CR2 = 32,
};
/* It ended before the HLT behind it (or in a branch's target, which leaves nothing open). */
static inline int case_faulted(const struct test_case *c, const struct case_result *r)
{
    return r->eip != CASE_CODE + c->index % CASE_BATCH * CASE_SLOT + c->start + c->length;
}

static inline unsigned case_compare(const struct test_case *c, const struct case_result *a,
                                    const struct case_result *b)
{
    unsigned d = 0;
    if (a->vector != b->vector || a->error != b->error || a->eip != b->eip)
        d |= DIFFERS_TRAP;
    if (a->vector == 14 && b->vector == 14 && a->cr2 != b->cr2)
        d |= DIFFERS_CR2;
    for (unsigned i = 0; i < 8; i++)
        if (a->gpr[i] != b->gpr[i])
            d |= DIFFERS_GPR;
    /* RF is the fault's, TF and the system's bits are not the case's */
    if ((a->eflags ^ b->eflags) & 0x244ed5 & ~c->flags_undefined)
        d |= DIFFERS_FLAGS;
    if (a->diffs != b->diffs || a->mem_hash != b->mem_hash)
        d |= DIFFERS_MEMORY;
    if (c->fpu_seed)
        for (unsigned i = 0; i < 288; i++)
            if (a->fx[i] != b->fx[i])
                d |= DIFFERS_FPU;
    return case_faulted(c, a) ? d & ~(unsigned)c->ignore : d;
}

/* Compares the window with its image, records what changed and puts it back. */
static inline void case_scan(struct case_result *r, uint32_t *window, const uint32_t *image)
{
    r->diffs = 0;
    r->mem_hash = 0;
    for (unsigned i = 0; i < CASE_WINDOW / 4;) {
        /* REPE CMPSD stops behind the first difference */
        const uint32_t *p = window + i, *q = image + i;
        uint32_t n = CASE_WINDOW / 4 - i;
        unsigned char equal;
        __asm__ volatile("cmp %%eax,%%eax; repe cmpsl; sete %3"
                         : "+S"(p), "+D"(q), "+c"(n), "=q"(equal)::"cc", "memory");
        if (equal)
            break;
        i = CASE_WINDOW / 4 - n - 1;
        if (r->diffs < CASE_DIFFS) {
            r->diff[r->diffs].off = i * 4;
            r->diff[r->diffs].value = window[i];
        }
        r->diffs++;
        r->mem_hash = (r->mem_hash ^ window[i] ^ i << 20) * 0x01000193u;
        window[i] = image[i];
        i++;
    }
}

#endif
