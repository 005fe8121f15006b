/* SPDX-License-Identifier: MIT */
/* calls.c: control flow that return prediction and block chaining must not get wrong: deep
 * recursion, unbalanced CALL and RET, changed return addresses, stacks that are switched under way,
 * tables of targets. */
#include "lib/guest.h"

static uint32_t big_stack[65536];

/* --- deep recursion: one call site, and three that alternate --- */
asm(".pushsection .text\n"
    "rec_sum: testl %eax,%eax; jz 1f; pushl %eax; decl %eax; call rec_sum; popl %ecx; addl "
    "%ecx,%eax\n"
    "1: ret\n"
    "rec_mix: testl %eax,%eax; jz 1f; pushl %eax; decl %eax; testb $1,%al; jz 2f\n"
    "testb $2,%al; jz 3f; call rec_mix; popl %ecx; leal (%eax,%ecx,2),%eax; ret\n"
    "2: call rec_mix; popl %ecx; xorl %ecx,%eax; ret\n"
    "3: call rec_mix; popl %ecx; subl %ecx,%eax; ret\n"
    "1: movl $7,%eax; ret\n"
    "fib: cmpl $2,%eax; jb 1f; pushl %ebx; movl %eax,%ebx; decl %eax; call fib; xchgl %eax,%ebx\n"
    "subl $2,%eax; call fib; addl %ebx,%eax; popl %ebx\n"
    "1: ret\n.popsection");
CODE(call_rec_sum, "call rec_sum", "");
CODE(call_rec_mix, "call rec_mix", "");
CODE(call_fib, "call fib", "");

static uint32_t run_on(const uint8_t *code, uint32_t eax, int user)
{
    struct ctx c = user ? user_ctx(code) : kernel_ctx(code);
    c.esp = (uint32_t)(big_stack + sizeof big_stack / 4 - 16);
    uint32_t esp = c.esp;
    c.eax = eax;
    trap_run(&c);
    CHECK_EQ(c.vector, VEC_EXIT, "vector");
    CHECK_EQ(c.esp, esp, "ESP");
    return c.eax;
}

static uint32_t model_mix(uint32_t n)
{
    uint32_t r = 7;
    for (uint32_t k = 1; k <= n; k++)
        r = !((k - 1) & 1) ? r ^ k : !((k - 1) & 2) ? r - k : r + 2 * k;
    return r;
}

static void test_recursion(void)
{
    static const uint32_t depths[] = {1, 2, 15, 16, 17, 33, 100, 1000, 20000};
    for (int user = 0; user < 2; user++)
        for (unsigned i = 0; i < sizeof depths / sizeof *depths; i++) {
            uint32_t n = depths[i];
            CHECK_EQ(run_on(call_rec_sum, n, user), n * (n + 1) / 2, "sum");
            CHECK_EQ(run_on(call_rec_mix, n, user), model_mix(n), "mix");
        }
    CHECK_EQ(run_on(call_fib, 22, 0), 17711, "fib(22)");
    CHECK_EQ(run_on(call_fib, 20, 1), 6765, "fib(20)");
}

/* --- calls without returns, returns without calls --- */
CODE(drop_frames, "", "1: call 2f; 2: addl $4,%esp; addl %ecx,%eax; decl %ecx; jnz 1b");
CODE(push_ret, "1:", "pushl $2f; addl %ecx,%eax; ret; ud2; 2: decl %ecx; jnz 1b");
CODE(ret_chain,
     "movl %esp,%ebp; leal chain,%esp; ret; chain_1: addl $1,%eax; ret; chain_2: shll $2,%eax; ret;"
     "chain_3: xorl $0x55,%eax; ret; chain_end: movl %ebp,%esp",
     "");
uint32_t chain[] __attribute__((used)) = {0, 0, 0, 0, 0, 0, 0, 0};
CODE(ret_n,
     "1: pushl $11; pushl $22; call 2f; decl %ecx; jnz 1b; jmp 3f;"
     "2: movl 4(%esp),%edx; addl %edx,%eax; movl 8(%esp),%edx; addl %edx,%eax; ret $8; 3:",
     "");
