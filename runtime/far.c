/* SPDX-License-Identifier: MIT */
/* far.c: far JMP, CALL and RET, call gates, SYSENTER and SYSEXIT (SDM vol. 2, CALL, JMP, RET,
 * SYSENTER; vol. 3, 5.8). IRET is iret.c's, gates of the IDT are gate.c's. */
#include "runtime/exception.h"
#include "runtime/mmu.h"
#include "runtime/transfer.h"

/* --- direct transfers --- */

/* The code segment named by a far pointer of JMP or CALL, at unchanged privilege. */
static void direct_target(struct vcpu *v, struct code_target *t)
{
    uint32_t error = sel_error(t->sel), attr = t->desc.attr;
    unsigned dpl = attr_dpl(attr);
    if (attr & SEG_ATTR_CONFORM ? dpl > v->cpl : sel_rpl(t->sel) > v->cpl || dpl != v->cpl)
        raise_gp(v, error);
    if (!(attr & SEG_ATTR_P))
        raise_np(v, error);
    t->cpl = v->cpl;
}

/* --- call gates (vol. 3, 5.8.3) --- */

struct call_gate {
    struct code_target target;
    unsigned size; /* of a stack entry */
    unsigned params;
};

static void check_gate_access(struct vcpu *v, uint16_t sel, const struct descriptor *d)
{
    unsigned dpl = attr_dpl(d->attr);
    if (dpl < v->cpl || dpl < sel_rpl(sel))
        raise_gp(v, sel_error(sel));
    if (!(d->attr & SEG_ATTR_P))
        raise_np(v, sel_error(sel));
}

static void call_gate_read(struct vcpu *v, uint16_t sel, const struct descriptor *d, bool call,
                           struct call_gate *g)
{
    check_gate_access(v, sel, d);
    bool wide = attr_system_type(d->attr) == DESC_CALL32;
    struct code_target *t = &g->target;
    g->size = wide ? 4 : 2;
    g->params = d->high & 0x1f;
    t->off = (wide ? d->high & 0xffff0000u : 0) | (d->low & 0xffff);
    t->sel = (uint16_t)(d->low >> 16);
    uint32_t error = sel_error(t->sel);
    if (sel_null(t->sel))
        raise_gp(v, 0);
    if (!descriptor_read(v, t->sel, &t->desc))
        raise_gp(v, error);
    uint32_t attr = t->desc.attr;
    bool conforming = attr & SEG_ATTR_CONFORM;
    unsigned dpl = attr_dpl(attr);
    if (!attr_is_code(attr) || dpl > v->cpl || (!call && !conforming && dpl != v->cpl))
        raise_gp(v, error);
    if (!(attr & SEG_ATTR_P))
        raise_np(v, error);
    t->cpl = conforming ? v->cpl : dpl;
}

/* --- tasks --- */

static void task_transfer(struct vcpu *v, uint16_t sel, const struct descriptor *d,
                          enum task_cause cause, uint32_t next_eip)
{
    if (attr_system_type(d->attr) == DESC_TASK_GATE) {
        check_gate_access(v, sel, d);
        sel = (uint16_t)(d->low >> 16);
        task_gate_follow(v, sel);
    } else {
        unsigned dpl = attr_dpl(d->attr);
        if (dpl < v->cpl || dpl < sel_rpl(sel) || (sel & 4))
            raise_gp(v, sel_error(sel));
        if (!(d->attr & SEG_ATTR_P))
            raise_np(v, sel_error(sel));
    }
    task_switch(v, sel, cause, next_eip, false, 0);
}

/* What a far pointer's selector names. */
enum far_kind { FAR_CODE, FAR_GATE, FAR_TASK };

static enum far_kind far_classify(struct vcpu *v, uint16_t sel, struct descriptor *d)
{
    if (sel_null(sel))
        raise_gp(v, 0);
    if (!descriptor_read(v, sel, d))
        raise_gp(v, sel_error(sel));
    if (attr_is_code(d->attr))
        return FAR_CODE;
    switch (attr_system_type(d->attr)) {
    case DESC_CALL16:
    case DESC_CALL32:
        return FAR_GATE;
    case DESC_TASK_GATE:
    case DESC_TSS16:
    case DESC_TSS32:
        return FAR_TASK;
    default:
        raise_gp(v, sel_error(sel));
    }
}

