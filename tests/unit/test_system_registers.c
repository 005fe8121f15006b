/* SPDX-License-Identifier: MIT */
/* Control, debug and model-specific registers; RESET. */
#include "system_guest.h"

#include "devices/lapic.h"

TRY(cr, (unsigned n, uint32_t value), cr_write(guest, n, value))
TRY(cr_read, (unsigned n), cr_read(guest, n))
TRY(dr, (unsigned n, uint32_t value), dr_write(guest, n, value))
TRY(wrmsr, (uint32_t index, uint64_t value), msr_write(guest, index, value))
TRY(rdmsr, (uint32_t index), msr_read(guest, index))

TestSuite(system_registers, .init = guest_init, .fini = guest_fini);

Test(system_registers, reset)
{
    memset(guest->gpr, 0xff, sizeof(guest->gpr));
    guest->cpl = 3;
    guest->halted = guest->shutdown = true;
    vcpu_reset(guest);
    cr_expect_eq(guest->cr0, 0x60000010);
    cr_expect_eq(guest->eflags, 2);
    cr_expect_eq(guest->eip, 0xfff0);
    cr_expect_eq(guest->seg[SEG_CS].sel, 0xf000);
    cr_expect_eq(guest->seg[SEG_CS].base, 0xffff0000);
    cr_expect_eq(guest->seg[SEG_CS].limit, 0xffff);
    cr_expect_eq(guest->seg[SEG_DS].attr, 0x93);
    cr_expect_eq(guest->seg[SEG_TR].limit, 0xffff);
    cr_expect_eq(guest->gdtr.limit, 0xffff);
    cr_expect_eq(guest->idtr.limit, 0xffff);
    cr_expect_eq(guest->gpr[R_EAX], 0);
    cr_expect_eq(guest->gpr[R_EDX], cpu_model_signature(guest_machine.cpu_model));
    cr_expect_eq(guest->dr[6], 0xffff0ff0);
    cr_expect_eq(guest->dr[7], 0x400);
    cr_expect_eq(guest->pat, 0x0007040600070406);
    cr_expect_eq(guest->apic_base, 0xfee00900);
    cr_expect_eq(guest->fx.fcw, 0x40);
    cr_expect_eq(guest->fx.mxcsr, 0x1f80);
    cr_expect_eq(guest->machine, &guest_machine);
    cr_expect(!guest->halted && !guest->shutdown && guest->cpl == 0);
}

Test(system_registers, cr0)
{
    assert_fault(try_cr(0, CR0_PG), VEC_GP, 0);
    assert_fault(try_cr(0, CR0_PE | CR0_NW), VEC_GP, 0);
    assert_ok(try_cr(0, CR0_PE | CR0_NW | CR0_CD));
    assert_ok(try_cr(0, 0xffffffff & ~CR0_PG));
    cr_expect_eq(guest->cr0, 0x6005003f, "reserved bits stay clear, ET set: %#x", guest->cr0);
    assert_ok(try_cr(0, 0));
    cr_expect_eq(guest->cr0, CR0_ET);
}

Test(system_registers, cr4)
{
    uint32_t known = cpu_model_cr4(guest_machine.cpu_model);
    cr_expect_eq(known, 0x300ffc, "%#x", known);
    for (unsigned bit = 0; bit < 32; bit++) {
        if (known >> bit & 1)
            assert_ok(try_cr(4, 1u << bit));
        else
            assert_fault(try_cr(4, 1u << bit), VEC_GP, 0);
    }
}

Test(system_registers, no_such_control_register)
{
    static const unsigned none[] = {1, 5, 6, 7};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_fault(try_cr(none[i], 0), VEC_UD, 0);
        assert_fault(try_cr_read(none[i]), VEC_UD, 0);
    }
}

/* A table at 0x7000 with one entry of the value given, and what loading it does. */
static void put_pdptes(uint64_t value)
{
    memset(ram(0x7000), 0, 32);
    memcpy(ram(0x7010), &value, 8);
}

Test(system_registers, pdptes)
{
    put_pdptes(0x8001);
    assert_ok(try_cr(3, 0x7000));
    assert_ok(try_cr(4, CR4_PAE));
    cr_expect_eq(guest->pdpte[2], 0, "not before paging");
    assert_ok(try_cr(0, CR0_PE | CR0_PG));
    cr_expect_eq(guest->pdpte[2], 0x8001);
    for (unsigned bit = 0; bit < 64; bit++) {
        bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 36;
        put_pdptes(0x9001 | 1ull << bit);
        if (reserved)
            assert_fault(try_cr(3, 0x7000), VEC_GP, 0);
        else
            assert_ok(try_cr(3, 0x7000));
        put_pdptes(1ull << bit & ~1ull);
        assert_ok(try_cr(3, 0x7000)); /* what is not present may hold anything */
    }
    put_pdptes(0xa001);
    cr_expect_eq(guest->pdpte[2], 1ull << 63);
    assert_ok(try_cr(4, CR4_PAE | CR4_PGE));
    cr_expect_eq(guest->pdpte[2], 0xa001, "loaded by a change of CR4.PGE, too");
    put_pdptes(0xa003);
    assert_fault(try_cr(0, CR0_PE | CR0_PG | CR0_CD), VEC_GP, 0);
    cr_expect_eq(guest->cr0, CR0_PE | CR0_PG | CR0_ET);
}

