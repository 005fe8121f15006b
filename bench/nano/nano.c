/* SPDX-License-Identifier: MIT */
/*
 * What single operations cost in a guest, in cycles of its time-stamp counter: the privileged and
 * the sensitive ones, faults, traps and page-table edits, after Adams and Agesen (ASPLOS 2006).
 *
 * Each operation is a loop in a snippet (ECX counts down), run at CPL 0 or 3 through trap_run().
 * The number of rounds grows until a run takes long enough; the cost of an empty loop is taken off.
 * One line each: NANO name cycles*100. The trap handlers here are a few instructions long, so that
 * what is measured is the machine and not the handler.
 */
#include "lib/guest.h"

enum {
    VEC_SYSCALL = 0x80,
    REPETITIONS = 7,
    ENOUGH_CYCLES = 4000000,
    MOST_ROUNDS = 4000000,
    HOLE = 24 << 20
};

/* A loop around an operation; the counter sits in memory where the operation needs all registers.
 */
#define LOOP(name, setup, operation)                                                               \
    CODE(name, setup "\n1: " operation "\n decl nano_left\n jnz 1b", "")

uint32_t nano_left;
uint32_t nano_scratch[8] __attribute__((aligned(64)));
uint32_t nano_pte[2];

LOOP(nano_empty, "", "");
LOOP(nano_call, "", "call 7f; jmp 8f; 7: ret; 8:");
LOOP(nano_call_indirect, "movl $7f, %eax; jmp 1f; 7: ret", "call *%eax");
LOOP(nano_push_pop, "", "pushl %eax; popl %eax");
LOOP(nano_pushf_popf, "", "pushfl; popfl");
LOOP(nano_cli_sti, "", "cli; sti; cli");
LOOP(nano_rdtsc, "", "rdtsc");
LOOP(nano_cpuid, "", "xorl %eax, %eax; xorl %ecx, %ecx; cpuid");
LOOP(nano_mov_seg, "movl %ds, %eax", "movl %eax, %es");
LOOP(nano_in, "", "inb $0x61, %al");
LOOP(nano_out, "", "outb %al, $0x80");
LOOP(nano_mmio, "", "movl 0xfee00030, %eax");
LOOP(nano_cr0_write, "movl %cr0, %eax", "movl %eax, %cr0");
LOOP(nano_cr3_write, "movl %cr3, %eax", "movl %eax, %cr3");
LOOP(nano_cr3_touch, "movl %cr3, %eax", "movl %eax, %cr3; movl nano_scratch, %edx");
LOOP(nano_stts_clts, "movl %cr0, %eax; orl $8, %eax", "movl %eax, %cr0; clts");
LOOP(nano_iret, "", "pushfl; pushl $0x8; pushl $7f; iretl; 7:");
LOOP(nano_int, "", "int $0x80");
LOOP(nano_sysenter, "", "movl %esp, %ecx; movl $7f, %edx; sysenter; 7:");
LOOP(nano_divide_zero, "xorl %ecx, %ecx", "xorl %edx, %edx; divl %ecx");
LOOP(nano_undefined, "", "ud2");
LOOP(nano_page_fault, "movl $0x1800000, %ebx", "movl (%ebx), %eax");
LOOP(nano_invlpg, "movl $0x1900000, %ebx", "invlpg (%ebx)");
/* Two frames in turn behind one address: the edit alone, with INVLPG, and with a use of the page.
 */
LOOP(nano_pte_edit, "movl nano_pte, %eax; movl nano_pte+4, %edx",
     "xchgl %eax, %edx; movl %eax, (%esi)");
LOOP(nano_pte_edit_touch, "movl nano_pte, %eax; movl nano_pte+4, %edx; movl $0x1900000, %ebx",
     "xchgl %eax, %edx; movl %eax, (%esi); invlpg (%ebx); movl (%ebx), %edi");
LOOP(nano_smc, "movl $0, %eax", "movb %al, 7f+1; incl %eax; jmp 7f; 7: movb $0, %dl");

/* The handlers. A fault skips its instruction, which is two bytes long. */
asm(".text\n"
    "nano_on_syscall: iretl\n"
    "nano_on_fault: addl $2, (%esp)\n iretl\n"
    "nano_on_page_fault: addl $4, %esp\n addl $2, (%esp)\n iretl\n"
    "nano_on_sysenter: sysexit\n");
extern uint8_t nano_on_syscall[], nano_on_fault[], nano_on_page_fault[], nano_on_sysenter[];

static uint32_t pte_address;

