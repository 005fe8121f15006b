/* SPDX-License-Identifier: MIT */
/* interp_ops.h: what every instruction handler of the interpreter uses: memory through the segments
 * and the software TLB, operands, the stack.
 *
 * All accessors may leave by raise_*(); so a handler reads what it reads, then calls what may still
 * fault, and only then changes registers and flags. The hooks are for the rare machine states in
 * which each access is looked at: alignment checks (CR0.AM) and data breakpoints. */
#ifndef RINGDOWN_RUNTIME_INTERP_OPS_H
#define RINGDOWN_RUNTIME_INTERP_OPS_H

#include "runtime/interp.h"
#include "runtime/interp_flags.h"
#include "runtime/exception.h"
#include "runtime/mmu.h"
#include "runtime/segment.h"

#include <string.h>

#define INTERP_LIKELY(x)   __builtin_expect(!!(x), 1)
#define INTERP_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* What data accesses have to be checked for. Recomputed by the engine before an instruction in
 * whose predecessor it can have changed. */
enum { HOOK_ALIGN = 1, HOOK_WATCH = 2 };

/* The part of the engine's state that handlers see. First member of struct interp. */
struct interp_shared {
    uint32_t hooks; /* HOOK_* */
    bool single;    /* repeated string operations stop after an iteration */
};
static inline struct interp_shared *ops_shared(const struct vcpu *v)
{
    return (struct interp_shared *)v->interp;
}
/* Raises #AC or notes a data breakpoint. */
void interp_access_hook(struct vcpu *v, uint32_t la, unsigned n, bool write);

/* --- linear memory --- */

/* Host pointer if [la, la+n) may be touched directly, else NULL. An access that crosses a page
 * fails the compare, since its last byte's page has another slot's number. */
static inline uint8_t *ops_hit(struct vcpu *v, uint32_t la, unsigned n, enum access access)
{
    const struct tlb_entry *e = &v->tlb[mmu_as(v, v->eflags)][la >> 12 & (TLB_SIZE - 1)];
    if (INTERP_LIKELY(e->tag[access] == ((la + n - 1) & ~0xfffu)))
        return e->host + (la & 0xfff);
    return NULL;
}

static inline void ops_hook(struct vcpu *v, uint32_t la, unsigned n, bool write)
{
    if (INTERP_UNLIKELY(ops_shared(v)->hooks))
        interp_access_hook(v, la, n, write);
}

static inline uint32_t ops_peek(const uint8_t *host, unsigned n)
{
    uint16_t half;
    uint32_t word;
    if (n == 1)
        return *host;
    if (n == 2) {
        memcpy(&half, host, 2);
        return half;
    }
    memcpy(&word, host, 4);
    return word;
}

static inline void ops_poke(uint8_t *host, uint32_t value, unsigned n)
{
    if (n == 1)
        *host = (uint8_t)value;
    else if (n == 2)
        memcpy(host, &value, 2);
    else
        memcpy(host, &value, 4);
}

static inline uint32_t ops_load(struct vcpu *v, uint32_t la, unsigned n)
{
    ops_hook(v, la, n, false);
    const uint8_t *host = ops_hit(v, la, n, ACC_READ);
    if (INTERP_LIKELY(host))
        return ops_peek(host, n);
    return n == 1 ? mmu_read8(v, la) : n == 2 ? mmu_read16(v, la) : mmu_read32(v, la);
}

static inline void ops_store(struct vcpu *v, uint32_t la, uint32_t value, unsigned n)
{
    ops_hook(v, la, n, true);
    uint8_t *host = ops_hit(v, la, n, ACC_WRITE);
    if (INTERP_LIKELY(host))
        ops_poke(host, value, n);
    else if (n == 1)
        mmu_write8(v, la, (uint8_t)value);
    else if (n == 2)
        mmu_write16(v, la, (uint16_t)value);
    else
        mmu_write32(v, la, value);
}

/* --- segmented memory --- */

static inline uint32_t ops_linear(struct vcpu *v, unsigned seg, uint32_t off, unsigned n, int write)
{
    if (INTERP_LIKELY(segment_flat(&v->seg[seg])))
        return off;
    return segment_check(v, seg, off, n, write);
}

static inline uint32_t ops_ea(const struct vcpu *v, const struct insn *i)
{
    uint32_t ea = (uint32_t)i->disp;
    if (i->mem_base != 0xff)
        ea += v->gpr[i->mem_base];
    if (i->mem_index != 0xff)
        ea += v->gpr[i->mem_index] * i->mem_scale;
    return i->addrsize == 2 ? ea & 0xffff : ea;
}

static inline uint32_t ops_mem(struct vcpu *v, const struct insn *i, unsigned n, int write)
{
    return ops_linear(v, i->mem_seg, ops_ea(v, i), n, write);
}

/* Linear addresses of the parts of an operand of two. With a 16-bit address the second one's offset
 * wraps at 64 KiB, and only a part that itself crosses the segment's end faults. */
struct ops_parts {
    uint32_t first, second;
};

static inline struct ops_parts ops_mem_parts(struct vcpu *v, const struct insn *i, unsigned first,
                                             unsigned second, int write)
{
    uint32_t ea = ops_ea(v, i), behind = ea + first;
    if (i->addrsize == 2)
        behind &= 0xffff;
    uint32_t la = ops_linear(v, i->mem_seg, ea, first, write);
    return (struct ops_parts){la, ops_linear(v, i->mem_seg, behind, second, write)};
}

