/* SPDX-License-Identifier: MIT */
/* paging.c: every combination of page-table bits against the rules of SDM vol. 3, 4.6 and 4.7, in
 * both formats; then what translation caches may and may not do (4.10), aliases, crossings, address
 * spaces. */
#include "lib/guest.h"

#define VA    0x40000000u /* the page under test; its PDE is ours alone */
#define FRAME 0x1400000u  /* 4 MiB-aligned, so that a big page maps it too */

static uint32_t table32[1024] __attribute__((aligned(4096)));
static uint64_t table64[512] __attribute__((aligned(4096)));
static bool pae, qemu;

static uint64_t frame_code(void)
{
    return 0x90900030cd9090ull | 0; /* nop; nop; int $0x30 */
}

static void table_set(unsigned i, uint64_t v)
{
    if (pae)
        ((volatile uint64_t *)table64)[i] = v;
    else
        ((volatile uint32_t *)table32)[i] = (uint32_t)v;
    asm volatile("" ::: "memory");
}
static uint64_t table_get(unsigned i)
{
    return pae ? ((volatile uint64_t *)table64)[i] : ((volatile uint32_t *)table32)[i];
}
static uint32_t table_address(void)
{
    return pae ? (uint32_t)table64 : (uint32_t)table32;
}
#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U | PTE_A)
#define PAGE_FLAGS  (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)

/* Maps VA .. VA + 16 pages to FRAME .. one to one. */
static void map_default(void)
{
    for (unsigned i = 0; i < 16; i++)
        table_set(i, (FRAME + i * 4096) | PAGE_FLAGS);
    pde_set(VA, table_address() | TABLE_FLAGS);
}

CODE(do_read, "", "movl (%ebx),%eax");
CODE(do_write, "", "movl %eax,64(%ebx)");
CODE(do_rmw, "", "addl %eax,64(%ebx)");

enum { READ, WRITE, FETCH };

struct perm {
    uint64_t pde, pte;
    bool big, wp, nxe, user;
    int access;
};

/* The page-fault error code that the access must give, or -1; the entries after it. */
static int model(const struct perm *p, uint64_t *pde, uint64_t *pte)
{
    int err = (p->user ? (int)PF_U : 0) | (p->access == WRITE ? (int)PF_W : 0) |
              (p->access == FETCH && pae && p->nxe ? (int)PF_I : 0);
    uint64_t reserved = pae ? 1ull << 60 | (p->nxe ? 0 : PTE_NX) : 0;
    *pde = p->pde, *pte = p->pte;
    if (!(p->pde & PTE_P))
        return err;
    if (p->pde & (reserved | (p->big ? 1u << (pae ? 13 : 21) : 0)))
        return err | PF_R | PF_P;
    uint64_t both = p->big ? p->pde : p->pde & p->pte;
    uint64_t either = p->big ? p->pde : p->pde | p->pte;
    if (!p->big) {
        if (!(p->pte & PTE_P))
            return err;
        if (p->pte & reserved)
            return err | PF_R | PF_P;
    }
    bool denied = p->user && !(both & PTE_U);
    denied |= p->access == WRITE && !(both & PTE_W) && (p->user || p->wp);
    denied |= p->access == FETCH && either & PTE_NX;
    if (denied)
        return err | PF_P;
    *pde |= PTE_A;
    uint64_t *leaf = p->big ? pde : pte;
    *leaf |= PTE_A | (p->access == WRITE ? PTE_D : 0);
    return -1;
}

static void one(const struct perm *p)
{
    uint64_t want_pde, want_pte;
    int err = model(p, &want_pde, &want_pte);
    *(volatile uint64_t *)FRAME = frame_code();
    *(volatile uint32_t *)(FRAME + 64) = 0;
    table_set(0, p->pte);
    pde_set(VA, p->pde);
    const uint8_t *code = p->access == READ ? do_read : p->access == WRITE ? do_write : (void *)VA;
    struct ctx c = p->user ? user_ctx(code) : kernel_ctx(code);
    c.ebx = VA;
    c.eax = 0x13572468;
    WRITE_CR(0, p->wp ? READ_CR(0) | CR0_WP : READ_CR(0) & ~CR0_WP);
    trap_run(&c);
    WRITE_CR(0, READ_CR(0) & ~CR0_WP);
    uint64_t got_pde = pde_get(VA), got_pte = table_get(0);
    int got = c.vector == VEC_PF ? (int)c.error : c.vector == VEC_EXIT ? -1 : -2;
    if (qemu && got >= 0 && got & PF_R)
        got |= PF_P; /* QEMU leaves it out */
    bool bad =
        got != err ||
        (err >= 0 && (c.cr2 != VA + (p->access == WRITE ? 64 : 0) || c.eip != (uint32_t)code));
    if (err < 0) {
        bad |= got_pde != want_pde || got_pte != want_pte;
        bad |= p->access == WRITE && *(volatile uint32_t *)(FRAME + 64) != 0x13572468;
        bad |= p->access == READ && c.eax != (uint32_t)frame_code();
    } else {
        /* the accessed bit of a table that was walked to a fault may be set or not */
        bad |= (got_pde | PTE_A) != (p->pde | PTE_A) || got_pte != p->pte;
        bad |= p->big && got_pde != p->pde;
    }
    if (bad)
        fail("%s pde %08x%08x pte %08x%08x wp %d nxe %d cpl %d %s: error %#x (vector %#x cr2 %#x), "
             "expected %#x;"
             " pde now %#x pte %#x",
             pae ? "PAE" : "2-level", (uint32_t)(p->pde >> 32), (uint32_t)p->pde,
             (uint32_t)(p->pte >> 32), (uint32_t)p->pte, p->wp, p->nxe, p->user * 3,
             p->access == READ    ? "read"
             : p->access == WRITE ? "write"
                                  : "fetch",
             (uint32_t)got, c.vector, c.cr2, (uint32_t)err, (uint32_t)got_pde, (uint32_t)got_pte);
}

