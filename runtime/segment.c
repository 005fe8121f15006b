/* SPDX-License-Identifier: MIT */
/* segment.c: selectors -> hidden parts of segment registers, and the checks of each access (SDM
 * vol. 3, 3.4, 5.2-5.6, 20.1.1).
 *
 * Real mode loads change selector and base only: limit and B bit stay what protected mode left
 * there
 * ("unreal" mode), as on the processors. A load in real mode makes a segment usable again that held
 * a null selector. */
#include "runtime/segment.h"

#include "runtime/exception.h"
#include "runtime/mmu.h"
#include "runtime/transfer.h"

/* Present, code or data, writable data, accessed. */
#define ATTR_REAL (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_WRITE | SEG_ATTR_ACCESSED)
#define ATTR_V86  (ATTR_REAL | 3u << SEG_ATTR_DPL_SHIFT)

/* --- descriptors (vol. 3, 3.4.5) --- */

void descriptor_unpack(uint32_t low, uint32_t high, struct descriptor *out)
{
    out->low = low;
    out->high = high;
    out->attr = high >> 8 & (SEG_ATTR_TYPE | SEG_ATTR_S | SEG_ATTR_DPL | SEG_ATTR_P | SEG_ATTR_AVL |
                             SEG_ATTR_DB | SEG_ATTR_G);
    out->base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000u);
    out->limit = (low & 0xffff) | (high & 0x000f0000u);
    if (out->attr & SEG_ATTR_G)
        out->limit = out->limit << 12 | 0xfff;
}

uint32_t descriptor_address(const struct vcpu *v, uint16_t sel)
{
    return (sel & 4 ? v->seg[SEG_LDTR].base : v->gdtr.base) + (sel & 0xfff8u);
}

bool descriptor_read(struct vcpu *v, uint16_t sel, struct descriptor *out)
{
    uint32_t limit = v->gdtr.limit;
    if (sel & 4) {
        if (v->seg[SEG_LDTR].attr & SEG_ATTR_NULL)
            return false;
        limit = v->seg[SEG_LDTR].limit;
    }
    if ((sel | 7u) > limit)
        return false;
    uint64_t raw = mmu_sys_read(v, descriptor_address(v, sel), 8);
    descriptor_unpack((uint32_t)raw, (uint32_t)(raw >> 32), out);
    return true;
}

/* Changes bits of a descriptor's type byte in memory. */
static void set_type_bits(struct vcpu *v, uint16_t sel, uint8_t clear, uint8_t set)
{
    uint32_t la = descriptor_address(v, sel) + 5;
    uint8_t old = (uint8_t)mmu_sys_read(v, la, 1);
    mmu_sys_write(v, la, (old & ~clear) | set, 1);
}

void descriptor_set_accessed(struct vcpu *v, uint16_t sel, struct descriptor *d)
{
    if (d->attr & SEG_ATTR_ACCESSED)
        return;
    set_type_bits(v, sel, 0, SEG_ATTR_ACCESSED);
    d->attr |= SEG_ATTR_ACCESSED;
    d->high |= SEG_ATTR_ACCESSED << 8;
}

void descriptor_set_busy(struct vcpu *v, uint16_t sel, bool busy)
{
    set_type_bits(v, sel, busy ? 0 : 2, busy ? 2 : 0);
}

/* --- hidden parts --- */

void segment_set_real(struct vcpu *v, unsigned seg, uint16_t sel)
{
    struct segment *s = &v->seg[seg];
    if ((s->attr & SEG_ATTR_NULL) || !(s->attr & SEG_ATTR_P)) {
        s->limit = 0xffff;
        s->attr = 0;
    }
    s->sel = sel;
    s->base = (uint32_t)sel << 4;
    s->attr = (s->attr & (SEG_ATTR_DB | SEG_ATTR_G | SEG_ATTR_AVL)) | ATTR_REAL;
}

