/* SPDX-License-Identifier: MIT */
/* paging.c: an identity map of all 4 GiB, 2-level or PAE: 4 KiB pages below 32 MiB, big pages
 * above. */
#include "guest.h"

#define SMALL_MIB 32

bool paging_pae;
uint32_t page_directory_address;
static uint32_t pd32[1024] __attribute__((aligned(4096)));
static uint32_t pt32[SMALL_MIB / 4][1024] __attribute__((aligned(4096)));
static uint64_t pdpt[4] __attribute__((aligned(32)));
static uint64_t pd64[4][512] __attribute__((aligned(4096)));
static uint64_t pt64[SMALL_MIB / 2][512] __attribute__((aligned(4096)));

#define DEFAULT (PTE_P | PTE_W | PTE_U | PTE_A | PTE_D)

static void fill_legacy(void)
{
    for (unsigned i = 0; i < 1024; i++)
        pd32[i] = i < SMALL_MIB / 4 ? (uint32_t)pt32[i] | PTE_P | PTE_W | PTE_U | PTE_A
                                    : i << 22 | DEFAULT | PTE_PS;
    for (unsigned i = 0; i < SMALL_MIB / 4 * 1024; i++)
        pt32[i / 1024][i % 1024] = i << 12 | DEFAULT;
}

static void fill_pae(void)
{
    for (unsigned i = 0; i < 4; i++)
        pdpt[i] = (uint32_t)pd64[i] | PTE_P;
    for (unsigned i = 0; i < 2048; i++)
        pd64[i / 512][i % 512] = i < SMALL_MIB / 2
                                     ? (uint32_t)pt64[i] | PTE_P | PTE_W | PTE_U | PTE_A
                                     : (uint64_t)i << 21 | DEFAULT | PTE_PS;
    for (unsigned i = 0; i < SMALL_MIB / 2 * 512; i++)
        pt64[i / 512][i % 512] = (uint64_t)i << 12 | DEFAULT;
}

void paging_on(bool pae)
{
    paging_off();
    paging_pae = pae;
    pae ? fill_pae() : fill_legacy();
    page_directory_address = pae ? (uint32_t)pdpt : (uint32_t)pd32;
    WRITE_CR(4, (READ_CR(4) & ~CR4_PAE) | CR4_PSE | (pae ? CR4_PAE : 0));
    WRITE_CR(3, page_directory_address);
    tss_main.cr3 = tss_df.cr3 = page_directory_address;
    WRITE_CR(0, READ_CR(0) | CR0_PG);
}

void paging_off(void)
{
    WRITE_CR(0, READ_CR(0) & ~(CR0_PG | CR0_WP));
    WRITE_CR(4, READ_CR(4) & ~(CR4_PAE | CR4_PGE));
}

uint64_t pte_get(uint32_t la)
{
    return paging_pae ? pt64[la >> 21][la >> 12 & 511] : pt32[la >> 22][la >> 12 & 1023];
}

void pte_set_quiet(uint32_t la, uint64_t value)
{
    if (paging_pae)
        ((volatile uint64_t *)pt64[la >> 21])[la >> 12 & 511] = value;
    else
        ((volatile uint32_t *)pt32[la >> 22])[la >> 12 & 1023] = (uint32_t)value;
    asm volatile("" ::: "memory");
}

void pte_set(uint32_t la, uint64_t value)
{
    pte_set_quiet(la, value);
    invlpg(la);
}

uint64_t pde_get(uint32_t la)
{
    return paging_pae ? pd64[la >> 30][la >> 21 & 511] : pd32[la >> 22];
}

void pde_set(uint32_t la, uint64_t value)
{
    if (paging_pae)
        pd64[la >> 30][la >> 21 & 511] = value;
    else
        pd32[la >> 22] = (uint32_t)value;
    asm volatile("" ::: "memory");
    WRITE_CR(3, READ_CR(3));
}
