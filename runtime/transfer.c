/* SPDX-License-Identifier: MIT */
/* transfer.c: frames, stack pointers and code targets (see transfer.h). */
#include "runtime/transfer.h"

#include "runtime/exception.h"
#include "runtime/mmu.h"

/* --- code targets --- */

void code_target_check(struct vcpu *v, struct code_target *t)
{
    descriptor_set_accessed(v, t->sel, &t->desc);
    if (t->off > t->desc.limit)
        raise_gp(v, 0);
}

void code_target_enter(struct vcpu *v, const struct code_target *t)
{
    segment_set(v, SEG_CS, (uint16_t)((t->sel & 0xfffcu) | t->cpl), &t->desc);
    v->cpl = (uint8_t)t->cpl;
    v->eip = t->off;
}

void code_check_real(struct vcpu *v, uint32_t off)
{
    /* In virtual-8086 mode the limit is 0xffff; in real mode it is whatever was loaded last. */
    if (off > v->seg[SEG_CS].limit)
        raise_gp(v, 0);
}

void code_enter_real(struct vcpu *v, uint16_t sel, uint32_t off)
{
    if (vcpu_v86(v))
        segment_set_v86(v, SEG_CS, sel);
    else
        segment_set_real(v, SEG_CS, sel);
    v->eip = off;
}

/* --- stacks --- */

uint32_t stack_pointer(const struct segment *ss, uint32_t old, uint32_t value)
{
    return ss->attr & SEG_ATTR_DB ? value : (old & 0xffff0000u) | (value & 0xffff);
}

uint32_t stack_read(struct vcpu *v, uint32_t *esp, unsigned size)
{
    const struct segment *ss = &v->seg[SEG_SS];
    uint32_t off = stack_pointer(ss, 0, *esp);
    uint32_t la = segment_check(v, SEG_SS, off, size, 0);
    uint32_t value = size == 2 ? mmu_read16(v, la) : mmu_read32(v, la);
    *esp = stack_pointer(ss, *esp, *esp + size);
    return value;
}

void frame_current(const struct vcpu *v, struct frame *f, unsigned size)
{
    f->ss = v->seg[SEG_SS];
    f->esp = v->gpr[R_ESP];
    f->error = 0;
    f->user = v->cpl == 3;
    f->size = size;
    f->n = 0;
}

/* SS:ESP for ring `cpl` in the TSS of the current task. */
static void tss_stack(struct vcpu *v, unsigned cpl, uint16_t *ss, uint32_t *esp)
{
    const struct segment *tr = &v->seg[SEG_TR];
    bool wide = (tr->attr & SEG_ATTR_TYPE) >= DESC_TSS32;
    uint32_t at = wide ? TSS32_ESP0 + 8 * cpl : TSS16_SP0 + 4 * cpl;
    if (at + (wide ? 5 : 3) > tr->limit)
        raise_ts(v, sel_error(tr->sel));
    at += tr->base;
    *esp = (uint32_t)mmu_sys_read(v, at, wide ? 4 : 2);
    *ss = (uint16_t)mmu_sys_read(v, at + (wide ? 4 : 2), 2);
}

void frame_inner(struct vcpu *v, struct frame *f, unsigned cpl, unsigned size)
{
    uint16_t sel;
    struct descriptor d;
    tss_stack(v, cpl, &sel, &f->esp);
    if (sel_null(sel))
        raise_ts(v, 0);
    uint32_t error = sel_error(sel);
    if (!descriptor_read(v, sel, &d))
        raise_ts(v, error);
    if (sel_rpl(sel) != cpl || attr_dpl(d.attr) != cpl || !attr_is_writable_data(d.attr))
        raise_ts(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_ss(v, error);
    descriptor_set_accessed(v, sel, &d);
    f->ss = (struct segment){.base = d.base, .limit = d.limit, .attr = d.attr, .sel = sel};
    f->error = error;
    f->user = cpl == 3;
    f->size = size;
    f->n = 0;
}

static bool stack_room(const struct segment *ss, uint32_t off, unsigned size)
{
    uint32_t last = off + size - 1;
    if (last < off)
        return segment_flat(ss);
    if (ss->attr & SEG_ATTR_DOWN && (ss->attr & SEG_ATTR_S))
        return off > ss->limit && last <= (ss->attr & SEG_ATTR_DB ? 0xffffffffu : 0xffff);
    return last <= ss->limit;
}

/* Offset of the next entry; *esp moves to it. */
static uint32_t frame_step(const struct frame *f, uint32_t *esp)
{
    *esp = stack_pointer(&f->ss, *esp, *esp - f->size);
    return stack_pointer(&f->ss, 0, *esp);
}

void frame_check(struct vcpu *v, const struct frame *f)
{
    uint32_t esp = f->esp;
    if (f->ss.attr & SEG_ATTR_NULL)
        raise_ss(v, f->error);
    for (unsigned i = 0; i < f->n; i++)
        if (!stack_room(&f->ss, frame_step(f, &esp), f->size))
            raise_ss(v, f->error);
    esp = f->esp;
    for (unsigned i = 0; i < f->n; i++)
        mmu_sys_probe(v, f->ss.base + frame_step(f, &esp), f->size, ACC_WRITE, f->user);
}

uint32_t frame_write(struct vcpu *v, const struct frame *f)
{
    uint32_t esp = f->esp;
    for (unsigned i = 0; i < f->n; i++)
        mmu_sys_write(v, f->ss.base + frame_step(f, &esp), f->value[i], f->size);
    return esp;
}

/* --- returns to an outer ring --- */

void stack_check_outer(struct vcpu *v, uint16_t sel, unsigned cpl, struct descriptor *d)
{
    uint32_t error = sel_error(sel);
    if (sel_null(sel))
        raise_gp(v, 0);
    if (!descriptor_read(v, sel, d))
        raise_gp(v, error);
    if (sel_rpl(sel) != cpl || attr_dpl(d->attr) != cpl || !attr_is_writable_data(d->attr))
        raise_gp(v, error);
    if (!(d->attr & SEG_ATTR_P))
        raise_ss(v, error);
    descriptor_set_accessed(v, sel, d);
}

void segment_drop_inner(struct vcpu *v, unsigned cpl)
{
    for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++) {
        if (seg == SEG_CS || seg == SEG_SS)
            continue;
        uint32_t attr = v->seg[seg].attr;
        bool conforming = attr_is_code(attr) && (attr & SEG_ATTR_CONFORM);
        if (!(attr & SEG_ATTR_NULL) && !conforming && attr_dpl(attr) < cpl)
            segment_set_null(v, seg, 0);
    }
}

uint32_t eflags_writable(const struct vcpu *v, unsigned opsize)
{
    uint32_t mask = EFL_ARITH | EFL_TF | EFL_DF | EFL_NT;
    if (opsize == 4)
        mask |= EFL_AC | EFL_ID;
    if (v->cpl <= vcpu_iopl(v))
        mask |= EFL_IF;
    if (v->cpl == 0)
        mask |= EFL_IOPL;
    return mask;
}