CODE(ret_bump,
     "1: call 2f; ud2; decl %ecx; jnz 1b; jmp 3f;"
     "2: addl $2,(%esp); incl %eax; ret; 3:",
     "");
CODE(ret_table,
     "1: call 2f; ud2; 4: decl %ecx; jnz 1b; jmp 3f;"
     "5: addl $5,%eax; jmp 4b; 6: addl $7,%eax; jmp 4b;"
     "2: testb $1,%cl; jz 7f; movl $5b,(%esp); ret; 7: movl $6b,(%esp); ret; 3:",
     "");
CODE(call_pop,
     "1: call 2f; 2: popl %edx; subl $2b,%edx; addl %edx,%eax; incl %eax; decl %ecx; jnz 1b", "");
CODE(pop_jmp,
     "1: call 2f; addl $3,%eax; decl %ecx; jnz 1b; jmp 3f; 2: popl %edx; jmp *%edx; 3:", "");
CODE(call_stack_mem, "movl $2f,-64(%esp)",
     "1: call *-64(%esp); decl %ecx; jnz 1b; jmp 3f; 2: addl $9,%eax; ret; 3:");
CODE(
    call_esp_operand,
    "1: pushl $2f; call *(%esp); addl $4,%esp; decl %ecx; jnz 1b; jmp 3f; 2: addl $9,%eax; ret; 3:",
    "");
CODE(call_deep_return,
     "1: call 2f; decl %ecx; jnz 1b; jmp 5f; 2: call 3f; ud2; 3: call 4f; ud2; 4: incl %eax; addl "
     "$8,%esp; ret; 5:",
     "");
CODE(call_eax_eip,
     "1: movl $2f,%edx; call *%edx; decl %ecx; jnz 1b; jmp 3f; 2: addl $4,%eax; ret; 3:", "");
CODE(call_next_zero, "1: call 2f; 2: popl %edx; addl $4,%eax; decl %ecx; jnz 1b", "");

static void loop_case(const char *name, const uint8_t *code, uint32_t rounds, uint32_t want)
{
    for (int user = 0; user < 2; user++) {
        struct ctx c = user ? user_ctx(code) : kernel_ctx(code);
        uint32_t esp = c.esp;
        c.ecx = rounds;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT, "%s: vector %#x at %#x", name, c.vector, c.eip);
        CHECK_EQ(c.eax, want, name);
        CHECK_EQ(c.esp, esp, name);
    }
}

static void test_unbalanced(void)
{
    extern uint8_t chain_1[], chain_2[], chain_3[], chain_end[];
    loop_case("dropped frames", drop_frames, 1000, 500500);
    loop_case("push and ret", push_ret, 1000, 500500);
    loop_case("ret n", ret_n, 1000, 33000);
    loop_case("return address moved on", ret_bump, 1000, 1000);
    loop_case("return address replaced", ret_table, 1000, 6000);
    loop_case("call and pop", call_pop, 1000, 1000);
    loop_case("pop and jump", pop_jmp, 1000, 3000);
    loop_case("call through the stack", call_stack_mem, 1000, 9000);
    loop_case("call *(%esp)", call_esp_operand, 1000, 9000);
    loop_case("return over two frames", call_deep_return, 1000, 1000);
    loop_case("call by register", call_eax_eip, 1000, 4000);
    loop_case("call of the next instruction", call_next_zero, 1000, 4000);
    uint8_t *order[] = {chain_1, chain_2, chain_1, chain_3, chain_2, chain_end};
    for (unsigned i = 0; i < 6; i++)
        chain[i] = (uint32_t)order[i];
    for (unsigned i = 0; i < 50; i++) {
        struct ctx c = kernel_ctx(ret_chain);
        c.eax = i;
        trap_run(&c);
        CHECK_EQ(c.eax, ((((i + 1) << 2) + 1) ^ 0x55) << 2, "chain of returns");
    }
}

/* --- longjmp: out of nested calls, again and again --- */
CODE(longjmp_loop,
     "1: movl %esp,%ebp; movl %ecx,%edx; andl $7,%edx; call 2f; ud2;"
     "2: testl %edx,%edx; jz 3f; decl %edx; incl %eax; call 2b; ud2;"
     "3: movl %ebp,%esp; decl %ecx; jnz 1b",
     "");
