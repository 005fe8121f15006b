/* SPDX-License-Identifier: MIT */
/* segments.c: data segments of every type at and around their limits, segments with bases under
 * every kind of memory access, what a load does to descriptor and hidden part (SDM vol. 3, 3.4, 5.3
 * to 5.5). */
#include "lib/guest.h"

#define AREA 0x1400000u

/* --- limits. A snippet for each size and direction, through ES; %ebx is the offset --- */
#define ACCESSES(X)                                                                                \
    X(r1, "movb %es:(%ebx),%al", 1, 0)                                                             \
    X(r2, "movw %es:(%ebx),%ax", 2, 0)                                                             \
    X(r4, "movl %es:(%ebx),%eax", 4, 0)                                                            \
    X(r8, "fldl %es:(%ebx)", 8, 0)                                                                 \
    X(r10, "fldt %es:(%ebx)", 10, 0)                                                               \
    X(r16, "movups %es:(%ebx),%xmm0", 16, 0)                                                       \
    X(w1, "movb %al,%es:(%ebx)", 1, 1)                                                             \
    X(w2, "movw %ax,%es:(%ebx)", 2, 1)                                                             \
    X(w4, "movl %eax,%es:(%ebx)", 4, 1)                                                            \
    X(w8, "movq %mm0,%es:(%ebx)", 8, 1)                                                            \
    X(w16, "movups %xmm0,%es:(%ebx)", 16, 1)                                                       \
    X(m4, "addl %eax,%es:(%ebx)", 4, 1)                                                            \
    X(stos1, "movl %ebx,%edi; stosb", 1, 1)                                                        \
    X(stos4, "movl %ebx,%edi; stosl", 4, 1)                                                        \
    X(lods2, "movl %ebx,%esi; lodsw %es:(%esi)", 2, 0)                                             \
    X(scas4, "movl %ebx,%edi; scasl", 4, 0)                                                        \
    X(pop4, "popl %es:(%ebx)", 4, 1)                                                               \
    X(push4, "pushl %es:(%ebx)", 4, 0)                                                             \
    X(jmp4, "movl $0,%edx; testl %es:(%ebx),%edx", 4, 0)                                           \
    X(bts4, "btsl $3,%es:(%ebx)", 4, 1)                                                            \
    X(lea0, ".byte 0x26; leal (%ebx),%eax", 0, 0)                                                  \
    X(moffs, "movb %es:0x800,%al", 1, 2)
#define ACCESS_CODE(name, code, size, write) CODE(name, "", code);
ACCESSES(ACCESS_CODE)
static const struct {
    const char *name;
    const uint8_t *code, *next;
    unsigned size, write;
} accesses[] = {
#define ACCESS_ROW(name, code, size, write) {#name, name, name##_next, size, write},
    ACCESSES(ACCESS_ROW)};

struct kind {
    const char *name;
    uint32_t limit;
    unsigned access, flags;
};

static bool allowed(const struct kind *k, uint32_t off, unsigned size, bool write)
{
    bool code = k->access & 8, down = !code && k->access & 4;
    if (!size)
        return true;
    if (write ? code || !(k->access & 2) : code && !(k->access & 2))
        return false;
    uint32_t limit = k->flags & FLAG_G ? k->limit << 12 | 0xfff : k->limit;
    uint64_t last = (uint64_t)off + size - 1;
    if (down)
        return off > limit && last <= (k->flags & FLAG_D ? 0xffffffff : 0xffff);
    return last <= limit;
}

