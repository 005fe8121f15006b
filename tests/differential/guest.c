/* SPDX-License-Identifier: MIT */
/* guest.c: runs a case file with results (its Multiboot module) at CPL 3 and compares. The kernel's
 * own memory is the supervisor's; the user sees what the oracle's process has: the slots,
 * read-only, the window, not executable, and nothing else.
 *
 * Each case runs twice: the second time its code is warm, and all must come out the same. Lines
 * printed: D INDEX WHAT HEX   a result that differs from the oracle's (bits of case_compare()) T
 * INDEX WHAT HEX   a second run that differs from the first H BATCH HASH       of all results of a
 * batch with undefined flags, to compare engines with R INDEX HEX        with `show=INDEX`: a
 * result On the command line: show=INDEX (prints that result as D), limit=N (differences printed),
 * once.
 */
#include "tests/guests/lib/guest.h"

#include "tests/differential/case.h"

static uint8_t code[CASE_CODE_PAGES * 4096] __attribute__((aligned(4096)));
static uint32_t window[CASE_WINDOW / 4] __attribute__((aligned(4096)));
static uint32_t image[CASE_WINDOW / 4];
static uint64_t table[512] __attribute__((aligned(4096)));
static uint8_t fx[512] __attribute__((aligned(16)));
static uint8_t fx_clean[512] __attribute__((aligned(16)));
static unsigned different, limit = 20;
static bool listing;

static void set_up_paging(void)
{
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    paging_on(true);
    for (unsigned i = 0; i < CASE_CODE_PAGES; i++)
        table[i] = (uint32_t)(code + i * 4096) | PTE_P | PTE_U | PTE_A;
    for (unsigned i = 0; i < CASE_WINDOW / 4096; i++)
        table[(CASE_DATA - CASE_CODE) / 4096 + i] = (uint32_t)((uint8_t *)window + i * 4096) |
                                                    PTE_P | PTE_W | PTE_U | PTE_A | PTE_D | PTE_NX;
    for (uint32_t la = 0; la < 32u << 20; la += 4096)
        pte_set_quiet(la, la < 65536 ? 0 : pte_get(la) & ~(uint64_t)PTE_U);
    for (uint32_t la = 32u << 20; la; la += 2u << 20)
        pde_set(la, la < 256u << 20 ? pde_get(la) & ~(uint64_t)PTE_U : 0);
    pde_set(CASE_CODE, (uint32_t)table | PTE_P | PTE_W | PTE_U | PTE_A);
}

static void place(const struct test_case *c, unsigned n)
{
    memset(code, 0xf4, sizeof code);
    for (unsigned i = 0; i < n; i++)
        memcpy(code + c[i].index % CASE_BATCH * CASE_SLOT + c[i].start, c[i].code, c[i].length);
}

static void run(const struct test_case *c, struct case_result *r)
{
    for (unsigned i = 0; i < c->patches; i++)
        memcpy((uint8_t *)window + c->patch[i].off, &c->patch[i].value, 4);
    struct ctx x = user_ctx((void *)(CASE_CODE + c->index % CASE_BATCH * CASE_SLOT + c->start));
    x.eax = c->gpr[0], x.ecx = c->gpr[1], x.edx = c->gpr[2], x.ebx = c->gpr[3];
    x.esp = c->gpr[4], x.ebp = c->gpr[5], x.esi = c->gpr[6], x.edi = c->gpr[7];
    x.eflags = c->eflags;
    if (c->fpu_seed) {
        case_fill_fx(c->fpu_seed, fx);
        asm volatile("fxrstor %0" ::"m"(fx));
    } else {
        asm volatile("fxrstor %0" ::"m"(fx_clean));
    }
    trap_run(&x);
    *r = (struct case_result){
        .vector = x.vector,
        .error = x.error,
        .cr2 = x.vector == VEC_PF ? x.cr2 : 0,
        .eip = x.eip,
        .eflags = x.eflags,
        .gpr = {x.eax, x.ecx, x.edx, x.ebx, x.esp, x.ebp, x.esi, x.edi}
    };
    if (c->fpu_seed) {
        asm volatile("fxsave %0" : "=m"(fx));
        memcpy(r->fx, fx, sizeof r->fx);
        case_fx_normalize(r->fx);
    }
    case_scan(r, window, image);
}

static void print_result(char kind, const struct test_case *c, unsigned what,
                         const struct case_result *r)
{
    print("%c %u %u ", kind, c->index, what);
    const uint8_t *p = (const uint8_t *)r;
    for (unsigned i = 0; i < sizeof *r; i++)
        print("%02x", p[i]);
    print("\n");
}

