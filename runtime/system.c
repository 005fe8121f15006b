/* SPDX-License-Identifier: MIT */
/* system.c: control and debug registers, and the state after RESET (SDM vol. 3, 2.5, 9.1 and 17.2).
 * Model-specific registers are msr.c's. */
#include "runtime/system.h"

#include "devices/lapic.h"
#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"

#include <string.h>

/* --- reset (vol. 3, table 9-1) --- */

static struct segment reset_segment(uint32_t attr)
{
    return (struct segment){.limit = 0xffff, .attr = attr};
}

static void reset_segments(struct vcpu *v)
{
    const uint32_t data = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_WRITE | SEG_ATTR_ACCESSED;
    for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
        v->seg[seg] = reset_segment(data);
    v->seg[SEG_CS].sel = 0xf000;
    v->seg[SEG_CS].base = 0xffff0000u;
    v->seg[SEG_LDTR] = reset_segment(SEG_ATTR_P | DESC_LDT);
    v->seg[SEG_TR] = reset_segment(SEG_ATTR_P | DESC_TSS32_BUSY);
    v->gdtr = v->idtr = (struct table_register){.limit = 0xffff};
}

static void reset_debug(struct vcpu *v)
{
    memset(v->dr, 0, sizeof(v->dr));
    v->dr[6] = DR6_FIXED;
    v->dr[7] = DR7_FIXED;
    v->dr6_pending = 0;
}

/* What INIT and RESET have in common. */
static void reset_architecture(struct vcpu *v, uint32_t kept_cr0)
{
    memset(v->gpr, 0, sizeof(v->gpr));
    v->gpr[R_EDX] = cpu_model_signature(machine_cpu_model(v->machine));
    v->eip = 0xfff0;
    v->eflags = EFL_ONE;
    v->cr0 = kept_cr0 | CR0_ET;
    v->cr2 = v->cr3 = v->cr4 = 0;
    memset(v->pdpte, 0, sizeof(v->pdpte));
    v->cpl = 0;
    v->halted = v->shutdown = v->nmi_blocked = v->waits_for_sipi = false;
    v->shadow = SHADOW_NONE;
    v->exc = (struct exception){0};
    v->delivering = -1;
    reset_segments(v);
    reset_debug(v);
}

void vcpu_reset(struct vcpu *v)
{
    reset_architecture(v, CR0_CD | CR0_NW);
    msr_reset(v);
    fpu_reset(v);
    mmu_reset(v);
    mmu_flush_all(v);
}

void vcpu_init(struct vcpu *v)
{
    reset_architecture(v, v->cr0 & (CR0_CD | CR0_NW));
    v->halted = v->waits_for_sipi = !(v->apic_base & LAPIC_BASE_BSP);
    mmu_flush_all(v);
}

void vcpu_start(struct vcpu *v, uint8_t page)
{
    v->halted = v->waits_for_sipi = false;
    v->seg[SEG_CS].sel = (uint16_t)(page << 8);
    v->seg[SEG_CS].base = (uint32_t)page << 12;
    v->eip = 0;
}

/* --- control registers --- */

#define CR0_KNOWN                                                                                  \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
/* Bits 1, 2, 5-8 and those above MAXPHYADDR (36) are reserved (vol. 3, table 4-8). */
#define PDPTE_RESERVED 0xfffffff0000001e6ull

static bool pae_paging(uint32_t cr0, uint32_t cr4)
{
    return (cr0 & CR0_PG) && (cr4 & CR4_PAE);
}

/* Loads the PDPTEs for PAE paging, all or none (vol. 3, 4.4.1). */
static void load_pdptes(struct vcpu *v, uint32_t cr3)
{
    uint64_t pdpte[4];
    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = phys_read(v->machine->phys, (cr3 & 0xffffffe0u) + 8 * i, 8);
        if ((pdpte[i] & PTE_P) && (pdpte[i] & PDPTE_RESERVED))
            raise_gp(v, 0);
    }
    memcpy(v->pdpte, pdpte, sizeof(pdpte));
}

static void cr0_write(struct vcpu *v, uint32_t value)
{
    value = (value & CR0_KNOWN) | CR0_ET;
    if ((value & CR0_PG) && !(value & CR0_PE))
        raise_gp(v, 0);
    if ((value & CR0_NW) && !(value & CR0_CD))
        raise_gp(v, 0);
    uint32_t changed = v->cr0 ^ value;
    if (pae_paging(value, v->cr4) && (changed & (CR0_PG | CR0_CD | CR0_NW)))
        load_pdptes(v, v->cr3);
    v->cr0 = value;
    if (changed & (CR0_PG | CR0_WP | CR0_PE))
        mmu_flush_all(v);
}

