/* SPDX-License-Identifier: MIT */
/* fpu.c: ownership of the host's x87 and MXCSR, and of the last-instruction pointers.
 *
 * Invariant: the host's own FIP and FDP are zero after every load of guest state. So a nonzero FIP
 * tells what has executed x87 instructions since: a thunk (the interpreter has then written v->fx's
 * pointers itself) or translated code (the locator finds the guest's). */
#include "runtime/fpu.h"

#include "runtime/fpu_thunk.h"
#include "translator/host_facts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

/* FXSAVE's image with REX.W: pointers are 64 bits wide (SDM vol. 1, table 10-3). */
struct fxsave64_area {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t rest[352];
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct fxsave64_area) == 512, "FXSAVE writes 512 bytes");

#define FCW_RESET     0x0040u
#define FCW_INIT      0x037fu
#define MXCSR_RESET   0x1f80u
#define MXCSR_DEFAULT 0x0000ffbfu /* if the mask field reads zero (vol. 1, 11.6.6) */

/* What FNSTENV stores outside real mode, with 32-bit operands (vol. 1, figure 8-9). */
struct fnstenv_area {
    uint32_t fcw, fsw, ftw, fip, fcs_fop, fdp, fds;
};

/* The host's environment of this thread, and the vCPU whose state is live instead. */
static _Thread_local struct {
    struct vcpu *live;
    uint16_t fcw;
    uint32_t mxcsr;
} host;

static inline void fxsave64(struct fxsave64_area *area)
{
    __asm__ volatile("fxsave64 %0" : "=m"(*area));
}

static inline void fxrstor64(const struct fxsave64_area *area)
{
    __asm__ volatile("fxrstor64 %0" : : "m"(*area));
}

int fpu_create(struct vcpu *v)
{
    struct fpu *f = calloc(1, sizeof *f);
    if (!f)
        return -ENOMEM;
    (void)host_as_model(HOST_FXSAVE_POINTERS); /* found out before signals are the machine's */
    int error = fpu_thunk_create(f);
    if (error) {
        free(f);
        return error;
    }
    v->fpu = f;
    return 0;
}

void fpu_destroy(struct vcpu *v)
{
    if (!v->fpu)
        return;
    fpu_thunk_destroy(v->fpu);
    free(v->fpu);
    v->fpu = NULL;
}

uint32_t fpu_mxcsr_mask(void)
{
    static _Atomic uint32_t mask;
    if (!mask) {
        struct fxsave64_area area;
        memset(&area, 0, sizeof area);
        fxsave64(&area);
        mask = area.mxcsr_mask ? area.mxcsr_mask : MXCSR_DEFAULT;
    }
    return mask;
}

static void load_live(const struct vcpu *v)
{
    struct fxsave64_area area;
    memset(&area, 0, sizeof area);
    if (!host_as_model(HOST_FXSAVE_POINTERS)) /* then FXRSTOR doesn't load them either */
        __asm__ volatile("fninit");
    area.fcw = v->fx.fcw;
    area.fsw = v->fx.fsw;
    area.ftw = v->fx.ftw;
    area.mxcsr = v->fx.mxcsr & fpu_mxcsr_mask();
    memcpy(area.st, v->fx.st, sizeof area.st);
    fxrstor64(&area);
}

void fpu_load(struct vcpu *v)
{
    if (host.live == v)
        load_live(v);
}

void fpu_reset(struct vcpu *v)
{
    memset(&v->fx, 0, sizeof v->fx);
    v->fx.fcw = FCW_RESET;
    v->fx.ftw = 0xff; /* eight registers that hold +0 */
    v->fx.mxcsr = MXCSR_RESET;
    v->fx.mxcsr_mask = fpu_mxcsr_mask();
    fpu_load(v);
}

/* A processor that has no pointers to save leaves their bytes alone. */
static void save_live(struct fxsave64_area *area)
{
    area->fip = area->fdp = 0;
    fxsave64(area);
}

/* AMD's processors save and restore the pointers only while an exception is pending (AMD APM vol.
 * 5, FXSAVE), but keep them at all times: FNSTENV shows them. It masks all exceptions on the way.
 */
static struct fpu_pointers pointers_of(const struct fxsave64_area *area)
{
    struct fnstenv_area env;
    if (host_as_model(HOST_FXSAVE_POINTERS) || (area->fsw & FSW_ES))
        return (struct fpu_pointers){area->fip, area->fdp, false};
    __asm__ volatile("fnstenv %0; fldcw %1" : "=m"(env) : "m"(area->fcw));
    return (struct fpu_pointers){env.fip, env.fdp, true};
}

static void pointers_locate(struct vcpu *v, const struct fxsave64_area *area)
{
    struct fpu *f = v->fpu;
    if (!f || !f->locate)
        return;
    struct fpu_pointers at = pointers_of(area);
    if (at.fip && !fpu_thunk_owns(f, fpu_pointer_from(&at, at.fip, fpu_thunk_base(f))))
        (void)f->locate(v, &at);
}

void fpu_pointers_update(struct vcpu *v)
{
    struct fxsave64_area area;
    if (host.live != v || !v->fpu || !v->fpu->locate)
        return;
    save_live(&area);
    pointers_locate(v, &area);
}

void fpu_sync(struct vcpu *v)
{
    struct fxsave64_area area;
    if (host.live != v)
        return;
    save_live(&area);
    v->fx.fcw = area.fcw;
    v->fx.fsw = area.fsw;
    v->fx.ftw = area.ftw;
    v->fx.mxcsr = area.mxcsr;
    v->fx.mxcsr_mask = fpu_mxcsr_mask();
    memcpy(v->fx.st, area.st, sizeof v->fx.st);
    pointers_locate(v, &area);
}

void fpu_enter(struct vcpu *v)
{
    host.fcw = fpu_control();
    __asm__ volatile("stmxcsr %0" : "=m"(host.mxcsr));
    host.live = v;
    load_live(v);
}

void fpu_leave(struct vcpu *v)
{
    if (host.live != v)
        return;
    fpu_sync(v);
    host.live = NULL;
    __asm__ volatile("fninit; fldcw %0; ldmxcsr %1" : : "m"(host.fcw), "m"(host.mxcsr));
}

void fpu_switch(struct vcpu *v)
{
    if (!host.live || host.live == v)
        return;
    fpu_sync(host.live);
    host.live = v;
    load_live(v);
}

bool fpu_fix_signal(void *ucontext)
{
    ucontext_t *uc = ucontext;
    greg_t *reg = uc->uc_mcontext.gregs;
    const struct vcpu *v = host.live;
    if (!v || !v->fpu || !fpu_thunk_owns(v->fpu, (uint64_t)reg[REG_RIP]))
        return false;
    /* A thunk's stack is empty when its guest instruction executes. */
    reg[REG_RAX] = reg[REG_TRAPNO];
    reg[REG_RIP] = (greg_t)fpu_thunk_exit(v->fpu);
    return true;
}

void fpu_set_locator(struct vcpu *v, fpu_locate_fn *fn)
{
    if (v->fpu)
        v->fpu->locate = fn;
}

void fpu_connect_ferr(struct vcpu *v, struct irq_line line)
{
    if (v->fpu)
        v->fpu->ferr = line;
}

void fpu_ignore_error(struct vcpu *v)
{
    if (!v->fpu)
        return;
    irq_set(&v->fpu->ferr, 0);
    v->fpu->ignne = true;
}
