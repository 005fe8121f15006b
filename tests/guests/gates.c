/* SPDX-License-Identifier: MIT */
/* gates.c: far transfers of every kind, call gates with parameters and stack switches, returns to
 * outer levels, hardware task switches (SDM vol. 3, 5.8, 7; vol. 2, CALL, JMP, RET, IRET). */
#include "lib/guest.h"

#define GATE     0x40
#define CODE_SEL 0x48

/* --- far jumps, calls and returns at the same level, over all access bytes of the target --- */
CODE(far_jump, "", ".byte 0xea; .long far_target; .word 0x48");
CODE(far_call, "", ".byte 0x9a; .long far_target; .word 0x48");
CODE(far_jump_mem, "", "ljmpl *far_pointer");
CODE(far_call_mem, "", "lcall *far_pointer");
struct {
    uint32_t off;
    uint16_t sel;
} __attribute__((packed)) far_pointer __attribute__((used)) = {0, CODE_SEL};
extern uint8_t far_target[];
asm(".pushsection .text.snippet\nfar_target: movl %cs,%eax; movl (%esp),%ecx; movl 4(%esp),%edx; "
    "int $0x30\n.popsection");

static void test_same_level(void)
{
    static const uint8_t *const codes[] = {far_jump, far_call, far_jump_mem, far_call_mem};
    static const uint8_t *const nexts[] = {far_jump_next, far_call_next, far_jump_mem_next,
                                           far_call_mem_next};
    far_pointer.off = (uint32_t)far_target;
    for (unsigned access = 0x10; access < 256; access += (access & 15) == 15 ? 17 : 1) {
        unsigned dpl = access >> 5 & 3;
        bool code = access & 8, conforming = code && access & 4;
        for (unsigned i = 0; i < 4; i++)
            for (unsigned k = 0; k < 4; k++) {
                unsigned cpl = k & 1 ? 3 : 0, rpl = i >= 2 && k & 2 ? 3 : 0;
                far_pointer.sel = (uint16_t)(CODE_SEL | rpl);
                gdt_set(CODE_SEL, descriptor(0, 0xfffff, access, FLAG_G | FLAG_D));
                struct ctx c = ring_ctx(cpl, codes[i]);
                uint32_t esp = c.esp;
                trap_run(&c);
                bool ok = code && (conforming ? dpl <= cpl : rpl <= cpl && dpl == cpl);
                unsigned want = !ok ? VEC_GP : access & 0x80 ? VEC_EXIT : VEC_NP;
                if (want == VEC_EXIT) {
                    CHECK(c.vector == VEC_EXIT && c.eax == (CODE_SEL | cpl),
                          "access %02x cpl %u: vector %#x error %#x cs %#x", access, cpl, c.vector,
                          c.error, c.eax);
                    if (i & 1)
                        CHECK(c.esp == esp - 8 && c.ecx == (uint32_t)nexts[i] &&
                                  (c.edx & 0xffff) == RCS(cpl),
                              "far call pushed %#x:%#x", c.edx, c.ecx);
                    CHECK_EQ((uint32_t)(gdt[CODE_SEL >> 3] >> 40) & 1, 1, "accessed bit");
                } else {
                    CHECK(c.vector == want && c.error == CODE_SEL && c.eip == (uint32_t)codes[i] &&
                              c.esp == esp,
                          "access %02x cpl %u rpl %u form %u: vector %#x error %#x, expected %#x",
                          access, cpl, rpl, i, c.vector, c.error, want);
                }
            }
    }
}

/* --- call gates --- */
CODE(gate_call, "pushl $0x11; pushl $0x22; pushl $0x33; movl %esp,%ebp",
     ".byte 0x9a; .long 0xdeadbeef; .word 0x43");
CODE(gate_jump, "", ".byte 0xea; .long 0xdeadbeef; .word 0x43");
extern uint8_t gate_entry[], gate_return[], gate_show[];
asm(".pushsection .text\n"
    "gate_show: movl %cs,%eax; movl %ss,%ebx; movl (%esp),%ecx; movl 4(%esp),%edx; movl "
    "8(%esp),%esi; movl 12(%esp),%edi; int $0x30\n"
    "gate_entry: movl %cs,%eax; addl 8(%esp),%eax; lret $12\n.popsection");
