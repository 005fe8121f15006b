/* SPDX-License-Identifier: MIT */
/* delivery.c: faults while an event is delivered, double faults, wrong inner stacks, what gates do
 * (SDM vol. 3, 6.12 to 6.15). */
#include "lib/guest.h"

CODE(ev_ud, "", "ud2");
CODE(ev_gp, "xorl %eax,%eax; movl %eax,%es", "movl %es:0,%eax");
CODE(ev_de, "xorl %ecx,%ecx", "divl %ecx");
CODE(ev_int41, "", "int $0x41");
CODE(ev_int3, "", "int3");
CODE(ev_int1, "", ".byte 0xf1");
CODE(ev_pf, "", "movl 0x1600000,%eax");

static void deliver(const char *name, const uint8_t *code, const uint8_t *at, bool user,
                    unsigned vector, uint32_t error)
{
    struct ctx c = user ? user_ctx(code) : kernel_ctx(code);
    trap_run(&c);
    expect(&c, vector, error, at, name);
}

static void with_gate(unsigned vector, uint64_t value, const char *name, const uint8_t *code,
                      unsigned want, uint32_t error)
{
    idt_set(vector, value);
    for (int user = 0; user < 2; user++)
        deliver(name, code, code, user, want, error);
    idt_reset(vector);
}

static void test_delivery(void)
{
    uint64_t absent = gate(stub_address(0), KCS, 0x0e | ACC_DPL(3), 0);
    uint64_t absent_tss = gate(0, SEL_DF, 0x05 | ACC_DPL(3), 0);
    uint64_t null_cs = gate(stub_address(0), 0, 0x8e | ACC_DPL(3), 0);
    uint64_t data_cs = gate(stub_address(0), KDS, 0x8e | ACC_DPL(3), 0);
    uint64_t far_cs = gate(stub_address(0), 0x400, 0x8e | ACC_DPL(3), 0);
    uint64_t np_cs = gate(stub_address(0), 0x40, 0x8e | ACC_DPL(3), 0);
    uint64_t bad_type = gate(stub_address(0), KCS, 0x8c | ACC_DPL(3), 0);
    gdt_set(0x40, descriptor(0, 0xfffff, 0x1b, FLAG_G | FLAG_D));
    /* an exception has EXT set in what its own delivery raises, INT n and INT3 have not */
    with_gate(VEC_UD, absent, "#UD gate absent", ev_ud, VEC_NP, 6 * 8 + 3);
    with_gate(VEC_UD, absent_tss, "#UD task gate absent", ev_ud, VEC_NP, 6 * 8 + 3);
    with_gate(VEC_UD, null_cs, "#UD gate null CS", ev_ud, VEC_GP, 1);
    with_gate(VEC_UD, data_cs, "#UD gate data CS", ev_ud, VEC_GP, KDS + 1);
    with_gate(VEC_UD, far_cs, "#UD gate CS beyond GDT", ev_ud, VEC_GP, 0x401);
    with_gate(VEC_UD, np_cs, "#UD gate CS absent", ev_ud, VEC_NP, 0x41);
    with_gate(VEC_UD, bad_type, "#UD call gate", ev_ud, VEC_GP, 6 * 8 + 3);
    with_gate(VEC_UD, 0, "#UD empty entry", ev_ud, VEC_GP, 6 * 8 + 3);
    with_gate(0x41, absent, "int gate absent", ev_int41, VEC_NP, 0x41 * 8 + 2);
    with_gate(0x41, null_cs, "int gate null CS", ev_int41, VEC_GP, 0);
    with_gate(0x41, data_cs, "int gate data CS", ev_int41, VEC_GP, KDS);
    with_gate(0x41, np_cs, "int gate CS absent", ev_int41, VEC_NP, 0x40);
    with_gate(0x41, bad_type, "int call gate", ev_int41, VEC_GP, 0x41 * 8 + 2);
    with_gate(VEC_BP, absent, "int3 gate absent", ev_int3, VEC_NP, 3 * 8 + 2);
}

static void test_int1_ext(void)
{
    with_gate(VEC_DB, gate(stub_address(1), KCS, 0x0e | ACC_DPL(3), 0), "int1 gate absent", ev_int1,
              VEC_NP, 1 * 8 + 3);
}

static void test_double(void)
{
    for (int user = 0; user < 2; user++) {
        idt_set(VEC_DE, gate(stub_address(0), KCS, 0x0e, 0));
        deliver("#DE then #NP", ev_de, ev_de_at, user, VEC_DF, 0);
        idt_reset(VEC_DE);
        idt_set(VEC_GP, gate(stub_address(13), KCS, 0x0e, 0));
        deliver("#GP then #NP", ev_gp, ev_gp_at, user, VEC_DF, 0);
        idt_reset(VEC_GP);
        idt_set(VEC_DE, gate(stub_address(0), KDS, 0x8e, 0));
        deliver("#DE then #GP", ev_de, ev_de_at, user, VEC_DF, 0);
        idt_reset(VEC_DE);
        paging_on(false);
        pte_set(0x1600000, 0);
        idt_set(VEC_PF, gate(stub_address(14), KCS, 0x0e, 0));
        deliver("#PF then #NP", ev_pf, ev_pf_at, user, VEC_DF, 0);
        idt_reset(VEC_PF);
        deliver("#PF", ev_pf, ev_pf_at, user, VEC_PF, user ? PF_U : 0);
        paging_off();
    }
}

