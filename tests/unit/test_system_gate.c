/* SPDX-License-Identifier: MIT */
/* Interrupts and exceptions through gates, far transfers and their returns. */
#include "system_guest.h"

static void deliver_debug(uint32_t dr6)
{
    guest->exc = (struct exception){.vector = VEC_DB, .dr6 = dr6, .pending = true};
    exception_deliver(guest);
}
TRY(debug, (uint32_t dr6), deliver_debug(dr6))
TRY(soft, (uint8_t vector), soft_interrupt(guest, vector, guest->eip + 2))
TRY(int1, (void), soft_interrupt_int1(guest, guest->eip + 1))
TRY(external, (uint8_t vector), interrupt_deliver(guest, vector))
TRY(jump, (uint16_t sel, uint32_t off), far_jump(guest, sel, off, 4, guest->eip + 7))
TRY(call, (uint16_t sel, uint32_t off, unsigned opsize),
    far_call(guest, sel, off, opsize, guest->eip + 7))
TRY(ret, (unsigned opsize, uint16_t pop), far_return(guest, opsize, pop))
TRY(iret, (unsigned opsize), interrupt_return(guest, opsize, guest->eip + 1))
TRY(sysenter, (void), sysenter(guest))
TRY(sysexit, (void), sysexit(guest))

TestSuite(system_gate, .init = guest_init, .fini = guest_fini);

static void raise_as(uint8_t vector, bool has_error, uint32_t error)
{
    guest->exc = (struct exception){
        .vector = vector, .has_error = has_error, .error = error, .pending = true};
    if (_setjmp(guest->fault_jmp) == 0)
        exception_deliver(guest);
    else
        cr_assert_fail("delivery raised %d", guest->exc.vector);
}

static uint32_t at_stack(unsigned n)
{
    return peek32(guest->seg[SEG_SS].base + guest->gpr[R_ESP] + 4 * n);
}

/* --- interrupts --- */

Test(system_gate, same_ring)
{
    guest->eflags = EFL_ONE | EFL_IF | EFL_TF | EFL_NT | EFL_CF;
    raise_as(VEC_GP, true, 0x1234);
    cr_expect_eq(guest->eip, HANDLER(VEC_GP));
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 16);
    cr_expect_eq(at_stack(0), 0x1234);
    cr_expect_eq(at_stack(1), 0xc000);
    cr_expect_eq(at_stack(2), S_CODE0);
    cr_expect_eq(at_stack(3), EFL_ONE | EFL_IF | EFL_TF | EFL_NT | EFL_CF | EFL_RF);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_CF);
    cr_expect_eq(guest->delivering, -1);
}

Test(system_gate, trap_gate_keeps_if_and_rf)
{
    idt_set(0x80, S_CODE0, 0x5000, A_SYS(DESC_TRAP32, 3));
    guest->eflags = EFL_ONE | EFL_IF;
    assert_ok(try_soft(0x80));
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_IF);
    cr_expect_eq(at_stack(0), 0xc002);
    cr_expect_eq(at_stack(2), EFL_ONE | EFL_IF);
}

Test(system_gate, inner_ring)
{
    run_in(3);
    guest->eflags = EFL_ONE | EFL_IF;
    assert_ok(try_external(0x20));
    cr_expect_eq(guest->cpl, 0);
    cr_expect_eq(guest->seg[SEG_CS].sel, S_CODE0);
    cr_expect_eq(guest->seg[SEG_SS].sel, S_DATA0);
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 20);
    const uint32_t want[] = {0xc000, S_CODE3 | 3, EFL_ONE | EFL_IF, USER_ESP, S_DATA3 | 3};
    for (unsigned i = 0; i < 5; i++)
        cr_expect_eq(at_stack(i), want[i]);
    assert_ok(try_iret(4));
    cr_expect_eq(guest->cpl, 3);
    cr_expect_eq(guest->eip, 0xc000);
    cr_expect_eq(guest->gpr[R_ESP], USER_ESP);
    cr_expect_eq(guest->seg[SEG_SS].sel, S_DATA3 | 3);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_IF);
}

