/* SPDX-License-Identifier: MIT */
/* debug.c: TF single steps through every kind of instruction, breakpoints on execution, data and
 * I/O, general detect (SDM vol. 3, chapter 17). */
#include "lib/guest.h"

#define DR6_BS 0x4000
#define DR6_BD 0x2000
#define DR6_BT 0x8000
#define AREA   0x1400000u

static struct {
    uint32_t eip, dr6, eflags;
} trail[256];
static unsigned trail_len;

static void on_db(struct ctx *c)
{
    if (trail_len < 256) {
        trail[trail_len].eip = c->eip;
        trail[trail_len].dr6 = READ_DR(6);
        trail[trail_len].eflags = c->eflags;
    }
    trail_len++;
    WRITE_DR(6, 0xffff0ff0);
    if (trail_len > 250)
        trap_stop = true;
}

/* Runs code with TF set at CPL cpl; returns the context at its end. */
static struct ctx step(const void *code, unsigned cpl, uint32_t flags)
{
    trail_len = 0;
    irq_handler[VEC_DB] = on_db;
    struct ctx c = ring_ctx(cpl, code);
    c.eflags |= EFL_TF | flags;
    c.ebx = AREA, c.esi = AREA + 256, c.edi = AREA + 512, c.ebp = AREA + 1024;
    trap_run(&c);
    irq_handler[VEC_DB] = NULL;
    return c;
}

/* --- straight code: one trap behind each instruction. X(instruction, may run at CPL 3) --- */
/* clang-format off */
#define STEPS(X) \
    X("nop", 1) X("movl $1,%eax", 1) X("addl %eax,%ecx", 1) X("addl %ecx,(%ebx)", 1) \
    X("lock incl (%ebx)", 1) X("pushl %eax", 1) X("popl %edx", 1) X("pushal", 1) \
    X("popal", 1) X("pushl (%ebx)", 1) X("popl 4(%ebx)", 1) X("enter $16,$0", 1) \
    X("leave", 1) X("movsl", 1) X("stosb", 1) X("lodsw", 1) X("cmpsb", 1) \
    X("scasl", 1) X("cld", 1) X("std", 1) X("cld", 1) X("clc", 1) \
    X("stc", 1) X("cmc", 1) X("lahf", 1) X("sahf", 1) X("cltd", 1) \
    X("imull %eax,%ecx", 1) X("bswap %eax", 1) X("btsl $3,(%ebx)", 1) X("setz %al", 1) \
    X("cmovzl %eax,%ecx", 1) X("xchgl %eax,(%ebx)", 1) X("cmpxchgl %ecx,(%ebx)", 1) \
    X("cmpxchg8b (%ebx)", 1) X("xaddl %eax,(%ebx)", 1) X("leal 4(%eax),%eax", 1) \
    X("cpuid", 1) X("rdtsc", 1) X("movl $0x1400000,%ebx", 1) X("movl %ds,%eax", 1) \
    X("movl %eax,%es", 1) X("pushl %ds", 1) X("popl %fs", 1) X("sgdt 64(%ebx)", 1) \
    X("sidt 64(%ebx)", 1) X("sldt %eax", 1) X("str %eax", 1) X("smsw %eax", 1) \
    X("movl %ds,%eax; larl %eax,%ecx", 2) X("verr %ax", 1) X("fninit", 1) X("fld1", 1) \
    X("fstpl (%ebx)", 1) X("fwait", 1) X("pxor %xmm0,%xmm0", 1) X("movups (%ebx),%xmm1", 1) \
    X("emms", 1) X("pushfl", 1) X("popl %eax", 1) X("into", 1) X("pause", 1) \
    X("prefetchnta (%ebx)", 1) X("lfence", 1) X("xlatb (%ebx)", 1) X("movl $0,%ecx", 1) \
    X("rep stosb", 1) X("jecxz 1f; 1: nop", 2) X("movl $0x1400000,%ebx", 1) \
    X("boundl %esp,step_bounds", 1) X("xorl %eax,%eax", 1) X("aaa", 1) X("daa", 1) \
    X(".byte 0xd6", 1) X("shldl $3,%eax,(%ebx)", 1) X("rclb $1,(%ebx)", 1) \
    X("divl step_one", 1) X("movl %eax,%cr2", 0) X("movl %cr0,%eax", 0) \
    X("movl %eax,%cr0", 0) X("movl %cr3,%eax", 0) X("movl %eax,%cr3", 0) X("clts", 0) \
    X("invlpg (%ebx)", 0) X("movl %dr0,%eax", 0) X("movl %eax,%dr0", 0) X("cli", 0) \
    X("inb $0x80,%al", 0) X("outb %al,$0x80", 0) X("wbinvd", 0) X("lgdt step_gdt", 0) \
    X("movl $0x1b,%ecx", 0) X("rdmsr", 0) X("wrmsr", 0) X("lldt step_zero", 0) \
    X("verr %cx", 0) X("movl %cs,%eax", 0)
