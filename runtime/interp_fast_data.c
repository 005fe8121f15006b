/* SPDX-License-Identifier: MIT */
/* interp_fast_data.c: fast functions for moves, LEA, the stack, SETcc and CMOVcc; and the choice of
 * a record's function. */
#include "runtime/interp_fast.h"

/* --- moves --- */

static void mov_rr32(FAST_ARGS)
{
    FAST_REG(uint32_t, r->a) = FAST_REG(uint32_t, r->b);
    FAST_NEXT(fl);
}
static void mov_ri32(FAST_ARGS)
{
    FAST_REG(uint32_t, r->a) = r->imm;
    FAST_NEXT(fl);
}
static void mov_rr8(FAST_ARGS)
{
    FAST_REG(uint8_t, r->a) = FAST_REG(uint8_t, r->b);
    FAST_NEXT(fl);
}
static void mov_ri8(FAST_ARGS)
{
    FAST_REG(uint8_t, r->a) = (uint8_t)r->imm;
    FAST_NEXT(fl);
}

/* To is the register's type, Via says how the memory's value is extended. */
#define FAST_LOAD(name, To, Via, ea)                                                               \
    static void name(FAST_ARGS)                                                                    \
    {                                                                                              \
        FAST_OPERAND(host, ea, sizeof(Via), ACC_READ);                                             \
        FAST_REG(To, r->a) = (To)(Via)ops_peek(host, sizeof(Via));                                 \
        FAST_NEXT(fl);                                                                             \
    }
#define FAST_STORE(name, T, ea, value)                                                             \
    static void name(FAST_ARGS)                                                                    \
    {                                                                                              \
        FAST_OPERAND(host, ea, sizeof(T), ACC_WRITE);                                              \
        ops_poke(host, (value), sizeof(T));                                                        \
        FAST_NEXT(fl);                                                                             \
    }
#define FAST_EXTEND(name, Via)                                                                     \
    static void name(FAST_ARGS)                                                                    \
    {                                                                                              \
        FAST_REG(uint32_t, r->a) = (uint32_t)FAST_REG(Via, r->b);                                  \
        FAST_NEXT(fl);                                                                             \
    }