CODE(gate_round,
     "1: pushl $1; pushl $2; pushl %ecx; .byte 0x9a; .long 0; .word 0x43; addl %eax,%edx; loop 1b",
     "");

static void test_call_gate(void)
{
    static uint32_t inner[256];
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned to = 0; to <= cpl; to++)
            for (unsigned params = 0; params < 4; params++) {
                gdt_set(GATE, gate((uint32_t)gate_show, RCS(to) & ~3u, 0x8c | ACC_DPL(3), params));
                struct ctx c = ring_ctx(cpl, gate_call);
                tss_main.esp1 = (uint32_t)&inner[128], tss_main.ss1 = RDS(1);
                tss_main.esp2 = (uint32_t)&inner[192], tss_main.ss2 = RDS(2);
                uint32_t esp = c.esp - 12;
                trap_run(&c);
                CHECK(c.vector == VEC_EXIT, "cpl %u to %u: vector %#x error %#x", cpl, to, c.vector,
                      c.error);
                CHECK_EQ(c.eax, RCS(to), "CS");
                CHECK_EQ(c.ebx, RDS(to), "SS");
                CHECK_EQ(c.ecx, (uint32_t)gate_call_next, "return EIP");
                CHECK_EQ(c.edx & 0xffff, RCS(cpl), "return CS");
                if (to == cpl) {
                    CHECK_EQ(c.esp, esp - 8, "ESP");
                    continue;
                }
                uint32_t *frame = to ? &inner[to == 1 ? 128 : 192] : 0;
                if (frame) {
                    CHECK_EQ(c.esp, (uint32_t)(frame - 4 - params), "inner ESP");
                    CHECK_EQ(frame[-1] & 0xffff, RDS(cpl), "outer SS");
                    CHECK_EQ(frame[-2], esp, "outer ESP");
                    for (unsigned i = 0; i < params; i++)
                        CHECK_EQ(frame[-3 - (int)i], 0x11u * (4 - params + i), "parameter");
                }
                /* a jump through the gate may not change the level */
                c = ring_ctx(cpl, gate_jump);
                trap_run(&c);
                if (to == cpl)
                    CHECK(c.vector == VEC_EXIT && c.eax == RCS(to), "jump through a gate: %#x",
                          c.vector);
                else
                    expect(&c, VEC_GP, RCS(to) & ~3u, gate_jump,
                           "jump through a gate to an inner level");
            }
    /* round trips: parameters are removed from both stacks */
    gdt_set(GATE, gate((uint32_t)gate_entry, KCS, 0x8c | ACC_DPL(3), 3));
    for (unsigned cpl = 0; cpl < 4; cpl++) {
        struct ctx c = ring_ctx(cpl, gate_round);
        uint32_t esp = c.esp;
        c.ecx = 500;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.esp == esp, "cpl %u: vector %#x error %#x esp %#x", cpl,
              c.vector, c.error, c.esp);
        CHECK_EQ(c.edx, 500 * KCS + 125250, "results of gate calls");
    }
}

