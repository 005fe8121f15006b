/* SPDX-License-Identifier: MIT */
/* cache.h: the code cache: blocks by guest PC, mode and page; links between them; the jump cache.
 *
 * Lookup: an active page of the linear address, then the block in a hash by (EIP, page, mode).
 * Direct exits are linked by patching their rel32 once source and target are known; indirect
 * branches look in the jump cache, a direct-mapped table that emitted code probes itself. Every
 * function here runs in the monitor, never while translated code is on the processor. */
#ifndef RINGDOWN_TRANSLATOR_CACHE_H
#define RINGDOWN_TRANSLATOR_CACHE_H

#include "translator/block.h"
#include "translator/code_memory.h"
#include "translator/limits.h"
#include "translator/mode.h"
#include "translator/stress.h"

#include <stddef.h>
#include <stdint.h>

/* The jump cache: entry number = low 16 bits of the target EIP. Emitted code compares
 * key + ((tag << 32) + eip) with zero. The tag is the mode; for user code also a count that changes
 * when a page of user code becomes inactive, so that entries made before are dead. No mode is 0, so
 * no tag is, and an entry of zeros is what no EIP can meet. */
#define JUMP_CACHE_BITS 16
#define JUMP_CACHE_SIZE (1u << JUMP_CACHE_BITS)
struct jump_entry {
    uint64_t key;  /* minus ((tag << 32) + eip) */
    uint64_t host; /* executable address */
};

/* Places in code memory that every block may jump to; emitted once (translator/pads.c). */
struct pads {
    const uint8_t *exit;        /* r8d: exit id */
    const uint8_t *lookup;      /* r8d: target EIP; probes the jump cache */
    const uint8_t *indirect;    /* r8d: target EIP; leaves for the dispatcher */
    const uint8_t *return_miss; /* landing place of a host RET with nothing to pair with */
};

#define MODE_BITS      8
#define MODE_NONE      0u
#define MODE_MAX       TABLE_SIZE(1u << MODE_BITS, 8u) /* MODE_NONE among them */
#define CODE_PAGES_MAX (1u << 18)                      /* pages known between two flushes */
/* Behind the jump cache, a word a page that gates look at (block.h). */
#define CACHE_GATE_WORDS (JUMP_CACHE_SIZE * sizeof(struct jump_entry))

struct cache_counters {
    uint64_t links, unlinks, inv_write, flushes;
};

/* Asked by the cache of its owner. */
struct cache_client {
    void (*watch)(void *opaque, uint32_t gfn);   /* the first block of a frame appears */
    void (*unwatch)(void *opaque, uint32_t gfn); /* its last block has gone */
    void *opaque;
};

/* Asked whether a gate just emitted at `host`, `size` bytes, to a block of a mode, may be used. */
typedef bool cache_gate_check(void *opaque, unsigned mode, uint32_t host, uint32_t size);

struct cache;

struct cache *cache_create(size_t code_size, const struct cache_client *client, int *error);
void cache_destroy(struct cache *c);

void cache_set_gate_check(struct cache *c, cache_gate_check *check, void *opaque);

struct code_memory *cache_code(struct cache *c);
struct jump_entry *cache_jump_table(struct cache *c);
struct pads *cache_pads(struct cache *c);
/* By gfn: a bit for each 64 bytes of the frame in which some block may have instructions. */
const uint64_t *cache_code_lines(const struct cache *c);
bool cache_has_code_in(const struct cache *c, uint32_t gfn, uint32_t offset, uint32_t size);
const struct cache_counters *cache_counters(const struct cache *c);
/* Changes whenever code of a space has been invalidated, deactivated or flushed: host return
 * addresses that were kept from before may not be used. */
uint64_t cache_epoch(const struct cache *c, enum space space);
/* The same of all spaces: as long as it stays, every block that could be entered still can, at the
 * host address at which it could. */
uint64_t cache_stamp(const struct cache *c);
/* Changes at each flush, is never 0. Blocks, pages, exit ids, mode ids and host addresses of one
 * era mean nothing in another: whoever keeps one keeps its era or stamp with it. */
uint64_t cache_era(const struct cache *c);
/* Changes whenever a page of a space becomes active. */
uint64_t cache_generation(const struct cache *c, enum space space);

/* Interned modes. The id stays valid until the next flush; MODE_NONE when there is no room, and a
 * flush is wanted. */
unsigned cache_mode_id(struct cache *c, const struct mode *m);
unsigned cache_mode_find(const struct cache *c, const struct mode *m); /* MODE_NONE: not interned */
const struct mode *cache_mode(const struct cache *c, unsigned id);