static void each_access(struct perm *p)
{
    for (unsigned k = 0; k < 12; k++) {
        p->wp = k & 1, p->user = k & 2, p->access = (int)(k >> 2);
        one(p);
    }
}

static uint64_t bits(unsigned k)
{
    return (k & 1 ? PTE_P : 0) | (k & 2 ? PTE_W : 0) | (k & 4 ? PTE_U : 0) | (k & 8 ? PTE_NX : 0);
}

static void permutations(bool nxe)
{
    struct perm p = {.nxe = nxe};
    unsigned n = pae ? 16 : 8;
    for (unsigned i = 0; i < n; i++)
        for (unsigned j = 0; j < n; j++)
            for (unsigned ad = 0; ad < 8; ad++) {
                /* absent tables and absent pages: the other bits do not matter, try a few */
                if ((!(i & 1) || !(j & 1)) && ad && ad != 7)
                    continue;
                p.big = false;
                p.pde = table_address() | bits(i) | (ad & 1 ? PTE_A : 0);
                p.pte = FRAME | bits(j) | (ad & 2 ? PTE_A : 0) | (ad & 4 ? PTE_D : 0);
                each_access(&p);
            }
    for (unsigned i = 0; i < n; i++)
        for (unsigned ad = 0; ad < 4; ad++) {
            p.big = true;
            p.pte = 0;
            p.pde = FRAME | PTE_PS | bits(i) | (ad & 1 ? PTE_A : 0) | (ad & 2 ? PTE_D : 0);
            each_access(&p);
        }
    /* reserved bits */
    p.big = true;
    p.pde = FRAME | PTE_PS | PAGE_FLAGS | 1u << (pae ? 13 : 21);
    each_access(&p);
    if (!pae)
        return;
    p.pde = FRAME | PTE_PS | PAGE_FLAGS | 1ull << 60;
    each_access(&p);
    p.big = false;
    p.pde = table_address() | TABLE_FLAGS | 1ull << 60, p.pte = FRAME | PAGE_FLAGS;
    each_access(&p);
    p.pde = table_address() | TABLE_FLAGS, p.pte = FRAME | PAGE_FLAGS | 1ull << 60;
    each_access(&p);
    p.pte = FRAME | PTE_P | 1ull << 60;
    each_access(&p);
}

static void test_legacy(void)
{
    pae = false;
    paging_on(false);
    permutations(false);
    paging_off();
}

static bool has_nx(void)
{
    uint32_t r[4];
    cpuid(0x80000000, r);
    if (r[0] < 0x80000001)
        return false;
    cpuid(0x80000001, r);
    return r[3] & 1u << 20;
}

static void test_pae(void)
{
    pae = true;
    paging_on(true);
    permutations(false);
    paging_off();
}
static void test_pae_nx(void)
{
    if (!has_nx()) {
        print("no NX\n");
        return;
    }
    pae = true;
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    paging_on(true);
    permutations(true);
    paging_off();
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(uint64_t)EFER_NXE);
}

/* --- the rest runs in both formats --- */
static uint32_t peek(uint32_t va)
{
    return *(volatile uint32_t *)va;
}
static void poke(uint32_t va, uint32_t v)
{
    *(volatile uint32_t *)va = v;
}
static struct ctx access(const uint8_t *code, uint32_t va, bool user)
{
    struct ctx c = user ? user_ctx(code) : kernel_ctx(code);
    c.ebx = va;
    c.eax = 0x2468ace1;
    trap_run(&c);
    return c;
}

static unsigned faults;
static uint64_t repair;
static unsigned repair_index;
static void on_fault(struct ctx *c)
{
    if (++faults > 3 || c->cr2 - VA >= 16 * 4096) {
        trap_stop = true;
        return;
    }
    table_set(repair_index, repair); /* no INVLPG: a fault leaves no stale entry */
}

