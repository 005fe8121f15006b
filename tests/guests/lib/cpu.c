/* SPDX-License-Identifier: MIT */
/* cpu.c: descriptor tables, and what happens to a trap. */
#include "guest.h"

uint64_t gdt[GDT_SLOTS] __attribute__((aligned(4096)));
uint64_t idt[256] __attribute__((aligned(16)));
uint64_t ldt[16] __attribute__((aligned(16)));
uint8_t user_stack[16384] __attribute__((aligned(4096)));
uint8_t kernel_stack2[16384] __attribute__((aligned(4096)));
static uint8_t df_stack[4096] __attribute__((aligned(16)));
struct tss tss_main, tss_df;
struct ctx trap_save;
void (*irq_handler[256])(struct ctx *c);
bool trap_stop;

static bool armed;
extern uint8_t trap_stubs[];
void trap_enter(void);
void trap_df_entry(void);
int trap_dispatch(void);
void trap_df(void);

uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 |
           (uint64_t)(base >> 24) << 56;
}

uint64_t gate(uint32_t offset, unsigned sel, unsigned access, unsigned params)
{
    return (offset & 0xffff) | (uint64_t)sel << 16 | (uint64_t)params << 32 |
           (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48;
}

void gdt_set(unsigned sel, uint64_t value)
{
    gdt[sel >> 3] = value;
}

void idt_set(unsigned vector, uint64_t value)
{
    idt[vector] = value;
}

uint32_t stub_address(unsigned vector)
{
    return (uint32_t)trap_stubs + vector * 16;
}

void idt_reset(unsigned v)
{
    bool user = v == VEC_EXIT || v == VEC_BP || v == VEC_OF;
    idt[v] = v == VEC_DF ? gate(0, SEL_DF, 0x85, 0)
                         : gate(stub_address(v), KCS, 0x8e | (user ? ACC_DPL(3) : 0), 0);
}

static uint32_t main_limit = 103;

static void set_tss(unsigned sel)
{
    struct tss *t = sel == SEL_TSS ? &tss_main : &tss_df;
    gdt_set(sel, descriptor((uint32_t)t, sel == SEL_TSS ? main_limit : 103, 0x89, 0));
}

void tss_limit(uint32_t limit)
{
    main_limit = limit;
    set_tss(SEL_TSS);
    asm volatile("ltr %w0" ::"r"(SEL_TSS));
}

void cpu_init(void)
{
    gdt_set(KCS, descriptor(0, 0xfffff, ACC_CODE, FLAG_G | FLAG_D));
    gdt_set(KDS, descriptor(0, 0xfffff, ACC_DATA, FLAG_G | FLAG_D));
    gdt_set(UCS, descriptor(0, 0xfffff, ACC_CODE | ACC_DPL(3), FLAG_G | FLAG_D));
    gdt_set(UDS, descriptor(0, 0xfffff, ACC_DATA | ACC_DPL(3), FLAG_G | FLAG_D));
    for (unsigned n = 1; n < 3; n++) {
        gdt_set(RCS(n), descriptor(0, 0xfffff, ACC_CODE | ACC_DPL(n), FLAG_G | FLAG_D));
        gdt_set(RDS(n), descriptor(0, 0xfffff, ACC_DATA | ACC_DPL(n), FLAG_G | FLAG_D));
    }
    gdt_set(SEL_LDT, descriptor((uint32_t)ldt, sizeof ldt - 1, 0x82, 0));
    tss_main.ss0 = KDS;
    tss_main.iomap = offsetof(struct tss, io);
    set_tss(SEL_TSS);
    tss_df = (struct tss){.ss0 = KDS,
                          .eip = (uint32_t)trap_df_entry,
                          .eflags = EFL_ONE,
                          .esp = (uint32_t)df_stack + sizeof df_stack,
                          .cs = KCS,
                          .ss = KDS,
                          .ds = KDS,
                          .es = KDS,
                          .fs = KDS,
                          .gs = KDS,
                          .iomap = offsetof(struct tss, io)};
    set_tss(SEL_DF);
    for (unsigned i = 0; i < 256; i++)
        idt_reset(i);
    struct table_ptr g = {sizeof gdt - 1, (uint32_t)gdt}, i = {sizeof idt - 1, (uint32_t)idt};
    asm volatile("lgdt %0; lidt %1\n"
                 "ljmp %2,$1f\n1:\n"
                 "mov %w3,%%ds; mov %w3,%%es; mov %w3,%%fs; mov %w3,%%gs; mov %w3,%%ss\n"
                 "ltr %w4; lldt %w5" ::"m"(g),
                 "m"(i), "i"(KCS), "r"(KDS), "r"(SEL_TSS), "r"(0)
                 : "memory");
}

struct ctx ring_ctx(unsigned cpl, const void *eip)
{
    struct ctx c = cpl ? user_ctx(eip) : kernel_ctx(eip);
    c.cs = RCS(cpl);
    c.ss = c.ds = c.es = c.fs = c.gs = RDS(cpl);
    return c;
}

struct ctx kernel_ctx(const void *eip)
{
    return (struct ctx){.eip = (uint32_t)eip,
                        .cs = KCS,
                        .ss = KDS,
                        .ds = KDS,
                        .es = KDS,
                        .fs = KDS,
                        .gs = KDS,
                        .eflags = EFL_ONE,
                        .esp = (uint32_t)kernel_stack2 + sizeof kernel_stack2 - 64};
}

struct ctx user_ctx(const void *eip)
{
    return (struct ctx){.eip = (uint32_t)eip,
                        .cs = UCS,
                        .ss = UDS,
                        .ds = UDS,
                        .es = UDS,
                        .fs = UDS,
                        .gs = UDS,
                        .eflags = EFL_ONE,
                        .esp = (uint32_t)user_stack + sizeof user_stack - 64};
}

void trap_run(struct ctx *c)
{
    uint32_t fl = read_eflags();
    asm volatile("cli");
    trap_save = *c;
    armed = true;
    trap_enter();
    armed = false;
    *c = trap_save;
    if (fl & EFL_IF)
        asm volatile("sti");
}

CODE(trap_call_thunk, "pushl %ebx; call *%eax; addl $4,%esp", "");
bool trap_call(void (*fn)(void *), void *arg, struct ctx *out)
{
    struct ctx c = kernel_ctx(trap_call_thunk);
    c.eax = (uint32_t)fn;
    c.ebx = (uint32_t)arg;
    trap_run(&c);
    if (out)
        *out = c;
    return c.vector == VEC_EXIT;
}

static _Noreturn void unexpected(void)
{
    const struct ctx *c = &trap_save;
    print("FAIL unexpected trap: vector %#x error %#x cs:eip %x:%08x eflags %08x ss:esp %x:%08x "
          "cr2 %08x\neax %08x ecx %08x edx %08x ebx %08x ebp %08x esi %08x edi %08x\n",
          c->vector, c->error, c->cs, c->eip, c->eflags, c->ss, c->esp, c->cr2, c->eax, c->ecx,
          c->edx, c->ebx, c->ebp, c->esi, c->edi);
    print("0 passed, 1 failed\n");
    guest_exit(0x11);
}

/* 0: go on where it was interrupted; 1: back to trap_run()'s caller. */
int trap_dispatch(void)
{
    trap_save.ds &= 0xffff; /* PUSH may leave the upper half of what it pushes alone */
    if (irq_handler[trap_save.vector & 255]) {
        irq_handler[trap_save.vector & 255](&trap_save);
        if (!trap_stop)
            return 0;
        trap_stop = false;
        return 1;
    }
    if (!armed)
        unexpected();
    return 1;
}

/* Runs in the double-fault task: takes the interrupted state out of the main TSS, then makes the
 * processor believe that the main task runs again. */
void trap_df(void)
{
    const struct tss *t = &tss_main;
    trap_save = (struct ctx){.edi = t->edi,
                             .esi = t->esi,
                             .ebp = t->ebp,
                             .ebx = t->ebx,
                             .edx = t->edx,
                             .ecx = t->ecx,
                             .eax = t->eax,
                             .gs = t->gs & 0xffff,
                             .fs = t->fs & 0xffff,
                             .es = t->es & 0xffff,
                             .ds = t->ds & 0xffff,
                             .vector = VEC_DF,
                             .error = trap_save.error,
                             .eip = t->eip,
                             .cs = t->cs & 0xffff,
                             .eflags = t->eflags,
                             .esp = t->esp,
                             .ss = t->ss & 0xffff,
                             .cr2 = trap_save.cr2};
    set_tss(SEL_TSS);
    set_tss(SEL_DF);
    tss_df.eip = (uint32_t)trap_df_entry;
    tss_df.esp = (uint32_t)df_stack + sizeof df_stack;
    tss_df.eflags = EFL_ONE;
    asm volatile("ltr %w0" ::"r"(SEL_TSS));
    if (!armed)
        unexpected();
}
