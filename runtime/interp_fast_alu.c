/* SPDX-License-Identifier: MIT */
/* interp_fast_alu.c: fast functions for arithmetic on 32-bit and 8-bit operands.
 *
 * Forms: r register, i immediate, m memory; the destination comes first. Memory comes in the three
 * shapes of interp_fast.h: a base register and a displacement (b), everything (x), by FS or GS (s).
 */
#include "runtime/interp_fast.h"
#include "runtime/interp_rotate.h"

enum form {
    FORM_RR,
    FORM_RI,
    FORM_RM, /* three shapes each */
    FORM_MR = FORM_RM + 3,
    FORM_MI = FORM_MR + 3,
    FORM_COUNT = FORM_MI + 3
};

/* Operations that store their result. */
#define FAST_WRITE_MEM(name, w, T, form, ea, b)                                                    \
    static void name##_##form##w(FAST_ARGS)                                                        \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_OPERAND(host, ea, sizeof(T), ACC_WRITE);                                              \
        ops_poke(host, alu_##name##w(ops_peek(host, sizeof(T)), (b), &f), sizeof(T));              \
        FAST_NEXT(f);                                                                              \
    }
#define FAST_WRITE_REG(name, w, T, form, b)                                                        \
    static void name##_##form##w(FAST_ARGS)                                                        \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_REG(T, r->a) = (T)alu_##name##w(FAST_REG(T, r->a), (b), &f);                          \
        FAST_NEXT(f);                                                                              \
    }
#define FAST_WRITE_LOAD(name, w, T, form, ea)                                                      \
    static void name##_##form##w(FAST_ARGS)                                                        \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_OPERAND(host, ea, sizeof(T), ACC_READ);                                               \
        FAST_REG(T, r->a) = (T)alu_##name##w(FAST_REG(T, r->a), ops_peek(host, sizeof(T)), &f);    \
        FAST_NEXT(f);                                                                              \
    }
#define FAST_WRITE(name, w, T)                                                                     \
    FAST_WRITE_REG(name, w, T, rr, FAST_REG(T, r->b))                                              \
    FAST_WRITE_REG(name, w, T, ri, r->imm)                                                         \
    FAST_WRITE_LOAD(name, w, T, rmb, fast_ea_base)                                                 \
    FAST_WRITE_LOAD(name, w, T, rmx, fast_ea_full)                                                 \
    FAST_WRITE_LOAD(name, w, T, rms, fast_ea_seg)                                                  \
    FAST_WRITE_MEM(name, w, T, mrb, fast_ea_base, FAST_REG(T, r->b))                               \
    FAST_WRITE_MEM(name, w, T, mrx, fast_ea_full, FAST_REG(T, r->b))                               \
    FAST_WRITE_MEM(name, w, T, mrs, fast_ea_seg, FAST_REG(T, r->b))                                \
    FAST_WRITE_MEM(name, w, T, mib, fast_ea_base, r->imm)                                          \
    FAST_WRITE_MEM(name, w, T, mix, fast_ea_full, r->imm)                                          \
    FAST_WRITE_MEM(name, w, T, mis, fast_ea_seg, r->imm)

/* CMP and TEST. */
#define FAST_ONLY_REG(name, w, T, form, b)                                                         \
    static void name##_##form##w(FAST_ARGS)                                                        \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        alu_##name##w(FAST_REG(T, r->a), (b), &f);                                                 \
        FAST_NEXT(f);                                                                              \
    }
#define FAST_ONLY_MEM(name, w, T, form, ea, a, b)                                                  \
    static void name##_##form##w(FAST_ARGS)                                                        \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_OPERAND(host, ea, sizeof(T), ACC_READ);                                               \
        uint32_t m = ops_peek(host, sizeof(T));                                                    \
        alu_##name##w((a), (b), &f);                                                               \
        FAST_NEXT(f);                                                                              \
    }
