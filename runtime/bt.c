/* SPDX-License-Identifier: MIT */
/* bt.c: the dispatcher. One turn of its loop: find the entry for EIP, switch to translated code,
 * serve the exit. Exits (translator/block.h):
 *
 *   branch     a direct exit not linked yet: find its target, link, go on there
 *   indirect   a target that the jump cache did not have: find it, enter it there, go on
 *   callout    an instruction for the interpreter: execute, go on behind it
 *   fault      guest memory could not be mapped (page fault, device, code page): interpreter
 *   kick       a request came in: back to the loop
 *
 * Flags: vcpu->eflags is complete in C; while translated code runs, arithmetic flags and DF are in
 * the host's register, IF in hot.vif and the rest in hot.vflags. */
#include "runtime/bt.h"

#include "runtime/bt_state.h"
#include "runtime/interp.h"
#include "devices/device.h"
#include "runtime/machine.h"
#include "runtime/phys.h"
#include "runtime/switch_offsets.h"
#include "runtime/system.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <x86intrin.h>

_Static_assert(offsetof(struct vcpu, gpr) == VCPU_GPR, "switch.S");
_Static_assert(offsetof(struct vcpu, eip) == VCPU_EIP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.exit_id) == VCPU_EXIT_ID, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.exit_eip) == VCPU_EXIT_EIP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.host_flags) == VCPU_HOST_FLAGS, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.monitor_rsp) == VCPU_MONITOR_RSP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.return_sp) == VCPU_RETURN_SP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.jump_cache) == VCPU_JUMP_CACHE, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.jump_tag) == VCPU_JUMP_TAG, "switch.S");
_Static_assert(offsetof(struct vcpu, request) == VCPU_REQUEST, "switch.S");
_Static_assert(offsetof(struct vcpu, fx.xmm) == VCPU_XMM, "switch.S");
_Static_assert(EXIT_ID_KICK == 0xfffffffdu, "switch.S");

static void watch(void *opaque, uint32_t gfn)
{
    struct bt *bt = opaque;
    phys_watch(bt->v->machine->phys, gfn, PHYS_WATCH_BT);
}

static void unwatch(void *opaque, uint32_t gfn)
{
    struct bt *bt = opaque;
    phys_unwatch(bt->v->machine->phys, gfn, PHYS_WATCH_BT);
}

struct bt *bt_create(struct vcpu *v, uint64_t cache_size, int *error)
{
    struct bt *bt = calloc(1, sizeof(*bt));
    *error = -ENOMEM;
    if (!bt)
        return NULL;
    struct cache_client client = {watch, unwatch, bt};
    bt->v = v;
    bt->mode_id = bt->return_mode = -1;
    bt->views = views_create(v, error);
    if (bt->views)
        bt->cache = cache_create(cache_size, &client, error);
    if (bt->cache)
        bt->translator = translator_create(bt->cache, machine_cpu_model(v->machine));
    if (!bt->translator || (*error = bt_stack_create(bt)) < 0) {
        bt_destroy(bt);
        return NULL;
    }
    pads_emit(bt->cache, (uint64_t)bt_exit_entry, (uint64_t)bt_exit_indirect);
    bt_stack_seal(bt);
    v->hot.jump_cache = (uint64_t)cache_jump_table(bt->cache);
    v->hot.flags_mask = EFL_HOST;
    bt->born_ticks = __rdtsc();
    bt->born_ns = clock_now(v->machine->clock);
    v->tlb_listener = bt_tlb_event;
    phys_set_code_callback(v->machine->phys, PHYS_WATCH_BT, bt_code_written, bt);
    return bt;
}

void bt_destroy(struct bt *bt)
{
    if (!bt)
        return;
    bt->v->tlb_listener = NULL;
    phys_set_code_callback(bt->v->machine->phys, PHYS_WATCH_BT, NULL, NULL);
    translator_destroy(bt->translator);
    cache_destroy(bt->cache);
    views_destroy(bt->views);
    bt_stack_destroy(bt);
    free(bt);
}

/* --- the switch --- */

