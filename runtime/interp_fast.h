/* SPDX-License-Identifier: MIT */
/* interp_fast.h: what the fast functions share: the way from one record to the next, registers and
 * memory without a call.
 *
 * A fast function does all of an instruction or nothing: whenever it meets anything but a TLB hit
 * it tail-calls interp_fast_generic, which executes the same instruction by the full handler. So it
 * needs no stack frame and never raises by itself. */
#ifndef RINGDOWN_RUNTIME_INTERP_FAST_H
#define RINGDOWN_RUNTIME_INTERP_FAST_H

#include "runtime/interp_cache.h"

#define FAST_ARGS                                                                                  \
    struct vcpu *v, const struct interp_rec *r, uint32_t eip, uint32_t fl, struct tlb_entry *tlb

#define FAST_NEXT(flags) return r[1].fn(v, r + 1, eip + r->length, (flags), tlb)
#define FAST_SLOW()      return interp_fast_generic(v, r, eip, fl, tlb)

/* Going on from block to block without a return needs a compiler that makes tail calls into jumps;
 * otherwise the stack would grow until the next request. */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__)
#define FAST_CHAIN 1
#else
#define FAST_CHAIN 0
#endif

#define FAST_REG(T, off) (*(T *)((uint8_t *)v->gpr + (off)))

/* Offset of a general register of `size` bytes from v->gpr: AH, CH, DH, BH are second bytes. */
static inline uint8_t fast_reg_offset(unsigned reg, unsigned size)
{
    return (uint8_t)(size == 1 ? (reg & 3) * 4 + (reg >> 2) : reg * 4);
}

static inline uint32_t fast_ea_base(const struct vcpu *v, const struct interp_rec *r)
{
    return r->disp + FAST_REG(const uint32_t, r->base);
}

static inline uint32_t fast_ea_full(const struct vcpu *v, const struct interp_rec *r)
{
    return r->disp + FAST_REG(const uint32_t, r->base) +
           FAST_REG(const uint32_t, r->index) * r->scale;
}

static inline uint8_t *fast_hit(struct tlb_entry *tlb, uint32_t la, unsigned n, enum access access)
{
    const struct tlb_entry *e = &tlb[la >> 12 & (TLB_SIZE - 1)];
    if (INTERP_UNLIKELY(e->tag[access] != ((la + n - 1) & ~0xfffu)))
        return NULL;
    uint8_t *host = e->host + (la & 0xfff);
    if (!host)
        __builtin_unreachable();
    return host;
}

/* Brings v up to date before record r. */
static inline void fast_sync(struct vcpu *v, const struct interp_rec *r, uint32_t eip, uint32_t fl)
{
    struct interp *in = v->interp;
    v->eip = eip;
    v->eflags = flags_merge(v->eflags, fl);
    v->retired += (uint64_t)(r - in->mark);
    in->mark = r;
}

/* Into a block, after record r has been executed. */
static inline void fast_enter(FAST_ARGS, const struct interp_block *b)
{
    struct interp *in = v->interp;
    v->retired += (uint64_t)(r + 1 - in->mark);
    in->mark = b->rec;
    return b->rec->fn(v, b->rec, eip, fl, tlb);
}

/* To any address, after record r. */
static inline void fast_goto(FAST_ARGS)
{
    struct interp *in = v->interp;
    const struct tlb_entry *e = &tlb[eip >> 12 & (TLB_SIZE - 1)];
    if (FAST_CHAIN && INTERP_LIKELY(e->tag[ACC_EXEC] == (eip & ~0xfffu) && !v->request)) {
        uint32_t gpa = e->gfn << 12 | (eip & 0xfff);
        const struct interp_block *b = in->hash[interp_hash(gpa)];
        if (INTERP_LIKELY(b->key == interp_key(gpa, MODE_FLAT)))
            return fast_enter(v, r, eip, fl, tlb, b);
    }
    return interp_fast_leave(v, r + 1, eip, fl, tlb);
}

/* To a fixed target. Blocks on one page are linked: while code of a page is executed, that page
 * stays where it is, so nothing has to be looked up. */
static inline void fast_branch(FAST_ARGS, uint32_t target, unsigned taken)
{
    struct interp *in = v->interp;
    struct interp_block *b = &in->blocks[r->block];
    const struct interp_block *next = b->link[taken];
    if (FAST_CHAIN && INTERP_LIKELY(next && next->key != BLOCK_DEAD && !v->request))
        return fast_enter(v, r, target, fl, tlb, next);
    if ((target ^ eip) >> 12)
        return fast_goto(v, r, target, fl, tlb);
    in->link = &b->link[taken];
    return interp_fast_leave(v, r + 1, target, fl, tlb);
}

#endif
