/* SPDX-License-Identifier: MIT */
/* interp_alu.c: integer arithmetic and logic: the binary and unary operations, multiplication and
 * division, decimal adjustment.
 *
 * The work is done by the host's ALU (interp_flags.h); a handler fetches, chooses the operation of
 * the size from a table, and stores. Operation sizes 1, 2, 4 index the tables as 0, 1, 2. */
#include "runtime/interp_ops.h"

#include "runtime/interp_handlers.h"

#define SIZE_INDEX(size) ((size) >> 1)

typedef uint32_t binary_fn(uint32_t a, uint32_t b, uint32_t *fl);
typedef uint32_t unary_fn(uint32_t a, uint32_t *fl);
typedef void wide_fn(uint32_t *lo, uint32_t *hi, uint32_t src, uint32_t *fl);

#define BY_SIZE(name)                                                                              \
    {                                                                                              \
        alu_##name##8, alu_##name##16, alu_##name##32                                              \
    }

/* One handler an operation: the compiler sees the table's row as a constant. */
#define DEFINE_BINARY(name)                                                                        \
    bool op_##name(struct vcpu *v, const struct insn *i)                                           \
    {                                                                                              \
        static binary_fn *const fn[] = BY_SIZE(name);                                              \
        return binary(v, i, fn[SIZE_INDEX(i->opnd[0].size)]);                                      \
    }
#define DEFINE_COMPARE(name)                                                                       \
    bool op_##name(struct vcpu *v, const struct insn *i)                                           \
    {                                                                                              \
        static binary_fn *const fn[] = BY_SIZE(name);                                              \
        return compare(v, i, fn[SIZE_INDEX(i->opnd[0].size)]);                                     \
    }
#define DEFINE_UNARY(name)                                                                         \
    bool op_##name(struct vcpu *v, const struct insn *i)                                           \
    {                                                                                              \
        static unary_fn *const fn[] = BY_SIZE(name);                                               \
        return unary(v, i, fn[SIZE_INDEX(i->opnd[0].size)]);                                       \
    }

static bool binary(struct vcpu *v, const struct insn *i, binary_fn *fn)
{
    struct ops_rmw m;
    uint32_t a = ops_rmw_begin(v, i, &m);
    uint32_t b = ops_read(v, i, 1);
    uint32_t fl = flags_pack(v->eflags);
    ops_rmw_end(v, i, &m, fn(a, b, &fl));
    ops_set_flags(v, fl);
    return false;
}

static bool compare(struct vcpu *v, const struct insn *i, binary_fn *fn)
{
    uint32_t a = ops_read(v, i, 0);
    uint32_t b = ops_read(v, i, 1);
    uint32_t fl = flags_pack(v->eflags);
    fn(a, b, &fl);
    ops_set_flags(v, fl);
    return false;
}

static bool unary(struct vcpu *v, const struct insn *i, unary_fn *fn)
{
    struct ops_rmw m;
    uint32_t a = ops_rmw_begin(v, i, &m);
    uint32_t fl = flags_pack(v->eflags);
    ops_rmw_end(v, i, &m, fn(a, &fl));
    ops_set_flags(v, fl);
    return false;
}

DEFINE_BINARY(add)
DEFINE_BINARY(or)
DEFINE_BINARY(adc)
DEFINE_BINARY(sbb)
DEFINE_BINARY(and)
DEFINE_BINARY(sub)
DEFINE_BINARY(xor)
DEFINE_COMPARE(cmp)
DEFINE_COMPARE(test)
DEFINE_UNARY(inc)
DEFINE_UNARY(dec)
DEFINE_UNARY(neg)

bool op_not(struct vcpu *v, const struct insn *i)
{
    struct ops_rmw m;
    uint32_t a = ops_rmw_begin(v, i, &m);
    ops_rmw_end(v, i, &m, ~a);
    return false;
}

bool op_xadd(struct vcpu *v, const struct insn *i)
{
    static binary_fn *const fn[] = BY_SIZE(add);
    const struct opnd *src = &i->opnd[1];
    struct ops_rmw m;
    uint32_t a = ops_rmw_begin(v, i, &m);
    uint32_t fl = 0;
    uint32_t sum = fn[SIZE_INDEX(src->size)](a, ops_reg(v, src->reg, src->size), &fl);
    /* The sum goes in last: with both operands the same register it is what stays. */
    if (i->opnd[0].kind == OPND_REG)
        ops_set_reg(v, src->reg, src->size, a);
    ops_rmw_end(v, i, &m, sum);
    if (i->opnd[0].kind != OPND_REG)
        ops_set_reg(v, src->reg, src->size, a);
    ops_set_flags(v, fl);
    return false;
}

