/* SPDX-License-Identifier: MIT */
/* hostmaps.c: what needs as many mappings of the host, and tables of the monitor, as a guest can
 * bring about. Running out costs speed; the guest sees nothing.
 *
 *   frames=N  of code amid large pages, 4060     small=N  single pages, 1024
 *   views=N   address spaces, 100 */
#include "lib/guest.h"

/* --- mappings --- */

#define ALIASES 8u
#define LARGE   0x40000000u
#define BYTES   (32u << 20)
#define PHYS    0x4000000u
#define SMALL   0x20000000u
#define FLAGS   (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)

/* Large pages at eight addresses, and pages of their own that cannot be joined with a neighbour. */
static void map_both(void)
{
    static uint32_t table[2][1024] __attribute__((aligned(4096)));
    volatile uint32_t *pd = (void *)page_directory_address;
    for (unsigned a = 0; a < ALIASES; a++)
        for (uint32_t o = 0; o < BYTES; o += 1u << 22)
            pd[(LARGE + a * BYTES + o) >> 22] = (PHYS + o) | FLAGS | PTE_PS;
    for (unsigned i = 0; i < 2048; i++)
        table[i / 1024][i % 1024] = (PHYS + (i ^ 1) * 4096) | FLAGS;
    pd[SMALL >> 22] = (uint32_t)table[0] | FLAGS;
    pd[(SMALL >> 22) + 1] = (uint32_t)table[1] | FLAGS;
    WRITE_CR(3, READ_CR(3));
}

/* Code in every other frame of large pages that are mapped writable: the host has to protect each,
 * and makes three mappings of one. Then single pages with holes between, of either parity. */
static void mappings_split(void)
{
    uint32_t frames = cmdline_number("frames", 4060), small = cmdline_number("small", 1024);
    for (uint32_t i = 0; i < frames; i++)
        *(volatile uint8_t *)(PHYS + i * 8192) = 0xc3;
    paging_on(false);
    map_both();
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t o = 0; o < ALIASES * BYTES; o += 1u << 21)
            *(volatile uint32_t *)(LARGE + o + 4096) = o;
        for (uint32_t i = 0; i < frames; i++)
            asm volatile("call *%0" ::"r"(PHYS + i * 8192) : "memory");
        for (uint32_t i = 0; i < small; i++)
            *(volatile uint32_t *)(SMALL + (i * 2 + round) * 4096 + 64) = i * 2 + round;
    }
    for (uint32_t i = 0; i < 2 * small; i++)
        CHECK_EQ(*(volatile uint32_t *)(PHYS + (i ^ 1) * 4096 + 64), i, "a page's number");
    for (uint32_t a = 1; a < ALIASES; a++)
        CHECK_EQ(*(volatile uint32_t *)(LARGE + a * BYTES + 4096), (ALIASES - 1) * BYTES,
                 "the same frame");
    paging_off();
}

/* --- tables --- */

asm(".pushsection .text\n.balign 4096\n.globl toucher\n"
    "toucher: addl (%esi),%eax; addl $0x200000,%esi; decl %ecx; jnz toucher; int $0x30\n"
    ".balign 4096\n.popsection\n");
extern uint8_t toucher[];

#define VIEWS_MAX 1024u
#define SLOTS     2016u /* of 2 MiB, from 32 MiB on */

/* A user program in many address spaces reads one page in each directory entry; then that page goes
 * away. What a space has been seen to map is nothing any more, and much. */
static void tables_of_many_spaces(void)
{
    static uint64_t roots[VIEWS_MAX][4] __attribute__((aligned(4096)));
    static uint64_t table[512] __attribute__((aligned(4096)));
    uint32_t views = cmdline_number("views", 100), frame = 0x1400000;
    *(volatile uint32_t *)frame = 3;
    paging_on(true);
    uint32_t cr3 = READ_CR(3);
    volatile uint64_t *pdpt = (void *)page_directory_address;
    for (unsigned i = 16; i < 16 + SLOTS; i++)
        ((volatile uint64_t *)((uint32_t)pdpt[i >> 9] & ~0xfffu))[i & 511] =
            (uint32_t)table | FLAGS;
    for (unsigned v = 0; v < views && v < VIEWS_MAX; v++) {
        for (unsigned k = 0; k < 4; k++)
            roots[v][k] = pdpt[k];
        *(volatile uint64_t *)table = frame | PTE_P | PTE_U | PTE_A;
        tss_main.cr3 = (uint32_t)roots[v];
        WRITE_CR(3, (uint32_t)roots[v]);
        struct ctx c = user_ctx(toucher);
        c.eax = 0;
        c.esi = 16u << 21;
        c.ecx = SLOTS;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.eax == 3 * SLOTS, "space %u: vector %#x, sum %u", v,
              c.vector, c.eax);
        *(volatile uint64_t *)table = 0;
        WRITE_CR(3, (uint32_t)roots[v]);
    }
    tss_main.cr3 = cr3;
    WRITE_CR(3, cr3);
    paging_off();
}

static const struct test tests[] = {
    {"mappings_split", mappings_split, NULL},
    {"tables_of_many_spaces", tables_of_many_spaces, NULL},
};

void guest_main(void)
{
    RUN_TESTS(tests);
}
