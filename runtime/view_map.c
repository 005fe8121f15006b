/* SPDX-License-Identifier: MIT */
/* view_map.c: host mappings of a view, their shadow entries, and the reverse map from frames.
 *
 * The host may refuse any mapping: it has a limit on their number, and short memory. A page that
 * can't be mapped stays out. A page that can't be taken out would let the guest go on with what its
 * tables no longer say, and a refused replacement may leave a hole, into which the host could put
 * memory of the monitor: then the whole window is covered at once, which needs less than what it
 * replaces, or unmapped and covered; and if even that is refused, the run ends. */
#include "runtime/view_map.h"

#include "runtime/crash.h"
#include "runtime/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RMAP_BUCKETS 16384u
#define NIL          UINT32_MAX
#define POPULATE_MAX 16u

struct rmap_entry {
    uint32_t gfn, page, next;
    uint16_t view;
};

struct rmap {
    uint32_t bucket[RMAP_BUCKETS];
    struct rmap_entry *entries;
    uint32_t count, capacity, free;
};

struct rmap *rmap_create(void)
{
    struct rmap *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    for (unsigned i = 0; i < RMAP_BUCKETS; i++)
        r->bucket[i] = NIL;
    r->free = NIL;
    return r;
}

void rmap_destroy(struct rmap *r)
{
    if (r)
        free(r->entries);
    free(r);
}

static uint32_t *rmap_bucket(struct rmap *r, uint32_t gfn)
{
    return &r->bucket[gfn & (RMAP_BUCKETS - 1)];
}

static bool rmap_grow(struct rmap *r)
{
    uint32_t capacity = r->capacity ? 2 * r->capacity : 4096;
    struct rmap_entry *entries = realloc(r->entries, capacity * sizeof(*entries));
    if (!entries)
        return false;
    r->entries = entries;
    r->capacity = capacity;
    return true;
}

static bool rmap_add(struct rmap *r, uint32_t gfn, uint16_t view, uint32_t page)
{
    uint32_t n = r->free;
    if (n != NIL)
        r->free = r->entries[n].next;
    else if (r->count < r->capacity || rmap_grow(r))
        n = r->count++;
    else
        return false;
    uint32_t *head = rmap_bucket(r, gfn);
    r->entries[n] = (struct rmap_entry){gfn, page, *head, view};
    *head = n;
    return true;
}

static void rmap_remove(struct rmap *r, uint32_t gfn, uint16_t view, uint32_t page)
{
    for (uint32_t *link = rmap_bucket(r, gfn); *link != NIL; link = &r->entries[*link].next) {
        struct rmap_entry *e = &r->entries[*link];
        if (e->gfn == gfn && e->view == view && e->page == page) {
            uint32_t n = *link;
            *link = e->next;
            e->next = r->free;
            r->free = n;
            return;
        }
    }
}

void rmap_each(struct rmap *r, uint32_t gfn, void (*fn)(void *, uint16_t, uint32_t), void *opaque)
{
    for (uint32_t n = *rmap_bucket(r, gfn); n != NIL; n = r->entries[n].next)
        if (r->entries[n].gfn == gfn)
            fn(opaque, r->entries[n].view, r->entries[n].page);
}

static void *page_address(const struct view *w, uint32_t page)
{
    return (void *)(w->base + ((uint64_t)page << 12));
}

static struct slot *slot_of(struct view *w, uint32_t page)
{
    return &w->slots[page / SLOT_PAGES];
}

static int host_cover(const struct view *w, uint32_t page, uint64_t count, int flags)
{
    void *p = mmap(page_address(w, page), count << 12, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    return p == MAP_FAILED ? -errno : 0;
}

static int host_unmap(const struct view *w, uint32_t page, uint64_t count)
{
    return host_cover(w, page, count, MAP_FIXED);
}

/* A process that is beyond the limit of mappings, if by one, may only unmap. What another thread
 * might map amid these two calls is not covered: then the second one fails. */
static int host_unmap_window(const struct view *w)
{
    const uint64_t pages = VIEW_SIZE >> 12;
    int error = host_unmap(w, 0, pages);
    if (error && !munmap(page_address(w, 0), VIEW_SIZE))
        error = host_cover(w, 0, pages, MAP_FIXED_NOREPLACE);
    return error;
}

static void set_host(struct view *w, struct slot *s, uint32_t host)
{
    w->totals->host += host - s->host;
    s->host = host;
}

static void forget_page(struct view *w, struct rmap *r, struct slot *s, uint32_t page)
{
    uint32_t *spte = &s->spte[page % SLOT_PAGES];
    if (!(*spte & SPTE_MAPPED))
        return;
    if (!s->large) {
        rmap_remove(r, *spte >> 8, w->number, page);
        set_host(w, s, s->host - 1);
    }
    s->mapped--;
    *spte &= SPTE_CODE;
}

static void forget_all(struct view *w, struct rmap *r)
{
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++) {
        if (!view_slot_populated(w, slot))
            continue;
        struct slot *s = &w->slots[slot];
        for (uint32_t i = 0; s->mapped && i < SLOT_PAGES; i++)
            forget_page(w, r, s, slot * SLOT_PAGES + i);
        set_host(w, s, 0);
    }
}

