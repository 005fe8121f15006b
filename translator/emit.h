/* SPDX-License-Identifier: MIT */
/* emit.h: x86-64 machine code, forwards, into code memory that is mapped twice.
 *
 * Three layers: emit_u8() and kin append bytes; emit_<operand shape>() encode one instruction (the
 * assembly stands in a comment beside each use of a number); translator/lower_*.c compose
 * sequences. Nothing checks for room at each byte: a caller reserves EMIT_INSN_MAX bytes for each
 * guest instruction first (code_room()). */
#ifndef RINGDOWN_TRANSLATOR_EMIT_H
#define RINGDOWN_TRANSLATOR_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Host registers. Guest ESP lives in r12, so that rsp can be a stack of host return addresses. */
enum host_reg {
    H_RAX,
    H_RCX,
    H_RDX,
    H_RBX,
    H_RSP,
    H_RBP,
    H_RSI,
    H_RDI,
    H_R8,
    H_R9,
    H_R10,
    H_R11,
    H_R12,
    H_R13,
    H_R14,
    H_R15,
    H_NONE = 0xff,
};
#define H_ESP    H_R12 /* the guest's ESP */
#define H_JCACHE H_R13 /* jump cache */
#define H_VIEW   H_R14 /* base of the current view */
#define H_VCPU   H_R15

struct emitter {
    uint8_t *p;      /* next byte, in the writable mapping */
    ptrdiff_t delta; /* executable address minus writable address */
};

/* A memory operand. */
struct mem {
    uint8_t base, index; /* enum host_reg or H_NONE */
    uint8_t scale;       /* 1, 2, 4, 8 */
    int32_t disp;
    bool gs;  /* relative to the view: GS prefix */
    bool a32; /* 32-bit effective address: 67 prefix */
};

/* An opcode: legacy prefixes (66, F2, F3, F0 in `prefix`, bits PFX_*), map 0-3, byte. */
#define PFX_66   1u
#define PFX_F2   2u
#define PFX_F3   4u
#define PFX_LOCK 8u
#define PFX_W    16u /* REX.W */
struct opc {
    uint8_t prefix, map, byte;
};

static inline void emit_u8(struct emitter *e, uint8_t b)
{
    *e->p++ = b;
}
void emit_u32(struct emitter *e, uint32_t v);
void emit_u64(struct emitter *e, uint64_t v);
void emit_bytes(struct emitter *e, const uint8_t *bytes, unsigned n);
static inline const uint8_t *emit_here(const struct emitter *e)
{
    return e->p + e->delta;
}

/* opcode with ModRM: reg field `reg`, and a register or memory as the other operand. */
void emit_reg(struct emitter *e, struct opc o, unsigned reg, unsigned rm);
void emit_mem(struct emitter *e, struct opc o, unsigned reg, const struct mem *m);

/* Frequent instructions, 32-bit unless named 64. */
void emit_mov(struct emitter *e, unsigned dst, unsigned src);
void emit_mov64(struct emitter *e, unsigned dst, unsigned src);
void emit_mov_imm(struct emitter *e, unsigned dst, uint32_t imm);
void emit_load(struct emitter *e, unsigned dst, const struct mem *m);
void emit_store(struct emitter *e, const struct mem *m, unsigned src);
void emit_store_imm(struct emitter *e, const struct mem *m, uint32_t imm);
void emit_lea(struct emitter *e, unsigned dst, const struct mem *m);
void emit_lea64(struct emitter *e, unsigned dst, const struct mem *m);
/* lea dst32, [src + disp] */
void emit_add_imm(struct emitter *e, unsigned dst, unsigned src, int32_t disp);
/* [r15 + off], a slot of the vCPU. */
void emit_load_slot(struct emitter *e, unsigned dst, size_t off);
void emit_load_slot64(struct emitter *e, unsigned dst, size_t off);
void emit_store_slot(struct emitter *e, size_t off, unsigned src);
void emit_store_slot_imm(struct emitter *e, size_t off, uint32_t imm);

/* Branches. The rel32 forms return the address (writable mapping) of the displacement. */
uint8_t *emit_jmp(struct emitter *e, const uint8_t *target);
uint8_t *emit_call(struct emitter *e, const uint8_t *target);
uint8_t *emit_jcc(struct emitter *e, unsigned cc, const uint8_t *target);
/* jrcxz over code not yet emitted; emit_here8() resolves it. */
uint8_t *emit_jrcxz(struct emitter *e);
uint8_t *emit_jcc8(struct emitter *e, unsigned cc);
uint8_t *emit_jmp8(struct emitter *e);
void emit_land8(struct emitter *e, uint8_t *disp8);
/* Points the rel32 at `disp` (writable mapping) to target (executable mapping). */
void emit_patch32(uint8_t *disp, ptrdiff_t delta, const uint8_t *target);

#endif
