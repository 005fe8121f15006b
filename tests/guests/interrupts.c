/* SPDX-License-Identifier: MIT */
/* interrupts.c: state under asynchronous interrupts. A loop runs once undisturbed, then under a 1
 * kHz timer until it has been hit often: registers, flags, memory, x87 and SSE state must come out
 * the same, and each interrupt must have come at an instruction boundary, which a single-stepped
 * run has collected. */
#include "lib/guest.h"

#define WORK  0x1400000u
#define LAPIC 0xfee00000u

static volatile unsigned ticks, hits;
static uint32_t code_lo, code_hi;
static uint8_t boundary[4096];
static uint32_t wrong_eip, wrong_string;
static bool save_fpu;
static uint8_t fx[512] __attribute__((aligned(16)));
static uint8_t junk[512] __attribute__((aligned(16)));

static void look(struct ctx *c)
{
    ticks++;
    if (c->eip >= code_lo && c->eip < code_hi) {
        hits++;
        if (!boundary[c->eip - code_lo] && !wrong_eip)
            wrong_eip = c->eip;
        /* a repeated string instruction of these loops keeps ESI + ECX or EDI + ECX constant */
        const uint8_t *p = (const uint8_t *)c->eip;
        if (p[0] == 0xf3 && p[1] == 0xa4 && c->esi + c->ecx != WORK + 0x100000 && !wrong_string)
            wrong_string = c->ecx | 1;
    }
    if (save_fpu) { /* what a kernel does that switches tasks */
        asm volatile("fxsave %0; fninit; fxrstor %1; fxrstor %0" : "+m"(fx) : "m"(junk));
    }
}

static void on_pit(struct ctx *c)
{
    look(c);
    pic_eoi(0);
}

static void on_step(struct ctx *c)
{
    if (c->eip >= code_lo && c->eip < code_hi)
        boundary[c->eip - code_lo] = 1;
}

/* Collects instruction boundaries by single steps. */
static void collect(const uint8_t *code, const uint8_t *end, struct ctx c)
{
    code_lo = (uint32_t)code, code_hi = (uint32_t)end;
    memset(boundary, 0, sizeof boundary);
    boundary[0] = 1;
    irq_handler[VEC_DB] = on_step;
    c.eflags |= EFL_TF;
    trap_run(&c);
    irq_handler[VEC_DB] = NULL;
    wrong_eip = wrong_string = 0;
}

