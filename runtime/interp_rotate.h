/* SPDX-License-Identifier: MIT */
/* interp_rotate.h: ROL and ROR by a constant count. */
#ifndef RINGDOWN_RUNTIME_INTERP_ROTATE_H
#define RINGDOWN_RUNTIME_INTERP_ROTATE_H

#include "runtime/interp_flags.h"

/* Returns the result in the low half and the raw flags in the high one. */
typedef uint64_t interp_rotate_fn(uint32_t value, uint32_t raw);
/* By operand size 1, 2, 4 as 0, 1, 2, and the count modulo 32. */
extern interp_rotate_fn *const interp_rol[3][32], *const interp_ror[3][32];

#endif
