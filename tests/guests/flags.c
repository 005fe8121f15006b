/* SPDX-License-Identifier: MIT */
/* flags.c: EFLAGS by privilege, and the instructions that tell or depend on the processor's state
 * without a fault: POPF, PUSHF, IRET, CLI, STI, IN, OUT, SGDT, SIDT, SLDT, STR, SMSW, LAR, LSL,
 * VERR, VERW, ARPL, moves from segment registers, SYSENTER, SYSEXIT, RDTSC (SDM vol. 2, each page).
 */
#include "lib/guest.h"

#define ALL_FLAGS (EFL_ARITH | EFL_DF | EFL_IF | EFL_IOPL | EFL_NT | EFL_AC | EFL_ID)

CODE(do_popf, "", "popfl; pushfl; popl %eax");
CODE(do_popfw, "", "popfw; pushfl; popl %eax");
CODE(do_pushf, "", "pushfl; popl %eax; pushfw; popw %dx");
CODE(do_iret, "", "iretl");

static uint32_t popf_model(uint32_t old, uint32_t value, unsigned cpl, uint32_t allowed)
{
    uint32_t change = allowed;
    if (cpl > (old & EFL_IOPL) >> EFL_IOPL_SHIFT)
        change &= ~EFL_IF;
    if (cpl)
        change &= ~EFL_IOPL;
    return ((old & ~change) | (value & change) | EFL_ONE) & ~EFL_RF;
}

static void test_popf(void)
{
    static const uint32_t values[] = {0,
                                      EFL_IF,
                                      EFL_IOPL,
                                      ALL_FLAGS,
                                      EFL_NT,
                                      EFL_AC | EFL_ID,
                                      EFL_DF | EFL_CF,
                                      0x1000 | EFL_IF,
                                      0x2000,
                                      EFL_ARITH,
                                      ~EFL_TF,
                                      EFL_VM | EFL_RF,
                                      EFL_VIF | EFL_VIP,
                                      0x8028};
    pic_mask(0xffff);
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned iopl = 0; iopl < 4; iopl++)
            for (unsigned k = 0; k < 4 * sizeof values / 4; k++) {
                uint32_t start = EFL_ONE | iopl << EFL_IOPL_SHIFT | (k & 1 ? EFL_IF : 0) |
                                 (k & 2 ? EFL_NT | EFL_AC | EFL_DF | EFL_OF : 0);
                uint32_t value = values[k >> 2];
                struct ctx c = ring_ctx(cpl, do_popf);
                c.eflags = start;
                *(uint32_t *)c.esp = value;
                trap_run(&c);
                uint32_t want = popf_model(start, value, cpl, ALL_FLAGS);
                CHECK(c.vector == VEC_EXIT && c.eax == want,
                      "popfl %#x at cpl %u from %#x: %#x, expected %#x (vector %#x)", value, cpl,
                      start, c.eax, want, c.vector);
                CHECK_EQ(c.eflags & ~EFL_RF, want, "flags after popfl");
                c = ring_ctx(cpl, do_popfw);
                c.eflags = start;
                *(uint32_t *)c.esp = value;
                trap_run(&c);
                want = popf_model(start, (value & 0xffff) | (start & 0xffff0000), cpl, ALL_FLAGS);
                CHECK_EQ(c.eax, want, "flags after popfw");
                c = ring_ctx(cpl, do_pushf);
                c.eflags = start | EFL_RF;
                trap_run(&c);
                CHECK_EQ(c.eax, start, "pushfl");
                CHECK_EQ(c.edx, start & 0xffff, "pushfw");
            }
}

/* IRET to the same level loads flags by the same rules. */
static void test_iret(void)
{
    static const uint32_t values[] = {EFL_ONE, EFL_IF, EFL_IOPL, ALL_FLAGS & ~EFL_NT,
                                      EFL_RF | EFL_CF};
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned iopl = 0; iopl < 4; iopl++)
            for (unsigned k = 0; k < 5; k++) {
                struct ctx c = ring_ctx(cpl, do_iret);
                c.eflags = EFL_ONE | iopl << EFL_IOPL_SHIFT;
                uint32_t start = c.eflags;
                uint32_t *frame = (uint32_t *)(c.esp -= 12);
                frame[0] = (uint32_t)do_iret_next, frame[1] = RCS(cpl), frame[2] = values[k];
                trap_run(&c);
                CHECK(c.vector == VEC_EXIT, "iret at cpl %u: vector %#x", cpl, c.vector);
                CHECK_EQ(c.eflags & ~EFL_RF, popf_model(start, values[k], cpl, ALL_FLAGS), "flags");
            }
}