/* The IDT straddles two pages, and the first, with the entries up to #GP, is away: a contributory
 * fault, then a page fault: handled one after the other. */
static void test_serial(void)
{
    uint32_t page = 0x1700000;
    uint64_t *table = (uint64_t *)(page - 14 * 8);
    memcpy(table, idt, sizeof idt);
    paging_on(false);
    struct table_ptr p = {sizeof idt - 1, (uint32_t)table}, old = {sizeof idt - 1, (uint32_t)idt};
    for (int user = 0; user < 2; user++) {
        pte_set(page - 4096, 0);
        asm volatile("lidt %0" ::"m"(p));
        struct ctx c = user ? user_ctx(ev_gp) : kernel_ctx(ev_gp);
        trap_run(&c);
        asm volatile("lidt %0" ::"m"(old));
        expect(&c, VEC_PF, 0, ev_gp_at, "#GP then #PF on the IDT");
        CHECK_EQ(c.cr2, page - 8, "CR2");
        pte_set(page - 4096, (page - 4096) | PTE_P | PTE_W);
    }
    paging_off();
}

/* The stack of the handler is not there: #PF on #PF. */
static void test_no_stack(void)
{
    paging_on(true);
    struct ctx c = user_ctx(ev_pf);
    pte_set(0x1600000, 0);
    pte_set(0x1601000, 0);
    tss_df.cr3 = READ_CR(3);
    CODE(esp_bad, "movl $0x1602000,%esp", "movl 0x1600000,%eax");
    c = kernel_ctx(esp_bad);
    trap_run(&c);
    expect(&c, VEC_DF, 0, esp_bad_at, "#PF with an absent stack");
    CHECK_EQ(c.cr2, 0x1601ffc, "CR2");
    CHECK_EQ(c.esp, 0x1602000, "ESP");
    CODE(esp_push, "movl $0x1602000,%esp", "pushl %eax");
    c = kernel_ctx(esp_push);
    trap_run(&c);
    expect(&c, VEC_DF, 0, esp_push_at, "push to an absent stack");
    paging_off();
}

/* Inner stacks that are wrong: #TS, #SS (SDM vol. 3, 6.12.1; INT's pseudocode). */
static void test_inner_stack(void)
{
    static const struct {
        const char *name;
        uint32_t ss0, vector, error;
    } t[] = {{"null", 0, VEC_TS, 1},
             {"beyond the GDT", 0x400, VEC_TS, 0x401},
             {"RPL 3", KDS | 3, VEC_TS, KDS | 1},
             {"DPL 3", UDS & ~3, VEC_TS, (UDS & ~3) | 1},
             {"code", KCS, VEC_TS, KCS | 1},
             {"read-only", 0x40, VEC_TS, 0x41},
             {"absent", 0x48, VEC_SS, 0x49}};
    gdt_set(0x40, descriptor(0, 0xfffff, 0x91, FLAG_G | FLAG_D));
    gdt_set(0x48, descriptor(0, 0xfffff, 0x13, FLAG_G | FLAG_D));
    gdt_set(0x50, descriptor(0, 0xff, 0x93, FLAG_D));
    /* the fault's own handler needs a stack too: a task gate to the double-fault task */
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        idt_set(t[i].vector, gate(0, SEL_DF, 0x85, 0));
        struct ctx c = user_ctx(ev_ud);
        tss_main.ss0 = t[i].ss0;
        trap_run(&c);
        tss_main.ss0 = KDS;
        idt_reset(t[i].vector);
        expect(&c, VEC_DF, t[i].error, ev_ud, t[i].name);
        CHECK_EQ(c.esp, (uint32_t)user_stack + sizeof user_stack - 64, "ESP");
    }
    idt_set(VEC_SS, gate(0, SEL_DF, 0x85, 0));
    struct ctx c = user_ctx(ev_ud);
    tss_main.ss0 = 0x50; /* limit 0xff, ESP0 far above */
    trap_run(&c);
    tss_main.ss0 = KDS;
    idt_reset(VEC_SS);
    expect(&c, VEC_DF, 0x51, ev_ud, "inner stack beyond its limit");
}

