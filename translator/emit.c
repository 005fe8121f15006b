/* SPDX-License-Identifier: MIT */
/* emit.c: encoders of x86-64 instructions (SDM vol. 2, 2.1-2.2). */
#include "translator/emit.h"

#include <string.h>

void emit_u32(struct emitter *e, uint32_t v)
{
    memcpy(e->p, &v, sizeof(v));
    e->p += sizeof(v);
}

void emit_u64(struct emitter *e, uint64_t v)
{
    memcpy(e->p, &v, sizeof(v));
    e->p += sizeof(v);
}

void emit_bytes(struct emitter *e, const uint8_t *bytes, unsigned n)
{
    memcpy(e->p, bytes, n);
    e->p += n;
}

static bool extended(unsigned reg)
{
    return reg != H_NONE && reg >= 8;
}

/* Prefixes, REX, opcode. `r`, `x`, `b` say which fields name r8-r15. */
static void emit_opcode(struct emitter *e, struct opc o, bool r, bool x, bool b)
{
    static const uint8_t prefix_bytes[] = {0x66, 0xf2, 0xf3, 0xf0};
    for (unsigned i = 0; i < sizeof(prefix_bytes); i++)
        if (o.prefix >> i & 1)
            emit_u8(e, prefix_bytes[i]);
    unsigned rex = (o.prefix & PFX_W ? 8u : 0) | (r ? 4u : 0) | (x ? 2u : 0) | (b ? 1u : 0);
    if (rex)
        emit_u8(e, (uint8_t)(0x40 | rex));
    if (o.map)
        emit_u8(e, 0x0f);
    if (o.map == 2)
        emit_u8(e, 0x38);
    if (o.map == 3)
        emit_u8(e, 0x3a);
    emit_u8(e, o.byte);
}

static uint8_t modrm(unsigned mod, unsigned reg, unsigned rm)
{
    return (uint8_t)(mod << 6 | (reg & 7) << 3 | (rm & 7));
}

void emit_reg(struct emitter *e, struct opc o, unsigned reg, unsigned rm)
{
    emit_opcode(e, o, extended(reg), false, extended(rm));
    emit_u8(e, modrm(3, reg, rm));
}

static unsigned scale_bits(unsigned scale)
{
    return scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
}

void emit_mem(struct emitter *e, struct opc o, unsigned reg, const struct mem *m)
{
    if (m->gs)
        emit_u8(e, 0x65);
    if (m->a32)
        emit_u8(e, 0x67);
    emit_opcode(e, o, extended(reg), extended(m->index), extended(m->base));
    unsigned index = m->index == H_NONE ? 4 : m->index;
    if (m->base == H_NONE) { /* no base: a SIB with base 5 and disp32; without it, RIP-relative */
        emit_u8(e, modrm(0, reg, 4));
        emit_u8(e, modrm(scale_bits(m->scale), index, 5));
        emit_u32(e, (uint32_t)m->disp);
        return;
    }
    bool disp8 = m->disp >= -128 && m->disp <= 127;
    unsigned mod = m->disp == 0 && (m->base & 7) != 5 ? 0 : disp8 ? 1 : 2;
    if (m->index == H_NONE && (m->base & 7) != 4) {
        emit_u8(e, modrm(mod, reg, m->base));
    } else {
        emit_u8(e, modrm(mod, reg, 4));
        emit_u8(e, modrm(scale_bits(m->scale), index, m->base));
    }
    if (mod == 1)
        emit_u8(e, (uint8_t)m->disp);
    else if (mod == 2)
        emit_u32(e, (uint32_t)m->disp);
}

void emit_mov(struct emitter *e, unsigned dst, unsigned src)
{
    emit_reg(e, (struct opc){0, 0, 0x8b}, dst, src);
}

void emit_mov64(struct emitter *e, unsigned dst, unsigned src)
{
    emit_reg(e, (struct opc){PFX_W, 0, 0x8b}, dst, src);
}

