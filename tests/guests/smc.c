/* SPDX-License-Identifier: MIT */
/* smc.c: self-modifying and generated code of every kind. Each case is judged by the result that
 * the code computes, at CPL 0 and 3, without paging and with both page-table formats. Stores to the
 * linear address that is executed take effect at the next instruction (SDM vol. 3, 8.1.3 and 11.6);
 * through another linear address the tests serialize with IRET, as the manual asks. */
#include "lib/guest.h"

#define AREA  0x1400000u /* code is put here */
#define ALIAS 0x1500000u
#define OTHER 0x1600000u

static int user, paging; /* how the present round runs: paging 0 off, 1 two-level, 2 PAE */

static struct ctx run(const void *code, uint32_t eax, uint32_t ecx)
{
    struct ctx c = user ? user_ctx(code) : kernel_ctx(code);
    c.eax = eax, c.ecx = ecx;
    c.ebx = AREA;
    uint32_t esp = c.esp;
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT && c.esp == esp,
          "vector %#x error %#x at %#x cr2 %#x (cpl %d, paging %d)", c.vector, c.error, c.eip,
          c.cr2, user * 3, paging);
    return c;
}

static void *put(uint32_t at, const void *from, const void *to)
{
    memcpy((void *)at, from, (size_t)((const uint8_t *)to - (const uint8_t *)from));
    return (void *)at;
}

/* A template that is copied to the work area: T(name, code) gives name, name_end; %ebx is AREA. */
#define T(name, code)                                                                              \
    asm(".pushsection .text.snippet\n" #name ": " code "; int $0x30\n" #name                       \
        "_end:\n.popsection");                                                                     \
    extern uint8_t name[], name##_end[]
#define PUT(name, at) put(at, name, name##_end)

static void check_value(const char *what, uint32_t got, uint32_t want)
{
    CHECK(got == want, "%s: %#x, expected %#x (cpl %d, paging %d)", what, got, want, user * 3,
          paging);
}

/* --- the next instruction, in the same block --- */
T(next_imm, "movl %eax,1f-next_imm+1(%ebx); 1: movl $0,%eax");
T(next_byte, "movb %al,1f-next_byte+1(%ebx); 1: movb $0,%al; movzbl %al,%eax");
T(next_opcode, "movb $0x48,1f-next_opcode(%ebx); 1: incl %eax; movb $0x40,1b-next_opcode(%ebx)");
T(next_far,
  "movl %eax,1f-next_far+1(%ebx); nop; nop; addl $1,%ecx; .rept 20; leal 1(%ecx),%ecx; .endr;"
  "1: movl $0,%eax");
T(next_length,
  "movl $0x04c08390,1f-next_length(%ebx); 1: incl %eax; incl %eax; incl %eax; incl %eax;"
  "movl $0x40404040,1b-next_length(%ebx)"); /* nop; addl $4,%eax */
T(self_insn, "2: addb $4,2b-self_insn+2(%ebx); jmp 1f; 3: .byte 0,0,0,0; 1: decl %ecx; jnz 2b;"
             "movzbl 3b-self_insn(%ebx),%eax");

static void test_next(void)
{
    for (uint32_t v = 1; v < 40; v++) {
        check_value("immediate", run(PUT(next_imm, AREA), v, 0).eax, v);
        check_value("byte", run(PUT(next_byte, AREA), v, 0).eax, v);
        check_value("opcode", run(PUT(next_opcode, AREA), v, 0).eax, v - 1);
        check_value("farther on", run(PUT(next_far, AREA), v, 0).eax, v);
        check_value("length", run(PUT(next_length, AREA), v, 0).eax, v + 4);
    }
    check_value("the instruction itself", run(PUT(self_insn, AREA), 0, 20).eax, 19 * 4);
    /* without fresh copies in between */
    for (uint32_t v = 100; v < 140; v++)
        check_value("immediate again", run((PUT(next_imm, AREA), (void *)AREA), v, 0).eax, v);
    PUT(next_imm, AREA);
    for (uint32_t v = 100; v < 140; v++)
        check_value("immediate in place", run((void *)AREA, v, 0).eax, v);
}