CODE(do_cli, "", "cli");
CODE(do_sti, "", "sti");
static void test_cli_sti(void)
{
    pic_mask(0xffff);
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned iopl = 0; iopl < 4; iopl++)
            for (unsigned sti = 0; sti < 2; sti++) {
                const uint8_t *code = sti ? do_sti : do_cli;
                struct ctx c = ring_ctx(cpl, code);
                c.eflags |= iopl << EFL_IOPL_SHIFT | (sti ? 0 : EFL_IF);
                trap_run(&c);
                if (cpl > iopl)
                    expect(&c, VEC_GP, 0, code, sti ? "sti" : "cli");
                else
                    CHECK(c.vector == VEC_EXIT && !(c.eflags & EFL_IF) == !sti,
                          "%s cpl %u iopl %u: vector %#x eflags %#x", sti ? "sti" : "cli", cpl,
                          iopl, c.vector, c.eflags);
            }
}

/* --- I/O permission --- */
CODE(do_inb, "", "inb %dx,%al");
CODE(do_inw, "", "inw %dx,%ax");
CODE(do_inl, "", "inl %dx,%eax");
CODE(do_outb, "", "outb %al,%dx");
CODE(do_insb, "", "insb");
CODE(do_rep_outsb, "movl $2,%ecx", "rep outsb");

static void test_io(void)
{
    static const struct {
        const char *name;
        const uint8_t *code, *at;
        unsigned size;
    } t[] = {{"inb", do_inb, do_inb_at, 1},    {"inw", do_inw, do_inw_at, 2},
             {"inl", do_inl, do_inl_at, 4},    {"outb", do_outb, do_outb_at, 1},
             {"insb", do_insb, do_insb_at, 1}, {"rep outsb", do_rep_outsb, do_rep_outsb_at, 1}};
    /* ports 0x300 to 0x31f; the bitmap begins 104 bytes into the TSS, one byte of ones ends it */
    for (unsigned map = 0; map < 6; map++) {
        memset(tss_main.io, 0xff, sizeof tss_main.io);
        uint32_t open = 0;
        if (map == 1)
            open = ~0u;
        else if (map == 2)
            open = 0x0000ff00;
        else if (map >= 3)
            open = 0x55ff0180 << map;
        for (unsigned i = 0; i < 4; i++)
            tss_main.io[0x60 + i] = (uint8_t) ~(open >> 8 * i);
        for (unsigned limit = 0; limit < 3; limit++) {
            /* the whole map; no map; the map ends before the second byte that is looked at */
            tss_limit(limit == 0 ? 103 + 0x65 : limit == 1 ? 103 : 104 + 0x61);
            for (unsigned cpl = 0; cpl < 4; cpl += 3)
                for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
                    for (unsigned port = 0x300; port < 0x318; port++) {
                        struct ctx c = ring_ctx(cpl, t[i].code);
                        c.edx = port;
                        c.esi = c.edi = c.esp - 256;
                        trap_run(&c);
                        uint32_t need = ((1u << t[i].size) - 1) << (port - 0x300);
                        bool ok = !cpl || (open & need) == need;
                        if (cpl && limit == 1)
                            ok = false;
                        if (cpl && limit == 2 && (port >> 3) + 1 > 0x61)
                            ok = false;
                        if (ok)
                            CHECK(c.vector == VEC_EXIT,
                                  "%s port %#x map %u limit %u cpl %u: vector %#x", t[i].name, port,
                                  map, limit, cpl, c.vector);
                        else
                            expect(&c, VEC_GP, 0, t[i].at, t[i].name);
                    }
        }
    }
    tss_limit(103);
    for (unsigned iopl = 0; iopl < 4; iopl++)
        for (unsigned cpl = 0; cpl < 4; cpl++) {
            struct ctx c = ring_ctx(cpl, do_inb);
            c.eflags |= iopl << EFL_IOPL_SHIFT;
            c.edx = 0x300;
            trap_run(&c);
            CHECK_EQ(c.vector, cpl <= iopl ? VEC_EXIT : VEC_GP, "inb by IOPL");
        }
}

