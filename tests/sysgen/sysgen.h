/* SPDX-License-Identifier: MIT */
/* sysgen.h: what the generator of system code and its driver share.
 *
 * A case is a number; all that happens in it follows from the seed and that number. It is made of
 * statements, each a few instructions in a slot of its own, so that one may be left out without
 * another one changing (that is what the reducer does). Each draws from a stream of its own. */
#ifndef RINGDOWN_TESTS_SYSGEN_SYSGEN_H
#define RINGDOWN_TESTS_SYSGEN_SYSGEN_H

#include "tests/guests/lib/guest.h"

/* Physical memory below 1 MiB, identically mapped: where V86 and real mode reach it, too. */
#define CODE_BASE     0x20000u
#define DATA_BASE     0x30000u
#define DATA_SIZE     0x10000u
#define TASK_BASE     0x3c000u  /* three task-state segments, 256 bytes each */
#define ROOT_COPY     0x3e000u  /* another root of the same page tables */
#define ALIAS_BASE    0x800000u /* linear: shows DATA_BASE until a statement does something to it */
#define REAL_BASE     0x08000u  /* trampoline of real mode; its vectors point there, too */

#define SLOT          61u        /* odd, so that slots lie over lines and pages in every way */
#define SLOT_ROOM     (SLOT - 5) /* 5: the jump to the next */
#define STATEMENT_MAX 96u
#define FIRST_FREE    8u /* slots of the GDT that cases fill */
#define LAST_FREE     31u
#define VEC_PAGE      0x31 /* change an entry of a page table: EAX, ECX; guest.c */
#define PAGE_CHOICES  26u  /* the alias's pages, and those of data below the stacks */

/* --- random numbers --- */
struct rng {
    uint32_t s;
};
void rng_start(struct rng *r, uint32_t seed, uint32_t number, uint32_t stream);
uint32_t rng_next(struct rng *r);
/* 0 to n - 1. */
uint32_t rng_below(struct rng *r, uint32_t n);
/* A value that tends to be an interesting one. */
uint32_t rng_value(struct rng *r);

/* --- a case --- */
enum paging { PAGING_OFF, PAGING_32, PAGING_PAE, PAGING_COUNT };
struct sample {
    uint32_t seed, number;
    unsigned count; /* statements */
    uint32_t code;  /* of the first slot */
    enum paging paging;
    bool wide;              /* code is meant for 32-bit segments */
    bool crashme;           /* nothing but random bytes, outside ring 0 */
    bool with_rep;          /* repeated comparisons, too */
    const uint8_t *dropped; /* of each statement: whether it is left out */
};
static inline uint32_t slot_address(const struct sample *s, unsigned n)
{
    return s->code + n * SLOT;
}

/* --- statements (statements.c, user_code.c) --- */
struct code {
    struct rng r;
    const struct sample *sample;
    unsigned index;
    uint32_t at;                   /* linear address of the statement */
    uint8_t bytes[SLOT_ROOM + 64]; /* what exceeds SLOT_ROOM is cut off by dropping instructions */
    unsigned n;
    const char *kind;
};
/* Writes all slots. */
void statements_write(const struct sample *s);
/* Builds statement n into *c. */
void statement_make(struct code *c, const struct sample *s, unsigned n);
void user_code(struct code *c);
void crashme_code(struct code *c);

void put8(struct code *c, unsigned v);
void put16(struct code *c, unsigned v);
void put32(struct code *c, uint32_t v);
void put_bytes(struct code *c, const char *hex, unsigned n);
#define PUT(c, literal) put_bytes(c, literal, sizeof(literal) - 1)
/* Prefixes for an operand, an address of 32 bits. */
void put_operand32(struct code *c);
void put_address32(struct code *c);
/* mov REG, v; 32 bits. */
void put_mov(struct code *c, unsigned reg, uint32_t v);
/* mov dword ds:[address], v. */
void put_store(struct code *c, uint32_t address, uint32_t v);
uint32_t random_selector(struct rng *r);
uint64_t random_descriptor(struct rng *r);
/* In DATA_BASE or ALIAS_BASE; with a taste for page ends. */
uint32_t random_data(struct rng *r);
uint32_t random_target(struct code *c);

#endif