/* --- hot loops that patch themselves, an earlier block, a later block, a callee --- */
T(loop_imm, "1: addl $0x11111111,%eax; movl %eax,1b-loop_imm+1(%ebx); decl %ecx; jnz 1b");
T(loop_later,
  "1: movl %ecx,2f-loop_later+1(%ebx); testl %ecx,%ecx; jz 3f; jmp 2f; ud2; 2: .byte 5; .long 0;"
  "decl %ecx; jmp 1b; 3:");
T(loop_earlier,
  "jmp 2f; 1: addl $0x22222222,%eax; jmp 3f; 2: movl %ecx,1b-loop_earlier+1(%ebx); jmp 1b;"
  "3: decl %ecx; jnz 2b");
T(loop_callee, "1: movl %ecx,2f-loop_callee+1(%ebx); call 2f; decl %ecx; jnz 1b; jmp 3f; 2: addl "
               "$0x33333333,%eax;"
               "ret; 3:");
T(loop_branch,
  "1: xorb $1,2f-loop_branch(%ebx); cmpl $0x7fffffff,%eax; 2: ja 3f; addl $1,%eax; jmp 4f;"
  "3: addl $0x100,%eax; 4: decl %ecx; jnz 1b");
T(loop_data, "jmp 2f; 1: .long 0; 2: addl %ecx,1b-loop_data(%ebx); decl %ecx; jnz 2b; movl "
             "1b-loop_data(%ebx),%eax");
T(loop_rare,
  "1: addl $3,%eax; testl $0xff,%ecx; jnz 2f; addb $1,1b-loop_rare+2(%ebx); 2: decl %ecx; jnz 1b");

static void test_loops(void)
{
    uint32_t a = 1;
    for (uint32_t i = 0, imm = 0x11111111; i < 1000; i++)
        a += imm, imm = a;
    check_value("own immediate", run(PUT(loop_imm, AREA), 1, 1000).eax, a);
    check_value("later block", run(PUT(loop_later, AREA), 0, 1000).eax, 500500);
    check_value("earlier block", run(PUT(loop_earlier, AREA), 0, 1000).eax, 500500);
    check_value("callee", run(PUT(loop_callee, AREA), 0, 1000).eax, 500500);
    /* ja (77) becomes jbe (76) at first, and back */
    check_value("branch", run(PUT(loop_branch, AREA), 0, 1000).eax, 500 * 0x100 + 500);
    check_value("data beside code", run(PUT(loop_data, AREA), 0, 20000).eax, 200010000);
    uint32_t b = 0, imm = 3;
    for (uint32_t c = 4000; c; c--) {
        b += imm;
        if (!(c & 0xff))
            imm = (uint32_t)(int8_t)(imm + 1);
    }
    check_value("rare patch", run(PUT(loop_rare, AREA), 0, 4000).eax, b);
}

/* --- a block that crosses a page; the store goes to its second page, or over the boundary --- */
T(cross_imm, "movl %eax,1f-cross_imm+1(%ebx); 1: movl $0,%eax; addl $1,%eax");
T(cross_loop, "1: addl $0x44444444,%eax; xorl %eax,%edx; addl %edx,2f-cross_loop+2(%ebx); 2: .byte "
              "0x81,0xc2; .long 0;"
              "decl %ecx; jnz 1b; addl %edx,%eax");

static void test_cross(void)
{
    uint32_t len = (uint32_t)(cross_imm_end - cross_imm), page = AREA + 0x3000;
    for (uint32_t before = 1; before < len; before++) {
        uint32_t at = page - before;
        PUT(cross_imm, at);
        for (uint32_t v = 1; v < 5; v++) {
            struct ctx c = user ? user_ctx((void *)at) : kernel_ctx((void *)at);
            c.eax = v * 0x01020304;
            c.ebx = at;
            trap_run(&c);
            CHECK(c.vector == VEC_EXIT, "vector %#x", c.vector);
            check_value("crossing block", c.eax, v * 0x01020304 + 1);
        }
        /* from outside, to the second page only */
        if (before > 12) {
            struct ctx c;
            for (uint32_t v = 0; v < 3; v++) {
                uint8_t *last = (uint8_t *)at + len - 3;
                if ((uint32_t)last < page)
                    break;
                *last = (uint8_t)(5 + v);
                c = user ? user_ctx((void *)at) : kernel_ctx((void *)at);
                c.ebx = at, c.eax = 0;
                trap_run(&c);
                check_value("second page", c.eax, 5 + v);
            }
        }
    }
    uint32_t a = 1, d = 0, imm = 0;
    for (uint32_t i = 0; i < 100; i++) {
        a += 0x44444444, d ^= a, imm += d, d += imm;
    }
    len = (uint32_t)(cross_loop_end - cross_loop);
    for (uint32_t before = 0; before <= len; before++) {
        uint32_t at = page - before;
        PUT(cross_loop, at);
        struct ctx c = user ? user_ctx((void *)at) : kernel_ctx((void *)at);
        c.eax = 1, c.ecx = 100, c.ebx = at;
        trap_run(&c);
        check_value("crossing loop", c.eax, a + d);
    }
}