static void load_view(struct bt *bt)
{
    struct vcpu *v = bt->v;
    v->hot.view = views_current(bt->views, v->cpl == 3);
    if (v->hot.view == bt->gs_loaded)
        return;
    __asm__ volatile("wrgsbase %0" : : "r"(v->hot.view));
    bt->gs_loaded = v->hot.view;
}

/* Host return addresses from before an invalidation, or from another mode, may not be used. */
static void check_return_stack(struct bt *bt)
{
    uint64_t epoch = cache_epoch(bt->cache);
    if (bt->epoch == epoch && bt->return_mode == bt->mode_id)
        return;
    bt->epoch = epoch;
    bt->return_mode = bt->mode_id;
    bt->v->hot.return_sp = bt_stack_base(bt);
}

static void enter(struct bt *bt, struct entry at)
{
    struct vcpu *v = bt->v;
    load_view(bt);
    check_return_stack(bt);
    v->hot.vif = v->eflags & EFL_IF;
    v->hot.vflags = v->eflags & ~(EFL_HOST | EFL_IF | EFL_RF);
    v->hot.host_flags = v->eflags & EFL_HOST;
    v->hot.irq_hint = machine_interrupt_line(v->machine);
    v->hot.jump_tag = (uint64_t)bt->mode_id << 32;
    uint64_t start = __rdtsc();
    bt_switch(v, (uint64_t)cache_code(bt->cache)->rx + at.host);
    bt->ticks_translated += __rdtsc() - start;
    v->eflags = (v->hot.host_flags & EFL_HOST) | v->hot.vif | v->hot.vflags | EFL_ONE;
    v->machine->stats.dispatches++;
}

/* --- exits --- */

/* Whether the loop has something to do before more guest code runs. */
static bool must_return(const struct vcpu *v)
{
    return atomic_load_explicit(&v->request, memory_order_relaxed) || v->halted || v->shutdown ||
           ((v->eflags & EFL_IF) && machine_interrupt_line(v->machine));
}

static void dump_exit(const struct bt *bt, const char *why, uint32_t eip)
{
    if (bt->dump_exits)
        fprintf(bt->dump_exits, "exit %-8s eip %08x esp %08x cpl %u cr3 %08x\n", why, eip,
                bt->v->gpr[R_ESP], bt->v->cpl, bt->v->cr3);
}

/* Executes the instruction at EIP in the interpreter; then the place to go on: behind it in the
 * same block if that still holds, else block NULL for a lookup. */
static struct entry step(struct bt *bt, struct block *in)
{
    struct vcpu *v = bt->v;
    uint64_t epoch = cache_epoch(bt->cache);
    int mode = bt->mode_id;
    interp_step(v);
    if (!in || cache_epoch(bt->cache) != epoch || !bt_update_mode(bt) || bt->mode_id != mode)
        return (struct entry){0};
    return cache_entry_in(bt->cache, in, v->eip);
}

static struct entry exit_branch(struct bt *bt, uint32_t id)
{
    struct vcpu *v = bt->v;
    struct exit_record *x = cache_exit(bt->cache, id);
    uint64_t flushes = cache_counters(bt->cache)->flushes;
    v->eip = x->eip;
    v->machine->stats.exit_link++;
    struct entry to = bt_lookup(bt, v->eip);
    if (to.block && cache_counters(bt->cache)->flushes == flushes && x->from->valid)
        cache_link(bt->cache, x, to);
    return to;
}

static struct entry exit_indirect(struct bt *bt)
{
    struct vcpu *v = bt->v;
    v->eip = v->hot.exit_eip;
    v->machine->stats.exit_indirect++;
    struct entry to = bt_lookup(bt, v->eip);
    if (to.block)
        cache_jump_enter(bt->cache, v->eip, to);
    return to;
}

static struct entry exit_callout(struct bt *bt, uint32_t id)
{
    struct vcpu *v = bt->v;
    const struct exit_record *x = cache_exit(bt->cache, id);
    v->eip = x->eip;
    v->machine->stats.exit_callout++;
    dump_exit(bt, "callout", v->eip);
    return step(bt, x->host ? x->from : NULL);
}

