/* SPDX-License-Identifier: MIT */
/* mmu_walk.c: linear address -> guest-physical address, by the guest's own page tables (SDM vol. 3,
 * 4.3 and 4.4): 32-bit paging with PSE and PAE paging with NX. */
#include "runtime/mmu.h"

#include "runtime/lockstep.h"
#include "runtime/machine.h"
#include "runtime/phys.h"

/* MAXPHYADDR offered to the guest is 36. */
#define PAE_ADDRESS     0x0000000ffffff000ull
#define PAE_RESERVED    0x7ffffff000000000ull
#define PAE_RESERVED_2M 0x00000000001fe000ull
#define PSE_RESERVED    0x003e0000u
#define LARGE_2M        0x00200000u
#define SMALL_4K        0x00001000u
#define LARGE_4M        0x00400000u

/* One paging-structure entry in guest memory. */
struct gpte {
    uint64_t gpa;
    uint64_t value;
    unsigned size; /* 4 or 8 bytes */
};

/* The path of a walk: the directory entry, and the table entry unless the page is large. */
struct path {
    struct gpte pde, pte;
    bool large;
    uint64_t leaf; /* value that maps the page */
    uint64_t base; /* gpa of the page */
    uint32_t size;
    uint64_t nx, perm; /* NX of any level; W and U of all levels */
};

/* How often a processor walks is its own affair, so no device may answer: where there is no memory,
 * tables read as all ones. */
static struct gpte gpte_load(struct vcpu *v, uint64_t gpa, unsigned size)
{
    struct phys *p = v->machine->phys;
    const uint8_t *page = phys_hva(p, (uint32_t)(gpa >> 12));
    struct gpte e = {.gpa = gpa, .size = size};
    if (!page)
        e.value = size == 4 ? UINT32_MAX : UINT64_MAX;
    else if (size == 4)
        e.value = *(const uint32_t *)(page + (gpa & 0xfff));
    else
        e.value = *(const uint64_t *)(page + (gpa & 0xfff));
    return e;
}

static void gpte_set_bits(struct vcpu *v, struct gpte *e, uint64_t bits)
{
    if ((e->value & bits) == bits)
        return;
    e->value |= bits;
    if (v->machine->lockstep)
        lockstep_walked(v, e->gpa, e->size);
    phys_write(v->machine->phys, e->gpa, e->value, e->size);
}

/* Walks the tables. 0 if the path is complete, else PF_P clear or PF_R set as the error code has
 * it; -1 stands for "not present" since that code is 0. */
#define WALK_ABSENT (-1)
static int path_find_32(struct vcpu *v, uint32_t la, struct path *out)
{
    out->pde = gpte_load(v, (v->cr3 & 0xfffff000u) + (la >> 22) * 4, 4);
    uint32_t pde = (uint32_t)out->pde.value;
    if (!(pde & PTE_P))
        return WALK_ABSENT;
    if ((pde & PTE_PS) && (v->cr4 & CR4_PSE)) {
        if (pde & PSE_RESERVED)
            return PF_P | PF_R;
        out->large = true;
        out->leaf = pde;
        out->base = (pde & 0xffc00000u) | (uint64_t)(pde >> 13 & 0xf) << 32;
        out->size = LARGE_4M;
        out->perm = pde & (PTE_W | PTE_U);
        return 0;
    }
    out->pte = gpte_load(v, (pde & 0xfffff000u) + (la >> 12 & 0x3ff) * 4, 4);
    uint32_t pte = (uint32_t)out->pte.value;
    if (!(pte & PTE_P))
        return WALK_ABSENT;
    out->leaf = pte;
    out->base = pte & 0xfffff000u;
    out->size = 0x1000;
    out->perm = pde & pte & (PTE_W | PTE_U);
    return 0;
}

static bool pae_reserved(const struct vcpu *v, uint64_t entry, uint64_t more)
{
    uint64_t mask = PAE_RESERVED | more;
    if (!(v->efer & EFER_NXE))
        mask |= PTE_NX;
    return entry & mask;
}

