/* SPDX-License-Identifier: MIT */
/* fpu.h: who owns the host's x87 and MXCSR.
 *
 * Between fpu_enter() and fpu_leave() they hold the guest's state, on the thread that entered. C
 * code in between uses no floating point. Signal handlers get a fresh FPU from the host kernel: the
 * guest's state is then in the signal frame, and comes back with the return from the handler.
 *
 * vcpu->fx meanwhile: `xmm` is the truth (translated code keeps it in the host's registers while it
 * runs), `fip fcs fdp fds fop` are the truth (see fpu_pointers_update()), all else is stale until
 * fpu_sync().
 *
 *     fpu_create(v);            once; state comes from vcpu->fx
 *     fpu_enter(v); loop; fpu_leave(v);
 *     fpu_sync(v);              inside: before anyone reads v->fx (snapshot, debugger)
 *     fpu_load(v);              inside: after anyone has written v->fx (reset)
 */
#ifndef RINGDOWN_RUNTIME_FPU_H
#define RINGDOWN_RUNTIME_FPU_H

#include "devices/device.h"
#include "ringdown/cpu.h"

/* Makes v->fpu (host thunks). 0 or negative errno. Without it, it is made at first use. */
int fpu_create(struct vcpu *v);
void fpu_destroy(struct vcpu *v);

/* v->fx as after RESET (SDM vol. 3, table 9-1). Inside the loop, loads it. */
void fpu_reset(struct vcpu *v);

void fpu_enter(struct vcpu *v);
void fpu_leave(struct vcpu *v);
/* Outside the loop, where v->fx is complete anyway, both do nothing. */
void fpu_sync(struct vcpu *v);
void fpu_load(struct vcpu *v);

/* Inside the loop of one of two vCPUs of this thread: from now on the host's registers hold v's
 * state; the other's is in its v->fx. */
void fpu_switch(struct vcpu *v);

/* For the handlers of SIGFPE, SIGILL, SIGSEGV and SIGBUS: if the signal's PC lies in a thunk of
 * this thread's machine, makes the thunk return the host's trap number to the interpreter, which
 * raises the guest's exception. False if the signal is not of this kind. Async-signal-safe. */
bool fpu_fix_signal(void *ucontext);

/* The host's own x87 pointers. Some hosts show the lower 32 bits only. */
struct fpu_pointers {
    uint64_t fip, fdp;
    bool narrow;
};
/* One of them as it is if it lies in the 4 GiB from `base` on. */
static inline uint64_t fpu_pointer_from(const struct fpu_pointers *p, uint64_t pointer,
                                        uint64_t base)
{
    return p->narrow ? base + (uint32_t)(pointer - base) : pointer;
}

/* The last-instruction pointers. The interpreter keeps them in v->fx as it goes. When translated
 * code has executed x87 instructions since, the host's own pointers say where; the translator gives
 * a function that turns them into the guest's: false if host->fip is none of its. It sets fip, fcs
 * and fop in v->fx, and fdp and fds if the instruction had a memory operand. */
typedef bool fpu_locate_fn(struct vcpu *v, const struct fpu_pointers *host);
void fpu_set_locator(struct vcpu *v, fpu_locate_fn *fn);
void fpu_pointers_update(struct vcpu *v);

/* The way of errors with CR0.NE clear (SDM vol. 3, 2.5 and vol. 1, D.2): a waiting instruction that
 * finds an unmasked exception asserts FERR#, which the board wires to IRQ 13, and waits for an
 * interrupt. A write to port F0h (or a reset of the coprocessor through F1h) asserts IGNNE#: until
 * the error is cleared, waiting instructions go on in spite of it. The board calls
 * fpu_ignore_error() for such a write; it also lowers FERR#. */
void fpu_connect_ferr(struct vcpu *v, struct irq_line line);
void fpu_ignore_error(struct vcpu *v);

/* Bits that MXCSR may have on this host. */
uint32_t fpu_mxcsr_mask(void);

/* x87 status word. */
#define FSW_IE  0x0001u
#define FSW_DE  0x0002u
#define FSW_ZE  0x0004u
#define FSW_OE  0x0008u
#define FSW_UE  0x0010u
#define FSW_PE  0x0020u
#define FSW_ES  0x0080u /* an unmasked exception is pending */
#define FSW_TOP 0x3800u

static inline uint16_t fpu_status(void)
{
    uint16_t fsw;
    __asm__ volatile("fnstsw %0" : "=a"(fsw));
    return fsw;
}

static inline uint16_t fpu_control(void)
{
    uint16_t fcw;
    __asm__ volatile("fnstcw %0" : "=m"(fcw));
    return fcw;
}

#endif