static void cr3_write(struct vcpu *v, uint32_t value)
{
    if (pae_paging(v->cr0, v->cr4))
        load_pdptes(v, value);
    v->cr3 = value;
    mmu_flush_nonglobal(v);
}

static void cr4_write(struct vcpu *v, uint32_t value)
{
    if (value & ~cpu_model_cr4(machine_cpu_model(v->machine)))
        raise_gp(v, 0);
    uint32_t changed = v->cr4 ^ value;
    if (pae_paging(v->cr0, value) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE)))
        load_pdptes(v, v->cr3);
    v->cr4 = value;
    if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP | CR4_SMAP))
        mmu_flush_all(v);
}

void cr_write(struct vcpu *v, unsigned n, uint32_t value)
{
    switch (n) {
    case 0:
        cr0_write(v, value);
        break;
    case 2:
        v->cr2 = value;
        break;
    case 3:
        cr3_write(v, value);
        break;
    case 4:
        cr4_write(v, value);
        break;
    default:
        raise_ud(v);
    }
}

uint32_t cr_read(struct vcpu *v, unsigned n)
{
    switch (n) {
    case 0:
        return v->cr0;
    case 2:
        return v->cr2;
    case 3:
        return v->cr3;
    case 4:
        return v->cr4;
    default:
        raise_ud(v);
    }
}

/* --- debug registers (vol. 3, 17.2) --- */

/* DR4 and DR5 name DR6 and DR7 unless CR4.DE is set. */
static unsigned debug_register(struct vcpu *v, unsigned n)
{
    if (n == 4 || n == 5) {
        if (v->cr4 & CR4_DE)
            raise_ud(v);
        n += 2;
    }
    if (v->dr[7] & DR7_GD)
        raise_db(v, DR6_BD);
    return n;
}

#define DR7_RESERVED 0x0000d800u /* zero: 11, 12, 14, 15 */

void dr_write(struct vcpu *v, unsigned n, uint32_t value)
{
    n = debug_register(v, n);
    if (n == 6)
        value = (value & (DR6_B | DR6_BD | DR6_BS | DR6_BT)) | DR6_FIXED;
    else if (n == 7)
        value = (value & ~DR7_RESERVED) | DR7_FIXED;
    v->dr[n] = value;
}

uint32_t dr_read(struct vcpu *v, unsigned n)
{
    return v->dr[debug_register(v, n)];
}

bool debug_active(const struct vcpu *v)
{
    return (v->eflags & EFL_TF) || (v->dr[7] & 0xff);
}

/* Breakpoint conditions, DR7's R/W fields. */
enum { BREAK_EXECUTE, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

static unsigned break_kind(const struct vcpu *v, unsigned i)
{
    unsigned kind = v->dr[7] >> (16 + 4 * i) & 3;
    return kind == BREAK_IO && !(v->cr4 & CR4_DE) ? 0xff : kind;
}

/* LEN 2 means eight bytes or is undefined; here it is eight, as on processors that have it. */
static uint32_t break_length(const struct vcpu *v, unsigned i)
{
    static const uint8_t length[] = {1, 2, 8, 4};
    return length[v->dr[7] >> (18 + 4 * i) & 3];
}

static bool break_enabled(const struct vcpu *v, unsigned i)
{
    return v->dr[7] >> (2 * i) & 3;
}

/* B bits of all that match, enabled or not, if at least one that matches is enabled. */
static uint32_t break_match(const struct vcpu *v, uint32_t at, uint32_t n, unsigned kinds)
{
    uint32_t hit = 0, enabled = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned kind = break_kind(v, i);
        if (kind > BREAK_ACCESS || !(kinds >> kind & 1))
            continue;
        uint32_t length = break_length(v, i), start = v->dr[i] & ~(length - 1);
        if (at - start >= length && start - at >= n)
            continue;
        hit |= 1u << i;
        enabled |= (uint32_t)break_enabled(v, i) << i;
    }
    return enabled ? hit : 0;
}

uint32_t debug_code_breakpoint(const struct vcpu *v, uint32_t la)
{
    if ((v->eflags & EFL_RF) || !(v->dr[7] & 0xff))
        return 0;
    return break_match(v, la, 1, 1u << BREAK_EXECUTE);
}

void debug_data_access(struct vcpu *v, uint32_t la, unsigned n, int write)
{
    if (v->dr[7] & 0xff)
        v->dr6_pending |=
            break_match(v, la, n, 1u << BREAK_ACCESS | (write ? 1u << BREAK_WRITE : 0));
}

void debug_io_access(struct vcpu *v, uint16_t port, unsigned n)
{
    if (v->dr[7] & 0xff)
        v->dr6_pending |= break_match(v, port, n, 1u << BREAK_IO);
}