#define FAST_ONLY(name, w, T)                                                                      \
    FAST_ONLY_REG(name, w, T, rr, FAST_REG(T, r->b))                                               \
    FAST_ONLY_REG(name, w, T, ri, r->imm)                                                          \
    FAST_ONLY_MEM(name, w, T, rmb, fast_ea_base, FAST_REG(T, r->a), m)                             \
    FAST_ONLY_MEM(name, w, T, rmx, fast_ea_full, FAST_REG(T, r->a), m)                             \
    FAST_ONLY_MEM(name, w, T, rms, fast_ea_seg, FAST_REG(T, r->a), m)                              \
    FAST_ONLY_MEM(name, w, T, mrb, fast_ea_base, m, FAST_REG(T, r->b))                             \
    FAST_ONLY_MEM(name, w, T, mrx, fast_ea_full, m, FAST_REG(T, r->b))                             \
    FAST_ONLY_MEM(name, w, T, mrs, fast_ea_seg, m, FAST_REG(T, r->b))                              \
    FAST_ONLY_MEM(name, w, T, mib, fast_ea_base, m, r->imm)                                        \
    FAST_ONLY_MEM(name, w, T, mix, fast_ea_full, m, r->imm)                                        \
    FAST_ONLY_MEM(name, w, T, mis, fast_ea_seg, m, r->imm)

#define FAST_BOTH(shape, name) shape(name, 32, uint32_t) shape(name, 8, uint8_t)
FAST_BOTH(FAST_WRITE, add)
FAST_BOTH(FAST_WRITE, or)
FAST_BOTH(FAST_WRITE, adc)
FAST_BOTH(FAST_WRITE, sbb)
FAST_BOTH(FAST_WRITE, and)
FAST_BOTH(FAST_WRITE, sub)
FAST_BOTH(FAST_WRITE, xor)
FAST_BOTH(FAST_ONLY, cmp)
FAST_BOTH(FAST_ONLY, test)

#define ROW_OF(name, w)                                                                            \
    {                                                                                              \
        name##_rr##w, name##_ri##w, name##_rmb##w, name##_rmx##w, name##_rms##w, name##_mrb##w,    \
            name##_mrx##w, name##_mrs##w, name##_mib##w, name##_mix##w, name##_mis##w              \
    }
#define ROWS_OF(OP, name) [OP_##OP] = {ROW_OF(name, 8), ROW_OF(name, 32)}

static interp_fast_fn *const binary_fns[OP_COUNT][2][FORM_COUNT] = {
    ROWS_OF(ADD, add), ROWS_OF(OR, or),   ROWS_OF(ADC, adc), ROWS_OF(SBB, sbb),   ROWS_OF(AND, and),
    ROWS_OF(SUB, sub), ROWS_OF(XOR, xor), ROWS_OF(CMP, cmp), ROWS_OF(TEST, test),
};

/* --- one operand, shifts, multiplication: 32 bits --- */

#define FAST_UNARY(name)                                                                           \
    static void name##_r32(FAST_ARGS)                                                              \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_REG(uint32_t, r->a) = alu_##name##32(FAST_REG(uint32_t, r->a), &f);                   \
        FAST_NEXT(f);                                                                              \
    }                                                                                              \
    static void name##_m32(FAST_ARGS)                                                              \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_OPERAND(host, fast_ea_full, 4, ACC_WRITE);                                            \
        ops_poke(host, alu_##name##32(ops_peek(host, 4), &f), 4);                                  \
        FAST_NEXT(f);                                                                              \
    }
FAST_UNARY(inc)
FAST_UNARY(dec)
FAST_UNARY(neg)

static void not_r32(FAST_ARGS)
{
    FAST_REG(uint32_t, r->a) = ~FAST_REG(uint32_t, r->a);
    FAST_NEXT(fl);
}

#define FAST_SHIFT(name)                                                                           \
    static void name##_ri32(FAST_ARGS)                                                             \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_REG(uint32_t, r->a) = alu_##name##32(FAST_REG(uint32_t, r->a), r->imm, &f);           \
        FAST_NEXT(f);                                                                              \
    }                                                                                              \
    static void name##_rr32(FAST_ARGS)                                                             \
    {                                                                                              \
        uint32_t f = fl;                                                                           \
        FAST_REG(uint32_t, r->a) =                                                                 \
            alu_##name##32(FAST_REG(uint32_t, r->a), FAST_REG(uint8_t, r->b), &f);                 \
        FAST_NEXT(f);                                                                              \
    }