static void tlb_rules(void)
{
    map_default();
    for (unsigned i = 0; i < 8; i++)
        poke(FRAME + i * 4096, 100 + i);
    for (unsigned round = 0; round < 20; round++) {
        unsigned i = round % 8;
        table_set(0, (FRAME + i * 4096) | PAGE_FLAGS);
        invlpg(VA + 0x123);
        CHECK_EQ(peek(VA), 100 + i, "after INVLPG");
        table_set(0, (FRAME + ((i + 3) & 7) * 4096) | PAGE_FLAGS);
        WRITE_CR(3, READ_CR(3));
        CHECK_EQ(peek(VA), 100 + ((i + 3) & 7), "after a CR3 load");
        CHECK_EQ(access(do_read, VA, true).eax, 100 + ((i + 3) & 7), "user, after a CR3 load");
    }
    /* rights taken away, then given back, with INVLPG each time */
    for (unsigned round = 0; round < 6; round++) {
        pte_set(0x1500000, 0x1500000 | PTE_P | PTE_U | PTE_W);
        table_set(0, FRAME | PTE_P | PTE_U | PTE_A);
        invlpg(VA);
        CHECK_EQ(access(do_write, VA, true).vector, VEC_PF, "write to a page made read-only");
        CHECK_EQ(access(do_read, VA, true).vector, VEC_EXIT, "read of a page made read-only");
        table_set(0, FRAME | PTE_P | PTE_W | PTE_A);
        invlpg(VA);
        CHECK_EQ(access(do_read, VA, true).vector, VEC_PF, "user read of a supervisor page");
        CHECK_EQ(access(do_write, VA, false).vector, VEC_EXIT, "supervisor write");
        table_set(0, 0);
        invlpg(VA);
        CHECK_EQ(access(do_read, VA, false).vector, VEC_PF, "read of an absent page");
        table_set(0, FRAME | PAGE_FLAGS);
        CHECK_EQ(access(do_write, VA, true).vector, VEC_EXIT,
                 "a page made present needs no INVLPG");
    }
}

static void fault_repair(void)
{
    map_default();
    irq_handler[VEC_PF] = on_fault;
    static const uint64_t bad[] = {0, FRAME | PTE_P | PTE_A, FRAME | PTE_P | PTE_W | PTE_A,
                                   FRAME | PTE_P | PTE_U | PTE_A, FRAME | PAGE_FLAGS | 1ull << 60};
    for (unsigned i = 0; i < (pae ? 5 : 4); i++)
        for (unsigned user = 0; user < 2; user++) {
            table_set(0, bad[i]);
            invlpg(VA);
            WRITE_CR(0, READ_CR(0) | CR0_WP);
            faults = 0, repair = FRAME | PAGE_FLAGS, repair_index = 0;
            struct ctx c = access(do_rmw, VA, user);
            WRITE_CR(0, READ_CR(0) & ~CR0_WP);
            bool needs = user || !(bad[i] & PTE_W) || !(bad[i] & PTE_P) || bad[i] >> 60;
            CHECK(c.vector == VEC_EXIT && faults == needs,
                  "repaired fault %u (user %u): vector %#x after %u faults", i, user, c.vector,
                  faults);
        }
    /* rights added without INVLPG may cost one spurious fault, no more */
    table_set(0, FRAME | PTE_P | PTE_U | PTE_A);
    invlpg(VA);
    CHECK_EQ(access(do_read, VA, true).vector, VEC_EXIT, "read");
    table_set(0, FRAME | PAGE_FLAGS);
    faults = 0;
    CHECK_EQ(access(do_write, VA, true).vector, VEC_EXIT, "write after rights were added");
    CHECK(faults <= 1, "%u spurious faults", faults);
    irq_handler[VEC_PF] = NULL;
}

