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

#include "runtime/bt_precise.h"
#include "runtime/bt_state.h"
#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/interp.h"
#include "devices/device.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"
#include "runtime/switch_offsets.h"
#include "runtime/system.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <x86intrin.h>

_Static_assert(offsetof(struct vcpu, gpr) == VCPU_GPR, "switch.S");
_Static_assert(offsetof(struct vcpu, eip) == VCPU_EIP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.exit_id) == VCPU_EXIT_ID, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.exit_eip) == VCPU_EXIT_EIP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.host_flags) == VCPU_HOST_FLAGS, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.monitor_rsp) == VCPU_MONITOR_RSP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.return_sp) == VCPU_RETURN_SP, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.jump_cache) == VCPU_JUMP_CACHE, "switch.S");
_Static_assert(offsetof(struct vcpu, hot.view) == VCPU_VIEW, "switch.S");
_Static_assert(offsetof(struct vcpu, request) == VCPU_REQUEST, "switch.S");
_Static_assert(offsetof(struct vcpu, fx.xmm) == VCPU_XMM, "switch.S");
_Static_assert(EXIT_ID_KICK == 0xfffffffdu, "switch.S");

#define HWCAP2_FSGSBASE 2u

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

/* The verifier's refusal is a bug of ours: the code does not run, and neither does the guest. */
static void code_refused(void *opaque)
{
    struct bt *bt = opaque;
    struct machine *m = bt->v->machine;
    snprintf(m->end_message, sizeof(m->end_message),
             "the verifier refuses translated code, see above; this is a bug of the monitor");
    machine_stop(m, END_ERROR);
}

/* Whether user code may execute WRGSBASE (Linux 5.9 and later say so in the auxiliary vector). */
static bool host_has_fsgsbase(void)
{
    return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
}

struct bt *bt_create(struct vcpu *v, uint64_t cache_size, int *error)
{
    if (!host_has_fsgsbase()) {
        *error = -EOPNOTSUPP;
        return NULL;
    }
    struct bt *bt = calloc(1, sizeof(*bt));
    *error = -ENOMEM;
    if (!bt)
        return NULL;
    struct cache_client client = {watch, unwatch, bt};
    bt->v = v;
    bt->views = views_create(v, error);
    if (bt->views)
        bt->cache = cache_create(cache_size, &client, error);
    if (bt->cache)
        bt->translator = translator_create(bt->cache, machine_cpu_model(v->machine));
    if (!bt->translator || (*error = bt_stack_create(bt)) < 0) {
        bt_destroy(bt);
        return NULL;
    }
    translator_set_verify(bt->translator, v->machine->config.verify, code_refused, bt);
    if (v->machine->config.stress_evict)
        stress_start(cache_stress(bt->cache), v->machine->config.stress_seed);
    if (v->machine->config.engine == ENGINE_LOCKSTEP)
        translator_count(bt->translator);
    else
        fpu_set_locator(v, bt_locate_x87);
    pads_emit(bt->cache, (uint64_t)bt_exit_entry, (uint64_t)bt_exit_indirect);
    bt_stack_seal(bt);
    v->hot.jump_cache = (uint64_t)cache_jump_table(bt->cache);
    v->hot.flags_mask = EFL_HOST;
    v->hot.tlb_index_mask = (TLB_SIZE - 1) << 12;
    v->hot.tlb_page_mask = ~0xfffu;
    v->hot.tlb_offset_mask = 0xfff;
    v->hot.three = 3;
    v->hot.code_lines = (uint64_t)cache_code_lines(bt->cache);
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
    bt_precise_stop(bt);
    bt_stack_destroy(bt);
    free(bt);
}

/* --- the switch --- */

/* The interrupt line moves only when devices run. */
static void look_at_interrupt_line(struct bt *bt)
{
    if (!bt->devices_ran)
        return;
    bt->v->hot.irq_hint = machine_interrupt_line(bt->v->machine);
    bt->devices_ran = false;
}

static void prepare_entry(struct bt *bt)
{
    struct vcpu *v = bt->v;
    v->hot.vif = v->eflags & EFL_IF;
    v->hot.vflags = v->eflags & ~(EFL_HOST | EFL_IF | EFL_RF);
    bt_load_view(bt);
    bt_load_return_stack(bt);
    look_at_interrupt_line(bt);
    v->hot.host_flags = v->eflags & EFL_HOST;
    v->hot.jump_tag = (uint64_t)cache_jump_tag(bt->cache, bt->mode_id) << 32;
    bt->inside = true;
    bt->switches++;
}

