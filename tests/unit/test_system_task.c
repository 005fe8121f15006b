/* SPDX-License-Identifier: MIT */
/* The hardware task switch. */
#include "system_guest.h"

TRY(jump, (uint16_t sel), far_jump(guest, sel, 0, 4, guest->eip + 7))
TRY(call, (uint16_t sel), far_call(guest, sel, 0, 4, guest->eip + 7))
TRY(iret, (void), interrupt_return(guest, 4, guest->eip + 1))
TRY(event, (uint8_t vector), interrupt_deliver(guest, vector))

static void raise_gp_now(void)
{
    guest->exc =
        (struct exception){.vector = VEC_GP, .has_error = true, .error = 0x44, .pending = true};
    exception_deliver(guest);
}
TRY(fault, (void), raise_gp_now())

/* A task of ring 3 in TSS_B. */
static void task_init(void)
{
    guest_init();
    poke32(TSS_B + 0x20, 0x7000);
    poke32(TSS_B + 0x24, EFL_ONE | EFL_IF);
    for (unsigned i = 0; i < 8; i++)
        poke32(TSS_B + 0x28 + 4 * i, 0x1000 + i);
    static const uint16_t seg[] = {S_DATA3 | 3, S_CODE3 | 3, S_DATA3 | 3, S_DATA3 | 3, 0, 3};
    for (unsigned i = 0; i < 6; i++)
        poke32(TSS_B + 0x48 + 4 * i, seg[i]);
    poke32(TSS_B + 0x28 + 4 * R_ESP, USER_ESP);
    poke32(TSS_B + 0x60, S_LDT);
    poke16(TSS_B + 0x66, 0x68);
    for (unsigned i = 0; i < 8; i++)
        if (i != R_ESP)
            guest->gpr[i] = 0xa0 + i;
    guest->eflags = EFL_ONE | EFL_ZF;
}

TestSuite(system_task, .init = task_init, .fini = guest_fini);

static unsigned type_of(uint16_t sel)
{
    return peek32(GDT + sel + 4) >> 8 & 0xf;
}

static void expect_in_b(void)
{
    cr_expect_eq(guest->seg[SEG_TR].sel, S_TSS_B);
    cr_expect_eq(guest->seg[SEG_TR].base, TSS_B);
    cr_expect_eq(guest->seg[SEG_TR].attr & 0xf, DESC_TSS32_BUSY);
    cr_expect_eq(type_of(S_TSS_B), DESC_TSS32_BUSY);
    cr_expect_eq(guest->cpl, 3);
    cr_expect_eq(guest->eip, 0x7000);
    for (unsigned i = 0; i < 8; i++)
        cr_expect_eq(guest->gpr[i], i == R_ESP ? USER_ESP : 0x1000 + i);
    cr_expect_eq(guest->seg[SEG_CS].sel, S_CODE3 | 3);
    cr_expect_eq(guest->seg[SEG_SS].limit, 0xffffffff);
    cr_expect(guest->seg[SEG_FS].attr & SEG_ATTR_NULL && guest->seg[SEG_GS].sel == 3);
    cr_expect_eq(guest->seg[SEG_LDTR].base, LDT);
    cr_expect(guest->cr0 & CR0_TS);
}

static void expect_saved_in_a(uint32_t eip)
{
    cr_expect_eq(peek32(TSS_A + 0x20), eip);
    cr_expect_eq(peek32(TSS_A + 0x24), EFL_ONE | EFL_ZF);
    for (unsigned i = 0; i < 8; i++)
        cr_expect_eq(peek32(TSS_A + 0x28 + 4 * i), i == R_ESP ? STACK(0) : 0xa0 + i);
    cr_expect_eq(peek16(TSS_A + 0x4c), S_CODE0);
    cr_expect_eq(peek16(TSS_A + 0x50), S_DATA0);
}