static void test_limits(void)
{
    static const struct kind kinds[] = {{"64K", 0xffff, 0xf3, FLAG_D},
                                        {"byte limit", 0x7ff, 0xf3, FLAG_D},
                                        {"odd limit", 0x802, 0xf3, 0},
                                        {"limit 0", 0, 0xf3, FLAG_D},
                                        {"pages", 3, 0xf3, FLAG_G | FLAG_D},
                                        {"read-only", 0xfff, 0xf1, FLAG_D},
                                        {"expand-down 32", 0x800, 0xf7, FLAG_D},
                                        {"expand-down 16", 0x800, 0xf7, 0},
                                        {"expand-down pages", 1, 0xf7, FLAG_G | FLAG_D},
                                        {"expand-down read-only", 0x800, 0xf5, 0},
                                        {"code", 0xfff, 0xfb, FLAG_D},
                                        {"conforming", 0xfff, 0xff, FLAG_D},
                                        {"not accessed", 0xfff, 0xf2, FLAG_D}};
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        uint32_t limit = kinds[k].flags & FLAG_G ? kinds[k].limit << 12 | 0xfff : kinds[k].limit;
        for (unsigned i = 0; i < sizeof accesses / sizeof *accesses; i++)
            for (unsigned user = 0; user < 2; user++) {
                uint32_t edges[] = {limit, 0xffff, 0x800, 0};
                for (unsigned e = 0; e < 4; e++)
                    for (int d = -17; d < 4; d += (d > -6 || d < -15) ? 1 : 3) {
                        uint32_t off = edges[e] + (uint32_t)d;
                        /* not around 0 and 4 GiB: implementations may differ there */
                        if (off > 0x20000)
                            continue;
                        bool write = accesses[i].write & 1;
                        uint32_t at = accesses[i].write & 2 ? 0x800 : off;
                        gdt_set(0x40,
                                descriptor(AREA, kinds[k].limit, kinds[k].access, kinds[k].flags));
                        struct ctx c =
                            user ? user_ctx(accesses[i].code) : kernel_ctx(accesses[i].code);
                        c.es = 0x43, c.ebx = off;
                        trap_run(&c);
                        asm volatile("fninit");
                        bool ok = allowed(&kinds[k], at, accesses[i].size, write);
                        if (ok ? c.vector != VEC_EXIT : c.vector != VEC_GP || c.error)
                            fail("%s %s at %#x, cpl %u: vector %#x error %#x, expected %s",
                                 kinds[k].name, accesses[i].name, at, user * 3, c.vector, c.error,
                                 ok ? "none" : "#GP(0)");
                    }
            }
    }
}