static int path_find_pae(struct vcpu *v, uint32_t la, struct path *out)
{
    uint64_t pdpte = v->pdpte[la >> 30];
    if (!(pdpte & PTE_P))
        return WALK_ABSENT;
    out->pde = gpte_load(v, (pdpte & PAE_ADDRESS) + (la >> 21 & 0x1ff) * 8, 8);
    uint64_t pde = out->pde.value;
    if (!(pde & PTE_P))
        return WALK_ABSENT;
    if (pae_reserved(v, pde, pde & PTE_PS ? PAE_RESERVED_2M : 0))
        return PF_P | PF_R;
    if (pde & PTE_PS) {
        out->large = true;
        out->leaf = pde;
        out->base = pde & PAE_ADDRESS & ~(uint64_t)(LARGE_2M - 1);
        out->size = LARGE_2M;
        out->perm = pde & (PTE_W | PTE_U);
        out->nx = pde & PTE_NX;
        return 0;
    }
    out->pte = gpte_load(v, (pde & PAE_ADDRESS) + (la >> 12 & 0x1ff) * 8, 8);
    uint64_t pte = out->pte.value;
    if (!(pte & PTE_P))
        return WALK_ABSENT;
    if (pae_reserved(v, pte, 0))
        return PF_P | PF_R;
    out->leaf = pte;
    out->base = pte & PAE_ADDRESS;
    out->size = 0x1000;
    out->perm = pde & pte & (PTE_W | PTE_U);
    out->nx = (pde | pte) & PTE_NX;
    return 0;
}

/* SMEP and SMAP keep the supervisor out of the user's pages. */
static bool supervisor_kept_out(const struct vcpu *v, enum access access, enum walk_as as)
{
    return access == ACC_EXEC ? v->cr4 & CR4_SMEP : as != AS_OPEN && (v->cr4 & CR4_SMAP);
}

/* Access rights of a complete path (vol. 3, 4.6.1). */
static bool path_allows(const struct vcpu *v, const struct path *p, enum access access,
                        enum walk_as as)
{
    bool user = as == AS_USER;
    if (user ? !(p->perm & PTE_U) : (p->perm & PTE_U) && supervisor_kept_out(v, access, as))
        return false;
    if (access == ACC_EXEC)
        return !p->nx;
    if (access == ACC_WRITE && !(p->perm & PTE_W))
        return !user && !(v->cr0 & CR0_WP);
    return true;
}

static uint32_t access_error(const struct vcpu *v, enum access access, bool user)
{
    uint32_t error = user ? PF_U : 0;
    if (access == ACC_WRITE)
        error |= PF_W;
    bool tells_fetch = (v->cr4 & CR4_SMEP) || ((v->efer & EFER_NXE) && (v->cr4 & CR4_PAE));
    if (access == ACC_EXEC && tells_fetch)
        error |= PF_I;
    return error;
}

static void path_commit(struct vcpu *v, struct path *p, enum access access)
{
    uint64_t leaf_bits = access == ACC_WRITE ? PTE_A | PTE_D : PTE_A;
    gpte_set_bits(v, &p->pde, p->large ? leaf_bits : PTE_A);
    if (!p->large)
        gpte_set_bits(v, &p->pte, leaf_bits);
    p->leaf = p->large ? p->pde.value : p->pte.value;
}

/* With A20 closed, neighbours of 1 MiB fall onto each other: nothing but single pages is told. */
static struct walk walk_gate(const struct vcpu *v, struct walk w)
{
    if (!phys_a20(v->machine->phys)) {
        w.gpa = phys_gate(v->machine->phys, w.gpa);
        w.page_size = SMALL_4K;
    }
    return w;
}

static struct walk walk_identity(uint32_t la)
{
    return (struct walk){.ok = true,
                         .gpa = la,
                         .writable = true,
                         .user = true,
                         .dirty = true,
                         .page_size = LARGE_4M};
}

struct walk mmu_walk(struct vcpu *v, uint32_t la, enum access access, enum walk_as as, bool commit)
{
    if (!(v->cr0 & CR0_PG))
        return walk_gate(v, walk_identity(la));
    struct path path = {0};
    int missing = v->cr4 & CR4_PAE ? path_find_pae(v, la, &path) : path_find_32(v, la, &path);
    struct walk w = {.error = access_error(v, access, as == AS_USER)};
    if (missing) {
        w.error |= missing == WALK_ABSENT ? 0 : (uint32_t)missing;
        return w;
    }
    if (!path_allows(v, &path, access, as)) {
        w.error |= PF_P;
        return w;
    }
    if (commit)
        path_commit(v, &path, access);
    w.ok = true;
    w.gpa = path.base + (la & (path.size - 1));
    w.writable = path_allows(v, &path, ACC_WRITE, as);
    w.user = path.perm & PTE_U;
    w.dirty = path.leaf & PTE_D;
    w.accessed = path.leaf & path.pde.value & PTE_A;
    w.global = (path.leaf & PTE_G) && (v->cr4 & CR4_PGE);
    w.nx = path.nx;
    w.page_size = path.size;
    return walk_gate(v, w);
}
