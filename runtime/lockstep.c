/* SPDX-License-Identifier: MIT */
/* lockstep.c: two engines, one guest.
 *
 * The guest runs in stretches. The translator goes first: from one entry of its dispatcher to the
 * next exit, or until its counted translations have used up the budget of instructions. Then the
 * interpreter executes as many, one by one, and both are compared. Nothing of the translator is
 * switched off for that: blocks are linked, returns are predicted, the jump cache is probed.
 *
 * When a stretch ends in a difference, both go back to its beginning and take it again one
 * instruction at a time, so that the report names the one at fault. */
#include "runtime/lockstep_state.h"

#include "runtime/bt.h"
#include "runtime/bt_precise.h"
#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/fpu_thunk.h"
#include "runtime/interp_cache.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define ALL_SHARE 16u /* of the time, for comparing all memory */

/* --- life --- */

static int create_shadow(struct lockstep *ls)
{
    struct machine *m = ls->machine, *s = &ls->shadow;
    int error = 0;
    *s = *m;
    s->lockstep = ls;
    s->phys = NULL;
    s->bus = bus_create();
    ls->b = s->vcpu = vcpu_allocate();
    if (!s->bus || !ls->b)
        return -ENOMEM;
    ls->b->machine = s;
    s->phys = phys_create(phys_ram_size(m->phys), s->bus, &error);
    if (!s->phys || (error = fpu_create(ls->b)))
        return error;
    ls->b->interp = interp_create(ls->b);
    return ls->b->interp ? 0 : -ENOMEM;
}

/* The decoder's library sets itself up at first use, by system calls that the sandbox will not
 * have.
 */
static void warm_up(struct decoder *d)
{
    static const uint8_t nop = 0x90;
    struct insn i;
    char text[32];
    if (decode(d, &nop, 1, true, &i) == DECODE_OK)
        decode_format(d, &i, 0, true, text, sizeof(text));
}

/* --stress precise: what recreates states, and what reads the host's code. */
static int start_precise(struct lockstep *ls)
{
    static const uint8_t nop = 0x90;
    char text[32];
    ls->host_decoder = host_decoder_create();
    if (!ls->host_decoder ||
        !bt_precise_start(ls->a->bt, ls->spoil == SPOIL_MARK ? ls->spoil_after : 0))
        return -ENOMEM;
    (void)host_decoder_may_fault(ls->host_decoder, &nop, 1, 0, text, sizeof(text));
    return 0;
}

struct lockstep *lockstep_create(struct machine *m, int *error)
{
    struct lockstep *ls = calloc(1, sizeof(*ls));
    *error = -ENOMEM;
    if (!ls)
        return NULL;
    ls->machine = m;
    ls->a = m->vcpu;
    ls->every = m->config.compare_every;
    if (m->config.lockstep_selftest)
        lockstep_parse_selftest(m->config.lockstep_selftest, &ls->spoil, &ls->spoil_after);
    *error = create_shadow(ls);
    if (!*error && m->config.stress_precise)
        *error = start_precise(ls);
    ls->decoder = *error ? NULL : decoder_create(NULL);
    if (!ls->decoder || !log_init(&ls->log)) {
        *error = *error ? *error : -ENOMEM;
        lockstep_destroy(ls);
        return NULL;
    }
    warm_up(ls->decoder);
    log_connect(ls);
    return ls;
}

void lockstep_destroy(struct lockstep *ls)
{
    if (!ls)
        return;
    bus_set_tap(ls->machine->bus, NULL);
    if (ls->b && ls->b->interp)
        interp_destroy(ls->b->interp);
    if (ls->b)
        fpu_destroy(ls->b);
    vcpu_release(ls->b);
    phys_destroy(ls->shadow.phys);
    bus_destroy(ls->shadow.bus);
    if (ls->decoder)
        decoder_destroy(ls->decoder);
    host_decoder_destroy(ls->host_decoder);
    log_release(&ls->log);
    free(ls);
}

bool lockstep_reset(struct lockstep *ls)
{
    struct cpu_state state;
    struct phys *from = ls->machine->phys, *to = ls->shadow.phys;
    if (phys_mirror_frames(to, from))
        return false;
    phys_mirror_bytes(to, from);
    phys_watch_all(to, PHYS_WATCH_LOG);
    ls->generation = phys_generation(from);
    fpu_sync(ls->a);
    state_save(ls->a, &state);
    state_load(ls->b, &state);
    ls->b->fpu->ignne = ls->a->fpu->ignne;
    mmu_reset(ls->b);
    log_clear(&ls->log);
    return true;
}

