/* SPDX-License-Identifier: MIT */
/* lockstep_log.c: the record of a stretch: what came from outside to the translator's processor,
 * for the interpreter's to be given in the same order, and what the interpreter has stored, to be
 * compared and, when a difference has to be found again, to be undone.
 *
 * An event that changes memory (DMA, frames) stands before the access or the note that follows it,
 * and is carried out when that is reached. An instruction that reaches a device is the last of its
 * stretch, so the order within a stretch is that of the log. */
#include "runtime/lockstep_state.h"

#include "runtime/exception.h"
#include "runtime/fpu_thunk.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 4096u

/* --- growing --- */

static bool reserve(void *array, size_t *capacity, size_t wanted, size_t item)
{
    void **at = array;
    if (wanted <= *capacity)
        return true;
    size_t more = *capacity ? *capacity : FIRST_CAPACITY;
    while (more < wanted)
        more *= 2;
    void *grown = realloc(*at, more * item);
    if (!grown)
        return false;
    *at = grown;
    *capacity = more;
    return true;
}

bool log_init(struct log *g)
{
    return reserve(&g->events, &g->event_capacity, 1, sizeof(*g->events)) &&
           reserve(&g->stores, &g->store_capacity, 1, sizeof(*g->stores)) &&
           reserve(&g->data, &g->data_capacity, 1, 1);
}

void log_release(struct log *g)
{
    free(g->events);
    free(g->stores);
    free(g->data);
}

void log_clear(struct log *g)
{
    g->event_count = g->store_count = g->data_count = 0;
    g->walked_count = 0;
    log_rewind(g);
}

void log_rewind(struct log *g)
{
    g->a_at = g->b_at = 0;
}

static size_t add_data(struct log *g, const void *bytes, size_t n)
{
    size_t at = g->data_count;
    if (!reserve(&g->data, &g->data_capacity, at + n, 1)) {
        g->out_of_memory = true;
        return 0;
    }
    memcpy(g->data + at, bytes, n);
    g->data_count += n;
    return at;
}

static void add_event(struct log *g, const struct event_record *e)
{
    if (!reserve(&g->events, &g->event_capacity, g->event_count + 1, sizeof(*e)))
        g->out_of_memory = true;
    else
        g->events[g->event_count++] = *e;
}

/* --- taking --- */

void lockstep_stray(struct lockstep *ls, struct vcpu *v, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ls->why, sizeof(ls->why), format, args);
    va_end(args);
    ls->failed = true;
    v->exc.pending = false;
    longjmp(v->fault_jmp, 1);
}

static size_t *position(struct lockstep *ls, const struct vcpu *v)
{
    return v == ls->a ? &ls->log.a_at : &ls->log.b_at;
}

static void apply_frames(struct lockstep *ls, struct vcpu *v)
{
    struct phys *from = ls->a->machine->phys;
    if (v == ls->a)
        return;
    if (phys_mirror_frames(v->machine->phys, from))
        ls->log.out_of_memory = true;
    phys_mirror_bytes(v->machine->phys, from);
    phys_watch_all(v->machine->phys, PHYS_WATCH_LOG);
    mmu_flush_all(v);
}

void log_apply_effects(struct lockstep *ls, struct vcpu *v)
{
    struct log *g = &ls->log;
    for (size_t *at = position(ls, v); *at < g->event_count; ++*at) {
        const struct event_record *e = &g->events[*at];
        if (e->kind == EVENT_DMA)
            (void)phys_dma_write(v->machine->phys, e->access.address, g->data + e->data,
                                 (size_t)e->access.value);
        else if (e->kind == EVENT_FRAMES)
            apply_frames(ls, v);
        else
            break;
    }
}

static const struct event_record *take(struct lockstep *ls, struct vcpu *v, enum event_kind kind)
{
    size_t *at = position(ls, v);
    log_apply_effects(ls, v);
    if (*at == ls->log.event_count || ls->log.events[*at].kind != kind)
        return NULL;
    return &ls->log.events[(*at)++];
}

int log_next_note(struct lockstep *ls)
{
    const struct event_record *e = take(ls, ls->b, EVENT_NOTE);
    return e ? (int)e->access.value : -1;
}

/* --- devices --- */

static void saw_a(void *opaque, const struct bus_access *a)
{
    struct lockstep *ls = opaque;
    uint32_t generation = phys_generation(ls->a->machine->phys);
    if (generation != ls->generation) {
        ls->generation = generation;
        add_event(&ls->log, &(struct event_record){.kind = EVENT_FRAMES});
    }
    add_event(&ls->log, &(struct event_record){.kind = EVENT_ACCESS, .access = *a});
}

static const char *name_of(const struct bus_access *a)
{
    static const char *const names[2][2] = {
        {"IN",          "OUT"         },
        {"device read", "device write"}
    };
    return names[a->mmio][a->write];
}

