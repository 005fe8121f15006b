/* SPDX-License-Identifier: MIT */
/* evict.c: what fills a table of the code cache, or has code dropped or translated anew, while the
 * monitor is at work on that code: each of these once led it to code or records that were another's
 * by then. The guest itself does nothing wrong, and sees nothing.
 *
 *   kib=N    code that the arena tests run through, 2048; a cache of 64 MiB takes 40960
 *   pages=N  that one frame is executed at, 262144     turns=N  between two address spaces, 4097 */
#include "lib/guest.h"

#define CODE_AREA 0x1000000u

static struct {
    uint32_t eip;
    uint16_t sel;
} __attribute__((packed)) far_pointer = {0, SEL_FREE};

/* --- more modes than there are ids --- */

asm(".pushsection .text\n.globl far_target, mode_changer\n"
    "far_target: lret\n"
    "mode_changer: mov %ax,%es\n" /* the mode that has no room */
    "  cmpl $1,%ecx; je 1f; cmpl $2,%ecx; je 2f\n"
    "  ret\n"
    "1: movl 0x40000000,%eax\n" /* not present */
    "fault_next: ret\n"
    "2: cpuid; ret\n"
    ".popsection\n");
extern uint8_t far_target[], mode_changer[];

enum { THEN_RETURN, THEN_FAULT, THEN_CALLOUT };

/* Code segments of different limits. */
static void fill_modes(unsigned n, unsigned from)
{
    far_pointer.eip = (uint32_t)far_target;
    for (unsigned i = 0; i < n; i++) {
        gdt_set(SEL_FREE, descriptor(0, 0xffffe - from - i, ACC_CODE, FLAG_G | FLAG_D));
        asm volatile("lcall *%0" ::"m"(far_pointer) : "memory");
    }
}

static void change_mode(void *how)
{
    uint32_t a = (uint32_t)how >> 8, c = (uint32_t)how & 0xff;
    asm volatile("call mode_changer; mov %w2,%%es"
                 : "+&a"(a), "+&c"(c)
                 : "r"(KDS)
                 : "ebx", "edx", "memory");
}

static void *change(unsigned sel, unsigned then)
{
    return (void *)(sel << 8 | then);
}

static void modes(unsigned then)
{
    struct ctx c;
    unsigned based = SEL_FREE + 8;
    gdt_set(based, descriptor(0x1000, 0xfffff, ACC_DATA, FLAG_G | FLAG_D));
    change_mode(change(KDS, THEN_RETURN));
    change_mode(change(KDS, THEN_CALLOUT));
    /* The first is a table of 256 at boot; later, one of them fills what the rest have left. */
    static const uint16_t fills[] = {255, 254, 253, 252, 251, 250, 249, 248, 247};
    for (unsigned i = 0; i < sizeof(fills) / sizeof(fills[0]); i++) {
        unsigned n = fills[i];
        fill_modes(n, 1000 * i);
        bool came_back = trap_call(change_mode, change(based, then), &c);
        if (then != THEN_FAULT)
            CHECK(came_back, "%u modes: vector %#x eip %#x", n, c.vector, c.eip);
        else
            CHECK(!came_back && c.vector == 14 && c.cr2 == 0x40000000,
                  "%u modes: vector %#x cr2 %#x", n, c.vector, c.cr2);
        asm volatile("mov %w0,%%es" ::"r"(KDS));
        asm volatile("mov %w0,%%ds" ::"r"(KDS));
    }
}

static void modes_and_callout(void)
{
    modes(THEN_CALLOUT);
}

static void modes_and_fault(void)
{
    paging_on(false);
    pde_set(0x40000000, 0);
    modes(THEN_FAULT);
    paging_off();
}

/* --- code that needs many records --- */

/* The area's bytes but for the last 16 made of copies of an instruction, then run. */
static void run_area(const char *insn, unsigned length)
{
    uint8_t *p = (uint8_t *)CODE_AREA, *end = p + (cmdline_number("kib", 2048) << 10) - 16;
    for (; p < end; p += length)
        memcpy(p, insn, length);
    *p = 0xc3;
    ((void (*)(void))CODE_AREA)();
}

static void arena_of_marks(void)
{
    run_area("\x90", 1);
}

static void arena_of_exits(void)
{
    run_area("\x0f\x20\xc0", 3); /* mov %cr0,%eax */
}

