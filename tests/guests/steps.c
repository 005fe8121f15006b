/* SPDX-License-Identifier: MIT */
/* steps.c: debug exceptions around instructions that hold them back or load the flags: single steps
 * and faults, loads of SS, IRET (SDM vol. 3, 6.8.3 and 17.3). */
#include "lib/guest.h"
#define AREA 0x1400000u

/* --- TF set by POPF, next instruction a RETF to an absent segment --- */
extern uint8_t tf_target[];
CODE(tf_np, "pushl $0x50; pushl $tf_target; pushfl; orl $0x100,(%esp); popfl", "lret");
asm(".pushsection .text\ntf_target: nop; int $0x30\n.popsection");
static void test_tf_np(void)
{
    gdt_set(0x50, descriptor(0, 0xfffff, 0x1b, FLAG_G | FLAG_D));
    WRITE_DR(6, 0xffff0ff0);
    struct ctx c = kernel_ctx(tf_np);
    trap_run(&c);
    expect(&c, VEC_NP, 0x50, tf_np_at, "RETF with TF");
    CHECK_EQ(READ_DR(6), 0xffff0ff0, "DR6 at the fault");
    CHECK(c.eflags & EFL_TF && c.eflags & EFL_RF, "pushed flags %#x", c.eflags);
    gdt_set(0x50, descriptor(0, 0xfffff, 0x9b, FLAG_G | FLAG_D));
    trap_run(&c);
    expect(&c, VEC_DB, 0, tf_target, "after RETF");
    CHECK_EQ(READ_DR(6), 0xffff4ff0, "DR6 at the step");
    CHECK_EQ(c.cs & 0xffff, 0x50, "CS");
    WRITE_DR(6, 0xffff0ff0);
    trap_run(&c);
    expect(&c, VEC_DB, 0, tf_target + 1, "after NOP");
    WRITE_DR(6, 0xffff0ff0);
}

/* --- MOV SS from a watched location; the #DB is held over the next instruction --- */
CODE(ss_nop, "movl $0x10,(%ebx)", "movw (%ebx),%ss; nop; nop");
CODE(ss_int, "movl $0x10,(%ebx)", "movw (%ebx),%ss; int $0x41");
CODE(ss_pop, "movl %ebx,%esp; movl $0x10,(%ebx)", "popl %ss; movl %esi,%esp; nop");
extern uint8_t h41[];
asm(".pushsection .text\nh41: nop; nop; addl $12,%esp; int $0x30\n.popsection");
static struct ctx watch(const void *code)
{
    struct ctx c = kernel_ctx(code);
    c.ebx = AREA;
    c.esi = c.esp;
    return c;
}
static void test_movss_watch(void)
{
    WRITE_DR(0, AREA);
    WRITE_DR(6, 0xffff0ff0);
    *(volatile uint32_t *)AREA = 0x10;
    WRITE_DR(7, 3 << 16 | 3 << 18 | 1);
    struct ctx c = watch(ss_nop_at);
    trap_run(&c);
    expect(&c, VEC_DB, 0, ss_nop_at + 3, "MOV SS, watched, then NOP");
    CHECK_EQ(READ_DR(6), 0xffff0ff1, "DR6");
    WRITE_DR(6, 0xffff0ff0);
    c = watch(ss_pop_at);
    c.esp = AREA;
    trap_run(&c);
    expect(&c, VEC_DB, 0, ss_pop_at + 3, "POP SS, watched, then MOV ESP");
    CHECK_EQ(c.esp, c.esi, "ESP");
    WRITE_DR(7, 0);
    WRITE_DR(6, 0xffff0ff0);
}
/* code breakpoint on the instruction behind MOV SS: inhibited (SDM vol. 3, 6.8.3) */
static void test_movss_exec(void)
{
    WRITE_DR(1, (uint32_t)ss_nop_at + 2);
    WRITE_DR(7, 1 << 2);
    *(volatile uint32_t *)AREA = 0x10;
    struct ctx c = watch(ss_nop_at);
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT,
          "breakpoint right behind MOV SS: vector %#x eip %#x (MOV SS at %#x) DR6 %#x", c.vector,
          c.eip, (uint32_t)ss_nop_at, READ_DR(6));
    WRITE_DR(1, (uint32_t)ss_nop_at + 3);
    WRITE_DR(6, 0xffff0ff0);
    c = watch(ss_nop_at);
    trap_run(&c);
    expect(&c, VEC_DB, 0, ss_nop_at + 3, "breakpoint one further");
    CHECK_EQ(READ_DR(6), 0xffff0ff2, "DR6");
    WRITE_DR(7, 0);
    WRITE_DR(6, 0xffff0ff0);
}
/* A software interrupt behind it is taken first; the #DB comes at its handler's first instruction.
 */
