/* SPDX-License-Identifier: MIT */
/* bt_precise.c: arming, stepping and recording for --stress precise (bt_precise.h). */
#include "runtime/bt_precise.h"

#include "runtime/machine.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define INT3            0xccu
#define TRAP_BREAKPOINT 3
#define REPEATS_MAX     64u /* iterations of one repeated string that are looked at */
/* Records that stay free for where the code cannot be left: instructions behind STI. */
#define SLACK 1024u

/* --- arming --- */

static bool make_room(struct bt_precise *p, size_t marks)
{
    if (marks <= p->under_count)
        return true;
    size_t more = 2 * marks;
    struct precise_mark *under = realloc(p->under, more * sizeof(*under));
    if (!under)
        return false;
    p->under = under;
    p->under_count = more;
    return true;
}

static bool is_start(const struct insn_mark *m)
{
    return !(m->flags & MARK_INSIDE);
}

/* INT3 at the starts of a block's instructions, where there is none yet. */
static void arm(struct bt *bt, const struct block *b)
{
    struct bt_precise *p = bt->precise;
    const struct insn_mark *marks = cache_marks(bt->cache, b);
    for (uint32_t n = 0; n < b->mark_count; n++) {
        uint8_t *at = cache_code(bt->cache)->rw + b->host + marks[n].host;
        if (!is_start(&marks[n]) || *at == INT3)
            continue;
        p->under[b->marks + n].byte = *at;
        *at = INT3;
    }
}

/* The table of recovery gets an entry that names another place. */
static void spoil(struct bt *bt, const struct block *b)
{
    struct insn_mark *marks = (struct insn_mark *)(uintptr_t)cache_marks(bt->cache, b);
    marks[1].guest ^= 1;
}

void bt_precise_arm(struct bt *bt, const struct block *b)
{
    struct bt_precise *p = bt->precise;
    if (!make_room(p, (size_t)b->marks + b->mark_count))
        return;
    if (p->spoil_mark && b->mark_count > 1 && !--p->spoil_mark)
        spoil(bt, b);
    bt->v->machine->stats.precise_armed += b->insn_count;
    memset(p->under + b->marks, 0, b->mark_count * sizeof(*p->under));
    arm(bt, b);
}

void bt_precise_enter(struct bt *bt)
{
    struct bt_precise *p = bt->precise;
    p->under_way = false;
    p->sample = ++p->entries % PRECISE_SAMPLE ? 0 : PRECISE_RUN;
    const struct block *b = p->sample ? cache_block_at(bt->cache, bt->at) : NULL;
    if (b && (size_t)b->marks + b->mark_count <= p->under_count)
        arm(bt, b);
}

/* --- recording --- */

static void read_fpu(const ucontext_t *uc, struct precise_fpu *f)
{
    const struct _libc_fpstate *from = uc->uc_mcontext.fpregs;
    *f = (struct precise_fpu){
        .fcw = from->cwd, .fsw = from->swd, .ftw = from->ftw, .mxcsr = from->mxcsr};
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->st[i], &from->_st[i], 10);
    memcpy(f->xmm, from->_xmm, sizeof(f->xmm));
}

/* The last one recorded if nothing about it has changed since. */
static uint32_t record_fpu(struct bt_precise *p, const ucontext_t *uc)
{
    struct precise_fpu *f = &p->fpus[p->fpu_count];
    read_fpu(uc, f);
    if (p->fpu_count && !memcmp(f, f - 1, sizeof(*f)))
        return p->fpu_count - 1;
    return p->fpu_count++;
}

static void record(struct bt *bt, const ucontext_t *uc, const struct recovery *r,
                   enum precise_place place)
{
    struct bt_precise *p = bt->precise;
    if (p->state_count == PRECISE_STATES || p->fpu_count == PRECISE_FPUS)
        return;
    struct precise_state *s = &p->states[p->state_count++];
    bt_recreate(bt, uc->uc_mcontext.gregs, r, s->gpr, &s->eflags);
    s->eip = r->eip;
    s->done = p->done;
    s->host =
        (uint32_t)((uint64_t)uc->uc_mcontext.gregs[REG_RIP] - (uint64_t)cache_code(bt->cache)->rx);
    s->fpu = record_fpu(p, uc);
    s->place = (uint8_t)place;
}

static bool nearly_full(const struct bt_precise *p)
{
    return p->state_count > PRECISE_STATES - SLACK || p->fpu_count > PRECISE_FPUS - SLACK;
}

/* --- stepping --- */

