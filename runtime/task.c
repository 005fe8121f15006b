/* SPDX-License-Identifier: MIT */
/* task.c: the hardware task switch (SDM vol. 3, 7.3).
 *
 * Three stages. First everything that can fault in the old task: limits, and that both TSSs and the
 * descriptors to be changed are mapped. Then the commit point: old state saved, busy bits, back
 * link, TR and the new general state. Last the segment registers are loaded and checked in the
 * context of the new task: a fault there is the new task's, at its first instruction. */
#include "runtime/exception.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/system.h"
#include "runtime/transfer.h"

/* Segment registers in the TSS; the 16-bit one ends with DS. */
static const uint8_t tss_segments[] = {SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS};

struct tss_layout {
    uint8_t size;   /* of a general register */
    uint8_t stride; /* from one segment register to the next */
    uint8_t segments;
    uint8_t eip, eflags, gpr, seg, ldt;
    uint8_t min_limit;
    uint8_t saved_end; /* one past the last byte that a switch away writes */
};
static const struct tss_layout layout32 = {
    4, 4, 6, TSS32_EIP, TSS32_EFLAGS, TSS32_GPR, TSS32_SEG, TSS32_LDT, TSS32_MIN_LIMIT, TSS32_LDT};
static const struct tss_layout layout16 = {
    2, 2, 4, TSS16_IP, TSS16_FLAGS, TSS16_GPR, TSS16_SEG, TSS16_LDT, TSS16_MIN_LIMIT, TSS16_LDT};

static const struct tss_layout *layout_of(uint32_t attr)
{
    return (attr & SEG_ATTR_TYPE) >= DESC_TSS32 ? &layout32 : &layout16;
}

/* What a TSS holds. */
struct task_state {
    uint32_t eip, eflags, cr3;
    uint32_t gpr[8];
    uint16_t seg[6]; /* in the order of tss_segments */
    uint16_t ldt;
    bool trap;
};