/* --- every kind of store --- */
#define WRITERS(X)                                                                                 \
    X(w_mov8, "movb %al,(%edi)", 1)                                                                \
    X(w_mov16, "movw %ax,(%edi)", 2)                                                               \
    X(w_mov32, "movl %eax,(%edi)", 4)                                                              \
    X(w_moffs, ".byte 0xa3; .long 0x1400101", 4)                                                   \
    X(w_imm, "movl $0x12345678,(%edi)", 4)                                                         \
    X(w_xchg, "xchgl %eax,(%edi)", 4)                                                              \
    X(w_xadd, "subl (%edi),%eax; xaddl %eax,(%edi)", 4)                                            \
    X(w_add, "subl (%edi),%eax; addl %eax,(%edi)", 4)                                              \
    X(w_lock_xor, "xorl (%edi),%eax; lock xorl %eax,(%edi)", 4)                                    \
    X(w_or, "andb $0,(%edi); orb %al,(%edi)", 1)                                                   \
    X(w_cmpxchg, "movl %eax,%edx; movl (%edi),%eax; cmpxchgl %edx,(%edi)", 4)                      \
    X(w_cmpxchg8b,                                                                                 \
      "movl %eax,%ebx; movl (%edi),%eax; movl 4(%edi),%edx; movl %edx,%ecx; cmpxchg8b (%edi)", 4)  \
    X(w_stosb, "stosb", 1)                                                                         \
    X(w_stosl, "stosl", 4)                                                                         \
    X(w_rep_stosb, "movl $1,%ecx; rep stosb", 1)                                                   \
    X(w_rep_movsb, "pushl %eax; movl %esp,%esi; movl $4,%ecx; rep movsb; popl %eax", 4)            \
    X(w_rep_movsl, "pushl %eax; movl %esp,%esi; movl $1,%ecx; rep movsl; popl %eax", 4)            \
    X(w_movsl, "pushl %eax; movl %esp,%esi; movsl; popl %eax", 4)                                  \
    X(w_std_movsb,                                                                                 \
      "pushl %eax; leal 3(%esp),%esi; addl $3,%edi; movl $4,%ecx; std; rep movsb; cld; popl %eax", \
      4)                                                                                           \
    X(w_push, "movl %esp,%edx; leal 4(%edi),%esp; pushl %eax; movl %edx,%esp", 4)                  \
    X(w_push16, "movl %esp,%edx; leal 2(%edi),%esp; pushw %ax; movl %edx,%esp", 2)                 \
    X(w_pop_mem, "pushl %eax; popl (%edi)", 4)                                                     \
    X(w_pusha, "movl %esp,%edx; leal 4(%edi),%esp; movl $0xb8000000,%ecx; pushal; movl %edx,%esp", \
      4)                                                                                           \
    X(w_call, "movl %esp,%edx; leal 4(%edi),%esp; call 7f; 7: movl %edx,%esp; movl %eax,(%edi)",   \
      4)                                                                                           \
    X(w_setc, "cmpl %eax,%eax; setc (%edi); addb %al,(%edi)", 1)                                   \
    X(w_bts,                                                                                       \
      "movb $0,(%edi); testb $1,%al; jz 7f; btsl $0,(%edi); 7: andb $0xfe,%al; orb %al,(%edi)", 1) \
    X(w_inc, "decl %eax; movl %eax,(%edi); incl (%edi)", 4)                                        \
    X(w_not, "notl %eax; movl %eax,(%edi); notl (%edi)", 4)                                        \
    X(w_shl, "movb $0x90,(%edi); movb %al,1(%edi); rolw $8,(%edi)", 1)                             \
    X(w_shrd, "movl %eax,%edx; shrdl $31,%edx,(%edi); shrdl $1,%edx,(%edi); movl %eax,(%edi)", 4)  \
    X(w_fist, "pushl %eax; fninit; fildl (%esp); fistpl (%edi); popl %eax", 4)                     \
    X(w_fst, "pushl %eax; fninit; flds (%esp); fstps (%edi); popl %eax", 4)                        \
    X(w_movd, "movd %eax,%xmm0; movd %xmm0,(%edi)", 4)                                             \
    X(w_movups, "movups (%edi),%xmm0; movd %eax,%xmm1; movss %xmm1,%xmm0; movups %xmm0,(%edi)", 4) \
    X(w_mmx,                                                                                       \
      "movq (%edi),%mm0; pushl 4(%edi); pushl %eax; movq (%esp),%mm0; movq %mm0,(%edi);"           \
      "addl $8,%esp; emms",                                                                        \
      4)                                                                                           \
    X(w_movnti, "movnti %eax,(%edi)", 4)                                                           \
    X(w_enter, "movl %esp,%edx; leal 4(%edi),%esp; movl %eax,%ebp; enter $0,$0; movl %edx,%esp",   \
      4)                                                                                           \
    X(w_sgdt, "sgdt -64(%esp); movl %eax,(%edi)", 4)                                               \
    X(w_mov_sreg, "movl %ds,%edx; movw %ds,(%edi); movl %eax,(%edi)", 4)