static void test_movss_int(void)
{
    idt_set(0x41, gate((uint32_t)h41, KCS, 0x8e, 0));
    WRITE_DR(0, AREA);
    *(volatile uint32_t *)AREA = 0x10;
    WRITE_DR(7, 3 << 16 | 3 << 18 | 1);
    struct ctx c = watch(ss_int_at);
    trap_run(&c);
    CHECK(c.vector == VEC_DB && c.eip == (uint32_t)h41,
          "vector %#x eip %#x (handler %#x, snippet %#x) DR6 %#x", c.vector, c.eip, (uint32_t)h41,
          (uint32_t)ss_int_at, READ_DR(6));
    WRITE_DR(7, 0);
    WRITE_DR(6, 0xffff0ff0);
    idt_reset(0x41);
}
/* --- IRET at CPL 3 with VM, IOPL, VIF, VIP in the frame --- */
CODE(iret3, "pushl $0x1f7202|0x20000; pushl $0x1b; pushl $iret3_next", "iretl");
static void test_iret3(void)
{
    struct ctx c = user_ctx(iret3);
    uint32_t esp = c.esp;
    trap_run(&c);
    expect(&c, VEC_EXIT, 0, iret3_next + 2, "IRETD from CPL 3");
    CHECK_EQ(c.cs & 0xffff, UCS, "CS");
    CHECK_EQ(c.esp, esp, "ESP");
    /* IF, IOPL unchanged (0); VM, VIF, VIP not loaded; AC, ID, NT are. RF is cleared by the next
     * instruction. */
    CHECK_EQ(c.eflags & ~EFL_ARITH & ~0x200000u, EFL_ONE | EFL_NT | 0x40000, "flags");
    CHECK_EQ(c.eflags & 0x200000, 0x200000 & 0x1f7202 ? 0x200000 : 0, "ID");
}
/* --- IRET with NT set, back link not to a busy TSS --- */
CODE(iret_nt,
     "pushl $0; pushl $0; pushl $0; pushl $0; pushl $0x1000; pushl $0x1000; pushl $0x23202; pushl "
     "$0x100; pushl $0",
     "iretl");
static void test_iret_nt(void)
{
    static const struct {
        const char *what;
        uint32_t link, error;
        uint64_t d;
    } t[] = {{"null link", 0, 0, 0},
             {"available TSS", 0x60, 0x60, 1},
             {"data segment", KDS, KDS, 0},
             {"in the LDT", 0x64, 0x64, 0},
             {"beyond the GDT", 0x1000, 0x1000, 0},
             {"busy, absent", 0x68, 0x68, 2}};
    static struct tss other;
    gdt_set(0x60, descriptor((uint32_t)&other, 103, 0x89, 0));
    gdt_set(0x68, descriptor((uint32_t)&other, 103, 0x0b, 0));
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        tss_main.link = t[i].link;
        struct ctx c = kernel_ctx(iret_nt);
        c.eflags |= EFL_NT;
        trap_run(&c);
        expect(&c, t[i].d == 2 ? VEC_NP : VEC_TS, t[i].error, iret_nt_at, t[i].what);
    }
    tss_main.link = 0;
}
static const struct test tests[] = {
    {"tf_np", test_tf_np, NULL},           {"movss_watch", test_movss_watch, NULL},
    {"movss_exec", test_movss_exec, NULL}, {"movss_int", test_movss_int, NULL},
    {"iret3", test_iret3, NULL},           {"iret_nt", test_iret_nt, NULL}};
void guest_main(void)
{
    RUN_TESTS(tests);
}