Test(system_task, jump)
{
    guest->dr[7] = DR7_FIXED | 0x3ff;
    assert_ok(try_jump(S_TSS_B));
    expect_in_b();
    expect_saved_in_a(0xc007);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_IF);
    cr_expect_eq(type_of(S_TSS_A), DESC_TSS32);
    cr_expect_eq(peek16(TSS_B), 0, "no back link");
    cr_expect_eq(guest->dr[7], DR7_FIXED | 0x2aa, "local breakpoints go");
}

Test(system_task, call_and_return)
{
    assert_ok(try_call(S_TASK_GATE));
    expect_in_b();
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_IF | EFL_NT);
    cr_expect_eq(type_of(S_TSS_A), DESC_TSS32_BUSY);
    cr_expect_eq(peek16(TSS_B), S_TSS_A);
    assert_ok(try_iret());
    cr_expect_eq(guest->seg[SEG_TR].sel, S_TSS_A);
    cr_expect_eq(guest->eip, 0xc007);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_ZF);
    cr_expect_eq(guest->cpl, 0);
    cr_expect_eq(type_of(S_TSS_A), DESC_TSS32_BUSY);
    cr_expect_eq(type_of(S_TSS_B), DESC_TSS32);
    cr_expect_eq(peek32(TSS_B + 0x20), 0x7001);
    cr_expect_eq(peek32(TSS_B + 0x24), EFL_ONE | EFL_IF, "NT is cleared in the image");
}

Test(system_task, interrupt_through_a_task_gate)
{
    idt_set(0x30, S_TSS_B, 0, A_SYS(DESC_TASK_GATE, 0));
    assert_ok(try_event(0x30));
    expect_in_b();
    expect_saved_in_a(0xc000);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_IF | EFL_NT);
    cr_expect_eq(guest->delivering, -1);
}

Test(system_task, error_code_on_the_new_stack)
{
    idt_set(VEC_GP, S_TSS_B, 0, A_SYS(DESC_TASK_GATE, 0));
    assert_ok(try_fault());
    cr_expect_eq(guest->gpr[R_ESP], USER_ESP - 4);
    cr_expect_eq(peek32(USER_ESP - 4), 0x44);
    cr_expect_eq(peek32(TSS_A + 0x24), EFL_ONE | EFL_ZF | EFL_RF);
}

Test(system_task, sixteen_bit)
{
    poke16(TSS_C + 0x0e, 0x1234);
    poke16(TSS_C + 0x10, EFL_ONE | EFL_CF);
    for (unsigned i = 0; i < 8; i++)
        poke16(TSS_C + 0x12 + 2 * i, (uint16_t)(0x40 + i));
    static const uint16_t seg[] = {S_DATA16, S_CODE16, S_DATA16, S_DATA16};
    for (unsigned i = 0; i < 4; i++)
        poke16(TSS_C + 0x22 + 2 * i, seg[i]);
    assert_ok(try_call(S_TSS_C));
    cr_expect_eq(guest->eip, 0x1234);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_CF | EFL_NT);
    cr_expect_eq(guest->gpr[R_EBX] & 0xffff, 0x43);
    cr_expect_eq(guest->seg[SEG_SS].sel, S_DATA16);
    cr_expect(guest->seg[SEG_FS].attr & SEG_ATTR_NULL);
    assert_ok(try_iret());
    cr_expect_eq(guest->eip, 0xc007);
    cr_expect_eq(guest->gpr[R_EBX], 0xa3);
    cr_expect_eq(peek16(TSS_C + 0x18), 0x43);
}