/* Loops: %ecx rounds, %ebp is WORK, results in registers and in 1 KiB at WORK. */
#define LOOPS(X)                                                                                   \
    X(l_alu, "1: addl %ecx,%eax; roll $5,%eax; xorl %eax,%ebx; leal 3(%eax,%ebx,2),%edx; sbbl "    \
             "%esi,%edi; decl %ecx;"                                                               \
             "jnz 1b")                                                                             \
    X(l_carry,                                                                                     \
      "1: addl $0x9e3779b9,%eax; adcl $0,%ebx; adcl %eax,%edx; rcll $1,%esi; sbbl %ebx,%edi;"      \
      "leal -1(%ecx),%ecx; jecxz 2f; jmp 1b; 2:")                                                  \
    X(l_stack, "1: pushl %ecx; pushl %eax; addl 4(%esp),%eax; popl %ebx; xorl %ebx,%edx; popl "    \
               "%esi; pushfl; popl %edi; andl $~0x200,%edi;"                                       \
               "pushal; popal; decl %ecx; jnz 1b")                                                 \
    X(l_calls, "jmp 2f; 1: addl %ecx,%eax; cmpl $3,%ecx; jb 3f; pushl %ecx; shrl $1,%ecx; call "   \
               "1b; popl %ecx;"                                                                    \
               "roll $1,%eax; 3: ret; 2: pushl %ecx; call 1b; popl %ecx; decl %ecx; jnz 2b")       \
    X(l_indirect, "movl $3f,%esi; movl $4f,%edi; 1: testb $4,%cl; cmovzl %esi,%edx; cmovnzl "      \
                  "%edi,%edx; call *%edx;"                                                         \
                  "decl %ecx; jnz 1b; jmp 2f; 3: addl $3,%eax; ret; 4: xorl $0x77,%eax; ret; 2:")  \
    X(l_memory, "1: movl %ecx,%ebx; andl $0xff,%ebx; movl (%ebp,%ebx,4),%eax; addl %eax,%edx; "    \
                "xaddl %ecx,(%ebp,%ebx,4);"                                                        \
                "rorl $3,4(%ebp,%ebx,2); subl %ecx,%eax; movl %eax,%ecx; negl %ecx; xchgl "        \
                "%ecx,8(%ebp); movl 8(%ebp),%ecx;"                                                 \
                "movl 0xffc(%ebp),%ecx; decl 0xffc(%ebp); jg 1b; movl $0,%ecx")                    \
    X(l_strings, "1: pushl %ecx; movl %ebp,%esi; leal 512(%ebp),%edi; movl $128,%ecx; rep movsl; " \
                 "movl $37,%ecx; rep stosb;"                                                       \
                 "movl %ebp,%esi; leal 512(%ebp),%edi; movl $500,%ecx; repe cmpsb; addl "          \
                 "%ecx,%eax; movl %ebp,%edi; movb $0x55,%al;"                                      \
                 "movl $300,%ecx; repne scasb; addl %ecx,%edx; incb (%ebp,%edx); andl "            \
                 "$0xff,%edx; popl %ecx; decl %ecx; jnz 1b")                                       \
    X(l_div, "1: movl %ecx,%eax; xorl $0x12345,%eax; mull %eax; leal 7(%ecx),%ebx; andl "          \
             "$0x3ff,%edx; divl %ebx; addl %edx,%edi;"                                             \
             "addl %eax,%esi; decl %ecx; jnz 1b")                                                  \
    X(l_x87, "fninit; fld1; fldl l_double; 1: fadd %st(1),%st; fld %st(0); fsqrt; fsubrp "         \
             "%st,%st(1); fld %st(0); fsin;"                                                       \
             "fstpl (%ebp); fcomi %st(1); adcl $0,%eax; fnstsw %ax; addl %eax,%edx; decl %ecx; "   \
             "jnz 1b; fstpt 16(%ebp);"                                                             \
             "fstpt 32(%ebp); fnstenv 64(%ebp); fninit; movl $0,76(%ebp); movl $0,80(%ebp); movl " \
             "$0,84(%ebp); movl $0,88(%ebp)")                                                      \
    X(l_sse,                                                                                       \
      "movups l_single,%xmm0; movaps %xmm0,%xmm1; pxor %xmm7,%xmm7; 1: mulps %xmm0,%xmm1; addps "  \
      "%xmm0,%xmm1; sqrtps %xmm1,%xmm1;"                                                           \
      "movd %ecx,%xmm2; paddd %xmm2,%xmm7; pshufd $0x39,%xmm7,%xmm7; cvtdq2ps %xmm7,%xmm3; addps " \
      "%xmm3,%xmm1;"                                                                               \
      "decl %ecx; jnz 1b; movups %xmm1,(%ebp); movups %xmm7,16(%ebp); movups %xmm3,32(%ebp)")      \
    X(l_mmx, "1: movd %ecx,%mm0; paddd %mm0,%mm1; psllq $1,%mm1; pxor %mm0,%mm1; movq "            \
             "%mm1,(%ebp); decl %ecx; jnz 1b; emms")                                               \
    X(l_flags, "1: cmpl $100,%ecx; nop; nop; nop; lahf; nop; sahf; setbe %al; nop; adcb %al,%ah; " \
               "movzwl %ax,%eax; addl %eax,%edx;"                                                  \
               "std; nop; nop; cld; decl %ecx; jnz 1b")                                            \
    X(l_sens, "1: pushfl; popl %eax; orl $1,%eax; pushl %eax; popfl; adcl %edx,%edx; movl "        \
              "%ds,%eax; addl %eax,%edx; movl %ecx,%eax;"                                          \
              "xorl %ebx,%ebx; bsfl %ecx,%esi; addl %esi,%edx; btsl %ecx,(%ebp); adcl $0,%edi; "   \
              "decl %ecx; jnz 1b")