/* --- code that uses memory in many ways, run flat, then with bases under it --- */
#define BODIES(X)                                                                                  \
    X(b_alu, "movl %ebx,%esi; 1: movl (%esi),%eax; addl 4(%esi),%eax; adcl %eax,8(%esi); xorl "    \
             "%ecx,(%ebx,%ecx,4);"                                                                 \
             "incl 12(%ebx); negl 16(%ebx); shll $3,20(%ebx); imull 24(%ebx),%edx; addl "          \
             "%eax,%edx; leal 4(%esi),%esi;"                                                       \
             "loop 1b")                                                                            \
    X(b_stack, "1: pushl %ecx; pushl 8(%ebx); popl 12(%ebx); pushal; popal; enter $32,$0; movl "   \
               "%ecx,-8(%ebp); addl -8(%ebp),%eax;"                                                \
               "leave; pushfl; popfl; popl %ecx; addl (%esp),%eax; addl %eax,-4(%esp); loop 1b")   \
    X(b_call, "jmp 3f; 2: addl 4(%esp),%eax; roll $1,%eax; ret; 4: movl 4(%esp),%edx; xorl "       \
              "%edx,%eax; ret $4;"                                                                 \
              "3: pushl %ecx; call 2b; pushl %eax; call 4b; popl %ecx; loop 3b")                   \
    X(b_string, "movl %ecx,%edx; 1: movl %ebx,%esi; leal 256(%ebx),%edi; movl $32,%ecx; rep "      \
                "movsl; movl $17,%ecx; rep stosb;"                                                 \
                "movl %ebx,%esi; leal 256(%ebx),%edi; movl $200,%ecx; repe cmpsb; addl "           \
                "%ecx,%eax; movl %ebx,%edi; movl $64,%ecx;"                                        \
                "repne scasb; addl %ecx,%eax; movl %ebx,%esi; lodsl; addl %eax,16(%ebx); addb "    \
                "$1,5(%ebx); decl %edx; jnz 1b")                                                   \
    X(b_fpu, "fninit; movl %ecx,%edx; 1: fildl (%ebx); fiaddl 4(%ebx); fistpl 8(%ebx); fldl "      \
             "32(%ebx); fld1; faddp; fstpl 32(%ebx);"                                              \
             "movups 64(%ebx),%xmm0; paddd 80(%ebx),%xmm0; movups %xmm0,64(%ebx); movq "           \
             "96(%ebx),%mm1; paddd %mm1,%mm1; movq %mm1,96(%ebx);"                                 \
             "emms; loop 1b; fnstcw 112(%ebx); fxsave 512(%ebx); movl $0,520(%ebx); movl "         \
             "$0,524(%ebx); movl $0,528(%ebx); movl $0,532(%ebx); movw $0,518(%ebx)")              \
    X(b_misc, "movl %ecx,%edx; 1: movb %cl,%al; xlatb; addb %al,7(%ebx); btsl %ecx,(%ebx); btcl "  \
              "$5,4(%ebx); setc 9(%ebx); xaddl %edx,12(%ebx);"                                     \
              "lock decl 16(%ebx); xchgl %eax,20(%ebx); cmpxchgl %ecx,24(%ebx); movzbl "           \
              "3(%ebx),%esi; movswl 6(%ebx),%edi; addl %esi,%edi;"                                 \
              "addl %edi,28(%ebx); cmovcl 32(%ebx),%edx; shrdl $5,%edx,36(%ebx); mull 40(%ebx); "  \
              "bswap %eax; movl %eax,44(%ebx); loop 1b")                                           \
    X(b_over, "1: movl %es:(%ebx),%eax; addl %eax,%fs:4(%ebx); movl %gs:8(%ebx),%edx; xorl "       \
              "%edx,%ds:12(%ebx); movl %ecx,%esi; andl $15,%esi;"                                  \
              "addl %gs:(%ebx,%esi,4),%eax; movb %al,%fs:3(%ebx,%esi); pushl %es:8(%ebx); popl "   \
              "%fs:16(%ebx); loop 1b")