bool lockstep_parse_selftest(const char *spec, enum lockstep_spoil *what, uint64_t *after)
{
    static const char *const names[] = {NULL, "reg:", "flag:", "mem:", "state:", "mark:"};
    for (enum lockstep_spoil w = SPOIL_REG; w <= SPOIL_MARK; w++) {
        size_t length = strlen(names[w]);
        char *end;
        if (strncmp(spec, names[w], length) != 0 || spec[length] < '0' || spec[length] > '9')
            continue;
        errno = 0;
        *after = strtoull(spec + length, &end, 10);
        *what = w;
        return !*end && !errno;
    }
    return false;
}

/* --- one stretch --- */

/* What either processor raises is delivered at once. False when there is something for the loop. */
static bool run_a(struct lockstep *ls, bool first, uint32_t budget)
{
    struct vcpu *a = ls->a;
    ls->a_raised = false;
    a->count.retired = 0;
    a->count.budget = (uint64_t)budget + 1;
    fpu_switch(a);
    if (_setjmp(a->fault_jmp)) {
        ls->a_raised = !ls->failed;
        ls->a_vector = a->exc.vector;
        exception_deliver(a);
        return false;
    }
    return bt_run_once(a, first);
}

void lockstep_step(struct lockstep *ls, uint32_t request)
{
    atomic_store_explicit(&ls->b->request, request, memory_order_relaxed);
    interp_step(ls->b);
}

/* Both are at the same repeated string instruction, which the translator's has executed in part. */
static bool in_repetition(struct lockstep *ls)
{
    struct vcpu *b = ls->b;
    if (ls->a_raised || b->eip != ls->a->eip || b->gpr[R_ECX] == ls->a->gpr[R_ECX])
        return false;
    const struct insn *i = interp_cache_single(b->interp);
    return i->info->flags & INSN_REP && (i->rep || i->repne);
}

/* With a request pending, the interpreter leaves after each iteration. What the flags are in the
 * midst of a compare is the processor's secret: the next iteration sets them. */
static void repeat_b(struct lockstep *ls)
{
    struct vcpu *b = ls->b;
    uint32_t at = b->eip;
    while (b->eip == at && b->gpr[R_ECX] != ls->a->gpr[R_ECX])
        lockstep_step(ls, VCPU_REQ_EVENT);
    if (b->eip == at)
        b->eflags = (b->eflags & ~EFL_ARITH) | (ls->a->eflags & EFL_ARITH);
}

/* The pointers that translated code does not keep: what FXSAVE and its kin store, which end their
 * stretch, are those from before it. */
static void restore_fpu_pointers(struct lockstep *ls)
{
    const struct fxsave_area *from = &ls->before.fx;
    struct fxsave_area *to = &ls->b->fx;
    to->fop = from->fop;
    to->fip = from->fip;
    to->fcs = from->fcs;
    to->fdp = from->fdp;
    to->fds = from->fds;
}

/* An exception that follows the last instruction is that of fetching the next one. */
static void follow(struct lockstep *ls, uint64_t count)
{
    atomic_store_explicit(&ls->b->request, 0, memory_order_relaxed);
    if (ls->host_decoder && !ls->again)
        count -= precise_check(ls, count);
    if (ls->failed)
        return;
    while (count > 1)
        count -= interp_run_some(ls->b, (uint32_t)count - 1);
    restore_fpu_pointers(ls);
    if (count && !in_repetition(ls))
        lockstep_step(ls, 0);
    if (ls->a_raised)
        lockstep_step(ls, 0);
    else if (in_repetition(ls))
        repeat_b(ls);
}

static void deliver_note(struct lockstep *ls, int note)
{
    if (note == LOCKSTEP_STEP)
        lockstep_step(ls, 0);
    else if (note == LOCKSTEP_NMI)
        nmi_deliver(ls->b);
    else
        interrupt_deliver(ls->b, (uint8_t)note);
}

/* `note` or, if it is negative, `count` instructions. */
static void run_b(struct lockstep *ls, int note, uint64_t count)
{
    struct vcpu *b = ls->b;
    ls->b_raised = false;
    fpu_switch(b);
    if (_setjmp(b->fault_jmp)) {
        ls->b_raised = !ls->failed;
        ls->b_vector = b->exc.vector;
        exception_deliver(b);
        return;
    }
    if (note >= 0)
        deliver_note(ls, note);
    else
        follow(ls, count);
}

