/* SPDX-License-Identifier: MIT */
/* view.c: fills views from the guest's page tables and keeps them as coherent as a TLB must be.
 *
 * The architecture lets a TLB be stale until INVLPG, a CR3 load or a CR0/CR4 change; so the guest's
 * tables are not traced. Each slot keeps a copy of the table entries it was filled from, and on
 * those events the copies are compared with the tables: what has changed is unmapped, to fault in
 * again. Global pages are spared the comparison on a CR3 load.
 *
 * The host limits the number of its mappings, and the views' tables have a budget of their own:
 * when the views together come near either, the least recently used one is emptied. Any failure to
 * map makes the interpreter execute the access instead: it costs speed, never correctness. */
#include "runtime/view.h"

#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"
#include "runtime/view_map.h"
#include "translator/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Two are the supervisor's, the others address spaces of users. */
enum { VIEW_SUPERVISOR, VIEW_OPEN, VIEW_FIRST_USER, VIEW_COUNT = 1024 };
#define CR3_HASH 16384u
/* CR3 loads for which a view stays although others could use it: what is loaded less often than
 * that belongs to a process that has ended, or is as good as new. */
#define VIEW_KEEP   768u
#define PTE_AVL     0xe00ull
#define MAP_RESERVE 8192u /* host mappings left for everything else */
#define MAP_DEFAULT 65530u
#define HOST_MIN    4u /* so few the views can do with */
/* Bytes that all tables of all views may have: some 500 address spaces of 16 slots each. */
#define TABLES_MAX ((size_t)112 << 20)
/* What one fill may add, and the noting of a page of code. */
#define TABLES_STEP (SLOT_PAGES * (sizeof(uint32_t) + sizeof(uint64_t)) + HOST_TABLE_BYTES)

struct views {
    struct vcpu *v;
    struct phys *phys;
    struct view view[VIEW_COUNT];
    struct view *current_user;
    unsigned top; /* views from here on were never used */
    uint16_t by_cr3[CR3_HASH];
    struct rmap *rmap;
    void *reservation;
    size_t reserved;
    uint64_t base, clock;
    struct slot *slots; /* of all views */
    struct view_totals totals;
    uint32_t budget;    /* host mappings allowed in all views, gaps not counted */
    uint64_t broken;    /* bit number % 64 of views that must be emptied */
    uint64_t signature; /* of the control bits that the views were filled under */
};

static unsigned host_map_limit(void)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    unsigned limit = MAP_DEFAULT;
    if (f) {
        if (fscanf(f, "%u", &limit) != 1)
            limit = MAP_DEFAULT;
        fclose(f);
    }
    return limit;
}

static unsigned host_map_count(void)
{
    FILE *f = fopen("/proc/self/maps", "re");
    unsigned count = 0;
    if (!f)
        return MAP_RESERVE / 2;
    for (int c; (c = fgetc(f)) != EOF;)
        count += c == '\n';
    fclose(f);
    return count;
}

/* A mapping may cost two: itself and the gap before it. Half of what is left belongs to everything
 * else, up to MAP_RESERVE: nobody can tell what the C library will map. */
static uint32_t host_budget(void)
{
    unsigned limit = host_map_limit(), count = host_map_count();
    unsigned left = limit > count ? limit - count : 0;
    unsigned budget = (left - (left / 2 < MAP_RESERVE ? left / 2 : MAP_RESERVE)) / 2;
    return budget > HOST_MIN ? budget : HOST_MIN;
}

/* What every mapping depends on: the paging mode, and what stands behind the frames. */
static uint64_t control_signature(const struct vcpu *v)
{
    const uint32_t cr4 = CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP | CR4_SMAP;
    return (v->cr0 & (CR0_PG | CR0_WP)) | (uint64_t)(v->cr4 & cr4) << 32 |
           (v->efer & EFER_NXE) << 44 | (phys_generation(v->machine->phys) & 0xffff);
}

