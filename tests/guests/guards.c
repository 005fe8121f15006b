/* SPDX-License-Identifier: MIT */
/* guards.c: what keeps a kernel out of its users' pages and users from what is the kernel's: SMEP,
 * SMAP, UMIP (SDM vol. 3, 4.6 and 2.5), and RDTSCP, RDPID, INVPCID. */
#include "lib/guest.h"

#define AREA  0x1400000u /* the only user pages while keep_out() holds: data, ... */
#define CODE3 (AREA + 0x1000)
#define STACK (AREA + 0x3000)
#define LAST  (AREA + 0x3fff)
#define STAC  ".byte 0x0f,0x01,0xcb;"
#define CLAC  ".byte 0x0f,0x01,0xca;"

static void keep_out(bool pae, uint32_t bits)
{
    paging_on(pae);
    for (uint32_t la = 0; la < 0x2000000; la += 0x1000)
        if (la < AREA || la > LAST)
            pte_set_quiet(la, pte_get(la) & ~(uint64_t)PTE_U);
    WRITE_CR(3, READ_CR(3));
    WRITE_CR(4, READ_CR(4) | bits);
}

static void let_in(void)
{
    WRITE_CR(4, READ_CR(4) & ~(CR4_SMEP | CR4_SMAP | CR4_UMIP));
    paging_off();
}

static void in_both_modes(void (*test)(void), uint32_t bits)
{
    for (unsigned pae = 0; pae < 2; pae++) {
        keep_out(pae, bits);
        test();
        let_in();
    }
}

static struct ctx at(const void *code, uint32_t flags)
{
    struct ctx c = kernel_ctx(code);
    c.ebx = AREA;
    c.eflags |= flags;
    return c;
}

/* --- SMAP --- */
CODE(touch, "", "movl (%ebx),%eax");
CODE(store, "", "movl %eax,(%ebx)");
CODE(add, "", "lock; addl $1,(%ebx)");
CODE(open_close, STAC "movl (%ebx),%eax; incl 4(%ebx);" CLAC, "movl (%ebx),%eax");
CODE(open_loop, "movl $1000,%ecx; 1:" STAC "incl (%ebx);" CLAC "incl stray; loop 1b;",
     "incl (%ebx)");
CODE(copy, "movl $AREA,%edi; movl $stray,%esi; movl $64,%ecx; cld", "rep movsb");
CODE(copy_open, STAC "movl %ebx,%edi; movl $stray,%esi; movl $4096,%ecx; cld; rep movsb;" CLAC,
     "movb %al,(%ebx)");
CODE(by_popf,
     "pushfl; orl $0x40000,(%esp); popfl; incl (%ebx); pushfl; andl $~0x40000,(%esp); popfl",
     "incl (%ebx)");
asm(".globl AREA\nAREA = 0x1400000");
uint32_t stray[1024];

static void refused(const char *what, const void *code, const void *where, uint32_t error)
{
    struct ctx c = at(code, 0);
    trap_run(&c);
    expect(&c, VEC_PF, error, where, what);
    CHECK_EQ(c.cr2, AREA, what);
}

static void smap(void)
{
    volatile uint32_t *area = (void *)AREA;
    refused("read", touch, touch_at, PF_P);
    refused("write", store, store_at, PF_P | PF_W);
    refused("locked add", add, add_at, PF_P | PF_W);
    refused("string", copy, copy_at, PF_P | PF_W);
    for (unsigned i = 0; i < 20; i++) {
        refused("read after CLAC", open_close, open_close_at, PF_P);
        refused("written after CLAC", open_loop, open_loop_at, PF_P | PF_W);
        refused("written after a string", copy_open, copy_open_at, PF_P | PF_W);
        refused("written after POPF", by_popf, by_popf_at, PF_P | PF_W);
    }
    struct ctx c = at(touch, EFL_AC);
    trap_run(&c);
    CHECK_EQ(c.vector, VEC_EXIT, "read with AC");
    CHECK(trap_flags & EFL_AC, "delivery leaves AC alone");
    c = at(store, EFL_AC);
    c.eax = 77;
    trap_run(&c);
    CHECK_EQ(c.vector, VEC_EXIT, "write with AC");
    asm volatile(STAC ::: "memory");
    uint32_t seen = *area;
    asm volatile(CLAC ::: "memory");
    CHECK_EQ(seen, 77, "what was written");
}

