/* SPDX-License-Identifier: MIT */
/* interp.h: the interpreter: baseline engine, and executor of whatever the translator hands over.
 */
#ifndef RINGDOWN_RUNTIME_INTERP_H
#define RINGDOWN_RUNTIME_INTERP_H

#include "ringdown/cpu.h"
#include "translator/insn.h"

/* One handler an operation. On entry v->eip is the instruction's address. A handler that returns
 * normally has either left eip alone (the loop adds the length) or set v->eip itself, which it
 * tells by returning true. Faults leave by raise_*(). */
typedef bool interp_fn(struct vcpu *v, const struct insn *i);
/* Handlers by operation; NULL where another part has it. */
extern interp_fn *const interp_int_ops[OP_COUNT]; /* interp_*.c: integer, strings, near control */
extern interp_fn *const interp_sys_ops[OP_COUNT]; /* interp_sys.c: system, segment, far, I/O */
extern interp_fn *const interp_fpu_ops[OP_COUNT]; /* interp_fpu.c: x87, MMX, SSE */

struct interp *interp_create(struct vcpu *v); /* NULL when out of memory */
void interp_destroy(struct interp *in);

/* Executes exactly one instruction at CS:EIP (a repeated string operation may stop early for a
 * request, with its registers showing how far it came). Clears and sets the interrupt shadow, takes
 * care of TF and breakpoints. Raises. */
void interp_step(struct vcpu *v);
/* The same for an instruction that was decoded before, when neither TF nor breakpoints nor
 * alignment checks are on. `i` stays the caller's; its handler and thunk fields are the
 * interpreter's. */
void interp_execute(struct vcpu *v, struct insn *i);
/* Executes instructions until v->request is nonzero, the vCPU halts or shuts down, or an interrupt
 * might now be deliverable (STI, POPF, IRET and kin that set IF). Raises. */
void interp_run(struct vcpu *v);

/* From one to n instructions, without a look at the world in between; how many. For lock step.
 * Leaves v->request zero; what raises is not counted. */
uint32_t interp_run_some(struct vcpu *v, uint32_t n);

/* Effective address (offset) of i's memory operand, and the linear address after segment checks for
 * n bytes. */
uint32_t interp_ea(const struct vcpu *v, const struct insn *i);
uint32_t interp_mem(struct vcpu *v, const struct insn *i, unsigned n, int write);

#endif
