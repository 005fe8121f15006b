/* SPDX-License-Identifier: MIT */
/* mmu.c: memory as instructions see it: software TLB in front of the walk, page crossings, devices,
 * watched code. The fast path of each accessor is a tag compare and a load.
 *
 * Invariant: a TLB tag for writes is only ever set for a RAM frame that is not watched and whose
 * dirty bit is set; mmu_protect_frame() takes such tags back. */
#include "runtime/mmu.h"

#include "runtime/exception.h"
#include "runtime/machine.h"
#include "runtime/phys.h"

#include <string.h>

#define PAGE_MASK     0xfffu
#define PAGE_LEFT(la) (0x1000u - ((la)&PAGE_MASK))

static struct tlb_entry *tlb_slot(struct vcpu *v, uint32_t la, enum walk_as as)
{
    return &v->tlb[as][la >> 12 & (TLB_SIZE - 1)];
}

static void tlb_clear(struct vcpu *v, struct tlb_entry *e)
{
    (&v->tlb_mixed[0][0])[e - &v->tlb[0][0]] = TLB_PROBE_INVALID;
    e->tag[ACC_READ] = e->tag[ACC_WRITE] = e->tag[ACC_EXEC] = TLB_INVALID;
    e->probe[ACC_READ] = e->probe[ACC_WRITE] = TLB_PROBE_INVALID;
    e->gfn = UINT32_MAX;
}

static struct tlb_entry *tlb_numbered(struct vcpu *v, unsigned n)
{
    return &v->tlb[n / TLB_SIZE][n % TLB_SIZE];
}

static void tlb_flush(struct vcpu *v)
{
    if (v->tlb_fills <= TLB_FILL_LIST)
        for (unsigned i = 0; i < v->tlb_fills; i++)
            tlb_clear(v, tlb_numbered(v, v->tlb_filled[i]));
    else
        for (unsigned i = 0; i < TLB_COUNT * TLB_SIZE; i++)
            tlb_clear(v, tlb_numbered(v, i));
    v->tlb_fills = 0;
    memset(v->tlb_large, 0, sizeof(v->tlb_large));
}

void mmu_reset(struct vcpu *v)
{
    v->tlb_fills = TLB_FILL_LIST + 1;
    tlb_flush(v);
}

/* Enters what a committed walk has shown. Nothing for MMIO, and nothing that SMAP lets the
 * supervisor execute only. */
static void tlb_fill(struct vcpu *v, uint32_t la, enum walk_as as, enum access access,
                     const struct walk *w)
{
    if (as == AS_SUPERVISOR && w->user && (v->cr4 & CR4_SMAP))
        return;
    struct phys *p = v->machine->phys;
    uint32_t page = la & ~PAGE_MASK, gfn = (uint32_t)(w->gpa >> 12);
    enum phys_kind kind = phys_kind(p, gfn);
    if (kind == PHYS_MMIO)
        return;
    struct tlb_entry *e = tlb_slot(v, la, as);
    if (e->gfn != gfn ||
        (e->tag[ACC_READ] != page && e->tag[ACC_WRITE] != page && e->tag[ACC_EXEC] != page))
        tlb_clear(v, e);
    if (e->gfn != gfn && v->tlb_fills <= TLB_FILL_LIST) { /* and stays one more when it is full */
        if (v->tlb_fills < TLB_FILL_LIST)
            v->tlb_filled[v->tlb_fills] = (uint16_t)(e - &v->tlb[0][0]);
        v->tlb_fills++;
    }
    if (w->page_size > 0x1000)
        v->tlb_large[la >> 27] |= 1u << (la >> 22 & 31);
    e->gfn = gfn;
    e->host = phys_hva(p, gfn);
    e->tag[ACC_READ] = page;
    e->probe[ACC_READ] = -(page >> 12);
    if (access == ACC_EXEC)
        e->tag[ACC_EXEC] = page;
    if (kind != PHYS_RAM || !w->writable || !w->dirty)
        return;
    if (!phys_watched(p, gfn)) {
        e->tag[ACC_WRITE] = page;
        e->probe[ACC_WRITE] = -(page >> 12);
    } else if (phys_watchers(p, gfn) == PHYS_WATCH_BT) {
        v->tlb_mixed[as][e - v->tlb[as]] = -(page >> 12);
    }
}

/* Guest-physical address for an access, raising #PF. */
static uint64_t translate(struct vcpu *v, uint32_t la, enum walk_as as, enum access access)
{
    struct walk w = mmu_walk(v, la, access, as, true);
    if (!w.ok)
        raise_pf(v, la, w.error);
    tlb_fill(v, la, as, access, &w);
    return w.gpa;
}