static bool create_windows(struct views *w)
{
    w->reserved = VIEW_COUNT * VIEW_STRIDE + 2 * VIEW_SIZE;
    w->reservation =
        place_mapping(w->reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (w->reservation == MAP_FAILED) {
        w->reservation = NULL;
        return false;
    }
    /* The first window has guard space below it, too. */
    w->base = ((uint64_t)w->reservation + 2 * VIEW_SIZE - 1) & ~(VIEW_SIZE - 1);
    for (unsigned i = 0; i < VIEW_COUNT; i++) {
        w->view[i].base = w->base + i * VIEW_STRIDE;
        w->view[i].number = (uint16_t)i;
        w->view[i].as = i == VIEW_SUPERVISOR ? AS_SUPERVISOR : i == VIEW_OPEN ? AS_OPEN : AS_USER;
        w->view[i].slots = w->slots + (size_t)i * SLOT_COUNT;
        w->view[i].totals = &w->totals;
    }
    return true;
}

static bool create_slots(struct views *w)
{
    void *p = mmap(NULL, VIEW_COUNT * VIEW_TABLE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    w->slots = p == MAP_FAILED ? NULL : p;
    return w->slots;
}

static void view_use(struct views *w, struct view *v)
{
    w->totals.tables += v->used ? 0 : VIEW_TABLE_BYTES;
    v->used = true;
}

/* Empties a view and gives back what its slots have taken. */
static void view_retire(struct views *w, struct view *v)
{
    view_reset(v, w->rmap);
    madvise(v->slots, VIEW_TABLE_BYTES, MADV_DONTNEED);
    w->totals.tables -= v->used ? VIEW_TABLE_BYTES : 0;
    v->used = false;
}

struct views *views_create(struct vcpu *v, int *error)
{
    struct views *w = calloc(1, sizeof(*w));
    *error = -ENOMEM;
    if (!w)
        return NULL;
    w->v = v;
    w->phys = v->machine->phys;
    w->rmap = rmap_create();
    if (!w->rmap || !create_slots(w) || !create_windows(w)) {
        views_destroy(w);
        return NULL;
    }
    w->budget = v->machine->config.view_budget;
    if (!w->budget)
        w->budget = host_budget();
    view_use(w, &w->view[VIEW_SUPERVISOR]);
    view_use(w, &w->view[VIEW_FIRST_USER]);
    w->top = VIEW_FIRST_USER + 1;
    w->current_user = &w->view[VIEW_FIRST_USER];
    w->signature = control_signature(v);
    *error = 0;
    return w;
}

void views_destroy(struct views *w)
{
    if (!w)
        return;
    for (unsigned i = 0; i < VIEW_COUNT; i++)
        if (w->view[i].used)
            view_reset(&w->view[i], w->rmap);
    if (w->reservation)
        munmap(w->reservation, w->reserved);
    if (w->slots)
        munmap(w->slots, VIEW_COUNT * VIEW_TABLE_BYTES);
    rmap_destroy(w->rmap);
    free(w);
}

static struct view *view_of(struct views *w, enum walk_as as)
{
    return as == AS_USER ? w->current_user : &w->view[as == AS_OPEN ? VIEW_OPEN : VIEW_SUPERVISOR];
}

uint64_t views_current(struct views *w, enum walk_as as)
{
    return view_of(w, as)->base;
}

bool views_hold(const struct views *w, uint64_t hva)
{
    return hva - (uint64_t)w->reservation < w->reserved;
}

static bool is_current(const struct views *w, const struct view *view)
{
    return view->as != AS_USER || view == w->current_user;
}

static struct stats *stats_of(struct views *w)
{
    return &w->v->machine->stats;
}

/* --- the guest's tables --- */

static unsigned pte_size(const struct vcpu *v)
{
    return v->cr4 & CR4_PAE ? 8 : 4;
}

static uint64_t load_entry(struct views *w, uint64_t gpa, unsigned size)
{
    const uint8_t *page = phys_hva(w->phys, (uint32_t)(gpa >> 12));
    if (!page)
        return size == 4 ? UINT32_MAX : UINT64_MAX; /* as mmu_walk() has it */
    if (size == 4)
        return *(const uint32_t *)(page + (gpa & 0xfff));
    return *(const uint64_t *)(page + (gpa & 0xfff));
}

/* The directory entry over a slot; with paging off, one that says "identity, large". */
static uint64_t slot_pde(struct views *w, unsigned slot)
{
    const struct vcpu *v = w->v;
    if (!(v->cr0 & CR0_PG))
        return PTE_P | PTE_PS;
    if (!(v->cr4 & CR4_PAE))
        return load_entry(w, (v->cr3 & 0xfffff000u) + (slot >> 1) * 4, 4);
    uint64_t pdpte = v->pdpte[slot >> 9];
    if (!(pdpte & PTE_P))
        return 0;
    return load_entry(w, (pdpte & 0xffffff000ull) + (slot & 511) * 8, 8);
}

static bool pde_is_large(const struct vcpu *v, uint64_t pde)
{
    return (pde & PTE_PS) && ((v->cr4 & (CR4_PAE | CR4_PSE)) || !(v->cr0 & CR0_PG));
}

static bool pde_same(const struct vcpu *v, uint64_t a, uint64_t b)
{
    uint64_t ignored = PTE_AVL | (pde_is_large(v, a) ? 0 : PTE_D);
    return !((a ^ b) & ~ignored);
}

/* Host address of the slot's 512 table entries, NULL if they are not in memory. */
static const void *slot_table(struct views *w, unsigned slot, uint64_t pde)
{
    const uint8_t *page = phys_hva(w->phys, (uint32_t)((pde & 0xffffff000ull) >> 12));
    if (!page)
        return NULL;
    if (pte_size(w->v) == 4)
        return page + (slot & 1) * 2048;
    return page;
}

static uint64_t table_entry(const struct views *w, const void *table, unsigned n)
{
    return pte_size(w->v) == 4 ? ((const uint32_t *)table)[n] : ((const uint64_t *)table)[n];
}

/* --- coherence --- */

/* Whether a mapping made from `was` may stay now that the entry is `is`: accessed and dirty bits
 * that were set since do no harm. */
static bool pte_compatible(uint64_t was, uint64_t is)
{
    uint64_t change = (was ^ is) & ~PTE_AVL;
    return !(change & ~(uint64_t)(PTE_A | PTE_D)) && (is & change) == change;
}

static void sync_entry(struct views *w, struct view *view, unsigned slot, const void *table,
                       unsigned n)
{
    struct slot *s = &view->slots[slot];
    uint64_t is = table_entry(w, table, n), was = table_entry(w, s->table_copy, n);
    if (is == was)
        return;
    if (!pte_compatible(was, is)) {
        if (s->spte[n] & SPTE_MAPPED)
            view_map_drop(view, w->rmap, slot * SLOT_PAGES + n, 1);
        view->code_moved |= s->spte[n] & SPTE_CODE;
        s->spte[n] &= ~SPTE_CODE;
    }
    if (pte_size(w->v) == 4)
        ((uint32_t *)s->table_copy)[n] = (uint32_t)is;
    else
        ((uint64_t *)s->table_copy)[n] = is;
}

static void sync_slot(struct views *w, struct view *view, unsigned slot)
{
    struct slot *s = &view->slots[slot];
    uint64_t pde = slot_pde(w, slot);
    if (!pde_same(w->v, s->pde, pde)) {
        view_slot_drop(view, w->rmap, slot);
        return;
    }
    if (s->large)
        return;
    const void *table = slot_table(w, slot, pde);
    size_t bytes = (size_t)SLOT_PAGES * pte_size(w->v);
    if (!table) {
        view_slot_drop(view, w->rmap, slot);
        return;
    }
    if (!memcmp(table, s->table_copy, bytes))
        return;
    for (unsigned n = 0; n < SLOT_PAGES; n++)
        sync_entry(w, view, slot, table, n);
}

static void sync_view(struct views *w, struct view *view, bool globals_too)
{
    for (unsigned word = 0; word < SLOT_COUNT / 64; word++)
        for (uint64_t bits = view->populated[word]; bits; bits &= bits - 1) {
            unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
            if (globals_too || !view->slots[slot].global)
                sync_slot(w, view, slot);
        }
}

/* What the guest may reach without another CR3 load. */
static void sync_current(struct views *w, bool globals_too)
{
    sync_view(w, &w->view[VIEW_SUPERVISOR], globals_too);
    if (w->view[VIEW_OPEN].used)
        sync_view(w, &w->view[VIEW_OPEN], globals_too);
    sync_view(w, w->current_user, true);
}

static void reset_all(struct views *w)
{
    for (unsigned i = 0; i < w->top; i++)
        if (w->view[i].used)
            view_reset(&w->view[i], w->rmap);
}

static struct view *least_recently_used(struct views *w)
{
    struct view *oldest = &w->view[VIEW_FIRST_USER];
    for (unsigned i = VIEW_FIRST_USER + 1; i < w->top; i++)
        if (w->view[i].last_use < oldest->last_use)
            oldest = &w->view[i];
    return oldest;
}

/* A view that has not been used yet, unless there is one that nobody will miss. */
static struct view *spare_view(struct views *w)
{
    struct view *oldest = least_recently_used(w);
    if (oldest->used && w->top < VIEW_COUNT && w->clock - oldest->last_use < VIEW_KEEP)
        return &w->view[w->top++];
    stats_of(w)->views_evicted += !view_is_empty(oldest);
    view_reset(oldest, w->rmap);
    return oldest;
}

/* The user view of the current address space: the one that had this CR3 before, a new one, or the
 * least recently used. */
static struct view *user_view(struct views *w)
{
    uint32_t cr3 = w->v->cr3;
    uint16_t *hint = &w->by_cr3[(cr3 >> 12 ^ cr3 >> 5) % CR3_HASH];
    if (*hint && w->view[*hint].used && w->view[*hint].cr3 == cr3)
        return &w->view[*hint];
    for (unsigned i = VIEW_FIRST_USER; i < w->top; i++)
        if (w->view[i].used && w->view[i].cr3 == cr3) {
            *hint = (uint16_t)i;
            return &w->view[i];
        }
    struct view *view = spare_view(w);
    view_use(w, view);
    stats_of(w)->views_created++;
    view->cr3 = cr3;
    view->code_moved = true;
    *hint = view->number;
    return view;
}

void views_cr3_loaded(struct views *w)
{
    w->current_user = user_view(w);
    w->current_user->last_use = ++w->clock;
    sync_current(w, false);
}

void views_flush_all(struct views *w)
{
    uint64_t signature = control_signature(w->v);
    if (signature != w->signature) {
        reset_all(w);
        w->signature = signature;
    }
    w->current_user = user_view(w);
    sync_current(w, true);
}

static void invlpg_in(struct views *w, struct view *view, uint32_t la)
{
    unsigned slot = la >> SLOT_SHIFT;
    if (!view_slot_populated(view, slot))
        return;
    struct slot *s = &view->slots[slot];
    uint64_t pde = slot_pde(w, slot);
    const void *table = s->large ? NULL : slot_table(w, slot, pde);
    if (!pde_same(w->v, s->pde, pde) || (!s->large && !table))
        view_slot_drop(view, w->rmap, slot);
    else if (!s->large)
        sync_entry(w, view, slot, table, la >> 12 & (SLOT_PAGES - 1));
}

void views_invlpg(struct views *w, uint32_t la)
{
    uint32_t sibling = la ^ 1u << SLOT_SHIFT; /* the other half of a 4 MiB page */
    struct view *current[] = {&w->view[VIEW_SUPERVISOR], &w->view[VIEW_OPEN], w->current_user};
    for (unsigned i = 0; i < sizeof current / sizeof current[0]; i++) {
        if (!current[i]->used)
            continue;
        invlpg_in(w, current[i], la);
        if (!(w->v->cr4 & CR4_PAE))
            invlpg_in(w, current[i], sibling);
    }
}

/* --- budgets --- */

/* The view to give up next: the least recently used of those that are not in use now, then one of
 * these; `filling`, whose slots are in hand, only when there is nothing else. */
static struct view *next_victim(struct views *w, struct view *filling)
{
    struct view *oldest = NULL;
    for (unsigned i = VIEW_FIRST_USER; i < w->top; i++) {
        struct view *view = &w->view[i];
        if (view->used && view != w->current_user && (!oldest || view->last_use < oldest->last_use))
            oldest = view;
    }
    if (oldest)
        return oldest;
    struct view *current[] = {&w->view[VIEW_OPEN], &w->view[VIEW_SUPERVISOR], w->current_user};
    for (unsigned i = 0; i < sizeof current / sizeof current[0]; i++)
        if (current[i] != filling && !view_is_empty(current[i]))
            return current[i];
    return filling;
}

static bool within_budgets(const struct views *w, uint32_t host, size_t tables)
{
    return w->totals.host + host <= w->budget && w->totals.tables + tables <= TABLES_MAX;
}

/* Makes room for so many more host mappings and bytes of tables. */
static void keep_budgets(struct views *w, struct view *filling, uint32_t host, size_t tables)
{
    while (!within_budgets(w, host, tables)) {
        struct view *view = next_victim(w, filling);
        bool in_use = view && is_current(w, view);
        if (!view || (in_use && view_is_empty(view)))
            return;
        if (in_use)
            view_reset(view, w->rmap);
        else
            view_retire(w, view);
        stats_of(w)->views_evicted++;
    }
    if (stats_of(w)->view_tables < w->totals.tables + tables)
        stats_of(w)->view_tables = w->totals.tables + tables;
}

/* The most host mappings that one fill makes. */
static uint32_t fill_reach(const struct views *w)
{
    uint32_t reach = w->budget / 8 + 1;
    return reach < SLOT_PAGES ? reach : SLOT_PAGES;
}

/* --- protection of watched frames --- */

static void protect_page(struct views *w, struct view *view, uint32_t page)
{
    struct slot *s = &view->slots[page / SLOT_PAGES];
    if ((s->spte[page % SLOT_PAGES] & SPTE_WRITE) && view_map_protect(view, page, false) < 0)
        w->broken |= 1ull << view->number % 64;
}

/* Views in which a page could not be protected are emptied: that needs no further host mapping. */
static void reset_broken(struct views *w)
{
    for (unsigned i = 0; w->broken && i < w->top; i++)
        if (w->view[i].used && w->broken >> i % 64 & 1)
            view_reset(&w->view[i], w->rmap);
    w->broken = 0;
}

static void protect_large(struct views *w, struct view *view, uint32_t gfn)
{
    for (unsigned word = 0; word < SLOT_COUNT / 64; word++)
        for (uint64_t bits = view->populated[word]; bits; bits &= bits - 1) {
            unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);
            const struct slot *s = &view->slots[slot];
            if (!s->large)
                continue;
            unsigned n = gfn % SLOT_PAGES; /* large pages are aligned to slots */
            if ((s->spte[n] & SPTE_MAPPED) && s->spte[n] >> 8 == gfn)
                protect_page(w, view, slot * SLOT_PAGES + n);
        }
}

static void protect_mapping(void *opaque, uint16_t number, uint32_t page)
{
    struct views *w = opaque;
    protect_page(w, &w->view[number], page);
}

void views_protect_frame(struct views *w, uint32_t gfn)
{
    rmap_each(w->rmap, gfn, protect_mapping, w);
    for (unsigned i = 0; i < w->top; i++)
        if (w->view[i].large)
            protect_large(w, &w->view[i], gfn);
    reset_broken(w);
    keep_budgets(w, NULL, 0, 0);
}

/* --- filling --- */

/* How a frame may be mapped: not at all, or with which permission. */
static bool frame_mappable(struct views *w, uint32_t gfn, bool want_write, bool *writable)
{
    enum phys_kind kind = phys_kind(w->phys, gfn);
    *writable = want_write && kind == PHYS_RAM && !phys_watched(w->phys, gfn);
    return kind != PHYS_MMIO;
}

/* Frames of a slot from page n on that are alike and can be one host mapping. */
static unsigned large_run(struct views *w, uint32_t first, unsigned n, bool want_write,
                          bool *writable)
{
    int64_t offset = phys_memfd_offset(w->phys, first + n);
    unsigned run = 1;
    bool next;
    if (!frame_mappable(w, first + n, want_write, writable))
        return 0;
    while (n + run < SLOT_PAGES && frame_mappable(w, first + n + run, want_write, &next) &&
           next == *writable &&
           phys_memfd_offset(w->phys, first + n + run) == offset + (int64_t)run * 4096)
        run++;
    return run;
}

static bool is_mapped_run(const struct slot *s, unsigned n, unsigned run)
{
    while (run && (s->spte[n] & SPTE_MAPPED))
        n++, run--;
    return !run;
}

/* One system call for each run of frames that are alike: that of the page asked for, and the others
 * as far as the budget goes. */
static bool map_large(struct views *w, struct view *view, unsigned slot, const struct walk *walk,
                      uint32_t la)
{
    struct slot *s = &view->slots[slot];
    uint32_t first = (uint32_t)((walk->gpa - (la & ((1u << SLOT_SHIFT) - 1))) >> 12);
    unsigned asked = la >> 12 & (SLOT_PAGES - 1), run;
    bool want_write = walk->writable && walk->dirty, writable;
    s->large = view->large = true;
    for (unsigned n = 0; n < SLOT_PAGES; n += run ? run : 1) {
        run = large_run(w, first, n, want_write, &writable);
        bool needed = asked - n < run;
        if (!run || (!needed && (is_mapped_run(s, n, run) || !within_budgets(w, 2, 0))))
            continue;
        if (view_map_run(view, w->rmap, slot * SLOT_PAGES + n, run, first + n, phys_memfd(w->phys),
                         phys_memfd_offset(w->phys, first + n), writable) < 0)
            return false;
        stats_of(w)->pages_mapped += run;
    }
    return true;
}

static void note_entry(struct views *w, struct slot *s, unsigned slot, unsigned n)
{
    const void *table = slot_table(w, slot, s->pde);
    if (pte_size(w->v) == 4)
        ((uint32_t *)s->table_copy)[n] = ((const uint32_t *)table)[n];
    else
        ((uint64_t *)s->table_copy)[n] = ((const uint64_t *)table)[n];
}

/* Whether a neighbouring entry may be mapped together with the page that faulted. */
static bool neighbour_joins(struct views *w, const struct slot *s, const void *table, unsigned n,
                            uint64_t leaf, uint32_t gfn, bool writable)
{
    uint64_t entry = table_entry(w, table, n);
    uint64_t alike = PTE_P | PTE_W | PTE_U | PTE_A | PTE_G | PTE_NX | (writable ? PTE_D : 0);
    bool can_write;
    return !(s->spte[n] & SPTE_MAPPED) && ((entry ^ leaf) & alike) == 0 &&
           (entry & 0xffffff000ull) >> 12 == gfn && frame_mappable(w, gfn, writable, &can_write) &&
           can_write == writable;
}

static bool map_small(struct views *w, struct view *view, uint32_t la, const struct walk *walk,
                      bool writable)
{
    unsigned slot = la >> SLOT_SHIFT, n = la >> 12 & (SLOT_PAGES - 1);
    struct slot *s = &view->slots[slot];
    uint32_t gfn = (uint32_t)(walk->gpa >> 12);
    const void *table = slot_table(w, slot, s->pde);
    uint64_t leaf = table_entry(w, table, n);
    unsigned from = n, to = n + 1;
    const unsigned reach = (fill_reach(w) - 1) / 2; /* to either side */
    while (from > 0 && n - from < reach &&
           neighbour_joins(w, s, table, from - 1, leaf, gfn - (n - from) - 1, writable))
        from--;
    while (to < SLOT_PAGES && to - n - 1 < reach &&
           neighbour_joins(w, s, table, to, leaf, gfn + (to - n), writable))
        to++;
    uint32_t first = gfn - (n - from);
    int64_t offset = phys_memfd_offset(w->phys, first);
    if (phys_memfd_offset(w->phys, first + (to - from) - 1) !=
        offset + (int64_t)(to - from - 1) * 4096) {
        from = n;
        to = n + 1;
        first = gfn;
        offset = phys_memfd_offset(w->phys, gfn);
    }
    if (view_map_run(view, w->rmap, slot * SLOT_PAGES + from, to - from, first, phys_memfd(w->phys),
                     offset, writable) < 0)
        return false;
    for (unsigned k = from; k < to; k++)
        note_entry(w, s, slot, k);
    stats_of(w)->pages_mapped += to - from;
    return true;
}

/* Makes the slot one that was filled from the guest's present directory entry. */
static bool slot_prepare(struct views *w, struct view *view, unsigned slot, const struct walk *walk)
{
    struct slot *s = &view->slots[slot];
    uint64_t pde = slot_pde(w, slot);
    if (s->spte && !pde_same(w->v, s->pde, pde))
        view_slot_drop(view, w->rmap, slot);
    bool fresh = !s->spte;
    if (!view_slot_open(view, slot))
        return false;
    s->pde = pde;
    s->global = fresh ? walk->global : s->global && walk->global;
    if (pde_is_large(w->v, pde))
        return true;
    size_t bytes = (size_t)SLOT_PAGES * pte_size(w->v);
    const void *table = slot_table(w, slot, pde);
    if (table && (s->table_copy || view_slot_copy(view, slot, table, bytes)))
        return true;
    view_slot_drop(view, w->rmap, slot); /* no slot of small pages is without a copy */
    return false;
}

static bool fill(struct views *w, struct view *view, uint32_t la, const struct walk *walk,
                 bool write)
{
    unsigned slot = la >> SLOT_SHIFT, n = la >> 12 & (SLOT_PAGES - 1);
    bool writable;
    if (!frame_mappable(w, (uint32_t)(walk->gpa >> 12), walk->writable && walk->dirty, &writable) ||
        (write && !writable))
        return false;
    view_use(w, view);
    keep_budgets(w, view, fill_reach(w), TABLES_STEP);
    if (!slot_prepare(w, view, slot, walk))
        return false;
    struct slot *s = &view->slots[slot];
    if (s->spte[n] & SPTE_MAPPED && s->spte[n] >> 8 == (uint32_t)(walk->gpa >> 12) && writable &&
        !(s->spte[n] & SPTE_WRITE)) {
        stats_of(w)->fault_dirty++;
        if (!s->large)
            note_entry(w, s, slot, n);
        return view_map_protect(view, la >> 12, true) == 0;
    }
    stats_of(w)->fault_fill++;
    if (pde_is_large(w->v, s->pde))
        return map_large(w, view, slot, walk, la);
    return map_small(w, view, la, walk, writable);
}

void views_note_code(struct views *w, uint32_t la, bool user)
{
    enum walk_as as = user ? AS_USER : AS_SUPERVISOR;
    struct view *view = view_of(w, as);
    unsigned slot = la >> SLOT_SHIFT, n = la >> 12 & (SLOT_PAGES - 1);
    struct walk walk = mmu_walk(w->v, la, ACC_EXEC, as, false);
    keep_budgets(w, view, 0, TABLES_STEP);
    if (!walk.ok || !slot_prepare(w, view, slot, &walk)) {
        view->code_moved = true;
        return;
    }
    struct slot *s = &view->slots[slot];
    s->large = pde_is_large(w->v, s->pde);
    s->has_code = true;
    s->spte[n] |= SPTE_CODE;
    if (!s->large)
        note_entry(w, s, slot, n);
}

bool views_code_moved(struct views *w, bool user, uint64_t generation)
{
    struct view *view = view_of(w, user ? AS_USER : AS_SUPERVISOR);
    bool moved = view->code_moved || view->generation != generation;
    view->code_moved = false;
    view->generation = generation;
    return moved;
}

enum view_fault views_handle_fault(struct views *w, uint64_t hva, bool write,
                                   struct view_guest_fault *fault)
{
    uint64_t offset = hva - w->base;
    struct stats *stats = stats_of(w);
    if (!views_hold(w, hva))
        return VIEW_NOT_MINE;
    struct view *view = &w->view[offset / VIEW_STRIDE % VIEW_COUNT];
    if (offset % VIEW_STRIDE >= VIEW_SIZE || !is_current(w, view)) {
        stats->fault_segment++;
        return VIEW_EMULATE;
    }
    uint32_t la = (uint32_t)offset;
    struct walk walk = mmu_walk(w->v, la, write ? ACC_WRITE : ACC_READ, view->as, true);
    if (!walk.ok) {
        stats->fault_guest++;
        *fault = (struct view_guest_fault){la, walk.error};
        return VIEW_GUEST;
    }
    if (fill(w, view, la, &walk, write))
        return VIEW_FILLED;
    if (phys_kind(w->phys, (uint32_t)(walk.gpa >> 12)) == PHYS_RAM)
        stats->fault_code++;
    else
        stats->fault_mmio++;
    return VIEW_EMULATE;
}

void views_prefill(struct views *w, uint32_t la, enum walk_as as)
{
    struct view *view = view_of(w, as);
    struct walk walk = mmu_walk(w->v, la, ACC_READ, as, false);
    if (!walk.ok || !walk.accessed)
        return;
    unsigned slot = la >> SLOT_SHIFT, n = la >> 12 & (SLOT_PAGES - 1);
    if (view_slot_populated(view, slot) && (view->slots[slot].spte[n] & SPTE_MAPPED) &&
        pde_same(w->v, view->slots[slot].pde, slot_pde(w, slot)))
        return;
    fill(w, view, la, &walk, false);
}