static uint32_t run_once(const void *code, bool user, uint32_t rounds, uint32_t *cycles)
{
    struct ctx c = user ? user_ctx(code) : kernel_ctx(code);
    c.esi = pte_address;
    nano_left = rounds;
    uint64_t start = rdtsc();
    trap_run(&c);
    uint64_t spent = rdtsc() - start;
    *cycles = spent >> 32 ? 0xffffffff : (uint32_t)spent;
    return c.vector;
}

/* Cycles a round, times 100: the best of some runs, since whoever shares the host only ever adds.
 */
static uint32_t measure(const void *code, bool user, uint32_t *vector)
{
    uint32_t rounds = 100, cycles, best;
    for (;;) {
        *vector = run_once(code, user, rounds, &cycles);
        if (*vector != VEC_EXIT || cycles >= ENOUGH_CYCLES || rounds >= MOST_ROUNDS)
            break;
        rounds *= cycles < ENOUGH_CYCLES / 16 ? 8 : 2;
    }
    best = cycles;
    for (unsigned i = 1; i < REPETITIONS && *vector == VEC_EXIT; i++) {
        *vector = run_once(code, user, rounds, &cycles);
        if (cycles < best)
            best = cycles;
    }
    return best / rounds * 100 + best % rounds * 100 / rounds;
}

static const struct {
    const char *name;
    const void *code;
    bool user;
} operations[] = {
    {"push_pop",          nano_push_pop,       false},
    {"call_ret",          nano_call,           false},
    {"call_ret_indirect", nano_call_indirect,  false},
    {"pushf_popf",        nano_pushf_popf,     false},
    {"cli_sti",           nano_cli_sti,        false},
    {"rdtsc",             nano_rdtsc,          false},
    {"cpuid",             nano_cpuid,          false},
    {"mov_seg",           nano_mov_seg,        false},
    {"in",                nano_in,             false},
    {"out",               nano_out,            false},
    {"mmio_read",         nano_mmio,           false},
    {"cr0_write",         nano_cr0_write,      false},
    {"stts_clts",         nano_stts_clts,      false},
    {"cr3_write",         nano_cr3_write,      false},
    {"cr3_write_touch",   nano_cr3_touch,      false},
    {"iret",              nano_iret,           false},
    {"int_kernel",        nano_int,            false},
    {"syscall_int",       nano_int,            true },
    {"syscall_sysenter",  nano_sysenter,       true },
    {"divide_by_zero",    nano_divide_zero,    true },
    {"undefined",         nano_undefined,      true },
    {"page_fault",        nano_page_fault,     true },
    {"invlpg",            nano_invlpg,         false},
    {"pte_edit",          nano_pte_edit,       false},
    {"pte_edit_touch",    nano_pte_edit_touch, false},
    {"smc",               nano_smc,            false},
};

static void set_up(void)
{
    paging_on(false);
    pte_set(HOLE, 0);
    uint32_t page = 25 << 20;
    const uint32_t *directory = (const uint32_t *)page_directory_address;
    pte_address = (directory[page >> 22] & ~0xfffu) + (page >> 12 & 1023) * 4;
    nano_pte[0] = (26u << 20) | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    nano_pte[1] = (27u << 20) | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    idt_set(VEC_SYSCALL, gate((uint32_t)nano_on_syscall, KCS, 0xee, 0));
    idt_set(VEC_DE, gate((uint32_t)nano_on_fault, KCS, 0x8e, 0));
    idt_set(VEC_UD, gate((uint32_t)nano_on_fault, KCS, 0x8e, 0));
    idt_set(VEC_PF, gate((uint32_t)nano_on_page_fault, KCS, 0x8e, 0));
    wrmsr(0x174, KCS);
    wrmsr(0x175, (uint32_t)kernel_stack2 + sizeof kernel_stack2);
    wrmsr(0x176, (uint32_t)nano_on_sysenter);
}

void guest_main(void)
{
    uint32_t vector, empty;
    pic_init();
    pic_mask(0xffff); /* an interrupt that waits for ever would make each STI dear */
    set_up();
    empty = measure(nano_empty, false, &vector);
    for (unsigned i = 0; i < sizeof operations / sizeof *operations; i++) {
        uint32_t cost = measure(operations[i].code, operations[i].user, &vector);
        if (vector != VEC_EXIT)
            print("NOT %s vector %u\n", operations[i].name, vector);
        else
            print("NANO %s %u\n", operations[i].name, cost > empty ? cost - empty : 0);
    }
    print("PASS nano\n1 passed, 0 failed\n");
    guest_exit(0);
}