/* The destination is written in either case (SDM vol. 2, CMPXCHG). */
bool op_cmpxchg(struct vcpu *v, const struct insn *i)
{
    static binary_fn *const fn[] = BY_SIZE(cmp);
    unsigned size = i->opnd[0].size;
    struct ops_rmw m;
    uint32_t dest = ops_rmw_begin(v, i, &m);
    uint32_t fl = 0;
    fn[SIZE_INDEX(size)](ops_reg(v, R_EAX, size), dest, &fl);
    if (fl & RAW_ZF) {
        ops_rmw_end(v, i, &m, ops_reg(v, i->opnd[1].reg, size));
    } else {
        if (i->opnd[0].kind != OPND_REG)
            ops_rmw_end(v, i, &m, dest);
        ops_set_reg(v, R_EAX, size, dest);
    }
    ops_set_flags(v, fl);
    return false;
}

bool op_cmpxchg8b(struct vcpu *v, const struct insn *i)
{
    uint32_t la = ops_mem(v, i, 8, 1);
    ops_hook(v, la, 8, true);
    uint8_t *host = ops_hit(v, la, 8, ACC_WRITE);
    if (!host)
        mmu_probe(v, la, 8, ACC_WRITE);
    uint64_t expected = (uint64_t)v->gpr[R_EDX] << 32 | v->gpr[R_EAX];
    uint64_t wanted = (uint64_t)v->gpr[R_ECX] << 32 | v->gpr[R_EBX];
    uint64_t old = mmu_read64(v, la);
    mmu_write64(v, la, old == expected ? wanted : old);
    if (old == expected) {
        v->eflags |= EFL_ZF;
    } else {
        v->eflags &= ~EFL_ZF;
        v->gpr[R_EAX] = (uint32_t)old;
        v->gpr[R_EDX] = (uint32_t)(old >> 32);
    }
    return false;
}

/* --- multiplication and division --- */

/* EDX:EAX, DX:AX, or AX in one piece as the low part for bytes. */
static bool wide(struct vcpu *v, const struct insn *i, uint32_t src, wide_fn *const fn[3])
{
    unsigned size = i->opnd[0].size;
    uint32_t lo = size == 1 ? ops_reg(v, R_EAX, 2) : ops_reg(v, R_EAX, size);
    uint32_t hi = ops_reg(v, R_EDX, 4);
    uint32_t fl = flags_pack(v->eflags);
    fn[SIZE_INDEX(size)](&lo, &hi, src, &fl);
    if (size == 1) {
        ops_set_reg(v, R_EAX, 2, lo);
    } else {
        ops_set_reg(v, R_EAX, size, lo);
        ops_set_reg(v, R_EDX, size, hi);
    }
    ops_set_flags(v, fl);
    return false;
}

bool op_mul(struct vcpu *v, const struct insn *i)
{
    static wide_fn *const fn[] = BY_SIZE(mul);
    return wide(v, i, ops_read(v, i, 0), fn);
}

bool op_imul1(struct vcpu *v, const struct insn *i)
{
    static wide_fn *const fn[] = BY_SIZE(imul_wide);
    return wide(v, i, ops_read(v, i, 0), fn);
}

static uint64_t dividend(const struct vcpu *v, unsigned size)
{
    if (size == 4)
        return (uint64_t)v->gpr[R_EDX] << 32 | v->gpr[R_EAX];
    if (size == 2)
        return (uint64_t)(v->gpr[R_EDX] & 0xffff) << 16 | (v->gpr[R_EAX] & 0xffff);
    return v->gpr[R_EAX] & 0xffff;
}

bool op_div(struct vcpu *v, const struct insn *i)
{
    static wide_fn *const fn[] = BY_SIZE(div);
    unsigned size = i->opnd[0].size;
    uint32_t src = ops_read(v, i, 0);
    if (!src || dividend(v, size) >> (8 * size) >= src)
        raise_de(v);
    return wide(v, i, src, fn);
}

static int64_t sign_extend(uint64_t value, unsigned bytes)
{
    unsigned shift = 64 - 8 * bytes;
    return (int64_t)(value << shift) >> shift;
}