static void test_longjmp(void)
{
    uint32_t want = 0;
    for (uint32_t i = 1; i <= 1000; i++)
        want += i & 7;
    loop_case("longjmp", longjmp_loop, 1000, want);
}

/* --- retpolines: the call thunk that overwrites its own return address --- */
CODE(retpoline,
     "1: movl %ecx,%edx; andl $3,%edx; movl retpoline_targets(,%edx,4),%edx; call 9f; decl %ecx; "
     "jnz 1b;"
     "jmp 8f; 9: call 4f; 3: pause; lfence; jmp 3b; 4: movl %edx,(%esp); ret;"
     "retpoline_a: addl $1,%eax; ret; retpoline_b: addl $10,%eax; ret;"
     "retpoline_c: addl $100,%eax; ret; retpoline_d: addl $1000,%eax; ret; 8:",
     "");
extern uint8_t retpoline_a[], retpoline_b[], retpoline_c[], retpoline_d[];
uint8_t *retpoline_targets[]
    __attribute__((used)) = {retpoline_a, retpoline_b, retpoline_c, retpoline_d};
static void test_retpoline(void)
{
    loop_case("retpoline", retpoline, 1000, 250 * 1111);
}

/* --- indirect jumps and calls through tables, register and memory forms --- */
CODE(switch_loop,
     "1: movl %ebx,%edx; imull $1103515245,%ebx; addl $12345,%ebx; shrl $16,%edx; andl $7,%edx;"
     "jmp *switch_table(,%edx,4);"
     "sw0: addl $1,%eax; jmp 2f; sw1: xorl %ecx,%eax; jmp 2f; sw2: roll $3,%eax; jmp 2f;"
     "sw3: notl %eax; jmp 2f; sw4: subl %ecx,%eax; jmp 2f; sw5: leal 5(%eax,%eax,2),%eax; jmp 2f;"
     "sw6: bswap %eax; jmp 2f; sw7: negl %eax; 2: decl %ecx; jnz 1b",
     "");
CODE(call_loop,
     "1: movl %ebx,%edx; imull $1103515245,%ebx; addl $12345,%ebx; shrl $16,%edx; andl $3,%edx;"
     "testb $1,%cl; jz 2f; call *call_table(,%edx,4); jmp 3f;"
     "2: movl call_table(,%edx,4),%edx; call *%edx; 3: decl %ecx; jnz 1b; jmp 4f;"
     "cl0: addl $1,%eax; ret; cl1: xorl %ecx,%eax; ret; cl2: roll $3,%eax; ret; cl3: notl %eax; "
     "ret; 4:",
     "");
extern uint8_t sw0[], sw1[], sw2[], sw3[], sw4[], sw5[], sw6[], sw7[], cl0[], cl1[], cl2[], cl3[];
uint8_t *switch_table[] __attribute__((used)) = {sw0, sw1, sw2, sw3, sw4, sw5, sw6, sw7};
uint8_t *call_table[] __attribute__((used)) = {cl0, cl1, cl2, cl3};

static uint32_t model_step(unsigned which, uint32_t a, uint32_t c)
{
    switch (which) {
    case 0:
        return a + 1;
    case 1:
        return a ^ c;
    case 2:
        return a << 3 | a >> 29;
    case 3:
        return ~a;
    case 4:
        return a - c;
    case 5:
        return 3 * a + 5;
    case 6:
        return __builtin_bswap32(a);
    default:
        return -a;
    }
}

static void test_tables(void)
{
    for (unsigned calls = 0; calls < 2; calls++)
        for (uint32_t seed = 1; seed < 4; seed++) {
            uint32_t a = seed, b = seed, n = 20000;
            for (uint32_t c = n; c; c--) {
                a = model_step(b >> 16 & (calls ? 3 : 7), a, c);
                b = b * 1103515245 + 12345;
            }
            struct ctx c = seed & 1 ? user_ctx(calls ? call_loop : switch_loop)
                                    : kernel_ctx(calls ? call_loop : switch_loop);
            c.eax = c.ebx = seed;
            c.ecx = n;
            trap_run(&c);
            CHECK_EQ(c.vector, VEC_EXIT, "vector");
            CHECK_EQ(c.eax, a, calls ? "table of calls" : "table of jumps");
        }
}

