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
 * otherwise the stack would grow until the next request. CMakeLists.txt asks for it where it is not
 * implied, and tells when sanitizers are in the way. */
#if defined(__OPTIMIZE__) && !defined(RINGDOWN_SANITIZED)
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

/* A base or index register. */
static inline uint32_t fast_word(const struct vcpu *v, unsigned offset)
{
    return *(const uint32_t *)((const uint8_t *)v->gpr + 4 * offset);
}

/* The linear address of r's operand in three shapes; false if the full handler has to see to it. */
static inline bool fast_ea_base(const struct vcpu *v, const struct interp_rec *r, uint32_t *la)
{
    *la = r->disp + fast_word(v, r->base);
    return true;
}

static inline bool fast_ea_full(const struct vcpu *v, const struct interp_rec *r, uint32_t *la)
{
    *la = r->disp + fast_word(v, r->base) + fast_word(v, r->index) * r->scale;
    return true;
}

/* Through FS or GS, whose base may be anything as long as its limit is none. */
static inline bool fast_ea_seg(const struct vcpu *v, const struct interp_rec *r, uint32_t *la)
{
    const uint32_t want = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_WRITE;
    const struct segment *s = &v->seg[r->seg];
    fast_ea_full(v, r, la);
    *la += s->base;
    return s->limit == 0xffffffffu &&
           (s->attr & (want | SEG_ATTR_CODE | SEG_ATTR_DOWN | SEG_ATTR_NULL)) == want;
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

/* Declares `host` for r's operand of n bytes, or leaves it to the full handler. */
#define FAST_OPERAND(host, ea, n, access)                                                          \
    uint32_t la_;                                                                                  \
    if (INTERP_UNLIKELY(!ea(v, r, &la_)))                                                          \
        FAST_SLOW();                                                                               \
    uint8_t *host = fast_hit(tlb, la_, (n), (access));                                             \
    if (INTERP_UNLIKELY(!host))                                                                    \
    FAST_SLOW()

/* Brings v up to date before record r. */
static inline void fast_sync(struct vcpu *v, const struct interp_rec *r, uint32_t eip, uint32_t fl)
{
    v->eip = eip;
    v->eflags = flags_merge(v->eflags, fl);
    v->retired += r->at;
}

/* To the block at `to`, after r, which ends its own. */
#define FAST_ENTER(to, target)                                                                     \
    do {                                                                                           \
        v->retired += r->at + 1u;                                                                  \
        return (to)->fn(v, (to), (target), fl, tlb);                                               \
    } while (0)

#endif