Test(system_registers, debug_registers)
{
    assert_ok(try_dr(0, 0x12345678));
    cr_expect_eq(dr_read(guest, 0), 0x12345678);
    assert_ok(try_dr(6, 0));
    cr_expect_eq(dr_read(guest, 6), 0xffff0ff0);
    assert_ok(try_dr(4, 0xffffffff));
    cr_expect_eq(dr_read(guest, 6), 0xffffefff);
    assert_ok(try_dr(7, 0xffffdfff));
    cr_expect_eq(dr_read(guest, 5), 0xffff07ff);
    assert_ok(try_cr(4, CR4_DE));
    assert_fault(try_dr(4, 0), VEC_UD, 0);
    assert_fault(try_dr(5, 0), VEC_UD, 0);
    assert_ok(try_dr(7, DR7_GD));
    assert_fault(try_dr(0, 0), VEC_DB, 0);
    cr_expect_eq(guest->exc.dr6, DR6_BD);
}

/* DR7 with breakpoint 0 enabled locally. */
static void arm(uint32_t la, unsigned kind, unsigned length)
{
    guest->dr[0] = la;
    guest->dr[7] = DR7_FIXED | 1 | kind << 16 | length << 18;
    guest->dr6_pending = 0;
}

static uint32_t touch(uint32_t la, unsigned n, int write)
{
    guest->dr6_pending = 0;
    debug_data_access(guest, la, n, write);
    return guest->dr6_pending;
}

Test(system_registers, breakpoints)
{
    cr_expect(!debug_active(guest));
    arm(0x1000, 0, 0);
    cr_expect(debug_active(guest));
    cr_expect_eq(debug_code_breakpoint(guest, 0x1000), 1);
    cr_expect_eq(debug_code_breakpoint(guest, 0x1001), 0);
    guest->eflags |= EFL_RF;
    cr_expect_eq(debug_code_breakpoint(guest, 0x1000), 0);
    guest->eflags &= ~EFL_RF;
    guest->dr[7] |= 0x30000;
    cr_expect_eq(debug_code_breakpoint(guest, 0x1000), 0, "a data breakpoint");

    arm(0x1004, 1, 3); /* write, four bytes */
    cr_expect_eq(touch(0x1004, 4, 1), 1);
    cr_expect_eq(touch(0x1004, 4, 0), 0);
    cr_expect_eq(touch(0x1000, 4, 1), 0);
    cr_expect_eq(touch(0x1001, 4, 1), 1);
    cr_expect_eq(touch(0x1007, 1, 1), 1);
    cr_expect_eq(touch(0x1008, 1, 1), 0);
    arm(0x1006, 3, 3); /* aligned down */
    cr_expect_eq(touch(0x1004, 1, 0), 1);
    guest->dr[1] = 0x1004; /* matches, but only breakpoint 0 is enabled */
    guest->dr[7] |= 3u << 20;
    cr_expect_eq(touch(0x1004, 1, 0), 3);
    guest->dr[7] &= ~1u;
    guest->dr[7] |= 1u << 6;
    cr_expect_eq(touch(0x1004, 1, 0), 0);

    arm(0x60, 2, 0);
    debug_io_access(guest, 0x60, 1);
    cr_expect_eq(guest->dr6_pending, 0, "without CR4.DE this is undefined");
    guest->cr4 |= CR4_DE;
    debug_io_access(guest, 0x60, 1);
    cr_expect_eq(guest->dr6_pending, 1);
}

/* --- MSRs --- */

Test(system_registers, msr_values)
{
    assert_fault(try_rdmsr(0x12345), VEC_GP, 0);
    assert_fault(try_wrmsr(0x12345, 0), VEC_GP, 0);
    assert_ok(try_wrmsr(MSR_SYSENTER_CS, 0x60));
    cr_expect_eq(msr_read(guest, MSR_SYSENTER_CS), 0x60);
    assert_fault(try_wrmsr(MSR_PAT, 0x0007040600070402), VEC_GP, 0);
    assert_fault(try_wrmsr(MSR_PAT, 0x0807040600070406), VEC_GP, 0);
    assert_ok(try_wrmsr(MSR_PAT, 0x0107040600070406));
    assert_fault(try_wrmsr(MSR_EFER, 0x100), VEC_GP, 0);
    assert_ok(try_wrmsr(MSR_EFER, EFER_NXE));
    assert_ok(try_wrmsr(MSR_EFER, EFER_NXE | EFER_SCE));
    cr_expect_eq(msr_read(guest, MSR_EFER), EFER_NXE | EFER_SCE);
    for (unsigned bit = 0; bit < 64; bit++)
        if (bit != 0 && bit != 11)
            assert_fault(try_wrmsr(MSR_EFER, 1ull << bit), VEC_GP, 0);
    assert_fault(try_wrmsr(0x10a, 0), VEC_GP, 0);
    assert_fault(try_wrmsr(0xfe, 0), VEC_GP, 0);
    cr_expect_eq(msr_read(guest, 0xfe) & 0xff, 8);
}