/* As many checks of limits in an instruction as there can be. */
static void arena_of_checks(void)
{
    unsigned sel = SEL_FREE + 16;
    gdt_set(sel, descriptor(0, 0xffffe, ACC_DATA, FLAG_G | FLAG_D));
    asm volatile("mov %w0,%%es; mov %w0,%%ds; mov %w0,%%ss" ::"r"(sel));
    uint8_t *p = (uint8_t *)CODE_AREA, *end = p + (cmdline_number("kib", 2048) << 7);
    const uint32_t data = 0x4000000;
    for (; p < end; p++)
        *p = 0xa4; /* movsb */
    *p = 0xc3;
    uint32_t s = data, d = data;
    asm volatile("call *%2" : "+S"(s), "+D"(d) : "r"(CODE_AREA) : "memory");
    asm volatile("mov %w0,%%es; mov %w0,%%ds; mov %w0,%%ss" ::"r"(KDS));
    CHECK_EQ(s - data, end - (uint8_t *)CODE_AREA, "esi");
}

/* --- more pages than have records --- */

/* One frame, at many addresses. A block's first instruction ends in the page behind. */
static void pages_across(void)
{
    const uint32_t first = 0x40000000, frame = 0x1800000;
    static uint32_t table[1024] __attribute__((aligned(4096)));
    uint8_t *f = (uint8_t *)frame;
    memset(f, 0x90, 4096);
    memcpy(f, "\xc3\x00\x00\x00\xc3", 5);
    f[0xfff] = 0xb8; /* mov $0xc3,%eax; ret */
    paging_on(false);
    for (unsigned i = 0; i < 1024; i++)
        table[i] = frame | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
    for (uint32_t la = first; la < 0xc0000000; la += 1u << 22)
        ((volatile uint32_t *)page_directory_address)[la >> 22] =
            (uint32_t)table | PTE_P | PTE_W | PTE_U | PTE_A;
    WRITE_CR(3, READ_CR(3));
    uint32_t la = first, got = 0, pages = cmdline_number("pages", 1u << 18);
    for (unsigned n = 0; n < pages; n++, la += 4096)
        asm volatile("call *%1" : "=&a"(got) : "r"(la + 0xfff) : "memory");
    CHECK_EQ(got, 0xc3, "eax");
    la += 4096;
    for (unsigned n = 0; n + 4 < pages; n++, la += 4096)
        asm volatile("call *%0" ::"r"(la) : "eax", "memory");
    *(volatile uint8_t *)(frame + 1) = 0; /* a write to the blocks' second page */
    paging_off();
}

/* --- an instruction that becomes soft in two ways --- */

asm(".pushsection .text\n.balign 4096\n.globl soft_site, callee, other_page\n"
    /* esi: how the callee returns; edi: stack of the call */
    "soft_site: movl %esp,%ebp; movl %edi,%esp; call callee; movl %ebp,%esp; ret\n"
    "elsewhere: movl %ebp,%esp; ret\n"
    "callee: testl %esi,%esi; jnz 1f; ret\n"
    "1: movl $elsewhere,(%esp); ret\n"
    ".balign 4096\n"
    "other_page: ret\n" /* code on the page that the pushes go to */
    ".balign 4096\n"
    ".popsection\n");
extern uint8_t other_page[];

static void call_site(unsigned es, void *stack, unsigned how)
{
    asm volatile("mov %w0,%%es; pushl %%ebp; call soft_site; popl %%ebp; mov %w3,%%es" ::"r"(es),
                 "D"(stack), "S"(how), "r"(KDS)
                 : "eax", "ecx", "edx", "memory", "cc");
}

CODE(nothing, "", "ud2");

/* By faults in one mode, by returns to elsewhere in another; then it becomes hard again. */
static void soft_twice(void)
{
    static uint8_t good[4096] __attribute__((aligned(4096)));
    unsigned based = SEL_FREE;
    gdt_set(based, descriptor(0x1000, 0xfffff, ACC_DATA, FLAG_G | FLAG_D));
    call_site(KDS, good + 2048, 0);
    call_site(based, good + 2048, 0);
    asm volatile("call other_page");
    for (unsigned i = 0; i < 40; i++)
        call_site(KDS, other_page + 2048, 0);
    for (unsigned i = 0; i < 3; i++)
        call_site(based, good + 2048, 1);
    for (uint64_t t = rdtsc(); rdtsc() - t < 300000000;)
        ;
    struct ctx c = kernel_ctx(nothing);
    trap_run(&c); /* the dispatcher starts afresh, which reviews what is soft */
    expect(&c, 6, 0, nothing_at, "after the review");
}

/* --- a retpoline that is patched --- */