/* A push beyond the stack's limit at CPL 0, caught by a task. */
CODE(ss0_push, "movl $0x40,%eax; movl %eax,%ss; movl $2,%esp", "pushl %eax");
CODE(ss0_int, "movl $0x40,%eax; movl %eax,%ss; movl $8,%esp", "int $0x41");
static void test_stack_fault_cpl0(void)
{
    gdt_set(0x40, descriptor((uint32_t)kernel_stack2, 0xff, 0x93, FLAG_D));
    idt_set(VEC_SS, gate(0, SEL_DF, 0x85, 0));
    struct ctx c = kernel_ctx(ss0_push);
    trap_run(&c);
    expect(&c, VEC_DF, 0, ss0_push_at, "push");
    CHECK_EQ(c.esp, 2, "ESP");
    c = kernel_ctx(ss0_int);
    idt_set(0x41, gate(stub_address(0x41), KCS, 0xee, 0));
    trap_run(&c);
    expect(&c, VEC_DF, 0, ss0_int_at, "int without room");
    CHECK_EQ(c.esp, 8, "ESP");
    idt_reset(0x41);
    /* an interrupt through an interrupt gate does not fit: #SS is contributory, #DE too */
    idt_reset(VEC_SS);
    c = kernel_ctx(ss0_push);
    trap_run(&c);
    expect(&c, VEC_DF, 0, ss0_push_at, "#SS then #SS");
}

/* --- what the gates do to the flags --- */
static void test_gate_flags(void)
{
    static const uint8_t types[] = {0x8e, 0x8f};
    for (unsigned i = 0; i < 2; i++)
        for (int user = 0; user < 2; user++) {
            idt_set(VEC_UD, gate(stub_address(VEC_UD), KCS, types[i], 0));
            struct ctx c = user ? user_ctx(ev_ud) : kernel_ctx(ev_ud);
            c.eflags |= EFL_IF | EFL_NT | EFL_AC | EFL_DF | EFL_CF | EFL_ID | 0x3000;
            pic_mask(0xffff);
            trap_run(&c);
            CHECK_EQ(c.eflags & ~EFL_RF,
                     EFL_ONE | EFL_IF | EFL_NT | EFL_AC | EFL_DF | EFL_CF | EFL_ID | 0x3000,
                     "pushed EFLAGS");
            uint32_t want = EFL_ONE | EFL_AC | EFL_DF | EFL_CF | EFL_ID | 0x3000 |
                            (types[i] == 0x8f ? EFL_IF : 0);
            CHECK_EQ(trap_flags, want, "EFLAGS in the handler");
        }
    idt_reset(VEC_UD);
}

/* 16-bit gates push 16-bit frames. */
static __attribute__((used)) uint16_t frame16[8];
extern uint8_t gate16_entry[];
asm(".pushsection .text\n"
    "gate16_entry: popw frame16; popw frame16+2; popw frame16+4; popw frame16+6; popw frame16+8\n"
    "movl $0x10,%eax; movl %eax,%ds; movl %eax,%es; movl %eax,%ss; movl $kernel_stack2+16384,%esp\n"
    "int $0x30\n.popsection");
static void test_gate16(void)
{
    /* the handler must lie below 64 KiB: a code segment based on it */
    gdt_set(0x40, descriptor((uint32_t)gate16_entry, 0xffff, ACC_CODE, FLAG_D));
    idt_set(0x41, gate(0, 0x40, 0xe6, 0));
    struct ctx c = user_ctx(ev_int41);
    tss_main.esp0 = 0;
    c.esp = 0x12345678;
    c.eflags |= EFL_CF | EFL_ZF;
    trap_run(&c);
    idt_reset(0x41);
    CHECK_EQ(c.vector, VEC_EXIT, "vector");
    CHECK_EQ(frame16[0], (uint16_t)(uint32_t)ev_int41_next, "IP");
    CHECK_EQ(frame16[1], UCS, "CS");
    CHECK_EQ(frame16[2], EFL_ONE | EFL_CF | EFL_ZF, "FLAGS");
    CHECK_EQ(frame16[3], 0x5678, "SP");
    CHECK_EQ(frame16[4], UDS, "SS");
}

CODE(iret_nt, "pushl $0x4002; popfl", "iretl");
static void test_iret_nt(void)
{
    struct ctx c = kernel_ctx(iret_nt);
    trap_run(&c);
    /* the manual names the current TSS in IRET's pseudocode, the new one in table 6-6 */
    CHECK(c.vector == VEC_TS && (c.error == SEL_TSS || !c.error) && c.eip == (uint32_t)iret_nt_at,
          "iret with NT and a null link: vector %#x error %#x", c.vector, c.error);
}

static const struct test tests[] = {
    {"delivery", test_delivery, "no EXT bit in error codes"},
    {"delivery_int1", test_int1_ext, "INT1 is not implemented"},
    {"double_fault", test_double, "no fault through a null segment"},
    {"serial_faults", test_serial, "no fault through a null segment"},
    {"no_stack", test_no_stack, NULL},
    {"inner_stack", test_inner_stack, "no EXT bit in error codes"},
    {"stack_fault_cpl0", test_stack_fault_cpl0, "no segment limits"},
    {"gate_flags", test_gate_flags, NULL},
    {"gate16", test_gate16, NULL},
    {"iret_nt", test_iret_nt, NULL},
};

void guest_main(void)
{
    pic_init();
    RUN_TESTS(tests);
}
