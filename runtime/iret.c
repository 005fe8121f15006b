/* SPDX-License-Identifier: MIT */
/* iret.c: IRET in all its forms (SDM vol. 2, IRET; vol. 3, 20.2.1 for virtual-8086 mode). */
#include "runtime/exception.h"
#include "runtime/mmu.h"
#include "runtime/transfer.h"

#include <stdatomic.h>

struct iret_frame {
    struct code_target target;
    uint32_t eflags;
    uint32_t esp; /* after what has been popped */
};

/* EFLAGS of the image, of which only `mask` is taken. RF follows the image of a 32-bit IRET. */
static uint32_t merge_eflags(const struct vcpu *v, uint32_t image, uint32_t mask, unsigned opsize)
{
    if (opsize == 4)
        mask |= EFL_RF;
    return (v->eflags & ~mask) | (image & mask) | EFL_ONE;
}

static void return_real(struct vcpu *v, const struct iret_frame *f, unsigned opsize)
{
    code_check_real(v, f->target.off);
    uint32_t mask = eflags_writable(v, opsize);
    if (vcpu_v86(v))
        mask &= ~EFL_IOPL;
    v->gpr[R_ESP] = f->esp;
    v->eflags = merge_eflags(v, f->eflags, mask, opsize);
    code_enter_real(v, f->target.sel, f->target.off);
}

static void return_to_v86(struct vcpu *v, struct iret_frame *f)
{
    static const uint8_t order[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    uint16_t sel[sizeof(order)];
    uint32_t esp = f->esp;
    uint32_t new_esp = stack_read(v, &esp, 4);
    uint16_t ss = (uint16_t)stack_read(v, &esp, 4);
    for (unsigned i = 0; i < sizeof(order); i++)
        sel[i] = (uint16_t)stack_read(v, &esp, 4);
    if (f->target.off > 0xffff)
        raise_gp(v, 0);

    v->eflags = (f->eflags & EFL_DEFINED) | EFL_ONE;
    for (unsigned i = 0; i < sizeof(order); i++)
        segment_set_v86(v, order[i], sel[i]);
    segment_set_v86(v, SEG_SS, ss);
    segment_set_v86(v, SEG_CS, f->target.sel);
    v->cpl = 3;
    v->gpr[R_ESP] = new_esp;
    v->eip = f->target.off;
}

static void return_outer(struct vcpu *v, struct iret_frame *f, unsigned opsize)
{
    struct descriptor ss;
    struct code_target *t = &f->target;
    uint32_t esp = f->esp;
    uint32_t new_esp = stack_read(v, &esp, opsize);
    uint16_t new_ss = (uint16_t)stack_read(v, &esp, opsize);
    stack_check_outer(v, new_ss, t->cpl, &ss);
    code_target_check(v, t);

    v->eflags = merge_eflags(v, f->eflags, eflags_writable(v, opsize), opsize);
    segment_set(v, SEG_SS, new_ss, &ss);
    /* With a 16-bit stack segment the upper half of ESP stays. */
    v->gpr[R_ESP] = stack_pointer(&v->seg[SEG_SS], v->gpr[R_ESP], new_esp);
    segment_drop_inner(v, t->cpl);
    code_target_enter(v, t);
}

static void return_same(struct vcpu *v, struct iret_frame *f, unsigned opsize)
{
    code_target_check(v, &f->target);
    v->eflags = merge_eflags(v, f->eflags, eflags_writable(v, opsize), opsize);
    v->gpr[R_ESP] = f->esp;
    code_target_enter(v, &f->target);
}

/* NT: back to the task that the back link of the current TSS names. */
static void return_task(struct vcpu *v, uint32_t next_eip)
{
    uint16_t sel = (uint16_t)mmu_sys_read(v, v->seg[SEG_TR].base, 2);
    struct descriptor d;
    uint32_t error = sel_error(sel);
    if ((sel & 4) || sel_null(sel) || !descriptor_read(v, sel, &d))
        raise_ts(v, error);
    unsigned type = attr_system_type(d.attr);
    if (type != DESC_TSS16_BUSY && type != DESC_TSS32_BUSY)
        raise_ts(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_np(v, error);
    task_switch(v, sel, TASK_IRET, next_eip, false, 0);
}

void interrupt_return(struct vcpu *v, unsigned opsize, uint32_t next_eip)
{
    bool real = vcpu_real_or_v86(v);
    if (vcpu_v86(v) && vcpu_iopl(v) < 3)
        raise_gp(v, 0);
    if (v->nmi_blocked) { /* no longer, even if the return faults; another may be waiting */
        v->nmi_blocked = false;
        atomic_fetch_or(&v->request, VCPU_REQ_EVENT);
    }
    if (!real && (v->eflags & EFL_NT)) {
        return_task(v, next_eip);
        return;
    }
    struct iret_frame f = {.esp = v->gpr[R_ESP]};
    f.target.off = stack_read(v, &f.esp, opsize);
    f.target.sel = (uint16_t)stack_read(v, &f.esp, opsize);
    f.eflags = stack_read(v, &f.esp, opsize);
    if (real) {
        return_real(v, &f, opsize);
    } else if (opsize == 4 && (f.eflags & EFL_VM) && v->cpl == 0) {
        return_to_v86(v, &f);
    } else {
        return_target(v, &f.target);
        if (f.target.cpl != v->cpl)
            return_outer(v, &f, opsize);
        else
            return_same(v, &f, opsize);
    }
}
