/* SPDX-License-Identifier: MIT */
/* System instructions from their bytes: operands, permissions, restart. */
#include "system_guest.h"

#include "runtime/interp.h"

#define CODE 0xc000u

TRY(step, (void), interp_step(guest))

/* A port that records. */
static struct {
    uint32_t value, reads, writes, last;
    unsigned size;
} device;

static uint32_t device_read(void *dev, uint32_t off, unsigned size)
{
    (void)dev, (void)off;
    device.reads++;
    device.size = size;
    return device.value++;
}

static void device_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    (void)dev, (void)off;
    device.writes++;
    device.last = value;
    device.size = size;
}

static const struct io_ops device_ops = {device_read, device_write, 4};

static void insn_init(void)
{
    guest_init();
    guest->interp = interp_create(guest);
    cr_assert(guest->interp);
    memset(&device, 0, sizeof(device));
    cr_assert_eq(bus_map_port(guest_machine.bus, 0x300, 8, &device_ops, NULL), 0);
}

static void insn_fini(void)
{
    interp_destroy(guest->interp);
    guest_fini();
}

TestSuite(system_insn, .init = insn_init, .fini = insn_fini);

/* Executes one instruction at CODE; the vector that it raises, or -1. */
static int run_bytes(const char *bytes, size_t n)
{
    memcpy(ram(CODE), bytes, n);
    guest->eip = CODE - guest->seg[SEG_CS].base;
    return try_step();
}
#define run(bytes) run_bytes(bytes, sizeof(bytes) - 1)

/* --- privilege --- */

Test(system_insn, ring0_only)
{
    static const char insns[][4] = {
        "\xf4",         "\x0f\x06",     "\x0f\x08",     "\x0f\x09",     "\x0f\x30",
        "\x0f\x32",     "\x0f\x20\xc0", "\x0f\x22\xc0", "\x0f\x21\xc0", "\x0f\x23\xc0",
        "\x0f\x01\xf0", "\x0f\x01\x38", "\x0f\x01\x10", "\x0f\x01\x18", "\x0f\x00\xd0",
        "\x0f\x00\xd8", "\x0f\x33",
    };
    for (size_t i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        run_in(3);
        assert_fault(run_bytes(insns[i], 3), VEC_GP, 0);
        cr_expect_eq(guest->eip, CODE, "insn %zu", i);
    }
}

Test(system_insn, protected_mode_only)
{
    static const char insns[][4] = {
        "\x0f\x00\xc0", "\x0f\x00\xc8", "\x0f\x00\xd0", "\x0f\x00\xd8", "\x0f\x00\xe0",
        "\x0f\x00\xe8", "\x0f\x02\xc0", "\x0f\x03\xc0", "\x63\xc0\x90",
    };
    for (size_t i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
        run_in(0);
        guest->cr0 &= ~CR0_PE;
        assert_fault(run_bytes(insns[i], 3), VEC_UD, 0);
        guest->cr0 |= CR0_PE;
        guest->eflags = EFL_ONE | EFL_VM | EFL_IOPL;
        guest->cpl = 3;
        assert_fault(run_bytes(insns[i], 3), VEC_UD, 0);
        guest->eflags = EFL_ONE;
    }
}

Test(system_insn, undefined_registers)
{
    assert_fault(run("\x8e\xc8"), VEC_UD, 0);     /* mov cs, ax */
    assert_fault(run("\x8e\xf0"), VEC_UD, 0);     /* segment register 6 */
    assert_fault(run("\x8c\xf8"), VEC_UD, 0);     /* 7 */
    assert_fault(run("\x0f\x20\xc8"), VEC_UD, 0); /* CR1 */
    assert_fault(run("\x0f\x22\xe8"), VEC_UD, 0); /* CR5 */
    assert_fault(run("\x0f\xaa"), VEC_UD, 0);     /* RSM */
    run_in(3);
    assert_fault(run("\x0f\x20\xc8"), VEC_UD, 0); /* before the privilege check */
}

