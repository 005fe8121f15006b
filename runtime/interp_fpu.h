/* SPDX-License-Identifier: MIT */
/* interp_fpu.h: what interp_fpu.c (instructions that the host executes) and interp_fpu_state.c
 * (those that move whole states) share. */
#ifndef RINGDOWN_RUNTIME_INTERP_FPU_H
#define RINGDOWN_RUNTIME_INTERP_FPU_H

#include "runtime/fpu_thunk.h"

/* Called by a waiting instruction when an unmasked x87 exception is pending: raises #MF; with
 * CR0.NE clear asserts FERR# and returns true, the result of a handler whose instruction did not
 * execute. */
bool interp_fpu_error(struct vcpu *v);
/* True if a waiting instruction must not execute now: an error is pending, and IGNNE# does not
 * apply. */
static inline bool interp_fpu_pending(const struct vcpu *v)
{
    return __builtin_expect(fpu_status() & FSW_ES, 0) &&
           !(v->fpu && v->fpu->ignne && !(v->cr0 & CR0_NE));
}
/* #AC(0) if alignment is checked and `la` is not a multiple of `size` (a power of two). */
void interp_fpu_align(struct vcpu *v, uint32_t la, unsigned size);
/* Raises what an SSE instruction raises that may not execute now. */
void interp_fpu_check_sse(struct vcpu *v);

/* The handler in C of an x87 instruction that no thunk can execute, else NULL. */
fpu_special_fn *interp_fpu_special(const struct insn *i);
bool interp_fpu_fxsave(struct vcpu *v, const struct insn *i);
bool interp_fpu_fxrstor(struct vcpu *v, const struct insn *i);
bool interp_fpu_ldmxcsr(struct vcpu *v, const struct insn *i);
bool interp_fpu_stmxcsr(struct vcpu *v, const struct insn *i);

#endif
