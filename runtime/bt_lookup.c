/* SPDX-License-Identifier: MIT */
/* bt_lookup.c: EIP -> host code: the mode, the active page, the block; and the events that end the
 * validity of pages and blocks. */
#include "runtime/bt_precise.h"
#include "runtime/bt_state.h"

#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/perf_map.h"
#include "runtime/phys.h"
#include "runtime/profile.h"

#include <string.h>
#include <x86intrin.h>

#define FOREIGN_WRITES_MAX 16u

static enum space space_of(const struct mode *m)
{
    return m->cpl == 3 ? SPACE_USER : SPACE_SUPERVISOR;
}

/* --- modes --- */

static inline unsigned mode_slot(const struct mode *m, uint64_t words[3])
{
    __builtin_memcpy(words, m, sizeof(*m));
    uint64_t mixed = words[0] ^ words[1] ^ words[2] << 7;
    mixed ^= mixed >> 32;
    return (unsigned)(mixed * 0x9e3779b97f4a7c15ull >> (64 - KNOWN_MODE_BITS));
}

/* MODE_NONE: not known. */
static unsigned mode_known(const struct bt *bt, const struct mode *m)
{
    uint64_t a[3], b[3];
    const struct known_mode *k = &bt->known_modes[mode_slot(m, a)];
    __builtin_memcpy(b, &k->mode, sizeof(b));
    bool same = a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
    return same && k->era == cache_era(bt->cache) ? k->id : MODE_NONE;
}

static void mode_remember(struct bt *bt)
{
    uint64_t words[3];
    bt->known_modes[mode_slot(&bt->mode, words)] =
        (struct known_mode){bt->mode, bt->mode_id, cache_era(bt->cache)};
}

/* Recomputes the mode after the interpreter has run. */
bool bt_update_mode(struct bt *bt)
{
    if (!mode_from_vcpu(bt->v, &bt->mode))
        return false;
    bt->mode_id = mode_known(bt, &bt->mode);
    if (bt->mode_id != MODE_NONE)
        return true;
    bt->mode_id = cache_mode_id(bt->cache, &bt->mode);
    if (bt->mode_id == MODE_NONE)
        return false;
    mode_remember(bt);
    return true;
}

/* The active page of `la`, made so if the guest's tables allow its execution; NULL if it is not
 * memory, or there is no room. Raises #PF. */
static struct code_page *page_for(struct bt *bt, uint32_t la, const uint8_t **bytes)
{
    enum space space = space_of(&bt->mode);
    uint64_t gpa = mmu_fetch(bt->v, la, bytes);
    struct code_page *page = cache_page_active(bt->cache, space, la);
    if (!*bytes)
        return NULL;
    if (page && page->gfn == gpa >> 12)
        return page;
    struct walk w = mmu_walk(bt->v, la, ACC_EXEC, space == SPACE_USER, false);
    return cache_page_activate(bt->cache, space, la, (uint32_t)(gpa >> 12), w.global);
}

static enum translate_status timed_translate(struct bt *bt, const struct source *src,
                                             struct block **block)
{
    struct machine *m = bt->v->machine;
    bool again = m->profile && profile_seen(m->profile, src->eip, src->page->gfn);
    uint8_t before = activity_begin(&m->activity, again ? ACT_RETRANSLATE : ACT_TRANSLATE);
    uint64_t start = __rdtsc();
    enum translate_status status = translate(bt->translator, src, block);
    uint64_t ticks = __rdtsc() - start;
    bt->ticks_translator += ticks;
    m->activity = before;
    if (m->profile && status == TRANSLATE_OK)
        profile_translated(m->profile, again, ticks);
    if (m->perf_map && status == TRANSLATE_OK)
        perf_map_block(m->perf_map, cache_code(bt->cache), *block, bt->mode.cpl == 3);
    return status;
}

/* Also of the page behind it, where the first instruction ends. */
static enum translate_status translate_crossing(struct bt *bt, struct source *src, uint32_t la,
                                                struct block **block)
{
    src->next_page = page_for(bt, la + src->left, &src->next_bytes);
    if (!src->next_page || !src->page->active) /* its activation may have ended this one's */
        return TRANSLATE_CROSSES;
    return timed_translate(bt, src, block);
}

