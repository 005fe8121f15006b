/* SPDX-License-Identifier: MIT */
/* lockstep.h: --engine lockstep: the translator runs the guest, and the interpreter runs it again
 * beside it and compares (docs/lockstep.md).
 *
 * There are two processors, each with a memory of its own, and one set of devices. The translator's
 * is the machine's; whatever reaches it from outside (what a device answers, the time, random
 * numbers, DMA, interrupts) is recorded and given to the interpreter's at the same place.
 *
 *     ls = lockstep_create(m, &error);   after the translator
 *     lockstep_reset(ls);                after each reset of the machine
 *     lockstep_run(ls);                  in the loop, in place of bt_run()
 *     lockstep_note(ls, vector);         in the loop: the machine's processor takes an interrupt
 *     lockstep_finish(ls);               after the loop, while the FPU is still the guest's
 *
 * A difference is reported on standard error, and ends the machine with END_ERROR. */
#ifndef RINGDOWN_RUNTIME_LOCKSTEP_H
#define RINGDOWN_RUNTIME_LOCKSTEP_H

#include "runtime/machine.h"

#include <stddef.h>

struct lockstep;

/* NULL: *error is a negative errno. */
struct lockstep *lockstep_create(struct machine *m, int *error);
void lockstep_destroy(struct lockstep *ls);
/* Makes the interpreter's processor and memory those of the machine; false: out of memory. */
bool lockstep_reset(struct lockstep *ls);
/* Runs until the loop has something to do. Never raises. */
void lockstep_run(struct lockstep *ls);
/* Compares everything once more, all of memory included. */
void lockstep_finish(struct lockstep *ls);

/* The loop is about to do one of these to the machine's processor; 0-255: external interrupt. */
enum { LOCKSTEP_NMI = 256, LOCKSTEP_STEP /* one instruction by interp_step() */ };
void lockstep_note(struct lockstep *ls, int event);
/* A value that differs whenever it is asked for: returns it, or what was recorded. */
uint64_t lockstep_value(const struct vcpu *v, uint64_t value);
/* A page walk of either processor is about to set accessed or dirty bits at gpa. */
void lockstep_walked(struct vcpu *v, uint64_t gpa, unsigned size);
/* A device is about to store into the machine's memory. */
void lockstep_dma(struct lockstep *ls, uint64_t gpa, const void *bytes, size_t n);

/* A self-test: "reg:N" flips a bit of EBX after N instructions, "flag:N" the carry flag, "mem:N" a
 * bit of the byte stored last; with --stress precise, "state:N" a bit of EBX in a recreated state,
 * and "mark:N" an entry of the N-th block's table of recovery. It must be found. False: not of that
 * form. */
enum lockstep_spoil { SPOIL_NONE, SPOIL_REG, SPOIL_FLAG, SPOIL_MEM, SPOIL_STATE, SPOIL_MARK };
bool lockstep_parse_selftest(const char *spec, enum lockstep_spoil *what, uint64_t *after);

#endif