/* --- JMP --- */

void far_jump(struct vcpu *v, uint16_t sel, uint32_t off, unsigned opsize, uint32_t next_eip)
{
    if (opsize == 2)
        off &= 0xffff;
    if (vcpu_real_or_v86(v)) {
        code_check_real(v, off);
        code_enter_real(v, sel, off);
        return;
    }
    struct call_gate g = {
        .target = {.sel = sel, .off = off}
    };
    struct code_target *t = &g.target;
    switch (far_classify(v, sel, &t->desc)) {
    case FAR_CODE:
        direct_target(v, t);
        break;
    case FAR_GATE:;
        struct descriptor gate = t->desc;
        call_gate_read(v, sel, &gate, false, &g);
        break;
    case FAR_TASK:
        task_transfer(v, sel, &t->desc, TASK_JUMP, next_eip);
        return;
    }
    code_target_check(v, t);
    code_target_enter(v, t);
}

/* --- CALL --- */

static void call_same(struct vcpu *v, struct code_target *t, unsigned size, uint32_t next_eip)
{
    struct frame f;
    frame_current(v, &f, size);
    frame_push(&f, v->seg[SEG_CS].sel);
    frame_push(&f, next_eip);
    frame_check(v, &f);
    code_target_check(v, t);
    v->gpr[R_ESP] = frame_write(v, &f);
    code_target_enter(v, t);
}

/* Parameters lie above the top of the old stack; the one pushed first is the farthest up. */
static void copy_params(struct vcpu *v, struct frame *f, unsigned params)
{
    const struct segment *ss = &v->seg[SEG_SS];
    for (unsigned i = params; i-- > 0;) {
        uint32_t esp = stack_pointer(ss, v->gpr[R_ESP], v->gpr[R_ESP] + i * f->size);
        frame_push(f, stack_read(v, &esp, f->size));
    }
}

static void call_inner(struct vcpu *v, struct call_gate *g, uint32_t next_eip)
{
    struct frame f;
    frame_inner(v, &f, g->target.cpl, g->size);
    frame_push(&f, v->seg[SEG_SS].sel);
    frame_push(&f, v->gpr[R_ESP]);
    copy_params(v, &f, g->params);
    frame_push(&f, v->seg[SEG_CS].sel);
    frame_push(&f, next_eip);
    frame_check(v, &f);
    code_target_check(v, &g->target);
    v->gpr[R_ESP] = frame_write(v, &f);
    v->seg[SEG_SS] = f.ss;
    code_target_enter(v, &g->target);
}

static void call_real(struct vcpu *v, uint16_t sel, uint32_t off, unsigned opsize,
                      uint32_t next_eip)
{
    struct frame f;
    frame_current(v, &f, opsize);
    frame_push(&f, v->seg[SEG_CS].sel);
    frame_push(&f, next_eip);
    frame_check(v, &f);
    code_check_real(v, off);
    v->gpr[R_ESP] = frame_write(v, &f);
    code_enter_real(v, sel, off);
}

void far_call(struct vcpu *v, uint16_t sel, uint32_t off, unsigned opsize, uint32_t next_eip)
{
    if (opsize == 2)
        off &= 0xffff;
    if (vcpu_real_or_v86(v)) {
        call_real(v, sel, off, opsize, next_eip);
        return;
    }
    struct call_gate g = {
        .target = {.sel = sel, .off = off},
          .size = opsize
    };
    struct code_target *t = &g.target;
    switch (far_classify(v, sel, &t->desc)) {
    case FAR_CODE:
        direct_target(v, t);
        break;
    case FAR_GATE:;
        struct descriptor gate = t->desc;
        call_gate_read(v, sel, &gate, true, &g);
        break;
    case FAR_TASK:
        task_transfer(v, sel, &t->desc, TASK_CALL, next_eip);
        return;
    }
    if (t->cpl != v->cpl)
        call_inner(v, &g, next_eip);
    else
        call_same(v, t, g.size, next_eip);
}

/* --- RET --- */