Test(system_gate, sixteen_bit_gate)
{
    idt_set(0x21, S_CODE0, 0x54321, A_SYS(DESC_INT16, 3));
    run_in(3);
    guest->eip = 0x1234;
    assert_ok(try_soft(0x21));
    cr_expect_eq(guest->eip, 0x4321, "16 bits of the offset");
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 10);
    cr_expect_eq(peek16(STACK(0) - 10), 0x1236);
    cr_expect_eq(peek16(STACK(0) - 2), S_DATA3 | 3);
    assert_ok(try_iret(2));
    cr_expect_eq(guest->eip, 0x1236);
    cr_expect_eq(guest->cpl, 3);
}

Test(system_gate, conforming_handler_stays_in_ring)
{
    idt_set(0x22, S_CONFORMING, 0x5000, A_SYS(DESC_INT32, 3));
    run_in(3);
    assert_ok(try_soft(0x22));
    cr_expect_eq(guest->cpl, 3);
    cr_expect_eq(guest->seg[SEG_CS].sel, S_CONFORMING | 3);
    cr_expect_eq(guest->gpr[R_ESP], USER_ESP - 12);
}

/* A fault while an event is delivered: error code, EXT, and nothing changed. */
Test(system_gate, faults)
{
    run_in(3);
    struct vcpu *before = malloc(sizeof(*before));
    memcpy(before, guest, sizeof(*before));
    static const struct {
        uint16_t sel;
        uint32_t attr;
        int vector;
        uint32_t error; /* without EXT; IDT and index are those of the gate */
    } cases[] = {
        {S_CODE0,       SEG_ATTR_P | 0xc | 3 << 5, VEC_GP,        0x30 * 8 + 2}, /* not an IDT gate */
        {             S_CODE0, 0xe | 3 << 5,                    VEC_NP,  0x30 * 8 + 2            }, /* not present */
        {             0,           A_SYS(DESC_INT32,                              3),             VEC_GP,             0}, /* null */
        {       S_DATA0,           A_SYS(DESC_INT32,                              3),       VEC_GP,             S_DATA0}, /* not code */
        { GDT_LIMIT + 1,           A_SYS(DESC_INT32,                              3), VEC_GP,             GDT_LIMIT + 1}, /* outside */
        {       S_TSS_A,           A_SYS(DESC_TASK_GATE,                              3),       VEC_GP,             S_TSS_A}, /* busy */
        {   S_TSS_B | 4,           A_SYS(DESC_TASK_GATE,                              3),   VEC_GP,             S_TSS_B | 4}, /* in the LDT */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        idt_set(0x30, cases[i].sel, 0x5000, cases[i].attr);
        assert_fault(try_soft(0x30), cases[i].vector, cases[i].error);
        guest->delivering = -1;
        assert_fault(try_external(0x30), cases[i].vector, cases[i].error | 1);
        guest->delivering = -1;
        cr_expect(memcmp(guest->gpr, before->gpr, sizeof(guest->gpr)) == 0);
        cr_expect_eq(guest->eip, before->eip);
        cr_expect_eq(guest->eflags, before->eflags);
        cr_expect(memcmp(guest->seg, before->seg, sizeof(guest->seg)) == 0);
    }
    idt_set(0x30, S_CODE0, 0x5000, A_SYS(DESC_INT32, 0));
    assert_fault(try_soft(0x30), VEC_GP, 0x30 * 8 + 2);
    guest->delivering = -1;
    assert_ok(try_external(0x30)); /* the gate's DPL concerns programs only */
    idt_set(1, S_CODE0, 0x5000, A_SYS(DESC_INT32, 0));
    run_in(3);
    assert_ok(try_int1());
    guest->idtr.limit = 0x30 * 8 + 6;
    run_in(3);
    assert_fault(try_soft(0x30), VEC_GP, 0x30 * 8 + 2);
    free(before);
}

