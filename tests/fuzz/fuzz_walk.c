/* SPDX-License-Identifier: MIT */
/* fuzz_walk.c: page tables and control bits from the input, and walks through them, compared with a
 * model that is written from SDM vol. 3, 4.3, 4.4 and 4.6 alone. */
#include "tests/fuzz/fuzz.h"

#include "runtime/mmu.h"
#include "runtime/phys.h"

#include <string.h>

#define TABLES      0x20000u /* eight pages */
#define TABLE_BYTES 0x8000u
#define WALKS       64u

struct model {
    bool fault;
    uint32_t error;
    uint64_t gpa;
    bool writable, user, large;
    uint64_t entry_at[2]; /* of the directory and the table entry */
};

static uint64_t load(struct machine *m, uint64_t gpa, unsigned size)
{
    return phys_read(m->phys, gpa, size);
}

/* Bits that must be zero in a present entry (4.3, 4.4.2), with MAXPHYADDR 36. */
static bool reserved(const struct vcpu *v, uint64_t entry, bool pae, bool large)
{
    if (!pae) /* a 4 MiB entry holds address bits 35:32 in 16:13 */
        return large && (entry >> 17 & 0x1f);
    if (entry >> 36 & 0x7ffffff)
        return true;
    if (entry >> 63 && !(v->efer & EFER_NXE))
        return true;
    return large && (entry >> 13 & 0xff);
}

/* The supervisor in a user's page (4.6.1): SMEP and SMAP. */
static bool kept_out(const struct vcpu *v, enum access access, enum walk_as as)
{
    if (access == ACC_EXEC)
        return v->cr4 & CR4_SMEP;
    return (v->cr4 & CR4_SMAP) && as == AS_SUPERVISOR;
}

static struct model walk_model(struct machine *m, uint32_t la, enum access access, enum walk_as as)
{
    const struct vcpu *v = m->vcpu;
    bool pae = v->cr4 & CR4_PAE, user = as == AS_USER;
    struct model r = {.error = (user ? 4u : 0) | (access == ACC_WRITE ? 2u : 0)};
    if (access == ACC_EXEC && ((pae && (v->efer & EFER_NXE)) || (v->cr4 & CR4_SMEP)))
        r.error |= 16;
    r.fault = true;
    uint64_t pde, pte = 0, rights;
    if (pae) {
        uint64_t pdpte = v->pdpte[la >> 30];
        if (!(pdpte & 1))
            return r;
        r.entry_at[0] = (pdpte & 0xffffff000ull) + 8 * (la >> 21 & 511);
    } else {
        r.entry_at[0] = (v->cr3 & 0xfffff000) + 4 * (la >> 22);
    }
    pde = load(m, r.entry_at[0], pae ? 8 : 4);
    if (!(pde & 1))
        return r;
    r.large = (pde & 0x80) && (pae || (v->cr4 & CR4_PSE));
    if (reserved(v, pde, pae, r.large)) {
        r.error |= 9;
        return r;
    }
    if (r.large) {
        rights = pde;
        r.gpa = pae ? (pde & 0xfffe00000ull) | (la & 0x1fffff)
                    : (pde & 0xffc00000) | (pde >> 13 & 15) << 32 | (la & 0x3fffff);
    } else {
        r.entry_at[1] =
            (pde & 0xffffff000ull) + (pae ? 8 * (la >> 12 & 511) : 4 * (la >> 12 & 1023));
        pte = load(m, r.entry_at[1], pae ? 8 : 4);
        if (!(pte & 1))
            return r;
        if (reserved(v, pte, pae, false)) {
            r.error |= 9;
            return r;
        }
        rights = (pde & pte) | ((pde | pte) & 1ull << 63);
        r.gpa = (pte & 0xffffff000ull) | (la & 0xfff);
    }
    r.user = rights & 4;
    r.writable = user ? (rights & 6) == 6 : (rights & 2) || !(v->cr0 & CR0_WP);
    if (!user && r.user && kept_out(v, ACC_WRITE, as))
        r.writable = false;
    bool refused = (user ? !r.user : r.user && kept_out(v, access, as)) ||
                   (access == ACC_WRITE && !r.writable) || (access == ACC_EXEC && rights >> 63);
    if (refused)
        r.error |= 1;
    r.fault = refused;
    return r;
}