/* clang-format on */

uint32_t step_bounds[2] __attribute__((used)) = {0, 0x7fffffff};
uint32_t step_one __attribute__((used)) = 1;
uint16_t step_zero __attribute__((used));
struct table_ptr step_gdt __attribute__((used));

/* Each row leaves the addresses behind its instructions in a table: two entries, 0 if there is one.
 */
#define STEP_ROW_0(code)     STEP_ROW(code)
#define STEP_ROW(code)       code "\n990: .pushsection .rodata.steps; .long 990b; .popsection\n"
#define STEP_KERNEL(code, n) STEP_##n(code)
#define STEP_USER(code, n)   STEP_USER_##n(code)
#define STEP_0(code)         STEP_ROW(code)
#define STEP_1(code)         STEP_ROW(code)
#define STEP_2(code)         ""
#define STEP_USER_0(code)    ""
#define STEP_USER_1(code)    STEP_ROW(code)
#define STEP_USER_2(code)    ""
asm(".pushsection .rodata.steps\nkernel_steps:\n.popsection\n"
    ".pushsection .text.snippet\nkernel_code: nop\n" STEPS(
        STEP_KERNEL) "int $0x30\n.popsection\n"
                     ".pushsection .rodata.steps\nuser_steps:\n.popsection\n"
                     ".pushsection .text.snippet\nuser_code: nop\n" STEPS(
                         STEP_USER) "int $0x30\n.popsection\n"
                                    ".pushsection .rodata.steps\nsteps_end:\n.popsection\n");
extern const uint32_t kernel_steps[], user_steps[], steps_end[];
extern uint8_t kernel_code[], user_code[];

static void straight(const uint8_t *code, const uint32_t *steps, const uint32_t *end, unsigned cpl)
{
    step_gdt = (struct table_ptr){sizeof gdt - 1, (uint32_t)gdt};
    struct ctx c = step(code, cpl, 0);
    CHECK(c.vector == VEC_EXIT, "vector %#x error %#x at %#x (start %#x)", c.vector, c.error, c.eip,
          (uint32_t)code);
    unsigned n = (unsigned)(end - steps) + 1;
    CHECK_EQ(trail_len, n, "number of single steps");
    for (unsigned i = 0; i < n && i < trail_len; i++) {
        uint32_t want = i ? steps[i - 1] : (uint32_t)code + 1;
        if (trail[i].eip != want || trail[i].dr6 != (0xffff0ff0 | DR6_BS) ||
            trail[i].eflags & EFL_RF || !(trail[i].eflags & EFL_TF)) {
            fail("step %u: eip %#x, expected %#x; DR6 %#x flags %#x", i, trail[i].eip, want,
                 trail[i].dr6, trail[i].eflags);
            break;
        }
    }
}

static void test_straight(void)
{
    straight(kernel_code, kernel_steps, user_steps, 0);
    straight(user_code, user_steps, steps_end, 3);
    straight(user_code, user_steps, steps_end, 1);
}

/* --- control flow: the trail is named by labels. F(name, CPL mask, flags, code, number of steps)
 * --- */
/* `@` marks in order what must be on the trail: a macro of the assembler does it. */
asm(".macro at\n.pushsection .rodata.flow\n.long .Lat\\@\n.popsection\n.Lat\\@:\n.endm\n"
    ".macro flow name\n.pushsection .rodata.flow\n\\name\\()_trail:\n.popsection\n"
    ".pushsection .text.snippet\n\\name: nop\n.endm\n"
    ".macro endflow\nint $0x30\n.popsection\n.pushsection .rodata.flow\n.long "
    "0\n.popsection\n.endm\n");
