/* SPDX-License-Identifier: MIT */
/* clock.c: guest time and the timers that devices hang on it.
 *
 * Armed timers stand in a binary heap ordered by (deadline, order of arming), so that timers of the
 * same deadline fire in the order they were armed. Each timer knows its place in the heap: arming,
 * moving and disarming are O(log n) and never allocate (the heap has room for every timer that
 * exists). A callback may arm, disarm or destroy any timer, its own included. */
#include "devices/device.h"

#include <stdlib.h>
#include <time.h>

#define NOT_ARMED SIZE_MAX
#define NEVER     UINT64_MAX

struct timer {
    struct clock *clock;
    timer_fn *fn;
    void *opaque;
    uint64_t deadline;
    uint64_t order; /* of arming */
    size_t place;   /* in the heap, or NOT_ARMED */
};

struct clock {
    uint64_t host_start;
    bool manual;
    uint64_t manual_now;
    struct timer **heap;
    size_t armed, timers, capacity;
    uint64_t armings;
    void (*on_change)(void *opaque, uint64_t deadline);
    void *on_change_opaque;
};

static uint64_t host_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct clock *clock_create(void)
{
    struct clock *c = calloc(1, sizeof(*c));
    if (c)
        c->host_start = host_now();
    return c;
}

void clock_destroy(struct clock *c)
{
    if (!c)
        return;
    free(c->heap);
    free(c);
}

uint64_t clock_now(struct clock *c)
{
    return c->manual ? c->manual_now : host_now() - c->host_start;
}

void clock_set_manual(struct clock *c, uint64_t now_ns)
{
    c->manual = true;
    c->manual_now = now_ns;
}

/* --- the heap --- */

static bool earlier(const struct timer *a, const struct timer *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->order < b->order;
}

static void heap_put(struct clock *c, size_t i, struct timer *t)
{
    c->heap[i] = t;
    t->place = i;
}

static void heap_up(struct clock *c, size_t i, struct timer *t)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (!earlier(t, c->heap[parent]))
            break;
        heap_put(c, i, c->heap[parent]);
        i = parent;
    }
    heap_put(c, i, t);
}

static void heap_down(struct clock *c, size_t i, struct timer *t)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= c->armed)
            break;
        if (child + 1 < c->armed && earlier(c->heap[child + 1], c->heap[child]))
            child++;
        if (!earlier(c->heap[child], t))
            break;
        heap_put(c, i, c->heap[child]);
        i = child;
    }
    heap_put(c, i, t);
}

static void heap_place(struct clock *c, size_t i, struct timer *t)
{
    if (i > 0 && earlier(t, c->heap[(i - 1) / 2]))
        heap_up(c, i, t);
    else
        heap_down(c, i, t);
}

static void heap_remove(struct timer *t)
{
    struct clock *c = t->clock;
    size_t i = t->place;
    struct timer *last = c->heap[--c->armed];
    t->place = NOT_ARMED;
    if (last != t)
        heap_place(c, i, last);
}

static void announce(struct clock *c, uint64_t before)
{
    uint64_t now = clock_next_deadline(c);
    if (now != before && c->on_change)
        c->on_change(c->on_change_opaque, now);
}

/* --- timers --- */

struct timer *timer_create_on(struct clock *c, timer_fn *fn, void *opaque)
{
    if (c->timers == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 16;
        struct timer **heap = realloc(c->heap, capacity * sizeof(struct timer *));
        if (!heap)
            return NULL;
        c->heap = heap;
        c->capacity = capacity;
    }
    struct timer *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    *t = (struct timer){.clock = c, .fn = fn, .opaque = opaque, .place = NOT_ARMED};
    c->timers++;
    return t;
}

void timer_destroy(struct timer *t)
{
    if (!t)
        return;
    timer_disarm(t);
    t->clock->timers--;
    free(t);
}

void timer_arm(struct timer *t, uint64_t deadline_ns)
{
    struct clock *c = t->clock;
    uint64_t before = clock_next_deadline(c);
    t->deadline = deadline_ns == NEVER ? NEVER - 1 : deadline_ns;
    t->order = c->armings++;
    if (t->place == NOT_ARMED)
        heap_up(c, c->armed++, t);
    else
        heap_place(c, t->place, t);
    announce(c, before);
}

void timer_disarm(struct timer *t)
{
    if (t->place == NOT_ARMED)
        return;
    uint64_t before = clock_next_deadline(t->clock);
    heap_remove(t);
    announce(t->clock, before);
}

bool timer_armed(const struct timer *t)
{
    return t->place != NOT_ARMED;
}

uint64_t clock_next_deadline(struct clock *c)
{
    return c->armed ? c->heap[0]->deadline : NEVER;
}

/* Time is read once: a callback that arms for "now" again is served by the next call, so that a
 * device cannot keep the machine here. */
void clock_run_due(struct clock *c)
{
    uint64_t before = clock_next_deadline(c);
    if (before == NEVER)
        return;
    uint64_t now = clock_now(c);
    uint64_t armings = c->armings;
    while (c->armed && c->heap[0]->deadline <= now && c->heap[0]->order < armings) {
        struct timer *t = c->heap[0];
        heap_remove(t);
        t->fn(t->opaque);
    }
    announce(c, before);
}

void clock_on_deadline_change(struct clock *c, void (*fn)(void *opaque, uint64_t deadline),
                              void *opaque)
{
    c->on_change = fn;
    c->on_change_opaque = opaque;
    if (fn)
        fn(opaque, clock_next_deadline(c));
}
