/* SPDX-License-Identifier: MIT */
/* guest.h: the little library that all test kernels are built on.
 *
 * A kernel is a Multiboot 1 ELF32 that runs flat, unpaged, at CPL 0, interrupts off. It supplies
 * guest_main() and prints `PASS name` / `FAIL name: why` lines and a last line `N passed, N failed`
 * on COM1, then writes 0 (all passed) or 0x10 to the debug-exit port 0xf4.
 *
 * The heart is trap_run(): it loads a whole processor context (any CPL, virtual-8086, 16-bit), runs
 * it until something traps, and gives back the context at the trap with vector, error code and CR2.
 * Snippets end with `int $0x30` (VEC_EXIT), whose gate has DPL 3. Every expectation follows the
 * Intel SDM; where QEMU's TCG is known to differ, the test says so in its `qemu` member. */
#ifndef RINGDOWN_TESTS_GUESTS_LIB_GUEST_H
#define RINGDOWN_TESTS_GUESTS_LIB_GUEST_H

#ifndef __ASSEMBLER__
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ringdown/x86.h"
#endif

/* Selectors. KCS, KDS, UCS, UDS stand in the order SYSENTER and SYSEXIT want. */
#define KCS       0x08
#define KDS       0x10
#define UCS       0x1b
#define UDS       0x23
#define SEL_TSS   0x28
#define SEL_DF    0x30
#define SEL_LDT   0x38
#define SEL_FREE  0x40 /* first of the slots that tests may fill */
#define GDT_SLOTS 64
#define VEC_IRQ0  0x20
#define VEC_EXIT  0x30

#ifndef __ASSEMBLER__
struct ctx {
    uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax;
    uint32_t gs, fs, es, ds;
    uint32_t vector, error;
    uint32_t eip, cs, eflags, esp, ss;
    uint32_t cr2;
    uint32_t v86_gs, v86_fs, v86_es, v86_ds; /* loaded when eflags.VM is set; read back likewise */
};
_Static_assert(offsetof(struct ctx, gs) == 32 && offsetof(struct ctx, vector) == 48 &&
                   offsetof(struct ctx, cr2) == 76,
               "trap.S knows these");

struct tss {
    uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
    uint32_t eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss, ds, fs, gs, ldt;
    uint16_t trap, iomap;
    uint8_t io[136]; /* within the limit only when a test says so: tss_limit() */
};
_Static_assert(offsetof(struct tss, io) == 104, "SDM vol. 3, figure 7-2");