/* Many targets from one site: more than any inline cache or small table holds. */
#define MANY 4096
static uint8_t many_code[MANY * 16] __attribute__((aligned(4096)));
CODE(many_loop,
     "1: movl %ebx,%edx; imull $1103515245,%ebx; addl $12345,%ebx; shrl $8,%edx; andl $0xfff,%edx;"
     "shll $4,%edx; addl %esi,%edx; call *%edx; decl %ecx; jnz 1b",
     "");
static void test_many_targets(void)
{
    for (uint32_t i = 0; i < MANY; i++) {
        uint8_t *p = many_code + i * 16;
        *p++ = 0x05; /* addl $imm,%eax; roll $5,%eax; ret */
        *(uint32_t *)p = i * 0x9e3779b9;
        p[4] = 0xc1, p[5] = 0xc0, p[6] = 5, p[7] = 0xc3;
    }
    uint32_t a = 0, b = 1, n = 50000;
    for (uint32_t i = 0; i < n; i++) {
        a += (b >> 8 & 0xfff) * 0x9e3779b9;
        a = a << 5 | a >> 27;
        b = b * 1103515245 + 12345;
    }
    struct ctx c = user_ctx(many_loop);
    c.ebx = 1, c.ecx = n, c.esi = (uint32_t)many_code;
    trap_run(&c);
    CHECK_EQ(c.vector, VEC_EXIT, "vector");
    CHECK_EQ(c.eax, a, "many targets");
}

/* --- coroutines: three stacks, switched in the middle of calls --- */
CODE(coroutines,
     "movl %esp,%ebp; xorl %edi,%edi; movl co_stack,%esp; ret;"
     "co_switch: movl %esp,co_stack(,%edi,4); incl %edi; cmpl $3,%edi; jne 1f; xorl %edi,%edi;"
     "1: movl co_stack(,%edi,4),%esp; ret;"
     "co_nested: call co_switch; addl %edi,%eax; ret;"
     "co_a: addl $1,%eax; call co_nested; decl %ecx; jnz co_a; jmp 9f;"
     "co_b: roll $1,%eax; call co_switch; xorl $0x1234,%eax; call co_nested; jmp co_b;"
     "co_c: call co_nested; call co_nested; subl $3,%eax; call co_switch; jmp co_c; 9: movl "
     "%ebp,%esp",
     "");
uint32_t co_stack[3] __attribute__((used));
extern uint8_t co_a[], co_b[], co_c[];

/* What the coroutines do, as the three lists of what happens between switches. */
static uint32_t model_coroutines(uint32_t n)
{
    uint32_t a = 0;
    unsigned at[3] = {0, 0, 0}, who = 0;
    for (;;) {
        switch (who) {
        case 0:
            if (at[0]++) {
                a += 0;
                if (!--n)
                    return a;
            }
            a += 1;
            break;
        case 1:
            if (!at[1])
                a = a << 1 | a >> 31;
            else if (at[1] & 1)
                a ^= 0x1234;
            else
                a += 1, a = a << 1 | a >> 31;
            at[1]++;
            break;
        default:
            if (at[2]) {
                if (at[2] % 3 == 1)
                    a += 2;
                else if (at[2] % 3 == 2)
                    a += 2, a -= 3;
            }
            at[2]++;
        }
        who = (who + 1) % 3;
    }
}

static void test_coroutines(void)
{
    static uint32_t stacks[3][256];
    uint8_t *entry[] = {co_a, co_b, co_c};
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 3; i++) {
            stacks[i][200] = (uint32_t)entry[i];
            co_stack[i] = (uint32_t)&stacks[i][200];
        }
        struct ctx c = round & 1 ? user_ctx(coroutines) : kernel_ctx(coroutines);
        c.ecx = 300 + round;
        uint32_t esp = c.esp;
        trap_run(&c);
        CHECK_EQ(c.vector, VEC_EXIT, "vector");
        CHECK_EQ(c.eax, model_coroutines(300 + round), "EAX");
        CHECK_EQ(c.esp, esp, "ESP");
    }
}

