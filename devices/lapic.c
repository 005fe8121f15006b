/* SPDX-License-Identifier: MIT */
/* lapic.c: messages, local inputs and the timer -> the processor's INTR and its vectors.
 *
 * Fixed interrupts wait in the IRR until their class is above the processor priority (SDM vol. 3,
 * 11.8.3). The PIC's request is no message: it is passed on while LINT0 is unmasked and in ExtINT
 * mode, or while the APIC is disabled by IA32_APIC_BASE, and is acknowledged at the PIC. After
 * reset LINT0 and LINT1 stand as firmware leaves them in virtual-wire mode (MP
 * specification 1.4, 3.6.2.2), since kernels that are started without firmware expect that too. The
 * timer's count is a function of guest time. A host timer is armed only while its interrupt is
 * unmasked, and periods that were missed are one interrupt, at least MIN_PERIOD_NS apart. */
#include "devices/lapic.h"
#include "devices/pic.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE     0x1000u
#define MIN_PERIOD_NS 20000u
#define NS_PER_TICK   (1000000000u / LAPIC_TIMER_HZ)
_Static_assert(NS_PER_TICK *LAPIC_TIMER_HZ == 1000000000u, "the timer counts whole nanoseconds");

/* Registers, by their offset / 16 (SDM vol. 3, table 11-1). */
enum {
    REG_ID = 0x02,
    REG_VERSION = 0x03,
    REG_TPR = 0x08,
    REG_APR = 0x09,
    REG_PPR = 0x0a,
    REG_EOI = 0x0b,
    REG_LDR = 0x0d,
    REG_DFR = 0x0e,
    REG_SVR = 0x0f,
    REG_ISR = 0x10,
    REG_TMR = 0x18,
    REG_IRR = 0x20,
    REG_ESR = 0x28,
    REG_ICR_LOW = 0x30,
    REG_ICR_HIGH = 0x31,
    REG_LVT = 0x32,
    REG_INITIAL = 0x38,
    REG_CURRENT = 0x39,
    REG_DIVIDE = 0x3e,
};

/* In the order of their registers. */
enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };
#define VERSION             (0x14u | (LVT_COUNT - 1) << 16)

#define LVT_VECTOR          0x000ff
#define LVT_REMOTE_IRR      0x04000
#define LVT_LEVEL           0x08000
#define LVT_MASKED          0x10000
#define LVT_PERIODIC        0x20000
#define LVT_DELIVERY(v)     ((v) >> 8 & 7)
#define SVR_ENABLE          0x100
#define SVR_BITS            0x3ff
#define ESR_SEND_ILLEGAL    0x20
#define ESR_RECEIVE_ILLEGAL 0x40
#define ICR_BITS            0xccfffu
#define ICR_LOGICAL         0x800
#define ICR_ASSERT          0x4000
#define ICR_LEVEL           0x8000
#define FIRST_VECTOR        16 /* below: illegal */
#define BASE_BITS           0xffffff900ull

enum delivery { FIXED, LOWEST, SMI, RESERVED, NMI, INIT, STARTUP, EXTINT };
enum shorthand { TO_DESTINATION, TO_SELF, TO_ALL, TO_OTHERS };

struct lapic {
    struct bus *bus;
    struct clock *clock;
    struct irq_line intr, nmi, init, startup;
    uint8_t startup_page;
    struct pic *pic;
    struct timer *timer;
    void (*eoi_fn)(void *opaque, uint8_t vector);
    void *eoi_opaque;
    uint64_t base;
    uint64_t mapped; /* where the page stands on the bus, 0: nowhere */
    bool intr_level;
    bool lint[2]; /* input levels; the PIC drives the first */
    uint8_t id, tpr;
    uint32_t ldr, dfr, svr, esr, esr_pending, icr[2];
    uint32_t lvt[LVT_COUNT];
    uint32_t isr[8], tmr[8], irr[8];
    uint32_t initial, divide;
    uint64_t start; /* of the count that runs */
};

/* --- vectors and priorities --- */

static void set_bit(uint32_t *map, uint8_t vector)
{
    map[vector >> 5] |= 1u << (vector & 31);
}

static void clear_bit(uint32_t *map, uint8_t vector)
{
    map[vector >> 5] &= ~(1u << (vector & 31));
}

static bool test_bit(const uint32_t *map, uint8_t vector)
{
    return map[vector >> 5] >> (vector & 31) & 1;
}

