/* SPDX-License-Identifier: MIT */
/* guest.c: runs cases of system code (sysgen.h), one after the other, each from a state that
 * follows from its number. Whatever traps goes on with the next statement. Nothing is judged here:
 * the lock step of both engines does that.
 *
 *     seed=S first=N count=N     which cases
 *     crashme                    random bytes in ring 3 and V86 instead of system code
 *     rep                        repeated comparisons, too
 *     drop=1,5,...               these statements are left out
 *     show                       prints the statements, and how far the case comes */
#include "tests/sysgen/sysgen.h"

#define CODE16(dpl) (33 + (dpl))
#define DATA16(dpl) (37 + (dpl))
#define REAL_CODE   41
#define REAL_DATA   42
#define STACK_TOP   0xb000u
#define TICKS       50 /* a second */
#define TICKS_STUCK 6
#define APIC_EOI    0xfee000b0u
#define APIC_SVR    0xfee000f0u
#define NOTHING     0xffffffffu

static uint8_t dropped[STATEMENT_MAX];
static uint8_t task_stack[4096] __attribute__((aligned(16)));
static unsigned ticks;
static bool show;

/* --- real mode: laid out at REAL_BASE; RA() is a label's address there --- */
#define RA(label) #label " - real_start + 0x8000"
asm(".pushsection .text\n.globl real_start, real_bytes, real_back, real_end\n"
    "real_start: cli; pushal\n"
    "mov %cr0,%ebx; mov %ebx," RA(real_cr0) "; mov %esp," RA(
        real_esp) "\n"
                  "sidt " RA(real_idt) "; lidt " RA(
                      real_ivt) "\n"
                                "and $0x7fffffff,%ebx; mov %ebx,%cr0\n"
                                "ljmp $41*8,$" RA(
                                    1f) "\n"
                                        ".code16\n"
                                        "1: mov $42*8,%ax; mov %ax,%ds; mov %ax,%es; mov %ax,%ss; "
                                        "mov %ax,%fs; mov %ax,%gs\n"
                                        "and $0xfe,%bl; mov %ebx,%cr0; ljmp $0,$" RA(
                                            2f) "\n"
                                                "2: xor %ax,%ax; mov %ax,%ss; mov $0x8ff0,%sp; mov "
                                                "$0x3000,%ax; mov %ax,%ds; mov %ax,%es\n"
                                                "sti\nreal_bytes: .skip 32,0x90\n"
                                                "int $0x60\n"
                                                "real_back: cli; mov %cr0,%eax; or $1,%al; mov "
                                                "%eax,%cr0\n"
                                                "ljmpl $8,$" RA(
                                                    3f) "\n"
                                                        ".code32\n"
                                                        "3: mov $16,%eax; mov %eax,%ds; mov "
                                                        "%eax,%es; mov %eax,%ss; mov %eax,%fs; mov "
                                                        "%eax,%gs\n"
                                                        "mov " RA(real_esp) ",%esp; lidt " RA(
                                                            real_idt) "; mov " RA(real_cr0) ",%eax;"
                                                                                            " mov "
                                                                                            "%eax,%"
                                                                                            "cr0\n"
                                                                                            "popal;"
                                                                                            " ret\n"
                                                                                            ".balig"
                                                                                            "n "
                                                                                            "4\nrea"
                                                                                            "l_cr0:"
                                                                                            " ."
                                                                                            "long "
                                                                                            "0\nrea"
                                                                                            "l_esp:"
                                                                                            " ."
                                                                                            "long "
                                                                                            "0\nrea"
                                                                                            "l_idt:"
                                                                                            " ."
                                                                                            "skip "
                                                                                            "8\n"
                                                                                            "real_"
                                                                                            "ivt: "
                                                                                            ".word "
                                                                                            "0x3ff;"
                                                                                            " ."
                                                                                            "long "
                                                                                            "0\nrea"
                                                                                            "l_end:"
                                                                                            "\n."
                                                                                            "popsec"
                                                                                            "tion"
                                                                                            "\n");
extern uint8_t real_start[], real_bytes[], real_back[], real_end[];

static void lay_out_real_mode(const struct sample *s)
{
    struct rng r;
    struct code c = {.sample = s};
    uint8_t *base = (uint8_t *)REAL_BASE;
    rng_start(&r, s->seed, s->number, 3);
    c.r = r;
    crashme_code(&c);
    memcpy(base, real_start, (size_t)(real_end - real_start));
    memcpy(base + (real_bytes - real_start), c.bytes, c.n < 28 ? c.n : 28);
    volatile uint32_t *vectors = NULL;
    uint32_t back = REAL_BASE + (uint32_t)(real_back - real_start);
    for (unsigned v = 0; v < 256; v++) {
        asm volatile("" : "+r"(vectors));
        vectors[v] = back;
    }
}

