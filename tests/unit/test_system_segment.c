/* SPDX-License-Identifier: MIT */
/* Descriptors, loads of segment registers, checks of accesses. */
#include "system_guest.h"

TRY(load, (unsigned seg, uint16_t sel), segment_load(guest, seg, sel))
TRY(check, (unsigned seg, uint32_t off, size_t n, int write),
    segment_check(guest, seg, off, n, write))

TestSuite(system_segment, .init = guest_init, .fini = guest_fini);

Test(system_segment, unpack)
{
    static const struct {
        uint32_t low, high, base, limit, attr;
    } cases[] = {
        {0x0000ffff, 0x00cf9a00, 0,          0xffffffff, 0xc09a},
        {0x0000ffff, 0x008f9200, 0,          0xffffffff, 0x8092},
        {0x56781234, 0x12409334, 0x12345678, 0x1234,     0x4093},
        {0x0000ffff, 0x000f0000, 0,          0xfffff,    0     },
        {0x00000000, 0x00c09600, 0,          0xfff,      0xc096},
        {0xffff0000, 0xff1089ff, 0xffffffff, 0,          0x1089},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct descriptor d;
        descriptor_unpack(cases[i].low, cases[i].high, &d);
        cr_expect_eq(d.base, cases[i].base);
        cr_expect_eq(d.limit, cases[i].limit);
        cr_expect_eq(d.attr, cases[i].attr);
    }
}

Test(system_segment, table_limits)
{
    struct descriptor d;
    cr_expect(descriptor_read(guest, S_DATA16, &d));
    cr_expect(!descriptor_read(guest, GDT_LIMIT + 1, &d));
    guest->gdtr.limit = S_DATA16 + 6;
    cr_expect(!descriptor_read(guest, S_DATA16, &d), "the last byte is outside");
    cr_expect(!descriptor_read(guest, 4, &d), "no LDT is loaded");
    guest->seg[SEG_LDTR] = (struct segment){.base = LDT, .limit = 7, .attr = 0x82};
    cr_expect(descriptor_read(guest, 4, &d));
    cr_expect(!descriptor_read(guest, 12, &d));
}

/* What a load must raise, in the order of SDM vol. 2, MOV. */
static int expected(bool ss, uint32_t type_s, unsigned dpl, unsigned rpl, unsigned cpl, bool p)
{
    bool s = type_s & 0x10, code = s && (type_s & 8), write = s && !code && (type_s & 2);
    bool readable = s && (!code || (type_s & 2)), conforming = code && (type_s & 4);
    if (ss) {
        if (rpl != cpl || !write || dpl != cpl)
            return VEC_GP;
        return p ? -1 : VEC_SS;
    }
    if (!readable)
        return VEC_GP;
    if (!conforming && (rpl > dpl || cpl > dpl))
        return VEC_GP;
    return p ? -1 : VEC_NP;
}

static void load_one(bool ss, uint32_t type_s, unsigned dpl, unsigned rpl, unsigned cpl, bool p)
{
    uint16_t sel = (uint16_t)(S_SCRATCH | rpl);
    unsigned seg = ss ? SEG_SS : SEG_FS;
    run_in(0);
    guest->cpl = (uint8_t)cpl;
    gdt_set(S_SCRATCH, 0x12345678, 0x9abcd, type_s | dpl << 5 | (p ? SEG_ATTR_P : 0));
    struct segment before = guest->seg[seg];
    int want = expected(ss, type_s, dpl, rpl, cpl, p), got = try_load(seg, sel);
    cr_assert_eq(got, want, "ss %d type %#x dpl %u rpl %u cpl %u p %d: %d, not %d", ss, type_s, dpl,
                 rpl, cpl, p, got, want);
    uint32_t high = peek32(GDT + S_SCRATCH + 4);
    if (want < 0) {
        cr_assert_eq(guest->seg[seg].sel, sel);
        cr_assert_eq(guest->seg[seg].base, 0x12345678);
        cr_assert_eq(guest->seg[seg].limit, 0x9abcd);
        cr_assert_eq(guest->seg[seg].attr & 0xff, (type_s | 1) | dpl << 5 | 0x80);
        cr_assert(high & 0x100, "accessed");
    } else {
        cr_assert_eq(guest->exc.error, S_SCRATCH);
        cr_assert(memcmp(&before, &guest->seg[seg], sizeof(before)) == 0, "unchanged");
        cr_assert_eq(high >> 8 & 0x1f, type_s, "unchanged");
    }
}

Test(system_segment, loads_of_every_kind)
{
    for (unsigned n = 0; n < 2 * 32 * 4 * 4 * 4 * 2; n++)
        load_one(n & 1, n >> 1 & 31, n >> 6 & 3, n >> 8 & 3, n >> 10 & 3, n >> 12 & 1);
}