asm(".pushsection .text\n.balign 4096\n.globl thunk, thunk_half, call_thunk\n"
    "one: movl $1,%eax; ret\n"
    "two: movl $2,%eax; ret\n"
    "call_thunk: movl $one,%eax; movl $two,%ecx; call thunk; ret\n"
    ".balign 256\n"
    "thunk: call thunk_half; 2: pause; jmp 2b\n"
    ".balign 256\n" /* another line of 64 bytes */
    "thunk_half: movl %eax,(%esp); ret\n"
    ".balign 4096\n.popsection\n");
extern uint8_t thunk_half[];

static uint32_t run_thunk(void)
{
    uint32_t r;
    asm volatile("call call_thunk" : "=a"(r)::"ecx", "memory");
    return r;
}

static void patched_retpoline(void)
{
    CHECK_EQ(run_thunk(), 1, "before");
    ((volatile uint8_t *)thunk_half)[1] = 0x0c; /* movl %ecx,(%esp) */
    CHECK_EQ(run_thunk(), 2, "after");
    ((volatile uint8_t *)thunk_half)[1] = 0x04;
    CHECK_EQ(run_thunk(), 1, "as it was");
}

/* --- keys of the jump cache --- */

asm(".pushsection .text\n.globl user_jump\n"
    "user_jump: mov %bx,%es; jmp 1f; 1: jmp *%edx\n.popsection\n");
extern uint8_t user_jump[];

#define SPACES_AREA  0x40000000u
#define SPACES_PAGES 4095u

/* Two address spaces of pages, each with one frame of a jump to the next page, and a last one of
 * INT 30h. */
static void make_spaces(uint32_t directories[2][1024])
{
    static uint32_t table[2][1024] __attribute__((aligned(4096)));
    static uint32_t last_table[2][1024] __attribute__((aligned(4096)));
    const uint32_t end = 0x1802000, first = SPACES_AREA >> 22, full = SPACES_PAGES / 1024;
    const int32_t by = 4096 - 5;
    memcpy((void *)end, "\xcd\x30", 2);
    for (unsigned s = 0; s < 2; s++) {
        uint32_t frame = 0x1800000 + 4096 * s, flags = PTE_P | PTE_U | PTE_A;
        *(uint8_t *)frame = 0xe9;
        memcpy((void *)(frame + 1), &by, 4);
        memcpy(directories[s], (void *)page_directory_address, 4096);
        for (unsigned i = 0; i < 1024; i++)
            table[s][i] = last_table[s][i] = frame | flags;
        last_table[s][SPACES_PAGES % 1024] = end | flags;
        for (unsigned i = 0; i <= full; i++)
            directories[s][first + i] =
                (uint32_t)(i < full ? table[s] : last_table[s]) | flags | PTE_W;
    }
}

static void load_space(const uint32_t *directory)
{
    tss_main.cr3 = (uint32_t)directory;
    WRITE_CR(3, directory);
}

/* 2^24 pages of user code become inactive: once about the count in the tags. Then a jump to the
 * EIP whose bits are all ones, in the last of the modes. */
static void jump_keys(void)
{
    static uint32_t directories[2][1024] __attribute__((aligned(4096)));
    paging_on(false);
    uint32_t cr3 = READ_CR(3);
    make_spaces(directories);
    for (unsigned n = 0; n < cmdline_number("turns", 4097); n++) {
        load_space(directories[n & 1]);
        struct ctx c = user_ctx((void *)SPACES_AREA);
        trap_run(&c);
        CHECK_EQ(c.vector, VEC_EXIT, "a walk over the pages");
    }
    load_space(directories[1]);
    fill_modes(253, 0);
    gdt_set(SEL_FREE + 8, descriptor(0x1000, 0xfffff, ACC_DATA | ACC_DPL(3), FLAG_G | FLAG_D));
    struct ctx c = user_ctx(user_jump);
    c.edx = UINT32_MAX;
    c.ebx = SEL_FREE + 8 + 3;
    trap_run(&c);
    CHECK(c.vector == 13 || c.vector == 14, "vector %#x eip %#x", c.vector, c.eip);
    CHECK_EQ(c.eip, UINT32_MAX, "eip");
    tss_main.cr3 = cr3;
    WRITE_CR(3, cr3);
    paging_off();
}

static const struct test tests[] = {
    {"modes_and_callout", modes_and_callout, NULL},
    {"modes_and_fault", modes_and_fault, NULL},
    {"arena_of_marks", arena_of_marks, NULL},
    {"arena_of_exits", arena_of_exits, NULL},
    {"arena_of_checks", arena_of_checks, NULL},
    {"pages_across", pages_across, NULL},
    {"soft_twice", soft_twice, NULL},
    {"patched_retpoline", patched_retpoline, NULL},
    {"jump_keys", jump_keys, NULL},
};

void guest_main(void)
{
    RUN_TESTS(tests);
}
