/* SPDX-License-Identifier: MIT */
/* hpet.c: see hpet.h.
 *
 * Nothing ticks: while the counter is enabled it is guest time divided by the tick, plus an offset.
 * A timer of the clock is armed for each comparator that may interrupt. A periodic comparator that
 * is late has one edge for all periods that went by, and keeps its phase; edges are MIN_PERIOD_NS
 * apart at least, so that the guest gets to run.
 *
 * An edge is shown as the line's falling and rising; it stays high until the next one, since the
 * interrupt controllers want a request to last until it is acknowledged. */
#include "devices/hpet.h"

#include <stdlib.h>

#define MIN_PERIOD_NS  20000u
#define TICK_FS        (HPET_TICK_NS * 1000000u)

#define REG_CAPS       0x000
#define REG_CONFIG     0x010
#define REG_STATUS     0x020
#define REG_COUNTER    0x0f0
#define REG_TIMER      0x100
#define TIMER_SIZE     0x20

#define CONFIG_ENABLE  1u
#define CONFIG_LEGACY  2u

#define T_LEVEL        0x0002u
#define T_ENABLE       0x0004u
#define T_PERIODIC     0x0008u
#define T_PERIODIC_CAP 0x0010u
#define T_SIZE_CAP     0x0020u
#define T_VAL_SET      0x0040u
#define T_32BIT        0x0100u
#define T_ROUTE        0x3e00u
#define T_ROUTE_SHIFT  9
#define T_WRITABLE     (T_LEVEL | T_ENABLE | T_PERIODIC | T_32BIT | T_ROUTE)
#define ROUTE_CAP      (((1u << HPET_PINS) - 1) << HPET_PIN_FIRST)

struct comparator {
    struct hpet *hpet;
    struct timer *timer;
    uint32_t config; /* lower half */
    uint64_t match, period;
    bool set_match; /* VAL_SET: the next write goes to `match` as well */
    bool level;     /* what it drives */
};

struct hpet {
    struct bus *bus;
    struct clock *clock;
    struct irq_line legacy[2]; /* IRQ 0 and 8 */
    bool legacy_in[2];         /* what the PIT and the RTC drive */
    struct irq_line pins[HPET_PINS];
    struct comparator comparator[HPET_TIMERS];
    uint32_t config, status;
    uint64_t offset; /* the counter is ticks + offset; while it is halted, it is `halted` */
    uint64_t halted;
};

/* --- the counter --- */

static uint64_t ticks(const struct hpet *h)
{
    return clock_now(h->clock) / HPET_TICK_NS;
}

static uint64_t counter(const struct hpet *h)
{
    return h->config & CONFIG_ENABLE ? ticks(h) + h->offset : h->halted;
}

/* --- lines --- */

static unsigned number_of(const struct comparator *c)
{
    return (unsigned)(c - c->hpet->comparator);
}

static bool is_legacy(const struct comparator *c)
{
    return (c->hpet->config & CONFIG_LEGACY) && number_of(c) < 2;
}

static const struct irq_line *line_of(const struct comparator *c)
{
    static const struct irq_line nowhere;
    unsigned pin = ((c->config & T_ROUTE) >> T_ROUTE_SHIFT) - HPET_PIN_FIRST;
    if (is_legacy(c))
        return &c->hpet->legacy[number_of(c)];
    return pin < HPET_PINS ? &c->hpet->pins[pin] : &nowhere;
}

static void drive(struct comparator *c, bool level)
{
    c->level = level;
    irq_set(line_of(c), level);
}

/* IRQ 0 and 8 belong to the PIT and the RTC unless the comparators have taken them over. */
static void drive_legacy(struct hpet *h)
{
    for (unsigned i = 0; i < 2; i++)
        irq_set(&h->legacy[i],
                h->config & CONFIG_LEGACY ? h->comparator[i].level : h->legacy_in[i]);
}

static void legacy_set(void *opaque, unsigned input, int level)
{
    struct hpet *h = opaque;
    h->legacy_in[input] = level;
    if (!(h->config & CONFIG_LEGACY))
        irq_set(&h->legacy[input], level);
}

struct irq_line hpet_pit_line(struct hpet *h)
{
    return (struct irq_line){legacy_set, h, 0};
}

struct irq_line hpet_rtc_line(struct hpet *h)
{
    return (struct irq_line){legacy_set, h, 1};
}