/* The target, `movl $imm,%eax`, lies 0x100 into the area; the writer jumps to it. */
#define WRITER(name, code, bytes)                                                                  \
    asm(".pushsection .text.snippet\n" #name ": " code "; pushl $0x1400100; ret\n" #name           \
        "_end:\n.popsection");                                                                     \
    extern uint8_t name[], name##_end[];
WRITERS(WRITER)
static const struct {
    const char *name;
    const uint8_t *code, *end;
    unsigned bytes;
} writers[] = {
#define WRITER_ROW(name, code, bytes) {#name, name, name##_end, bytes},
    WRITERS(WRITER_ROW)};
static const uint8_t target_code[] = {0xb8, 0x90, 0x90, 0x90, 0x90, 0xcd, VEC_EXIT, 0x90, 0x90,
                                      0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,     0x90};

static void test_writers(void)
{
    for (unsigned i = 0; i < sizeof writers / sizeof *writers; i++) {
        if (cmdline_has("verbose"))
            print("%s\n", writers[i].name);
        for (unsigned where = 0; where < 2; where++)
            for (unsigned round = 0; round < 4; round++) {
                /* the writer on the target's page, or on another */
                uint32_t at = where ? AREA + 0x2000 : AREA + 0x200;
                uint32_t v = writers[i].code == w_imm ? 0x12345678 : 0x00120034 + round * 0x101;
                if (writers[i].code == w_fst)
                    v = 0x3f800000 + round; /* a signalling NaN would change */
                memcpy((void *)(AREA + 0x100), target_code, sizeof target_code);
                put(at, writers[i].code, writers[i].end);
                if (round & 1) /* let the target be known as code first */
                    run((void *)(AREA + 0x100), 0, 0);
                struct ctx c = user ? user_ctx((void *)at) : kernel_ctx((void *)at);
                c.eax = v;
                c.edi = AREA + 0x101;
                trap_run(&c);
                uint32_t mask = writers[i].bytes == 4 ? ~0u : (1u << writers[i].bytes * 8) - 1;
                uint32_t want = (v & mask) | (0x90909090 & ~mask);
                CHECK(c.vector == VEC_EXIT && c.eax == want,
                      "%s: %#x, expected %#x, vector %#x at %#x (cpl %d, paging %d, round %u)",
                      writers[i].name, c.eax, want, c.vector, c.eip, user * 3, paging, round);
            }
    }
}

/* --- string instructions that run over what follows them --- */
T(movs_over,
  "movl %ebx,%edi; addl $1f-movs_over,%edi; movl $stos_source,%esi; movl $6,%ecx; rep movsb;"
  "1: ud2; ud2; ud2; ud2");