static void note_leaving(struct bt *bt)
{
    struct vcpu *v = bt->v;
    bt->inside = false;
    v->eflags = bt_join_flags(v, v->hot.host_flags);
}

/* --- exits --- */

/* What follows an exit. */
enum next {
    NEXT_RETURN, /* the loop has something to do */
    NEXT_ENTER, /* bt->at holds the host address; nothing that translation depends on has changed */
    NEXT_LOOKUP, /* look at everything afresh */
};

/* Whether the loop has something to do before more guest code runs. */
static bool must_return(struct bt *bt)
{
    struct vcpu *v = bt->v;
    if (atomic_load_explicit(&v->request, memory_order_relaxed) || v->halted || v->shutdown)
        return true;
    look_at_interrupt_line(bt);
    return (v->eflags & EFL_IF) && v->hot.irq_hint;
}

static void dump_exit(const struct bt *bt, const char *why)
{
    struct vcpu *v = bt->v;
    if (bt->dump_exits)
        fprintf(bt->dump_exits, "exit %-8s eip %08x esp %08x cpl %u cr3 %08x\n", why, v->eip,
                v->gpr[R_ESP], v->cpl, v->cr3);
}

static void observe_callout(const struct bt *bt, const struct exit_record *x)
{
    struct profile *p = bt->v->machine->profile;
    dump_exit(bt, "callout");
    if (p)
        profile_callout(p, x->insn ? x->insn->op : (unsigned)OP_COUNT, x->soft);
}

static uint64_t host_address(struct bt *bt, uint32_t offset)
{
    return (uint64_t)cache_code(bt->cache)->rx + offset;
}

static enum next enter_at(struct bt *bt, uint64_t host)
{
    bt->at = host;
    bt->at_stamp = cache_stamp(bt->cache);
    return NEXT_ENTER;
}

static enum next go_to(struct bt *bt, struct entry to)
{
    return to.block ? enter_at(bt, host_address(bt, to.host)) : NEXT_LOOKUP;
}

static enum next exit_branch(struct bt *bt, struct exit_record *x)
{
    struct vcpu *v = bt->v;
    v->eip = x->eip;
    v->machine->stats.exit_link++;
    struct entry to = bt_lookup(bt, v->eip);
    if (to.block)
        cache_link(bt->cache, x, to);
    return go_to(bt, to);
}

static enum next exit_indirect(struct bt *bt)
{
    struct vcpu *v = bt->v;
    v->eip = v->hot.exit_eip;
    v->machine->stats.exit_indirect++;
    struct entry to = bt_lookup(bt, v->eip);
    if (to.block)
        cache_jump_enter(bt->cache, v->eip, to);
    return go_to(bt, to);
}

/* Instructions after which the mode is what it was and only the registers have changed. */
static bool keeps_mode(unsigned op)
{
    switch (op) {
    case OP_MOV_TO_SEG:
    case OP_POP_SEG:
    case OP_LDS:
    case OP_LES:
    case OP_LFS:
    case OP_LGS:
    case OP_LSS:
    case OP_MOV_TO_CR:
    case OP_LMSW:
    case OP_CLTS:
    case OP_POPF:
        return false;
    default:
        return true;
    }
}

static bool runs_devices(unsigned op)
{
    return op == OP_IN || op == OP_OUT || op == OP_INS || op == OP_OUTS || op == OP_WRMSR;
}

/* Code that is not translated in this state, or an instruction that cannot be. */
static enum next interpret(struct bt *bt)
{
    bt->devices_ran = true;
    bt->v->machine->activity = ACT_INTERPRETER;
    interp_step(bt->v);
    bt->v->machine->activity = ACT_ENGINE;
    return must_return(bt) ? NEXT_RETURN : NEXT_LOOKUP;
}

/* The interpreter raises it: translated code may touch the bytes of an operand in another order, so
 * the address that the host met need not be the one to report (POPA across a page). */
static enum next exit_guest_fault(struct bt *bt)
{
    struct vcpu *v = bt->v;
    v->eip = v->hot.exit_eip;
    v->machine->stats.exit_fault++;
    if (bt->observed)
        dump_exit(bt, "guest-pf");
    bt->served = bt->guest_fault;
    bt->served_eip = v->eip;
    return interpret(bt);
}

