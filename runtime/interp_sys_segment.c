/* SPDX-License-Identifier: MIT */
/* interp_sys_segment.c: handlers that load, store and examine selectors and descriptor tables. */
#include "runtime/interp_sys.h"

#include "runtime/exception.h"
#include "runtime/interp_ops.h"
#include "runtime/transfer.h"

/* --- segment registers --- */

/* A load of SS holds off interrupts and debug traps for one instruction. */
static void load(struct vcpu *v, unsigned seg, uint16_t sel)
{
    segment_load(v, seg, sel);
    if (seg == SEG_SS)
        v->shadow = SHADOW_SS;
}

bool sys_mov_to_seg(struct vcpu *v, const struct insn *i)
{
    unsigned seg = i->opnd[0].reg;
    if (seg == SEG_CS || seg > SEG_GS)
        raise_ud(v);
    load(v, seg, (uint16_t)ops_read(v, i, 1));
    return false;
}

bool sys_mov_from_seg(struct vcpu *v, const struct insn *i)
{
    if (i->opnd[1].reg > SEG_GS)
        raise_ud(v);
    ops_write(v, i, 0, v->seg[i->opnd[1].reg].sel);
    return false;
}

/* With a 32-bit operand the stack pointer moves by four but only the selector is stored, as recent
 * processors do (vol. 2, PUSH). */
bool sys_push_seg(struct vcpu *v, const struct insn *i)
{
    uint32_t mask = ops_stack_mask(v), sp = (v->gpr[R_ESP] - i->opsize) & mask;
    ops_store(v, ops_linear(v, SEG_SS, sp, i->opsize, 1), v->seg[i->opnd[0].reg].sel, 2);
    ops_set_sp(v, mask, sp);
    return false;
}

bool sys_pop_seg(struct vcpu *v, const struct insn *i)
{
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_ESP];
    uint16_t sel = (uint16_t)ops_pop_at(v, &sp, mask, i->opsize);
    load(v, i->opnd[0].reg, sel);
    /* The pop is complete before a new SS counts; its B bit does not. */
    ops_set_sp(v, mask, sp);
    return false;
}

/* LDS, LES, LFS, LGS, LSS. LSS has no interrupt shadow, since it loads both registers. */
bool sys_load_far(struct vcpu *v, const struct insn *i)
{
    static const uint8_t seg_of[OP_COUNT] = {[OP_LDS] = SEG_DS,
                                             [OP_LES] = SEG_ES,
                                             [OP_LFS] = SEG_FS,
                                             [OP_LGS] = SEG_GS,
                                             [OP_LSS] = SEG_SS};
    struct ops_parts la = ops_mem_parts(v, i, i->opsize, 2, 0);
    uint32_t off = ops_load(v, la.first, i->opsize);
    uint16_t sel = (uint16_t)ops_load(v, la.second, 2);
    segment_load(v, seg_of[i->op], sel);
    ops_set_reg(v, i->opnd[0].reg, i->opsize, off);
    return false;
}

/* --- descriptor-table registers --- */

/* A 16-bit operand size leaves out the base's top byte. */
static void load_table(struct vcpu *v, const struct insn *i, struct table_register *t)
{
    sys_require_ring0(v);
    struct ops_parts la = ops_mem_parts(v, i, 2, 4, 0);
    uint16_t limit = (uint16_t)ops_load(v, la.first, 2);
    uint32_t base = ops_load(v, la.second, 4);
    t->limit = limit;
    t->base = i->opsize == 2 ? base & 0xffffff : base;
}

/* All 32 bits of the base are stored whatever the operand size. */
static void store_table(struct vcpu *v, const struct insn *i, const struct table_register *t)
{
    struct ops_parts la = ops_mem_parts(v, i, 2, 4, 1);
    mmu_probe(v, la.first, 2, ACC_WRITE);
    mmu_probe(v, la.second, 4, ACC_WRITE);
    ops_store(v, la.first, t->limit, 2);
    ops_store(v, la.second, t->base, 4);
}

bool sys_lgdt(struct vcpu *v, const struct insn *i)
{
    load_table(v, i, &v->gdtr);
    return false;
}

bool sys_lidt(struct vcpu *v, const struct insn *i)
{
    load_table(v, i, &v->idtr);
    return false;
}

bool sys_sgdt(struct vcpu *v, const struct insn *i)
{
    sys_require_visible(v);
    store_table(v, i, &v->gdtr);
    return false;
}

bool sys_sidt(struct vcpu *v, const struct insn *i)
{
    sys_require_visible(v);
    store_table(v, i, &v->idtr);
    return false;
}

bool sys_sldt(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    sys_require_visible(v);
    ops_write(v, i, 0, v->seg[SEG_LDTR].sel);
    return false;
}