Test(system_gate, inner_stack_faults)
{
    run_in(3);
    poke32(TSS_A + 8, 0);
    assert_fault(try_soft(0x30), VEC_TS, 0);
    poke32(TSS_A + 8, S_DATA3); /* DPL 3 */
    assert_fault(try_soft(0x30), VEC_TS, S_DATA3);
    poke32(TSS_A + 8, S_DATA0 | 1); /* RPL 1 */
    assert_fault(try_soft(0x30), VEC_TS, S_DATA0);
    poke32(TSS_A + 8, S_CODE0); /* not writable */
    assert_fault(try_soft(0x30), VEC_TS, S_CODE0);
    gdt_set(S_SCRATCH, 0, 0xfffff, A_DATA(0) & ~SEG_ATTR_P);
    poke32(TSS_A + 8, S_SCRATCH);
    assert_fault(try_soft(0x30), VEC_SS, S_SCRATCH);
    gdt_set(S_SCRATCH, 0, 0x8fff, (A_DATA(0) | SEG_ATTR_DOWN) & ~SEG_ATTR_G);
    poke32(TSS_A + 4, 0x9010); /* room for four entries, not for five */
    assert_fault(try_soft(0x30), VEC_SS, S_SCRATCH);
    poke32(TSS_A + 4, 0x9014);
    assert_ok(try_soft(0x30));
    run_in(3);
    guest->seg[SEG_TR].limit = 8;
    assert_fault(try_soft(0x30), VEC_TS, S_TSS_A);
    guest->seg[SEG_TR].limit = 0x67;
    gdt_set(S_CODE0, 0, 0x1f, A_CODE(0) & ~SEG_ATTR_G);
    poke32(TSS_A + 8, S_DATA0);
    assert_fault(try_soft(0x30), VEC_GP, 0);
}

TRY(nmi, (void), nmi_deliver(guest))

Test(system_gate, nmi_until_iret)
{
    assert_ok(try_nmi());
    cr_expect_eq(guest->eip, HANDLER(VEC_NMI));
    cr_expect(guest->nmi_blocked);
    assert_ok(try_external(0x20));
    cr_expect(guest->nmi_blocked);
    guest->request = 0;
    assert_ok(try_iret(4));
    cr_expect(!guest->nmi_blocked);
    cr_expect_eq(guest->request, VCPU_REQ_EVENT, "another NMI may be waiting");
}

/* --- double faults (SDM vol. 3, table 6-5) --- */

enum class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };
static enum class class_of(int vector) {
    switch (vector){
        case VEC_DE : case VEC_TS : case VEC_NP : case VEC_SS : case VEC_GP : return CONTRIBUTORY;
        case VEC_PF : return PAGE_FAULT;
        case VEC_DF : return DOUBLE_FAULT;
        default : return BENIGN;
    }
}

Test(system_gate, double_fault_table)
{
    enum { S, D, X }; /* serially, double fault, shutdown */
    static const char table[4][3] = {
        [BENIGN] = {S, S, S},
        [CONTRIBUTORY] = {S, D, S},
        [PAGE_FAULT] = {S, D, D},
        [DOUBLE_FAULT] = {S, X, X}
    };
    for (int first = 0; first < 20; first++)
        for (int second = 0; second < 20; second++) {
            if (second == VEC_DF)
                continue;
            run_in(0);
            guest->delivering = first;
            raise_as((uint8_t)second, class_of(second) != BENIGN, 8);
            int want = table[class_of(first)][class_of(second)];
            cr_assert_eq(guest->shutdown, want == X, "%d then %d", first, second);
            if (want == D)
                cr_assert(guest->eip == HANDLER(VEC_DF) && at_stack(0) == 0, "%d then %d", first,
                          second);
            if (want == S)
                cr_assert_eq(guest->eip, HANDLER(second), "%d then %d", first, second);
        }
    run_in(0);
    guest->delivering = DELIVERING_BENIGN | VEC_GP; /* INT 13 is no #GP */
    raise_as(VEC_GP, true, 8);
    cr_assert_eq(guest->eip, HANDLER(VEC_GP));
}

Test(system_gate, triple_fault_by_the_loop)
{
    guest->idtr.limit = 0;
    guest->exc = (struct exception){.vector = VEC_UD, .pending = true};
    volatile int rounds = 0;
    _setjmp(guest->fault_jmp);
    if (rounds++ < 10 && guest->exc.pending)
        exception_deliver(guest);
    cr_assert(guest->shutdown);
    cr_assert_eq(rounds, 4, "#UD, #GP in its delivery, #DF, and the end: %d", rounds);
}