/* Slots stay as they are, so that a caller may go on with the one in hand. */
static void unmap_all(struct view *w, struct rmap *r)
{
    int error = host_unmap_window(w);
    if (error)
        crash_host_refused("guest memory can't be unmapped", error);
    forget_all(w, r);
}

int view_map_run(struct view *w, struct rmap *r, uint32_t page, uint32_t count, uint32_t gfn,
                 int memfd, int64_t offset, bool writable)
{
    struct slot *s = slot_of(w, page);
    int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    /* A few pages are about to be touched: a host fault each would cost more. */
    int populate = count <= POPULATE_MAX ? MAP_POPULATE : 0;
    void *p = mmap(page_address(w, page), (size_t)count << 12, prot,
                   MAP_SHARED | MAP_FIXED | populate, memfd, offset);
    if (p == MAP_FAILED) {
        int error = -errno;
        view_map_drop(w, r, page, count);
        return error;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t *spte = &s->spte[(page + i) % SLOT_PAGES];
        uint32_t value = (gfn + i) << 8 | SPTE_MAPPED | (writable ? SPTE_WRITE : 0);
        if (*spte & SPTE_MAPPED && !s->large && *spte >> 8 != gfn + i)
            rmap_remove(r, *spte >> 8, w->number, page + i);
        if (!s->large && (!(*spte & SPTE_MAPPED) || *spte >> 8 != gfn + i) &&
            !rmap_add(r, gfn + i, w->number, page + i)) {
            view_map_drop(w, r, page, count);
            return -ENOMEM;
        }
        if (!(*spte & SPTE_MAPPED)) {
            s->mapped++;
            set_host(w, s, s->host + !s->large);
        }
        *spte = value | (*spte & SPTE_CODE);
    }
    set_host(w, s, s->host + s->large);
    return 0;
}

int view_map_protect(struct view *w, uint32_t page, bool writable)
{
    struct slot *s = slot_of(w, page);
    uint32_t *spte = &s->spte[page % SLOT_PAGES];
    int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    if (s->large && !(*spte & SPTE_SPLIT)) {
        *spte |= SPTE_SPLIT;
        set_host(w, s, s->host + 2);
    }
    if (mprotect(page_address(w, page), 4096, prot) < 0)
        return -errno;
    *spte = writable ? *spte | SPTE_WRITE : *spte & ~SPTE_WRITE;
    return 0;
}

void view_map_drop(struct view *w, struct rmap *r, uint32_t page, uint32_t count)
{
    struct slot *s = slot_of(w, page);
    if (host_unmap(w, page, count) < 0)
        unmap_all(w, r);
    for (uint32_t i = 0; i < count; i++)
        forget_page(w, r, s, page + i);
}

static bool is_touched(const struct view *w, unsigned slot)
{
    return w->touched[slot / 64] >> (slot % 64) & 1;
}

bool view_slot_open(struct view *w, unsigned slot)
{
    struct slot *s = &w->slots[slot];
    if (!s->spte) {
        s->spte = calloc(SLOT_PAGES, sizeof(*s->spte));
        if (!s->spte)
            return false;
        w->totals->tables +=
            SLOT_PAGES * sizeof(*s->spte) + (is_touched(w, slot) ? 0 : HOST_TABLE_BYTES);
    }
    w->populated[slot / 64] |= 1ull << (slot % 64);
    w->touched[slot / 64] |= 1ull << (slot % 64);
    return true;
}

bool view_slot_copy(struct view *w, unsigned slot, const void *table, size_t bytes)
{
    struct slot *s = &w->slots[slot];
    s->table_copy = malloc(bytes);
    if (!s->table_copy)
        return false;
    memcpy(s->table_copy, table, bytes);
    s->copy_bytes = (uint16_t)bytes;
    w->totals->tables += bytes;
    return true;
}

static void slot_close(struct view *w, unsigned slot)
{
    struct slot *s = &w->slots[slot];
    w->code_moved |= s->has_code;
    set_host(w, s, 0);
    w->totals->tables -= s->copy_bytes + (s->spte ? SLOT_PAGES * sizeof(*s->spte) : 0);
    free(s->spte);
    free(s->table_copy);
    *s = (struct slot){0};
    w->populated[slot / 64] &= ~(1ull << (slot % 64));
}

void view_slot_drop(struct view *w, struct rmap *r, unsigned slot)
{
    struct slot *s = &w->slots[slot];
    if (s->mapped)
        view_map_drop(w, r, slot * SLOT_PAGES, SLOT_PAGES);
    slot_close(w, slot);
}

bool view_is_empty(const struct view *w)
{
    for (unsigned word = 0; word < SLOT_COUNT / 64; word++)
        if (w->touched[word])
            return false;
    return true;
}

void view_reset(struct view *w, struct rmap *r)
{
    if (!view_is_empty(w))
        unmap_all(w, r);
    w->large = false;
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
        if (view_slot_populated(w, slot))
            slot_close(w, slot);
    for (unsigned word = 0; word < SLOT_COUNT / 64; word++) {
        w->totals->tables -= (size_t)__builtin_popcountll(w->touched[word]) * HOST_TABLE_BYTES;
        w->touched[word] = 0;
    }
}