#define LOOP_CODE(name, code)                                                                      \
    asm(".pushsection .text.snippet\n" #name ": " code "\n" #name "_end: int $0x30\n.popsection"); \
    extern uint8_t name[], name##_end[];
LOOPS(LOOP_CODE)
double l_double __attribute__((used)) = 0.4142135623730951;
float l_single[4] __attribute__((used)) = {0.5f, 0.25f, 0.75f, 0.125f};
static const struct {
    const char *name;
    const uint8_t *code, *end;
} loops[] = {
#define LOOP_ROW(name, code) {#name, name, name##_end},
    LOOPS(LOOP_ROW)};

static uint32_t checksum(void)
{
    uint32_t h = 0;
    for (uint32_t *p = (uint32_t *)WORK; p < (uint32_t *)(WORK + 2048); p++)
        h = (h ^ *p) * 0x01000193;
    return h;
}

static struct ctx loop_ctx(unsigned i, int user, uint32_t rounds)
{
    struct ctx c = user ? user_ctx(loops[i].code) : kernel_ctx(loops[i].code);
    for (uint32_t k = 0; k < 4096; k++)
        ((uint8_t *)WORK)[k] = (uint8_t)(k * 7);
    *(uint32_t *)(WORK + 0xffc) = rounds;
    c.ecx = rounds, c.ebp = WORK;
    return c;
}

static bool same(const struct ctx *a, const struct ctx *b, uint32_t ha, uint32_t hb)
{
    return !memcmp(&a->edi, &b->edi, 12) && !memcmp(&a->ebx, &b->ebx, 32) && a->eip == b->eip &&
           a->esp == b->esp && ((a->eflags ^ b->eflags) & ~(EFL_IF | EFL_RF)) == 0 && ha == hb;
}

static void loops_under_timer(void)
{
    irq_handler[VEC_IRQ0] = on_pit;
    for (unsigned i = 0; i < sizeof loops / sizeof *loops; i++)
        for (int user = 0; user < 2; user++) {
            collect(loops[i].code, loops[i].end, loop_ctx(i, user, 9));
            struct ctx quiet = loop_ctx(i, user, 3000);
            trap_run(&quiet);
            uint32_t sum = checksum();
            CHECK(quiet.vector == VEC_EXIT, "%s: vector %#x at %#x", loops[i].name, quiet.vector,
                  quiet.eip);
            hits = 0;
            pit_start(1000);
            pic_mask(0xfffe);
            unsigned round = 0;
            for (; hits < 40 && round < 20000; round++) {
                struct ctx c = loop_ctx(i, user, 3000);
                c.eflags |= EFL_IF;
                trap_run(&c);
                uint32_t h = checksum();
                if (!same(&c, &quiet, sum, h)) {
                    fail("%s at CPL %d: eax %#x/%#x edx %#x/%#x flags %#x/%#x sum %#x/%#x vector "
                         "%#x at %#x",
                         loops[i].name, user * 3, c.eax, quiet.eax, c.edx, quiet.edx, c.eflags,
                         quiet.eflags, h, sum, c.vector, c.eip);
                    break;
                }
            }
            pic_mask(0xffff);
            CHECK(hits >= 5, "%s: only %u interrupts in %u rounds", loops[i].name, hits, round);
            CHECK(!wrong_eip, "%s: interrupted at %#x, which begins no instruction", loops[i].name,
                  wrong_eip);
        }
}

static void test_loops(void)
{
    save_fpu = false;
    loops_under_timer();
}
static void test_loops_fpu(void)
{
    save_fpu = true;
    loops_under_timer();
    save_fpu = false;
}

/* One interrupt at a time, at delays that sweep over a loop. */
static void test_sweep(void)
{
    irq_handler[VEC_IRQ0] = on_pit;
    static const uint8_t which[] = {1, 2, 3, 6, 8, 9};
    for (unsigned k = 0; k < sizeof which; k++) {
        unsigned i = which[k];
        collect(loops[i].code, loops[i].end, loop_ctx(i, 1, 9));
        struct ctx quiet = loop_ctx(i, 1, 500);
        trap_run(&quiet);
        uint32_t sum = checksum();
        hits = 0;
        for (unsigned delay = 1; delay < 300; delay++) {
            struct ctx c = loop_ctx(i, 1, 500);
            c.eflags |= EFL_IF;
            pic_mask(0xfffe);
            outb(0x43, 0x30);
            outb(0x40, (uint8_t)delay);
            outb(0x40, 0);
            trap_run(&c);
            pic_mask(0xffff);
            if (!same(&c, &quiet, sum, checksum())) {
                fail("%s with an interrupt after %u: eax %#x/%#x flags %#x/%#x", loops[i].name,
                     delay, c.eax, quiet.eax, c.eflags, quiet.eflags);
                break;
            }
        }
        CHECK(!wrong_eip, "%s: interrupted at %#x", loops[i].name, wrong_eip);
        /* take what may still be latched */
        pic_mask(0xfffe);
        asm volatile("sti; nop; nop; cli");
        pic_mask(0xffff);
    }
}

/* --- a long REP MOVSB is interrupted, and is seen half done --- */
CODE(long_rep, "movl $0x1400000,%esi; movl $0x1600000,%edi; movl $0x100000,%ecx", "rep movsb");
static unsigned inside;
static void on_pit_rep(struct ctx *c)
{
    look(c);
    if (c->eip == (uint32_t)long_rep_at && c->ecx != 0x100000) {
        inside++;
        if (c->edi - c->esi != 0x200000 || c->ecx > 0x100000)
            wrong_string = 1;
    }
    pic_eoi(0);
}

static void test_rep(void)
{
    irq_handler[VEC_IRQ0] = on_pit_rep;
    for (int user = 0; user < 2; user++) {
        code_lo = code_hi = inside = wrong_string = 0;
        pit_start(4000);
        pic_mask(0xfffe);
        for (unsigned round = 0; round < 2000 && inside < 5; round++) {
            for (uint32_t k = 0; k < 0x100000; k += 4096)
                *(uint32_t *)(WORK + k) = k ^ round, *(uint32_t *)(WORK + 0x200000 + k) = 0;
            struct ctx c = user ? user_ctx(long_rep) : kernel_ctx(long_rep);
            c.eflags |= EFL_IF;
            trap_run(&c);
            CHECK(c.ecx == 0 && c.esi == 0x1500000 && c.edi == 0x1700000, "ecx %#x esi %#x edi %#x",
                  c.ecx, c.esi, c.edi);
            for (uint32_t k = 0; k < 0x100000; k += 4096)
                CHECK_EQ(*(uint32_t *)(WORK + 0x200000 + k), k ^ round, "copy");
        }
        pic_mask(0xffff);
        CHECK(inside, "no interrupt came within REP MOVSB");
        CHECK(!wrong_string, "registers of an interrupted REP MOVSB do not fit together");
    }
}

/* --- shadows, with an interrupt that is already waiting --- */
static void wait_pending(void)
{
    pic_mask(0xfffe);
    outb(0x43, 0x30);
    outb(0x40, 1);
    outb(0x40, 0);
    outb(0x20, 0x0a);
    while (!(inb(0x20) & 1))
        ;
}

static struct ctx taken;
static bool was_taken;
static void on_first(struct ctx *c)
{
    taken = *c;
    was_taken = true;
    pic_eoi(0);
}

/* X(name, code before, code after the place where the interrupt must come) */
#define SHADOWS(X)                                                                                 \
    X(s_sti, "sti; nop", "nop; cli")                                                               \
    X(s_sti_sti, "sti; sti", "nop; cli")                                                           \
    X(s_popf, "pushfl; orl $0x200,(%esp); popfl", "nop; cli")                                      \
    X(s_iret, "pushfl; orl $0x200,(%esp); pushl %cs; pushl $1f; iretl; 1:", "nop; cli")            \
    X(s_mov_ss, "movl %ss,%eax; sti; movl %eax,%ss; nop", "nop; cli")                              \
    X(s_pop_ss, "pushl %ss; sti; popl %ss; nop", "nop; cli")                                       \
    X(s_sti_jmp, "sti; jmp 1f; nop; 1:", "nop; nop; cli")                                          \
    X(s_sti_call, "sti; call 1f; 1:", "popl %eax; cli")                                            \
    X(s_sti_ret, "pushl $1f; sti; ret; nop; 1:", "nop; cli")                                       \
    X(s_sti_hlt, "sti; hlt", "nop; cli")                                                           \
    X(s_sti_rep, "movl %esp,%edi; xorl %eax,%eax; movl $8,%ecx; subl $64,%edi; sti; rep stosb",    \
      "nop; cli")
SHADOWS(CODE_OF)
static const struct {
    const char *name;
    const uint8_t *code, *at;
} shadows[] = {
#define SHADOW_ROW(name, pre, post) {#name, name, name##_at},
    SHADOWS(SHADOW_ROW)};
CODE(s_sti_cli, "sti; cli; nop; nop; nop", "");
CODE(s_loop_cli, "movl $10000,%ecx; 1: sti; cli; loop 1b", "");

static void test_shadow(void)
{
    irq_handler[VEC_IRQ0] = on_first;
    for (unsigned i = 0; i < sizeof shadows / sizeof *shadows; i++) {
        struct ctx c = kernel_ctx(shadows[i].code);
        was_taken = false;
        wait_pending();
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT, "%s: vector %#x", shadows[i].name, c.vector);
        CHECK(was_taken, "%s: the interrupt did not come", shadows[i].name);
        uint32_t at = (uint32_t)shadows[i].at;
        /* a repeated instruction may be interrupted after any of its iterations */
        if (shadows[i].code == s_sti_rep && taken.eip == at - 2)
            CHECK(taken.ecx == 7, "REP after STI: ECX %u", taken.ecx);
        else if (shadows[i].code == s_mov_ss || shadows[i].code == s_pop_ss)
            /* of two blocking instructions in a row only the first must block (vol. 3, 6.8.3) */
            CHECK(taken.eip == at || taken.eip == at - 1, "%s: taken at %d", shadows[i].name,
                  (int)(taken.eip - at));
        else
            CHECK(taken.eip == at, "%s: taken at %d from the place", shadows[i].name,
                  (int)(taken.eip - at));
    }
    static const uint8_t *const never[] = {s_sti_cli, s_loop_cli};
    for (unsigned i = 0; i < 2; i++) {
        struct ctx c = kernel_ctx(never[i]);
        was_taken = false;
        wait_pending();
        trap_run(&c);
        CHECK(!was_taken, "an interrupt came between STI and CLI");
        asm volatile("sti; nop; nop; cli");
        CHECK(was_taken, "the interrupt was lost");
    }
    pic_mask(0xffff);
}

