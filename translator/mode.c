/* SPDX-License-Identifier: MIT */
/* mode.c: processor state -> translation mode. */
#include "translator/mode.h"

#include <string.h>

#define DATA_WRITABLE (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_WRITE)
#define DATA_MASK     (DATA_WRITABLE | SEG_ATTR_CODE | SEG_ATTR_DOWN | SEG_ATTR_NULL)

uint8_t mode_classify_segment(const struct segment *s)
{
    if ((s->attr & DATA_MASK) != DATA_WRITABLE)
        return SEGC_CHECKED;
    if (s->limit != UINT32_MAX)
        return __builtin_cpu_supports("bmi2") ? SEGC_LIMITED : SEGC_CHECKED;
    return s->base ? SEGC_BASED : SEGC_FLAT;
}

bool mode_from_vcpu(const struct vcpu *v, struct mode *out)
{
    if (vcpu_real_or_v86(v) || !vcpu_code32(v) || !vcpu_stack32(v))
        return false;
    if ((v->cr0 & CR0_AM) && (v->eflags & EFL_AC) && v->cpl == 3)
        return false;
    memset(out, 0, sizeof(*out));
    out->cs_base = v->seg[SEG_CS].base;
    out->cs_limit = v->seg[SEG_CS].limit;
    for (unsigned i = 0; i < 6; i++)
        out->seg_class[i] = i == SEG_CS ? SEGC_CHECKED : mode_classify_segment(&v->seg[i]);
    const struct segment *cs = &v->seg[SEG_CS];
    if (cs->base == 0 && cs->limit == UINT32_MAX && (cs->attr & SEG_ATTR_READ))
        out->seg_class[SEG_CS] = SEGC_FLAT; /* for reads; writes go to the interpreter */
    out->cpl = v->cpl;
    out->can_set_if = v->cpl <= vcpu_iopl(v);
    out->fpu_traps = v->cr0 & (CR0_EM | CR0_TS) || !(v->cr0 & CR0_NE);
    out->sse_off = !(v->cr4 & CR4_OSFXSR);
    out->tsc_traps = (v->cr4 & CR4_TSD) && v->cpl;
    return true;
}
