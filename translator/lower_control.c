/* SPDX-License-Identifier: MIT */
/* lower_control.c: near branches, calls and returns.
 *
 * A guest call stores the guest's return address and makes a host call; a guest return loads its
 * target into r8d and makes a host return, which the host predicts. The landing place compares r8d
 * with the address that its own call has stored and goes on, or looks the target up. So a guest may
 * return wherever it likes: only the prediction suffers. */
#include "translator/lower.h"

#include "ringdown/cpu.h"

#include <stddef.h>

enum { CC_Z = 4, CC_NZ = 5 };

/* Whether a target can be reached without a limit check at run time, and EIP is not truncated. */
static bool plain_target(const struct lowering *l, const struct insn *i, uint32_t target)
{
    return i->opsize == 4 && target <= l->mode->cs_limit;
}

static uint32_t target_of(const struct lowering *l, const struct insn *i)
{
    return l->next_eip + i->imm;
}

bool lower_jmp(struct lowering *l, const struct insn *i)
{
    if (!plain_target(l, i, target_of(l, i)))
        return false;
    lower_branch(l, -1, false, target_of(l, i));
    return true;
}

bool lower_jcc(struct lowering *l, const struct insn *i)
{
    if (!plain_target(l, i, target_of(l, i)))
        return false;
    lower_branch(l, i->cc, false, target_of(l, i));
    return true;
}

bool lower_jcxz(struct lowering *l, const struct insn *i)
{
    if (i->addrsize != 4 || !plain_target(l, i, target_of(l, i)))
        return false;
    uint8_t *zero = emit_jrcxz(&l->e);
    uint8_t *over = emit_jmp8(&l->e);
    emit_land8(&l->e, zero);
    lower_branch(l, -1, false, target_of(l, i));
    emit_land8(&l->e, over);
    return true;
}

bool lower_loop(struct lowering *l, const struct insn *i)
{
    if (i->addrsize != 4 || !plain_target(l, i, target_of(l, i)))
        return false;
    emit_add_imm(&l->e, H_RCX, H_RCX, -1);
    uint8_t *done = emit_jrcxz(&l->e);
    uint8_t *flag = i->op == OP_LOOPE    ? emit_jcc8(&l->e, CC_NZ)
                    : i->op == OP_LOOPNE ? emit_jcc8(&l->e, CC_Z)
                                         : NULL;
    lower_branch(l, -1, false, target_of(l, i));
    emit_land8(&l->e, done);
    if (flag)
        emit_land8(&l->e, flag);
    return true;
}

static void push_return_address(struct lowering *l)
{
    struct mem top;
    lower_stack_operand(l, H_ESP, -4, &top);
    emit_store_imm(&l->e, &top, l->next_eip);
    l->pending -= 4;
    lower_esp_settle(l);
}

/* Where the host return of the callee lands: is r8d the address that this call has stored? As long
 * as it always is, a load that faults if it is not costs least (runtime/vcpu_memory.c):
 *     lea  r9d, [r8 - next]
 *     mov  r9, [r15 + r9*8 + slot] */
static void check_return(struct lowering *l)
{
    struct emitter *e = &l->e;
    if (!l->soft) {
        struct mem slot = {.base = H_VCPU, .index = H_R9, .scale = 8};
        slot.disp = (int32_t)offsetof(struct vcpu, expected.slot);
        emit_add_imm(e, H_R9, H_R8, (int32_t)-l->next_eip);
        emit_mem(e, (struct opc){PFX_W, 0, 0x8b}, H_R9, &slot);
        return;
    }
    emit_mov64(e, H_R9, H_RCX);
    emit_add_imm(e, H_RCX, H_R8, (int32_t)-l->next_eip);
    uint8_t *same = emit_jrcxz(e);
    emit_mov64(e, H_RCX, H_R9);
    emit_jmp(e, l->pads->lookup);
    emit_land8(e, same);
    emit_mov64(e, H_RCX, H_R9);
}

/* What CALL, MOV [ESP], reg and RET amount to: a jump to reg that leaves its address below ESP. */
static bool lower_retpoline(struct lowering *l)
{
    struct mem below;
    lower_stack_operand(l, H_ESP, -4, &below);
    emit_store(&l->e, &below, host_gpr(l->at->retpoline_reg));
    lower_count_more(l, 2);
    emit_mov(&l->e, H_R8, host_gpr(l->at->retpoline_reg));
    lower_indirect(l, false);
    return true;
}

bool lower_call(struct lowering *l, const struct insn *i)
{
    uint32_t target = target_of(l, i);
    if (l->at->retpoline)
        return lower_retpoline(l);
    if (!plain_target(l, i, target) || l->mode->seg_class[SEG_SS] == SEGC_CHECKED)
        return false;
    push_return_address(l);
    if (target == l->next_eip) /* call +0 reads its own address: no return will pair with it */
        return true;
    lower_branch(l, -1, true, target);
    check_return(l);
    return true;
}

/* Loads the target of an indirect branch into r8d. */
static bool load_target(struct lowering *l, const struct insn *i)
{
    struct mem m;
    if (i->opsize != 4)
        return false;
    if (!i->has_mem) {
        emit_mov(&l->e, H_R8, host_gpr(i->modrm & 7));
    } else {
        if (!lower_operand(l, i, 0, &m))
            return false;
        emit_load(&l->e, H_R8, &m);
    }
    lower_check_target(l);
    return true;
}

bool lower_call_indirect(struct lowering *l, const struct insn *i)
{
    if (l->mode->seg_class[SEG_SS] == SEGC_CHECKED || !load_target(l, i))
        return false;
    bool keep = l->mode->seg_class[SEG_SS] == SEGC_LIMITED; /* its check needs r8 */
    if (keep)
        emit_mov(&l->e, H_R10, H_R8);
    push_return_address(l);
    if (keep)
        emit_mov(&l->e, H_R8, H_R10);
    lower_indirect(l, true);
    check_return(l);
    return true;
}

bool lower_jmp_indirect(struct lowering *l, const struct insn *i)
{
    if (!load_target(l, i))
        return false;
    lower_indirect(l, false);
    return true;
}

bool lower_ret(struct lowering *l, const struct insn *i)
{
    struct mem top;
    if (i->opsize != 4 || !lower_stack_operand(l, H_ESP, 0, &top))
        return false;
    emit_load(&l->e, H_R8, &top);
    lower_check_target(l);
    l->pending += 4 + (i->imm_size ? (int32_t)(i->imm & 0xffff) : 0);
    lower_esp_settle(l);
    emit_u8(&l->e, 0xc3);
    return true;
}
