/* SPDX-License-Identifier: MIT */
/* legacy.c: 16-bit protected mode, virtual-8086 mode, real mode, big real mode and the A20 gate
 * (SDM vol. 3, chapters 20 and 21). */
#include "lib/guest.h"

#define LOW  0x10000u /* 16-bit code is copied here; as a real-mode segment 0x1000 */
#define SEG  (LOW >> 4)
#define DATA 0x20000u
#define DSEG (DATA >> 4)

/* 16-bit code; CODE16(name, text) gives name, name_end. int $0x30 ends it. */
#define CODE16(name, text)                                                                         \
    asm(".pushsection .text.snippet\n.code16\n" #name ": " text "\nint $0x30\n" #name              \
        "_end:\n.code32\n.popsection\n");                                                          \
    extern uint8_t name[], name##_end[]
#define PUT16(name)                                                                                \
    (memset((void *)LOW, 0x90, 4096), memcpy((void *)LOW, name, (size_t)(name##_end - name)),      \
     (size_t)(name##_end - name))

enum { PM16, V86, MODES };
static const char *const mode_name[] = {"16-bit protected", "virtual-8086"};

/* A context with CS at LOW, DS and ES at DATA, SS at DATA + 0x8000 (SP 0x7f00). */
static struct ctx ctx16(unsigned mode, unsigned cpl, unsigned iopl)
{
    struct ctx c = ring_ctx(mode == V86 ? 3 : cpl, 0);
    c.esp = 0x7f00;
    c.eflags |= iopl << EFL_IOPL_SHIFT;
    if (mode == V86) {
        c.eflags |= EFL_VM;
        c.cs = SEG, c.ss = DSEG + 0x800;
        c.v86_ds = c.v86_es = DSEG;
        c.v86_fs = DSEG + 0x10, c.v86_gs = DSEG + 0x20;
        c.ds = c.es = c.fs = c.gs = 0;
        return c;
    }
    unsigned dpl = ACC_DPL(cpl);
    gdt_set(0x40, descriptor(LOW, 0xffff, ACC_CODE | dpl, 0));
    gdt_set(0x48, descriptor(DATA, 0xffff, ACC_DATA | dpl, 0));
    gdt_set(0x50, descriptor(DATA + 0x8000, 0xffff, ACC_DATA | dpl, 0));
    gdt_set(0x58, descriptor(DATA + 0x100, 0xffff, ACC_DATA | dpl, 0));
    gdt_set(0x60, descriptor(DATA + 0x200, 0xffff, ACC_DATA | dpl, 0));
    c.cs = 0x40 | cpl, c.ss = 0x50 | cpl;
    c.ds = c.es = 0x48 | cpl;
    c.fs = 0x58 | cpl, c.gs = 0x60 | cpl;
    return c;
}

/* --- the same 16-bit code in each mode. Data at DATA is filled; results in registers --- */
#define BODIES(X)                                                                                  \
    X(c_alu, "movw $100,%cx; xorw %ax,%ax; xorl %edx,%edx; 1: addw %cx,%ax; rolw $3,%ax; addl "    \
             "%ecx,%edx; imull $3,%edx,%edx; adcw $7,%ax;"                                         \
             "movw %ax,(0x10); addw %ax,0x20; xorb %al,%es:0x30; loop 1b; addw 0x20,%ax")          \
    X(c_address, "movw $0xfff0,%bx; movw $0x20,%si; movw (%bx,%si),%ax; movw $8,%di; addw "        \
                 "4(%bx,%di),%ax; movw $4,%bp; addw %ds:0x10(%bp,%si),%ax;"                        \
                 "addw -2(%si),%ax; addw 0x100(%di),%ax; movw %sp,%bp; movw %ax,-4(%bp); addw "    \
                 "-4(%bp),%ax; addw -0x10(%bx,%si),%ax;"                                           \
                 "movl $0x40,%ebx; movl $4,%ecx; addl 8(%ebx,%ecx,2),%eax; addr32 leal "           \
                 "(%ebx,%ecx,4),%edx; leaw 0x1234(%bx,%si),%dx")                                   \
    X(c_stack, "movw $50,%cx; xorw %ax,%ax; 1: pushw %cx; pushl %ecx; pushw $0x1234; pushl "       \
               "$0x12345678; popw %dx; popw %bx; popw %si; popl %edi;"                             \
               "addw %dx,%ax; addw %si,%ax; popw %cx; pushaw; popaw; pushal; popal; pushfw; popw " \
               "%bp; enterw $8,$0; leavew; enterw $4,$2; leavew;"                                  \
               "addw %di,%ax; loop 1b; movw %sp,%bx")                                              \
    X(c_calls, "movw $30,%cx; xorw %ax,%ax; jmp 3f; 2: addw %cx,%ax; retw; 4: popw %dx; pushw "    \
               "%dx; addw $1,%ax; retw $2; 3: call 2b; pushw %cx;"                                 \
               "call 4b; movw $(2b - c_calls),%bx; call *%bx; pushw %bx; movw %sp,%si; call "      \
               "*%ss:(%si); popw %bx; loop 3b; movw %sp,%bx")                                      \
    X(c_strings, "cld; movw $0x100,%si; movw $0x300,%di; movw $64,%cx; rep movsw; movw "           \
                 "$0x300,%di; movb $0x5a,%al; movw $10,%cx; rep stosb;"                            \
                 "movw $0x100,%si; movw $0x300,%di; movw $100,%cx; repe cmpsb; movw %cx,%dx; "     \
                 "movw $0xfffc,%si; lodsl; lodsw; movw %si,%bx;"                                   \
                 "std; movw $2,%si; lodsw; lodsw; lodsw; cld; movw %si,%bp; movw $0xfffe,%di; "    \
                 "stosw; stosw; movw %di,%cx; movw (2),%ax")                                       \
    X(c_segs, "movw %fs:4,%ax; addw %gs:8,%ax; movw $0x10,%bx; addw %cs:(%bx),%ax; movw "          \
              "%ss:(0x10),%dx; pushw %ds; popw %es; movw %es:2,%cx;"                               \
              "movw %ax,%fs:0x20; xchgw %ax,%gs:0x22; movw %fs:0x20,%si")                          \
    X(c_misc, "movw $0x40,%bx; movb $3,%al; xlatb; movb %al,%cl; movw $0x1234,%ax; cwtd; cwtl; "   \
              "movl %eax,%edx; movw $0x56,%ax; aam; aad; bswap %edx;"                              \
              "movzwl 8,%esi; movsbw 9,%di; movw $7,%cx; btsw %cx,(0x50); shldw $4,%ax,(0x52); "   \
              "movw $0xffff,%ax; incw %ax; lahf; jcxz 1f; movw (0x52),%bp; 1:")                    \
    X(c_jumps, "movw $20,%cx; xorw %ax,%ax; 1: testb $1,%cl; jz 2f; addw $3,%ax; jmp 3f; .skip "   \
               "200; 2: addw $5,%ax; .byte 0xe9; .word 0; 3: decw %cx; jnz 1b;"                    \
               "movw $3,%cx; 4: incw %ax; loopne 4b; movl $0x10001,%ecx; jecxz 5f; incw %ax; 5: "  \
               "addr32 loop 6f; 6: movw %cx,%dx; movw $7f - c_jumps,%bx; jmp *%bx; hlt; 7:")

#define BODY16(name, text) CODE16(name, text);
BODIES(BODY16)
static const struct {
    const char *name;
    const uint8_t *code, *end;
} bodies[] = {
#define BODY16_ROW(name, text) {#name, name, name##_end},
    BODIES(BODY16_ROW)};

static void fill(void)
{
    for (uint32_t i = 0; i < 0x20000; i++)
        ((uint8_t *)DATA)[i] = (uint8_t)(i * 31 + (i >> 8) * 7);
}
static uint32_t sum(void)
{
    uint32_t h = 0;
    /* the stack below 0x7f00 holds what traps pushed */
    for (uint32_t i = 0; i < 0x8000; i += 4)
        h = (h ^ *(uint32_t *)(DATA + i)) * 0x01000193;
    return h;
}

/* What real hardware computes: the first mode's results serve as the reference for all others, and
 * constants that were computed on paper pin some of them. */
static void test_modes(void)
{
    for (unsigned i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct ctx ref = {0};
        uint32_t ref_sum = 0;
        for (unsigned k = 0; k < 6; k++) {
            unsigned mode = k < 2 ? PM16 : V86;
            memset((void *)LOW, 0x90, 4096);
            memcpy((void *)LOW, bodies[i].code, (size_t)(bodies[i].end - bodies[i].code));
            fill();
            struct ctx c = ctx16(mode, k == 1 ? 3 : 0, mode == V86 ? 3 : 0);
            if (k == 3)
                paging_on(false);
            if (k == 4)
                paging_on(true);
            trap_run(&c);
            if (k == 3 || k == 4)
                paging_off();
            uint32_t s = sum();
            CHECK(c.vector == VEC_EXIT, "%s %s: vector %#x error %#x at %#x", bodies[i].name,
                  mode_name[mode], c.vector, c.error, c.eip);
            CHECK_EQ(c.eip, (uint32_t)(bodies[i].end - bodies[i].code), bodies[i].name);
            if (!k) {
                ref = c, ref_sum = s;
                continue;
            }
            CHECK(c.eax == ref.eax && c.ecx == ref.ecx && c.edx == ref.edx && c.ebx == ref.ebx &&
                      c.esi == ref.esi && c.edi == ref.edi && !((c.ebp ^ ref.ebp) & ~0x3000u) &&
                      s == ref_sum && !((c.eflags ^ ref.eflags) & EFL_ARITH),
                  "%s in %s (%u): eax %#x/%#x ecx %#x/%#x edx %#x/%#x ebx %#x/%#x esi %#x/%#x edi "
                  "%#x/%#x ebp %#x/%#x sum %#x/%#x",
                  bodies[i].name, mode_name[mode], k, c.eax, ref.eax, c.ecx, ref.ecx, c.edx,
                  ref.edx, c.ebx, ref.ebx, c.esi, ref.esi, c.edi, ref.edi, c.ebp, ref.ebp, s,
                  ref_sum);
        }
    }
}

/* Stack and instruction pointers of 16 bits. */
CODE16(wrap_sp, "movl $0x12340002,%esp; pushw $0x11; pushw $0x22; movl %esp,%eax; popw %bx; popw "
                "%cx; movl %esp,%edx; movw $4,%sp; pushl $0x55667788; movl %esp,%esi;"
                "movl $0x12347f00,%esp");
CODE16(push_over, "movl $0x12340002,%esp; pushl $0x55667788");
CODE16(wrap_ip, "movw $0x7777,%ax; jmp *%bx");
CODE16(big_offset, "movl $0x10000,%ebx; addr32 movb (%ebx),%al");
CODE16(big_offset_ss, "movl $0x10000,%ebp; addr32 movb (%ebp),%al");
CODE16(word_at_end, "movw $0xffff,%bx; movw (%bx),%ax");
static void test_wrap(void)
{
    for (unsigned mode = 0; mode < MODES; mode++) {
        PUT16(wrap_sp);
        struct ctx c = ctx16(mode, 3, 3);
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT, "%s: vector %#x at %#x", mode_name[mode], c.vector, c.eip);
        CHECK_EQ(c.eax, 0x1234fffe, "ESP after pushes");
        CHECK(c.ebx == 0x22 && c.ecx == 0x11, "popped %#x %#x", c.ebx, c.ecx);
        CHECK_EQ(c.edx, 0x12340002, "ESP after pops");
        CHECK_EQ(c.esi, 0x12340000, "ESP after a 32-bit push");
        CHECK_EQ(*(uint32_t *)(DATA + 0x8000), 0x55667788, "a 32-bit push");
        PUT16(push_over);
        c = ctx16(mode, 3, 3);
        trap_run(&c);
        CHECK(c.vector == VEC_SS && c.error == 0 && c.esp == 0x12340002,
              "push over the limit: %#x %#x esp %#x", c.vector, c.error, c.esp);
        /* IP wraps only by a jump's own 16 bits */
        PUT16(wrap_ip);
        ((uint8_t *)LOW)[0xfff0] = 0xe9; /* jmp +0x40 -> 0x0033 */
        ((uint8_t *)LOW)[0xfff1] = 0x40, ((uint8_t *)LOW)[0xfff2] = 0;
        ((uint8_t *)LOW)[0x33] = 0xcd, ((uint8_t *)LOW)[0x34] = VEC_EXIT;
        c = ctx16(mode, 3, 3);
        c.ebx = 0xfff0;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.eip == 0x35 && (c.eax & 0xffff) == 0x7777,
              "IP wraps: vector %#x eip %#x", c.vector, c.eip);
        /* beyond 64 KiB */
        PUT16(big_offset);
        c = ctx16(mode, 3, 3);
        trap_run(&c);
        CHECK(c.vector == VEC_GP && c.error == 0, "offset 0x10000 in %s: vector %#x error %#x",
              mode_name[mode], c.vector, c.error);
        PUT16(big_offset_ss);
        c = ctx16(mode, 3, 3);
        trap_run(&c);
        CHECK(c.vector == VEC_SS && c.error == 0,
              "stack offset 0x10000 in %s: vector %#x error %#x", mode_name[mode], c.vector,
              c.error);
        PUT16(word_at_end);
        c = ctx16(mode, 3, 3);
        trap_run(&c);
        CHECK(c.vector == VEC_GP && c.error == 0, "word at 0xffff in %s: vector %#x error %#x",
              mode_name[mode], c.vector, c.error);
    }
}

static void test_sp(void)
{
    PUT16(wrap_sp);
    struct ctx c = ctx16(V86, 3, 3);
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT && c.eax == 0x1234fffe, "vector %#x eax %#x", c.vector, c.eax);
}

/* --- what virtual-8086 mode may do, by IOPL --- */
/* X(name, code, vector at IOPL 3, vector below); 0x30: runs through */
#define V86_CASES(X)                                                                               \
    X(v_cli, "cli", 0x30, VEC_GP)                                                                  \
    X(v_sti, "sti", 0x30, VEC_GP)                                                                  \
    X(v_pushf, "pushfw; popw %ax", 0x30, VEC_GP)                                                   \
    X(v_pushfl, "pushfl; popl %eax", 0x30, VEC_GP)                                                 \
    X(v_popf, "popfw", 0x30, VEC_GP)                                                               \
    X(v_iret, "iretw", 0x30, VEC_GP)                                                               \
    X(v_int3, "int3", VEC_BP, VEC_BP)                                                              \
    X(v_into, "movb $0x7f,%al; incb %al; into", VEC_OF, VEC_OF)                                    \
    X(v_hlt, "hlt", VEC_GP, VEC_GP)                                                                \
    X(v_clts, "clts", VEC_GP, VEC_GP)                                                              \
    X(v_lgdt, "lgdt 0", VEC_GP, VEC_GP)                                                            \
    X(v_lmsw, "lmsw %ax", VEC_GP, VEC_GP)                                                          \
    X(v_mov_cr, "movl %cr0,%eax", VEC_GP, VEC_GP)                                                  \
    X(v_mov_dr, "movl %dr7,%eax", VEC_GP, VEC_GP)                                                  \
    X(v_invlpg, "invlpg 0", VEC_GP, VEC_GP)                                                        \
    X(v_wbinvd, "wbinvd", VEC_GP, VEC_GP)                                                          \
    X(v_rdmsr, "rdmsr", VEC_GP, VEC_GP)                                                            \
    X(v_lldt, "lldt %ax", VEC_UD, VEC_UD)                                                          \
    X(v_ltr, "ltr %ax", VEC_UD, VEC_UD)                                                            \
    X(v_sldt, "sldt %ax", VEC_UD, VEC_UD)                                                          \
    X(v_str, "str %ax", VEC_UD, VEC_UD)                                                            \
    X(v_lar, "larw %ax,%ax", VEC_UD, VEC_UD)                                                       \
    X(v_lsl, "lslw %ax,%ax", VEC_UD, VEC_UD)                                                       \
    X(v_verr, "verr %ax", VEC_UD, VEC_UD)                                                          \
    X(v_arpl, ".byte 0x63,0xc0", VEC_UD, VEC_UD)                                                   \
    X(v_smsw, "smsw %ax", 0x30, 0x30)                                                              \
    X(v_sgdt, "sgdt 0", 0x30, 0x30)                                                                \
    X(v_rdtsc, "rdtsc", 0x30, 0x30)                                                                \
    X(v_cpuid, "cpuid", 0x30, 0x30)                                                                \
    X(v_in, "movw $0x300,%dx; inb %dx,%al", VEC_GP, VEC_GP)                                        \
    X(v_in_open, "movw $0x308,%dx; inb %dx,%al", 0x30, 0x30)                                       \
    X(v_out, "outb %al,$0xf8", VEC_GP, VEC_GP)                                                     \
    X(v_far, "ljmp $0x1000,$1f-v_far; nop; 1:", 0x30, 0x30)                                        \
    X(v_farcall, "lcall $0x0fff,$0x10+1f-v_farcall; 1: popw %ax; popw %dx", 0x30, 0x30)            \
    X(v_load,                                                                                      \
      "movw $0x1234,%ax; movw %ax,%es; movw %es,%bx; movw %ax,%ss; movw %ss,%cx; movw "            \
      "$0x2800,%dx; movw %dx,%ss",                                                                 \
      0x30, 0x30)                                                                                  \
    X(v_ud, "ud2", VEC_UD, VEC_UD)                                                                 \
    X(v_sysexit, "sysexit", VEC_GP, VEC_GP)                                                        \
    X(v_div, "xorw %cx,%cx; divw %cx", VEC_DE, VEC_DE)
#define V86_CODE(name, text, a, b) CODE16(name, text);
V86_CASES(V86_CODE)
static const struct {
    const char *name;
    const uint8_t *code, *end;
    unsigned iopl3, below;
} v86_cases[] = {
#define V86_ROW(name, text, a, b) {#name, name, name##_end, a, b},
    V86_CASES(V86_ROW)};
CODE16(v_int, "int $0x41");

static void test_v86(void)
{
    pic_mask(0xffff);
    memset(tss_main.io, 0xff, sizeof tss_main.io);
    tss_main.io[0x61] = 0; /* ports 0x308 to 0x30f */
    tss_limit(103 + 0x65);
    for (unsigned iopl = 0; iopl < 4; iopl++) {
        for (unsigned i = 0; i < sizeof v86_cases / sizeof *v86_cases; i++) {
            memcpy((void *)LOW, v86_cases[i].code, (size_t)(v86_cases[i].end - v86_cases[i].code));
            struct ctx c = ctx16(V86, 3, iopl);
            /* INT n needs IOPL 3: below, the case ends in an undefined instruction */
            uint8_t *last = (uint8_t *)LOW + (v86_cases[i].end - v86_cases[i].code) - 2;
            if (iopl < 3)
                last[0] = 0x0f, last[1] = 0xff;
            uint16_t *sp = (uint16_t *)(DATA + 0x8000 + 0x7f00);
            sp[0] = v86_cases[i].code == v_iret ? (uint16_t)(last - (uint8_t *)LOW) : 0x2;
            sp[1] = SEG, sp[2] = 0x3002;
            trap_run(&c);
            unsigned want = iopl == 3 ? v86_cases[i].iopl3 : v86_cases[i].below;
            if (want == 0x30 && iopl < 3)
                want = VEC_UD;
            CHECK(c.vector == want && (want != VEC_GP || !c.error) && c.eflags & EFL_VM &&
                      (c.cs == SEG || v86_cases[i].code == v_farcall),
                  "%s at IOPL %u: vector %#x error %#x eip %#x, expected %#x", v86_cases[i].name,
                  iopl, c.vector, c.error, c.eip, want);
            if (want != 0x30 && want != VEC_BP && want != VEC_OF && want != VEC_DE &&
                v86_cases[i].below != 0x30 && v86_cases[i].iopl3 != 0x30)
                CHECK(c.eip < 12, "%s: eip %#x", v86_cases[i].name, c.eip);
            CHECK(c.v86_ds == DSEG && c.v86_fs == DSEG + 0x10 && c.v86_gs == DSEG + 0x20,
                  "%s: segments %x %x %x", v86_cases[i].name, c.v86_ds, c.v86_fs, c.v86_gs);
            CHECK(!c.ds && !c.fs, "%s: segments in the handler %x %x", v86_cases[i].name, c.ds,
                  c.fs);
        }
        /* INT n: #GP(0) below IOPL 3, else the gate's privilege counts */
        PUT16(v_int);
        struct ctx c = ctx16(V86, 3, iopl);
        trap_run(&c);
        if (iopl < 3)
            CHECK(c.vector == VEC_GP && c.error == 0, "int at IOPL %u: %#x %#x", iopl, c.vector,
                  c.error);
        else
            CHECK(c.vector == VEC_GP && c.error == 0x41 * 8 + 2, "int to DPL 0: %#x %#x", c.vector,
                  c.error);
        idt_set(0x41, gate(stub_address(0x41), KCS, 0xee, 0));
        c = ctx16(V86, 3, iopl);
        trap_run(&c);
        CHECK_EQ(c.vector, iopl < 3 ? VEC_GP : 0x41, "int");
        idt_reset(0x41);
    }
    tss_limit(103);
    /* handlers must be at CPL 0 */
    gdt_set(0x68, descriptor(0, 0xfffff, ACC_CODE | ACC_DPL(1), FLAG_G | FLAG_D));
    idt_set(0x41, gate(stub_address(0x41), 0x68, 0xee, 0));
    PUT16(v_int);
    struct ctx c = ctx16(V86, 3, 3);
    trap_run(&c);
    CHECK(c.vector == VEC_GP && c.error == 0x68, "handler at CPL 1: %#x %#x", c.vector, c.error);
    idt_reset(0x41);
}

/* POPF, IRET and PUSHF in virtual-8086 mode at IOPL 3 change what they may. */
CODE16(v_flags, "pushl $0x247ed7; popfl; pushfl; popl %eax; pushl $0x0; popfl; pushfl; popl %ebx; "
                "pushw $0x3202; pushw %cs; pushw $1f-v_flags; iretw; 1: pushfw; popw %cx");
static void test_v86_flags(void)
{
    PUT16(v_flags);
    struct ctx c = ctx16(V86, 3, 3);
    trap_run(&c);
    CHECK_EQ(c.vector, VEC_EXIT, "vector");
    /* VM reads as 0, IOPL stays, RF is cleared */
    CHECK_EQ(c.eax, (0x247ed7 & ~(EFL_TF | EFL_RF)) | 0x3000, "POPFL of most bits");
    CHECK_EQ(c.ebx, 0x3002, "POPFL of 0");
    CHECK_EQ(c.ecx & 0xffff, 0x3202, "IRETW");
}

/* A monitor in miniature: reflects INT to the 8086 program's own vectors, emulates CLI and STI. */
CODE16(v_program, "movw $100,%cx; xorw %ax,%ax; 1: int $0x21; cli; addw %cx,%ax; sti; loop 1b; int "
                  "$0x22; jmp 2f; .skip 64; 2: nop");
CODE16(v_service, "addw $7,%ax; pushw %bp; movw %sp,%bp; addw 2(%bp),%dx; popw %bp; iretw");
static struct ctx *mon;
static unsigned mon_ints, mon_cli;
static bool monitor(struct ctx *c)
{
    mon = c;
    uint8_t *ip = (uint8_t *)((c->cs << 4) + c->eip);
    uint16_t *sp;
    switch (*ip) {
    case 0xcd: {
        if (ip[1] == 0x22)
            return false;
        mon_ints++;
        c->esp = (c->esp - 6) & 0xffff;
        sp = (uint16_t *)((c->ss << 4) + c->esp);
        sp[0] = (uint16_t)(c->eip + 2), sp[1] = (uint16_t)c->cs, sp[2] = (uint16_t)c->eflags;
        c->cs = SEG, c->eip = 0x800;
        return true;
    }
    case 0xcf:
        sp = (uint16_t *)((c->ss << 4) + c->esp);
        c->eip = sp[0], c->cs = sp[1];
        c->eflags = (c->eflags & ~EFL_ARITH) | (sp[2] & EFL_ARITH);
        c->esp = (c->esp + 6) & 0xffff;
        return true;
    case 0xfa:
    case 0xfb:
        mon_cli++;
        c->eip++;
        return true;
    }
    return false;
}
static void test_v86_monitor(void)
{
    PUT16(v_program);
    memcpy((void *)(LOW + 0x800), v_service, (size_t)(v_service_end - v_service));
    struct ctx c = ctx16(V86, 3, 0);
    mon_ints = mon_cli = 0;
    unsigned steps = 0;
    do {
        trap_run(&c);
        if (c.vector != VEC_GP || c.error)
            break;
    } while (monitor(&c) && ++steps < 5000);
    CHECK(mon_ints == 100 && mon_cli == 200, "%u INTs, %u CLIs, vector %#x eip %#x", mon_ints,
          mon_cli, c.vector, c.eip);
    CHECK_EQ(c.eax & 0xffff, 5050 + 700, "AX");
}

/* --- real mode --- */
/* At LOW, entered by a far jump from 16-bit protected mode with PE cleared; its way back sets PE.
 */
extern uint8_t real_start[], real_end[], real_body[], real_back[];
asm(".pushsection .text.snippet\n.code16\n"
    "real_start: movw $0x48,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%fs; movw %ax,%gs; movw "
    "%ax,%ss; movl %cr0,%eax; andb $0xfe,%al; movl %eax,%cr0; ljmp $0x1000,$1f-real_start\n"
    "1: movw $0x2000,%ax; movw %ax,%ds; movw %ax,%es; movw $0x2800,%ax; movw %ax,%ss; movw "
    "$0x7f00,%sp\n"
    "movw $0x2010,%ax; movw %ax,%fs; movw $0x2020,%ax; movw %ax,%gs\n"
    "xorl %eax,%eax; xorl %ecx,%ecx; xorl %edx,%edx; xorl %ebx,%ebx; xorl %esi,%esi; xorl "
    "%edi,%edi; xorl %ebp,%ebp\n"
    "lcall $0x1000,$0x400\n"
    "real_done: movl %eax,%cs:(real_eax-real_start); movl %cr0,%eax; orb $1,%al; movl %eax,%cr0; "
    ".byte 0x66,0xea; .long real_back; .word 0x08\n"
    "real_eax: .long 0\nreal_end:\n.code32\n"
    "real_back: movw $0x10,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%ss; movw %ax,%fs; movw "
    "%ax,%gs; movl real_esp,%esp\n"
    "popl %edi; popl %esi; popl %ebx; popl %ebp; ret\n"
    "real_enter: pushl %ebp; pushl %ebx; pushl %esi; pushl %edi; movl %esp,real_esp; lidt "
    "real_idt; ljmp $0x40,$0\n"
    ".popsection\n");
uint32_t real_esp __attribute__((used));
struct table_ptr real_idt __attribute__((used)) = {0x3ff, 0};
void real_enter(void);

/* Runs 16-bit code (ending in lretw) in real mode; EAX comes back. `gs_limit` set: DS keeps a 4 GiB
 * limit (big real mode). */
static uint32_t real_run(const uint8_t *code, const uint8_t *end)
{
    struct table_ptr idt_was = {sizeof idt - 1, (uint32_t)idt};
    memcpy((void *)LOW, real_start, (size_t)(real_end - real_start));
    memcpy((void *)(LOW + 0x400), code, (size_t)(end - code));
    gdt_set(0x40, descriptor(LOW, 0xffff, ACC_CODE, 0));
    gdt_set(0x48, descriptor(0, 0xffff, ACC_DATA, 0));
    fill();
    real_enter();
    asm volatile("lidt %0" ::"m"(idt_was));
    extern uint8_t real_eax[];
    return *(uint32_t *)(LOW + (real_eax - real_start));
}
#define REAL(name, text)                                                                           \
    asm(".pushsection .text.snippet\n.code16\n" #name ": " text "\nlretw\n" #name                  \
        "_end:\n.code32\n.popsection\n");                                                          \
    extern uint8_t name[], name##_end[]
REAL(r_sum, "movw $1000,%cx; 1: addw %cx,%ax; adcw $0,%dx; loop 1b; shll $16,%edx; orl %edx,%eax");
REAL(r_ivt, "pushw %ds; xorw %bx,%bx; movw %bx,%ds; movl $0x10000000+1f-r_ivt+0x400,0x41*4; movl "
            "$0x10000000+2f-r_ivt+0x400,0;"
            "movl $0x10000000+3f-r_ivt+0x400,13*4; movl $0x10000000+4f-r_ivt+0x400,6*4; popw %ds;"
            "int $0x41; int $0x41; xorw %cx,%cx; divw %cx; movl $0x10000,%ebx; addr32 movb "
            "(%ebx),%dl; ud2; jmp 9f;"
            "1: addl $1,%eax; iretw; 2: addl $0x10,%eax; pushw %bp; movw %sp,%bp; addw $2,2(%bp); "
            "popw %bp; iretw;"
            "3: addl $0x100,%eax; pushw %bp; movw %sp,%bp; addw $3,2(%bp); popw %bp; iretw;"
            "4: addl $0x1000,%eax; pushw %bp; movw %sp,%bp; addw $2,2(%bp); popw %bp; iretw; 9:");
REAL(r_hma, "movw $0xffff,%bx; movw %bx,%es; movl %es:0x10,%eax; movw $0x2000,%bx; movw %bx,%es");
REAL(r_a20,
     "inb $0x92,%al; pushw %ax; andb $0xfc,%al; outb %al,$0x92; movw $0xffff,%bx; movw %bx,%es; "
     "movl %es:0x510,%ecx; xorw %bx,%bx; movw %bx,%es;"
     "movl %es:0x500,%edx; popw %ax; orb $2,%al; andb $0xfe,%al; outb %al,$0x92; movw $0xffff,%bx; "
     "movw %bx,%es; movl %es:0x510,%esi; movw $0x2000,%bx; movw %bx,%es;"
     "xorl %eax,%eax; cmpl %ecx,%edx; jne 1f; incw %ax; 1: cmpl %esi,%ecx; je 2f; addw $2,%ax; 2:");
REAL(r_far, "pushw %cs; pushw $1f-r_far+0x400; lretw; ud2; 1: addw $1,%ax; ljmp $0x1040,$2f-r_far; "
            "ud2; 2: addw $2,%ax; lcall $0x103f,$0x10+3f-r_far; addw $4,%ax; jmp 4f;"
            "3: addw $8,%ax; lretw; 4: movw %cs,%bx; cmpw $0x1040,%bx; jne 5f; addw $16,%ax; 5:");
REAL(r_smc,
     "movw $50,%cx; 1: movw %cx,%cs:2f-r_smc+0x401; jmp 2f; 2: movw $0,%bx; addw %bx,%ax; loop 1b");
REAL(r_string, "movw $0x100,%cx; xorw %si,%si; movw $0x4000,%di; rep movsb; movw $0x100,%cx; xorw "
               "%si,%si; movw $0x4000,%di; repe cmpsb; jne 1f; movw $0xabc,%ax; 1:");
REAL(r_wide,
     "cli; pushw %ds; lgdtl %cs:2f-r_wide+0x400; movl %cr0,%eax; orb $1,%al; movl %eax,%cr0; jmp "
     "1f; 1: movw $0x10,%bx; movw %bx,%ds; andb $0xfe,%al; movl %eax,%cr0; jmp 3f;"
     "3: popw %ds; movl $0x1400000-0x20000,%ebx; addr32 movl (%ebx),%eax; jmp 4f; 2: .word 0x1ff; "
     ".long gdt; 4: movw $0x2000,%bx; movw %bx,%ds");

/* Two ticks of the clock, the size of memory, a disk that is not there. */
REAL(r_firmware,
     "pushw %ds; xorw %bx,%bx; movw %bx,%ds; movl 0x46c,%edx; sti; 1: movl 0x46c,%ecx; subl "
     "%edx,%ecx; cmpl $2,%ecx; jb 1b; cli; int $0x12; movw %ax,%bp; movb $2,%ah; clc; int $0x13; "
     "setc %bl; movb %ah,%bh; shll $16,%ebx; movw %bp,%bx; movl %ebx,%eax; popw %ds");

static uint32_t firmware_said; /* before the interrupt controllers are the guest's */

static void test_firmware(void)
{
    const volatile uint32_t *ivt = (const volatile uint32_t *)0;
    asm volatile("" : "+r"(ivt));
    for (unsigned n = 0; n < 256; n++)
        CHECK(ivt[n], "vector %#x leads to 0000:0000", n);
    CHECK_EQ(firmware_said, 0x8601027f, "services");
}

static void test_real(void)
{
    uint8_t ivt[1024];
    memcpy(ivt, (void *)0, sizeof ivt);
    CHECK_EQ(real_run(r_sum, r_sum_end), 500500, "sum");
    CHECK_EQ(real_run(r_ivt, r_ivt_end), 0x1112, "interrupts and exceptions");
    memcpy((void *)0, ivt, sizeof ivt);
    *(uint32_t *)0x100000 += 0;
    CHECK_EQ(real_run(r_hma, r_hma_end), *(volatile uint32_t *)0x100000, "FFFF:0010");
    CHECK_EQ(real_run(r_far, r_far_end), 31, "far transfers");
    CHECK_EQ(real_run(r_smc, r_smc_end), 1275, "self-modifying code");
    CHECK_EQ(real_run(r_string, r_string_end), 0xabc, "strings");
    for (unsigned i = 0; i < 20; i++)
        CHECK_EQ(real_run(r_sum, r_sum_end), 500500, "again");
}

static void test_big_real(void)
{
    *(volatile uint32_t *)0x1400000 = 0xfeedface;
    CHECK_EQ(real_run(r_wide, r_wide_end), 0xfeedface, "4 GiB limit kept from protected mode");
}

static void test_a20(void)
{
    uint32_t was = *(volatile uint32_t *)0x500;
    *(volatile uint32_t *)0x500 = 0x600df00d;
    CHECK(*(volatile uint32_t *)0x100500 != 0x600df00d, "memory at 1 MiB is that at 0");
    CHECK_EQ(real_run(r_a20, r_a20_end), 3, "1: equal with A20 off, 2: different with A20 on");
    *(volatile uint32_t *)0x500 = was;
}

static const struct test tests[] = {
    {"modes", test_modes, NULL},
    {"wrap", test_wrap, "!no segment limits"},
    {"sp", test_sp, NULL},
    {"v86", test_v86, "#TS for a handler at CPL 1"},
    {"v86_flags", test_v86_flags, NULL},
    {"v86_monitor", test_v86_monitor, NULL},
    {"firmware", test_firmware, "its BIOS gives other answers"},
    {"real", test_real, "no segment limits"},
    {"big_real", test_big_real, NULL},
    {"a20", test_a20, NULL},
};

void guest_main(void)
{
    firmware_said = real_run(r_firmware, r_firmware_end);
    pic_init();
    RUN_TESTS(tests);
}