static void test_gate_faults(void)
{
    static const struct {
        const char *name;
        uint32_t off, sel, access, vector, error;
    } t[] = {{"DPL 2 gate", 0, KCS, 0x8c | ACC_DPL(2), VEC_GP, GATE},
             {"absent gate", 0, KCS, 0x0c | ACC_DPL(3), VEC_NP, GATE},
             {"null selector", 0, 0, 0x8c | ACC_DPL(3), VEC_GP, 0},
             {"data selector", 0, KDS, 0x8c | ACC_DPL(3), VEC_GP, KDS},
             {"beyond the GDT", 0, 0x400, 0x8c | ACC_DPL(3), VEC_GP, 0x400},
             {"absent code", 0, 0x50, 0x8c | ACC_DPL(3), VEC_NP, 0x50},
             {"interrupt gate", 0, KCS, 0x8e | ACC_DPL(3), VEC_GP, GATE},
             {"LDT", 0, KCS, 0x82 | ACC_DPL(3), VEC_GP, GATE}};
    gdt_set(0x50, descriptor(0, 0xfffff, 0x1b, FLAG_G | FLAG_D));
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        gdt_set(GATE, gate((uint32_t)gate_show, t[i].sel, t[i].access, 0));
        struct ctx c = user_ctx(gate_call);
        uint32_t esp = c.esp;
        trap_run(&c);
        expect(&c, t[i].vector, t[i].error, gate_call_at, t[i].name);
        CHECK_EQ(c.esp, esp - 12, "ESP");
    }
    /* the entry's offset is checked against the new code segment's limit */
    gdt_set(0x50, descriptor(0, 0xff, ACC_CODE | ACC_DPL(3), FLAG_D));
    gdt_set(GATE, gate(0x100, 0x50, 0x8c | ACC_DPL(3), 0));
    struct ctx c = user_ctx(gate_call);
    trap_run(&c);
    expect(&c, VEC_GP, 0, gate_call_at, "entry beyond the code limit");
}

/* --- RET and IRET to an outer level: data segments that it may not keep become null --- */
CODE(outer_lret, "", "lret $8");
CODE(outer_iret, "", "iretl");
extern uint8_t outer_target[];
asm(".pushsection .text.snippet\nouter_target: movl %cs,%eax; movl %ds,%ebx; movl %es,%ecx; movl "
    "%fs,%edx; movl %gs,%esi; movl %ss,%edi; int $0x30\n.popsection");

static void test_outer(void)
{
    gdt_set(0x50, descriptor(0, 0xfffff, 0x9f, FLAG_G | FLAG_D)); /* conforming, DPL 0 */
    for (unsigned iret = 0; iret < 2; iret++)
        for (unsigned cpl = 0; cpl < 3; cpl++)
            for (unsigned to = cpl + 1; to < 4; to++) {
                struct ctx c = ring_ctx(cpl, iret ? outer_iret : outer_lret);
                c.fs = 0x50 | cpl;
                c.gs = UDS;
                uint32_t *frame = (uint32_t *)(c.esp -= 64);
                *frame++ = (uint32_t)outer_target;
                *frame++ = RCS(to);
                if (iret)
                    *frame++ = EFL_ONE | EFL_CF;
                else
                    frame += 2; /* the 8 bytes that LRET drops */
                frame[0] = (uint32_t)user_stack + 4096;
                frame[1] = RDS(to);
                trap_run(&c);
                CHECK(c.vector == VEC_EXIT && c.eax == RCS(to) && c.edi == RDS(to),
                      "cpl %u to %u: vector %#x error %#x cs %#x", cpl, to, c.vector, c.error,
                      c.eax);
                CHECK_EQ(c.ebx, 0, "DS");
                CHECK_EQ(c.ecx, 0, "ES");
                CHECK_EQ(c.edx, 0x50 | cpl, "FS, conforming code");
                CHECK_EQ(c.esi, UDS, "GS");
                CHECK_EQ(c.esp, (uint32_t)user_stack + 4096 + (iret ? 0 : 8), "ESP");
            }
}

static void test_outer_faults(void)
{
    static const struct {
        const char *name;
        uint32_t cs, ss, vector, error;
    } t[] = {{"null CS", 0, UDS, VEC_GP, 0},
             {"data CS", UDS, UDS, VEC_GP, UDS & ~3},
             {"CS with RPL below CPL", KCS, UDS, VEC_GP, KCS},
             {"CS with DPL 0 and RPL 3", KCS | 3, UDS, VEC_GP, KCS},
             {"null SS", UCS, 0, VEC_GP, 0},
             {"SS with RPL 0", UCS, UDS & ~3, VEC_GP, UDS & ~3},
             {"SS with DPL 0", UCS, KDS | 3, VEC_GP, KDS},
             {"code SS", UCS, UCS, VEC_GP, UCS & ~3},
             {"absent SS", UCS, 0x53, VEC_SS, 0x50},
             {"absent CS", 0x5b, UDS, VEC_NP, 0x58},
             {"CS beyond the GDT", 0x403, UDS, VEC_GP, 0x400}};
    gdt_set(0x50, descriptor(0, 0xfffff, 0x73, FLAG_G | FLAG_D));
    gdt_set(0x58, descriptor(0, 0xfffff, 0x7b, FLAG_G | FLAG_D));
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        for (unsigned iret = 0; iret < 2; iret++) {
            const uint8_t *code = iret ? outer_iret : outer_lret;
            struct ctx c = ring_ctx(1, code);
            uint32_t *frame = (uint32_t *)(c.esp -= 64);
            *frame++ = (uint32_t)outer_target;
            *frame++ = t[i].cs;
            frame += iret ? 1 : 2;
            frame[0] = (uint32_t)user_stack + 4096;
            frame[1] = t[i].ss;
            if (iret)
                frame[-1] = EFL_ONE;
            uint32_t esp = c.esp;
            trap_run(&c);
            expect(&c, t[i].vector, t[i].error, code, t[i].name);
            CHECK(c.esp == esp && c.cs == RCS(1), "ESP or CS changed");
        }
}