/* Pages. cache_page_activate() makes (la, gfn) the active page of its space. NULL when there is no
 * room, and a flush is wanted. */
struct code_page *cache_page_active(struct cache *c, enum space space, uint32_t la);
struct code_page *cache_page_activate(struct cache *c, enum space space, uint32_t la, uint32_t gfn,
                                      bool global);
void cache_page_deactivate(struct cache *c, struct code_page *p);
/* Gives pages that have stayed active for long direct links again; to be called now and then. */
void cache_pages_settle(struct cache *c);
/* Calls `still` for each active page of a space; those for which it says false are deactivated. */
void cache_pages_verify(struct cache *c, enum space space, bool globals_too,
                        bool (*still)(void *opaque, const struct code_page *p), void *opaque);

/* Where translated code may be entered: at any instruction start of a block. */
struct entry {
    struct block *block; /* NULL: none */
    uint32_t host;       /* offset in code memory */
};
struct entry cache_find(struct cache *c, uint32_t eip, unsigned mode, struct code_page *page);
/* Entry at the instruction at `eip` of this block; block NULL if none starts there. */
struct entry cache_entry_in(const struct cache *c, struct block *b, uint32_t eip);
/* A hint that a translation of the instruction at linear address `la` of this page exists. */
static inline bool cache_maybe_known(const struct code_page *page, uint32_t la)
{
    return page->starts[la >> 6 & 63] >> (la & 63) & 1;
}

/* Building a block. cache_has_room(): for all that one block can take (limits.h); if not, a flush
 * is wanted. After that, begin gives it its records, and commit enters it. */
bool cache_has_room(struct cache *c);
struct block *cache_block_begin(struct cache *c);
struct exit_record *cache_add_exit(struct cache *c, struct block *b, uint32_t *id);
/* Keeps a decoded instruction until the next flush; NULL when there is no room. */
struct insn *cache_add_insn(struct cache *c, const struct insn *i);
struct insn_mark *cache_add_mark(struct cache *c, struct block *b);
void cache_block_commit(struct cache *c, struct block *b);

struct exit_record *cache_exit(struct cache *c, uint32_t id);
const struct insn_mark *cache_marks(const struct cache *c, const struct block *b);
/* The block whose code contains a host address, NULL if none. */
struct block *cache_block_at(struct cache *c, uint64_t host_pc);
/* The gate that starts there, NULL if none; looks at each of them. */
const struct gate *cache_gate_at(const struct cache *c, uint64_t host_pc);

/* Links a direct exit to a block whose page is active; not if its own block has been dropped. */
void cache_link(struct cache *c, struct exit_record *from, struct entry to);
void cache_jump_enter(struct cache *c, uint32_t eip, struct entry to);
uint32_t cache_jump_tag(const struct cache *c, unsigned mode);
/* Host address for EIP if the jump cache has it, else 0. */
uint64_t cache_jump_find(const struct cache *c, uint32_t eip, unsigned mode);

/* Instructions to be translated as soft (lower_soft.c); takes effect when they are translated next.
 */
static inline bool cache_is_soft(const struct code_page *page, uint32_t la)
{
    return page->soft[la >> 6 & 63] >> (la & 63) & 1;
}
void cache_set_soft(struct code_page *page, uint32_t la, bool soft);
/* Drops one block, or those of a page that hold the instruction at la. */
void cache_drop(struct cache *c, struct block *b);
void cache_drop_at(struct cache *c, struct code_page *page, uint32_t la);
/* A write to guest memory: drops the blocks it overlaps. Returns how many. */
unsigned cache_invalidate(struct cache *c, uint32_t gfn, uint32_t offset, uint32_t size);
/* A write to a watched frame in which no block is left: after a few the frame is unwatched. */
void cache_note_idle_write(struct cache *c, uint32_t gfn);
/* Counts a write to a frame that met no block; returns the count since the frame's last block was
 * dropped. */
uint32_t cache_note_foreign_write(struct cache *c, uint32_t gfn);
/* Something has found no room. It is made by cache_flush(), which drops everything and gives all
 * ids, records and host addresses to others: to be called where nobody holds one (bt_reclaim()). */
bool cache_wants_flush(const struct cache *c);
void cache_flush(struct cache *c);

/* --stress evict: off until it is started. */
struct stress *cache_stress(struct cache *c);
/* What the stress of bt_reclaim() works on: some block that has not been dropped, some active page;
 * NULL if the seeded choice finds none. */
struct block *cache_some_block(struct cache *c);
struct code_page *cache_some_page(struct cache *c);

#endif