Test(system_gate, debug_exceptions)
{
    guest->dr[7] |= DR7_GD;
    assert_ok(try_debug(DR6_BD));
    cr_expect_eq(guest->dr[6], DR6_FIXED | DR6_BD);
    cr_expect_eq(guest->dr[7], DR7_FIXED);
    cr_expect(at_stack(2) & EFL_RF, "general detect is a fault");
    run_in(0);
    assert_ok(try_debug(1));
    cr_expect(!(at_stack(2) & EFL_RF), "a breakpoint's handler sets RF itself");
    cr_expect_eq(guest->dr[6], DR6_FIXED | DR6_BD | 1, "bits gather");
}

/* --- real mode and virtual-8086 mode --- */

Test(system_gate, real_mode)
{
    guest->cr0 &= ~CR0_PE;
    guest->idtr.limit = 0x3ff;
    guest->idtr.base = 0;
    poke32(0x21 * 4, 0x0123 << 16 | 0x4567);
    guest->seg[SEG_SS].attr = 0x93;
    segment_set_real(guest, SEG_SS, 0x800);
    guest->gpr[R_ESP] = 0xabcd0000 | 0x100;
    segment_set_real(guest, SEG_CS, 0x1000);
    guest->eip = 0x10;
    guest->eflags = EFL_ONE | EFL_IF | EFL_TF;
    assert_ok(try_soft(0x21));
    cr_expect_eq(guest->gpr[R_ESP], 0xabcd0000 | 0xfa);
    cr_expect_eq(guest->seg[SEG_CS].base, 0x1230);
    cr_expect_eq(guest->eip, 0x4567);
    cr_expect_eq(guest->eflags, EFL_ONE);
    cr_expect_eq(peek16(0x80fa), 0x12);
    cr_expect_eq(peek16(0x80fc), 0x1000);
    assert_ok(try_iret(2));
    cr_expect_eq(guest->eip, 0x12);
    cr_expect_eq(guest->seg[SEG_CS].sel, 0x1000);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_IF | EFL_TF);
    cr_expect_eq(guest->gpr[R_ESP], 0xabcd0000 | 0x100);
    guest->idtr.limit = 0x21 * 4 + 2;
    assert_fault(try_soft(0x21), VEC_GP, 0x21 * 8 + 2);
}

static void run_v86(unsigned iopl)
{
    guest->eflags = EFL_ONE | EFL_VM | EFL_IF | iopl << EFL_IOPL_SHIFT;
    guest->cpl = 3;
    for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
        segment_set_v86(guest, seg, (uint16_t)(0x1000 + seg));
    guest->gpr[R_ESP] = 0x200;
    guest->eip = 0x10;
}

Test(system_gate, v86_interrupt_and_back)
{
    run_v86(0);
    assert_ok(try_external(0x20));
    cr_expect_eq(guest->cpl, 0);
    cr_expect(!(guest->eflags & (EFL_VM | EFL_IF)));
    const uint32_t want[] = {0x10,
                             0x1000 + SEG_CS,
                             EFL_ONE | EFL_VM | EFL_IF,
                             0x200,
                             0x1000 + SEG_SS,
                             0x1000 + SEG_ES,
                             0x1000 + SEG_DS,
                             0x1000 + SEG_FS,
                             0x1000 + SEG_GS};
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 36);
    for (unsigned i = 0; i < 9; i++)
        cr_expect_eq(at_stack(i), want[i], "entry %u", i);
    static const unsigned nulled[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned i = 0; i < 4; i++)
        cr_expect(guest->seg[nulled[i]].attr & SEG_ATTR_NULL && guest->seg[nulled[i]].sel == 0);

    assert_ok(try_iret(4));
    cr_expect_eq(guest->cpl, 3);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_VM | EFL_IF);
    for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
        cr_expect_eq(guest->seg[seg].base, (0x1000 + seg) * 16);
    cr_expect_eq(guest->gpr[R_ESP], 0x200);
}

