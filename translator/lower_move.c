/* SPDX-License-Identifier: MIT */
/* lower_move.c: instructions that run on the host as they are, but for register numbers, prefixes
 * and the address of their memory operand. */
#include "translator/lower.h"

#include "ringdown/cpu.h"

#include <stddef.h>

#define SLOT(member) offsetof(struct vcpu, member)

static const struct insn_row *row_of(const struct insn *i)
{
    return (const struct insn_row *)((const char *)i->info - offsetof(struct insn_row, info));
}

/* Whether ESP, or a byte register that a REX prefix would rename, is among the operands. */
static bool names_esp(const struct insn *i)
{
    for (unsigned n = 0; n < i->n_opnds; n++)
        if (i->opnd[n].kind == OPND_REG && i->opnd[n].size != 1 && i->opnd[n].reg == R_ESP)
            return true;
    return false;
}

static bool names_high_byte(const struct insn *i)
{
    for (unsigned n = 0; n < i->n_opnds; n++)
        if (i->opnd[n].kind == OPND_REG && i->opnd[n].size == 1 && i->opnd[n].reg >= 4)
            return true;
    return false;
}

static bool names_vector(const struct insn *i)
{
    for (unsigned n = 0; n < i->n_opnds; n++)
        if (i->opnd[n].kind == OPND_XMM || i->opnd[n].kind == OPND_MMX)
            return true;
    return false;
}

static struct opc opcode_of(const struct insn *i)
{
    struct opc o = {0, i->map, i->opcode};
    if (i->prefix66)
        o.prefix |= PFX_66;
    /* Only where the row asks for it: F3 before BSF, which ignores it here, is TZCNT on the host.
     */
    if (row_of(i)->pfx == 0xf3 || i->op == OP_PAUSE)
        o.prefix |= PFX_F3;
    if (row_of(i)->pfx == 0xf2)
        o.prefix |= PFX_F2;
    if (i->lock)
        o.prefix |= PFX_LOCK;
    return o;
}

static void emit_immediate(struct lowering *l, const struct insn *i)
{
    emit_bytes(&l->e, i->bytes + i->length - i->imm_size, i->imm_size);
}

static bool lower_no_modrm(struct lowering *l, const struct insn *i)
{
    struct opc o = opcode_of(i);
    bool esp = names_esp(i);
    if (o.prefix & PFX_66)
        emit_u8(&l->e, 0x66);
    if (o.prefix & PFX_F3)
        emit_u8(&l->e, 0xf3);
    if (o.prefix & PFX_F2)
        emit_u8(&l->e, 0xf2);
    if (esp)
        emit_u8(&l->e, 0x41); /* REX.B: the register is in the opcode */
    if (o.map)
        emit_u8(&l->e, 0x0f);
    emit_u8(&l->e, o.byte);
    emit_immediate(l, i);
    return true;
}

bool lower_identical(struct lowering *l, const struct insn *i)
{
    if (i->op == OP_NOP)
        return true;
    if (!i->has_modrm)
        return lower_no_modrm(l, i);
    unsigned reg = i->modrm >> 3 & 7, rm = i->modrm & 7;
    if (names_esp(i)) {
        bool group = row_of(i)->ext != 0xff;
        bool both = !group && reg == 4 && rm == 4;
        if (names_high_byte(i) || (both && names_vector(i)))
            return false;
        if (!group && reg == 4)
            reg = H_ESP;
        if (rm == 4)
            rm = H_ESP;
    }
    emit_reg(&l->e, opcode_of(i), reg, rm);
    emit_immediate(l, i);
    return true;
}

/* MOV between the accumulator and an absolute address has no 64-bit form of use: 8A/8B, 88/89. */
static bool lower_moffs(struct lowering *l, const struct insn *i)
{
    static const uint8_t modrm_form[] = {0x8a, 0x8b, 0x88, 0x89};
    struct opc o = opcode_of(i);
    struct mem m;
    if (l->soft ? !lower_soft_operand(l, i, &m) : !lower_operand(l, i, 0, &m))
        return false;
    o.byte = modrm_form[i->opcode & 3];
    emit_mem(&l->e, o, R_EAX, &m);
    return true;
}

static bool lower_lea(struct lowering *l, const struct insn *i)
{
    if (i->addrsize != 4)
        return false;
    struct mem m = {
        .base = i->mem_base == 0xff ? H_NONE : (uint8_t)host_gpr(i->mem_base),
        .index = i->mem_index == 0xff ? H_NONE : (uint8_t)host_gpr(i->mem_index),
        .scale = i->mem_scale,
        .disp = i->disp,
    };
    if (i->mem_base == R_ESP)
        m.disp = (int32_t)((uint32_t)m.disp + (uint32_t)l->pending);
    emit_mem(&l->e, opcode_of(i), host_gpr(i->opnd[0].reg), &m);
    return true;
}

