/* SPDX-License-Identifier: MIT */
/* interp_stack.c: PUSH, POP, PUSHA, POPA, ENTER, LEAVE.
 *
 * The stack pointer moves after the last access that may fault, so that the instruction can be
 * restarted. */
#include "runtime/interp_ops.h"

#include "runtime/interp_handlers.h"

bool op_push(struct vcpu *v, const struct insn *i)
{
    /* PUSH ESP pushes the value before (SDM vol. 2, PUSH). */
    ops_push(v, ops_read(v, i, 0), i->opsize);
    return false;
}

bool op_pop(struct vcpu *v, const struct insn *i)
{
    const struct opnd *o = &i->opnd[0];
    uint32_t mask = ops_stack_mask(v), old = v->gpr[R_ESP], sp = old;
    uint32_t value = ops_pop_at(v, &sp, mask, i->opsize);
    if (o->kind == OPND_REG) {
        ops_set_sp(v, mask, sp);
        ops_set_reg(v, o->reg, i->opsize, value);
        return false;
    }
    /* An address that is based on ESP is computed with the pointer after the pop (vol. 2, POP); but
     * the store may yet fault. */
    ops_set_sp(v, mask, sp);
    uint32_t ea = ops_ea(v, i);
    v->gpr[R_ESP] = old;
    ops_store(v, ops_linear(v, i->mem_seg, ea, i->opsize, 1), value, i->opsize);
    ops_set_sp(v, mask, sp);
    return false;
}

/* Each register is stored before the next one's place is checked: so do the processors. */
bool op_pusha(struct vcpu *v, const struct insn *i)
{
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_ESP];
    unsigned n = i->opsize;
    for (unsigned reg = 0; reg < 8; reg++)
        ops_push_at(v, &sp, mask, v->gpr[reg], n); /* ESP itself is not moved yet */
    ops_set_sp(v, mask, sp);
    return false;
}

bool op_popa(struct vcpu *v, const struct insn *i)
{
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_ESP], value[8];
    for (unsigned reg = 8; reg-- > 0;) {
        if (reg != R_ESP)
            value[reg] = ops_pop_at(v, &sp, mask, i->opsize);
        else
            sp = (sp + i->opsize) & mask; /* not even read */
    }
    for (unsigned reg = 0; reg < 8; reg++)
        if (reg != R_ESP)
            ops_set_reg(v, reg, i->opsize, value[reg]);
    ops_set_sp(v, mask, sp);
    return false;
}

/* SDM vol. 2, ENTER: the outer frames' pointers are copied, then the new frame's own is pushed. */
bool op_enter(struct vcpu *v, const struct insn *i)
{
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_ESP], frame = v->gpr[R_EBP];
    unsigned n = i->opsize, level = i->imm2 & 31;
    ops_push_at(v, &sp, mask, frame, n);
    /* A 32-bit frame pointer is all of ESP, on a 16-bit stack, too. */
    uint32_t top = (v->gpr[R_ESP] & ~mask) | sp;
    for (unsigned k = 1; k < level; k++) {
        frame -= n;
        uint32_t outer = ops_load(v, ops_linear(v, SEG_SS, frame & mask, n, 0), n);
        ops_push_at(v, &sp, mask, outer, n);
    }
    if (level)
        ops_push_at(v, &sp, mask, top, n);
    sp = (sp - (i->imm & 0xffff)) & mask;
    /* It faults if a push at the final stack pointer's place would. */
    mmu_probe(v, ops_linear(v, SEG_SS, sp, n, 1), n, ACC_WRITE);
    ops_set_reg(v, R_EBP, n, top);
    ops_set_sp(v, mask, sp);
    return false;
}

bool op_leave(struct vcpu *v, const struct insn *i)
{
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_EBP];
    uint32_t value = ops_pop_at(v, &sp, mask, i->opsize);
    ops_set_sp(v, mask, sp);
    ops_set_reg(v, R_EBP, i->opsize, value);
    return false;
}