/* The self-test's damage. */
static void spoil(struct lockstep *ls)
{
    const struct log *g = &ls->log;
    if (ls->total < ls->spoil_after)
        return;
    if (ls->spoil == SPOIL_REG) {
        ls->a->gpr[R_EBX] ^= 1;
    } else if (ls->spoil == SPOIL_FLAG) {
        ls->a->eflags ^= EFL_CF;
    } else if (ls->spoil == SPOIL_MEM && g->store_count) {
        const struct store *s = &g->stores[g->store_count - 1];
        uint8_t *page = phys_hva(ls->machine->phys, s->gfn);
        if (page)
            page[s->offset + s->size - 1u] ^= 1;
    }
}

static bool together(struct lockstep *ls, bool first, uint32_t budget, bool *more)
{
    struct vcpu *a = ls->a, *b = ls->b;
    if (ls->host_decoder)
        bt_precise_clear(a->bt);
    *more = run_a(ls, first, budget);
    uint64_t count = a->count.retired;
    if (!ls->failed)
        run_b(ls, -1, count);
    fpu_switch(a);
    if (!count && (a->eflags ^ b->eflags) == EFL_RF)
        b->eflags = a->eflags;
    ls->total += count;
    if (ls->spoil)
        spoil(ls);
    return lockstep_alike(ls);
}

static void begin_stretch(struct lockstep *ls)
{
    fpu_sync(ls->a);
    state_save(ls->a, &ls->before);
}

/* --- a difference --- */

/* Where and what the instruction was, from the state before it. */
void lockstep_describe(struct lockstep *ls, char *text, size_t size)
{
    struct vcpu *b = ls->b;
    uint8_t bytes[INSN_MAX_LENGTH] = {0};
    uint32_t la = b->seg[SEG_CS].base + b->eip;
    unsigned n = 0;
    struct insn i;
    char asm_text[96] = "?";
    for (; n < sizeof(bytes); n++) {
        struct walk w = mmu_walk(b, la + n, ACC_EXEC, b->cpl == 3, false);
        const uint8_t *page =
            w.ok && !(w.gpa >> 32) ? phys_hva(b->machine->phys, (uint32_t)(w.gpa >> 12)) : NULL;
        if (!page)
            break;
        bytes[n] = page[w.gpa & 0xfff];
    }
    if (n && decode(ls->decoder, bytes, n, vcpu_code32(b), &i) == DECODE_OK)
        decode_format(ls->decoder, &i, b->eip, vcpu_code32(b), asm_text, sizeof(asm_text));
    snprintf(text, size, "at %04x:%08x (CPL %u) %s", b->seg[SEG_CS].sel, b->eip, b->cpl, asm_text);
}

static void go_back(struct lockstep *ls)
{
    log_undo(ls);
    interp_cache_flush(ls->b->interp);
    log_rewind(&ls->log);
    phys_mirror_bytes(ls->machine->phys, ls->shadow.phys);
    state_load(ls->b, &ls->before);
    state_load(ls->a, &ls->before);
    mmu_flush_all(ls->a);
    mmu_flush_all(ls->b);
}

static bool can_go_back(const struct lockstep *ls)
{
    for (size_t n = 0; n < ls->log.event_count; n++)
        if (ls->log.events[n].kind == EVENT_FRAMES)
            return false;
    return !ls->log.out_of_memory;
}

static bool single(struct lockstep *ls)
{
    uint64_t total = ls->total;
    bool more, alike;
    ls->log.store_count = ls->log.walked_count = 0;
    begin_stretch(ls);
    do {
        atomic_store(&ls->a->request, 0);
        alike = together(ls, true, 1, &more);
    } while (alike && ls->total == total && !ls->a_raised);
    return alike;
}

/* The last instructions of the stretch that is taken again. */
#define TRAIL 12u
struct trail {
    char text[TRAIL][160];
    unsigned count;
};

static char *trail_add(struct trail *t)
{
    return t->text[t->count++ % TRAIL];
}

static const char *trail_last(const struct trail *t)
{
    return t->text[(t->count - 1) % TRAIL];
}

/* Takes the stretch again one instruction at a time; true if that has found the place, the last of
 * the trail. */