/* The kernel's own reads of a descriptor table are never exempt. */
CODE(load_ldt, STAC "movl $7,%eax", "movw %ax,%es");
static void smap_implicit(void)
{
    asm volatile(STAC ::: "memory");
    *(volatile uint64_t *)AREA = descriptor(0, 0xfffff, ACC_DATA | ACC_DPL(3), FLAG_G | FLAG_D);
    asm volatile(CLAC ::: "memory");
    gdt_set(SEL_FREE, descriptor(AREA, 63, 0x82, 0));
    asm volatile("lldt %%ax" ::"a"(SEL_FREE));
    struct ctx c = at(load_ldt, 0);
    trap_run(&c);
    expect(&c, VEC_PF, PF_P, load_ldt_at, "descriptor in a user's page");
    asm volatile("lldt %%ax" ::"a"(0));
}

/* Users are not affected, and AC is theirs for alignment. */
extern uint8_t user_code[], user_code_end[];
asm(".pushsection .text\nuser_code: movl (%ebx),%eax; movl %eax,4(%ebx); incl (%ebx); int $0x30\n"
    "user_code_end:\n.popsection");
static void smap_user(void)
{
    asm volatile(STAC ::: "memory");
    memcpy((void *)CODE3, user_code, (size_t)(user_code_end - user_code));
    *(volatile uint32_t *)AREA = 41;
    asm volatile(CLAC ::: "memory");
    struct ctx c = user_ctx((void *)CODE3);
    c.esp = STACK + 0x800;
    c.ebx = AREA;
    trap_run(&c);
    CHECK_EQ(c.vector, VEC_EXIT, "user");
    CHECK_EQ(c.eax, 41, "what the user reads");
}

/* A mapping that changes while it is open. */
static void smap_remap(void)
{
    uint64_t pte = pte_get(AREA);
    WRITE_CR(0, READ_CR(0) | CR0_WP);
    for (unsigned i = 0; i < 10; i++) {
        struct ctx c = at(store, EFL_AC);
        c.eax = i;
        trap_run(&c);
        CHECK_EQ(c.vector, VEC_EXIT, "store");
        pte_set(AREA, pte & ~(uint64_t)PTE_W);
        c = at(store, EFL_AC);
        trap_run(&c);
        expect(&c, VEC_PF, PF_P | PF_W, store_at, "read-only");
        pte_set(AREA, pte & ~(uint64_t)PTE_U);
        c = at(store, 0);
        trap_run(&c);
        CHECK_EQ(c.vector, VEC_EXIT, "a page of the supervisor's");
        pte_set(AREA, pte);
        refused("the user's again", store, store_at, PF_P | PF_W);
    }
}

static void test_smap(void)
{
    in_both_modes(smap, CR4_SMAP);
}
static void test_smap_implicit(void)
{
    in_both_modes(smap_implicit, CR4_SMAP);
}
static void test_smap_user(void)
{
    in_both_modes(smap_user, CR4_SMAP | CR4_SMEP);
}
static void test_smap_remap(void)
{
    in_both_modes(smap_remap, CR4_SMAP);
}