/* --- loops, and conditional jumps over all conditions and flags --- */
CODE(loop_forms,
     "1: incl %eax; loop 1b; movl $5,%ecx; 2: incl %eax; cmpl $3,%ecx; loopne 2b;"
     "movl $5,%ecx; 3: incl %eax; cmpl %ecx,%ecx; loope 3b; jecxz 4f; ud2; 4: incl %ecx; jecxz 5f;"
     "addl $100,%eax; 5: movl $0x10000,%ecx; jcxz 6f; ud2; 6: movl $0x10003,%ecx; 7: incl %eax;"
     ".byte 0x67; loop 7b",
     "");
static void test_loops(void)
{
    struct ctx c = user_ctx(loop_forms);
    c.ecx = 10;
    trap_run(&c);
    CHECK_EQ(c.vector, VEC_EXIT, "vector");
    CHECK_EQ(c.eax, 10 + 3 + 5 + 100 + 3, "EAX");
    CHECK_EQ(c.ecx, 0x10000, "ECX");
}

static bool model_cc(unsigned cc, uint32_t f)
{
    bool cf = f & EFL_CF, zf = f & EFL_ZF, sf = f & EFL_SF, of = f & EFL_OF, pf = f & EFL_PF;
    bool v[8] = {of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of};
    return v[cc >> 1] ^ (cc & 1);
}

static uint8_t cc_code[64];
static void test_conditions(void)
{
    for (unsigned cc = 0; cc < 16; cc++)
        for (unsigned form = 0; form < 2; form++) {
            /* jcc over `incl %eax`; setcc %cl; cmovcc %esi,%edx; int $0x30 */
            uint8_t *p = cc_code;
            if (form)
                *p++ = 0x0f, *p++ = 0x80 + cc, *p++ = 1, *p++ = 0, *p++ = 0, *p++ = 0;
            else
                *p++ = 0x70 + cc, *p++ = 1;
            *p++ = 0x60;  /* pusha: replaced below, one byte that shows */
            p[-1] = 0x4c; /* decl %esp */
            *p++ = 0x0f, *p++ = 0x90 + cc, *p++ = 0xc1;
            *p++ = 0x0f, *p++ = 0x40 + cc, *p++ = 0xd6;
            *p++ = 0xcd, *p++ = VEC_EXIT;
            for (unsigned bits = 0; bits < 64; bits++) {
                uint32_t f = (bits & 1 ? EFL_CF : 0) | (bits & 2 ? EFL_ZF : 0) |
                             (bits & 4 ? EFL_SF : 0) | (bits & 8 ? EFL_OF : 0) |
                             (bits & 16 ? EFL_PF : 0) | (bits & 32 ? EFL_AF : 0);
                bool want = model_cc(cc, f);
                struct ctx c = bits & 32 ? user_ctx(cc_code) : kernel_ctx(cc_code);
                uint32_t esp = c.esp;
                c.eflags |= f;
                c.esi = 1;
                trap_run(&c);
                CHECK(c.vector == VEC_EXIT && c.esp == esp - !want,
                      "j%x with flags %#x: vector %#x, jumped %d", cc, f, c.vector, c.esp == esp);
                if (want)
                    CHECK(c.ecx == want && c.edx == want, "setcc/cmovcc %x with flags %#x", cc, f);
            }
        }
}

static const struct test tests[] = {
    {"recursion", test_recursion, NULL},   {"unbalanced", test_unbalanced, NULL},
    {"longjmp", test_longjmp, NULL},       {"retpoline", test_retpoline, NULL},
    {"tables", test_tables, NULL},         {"many_targets", test_many_targets, NULL},
    {"coroutines", test_coroutines, NULL}, {"loops", test_loops, NULL},
    {"conditions", test_conditions, NULL},
};

void guest_main(void)
{
    RUN_TESTS(tests);
}