static int highest(const uint32_t *map)
{
    for (int i = 7; i >= 0; i--)
        if (map[i])
            return 32 * i + 31 - __builtin_clz(map[i]);
    return -1;
}

static uint8_t processor_priority(const struct lapic *l)
{
    int in_service = highest(l->isr);
    if (in_service < 0 || (l->tpr >> 4) >= (in_service >> 4))
        return l->tpr;
    return (uint8_t)(in_service & 0xf0);
}

static bool hardware_enabled(const struct lapic *l)
{
    return l->base & LAPIC_BASE_ENABLE;
}

static bool software_enabled(const struct lapic *l)
{
    return hardware_enabled(l) && (l->svr & SVR_ENABLE);
}

/* The vector that may be delivered now, or -1. */
static int deliverable(const struct lapic *l)
{
    int vector = software_enabled(l) ? highest(l->irr) : -1;
    return vector >= 0 && (vector >> 4) > (processor_priority(l) >> 4) ? vector : -1;
}

static bool extint_pending(const struct lapic *l)
{
    uint32_t lint0 = l->lvt[LVT_LINT0];
    if (!l->lint[0])
        return false;
    return !hardware_enabled(l) || (!(lint0 & LVT_MASKED) && LVT_DELIVERY(lint0) == EXTINT);
}

bool lapic_has_interrupt(const struct lapic *l)
{
    return extint_pending(l) || deliverable(l) >= 0;
}

static void update(struct lapic *l)
{
    bool level = lapic_has_interrupt(l);
    if (level != l->intr_level) {
        l->intr_level = level;
        irq_set(&l->intr, level);
    }
}

int lapic_ack(struct lapic *l)
{
    int vector = -1;
    if (extint_pending(l)) {
        vector = l->pic ? pic_ack(l->pic) : -1;
    } else if ((vector = deliverable(l)) >= 0) {
        clear_bit(l->irr, (uint8_t)vector);
        set_bit(l->isr, (uint8_t)vector);
    }
    update(l);
    return vector;
}

uint8_t lapic_get_tpr(const struct lapic *l)
{
    return l->tpr;
}

/* --- accepting interrupts --- */

static void pulse(const struct irq_line *line)
{
    irq_set(line, 1);
    irq_set(line, 0);
}

static void report_error(struct lapic *l, uint32_t bit);

static void accept(struct lapic *l, uint8_t vector, bool level)
{
    if (vector < FIRST_VECTOR) {
        report_error(l, ESR_RECEIVE_ILLEGAL);
        return;
    }
    set_bit(l->irr, vector);
    if (level)
        set_bit(l->tmr, vector);
    else
        clear_bit(l->tmr, vector);
    update(l);
}

/* An event of a local source, delivered as its LVT entry says. */
static void fire_lvt(struct lapic *l, enum lvt which)
{
    uint32_t entry = l->lvt[which];
    bool level = which == LVT_LINT0 && (entry & LVT_LEVEL);
    if ((entry & LVT_MASKED) || !hardware_enabled(l))
        return;
    switch ((enum delivery)LVT_DELIVERY(entry)) {
    case FIXED:
        if (level && (entry & LVT_REMOTE_IRR))
            return;
        if (level)
            l->lvt[which] |= LVT_REMOTE_IRR;
        accept(l, entry & LVT_VECTOR, level);
        break;
    case NMI:
        pulse(&l->nmi);
        break;
    case INIT:
        pulse(&l->init);
        break;
    default: /* ExtINT is a level, see extint_pending(); there is no SMM */
        break;
    }
}

/* The error interrupt comes with the first error after ESR was last read out. */
static void report_error(struct lapic *l, uint32_t bit)
{
    bool first = !l->esr_pending;
    l->esr_pending |= bit;
    uint32_t entry = l->lvt[LVT_ERROR];
    if (first && (entry & LVT_VECTOR) >= FIRST_VECTOR)
        fire_lvt(l, LVT_ERROR);
}

static void set_lint(void *controller, unsigned input, int level)
{
    struct lapic *l = controller;
    bool rising = level && !l->lint[input];
    l->lint[input] = level;
    if (rising)
        fire_lvt(l, input ? LVT_LINT1 : LVT_LINT0);
    update(l);
}

struct irq_line lapic_lint0(struct lapic *l)
{
    return (struct irq_line){set_lint, l, 0};
}

struct irq_line lapic_lint1(struct lapic *l)
{
    return (struct irq_line){set_lint, l, 1};
}