struct table_ptr {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

/* --- console and ending (console.c) --- */
void putch(char c);
int getch(void); /* -1: nothing there */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vprint(const char *fmt, va_list ap);
_Noreturn void guest_exit(unsigned value);
void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
bool cmdline_has(const char *word);
/* The decimal number of a word `name=N`, or another if there is none. */
uint32_t cmdline_number(const char *name, uint32_t otherwise);
extern const char *cmdline;
extern uint32_t multiboot_info;

/* --- harness (harness.c) --- */
struct test {
    const char *name;
    void (*run)(void);
    const char
        *qemu; /* how QEMU's TCG departs from the SDM here (from '!': not run there), or NULL */
};
void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Runs the tests (all, or those named on the command line as `only=NAME`), prints, exits. */
_Noreturn void run_tests(const struct test *tests, unsigned n);
#define RUN_TESTS(array) run_tests(array, sizeof(array) / sizeof((array)[0]))
#define CHECK(cond, ...)                                                                           \
    do {                                                                                           \
        if (!(cond))                                                                               \
            fail(__VA_ARGS__);                                                                     \
    } while (0)
#define CHECK_EQ(got, want, what)                                                                  \
    do {                                                                                           \
        uint32_t got_ = (uint32_t)(got), want_ = (uint32_t)(want);                                 \
        if (got_ != want_)                                                                         \
            fail("%s: %#x, expected %#x", what, got_, want_);                                      \
    } while (0)
void expect(const struct ctx *c, unsigned vector, uint32_t error, const void *eip,
            const char *what);
bool on_qemu(void);
void guest_main(void);

/* --- processor set-up and traps (cpu.c, trap.S) --- */
extern struct tss tss_main, tss_df;
extern uint64_t gdt[GDT_SLOTS], idt[256], ldt[16];
extern uint8_t user_stack[16384], kernel_stack2[16384];
void cpu_init(void);
uint64_t descriptor(uint32_t base, uint32_t limit, unsigned access, unsigned flags);
uint64_t gate(uint32_t offset, unsigned sel, unsigned access, unsigned params);
void gdt_set(unsigned sel, uint64_t value);
void idt_set(unsigned vector, uint64_t value);
void idt_reset(unsigned vector); /* back to the catcher */
uint32_t stub_address(unsigned vector);
/* Access bytes: P | DPL | S | type. */
#define ACC_CODE   0x9b
#define ACC_DATA   0x93
#define ACC_DPL(n) ((n) << 5)
#define FLAG_G     8
#define FLAG_D     4

void tss_limit(uint32_t limit); /* of the main TSS; 103 at first */
/* Code and data segments of CPL 1 and 2, and the selector of CPL n. */
#define RCS(n) ((n) == 0 ? KCS : (n) == 3 ? UCS : 0x1c0 + (n)*16 + (n))
#define RDS(n) ((n) == 0 ? KDS : (n) == 3 ? UDS : 0x1c8 + (n)*16 + (n))
struct ctx ring_ctx(unsigned cpl, const void *eip);
struct ctx kernel_ctx(const void *eip);
struct ctx user_ctx(const void *eip);
/* Runs c until it traps; traps with a handler in irq_handler are served and do not end it. */
void trap_run(struct ctx *c);
/* Runs fn at CPL 0 on the present stack with the catcher armed: true if it came back without a
 * trap. */
bool trap_call(void (*fn)(void *), void *arg, struct ctx *out);
extern void (*irq_handler[256])(struct ctx *c);
extern struct ctx trap_save;
extern uint32_t trap_flags; /* EFLAGS as the handler found them */
/* Run inside a handler: makes trap_run() return as if the trap had not been served. */
extern bool trap_stop;

/* --- interrupt hardware (irq.c) --- */
void pic_init(void);
void pic_mask(uint16_t mask);
void pic_eoi(unsigned irq);
void pit_start(unsigned hz);
void pit_stop(void);

/* --- paging (paging.c) --- */
/* Identity maps all 4 GiB user-accessible and writable: 4 KiB pages below 32 MiB, big pages above.
 */
void paging_on(bool pae);
void paging_off(void);
extern bool paging_pae;
/* The entry that maps the 4 KiB page of la (below 32 MiB). */
uint64_t pte_get(uint32_t la);
void pte_set(uint32_t la, uint64_t value); /* with INVLPG */
void pte_set_quiet(uint32_t la, uint64_t value);
uint64_t pde_get(uint32_t la);
void pde_set(uint32_t la, uint64_t value); /* reloads CR3 */
extern uint32_t page_directory_address;

/* --- instructions --- */
static inline void outb(uint16_t p, uint8_t v)
{
    asm volatile("outb %0,%1" ::"a"(v), "Nd"(p));
}
static inline void outl(uint16_t p, uint32_t v)
{
    asm volatile("outl %0,%1" ::"a"(v), "Nd"(p));
}
static inline uint8_t inb(uint16_t p)
{
    uint8_t v;
    asm volatile("inb %1,%0" : "=a"(v) : "Nd"(p));
    return v;
}
#define READ_CR(n)                                                                                 \
    ({                                                                                             \
        uint32_t v_;                                                                               \
        asm volatile("mov %%cr" #n ",%0" : "=r"(v_)::"memory");                                    \
        v_;                                                                                        \
    })
#define WRITE_CR(n, v) asm volatile("mov %0,%%cr" #n ::"r"((uint32_t)(v)) : "memory")
#define READ_DR(n)                                                                                 \
    ({                                                                                             \
        uint32_t v_;                                                                               \
        asm volatile("mov %%dr" #n ",%0" : "=r"(v_)::"memory");                                    \
        v_;                                                                                        \
    })
#define WRITE_DR(n, v) asm volatile("mov %0,%%dr" #n ::"r"((uint32_t)(v)) : "memory")
static inline void invlpg(uint32_t la)
{
    asm volatile("invlpg (%0)" ::"r"(la) : "memory");
}
static inline uint64_t rdmsr(uint32_t i)
{
    uint64_t v;
    asm volatile("rdmsr" : "=A"(v) : "c"(i));
    return v;
}
static inline void wrmsr(uint32_t i, uint64_t v)
{
    asm volatile("wrmsr" ::"c"(i), "A"(v) : "memory");
}
static inline void cpuid(uint32_t leaf, uint32_t r[4])
{
    asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}
static inline uint64_t rdtsc(void)
{
    uint64_t v;
    asm volatile("rdtsc" : "=A"(v));
    return v;
}
static inline uint32_t read_eflags(void)
{
    uint32_t v;
    asm volatile("pushfl; popl %0" : "=r"(v));
    return v;
}

/* A piece of code that is run through trap_run(): NAME: PRE; NAME_at: FAULT; NAME_next: int $0x30.
 */
#define CODE(name, pre, fault)                                                                     \
    asm(".pushsection .text.snippet,\"ax\"\n.globl " #name ", " #name "_at, " #name "_next\n"      \
        "" #name ": " pre "\n" #name "_at: " fault "\n" #name "_next: int $0x30\n.popsection\n");  \
    extern __attribute__((unused)) uint8_t name[], name##_at[], name##_next[]
/* For X(name, pre, fault, ...) lists. */
#define CODE_OF(name, pre, fault, ...) CODE(name, pre, fault);

#endif
#endif