FAST_SHIFT(shl)
FAST_SHIFT(shr)
FAST_SHIFT(sar)

static void rol_ri32(FAST_ARGS)
{
    uint64_t result = interp_rol[2][r->imm & 31](FAST_REG(uint32_t, r->a), fl);
    FAST_REG(uint32_t, r->a) = (uint32_t)result;
    FAST_NEXT((uint32_t)(result >> 32));
}
static void ror_ri32(FAST_ARGS)
{
    uint64_t result = interp_ror[2][r->imm & 31](FAST_REG(uint32_t, r->a), fl);
    FAST_REG(uint32_t, r->a) = (uint32_t)result;
    FAST_NEXT((uint32_t)(result >> 32));
}

FAST_WRITE_REG(imul, 32, uint32_t, rr, FAST_REG(uint32_t, r->b))
FAST_WRITE_LOAD(imul, 32, uint32_t, rmx, fast_ea_full)

static void imul3_rri32(FAST_ARGS)
{
    uint32_t f = fl;
    FAST_REG(uint32_t, r->a) = alu_imul32(FAST_REG(uint32_t, r->b), r->imm, &f);
    FAST_NEXT(f);
}

/* --- selection --- */

struct shift_fns {
    interp_fast_fn *ri, *rr;
};
static const struct shift_fns shift_fns[OP_COUNT] = {
    [OP_SHL] = {shl_ri32, shl_rr32},
      [OP_SHR] = {shr_ri32, shr_rr32},
    [OP_SAR] = {sar_ri32, sar_rr32},
      [OP_ROL] = {rol_ri32, NULL    },
    [OP_ROR] = {ror_ri32, NULL    },
};

struct unary_fns {
    interp_fast_fn *r, *m;
};
static const struct unary_fns unary_fns[OP_COUNT] = {
    [OP_INC] = {inc_r32, inc_m32},
    [OP_DEC] = {dec_r32, dec_m32},
    [OP_NEG] = {neg_r32, neg_m32},
    [OP_NOT] = {not_r32, NULL   },
};

static interp_fast_fn *select_binary(const struct insn *i, bool mem)
{
    unsigned k0 = i->opnd[0].kind, k1 = i->opnd[1].kind, size = i->opnd[0].size;
    unsigned shape = i->mem_seg > SEG_DS ? 2 : i->mem_index != 0xff;
    interp_fast_fn *const *row = binary_fns[i->op][size == 4];
    if (size == 2)
        return NULL;
    if (k0 == OPND_REG && k1 == OPND_REG)
        return row[FORM_RR];
    if (k0 == OPND_REG && k1 == OPND_IMM)
        return row[FORM_RI];
    if (!mem)
        return NULL;
    if (k0 == OPND_REG && k1 == OPND_MEM)
        return row[FORM_RM + shape];
    if (k0 == OPND_MEM && k1 == OPND_REG)
        return row[FORM_MR + shape];
    if (k0 == OPND_MEM && k1 == OPND_IMM)
        return row[FORM_MI + shape];
    return NULL;
}

static interp_fast_fn *select_imul(const struct insn *i, bool flat)
{
    bool mem = i->opnd[1].kind == OPND_MEM;
    if (i->op == OP_IMUL3)
        return mem ? NULL : imul3_rri32;
    if (mem)
        return flat ? imul_rmx32 : NULL;
    return imul_rr32;
}

/* NULL if there is none. `mem`: a memory operand may be touched directly; `flat`: and its segment
 * is flat. */
interp_fast_fn *interp_fast_select_alu(const struct insn *i, bool mem, bool flat)
{
    if (binary_fns[i->op][0][0])
        return select_binary(i, mem);
    if (i->opnd[0].size != 4)
        return NULL;
    if (i->op == OP_IMUL2 || i->op == OP_IMUL3)
        return select_imul(i, flat);
    if (i->opnd[0].kind == OPND_MEM)
        return flat ? unary_fns[i->op].m : NULL;
    if (shift_fns[i->op].ri)
        return i->opnd[1].kind == OPND_REG ? shift_fns[i->op].rr : shift_fns[i->op].ri;
    return unary_fns[i->op].r;
}