Test(system_registers, misc_enable)
{
    static const uint8_t defined[] = {0, 3, 7, 11, 12, 16, 22, 23, 34};
    static const uint64_t read_only = 0x1880;
    uint64_t before = msr_read(guest, 0x1a0), all = 0;
    for (unsigned n = 0; n < sizeof(defined); n++)
        all |= 1ull << defined[n];
    for (unsigned bit = 0; bit < 64; bit++) {
        if (!(all >> bit & 1)) {
            assert_fault(try_wrmsr(0x1a0, before | 1ull << bit), VEC_GP, 0);
            continue;
        }
        assert_ok(try_wrmsr(0x1a0, before ^ 1ull << bit));
        uint64_t want = read_only >> bit & 1 ? before : before ^ 1ull << bit;
        cr_expect_eq(msr_read(guest, 0x1a0), want, "bit %u", bit);
        assert_ok(try_wrmsr(0x1a0, before));
    }
    uint32_t out[4];
    assert_ok(try_wrmsr(0x1a0, before | 1ull << 34));
    cpuid(guest, 0x80000001, 0, out);
    cr_expect_eq(out[3] >> 20 & 1, 0, "XD is disabled");
    assert_fault(try_wrmsr(MSR_EFER, EFER_NXE), VEC_GP, 0);
}

Test(system_registers, mtrrs)
{
    assert_ok(try_wrmsr(0x2ff, 0xc06));
    assert_fault(try_wrmsr(0x2ff, 0x1c06), VEC_GP, 0);
    assert_fault(try_wrmsr(0x2ff, 0xc02), VEC_GP, 0);
    assert_ok(try_wrmsr(0x200, 0xc0000000));
    assert_fault(try_wrmsr(0x200, 0xc0000002), VEC_GP, 0);
    assert_ok(try_wrmsr(0x201, 0xfc0000800));
    assert_fault(try_wrmsr(0x201, 0x1fc0000800), VEC_GP, 0);
    assert_fault(try_rdmsr(0x210), VEC_GP, 0);
    for (uint32_t index = 0x268; index < 0x270; index++)
        assert_ok(try_wrmsr(index, 0x0606060606060600 | (index & 1)));
    cr_expect_eq(msr_read(guest, 0x26e), 0x0606060606060600);
    cr_expect_eq(msr_read(guest, 0x26f), 0x0606060606060601);
    assert_fault(try_wrmsr(0x250, 0x0306060606060606), VEC_GP, 0);
}

Test(system_registers, mtrrs_of_firmware)
{
    msr_bios_init(guest);
    for (uint32_t index = 0x200; index < 0x300; index++) {
        uint64_t value = 0;
        if (try_rdmsr(index) == -1)
            value = msr_read(guest, index);
        else
            continue;
        assert_ok(try_wrmsr(index, value)); /* all that it sets could have been written */
    }
    cr_expect_eq(msr_read(guest, 0x2ff), 0xc06);
    cr_expect_eq(msr_read(guest, 0x200), 0xc0000000);
    cr_expect_eq(msr_read(guest, 0x201), 0xfc0000800);
    cr_expect_eq(msr_read(guest, 0x259), 0);
    cr_expect_eq(msr_read(guest, 0x26f), 0x0505050505050505);
}

Test(system_registers, machine_check)
{
    cr_expect_eq(msr_read(guest, 0x179), 0, "no banks");
    assert_fault(try_wrmsr(0x179, 0), VEC_GP, 0);
    assert_ok(try_wrmsr(0x17a, 0));
    assert_fault(try_wrmsr(0x17a, 1), VEC_GP, 0);
    assert_fault(try_rdmsr(0x400), VEC_GP, 0);
}

Test(system_registers, time_stamp_counter)
{
    uint64_t before = tsc_read(guest);
    assert_ok(try_wrmsr(MSR_TSC, before + (1ull << 40)));
    uint64_t after = tsc_read(guest);
    cr_expect(after >= before + (1ull << 40) && after < before + (1ull << 40) + (1ull << 36));
    uint64_t adjust = msr_read(guest, 0x3b);
    cr_expect(adjust <= 1ull << 40 && adjust > (1ull << 40) - (1ull << 36));
    assert_ok(try_wrmsr(0x3b, 0));
    cr_expect(tsc_read(guest) < before + (1ull << 36));
}