uint8_t stos_source[] __attribute__((used)) = {0x83, 0xc0, 9, 0xcd, VEC_EXIT, 0x90};
T(stos_over, "leal 1f-stos_over(%ebx),%edi; movl $0x40404040,%eax; movl $3,%ecx; rep stosl;"
             "1: .fill 12,1,0x0b; subl $0x40404040,%eax");
/* the REP STOSB overwrites itself: the iterations under way complete or not, but what is executed
 * after it is what memory says (the bytes it wrote: NOPs) */
T(copy_and_jump,
  "1: movl %ebx,%edi; addl $0x800,%edi; movl $2f,%esi; movl $8,%ecx; rep movsb;"
  "leal 0x800(%ebx),%edx; call *%edx; decl %ebp; jnz 1b; jmp 3f; 2: addl $7,%eax; ret; nop;"
  "nop; nop; nop; 3:");

static void test_strings(void)
{
    for (unsigned i = 0; i < 5; i++) {
        check_value("rep movsb", run(PUT(movs_over, AREA), 1, 0).eax, 10);
        check_value("rep stosl", run(PUT(stos_over, AREA), 1, 0).eax, 12);
        struct ctx c =
            user ? user_ctx(PUT(copy_and_jump, AREA)) : kernel_ctx(PUT(copy_and_jump, AREA));
        c.ebx = AREA, c.ebp = 50;
        trap_run(&c);
        check_value("copied function", c.eax, 350);
    }
}

/* --- a generator of fresh functions, at one address and at moving addresses --- */
static uint32_t jit(uint8_t *p, uint32_t seed, unsigned n)
{
    uint32_t a = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t imm = seed * (i + 1);
        switch ((seed + i) % 5) {
        case 0:
            *p++ = 0x05, *(uint32_t *)p = imm, p += 4, a += imm;
            break;
        case 1:
            *p++ = 0x35, *(uint32_t *)p = imm, p += 4, a ^= imm;
            break;
        case 2:
            *p++ = 0xc1, *p++ = 0xc0, *p++ = 7, a = a << 7 | a >> 25;
            break;
        case 3:
            *p++ = 0xeb, *p++ = 1, *p++ = 0x0f; /* jumps over a stray byte */
            break;
        default:
            *p++ = 0xf7, *p++ = 0xd8, a = -a;
        }
    }
    *p++ = 0xcd, *p++ = VEC_EXIT;
    return a;
}

static void test_jit(void)
{
    for (uint32_t seed = 1; seed < 200; seed++) {
        uint32_t want = jit((uint8_t *)AREA, seed * 0x9e3779b9, 12);
        check_value("same place", run((void *)AREA, 0, 0).eax, want);
    }
    for (uint32_t seed = 1; seed < 200; seed++) {
        uint32_t at = AREA + 0x4000 + seed * 72 % 0x2000;
        uint32_t want = jit((uint8_t *)at, seed * 0x9e3779b9, 12);
        check_value("moving place", run((void *)at, 0, 0).eax, want);
    }
}

/* The same, generated by the code that calls it, without leaving it. */
T(jit_inner,
  "1: movb $0x05,0x900(%ebx); movl %ecx,0x901(%ebx); movb $0xc3,0x905(%ebx); leal 0x900(%ebx),%edx;"
  "call *%edx; testb $1,%cl; jz 2f; movb $0x2d,0x900(%ebx); call *%edx; 2: decl %ecx; jnz 1b");
T(jit_write_many, "1: movl $0xc3909090,0xa00(%ebx); movb $0x40,0xa00(%ebx); movb $0x40,0xa01(%ebx);"
                  "movb $0x40,0xa02(%ebx); leal 0xa00(%ebx),%edx; call *%edx; decl %ecx; jnz 1b");
static void test_jit_inner(void)
{
    uint32_t want = 0;
    for (uint32_t c = 1; c <= 500; c++)
        want += c & 1 ? 0 : c;
    check_value("generator", run(PUT(jit_inner, AREA), 0, 500).eax, want);
    check_value("byte by byte", run(PUT(jit_write_many, AREA), 0, 500).eax, 1500);
}

