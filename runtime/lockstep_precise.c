/* SPDX-License-Identifier: MIT */
/* lockstep_precise.c: the states that --stress precise has recreated in translated code, against
 * the interpreter's, which is led from one to the next.
 *
 * Where an interrupt may be taken (at the start of an instruction, inside a repeated string) the
 * two must be alike. Elsewhere they must be if the host instruction there may fault, since then
 * the guest's would be executed again from its start; behind the last such one a sequence changes
 * registers in any order. */
#include "runtime/lockstep_state.h"

#include "runtime/bt_precise.h"
#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/interp.h"
#include "runtime/interp_cache.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

#define HOST_BYTES 15u

/* RF ends with the next instruction; entering translated code drops it. */
#define FLAGS_IGNORED EFL_RF

static bool registers_alike(const struct vcpu *b, const struct precise_state *s)
{
    return b->eip == s->eip && !memcmp(b->gpr, s->gpr, sizeof(s->gpr)) &&
           !((b->eflags ^ s->eflags) & ~FLAGS_IGNORED);
}

static bool fpu_alike(const struct vcpu *b, const struct precise_fpu *f)
{
    const struct fxsave_area *fx = &b->fx;
    if (fx->fcw != f->fcw || fx->fsw != f->fsw || fx->ftw != f->ftw || fx->mxcsr != f->mxcsr)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(&fx->st[i], f->st[i], 10) || memcmp(&fx->xmm[i], f->xmm[i], 16))
            return false;
    return true;
}

static bool state_alike(struct lockstep *ls, const struct precise_state *s)
{
    fpu_sync(ls->b);
    return registers_alike(ls->b, s) && fpu_alike(ls->b, &ls->a->bt->precise->fpus[s->fpu]);
}

/* --- the interpreter's way there --- */

/* Iterations of a repeated string until as many are left as the translator's had left there. What
 * the flags are in the midst of a compare is the processor's secret. */
static void repeat_until(struct lockstep *ls, const struct precise_state *s)
{
    struct vcpu *b = ls->b;
    const struct insn *i = interp_cache_single(b->interp);
    if (b->eip != s->eip || b->gpr[R_ECX] == s->gpr[R_ECX] || !(i->info->flags & INSN_REP) ||
        !(i->rep || i->repne))
        return;
    while (b->eip == s->eip && b->gpr[R_ECX] != s->gpr[R_ECX])
        lockstep_step(ls, VCPU_REQ_EVENT);
    atomic_store_explicit(&b->request, 0, memory_order_relaxed);
    if (b->eip == s->eip)
        b->eflags = (b->eflags & ~EFL_ARITH) | (s->eflags & EFL_ARITH);
}

/* --- the report --- */

static size_t code_left(const struct lockstep *ls, uint32_t host)
{
    const struct code_memory *code = cache_code(ls->a->bt->cache);
    return code->size - host < HOST_BYTES ? code->size - host : HOST_BYTES;
}

static bool may_fault(struct lockstep *ls, const struct precise_state *s, char *text, size_t size)
{
    const uint8_t *host = cache_code(ls->a->bt->cache)->rx + s->host;
    return host_decoder_may_fault(ls->host_decoder, host, code_left(ls, s->host), (uint64_t)host,
                                  text, size);
}

/* Gives the machine's processor the recreated state, and otherwise the interpreter's, so that the
 * report compares them. */
static void adopt(struct lockstep *ls, const struct precise_state *s)
{
    const struct precise_fpu *f = &ls->a->bt->precise->fpus[s->fpu];
    struct cpu_state other;
    struct vcpu *a = ls->a;
    state_save(ls->b, &other);
    state_load(a, &other);
    memcpy(a->gpr, s->gpr, sizeof(s->gpr));
    a->eip = s->eip;
    a->eflags = s->eflags | (ls->b->eflags & FLAGS_IGNORED);
    a->fx.fcw = f->fcw;
    a->fx.fsw = f->fsw;
    a->fx.ftw = (uint8_t)f->ftw;
    a->fx.mxcsr = f->mxcsr;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(&a->fx.st[i], f->st[i], 10);
        memcpy(&a->fx.xmm[i], f->xmm[i], 16);
    }
}

static void report(struct lockstep *ls, const struct precise_state *s, const char *host)
{
    static const char *const places[] = {
        [PRECISE_START] = "its start: an interrupt could be taken",
        [PRECISE_REPEAT] = "the repeated string: an interrupt could be taken",
        [PRECISE_INSIDE] = "a host instruction that could fault",
    };
    char where[160];
    lockstep_describe(ls, where, sizeof(where));
    adopt(ls, s);
    fprintf(stderr,
            "ringdown: precise state: what is recreated differs %s\n"
            "  after %" PRIu64 " instructions, at %s: %s\n  %-20s %-20s %s\n",
            where, ls->total + s->done, places[s->place], host, "", "recreated", "interpreter");
    lockstep_report_fields(ls, stderr);
    lockstep_fail(ls, "precise state: what is recreated differs", where);
}

/* --- the states of a stretch --- */

static bool check_one(struct lockstep *ls, struct precise_state *s)
{
    char text[96];
    if (ls->spoil == SPOIL_STATE && ls->total + s->done >= ls->spoil_after)
        s->gpr[R_EBX] ^= 1;
    if (s->place == PRECISE_REPEAT)
        repeat_until(ls, s);
    ls->machine->stats.precise_states++;
    if (state_alike(ls, s))
        return true;
    if (!may_fault(ls, s, text, sizeof(text)) && s->place == PRECISE_INSIDE)
        return true;
    report(ls, s, text);
    return false;
}

uint64_t precise_check(struct lockstep *ls, uint64_t count)
{
    struct bt_precise *p = ls->a->bt->precise;
    uint64_t executed = 0;
    for (uint32_t n = 0; n < p->state_count && !ls->failed; n++) {
        struct precise_state *s = &p->states[n];
        while (executed < s->done && executed < count)
            executed += interp_run_some(ls->b, (uint32_t)(s->done - executed));
        if (!check_one(ls, s))
            break;
    }
    return executed;
}