uint8_t lapic_startup_page(const struct lapic *l)
{
    return l->startup_page;
}

void lapic_connect_pic(struct lapic *l, struct pic *pic)
{
    l->pic = pic;
}

/* --- messages --- */

static bool addressed(const struct lapic *l, uint8_t dest, bool logical)
{
    uint8_t mine = (uint8_t)(l->ldr >> 24);
    if (dest == 0xff)
        return true;
    if (!logical)
        return dest == l->id;
    if (l->dfr >> 28 == 0xf) /* flat model */
        return dest & mine;
    bool cluster = (dest >> 4) == (mine >> 4) || (dest >> 4) == 0xf;
    return cluster && (dest & mine & 0xf);
}

static void take_message(struct lapic *l, enum delivery delivery, uint8_t vector, bool level)
{
    switch (delivery) {
    case FIXED:
    case LOWEST:
        if (software_enabled(l))
            accept(l, vector, level);
        break;
    case NMI:
        pulse(&l->nmi);
        break;
    case INIT:
        pulse(&l->init);
        break;
    case STARTUP:
        l->startup_page = vector;
        pulse(&l->startup);
        break;
    default: /* no SMM; no wire for ExtINT */
        break;
    }
}

bool lapic_deliver(struct lapic *l, uint8_t dest, bool logical, unsigned delivery, uint8_t vector,
                   bool level)
{
    if (!hardware_enabled(l) || !addressed(l, dest, logical))
        return false;
    if (delivery <= LOWEST && !software_enabled(l))
        return false;
    take_message(l, (enum delivery)delivery, vector, level);
    return true;
}

static void send_ipi(struct lapic *l)
{
    uint32_t low = l->icr[0];
    enum delivery delivery = (enum delivery)(low >> 8 & 7);
    enum shorthand to = (enum shorthand)(low >> 18 & 3);
    uint8_t vector = low & 0xff;
    if (delivery <= LOWEST && vector < FIRST_VECTOR) {
        report_error(l, ESR_SEND_ILLEGAL);
        return;
    }
    if (delivery == INIT && (low & ICR_LEVEL) && !(low & ICR_ASSERT))
        return; /* INIT level de-assert only sets arbitration IDs */
    bool to_me =
        to == TO_SELF || to == TO_ALL ||
        (to == TO_DESTINATION && addressed(l, (uint8_t)(l->icr[1] >> 24), low & ICR_LOGICAL));
    if (to_me)
        take_message(l, delivery, vector, false);
}

void lapic_on_eoi(struct lapic *l, void (*fn)(void *opaque, uint8_t vector), void *opaque)
{
    l->eoi_fn = fn;
    l->eoi_opaque = opaque;
}

static void end_of_interrupt(struct lapic *l)
{
    int vector = highest(l->isr);
    if (vector < 0)
        return;
    clear_bit(l->isr, (uint8_t)vector);
    if (test_bit(l->tmr, (uint8_t)vector)) {
        uint32_t *lint0 = &l->lvt[LVT_LINT0];
        if ((*lint0 & LVT_REMOTE_IRR) && (*lint0 & LVT_VECTOR) == (uint32_t)vector) {
            *lint0 &= ~LVT_REMOTE_IRR;
            if (l->lint[0])
                fire_lvt(l, LVT_LINT0);
        }
        if (l->eoi_fn)
            l->eoi_fn(l->eoi_opaque, (uint8_t)vector);
    }
    update(l);
}

/* --- timer --- */

/* Nanoseconds a count: the divider's code is in bits 3, 1 and 0. */
static uint64_t count_ns(const struct lapic *l)
{
    unsigned code = (l->divide & 3) | (l->divide >> 1 & 4);
    return (uint64_t)NS_PER_TICK << ((code + 1) & 7);
}

static bool timer_periodic(const struct lapic *l)
{
    return l->lvt[LVT_TIMER] & LVT_PERIODIC;
}

static uint32_t current_count(const struct lapic *l)
{
    if (!l->initial)
        return 0;
    uint64_t counted = (clock_now(l->clock) - l->start) / count_ns(l);
    if (timer_periodic(l))
        counted %= l->initial;
    return counted < l->initial ? l->initial - (uint32_t)counted : 0;
}