/* --- interrupts --- */

static void on_tick(struct ctx *c)
{
    (void)c;
    pic_eoi(0);
    if (++ticks >= TICKS_STUCK)
        trap_stop = true;
}

static void on_ipi(struct ctx *c)
{
    (void)c;
    *(volatile uint32_t *)APIC_EOI = 0;
}

static uint32_t alias_table; /* the entry of the directory that maps ALIAS_BASE, as it was */

/* The entry that maps la, at the last or the next-to-last level. */
static uint32_t entry_address(uint32_t la, bool last)
{
    bool pae = paging_pae;
    uint32_t directory = page_directory_address;
    if (pae)
        directory = *(uint32_t *)(directory + (la >> 30) * 8) & ~0xfffu;
    uint32_t at = directory + (pae ? (la >> 21 & 511) * 8 : (la >> 22) * 4);
    if (!last)
        return at;
    uint32_t table = la < ALIAS_BASE ? *(uint32_t *)at : alias_table;
    return (table & ~0xfffu) + (pae ? (la >> 12 & 511) * 8 : (la >> 12 & 1023) * 4);
}

static void flush_all(void)
{
    uint32_t cr4 = READ_CR(4);
    if (cr4 & CR4_PGE) {
        WRITE_CR(4, cr4 & ~CR4_PGE);
        WRITE_CR(4, cr4);
    }
    WRITE_CR(3, READ_CR(3));
}

/* EAX: page, whether the directory's entry, how to flush; ECX: flags, frame. */
static void on_page(struct ctx *c)
{
    uint32_t page = (c->eax & 0xff) % PAGE_CHOICES, frame = c->ecx >> 12 & 31;
    bool directory = c->eax & 0x100, high = c->eax & 0x10000;
    if (!(READ_CR(0) & CR0_PG))
        return;
    uint32_t la = page < 16 ? ALIAS_BASE + page * 4096 : DATA_BASE + (page - 16) * 4096;
    uint32_t value = CODE_BASE + frame * 4096, flags = c->ecx & 0xfff;
    if (directory) {
        la = ALIAS_BASE;
        if (!(flags & PTE_PS) || c->ecx & 0x20000)
            flags &= ~(uint32_t)PTE_PS, value = alias_table & ~0xfffu;
        else
            value = 0;
    }
    volatile uint32_t *entry = (volatile uint32_t *)entry_address(la, !directory);
    entry[0] = value | flags;
    if (paging_pae)
        entry[1] = high && !(c->ecx & 0x30000) ? 0x80000000 : 0;
    if (!directory && c->eax & 0x20000)
        invlpg(la);
    else
        flush_all();
}

/* --- the state in which a case begins --- */

static void reset_registers(void *unused)
{
    static uint8_t image[512] __attribute__((aligned(16)));
    (void)unused;
    WRITE_DR(7, 0x400);
    WRITE_DR(6, 0xffff0ff0);
    WRITE_CR(0, CR0_PE | 0x10 | CR0_NE);
    WRITE_CR(4, CR4_OSFXSR);
    memset(image, 0, sizeof image);
    image[0] = 0x7f, image[1] = 3, image[24] = 0x80, image[25] = 0x1f;
    asm volatile("fxrstor %0" ::"m"(image));
    for (uint32_t n = 0x174; n <= 0x176; n++)
        wrmsr(n, 0);
    wrmsr(0x277, 0x0007040600070406);
    wrmsr(0xc0000080, 0);
}

/* The trap frame of a fault while the registers are reset is general detect's: once more. */
static void reset_processor(void)
{
    for (unsigned n = 0; n < 3 && !trap_call(reset_registers, NULL, NULL); n++)
        ;
    memset(gdt, 0, sizeof gdt);
    memset(ldt, 0, sizeof ldt);
    tss_main.iomap = offsetof(struct tss, io);
    cpu_init();
    asm volatile("lldt %w0" ::"r"(SEL_LDT));
}