/* --- HLT wakes; a closed region stays closed, one latched tick follows it --- */
static void test_hlt(void)
{
    irq_handler[VEC_IRQ0] = on_pit;
    code_lo = code_hi = 0;
    pit_start(50); /* slow enough for an engine that is watched at each instruction */
    pic_mask(0xfffe);
    unsigned before = ticks;
    for (unsigned i = 0; i < 30; i++)
        asm volatile("sti; hlt; cli");
    CHECK(ticks - before >= 29 && ticks - before <= 31, "%u ticks in 30 HLTs", ticks - before);
    pic_mask(0xffff);
}

static void test_cli(void)
{
    irq_handler[VEC_IRQ0] = on_pit;
    asm volatile("sti; nop; nop; cli");
    pit_start(1000);
    pic_mask(0xfffe);
    asm volatile("sti; hlt; cli");
    for (unsigned i = 0; i < 5; i++) {
        unsigned before = ticks;
        /* some 5 ms by the timer's own counter */
        for (unsigned wraps = 0, last = 0xffff; wraps < 5;) {
            outb(0x43, 0);
            unsigned now = inb(0x40);
            now |= (unsigned)inb(0x40) << 8;
            if (now > last)
                wraps++;
            last = now;
        }
        CHECK(ticks == before, "%u interrupts with IF clear", ticks - before);
        asm volatile("sti; nop; nop; cli");
        CHECK(ticks - before == 1 || ticks - before == 2,
              "%u interrupts after STI, expected the latched one", ticks - before);
    }
    pic_mask(0xffff);
    asm volatile("sti; nop; nop; cli");
}