void task_gate_follow(struct vcpu *v, uint16_t tss_sel)
{
    struct descriptor d;
    uint32_t error = sel_error(tss_sel);
    if ((tss_sel & 4) || !descriptor_read(v, tss_sel, &d))
        raise_gp(v, error);
    unsigned type = attr_system_type(d.attr);
    if (type != DESC_TSS16 && type != DESC_TSS32)
        raise_gp(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_np(v, error);
}

static void load_state(struct vcpu *v, uint32_t base, const struct tss_layout *l,
                       struct task_state *s)
{
    bool wide = l == &layout32;
    *s = (struct task_state){0};
    s->eip = (uint32_t)mmu_sys_read(v, base + l->eip, l->size);
    s->eflags = (uint32_t)mmu_sys_read(v, base + l->eflags, l->size);
    for (unsigned i = 0; i < 8; i++)
        s->gpr[i] = (uint32_t)mmu_sys_read(v, base + l->gpr + i * l->size, l->size) |
                    (wide ? 0 : 0xffff0000u);
    for (unsigned i = 0; i < l->segments; i++)
        s->seg[i] = (uint16_t)mmu_sys_read(v, base + l->seg + i * l->stride, 2);
    s->ldt = (uint16_t)mmu_sys_read(v, base + l->ldt, 2);
    if (wide) {
        s->cr3 = (uint32_t)mmu_sys_read(v, base + TSS32_CR3, 4);
        s->trap = mmu_sys_read(v, base + TSS32_TRAP, 1) & 1;
    }
}

static void save_state(struct vcpu *v, const struct segment *tr, const struct tss_layout *l,
                       uint32_t eip, uint32_t eflags)
{
    mmu_sys_write(v, tr->base + l->eip, eip, l->size);
    mmu_sys_write(v, tr->base + l->eflags, eflags, l->size);
    for (unsigned i = 0; i < 8; i++)
        mmu_sys_write(v, tr->base + l->gpr + i * l->size, v->gpr[i], l->size);
    for (unsigned i = 0; i < l->segments; i++)
        mmu_sys_write(v, tr->base + l->seg + i * l->stride, v->seg[tss_segments[i]].sel, 2);
}

/* --- the new task's segments (vol. 3, table 7-1); all errors are the new task's --- */

static void load_ldt(struct vcpu *v, uint16_t sel)
{
    struct descriptor d;
    if (sel & 4)
        raise_ts(v, sel_error(sel));
    if (sel_null(sel))
        return;
    if (!descriptor_read(v, sel, &d) || attr_system_type(d.attr) != DESC_LDT ||
        !(d.attr & SEG_ATTR_P))
        raise_ts(v, sel_error(sel));
    segment_set(v, SEG_LDTR, sel, &d);
}

static void load_cs(struct vcpu *v, uint16_t sel)
{
    struct descriptor d;
    uint32_t error = sel_error(sel);
    if (sel_null(sel) || !descriptor_read(v, sel, &d) || !attr_is_code(d.attr))
        raise_ts(v, error);
    unsigned dpl = attr_dpl(d.attr), rpl = sel_rpl(sel);
    if (d.attr & SEG_ATTR_CONFORM ? dpl > rpl : dpl != rpl)
        raise_ts(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_np(v, error);
    descriptor_set_accessed(v, sel, &d);
    segment_set(v, SEG_CS, sel, &d);
}

static void load_ss(struct vcpu *v, uint16_t sel)
{
    struct descriptor d;
    uint32_t error = sel_error(sel);
    if (sel_null(sel) || !descriptor_read(v, sel, &d) || !attr_is_writable_data(d.attr))
        raise_ts(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_ss(v, error);
    if (attr_dpl(d.attr) != v->cpl || sel_rpl(sel) != v->cpl)
        raise_ts(v, error);
    descriptor_set_accessed(v, sel, &d);
    segment_set(v, SEG_SS, sel, &d);
}

static void load_data(struct vcpu *v, unsigned seg, uint16_t sel)
{
    struct descriptor d;
    uint32_t error = sel_error(sel);
    if (sel_null(sel))
        return;
    if (!descriptor_read(v, sel, &d))
        raise_ts(v, error);
    bool code = attr_is_code(d.attr);
    if (!(d.attr & SEG_ATTR_S) || (code && !(d.attr & SEG_ATTR_READ)))
        raise_ts(v, error);
    unsigned dpl = attr_dpl(d.attr);
    if (!(code && (d.attr & SEG_ATTR_CONFORM)) && (sel_rpl(sel) > dpl || v->cpl > dpl))
        raise_ts(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_np(v, error);
    descriptor_set_accessed(v, sel, &d);
    segment_set(v, seg, sel, &d);
}

static void load_segments(struct vcpu *v, const struct task_state *s, const struct tss_layout *l)
{
    load_ldt(v, s->ldt);
    if (vcpu_v86(v)) {
        for (unsigned i = 0; i < l->segments; i++)
            segment_set_v86(v, tss_segments[i], s->seg[i]);
        return;
    }
    load_cs(v, s->seg[SEG_CS]);
    load_ss(v, s->seg[SEG_SS]);
    for (unsigned i = 0; i < l->segments; i++)
        if (tss_segments[i] != SEG_CS && tss_segments[i] != SEG_SS)
            load_data(v, tss_segments[i], s->seg[i]);
}

static void push_error(struct vcpu *v, const struct tss_layout *l, uint32_t error)
{
    struct frame f;
    frame_current(v, &f, l->size);
    frame_push(&f, error);
    frame_check(v, &f);
    v->gpr[R_ESP] = frame_write(v, &f);
}

/* --- the switch --- */

/* The new TSS descriptor, with all that must hold before the commit point. */
static void check_new(struct vcpu *v, uint16_t sel, enum task_cause cause, struct descriptor *d)
{
    if (!descriptor_read(v, sel, d))
        raise_ts(v, sel_error(sel));
    const struct tss_layout *l = layout_of(d->attr);
    if (d->limit < l->min_limit)
        raise_ts(v, sel_error(sel));
    bool nested = cause == TASK_CALL || cause == TASK_GATE_INT;
    mmu_sys_probe(v, d->base, l->min_limit + 1u, ACC_READ, false);
    if (nested)
        mmu_sys_probe(v, d->base, 2, ACC_WRITE, false);
    mmu_sys_probe(v, descriptor_address(v, sel) + 5, 1, ACC_WRITE, false);
}

static void check_old(struct vcpu *v, const struct segment *tr, const struct tss_layout *l)
{
    if (tr->limit < l->min_limit)
        raise_ts(v, sel_error(tr->sel));
    mmu_sys_probe(v, tr->base + l->eip, l->saved_end - l->eip, ACC_WRITE, false);
    mmu_sys_probe(v, descriptor_address(v, tr->sel) + 5, 1, ACC_WRITE, false);
}

/* Selectors at once, hidden parts not yet: a register that the checks have not reached is unusable.
 */
static void adopt_state(struct vcpu *v, const struct task_state *s)
{
    for (unsigned i = 0; i < 8; i++)
        v->gpr[i] = s->gpr[i];
    v->eip = s->eip;
    v->eflags = (s->eflags & EFL_DEFINED) | EFL_ONE;
    v->cpl = vcpu_v86(v) ? 3 : (uint8_t)sel_rpl(s->seg[SEG_CS]);
    for (unsigned i = 0; i < sizeof(tss_segments); i++)
        segment_set_null(v, tss_segments[i], s->seg[i]);
    segment_set_null(v, SEG_LDTR, s->ldt);
    v->cr0 |= CR0_TS;
    v->dr[7] &= ~DR7_LOCAL;
}

void task_switch(struct vcpu *v, uint16_t tss_sel, enum task_cause cause, uint32_t next_eip,
                 bool has_error, uint32_t error)
{
    struct descriptor d;
    struct task_state s;
    check_new(v, tss_sel, cause, &d);
    const struct segment old = v->seg[SEG_TR];
    const struct tss_layout *old_l = layout_of(old.attr), *l = layout_of(d.attr);
    check_old(v, &old, old_l);
    load_state(v, d.base, l, &s);

    bool nested = cause == TASK_CALL || cause == TASK_GATE_INT;
    uint32_t eflags = v->eflags & ~(cause == TASK_IRET ? EFL_NT : 0);
    save_state(v, &old, old_l, next_eip, eflags);
    if (!nested)
        descriptor_set_busy(v, old.sel, false);
    if (nested) {
        mmu_sys_write(v, d.base, old.sel, 2);
        s.eflags |= EFL_NT;
    }
    if (cause != TASK_IRET)
        descriptor_set_busy(v, tss_sel, true);
    d.attr |= 2; /* TR's hidden part says busy, too */
    segment_set(v, SEG_TR, tss_sel, &d);
    adopt_state(v, &s);
    if (l == &layout32 && (v->cr0 & CR0_PG) && s.cr3 != v->cr3)
        cr_write(v, 3, s.cr3);

    load_segments(v, &s, l);
    if (has_error)
        push_error(v, l, error);
    if (v->eip > v->seg[SEG_CS].limit)
        raise_gp(v, 0);
    if (s.trap)
        raise_db(v, DR6_BT);
}
