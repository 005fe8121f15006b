/* SPDX-License-Identifier: MIT */
/* fpu_thunk.h: host code that executes one guest x87, MMX or SSE instruction, for the interpreter.
 *
 * A thunk is run(v, mem): it loads what the instruction reads from the vCPU, executes the
 * instruction's own bytes with the memory operand re-encoded to [rsi] = mem, and stores what it
 * wrote. It returns 0, or the number of the host trap that the instruction took (nothing has
 * changed then but sticky flags): 16 #MF, 19 #XM, 13 #GP, 6 #UD.
 *
 * Instructions that differ in nothing but their memory operand share a thunk. insn->thunk caches a
 * thunk's number along with the generation, so that a flush leaves no stale pointers behind. */
#ifndef RINGDOWN_RUNTIME_FPU_THUNK_H
#define RINGDOWN_RUNTIME_FPU_THUNK_H

#include "devices/device.h"
#include "ringdown/cpu.h"
#include "runtime/fpu.h"
#include "translator/insn.h"

typedef unsigned fpu_thunk_fn(struct vcpu *v, void *mem);
/* Executes the instruction in C instead; the result is that of an interp_fn. */
typedef bool fpu_special_fn(struct vcpu *v, const struct insn *i);

struct fpu_thunk {
    fpu_thunk_fn *run;       /* NULL if special */
    fpu_special_fn *special; /* NULL if run */
    uint64_t key;
    uint8_t size;  /* of the memory operand; 0: none */
    bool write;    /* the memory operand is the destination */
    uint8_t align; /* mask of address bits that must be zero, else #GP(0) */
    bool track;    /* x87 instruction that moves the last-instruction pointers */
    bool waits;    /* checks for a pending x87 error first */
    bool x87;
    bool rare;    /* vector instruction that demands more than the usual checks */
    bool maskmov; /* stores under a mask at [edi]: its memory operand is implicit */
};

struct fpu {
    uint32_t generation; /* unique in the process: no flush and no other machine repeats it */
    uint32_t count;
    struct fpu_thunk *thunk; /* fixed array */
    uint16_t *bucket;        /* open hash by key: thunk number + 1, 0 if free */
    uint8_t *code_rw, *code_rx;
    size_t code_used;
    fpu_locate_fn *locate;
    struct irq_line ferr;
    bool ignne;
};

int fpu_thunk_create(struct fpu *f); /* 0 or negative errno */
void fpu_thunk_destroy(struct fpu *f);
void fpu_thunk_flush(struct fpu *f);
bool fpu_thunk_owns(const struct fpu *f, uint64_t pc);
/* Where their memory begins. */
uint64_t fpu_thunk_base(const struct fpu *f);
/* Where a failed thunk goes on: returns to its caller what is in eax. */
uint64_t fpu_thunk_exit(const struct fpu *f);

/* Finds or makes i's thunk and caches it in i. NULL, with a line on stderr, if the host lends no
 * memory. */
const struct fpu_thunk *fpu_thunk_make(struct vcpu *v, const struct insn *i,
                                       fpu_special_fn *special);
/* i's thunk if it is cached, else NULL. */
static inline const struct fpu_thunk *fpu_thunk_cached(const struct vcpu *v, const struct insn *i)
{
    uint64_t tagged = (uint64_t)(uintptr_t)i->thunk;
    const struct fpu *f = v->fpu;
    if (__builtin_expect(!f || tagged >> 32 != f->generation, 0))
        return NULL;
    return &f->thunk[(uint32_t)tagged];
}

#endif
