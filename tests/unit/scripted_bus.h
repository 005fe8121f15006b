/* SPDX-License-Identifier: MIT */
/* scripted_bus.h: runs a table of bus accesses against devices and checks what comes back.
 *
 * A test makes a rig (a bus, a clock that stands still, and lines that remember their level and
 * count their rising edges), hangs devices on it, and runs scripts:
 *
 *     static const struct step script[] = {OUT(0x43, 0x34), OUT(0x40, 0), WAIT(1000), LINE(0, 1)};
 *     RUN(&rig, script);
 */
#ifndef RINGDOWN_TESTS_UNIT_SCRIPTED_BUS_H
#define RINGDOWN_TESTS_UNIT_SCRIPTED_BUS_H

#include "devices/device.h"

#include <criterion/criterion.h>
#include <string.h>

#define RIG_LINES 32

struct rig {
    struct bus *bus;
    struct clock *clock;
    uint64_t now;
    int level[RIG_LINES];
    unsigned edges[RIG_LINES]; /* rising */
    int event;                 /* last machine event, -1: none */
    uint32_t event_value;
};

enum step_kind { STEP_OUT, STEP_IN, STEP_STORE, STEP_LOAD, STEP_WAIT, STEP_LINE, STEP_EDGES };
struct step {
    enum step_kind kind;
    unsigned size;
    uint64_t at; /* port, address, line or nanoseconds */
    uint64_t value;
    uint64_t mask; /* of the bits that a read compares */
};

#define OUT(port, v)                                                                               \
    {                                                                                              \
        STEP_OUT, 1, port, v, 0                                                                    \
    }
#define OUTW(port, v)                                                                              \
    {                                                                                              \
        STEP_OUT, 2, port, v, 0                                                                    \
    }
#define OUTL(port, v)                                                                              \
    {                                                                                              \
        STEP_OUT, 4, port, v, 0                                                                    \
    }
#define IN(port, v)                                                                                \
    {                                                                                              \
        STEP_IN, 1, port, v, 0xff                                                                  \
    }
#define INW(port, v)                                                                               \
    {                                                                                              \
        STEP_IN, 2, port, v, 0xffff                                                                \
    }
#define INL(port, v)                                                                               \
    {                                                                                              \
        STEP_IN, 4, port, v, 0xffffffff                                                            \
    }
#define IN_MASK(port, v, mask)                                                                     \
    {                                                                                              \
        STEP_IN, 1, port, v, mask                                                                  \
    }
#define SKIP(port)                                                                                 \
    {                                                                                              \
        STEP_IN, 1, port, 0, 0                                                                     \
    } /* read and do not look */
#define STORE(gpa, v)                                                                              \
    {                                                                                              \
        STEP_STORE, 4, gpa, v, 0                                                                   \
    }
#define LOAD(gpa, v)                                                                               \
    {                                                                                              \
        STEP_LOAD, 4, gpa, v, 0xffffffff                                                           \
    }
#define WAIT(ns)                                                                                   \
    {                                                                                              \
        STEP_WAIT, 0, ns, 0, 0                                                                     \
    }
#define LINE(n, level)                                                                             \
    {                                                                                              \
        STEP_LINE, 0, n, level, 0                                                                  \
    }
#define EDGES(n, count)                                                                            \
    {                                                                                              \
        STEP_EDGES, 0, n, count, 0                                                                 \
    } /* since the last EDGES or the start */

#define RUN(rig, script) rig_run(rig, script, sizeof(script) / sizeof((script)[0]), __LINE__)

static inline void rig_set(void *controller, unsigned input, int level)
{
    struct rig *r = controller;
    r->edges[input] += level && !r->level[input];
    r->level[input] = level;
}

static inline struct irq_line rig_line(struct rig *r, unsigned n)
{
    return (struct irq_line){rig_set, r, n};
}

static inline void rig_event(void *opaque, enum machine_event event, uint32_t value)
{
    struct rig *r = opaque;
    r->event = (int)event;
    r->event_value = value;
}

static inline struct machine_control rig_control(struct rig *r)
{
    return (struct machine_control){rig_event, r};
}

static inline void rig_init(struct rig *r)
{
    memset(r, 0, sizeof(*r));
    r->bus = bus_create();
    r->clock = clock_create();
    r->event = -1;
    clock_set_manual(r->clock, 0);
}

static inline void rig_fini(struct rig *r)
{
    bus_destroy(r->bus);
    clock_destroy(r->clock);
}

/* Time passes from deadline to deadline, as it does for a machine that is never late. */
static inline void rig_wait(struct rig *r, uint64_t ns)
{
    uint64_t end = r->now + ns;
    while (clock_next_deadline(r->clock) <= end) {
        uint64_t next = clock_next_deadline(r->clock);
        r->now = next > r->now ? next : r->now;
        clock_set_manual(r->clock, r->now);
        clock_run_due(r->clock);
    }
    r->now = end;
    clock_set_manual(r->clock, end);
}

/* Time passes all at once, as it does for a machine that was not scheduled. */
static inline void rig_oversleep(struct rig *r, uint64_t ns)
{
    r->now += ns;
    clock_set_manual(r->clock, r->now);
    clock_run_due(r->clock);
}

static inline void rig_step(struct rig *r, const struct step *s, size_t i, int line)
{
    uint64_t got = 0;
    switch (s->kind) {
    case STEP_OUT:
        bus_port_write(r->bus, (uint16_t)s->at, (uint32_t)s->value, s->size);
        return;
    case STEP_STORE:
        bus_mmio_write(r->bus, s->at, s->value, s->size);
        return;
    case STEP_WAIT:
        rig_wait(r, s->at);
        return;
    case STEP_IN:
        got = bus_port_read(r->bus, (uint16_t)s->at, s->size);
        break;
    case STEP_LOAD:
        got = bus_mmio_read(r->bus, s->at, s->size);
        break;
    case STEP_LINE:
        cr_expect_eq(r->level[s->at], (int)s->value, "script at line %d, step %zu: line %u is %d",
                     line, i, (unsigned)s->at, r->level[s->at]);
        return;
    case STEP_EDGES:
        cr_expect_eq(r->edges[s->at], s->value,
                     "script at line %d, step %zu: line %u rose %u times", line, i, (unsigned)s->at,
                     r->edges[s->at]);
        r->edges[s->at] = 0;
        return;
    }
    cr_expect_eq(got & s->mask, s->value & s->mask,
                 "script at line %d, step %zu: %#llx gave %#llx, not %#llx", line, i,
                 (unsigned long long)s->at, (unsigned long long)got, (unsigned long long)s->value);
}

static inline void rig_run(struct rig *r, const struct step *script, size_t n, int line)
{
    for (size_t i = 0; i < n; i++)
        rig_step(r, &script[i], i, line);
}

#endif
