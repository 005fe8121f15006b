/* SPDX-License-Identifier: MIT */
/* hello.c: a small guest that shows what a machine has: it says what processor it sees, counts
 * timer ticks, moves a page around, measures a little work in each privilege level, and ends. With
 * `interactive` on its command line it then offers an echo prompt on the serial line. */
#include "lib/guest.h"

static volatile unsigned ticks;

static void on_tick(struct ctx *c)
{
    (void)c;
    ticks++;
    pic_eoi(0);
}

static void show_cpu(void)
{
    uint32_t r[4], brand[13] = {0};
    cpuid(0, r);
    uint32_t max = r[0], vendor[4] = {r[1], r[3], r[2], 0};
    print("processor: %s", (const char *)vendor);
    cpuid(1, r);
    print(" family %u model %u, features %08x %08x\n", r[0] >> 8 & 15,
          (r[0] >> 4 & 15) | (r[0] >> 12 & 0xf0), r[3], r[2]);
    cpuid(0x80000000, r);
    if (max && r[0] >= 0x80000004) {
        for (unsigned i = 0; i < 3; i++)
            cpuid(0x80000002 + i, brand + 4 * i);
        print("           %s\n", (const char *)brand);
    }
    const uint32_t *info = (const uint32_t *)multiboot_info;
    if (info && info[0] & 1)
        print("memory:    %u KiB low, %u KiB high\n", info[1], info[2]);
}

static void show_timer(void)
{
    pic_init();
    irq_handler[VEC_IRQ0] = on_tick;
    pit_start(100);
    pic_mask(0xfffe);
    uint64_t start = rdtsc();
    asm volatile("sti");
    while (ticks < 20)
        asm volatile("hlt");
    asm volatile("cli");
    uint64_t end = rdtsc();
    pic_mask(0xffff);
    pit_stop();
    print("timer:     %u ticks at 100 Hz, %u kilocycles each\n", ticks,
          (uint32_t)(end - start) / 1000 / ticks);
}

CODE(touch, "", "movl (%ebx),%eax");

/* The same frame at two addresses, then a fault that is served by mapping a page. */
static void show_paging(void)
{
    uint32_t frame = 16u << 20, alias = 17u << 20;
    paging_on(false);
    pte_set(alias, frame | PTE_P | PTE_W);
    *(volatile uint32_t *)frame = 0x600d;
    uint32_t seen = *(volatile uint32_t *)alias;
    pte_set(alias, 0);
    struct ctx c = kernel_ctx(touch);
    c.ebx = alias;
    trap_run(&c);
    print("paging:    alias reads %x; unmapped, it faults with vector %u, CR2 %08x\n", seen,
          c.vector, c.cr2);
    paging_off();
}
CODE(sum_loop, "xorl %eax,%eax; 1: addl %ecx,%eax; roll $3,%eax; decl %ecx; jnz 1b", "");

static void show_rings(void)
{
    for (unsigned user = 0; user < 2; user++) {
        struct ctx c = user ? user_ctx(sum_loop) : kernel_ctx(sum_loop);
        c.ecx = 10000000;
        uint64_t start = rdtsc();
        trap_run(&c);
        print("ring %u:    10000000 rounds in %u kilocycles, result %08x\n", user * 3,
              (uint32_t)((rdtsc() - start) / 1024), c.eax);
    }
}

static void prompt(void)
{
    char line[128];
    unsigned n = 0;
    print("type a line (it comes back; `quit` ends)\n> ");
    for (;;) {
        int ch = getch();
        if (ch < 0) {
            asm volatile("pause");
            continue;
        }
        if (ch == '\r' || ch == '\n') {
            line[n] = 0;
            print("\n");
            if (n == 4 && !memcmp(line, "quit", 4))
                return;
            print("%s\n> ", line);
            n = 0;
        } else if ((ch == 8 || ch == 127) && n) {
            n--;
            print("\b \b");
        } else if (ch >= ' ' && ch < 127 && n < sizeof line - 1) {
            line[n++] = (char)ch;
            putch((char)ch);
        }
    }
}

void guest_main(void)
{
    print("hello from a guest kernel\n");
    if (*cmdline)
        print("command:   %s\n", cmdline);
    show_cpu();
    show_timer();
    show_paging();
    show_rings();
    if (cmdline_has("interactive"))
        prompt();
    print("PASS hello\n1 passed, 0 failed\n");
}