/* Tables in devices have effects of their own. */
static bool in_ram(struct machine *m, const struct model *r)
{
    for (unsigned i = 0; i < 2; i++)
        if (phys_kind(m->phys, (uint32_t)(r->entry_at[i] >> 12)) != PHYS_RAM ||
            r->entry_at[i] >> 32)
            return false;
    return true;
}

static void check_bits(struct machine *m, const struct model *r, enum access access,
                       const uint64_t before[2])
{
    unsigned size = m->vcpu->cr4 & CR4_PAE ? 8 : 4;
    uint64_t leaf = access == ACC_WRITE ? 0x60 : 0x20;
    uint64_t now[2] = {load(m, r->entry_at[0], size), load(m, r->entry_at[1], size)};
    uint64_t wanted = before[0] | (r->large ? leaf : 0x20);
    if (r->entry_at[0] == r->entry_at[1] && !r->large)
        return; /* one entry in both roles */
    if (now[0] != wanted)
        fuzz_fail("directory entry %llx, not %llx", (unsigned long long)now[0],
                  (unsigned long long)wanted);
    if (!r->large && now[1] != (before[1] | leaf))
        fuzz_fail("table entry %llx, not %llx", (unsigned long long)now[1],
                  (unsigned long long)(before[1] | leaf));
}

static void walk(struct machine *m, struct reader *r)
{
    uint32_t la = fuzz_take(r, 4), how = fuzz_take(r, 1);
    enum access access = how % 3;
    enum walk_as as = how & 4 ? AS_USER : how & 16 ? AS_OPEN : AS_SUPERVISOR;
    bool user = as == AS_USER, commit = how & 8;
    unsigned size = m->vcpu->cr4 & CR4_PAE ? 8 : 4;
    struct model want = walk_model(m, la, access, as);
    if (!in_ram(m, &want))
        return;
    uint64_t before[2] = {load(m, want.entry_at[0], size), load(m, want.entry_at[1], size)};
    struct walk got = mmu_walk(m->vcpu, la, access, as, commit);
    if (got.ok == want.fault || (want.fault && got.error != want.error))
        fuzz_fail("la %x access %u user %u: %s %x, model %s %x", la, access, user,
                  got.ok ? "ok" : "fault", got.error, want.fault ? "fault" : "ok", want.error);
    if (got.ok && (got.gpa != want.gpa || got.user != want.user || got.writable != want.writable))
        fuzz_fail("la %x: gpa %llx user %u writable %u, model %llx %u %u", la,
                  (unsigned long long)got.gpa, got.user, got.writable, (unsigned long long)want.gpa,
                  want.user, want.writable);
    if (got.ok && commit)
        check_bits(m, &want, access, before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m = fuzz_machine(ENGINE_INTERP);
    struct vcpu *v = m->vcpu;
    struct reader r = {data, data + size};
    static uint8_t tables[TABLE_BYTES];
    if (size < 16)
        return 0;
    fuzz_processor(m);
    uint32_t bits = fuzz_take(&r, 1);
    v->cr0 |= CR0_PG | (bits & 1 ? CR0_WP : 0);
    v->cr4 = (bits & 2 ? CR4_PAE : 0) | (bits & 4 ? CR4_PSE : 0) | (bits & 8 ? CR4_PGE : 0);
    v->efer = bits & 16 ? EFER_NXE : 0;
    uint32_t base = fuzz_take(&r, 1);
    v->cr4 |= (base & 8 ? CR4_SMEP : 0) | (base & 16 ? CR4_SMAP : 0);
    v->cr3 = TABLES + (base & 7) * 0x1000;
    for (unsigned i = 0; i < 4; i++)
        v->pdpte[i] = (TABLES + (fuzz_take(&r, 1) & 7) * 0x1000) | (bits >> (4 + i) & 1);
    /* Entries repeat, so that a short input fills all tables; low addresses are likely. */
    unsigned count = 1 + fuzz_take(&r, 1) % 32, width = bits & 2 ? 8 : 4;
    memset(tables, 0, sizeof tables);
    for (unsigned i = 0; i < count && r.at < r.end; i++) {
        uint64_t entry = fuzz_take(&r, 4);
        if (width == 8)
            entry |= (uint64_t)fuzz_take(&r, 4) << 32;
        for (unsigned at = i; at < TABLE_BYTES / width; at += count)
            memcpy(tables + at * width, &entry, width);
    }
    phys_dma_write(m->phys, TABLES, tables, sizeof tables);
    for (unsigned n = 0; n < WALKS && r.at < r.end; n++)
        walk(m, &r);
    v->cr0 &= ~CR0_PG;
    return 0;
}