bool op_idiv(struct vcpu *v, const struct insn *i)
{
    static wide_fn *const fn[] = BY_SIZE(idiv);
    unsigned size = i->opnd[0].size;
    uint32_t src = ops_read(v, i, 0);
    int64_t n = sign_extend(dividend(v, size), 2 * size);
    int64_t d = sign_extend(src, size);
    /* The one quotient that the test itself could not hold. */
    if (d == 0 || (d == -1 && n == INT64_MIN))
        raise_de(v);
    int64_t q = n / d;
    if (q != sign_extend((uint64_t)q, size))
        raise_de(v);
    return wide(v, i, src, fn);
}

static bool imul(struct vcpu *v, const struct insn *i, uint32_t a, uint32_t b)
{
    uint32_t fl = flags_pack(v->eflags);
    uint32_t r = i->opnd[0].size == 4 ? alu_imul32(a, b, &fl) : alu_imul16(a, b, &fl);
    ops_set_reg(v, i->opnd[0].reg, i->opnd[0].size, r);
    ops_set_flags(v, fl);
    return false;
}

bool op_imul2(struct vcpu *v, const struct insn *i)
{
    return imul(v, i, ops_read(v, i, 0), ops_read(v, i, 1));
}

bool op_imul3(struct vcpu *v, const struct insn *i)
{
    return imul(v, i, ops_read(v, i, 1), i->imm);
}

/* --- decimal arithmetic, which 64-bit mode lacks (vol. 2, AAA, AAD, AAM, AAS, DAA, DAS) --- */

/* SF, ZF, PF of a byte; the others as given. */
static void set_flags_byte(struct vcpu *v, uint8_t value, uint32_t others)
{
    uint32_t fl = 0;
    alu_test8(value, value, &fl);
    v->eflags = (v->eflags & ~EFL_ARITH) | (fl >> 8 & (EFL_SF | EFL_ZF | EFL_PF)) | others;
}

static bool ascii_adjust(struct vcpu *v, int sign)
{
    uint8_t al = (uint8_t)v->gpr[R_EAX];
    uint32_t others = 0;
    if ((al & 0xf) > 9 || v->eflags & EFL_AF) {
        ops_set_reg(v, R_EAX, 2, v->gpr[R_EAX] + (uint32_t)(sign * 0x106));
        others = EFL_AF | EFL_CF;
    }
    al = v->gpr[R_EAX] & 0xf;
    ops_set_reg(v, R_EAX, 1, al);
    set_flags_byte(v, al, others);
    return false;
}

bool op_aaa(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return ascii_adjust(v, 1);
}

bool op_aas(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return ascii_adjust(v, -1);
}

static bool decimal_adjust(struct vcpu *v, int sign)
{
    uint8_t old = (uint8_t)v->gpr[R_EAX], al = old;
    bool carry = v->eflags & EFL_CF;
    uint32_t others = 0;
    if ((al & 0xf) > 9 || v->eflags & EFL_AF) {
        others = EFL_AF;
        if (carry || (sign > 0 ? al > 0xf9 : al < 6))
            others |= EFL_CF;
        al = (uint8_t)(al + sign * 6);
    }
    if (old > 0x99 || carry) {
        al = (uint8_t)(al + sign * 0x60);
        others |= EFL_CF;
    }
    ops_set_reg(v, R_EAX, 1, al);
    set_flags_byte(v, al, others);
    return false;
}

bool op_daa(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return decimal_adjust(v, 1);
}

bool op_das(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return decimal_adjust(v, -1);
}

bool op_aam(struct vcpu *v, const struct insn *i)
{
    uint8_t al = (uint8_t)v->gpr[R_EAX], base = (uint8_t)i->imm;
    if (!base)
        raise_de(v);
    ops_set_reg(v, R_EAX, 2, (uint32_t)(al / base) << 8 | al % base);
    set_flags_byte(v, al % base, 0);
    return false;
}

/* The flags are those of the addition (the manual leaves CF, OF and AF undefined). */
bool op_aad(struct vcpu *v, const struct insn *i)
{
    uint32_t ax = v->gpr[R_EAX], fl = 0;
    uint32_t al = alu_add8(ax, (ax >> 8 & 0xff) * (i->imm & 0xff), &fl);
    ops_set_reg(v, R_EAX, 2, al);
    ops_set_flags(v, fl);
    return false;
}