static inline uint8_t *tlb_hit(struct vcpu *v, uint32_t la, unsigned n, enum walk_as as,
                               enum access access)
{
    struct tlb_entry *e = tlb_slot(v, la, as);
    if (e->tag[access] != (la & ~PAGE_MASK) || n > PAGE_LEFT(la))
        return NULL;
    return e->host + (la & PAGE_MASK);
}

static uint64_t read_slow(struct vcpu *v, uint32_t la, unsigned n, enum walk_as as)
{
    if (n <= PAGE_LEFT(la))
        return phys_read(v->machine->phys, translate(v, la, as, ACC_READ), n);
    uint64_t value = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t gpa = translate(v, la + i, as, ACC_READ);
        value |= phys_read(v->machine->phys, gpa, 1) << (8 * i);
    }
    return value;
}

static void write_slow(struct vcpu *v, uint32_t la, uint64_t value, unsigned n, enum walk_as as)
{
    if (n <= PAGE_LEFT(la)) {
        phys_write(v->machine->phys, translate(v, la, as, ACC_WRITE), value, n);
        return;
    }
    unsigned left = PAGE_LEFT(la);
    uint64_t first = translate(v, la, as, ACC_WRITE);
    uint64_t second = translate(v, la + left, as, ACC_WRITE);
    for (unsigned i = 0; i < n; i++) {
        uint64_t gpa = i < left ? first + i : second + (i - left);
        phys_write(v->machine->phys, gpa, value >> (8 * i) & 0xff, 1);
    }
}

static enum walk_as as_now(const struct vcpu *v)
{
    return mmu_as(v, v->eflags);
}

