/* SPDX-License-Identifier: MIT */
/* view_map.h: what one view has mapped, page by page, and the host mappings that make it so. Knows
 * nothing of guest page tables; view.c decides what is mapped. */
#ifndef RINGDOWN_RUNTIME_VIEW_MAP_H
#define RINGDOWN_RUNTIME_VIEW_MAP_H

#include "runtime/mmu.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A slot is 2 MiB of linear addresses: what one PAE directory entry covers, half of what a 32-bit
 * one does. */
#define SLOT_SHIFT 21
#define SLOT_PAGES 512u
#define SLOT_COUNT 2048u

/* Shadow entry: gfn << 8 and these. */
#define SPTE_MAPPED 1u
#define SPTE_WRITE  2u
#define SPTE_CODE   4u /* the owner executes from the page, mapped or not */
#define SPTE_SPLIT  8u /* of a large page: a host mapping of its own, and one behind it */

struct slot {
    uint64_t pde;     /* guest directory entry that it was filled from */
    void *table_copy; /* the guest's table entries as of the last look, NULL for a large page */
    uint32_t *spte;   /* SLOT_PAGES entries; NULL: slot is empty */
    uint32_t mapped;  /* entries with SPTE_MAPPED */
    uint32_t host;    /* host mappings that these may be, at most */
    bool global;      /* everything mapped came from global pages */
    uint16_t copy_bytes;
    bool has_code; /* some entry has SPTE_CODE */
    bool large;
};

/* Of all views together. */
struct view_totals {
    uint32_t host; /* host mappings, at most, without the gaps between them */
    size_t tables; /* bytes of tables, the host's page tables for them included */
};

struct view {
    uint64_t base;
    uint16_t number;
    enum walk_as as; /* whose accesses go through it */
    bool used;
    uint32_t cr3;
    uint64_t last_use;
    bool code_moved;     /* the mapping of a noted code page may have changed */
    uint64_t generation; /* see views_code_moved() */
    bool large;          /* a slot has been mapped from a large page since the last reset */
    struct slot *slots;  /* SLOT_COUNT, lazily committed */
    uint64_t populated[SLOT_COUNT / 64];
    uint64_t touched[SLOT_COUNT / 64]; /* slots populated since the last reset */
    struct view_totals *totals;
};

/* What the host's own page tables take for 2 MiB of which something has been mapped. They stay
 * until the whole window is covered again. */
#define HOST_TABLE_BYTES 4096u
/* Of a view that is in use: its slots, should all of them be touched. */
#define VIEW_TABLE_BYTES (SLOT_COUNT * sizeof(struct slot))

struct rmap;
struct rmap *rmap_create(void);
void rmap_destroy(struct rmap *r);
/* Calls fn for each 4 KiB mapping of a frame; fn must not change the map. */
void rmap_each(struct rmap *r, uint32_t gfn, void (*fn)(void *, uint16_t view, uint32_t page),
               void *opaque);

/* Maps `count` pages from `page` (la >> 12) to consecutive frames; all in one slot, whose spte
 * array exists. 0 or negative errno. */
int view_map_run(struct view *w, struct rmap *r, uint32_t page, uint32_t count, uint32_t gfn,
                 int memfd, int64_t offset, bool writable);
/* Takes write permission from a mapped page, or gives it. May make three host mappings of one. */
int view_map_protect(struct view *w, uint32_t page, bool writable);
void view_map_drop(struct view *w, struct rmap *r, uint32_t page, uint32_t count);
/* Gets the slot ready for entries; false when out of memory. */
bool view_slot_open(struct view *w, unsigned slot);
void view_slot_drop(struct view *w, struct rmap *r, unsigned slot);
/* Gives the view a copy of the guest's table for a slot; false when out of memory. */
bool view_slot_copy(struct view *w, unsigned slot, const void *table, size_t bytes);
/* Empties the whole view with one system call, or two when the host is short of mappings. */
void view_reset(struct view *w, struct rmap *r);

bool view_is_empty(const struct view *w);
static inline bool view_slot_populated(const struct view *w, unsigned slot)
{
    return w->populated[slot / 64] >> (slot % 64) & 1;
}

#endif
