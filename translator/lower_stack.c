/* SPDX-License-Identifier: MIT */
/* lower_stack.c: PUSH, POP and kin: a store or load at the guest's ESP, then the change of ESP. */
#include "translator/lower.h"

#include "ringdown/cpu.h"

#include <stddef.h>

#define SLOT(member) offsetof(struct vcpu, member)

static void move_esp(struct lowering *l, int32_t by)
{
    emit_add_imm(&l->e, H_ESP, H_ESP, by);
}

bool lower_push(struct lowering *l, const struct insn *i)
{
    struct mem top, source;
    if (i->opsize != 4 || l->mode->seg_class[SEG_SS] == SEGC_CHECKED)
        return false;
    if (i->opnd[0].kind == OPND_MEM) {
        if (!lower_operand(l, i, 0, &source))
            return false;
        emit_load(&l->e, H_R10, &source);
    }
    lower_stack_operand(l, H_ESP, -4, &top);
    if (i->opnd[0].kind == OPND_IMM)
        emit_store_imm(&l->e, &top, i->imm);
    else
        emit_store(&l->e, &top,
                   i->opnd[0].kind == OPND_REG ? host_gpr(i->opnd[0].reg) : (unsigned)H_R10);
    lower_esp_move(l, -4);
    return true;
}

bool lower_pop(struct lowering *l, const struct insn *i)
{
    struct mem top, target;
    if (i->opsize != 4 || !lower_stack_operand(l, H_ESP, 0, &top))
        return false;
    if (i->opnd[0].kind == OPND_REG) {
        unsigned reg = host_gpr(i->opnd[0].reg);
        emit_load(&l->e, reg, &top);
        if (reg != H_ESP)
            lower_esp_move(l, 4);
        return true;
    }
    if (i->opnd[0].kind != OPND_MEM || i->addrsize != 4 ||
        l->mode->seg_class[i->mem_seg] == SEGC_CHECKED || i->mem_seg == SEG_CS)
        return false;
    emit_load(&l->e, H_R10, &top);
    /* An address that uses ESP is computed after the pop (SDM vol. 2, POP). */
    lower_operand(l, i, i->mem_base == R_ESP ? 4 : 0, &target);
    emit_store(&l->e, &target, H_R10);
    move_esp(l, 4);
    return true;
}

bool lower_push_seg(struct lowering *l, const struct insn *i)
{
    struct mem top;
    if (i->opsize != 4 || !lower_stack_operand(l, H_ESP, -4, &top))
        return false;
    struct mem slot = {.base = H_VCPU, .index = H_NONE};
    slot.disp = (int32_t)(SLOT(seg[0].sel) + i->opnd[0].reg * sizeof(struct segment));
    emit_mem(&l->e, (struct opc){0, 1, 0xb7}, H_R10, &slot); /* movzx r10d, word selector */
    /* as sys_push_seg(): the selector alone is stored */
    emit_mem(&l->e, (struct opc){PFX_66, 0, 0x89}, H_R10, &top);
    move_esp(l, -4);
    return true;
}

bool lower_pusha(struct lowering *l, const struct insn *i)
{
    struct mem at;
    if (i->opsize != 4 || l->mode->seg_class[SEG_SS] == SEGC_LIMITED ||
        !lower_stack_operand(l, H_ESP, -4, &at))
        return false;
    for (unsigned reg = 0; reg < 8; reg++) {
        at.disp = -4 * (int32_t)(reg + 1);
        emit_store(&l->e, &at, host_gpr(reg));
    }
    move_esp(l, -32);
    return true;
}

/* The farthest word is touched first: if it can be read, so can the rest, and no register has
 * changed when it cannot. The nearest, EDI, is on the other page if there are two. */
bool lower_popa(struct lowering *l, const struct insn *i)
{
    struct mem at;
    if (i->opsize != 4 || l->mode->seg_class[SEG_SS] == SEGC_LIMITED ||
        !lower_stack_operand(l, H_ESP, 28, &at))
        return false;
    emit_load(&l->e, H_R10, &at);
    for (unsigned n = 0; n < 7; n++) {
        unsigned reg = 7 - n;
        at.disp = 4 * (int32_t)n;
        if (reg != R_ESP)
            emit_load(&l->e, reg, &at);
    }
    emit_mov(&l->e, H_RAX, H_R10);
    move_esp(l, 32);
    return true;
}

bool lower_leave(struct lowering *l, const struct insn *i)
{
    struct mem frame;
    if (i->opsize != 4 || !lower_stack_operand(l, H_RBP, 0, &frame))
        return false;
    emit_load(&l->e, H_R10, &frame);
    emit_add_imm(&l->e, H_ESP, H_RBP, 4);
    emit_mov(&l->e, H_RBP, H_R10);
    return true;
}