Test(system_insn, tsc_disable)
{
    run_in(3);
    assert_ok(run("\x0f\x31"));
    guest->cr4 |= CR4_TSD;
    assert_fault(run("\x0f\x31"), VEC_GP, 0);
    run_in(0);
    assert_ok(run("\x0f\x31"));
}

/* --- flags --- */

Test(system_insn, cli_sti_by_iopl)
{
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned iopl = 0; iopl < 4; iopl++) {
            if (cpl == 2)
                continue;
            run_in(cpl);
            guest->eflags = EFL_ONE | iopl << EFL_IOPL_SHIFT;
            if (cpl > iopl) {
                assert_fault(run("\xfb"), VEC_GP, 0);
                assert_fault(run("\xfa"), VEC_GP, 0);
                continue;
            }
            assert_ok(run("\xfb"));
            cr_expect(guest->eflags & EFL_IF);
            cr_expect_eq(guest->shadow, SHADOW_STI);
            assert_ok(run("\xfb"));
            cr_expect_eq(guest->shadow, SHADOW_NONE, "IF was set before");
            assert_ok(run("\xfa"));
            cr_expect(!(guest->eflags & EFL_IF));
        }
}

static void push_value(uint32_t value)
{
    guest->gpr[R_ESP] -= 4;
    poke32(guest->gpr[R_ESP], value);
}

Test(system_insn, popf)
{
    static const struct {
        unsigned cpl, iopl;
        uint32_t changed; /* of all that are clear before */
    } cases[] = {
        {0, 0, 0x247fd5},
        {3, 0, 0x244dd5},
        {3, 3, 0x244fd5},
        {1, 0, 0x244dd5},
        {1, 1, 0x244fd5},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        run_in(cases[i].cpl);
        guest->eflags = EFL_ONE | cases[i].iopl << EFL_IOPL_SHIFT;
        uint32_t before = guest->eflags, esp = guest->gpr[R_ESP];
        push_value(0xffffffff);
        assert_ok(run("\x9d"));
        cr_expect_eq(guest->eflags, before | cases[i].changed, "case %zu: %#x", i, guest->eflags);
        cr_expect_eq(guest->gpr[R_ESP], esp);
        push_value(0xffffffff);
        guest->eflags = before;
        assert_ok(run("\x66\x9d"));
        cr_expect_eq(guest->eflags, before | (cases[i].changed & 0xffff));
    }
}

Test(system_insn, v86_flags)
{
    for (unsigned iopl = 2; iopl < 4; iopl++) {
        static const char insns[][4] = {"\xfa", "\xfb", "\x9c", "\x9d", "\xcf"};
        for (size_t i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
            run_in(0);
            guest->eflags = EFL_ONE | EFL_VM | EFL_IF | iopl << EFL_IOPL_SHIFT;
            guest->cpl = 3;
            for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
                segment_set_v86(guest, seg, 0x800);
            guest->gpr[R_ESP] = 0x100;
            poke32(0x8100, 0xffffffff);
            poke32(0x8104, 0xffffffff);
            memcpy(ram(CODE), insns[i], 1);
            guest->eip = CODE - 0x8000;
            int vector = try_step();
            cr_expect_eq(vector, iopl == 3 ? -1 : VEC_GP, "insn %zu iopl %u", i, iopl);
            cr_expect((guest->eflags & (EFL_VM | EFL_IOPL)) == (EFL_VM | iopl << EFL_IOPL_SHIFT));
        }
    }
}

/* --- segment registers --- */