#define BODY_CODE(name, code)                                                                      \
    asm(".pushsection .text.snippet\n" #name ": " code "; int $0x30\n.popsection\n");              \
    extern uint8_t name[];
BODIES(BODY_CODE)
static const struct {
    const char *name;
    const uint8_t *code;
} bodies[] = {
#define BODY_ROW(name, code) {#name, name},
    BODIES(BODY_ROW)};

static void fill(void)
{
    for (uint32_t i = 0; i < 8192; i += 4)
        *(uint32_t *)(AREA + i) = i * 0x9e3779b1 >> 3;
    *(uint64_t *)(AREA + 4096 + 32) = 0;
}
/* Of the data; the stack holds addresses, which differ. */
static uint32_t sum(void)
{
    uint32_t h = 0;
    for (uint32_t i = 4096; i < 8192; i += 4)
        h = (h ^ *(uint32_t *)(AREA + i)) * 0x01000193;
    return h;
}

/* Data at AREA + 4096, stack growing down from there. */
static struct ctx body_ctx(unsigned i, unsigned user)
{
    struct ctx c = user ? user_ctx(bodies[i].code) : kernel_ctx(bodies[i].code);
    c.ebx = AREA + 4096;
    c.esp = AREA + 4096 - 64;
    c.ecx = 40;
    c.ebp = c.esp;
    fill();
    return c;
}

static void test_bases(void)
{
    static const uint32_t bases[] = {0x1000, AREA, 0x7ffff123, 0xfffff000, 0xc0000000, 0x12345};
    for (unsigned i = 0; i < sizeof bodies / sizeof *bodies; i++)
        for (unsigned user = 0; user < 2; user++) {
            struct ctx flat = body_ctx(i, user);
            trap_run(&flat);
            uint32_t want = sum();
            CHECK(flat.vector == VEC_EXIT, "%s flat: vector %#x at %#x", bodies[i].name,
                  flat.vector, flat.eip);
            for (unsigned b = 0; b < sizeof bases / 4; b++)
                for (unsigned which = 1; which < 16; which++) {
                    /* which: 1 DS, ES; 2 SS; 4 FS, GS; 8 CS. The data ones must agree where one
                     * register addresses both. */
                    uint32_t base = bases[b];
                    unsigned dpl = ACC_DPL(user * 3), rpl = user * 3;
                    gdt_set(0x40, descriptor(base, 0xfffff, ACC_DATA | dpl, FLAG_G | FLAG_D));
                    gdt_set(0x48, descriptor(base, 0xfffff, ACC_CODE | dpl, FLAG_G | FLAG_D));
                    struct ctx c = body_ctx(i, user);
                    bool fs = which & 4 && bodies[i].code == b_over;
                    if (which & 1) {
                        c.ds = c.es = 0x40 | rpl;
                        c.ebx -= base;
                    }
                    if (bodies[i].code == b_over) {
                        c.fs = c.gs = which & 1 ? 0x40 | rpl : (user ? UDS : KDS);
                        if (fs)
                            c.es = c.fs;
                    }
                    if (which & 2) {
                        c.ss = 0x40 | rpl;
                        c.esp -= base;
                        c.ebp = c.esp;
                    }
                    if (which & 8) {
                        c.cs = 0x48 | rpl;
                        c.eip -= base;
                    }
                    trap_run(&c);
                    uint32_t got = sum();
                    bool ok = c.vector == VEC_EXIT && c.eax == flat.eax && c.ecx == flat.ecx &&
                              !((c.eflags ^ flat.eflags) & EFL_ARITH);
                    ok &= got == want;

                    if (!ok)
                        fail("%s base %#x on %x, cpl %u: vector %#x error %#x eip %#x eax %#x/%#x "
                             "sum %#x/%#x",
                             bodies[i].name, base, which, user * 3, c.vector, c.error, c.eip, c.eax,
                             flat.eax, got, want);
                }
        }
}

/* A loop over segments that change under it: each reload counts. */
CODE(reload,
     "1: movl %edx,%es; addl %es:(%ebx),%eax; xchgl %edx,%esi; movl %edx,%fs; subl "
     "%fs:4(%ebx),%eax; loop 1b",
     "");
CODE(two_bases,
     "1: addl %fs:(%ebx),%eax; addl %gs:(%ebx),%edx; incl %fs:(%ebx); decl %gs:(%ebx); loop 1b",
     "");
static void test_reload(void)
{
    gdt_set(0x40, descriptor(AREA, 0xfffff, 0xf3, FLAG_D));
    gdt_set(0x48, descriptor(AREA + 256, 0xfffff, 0xf3, FLAG_D));
    for (unsigned user = 0; user < 2; user++) {
        for (uint32_t i = 0; i < 128; i++)
            ((uint32_t *)AREA)[i] = i * i * 7 + 1;
        uint32_t *a = (uint32_t *)AREA, *b = (uint32_t *)(AREA + 256), want = 0;
        uint32_t *e = a, *o = b;
        for (unsigned i = 0; i < 100; i++) {
            want += e[4];
            uint32_t *t = e;
            e = o, o = t;
            want -= e[5];
        }
        struct ctx c = user ? user_ctx(reload) : kernel_ctx(reload);
        c.edx = 0x43, c.esi = 0x4b, c.ebx = 16, c.ecx = 100;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT, "vector %#x", c.vector);
        CHECK_EQ(c.eax, want, "sum over changing segments");
        c = user ? user_ctx(two_bases) : kernel_ctx(two_bases);
        c.fs = 0x43, c.gs = 0x4b, c.ebx = 32, c.ecx = 500;
        uint32_t fa = a[8], ga = b[8], sa = 0, sb = 0;
        for (unsigned i = 0; i < 500; i++)
            sa += fa++, sb += ga--;
        trap_run(&c);
        CHECK(c.eax == sa && c.edx == sb && a[8] == fa && b[8] == ga, "FS and GS with bases");
        /* the same code with other bases */
        c = user ? user_ctx(two_bases) : kernel_ctx(two_bases);
        c.fs = 0x4b, c.gs = 0x43, c.ebx = 32, c.ecx = 3;
        sa = 3 * ga + 3, sb = 3 * fa - 3;
        trap_run(&c);
        CHECK(c.eax == sa && c.edx == sb, "FS and GS exchanged");
    }
}