static void fill_tables(struct rng *r)
{
    for (unsigned n = FIRST_FREE; n <= LAST_FREE; n++)
        gdt[n] = random_descriptor(r);
    for (unsigned n = 0; n < 16; n++)
        ldt[n] = random_descriptor(r);
    for (unsigned dpl = 0; dpl < 4; dpl++) {
        gdt[CODE16(dpl)] = descriptor(CODE_BASE, 0xffff, ACC_CODE | ACC_DPL(dpl), 0);
        gdt[DATA16(dpl)] = descriptor(DATA_BASE, 0xffff, ACC_DATA | ACC_DPL(dpl), 0);
    }
    gdt[REAL_CODE] = descriptor(0, 0xffff, ACC_CODE, 0);
    gdt[REAL_DATA] = descriptor(0, 0xffff, ACC_DATA, 0);
    gdt[LAST_FREE] = descriptor(TASK_BASE, 103, 0x89, 0);
    gdt[LAST_FREE - 1] = descriptor(TASK_BASE + 0x100, 103, 0xe9, 0);
    idt_set(VEC_PAGE, gate(stub_address(VEC_PAGE), KCS, 0xee, 0));
    for (unsigned v = 0x40; v < 0x48; v++)
        idt_set(v, gate(stub_address(v), KCS, 0x8e | ACC_DPL(rng_below(r, 4)), 0));
}

static void fill_memory(const struct sample *s, struct rng *r)
{
    uint32_t pattern = rng_next(r);
    for (uint32_t *at = (uint32_t *)DATA_BASE; at < (uint32_t *)(DATA_BASE + DATA_SIZE); at++)
        *at = pattern += pattern * 8 + 0x9e3779b9;
    for (unsigned n = 0; n < 3; n++) {
        struct tss *t = (struct tss *)(TASK_BASE + n * 0x100);
        *t = (struct tss){.esp0 = (uint32_t)task_stack + sizeof task_stack,
                          .ss0 = KDS,
                          .cr3 = READ_CR(3),
                          .eip = slot_address(s, rng_below(r, s->count)),
                          .eflags = 0x202,
                          .esp = DATA_BASE + STACK_TOP,
                          .cs = KCS,
                          .ss = KDS,
                          .ds = KDS,
                          .es = KDS,
                          .fs = random_selector(r),
                          .iomap = 104};
    }
    memcpy((void *)ROOT_COPY, (void *)page_directory_address, s->paging == PAGING_PAE ? 32 : 4096);
}

static void prepare(struct sample *s)
{
    struct rng r;
    rng_start(&r, s->seed, s->number, 1);
    reset_processor();
    s->count = s->crashme ? 32 : 16 + rng_below(&r, STATEMENT_MAX - 16);
    s->code = CODE_BASE + 0x800 + rng_below(&r, 0x1000);
    s->paging = rng_below(&r, PAGING_COUNT);
    s->wide = rng_below(&r, 4) != 0;
    paging_on(s->paging == PAGING_PAE);
    alias_table = *(uint32_t *)entry_address(ALIAS_BASE, false);
    for (uint32_t n = 0; n < DATA_SIZE; n += 4096)
        pte_set(ALIAS_BASE + n, (DATA_BASE + n) | 0x67);
    /* What runs away over the end of data does not reach the page tables: what it did to them would
     * show at a moment that a TLB may choose. */
    for (uint32_t la = DATA_BASE + DATA_SIZE; la < 0x100000; la += 4096)
        pte_set_quiet(la, 0);
    pte_set_quiet(ALIAS_BASE - 4096, 0);
    pte_set_quiet(ALIAS_BASE + DATA_SIZE, 0);
    WRITE_CR(3, READ_CR(3));
    fill_tables(&r);
    fill_memory(s, &r);
    if (s->paging == PAGING_OFF)
        paging_off();
    lay_out_real_mode(s);
    statements_write(s);
}

/* --- running it --- */

static struct ctx fresh_context(const struct sample *s, struct rng *r, uint32_t eip)
{
    unsigned cpl = s->crashme || rng_below(r, 2) ? 3 : rng_below(r, 4) ? 0 : rng_below(r, 4);
    struct ctx c = ring_ctx(cpl, (void *)eip);
    c.esp = DATA_BASE + STACK_TOP;
    c.eflags = 0x202;
    if (!s->wide) {
        c.eip -= CODE_BASE;
        c.esp = STACK_TOP;
        c.cs = CODE16(cpl) * 8 + cpl;
        c.ds = c.es = c.ss = c.fs = c.gs = DATA16(cpl) * 8 + cpl;
        if (rng_below(r, 2)) {
            c.eflags |= EFL_VM | (rng_below(r, 2) ? EFL_IOPL : 0);
            c.cs = CODE_BASE >> 4;
            c.ss = c.v86_ds = c.v86_es = c.v86_fs = c.v86_gs = DATA_BASE >> 4;
            c.ds = c.es = c.fs = c.gs = 0;
        }
    }
    uint32_t mask = s->wide ? ~0u : 0xffff;
    uint32_t *const regs[] = {&c.edi, &c.esi, &c.ebp, &c.ebx, &c.edx, &c.ecx, &c.eax};
    for (unsigned n = 0; n < 7; n++)
        *regs[n] = n < 4 || rng_below(r, 3) ? random_data(r) & mask : rng_value(r);
    return c;
}

