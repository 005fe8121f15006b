/* SPDX-License-Identifier: MIT */
/* gate.c: interrupt, trap and task gates of the IDT (SDM vol. 3, 6.11-6.14 and 20.3; vol. 2, INT n,
 * PROTECTED-MODE and what follows).
 *
 * EXT is added by the raisers, from v->delivering. */
#include "runtime/exception.h"
#include "runtime/mmu.h"
#include "runtime/transfer.h"

struct idt_gate {
    unsigned type; /* DESC_* */
    bool wide;     /* 32 bits */
    struct code_target target;
};

static uint32_t idt_error(const struct event *e)
{
    return e->vector * 8u + 2;
}

static struct idt_gate read_gate(struct vcpu *v, const struct event *e)
{
    uint32_t entry = e->vector * 8u;
    if (entry + 7 > v->idtr.limit)
        raise_gp(v, idt_error(e));
    uint64_t raw = mmu_sys_read(v, v->idtr.base + entry, 8);
    uint32_t low = (uint32_t)raw, high = (uint32_t)(raw >> 32);
    uint32_t attr = high >> 8 & 0xff;
    struct idt_gate g = {.type = attr_system_type(attr)};
    switch (g.type) {
    case DESC_TASK_GATE:
    case DESC_INT16:
    case DESC_TRAP16:
        break;
    case DESC_INT32:
    case DESC_TRAP32:
        g.wide = true;
        break;
    default:
        raise_gp(v, idt_error(e));
    }
    if (e->kind == EVENT_SOFT && attr_dpl(attr) < v->cpl)
        raise_gp(v, idt_error(e));
    if (!(attr & SEG_ATTR_P))
        raise_np(v, idt_error(e));
    g.target.sel = (uint16_t)(low >> 16);
    g.target.off = g.wide ? (high & 0xffff0000u) | (low & 0xffff) : low & 0xffff;
    return g;
}

/* The handler's code segment, all but accessed bit and limit. */
static void read_target(struct vcpu *v, struct code_target *t)
{
    uint32_t error = sel_error(t->sel);
    if (sel_null(t->sel))
        raise_gp(v, 0);
    if (!descriptor_read(v, t->sel, &t->desc))
        raise_gp(v, error);
    uint32_t attr = t->desc.attr;
    if (!attr_is_code(attr) || attr_dpl(attr) > v->cpl)
        raise_gp(v, error);
    if (!(attr & SEG_ATTR_P))
        raise_np(v, error);
    t->cpl = attr & SEG_ATTR_CONFORM ? v->cpl : attr_dpl(attr);
    if (vcpu_v86(v) && t->cpl != 0)
        raise_gp(v, error);
}

/* SS:ESP, EFLAGS, CS:EIP and the error code, in this order. */
static void lay_out(struct vcpu *v, struct frame *f, const struct event *e, bool inner)
{
    static const uint8_t v86_segments[] = {SEG_GS, SEG_FS, SEG_DS, SEG_ES};
    if (vcpu_v86(v))
        for (unsigned i = 0; i < sizeof(v86_segments); i++)
            frame_push(f, v->seg[v86_segments[i]].sel);
    if (inner) {
        frame_push(f, v->seg[SEG_SS].sel);
        frame_push(f, v->gpr[R_ESP]);
    }
    frame_push(f, e->eflags);
    frame_push(f, v->seg[SEG_CS].sel);
    frame_push(f, e->return_eip);
    if (e->has_error)
        frame_push(f, e->error);
}

static void enter_handler(struct vcpu *v, const struct event *e, struct idt_gate *g)
{
    struct code_target *t = &g->target;
    read_target(v, t);
    bool from_v86 = vcpu_v86(v), inner = t->cpl != v->cpl;
    struct frame f;
    if (inner)
        frame_inner(v, &f, t->cpl, g->wide ? 4 : 2);
    else
        frame_current(v, &f, g->wide ? 4 : 2);
    lay_out(v, &f, e, inner);
    frame_check(v, &f);
    code_target_check(v, t);

    uint32_t esp = frame_write(v, &f);
    if (inner)
        v->seg[SEG_SS] = f.ss;
    v->gpr[R_ESP] = esp;
    if (from_v86)
        for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
            if (seg != SEG_CS && seg != SEG_SS)
                segment_set_null(v, seg, 0);
    v->eflags &= ~(EFL_TF | EFL_NT | EFL_VM | EFL_RF);
    if (g->type == DESC_INT16 || g->type == DESC_INT32)
        v->eflags &= ~EFL_IF;
    code_target_enter(v, t);
}

void gate_enter(struct vcpu *v, const struct event *e)
{
    struct idt_gate g = read_gate(v, e);
    if (g.type != DESC_TASK_GATE) {
        enter_handler(v, e, &g);
        return;
    }
    task_gate_follow(v, g.target.sel);
    v->eflags = e->eflags; /* RF goes into the old task's image */
    task_switch(v, g.target.sel, TASK_GATE_INT, e->return_eip, e->has_error, e->error);
}
