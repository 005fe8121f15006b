/* SPDX-License-Identifier: MIT */
/* lower_count.c: code that counts guest instructions, for lock step (docs/lockstep.md).
 *
 * A counted translation begins each instruction with
 *
 *     mov   r9, rcx
 *     mov   rcx, [r15 + budget]
 *     lea   rcx, [rcx - 1]
 *     mov   [r15 + budget], rcx
 *     jrcxz out
 *     jmp   on
 * out: mov  rcx, r9                  leave before this instruction
 *     mov   dword [r15 + exit_eip], eip
 *     mov   r8d, EXIT_ID_STOP
 *     jmp   exit
 * on: mov   rcx, r9
 *     mov   r8, [r15 + retired]
 *     lea   r8, [r8 + 1]
 *     mov   [r15 + retired], r8
 *
 * so a run can be ended at any boundary, and `retired` always tells how many instructions have been
 * begun. Whoever lowers several guest instructions as one counts the rest with
 * lower_count_more(). */
#include "translator/lower.h"

#include "ringdown/cpu.h"

#include <stddef.h>

#define SLOT(member) offsetof(struct vcpu, member)

static void emit_store_slot64(struct emitter *e, size_t off, unsigned src)
{
    struct mem slot = {.base = H_VCPU, .index = H_NONE, .disp = (int32_t)off};
    emit_mem(e, (struct opc){PFX_W, 0, 0x89}, src, &slot);
}

static void emit_add_to_slot(struct emitter *e, unsigned through, size_t off, int32_t n)
{
    emit_load_slot64(e, through, off);
    emit_lea64(e, through, &(struct mem){.base = (uint8_t)through, .index = H_NONE, .disp = n});
    emit_store_slot64(e, off, through);
}

static void leave_if_spent(struct lowering *l, uint32_t eip)
{
    struct emitter *e = &l->e;
    emit_mov64(e, H_R9, H_RCX);
    emit_add_to_slot(e, H_RCX, SLOT(count.budget), -1);
    uint8_t *out = emit_jrcxz(e);
    uint8_t *on = emit_jmp8(e);
    emit_land8(e, out);
    emit_mov64(e, H_RCX, H_R9);
    if (l->pending)
        emit_add_imm(e, H_ESP, H_ESP, l->pending);
    emit_store_slot_imm(e, SLOT(hot.exit_eip), eip);
    emit_mov_imm(e, H_R8, EXIT_ID_STOP);
    emit_jmp(e, l->pads->exit);
    emit_land8(e, on);
    emit_mov64(e, H_RCX, H_R9);
}

void lower_count(struct lowering *l, const struct scanned *s)
{
    l->counted = true;
    if (!s->held) /* where no interrupt may be taken, no other visit may be paid either */
        leave_if_spent(l, s->eip);
    emit_add_to_slot(&l->e, H_R8, SLOT(count.retired), 1);
}

void lower_count_more(struct lowering *l, unsigned n)
{
    if (l->counted)
        emit_add_to_slot(&l->e, H_R8, SLOT(count.retired), (int32_t)n);
}
