/* SPDX-License-Identifier: MIT */
/* bt_profile.c: an interrupted PC, or the exit being served -> guest instruction and activity.
 *
 * Called by the profiler's signal handler. Translated code is only ever on the processor while no C
 * code changes the cache, so the cache may be searched then; what an exit id names is in an arena,
 * which stays mapped, whatever has become of it. */
#include "runtime/bt.h"

#include "runtime/bt_state.h"

static bool in_switch(uint64_t pc)
{
    return pc >= (uint64_t)bt_loop && pc < (uint64_t)bt_switch_return;
}

/* The instruction whose code covers a host address of a block: the last that starts before it. */
static uint32_t eip_at(struct bt *bt, const struct block *b, uint32_t offset)
{
    const struct insn_mark *marks = cache_marks(bt->cache, b);
    uint32_t low = 0, high = b->mark_count;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (marks[mid].host <= offset)
            low = mid + 1;
        else
            high = mid;
    }
    return b->eip + (low ? marks[low - 1].guest : 0);
}

bool bt_place_of_pc(struct bt *bt, uint64_t pc, struct profile_place *place)
{
    const struct code_memory *code = cache_code(bt->cache);
    place->op = OP_COUNT;
    if (in_switch(pc)) {
        place->activity = ACT_SWITCH;
        place->eip = bt->v->eip;
        return true;
    }
    if (!code_memory_holds(code, pc))
        return false;
    const struct block *b = cache_block_at(bt->cache, pc);
    if (!b) {
        place->activity = ACT_PADS;
        place->eip = 0;
        return true;
    }
    const struct mode *mode = cache_mode(bt->cache, b->mode);
    place->user = mode->cpl == 3;
    place->eip = eip_at(bt, b, (uint32_t)(pc - (uint64_t)code->rx) - b->host);
    place->activity =
        cache_is_soft(b->page, mode->cs_base + place->eip) ? ACT_SOFT : ACT_TRANSLATED;
    return true;
}

void bt_place_of_exit(struct bt *bt, struct profile_place *place)
{
    uint32_t id = bt->v->hot.exit_id;
    if (id == EXIT_ID_GUEST) {
        place->activity = ACT_GUEST_FAULT;
        place->eip = bt->v->hot.exit_eip;
        return;
    }
    if (place->activity == ACT_INTERPRETER)
        return;
    if (id == EXIT_ID_FAULT) {
        place->activity = ACT_EMULATED;
        place->eip = bt->v->hot.exit_eip;
        return;
    }
    if (id == EXIT_ID_KICK) {
        place->activity = ACT_LOOKUP;
        return;
    }
    const struct exit_record *x = id >= EXIT_ID_SPECIAL ? NULL : cache_exit(bt->cache, id);
    place->activity = ACT_LOOKUP;
    if (!x || x->kind != EXIT_CALLOUT)
        return;
    place->activity = x->soft ? ACT_SOFT_MISS : ACT_CALLOUT;
    place->eip = x->eip;
    place->user = cache_mode(bt->cache, x->from->mode)->cpl == 3;
    if (x->insn)
        place->op = x->insn->op;
}