/* --- instructions that tell system state, from CPL 3 --- */
CODE(tell, "",
     "sgdt (%edi); sidt 8(%edi); sldt %eax; str %ebx; smsw %ecx; sldt 16(%edi); str 18(%edi); smsw "
     "20(%edi);"
     "movw $0xffff,%dx; sldt %dx; movl $-1,%esi; smsw %si; data16 sgdt 24(%edi)");
CODE(tell_kernel, "", "movl %cr0,%ecx");
static void test_tell(void)
{
    static uint8_t out[32] __attribute__((aligned(16)));
    gdt_set(SEL_LDT, descriptor((uint32_t)ldt, sizeof ldt - 1, 0x82, 0));
    asm volatile("lldt %w0" ::"r"(SEL_LDT));
    for (unsigned cpl = 0; cpl < 4; cpl++)
        for (unsigned ts = 0; ts < 2; ts++) {
            memset(out, 0xee, sizeof out);
            struct ctx c = ring_ctx(cpl, tell);
            c.edi = (uint32_t)out;
            WRITE_CR(0, (READ_CR(0) & ~CR0_TS) | (ts ? CR0_TS : 0));
            uint32_t cr0 = READ_CR(0);
            trap_run(&c);
            asm volatile("clts");
            CHECK_EQ(c.vector, VEC_EXIT, "vector");
            CHECK_EQ(*(uint16_t *)out, sizeof gdt - 1, "GDT limit");
            CHECK_EQ(*(uint32_t *)(out + 2), (uint32_t)gdt, "GDT base");
            CHECK_EQ(*(uint16_t *)(out + 6), 0xeeee, "bytes behind the GDTR");
            CHECK_EQ(*(uint16_t *)(out + 8), sizeof idt - 1, "IDT limit");
            CHECK_EQ(*(uint32_t *)(out + 10), (uint32_t)idt, "IDT base");
            CHECK_EQ(c.eax, SEL_LDT, "SLDT r32");
            CHECK_EQ(c.ebx, SEL_TSS, "STR r32");
            CHECK_EQ(c.ecx, cr0, "SMSW r32");
            CHECK_EQ(*(uint16_t *)(out + 16), SEL_LDT, "SLDT m16");
            CHECK_EQ(*(uint16_t *)(out + 18), SEL_TSS, "STR m16");
            CHECK_EQ(*(uint16_t *)(out + 20), cr0 & 0xffff, "SMSW m16");
            CHECK_EQ(*(uint16_t *)(out + 22), 0xeeee, "bytes behind SMSW m16");
            CHECK_EQ(c.edx & 0xffff, SEL_LDT, "SLDT r16");
            CHECK_EQ(c.esi, 0xffff0000 | (cr0 & 0xffff), "SMSW r16");
            CHECK_EQ(*(uint16_t *)(out + 24), sizeof gdt - 1, "GDT limit by data16");
        }
    asm volatile("lldt %w0" ::"r"(0));
}

/* --- LAR, LSL, VERR, VERW over all descriptor types and privileges --- */
CODE(do_lar, "", "larl %ecx,%eax");
CODE(do_lsl, "", "lsll %ecx,%eax");
CODE(do_larw, "", "larw %cx,%ax");
CODE(do_lslw, "", "lslw %cx,%ax");
CODE(do_verr, "", "verr %cx");
CODE(do_verw, "", "verw %cx");

static void lar_case(const char *name, const uint8_t *code, unsigned cpl, uint32_t sel, bool zf,
                     uint32_t value)
{
    for (unsigned old = 0; old < 2; old++) {
        struct ctx c = ring_ctx(cpl, code);
        c.ecx = sel;
        c.eax = 0xdeadbeef;
        c.eflags |= EFL_ARITH & ~(old ? 0 : EFL_ZF);
        trap_run(&c);
        CHECK(
            c.vector == VEC_EXIT && !(c.eflags & EFL_ZF) == !zf &&
                (c.eflags & (EFL_ARITH & ~EFL_ZF)) == (EFL_ARITH & ~EFL_ZF) && c.eax == value,
            "%s %#x (access %02x) at cpl %u: vector %#x flags %#x eax %#x, expected ZF %d eax %#x",
            name, sel, (uint32_t)(gdt[sel >> 3 & 63] >> 40) & 0xff, cpl, c.vector, c.eflags, c.eax,
            zf, value);
    }
}