/* The breakpoint that has just been hit is taken out; true if there was one. */
static bool disarm(struct bt *bt, greg_t *regs)
{
    uint64_t pc = (uint64_t)regs[REG_RIP] - 1;
    const struct block *b = cache_block_at(bt->cache, pc);
    const struct insn_mark *marks = b ? cache_marks(bt->cache, b) : NULL;
    uint64_t at = pc - (uint64_t)cache_code(bt->cache)->rx;
    for (uint32_t n = 0; b && n < b->mark_count; n++) {
        if (b->host + marks[n].host != at || !is_start(&marks[n]))
            continue;
        cache_code(bt->cache)->rw[at] = bt->precise->under[b->marks + n].byte;
        regs[REG_RIP] = (greg_t)pc;
        return true;
    }
    return false;
}

/* The same before it is hit, when stepping gets there. */
static bool disarm_ahead(struct bt *bt, greg_t *regs)
{
    if (*(const uint8_t *)regs[REG_RIP] != INT3)
        return false;
    regs[REG_RIP]++;
    return disarm(bt, regs);
}

static void rearm(struct bt *bt, const greg_t *regs)
{
    const struct block *b = cache_block_at(bt->cache, (uint64_t)regs[REG_RIP]);
    const struct insn_mark *marks = cache_marks(bt->cache, b);
    uint32_t at = (uint32_t)((uint64_t)regs[REG_RIP] - (uint64_t)cache_code(bt->cache)->rx);
    for (uint32_t n = 0; n < b->mark_count; n++)
        if (b->host + marks[n].host == at && is_start(&marks[n]))
            cache_code(bt->cache)->rw[at] = INT3;
}

static void note_visit(struct bt *bt, const struct recovery *r)
{
    size_t n = (size_t)(r->mark - cache_marks(bt->cache, r->block)) + r->block->marks;
    struct precise_mark *m = &bt->precise->under[n];
    bt->v->machine->stats.precise_visited += !m->visited;
    m->visited = true;
}

/* A guest instruction begins; whether to step through it. */
static bool begin(struct bt *bt, ucontext_t *uc, const struct recovery *r, bool fresh)
{
    struct bt_precise *p = bt->precise;
    greg_t *regs = uc->uc_mcontext.gregs;
    p->under_way = false;
    if (!fresh && !p->sample)
        return false;
    p->sample -= p->sample != 0;
    if (nearly_full(p) && !(r->mark->flags & MARK_HELD)) {
        if (fresh)
            rearm(bt, regs);
        bt_leave(bt, regs, EXIT_ID_KICK, r);
        return false;
    }
    p->done = (uint32_t)bt->v->count.retired;
    p->repeats = 0;
    p->under_way = true;
    note_visit(bt, r);
    record(bt, uc, r, PRECISE_START);
    return true;
}

/* In the middle of a guest instruction. */
static bool go_on(struct bt *bt, ucontext_t *uc, const struct recovery *r)
{
    struct bt_precise *p = bt->precise;
    bool repeat = r->exact && r->mark->flags & MARK_RESTART;
    if (repeat && p->repeats++ == REPEATS_MAX)
        p->under_way = false; /* the next instruction that is armed goes on with it */
    if (!p->under_way)
        return false;
    record(bt, uc, r, repeat ? PRECISE_REPEAT : PRECISE_INSIDE);
    return true;
}

bool bt_precise_trap(struct bt *bt, ucontext_t *uc)
{
    greg_t *regs = uc->uc_mcontext.gregs;
    bool kicked = atomic_load_explicit(&bt->v->request, memory_order_relaxed);
    bool step = true;
    bool fresh = regs[REG_TRAPNO] == TRAP_BREAKPOINT && disarm(bt, regs);
    uint64_t pc = (uint64_t)regs[REG_RIP];
    struct recovery r;
    regs[REG_EFL] &= ~(greg_t)EFL_TF;
    if (!code_memory_holds(cache_code(bt->cache), pc))
        return !kicked;
    if (bt_recover(bt, pc, &r) && r.in_body) {
        if (kicked && r.exact && !r.mark->flags) { /* about to leave */
            if (fresh)
                rearm(bt, regs);
            return false;
        }
        fresh = fresh || disarm_ahead(bt, regs);
        step = r.exact && is_start(r.mark) ? begin(bt, uc, &r, fresh) : go_on(bt, uc, &r);
    }
    if (step && !kicked)
        regs[REG_EFL] |= EFL_TF;
    return !kicked;
}

/* --- life --- */

bool bt_precise_start(struct bt *bt, uint64_t spoil_mark)
{
    bt->precise = calloc(1, sizeof(*bt->precise));
    if (bt->precise)
        bt->precise->spoil_mark = spoil_mark;
    return bt->precise;
}

void bt_precise_stop(struct bt *bt)
{
    if (!bt->precise)
        return;
    free(bt->precise->under);
    free(bt->precise);
    bt->precise = NULL;
}

void bt_precise_clear(struct bt *bt)
{
    bt->precise->state_count = bt->precise->fpu_count = 0;
}
