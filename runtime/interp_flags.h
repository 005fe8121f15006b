/* SPDX-License-Identifier: MIT */
/* interp_flags.h: arithmetic on the host's own ALU, flags included.
 *
 * The guest's arithmetic must leave the flags that the host processor leaves, those that the manual
 * calls undefined too: the translator copies the same instructions verbatim, and both engines are
 * compared in lock-step. So each operation here is the instruction itself, between a load of the
 * guest's flags and a store of the result's.
 *
 * Raw flags: what LAHF puts into AH, in bits 8-15, and OF in bit 0; bits 1-7 are zero and those
 * from 16 up mean nothing. ADDB $0x7f makes OF from bit 0 of AL, SAHF the others. */
#ifndef RINGDOWN_RUNTIME_INTERP_FLAGS_H
#define RINGDOWN_RUNTIME_INTERP_FLAGS_H

#include "ringdown/x86.h"

#include <stdbool.h>
#include <stdint.h>

#define RAW_OF 0x0001u
#define RAW_CF 0x0100u
#define RAW_PF 0x0400u
#define RAW_AF 0x1000u
#define RAW_ZF 0x4000u
#define RAW_SF 0x8000u

/* EFLAGS bits that LAHF stores, in its layout. */
#define RAW_LOW (EFL_CF | EFL_PF | EFL_AF | EFL_ZF | EFL_SF)

static inline uint32_t flags_pack(uint32_t eflags)
{
    return (eflags & RAW_LOW) << 8 | (eflags >> 11 & 1);
}

static inline uint32_t flags_merge(uint32_t eflags, uint32_t raw)
{
    return (eflags & ~EFL_ARITH) | (raw >> 8 & RAW_LOW) | (raw & RAW_OF) << 11;
}

/* A condition code (SDM vol. 1, appendix B) against raw flags. */
static inline bool flags_cond(uint32_t raw, unsigned cc)
{
    bool r;
    switch (cc >> 1) {
    case 0:
        r = raw & RAW_OF;
        break;
    case 1:
        r = raw & RAW_CF;
        break;
    case 2:
        r = raw & RAW_ZF;
        break;
    case 3:
        r = raw & (RAW_CF | RAW_ZF);
        break;
    case 4:
        r = raw & RAW_SF;
        break;
    case 5:
        r = raw & RAW_PF;
        break;
    case 6:
        r = (raw >> 15 ^ raw) & 1;
        break;
    default:
        r = ((raw >> 15 ^ raw) & 1) || (raw & RAW_ZF);
        break;
    }
    return r ^ (cc & 1);
}

#define RAW_IN  "addb $0x7f, %%al\n\tsahf\n\t"
#define RAW_OUT "\n\tlahf\n\tseto %%al"

/* The shapes. Values travel as uint32_t so that one function type serves all operand sizes. */

/* a = a OP b, all six flags are results */
#define ALU_BINARY(name, insn, T)                                                                  \
    static inline __attribute__((always_inline)) uint32_t name(uint32_t a_, uint32_t b_,           \
                                                               uint32_t *fl)                       \
    {                                                                                              \
        T a = (T)a_, b = (T)b_;                                                                    \
        uint32_t f;                                                                                \
        __asm__(insn " %2, %0" RAW_OUT : "+r"(a), "=&a"(f) : "r"(b) : "cc");                       \
        *fl = f;                                                                                   \
        return a;                                                                                  \
    }
/* the same without a result in a */
#define ALU_COMPARE(name, insn, T)                                                                 \
    static inline __attribute__((always_inline)) uint32_t name(uint32_t a_, uint32_t b_,           \
                                                               uint32_t *fl)                       \
    {                                                                                              \
        T a = (T)a_, b = (T)b_;                                                                    \
        uint32_t f;                                                                                \
        __asm__(insn " %2, %1" RAW_OUT : "=&a"(f) : "r"(a), "r"(b) : "cc");                        \
        *fl = f;                                                                                   \
        return a;                                                                                  \
    }
/* a = a OP b, flags are read too, or some are kept */
#define ALU_BINARY_IN(name, insn, T)                                                               \
    static inline __attribute__((always_inline)) uint32_t name(uint32_t a_, uint32_t b_,           \
                                                               uint32_t *fl)                       \
    {                                                                                              \
        T a = (T)a_, b = (T)b_;                                                                    \
        uint32_t f = *fl;                                                                          \
        __asm__(RAW_IN insn " %2, %0" RAW_OUT : "+r"(a), "+&a"(f) : "r"(b) : "cc");                \
        *fl = f;                                                                                   \
        return a;                                                                                  \
    }
#define ALU_UNARY_IN(name, insn, T)                                                                \
    static inline __attribute__((always_inline)) uint32_t name(uint32_t a_, uint32_t *fl)          \
    {                                                                                              \
        T a = (T)a_;                                                                               \
        uint32_t f = *fl;                                                                          \
        __asm__(RAW_IN insn " %0" RAW_OUT : "+r"(a), "+&a"(f) : : "cc");                           \
        *fl = f;                                                                                   \
        return a;                                                                                  \
    }