static struct entry make_block(struct bt *bt, uint32_t eip, uint32_t la)
{
    struct source src = {.eip = eip, .left = 0x1000 - (la & 0xfff), .mode = bt->mode_id};
    struct block *block;
    src.page = page_for(bt, la, &src.bytes);
    if (!src.page)
        return (struct entry){0};
    enum translate_status status = timed_translate(bt, &src, &block);
    if (status == TRANSLATE_CROSSES)
        status = translate_crossing(bt, &src, la, &block);
    if (status != TRANSLATE_OK)
        return (struct entry){0};
    if (bt->precise)
        bt_precise_arm(bt, block);
    return (struct entry){block, block->host};
}

struct entry bt_lookup(struct bt *bt, uint32_t eip)
{
    uint32_t la = bt->mode.cs_base + eip;
    if (bt->mode.cs_limit < INSN_MAX_LENGTH || eip > bt->mode.cs_limit - INSN_MAX_LENGTH)
        return (struct entry){0};
    struct code_page *page = cache_page_active(bt->cache, space_of(&bt->mode), la);
    if (!page) {
        const uint8_t *bytes;
        page = page_for(bt, la, &bytes);
        if (!page)
            return (struct entry){0};
    }
    struct entry e = cache_find(bt->cache, eip, bt->mode_id, page);
    return e.block ? e : make_block(bt, eip, la);
}

/* --- events --- */

static bool still_mapped(void *opaque, const struct code_page *p)
{
    struct bt *bt = opaque;
    struct walk w = mmu_walk(bt->v, p->la, ACC_EXEC, p->space == SPACE_USER, false);
    if (!w.ok || w.gpa >> 12 != p->gfn)
        return false;
    views_note_code(bt->views, p->la, p->space == SPACE_USER);
    return true;
}

/* Checks the active pages of a space, unless nothing about them has changed since that was last
 * done in this address space. What stays active is noted in the view, which then watches it. */
static void verify(struct bt *bt, enum space space)
{
    bool user = space == SPACE_USER;
    if (!views_code_moved(bt->views, user, cache_generation(bt->cache, space)))
        return;
    cache_pages_verify(bt->cache, space, user, still_mapped, bt);
}

static void verify_page(struct bt *bt, uint32_t la)
{
    for (enum space space = 0; space < SPACE_COUNT; space++) {
        struct code_page *page = cache_page_active(bt->cache, space, la);
        if (page && !still_mapped(bt, page))
            cache_page_deactivate(bt->cache, page);
    }
}

void bt_tlb_event(struct vcpu *v, enum tlb_event event, uint32_t arg)
{
    struct bt *bt = v->bt;
    if (!bt)
        return;
    switch (event) {
    case TLB_FLUSH_ALL:
        bt->tlb_flushes++;
        views_flush_all(bt->views);
        cache_pages_verify(bt->cache, SPACE_SUPERVISOR, true, still_mapped, bt);
        cache_pages_verify(bt->cache, SPACE_USER, true, still_mapped, bt);
        break;
    case TLB_CR3:
        bt->tlb_flushes++;
        views_cr3_loaded(bt->views);
        verify(bt, SPACE_SUPERVISOR);
        verify(bt, SPACE_USER);
        break;
    case TLB_INVLPG:
        views_invlpg(bt->views, arg);
        bt_soft_invlpg(bt, arg);
        verify_page(bt, arg);
        break;
    case TLB_PROTECT:
        views_protect_frame(bt->views, arg);
        break;
    }
}

/* Blocks under a write go. A page that is often written to without hitting a block is given up: its
 * code has probably gone, and each write costs a host fault while it is watched. */
void bt_code_written(void *opaque, uint32_t gfn, uint32_t offset, uint32_t size)
{
    struct bt *bt = opaque;
    if (!cache_has_code_in(bt->cache, gfn, offset, size)) {
        cache_note_idle_write(bt->cache, gfn);
        return;
    }
    if (!cache_invalidate(bt->cache, gfn, offset, size) &&
        cache_note_foreign_write(bt->cache, gfn) > FOREIGN_WRITES_MAX)
        cache_invalidate(bt->cache, gfn, 0, 0x1000);
}
