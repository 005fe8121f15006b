/* SPDX-License-Identifier: MIT */
/* mmu.h: guest page-table walks, the software TLB, and memory as instructions see it (SDM vol. 3,
 * ch. 4 and 5). All accessors may raise guest exceptions (see exception.h) and handle page-crossing
 * accesses, MMIO and watched code pages. A crossing store checks both pages before it writes. */
#ifndef RINGDOWN_RUNTIME_MMU_H
#define RINGDOWN_RUNTIME_MMU_H

#include "ringdown/cpu.h"

#include <stddef.h>

enum access { ACC_READ, ACC_WRITE, ACC_EXEC };

/* What a walk found. */
struct walk {
    bool ok;
    uint32_t error; /* page-fault error code if !ok */
    uint64_t gpa;   /* of the byte asked for */
    bool writable;  /* at the privilege asked for */
    bool user;      /* U/S of the whole path */
    bool dirty;     /* D is set */
    bool accessed;  /* A is set at every level */
    bool global;    /* G and CR4.PGE */
    bool nx;
    uint32_t page_size; /* bytes covered by the leaf: 4 KiB, 2 MiB or 4 MiB */
};

/* On whose behalf memory is accessed (vol. 3, 4.6.1): AS_OPEN is the supervisor where SMAP does not
 * stop it, since EFLAGS.AC is set; AS_SUPERVISOR is so in force wherever CR4.SMAP is. Whether it is
 * the user alone converts. */
enum walk_as { AS_SUPERVISOR = false, AS_USER = true, AS_OPEN };

/* Walks for an access on behalf of `as`. With `commit`, sets A (and D for a write) as the
 * processor does; without, changes nothing. Never raises. */
struct walk mmu_walk(struct vcpu *v, uint32_t la, enum access access, enum walk_as as, bool commit);

/* Whom explicit accesses are on behalf of, at this privilege and with these flags. */
static inline enum walk_as mmu_as(const struct vcpu *v, uint32_t eflags)
{
    if (v->cpl == 3)
        return AS_USER;
    return (v->cr4 & CR4_SMAP) && (eflags & EFL_AC) ? AS_OPEN : AS_SUPERVISOR;
}

/* Linear accesses at the current privilege (CPL 3 is user). */
uint8_t mmu_read8(struct vcpu *v, uint32_t la);
uint16_t mmu_read16(struct vcpu *v, uint32_t la);
uint32_t mmu_read32(struct vcpu *v, uint32_t la);
uint64_t mmu_read64(struct vcpu *v, uint32_t la);
void mmu_write8(struct vcpu *v, uint32_t la, uint8_t value);
void mmu_write16(struct vcpu *v, uint32_t la, uint16_t value);
void mmu_write32(struct vcpu *v, uint32_t la, uint32_t value);
void mmu_write64(struct vcpu *v, uint32_t la, uint64_t value);
/* Any length up to 512 bytes (SSE operands, FXSAVE, FNSAVE). */
void mmu_read(struct vcpu *v, uint32_t la, void *buf, size_t n);
void mmu_write(struct vcpu *v, uint32_t la, const void *buf, size_t n);
/* Raise now what a read-modify-write of n bytes would raise; nothing is changed but A and D. */
void mmu_probe(struct vcpu *v, uint32_t la, size_t n, enum access access);

/* The same with supervisor privilege whatever CPL and EFLAGS.AC are: descriptor tables, TSS, stack
 * of the inner ring (vol. 3, 4.6.1, implicit supervisor-mode accesses). n is 1, 2, 4 or 8. */
uint64_t mmu_sys_read(struct vcpu *v, uint32_t la, unsigned n);
void mmu_sys_write(struct vcpu *v, uint32_t la, uint64_t value, unsigned n);
void mmu_sys_probe(struct vcpu *v, uint32_t la, size_t n, enum access access, enum walk_as as);

/* Instruction fetch: gpa of the byte at `la`, raising #PF if it can't be fetched. *host points at
 * the byte in the monitor's mapping, NULL when it is not RAM or ROM. */
uint64_t mmu_fetch(struct vcpu *v, uint32_t la, const uint8_t **host);

/* Host pointer to [la, la+n) if it lies in one page of plain RAM that this access may touch
 * directly, else NULL (never raises, sets A/D when it succeeds). The pointer holds until the next
 * guest instruction. */
void *mmu_direct(struct vcpu *v, uint32_t la, size_t n, enum access access);

/* Empties the TLB of a new vCPU; must precede any access. */
void mmu_reset(struct vcpu *v);

/* TLB control; each also brings the views up to date. */
void mmu_flush_all(struct vcpu *v);       /* CR0.PG/WP, CR4.PGE/PSE/PAE, EFER.NXE, A20 */
void mmu_flush_nonglobal(struct vcpu *v); /* CR3 load, the new value is in v->cr3 */
void mmu_invlpg(struct vcpu *v, uint32_t la);
/* A frame's write permission is withdrawn (it became watched). */
void mmu_protect_frame(struct vcpu *v, uint32_t gfn);

#endif
