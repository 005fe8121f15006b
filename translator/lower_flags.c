/* SPDX-License-Identifier: MIT */
/* lower_flags.c: PUSHF, POPF, CLI, STI. The arithmetic flags and DF are in the host's register, IF
 * in vcpu->hot.vif, the rest in vcpu->hot.vflags. */
#include "translator/lower.h"

#include "ringdown/cpu.h"

#include <stddef.h>

#define SLOT(member) offsetof(struct vcpu, member)
/* Bits that POPF may change besides those that it changes here. */
#define POPF_SYSTEM (EFL_TF | EFL_IOPL | EFL_NT | EFL_AC | EFL_ID)

enum { CC_Z = 4, CC_NZ = 5 };

/* r8 &= r9 without touching the flags: pext then pdep with the same mask (BMI2). */
static void emit_and_r8_r9(struct emitter *e)
{
    static const uint8_t code[] = {
        0xc4, 0x42, 0xba, 0xf5, 0xc1, /* pext r8, r8, r9 */
        0xc4, 0x42, 0xbb, 0xf5, 0xc1, /* pdep r8, r8, r9 */
    };
    emit_bytes(e, code, sizeof(code));
}

static void emit_add_slot_to_r8(struct emitter *e, size_t off)
{
    emit_load_slot(e, H_R9, off);
    emit_lea(e, H_R8, &(struct mem){.base = H_R8, .index = H_R9, .scale = 1});
}

bool lower_pushf(struct lowering *l, const struct insn *i)
{
    struct emitter *e = &l->e;
    struct mem top;
    if (i->opsize != 4 || l->mode->seg_class[SEG_SS] == SEGC_CHECKED ||
        !__builtin_cpu_supports("bmi2"))
        return false;
    emit_u8(e, 0x9c); /* pushfq */
    emit_u8(e, 0x41); /* pop r8 */
    emit_u8(e, 0x58);
    emit_load_slot64(e, H_R9, SLOT(hot.flags_mask));
    emit_and_r8_r9(e);
    emit_add_slot_to_r8(e, SLOT(hot.vflags));
    emit_add_slot_to_r8(e, SLOT(hot.vif));
    emit_mov(e, H_R10, H_R8);
    lower_stack_operand(l, H_ESP, -4, &top);
    emit_store(e, &top, H_R10);
    emit_add_imm(e, H_ESP, H_ESP, -4);
    return true;
}

/* and r32, imm32 */
static void emit_and_imm(struct emitter *e, unsigned reg, uint32_t imm)
{
    emit_reg(e, (struct opc){0, 0, 0x81}, 4, reg);
    emit_u32(e, imm);
}

/* All flags are about to be replaced, so this may change them; it leaves before any change of guest
 * state when the interpreter has to do it: other bits change, or an interrupt waits for IF. */
bool lower_popf(struct lowering *l, const struct insn *i)
{
    struct emitter *e = &l->e;
    struct mem top;
    if (i->opsize != 4 || !lower_stack_operand(l, H_ESP, 0, &top))
        return false;
    emit_load(e, H_R8, &top);
    emit_load_slot(e, H_R9, SLOT(hot.vflags));
    emit_reg(e, (struct opc){0, 0, 0x33}, H_R9, H_R8); /* xor r9d, r8d */
    emit_and_imm(e, H_R9, POPF_SYSTEM);
    uint8_t *plain = emit_jcc8(e, CC_Z);
    uint8_t *slow = e->p;
    lower_callout(l, CALLOUT_RESUME);
    uint8_t *done = emit_jmp8(e);
    emit_land8(e, plain);
    if (l->mode->can_set_if) {
        emit_mov(e, H_R9, H_R8);
        emit_and_imm(e, H_R9, EFL_IF);
        uint8_t *off = emit_jcc8(e, CC_Z);
        struct mem hint = {.base = H_VCPU, .index = H_NONE, .disp = (int32_t)SLOT(hot.irq_hint)};
        emit_mem(e, (struct opc){0, 0, 0x83}, 7, &hint); /* cmp dword irq_hint, 0 */
        emit_u8(e, 0);
        emit_jcc(e, CC_NZ, slow + e->delta);
        emit_land8(e, off);
        emit_store_slot(e, SLOT(hot.vif), H_R9);
    }
    emit_and_imm(e, H_R8, EFL_HOST);
    emit_add_imm(e, H_ESP, H_ESP, 4);
    emit_u8(e, 0x41); /* push r8 */
    emit_u8(e, 0x50);
    emit_u8(e, 0x9d); /* popfq */
    emit_land8(e, done);
    return true;
}

bool lower_cli(struct lowering *l, const struct insn *i)
{
    (void)i;
    if (!l->mode->can_set_if)
        return false;
    emit_store_slot_imm(&l->e, SLOT(hot.vif), 0);
    return true;
}

/* With an interrupt waiting the interpreter executes it, so that the loop delivers after the next
 * instruction. The next instruction itself is marked as held (scan). */
bool lower_sti(struct lowering *l, const struct insn *i)
{
    struct emitter *e = &l->e;
    (void)i;
    if (!l->mode->can_set_if || l->last)
        return false;
    emit_mov64(e, H_R9, H_RCX);
    emit_load_slot(e, H_RCX, SLOT(hot.irq_hint));
    uint8_t *quiet = emit_jrcxz(e);
    emit_mov64(e, H_RCX, H_R9);
    lower_callout(l, CALLOUT_RESUME);
    uint8_t *done = emit_jmp8(e);
    emit_land8(e, quiet);
    emit_mov64(e, H_RCX, H_R9);
    emit_store_slot_imm(e, SLOT(hot.vif), EFL_IF);
    emit_land8(e, done);
    return true;
}
