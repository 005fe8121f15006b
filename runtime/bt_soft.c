/* SPDX-License-Identifier: MIT */
/* bt_soft.c: which guest instructions are translated as "soft" (translator/lower_soft.c).
 *
 * An instruction becomes soft when it has caused SOFT_FAULTS host faults within SOFT_WINDOW: then
 * the faults cost more than the probe would. It is on probation from then on: when fewer than
 * SOFT_FAULTS of its probes miss in a probation, it becomes hard again; each relapse doubles the
 * next probation.
 *
 * A call whose callee has returned elsewhere SOFT_RETURNS times (to another stack's caller, mostly)
 * is soft until the next flush: then its return is compared instead of faulting. */
#include "runtime/bt_state.h"

#include "devices/device.h"
#include "ringdown/check.h"
#include "runtime/machine.h"

#define SOFT_FAULTS  12u
#define SOFT_WINDOW  10000000ull /* ns */
#define PROBATION    20000000ull /* ns */
#define RELAPSES_MAX 8u
#define PATIENCE_MAX 2u /* a translation costs what a few faults do */
#define REPEATS      16u
#define SOFT_RETURNS 3u

static uint64_t now(struct bt *bt)
{
    return clock_now(bt->v->machine->clock);
}

static struct soft_site *site_of(struct bt *bt, const struct code_page *page, uint32_t la)
{
    uint32_t hash = (la ^ page->gfn << 7) * 0x9e3779b1u;
    return &bt->sites[hash >> (32 - SOFT_SITE_BITS)];
}

/* Whether its page is what it was when the site was made: a flush gives pages to others. */
static bool is_live(const struct bt *bt, const struct soft_site *s)
{
    return s->era == cache_era(bt->cache);
}

/* The site of an instruction, made if there is none; NULL while a soft one has its place. */
static struct soft_site *claim(struct bt *bt, struct code_page *page, uint32_t la)
{
    struct soft_site *s = site_of(bt, page, la);
    if (is_live(bt, s)) {
        if (s->page == page && s->la == la)
            return s;
        if (s->soft)
            return NULL;
    }
    *s = (struct soft_site){.page = page, .era = cache_era(bt->cache), .la = la, .since = now(bt)};
    return s;
}

/* The first fault of a page in a view is the price of mapping it, which is paid once: only those
 * that come again count. */
static bool faulted_before(struct bt *bt, uint64_t page)
{
    uint64_t *last = &bt->filled[page * 0x9e3779b97f4a7c15ull >> (64 - SOFT_MISSED_BITS)];
    bool before = *last == page;
    *last = page;
    return before;
}

/* A host fault at an instruction. Called from the signal handler, while no C code is interrupted.
 */
void bt_soft_fault(struct bt *bt, struct block *b, uint32_t eip, uint64_t hva)
{
    if (!faulted_before(bt, hva >> 12))
        return;
    uint32_t la = eip + bt->mode.cs_base;
    struct soft_site *s = claim(bt, b->page, la);
    uint64_t time = now(bt);
    if (!s || s->soft)
        return;
    if (time - s->since > SOFT_WINDOW) {
        s->since = time;
        s->count = 0;
    }
    unsigned patience = s->relapses < PATIENCE_MAX ? s->relapses : PATIENCE_MAX;
    if (++s->count < SOFT_FAULTS << patience || bt->soft_count == SOFT_LIST)
        return;
    s->soft = true;
    s->count = 0;
    s->since = time;
    bt->soft_list[bt->soft_count++] = (uint16_t)(s - bt->sites);
    bt->v->machine->stats.sites_softened++;
    cache_set_soft(b->page, la, true);
    bt->softened = b;
}

void bt_soft_return(struct bt *bt, struct block *b, uint32_t eip)
{
    uint32_t la = eip + bt->mode.cs_base;
    struct soft_site *s = claim(bt, b->page, la);
    if (!s || s->soft || ++s->count < SOFT_RETURNS)
        return;
    s->count = 0;
    cache_set_soft(b->page, la, true);
    bt->softened = b;
}

static void harden(struct bt *bt, unsigned n)
{
    struct soft_site *s = &bt->sites[bt->soft_list[n]];
    CHECK(is_live(bt, s) && s->soft);
    s->soft = false;
    s->count = s->repeats = 0;
    s->relapses += s->relapses < RELAPSES_MAX;
    bt->soft_list[n] = bt->soft_list[--bt->soft_count];
    cache_set_soft(s->page, s->la, false);
    cache_drop_at(bt->cache, s->page, s->la);
}

/* Whether this page was missed before since the TLB was last flushed. */
static bool missed_before(struct bt *bt, uint32_t la)
{
    uint64_t *seen = &bt->missed[la >> 12 & (SOFT_MISSED - 1)];
    uint64_t now_seen = (uint64_t)bt->tlb_flushes << 20 | la >> 12;
    bool before = *seen == now_seen;
    *seen = now_seen;
    return before;
}

/* The next miss of the page is the guest's own doing and says nothing about the TLB's size: a
 * kernel that maps one page after the other at the same address misses each. */
void bt_soft_invlpg(struct bt *bt, uint32_t la)
{
    bt->missed[la >> 12 & (SOFT_MISSED - 1)] = UINT64_MAX;
}

/* A probe of the instruction at `eip` has missed for data at `la`; UINT32_MAX: on a page that no
 * view can hold. */
void bt_soft_miss(struct bt *bt, const struct code_page *page, uint32_t eip, uint32_t la)
{
    struct soft_site *s = site_of(bt, page, eip + bt->mode.cs_base);
    if (!is_live(bt, s))
        return;
    s->count += s->count < UINT16_MAX;
    if (s->soft && la != UINT32_MAX && missed_before(bt, la) && ++s->repeats >= REPEATS)
        bt->review_wanted = true;
}

/* Hardens those that miss in vain, and ends the probation of those that miss no more. */
void bt_soft_review(struct bt *bt)
{
    uint64_t time = now(bt);
    for (unsigned n = bt->soft_count; n-- > 0;) {
        struct soft_site *s = &bt->sites[bt->soft_list[n]];
        if (s->repeats >= REPEATS) {
            harden(bt, n);
            continue;
        }
        if (time - s->since < PROBATION << s->relapses)
            continue;
        s->since = time;
        if (s->count < SOFT_FAULTS << s->relapses)
            harden(bt, n);
        s->count = 0;
        s->repeats /= 2;
    }
}

/* The sites themselves die with the cache's era. */
void bt_soft_forget(struct bt *bt)
{
    bt->soft_count = 0;
}

void bt_soft_stress(struct bt *bt, struct block *b)
{
    struct stress *stress = cache_stress(bt->cache);
    const struct insn_mark *mark = cache_marks(bt->cache, b) + stress_pick(stress, b->mark_count);
    uint32_t la = b->eip + mark->guest + cache_mode(bt->cache, b->mode)->cs_base;
    cache_set_soft(b->page, la, stress_pick(stress, 2));
    cache_drop(bt->cache, b);
}