Test(system_insn, push_and_pop_segments)
{
    guest->seg[SEG_FS].sel = 0x1234;
    poke32(STACK(0) - 4, 0xdeadbeef);
    assert_ok(run("\x0f\xa0")); /* push fs */
    cr_expect_eq(peek32(STACK(0) - 4), 0xdead1234, "the upper half stays");
    guest->gpr[R_ESP] = STACK(0);
    push_value(S_DATA3);
    assert_fault(run("\x17"), VEC_GP, S_DATA3); /* pop ss: DPL 3 */
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 4, "a fault leaves the stack");
    poke32(guest->gpr[R_ESP], S_DATA0);
    assert_ok(run("\x17"));
    cr_expect_eq(guest->shadow, SHADOW_SS);
    cr_expect_eq(guest->gpr[R_ESP], STACK(0));
    assert_ok(run("\x90"));
    cr_expect_eq(guest->shadow, SHADOW_NONE);
    guest->gpr[R_EAX] = 0xffffffff;
    assert_ok(run("\x8c\xd0")); /* mov eax, ss */
    cr_expect_eq(guest->gpr[R_EAX], S_DATA0);
    guest->gpr[R_EAX] = 0xffffffff;
    assert_ok(run("\x66\x8c\xd0")); /* mov ax, ss */
    cr_expect_eq(guest->gpr[R_EAX], 0xffff0000 | S_DATA0);
    poke32(0x8000, 0xffffffff);
    assert_ok(run("\x8c\x15\x00\x80\x00\x00")); /* mov [0x8000], ss */
    cr_expect_eq(peek32(0x8000), 0xffff0000 | S_DATA0);
}

Test(system_insn, far_pointers)
{
    poke32(0x8000, 0x11223344);
    poke32(0x8004, S_DATA3);
    assert_ok(run("\xc5\x1d\x00\x80\x00\x00")); /* lds ebx, [0x8000] */
    cr_expect_eq(guest->gpr[R_EBX], 0x11223344);
    cr_expect_eq(guest->seg[SEG_DS].sel, S_DATA3);
    assert_fault(run("\x0f\xb2\x0d\x00\x80\x00\x00"), VEC_GP, S_DATA3); /* lss ecx */
    cr_expect_eq(guest->gpr[R_ECX], 0);
    poke32(0x8004, S_DATA0);
    assert_ok(run("\x0f\xb2\x25\x00\x80\x00\x00")); /* lss esp */
    cr_expect_eq(guest->gpr[R_ESP], 0x11223344);
}

Test(system_insn, tables)
{
    poke32(0x8000, 0x12340077);
    poke32(0x8004, 0xabcd5678);
    assert_ok(run("\x66\x0f\x01\x1d\x00\x80\x00\x00")); /* lidt, 16-bit operand */
    cr_expect_eq(guest->idtr.limit, 0x77);
    cr_expect_eq(guest->idtr.base, 0x781234);
    assert_ok(run("\x0f\x01\x1d\x00\x80\x00\x00"));
    cr_expect_eq(guest->idtr.base, 0x56781234);
    assert_ok(run("\x66\x0f\x01\x0d\x10\x80\x00\x00")); /* sidt */
    cr_expect_eq(peek32(0x8010), 0x12340077);
    cr_expect_eq(peek16(0x8014), 0x5678);
    cr_expect_eq(peek16(0x8016), 0);
}

Test(system_insn, task_and_ldt_registers)
{
    guest->gpr[R_EAX] = S_TSS_B;
    assert_ok(run("\x0f\x00\xd8")); /* ltr ax */
    cr_expect_eq(guest->seg[SEG_TR].base, TSS_B);
    cr_expect_eq(peek32(GDT + S_TSS_B + 4) >> 8 & 0xf, DESC_TSS32_BUSY);
    assert_fault(run("\x0f\x00\xd8"), VEC_GP, S_TSS_B); /* busy now */
    guest->gpr[R_EAX] = 0;
    assert_fault(run("\x0f\x00\xd8"), VEC_GP, 0);
    assert_ok(run("\x0f\x00\xd0")); /* lldt: null is fine */
    cr_expect(guest->seg[SEG_LDTR].attr & SEG_ATTR_NULL);
    guest->gpr[R_EAX] = S_TSS_B;
    assert_fault(run("\x0f\x00\xd0"), VEC_GP, S_TSS_B);
    guest->gpr[R_EAX] = S_LDT;
    assert_ok(run("\x0f\x00\xd0"));
    cr_expect_eq(guest->seg[SEG_LDTR].base, LDT);
    gdt_set(S_LDT, LDT, 0x7f, DESC_LDT);
    assert_fault(run("\x0f\x00\xd0"), VEC_NP, S_LDT);
}