/* --- hardware task switches --- */
#define SEL_TASK      0x60
#define SEL_TASK_GATE 0x68
static struct tss task;
static uint8_t task_stack[4096];
extern uint8_t task_entry[], task_again[];
asm(".pushsection .text\n"
    "task_entry: pushl %eax; movl %ebx,task_seen; movl %esi,task_seen+4; smsw %eax; movl "
    "%eax,task_seen+8\n"
    "pushfl; popl task_seen+12; str task_seen+16; clts; popl %eax; addl $1,%eax; iretl\n"
    "task_again: addl $0x100,%eax; iretl; jmp task_again\n"
    "task_jump: pushfl; popl task_seen+12; clts; ljmp $0x28,$0\n.popsection");
uint32_t task_seen[8] __attribute__((used));
extern uint8_t task_jump[];
CODE(task_call, "movl $0x1111,%ebx; movl $0x2222,%esi; stc", ".byte 0x9a; .long 0; .word 0x60");
CODE(task_call_gate, "stc", ".byte 0x9a; .long 0; .word 0x6b");
CODE(task_jump_to, "stc", ".byte 0xea; .long 0; .word 0x60");
CODE(task_int, "stc", "int $0x42");
CODE(task_div, "xorl %ecx,%ecx", "divl %ecx");

static unsigned type_of(unsigned sel)
{
    return (unsigned)(gdt[sel >> 3] >> 40) & 15;
}

static void new_task(const void *entry)
{
    task = (struct tss){.ss0 = KDS,
                        .esp0 = (uint32_t)task_stack + 2048,
                        .cr3 = READ_CR(3),
                        .eip = (uint32_t)entry,
                        .eflags = EFL_ONE,
                        .eax = 0x5000,
                        .ebx = 0xaaaa,
                        .esi = 0xbbbb,
                        .esp = (uint32_t)task_stack + sizeof task_stack,
                        .cs = KCS,
                        .ss = KDS,
                        .ds = KDS,
                        .es = KDS,
                        .fs = KDS,
                        .gs = KDS,
                        .iomap = 104};
    gdt_set(SEL_TASK, descriptor((uint32_t)&task, 103, 0x89 | ACC_DPL(3), 0));
    gdt_set(SEL_TASK_GATE, gate(0, SEL_TASK, 0x85 | ACC_DPL(3), 0));
    idt_set(0x42, gate(0, SEL_TASK, 0x85 | ACC_DPL(3), 0));
    memset(task_seen, 0, sizeof task_seen);
}