static bool narrow_down(struct lockstep *ls, uint64_t end, struct trail *t)
{
    uint64_t start = ls->total - ls->a->count.retired;
    if (!can_go_back(ls))
        return false;
    go_back(ls);
    ls->again = true;
    ls->total = start;
    do {
        ls->failed = false;
        *ls->why = 0;
        lockstep_describe(ls, trail_add(t), sizeof(t->text[0]));
        /* Events are left over until the last instruction. */
        size_t events = ls->log.event_count;
        if (ls->total + 1 < end)
            ls->log.event_count = ls->log.b_at;
        bool alike = single(ls);
        ls->log.event_count = events;
        if (!alike)
            return true;
    } while (ls->total < end);
    return false;
}

void lockstep_fail(struct lockstep *ls, const char *what, const char *when)
{
    struct machine *m = ls->machine;
    ls->failed = ls->told = true;
    snprintf(m->end_message, sizeof(m->end_message), "%s %s", what, when);
    atomic_store(&m->stop, (uint32_t)END_ERROR + 1);
}

static void fail(struct lockstep *ls, const char *when)
{
    lockstep_fail(ls, "lock step: translator and interpreter differ", when);
}

/* What is known when single instructions show no difference. */
static void report_stretch(const char *text, const struct trail *t)
{
    fputs(text, stderr);
    if (!t->count)
        return;
    fputs("  Executed one by one, these instructions make no difference:\n", stderr);
    for (unsigned n = t->count > TRAIL ? t->count - TRAIL : 0; n < t->count; n++)
        fprintf(stderr, "    %s\n", t->text[n % TRAIL]);
}

static void stretch_failed(struct lockstep *ls)
{
    char *text = NULL, where[160];
    size_t size;
    struct trail trail = {.count = 0};
    uint64_t end = ls->total;
    FILE *whole = open_memstream(&text, &size);
    snprintf(where, sizeof(where), "within %llu instructions from %08x on",
             (unsigned long long)ls->a->count.retired, ls->before.eip);
    if (whole) {
        lockstep_report(ls, where, whole);
        fclose(whole);
    }
    if (narrow_down(ls, end, &trail)) {
        lockstep_report(ls, trail_last(&trail), stderr);
        fail(ls, trail_last(&trail));
    } else {
        report_stretch(text ? text : "", &trail);
        fail(ls, where);
    }
    free(text);
}

/* --- the loop's side --- */

static void compare_memory(struct lockstep *ls)
{
    uint64_t start = __rdtsc();
    bool alike = phys_difference(ls->machine->phys, ls->shadow.phys) < 0;
    uint64_t end = __rdtsc();
    ls->next_all = end + (end - start) * ALL_SHARE;
    if (alike) {
        ls->all_alike_at = ls->total;
        return;
    }
    log_clear(&ls->log);
    snprintf(ls->why, sizeof(ls->why), "memory was alike after %llu instructions",
             (unsigned long long)ls->all_alike_at);
    lockstep_report(ls, "in memory that the interpreter has not stored into lately", stderr);
    fail(ls, "in memory");
}

/* Interrupts that the machine's processor has taken, and memory that devices have stored into. */
static void catch_up(struct lockstep *ls)
{
    char when[80];
    int note, last = -1;
    begin_stretch(ls); /* of the machine's: it serves for nothing but the FPU's pointers */
    while (!ls->failed && (note = log_next_note(ls)) >= 0) {
        run_b(ls, note, 0);
        last = note;
    }
    fpu_switch(ls->a);
    ls->b->halted = ls->a->halted;
    ls->a_raised = ls->b_raised = false;
    if (lockstep_alike(ls))
        return;
    snprintf(when, sizeof(when), last < 0 ? "before any instruction" : "on event %d", last);
    lockstep_report(ls, when, stderr);
    fail(ls, when);
}

void lockstep_run(struct lockstep *ls)
{
    bool more = true, first = true;
    catch_up(ls);
    while (more && !ls->failed) {
        log_clear(&ls->log);
        begin_stretch(ls);
        uint64_t total = ls->total;
        if (!together(ls, first, ls->every, &more) && !ls->told)
            stretch_failed(ls);
        ls->machine->stats.lockstep_insns += ls->total - total;
        first = false;
        if (__rdtsc() >= ls->next_all && !ls->failed)
            compare_memory(ls);
    }
    log_clear(&ls->log);
}

void lockstep_finish(struct lockstep *ls)
{
    if (!ls->failed)
        catch_up(ls);
    if (!ls->failed)
        compare_memory(ls);
}
