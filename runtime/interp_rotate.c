/* SPDX-License-Identifier: MIT */
/* interp_rotate.c: ROL and ROR of registers by a constant, each as the host's own instruction with
 * that constant.
 *
 * After a rotation by more than one OF is undefined, and processors leave another value for this
 * form than for a count in CL or an operand in memory. (Rotations through carry and shifts show no
 * such difference.) */
#include "runtime/interp_rotate.h"

/* clang-format off */
#define COUNTS(X, ...)                                                                             \
    X(__VA_ARGS__, 0)  X(__VA_ARGS__, 1)  X(__VA_ARGS__, 2)  X(__VA_ARGS__, 3)                     \
    X(__VA_ARGS__, 4)  X(__VA_ARGS__, 5)  X(__VA_ARGS__, 6)  X(__VA_ARGS__, 7)                     \
    X(__VA_ARGS__, 8)  X(__VA_ARGS__, 9)  X(__VA_ARGS__, 10) X(__VA_ARGS__, 11)                    \
    X(__VA_ARGS__, 12) X(__VA_ARGS__, 13) X(__VA_ARGS__, 14) X(__VA_ARGS__, 15)                    \
    X(__VA_ARGS__, 16) X(__VA_ARGS__, 17) X(__VA_ARGS__, 18) X(__VA_ARGS__, 19)                    \
    X(__VA_ARGS__, 20) X(__VA_ARGS__, 21) X(__VA_ARGS__, 22) X(__VA_ARGS__, 23)                    \
    X(__VA_ARGS__, 24) X(__VA_ARGS__, 25) X(__VA_ARGS__, 26) X(__VA_ARGS__, 27)                    \
    X(__VA_ARGS__, 28) X(__VA_ARGS__, 29) X(__VA_ARGS__, 30) X(__VA_ARGS__, 31)
/* clang-format on */

#define FUNCTION(op, w, sfx, T, n)                                                                 \
    static uint64_t op##w##_##n(uint32_t value, uint32_t fl)                                       \
    {                                                                                              \
        T a = (T)value;                                                                            \
        __asm__(RAW_IN #op sfx " $" #n ", %0" RAW_OUT : "+r"(a), "+&a"(fl) : : "cc");              \
        return a | (uint64_t)fl << 32;                                                             \
    }
#define ENTRY(op, w, sfx, T, n) op##w##_##n,

#define ALL(op)                                                                                    \
    COUNTS(FUNCTION, op, 8, "b", uint8_t)                                                          \
    COUNTS(FUNCTION, op, 16, "w", uint16_t)                                                        \
    COUNTS(FUNCTION, op, 32, "l", uint32_t)                                                        \
    interp_rotate_fn *const interp_##op[3][32] = {                                                 \
        {COUNTS(ENTRY, op, 8, "b", uint8_t)},                                                      \
        {COUNTS(ENTRY, op, 16, "w", uint16_t)},                                                    \
        {COUNTS(ENTRY, op, 32, "l", uint32_t)},                                                    \
    };
ALL(rol)
ALL(ror)