static uint32_t option(const char *name, uint32_t otherwise)
{
    size_t n = strlen(name);
    for (const char *p = cmdline; *p; p++) {
        if (memcmp(p, name, n) || p[n] != '=')
            continue;
        uint32_t v = 0;
        for (p += n + 1; *p >= '0' && *p <= '9'; p++)
            v = v * 10 + (uint32_t)(*p - '0');
        return v;
    }
    return otherwise;
}

/* Without and with the flags that the manual leaves undefined; what a fault leaves open is left
 * out. */
static void hash_result(const struct test_case *c, const struct case_result *r, uint32_t hash[2])
{
    static struct case_result seen;
    seen = *r;
    seen.eflags &= ~EFL_RF;
    if (case_faulted(c, r)) {
        if (c->ignore & DIFFERS_GPR)
            memset(seen.gpr, 0, sizeof seen.gpr);
        if (c->ignore & DIFFERS_CR2)
            seen.cr2 = 0;
        if (c->ignore & DIFFERS_FPU)
            memset(seen.fx, 0, sizeof seen.fx);
        if (c->ignore & DIFFERS_MEMORY) {
            seen.diffs = seen.mem_hash = 0;
            memset(seen.diff, 0, sizeof seen.diff);
        }
    }
    for (unsigned full = 0; full < 2; full++) {
        uint32_t h = 0x811c9dc5;
        for (unsigned i = 0; i < sizeof seen / 4; i++) {
            uint32_t w = ((const uint32_t *)&seen)[i];
            h = (h ^ (i == 4 && !full ? w & ~c->flags_undefined : w)) * 0x01000193;
        }
        hash[full] = h;
    }
}

static void one(const struct test_case *c, const struct case_result *want, bool twice,
                uint32_t show, uint32_t *hash)
{
    struct case_result got, again;
    run(c, &got);
    uint32_t own[2];
    hash_result(c, &got, own);
    if (listing)
        print("L %u %08x %08x\n", c->index, own[0], own[1]);
    for (unsigned i = 0; i < 2; i++)
        hash[i] = (hash[i] ^ own[i]) * 0x01000193;
    unsigned what = c->native ? case_compare(c, &got, want) : 0;
    if (what && different++ < limit)
        print_result('D', c, what, &got);
    if (c->index == show)
        print_result('D', c, what, &got);
    if (!twice)
        return;
    run(c, &again);
    what = memcmp(&got, &again, sizeof got) ? 1u << 31 | case_compare(c, &again, &got) : 0;
    if (what && different++ < limit)
        print_result('T', c, what & ~(1u << 31), &again);
}

void guest_main(void)
{
    const uint32_t *info = (const uint32_t *)multiboot_info;
    uint32_t module = info[0] & 8 && info[5] ? ((const uint32_t *)info[6])[0] : 0;
    limit = option("limit", 20);
    uint32_t show = option("show", ~0u);
    bool twice = !cmdline_has("once");
    listing = cmdline_has("list");
    const struct case_file *f = (const struct case_file *)module;
    if (!module || f->magic != CASE_MAGIC || !f->has_results) {
        print("FAIL differential: no case file as a module\n0 passed, 1 failed\n");
        guest_exit(0x10);
    }
    pic_init();
    set_up_paging();
    WRITE_CR(0, (READ_CR(0) & ~(CR0_EM | CR0_TS)) | CR0_MP | CR0_NE | CR0_AM | CR0_WP);
    WRITE_CR(4, READ_CR(4) | CR4_OSFXSR | CR4_OSXMMEXCPT);
    asm volatile("fninit; fxsave %0" : "=m"(fx_clean));
    const struct test_case *c = (const struct test_case *)(f + 1);
    const struct case_result *want = (const struct case_result *)(c + f->count);
    for (uint32_t i = 0; i < f->count; i += CASE_BATCH) {
        uint32_t n = f->count - i < CASE_BATCH ? f->count - i : CASE_BATCH;
        uint32_t hash[2] = {0x811c9dc5, 0x811c9dc5};
        WRITE_CR(0, READ_CR(0) & ~CR0_WP);
        place(c + i, n);
        case_fill(c[i].mem_seed, image, CASE_WINDOW / 4);
        memcpy(window, image, sizeof window);
        for (uint32_t k = i; k < i + n; k++)
            one(&c[k], &want[k], twice, show, hash);
        print("H %u %08x %08x\n", c[i].index / CASE_BATCH, hash[0], hash[1]);
    }
    print("%u passed, %u failed\n", f->count - different, different);
    guest_exit(different ? 0x10 : 0);
}