static void accessed_dirty(void)
{
    map_default();
    for (unsigned round = 0; round < 10; round++)
        for (unsigned user = 0; user < 2; user++) {
            table_set(0, FRAME | PTE_P | PTE_W | PTE_U);
            invlpg(VA);
            CHECK(!(table_get(0) & (PTE_A | PTE_D)), "A or D set without an access");
            access(do_read, VA, user);
            CHECK_EQ(table_get(0) & (PTE_A | PTE_D), PTE_A, "after a read");
            access(do_read, VA, user);
            CHECK_EQ(table_get(0) & (PTE_A | PTE_D), PTE_A, "after two reads");
            access(do_write, VA, user);
            CHECK_EQ(table_get(0) & (PTE_A | PTE_D), PTE_A | PTE_D, "after a write");
            /* a kernel's page ageing: clear, flush, look again */
            table_set(0, table_get(0) & ~(uint64_t)(PTE_A | PTE_D));
            WRITE_CR(3, READ_CR(3));
            access(do_rmw, VA, user);
            CHECK_EQ(table_get(0) & (PTE_A | PTE_D), PTE_A | PTE_D, "after a read-modify-write");
            table_set(0, table_get(0) & ~(uint64_t)PTE_D);
            invlpg(VA);
            access(do_read, VA, user);
            CHECK_EQ(table_get(0) & PTE_D, 0, "D after a read");
            access(do_write, VA, user);
            CHECK_EQ(table_get(0) & PTE_D, PTE_D, "D after a write");
            /* the table's entry in the directory, and neighbours */
            table_set(1, (FRAME + 4096) | PTE_P | PTE_W | PTE_U);
            pde_set(VA, table_address() | PTE_P | PTE_W | PTE_U);
            access(do_read, VA, user);
            CHECK(pde_get(VA) & PTE_A, "A of the directory's entry");
            CHECK(!(table_get(1) & PTE_A), "A of a page that was not touched");
        }
}

/* Aliases of one frame: what goes in at one address comes out at all others. */
static void aliases(void)
{
    map_default();
    for (unsigned i = 0; i < 8; i++)
        table_set(i, FRAME | PAGE_FLAGS);
    table_set(8, FRAME | PTE_P | PTE_U);
    WRITE_CR(3, READ_CR(3));
    for (unsigned round = 0; round < 64; round++) {
        unsigned w = round % 8, r = round * 5 % 9;
        struct ctx c = round & 1 ? user_ctx(do_write) : kernel_ctx(do_write);
        c.ebx = VA + w * 4096;
        c.eax = round * 0x01010101;
        trap_run(&c);
        CHECK_EQ(peek(VA + r * 4096 + 64), round * 0x01010101, "alias");
        CHECK_EQ(peek(FRAME + 64), round * 0x01010101, "frame");
        poke(FRAME, round);
        CHECK_EQ(access(do_read, VA + r * 4096, !(round & 1)).eax, round, "user alias");
    }
    /* a counter through changing aliases */
    poke(FRAME + 64, 0);
    for (unsigned i = 0; i < 800; i++)
        *(volatile uint32_t *)(VA + (i & 7) * 4096 + 64) += i & 7;
    CHECK_EQ(peek(FRAME + 64), 2800, "counter");
}

CODE(x_movl, "", "movl (%ebx),%eax");
CODE(x_store, "", "movl %eax,(%ebx)");
CODE(x_rmw, "", "addl %eax,(%ebx)");
CODE(x_movq, "", "movq %mm0,(%ebx)");
CODE(x_movups, "", "movups %xmm0,(%ebx)");
CODE(x_fstpt, "fld1", "fstpt (%ebx)");
CODE(x_push, "leal 4(%ebx),%esp", "pushl %eax");
CODE(x_pusha, "leal 8(%ebx),%esp", "pushal");
CODE(x_fxsave, "andl $-16,%ebx", "fxsave -256(%ebx)");
CODE(x_cmpxchg8b, "", "cmpxchg8b (%ebx)");
CODE(x_fnsave, "", "fnsave -100(%ebx)");