static void test_lar(void)
{
    static const uint16_t lar_ok =
        1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 9 | 1 << 11 | 1 << 12;
    static const uint16_t lsl_ok = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 9 | 1 << 11;
    for (unsigned access = 0; access < 256; access++) {
        unsigned type = access & 15, dpl = access >> 5 & 3;
        bool seg = access & 0x10;
        /* granular every other one */
        bool g = access & 1;
        gdt_set(0x40, descriptor(0x12345678, 0x2345, access, (g ? FLAG_G : 0) | 1));
        uint32_t limit = g ? 0x2345fff : 0x2345;
        uint32_t rights = (uint32_t)(gdt[8] >> 32) & 0x00f0ff00;
        for (unsigned k = 0; k < 6; k++) {
            unsigned cpl = k < 4 ? k : 0, rpl = k < 4 ? (k == 3 ? 3 : 0) : k == 4 ? 3 : 1;
            uint32_t sel = 0x40 | rpl;
            bool conforming = seg && (type & 12) == 12;
            bool priv = conforming || (cpl <= dpl && rpl <= dpl);
            bool lar = priv && (seg || lar_ok >> type & 1);
            bool lsl = priv && (seg || lsl_ok >> type & 1);
            bool verr = seg && priv && (!(type & 8) || type & 2);
            bool verw = seg && cpl <= dpl && rpl <= dpl && !(type & 8) && type & 2;
            lar_case("lar", do_lar, cpl, sel, lar, lar ? rights : 0xdeadbeef);
            lar_case("lsl", do_lsl, cpl, sel, lsl, lsl ? limit : 0xdeadbeef);
            lar_case("larw", do_larw, cpl, sel, lar,
                     lar ? 0xdead0000 | (rights & 0xff00) : 0xdeadbeef);
            lar_case("lslw", do_lslw, cpl, sel, lsl,
                     lsl ? 0xdead0000 | (limit & 0xffff) : 0xdeadbeef);
            lar_case("verr", do_verr, cpl, sel, verr, 0xdeadbeef);
            lar_case("verw", do_verw, cpl, sel, verw, 0xdeadbeef);
        }
    }
    static const uint32_t never[] = {0, 3, 0x7fc, 0x400, 0xffff, 0x14};
    for (unsigned i = 0; i < 6; i++) {
        lar_case("lar", do_lar, 3, never[i], false, 0xdeadbeef);
        lar_case("lsl", do_lsl, 0, never[i], false, 0xdeadbeef);
        lar_case("verr", do_verr, 3, never[i], false, 0xdeadbeef);
        lar_case("verw", do_verw, 0, never[i], false, 0xdeadbeef);
    }
}

CODE(do_arpl, "", "arpl %cx,%ax; arpl %dx,(%ebx)");
static void test_arpl(void)
{
    for (unsigned a = 0; a < 4; a++)
        for (unsigned b = 0; b < 4; b++) {
            static uint32_t mem;
            mem = 0x55550010 | a;
            struct ctx c = user_ctx(do_arpl);
            c.eax = 0xabcd0020 | a, c.ecx = b, c.edx = b ^ 3;
            c.ebx = (uint32_t)&mem;
            trap_run(&c);
            CHECK_EQ(c.eax, 0xabcd0020 | (a < b ? b : a), "arpl register");
            CHECK_EQ(mem, 0x55550010 | (a < (b ^ 3) ? b ^ 3 : a), "arpl memory");
            CHECK_EQ(!!(c.eflags & EFL_ZF), a < (b ^ 3), "ZF");
        }
}

/* --- moves from segment registers --- */
CODE(from_seg, "movl $-1,%eax; movl %eax,%ebx; movl %eax,%ecx; movl %eax,%edx; movl %eax,(%edi)",
     "movl %ds,%eax; movw %cs,%bx; movl %ss,%ecx; movw %es,(%edi); pushl $-1; addl $4,%esp; pushl "
     "%fs; popl %edx;"
     "pushw %gs; popw %si");
static void test_from_seg(void)
{
    static uint32_t mem;
    for (unsigned cpl = 0; cpl < 4; cpl++) {
        struct ctx c = ring_ctx(cpl, from_seg);
        c.edi = (uint32_t)&mem;
        trap_run(&c);
        CHECK_EQ(c.eax, RDS(cpl), "mov ds to r32");
        CHECK_EQ(c.ebx, 0xffff0000 | RCS(cpl), "mov cs to r16");
        CHECK_EQ(c.ecx, RDS(cpl), "mov ss to r32");
        CHECK_EQ(mem, 0xffff0000 | RDS(cpl), "mov es to m16");
        /* PUSH of a segment register writes 16 or 32 bits (vol. 2, PUSH) */
        CHECK(c.edx == RDS(cpl) || c.edx == (0xffff0000 | RDS(cpl)), "push fs: %#x", c.edx);
        CHECK_EQ(c.esi, RDS(cpl), "pushw gs");
    }
}