#define FLOW(name, code)                                                                           \
    asm("flow " #name "\n" code "\nendflow\n");                                                    \
    extern uint8_t name[];                                                                         \
    extern const uint32_t name##_trail[]

FLOW(f_jmp, "at\njmp 1f\nud2\n1: at\njmp 2f\n.skip 300\n2: at\nnop\nat");
FLOW(f_jcc, "at\ncmpl %eax,%eax\nat\njne 1f\nat\nje 1f\nud2\n1: at\nnop\nat");
FLOW(f_call, "at\ncall 1f\n5: ud2\n1: at\naddl $2f-5b,(%esp)\nat\nret\n2: at\nnop\nat");
FLOW(f_indirect, "at\nmovl $1f,%eax\nat\njmp *%eax\nud2\n1: at\nmovl $2f,%eax\nat\ncall "
                 "*%eax\nud2\n2: at\npopl %eax\nat");
FLOW(f_ret,
     "at\npushl $1f\nat\nret\nud2\n1: at\npushl $0\nat\npushl $2f\nat\nret $4\n2: at\nnop\nat");
FLOW(f_loop, "at\nmovl $1,%ecx\nat\nloop 1f\nat\nincl %ecx\nat\nloopne 1f\n1: at\njecxz "
             "2f\nud2\n2: at\nnop\nat");
FLOW(f_pushf, "at\npushfl\nat\ntestl $0x100,(%esp)\nat\njnz 1f\nud2\n1: at\npopfl\nat\nnop\nat");
FLOW(f_popf_off, "at\npushfl\nat\nandl $~0x100,(%esp)\nat\npopfl\nat\nnop\nnop");
FLOW(f_iret, "at\npushfl\nat\npushl %cs\nat\npushl $1f\nat\niretl\nud2\n1: at\nnop\nat");
FLOW(f_iret_off, "at\npushfl\nat\nandl $~0x100,(%esp)\nat\npushl %cs\nat\npushl "
                 "$1f\nat\niretl\nud2\n1: at\nnop\nnop");
FLOW(f_far, "at\npushl %cs\nat\npushl $1f\nat\nlret\nud2\n1: at\nnop\nat");
FLOW(f_rep, "at\nmovl $3,%ecx\nat\n1: rep movsb\n.pushsection .rodata.flow\n.long "
            "1b,1b\n.popsection\nat\nnop\nat");
FLOW(f_repe, "at\nmovl $4,%ecx\nat\nmovl %esi,%edi\nat\n1: repe cmpsb\n.pushsection "
             ".rodata.flow\n.long 1b,1b,1b\n.popsection\nat\nnop\nat");
FLOW(f_mov_ss, "at\nmovl %ss,%eax\nat\nmovl %eax,%ss\nnop\nat\nnop\nat");
FLOW(f_pop_ss, "at\npushl %ss\nat\npopl %ss\nnop\nat\nnop\nat");
FLOW(f_int, "at\nint $0x41\nnop\nat\nnop\nat");
FLOW(f_ud, "at\nnop\nat\nud2");
FLOW(f_sti, "at\nsti\nat\nnop\nat\ncli\nat");

static const struct flow {
    const char *name;
    const uint8_t *code;
    const uint32_t *trail;
    unsigned vector, rings;
} flows[] = {{"jmp", f_jmp, f_jmp_trail, VEC_EXIT, 9},
             {"jcc", f_jcc, f_jcc_trail, VEC_EXIT, 9},
             {"call", f_call, f_call_trail, VEC_EXIT, 9},
             {"indirect", f_indirect, f_indirect_trail, VEC_EXIT, 9},
             {"ret", f_ret, f_ret_trail, VEC_EXIT, 9},
             {"loop", f_loop, f_loop_trail, VEC_EXIT, 9},
             {"pushf", f_pushf, f_pushf_trail, VEC_EXIT, 9},
             {"popf clearing TF", f_popf_off, f_popf_off_trail, VEC_EXIT, 9},
             {"iret", f_iret, f_iret_trail, VEC_EXIT, 9},
             {"iret clearing TF", f_iret_off, f_iret_off_trail, VEC_EXIT, 9},
             {"far return", f_far, f_far_trail, VEC_EXIT, 9},
             {"rep movsb", f_rep, f_rep_trail, VEC_EXIT, 9},
             {"repe cmpsb", f_repe, f_repe_trail, VEC_EXIT, 9},
             {"mov ss", f_mov_ss, f_mov_ss_trail, VEC_EXIT, 9},
             {"pop ss", f_pop_ss, f_pop_ss_trail, VEC_EXIT, 9},
             {"fault", f_ud, f_ud_trail, VEC_UD, 9},
             {"sti", f_sti, f_sti_trail, VEC_EXIT, 1}};

static void follow(const struct flow *f, unsigned cpl)
{
    struct ctx c = step(f->code, cpl, 0);
    CHECK(c.vector == f->vector, "%s at cpl %u: vector %#x at %#x", f->name, cpl, c.vector, c.eip);
    unsigned n = 0;
    while (f->trail[n])
        n++;
    for (unsigned i = 0; i < n || i < trail_len; i++)
        if (i >= n || i >= trail_len || trail[i].eip != f->trail[i]) {
            fail("%s at cpl %u: step %u of %u (expected %u) is +%d, expected +%d", f->name, cpl, i,
                 trail_len, n, i < trail_len ? (int)(trail[i].eip - (uint32_t)f->code) : -1,
                 i < n ? (int)(f->trail[i] - (uint32_t)f->code) : -1);
            break;
        }
    if (f->vector == VEC_UD)
        CHECK(c.eflags & EFL_TF, "TF in the flags that the fault pushed");
}

static void on_soft(struct ctx *c)
{
    CHECK(c->eflags & EFL_TF && !(trap_flags & EFL_TF), "TF at INT: pushed %#x, in the handler %#x",
          c->eflags, trap_flags);
}

static void test_flow(void)
{
    pic_mask(0xffff);
    for (unsigned i = 0; i < sizeof flows / sizeof *flows; i++)
        for (unsigned cpl = 0; cpl < 4; cpl += 3)
            if (flows[i].rings & 1u << cpl && flows[i].trail)
                follow(&flows[i], cpl);
    /* INT's handler runs without steps; after its IRET the next instruction is stepped */
    irq_handler[0x41] = on_soft;
    idt_set(0x41, gate(stub_address(0x41), KCS, 0xee, 0));
    const struct flow f = {"int", f_int, f_int_trail, VEC_EXIT, 9};
    follow(&f, 0);
    follow(&f, 3);
    irq_handler[0x41] = NULL;
    idt_reset(0x41);
}

/* POPF and IRET that set TF: the first trap is behind the next instruction. */
FLOW(f_popf_on, "pushfl\norl $0x100,(%esp)\npopfl\nnop\nat\nnop\nat\npushfl\nat\nandl "
                "$~0x100,(%esp)\nat\npopfl\nat\nnop");
static void test_popf_on(void)
{
    for (unsigned cpl = 0; cpl < 4; cpl += 3) {
        trail_len = 0;
        irq_handler[VEC_DB] = on_db;
        struct ctx c = ring_ctx(cpl, f_popf_on);
        trap_run(&c);
        irq_handler[VEC_DB] = NULL;
        for (unsigned i = 0; f_popf_on_trail[i] || i < trail_len; i++)
            if (i >= trail_len || trail[i].eip != f_popf_on_trail[i]) {
                fail("cpl %u: step %u of %u is +%d", cpl, i, trail_len,
                     (int)(trail[i].eip - (uint32_t)f_popf_on));
                break;
            }
    }
}

/* --- breakpoints --- */
#define DR7(n, type, len)                                                                          \
    (1u << (2 * (n)) | (uint32_t)(type) << (16 + 4 * (n)) | (uint32_t)(len) << (18 + 4 * (n)))
enum { BP_EXEC, BP_WRITE, BP_IO, BP_RW };
#define LEN1 0
#define LEN2 1
#define LEN4 3

static void dr_addr(unsigned n, uint32_t a)
{
    switch (n) {
    case 0:
        WRITE_DR(0, a);
        break;
    case 1:
        WRITE_DR(1, a);
        break;
    case 2:
        WRITE_DR(2, a);
        break;
    default:
        WRITE_DR(3, a);
    }
}

static struct ctx watched(const void *code, unsigned cpl, unsigned n, uint32_t addr, uint32_t dr7)
{
    struct ctx c = ring_ctx(cpl, code);
    c.ebx = AREA, c.esi = AREA, c.edi = AREA + 64;
    dr_addr(n, addr);
    WRITE_DR(6, 0xffff0ff0);
    WRITE_DR(7, dr7);
    trap_run(&c);
    WRITE_DR(7, 0);
    return c;
}

CODE(bp_code, "nop; addl $1,%eax; pushl %eax; popl %ecx", "addl $2,%eax");
CODE(bp_loop, "movl $10,%ecx; 1: addl $3,%eax; decl %ecx; jnz 1b", "nop");
static void test_exec(void)
{
    for (unsigned cpl = 0; cpl < 4; cpl += 3)
        for (unsigned n = 0; n < 4; n++) {
            struct ctx c = watched(bp_code, cpl, n, (uint32_t)bp_code_at, DR7(n, BP_EXEC, LEN1));
            expect(&c, VEC_DB, 0, bp_code_at, "breakpoint");
            CHECK_EQ(READ_DR(6), 0xffff0ff0 | 1u << n, "DR6");
            CHECK(!(c.eflags & EFL_RF), "RF pushed by an instruction breakpoint");
            CHECK_EQ(c.eax, 1, "EAX at the breakpoint");
            /* RF lets the instruction run */
            WRITE_DR(7, DR7(n, BP_EXEC, LEN1));
            c.eflags |= EFL_RF;
            trap_run(&c);
            WRITE_DR(7, 0);
            CHECK(c.vector == VEC_EXIT && c.eax == 3, "resumed with RF: vector %#x eax %u",
                  c.vector, c.eax);
            /* disabled, and global */
            c = watched(bp_code, cpl, n, (uint32_t)bp_code_at, DR7(n, BP_EXEC, LEN1) & ~0xffu);
            CHECK_EQ(c.vector, VEC_EXIT, "disabled breakpoint");
            c = watched(bp_code, cpl, n, (uint32_t)bp_code_at, 2u << 2 * n);
            expect(&c, VEC_DB, 0, bp_code_at, "global breakpoint");
            /* in the middle of an instruction: nothing */
            c = watched(bp_code, cpl, n, (uint32_t)bp_code_at + 1, DR7(n, BP_EXEC, LEN1));
            CHECK_EQ(c.vector, VEC_EXIT, "breakpoint inside an instruction");
        }
    /* in a loop: each time round */
    unsigned hits = 0;
    struct ctx c = kernel_ctx(bp_loop);
    uint32_t addr = (uint32_t)bp_loop + 5;
    WRITE_DR(0, addr);
    WRITE_DR(7, DR7(0, BP_EXEC, LEN1));
    for (;;) {
        trap_run(&c);
        if (c.vector != VEC_DB || hits > 20)
            break;
        CHECK_EQ(c.eip, addr, "EIP in the loop");
        hits++;
        c.eflags |= EFL_RF;
    }
    WRITE_DR(7, 0);
    CHECK(hits == 10 && c.eax == 30 && c.vector == VEC_EXIT, "%u hits, eax %u, vector %#x", hits,
          c.eax, c.vector);
}

CODE(w_movl, "", "movl %eax,(%ebx)");
CODE(w_movb3, "", "movb %al,3(%ebx)");
CODE(w_read, "", "movl (%ebx),%eax");
CODE(w_add, "", "addl %eax,(%ebx)");
CODE(w_push, "leal 4(%ebx),%esp", "pushl %eax");
CODE(w_stosl, "", "stosl");
CODE(w_movsl, "", "movsl");
CODE(w_fst, "fninit; fldz", "fstpl (%ebx)");
CODE(w_sse, "", "movups %xmm0,-8(%ebx)");
CODE(w_far, "", "movl %eax,4(%ebx)");
CODE(w_cross, "", "movl %eax,-3(%ebx)");
CODE(w_call, "leal 4(%ebx),%esp", "call w_call_next");
static void test_data(void)
{
    static const struct {
        const char *name;
        const uint8_t *code, *next;
        uint32_t addr;
        unsigned len;
        bool write, rw;
    } t[] = {{"store", w_movl, w_movl_next, AREA, LEN4, true, true},
             {"store, last byte", w_movl, w_movl_next, AREA + 3, LEN1, true, true},
             {"store, upper half", w_movl, w_movl_next, AREA + 2, LEN2, true, true},
             {"byte in a dword", w_movb3, w_movb3_next, AREA, LEN4, true, true},
             {"byte beside a word", w_movb3, w_movb3_next, AREA, LEN2, false, false},
             {"load", w_read, w_read_next, AREA, LEN4, false, true},
             {"add", w_add, w_add_next, AREA, LEN4, true, true},
             {"push", w_push, w_push_next, AREA, LEN4, true, true},
             {"stosl", w_stosl, w_stosl_next, AREA + 64, LEN4, true, true},
             {"movsl source", w_movsl, w_movsl_next, AREA, LEN4, false, true},
             {"movsl destination", w_movsl, w_movsl_next, AREA + 64, LEN4, true, true},
             {"fstpl", w_fst, w_fst_next, AREA + 4, LEN4, true, true},
             {"movups", w_sse, w_sse_next, AREA + 4, LEN1, true, true},
             {"beyond", w_far, w_far_next, AREA, LEN4, false, false},
             {"crossing into it", w_cross, w_cross_next, AREA, LEN1, true, true},
             {"call", w_call, w_call_next, AREA, LEN4, true, true}};
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        for (unsigned cpl = 0; cpl < 4; cpl += 3)
            for (unsigned type = BP_WRITE; type <= BP_RW; type += 2) {
                /* at CPL 0 the trap itself would write to the watched stack */
                if (!cpl && (t[i].code == w_push || t[i].code == w_call))
                    continue;
                unsigned n = i & 3;
                struct ctx c = watched(t[i].code, cpl, n, t[i].addr, DR7(n, type, t[i].len));
                if (type == BP_WRITE ? t[i].write : t[i].rw) {
                    expect(&c, VEC_DB, 0, t[i].next, t[i].name);
                    CHECK_EQ(READ_DR(6), 0xffff0ff0 | 1u << n, "DR6");
                } else {
                    CHECK(c.vector == VEC_EXIT, "%s: vector %#x", t[i].name, c.vector);
                }
            }
    WRITE_DR(6, 0xffff0ff0);
}

/* A watchpoint in a hot loop: each store is reported, the sum is right, and afterwards none is. */
CODE(w_loop, "movl $200,%ecx; 1: addl %ecx,(%ebx); incl 4(%ebx); decl %ecx; jnz 1b", "");
static void test_data_loop(void)
{
    for (unsigned cpl = 0; cpl < 4; cpl += 3)
        for (unsigned on = 0; on < 3; on++) {
            memset((void *)AREA, 0, 16);
            struct ctx c = ring_ctx(cpl, w_loop);
            c.ebx = AREA;
            WRITE_DR(1, AREA);
            WRITE_DR(7, on & 1 ? DR7(1, BP_WRITE, LEN4) : 0);
            unsigned hits = 0;
            for (;;) {
                trap_run(&c);
                if (c.vector != VEC_DB || hits > 300)
                    break;
                hits++;
            }
            WRITE_DR(7, 0);
            CHECK_EQ(hits, on & 1 ? 200 : 0, "hits");
            CHECK_EQ(*(uint32_t *)AREA, 20100, "sum");
            CHECK_EQ(*(uint32_t *)(AREA + 4), 200, "count");
        }
    WRITE_DR(6, 0xffff0ff0);
}

/* A fault before a matching access completes is the fault; a trap and a single step come together.
 */
static void test_together(void)
{
    struct ctx c = ring_ctx(3, w_movl);
    c.ebx = AREA;
    c.eflags |= EFL_TF;
    WRITE_DR(0, AREA);
    WRITE_DR(2, AREA + 2);
    WRITE_DR(6, 0xffff0ff0);
    WRITE_DR(7, DR7(0, BP_WRITE, LEN1) | DR7(2, BP_RW, LEN2));
    trap_run(&c);
    WRITE_DR(7, 0);
    expect(&c, VEC_DB, 0, w_movl_next, "two watchpoints and a step");
    CHECK_EQ(READ_DR(6), 0xffff0ff0 | DR6_BS | 5, "DR6");
    paging_on(false);
    pte_set(AREA, 0);
    c = watched(w_movl, 3, 0, AREA, DR7(0, BP_WRITE, LEN4));
    expect(&c, VEC_PF, PF_W | PF_U, w_movl, "store that faults");
    CHECK_EQ(READ_DR(6), 0xffff0ff0, "DR6 after a fault");
    paging_off();
}

CODE(w_rep, "movl $5,%ecx", "rep stosl; nop; nop");
static void test_rep(void)
{
    /* of five iterations the third hits: the trap comes after it or at a later boundary */
    struct ctx c = watched(w_rep, 3, 0, AREA + 64 + 8, DR7(0, BP_WRITE, LEN4));
    CHECK(c.vector == VEC_DB && c.ecx <= 2, "vector %#x ecx %u", c.vector, c.ecx);
    CHECK(c.eip == (uint32_t)w_rep_at || (c.eip == (uint32_t)w_rep_at + 2 && !c.ecx), "eip %#x",
          c.eip);
    WRITE_DR(6, 0xffff0ff0);
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT && c.ecx == 0 && c.edi == AREA + 84,
          "after the trap: vector %#x ecx %u", c.vector, c.ecx);
}