/* --- descriptors: the hidden part lasts until the next load; the accessed bit --- */
CODE(load_es, "", "movl %ecx,%es");
CODE(use_es, "", "movl %es:(%ebx),%eax");
CODE(change_and_use,
     "movl %ecx,%es; movl %es:(%ebx),%eax; movb $0x10,gdt+0x40+3; movl %es:(%ebx),%edx; movl "
     "%ecx,%es; movl %es:(%ebx),%esi",
     "");
static void test_hidden(void)
{
    *(uint32_t *)(AREA + 0x40) = 111;
    *(uint32_t *)(AREA + 0x1040) = 222;
    for (unsigned user = 0; user < 2; user++) {
        gdt_set(0x40, descriptor(AREA, 0xfffff, 0xf2, FLAG_D));
        struct ctx c = user ? user_ctx(change_and_use) : kernel_ctx(change_and_use);
        c.ecx = 0x43, c.ebx = 0x40;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.eax == 111 && c.edx == 111 && c.esi == 222,
              "vector %#x: %u %u %u", c.vector, c.eax, c.edx, c.esi);
        CHECK_EQ((uint32_t)(gdt[8] >> 40) & 0xff, 0xf3, "accessed bit");
    }
    for (unsigned access = 0; access < 256; access++) {
        bool seg = access & 0x10, code = access & 8, present = access & 0x80;
        unsigned dpl = access >> 5 & 3;
        gdt_set(0x40, descriptor(AREA, 0xfffff, access, FLAG_D));
        for (unsigned k = 0; k < 4; k++) {
            unsigned cpl = k & 1 ? 3 : 0, rpl = k & 2 ? 3 : 0;
            struct ctx c = ring_ctx(cpl, load_es);
            c.ecx = 0x40 | rpl;
            trap_run(&c);
            bool conforming = code && access & 4;
            bool gp = !seg || (code && !(access & 2)) || (!conforming && (cpl > dpl || rpl > dpl));
            unsigned want = gp ? VEC_GP : present ? VEC_EXIT : VEC_NP;
            bool ok =
                c.vector == want && (want == VEC_EXIT ? c.es == (0x40 | rpl) : c.error == 0x40);
            CHECK(ok, "load of access %02x at cpl %u rpl %u: vector %#x error %#x, expected %#x",
                  access, cpl, rpl, c.vector, c.error, want);
            unsigned now = (unsigned)(gdt[8] >> 40) & 0xff;
            CHECK(now == (want == VEC_EXIT ? access | 1 : access), "access byte %02x became %02x",
                  access, now);
            gdt_set(0x40, descriptor(AREA, 0xfffff, access, FLAG_D));
        }
    }
}

