/* SPDX-License-Identifier: MIT */
/* interp_data.c: moves, exchanges, conversions, flag bits, and the instructions that do nothing. */
#include "runtime/interp_ops.h"

#include "runtime/interp_handlers.h"

bool op_mov(struct vcpu *v, const struct insn *i)
{
    ops_write(v, i, 0, ops_read(v, i, 1));
    return false;
}

bool op_movzx(struct vcpu *v, const struct insn *i)
{
    ops_set_reg(v, i->opnd[0].reg, i->opnd[0].size, ops_read(v, i, 1));
    return false;
}

bool op_movsx(struct vcpu *v, const struct insn *i)
{
    uint32_t value = ops_read(v, i, 1);
    value = i->opnd[1].size == 1 ? (uint32_t)(int8_t)value : (uint32_t)(int16_t)value;
    ops_set_reg(v, i->opnd[0].reg, i->opnd[0].size, value);
    return false;
}

static uint32_t swap_bytes(uint32_t value, unsigned size)
{
    return size == 4 ? __builtin_bswap32(value) : __builtin_bswap16((uint16_t)value);
}

bool op_movbe(struct vcpu *v, const struct insn *i)
{
    ops_write(v, i, 0, swap_bytes(ops_read(v, i, 1), i->opnd[1].size));
    return false;
}

/* With a 16-bit operand the result is undefined (SDM vol. 2, BSWAP); processors leave zero. */
bool op_bswap(struct vcpu *v, const struct insn *i)
{
    const struct opnd *o = &i->opnd[0];
    ops_set_reg(v, o->reg, o->size, o->size == 4 ? __builtin_bswap32(v->gpr[o->reg]) : 0);
    return false;
}

bool op_lea(struct vcpu *v, const struct insn *i)
{
    ops_set_reg(v, i->opnd[0].reg, i->opnd[0].size, ops_ea(v, i));
    return false;
}

bool op_xchg(struct vcpu *v, const struct insn *i)
{
    const struct opnd *src = &i->opnd[1];
    struct ops_rmw m;
    uint32_t a = ops_rmw_begin(v, i, &m);
    uint32_t b = ops_reg(v, src->reg, src->size);
    ops_rmw_end(v, i, &m, b);
    ops_set_reg(v, src->reg, src->size, a);
    return false;
}

bool op_cmovcc(struct vcpu *v, const struct insn *i)
{
    /* The source is read whatever the condition says. */
    uint32_t value = ops_read(v, i, 1);
    if (flags_cond(flags_pack(v->eflags), i->cc))
        ops_set_reg(v, i->opnd[0].reg, i->opnd[0].size, value);
    return false;
}

bool op_setcc(struct vcpu *v, const struct insn *i)
{
    ops_write(v, i, 0, flags_cond(flags_pack(v->eflags), i->cc));
    return false;
}

/* CBW and CWDE: the accumulator's lower half into all of it. */
bool op_cbw(struct vcpu *v, const struct insn *i)
{
    uint32_t eax = v->gpr[R_EAX];
    uint32_t value = i->opsize == 4 ? (uint32_t)(int16_t)eax : (uint32_t)(int8_t)eax;
    ops_set_reg(v, R_EAX, i->opsize, value);
    return false;
}

/* CWD and CDQ: the accumulator's sign into (E)DX. */
bool op_cwd(struct vcpu *v, const struct insn *i)
{
    uint32_t eax = v->gpr[R_EAX];
    int32_t value = i->opsize == 4 ? (int32_t)eax : (int16_t)eax;
    ops_set_reg(v, R_EDX, i->opsize, (uint32_t)(value >> 31));
    return false;
}

bool op_xlat(struct vcpu *v, const struct insn *i)
{
    uint32_t ea = v->gpr[R_EBX] + (v->gpr[R_EAX] & 0xff);
    unsigned seg = i->seg_prefix == 0xff ? SEG_DS : i->seg_prefix;
    if (i->addrsize == 2)
        ea &= 0xffff;
    ops_set_reg(v, R_EAX, 1, ops_load(v, ops_linear(v, seg, ea, 1, 0), 1));
    return false;
}

/* --- flag bits --- */

#define FLAG_SAHF (EFL_SF | EFL_ZF | EFL_AF | EFL_PF | EFL_CF)

bool op_lahf(struct vcpu *v, const struct insn *i)
{
    (void)i;
    ops_set_reg(v, 4, 1, (v->eflags & FLAG_SAHF) | EFL_ONE); /* AH */
    return false;
}

bool op_sahf(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->eflags = (v->eflags & ~FLAG_SAHF) | (ops_reg(v, 4, 1) & FLAG_SAHF);
    return false;
}

bool op_salc(struct vcpu *v, const struct insn *i)
{
    (void)i;
    ops_set_reg(v, R_EAX, 1, v->eflags & EFL_CF ? 0xff : 0);
    return false;
}

bool op_clc(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->eflags &= ~EFL_CF;
    return false;
}

bool op_stc(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->eflags |= EFL_CF;
    return false;
}

bool op_cmc(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->eflags ^= EFL_CF;
    return false;
}

bool op_cld(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->eflags &= ~EFL_DF;
    return false;
}

bool op_std(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->eflags |= EFL_DF;
    return false;
}

/* --- nothing, or nearly --- */

/* NOP, PAUSE, fences and prefetches: one processor in program order, and a prefetch never faults.
 */
bool op_nop(struct vcpu *v, const struct insn *i)
{
    (void)v;
    (void)i;
    return false;
}

/* CLFLUSH faults as a load of a byte does (vol. 2, CLFLUSH). */
bool op_clflush(struct vcpu *v, const struct insn *i)
{
    mmu_probe(v, ops_mem(v, i, 1, 0), 1, ACC_READ);
    return false;
}

bool op_ud(struct vcpu *v, const struct insn *i)
{
    (void)i;
    raise_ud(v);
}