/* Before the commit point: the old task's fault, with nothing changed. */
Test(system_task, faults_of_the_old_task)
{
    gdt_set(S_TSS_B, TSS_B, 0x66, A_SYS(DESC_TSS32, 0));
    assert_fault(try_jump(S_TSS_B), VEC_TS, S_TSS_B);
    gdt_set(S_TSS_B, TSS_B, 0x67, DESC_TSS32);
    assert_fault(try_jump(S_TSS_B), VEC_NP, S_TSS_B);
    assert_fault(try_jump(S_TASK_GATE), VEC_NP, S_TSS_B);
    gdt_set(S_TSS_B, TSS_B, 0x67, A_SYS(DESC_TSS32_BUSY, 0));
    assert_fault(try_jump(S_TSS_B), VEC_GP, S_TSS_B);
    assert_fault(try_call(S_TASK_GATE), VEC_GP, S_TSS_B);
    gdt_set(S_TSS_B, TSS_B, 0x67, A_SYS(DESC_TSS32, 0));
    assert_fault(try_jump(S_TSS_B | 3), VEC_GP, S_TSS_B);
    guest->eflags |= EFL_NT;
    poke16(TSS_A, S_TSS_B); /* not busy */
    assert_fault(try_iret(), VEC_TS, S_TSS_B);
    poke16(TSS_A, S_CODE0);
    assert_fault(try_iret(), VEC_TS, S_CODE0);
    cr_expect_eq(guest->seg[SEG_TR].sel, S_TSS_A);
    cr_expect_eq(guest->eip, 0xc000);
    cr_expect_eq(type_of(S_TSS_A), DESC_TSS32_BUSY);
    cr_expect_eq(type_of(S_TSS_B), DESC_TSS32);
}

/* After it: the new task's, at its first instruction. */
Test(system_task, faults_of_the_new_task)
{
    static const struct {
        uint32_t field, value;
        int vector;
        uint32_t error;
    } cases[] = {
        {0x60, S_LDT | 4,     VEC_TS, S_LDT | 4},
        {0x60, S_CODE0,       VEC_TS, S_CODE0  },
        {0x4c, 0,             VEC_TS, 0        },
        {0x4c, S_DATA3 | 3,   VEC_TS, S_DATA3  },
        {0x4c, S_CODE3,       VEC_TS, S_CODE3  },
        {0x50, 3,             VEC_TS, 0        },
        {0x50, S_DATA0 | 3,   VEC_TS, S_DATA0  },
        {0x50, S_DATA3,       VEC_TS, S_DATA3  },
        {0x50, S_CODE3 | 3,   VEC_TS, S_CODE3  },
        {0x48, S_DATA0 | 3,   VEC_TS, S_DATA0  },
        {0x54, 0x88,          VEC_TS, 0x88     },
        {0x58, S_SCRATCH | 3, VEC_NP, S_SCRATCH},
        {0x50, S_SCRATCH | 3, VEC_SS, S_SCRATCH},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        guest_fini();
        task_init();
        gdt_set(S_SCRATCH, 0, 0xfffff, A_DATA(3) & ~SEG_ATTR_P);
        poke32(TSS_B + cases[i].field, cases[i].value);
        int vector = try_jump(S_TSS_B);
        cr_expect_eq(vector, cases[i].vector, "case %zu: vector %d", i, vector);
        cr_expect_eq(guest->exc.error, cases[i].error, "case %zu: %#x", i, guest->exc.error);
        cr_expect_eq(guest->seg[SEG_TR].sel, S_TSS_B);
        cr_expect_eq(guest->eip, 0x7000);
        cr_expect_eq(type_of(S_TSS_A), DESC_TSS32);
    }
}

Test(system_task, trap_bit)
{
    poke16(TSS_B + 0x64, 1);
    assert_fault(try_jump(S_TSS_B), VEC_DB, 0);
    cr_expect_eq(guest->exc.dr6, DR6_BT);
    expect_in_b();
}

Test(system_task, into_v86)
{
    poke32(TSS_B + 0x24, EFL_ONE | EFL_VM | EFL_IOPL);
    poke32(TSS_B + 0x4c, 0x1234);
    assert_ok(try_jump(S_TSS_B));
    cr_expect_eq(guest->cpl, 3);
    cr_expect_eq(guest->seg[SEG_CS].base, 0x12340);
    cr_expect_eq(guest->seg[SEG_CS].limit, 0xffff);
    cr_expect_eq(guest->seg[SEG_DS].attr, 0xf3);
}