bool sys_str(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    sys_require_visible(v);
    ops_write(v, i, 0, v->seg[SEG_TR].sel);
    return false;
}

bool sys_lldt(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    sys_require_ring0(v);
    uint16_t sel = (uint16_t)ops_read(v, i, 0);
    struct descriptor d;
    if (sel_null(sel)) {
        segment_set_null(v, SEG_LDTR, sel);
        return false;
    }
    if ((sel & 4) || !descriptor_read(v, sel, &d) || attr_system_type(d.attr) != DESC_LDT)
        raise_gp(v, sel_error(sel));
    if (!(d.attr & SEG_ATTR_P))
        raise_np(v, sel_error(sel));
    segment_set(v, SEG_LDTR, sel, &d);
    return false;
}

bool sys_ltr(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    sys_require_ring0(v);
    uint16_t sel = (uint16_t)ops_read(v, i, 0);
    struct descriptor d;
    if (sel_null(sel))
        raise_gp(v, 0);
    if ((sel & 4) || !descriptor_read(v, sel, &d))
        raise_gp(v, sel_error(sel));
    unsigned type = attr_system_type(d.attr);
    if (type != DESC_TSS16 && type != DESC_TSS32)
        raise_gp(v, sel_error(sel));
    if (!(d.attr & SEG_ATTR_P))
        raise_np(v, sel_error(sel));
    descriptor_set_busy(v, sel, true);
    d.attr |= 2;
    segment_set(v, SEG_TR, sel, &d);
    return false;
}

/* --- examining selectors: ZF tells whether the selector could be used --- */

/* System types that LAR and LSL accept (vol. 2, tables 3-53 and 3-60). */
#define LAR_TYPES                                                                                  \
    (1u << DESC_TSS16 | 1u << DESC_LDT | 1u << DESC_TSS16_BUSY | 1u << DESC_CALL16 |               \
     1u << DESC_TASK_GATE | 1u << DESC_TSS32 | 1u << DESC_TSS32_BUSY | 1u << DESC_CALL32)
#define LSL_TYPES                                                                                  \
    (1u << DESC_TSS16 | 1u << DESC_LDT | 1u << DESC_TSS16_BUSY | 1u << DESC_TSS32 |                \
     1u << DESC_TSS32_BUSY)

static void set_zf(struct vcpu *v, bool zf)
{
    v->eflags = (v->eflags & ~EFL_ZF) | (zf ? EFL_ZF : 0);
}

/* Visible at CPL and RPL, of a type in `system_types` if it is a system descriptor. */
static bool examine(struct vcpu *v, uint16_t sel, unsigned system_types, struct descriptor *d)
{
    if (sel_null(sel) || !descriptor_read(v, sel, d))
        return false;
    if (!(d->attr & SEG_ATTR_S) && !(system_types >> (d->attr & SEG_ATTR_TYPE) & 1))
        return false;
    if (attr_is_code(d->attr) && (d->attr & SEG_ATTR_CONFORM))
        return true;
    unsigned dpl = attr_dpl(d->attr);
    return dpl >= v->cpl && dpl >= sel_rpl(sel);
}

bool sys_verr(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    struct descriptor d;
    bool ok = examine(v, (uint16_t)ops_read(v, i, 0), 0, &d);
    set_zf(v, ok && (!attr_is_code(d.attr) || (d.attr & SEG_ATTR_READ)));
    return false;
}

bool sys_verw(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    struct descriptor d;
    bool ok = examine(v, (uint16_t)ops_read(v, i, 0), 0, &d);
    set_zf(v, ok && attr_is_writable_data(d.attr));
    return false;
}

bool sys_lar(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    struct descriptor d;
    bool ok = examine(v, (uint16_t)ops_read(v, i, 1), LAR_TYPES, &d);
    if (ok)
        ops_set_reg(v, i->opnd[0].reg, i->opsize, d.high & 0x00ffff00u);
    set_zf(v, ok);
    return false;
}

bool sys_lsl(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    struct descriptor d;
    bool ok = examine(v, (uint16_t)ops_read(v, i, 1), LSL_TYPES, &d);
    if (ok)
        ops_set_reg(v, i->opnd[0].reg, i->opsize, d.limit);
    set_zf(v, ok);
    return false;
}

bool sys_arpl(struct vcpu *v, const struct insn *i)
{
    sys_require_protected(v);
    /* processors write only what they change: a selector that stays may be read-only */
    uint32_t sel = ops_read(v, i, 0);
    unsigned rpl = ops_reg(v, i->opnd[1].reg, 2) & 3;
    bool raise_it = (sel & 3) < rpl;
    if (raise_it)
        ops_write(v, i, 0, (sel & ~3u) | rpl);
    set_zf(v, raise_it);
    return false;
}