/* --- what one privilege level writes, the other executes --- */
T(store_imm, "movl %eax,0x101(%ebx)");
static void test_rings(void)
{
    memcpy((void *)(AREA + 0x100), target_code, sizeof target_code);
    PUT(store_imm, AREA + 0x1000);
    for (uint32_t v = 1; v < 20; v++) {
        run((void *)(AREA + 0x1000), v * 3, 0);
        user ^= 1;
        check_value("other ring's code", run((void *)(AREA + 0x100), 0, 0).eax, v * 3);
        user ^= 1;
        check_value("own code", run((void *)(AREA + 0x100), 0, 0).eax, v * 3);
    }
}

/* --- the same bytes decoded from different starts --- */
static void test_overlap(void)
{
    /* at 0: movl $0xcd40c083,%eax...; at 1: addl $0x40,%eax; int */
    static const uint8_t code[] = {0xb8, 0x83, 0xc0, 0x40, 0x90, 0x40, 0xcd, VEC_EXIT};
    for (unsigned i = 0; i < 10; i++) {
        memcpy((void *)AREA, code, sizeof code);
        check_value("from 0", run((void *)AREA, 1, 0).eax, 0x9040c084);
        check_value("from 1", run((void *)(AREA + 1), 1, 0).eax, 0x42);
        check_value("from 3", run((void *)(AREA + 3), 1, 0).eax, 3);
        ((uint8_t *)AREA)[3] = 0x41;
        check_value("from 0", run((void *)AREA, 1, 0).eax, 0x9041c084);
        check_value("from 1", run((void *)(AREA + 1), 1, 0).eax, 0x43);
    }
}

/* --- aliases: another linear address of the frame; remapped frames --- */
static void test_alias(void)
{
    if (!paging)
        return;
    for (uint32_t off = 0; off < 0x4000; off += 4096)
        pte_set(ALIAS + off, (AREA + off) | PTE_P | PTE_W | PTE_U);
    memcpy((void *)(AREA + 0x100), target_code, sizeof target_code);
    for (uint32_t v = 1; v < 20; v++) {
        *(volatile uint32_t *)(ALIAS + 0x101) = v * 5;
        check_value("written through an alias", run((void *)(AREA + 0x100), 0, 0).eax, v * 5);
        *(volatile uint32_t *)(AREA + 0x101) = v * 7;
        check_value("executed through an alias", run((void *)(ALIAS + 0x100), 0, 0).eax, v * 7);
    }
    /* a store of this snippet through the alias to code that it jumps to */
    T(alias_store, "1: movl %ecx,0x1500101; pushl $3f; pushfl; pushl %cs; pushl $2f; iretl; 2: "
                   "movl $0x1400107,%edx;"
                   "jmp 4f; 3: ud2; 4: addl $4,%esp; decl %ecx; jnz 1b; movl 0x1400101,%eax");
    check_value("store through an alias", run(PUT(alias_store, AREA + 0x2000), 0, 9).eax, 1);
    /* the second page of a crossing block, through an alias */
    uint32_t at = AREA + 0x3000 - 3;
    ((uint8_t *)at)[0] = 0x90;
    memcpy((void *)(at + 1), target_code, sizeof target_code);
    for (uint32_t v = 1; v < 20; v++) {
        *(volatile uint8_t *)(ALIAS + 0x3002) = (uint8_t)v;
        check_value("second page by alias", run((void *)at, 0, 0).eax, v << 24 | 0x909090);
    }
    for (uint32_t off = 0; off < 0x4000; off += 4096)
        pte_set(ALIAS + off, (ALIAS + off) | PTE_P | PTE_W | PTE_U);
}