void log_tell_untaken(const struct log *g, char *out, size_t size)
{
    const struct event_record *e = &g->events[g->b_at];
    if (e->kind == EVENT_ACCESS)
        snprintf(out, size, "only the translator made this access: %s %llx, %u bytes",
                 name_of(&e->access), (unsigned long long)e->access.address, e->access.size);
    else
        snprintf(out, size, "only the translator reached the clock or a device's memory");
}

static void replay(struct lockstep *ls, struct vcpu *v, struct bus_access *a)
{
    const struct event_record *e = take(ls, v, EVENT_ACCESS);
    const struct bus_access *was = e ? &e->access : NULL;
    if (!was)
        lockstep_stray(ls, v, "only the interpreter made this access: %s %llx, %u bytes",
                       name_of(a), (unsigned long long)a->address, a->size);
    if (was->address != a->address || was->size != a->size || was->write != a->write ||
        was->mmio != a->mmio || (a->write && was->value != a->value))
        lockstep_stray(ls, v,
                       "device accesses differ: translator %s %llx, %u bytes, value %llx; "
                       "interpreter %s %llx, %u bytes, value %llx",
                       name_of(was), (unsigned long long)was->address, was->size,
                       (unsigned long long)was->value, name_of(a), (unsigned long long)a->address,
                       a->size, (unsigned long long)a->value);
    a->value = was->value;
}

static bool answer_a(void *opaque, struct bus_access *a)
{
    struct lockstep *ls = opaque;
    if (ls->again)
        replay(ls, ls->a, a);
    return ls->again;
}

static bool answer_b(void *opaque, struct bus_access *a)
{
    struct lockstep *ls = opaque;
    replay(ls, ls->b, a);
    if (a->write) /* the one state of the processor that a device changes: port F0h */
        ls->b->fpu->ignne = ls->a->fpu->ignne;
    return true;
}

uint64_t lockstep_value(const struct vcpu *v, uint64_t value)
{
    struct lockstep *ls = v->machine->lockstep;
    if (v == ls->a && !ls->again) {
        add_event(&ls->log, &(struct event_record){.kind = EVENT_VALUE, .access.value = value});
        return value;
    }
    struct vcpu *who = v == ls->a ? ls->a : ls->b;
    const struct event_record *e = take(ls, who, EVENT_VALUE);
    if (!e)
        lockstep_stray(ls, who, "only the interpreter asked for the time or a random number");
    return e->access.value;
}

void lockstep_note(struct lockstep *ls, int event)
{
    add_event(&ls->log,
              &(struct event_record){.kind = EVENT_NOTE, .access.value = (uint64_t)event});
}

void lockstep_dma(struct lockstep *ls, uint64_t gpa, const void *bytes, size_t n)
{
    struct event_record e = {
        .kind = EVENT_DMA, .access = {.address = gpa, .value = n}
    };
    e.data = add_data(&ls->log, bytes, n);
    add_event(&ls->log, &e);
}

/* --- stores --- */

void lockstep_walked(struct vcpu *v, uint64_t gpa, unsigned size)
{
    struct log *g = &v->machine->lockstep->log;
    if (g->walked_count < WALKED_MAX)
        g->walked[g->walked_count++] = (struct walked){gpa, size};
}

static void stored(void *opaque, uint32_t gfn, uint32_t offset, uint32_t size)
{
    struct lockstep *ls = opaque;
    struct log *g = &ls->log;
    const uint8_t *old = phys_hva(ls->b->machine->phys, gfn) + offset;
    struct store *last = g->store_count ? &g->stores[g->store_count - 1] : NULL;
    if (last && last->gfn == gfn && (uint32_t)last->offset + last->size == offset &&
        last->old + last->size == g->data_count) {
        add_data(g, old, size);
        last->size = (uint16_t)(last->size + size);
        return;
    }
    if (!reserve(&g->stores, &g->store_capacity, g->store_count + 1, sizeof(*g->stores))) {
        g->out_of_memory = true;
        return;
    }
    g->stores[g->store_count++] =
        (struct store){gfn, (uint16_t)offset, (uint16_t)size, add_data(g, old, size)};
}

void log_undo(struct lockstep *ls)
{
    struct log *g = &ls->log;
    while (g->store_count) {
        const struct store *s = &g->stores[--g->store_count];
        memcpy(phys_hva(ls->b->machine->phys, s->gfn) + s->offset, g->data + s->old, s->size);
    }
}

void log_connect(struct lockstep *ls)
{
    ls->tap_a = (struct bus_tap){answer_a, saw_a, ls};
    ls->tap_b = (struct bus_tap){answer_b, NULL, ls};
    bus_set_tap(ls->a->machine->bus, &ls->tap_a);
    bus_set_tap(ls->b->machine->bus, &ls->tap_b);
    phys_set_code_callback(ls->b->machine->phys, PHYS_WATCH_LOG, stored, ls);
}