/* The code segment that RET and IRET return to (vol. 2, RETURN-TO-...; the same for both). */
void return_target(struct vcpu *v, struct code_target *t)
{
    uint32_t error = sel_error(t->sel);
    if (sel_null(t->sel))
        raise_gp(v, 0);
    if (!descriptor_read(v, t->sel, &t->desc))
        raise_gp(v, error);
    uint32_t attr = t->desc.attr;
    unsigned dpl = attr_dpl(attr), rpl = sel_rpl(t->sel);
    if (!attr_is_code(attr) || rpl < v->cpl)
        raise_gp(v, error);
    if (attr & SEG_ATTR_CONFORM ? dpl > rpl : dpl != rpl)
        raise_gp(v, error);
    if (!(attr & SEG_ATTR_P))
        raise_np(v, error);
    t->cpl = rpl;
}

static void return_outer(struct vcpu *v, struct code_target *t, uint32_t esp, unsigned opsize,
                         uint16_t pop)
{
    struct descriptor ss;
    esp = stack_pointer(&v->seg[SEG_SS], esp, esp + pop);
    uint32_t new_esp = stack_read(v, &esp, opsize);
    uint16_t new_ss = (uint16_t)stack_read(v, &esp, opsize);
    stack_check_outer(v, new_ss, t->cpl, &ss);
    code_target_check(v, t);
    segment_set(v, SEG_SS, new_ss, &ss);
    uint32_t old = v->gpr[R_ESP];
    v->gpr[R_ESP] = stack_pointer(&v->seg[SEG_SS], old, new_esp + pop);
    segment_drop_inner(v, t->cpl);
    code_target_enter(v, t);
}

void far_return(struct vcpu *v, unsigned opsize, uint16_t pop)
{
    const struct segment *ss = &v->seg[SEG_SS];
    uint32_t esp = v->gpr[R_ESP];
    struct code_target t = {0};
    t.off = stack_read(v, &esp, opsize);
    t.sel = (uint16_t)stack_read(v, &esp, opsize);
    if (vcpu_real_or_v86(v)) {
        code_check_real(v, t.off);
        v->gpr[R_ESP] = stack_pointer(ss, esp, esp + pop);
        code_enter_real(v, t.sel, t.off);
        return;
    }
    return_target(v, &t);
    if (t.cpl != v->cpl) {
        return_outer(v, &t, esp, opsize, pop);
        return;
    }
    code_target_check(v, &t);
    v->gpr[R_ESP] = stack_pointer(ss, esp, esp + pop);
    code_target_enter(v, &t);
}

/* --- SYSENTER, SYSEXIT: flat segments without looking at any table --- */

static void set_flat(struct vcpu *v, unsigned seg, uint16_t sel, uint32_t type)
{
    v->seg[seg] = (struct segment){
        .sel = sel,
        .limit = 0xffffffffu,
        .attr = type | SEG_ATTR_S | SEG_ATTR_P | SEG_ATTR_DB | SEG_ATTR_G |
                sel_rpl(sel) << SEG_ATTR_DPL_SHIFT,
    };
}

#define TYPE_CODE (SEG_ATTR_CODE | SEG_ATTR_READ | SEG_ATTR_ACCESSED)
#define TYPE_DATA (SEG_ATTR_WRITE | SEG_ATTR_ACCESSED)

void sysenter(struct vcpu *v)
{
    uint16_t cs = (uint16_t)(v->sysenter_cs & 0xfffc);
    if (!vcpu_protected(v) || cs == 0)
        raise_gp(v, 0);
    v->eflags &= ~(EFL_VM | EFL_IF | EFL_RF);
    set_flat(v, SEG_CS, cs, TYPE_CODE);
    set_flat(v, SEG_SS, (uint16_t)(cs + 8), TYPE_DATA);
    v->cpl = 0;
    v->gpr[R_ESP] = (uint32_t)v->sysenter_esp;
    v->eip = (uint32_t)v->sysenter_eip;
}

void sysexit(struct vcpu *v)
{
    uint16_t cs = (uint16_t)(v->sysenter_cs & 0xfffc);
    if (!vcpu_protected(v) || cs == 0 || v->cpl != 0)
        raise_gp(v, 0);
    set_flat(v, SEG_CS, (uint16_t)(cs + 16) | 3, TYPE_CODE);
    set_flat(v, SEG_SS, (uint16_t)(cs + 24) | 3, TYPE_DATA);
    v->cpl = 3;
    v->gpr[R_ESP] = v->gpr[R_ECX];
    v->eip = v->gpr[R_EDX];
}
