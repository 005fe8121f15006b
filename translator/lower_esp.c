/* SPDX-License-Identifier: MIT */
/* lower_esp.c: runs of pushes and pops change ESP once.
 *
 * Inside a run, the host's register for ESP lags behind by l->pending bytes. Operands that use ESP
 * are displaced by as much, each instruction's mark says how much (so that whoever leaves there can
 * correct the register), and nobody enters there. An instruction that does not know about all this
 * has ESP settled first, before its mark; so has every way out of the block. */
#include "translator/lower.h"

#include "ringdown/cpu.h"

#define PENDING_MAX 1024

static bool plain_segment(const struct lowering *l, unsigned seg)
{
    return l->mode->seg_class[seg] == SEGC_FLAT || l->mode->seg_class[seg] == SEGC_BASED;
}

static bool names_esp(const struct insn *i)
{
    for (unsigned n = 0; n < i->n_opnds; n++)
        if (i->opnd[n].kind == OPND_REG && i->opnd[n].size != 1 && i->opnd[n].reg == R_ESP)
            return true;
    return false;
}

/* Whether the instruction can be lowered while ESP's change is pending. */
bool lower_esp_may_wait(const struct lowering *l, const struct insn *i)
{
    if (!i->info || l->soft || l->at->retpoline || names_esp(i) ||
        (i->has_mem && (i->addrsize != 4 || !plain_segment(l, i->mem_seg))) ||
        !plain_segment(l, SEG_SS) || l->mode->cs_limit != UINT32_MAX || l->pending > PENDING_MAX ||
        l->pending < -PENDING_MAX)
        return false;
    switch (i->op) {
    case OP_PUSH:
    case OP_CALL:
    case OP_CALL_IND:
    case OP_RET:
        return i->opsize == 4;
    case OP_POP:
        return i->opsize == 4 && i->opnd[0].kind == OPND_REG;
    default:
        return i->info->cls == CLASS_IDENTICAL || i->info->cls == CLASS_MEMORY;
    }
}

/* What a push or a pop does to ESP. */
void lower_esp_move(struct lowering *l, int32_t by)
{
    if (plain_segment(l, SEG_SS) && l->mode->cs_limit == UINT32_MAX)
        l->pending += by;
    else
        emit_add_imm(&l->e, H_ESP, H_ESP, by);
}

void lower_esp_settle(struct lowering *l)
{
    if (l->pending)
        emit_add_imm(&l->e, H_ESP, H_ESP, l->pending);
    l->pending = 0;
}