/* After IRET: back at an instruction that had a page fault, its page is mapped now. */
static void prefill_after_fault(struct bt *bt)
{
    struct vcpu *v = bt->v;
    if (v->eip != bt->served_eip)
        return;
    bt->served_eip = 0;
    views_prefill(bt->views, bt->served.la, mmu_as(v, v->eflags));
}

/* The miss counts only where a view could hold the page: watched frames and devices always miss. */
static void note_soft_miss(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    uint32_t la = 0;
    if (x->insn && x->insn->has_mem)
        la = v->seg[x->insn->mem_seg].base + interp_ea(v, x->insn);
    struct walk w = {0};
    if (la)
        w = mmu_walk(v, la, ACC_READ, mmu_as(v, v->eflags), false);
    uint32_t gfn = (uint32_t)(w.gpa >> 12);
    bool mappable = w.ok && phys_kind(v->machine->phys, gfn) == PHYS_RAM &&
                    !phys_watched(v->machine->phys, gfn);
    bt_soft_miss(bt, x->from->page, v->eip, mappable ? la : UINT32_MAX);
}

/* An instruction for the interpreter, decoded when its block was made. */
static enum next exit_callout(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    uint64_t stamp = cache_stamp(bt->cache);
    unsigned mode = bt->mode_id;
    uint32_t resume = x->host, next_eip = x->eip + (x->insn ? x->insn->length : 0);
    unsigned op = x->insn ? x->insn->op : (unsigned)OP_COUNT;
    uint32_t eflags = v->eflags;
    unsigned cpl = v->cpl;
    v->eip = x->eip;
    v->machine->stats.exit_callout++;
    if (bt->observed)
        observe_callout(bt, x);
    if (x->soft)
        note_soft_miss(bt, x);
    if (x->insn) {
        bt->devices_ran |= x->soft || runs_devices(op);
        interp_execute(v, x->insn);
        bt_light_learn(bt, x->insn, eflags, cpl);
    } else {
        bt->devices_ran = true;
        interp_step(v);
    }
    if (op == OP_IRET && bt->served_eip)
        prefill_after_fault(bt);
    if (must_return(bt))
        return NEXT_RETURN;
    if (!resume || v->eip != next_eip || v->shadow || cache_stamp(bt->cache) != stamp)
        return NEXT_LOOKUP;
    if (!keeps_mode(op) && (debug_active(v) || !bt_update_mode(bt) || bt->mode_id != mode))
        return NEXT_LOOKUP;
    return enter_at(bt, host_address(bt, resume));
}

/* The instruction at EIP could not have its memory mapped. */
static enum next exit_fault(struct bt *bt)
{
    struct vcpu *v = bt->v;
    uint64_t stamp = cache_stamp(bt->cache);
    unsigned mode = bt->mode_id;
    v->eip = v->hot.exit_eip;
    v->machine->stats.exit_fault++;
    bt->devices_ran = true;
    if (bt->observed)
        dump_exit(bt, "fault");
    interp_step(v);
    if (must_return(bt))
        return NEXT_RETURN;
    if (!bt->faulted->valid || v->shadow || debug_active(v) || cache_stamp(bt->cache) != stamp ||
        !bt_update_mode(bt) || bt->mode_id != mode)
        return NEXT_LOOKUP;
    return go_to(bt, cache_entry_in(bt->cache, bt->faulted, v->eip));
}

static enum next serve(struct bt *bt)
{
    struct vcpu *v = bt->v;
    switch (v->hot.exit_id) {
    case EXIT_ID_KICK:
        v->eip = v->hot.exit_eip;
        v->machine->stats.exit_interrupt++;
        return NEXT_RETURN;
    case EXIT_ID_FAULT:
        return exit_fault(bt);
    case EXIT_ID_GUEST:
        return exit_guest_fault(bt);
    case EXIT_ID_INDIRECT:
        return exit_indirect(bt);
    case EXIT_ID_LOOKUP:
        v->eip = v->hot.exit_eip;
        return must_return(bt) ? NEXT_RETURN : NEXT_LOOKUP;
    default: {
        struct exit_record *x = cache_exit(bt->cache, v->hot.exit_id);
        return x->kind == EXIT_BRANCH ? exit_branch(bt, x) : exit_callout(bt, x);
    }
    }
}