static void test_task_call(void)
{
    static const struct {
        const char *name;
        const uint8_t *code, *next;
    } t[] = {{"call", task_call, task_call_next},
             {"call through a gate", task_call_gate, task_call_gate_next},
             {"int", task_int, task_int_next}};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned cpl = 0; cpl < 4; cpl += 3)
            for (unsigned round = 0; round < 2; round++) {
                new_task(task_entry);
                struct ctx c = ring_ctx(cpl, t[i].code);
                c.eax = 0x77, c.edi = 0x99;
                c.eflags |= EFL_ZF;
                uint32_t esp = c.esp;
                trap_run(&c);
                asm volatile("clts");
                CHECK(c.vector == VEC_EXIT, "%s: vector %#x error %#x eip %#x", t[i].name, c.vector,
                      c.error, c.eip);
                CHECK(c.eip == (uint32_t)t[i].next + 2 && c.esp == esp && c.cs == RCS(cpl),
                      "%s: back at %#x", t[i].name, c.eip);
                CHECK(c.eax == 0x77 && c.edi == 0x99, "%s: eax %#x edi %#x", t[i].name, c.eax,
                      c.edi);
                CHECK((c.eflags & (EFL_CF | EFL_ZF | EFL_NT)) == (EFL_CF | EFL_ZF), "%s: flags %#x",
                      t[i].name, c.eflags);
                CHECK_EQ(task_seen[0], 0xaaaa, "EBX of the new task");
                CHECK_EQ(task_seen[1], 0xbbbb, "ESI of the new task");
                CHECK(task_seen[2] & CR0_TS, "CR0.TS after a task switch");
                CHECK_EQ(task_seen[3], EFL_ONE | EFL_NT, "flags of the new task");
                CHECK_EQ(task_seen[4] & 0xffff, SEL_TASK, "TR");
                CHECK_EQ(task.link & 0xffff, SEL_TSS, "back link");
                CHECK_EQ(task.eax, 0x5001, "EAX saved by the task");
                CHECK_EQ(task.eflags & EFL_NT, 0, "NT saved by IRET");
                CHECK_EQ(type_of(SEL_TASK), 9, "type after the return");
                CHECK_EQ(type_of(SEL_TSS), 11, "type of the running TSS");
            }
    idt_reset(0x42);
    /* a task is entered again behind its IRET */
    new_task(task_again);
    for (unsigned i = 1; i < 5; i++) {
        struct ctx c = user_ctx(task_call);
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && task.eax == 0x5000 + 0x100 * i,
              "round %u: vector %#x eax %#x", i, c.vector, task.eax);
    }
    asm volatile("clts");
}

static void test_task_jump(void)
{
    for (unsigned cpl = 0; cpl < 4; cpl += 3) {
        new_task(task_jump);
        struct ctx c = ring_ctx(cpl, task_jump_to);
        uint32_t esp = c.esp;
        trap_run(&c);
        asm volatile("clts");
        CHECK(c.vector == VEC_EXIT && c.eip == (uint32_t)task_jump_to_next + 2 && c.esp == esp,
              "vector %#x error %#x eip %#x", c.vector, c.error, c.eip);
        CHECK_EQ(task_seen[3], EFL_ONE, "flags of a task jumped to");
        CHECK_EQ(type_of(SEL_TASK), 9, "type after the jump back");
        CHECK_EQ(type_of(SEL_TSS), 11, "type of the running TSS");
    }
}

static void test_task_faults(void)
{
    static const struct {
        const char *name;
        unsigned access;
        uint32_t limit, vector, error;
    } t[] = {{"busy", 0x8b | ACC_DPL(3), 103, VEC_GP, SEL_TASK},
             {"absent", 0x09 | ACC_DPL(3), 103, VEC_NP, SEL_TASK},
             {"DPL 0", 0x89, 103, VEC_GP, SEL_TASK},
             {"short", 0x89 | ACC_DPL(3), 102, VEC_TS, SEL_TASK},
             {"LDT", 0x82 | ACC_DPL(3), 103, VEC_GP, SEL_TASK}};
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++) {
        new_task(task_entry);
        gdt_set(SEL_TASK, descriptor((uint32_t)&task, t[i].limit, t[i].access, 0));
        struct ctx c = user_ctx(task_call);
        trap_run(&c);
        expect(&c, t[i].vector, t[i].error, task_call_at, t[i].name);
        CHECK_EQ(type_of(SEL_TSS), 11, "type of the running TSS");
    }
    /* what is wrong within the new TSS is reported in the new task */
    static const struct {
        const char *name;
        size_t field;
        uint32_t value, vector, error;
    } u[] = {{"CS null", offsetof(struct tss, cs), 0, VEC_TS, 0},
             {"CS data", offsetof(struct tss, cs), KDS, VEC_TS, KDS},
             {"SS null", offsetof(struct tss, ss), 0, VEC_TS, 0},
             {"DS beyond", offsetof(struct tss, ds), 0x400, VEC_TS, 0x400},
             {"LDT bad", offsetof(struct tss, ldt), KDS, VEC_TS, KDS}};
    for (unsigned i = 0; i < sizeof u / sizeof *u; i++) {
        new_task(task_entry);
        *(uint32_t *)((uint8_t *)&task + u[i].field) = u[i].value;
        /* caught by another task, since the stack may be unusable */
        idt_set(VEC_TS, gate(0, SEL_DF, 0x85, 0));
        struct ctx c = user_ctx(task_call);
        trap_run(&c);
        idt_reset(VEC_TS);
        CHECK(c.vector == VEC_DF && c.error == u[i].error, "%s: vector %#x error %#x", u[i].name,
              c.vector, c.error);
        CHECK_EQ(tss_df.link & 0xffff, SEL_TASK, "back link");
        asm volatile("clts");
    }
}