Test(system_segment, null_and_outside)
{
    for (uint16_t rpl = 0; rpl < 4; rpl++) {
        assert_ok(try_load(SEG_ES, rpl));
        cr_expect_eq(guest->seg[SEG_ES].sel, rpl);
        assert_fault(try_check(SEG_ES, 0, 1, 0), VEC_GP, 0);
        assert_fault(try_load(SEG_SS, rpl), VEC_GP, 0);
    }
    assert_fault(try_load(SEG_ES, 0x8b), VEC_GP, 0x88);
    assert_fault(try_load(SEG_ES, 0x0f), VEC_GP, 0x0c);
    assert_fault(try_load(SEG_SS, 0x88), VEC_GP, 0x88);
}

Test(system_segment, ldt)
{
    guest->seg[SEG_LDTR] = (struct segment){.base = LDT, .limit = 0x7f, .attr = 0x82};
    put_descriptor(LDT + 8, 0x1000, 0xfff, A_DATA(0) & ~SEG_ATTR_G);
    assert_ok(try_load(SEG_GS, 0x0c));
    cr_expect_eq(guest->seg[SEG_GS].base, 0x1000);
    cr_expect(peek32(LDT + 12) & 0x100, "accessed bit is in the LDT");
}

Test(system_segment, real_and_v86)
{
    guest->cr0 &= ~CR0_PE;
    guest->seg[SEG_DS].limit = 0xffffffff;
    assert_ok(try_load(SEG_DS, 0x1234));
    cr_expect_eq(guest->seg[SEG_DS].base, 0x12340);
    cr_expect_eq(guest->seg[SEG_DS].limit, 0xffffffff, "unreal mode keeps the limit");
    segment_set_null(guest, SEG_FS, 0);
    assert_ok(try_load(SEG_FS, 0xffff));
    cr_expect_eq(guest->seg[SEG_FS].base, 0xffff0);
    assert_ok(try_check(SEG_FS, 0xffff, 1, 1));
    assert_fault(try_check(SEG_FS, 0xffff, 2, 1), VEC_GP, 0);

    guest->cr0 |= CR0_PE;
    guest->eflags |= EFL_VM;
    guest->cpl = 3;
    assert_ok(try_load(SEG_DS, 0x1234));
    cr_expect_eq(guest->seg[SEG_DS].limit, 0xffff);
    cr_expect_eq(guest->seg[SEG_DS].attr, 0xf3);
}

/* segment_check(): limit, type and kind of segment. */
Test(system_segment, accesses)
{
    static const struct {
        uint32_t attr, limit, off;
        size_t n;
        int write;
        bool ok;
    } cases[] = {
        {0x93,   0xfff,      0xfff,      1, 1, true },
        {0x93,   0xfff,      0x1000,     1, 0, false},
        {0x93,   0xfff,      0xffc,      4, 1, true },
        {0x93,   0xfff,      0xffd,      4, 1, false},
        {0x93,   0xfff,      0xffffffff, 4, 0, false},
        {0x93,   0,          0,          1, 0, true },
        {0x93,   0,          0,          2, 0, false},
        {0x91,   0xfff,      0,          4, 0, true }, /* read-only */
        {0x91,   0xfff,      0,          4, 1, false},
        {0x9b,   0xfff,      0,          4, 0, true }, /* readable code */
        {0x9b,   0xfff,      0,          4, 1, false},
        {0x99,   0xfff,      0,          4, 0, false}, /* execute-only */
        {0x97,   0xfff,      0x1000,     4, 1, true }, /* expand-down, 64 KiB */
        {0x97,   0xfff,      0xfff,      4, 1, false},
        {0x97,   0xfff,      0xfffc,     4, 1, true },
        {0x97,   0xfff,      0xfffd,     4, 1, false},
        {0x4097, 0xfff,      0xfffd,     4, 1, true }, /* expand-down, 4 GiB */
        {0x4097, 0xfff,      0xfffffffc, 4, 1, true },
        {0x4097, 0xfff,      0xfffffffd, 4, 1, false},
        {0x4095, 0xfff,      0x1000,     4, 1, false}, /* and read-only */
        {0xc093, 0xffffffff, 0xfffffffc, 4, 1, true },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned seg = SEG_SS; seg <= SEG_DS; seg++) {
            guest->seg[seg] =
                (struct segment){.base = 0x100, .limit = cases[i].limit, .attr = cases[i].attr};
            int got = try_check(seg, cases[i].off, cases[i].n, cases[i].write);
            int want = cases[i].ok ? -1 : seg == SEG_SS ? VEC_SS : VEC_GP;
            cr_expect_eq(got, want, "case %zu: %d, not %d", i, got, want);
        }
    }
    cr_expect_eq(segment_check(guest, SEG_DS, 0x20, 4, 1), 0x120);
}