/* a = a OP cl */
#define ALU_SHIFT(name, insn, T)                                                                   \
    static inline __attribute__((always_inline)) uint32_t name(uint32_t a_, uint32_t count,        \
                                                               uint32_t *fl)                       \
    {                                                                                              \
        T a = (T)a_;                                                                               \
        uint32_t f = *fl;                                                                          \
        __asm__(RAW_IN insn " %%cl, %0" RAW_OUT : "+r"(a), "+&a"(f) : "c"((uint8_t)count) : "cc"); \
        *fl = f;                                                                                   \
        return a;                                                                                  \
    }
/* a = a:b OP cl */
#define ALU_SHIFT_DOUBLE(name, insn, T)                                                            \
    static inline __attribute__((always_inline)) uint32_t name(uint32_t a_, uint32_t b_,           \
                                                               uint32_t count, uint32_t *fl)       \
    {                                                                                              \
        T a = (T)a_, b = (T)b_;                                                                    \
        uint32_t f = *fl;                                                                          \
        __asm__(RAW_IN insn " %%cl, %3, %0" RAW_OUT                                                \
                : "+r"(a), "+&a"(f)                                                                \
                : "c"((uint8_t)count), "r"(b)                                                      \
                : "cc");                                                                           \
        *fl = f;                                                                                   \
        return a;                                                                                  \
    }
/* hi:lo = lo OP src, or hi:lo divided by it: the accumulator is also where flags come from */
#define ALU_WIDE(name, insn, T)                                                                    \
    static inline __attribute__((always_inline)) void name(uint32_t *lo_, uint32_t *hi_,           \
                                                           uint32_t src_, uint32_t *fl)            \
    {                                                                                              \
        uint32_t lo = *lo_, hi = *hi_, f = *fl;                                                    \
        T src = (T)src_;                                                                           \
        __asm__(RAW_IN "movl %0, %%eax\n\t" insn " %3\n\tmovl %%eax, %0" RAW_OUT                   \
                : "+&r"(lo), "+&d"(hi), "+&a"(f)                                                   \
                : "r"(src)                                                                         \
                : "cc");                                                                           \
        *lo_ = lo;                                                                                 \
        *hi_ = hi;                                                                                 \
        *fl = f;                                                                                   \
    }

#define ALU_SIZES(shape, name, insn)                                                               \
    shape(alu_##name##8, insn "b", uint8_t) shape(alu_##name##16, insn "w", uint16_t)              \
        shape(alu_##name##32, insn "l", uint32_t)
#define ALU_SIZES_NO8(shape, name, insn)                                                           \
    shape(alu_##name##16, insn "w", uint16_t) shape(alu_##name##32, insn "l", uint32_t)

ALU_SIZES(ALU_BINARY, add, "add")
ALU_SIZES(ALU_BINARY, or, "or")
ALU_SIZES(ALU_BINARY, and, "and")
ALU_SIZES(ALU_BINARY, sub, "sub")
ALU_SIZES(ALU_BINARY, xor, "xor")
ALU_SIZES(ALU_COMPARE, cmp, "cmp")
ALU_SIZES(ALU_COMPARE, test, "test")
ALU_SIZES(ALU_BINARY_IN, adc, "adc")
ALU_SIZES(ALU_BINARY_IN, sbb, "sbb")
ALU_SIZES(ALU_UNARY_IN, inc, "inc")
ALU_SIZES(ALU_UNARY_IN, dec, "dec")
ALU_SIZES(ALU_UNARY_IN, neg, "neg")
ALU_SIZES(ALU_SHIFT, shl, "shl")
ALU_SIZES(ALU_SHIFT, shr, "shr")
ALU_SIZES(ALU_SHIFT, sar, "sar")
ALU_SIZES(ALU_SHIFT, rol, "rol")
ALU_SIZES(ALU_SHIFT, ror, "ror")
ALU_SIZES(ALU_SHIFT, rcl, "rcl")
ALU_SIZES(ALU_SHIFT, rcr, "rcr")
ALU_SIZES_NO8(ALU_SHIFT_DOUBLE, shld, "shld")
ALU_SIZES_NO8(ALU_SHIFT_DOUBLE, shrd, "shrd")
ALU_SIZES_NO8(ALU_BINARY_IN, imul, "imul")
ALU_SIZES_NO8(ALU_BINARY_IN, bsf, "bsf")
ALU_SIZES_NO8(ALU_BINARY_IN, bsr, "bsr")
ALU_SIZES_NO8(ALU_BINARY_IN, bt, "bt")
ALU_SIZES_NO8(ALU_BINARY_IN, bts, "bts")
ALU_SIZES_NO8(ALU_BINARY_IN, btr, "btr")
ALU_SIZES_NO8(ALU_BINARY_IN, btc, "btc")
ALU_SIZES(ALU_WIDE, mul, "mul")
ALU_SIZES(ALU_WIDE, imul_wide, "imul")
ALU_SIZES(ALU_WIDE, div, "div")
ALU_SIZES(ALU_WIDE, idiv, "idiv")

#endif