static void test_remap(void)
{
    if (!paging)
        return;
    uint8_t *frames[3] = {(uint8_t *)(OTHER), (uint8_t *)(OTHER + 4096), (uint8_t *)(OTHER + 8192)};
    for (unsigned i = 0; i < 3; i++) {
        frames[i][0] = 0xb8;
        *(uint32_t *)(frames[i] + 1) = 1000 + i;
        frames[i][5] = 0xcd, frames[i][6] = VEC_EXIT;
    }
    for (unsigned round = 0; round < 30; round++) {
        unsigned i = round * 7 % 3;
        pte_set(ALIAS, (uint32_t)frames[i] | PTE_P | PTE_W | PTE_U);
        check_value("remapped", run((void *)ALIAS, 0, 0).eax, 1000 + i);
        if (round % 5 == 4) {
            *(uint32_t *)(frames[i] + 1) += 0;
            frames[(i + 1) % 3][1] ^= 0;
        }
    }
    /* a block that crosses into a page that is remapped */
    memset((void *)(OTHER + 0x3000), 0x40, 4096); /* incl %eax */
    for (unsigned i = 0; i < 3; i++) {
        frames[i][0] = 0x83, frames[i][1] = 0xc0, frames[i][2] = (uint8_t)(10 * i);
        frames[i][3] = 0xcd, frames[i][4] = VEC_EXIT;
    }
    pte_set(ALIAS, (OTHER + 0x3000) | PTE_P | PTE_W | PTE_U);
    for (unsigned round = 0; round < 12; round++) {
        unsigned i = round * 7 % 3;
        pte_set(ALIAS + 4096, (uint32_t)frames[i] | PTE_P | PTE_W | PTE_U);
        check_value("remapped second page", run((void *)(ALIAS + 4096 - 4), 0, 0).eax, 4 + 10 * i);
    }
    pte_set(ALIAS, ALIAS | PTE_P | PTE_W | PTE_U);
    pte_set(ALIAS + 4096, (ALIAS + 4096) | PTE_P | PTE_W | PTE_U);
}

/* --- data and stack on the page of the code --- */
T(stack_here, "movl %esp,%ebp; leal 0xf00(%ebx),%esp; 1: pushl %ecx; call 2f; popl %edx; decl "
              "%ecx; jnz 1b; jmp 3f;"
              "2: addl 4(%esp),%eax; ret; 3: movl %ebp,%esp");
T(data_here,
  "1: movl 0xe00(%ebx),%edx; addl %ecx,%edx; movl %edx,0xe00(%ebx); incl 0xe04(%ebx);"
  "xchgl %edx,0xe08(%ebx); decl %ecx; jnz 1b; movl 0xe00(%ebx),%eax; addl 0xe04(%ebx),%eax");
static void test_mixed_page(void)
{
    check_value("stack", run(PUT(stack_here, AREA), 0, 5000).eax, 12502500);
    memset((void *)(AREA + 0xe00), 0, 16);
    check_value("data", run(PUT(data_here, AREA), 0, 20000).eax, 200010000 + 20000);
    /* code, then data, then other code at the place */
    for (unsigned i = 0; i < 20; i++) {
        uint32_t want = jit((uint8_t *)AREA, i + 77, 8);
        check_value("code again", run((void *)AREA, 0, 0).eax, want);
        memset((void *)AREA, (int)i, 64);
    }
}

#define EACH(fn)                                                                                   \
    static void each_##fn(void)                                                                    \
    {                                                                                              \
        for (paging = 0; paging < 3; paging++) {                                                   \
            if (paging)                                                                            \
                paging_on(paging == 2);                                                            \
            for (user = 0; user < 2; user++)                                                       \
                fn();                                                                              \
            if (paging)                                                                            \
                paging_off();                                                                      \
        }                                                                                          \
    }
EACH(test_next)
EACH(test_loops)
EACH(test_cross)
EACH(test_writers)
EACH(test_strings)
EACH(test_jit)
EACH(test_jit_inner)
EACH(test_rings)
EACH(test_overlap)
EACH(test_alias)
EACH(test_remap)
EACH(test_mixed_page)

static const struct test tests[] = {
    {"next_instruction", each_test_next, NULL}, {"loops", each_test_loops, NULL},
    {"page_crossing", each_test_cross, NULL},   {"writers", each_test_writers, NULL},
    {"strings", each_test_strings, NULL},       {"jit", each_test_jit, NULL},
    {"jit_inner", each_test_jit_inner, NULL},   {"rings", each_test_rings, NULL},
    {"overlap", each_test_overlap, NULL},       {"alias", each_test_alias, NULL},
    {"remap", each_test_remap, NULL},           {"mixed_page", each_test_mixed_page, NULL},
};

void guest_main(void)
{
    WRITE_CR(0, READ_CR(0) & ~(CR0_EM | CR0_TS));
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR);
    RUN_TESTS(tests);
}