CODE(stac_here, "", STAC "nop");
CODE(clac_here, "", CLAC "nop");
CODE(stac_66, "", ".byte 0x66;" STAC);
CODE(stac_rep, "", ".byte 0xf3;" STAC);
static void test_stac(void)
{
    for (unsigned cpl = 0; cpl < 4; cpl++) {
        struct ctx c = ring_ctx(cpl, stac_here);
        trap_run(&c);
        if (cpl)
            expect(&c, VEC_UD, 0, stac_here_at, "STAC");
        else
            CHECK(c.eflags & EFL_AC, "STAC sets AC");
        c = ring_ctx(cpl, clac_here);
        c.eflags |= EFL_AC;
        trap_run(&c);
        if (cpl)
            expect(&c, VEC_UD, 0, clac_here_at, "CLAC");
        else
            CHECK(!(c.eflags & EFL_AC), "CLAC clears AC");
    }
    struct ctx c = kernel_ctx(stac_66);
    trap_run(&c);
    expect(&c, VEC_UD, 0, stac_66_at, "66 STAC");
    c = kernel_ctx(stac_rep);
    trap_run(&c);
    expect(&c, VEC_UD, 0, stac_rep_at, "F3 STAC");
}

/* --- SMEP --- */
CODE(call_it, "", "call *%ebx");
static void smep(void)
{
    asm volatile(STAC ::: "memory");
    *(volatile uint8_t *)CODE3 = 0xc3;
    asm volatile(CLAC ::: "memory");
    for (unsigned i = 0; i < 8; i++) {
        struct ctx c = at(call_it, i & 1 ? EFL_AC : 0);
        c.ebx = CODE3;
        trap_run(&c);
        expect(&c, VEC_PF, PF_P | PF_I, (void *)CODE3, "fetch");
        CHECK_EQ(c.cr2, CODE3, "fetch");
        WRITE_CR(4, READ_CR(4) & ~CR4_SMEP);
        c = at(call_it, 0);
        c.ebx = CODE3;
        trap_run(&c);
        CHECK_EQ(c.vector, VEC_EXIT, "without SMEP");
        WRITE_CR(4, READ_CR(4) | CR4_SMEP);
    }
}
static void test_smep(void)
{
    in_both_modes(smep, CR4_SMEP | CR4_SMAP);
}

/* --- UMIP --- */
CODE(do_sgdt, "", "sgdt -64(%esp)");
CODE(do_sidt, "", "sidt -64(%esp)");
CODE(do_sldt, "", "sldt %eax");
CODE(do_str, "", "str -64(%esp)");
CODE(do_smsw, "", "smsw %eax");
static void test_umip(void)
{
    static const struct {
        const char *name;
        const uint8_t *code, *where;
    } shown[] = {
        {"SGDT", do_sgdt, do_sgdt_at}, {"SIDT", do_sidt, do_sidt_at}, {"SLDT", do_sldt, do_sldt_at},
        {"STR", do_str, do_str_at},    {"SMSW", do_smsw, do_smsw_at},
    };
    for (unsigned n = 0; n < sizeof shown / sizeof shown[0]; n++)
        for (unsigned cpl = 0; cpl < 4; cpl++)
            for (unsigned on = 0; on < 2; on++) {
                WRITE_CR(4, on ? READ_CR(4) | CR4_UMIP : READ_CR(4) & ~CR4_UMIP);
                struct ctx c = ring_ctx(cpl, shown[n].code);
                trap_run(&c);
                if (on && cpl)
                    expect(&c, VEC_GP, 0, shown[n].where, shown[n].name);
                else
                    CHECK_EQ(c.vector, VEC_EXIT, shown[n].name);
            }
    WRITE_CR(4, READ_CR(4) & ~CR4_UMIP);
}

