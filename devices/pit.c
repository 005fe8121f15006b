/* SPDX-License-Identifier: MIT */
/* pit.c: time -> three 8254 counters, IRQ 0 and the bits of port 0x61.
 *
 * Nothing ticks here. All of a channel's state follows from the tick at which its count was loaded
 * and the present tick, both counted at 1,193,182 Hz from the clock's start with exact integer
 * arithmetic: so a periodic channel cannot drift. A timer is armed only for channel 0, for the next
 * change of OUT: rising, and in mode 3, where half of the period is low, falling. The one low tick
 * of mode 2 comes together with the edge that ends it. Periods that went by while the machine was
 * not looking are one edge, as they are for a processor that kept interrupts off; edges are kept
 * MIN_PERIOD_NS apart, so that a guest that programs a count of 2 still gets to run, and OUT is
 * high for MIN_HIGH_NS after each, however late it came. Reference: Intel 8254 datasheet (231164),
 * "Mode definitions". */
#include "devices/pit.h"

#include <stdlib.h>

#define NS_PER_S      1000000000u
#define MIN_PERIOD_NS 20000u
#define MIN_HIGH_NS   10000u
#define REFRESH_TICKS 18 /* of channel 1: port 0x61's bit 4 toggles every 15 us */

enum rw { RW_LATCH, RW_LOW, RW_HIGH, RW_BOTH };

struct channel {
    struct pit *pit;
    uint8_t control; /* the control word's mode, RW and BCD bits, for the status byte */
    uint8_t mode;    /* 0-5 */
    enum rw rw;
    bool bcd;
    bool gate;
    bool loaded;    /* a count has been written since the control word */
    bool counting;  /* `start` is valid: loaded, triggered, gate permitting */
    bool high_next; /* the next byte written (read: read_high) is the upper one */
    bool read_high;
    bool count_latched, status_latched;
    uint8_t write_low, status;
    uint16_t latch;
    uint32_t count;      /* 1-65536 (10000 in BCD): of the current cycle */
    uint32_t next_count; /* modes 2 and 3: from the next (half) cycle on; 0: none */
    uint64_t start;      /* tick at which the current cycle began */
    uint64_t frozen;     /* ticks already counted, while gate is low in mode 0 or 4 */
    uint16_t held;       /* what reads give while nothing counts */
};

struct pit {
    struct bus *bus;
    struct clock *clock;
    struct timer *timer;
    struct irq_line out0;
    uint64_t rises, falls; /* guest time of OUT 0's next changes, UINT64_MAX: none is known of */
    struct channel channel[3];
    uint8_t port61; /* bits 0-3 */
};

/* --- time --- */

static uint64_t ticks_at(uint64_t ns)
{
    return (uint64_t)((unsigned __int128)ns * PIT_HZ / NS_PER_S);
}