Test(system_gate, v86_needs_ring0_handler)
{
    idt_set(0x30, S_CODE1, 0x5000, A_SYS(DESC_INT32, 3));
    run_v86(3);
    assert_fault(try_soft(0x30), VEC_GP, S_CODE1);
    idt_set(0x30, S_CONFORMING, 0x5000, A_SYS(DESC_INT32, 3));
    assert_fault(try_soft(0x30), VEC_GP, S_CONFORMING);
}

Test(system_gate, v86_iret)
{
    run_v86(2);
    assert_fault(try_iret(2), VEC_GP, 0);
    run_v86(3);
    poke16(0x10020 + 0x200, 0x1234);
    poke16(0x10020 + 0x202, 0x5678);
    poke16(0x10020 + 0x204, EFL_CF | EFL_NT);
    assert_ok(try_iret(2));
    cr_expect_eq(guest->eip, 0x1234);
    cr_expect_eq(guest->seg[SEG_CS].base, 0x56780);
    cr_expect_eq(guest->eflags, EFL_ONE | EFL_VM | EFL_CF | EFL_NT | EFL_IOPL, "IOPL stays");
}

/* --- JMP and CALL --- */

Test(system_gate, jump_to_code)
{
    assert_ok(try_jump(S_CODE0 | 0, 0x1234));
    cr_expect_eq(guest->eip, 0x1234);
    assert_fault(try_jump(0, 0), VEC_GP, 0);
    assert_fault(try_jump(S_CODE3, 0), VEC_GP, S_CODE3);
    assert_fault(try_jump(S_DATA0, 0), VEC_GP, S_DATA0);
    assert_fault(try_jump(S_CODE0 | 1, 0), VEC_GP, S_CODE0);
    assert_ok(try_jump(S_CONFORMING | 3, 0x10));
    cr_expect_eq(guest->seg[SEG_CS].sel, S_CONFORMING, "RPL becomes CPL");
    gdt_set(S_SCRATCH, 0, 0xff, SEG_ATTR_P | SEG_ATTR_S | 0xa);
    assert_fault(try_jump(S_SCRATCH, 0x100), VEC_GP, 0);
    gdt_set(S_SCRATCH, 0, 0xff, SEG_ATTR_S | 0xa);
    assert_fault(try_jump(S_SCRATCH, 0), VEC_NP, S_SCRATCH);
    run_in(3);
    assert_fault(try_jump(S_CODE0, 0), VEC_GP, S_CODE0);
    assert_ok(try_jump(S_CONFORMING, 0x10));
    cr_expect_eq(guest->seg[SEG_CS].sel, S_CONFORMING | 3);
    cr_expect_eq(guest->cpl, 3);
}

Test(system_gate, call_and_return_same_ring)
{
    assert_ok(try_call(S_CODE16, 0x1234, 2));
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 4);
    cr_expect_eq(peek32(STACK(0) - 4), S_CODE0 << 16 | 0xc007);
    assert_ok(try_ret(2, 8));
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) + 8);
    cr_expect_eq(guest->eip, 0xc007);
}

Test(system_gate, call_gate_inner)
{
    put_gate(GDT + S_CALL_GATE, S_CODE0 | 3, 0x54321, A_SYS(DESC_CALL32, 3), 3);
    run_in(3);
    for (unsigned i = 0; i < 3; i++)
        poke32(USER_ESP + 4 * i, 0xa0 + i);
    assert_ok(try_call(S_CALL_GATE | 3, 0xdeadbeef, 4));
    cr_expect_eq(guest->cpl, 0);
    cr_expect_eq(guest->seg[SEG_CS].sel, S_CODE0);
    cr_expect_eq(guest->eip, 0x54321);
    const uint32_t want[] = {0xc007, S_CODE3 | 3, 0xa0, 0xa1, 0xa2, USER_ESP, S_DATA3 | 3};
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 28);
    for (unsigned i = 0; i < 7; i++)
        cr_expect_eq(at_stack(i), want[i]);
    segment_load(guest, SEG_DS, S_DATA0);
    assert_ok(try_ret(4, 12));
    cr_expect_eq(guest->cpl, 3);
    cr_expect_eq(guest->gpr[R_ESP], USER_ESP + 12);
    cr_expect(guest->seg[SEG_DS].attr & SEG_ATTR_NULL, "not left to the outer ring");
    cr_expect_eq(guest->seg[SEG_ES].sel, S_DATA3 | 3);
}