/* Arms for the first expiry after `after`. */
static void timer_update(struct lapic *l, uint64_t after)
{
    uint64_t period = l->initial * count_ns(l);
    bool done = !timer_periodic(l) && after >= l->start + period;
    if (!l->initial || (l->lvt[LVT_TIMER] & LVT_MASKED) || !hardware_enabled(l) || done) {
        timer_disarm(l->timer);
        return;
    }
    uint64_t periods = after < l->start + period ? 1 : (after - l->start) / period + 1;
    timer_arm(l->timer, l->start + periods * period);
}

static void timer_expired(void *opaque)
{
    struct lapic *l = opaque;
    uint64_t now = clock_now(l->clock);
    fire_lvt(l, LVT_TIMER);
    timer_update(l, timer_periodic(l) ? now + MIN_PERIOD_NS : now);
}

static void write_initial(struct lapic *l, uint32_t value)
{
    l->initial = value;
    l->start = clock_now(l->clock);
    timer_update(l, l->start);
}

/* The count goes on from where it is at the new rate. */
static void write_divide(struct lapic *l, uint32_t value)
{
    uint64_t now = clock_now(l->clock), counted = l->initial - current_count(l);
    l->divide = value & 0xb;
    l->start = now - counted * count_ns(l);
    timer_update(l, now);
}

/* A periodic count has wrapped; the present cycle's start is what one-shot mode would count from.
 */
static void write_timer_mode(struct lapic *l, uint32_t value)
{
    uint64_t now = clock_now(l->clock);
    if (timer_periodic(l) && l->initial) {
        uint64_t period = l->initial * count_ns(l);
        l->start += (now - l->start) / period * period;
    } else if (l->initial && now >= l->start + l->initial * count_ns(l) && (value & LVT_PERIODIC)) {
        l->initial = 0; /* a one-shot that has run out does not start again by itself */
    }
    l->lvt[LVT_TIMER] = value;
    timer_update(l, now);
}

/* --- registers --- */

static const uint32_t lvt_bits[LVT_COUNT] = {
    [LVT_TIMER] = 0x300ff, [LVT_THERMAL] = 0x107ff, [LVT_PERF] = 0x107ff,
    [LVT_LINT0] = 0x1a7ff, [LVT_LINT1] = 0x1a7ff,   [LVT_ERROR] = 0x100ff,
};

static void write_lvt(struct lapic *l, enum lvt which, uint32_t value)
{
    value &= lvt_bits[which];
    if (!(l->svr & SVR_ENABLE))
        value |= LVT_MASKED;
    if (which == LVT_TIMER) {
        write_timer_mode(l, value);
        return;
    }
    if (value & LVT_LEVEL)
        value |= l->lvt[which] & LVT_REMOTE_IRR;
    l->lvt[which] = value;
    if (which == LVT_LINT0 && l->lint[0] && (value & LVT_LEVEL))
        fire_lvt(l, which);
}

static void write_svr(struct lapic *l, uint32_t value)
{
    bool was_enabled = l->svr & SVR_ENABLE;
    l->svr = value & SVR_BITS;
    if (!was_enabled || (l->svr & SVR_ENABLE))
        return;
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] |= LVT_MASKED;
    timer_disarm(l->timer);
}

static uint32_t read_register(struct lapic *l, uint32_t reg)
{
    if (reg >= REG_ISR && reg < REG_TMR)
        return l->isr[reg - REG_ISR];
    if (reg >= REG_TMR && reg < REG_IRR)
        return l->tmr[reg - REG_TMR];
    if (reg >= REG_IRR && reg < REG_ESR)
        return l->irr[reg - REG_IRR];
    if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT)
        return l->lvt[reg - REG_LVT];
    switch (reg) {
    case REG_ID:
        return (uint32_t)l->id << 24;
    case REG_VERSION:
        return VERSION;
    case REG_TPR:
        return l->tpr;
    case REG_APR:
    case REG_PPR:
        return processor_priority(l);
    case REG_LDR:
        return l->ldr;
    case REG_DFR:
        return l->dfr;
    case REG_SVR:
        return l->svr;
    case REG_ESR:
        return l->esr;
    case REG_ICR_LOW:
    case REG_ICR_HIGH:
        return l->icr[reg - REG_ICR_LOW];
    case REG_INITIAL:
        return l->initial;
    case REG_CURRENT:
        return current_count(l);
    case REG_DIVIDE:
        return l->divide;
    default:
        return 0;
    }
}