/* --- the local APIC: timer one-shot and periodic, self-IPI, TPR --- */
static void lapic_write(uint32_t reg, uint32_t v)
{
    *(volatile uint32_t *)(LAPIC + reg) = v;
}
static uint32_t lapic_read(uint32_t reg)
{
    return *(volatile uint32_t *)(LAPIC + reg);
}
static volatile unsigned apic_hits[256];
static void on_apic(struct ctx *c)
{
    look(c);
    apic_hits[c->vector]++;
    lapic_write(0xb0, 0);
}

static void test_lapic(void)
{
    uint32_t r[4];
    cpuid(1, r);
    if (!(r[3] & 1u << 9)) {
        fail("CPUID offers no local APIC");
        return;
    }
    for (unsigned v = 0x50; v < 0x100; v += 16)
        irq_handler[v] = on_apic;
    wrmsr(MSR_APIC_BASE, LAPIC | 0x900);
    lapic_write(0xf0, 0x1ff);
    lapic_write(0x80, 0);
    /* self-IPI: pending while IF is clear, then in order of priority */
    lapic_write(0x300, 0x40050);
    lapic_write(0x300, 0x40090);
    CHECK(lapic_read(0x220) & 1u << 16 && lapic_read(0x240) & 1u << 16, "IRR %#x %#x",
          lapic_read(0x220), lapic_read(0x240));
    asm volatile("sti; nop; nop; cli");
    CHECK(apic_hits[0x50] == 1 && apic_hits[0x90] == 1, "self-IPIs: %u %u", apic_hits[0x50],
          apic_hits[0x90]);
    /* the task priority holds back what is not above it */
    lapic_write(0x80, 0x60);
    lapic_write(0x300, 0x40050);
    lapic_write(0x300, 0x40090);
    asm volatile("sti; nop; nop; cli");
    CHECK(apic_hits[0x50] == 1 && apic_hits[0x90] == 2, "with TPR 0x60: %u %u", apic_hits[0x50],
          apic_hits[0x90]);
    lapic_write(0x80, 0);
    asm volatile("sti; nop; nop; cli");
    CHECK(apic_hits[0x50] == 2, "after TPR 0: %u", apic_hits[0x50]);
    /* one-shot */
    lapic_write(0x3e0, 0xb);
    lapic_write(0x320, 0x60);
    lapic_write(0x380, 1000000);
    CHECK(lapic_read(0x390) <= 1000000, "current count");
    while (!apic_hits[0x60])
        asm volatile("sti; hlt; cli");
    CHECK_EQ(lapic_read(0x390), 0, "count after one shot");
    CHECK_EQ(apic_hits[0x60], 1, "one shot");
    /* periodic, under a loop */
    collect(loops[2].code, loops[2].end, loop_ctx(2, 1, 9));
    struct ctx quiet = loop_ctx(2, 1, 3000);
    trap_run(&quiet);
    uint32_t sum = checksum();
    lapic_write(0x320, 0x20070);
    lapic_write(0x380, 500000);
    hits = 0;
    for (unsigned round = 0; hits < 20 && round < 20000; round++) {
        struct ctx c = loop_ctx(2, 1, 3000);
        c.eflags |= EFL_IF;
        trap_run(&c);
        CHECK(same(&c, &quiet, sum, checksum()), "state after an APIC timer interrupt");
    }
    CHECK(hits >= 5, "%u hits", hits);
    CHECK(!wrong_eip, "interrupted at %#x", wrong_eip);
    lapic_write(0x320, 0x10070);
    lapic_write(0x380, 0);
    asm volatile("sti; nop; nop; cli");
}