bool lower_memory(struct lowering *l, const struct insn *i)
{
    if (i->op == OP_LEA)
        return lower_lea(l, i);
    if (!i->has_modrm)
        return i->map == 0 && (i->opcode & 0xfc) == 0xa0 && lower_moffs(l, i);
    unsigned reg = i->modrm >> 3 & 7;
    if (names_esp(i) && reg == 4 && row_of(i)->ext == 0xff)
        reg = H_ESP;
    bool rex =
        reg >= 8 || l->soft || i->mem_base == R_ESP || l->mode->seg_class[i->mem_seg] != SEGC_FLAT;
    if (rex && names_high_byte(i))
        return false;
    struct mem m;
    l->no_rex = names_high_byte(i);
    bool reached = l->soft ? lower_soft_operand(l, i, &m) : lower_operand(l, i, 0, &m);
    l->no_rex = false;
    if (!reached)
        return false;
    emit_mem(&l->e, opcode_of(i), reg, &m);
    emit_immediate(l, i);
    return true;
}

/* The one-byte forms 40-4F are REX prefixes in 64-bit mode: FF /0 and FF /1. */
bool lower_inc_dec(struct lowering *l, const struct insn *i)
{
    if (i->has_modrm)
        return i->has_mem ? lower_memory(l, i) : lower_identical(l, i);
    struct opc o = {i->prefix66 ? PFX_66 : 0, 0, 0xff};
    emit_reg(&l->e, o, i->op == OP_DEC, host_gpr(i->opcode & 7));
    return true;
}

bool lower_xlat(struct lowering *l, const struct insn *i)
{
    unsigned seg = i->seg_prefix == 0xff ? SEG_DS : i->seg_prefix;
    if (i->addrsize != 4 || l->mode->seg_class[seg] != SEGC_FLAT)
        return false;
    emit_reg(&l->e, (struct opc){0, 1, 0xb6}, H_R8, H_RAX); /* movzx r8d, al */
    struct mem m = {H_RBX, H_R8, 1, 0, true, true};
    emit_mem(&l->e, (struct opc){0, 0, 0x8a}, R_EAX, &m);
    return true;
}

bool lower_mov_from_seg(struct lowering *l, const struct insn *i)
{
    unsigned seg = i->modrm >> 3 & 7;
    struct mem slot = {.base = H_VCPU,
                       .index = H_NONE,
                       .disp = (int32_t)(SLOT(seg[0].sel) + seg * sizeof(struct segment))};
    if (i->has_mem) {
        struct mem m;
        if (!lower_operand(l, i, 0, &m))
            return false;
        emit_mem(&l->e, (struct opc){0, 1, 0xb7}, H_R10, &slot);
        emit_mem(&l->e, (struct opc){PFX_66, 0, 0x89}, H_R10, &m);
        return true;
    }
    if (i->opsize != 4)
        return false;
    emit_mem(&l->e, (struct opc){0, 1, 0xb7}, host_gpr(i->modrm & 7), &slot);
    return true;
}

/* RDTSC and RDTSCP. The guest's time-stamp counter is the host's plus an offset. The halves are
 * joined and split in memory, since shifts would change the flags. */
bool lower_rdtsc(struct lowering *l, const struct insn *i)
{
    static const uint8_t rdtsc[] = {0x0f, 0x31}, rdtscp[] = {0x0f, 0x01, 0xf9};
    bool ordered = i->op == OP_RDTSCP;
    if (l->mode->tsc_traps)
        return false;
    size_t low = SLOT(hot.scratch), high = low + 4;
    emit_bytes(&l->e, ordered ? rdtscp : rdtsc, ordered ? sizeof rdtscp : sizeof rdtsc);
    emit_store_slot(&l->e, low, H_RAX);
    emit_store_slot(&l->e, high, H_RDX);
    emit_load_slot64(&l->e, H_R8, low);
    emit_load_slot64(&l->e, H_R9, SLOT(tsc_offset));
    emit_lea64(&l->e, H_R8, &(struct mem){.base = H_R8, .index = H_R9, .scale = 1});
    struct mem slot = {.base = H_VCPU, .index = H_NONE, .disp = (int32_t)low};
    emit_mem(&l->e, (struct opc){PFX_W, 0, 0x89}, H_R8, &slot);
    emit_load_slot(&l->e, H_RAX, low);
    emit_load_slot(&l->e, H_RDX, high);
    if (ordered)
        emit_load_slot(&l->e, H_RCX, SLOT(tsc_aux));
    return true;
}