/* The statement in which an instruction lies, if any. */
static unsigned statement_at(const struct sample *s, const struct ctx *c)
{
    uint32_t at = c->eip - s->code;
    if (at >= SLOT * (s->count + 4))
        at += CODE_BASE;
    return at < SLOT * (s->count + 4) ? at / SLOT : NOTHING;
}

/* The context of statement n: what has trapped, further on, or another one. */
static void next_context(const struct sample *s, struct ctx *c, unsigned n, bool inside)
{
    struct rng r;
    rng_start(&r, s->seed, s->number, 1000 + n);
    uint32_t eip = slot_address(s, n);
    if (!inside || !rng_below(&r, 3)) {
        *c = fresh_context(s, &r, eip);
        return;
    }
    c->eip = c->eip < CODE_BASE ? eip - CODE_BASE : eip;
    c->eflags &=
        ~(uint32_t)(EFL_NT | (rng_below(&r, 2) ? EFL_TF : 0) | (rng_below(&r, 2) ? EFL_RF : 0));
    if (rng_below(&r, 8))
        c->eflags |= EFL_IF;
    if (!rng_below(&r, 4))
        c->esp = s->wide ? DATA_BASE + STACK_TOP : STACK_TOP;
}

static void run_case(struct sample *s)
{
    struct ctx c;
    unsigned n = 0, last = NOTHING;
    prepare(s);
    if (show)
        for (unsigned k = 0; k < s->count; k++) {
            struct code code;
            statement_make(&code, s, k);
            print("statement %u %08x %u %s ", k, code.at, s->wide ? 32 : 16, code.kind);
            for (unsigned b = 0; b < code.n; b++)
                print("%02x", code.bytes[b]);
            print("\n");
        }
    while (n < s->count) {
        next_context(s, &c, n, last != NOTHING);
        ticks = 0;
        pic_eoi(0); /* real mode may have taken the timer's interrupt */
        trap_run(&c);
        last = statement_at(s, &c);
        if (show)
            print("trap %#x error %#x at %04x:%08x statement %d\n", c.vector, c.error, c.cs, c.eip,
                  (int)last);
        if (last != NOTHING && last > n)
            n = last;
        n++;
    }
}

/* --- the command line --- */

static const char *option(const char *name)
{
    size_t n = strlen(name);
    for (const char *p = cmdline; *p; p++)
        if ((p == cmdline || p[-1] == ' ') && !memcmp(p, name, n))
            return p + n;
    return NULL;
}

static uint32_t number(const char **p)
{
    uint32_t v = 0;
    while (*p && **p >= '0' && **p <= '9')
        v = v * 10 + (uint32_t)(*(*p)++ - '0');
    return v;
}

static uint32_t number_option(const char *name, uint32_t otherwise)
{
    const char *p = option(name);
    return p ? number(&p) : otherwise;
}

void guest_main(void)
{
    static char line[1024];
    size_t length = strlen(cmdline);
    memcpy(line, cmdline, length < sizeof line - 1 ? length : sizeof line - 1);
    cmdline = line;
    uint32_t first = number_option("first=", 0), count = number_option("count=", 1);
    struct sample s = {.seed = number_option("seed=", 1),
                       .crashme = cmdline_has("crashme"),
                       .with_rep = cmdline_has("rep"),
                       .dropped = dropped};
    show = cmdline_has("show");
    for (const char *p = option("drop="); p && *p >= '0' && *p <= '9'; p += *p == ',')
        dropped[number(&p) % STATEMENT_MAX] = 1;
    irq_handler[VEC_IRQ0] = on_tick;
    irq_handler[VEC_PAGE] = on_page;
    for (unsigned v = 0x50; v < 0x60; v++)
        irq_handler[v] = on_ipi;
    *(volatile uint32_t *)APIC_SVR = 0x1ff;
    pic_init();
    pic_mask(0xfffe);
    pit_start(TICKS);
    for (s.number = first; s.number < first + count; s.number++) {
        print("case %u\n", s.number);
        pic_eoi(0);
        on_ipi(NULL);
        run_case(&s);
    }
    print("1 passed, 0 failed\n");
    guest_exit(0);
}