Test(system_gate, call_gate_16)
{
    put_gate(GDT + S_CALL_GATE, S_CODE0, 0x54321, A_SYS(DESC_CALL16, 3), 2);
    run_in(3);
    poke32(USER_ESP, 0x00b100b0);
    assert_ok(try_call(S_CALL_GATE | 3, 0, 4));
    cr_expect_eq(guest->eip, 0x4321);
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 12);
    cr_expect_eq(peek16(STACK(0) - 8), 0xb0);
    cr_expect_eq(peek16(STACK(0) - 6), 0xb1);
}

Test(system_gate, call_gate_checks)
{
    run_in(3);
    put_gate(GDT + S_CALL_GATE, S_CODE0, 0x10, A_SYS(DESC_CALL32, 2), 0);
    assert_fault(try_call(S_CALL_GATE | 3, 0, 4), VEC_GP, S_CALL_GATE);
    put_gate(GDT + S_CALL_GATE, S_CODE0, 0x10, DESC_CALL32 | 3 << 5, 0);
    assert_fault(try_call(S_CALL_GATE | 3, 0, 4), VEC_NP, S_CALL_GATE);
    put_gate(GDT + S_CALL_GATE, 0, 0x10, A_SYS(DESC_CALL32, 3), 0);
    assert_fault(try_call(S_CALL_GATE | 3, 0, 4), VEC_GP, 0);
    put_gate(GDT + S_CALL_GATE, S_DATA0, 0x10, A_SYS(DESC_CALL32, 3), 0);
    assert_fault(try_call(S_CALL_GATE | 3, 0, 4), VEC_GP, S_DATA0);
    put_gate(GDT + S_CALL_GATE, S_CODE0, 0x10, A_SYS(DESC_CALL32, 3), 0);
    assert_fault(try_jump(S_CALL_GATE | 3, 0), VEC_GP, S_CODE0); /* JMP cannot go inwards */
    cr_expect_eq(guest->gpr[R_ESP], USER_ESP);
    run_in(1);
    put_gate(GDT + S_CALL_GATE, S_CODE0, 0x10, A_SYS(DESC_CALL32, 1), 0);
    assert_fault(try_call(S_CALL_GATE | 3, 0, 4), VEC_GP, S_CALL_GATE); /* RPL 3 > DPL */
    assert_ok(try_call(S_CALL_GATE | 1, 0, 4));
    cr_expect_eq(guest->cpl, 0);
    put_gate(GDT + S_CALL_GATE, S_CODE3, 0x10, A_SYS(DESC_CALL32, 3), 0);
    assert_fault(try_call(S_CALL_GATE, 0, 4), VEC_GP, S_CODE3); /* nor outwards */
}

/* --- returns --- */

static void put_frame(uint32_t eip, uint16_t cs, uint32_t eflags, uint32_t esp, uint16_t ss)
{
    const uint32_t frame[] = {eip, cs, eflags, esp, ss};
    guest->gpr[R_ESP] = STACK(0) - sizeof(frame);
    memcpy(ram(guest->gpr[R_ESP]), frame, sizeof(frame));
}

