/* SPDX-License-Identifier: MIT */
/* lower_string.c: MOVS, STOS, LODS, SCAS, CMPS, repeated or not, by the host's own instruction.
 *
 * A view is 4 GiB-aligned, so a 64-bit pointer into it has the guest's address in its low half: add
 * the view's base, run, truncate. While the host instruction runs, all guest state is in the low
 * halves, so it may be interrupted at any iteration. */
#include "translator/host_facts.h"
#include "translator/lower.h"

#include "ringdown/cpu.h"

#include <stddef.h>

#define SLOT(member) offsetof(struct vcpu, member)

static bool uses_source(unsigned op)
{
    return op == OP_MOVS || op == OP_LODS || op == OP_CMPS;
}

static bool uses_destination(unsigned op)
{
    return op != OP_LODS;
}

static void to_view(struct emitter *e, unsigned reg)
{
    emit_lea64(e, reg, &(struct mem){.base = (uint8_t)reg, .index = H_R10, .scale = 1});
}

/* LODS alone has no operand in ES: GS and 32-bit addresses reach the view. */
static void lower_lods(struct emitter *e, const struct insn *i)
{
    emit_u8(e, 0x65);
    emit_u8(e, 0x67);
    if (i->prefix66)
        emit_u8(e, 0x66);
    emit_u8(e, i->opcode);
}

/* What the host's own instruction shows at a fault in its midst has to be what the model shows. */
static bool flags_differ(const struct insn *i)
{
    bool compares = i->op == OP_CMPS || i->op == OP_SCAS;
    return compares && (i->rep || i->repne) && !host_as_model(HOST_COMPARE_FLAGS);
}

bool lower_string(struct lowering *l, const struct insn *i)
{
    struct emitter *e = &l->e;
    unsigned source_seg = i->seg_prefix == 0xff ? SEG_DS : i->seg_prefix;
    bool source = uses_source(i->op), destination = uses_destination(i->op);
    if (l->soft || flags_differ(i) || i->addrsize != 4 ||
        (source && l->mode->seg_class[source_seg] != SEGC_FLAT) ||
        (destination && l->mode->seg_class[SEG_ES] != SEGC_FLAT))
        return false;
    if (i->op == OP_LODS && !i->rep && !i->repne) {
        lower_lods(e, i);
        return true;
    }
    emit_load_slot64(e, H_R10, SLOT(hot.view));
    if (source)
        to_view(e, H_RSI);
    if (destination)
        to_view(e, H_RDI);
    lower_mark_restart(l);
    if (i->prefix66)
        emit_u8(e, 0x66);
    if (i->rep || i->repne)
        emit_u8(e, i->rep ? 0xf3 : 0xf2);
    emit_u8(e, i->opcode);
    if (source)
        emit_mov(e, H_RSI, H_RSI);
    if (destination)
        emit_mov(e, H_RDI, H_RDI);
    return true;
}