/* Not-present segments are as good as others for LAR, LSL, VERR and VERW: so host processors say.
 */
Test(system_insn, examine)
{
    gdt_set(S_SCRATCH, 0, 0x12345, SEG_ATTR_S | 0x1 | 3 << 5 | SEG_ATTR_G);
    guest->gpr[R_EAX] = S_SCRATCH | 3;
    guest->gpr[R_EBX] = 0xffffffff;
    assert_ok(run("\x0f\x02\xd8")); /* lar ebx, eax */
    cr_expect(guest->eflags & EFL_ZF);
    cr_expect_eq(guest->gpr[R_EBX], 0x00817100);
    assert_ok(run("\x0f\x03\xd8"));
    cr_expect_eq(guest->gpr[R_EBX], 0x12345fff);
    assert_ok(run("\x0f\x00\xe0")); /* verr */
    cr_expect(guest->eflags & EFL_ZF);
    assert_ok(run("\x0f\x00\xe8")); /* verw: read-only */
    cr_expect(!(guest->eflags & EFL_ZF));
    gdt_set(S_SCRATCH, 0, 0, A_SYS(DESC_INT32, 3));
    assert_ok(run("\x0f\x02\xd8"));
    cr_expect(!(guest->eflags & EFL_ZF));
    cr_expect_eq(guest->gpr[R_EBX], 0x12345fff, "unchanged");
}

Test(system_insn, arpl)
{
    guest->gpr[R_EAX] = 0x11110008;
    guest->gpr[R_ECX] = 3;
    assert_ok(run("\x63\xc8")); /* arpl ax, cx */
    cr_expect_eq(guest->gpr[R_EAX], 0x1111000b);
    cr_expect(guest->eflags & EFL_ZF);
    assert_ok(run("\x63\xc8"));
    cr_expect(!(guest->eflags & EFL_ZF));
}

Test(system_insn, machine_status_word)
{
    guest->gpr[R_EAX] = 0xfffffff0 | CR0_TS;
    assert_ok(run("\x0f\x01\xf0")); /* lmsw ax: PE cannot be cleared */
    cr_expect_eq(guest->cr0 & 0xf, CR0_PE | CR0_TS);
    assert_ok(run("\x0f\x01\xe3")); /* smsw ebx */
    cr_expect_eq(guest->gpr[R_EBX], guest->cr0);
    assert_ok(run("\x0f\x06"));
    cr_expect_eq(guest->cr0 & 0xf, CR0_PE);
}

/* --- ports --- */

Test(system_insn, in_and_out)
{
    device.value = 0x11223344;
    guest->gpr[R_EDX] = 0xffff0300;
    guest->gpr[R_EAX] = 0xffffffff;
    assert_ok(run("\xec"));
    cr_expect_eq(guest->gpr[R_EAX], 0xffffff44);
    assert_ok(run("\x66\xed"));
    cr_expect_eq(guest->gpr[R_EAX], 0xffff3345);
    assert_ok(run("\xed"));
    cr_expect_eq(guest->gpr[R_EAX], 0x11223346);
    assert_ok(run("\x66\xef"));
    cr_expect(device.last == 0x3346 && device.size == 2);
}