static enum next look_up(struct bt *bt)
{
    struct vcpu *v = bt->v;
    if (v->shadow || debug_active(v) || !bt_update_mode(bt))
        return interpret(bt);
    uint64_t host = cache_jump_find(bt->cache, v->eip, bt->mode_id);
    if (host)
        return enter_at(bt, host);
    struct entry to = bt_lookup(bt, v->eip);
    if (!to.block)
        return interpret(bt);
    cache_jump_enter(bt->cache, v->eip, to);
    return go_to(bt, to);
}

static void note_recent(struct bt *bt, uint32_t eip)
{
    bt->recent[bt->recent_at++ % BT_RECENT] = eip;
}

/* Counts what is interpreted before it is executed, since it may raise. */
static enum next find(struct bt *bt)
{
    struct vcpu *v = bt->v;
    if (atomic_load_explicit(&v->request, memory_order_relaxed))
        return NEXT_RETURN;
    v->count.retired++;
    enum next next = look_up(bt);
    v->count.retired -= next == NEXT_ENTER;
    return next;
}

static bool go_on(const struct bt *bt, enum next next)
{
    return next != NEXT_RETURN && !(bt->once && bt->v->count.retired);
}

static bool reclaim_waits(const struct bt *bt)
{
    return bt->softened || bt->review_wanted || cache_wants_flush(bt->cache) ||
           cache_stress(bt->cache)->on;
}

static uint64_t take_turn(struct bt *bt)
{
    enum next next = (enum next)bt->next;
    if (bt->inside) {
        note_leaving(bt);
        next = serve(bt);
    }
    while (go_on(bt, next)) {
        if (reclaim_waits(bt) && bt_reclaim(bt))
            next = NEXT_LOOKUP;
        if (next == NEXT_ENTER && bt->at_stamp == cache_stamp(bt->cache)) {
            note_recent(bt, bt->v->eip);
            prepare_entry(bt);
            if (bt->precise)
                bt_precise_enter(bt);
            return bt->at;
        }
        next = find(bt);
    }
    bt->next = next;
    return 0;
}

/* One turn in so many is timed, and stands for the others. Turns are of a size; the stays in
 * translated code between them are not, so their time is what is left. */
#define TIMED_EVERY 64u

/* Serves the exit that brought translated code here; then says where to enter it, 0: leave. */
uint64_t bt_turn(struct vcpu *v)
{
    struct bt *bt = v->bt;
    if (++bt->turns % TIMED_EVERY)
        return take_turn(bt);
    uint64_t start = __rdtsc();
    uint64_t host = take_turn(bt);
    bt->ticks_turns += (__rdtsc() - start) * TIMED_EVERY;
    return host;
}

/* The loop starts afresh after each interrupt. A settling that is not done by the next start can
 * wait for the next. */
#define STARTS_A_SETTLING 16u

static void start(struct bt *bt, bool afresh, bool once)
{
    bt->inside = false;
    bt->once = once;
    if (!afresh)
        return;
    bt->next = NEXT_LOOKUP;
    bt->devices_ran = true;
    bt->v->hot.exit_id = EXIT_ID_KICK; /* no exit is being served */
    bt->v->machine->activity = ACT_ENGINE;
    bt->review_wanted = true;
    bt->settle_wanted = ++bt->starts % STARTS_A_SETTLING == 0;
}

void bt_run(struct vcpu *v)
{
    start(v->bt, true, false);
    bt_loop(v);
}

bool bt_run_once(struct vcpu *v, bool first)
{
    start(v->bt, first, true);
    bt_loop(v);
    return v->bt->next != NEXT_RETURN;
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
    bt->observed = bt->dump_exits || bt->v->machine->profile;
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
    s->flushes = c->flushes;
    s->stressed = stress_total(cache_stress(bt->cache));
    s->dispatches = bt->switches;
    s->verified = t->verified;
    s->verify_refused = t->refused;
    s->time_verifier = ticks_to_ns(bt, t->ticks_verify);
    s->time_translator = ticks_to_ns(bt, bt->ticks_translator);
    uint64_t turns = ticks_to_ns(bt, bt->ticks_turns);
    s->time_monitor = turns > s->time_translator ? turns - s->time_translator : 0;
}