/* --- an exception while an interrupt waits: the exception's handler runs first or the interrupt
 * does, none is lost --- */
CODE(exc_loop, "1: movl $0x1800000,%eax; int3; int3; addl $1,%ebx; decl %ecx; jnz 1b", "");
static unsigned breakpoints;
static void on_bp(struct ctx *c)
{
    (void)c;
    breakpoints++;
}
static void test_exceptions(void)
{
    irq_handler[VEC_IRQ0] = on_pit;
    irq_handler[VEC_BP] = on_bp;
    code_lo = code_hi = 0;
    pit_start(2000);
    pic_mask(0xfffe);
    unsigned before = ticks;
    for (unsigned i = 0; i < 5000 && ticks - before < 50; i++) {
        breakpoints = 0;
        struct ctx c = user_ctx(exc_loop);
        c.ecx = 100, c.ebx = 0;
        c.eflags |= EFL_IF;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.ebx == 100 && breakpoints == 200,
              "vector %#x ebx %u breakpoints %u", c.vector, c.ebx, breakpoints);
    }
    pic_mask(0xffff);
    irq_handler[VEC_BP] = NULL;
}

/* --- CR0.NE clear: errors of the x87 by FERR# and IRQ 13; IGNNE# lasts until the error is cleared
 * --- */
#define FERR_IRQ 13
static volatile unsigned ferrs;

static void on_ferr(struct ctx *c)
{
    (void)c;
    ferrs++;
    outb(0xf0, 0);
    pic_eoi(FERR_IRQ);
}