static void interrupt(struct comparator *c)
{
    struct hpet *h = c->hpet;
    if (c->config & T_LEVEL)
        h->status |= 1u << number_of(c);
    if (!(c->config & T_ENABLE))
        return;
    if (!(c->config & T_LEVEL))
        drive(c, false);
    drive(c, true);
}

/* --- matches --- */

static uint64_t mask_of(const struct comparator *c)
{
    return c->config & T_32BIT ? UINT32_MAX : UINT64_MAX;
}

static bool repeats(const struct comparator *c)
{
    return (c->config & T_PERIODIC) && c->period;
}

/* Arms for the next match after the counter has shown `now`, at `now` itself only if `inclusive`. A
 * match that is 2^63 ticks or more away is one of the past. */
static void arm(struct comparator *c, uint64_t now, bool inclusive)
{
    struct hpet *h = c->hpet;
    uint64_t mask = mask_of(c), left = (c->match - now) & mask;
    if (!left && !inclusive)
        left = mask == UINT32_MAX ? 1ull << 32 : UINT64_MAX;
    if (!(h->config & CONFIG_ENABLE) || !(c->config & (T_ENABLE | T_LEVEL)) || left >> 63) {
        timer_disarm(c->timer);
        return;
    }
    uint64_t at = now - h->offset + left; /* in ticks of the clock */
    timer_arm(c->timer, at > UINT64_MAX / HPET_TICK_NS ? UINT64_MAX : at * HPET_TICK_NS);
}

/* The first match of a periodic comparator that is later than `now` by at least a minimum. */
static void advance(struct comparator *c, uint64_t now)
{
    uint64_t mask = mask_of(c), behind = (now + MIN_PERIOD_NS / HPET_TICK_NS - c->match) & mask;
    if (behind <= mask >> 1)
        c->match = (c->match + (behind / c->period + 1) * c->period) & mask;
}

static void expired(void *opaque)
{
    struct comparator *c = opaque;
    uint64_t now = counter(c->hpet);
    interrupt(c);
    if (repeats(c))
        advance(c, now);
    arm(c, now, false);
}

static void arm_all(struct hpet *h)
{
    for (unsigned i = 0; i < HPET_TIMERS; i++)
        arm(&h->comparator[i], counter(h), true);
}

/* --- registers, as 64-bit values of which half is read or written --- */

static uint64_t put(uint64_t old, unsigned shift, uint64_t bits, uint64_t value)
{
    return (old & ~(bits << shift)) | (value & bits) << shift;
}

static uint64_t timer_config(const struct comparator *c)
{
    uint32_t caps = T_SIZE_CAP | (number_of(c) ? 0 : T_PERIODIC_CAP);
    return (uint64_t)ROUTE_CAP << 32 | c->config | caps;
}

static uint64_t read_register(const struct hpet *h, uint32_t reg)
{
    const struct comparator *c = &h->comparator[(reg - REG_TIMER) / TIMER_SIZE % HPET_TIMERS];
    switch (reg) {
    case REG_CAPS:
        return (uint64_t)TICK_FS << 32 | HPET_ID;
    case REG_CONFIG:
        return h->config;
    case REG_STATUS:
        return h->status;
    case REG_COUNTER:
        return counter(h);
    }
    if (reg < REG_TIMER || reg >= REG_TIMER + HPET_TIMERS * TIMER_SIZE)
        return 0;
    switch ((reg - REG_TIMER) % TIMER_SIZE) {
    case 0:
        return timer_config(c);
    case 8:
        return c->match;
    default: /* no messages through the front-side bus */
        return 0;
    }
}

static void write_config(struct hpet *h, uint32_t value)
{
    uint64_t now = counter(h);
    uint32_t changed = h->config ^ value;
    h->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
    if (changed & CONFIG_ENABLE) {
        h->halted = now;
        h->offset = now - ticks(h);
    }
    if (changed & CONFIG_LEGACY)
        drive_legacy(h);
    arm_all(h);
}

/* Bits that are one are acknowledged: a level falls. */
static void write_status(struct hpet *h, uint32_t value)
{
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        struct comparator *c = &h->comparator[i];
        if ((h->status & value) >> i & 1) {
            h->status &= ~(1u << i);
            if (c->config & T_LEVEL)
                drive(c, false);
        }
    }
}

