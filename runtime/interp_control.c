/* SPDX-License-Identifier: MIT */
/* interp_control.c: near control transfers, LOOP and JCXZ, BOUND.
 *
 * A target is cut to 16 bits with a 16-bit operand size and must lie within CS, else #GP(0) with
 * nothing changed (SDM vol. 2, JMP, CALL, RET). */
#include "runtime/interp_ops.h"

#include "runtime/interp_handlers.h"

static uint32_t checked_target(struct vcpu *v, const struct insn *i, uint32_t target)
{
    if (i->opsize == 2)
        target &= 0xffff;
    if (target > v->seg[SEG_CS].limit)
        raise_gp(v, 0);
    return target;
}

static uint32_t next_eip(const struct vcpu *v, const struct insn *i)
{
    return v->eip + i->length;
}

static bool branch(struct vcpu *v, const struct insn *i, uint32_t target)
{
    v->eip = checked_target(v, i, target);
    return true;
}

static bool branch_relative_if(struct vcpu *v, const struct insn *i, bool taken)
{
    return taken ? branch(v, i, next_eip(v, i) + i->imm) : false;
}

bool op_jmp(struct vcpu *v, const struct insn *i)
{
    return branch_relative_if(v, i, true);
}

bool op_jmp_ind(struct vcpu *v, const struct insn *i)
{
    return branch(v, i, ops_read(v, i, 0));
}

bool op_jcc(struct vcpu *v, const struct insn *i)
{
    return branch_relative_if(v, i, flags_cond(flags_pack(v->eflags), i->cc));
}

static bool call(struct vcpu *v, const struct insn *i, uint32_t target)
{
    target = checked_target(v, i, target);
    ops_push(v, next_eip(v, i), i->opsize);
    v->eip = target;
    return true;
}

bool op_call(struct vcpu *v, const struct insn *i)
{
    return call(v, i, next_eip(v, i) + i->imm);
}

bool op_call_ind(struct vcpu *v, const struct insn *i)
{
    return call(v, i, ops_read(v, i, 0));
}

bool op_ret(struct vcpu *v, const struct insn *i)
{
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_ESP];
    uint32_t target = checked_target(v, i, ops_pop_at(v, &sp, mask, i->opsize));
    if (i->opnd[0].kind == OPND_IMM)
        sp += i->imm & 0xffff;
    ops_set_sp(v, mask, sp);
    v->eip = target;
    return true;
}

/* --- counted by (E)CX, whose size is the address size --- */

static uint32_t count_mask(const struct insn *i)
{
    return i->addrsize == 4 ? 0xffffffffu : 0xffffu;
}

/* The counter goes down only if the branch does not fault. */
static bool loop_if(struct vcpu *v, const struct insn *i, bool condition)
{
    uint32_t mask = count_mask(i);
    uint32_t count = (v->gpr[R_ECX] - 1) & mask;
    bool moved = branch_relative_if(v, i, count != 0 && condition);
    v->gpr[R_ECX] = (v->gpr[R_ECX] & ~mask) | count;
    return moved;
}

bool op_loop(struct vcpu *v, const struct insn *i)
{
    return loop_if(v, i, true);
}

bool op_loope(struct vcpu *v, const struct insn *i)
{
    return loop_if(v, i, v->eflags & EFL_ZF);
}

bool op_loopne(struct vcpu *v, const struct insn *i)
{
    return loop_if(v, i, !(v->eflags & EFL_ZF));
}

bool op_jcxz(struct vcpu *v, const struct insn *i)
{
    return branch_relative_if(v, i, (v->gpr[R_ECX] & count_mask(i)) == 0);
}

static int32_t bound_value(uint32_t v, unsigned size)
{
    return size == 4 ? (int32_t)v : (int16_t)v;
}

bool op_bound(struct vcpu *v, const struct insn *i)
{
    unsigned size = i->opsize;
    struct ops_parts la = ops_mem_parts(v, i, size, size, 0);
    int32_t index = bound_value(ops_reg(v, i->opnd[0].reg, size), size);
    /* one after the other: below the lower bound the upper is not read */
    if (index < bound_value(ops_load(v, la.first, size), size) ||
        index > bound_value(ops_load(v, la.second, size), size))
        raise_exception(v, VEC_BR);
    return false;
}