static void crossing(void)
{
    static const struct {
        const char *name;
        const uint8_t *code, *at;
        bool write;
        uint8_t size;
    } t[] = {{"load", x_movl, x_movl_at, false, 4},
             {"store", x_store, x_store_at, true, 4},
             {"add", x_rmw, x_rmw_at, true, 4},
             {"movq", x_movq, x_movq_at, true, 8},
             {"movups", x_movups, x_movups_at, true, 16},
             {"fstpt", x_fstpt, x_fstpt_at, true, 10},
             {"push", x_push, x_push_at, true, 4},
             {"cmpxchg8b", x_cmpxchg8b, x_cmpxchg8b_at, true, 8},
             {"pusha", x_pusha, x_pusha_at, true, 4},
             {"fxsave", x_fxsave, x_fxsave_at, true, 4},
             {"fnsave", x_fnsave, x_fnsave_at, true, 4}};
    uint32_t edge = VA + 4096;
    for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
        for (unsigned user = 0; user < 2; user++)
            for (unsigned how = 0; how < 3; how++) {
                /* at CPL 0 the handler would need the stack that is away */
                if (!user && (t[i].code == x_push || t[i].code == x_pusha))
                    continue;

                for (unsigned before = 1; before < t[i].size; before++) {
                    /* how 0: second page absent; 1: second read-only; 2: first absent */
                    map_default();
                    table_set(how == 2 ? 0 : 1,
                              how == 1 ? (FRAME + 4096) | PTE_P | PTE_U | PTE_A : 0);
                    WRITE_CR(3, READ_CR(3));
                    WRITE_CR(0, READ_CR(0) | CR0_WP);
                    memset((void *)(FRAME + 3584), 0x77, 1024);
                    struct ctx c = user ? user_ctx(t[i].code) : kernel_ctx(t[i].code);
                    c.ebx = edge - before;
                    trap_run(&c);
                    WRITE_CR(0, READ_CR(0) & ~CR0_WP);
                    asm volatile("fninit");
                    if (how == 1 && !t[i].write) {
                        CHECK_EQ(c.vector, VEC_EXIT, t[i].name);
                        continue;
                    }
                    bool ok = c.vector == VEC_PF && c.eip == (uint32_t)t[i].at;
                    if (how == 2)
                        ok &= c.cr2 < edge && c.cr2 >= edge - 512;
                    else /* PUSHA's pushes are accesses of their own */
                        ok &= c.cr2 == edge || (t[i].code == x_pusha && c.cr2 - edge < 4);
                    uint32_t want = (how == 1 ? PF_P : 0) | (user ? PF_U : 0);
                    ok &= (c.error & ~PF_W) == want;
                    if (t[i].write && t[i].code != x_rmw && t[i].code != x_cmpxchg8b)
                        ok &= (c.error & PF_W) != 0;
                    CHECK(ok,
                          "%s crossing after %u (how %u cpl %u): vector %#x error %#x cr2 %#x eip "
                          "%#x",
                          t[i].name, before, how, user * 3, c.vector, c.error, c.cr2, c.eip);
                    /* what is one store must not be done in part (an 80-bit one is two on real
                     * processors) */
                    if ((t[i].size > 4 && t[i].code != x_fstpt) || t[i].code == x_store ||
                        t[i].code == x_rmw || t[i].code == x_push)
                        for (uint32_t k = 3584; k < 4608; k++)
                            if (*(uint8_t *)(FRAME + k) != 0x77) {
                                fail("%s: part was stored at %#x", t[i].name, k);
                                break;
                            }
                }
            }
}

/* Crossing into a page whose frame is elsewhere. */
static void crossing_frames(void)
{
    map_default();
    table_set(1, (FRAME + 9 * 4096) | PAGE_FLAGS);
    WRITE_CR(3, READ_CR(3));
    for (unsigned k = 0; k < 16; k++) {
        *(uint8_t *)(FRAME + 4080 + k) = (uint8_t)(0xa0 + k);
        *(uint8_t *)(FRAME + 9 * 4096 + k) = (uint8_t)(0xc0 + k);
    }
    for (unsigned before = 1; before < 4; before++)
        for (unsigned user = 0; user < 2; user++) {
            uint32_t want = 0;
            for (unsigned k = 0; k < 4; k++)
                want |= (uint32_t)(k < before ? 0xb0 - before + k : 0xc0 + k - before) << 8 * k;
            CHECK_EQ(access(x_movl, VA + 4096 - before, user).eax, want, "load over two frames");
            struct ctx c = user ? user_ctx(x_rmw) : kernel_ctx(x_rmw);
            c.ebx = VA + 4096 - before;
            c.eax = 0x11111111;
            trap_run(&c);
            CHECK_EQ(access(x_movl, VA + 4096 - before, user).eax, want + 0x11111111,
                     "add over two frames");
            c = user ? user_ctx(x_store) : kernel_ctx(x_store);
            c.ebx = VA + 4096 - before;
            c.eax = want;
            trap_run(&c);
            CHECK_EQ(*(uint8_t *)(FRAME + 4095), 0xaf, "first frame");
            CHECK_EQ(*(uint8_t *)(FRAME + 9 * 4096), 0xc0, "second frame");
        }
}

/* Effective and linear addresses are taken modulo 4 GiB. */
CODE(wrap_ea, "movl $0xfffffff8,%ecx; movl $0x20000000,%edx",
     "movl 0x1400108(%ecx),%eax; addl 0x1400100-0x80000000(,%edx,4),%eax");