static void write_timer_config(struct comparator *c, uint32_t value)
{
    uint32_t writable = number_of(c) ? T_WRITABLE & ~T_PERIODIC : T_WRITABLE;
    drive(c, false);
    c->config = value & writable;
    c->set_match = value & T_VAL_SET;
    if (c->config & T_32BIT) {
        c->match &= UINT32_MAX;
        c->period &= UINT32_MAX;
    }
    bool waiting =
        c->config & T_LEVEL && c->config & T_ENABLE && c->hpet->status >> number_of(c) & 1;
    if (waiting)
        drive(c, true);
    arm(c, counter(c->hpet), true);
}

/* In periodic mode what is written is the period, and the match only with VAL_SET (2.3.9.2.2). */
static void write_match(struct comparator *c, unsigned shift, uint64_t bits, uint64_t value)
{
    if (c->config & T_32BIT && shift)
        return;
    if (c->config & T_PERIODIC)
        c->period = put(c->period, shift, bits, value);
    if (!(c->config & T_PERIODIC) || c->set_match)
        c->match = put(c->match, shift, bits, value);
    if (shift || c->config & T_32BIT)
        c->set_match = false;
    arm(c, counter(c->hpet), true);
}

static void write_register(struct hpet *h, uint32_t reg, unsigned shift, uint64_t bits,
                           uint32_t value)
{
    struct comparator *c = &h->comparator[(reg - REG_TIMER) / TIMER_SIZE % HPET_TIMERS];
    uint32_t low = (uint32_t)put(read_register(h, reg), shift, bits, value);
    switch (reg) {
    case REG_CONFIG:
        write_config(h, low);
        return;
    case REG_STATUS:
        write_status(h, shift < 32 ? value << shift : 0);
        return;
    case REG_COUNTER: /* to be written while it is halted */
        h->halted = put(counter(h), shift, bits, value);
        h->offset = h->halted - ticks(h);
        arm_all(h);
        return;
    }
    if (reg < REG_TIMER || reg >= REG_TIMER + HPET_TIMERS * TIMER_SIZE)
        return;
    if ((reg - REG_TIMER) % TIMER_SIZE == 8)
        write_match(c, shift, bits, value);
    else if ((reg - REG_TIMER) % TIMER_SIZE == 0 && shift < 32)
        write_timer_config(c, low);
}

static uint64_t bits_of(unsigned size)
{
    return size == 4 ? UINT32_MAX : (1u << (8 * size)) - 1;
}

static uint32_t hpet_read(void *dev, uint32_t off, unsigned size)
{
    return (uint32_t)(read_register(dev, off & ~7u) >> (8 * (off & 7)) & bits_of(size));
}

static void hpet_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    write_register(dev, off & ~7u, 8 * (off & 7), bits_of(size), value);
}

static const struct io_ops hpet_ops = {hpet_read, hpet_write, 4};

/* --- life --- */

void hpet_reset(struct hpet *h)
{
    h->config = h->status = 0;
    h->offset = h->halted = 0;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        struct comparator *c = &h->comparator[i];
        drive(c, false);
        c->config = 0;
        c->match = UINT64_MAX;
        c->period = 0;
        c->set_match = false;
        timer_disarm(c->timer);
    }
    drive_legacy(h);
}

struct hpet *hpet_create(struct bus *bus, struct clock *clock, struct irq_line irq0,
                         struct irq_line irq8, const struct irq_line *pins)
{
    struct hpet *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->clock = clock;
    h->legacy[0] = irq0;
    h->legacy[1] = irq8;
    for (unsigned i = 0; i < HPET_PINS; i++)
        h->pins[i] = pins[i];
    bool ok = true;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        h->comparator[i].hpet = h;
        h->comparator[i].timer = timer_create_on(clock, expired, &h->comparator[i]);
        ok = ok && h->comparator[i].timer;
    }
    if (ok)
        hpet_reset(h);
    if (!ok || bus_map_mmio(bus, HPET_BASE, HPET_SIZE, &hpet_ops, h)) {
        hpet_destroy(h);
        return NULL;
    }
    h->bus = bus;
    return h;
}

void hpet_destroy(struct hpet *h)
{
    if (!h)
        return;
    if (h->bus)
        bus_unmap_mmio(h->bus, HPET_BASE, HPET_SIZE);
    for (unsigned i = 0; i < HPET_TIMERS; i++)
        timer_destroy(h->comparator[i].timer);
    free(h);
}