static void write_register(struct lapic *l, uint32_t reg, uint32_t value)
{
    if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT) {
        write_lvt(l, (enum lvt)(reg - REG_LVT), value);
        return;
    }
    switch (reg) {
    case REG_ID:
        l->id = (uint8_t)(value >> 24);
        break;
    case REG_TPR:
        l->tpr = (uint8_t)value;
        break;
    case REG_EOI:
        end_of_interrupt(l);
        break;
    case REG_LDR:
        l->ldr = value & 0xff000000u;
        break;
    case REG_DFR:
        l->dfr = value | 0x0fffffffu;
        break;
    case REG_SVR:
        write_svr(l, value);
        break;
    case REG_ESR: /* a write shows what was gathered */
        l->esr = l->esr_pending;
        l->esr_pending = 0;
        break;
    case REG_ICR_LOW:
        l->icr[0] = value & ICR_BITS;
        send_ipi(l);
        break;
    case REG_ICR_HIGH:
        l->icr[1] = value & 0xff000000u;
        break;
    case REG_INITIAL:
        write_initial(l, value);
        break;
    case REG_DIVIDE:
        write_divide(l, value);
        break;
    default:
        break;
    }
}

static uint32_t lapic_read(void *dev, uint32_t off, unsigned size)
{
    (void)size;
    if (off & 0xc) /* each register has 16 bytes, the upper 12 undefined */
        return 0;
    return read_register(dev, off >> 4) >> (8 * (off & 3));
}

static void lapic_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    (void)size;
    if (off & 0xf)
        return;
    write_register(dev, off >> 4, value);
    update(dev);
}

static const struct io_ops lapic_ops = {lapic_read, lapic_write, 4};

/* --- IA32_APIC_BASE, reset, life --- */

static void map_page(struct lapic *l)
{
    uint64_t at = hardware_enabled(l) ? l->base & ~(uint64_t)(PAGE_SIZE - 1) : 0;
    if (at == l->mapped)
        return;
    if (l->mapped)
        bus_unmap_mmio(l->bus, l->mapped, PAGE_SIZE);
    l->mapped = at && !bus_map_mmio(l->bus, at, PAGE_SIZE, &lapic_ops, l) ? at : 0;
}

static void reset_registers(struct lapic *l)
{
    l->tpr = 0;
    l->ldr = 0;
    l->dfr = 0xffffffff;
    l->svr = 0xff;
    l->esr = l->esr_pending = 0;
    l->icr[0] = l->icr[1] = 0;
    l->initial = l->divide = 0;
    memset(l->isr, 0, sizeof(l->isr));
    memset(l->tmr, 0, sizeof(l->tmr));
    memset(l->irr, 0, sizeof(l->irr));
    for (unsigned i = 0; i < LVT_COUNT; i++)
        l->lvt[i] = LVT_MASKED;
    l->lvt[LVT_LINT0] = EXTINT << 8;
    l->lvt[LVT_LINT1] = NMI << 8;
    timer_disarm(l->timer);
}

uint64_t lapic_get_base(const struct lapic *l)
{
    return l->base;
}

bool lapic_set_base(struct lapic *l, uint64_t value)
{
    if (value & ~BASE_BITS)
        return false;
    bool was_enabled = hardware_enabled(l);
    l->base = value;
    if (was_enabled && !hardware_enabled(l))
        reset_registers(l);
    map_page(l);
    update(l);
    return true;
}

void lapic_init(struct lapic *l)
{
    reset_registers(l);
    update(l);
}

void lapic_reset(struct lapic *l)
{
    l->base = LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE | LAPIC_BASE_BSP;
    l->id = 0;
    reset_registers(l);
    map_page(l);
    update(l);
}

struct lapic *lapic_create(struct bus *bus, struct clock *clock, struct irq_line intr,
                           struct irq_line nmi, struct irq_line init, struct irq_line startup)
{
    struct lapic *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->bus = bus;
    l->clock = clock;
    l->intr = intr;
    l->nmi = nmi;
    l->init = init;
    l->startup = startup;
    l->timer = timer_create_on(clock, timer_expired, l);
    if (l->timer)
        lapic_reset(l);
    if (!l->mapped) {
        timer_destroy(l->timer);
        free(l);
        return NULL;
    }
    return l;
}

void lapic_destroy(struct lapic *l)
{
    if (!l)
        return;
    if (l->mapped)
        bus_unmap_mmio(l->bus, l->mapped, PAGE_SIZE);
    timer_destroy(l->timer);
    free(l);
}
