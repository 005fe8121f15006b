/* SPDX-License-Identifier: MIT */
/* interp_bits.c: shifts, rotates, bit tests and scans, counts and checksums. */
#include "runtime/interp_ops.h"

#include "runtime/interp_handlers.h"
#include "runtime/interp_rotate.h"
#include "runtime/lockstep.h"

#include <sys/random.h>

#define SIZE_INDEX(size) ((size) >> 1)

typedef uint32_t binary_fn(uint32_t a, uint32_t b, uint32_t *fl);
typedef uint32_t double_fn(uint32_t a, uint32_t b, uint32_t count, uint32_t *fl);

/* The host masks the count as the guest's processor does, and leaves the flags alone for zero. */
static bool shift(struct vcpu *v, const struct insn *i, binary_fn *const fn[3])
{
    struct ops_rmw m;
    uint32_t count = ops_read(v, i, 1);
    uint32_t a = ops_rmw_begin(v, i, &m);
    uint32_t fl = flags_pack(v->eflags);
    ops_rmw_end(v, i, &m, fn[SIZE_INDEX(i->opnd[0].size)](a, count, &fl));
    ops_set_flags(v, fl);
    return false;
}

#define DEFINE_SHIFT(name)                                                                         \
    bool op_##name(struct vcpu *v, const struct insn *i)                                           \
    {                                                                                              \
        static binary_fn *const fn[] = {alu_##name##8, alu_##name##16, alu_##name##32};            \
        return shift(v, i, fn);                                                                    \
    }
DEFINE_SHIFT(shl)
DEFINE_SHIFT(shr)
DEFINE_SHIFT(sar)
DEFINE_SHIFT(rcl)
DEFINE_SHIFT(rcr)

static bool rotate_constant(struct vcpu *v, const struct insn *i, interp_rotate_fn *fn)
{
    struct ops_rmw m;
    uint32_t a = ops_rmw_begin(v, i, &m);
    uint64_t r = fn(a, flags_pack(v->eflags));
    ops_rmw_end(v, i, &m, (uint32_t)r);
    ops_set_flags(v, (uint32_t)(r >> 32));
    return false;
}

#define DEFINE_ROTATE(name)                                                                        \
    bool op_##name(struct vcpu *v, const struct insn *i)                                           \
    {                                                                                              \
        static binary_fn *const fn[] = {alu_##name##8, alu_##name##16, alu_##name##32};            \
        if (i->opnd[0].kind != OPND_REG || i->opnd[1].kind != OPND_IMM)                            \
            return shift(v, i, fn);                                                                \
        return rotate_constant(v, i, interp_##name[SIZE_INDEX(i->opnd[0].size)][i->imm & 31]);     \
    }
DEFINE_ROTATE(rol)
DEFINE_ROTATE(ror)

static bool shift_double(struct vcpu *v, const struct insn *i, double_fn *fn)
{
    struct ops_rmw m;
    uint32_t b = ops_reg(v, i->opnd[1].reg, i->opnd[1].size);
    uint32_t count = ops_read(v, i, 2);
    uint32_t a = ops_rmw_begin(v, i, &m);
    uint32_t fl = flags_pack(v->eflags);
    ops_rmw_end(v, i, &m, fn(a, b, count, &fl));
    ops_set_flags(v, fl);
    return false;
}

bool op_shld(struct vcpu *v, const struct insn *i)
{
    return shift_double(v, i, i->opnd[0].size == 4 ? alu_shld32 : alu_shld16);
}

bool op_shrd(struct vcpu *v, const struct insn *i)
{
    return shift_double(v, i, i->opnd[0].size == 4 ? alu_shrd32 : alu_shrd16);
}

/* --- bit tests --- */

/* Linear address of the operand-sized word that holds the bit. A register's bit number is signed
 * and reaches beyond the operand in memory; an immediate one is taken modulo the size (SDM vol. 2,
 * BT). */
static uint32_t bit_address(struct vcpu *v, const struct insn *i, unsigned size, int32_t bit,
                            int write)
{
    uint32_t ea = ops_ea(v, i);
    if (i->opnd[1].kind == OPND_REG) {
        ea += size == 4 ? (uint32_t)(bit >> 5) << 2 : (uint32_t)(bit >> 4) << 1;
        if (i->addrsize == 2)
            ea &= 0xffff;
    }
    return ops_linear(v, i->mem_seg, ea, size, write);
}

static int32_t bit_number(struct vcpu *v, const struct insn *i, unsigned size)
{
    uint32_t bit = ops_read(v, i, 1);
    return size == 4 ? (int32_t)bit : (int16_t)bit;
}

static bool bit_modify(struct vcpu *v, const struct insn *i, binary_fn *fn)
{
    unsigned size = i->opnd[0].size;
    int32_t bit = bit_number(v, i, size);
    uint32_t fl = flags_pack(v->eflags);
    if (i->opnd[0].kind == OPND_REG) {
        uint32_t a = ops_reg(v, i->opnd[0].reg, size);
        ops_set_reg(v, i->opnd[0].reg, size, fn(a, (uint32_t)bit, &fl));
    } else {
        struct ops_rmw m;
        ops_rmw_at(v, bit_address(v, i, size, bit, 1), size, &m);
        ops_rmw_put(v, &m, size, fn(m.value, (uint32_t)bit, &fl));
    }
    ops_set_flags(v, fl);
    return false;
}

bool op_bt(struct vcpu *v, const struct insn *i)
{
    unsigned size = i->opnd[0].size;
    int32_t bit = bit_number(v, i, size);
    uint32_t fl = flags_pack(v->eflags), a;
    if (i->opnd[0].kind == OPND_REG)
        a = ops_reg(v, i->opnd[0].reg, size);
    else
        a = ops_load(v, bit_address(v, i, size, bit, 0), size);
    if (size == 4)
        alu_bt32(a, (uint32_t)bit, &fl);
    else
        alu_bt16(a, (uint32_t)bit, &fl);
    ops_set_flags(v, fl);
    return false;
}

bool op_bts(struct vcpu *v, const struct insn *i)
{
    return bit_modify(v, i, i->opnd[0].size == 4 ? alu_bts32 : alu_bts16);
}

bool op_btr(struct vcpu *v, const struct insn *i)
{
    return bit_modify(v, i, i->opnd[0].size == 4 ? alu_btr32 : alu_btr16);
}

bool op_btc(struct vcpu *v, const struct insn *i)
{
    return bit_modify(v, i, i->opnd[0].size == 4 ? alu_btc32 : alu_btc16);
}

/* --- scans and counts --- */

static bool scan(struct vcpu *v, const struct insn *i, binary_fn *fn)
{
    const struct opnd *dest = &i->opnd[0];
    uint32_t b = ops_read(v, i, 1);
    uint32_t fl = flags_pack(v->eflags);
    /* A source of zero leaves the destination as the host leaves it. */
    ops_set_reg(v, dest->reg, dest->size, fn(ops_reg(v, dest->reg, dest->size), b, &fl));
    ops_set_flags(v, fl);
    return false;
}

bool op_bsf(struct vcpu *v, const struct insn *i)
{
    return scan(v, i, i->opnd[0].size == 4 ? alu_bsf32 : alu_bsf16);
}

bool op_bsr(struct vcpu *v, const struct insn *i)
{
    return scan(v, i, i->opnd[0].size == 4 ? alu_bsr32 : alu_bsr16);
}

bool op_popcnt(struct vcpu *v, const struct insn *i)
{
    uint32_t a = ops_read(v, i, 1);
    ops_set_reg(v, i->opnd[0].reg, i->opnd[0].size, (uint32_t)__builtin_popcount(a));
    v->eflags = (v->eflags & ~EFL_ARITH) | (a ? 0 : EFL_ZF);
    return false;
}

/* CRC-32C, reflected (SDM vol. 2, CRC32). */
bool op_crc32(struct vcpu *v, const struct insn *i)
{
    const uint32_t polynomial = 0x82f63b78;
    uint32_t crc = v->gpr[i->opnd[0].reg] ^ ops_read(v, i, 1);
    for (unsigned bit = 0; bit < 8u * i->opnd[1].size; bit++)
        crc = crc >> 1 ^ (crc & 1 ? polynomial : 0);
    v->gpr[i->opnd[0].reg] = crc;
    return false;
}

/* RDRAND and RDSEED: the host kernel's generator. CF tells success, the other flags are cleared. */
bool op_rdrand(struct vcpu *v, const struct insn *i)
{
    uint32_t random = 0;
    bool ok = getrandom(&random, sizeof(random), GRND_NONBLOCK) == (ssize_t)sizeof(random);
    uint64_t value = (uint64_t)ok << 32 | random;
    if (v->machine->lockstep)
        value = lockstep_value(v, value);
    ok = value >> 32;
    ops_set_reg(v, i->opnd[0].reg, i->opnd[0].size, ok ? (uint32_t)value : 0);
    v->eflags = (v->eflags & ~EFL_ARITH) | (ok ? EFL_CF : 0);
    return false;
}