#define ACCESSORS(bits)                                                                            \
    uint##bits##_t mmu_read##bits(struct vcpu *v, uint32_t la)                                     \
    {                                                                                              \
        uint##bits##_t value;                                                                      \
        const uint8_t *host = tlb_hit(v, la, bits / 8, as_now(v), ACC_READ);                       \
        if (!host)                                                                                 \
            return (uint##bits##_t)read_slow(v, la, bits / 8, as_now(v));                          \
        memcpy(&value, host, sizeof(value));                                                       \
        return value;                                                                              \
    }                                                                                              \
    void mmu_write##bits(struct vcpu *v, uint32_t la, uint##bits##_t value)                        \
    {                                                                                              \
        uint8_t *host = tlb_hit(v, la, bits / 8, as_now(v), ACC_WRITE);                            \
        if (host)                                                                                  \
            memcpy(host, &value, sizeof(value));                                                   \
        else                                                                                       \
            write_slow(v, la, value, bits / 8, as_now(v));                                         \
    }
ACCESSORS(8)
ACCESSORS(16)
ACCESSORS(32)
ACCESSORS(64)
#undef ACCESSORS

uint64_t mmu_sys_read(struct vcpu *v, uint32_t la, unsigned n)
{
    const uint8_t *host = tlb_hit(v, la, n, AS_SUPERVISOR, ACC_READ);
    if (!host)
        return read_slow(v, la, n, AS_SUPERVISOR);
    uint64_t value = 0;
    memcpy(&value, host, n);
    return value;
}

void mmu_sys_write(struct vcpu *v, uint32_t la, uint64_t value, unsigned n)
{
    uint8_t *host = tlb_hit(v, la, n, AS_SUPERVISOR, ACC_WRITE);
    if (host)
        memcpy(host, &value, n);
    else
        write_slow(v, la, value, n, AS_SUPERVISOR);
}

void mmu_sys_probe(struct vcpu *v, uint32_t la, size_t n, enum access access, enum walk_as as)
{
    for (size_t done = 0; done < n;) {
        uint32_t at = la + (uint32_t)done;
        translate(v, at, as, access);
        done += PAGE_LEFT(at);
    }
}

void mmu_probe(struct vcpu *v, uint32_t la, size_t n, enum access access)
{
    mmu_sys_probe(v, la, n, access, as_now(v));
}

/* As much of n bytes as a device's register takes at once. */
static unsigned transfer_piece(struct vcpu *v, uint32_t la, uint8_t *buf, size_t n,
                               enum access access)
{
    unsigned size = n >= 4 ? 4 : n >= 2 ? 2 : 1;
    uint32_t value = 0;
    if (access == ACC_READ) {
        value = size == 4 ? mmu_read32(v, la) : size == 2 ? mmu_read16(v, la) : mmu_read8(v, la);
        memcpy(buf, &value, size);
        return size;
    }
    memcpy(&value, buf, size);
    if (size == 4)
        mmu_write32(v, la, value);
    else if (size == 2)
        mmu_write16(v, la, (uint16_t)value);
    else
        mmu_write8(v, la, (uint8_t)value);
    return size;
}

/* One page's part of a long transfer: through the host pointer, or piece by piece. */
static void transfer(struct vcpu *v, uint32_t la, uint8_t *buf, size_t n, enum access access)
{
    uint8_t *host = mmu_direct(v, la, n, access);
    if (host && access == ACC_READ)
        memcpy(buf, host, n);
    else if (host)
        memcpy(host, buf, n);
    else
        for (size_t i = 0; i < n;)
            i += transfer_piece(v, la + (uint32_t)i, buf + i, n - i, access);
}

static void transfer_all(struct vcpu *v, uint32_t la, uint8_t *buf, size_t n, enum access access)
{
    mmu_probe(v, la, n, access);
    for (size_t done = 0; done < n;) {
        uint32_t at = la + (uint32_t)done;
        size_t part = PAGE_LEFT(at) < n - done ? PAGE_LEFT(at) : n - done;
        transfer(v, at, buf + done, part, access);
        done += part;
    }
}

void mmu_read(struct vcpu *v, uint32_t la, void *buf, size_t n)
{
    transfer_all(v, la, buf, n, ACC_READ);
}

void mmu_write(struct vcpu *v, uint32_t la, const void *buf, size_t n)
{
    transfer_all(v, la, (uint8_t *)buf, n, ACC_WRITE);
}

uint64_t mmu_fetch(struct vcpu *v, uint32_t la, const uint8_t **host)
{
    struct tlb_entry *e = tlb_slot(v, la, as_now(v));
    if (e->tag[ACC_EXEC] == (la & ~PAGE_MASK)) {
        *host = e->host + (la & PAGE_MASK);
        return (uint64_t)e->gfn << 12 | (la & PAGE_MASK);
    }
    uint64_t gpa = translate(v, la, as_now(v), ACC_EXEC);
    const uint8_t *page = phys_hva(v->machine->phys, (uint32_t)(gpa >> 12));
    *host = page ? page + (la & PAGE_MASK) : NULL;
    return gpa;
}

void *mmu_direct(struct vcpu *v, uint32_t la, size_t n, enum access access)
{
    if (n > PAGE_LEFT(la))
        return NULL;
    uint8_t *host = tlb_hit(v, la, (unsigned)n, as_now(v), access);
    if (host)
        return host;
    struct walk w = mmu_walk(v, la, access, as_now(v), true);
    if (!w.ok)
        return NULL;
    tlb_fill(v, la, as_now(v), access, &w);
    return tlb_hit(v, la, (unsigned)n, as_now(v), access);
}

static void tell(struct vcpu *v, enum tlb_event event, uint32_t arg)
{
    if (v->tlb_listener)
        v->tlb_listener(v, event, arg);
}

void mmu_flush_all(struct vcpu *v)
{
    v->machine->stats.flush_all++;
    tlb_flush(v);
    tell(v, TLB_FLUSH_ALL, 0);
}

void mmu_flush_nonglobal(struct vcpu *v)
{
    v->machine->stats.cr3_loads++;
    tlb_flush(v); /* global entries may go, too (vol. 3, 4.10.4.1 only requires the others) */
    tell(v, TLB_CR3, 0);
}

void mmu_invlpg(struct vcpu *v, uint32_t la)
{
    v->machine->stats.invlpgs++;
    if (v->tlb_large[la >> 27] >> (la >> 22 & 31) & 1)
        tlb_flush(v);
    tlb_clear(v, tlb_slot(v, la, AS_SUPERVISOR));
    tlb_clear(v, tlb_slot(v, la, AS_USER));
    if (v->cr4 & CR4_SMAP)
        tlb_clear(v, tlb_slot(v, la, AS_OPEN));
    tell(v, TLB_INVLPG, la);
}

void mmu_protect_frame(struct vcpu *v, uint32_t gfn)
{
    for (unsigned i = 0; i < TLB_COUNT * TLB_SIZE; i++) {
        struct tlb_entry *e = tlb_numbered(v, i);
        if (e->gfn == gfn) {
            e->tag[ACC_WRITE] = TLB_INVALID;
            e->probe[ACC_WRITE] = TLB_PROBE_INVALID;
        }
    }
    tell(v, TLB_PROTECT, gfn);
}