/* --- SYSENTER, SYSEXIT --- */
asm(".pushsection .text\n.globl sysenter_entry\n"
    "sysenter_entry: pushfl; popl %eax; movl %cs,%ebx; movl %ss,%esi; movl %esp,%edi\n"
    "cmpl $0,sysenter_back; je 1f; movl %eax,sysenter_flags; movl %ebx,sysenter_cs\n"
    "movl $sysexit_target,%edx; movl %ebp,%ecx; sysexit\n"
    "1: int $0x30\n"
    "sysexit_target: movl %cs,%eax; movl %ss,%ebx; movl %esp,%ecx; pushfl; popl %edx; int $0x30\n"
    ".popsection");
extern uint8_t sysenter_entry[], sysexit_target[];
uint32_t sysenter_back __attribute__((used)), sysenter_flags __attribute__((used)),
    sysenter_cs __attribute__((used));
CODE(do_sysenter, "movl %esp,%ebp", "sysenter");
CODE(do_sysexit, "movl $sysexit_target,%edx; movl $user_stack+8192,%ecx", "sysexit");

static void test_sysenter(void)
{
    uint32_t r[4];
    cpuid(1, r);
    if (!(r[3] & 1u << 11)) {
        print("no SYSENTER\n");
        return;
    }
    for (unsigned cpl = 0; cpl < 4; cpl++) {
        wrmsr(MSR_SYSENTER_CS, 0);
        struct ctx c = ring_ctx(cpl, do_sysenter);
        trap_run(&c);
        expect(&c, VEC_GP, 0, do_sysenter_at, "SYSENTER with a null CS");
        wrmsr(MSR_SYSENTER_CS, KCS);
        wrmsr(MSR_SYSENTER_EIP, (uint32_t)sysenter_entry);
        wrmsr(MSR_SYSENTER_ESP, (uint32_t)kernel_stack2 + 8192);
        for (sysenter_back = 0; sysenter_back < 2; sysenter_back++) {
            c = ring_ctx(cpl, do_sysenter);
            c.eflags |= EFL_IF | EFL_CF | EFL_DF | EFL_AC | EFL_NT;
            uint32_t esp = c.esp;
            trap_run(&c);
            CHECK_EQ(c.vector, VEC_EXIT, "vector");
            uint32_t in = EFL_ONE | EFL_CF | EFL_DF | EFL_AC | EFL_NT;
            if (!sysenter_back) {
                CHECK_EQ(c.eax, in, "flags in the kernel");
                CHECK_EQ(c.ebx, KCS, "CS");
                CHECK_EQ(c.esi, KDS, "SS");
                CHECK_EQ(c.edi, (uint32_t)kernel_stack2 + 8192, "ESP");
                CHECK_EQ(c.cs, KCS, "CS at the trap");
            } else {
                CHECK_EQ(sysenter_flags, in, "flags in the kernel");
                CHECK_EQ(sysenter_cs, KCS, "CS");
                CHECK_EQ(c.eax, UCS, "CS after SYSEXIT");
                CHECK_EQ(c.ebx, UDS, "SS after SYSEXIT");
                CHECK_EQ(c.ecx, esp, "ESP after SYSEXIT");
                CHECK_EQ(c.cs, UCS, "CS at the trap");
            }
        }
    }
    /* the segments are flat whatever the tables say */
    gdt_set(0x40, descriptor(0x1000, 0xff, ACC_CODE, 0));
    gdt_set(0x48, descriptor(0x1000, 0xff, ACC_DATA, 0));
    wrmsr(MSR_SYSENTER_CS, 0x40);
    sysenter_back = 0;
    struct ctx c = user_ctx(do_sysenter);
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT && c.ebx == 0x40 && c.esi == 0x48, "vector %#x cs %#x ss %#x",
          c.vector, c.ebx, c.esi);
    wrmsr(MSR_SYSENTER_CS, KCS);
    c = kernel_ctx(do_sysexit);
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT && c.eax == UCS && c.ecx == (uint32_t)user_stack + 8192, "SYSEXIT");
    wrmsr(MSR_SYSENTER_CS, 0);
    c = kernel_ctx(do_sysexit);
    trap_run(&c);
    expect(&c, VEC_GP, 0, do_sysexit_at, "SYSEXIT with a null CS");
    /* many round trips, interleaved with INT */
    wrmsr(MSR_SYSENTER_CS, KCS);
    sysenter_back = 1;
    for (unsigned i = 0; i < 1000; i++) {
        c = user_ctx(do_sysenter);
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.eax == UCS, "round trip");
    }
}