/* SS: every access byte and privilege. */
CODE(load_ss, "movl %ss,%edx", "movl %ecx,%ss; movl %edx,%ss");
static void test_ss(void)
{
    for (unsigned access = 0; access < 256; access++) {
        unsigned dpl = access >> 5 & 3;
        gdt_set(0x40, descriptor(0, 0xfffff, access, FLAG_G | FLAG_D));
        for (unsigned cpl = 0; cpl < 4; cpl++)
            for (unsigned rpl = 0; rpl < 4; rpl++) {
                struct ctx c = ring_ctx(cpl, load_ss);
                c.ecx = 0x40 | rpl;
                trap_run(&c);
                bool data = (access & 0x1a) == 0x12;
                unsigned want = rpl != cpl || !data || dpl != cpl ? VEC_GP
                                : access & 0x80                   ? VEC_EXIT
                                                                  : VEC_SS;
                CHECK(c.vector == want && (want == VEC_EXIT || c.error == 0x40),
                      "SS with access %02x at cpl %u rpl %u: vector %#x error %#x, expected %#x",
                      access, cpl, rpl, c.vector, c.error, want);
            }
    }
}

/* --- the LDT, and LDS and kin --- */
CODE(ldt_use, "movl %ecx,%gs", "movl %gs:(%ebx),%eax");
CODE(les_use, "les (%ebx),%edi; lfs (%ebx),%esi; lgsw (%ebx),%dx; lss 8(%ebx),%esp",
     "movl %es:(%edi),%eax; addl %fs:(%esi),%eax; pushl %eax; popl %ecx");
static void test_ldt(void)
{
    ldt[1] = descriptor(AREA, 0xfff, 0xf3, FLAG_D);
    ldt[2] = descriptor(AREA + 4096, 0xfff, 0xf3, FLAG_D);
    *(uint32_t *)AREA = 5, *(uint32_t *)(AREA + 4096) = 6;
    gdt_set(SEL_LDT, descriptor((uint32_t)ldt, 3 * 8 - 1, 0x82, 0));
    asm volatile("lldt %w0" ::"r"(SEL_LDT));
    for (unsigned i = 1; i < 4; i++) {
        struct ctx c = user_ctx(ldt_use);
        c.ecx = i * 8 + 7, c.ebx = 0;
        trap_run(&c);
        if (i < 3)
            CHECK(c.vector == VEC_EXIT && c.eax == 4 + i, "LDT entry %u: vector %#x eax %u", i,
                  c.vector, c.eax);
        else
            CHECK(c.vector == VEC_GP && c.error == i * 8 + 4, "LDT entry beyond the limit: %#x %#x",
                  c.vector, c.error);
    }
    static struct {
        uint32_t off, sel, esp, ss;
    } far;
    far.off = 0, far.sel = 8 + 7;
    far.esp = (uint32_t)user_stack + 4096, far.ss = UDS;
    struct ctx c = user_ctx(les_use);
    c.ebx = (uint32_t)&far;
    trap_run(&c);
    CHECK(c.vector == VEC_EXIT && c.eax == 10 && c.ecx == 10 && c.esp == far.esp,
          "LES, LFS, LSS: vector %#x error %#x eax %u", c.vector, c.error, c.eax);
    CHECK_EQ(c.gs, 0, "GS by a 16-bit LGS");
    asm volatile("lldt %w0" ::"r"(0));
    c = user_ctx(ldt_use);
    c.ecx = 15;
    trap_run(&c);
    CHECK(c.vector == VEC_GP && c.error == 12, "no LDT: %#x %#x", c.vector, c.error);
}

static const struct test tests[] = {
    {"limits", test_limits, "!no segment limits"},
    {"bases", test_bases, NULL},
    {"reload", test_reload, NULL},
    {"hidden", test_hidden, NULL},
    {"ss", test_ss, NULL},
    {"ldt", test_ldt, NULL},
};

void guest_main(void)
{
    pic_init();
    WRITE_CR(0, (READ_CR(0) & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR);
    asm volatile("fninit");
    RUN_TESTS(tests);
}