#define FAST_LOADS(name, To, Via)                                                                  \
    FAST_LOAD(name##_b, To, Via, fast_ea_base)                                                     \
    FAST_LOAD(name##_x, To, Via, fast_ea_full)                                                     \
    FAST_LOAD(name##_s, To, Via, fast_ea_seg)
#define FAST_STORES(name, T, value)                                                                \
    FAST_STORE(name##_b, T, fast_ea_base, value)                                                   \
    FAST_STORE(name##_x, T, fast_ea_full, value)                                                   \
    FAST_STORE(name##_s, T, fast_ea_seg, value)

FAST_LOADS(mov_rm32, uint32_t, uint32_t)
FAST_LOADS(mov_rm16, uint16_t, uint16_t)
FAST_LOADS(mov_rm8, uint8_t, uint8_t)
FAST_LOADS(movzx_m8, uint32_t, uint8_t)
FAST_LOADS(movzx_m16, uint32_t, uint16_t)
FAST_LOADS(movsx_m8, uint32_t, int8_t)
FAST_LOADS(movsx_m16, uint32_t, int16_t)
FAST_STORES(mov_mr32, uint32_t, FAST_REG(uint32_t, r->b))
FAST_STORES(mov_mr16, uint16_t, FAST_REG(uint16_t, r->b))
FAST_STORES(mov_mr8, uint8_t, FAST_REG(uint8_t, r->b))
FAST_STORES(mov_mi32, uint32_t, r->imm)
FAST_STORES(mov_mi16, uint16_t, r->imm)
FAST_STORES(mov_mi8, uint8_t, r->imm)
FAST_EXTEND(movzx_r8, uint8_t)
FAST_EXTEND(movzx_r16, uint16_t)
FAST_EXTEND(movsx_r8, int8_t)
FAST_EXTEND(movsx_r16, int16_t)

static void lea_b(FAST_ARGS)
{
    uint32_t la;
    fast_ea_base(v, r, &la);
    FAST_REG(uint32_t, r->a) = la;
    FAST_NEXT(fl);
}
static void lea_x(FAST_ARGS)
{
    uint32_t la;
    fast_ea_full(v, r, &la);
    FAST_REG(uint32_t, r->a) = la;
    FAST_NEXT(fl);
}

static void nop(FAST_ARGS)
{
    FAST_NEXT(fl);
}

static void cdq(FAST_ARGS)
{
    v->gpr[R_EDX] = (uint32_t)((int32_t)v->gpr[R_EAX] >> 31);
    FAST_NEXT(fl);
}

/* The condition is in imm. */
static void setcc_r8(FAST_ARGS)
{
    FAST_REG(uint8_t, r->a) = flags_cond(fl, r->imm);
    FAST_NEXT(fl);
}
static void cmovcc_rr32(FAST_ARGS)
{
    if (flags_cond(fl, r->imm))
        FAST_REG(uint32_t, r->a) = FAST_REG(uint32_t, r->b);
    FAST_NEXT(fl);
}

/* The source is read whatever the condition says. */
static void cmovcc_rm32(FAST_ARGS)
{
    FAST_OPERAND(host, fast_ea_full, 4, ACC_READ);
    uint32_t value = ops_peek(host, 4);
    if (flags_cond(fl, r->imm))
        FAST_REG(uint32_t, r->a) = value;
    FAST_NEXT(fl);
}

/* --- stack --- */

#define FAST_PUSH(name, value)                                                                     \
    static void name(FAST_ARGS)                                                                    \
    {                                                                                              \
        uint32_t la = v->gpr[R_ESP] - 4;                                                           \
        uint8_t *host = fast_hit(tlb, la, 4, ACC_WRITE);                                           \
        if (INTERP_UNLIKELY(!host))                                                                \
            FAST_SLOW();                                                                           \
        ops_poke(host, (value), 4);                                                                \
        v->gpr[R_ESP] = la;                                                                        \
        FAST_NEXT(fl);                                                                             \
    }
FAST_PUSH(push_r32, FAST_REG(uint32_t, r->a))
FAST_PUSH(push_i32, r->imm)

static void push_m32(FAST_ARGS)
{
    FAST_OPERAND(from, fast_ea_full, 4, ACC_READ);
    uint32_t la = v->gpr[R_ESP] - 4;
    uint8_t *to = fast_hit(tlb, la, 4, ACC_WRITE);
    if (INTERP_UNLIKELY(!to))
        FAST_SLOW();
    ops_poke(to, ops_peek(from, 4), 4);
    v->gpr[R_ESP] = la;
    FAST_NEXT(fl);
}

static void pop_r32(FAST_ARGS)
{
    uint32_t la = v->gpr[R_ESP];
    const uint8_t *host = fast_hit(tlb, la, 4, ACC_READ);
    if (INTERP_UNLIKELY(!host))
        FAST_SLOW();
    v->gpr[R_ESP] = la + 4; /* first: POP ESP leaves what it popped */
    FAST_REG(uint32_t, r->a) = ops_peek(host, 4);
    FAST_NEXT(fl);
}

static void leave_32(FAST_ARGS)
{
    uint32_t la = v->gpr[R_EBP];
    const uint8_t *host = fast_hit(tlb, la, 4, ACC_READ);
    if (INTERP_UNLIKELY(!host))
        FAST_SLOW();
    v->gpr[R_ESP] = la + 4;
    v->gpr[R_EBP] = ops_peek(host, 4);
    FAST_NEXT(fl);
}

/* --- selection --- */

/* The three shapes of fast_ea_*(). */
enum shape { SHAPE_BASE, SHAPE_FULL, SHAPE_SEG, SHAPE_COUNT };
#define SHAPES(name)                                                                               \
    {                                                                                              \
        name##_b, name##_x, name##_s                                                               \
    }

/* By operand size 1, 2, 4 as 0, 1, 2. */
static interp_fast_fn *const load_fns[3][SHAPE_COUNT] = {SHAPES(mov_rm8), SHAPES(mov_rm16),
                                                         SHAPES(mov_rm32)};
static interp_fast_fn *const store_fns[3][SHAPE_COUNT] = {SHAPES(mov_mr8), SHAPES(mov_mr16),
                                                          SHAPES(mov_mr32)};
static interp_fast_fn *const store_imm_fns[3][SHAPE_COUNT] = {SHAPES(mov_mi8), SHAPES(mov_mi16),
                                                              SHAPES(mov_mi32)};
/* By signedness, then source size 1, 2 as 0, 1. */
static interp_fast_fn *const extend_fns[2][2] = {
    {movzx_r8, movzx_r16},
    {movsx_r8, movsx_r16}
};
static interp_fast_fn *const extend_load_fns[2][2][SHAPE_COUNT] = {
    {SHAPES(movzx_m8), SHAPES(movzx_m16)},
    {SHAPES(movsx_m8), SHAPES(movsx_m16)}
};

static enum shape shape_of(const struct insn *i)
{
    if (i->mem_seg > SEG_DS)
        return SHAPE_SEG;
    return i->mem_index == 0xff ? SHAPE_BASE : SHAPE_FULL;
}

/* `mem`: a memory operand may be touched directly. */
static interp_fast_fn *select_mov(const struct insn *i, bool mem)
{
    const struct opnd *to = &i->opnd[0], *from = &i->opnd[1];
    unsigned shape = i->has_mem ? shape_of(i) : SHAPE_BASE, size = to->size >> 1;
    if (to->kind == OPND_REG && from->kind == OPND_REG)
        return size == 2 ? mov_rr32 : size == 0 ? mov_rr8 : NULL;
    if (to->kind == OPND_REG && from->kind == OPND_IMM)
        return size == 2 ? mov_ri32 : size == 0 ? mov_ri8 : NULL;
    if (!mem)
        return NULL;
    if (to->kind == OPND_REG && from->kind == OPND_MEM)
        return load_fns[size][shape];
    if (to->kind == OPND_MEM && from->kind == OPND_REG)
        return store_fns[size][shape];
    if (to->kind == OPND_MEM && from->kind == OPND_IMM)
        return store_imm_fns[size][shape];
    return NULL;
}

static interp_fast_fn *select_extend(const struct insn *i, bool mem)
{
    unsigned sign = i->op == OP_MOVSX, size = i->opnd[1].size >> 1;
    if (i->opnd[0].size != 4 || size > 1)
        return NULL;
    if (i->opnd[1].kind == OPND_REG)
        return extend_fns[sign][size];
    return mem ? extend_load_fns[sign][size][shape_of(i)] : NULL;
}

static interp_fast_fn *select_cmov(const struct insn *i, bool flat_mem)
{
    if (i->opnd[0].size != 4)
        return NULL;
    if (i->opnd[1].kind == OPND_REG)
        return cmovcc_rr32;
    return flat_mem ? cmovcc_rm32 : NULL;
}

/* PUSH, POP, LEAVE; only in flat mode with a 32-bit operand. */
static interp_fast_fn *select_stack(const struct insn *i, bool flat_mem)
{
    if (i->opsize != 4)
        return NULL;
    if (i->op == OP_LEAVE)
        return leave_32;
    if (i->op == OP_POP)
        return i->opnd[0].kind == OPND_REG ? pop_r32 : NULL;
    switch (i->opnd[0].kind) {
    case OPND_REG:
        return push_r32;
    case OPND_IMM:
        return push_i32;
    default:
        return flat_mem ? push_m32 : NULL;
    }
}

/* `flat`: the stack may be touched directly, and a memory operand if `mem`; if `flat_mem` it needs
 * no segment base. */
static interp_fast_fn *select_fn(const struct insn *i, bool mem, bool flat_mem, bool flat)
{
    switch (i->op) {
    case OP_MOV:
        return select_mov(i, mem);
    case OP_MOVZX:
    case OP_MOVSX:
        return select_extend(i, mem);
    case OP_LEA:
        if (!flat || i->addrsize != 4 || i->opnd[0].size != 4)
            return NULL;
        return i->mem_index == 0xff ? lea_b : lea_x;
    case OP_PUSH:
    case OP_POP:
    case OP_LEAVE:
        return flat ? select_stack(i, flat_mem) : NULL;
    case OP_NOP:
        return nop;
    case OP_CWD:
        return i->opsize == 4 ? cdq : NULL;
    case OP_SETCC:
        return i->opnd[0].kind == OPND_REG ? setcc_r8 : NULL;
    case OP_CMOVCC:
        return select_cmov(i, flat_mem);
    default:
        return interp_fast_select_alu(i, mem, flat_mem);
    }
}

static uint8_t opnd_offset(const struct opnd *o)
{
    return o->kind == OPND_REG ? fast_reg_offset(o->reg, o->size) : 0;
}

void interp_fast_select(struct interp_rec *r, const struct insn *i, enum interp_mode mode)
{
    bool flat = mode == MODE_FLAT;
    /* a code segment is never writable and not always readable: CS goes the long way */
    bool mem = flat && i->has_mem && i->addrsize == 4 && i->mem_seg != SEG_CS;
    bool flat_mem = mem && i->mem_seg <= SEG_DS;
    *r = (struct interp_rec){
        .insn = i,
        .disp = (uint32_t)i->disp,
        .imm = i->imm,
        .length = i->length,
        .a = opnd_offset(&i->opnd[0]),
        .b = opnd_offset(&i->opnd[1]),
        .base = i->mem_base == 0xff ? REC_ZERO : i->mem_base,
        .index = i->mem_index == 0xff ? REC_ZERO : i->mem_index,
        .scale = i->mem_scale,
        .seg = i->mem_seg,
    };
    if (i->op == OP_SETCC || i->op == OP_CMOVCC)
        r->imm = i->cc;
    if (i->n_opnds > 1 && i->opnd[1].kind == OPND_ONE)
        r->imm = 1;
    if (interp_changes_mode(i->op))
        r->fn = interp_fast_system;
    else if (i->info->cls == CLASS_CONTROL)
        r->fn = flat ? interp_fast_select_control(r, i, flat_mem) : interp_fast_generic_end;
    else
        r->fn = select_fn(i, mem, flat_mem, flat);
    if (!r->fn)
        r->fn = interp_fast_generic;
}