/* --- RDTSC, RDPMC, CPUID by privilege --- */
CODE(do_rdtsc, "", "rdtsc");
CODE(do_rdpmc, "", "rdpmc");
CODE(do_cpuid, "", "cpuid");
static void test_rdtsc(void)
{
    for (unsigned cpl = 0; cpl < 4; cpl++) {
        struct ctx c = ring_ctx(cpl, do_rdtsc);
        uint64_t before = rdtsc();
        trap_run(&c);
        uint64_t got = (uint64_t)c.edx << 32 | c.eax;
        CHECK(c.vector == VEC_EXIT && got >= before && got <= rdtsc(), "RDTSC at cpl %u", cpl);
        WRITE_CR(4, READ_CR(4) | CR4_TSD);
        c = ring_ctx(cpl, do_rdtsc);
        trap_run(&c);
        WRITE_CR(4, READ_CR(4) & ~CR4_TSD);
        if (cpl)
            expect(&c, VEC_GP, 0, do_rdtsc, "RDTSC with TSD");
        else
            CHECK_EQ(c.vector, VEC_EXIT, "RDTSC with TSD at CPL 0");
        if (cpl) {
            c = ring_ctx(cpl, do_rdpmc);
            trap_run(&c);
            expect(&c, VEC_GP, 0, do_rdpmc, "RDPMC");
        }
        uint32_t r[4];
        c = ring_ctx(cpl, do_cpuid);
        trap_run(&c);
        cpuid(0, r);
        CHECK(c.vector == VEC_EXIT && c.eax == r[0] && c.ebx == r[1], "CPUID at cpl %u", cpl);
    }
}

static void test_tsc_write(void)
{
    /* writing the TSC moves it */
    wrmsr(MSR_TSC, 0x123400000000);
    uint64_t t = rdtsc();
    CHECK(t >> 36 == 0x1234 >> 4 || t >> 32 == 0x1234, "TSC after a write: %#x",
          (uint32_t)(t >> 32));
}

/* --- LAHF, SAHF, CMC and the like keep the other flags --- */
CODE(small_flags,
     "movb $0xff,%ah; sahf; lahf; movl %eax,%ebx; clc; setc %cl; stc; setc %ch; cmc; setc %dl; "
     "std; pushfl; cld; popl %esi;"
     "movb $0,%ah; sahf; pushfl; popl %edi",
     "");
static void test_small(void)
{
    for (unsigned cpl = 0; cpl < 4; cpl += 3) {
        struct ctx c = ring_ctx(cpl, small_flags);
        c.eflags |= EFL_OF | EFL_NT | EFL_AC | EFL_ID;
        trap_run(&c);
        CHECK_EQ(c.ebx >> 8 & 0xff, 0xd7, "AH");
        CHECK_EQ(c.ecx & 0xffff, 0x0100, "CF by CLC and STC");
        CHECK_EQ(c.edx & 0xff, 0, "CF by CMC");
        CHECK_EQ(c.esi, EFL_ONE | EFL_OF | EFL_NT | EFL_AC | EFL_ID | EFL_DF | 0xd6,
                 "flags with DF");
        CHECK_EQ(c.edi, EFL_ONE | EFL_OF | EFL_NT | EFL_AC | EFL_ID, "flags at the end");
    }
}

static const struct test tests[] = {
    {"popf", test_popf, NULL},
    {"iret", test_iret, NULL},
    {"cli_sti", test_cli_sti, NULL},
    {"io_permission", test_io, NULL},
    {"tell", test_tell, NULL},
    {"lar", test_lar, NULL},
    {"arpl", test_arpl, NULL},
    {"from_seg", test_from_seg, NULL},
    {"sysenter", test_sysenter, NULL},
    {"rdtsc", test_rdtsc, NULL},
    {"tsc_write", test_tsc_write, "writes to the TSC are ignored"},
    {"small", test_small, NULL},
};

void guest_main(void)
{
    pic_init();
    RUN_TESTS(tests);
}