/* Serves the exit just taken. True to go on in translated code at *next (block NULL: look up). */
static bool serve(struct bt *bt, struct entry *next)
{
    struct vcpu *v = bt->v;
    *next = (struct entry){0};
    switch (v->hot.exit_id) {
    case EXIT_ID_KICK:
        v->eip = v->hot.exit_eip;
        v->machine->stats.exit_interrupt++;
        return false;
    case EXIT_ID_FAULT:
        v->eip = v->hot.exit_eip;
        v->machine->stats.exit_fault++;
        dump_exit(bt, "fault", v->eip);
        *next = step(bt, bt->faulted);
        return !must_return(v);
    case EXIT_ID_INDIRECT:
        *next = exit_indirect(bt);
        return true;
    default:
        if (cache_exit(bt->cache, v->hot.exit_id)->kind == EXIT_BRANCH) {
            *next = exit_branch(bt, v->hot.exit_id);
            return true;
        }
        *next = exit_callout(bt, v->hot.exit_id);
        return !must_return(v);
    }
}

/* Code that is not translated in this state, or an instruction that cannot be. */
static bool interpret(struct bt *bt)
{
    interp_step(bt->v);
    return !must_return(bt->v);
}

static bool translatable(struct bt *bt)
{
    return !bt->v->shadow && !debug_active(bt->v) && bt_update_mode(bt);
}

static void note_recent(struct bt *bt, uint32_t eip)
{
    bt->recent[bt->recent_at++ % BT_RECENT] = eip;
}

void bt_run(struct vcpu *v)
{
    struct bt *bt = v->bt;
    while (!atomic_load_explicit(&v->request, memory_order_relaxed)) {
        if (!translatable(bt)) {
            if (!interpret(bt))
                return;
            continue;
        }
        struct entry at = bt_lookup(bt, v->eip);
        if (!at.block) {
            if (!interpret(bt))
                return;
            continue;
        }
        do {
            note_recent(bt, v->eip);
            enter(bt, at);
            if (!serve(bt, &at))
                return;
        } while (at.block && translatable(bt));
    }
}

unsigned bt_recent(const struct bt *bt, uint32_t *eips, unsigned max)
{
    unsigned n = 0;
    while (n < max && n < BT_RECENT && n < bt->recent_at) {
        eips[n] = bt->recent[(bt->recent_at - 1 - n) % BT_RECENT];
        n++;
    }
    return n;
}

void bt_set_dump(struct bt *bt, unsigned dump, FILE *out)
{
    bt->dump_exits = dump & DUMP_EXITS ? out : NULL;
    translator_set_dump(bt->translator, dump & DUMP_DECODE ? out : NULL,
                        dump & DUMP_BLOCKS ? out : NULL, dump & DUMP_HOST ? out : NULL);
}

/* Time-stamp ticks are converted by the ratio of both clocks over the life of the engine. */
static uint64_t ticks_to_ns(const struct bt *bt, uint64_t ticks)
{
    uint64_t elapsed = __rdtsc() - bt->born_ticks;
    uint64_t ns = clock_now(bt->v->machine->clock) - bt->born_ns;
    return elapsed ? (uint64_t)((unsigned __int128)ticks * ns / elapsed) : 0;
}

void bt_collect_stats(struct bt *bt)
{
    struct stats *s = &bt->v->machine->stats;
    const struct translator_counters *t = translator_counters(bt->translator);
    const struct cache_counters *c = cache_counters(bt->cache);
    s->translated = t->insns;
    s->class_identical = t->by_class[CLASS_IDENTICAL];
    s->class_memory = t->by_class[CLASS_MEMORY];
    s->class_rewritten = t->by_class[CLASS_REWRITTEN];
    s->class_control = t->by_class[CLASS_CONTROL];
    s->class_callout =
        t->by_class[CLASS_CALLOUT] + t->by_class[CLASS_CALLOUT_END] + t->by_class[CLASS_UNDEFINED];
    s->blocks_translated = t->blocks;
    s->guest_bytes = t->guest_bytes;
    s->host_bytes = t->host_bytes;
    s->chain_links = c->links;
    s->chain_unlinks = c->unlinks;
    s->inv_write = c->inv_write;
    s->inv_remap = c->inv_remap;
    s->flushes = c->flushes;
    s->time_translator = ticks_to_ns(bt, bt->ticks_translator);
    s->time_translated = ticks_to_ns(bt, bt->ticks_translated);
}