CODE(wrap_top, "", "movl 0xfffffff8,%eax; addl %eax,0xfffffffc");
CODE(wrap_base, "movl $0x43,%ecx; movl %ecx,%es", "movl %es:0x1401100,%eax");
CODE(wrap_jump, "pushl $1f", "jmp *%eax; 1:");
static void wrap(void)
{
    for (unsigned user = 0; user < 2; user++) {
        poke(FRAME + 0x100, 0x1234);
        struct ctx c = user ? user_ctx(wrap_ea) : kernel_ctx(wrap_ea);
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT, "vector %#x cr2 %#x", c.vector, c.cr2);
        CHECK_EQ(c.eax, 0x2468, "effective address");
        /* the last page of the address space, as RAM */
        uint64_t old = pde_get(0xfffff000);
        for (unsigned i = 0; i < (pae ? 512 : 1024); i++)
            table_set(i, FRAME | PAGE_FLAGS);
        pde_set(0xfffff000, table_address() | TABLE_FLAGS);
        poke(FRAME + 0xff8, 0x55), poke(FRAME + 0xffc, 0x22);
        c = user ? user_ctx(wrap_top) : kernel_ctx(wrap_top);
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT, "vector %#x cr2 %#x", c.vector, c.cr2);
        CHECK_EQ(peek(FRAME + 0xffc), 0x77, "top of the address space");
        /* code there: a function whose call and return wrap */
        static const uint8_t add_ret[] = {0x83, 0xc2, 5, 0xeb, 1, 0x0b, 0xc3};
        memcpy((void *)(FRAME + 0xff0), add_ret, sizeof add_ret);
        c = user ? user_ctx(wrap_jump) : kernel_ctx(wrap_jump);
        c.eax = 0xfffffff0, c.edx = 1;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.edx == 6,
              "code in the last page: vector %#x eip %#x edx %#x", c.vector, c.eip, c.edx);
        /* jmp rel32 from the last page to low memory */
        static const uint8_t jump[] = {0xe9};
        memcpy((void *)(FRAME + 0xff0), jump, 1);
        *(uint32_t *)(FRAME + 0xff1) = FRAME + 0x200 - 0xfffffff5;
        static const uint8_t low[] = {0x83, 0xc2, 7, 0xc3};
        memcpy((void *)(FRAME + 0x200), low, sizeof low);
        c.eip = (uint32_t)wrap_jump, c.edx = 1;
        c = user ? user_ctx(wrap_jump) : kernel_ctx(wrap_jump);
        c.eax = 0xfffffff0, c.edx = 1;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.edx == 8, "jump over the top: vector %#x eip %#x edx %#x",
              c.vector, c.eip, c.edx);
        pde_set(0xfffff000, old);
        /* a segment base near the top */
        gdt_set(0x40, descriptor(0xfffff000, 0xfffff, ACC_DATA | ACC_DPL(3), FLAG_G | FLAG_D));
        c = user ? user_ctx(wrap_base) : kernel_ctx(wrap_base);
        poke(FRAME + 0x100, 0x4321);
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT, "vector %#x cr2 %#x", c.vector, c.cr2);
        CHECK_EQ(c.eax, 0x4321, "segment base");
    }
}

/* Two address spaces and a third that is edited while it is away. */
static uint32_t dirs32[3][1024] __attribute__((aligned(4096)));
static uint64_t dirs64[3][4] __attribute__((aligned(32)));
static uint64_t pd_copy[3][512] __attribute__((aligned(4096)));
static uint32_t tables32[3][1024] __attribute__((aligned(4096)));
static uint64_t tables64[3][512] __attribute__((aligned(4096)));

static uint32_t make_space(unsigned k)
{
    if (pae) {
        const uint64_t *pdpt = (const uint64_t *)page_directory_address;
        memcpy(dirs64[k], pdpt, 32);
        memcpy(pd_copy[k], (void *)(uint32_t)(pdpt[1] & ~0xfffull), 4096);
        pd_copy[k][0] = (uint32_t)tables64[k] | TABLE_FLAGS;
        dirs64[k][1] = (uint32_t)pd_copy[k] | PTE_P;
        return (uint32_t)dirs64[k];
    }
    memcpy(dirs32[k], (void *)page_directory_address, 4096);
    dirs32[k][VA >> 22] = (uint32_t)tables32[k] | TABLE_FLAGS;
    return (uint32_t)dirs32[k];
}
static void space_map(unsigned k, unsigned page, uint32_t frame, uint32_t flags)
{
    if (pae)
        ((volatile uint64_t *)tables64[k])[page] = frame ? frame | flags : 0;
    else
        ((volatile uint32_t *)tables32[k])[page] = frame ? frame | flags : 0;
    asm volatile("" ::: "memory");
}