void emit_mov_imm(struct emitter *e, unsigned dst, uint32_t imm)
{
    if (extended(dst))
        emit_u8(e, 0x41);
    emit_u8(e, (uint8_t)(0xb8 | (dst & 7)));
    emit_u32(e, imm);
}

void emit_load(struct emitter *e, unsigned dst, const struct mem *m)
{
    emit_mem(e, (struct opc){0, 0, 0x8b}, dst, m);
}

void emit_store(struct emitter *e, const struct mem *m, unsigned src)
{
    emit_mem(e, (struct opc){0, 0, 0x89}, src, m);
}

void emit_store_imm(struct emitter *e, const struct mem *m, uint32_t imm)
{
    emit_mem(e, (struct opc){0, 0, 0xc7}, 0, m);
    emit_u32(e, imm);
}

void emit_lea(struct emitter *e, unsigned dst, const struct mem *m)
{
    emit_mem(e, (struct opc){0, 0, 0x8d}, dst, m);
}

void emit_lea64(struct emitter *e, unsigned dst, const struct mem *m)
{
    emit_mem(e, (struct opc){PFX_W, 0, 0x8d}, dst, m);
}

void emit_add_imm(struct emitter *e, unsigned dst, unsigned src, int32_t disp)
{
    emit_lea(e, dst, &(struct mem){.base = (uint8_t)src, .index = H_NONE, .disp = disp});
}

static struct mem slot(size_t off)
{
    return (struct mem){.base = H_VCPU, .index = H_NONE, .disp = (int32_t)off};
}

void emit_load_slot(struct emitter *e, unsigned dst, size_t off)
{
    struct mem m = slot(off);
    emit_load(e, dst, &m);
}

void emit_load_slot64(struct emitter *e, unsigned dst, size_t off)
{
    struct mem m = slot(off);
    emit_mem(e, (struct opc){PFX_W, 0, 0x8b}, dst, &m);
}

void emit_store_slot(struct emitter *e, size_t off, unsigned src)
{
    struct mem m = slot(off);
    emit_store(e, &m, src);
}

void emit_store_slot_imm(struct emitter *e, size_t off, uint32_t imm)
{
    struct mem m = slot(off);
    emit_store_imm(e, &m, imm);
}

void emit_patch32(uint8_t *disp, ptrdiff_t delta, const uint8_t *target)
{
    int32_t rel = (int32_t)(target - (disp + delta + 4));
    __atomic_store_n((int32_t *)disp, rel, __ATOMIC_RELAXED);
}

static uint8_t *emit_rel32(struct emitter *e, const uint8_t *target)
{
    uint8_t *disp = e->p;
    e->p += 4;
    emit_patch32(disp, e->delta, target);
    return disp;
}

uint8_t *emit_jmp(struct emitter *e, const uint8_t *target)
{
    emit_u8(e, 0xe9);
    return emit_rel32(e, target);
}

uint8_t *emit_call(struct emitter *e, const uint8_t *target)
{
    emit_u8(e, 0xe8);
    return emit_rel32(e, target);
}

uint8_t *emit_jcc(struct emitter *e, unsigned cc, const uint8_t *target)
{
    emit_u8(e, 0x0f);
    emit_u8(e, (uint8_t)(0x80 | cc));
    return emit_rel32(e, target);
}

static uint8_t *emit_short(struct emitter *e, uint8_t opcode)
{
    emit_u8(e, opcode);
    emit_u8(e, 0);
    return e->p - 1;
}

uint8_t *emit_jrcxz(struct emitter *e)
{
    return emit_short(e, 0xe3);
}

uint8_t *emit_jcc8(struct emitter *e, unsigned cc)
{
    return emit_short(e, (uint8_t)(0x70 | cc));
}

uint8_t *emit_jmp8(struct emitter *e)
{
    return emit_short(e, 0xeb);
}

void emit_land8(struct emitter *e, uint8_t *disp8)
{
    *disp8 = (uint8_t)(e->p - (disp8 + 1));
}