asm(".pushsection .text\ntask_repair0: movl $task_div_next,tss_main+32; iretl\n.popsection");
/* A fault handled by a task; the task returns to the fault's address. */
static void test_task_fault_handler(void)
{
    extern uint8_t task_repair0[];
    for (unsigned cpl = 0; cpl < 4; cpl += 3) {
        new_task(task_repair0);
        idt_set(VEC_DE, gate(0, SEL_TASK, 0x85, 0));
        struct ctx c = ring_ctx(cpl, task_div);
        c.esi = 0x4321;
        trap_run(&c);
        idt_reset(VEC_DE);
        asm volatile("clts");
        CHECK(c.vector == VEC_EXIT && c.esi == 0x4321, "vector %#x error %#x", c.vector, c.error);
    }
}

asm(".pushsection .text\ntask_look: movl 0x40000000,%ebx; movl %ebx,task_seen; movl %cr3,%ebx; "
    "movl %ebx,task_seen+4; iretl\n.popsection");
/* A task with its own address space. */
static void test_task_cr3(void)
{
    static uint32_t dir[1024] __attribute__((aligned(4096)));
    paging_on(false);
    memcpy(dir, (void *)page_directory_address, 4096);
    dir[0x40000000 >> 22] = 0x1400000 | PTE_P | PTE_W | PTE_U | PTE_PS;
    pde_set(0x40000000, 0x1800000 | PTE_P | PTE_W | PTE_U | PTE_PS);
    *(volatile uint32_t *)0x1400000 = 0x1234, *(volatile uint32_t *)0x1800000 = 0x5678;
    extern uint8_t task_look[];
    new_task(task_look);
    task.cr3 = (uint32_t)dir;
    struct ctx c = user_ctx(task_call);
    trap_run(&c);
    asm volatile("clts");
    CHECK_EQ(c.vector, VEC_EXIT, "vector");
    CHECK_EQ(task_seen[0], 0x1234, "what the task saw");
    CHECK_EQ(task_seen[1], (uint32_t)dir, "its CR3");
    CHECK_EQ(READ_CR(3), page_directory_address, "CR3 after its return");
    CHECK_EQ(*(volatile uint32_t *)0x40000000, 0x5678, "what is seen here");
    paging_off();
}

static const struct test tests[] = {
    {"same_level", test_same_level, "far transfers do not set the accessed bit"},
    {"call_gate", test_call_gate, NULL},
    {"gate_faults", test_gate_faults, "a gate's offset is not checked against the limit"},
    {"outer", test_outer, NULL},
    {"outer_faults", test_outer_faults, "#NP for an absent SS"},
    {"task_jump", test_task_jump, NULL},
    {"task_faults", test_task_faults, NULL},
    {"task_fault_handler", test_task_fault_handler, NULL},
    {"task_cr3", test_task_cr3, NULL},
    {"task_call", test_task_call, "a task is left by IRET with wrong EIP and flags"},
};

void guest_main(void)
{
    pic_init();
    RUN_TESTS(tests);
}