static void spaces(void)
{
    uint32_t cr3[3], home = READ_CR(3);
    for (unsigned k = 0; k < 3; k++) {
        cr3[k] = make_space(k);
        for (unsigned i = 0; i < 16; i++)
            space_map(k, i, FRAME + (k * 16 + i) * 4096, PAGE_FLAGS);
    }
    for (unsigned i = 0; i < 48; i++)
        poke(FRAME + i * 4096, i), poke(FRAME + i * 4096 + 64, 0);
    for (unsigned round = 0; round < 600; round++) {
        unsigned k = round * 7 % 3, i = round * 11 % 16, user = round & 1;
        if (round % 5 == 0) {
            /* edit a space that is not loaded: two pages change places, one goes away and comes
             * back */
            unsigned other = (k + 1) % 3;
            uint32_t rot = round % 16;
            for (unsigned j = 0; j < 16; j++)
                space_map(other, j, FRAME + (other * 16 + ((j + rot) & 15)) * 4096, PAGE_FLAGS);
            WRITE_CR(3, cr3[other]);
            CHECK_EQ(peek(VA + i * 4096), other * 16 + ((i + rot) & 15), "edited address space");
            for (unsigned j = 0; j < 16; j++)
                space_map(other, j, FRAME + (other * 16 + j) * 4096, PAGE_FLAGS);
            WRITE_CR(3, cr3[k]);
        }
        WRITE_CR(3, cr3[k]);
        struct ctx c = access(do_read, VA + i * 4096, user);
        CHECK(c.vector == VEC_EXIT && c.eax == k * 16 + i, "space %u page %u: %u, vector %#x", k, i,
              c.eax, c.vector);
        c = access(do_rmw, VA + i * 4096, user);
        CHECK_EQ(c.vector, VEC_EXIT, "vector");
        if (round % 7 == 0) {
            space_map((k + 2) % 3, i, 0, 0);
            WRITE_CR(3, cr3[(k + 2) % 3]);
            CHECK_EQ(access(do_read, VA + i * 4096, user).vector, VEC_PF,
                     "page taken from a space");
            space_map((k + 2) % 3, i, FRAME + ((k + 2) % 3 * 16 + i) * 4096, PAGE_FLAGS);
        }
    }
    WRITE_CR(3, home);
    uint32_t sum = 0;
    for (unsigned i = 0; i < 48; i++)
        sum += peek(FRAME + i * 4096 + 64);
    CHECK_EQ(sum, 600 * 0x2468ace1u, "sum of all additions");
}

static void global_pages(void)
{
    uint32_t r[4];
    cpuid(1, r);
    if (!(r[3] & 1u << 13))
        return;
    map_default();
    WRITE_CR(4, READ_CR(4) | CR4_PGE);
    for (unsigned i = 0; i < 8; i++)
        poke(FRAME + i * 4096, 100 + i);
    for (unsigned i = 0; i < 8; i++) {
        table_set(0, (FRAME + i * 4096) | PAGE_FLAGS | PTE_G);
        invlpg(VA);
        CHECK_EQ(peek(VA), 100 + i, "INVLPG of a global page");
        table_set(0, (FRAME + (i ^ 1) * 4096) | PAGE_FLAGS | PTE_G);
        WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
        WRITE_CR(4, READ_CR(4) | CR4_PGE);
        CHECK_EQ(access(do_read, VA, true).eax, 100 + (i ^ 1), "global page after CR4.PGE");
        table_set(0, (FRAME + i * 4096) | PAGE_FLAGS);
        WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
        WRITE_CR(4, READ_CR(4) | CR4_PGE);
        table_set(0, (FRAME + (i ^ 3) * 4096) | PAGE_FLAGS);
        WRITE_CR(3, READ_CR(3));
        CHECK_EQ(peek(VA), 100 + (i ^ 3), "ordinary page after CR3");
    }
    WRITE_CR(4, READ_CR(4) & ~CR4_PGE);
}

static void big_pages(void)
{
    for (unsigned round = 0; round < 8; round++) {
        pde_set(VA, FRAME | PAGE_FLAGS | PTE_PS);
        for (unsigned i = 0; i < 512; i += 37) {
            poke(VA + i * 4096 + 8, i * 3 + round);
            CHECK_EQ(peek(FRAME + i * 4096 + 8), i * 3 + round, "big page");
        }
        /* split: the same frames in reverse */
        for (unsigned i = 0; i < 512; i++)
            table_set(i, (FRAME + (511 - i) * 4096) | PAGE_FLAGS);
        pde_set(VA, table_address() | TABLE_FLAGS);
        for (unsigned i = 0; i < 512; i += 37)
            CHECK_EQ(peek(VA + (511 - i) * 4096 + 8), i * 3 + round, "split page");
        /* rights of the directory's entry govern all its pages */
        pde_set(VA, table_address() | PTE_P | PTE_W | PTE_A);
        CHECK_EQ(access(do_read, VA + 37 * 4096, true).vector, VEC_PF,
                 "supervisor directory entry");
        pde_set(VA, table_address() | PTE_P | PTE_U | PTE_A);
        CHECK_EQ(access(do_write, VA + 37 * 4096, true).vector, VEC_PF,
                 "read-only directory entry");
    }
}

/* Page tables reached through themselves, as many kernels do. */
static void self_map(void)
{
    if (pae)
        return;
    uint32_t dir = page_directory_address, slot = 0x3fe;
    uint64_t old = pde_get(slot << 22);
    pde_set(slot << 22, dir | PTE_P | PTE_W);
    map_default();
    volatile uint32_t *pte = (volatile uint32_t *)(slot << 22 | VA >> 10);
    for (unsigned i = 0; i < 32; i++) {
        poke(FRAME + (i & 7) * 4096, 500 + i);
        *pte = (FRAME + (i & 7) * 4096) | PTE_P | PTE_W | PTE_U;
        invlpg(VA);
        CHECK_EQ(access(do_read, VA, i & 1).eax, 500 + i, "through the self-map");
        CHECK_EQ(*pte & PTE_A, PTE_A, "A seen through the self-map");
        CHECK_EQ(table_get(0) & PTE_A, PTE_A, "A seen in the table");
    }
    pde_set(slot << 22, old);
}