Test(system_gate, iret_checks)
{
    put_frame(0x10, 0, 2, 0, 0);
    assert_fault(try_iret(4), VEC_GP, 0);
    put_frame(0x10, S_DATA0, 2, 0, 0);
    assert_fault(try_iret(4), VEC_GP, S_DATA0);
    put_frame(0x10, S_CODE0 | 3, 2, USER_ESP, S_DATA3 | 3); /* DPL is not RPL */
    assert_fault(try_iret(4), VEC_GP, S_CODE0);
    put_frame(0x10, S_CODE3 | 3, 2, USER_ESP, 0);
    assert_fault(try_iret(4), VEC_GP, 0);
    put_frame(0x10, S_CODE3 | 3, 2, USER_ESP, S_DATA3); /* RPL 0 */
    assert_fault(try_iret(4), VEC_GP, S_DATA3);
    put_frame(0x10, S_CODE3 | 3, 2, USER_ESP, S_CODE3 | 3);
    assert_fault(try_iret(4), VEC_GP, S_CODE3);
    gdt_set(S_SCRATCH, 0, 0xfffff, A_DATA(3) & ~SEG_ATTR_P);
    put_frame(0x10, S_CODE3 | 3, 2, USER_ESP, S_SCRATCH | 3);
    assert_fault(try_iret(4), VEC_SS, S_SCRATCH);
    cr_expect_eq(guest->cpl, 0);
    cr_expect_eq(guest->gpr[R_ESP], STACK(0) - 20);
    run_in(3);
    put_frame(0x10, S_CODE0, 2, 0, 0); /* inwards */
    assert_fault(try_iret(4), VEC_GP, S_CODE0);
}

Test(system_gate, iret_flags)
{
    const uint32_t all = EFL_DEFINED & ~(EFL_VM | EFL_NT);
    put_frame(0x10, S_CODE3 | 3, all, USER_ESP, S_DATA3 | 3);
    assert_ok(try_iret(4));
    cr_expect_eq(guest->eflags, (all & ~(EFL_VIF | EFL_VIP)) | EFL_ONE);
    run_in(3);
    guest->eflags = EFL_ONE;
    guest->gpr[R_ESP] = USER_ESP;
    const uint32_t frame[] = {0x10, S_CODE3 | 3, all};
    memcpy(ram(USER_ESP), frame, sizeof(frame));
    assert_ok(try_iret(4));
    cr_expect_eq(guest->eflags, EFL_ONE | (all & ~(EFL_VIF | EFL_VIP | EFL_IF | EFL_IOPL)));
}

Test(system_gate, iret_to_16_bit_stack_keeps_upper_half)
{
    gdt_set(S_SCRATCH, 0, 0xffff, SEG_ATTR_P | SEG_ATTR_S | 0x2 | 3 << 5);
    put_frame(0x10, S_CODE3 | 3, 2, 0x11112222, S_SCRATCH | 3);
    uint32_t upper = guest->gpr[R_ESP] & 0xffff0000u;
    assert_ok(try_iret(4));
    cr_expect_eq(guest->gpr[R_ESP], upper | 0x2222);
}

/* --- SYSENTER, SYSEXIT --- */

Test(system_gate, sysenter_and_sysexit)
{
    run_in(3);
    assert_fault(try_sysenter(), VEC_GP, 0);
    guest->sysenter_cs = S_CODE0 | 3;
    guest->sysenter_esp = 0x7000;
    guest->sysenter_eip = 0x8000;
    guest->eflags |= EFL_IF;
    assert_ok(try_sysenter());
    cr_expect_eq(guest->cpl, 0);
    cr_expect(!(guest->eflags & EFL_IF));
    cr_expect_eq(guest->seg[SEG_CS].sel, S_CODE0);
    cr_expect_eq(guest->seg[SEG_SS].sel, S_CODE0 + 8);
    cr_expect_eq(guest->gpr[R_ESP], 0x7000);
    cr_expect_eq(guest->eip, 0x8000);
    cr_expect(segment_flat(&guest->seg[SEG_SS]));
    guest->gpr[R_ECX] = 0x1000;
    guest->gpr[R_EDX] = 0x2000;
    assert_ok(try_sysexit());
    cr_expect_eq(guest->cpl, 3);
    cr_expect_eq(guest->seg[SEG_CS].sel, (S_CODE0 + 16) | 3);
    cr_expect_eq(guest->seg[SEG_SS].sel, (S_CODE0 + 24) | 3);
    cr_expect_eq(guest->gpr[R_ESP], 0x1000);
    cr_expect_eq(guest->eip, 0x2000);
    assert_fault(try_sysexit(), VEC_GP, 0);
}