/* The first nanosecond at which ticks_at() has reached `tick`. */
static uint64_t ns_of(uint64_t tick)
{
    return (uint64_t)(((unsigned __int128)tick * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static uint64_t now_ticks(const struct pit *p)
{
    return ticks_at(clock_now(p->clock));
}

/* --- what the counter shows --- */

static bool periodic(const struct channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Modes that a rising gate starts; the others count while the gate is high. */
static bool triggered_by_gate(const struct channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

static uint32_t modulus(const struct channel *c)
{
    return c->bcd ? 10000 : 0x10000;
}

static uint32_t high_length(uint32_t count)
{
    return (count + 1) / 2; /* of mode 3's period */
}

static uint64_t elapsed(const struct channel *c, uint64_t now)
{
    return !c->gate && !triggered_by_gate(c) ? c->frozen : now - c->start;
}

/* Takes over a count that waited for the end of its (half) cycle. */
static void adopt_next_count(struct channel *c, uint64_t now)
{
    if (!c->next_count || !c->counting)
        return;
    uint64_t end = c->start + c->count;
    uint64_t half = c->start + high_length(c->count);
    if (c->mode == 3 && now >= half && now < end) {
        c->start = half - high_length(c->next_count);
    } else if (now >= end) {
        c->start = end;
    } else {
        return;
    }
    c->count = c->next_count;
    c->next_count = 0;
}

/* Moves `start` to the cycle that contains `now`, so that a later change of the count counts from
 * there. */
static void sync_cycle(struct channel *c, uint64_t now)
{
    if (!periodic(c) || !c->counting || !c->gate)
        return;
    adopt_next_count(c, now);
    if (now > c->start)
        c->start += (now - c->start) / c->count * c->count;
}

static bool channel_out(const struct channel *c, uint64_t now)
{
    if (!c->counting)
        return c->mode != 0;
    uint64_t n = elapsed(c, now);
    switch (c->mode) {
    case 0:
    case 1:
        return n >= c->count;
    case 2:
        return !c->gate || n % c->count != c->count - 1;
    case 3:
        return !c->gate || n % c->count < high_length(c->count);
    default:
        return n != c->count;
    }
}

static uint16_t to_bcd(uint32_t n)
{
    return (uint16_t)(n % 10 | n / 10 % 10 << 4 | n / 100 % 10 << 8 | n / 1000 % 10 << 12);
}

static uint32_t from_bcd(uint32_t n)
{
    return (n & 15) + 10 * (n >> 4 & 15) + 100 * (n >> 8 & 15) + 1000 * (n >> 12 & 15);
}

static uint16_t channel_value(const struct channel *c, uint64_t now)
{
    if (!c->counting)
        return c->held;
    uint64_t n = elapsed(c, now);
    uint32_t value;
    if (c->mode == 2) {
        value = (uint32_t)(c->count - n % c->count);
    } else if (c->mode == 3) {
        uint32_t position = (uint32_t)(n % c->count);
        if (position >= high_length(c->count))
            position -= high_length(c->count);
        value = (c->count & ~1u) - 2 * position;
    } else {
        value = (uint32_t)((c->count + modulus(c) - n % modulus(c)) % modulus(c));
    }
    return c->bcd ? to_bcd(value) : (uint16_t)value;
}

/* --- channel 0's interrupt --- */

/* The tick of OUT's next rising edge after `now`, or UINT64_MAX. */
static uint64_t next_edge(const struct channel *c, uint64_t now)
{
    if (!c->counting || (!c->gate && !triggered_by_gate(c)))
        return UINT64_MAX;
    uint64_t first = c->start + c->count;
    if (now < first)
        return first;
    if (!periodic(c))
        return UINT64_MAX;
    return c->start + ((now - c->start) / c->count + 1) * c->count;
}

static void arm(struct pit *p)
{
    uint64_t next = p->rises < p->falls ? p->rises : p->falls;
    if (next == UINT64_MAX)
        timer_disarm(p->timer);
    else
        timer_arm(p->timer, next);
}

static void find_rise(struct pit *p, uint64_t after)
{
    uint64_t tick = next_edge(&p->channel[0], after);
    p->rises = tick == UINT64_MAX ? UINT64_MAX : ns_of(tick);
}

/* Of mode 3's present cycle, OUT being high; not before `earliest`. */
static void find_fall(struct pit *p, uint64_t earliest)
{
    const struct channel *c = &p->channel[0];
    bool does = c->mode == 3 && c->counting && c->gate;
    uint64_t at = does ? ns_of(c->start + high_length(c->count)) : UINT64_MAX;
    p->falls = at > earliest ? at : earliest;
}

static void expired(void *opaque)
{
    struct pit *p = opaque;
    struct channel *c = &p->channel[0];
    uint64_t ns = clock_now(p->clock), now = ticks_at(ns);
    if (ns >= p->rises) {
        sync_cycle(c, now);
        irq_set(&p->out0, 0);
        irq_set(&p->out0, 1);
        find_rise(p, periodic(c) ? now + ticks_at(MIN_PERIOD_NS) : now);
        find_fall(p, ns + MIN_HIGH_NS);
    } else if (ns >= p->falls) {
        irq_set(&p->out0, 0);
        p->falls = UINT64_MAX;
    }
    arm(p);
}

/* After anything that may change OUT or the next edge. */
static void channel_changed(struct channel *c, uint64_t now)
{
    struct pit *p = c->pit;
    if (c != &p->channel[0])
        return;
    bool out = channel_out(c, now);
    irq_set(&p->out0, out);
    find_rise(p, now);
    p->falls = UINT64_MAX;
    if (out)
        find_fall(p, 0);
    arm(p);
}

/* --- programming --- */

static void channel_stop(struct channel *c, uint64_t now)
{
    sync_cycle(c, now);
    c->held = channel_value(c, now);
    c->counting = false;
    c->next_count = 0;
}

static void channel_start(struct channel *c, uint64_t now)
{
    c->start = now;
    c->frozen = 0;
    c->counting = true;
}

static void channel_load(struct channel *c, uint32_t raw, uint64_t now)
{
    uint32_t count = c->bcd ? from_bcd(raw) : raw;
    if (!count)
        count = modulus(c);
    c->loaded = true;
    if (c->counting && periodic(c)) {
        sync_cycle(c, now);
        c->next_count = count;
    } else if (triggered_by_gate(c)) {
        c->next_count = count; /* until the trigger */
    } else {
        c->count = count;
        channel_start(c, now);
    }
    channel_changed(c, now);
}

static void channel_write_count(struct channel *c, uint8_t value)
{
    uint64_t now = now_ticks(c->pit);
    if (c->rw == RW_LOW) {
        channel_load(c, value, now);
    } else if (c->rw == RW_HIGH) {
        channel_load(c, (uint32_t)value << 8, now);
    } else if (c->high_next) {
        c->high_next = false;
        channel_load(c, (uint32_t)value << 8 | c->write_low, now);
    } else {
        c->high_next = true;
        c->write_low = value;
        if (c->mode == 0) { /* the first byte stops the counter and lowers OUT */
            channel_stop(c, now);
            channel_changed(c, now);
        }
    }
}

static void channel_control(struct channel *c, uint8_t value)
{
    uint64_t now = now_ticks(c->pit);
    channel_stop(c, now);
    c->control = value & 0x3f;
    c->rw = (enum rw)(value >> 4 & 3);
    c->mode = value >> 1 & 7;
    if (c->mode > 5)
        c->mode -= 4;
    c->bcd = value & 1;
    c->loaded = false;
    c->high_next = c->read_high = false;
    c->count_latched = c->status_latched = false;
    channel_changed(c, now);
}

static void latch_count(struct channel *c)
{
    if (c->count_latched)
        return;
    uint64_t now = now_ticks(c->pit);
    sync_cycle(c, now);
    c->latch = channel_value(c, now);
    c->count_latched = true;
    c->read_high = c->rw == RW_HIGH;
}

static void latch_status(struct channel *c)
{
    if (c->status_latched)
        return;
    uint64_t now = now_ticks(c->pit);
    sync_cycle(c, now);
    bool null_count = !c->loaded || c->next_count;
    c->status = (uint8_t)(c->control | channel_out(c, now) << 7 | null_count << 6);
    c->status_latched = true;
}

static void write_control(struct pit *p, uint8_t value)
{
    unsigned select = value >> 6;
    if (select == 3) { /* read-back: bits 5 and 4 are active low */
        for (unsigned i = 0; i < 3; i++) {
            if (!(value & (2u << i)))
                continue;
            if (!(value & 0x20))
                latch_count(&p->channel[i]);
            if (!(value & 0x10))
                latch_status(&p->channel[i]);
        }
    } else if ((value >> 4 & 3) == RW_LATCH) {
        latch_count(&p->channel[select]);
    } else {
        channel_control(&p->channel[select], value);
    }
}

static uint8_t channel_read(struct channel *c)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t value = c->latch;
    if (!c->count_latched) {
        uint64_t now = now_ticks(c->pit);
        sync_cycle(c, now);
        value = channel_value(c, now);
    }
    bool high = c->rw == RW_HIGH || (c->rw == RW_BOTH && c->read_high);
    c->read_high = c->rw == RW_BOTH && !high;
    if (!c->read_high)
        c->count_latched = false;
    return (uint8_t)(high ? value >> 8 : value);
}

static void channel_set_gate(struct channel *c, bool gate)
{
    uint64_t now = now_ticks(c->pit);
    if (gate == c->gate)
        return;
    sync_cycle(c, now);
    if (!gate) {
        c->frozen = now - c->start;
        if (periodic(c))
            c->held = channel_value(c, now);
        c->gate = false;
    } else {
        c->gate = true;
        if (triggered_by_gate(c) || (periodic(c) && c->counting)) {
            if (c->next_count)
                c->count = c->next_count;
            c->next_count = 0;
            if (c->loaded)
                channel_start(c, now);
        } else {
            c->start = now - c->frozen;
        }
    }
    channel_changed(c, now);
}

/* --- ports --- */

static uint32_t pit_read(void *dev, uint32_t off, unsigned size)
{
    struct pit *p = dev;
    (void)size;
    return off == 3 ? 0xff : channel_read(&p->channel[off]);
}

static void pit_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pit *p = dev;
    (void)size;
    if (off == 3)
        write_control(p, (uint8_t)value);
    else
        channel_write_count(&p->channel[off], (uint8_t)value);
}

static uint32_t port61_read(void *dev, uint32_t off, unsigned size)
{
    struct pit *p = dev;
    uint64_t now = now_ticks(p);
    (void)off;
    (void)size;
    sync_cycle(&p->channel[2], now);
    return p->port61 | (now / REFRESH_TICKS & 1) << 4 |
           (uint32_t)channel_out(&p->channel[2], now) << 5;
}

static void port61_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pit *p = dev;
    (void)off;
    (void)size;
    p->port61 = value & 0x0f;
    channel_set_gate(&p->channel[2], value & 1);
}

static const struct io_ops pit_ops = {pit_read, pit_write, 1};
static const struct io_ops port61_ops = {port61_read, port61_write, 1};

/* --- life --- */

void pit_reset(struct pit *p)
{
    for (unsigned i = 0; i < 3; i++) {
        p->channel[i] = (struct channel){
            .pit = p, .gate = i != 2, .count = 0x10000, .control = 0x36, .mode = 3, .rw = RW_BOTH};
    }
    p->rises = p->falls = UINT64_MAX;
    timer_disarm(p->timer);
    irq_set(&p->out0, 0); /* undefined until programmed; low makes no interrupt */
    p->port61 = 0;
}

void pit_bios_init(struct pit *p)
{
    pit_reset(p);
    channel_load(&p->channel[0], 0, now_ticks(p));
    channel_control(&p->channel[1], 0x14);
    channel_load(&p->channel[1], REFRESH_TICKS, now_ticks(p));
}

struct pit *pit_create(struct bus *bus, struct clock *clock, struct irq_line out0)
{
    struct pit *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->bus = bus;
    p->clock = clock;
    p->out0 = out0;
    p->timer = timer_create_on(clock, expired, p);
    if (!p->timer) {
        free(p);
        return NULL;
    }
    pit_reset(p);
    if (bus_map_port(bus, 0x40, 4, &pit_ops, p) || bus_map_port(bus, 0x61, 1, &port61_ops, p)) {
        pit_destroy(p);
        return NULL;
    }
    return p;
}

void pit_destroy(struct pit *p)
{
    if (!p)
        return;
    bus_unmap_port(p->bus, 0x40, 4);
    bus_unmap_port(p->bus, 0x61, 1);
    timer_destroy(p->timer);
    free(p);
}