/* GDT, IDT and TSS on supervisor pages: implicit accesses are the supervisor's. */
CODE(implicit, "movl $0x23,%eax; movl %eax,%es; movl %eax,%gs; pushl %es; popl %fs; int3", "ud2");
static void implicit_access(void)
{
    const void *tables[] = {gdt, idt, &tss_main, &trap_save};
    for (unsigned i = 0; i < 4; i++) {
        uint32_t page = (uint32_t)tables[i] & ~0xfffu;
        pte_set(page, page | PTE_P | PTE_W);
        pte_set(page + 4096, (page + 4096) | PTE_P | PTE_W);
    }
    pte_set((uint32_t)implicit & ~0xfffu, ((uint32_t)implicit & ~0xfffu) | PAGE_FLAGS);
    for (uint32_t p = (uint32_t)user_stack & ~0xfffu; p < (uint32_t)user_stack + sizeof user_stack;
         p += 4096)
        pte_set(p, p | PAGE_FLAGS);
    irq_handler[VEC_BP] = NULL;
    struct ctx c = user_ctx(implicit);
    trap_run(&c);
    CHECK(c.vector == VEC_BP, "vector %#x error %#x cr2 %#x", c.vector, c.error, c.cr2);
    c.eip = (uint32_t)implicit_at;
    trap_run(&c);
    CHECK(c.vector == VEC_UD, "vector %#x error %#x cr2 %#x", c.vector, c.error, c.cr2);
    c = user_ctx(do_read);
    c.ebx = (uint32_t)gdt;
    trap_run(&c);
    expect(&c, VEC_PF, PF_P | PF_U, do_read_at, "user read of the GDT");
}

/* CR0.WP and CR0.PG take effect at once. */
static void control_bits(void)
{
    map_default();
    table_set(0, FRAME | PTE_P | PTE_U | PTE_A | PTE_D);
    WRITE_CR(3, READ_CR(3));
    for (unsigned i = 0; i < 6; i++) {
        WRITE_CR(0, READ_CR(0) & ~CR0_WP);
        CHECK_EQ(access(do_write, VA, false).vector, VEC_EXIT, "write with WP clear");
        WRITE_CR(0, READ_CR(0) | CR0_WP);
        struct ctx c = access(do_write, VA, false);
        expect(&c, VEC_PF, PF_P | PF_W, do_write_at, "write with WP set");
        /* the rights of user and supervisor mappings must not mix after a supervisor write */
        WRITE_CR(0, READ_CR(0) & ~CR0_WP);
        access(do_write, VA, false);
        c = access(do_write, VA, true);
        expect(&c, VEC_PF, PF_P | PF_W | PF_U, do_write_at, "user write after a supervisor's");
    }
}

#define BOTH(fn)                                                                                   \
    static void both_##fn(void)                                                                    \
    {                                                                                              \
        for (unsigned k = 0; k < 2; k++) {                                                         \
            pae = k;                                                                               \
            paging_on(pae);                                                                        \
            fn();                                                                                  \
            paging_off();                                                                          \
        }                                                                                          \
    }
BOTH(tlb_rules)
BOTH(fault_repair)
BOTH(accessed_dirty)
BOTH(aliases)
BOTH(crossing)
BOTH(crossing_frames)
BOTH(wrap)
BOTH(spaces)
BOTH(global_pages)
BOTH(big_pages)
BOTH(self_map)
BOTH(implicit_access)
BOTH(control_bits)

static const struct test tests[] = {
    {"permutations_2level", test_legacy, NULL},
    {"permutations_pae", test_pae, NULL},
    {"permutations_nx", test_pae_nx, NULL},
    {"tlb_rules", both_tlb_rules, NULL},
    {"fault_repair", both_fault_repair, NULL},
    {"accessed_dirty", both_accessed_dirty, NULL},
    {"aliases", both_aliases, NULL},
    {"crossing", both_crossing, "a store that faults on its second page is done in part"},
    {"crossing_frames", both_crossing_frames, NULL},
    {"wrap", both_wrap, NULL},
    {"spaces", both_spaces, NULL},
    {"global_pages", both_global_pages, NULL},
    {"big_pages", both_big_pages, NULL},
    {"self_map", both_self_map, NULL},
    {"implicit_access", both_implicit_access, NULL},
    {"control_bits", both_control_bits, NULL},
};

void guest_main(void)
{
    WRITE_CR(0, (READ_CR(0) & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE);
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR);
    asm volatile("fninit");
    qemu = on_qemu();
    RUN_TESTS(tests);
}