void segment_set_v86(struct vcpu *v, unsigned seg, uint16_t sel)
{
    v->seg[seg] = (struct segment){
        .sel = sel,
        .base = (uint32_t)sel << 4,
        .limit = 0xffff,
        .attr = ATTR_V86,
    };
}

void segment_set(struct vcpu *v, unsigned seg, uint16_t sel, const struct descriptor *d)
{
    v->seg[seg] = (struct segment){.sel = sel, .base = d->base, .limit = d->limit, .attr = d->attr};
}

void segment_set_null(struct vcpu *v, unsigned seg, uint16_t sel)
{
    v->seg[seg] = (struct segment){.sel = sel, .attr = SEG_ATTR_NULL};
}

/* --- loads (vol. 2, MOV) --- */

static void load_ss(struct vcpu *v, uint16_t sel)
{
    struct descriptor d;
    uint32_t error = sel_error(sel);
    if (sel_null(sel))
        raise_gp(v, 0);
    if (!descriptor_read(v, sel, &d))
        raise_gp(v, error);
    if (sel_rpl(sel) != v->cpl || attr_dpl(d.attr) != v->cpl || !attr_is_writable_data(d.attr))
        raise_gp(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_ss(v, error);
    descriptor_set_accessed(v, sel, &d);
    segment_set(v, SEG_SS, sel, &d);
}

static void load_data(struct vcpu *v, unsigned seg, uint16_t sel)
{
    struct descriptor d;
    uint32_t error = sel_error(sel);
    if (sel_null(sel)) {
        segment_set_null(v, seg, sel);
        return;
    }
    if (!descriptor_read(v, sel, &d))
        raise_gp(v, error);
    bool code = attr_is_code(d.attr);
    if (!(d.attr & SEG_ATTR_S) || (code && !(d.attr & SEG_ATTR_READ)))
        raise_gp(v, error);
    unsigned dpl = attr_dpl(d.attr);
    if (!(code && (d.attr & SEG_ATTR_CONFORM)) && (sel_rpl(sel) > dpl || v->cpl > dpl))
        raise_gp(v, error);
    if (!(d.attr & SEG_ATTR_P))
        raise_np(v, error);
    descriptor_set_accessed(v, sel, &d);
    segment_set(v, seg, sel, &d);
}

void segment_load(struct vcpu *v, unsigned seg, uint16_t sel)
{
    if (!vcpu_protected(v))
        segment_set_real(v, seg, sel);
    else if (vcpu_v86(v))
        segment_set_v86(v, seg, sel);
    else if (seg == SEG_SS)
        load_ss(v, sel);
    else
        load_data(v, seg, sel);
}

/* --- accesses (vol. 3, 5.3 and 5.5) --- */

static bool type_allows(const struct vcpu *v, const struct segment *s, int write)
{
    if (s->attr & SEG_ATTR_NULL)
        return false;
    if (!vcpu_protected(v))
        return true;
    if (s->attr & SEG_ATTR_CODE)
        return !write && (s->attr & SEG_ATTR_READ);
    return !write || (s->attr & SEG_ATTR_WRITE);
}

static bool range_allowed(const struct segment *s, uint32_t off, uint32_t last)
{
    if (!(s->attr & SEG_ATTR_CODE) && (s->attr & SEG_ATTR_DOWN))
        return last >= off && off > s->limit &&
               last <= (s->attr & SEG_ATTR_DB ? 0xffffffffu : 0xffff);
    /* An access that wraps at 4 GiB goes through where the limit is 4 GiB, as implementations may
     * have it (5.3). */
    return last <= s->limit && (last >= off || s->limit == 0xffffffffu);
}

uint32_t segment_check(struct vcpu *v, unsigned seg, uint32_t off, size_t n, int write)
{
    const struct segment *s = &v->seg[seg];
    if (segment_flat(s))
        return off;
    if (type_allows(v, s, write) && (n == 0 || range_allowed(s, off, off + (uint32_t)n - 1)))
        return s->base + off;
    if (seg == SEG_SS)
        raise_ss(v, 0);
    raise_gp(v, 0);
}