CODE(bp_out, "movl $0x80,%edx", "outb %al,%dx");
CODE(bp_in, "movl $0x80,%edx", "inb %dx,%al");
static void test_io(void)
{
    WRITE_CR(4, READ_CR(4) | CR4_DE);
    struct ctx c = watched(bp_out, 0, 3, 0x80, DR7(3, BP_IO, LEN1));
    expect(&c, VEC_DB, 0, bp_out_next, "out");
    CHECK_EQ(READ_DR(6), 0xffff0ff0 | 8, "DR6");
    c = watched(bp_in, 0, 3, 0x80, DR7(3, BP_IO, LEN1));
    expect(&c, VEC_DB, 0, bp_in_next, "in");
    c = watched(bp_in, 0, 3, 0x84, DR7(3, BP_IO, LEN1));
    CHECK_EQ(c.vector, VEC_EXIT, "another port");
    WRITE_CR(4, READ_CR(4) & ~CR4_DE);
}

CODE(dr_write, "", "movl %eax,%dr1");
CODE(dr_read, "", "movl %dr3,%eax");
CODE(dr4_read, "", "movl %dr4,%eax");
static void test_registers(void)
{
    WRITE_DR(7, 0);
    CHECK_EQ(READ_DR(7) & 0xffff0000, 0, "DR7");
    CHECK_EQ(READ_DR(7) & 0x400, 0x400, "bit 10 of DR7");
    WRITE_DR(6, 0);
    CHECK_EQ(READ_DR(6), 0xffff0ff0, "fixed bits of DR6");
    for (unsigned i = 0; i < 4; i++)
        dr_addr(i, 0x11111111 * (i + 1));
    CHECK(READ_DR(0) == 0x11111111 && READ_DR(3) == 0x44444444, "DR0 and DR3");
    for (unsigned i = 0; i < 4; i++)
        dr_addr(i, 0);
    /* general detect */
    struct ctx c = kernel_ctx(dr_write);
    WRITE_DR(7, 0x2000);
    trap_run(&c);
    expect(&c, VEC_DB, 0, dr_write, "general detect");
    CHECK_EQ(READ_DR(6), 0xffff0ff0 | DR6_BD, "DR6");
    CHECK_EQ(READ_DR(7) & 0x2000, 0, "DR7.GD after #DB");
    WRITE_DR(6, 0xffff0ff0);
    /* DR4 and DR5 are DR6 and DR7, or undefined */
    c = kernel_ctx(dr4_read);
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT && c.eax == 0xffff0ff0, "DR4: vector %#x eax %#x", c.vector, c.eax);
    WRITE_CR(4, READ_CR(4) | CR4_DE);
    c = kernel_ctx(dr4_read);
    trap_run(&c);
    WRITE_CR(4, READ_CR(4) & ~CR4_DE);
    expect(&c, VEC_UD, 0, dr4_read, "DR4 with DE");
}

static const struct test tests[] = {
    {"straight", test_straight, "REP with a count of 0 is not stepped"},
    {"flow", test_flow, "STI holds back the single-step trap"},
    {"popf_on", test_popf_on, NULL},
    {"exec", test_exec, NULL},
    {"data", test_data, NULL},
    {"data_loop", test_data_loop, NULL},
    {"together", test_together, "a single step beside a watchpoint"},
    {"rep", test_rep, NULL},
    {"io", test_io, NULL},
    {"registers", test_registers, "general detect is not implemented"},
};

void guest_main(void)
{
    pic_init();
    WRITE_CR(0, (READ_CR(0) & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR);
    RUN_TESTS(tests);
}