Test(system_insn, permission_bitmap)
{
    run_in(3);
    guest->gpr[R_EDX] = 0x300;
    poke16(TSS_A + 0x66, 0x68);
    memset(ram(TSS_A + 0x68), 0xff, 0x100);
    guest->seg[SEG_TR].limit = 0x68 + 0x61;
    assert_fault(run("\xec"), VEC_GP, 0);
    *ram(TSS_A + 0x68 + 0x60) = 0xf6; /* 0x300 and 0x303 allowed */
    assert_ok(run("\xec"));
    assert_fault(run("\x66\xed"), VEC_GP, 0); /* 0x301 is not */
    *ram(TSS_A + 0x68 + 0x60) = 0xf0;
    assert_ok(run("\xed"));
    *ram(TSS_A + 0x68 + 0x60) = 0x7f; /* 0x307, and 0x308 in the next byte */
    guest->gpr[R_EDX] = 0x307;
    assert_ok(run("\xec"));
    assert_fault(run("\x66\xed"), VEC_GP, 0);
    *ram(TSS_A + 0x68 + 0x61) = 0xfe;
    assert_ok(run("\x66\xed"));
    guest->seg[SEG_TR].limit--; /* the second byte is outside */
    assert_fault(run("\xec"), VEC_GP, 0);
    guest->eflags |= EFL_IOPL;
    assert_ok(run("\xec"));
    guest->eflags = EFL_ONE;
    guest->seg[SEG_TR].limit = 0x200;
    guest->seg[SEG_TR].attr = A_SYS(DESC_TSS16_BUSY, 0); /* has no bitmap */
    assert_fault(run("\xec"), VEC_GP, 0);
}

Test(system_insn, string_input)
{
    guest->gpr[R_EDX] = 0x300;
    guest->gpr[R_EDI] = 0x8000;
    guest->gpr[R_ECX] = 4;
    device.value = 1;
    assert_ok(run("\xf3\x66\x6d")); /* rep insw */
    cr_expect_eq(guest->gpr[R_ECX], 0);
    cr_expect_eq(guest->gpr[R_EDI], 0x8008);
    cr_expect_eq(peek32(0x8004), 0x00040003);
    cr_expect_eq(guest->eip, CODE + 3);

    guest->gpr[R_ECX] = 4;
    guest->request = VCPU_REQ_EVENT;
    assert_ok(run("\xf3\x6d"));
    cr_expect_eq(guest->gpr[R_ECX], 3, "left for the request");
    cr_expect_eq(guest->eip, CODE);
    guest->request = 0;
    assert_ok(run("\xf3\x6d"));
    cr_expect_eq(guest->gpr[R_ECX], 0);

    guest->seg[SEG_ES].limit = 0x8007;
    guest->gpr[R_EDI] = 0x8000;
    guest->gpr[R_ECX] = 4;
    uint32_t reads = device.reads;
    assert_fault(run("\xf3\x6d"), VEC_GP, 0);
    cr_expect_eq(device.reads, reads + 2, "nothing is read that cannot be stored");
    cr_expect_eq(guest->gpr[R_ECX], 2);
    cr_expect_eq(guest->gpr[R_EDI], 0x8008);
}

Test(system_insn, string_output)
{
    guest->gpr[R_EDX] = 0x300;
    guest->gpr[R_ESI] = 0x8002;
    guest->gpr[R_ECX] = 3;
    guest->eflags |= EFL_DF;
    memcpy(ram(0x8000), "abc", 3);
    assert_ok(run("\xf3\x6e")); /* rep outsb */
    cr_expect_eq(device.writes, 3);
    cr_expect_eq(device.last, 'a');
    cr_expect_eq(guest->gpr[R_ESI], 0x7fff);
    run_in(3);
    guest->gpr[R_ECX] = 0;
    assert_fault(run("\xf3\x6e"), VEC_GP,
                 0); /* permission comes before the count, as on the host */
    guest->gpr[R_ECX] = 1;
    assert_fault(run("\xf3\x6e"), VEC_GP, 0);
}

/* --- unreal mode: limits survive the way back --- */

Test(system_insn, unreal)
{
    guest->gpr[R_EAX] = guest->cr0 & ~CR0_PE;
    assert_ok(run("\x0f\x22\xc0"));
    guest->gpr[R_EAX] = 0x100;
    assert_ok(run("\x8e\xd8")); /* mov ds, ax */
    cr_expect_eq(guest->seg[SEG_DS].base, 0x1000);
    cr_expect_eq(guest->seg[SEG_DS].limit, 0xffffffff);
    poke32(0x201000, 0xcafef00d);
    assert_ok(run("\xa1\x00\x00\x20\x00")); /* mov eax, [0x200000] */
    cr_expect_eq(guest->gpr[R_EAX], 0xcafef00d);
}