/* --- operands --- */

static inline uint32_t ops_reg(const struct vcpu *v, unsigned reg, unsigned size)
{
    if (size == 4)
        return v->gpr[reg];
    if (size == 2)
        return v->gpr[reg] & 0xffff;
    return v->gpr[reg & 3] >> (reg & 4 ? 8 : 0) & 0xff;
}

static inline void ops_set_reg(struct vcpu *v, unsigned reg, unsigned size, uint32_t value)
{
    if (size == 4) {
        v->gpr[reg] = value;
    } else if (size == 2) {
        v->gpr[reg] = (v->gpr[reg] & 0xffff0000u) | (value & 0xffff);
    } else {
        unsigned shift = reg & 4 ? 8 : 0;
        v->gpr[reg & 3] = (v->gpr[reg & 3] & ~(0xffu << shift)) | (value & 0xff) << shift;
    }
}

/* Operand k of at most 4 bytes, zero-extended if a register or memory. */
static inline uint32_t ops_read(struct vcpu *v, const struct insn *i, unsigned k)
{
    const struct opnd *o = &i->opnd[k];
    switch (o->kind) {
    case OPND_REG:
        return ops_reg(v, o->reg, o->size);
    case OPND_MEM:
        return ops_load(v, ops_mem(v, i, o->size, 0), o->size);
    case OPND_ONE:
        return 1;
    default:
        return i->imm;
    }
}

static inline void ops_write(struct vcpu *v, const struct insn *i, unsigned k, uint32_t value)
{
    const struct opnd *o = &i->opnd[k];
    if (o->kind == OPND_REG)
        ops_set_reg(v, o->reg, o->size, value);
    else
        ops_store(v, ops_mem(v, i, o->size, 1), value, o->size);
}

/* Read-modify-write of operand 0. What the write would raise is raised by the beginning; the end
 * raises nothing. */
struct ops_rmw {
    uint8_t *host; /* NULL: not directly accessible */
    uint32_t la;
    uint32_t value; /* as read */
};

static inline void ops_rmw_at(struct vcpu *v, uint32_t la, unsigned n, struct ops_rmw *m)
{
    m->la = la;
    ops_hook(v, la, n, true);
    m->host = ops_hit(v, la, n, ACC_WRITE);
    if (INTERP_LIKELY(m->host)) {
        m->value = ops_peek(m->host, n);
    } else {
        mmu_probe(v, la, n, ACC_WRITE);
        m->value = n == 1 ? mmu_read8(v, la) : n == 2 ? mmu_read16(v, la) : mmu_read32(v, la);
    }
}

static inline void ops_rmw_put(struct vcpu *v, const struct ops_rmw *m, unsigned n, uint32_t value)
{
    if (INTERP_LIKELY(m->host))
        ops_poke(m->host, value, n);
    else if (n == 1)
        mmu_write8(v, m->la, (uint8_t)value);
    else if (n == 2)
        mmu_write16(v, m->la, (uint16_t)value);
    else
        mmu_write32(v, m->la, value);
}

static inline uint32_t ops_rmw_begin(struct vcpu *v, const struct insn *i, struct ops_rmw *m)
{
    const struct opnd *o = &i->opnd[0];
    if (o->kind == OPND_REG) {
        *m = (struct ops_rmw){.value = ops_reg(v, o->reg, o->size)};
        return m->value;
    }
    ops_rmw_at(v, ops_mem(v, i, o->size, 1), o->size, m);
    return m->value;
}

static inline void ops_rmw_end(struct vcpu *v, const struct insn *i, const struct ops_rmw *m,
                               uint32_t value)
{
    const struct opnd *o = &i->opnd[0];
    if (o->kind == OPND_REG)
        ops_set_reg(v, o->reg, o->size, value);
    else
        ops_rmw_put(v, m, o->size, value);
}

static inline void ops_set_flags(struct vcpu *v, uint32_t raw)
{
    v->eflags = flags_merge(v->eflags, raw);
}

/* --- stack --- */

/* SS.B says whether SP or ESP counts; the other half of ESP then stays. */
static inline uint32_t ops_stack_mask(const struct vcpu *v)
{
    return vcpu_stack32(v) ? 0xffffffffu : 0xffffu;
}

static inline void ops_set_sp(struct vcpu *v, uint32_t mask, uint32_t sp)
{
    v->gpr[R_ESP] = (v->gpr[R_ESP] & ~mask) | (sp & mask);
}

/* Moves `*sp`, a stack pointer not yet committed, and stores below it. */
static inline void ops_push_at(struct vcpu *v, uint32_t *sp, uint32_t mask, uint32_t value,
                               unsigned n)
{
    uint32_t off = (*sp - n) & mask;
    ops_store(v, ops_linear(v, SEG_SS, off, n, 1), value, n);
    *sp = off;
}

static inline uint32_t ops_pop_at(struct vcpu *v, uint32_t *sp, uint32_t mask, unsigned n)
{
    uint32_t value = ops_load(v, ops_linear(v, SEG_SS, *sp & mask, n, 0), n);
    *sp = (*sp + n) & mask;
    return value;
}

static inline void ops_push(struct vcpu *v, uint32_t value, unsigned n)
{
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_ESP];
    ops_push_at(v, &sp, mask, value, n);
    ops_set_sp(v, mask, sp);
}

#endif