/* --- TSC_AUX --- */
CODE(do_rdtscp, "", "rdtscp");
CODE(do_rdpid, "", ".byte 0xf3,0x0f,0xc7,0xfb"); /* rdpid ebx */
CODE(aux_write, "movl $0xc0000103,%ecx", "wrmsr");
static void test_tsc_aux(void)
{
    wrmsr(MSR_TSC_AUX, 0x81234567);
    CHECK_EQ(rdmsr(MSR_TSC_AUX), 0x81234567, "TSC_AUX");
    for (unsigned cpl = 0; cpl < 4; cpl += 3) {
        uint64_t before = rdtsc();
        struct ctx c = ring_ctx(cpl, do_rdtscp);
        trap_run(&c);
        uint64_t got = (uint64_t)c.edx << 32 | c.eax;
        CHECK(c.vector == VEC_EXIT && got >= before && got <= rdtsc(), "RDTSCP at cpl %u", cpl);
        CHECK_EQ(c.ecx, 0x81234567, "RDTSCP");
        c = ring_ctx(cpl, do_rdpid);
        trap_run(&c);
        CHECK_EQ(c.ebx, 0x81234567, "RDPID");
        WRITE_CR(4, READ_CR(4) | CR4_TSD);
        c = ring_ctx(cpl, do_rdtscp);
        trap_run(&c);
        WRITE_CR(4, READ_CR(4) & ~CR4_TSD);
        if (cpl)
            expect(&c, VEC_GP, 0, do_rdtscp_at, "RDTSCP with TSD");
        else
            CHECK_EQ(c.vector, VEC_EXIT, "RDTSCP with TSD at CPL 0");
    }
    struct ctx c = kernel_ctx(aux_write);
    c.edx = 1;
    trap_run(&c);
    expect(&c, VEC_GP, 0, aux_write_at, "a reserved bit of TSC_AUX");
}

/* --- INVPCID --- */
CODE(do_invpcid, "", ".byte 0x66,0x0f,0x38,0x82,0x03"); /* invpcid eax, [ebx] */
static void invpcid(const char *what, uint32_t type, uint64_t pcid, uint64_t la, int vector)
{
    uint64_t d[2] = {pcid, la};
    struct ctx c = kernel_ctx(do_invpcid);
    c.eax = type;
    c.ebx = (uint32_t)d;
    trap_run(&c);
    if (vector == VEC_EXIT)
        CHECK_EQ(c.vector, VEC_EXIT, what);
    else
        expect(&c, (unsigned)vector, 0, do_invpcid_at, what);
}
static void test_invpcid(void)
{
    paging_on(true);
    volatile uint32_t *page = (void *)AREA;
    uint64_t pte = pte_get(AREA);
    for (unsigned type = 0; type < 4; type++) {
        *page = type;
        pte_set_quiet(AREA, pte_get(AREA + 0x1000));
        invpcid("types", type, 0, AREA, VEC_EXIT);
        *page = 99;
        CHECK_EQ(*(volatile uint32_t *)(AREA + 0x1000), 99, "the other frame");
        pte_set(AREA, pte);
        CHECK_EQ(*page, type, "the frame");
    }
    invpcid("type 4", 4, 0, 0, VEC_GP);
    invpcid("reserved bits", 2, 0x1000, 0, VEC_GP);
    invpcid("a PCID without PCIDE", 0, 1, 0, VEC_GP);
    invpcid("a PCID without PCIDE", 1, 1, 0, VEC_GP);
    invpcid("a PCID that is not looked at", 2, 1, 0, VEC_EXIT);
    struct ctx c = user_ctx(do_invpcid);
    c.ebx = (uint32_t)user_stack;
    trap_run(&c);
    expect(&c, VEC_GP, 0, do_invpcid_at, "INVPCID at CPL 3");
    paging_off();
}

void guest_main(void)
{
    static const struct test tests[] = {
        {"stac", test_stac, "takes STAC with prefixes"},
        {"smap", test_smap, "tells of the read of a read-modify-write"},
        {"smap_implicit", test_smap_implicit, "lets EFLAGS.AC exempt implicit accesses"},
        {"smap_user", test_smap_user, NULL},
        {"smap_remap", test_smap_remap, NULL},
        {"smep", test_smep, NULL},
        {"umip", test_umip, NULL},
        {"tsc_aux", test_tsc_aux, "has no IA32_TSC_AUX for 32-bit processors"},
        {"invpcid", test_invpcid, "!has no INVPCID"},
    };
    cpu_init();
    RUN_TESTS(tests);
}
