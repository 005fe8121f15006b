/* SPDX-License-Identifier: MIT */
/* bt_reclaim.c: the one place where code is given up for reasons of ours, and where records, ids
 * and host addresses are given to others (docs/design.md, "Who may hold what").
 *
 * Everywhere else that is only asked for: by the cache, which has found no room; by a block of
 * which an instruction is to be translated otherwise; by the clock. A write to code, or a page that
 * is mapped elsewhere, makes blocks unreachable at once, wherever it happens, but leaves their
 * records as they are. */
#include "runtime/bt_state.h"

#include "runtime/fpu.h"

/* What has been kept knows itself to be of another era, but for these. */
static void flush(struct bt *bt)
{
    fpu_sync(bt->v); /* the host's pointers to code that goes */
    fpu_load(bt->v);
    bt->v->hot.exit_id = EXIT_ID_LOOKUP;
    bt->softened = bt->faulted = NULL;
    bt->mode_id = MODE_NONE;
    bt_soft_forget(bt);
    cache_flush(bt->cache);
}

static void drop_softened(struct bt *bt)
{
    if (bt->softened)
        cache_drop(bt->cache, bt->softened);
    bt->softened = NULL;
}

/* --stress evict: whatever may happen here does, by chance. */
static bool stress(struct bt *bt)
{
    struct stress *s = cache_stress(bt->cache);
    struct block *b = stress_hits(s, STRESS_DROP) ? cache_some_block(bt->cache) : NULL;
    if (b)
        cache_drop(bt->cache, b);
    struct code_page *p = stress_hits(s, STRESS_DEACTIVATE) ? cache_some_page(bt->cache) : NULL;
    if (p)
        cache_page_deactivate(bt->cache, p);
    struct block *soft = stress_hits(s, STRESS_SOFTEN) ? cache_some_block(bt->cache) : NULL;
    if (soft)
        bt_soft_stress(bt, soft);
    return stress_hits(s, STRESS_FLUSH);
}

static void review(struct bt *bt)
{
    if (bt->review_wanted)
        bt_soft_review(bt);
    if (bt->settle_wanted)
        cache_pages_settle(bt->cache);
    bt->review_wanted = bt->settle_wanted = false;
}

bool bt_reclaim(struct bt *bt)
{
    uint64_t stamp = cache_stamp(bt->cache);
    bool flush_now = cache_wants_flush(bt->cache);
    review(bt);
    drop_softened(bt);
    if (cache_stress(bt->cache)->on)
        flush_now |= stress(bt);
    if (flush_now)
        flush(bt);
    return stamp != cache_stamp(bt->cache);
}