static void test_ferr(void)
{
    static const uint16_t unmasked = 0x37b; /* division by zero */
    irq_handler[VEC_IRQ0 + FERR_IRQ] = on_ferr;
    WRITE_CR(0, READ_CR(0) & ~CR0_NE);
    pic_mask((uint16_t) ~(1u << FERR_IRQ | 1u << 2));
    for (unsigned i = 0; i < 6; i++) {
        unsigned before = ferrs;
        asm volatile(
            "fninit; fldcw %0; fldz; fld1; fdiv %%st(1),%%st; sti; fwait; fwait; cli" ::"m"(
                unmasked));
        CHECK(ferrs == before + 1, "%u interrupts for error %u", ferrs - before, i);
        if (i & 1)
            asm volatile("fnclex");
    }
    asm volatile("fninit");
    pic_mask(0xffff);
    WRITE_CR(0, READ_CR(0) | CR0_NE);
}

/* --- requests that a driver takes back by polling --- */
static volatile unsigned unexpected;
static void on_unexpected(struct ctx *c)
{
    unexpected = c->vector;
    pic_eoi(c->vector - VEC_IRQ0);
}

static uint16_t requested(void)
{
    outb(0x20, 0x0a);
    outb(0xa0, 0x0a);
    return (uint16_t)(inb(0x20) | inb(0xa0) << 8);
}

static void open_for_a_moment(const char *what)
{
    for (unsigned irq = 0; irq < 16; irq++)
        irq_handler[VEC_IRQ0 + irq] = on_unexpected;
    unexpected = 0;
    asm volatile("sti; nop; nop; cli" ::: "memory");
    CHECK(!unexpected, "%s: vector %#x", what, unexpected);
}

static void rtc_write(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

static uint8_t rtc_read(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

static void test_withdrawn(void)
{
    pit_stop();
    while (inb(0x64) & 1)
        (void)inb(0x60);
    pic_mask((uint16_t) ~(1u << 1 | 1u << 8 | 1u << 2));
    for (unsigned i = 0; i < 100; i++) {
        outb(0x64, 0xd2); /* the byte comes back as if the keyboard had sent it */
        outb(0x60, 0x5a);
        CHECK(requested() & 1 << 1, "IRQ 1 is requested");
        CHECK_EQ(inb(0x60), 0x5a, "the byte");
        CHECK(!(requested() & 1 << 1), "IRQ 1 is taken back");
        open_for_a_moment("after port 0x60");
    }
    uint8_t b = rtc_read(0xb), a = rtc_read(0xa);
    rtc_write(0xa, (a & 0xf0) | 3); /* 8192 Hz */
    rtc_write(0xb, b | 0x40);
    for (unsigned i = 0; i < 20; i++) {
        while (!(requested() & 1 << 8))
            ;
        rtc_write(0xb, b & ~0x40);
        CHECK(!(requested() & 1 << 8), "IRQ 8 is taken back by register B");
        open_for_a_moment("after register B");
        rtc_write(0xb, b | 0x40);
        while (!(requested() & 1 << 8))
            ;
        rtc_write(0xb, b & ~0x40);
        (void)rtc_read(0xc);
        open_for_a_moment("after register C");
        rtc_write(0xb, b | 0x40);
    }
    rtc_write(0xb, b);
    rtc_write(0xa, a);
    (void)rtc_read(0xc);
    /* Mode 0: a new count takes IRQ 0 back. */
    wait_pending();
    outb(0x43, 0x30);
    CHECK(!(requested() & 1), "IRQ 0 is taken back");
    open_for_a_moment("after a new control word");
    pic_mask(0xffff);
}

static const struct test tests[] = {
    {"loops", test_loops, NULL},
    {"loops_fxsave", test_loops_fpu, NULL},
    {"sweep", test_sweep, NULL},
    {"rep", test_rep, NULL},
    {"shadow", test_shadow, NULL},
    {"hlt", test_hlt, NULL},
    {"cli", test_cli, NULL},
    {"exceptions", test_exceptions, NULL},
    {"lapic", test_lapic, NULL},
    {"ferr", test_ferr, NULL},
    {"withdrawn", test_withdrawn, NULL},
};

void guest_main(void)
{
    pic_init();
    WRITE_CR(0, (READ_CR(0) & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR | CR4_OSXMMEXCPT);
    asm volatile("fninit; fxsave %0" : "=m"(junk));
    for (unsigned i = 32; i < 200; i++)
        if ((i - 32) % 16 < 10 || i >= 160)
            junk[i] = (uint8_t)(i * 37);
    RUN_TESTS(tests);
}
