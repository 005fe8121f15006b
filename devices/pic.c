/* SPDX-License-Identifier: MIT */
/* pic.c: interrupt lines -> INT and vectors, as a pair of 8259A controllers does it.
 *
 * Each chip holds the request (IRR), in-service (ISR) and mask (IMR) registers. The slave's INT is
 * wired to the master's input 2, which is treated as level-triggered: the slave drops INT at each
 * acknowledge and raises it again for the next request, which comes to the same. All other inputs
 * follow the edge/level registers at 0x4d0 and 0x4d1 (82371SB datasheet, 2.5.3.12); ICW1's LTIM bit
 * has no effect there. A request, by an edge as well, holds only as long as its line stays high
 * until the first acknowledge: a driver that polls takes it back. If none is left at the
 * acknowledge cycle, input 7 is reported and no in-service bit set (8259A datasheet, "Interrupt
 * sequence"). */
#include "devices/pic.h"

#include <stdlib.h>

#define CASCADE 2

/* ICW1 bits, OCW2 commands (bits 7-5), OCW3 bits. */
#define ICW1_IC4      0x01
#define ICW1_SNGL     0x02
#define ICW1_INIT     0x10
#define ICW4_AEOI     0x02
#define ICW4_SFNM     0x10
#define OCW3_SELECT   0x08
#define OCW3_POLL     0x04
#define OCW3_RR       0x02
#define OCW3_RIS      0x01
#define OCW3_ESMM     0x40
#define OCW3_SMM      0x20
#define ELCR_MASTER   0xf8 /* inputs that may be level-triggered */
#define ELCR_SLAVE    0xde
#define BIOS_IMR      0xb8 /* timer, keyboard, cascade, floppy open */
#define BIOS_IMR_HIGH 0x8e /* RTC, mouse, coprocessor, disk open */

enum ocw2 {
    OCW2_ROTATE_AEOI_CLEAR,
    OCW2_EOI,
    OCW2_NOP,
    OCW2_SPECIFIC_EOI,
    OCW2_ROTATE_AEOI_SET,
    OCW2_ROTATE_EOI,
    OCW2_SET_PRIORITY,
    OCW2_ROTATE_SPECIFIC_EOI,
};

/* The command word that the chip expects at its odd port. */
enum expects { EXPECT_OCW1, EXPECT_ICW2, EXPECT_ICW3, EXPECT_ICW4 };

struct chip {
    struct pic *pic;
    bool master;
    uint8_t irr, isr, imr;
    uint8_t lines; /* input levels */
    uint8_t elcr, elcr_mask;
    uint8_t base;   /* vector of input 0 */
    uint8_t lowest; /* input of lowest priority; the next one has the highest */
    enum expects expects;
    bool single, need_icw4;
    bool auto_eoi, rotate_aeoi, special_nested, special_mask;
    bool read_isr, poll;
};

struct pic {
    struct bus *bus;
    struct irq_line intr;
    bool intr_level;
    struct chip chip[2];
};

/* --- priorities --- */

static uint8_t level_inputs(const struct chip *c)
{
    return c->elcr | (c->master && !c->single ? 1u << CASCADE : 0);
}

/* The set input with the highest priority as its rank (0 first), 8 if none. */
static unsigned best_rank(const struct chip *c, uint8_t set)
{
    for (unsigned rank = 0; rank < 8; rank++)
        if (set & (1u << ((c->lowest + 1 + rank) & 7)))
            return rank;
    return 8;
}

static unsigned rank_input(const struct chip *c, unsigned rank)
{
    return (c->lowest + 1 + rank) & 7;
}

/* The request that may be delivered now, or -1. */
static int chip_request(const struct chip *c)
{
    if (c->expects != EXPECT_OCW1)
        return -1;
    unsigned rank = best_rank(c, c->irr & (uint8_t)~c->imr);
    if (rank == 8)
        return -1;
    uint8_t in_service = c->isr;
    if (c->special_mask)
        in_service &= (uint8_t)~c->imr;
    if (c->special_nested && c->master)
        in_service &= (uint8_t) ~(1u << CASCADE);
    return rank < best_rank(c, in_service) ? (int)rank_input(c, rank) : -1;
}

static void chip_set_line(struct chip *c, unsigned input, int level)
{
    uint8_t bit = (uint8_t)(1u << input);
    bool rising = level && !(c->lines & bit);
    c->lines = level ? c->lines | bit : c->lines & (uint8_t)~bit;
    if (!level)
        c->irr &= (uint8_t)~bit;
    else if (rising || (level_inputs(c) & bit))
        c->irr |= bit;
}

static void pic_update(struct pic *p)
{
    chip_set_line(&p->chip[0], CASCADE, chip_request(&p->chip[1]) >= 0);
    bool level = chip_request(&p->chip[0]) >= 0;
    if (level != p->intr_level) {
        p->intr_level = level;
        irq_set(&p->intr, level);
    }
}

static void pic_set_irq(void *controller, unsigned input, int level)
{
    struct pic *p = controller;
    if (input == CASCADE)
        return; /* driven by the slave alone */
    chip_set_line(&p->chip[input >> 3], input & 7, level);
    pic_update(p);
}

struct irq_line pic_irq(struct pic *p, unsigned irq)
{
    return (struct irq_line){pic_set_irq, p, irq & 15};
}

/* --- acknowledge and end of interrupt --- */

static void chip_ack(struct chip *c, unsigned input)
{
    uint8_t bit = (uint8_t)(1u << input);
    if (!(level_inputs(c) & bit))
        c->irr &= (uint8_t)~bit;
    if (!c->auto_eoi)
        c->isr |= bit;
    else if (c->rotate_aeoi)
        c->lowest = (uint8_t)input;
}

bool pic_has_interrupt(const struct pic *p)
{
    return p->intr_level;
}

int pic_ack(struct pic *p)
{
    struct chip *master = &p->chip[0], *slave = &p->chip[1];
    int input = chip_request(master);
    if (input < 0)
        return master->base + 7;
    chip_ack(master, (unsigned)input);
    int vector = master->base + input;
    if (input == CASCADE && !master->single) {
        int low = chip_request(slave);
        if (low >= 0)
            chip_ack(slave, (unsigned)low);
        vector = slave->base + (low >= 0 ? low : 7);
    }
    pic_update(p);
    return vector;
}

/* The in-service input that a non-specific EOI ends: the highest, and under special mask only one
 * that is not masked. -1 if there is none. */
static int chip_eoi_target(const struct chip *c)
{
    uint8_t set = c->special_mask ? c->isr & (uint8_t)~c->imr : c->isr;
    unsigned rank = best_rank(c, set);
    return rank == 8 ? -1 : (int)rank_input(c, rank);
}

static void chip_ocw2(struct chip *c, uint8_t value)
{
    uint8_t input = value & 7;
    int target;
    switch ((enum ocw2)(value >> 5)) {
    case OCW2_ROTATE_AEOI_CLEAR:
    case OCW2_ROTATE_AEOI_SET:
        c->rotate_aeoi = value >> 7;
        break;
    case OCW2_EOI:
    case OCW2_ROTATE_EOI:
        target = chip_eoi_target(c);
        if (target < 0)
            break;
        c->isr &= (uint8_t) ~(1u << target);
        if (value >> 7)
            c->lowest = (uint8_t)target;
        break;
    case OCW2_SPECIFIC_EOI:
    case OCW2_ROTATE_SPECIFIC_EOI:
        c->isr &= (uint8_t) ~(1u << input);
        if (value >> 7)
            c->lowest = input;
        break;
    case OCW2_SET_PRIORITY:
        c->lowest = input;
        break;
    case OCW2_NOP:
        break;
    }
}

/* --- registers --- */

static void chip_icw1(struct chip *c, uint8_t value)
{
    c->single = value & ICW1_SNGL;
    c->need_icw4 = value & ICW1_IC4;
    c->expects = EXPECT_ICW2;
    c->imr = c->isr = 0;
    c->irr = c->lines & level_inputs(c); /* an edge must come anew */
    c->lowest = 7;
    c->auto_eoi = c->special_nested = c->special_mask = false;
    c->rotate_aeoi = c->read_isr = c->poll = false;
}

static void chip_ocw3(struct chip *c, uint8_t value)
{
    if (value & OCW3_ESMM)
        c->special_mask = value & OCW3_SMM;
    if (value & OCW3_POLL)
        c->poll = true;
    else if (value & OCW3_RR)
        c->read_isr = value & OCW3_RIS;
}

static void chip_write_command(struct chip *c, uint8_t value)
{
    if (value & ICW1_INIT)
        chip_icw1(c, value);
    else if (value & OCW3_SELECT)
        chip_ocw3(c, value);
    else
        chip_ocw2(c, value);
}

static void chip_write_data(struct chip *c, uint8_t value)
{
    switch (c->expects) {
    case EXPECT_OCW1:
        c->imr = value;
        return;
    case EXPECT_ICW2:
        c->base = value & 0xf8;
        c->expects = !c->single ? EXPECT_ICW3 : c->need_icw4 ? EXPECT_ICW4 : EXPECT_OCW1;
        return;
    case EXPECT_ICW3: /* the wiring is fixed */
        c->expects = c->need_icw4 ? EXPECT_ICW4 : EXPECT_OCW1;
        return;
    case EXPECT_ICW4:
        c->auto_eoi = value & ICW4_AEOI;
        c->special_nested = value & ICW4_SFNM;
        c->expects = EXPECT_OCW1;
        return;
    }
}

static void chip_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct chip *c = dev;
    (void)size;
    if (off == 0)
        chip_write_command(c, (uint8_t)value);
    else
        chip_write_data(c, (uint8_t)value);
    pic_update(c->pic);
}

/* A poll is an acknowledge cycle by software: bit 7 tells whether there was a request. */
static uint8_t chip_poll(struct chip *c)
{
    int input = chip_request(c);
    c->poll = false;
    if (input < 0)
        return 0;
    chip_ack(c, (unsigned)input);
    pic_update(c->pic);
    return 0x80 | (uint8_t)input;
}

static uint32_t chip_read(void *dev, uint32_t off, unsigned size)
{
    struct chip *c = dev;
    (void)size;
    if (c->poll)
        return chip_poll(c);
    if (off == 1)
        return c->imr;
    return c->read_isr ? c->isr : c->irr;
}

static uint32_t elcr_read(void *dev, uint32_t off, unsigned size)
{
    struct pic *p = dev;
    (void)size;
    return p->chip[off].elcr;
}

/* An input that becomes level-triggered requests by its present level. */
static void elcr_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pic *p = dev;
    struct chip *c = &p->chip[off];
    (void)size;
    c->elcr = (uint8_t)value & c->elcr_mask;
    c->irr = (c->irr & (uint8_t)~level_inputs(c)) | (c->lines & level_inputs(c));
    pic_update(p);
}

static const struct io_ops chip_ops = {chip_read, chip_write, 1};
static const struct io_ops elcr_ops = {elcr_read, elcr_write, 1};

/* --- life --- */

static void chip_reset(struct chip *c)
{
    c->elcr = 0;
    c->base = 0;
    c->lines = 0;
    chip_icw1(c, 0);
    c->expects = EXPECT_OCW1;
}

void pic_reset(struct pic *p)
{
    chip_reset(&p->chip[0]);
    chip_reset(&p->chip[1]);
    p->intr_level = false;
    irq_set(&p->intr, 0);
}

void pic_bios_init(struct pic *p)
{
    static const uint8_t base[2] = {0x08, 0x70}, imr[2] = {BIOS_IMR, BIOS_IMR_HIGH};
    for (unsigned i = 0; i < 2; i++) {
        chip_icw1(&p->chip[i], ICW1_INIT);
        p->chip[i].expects = EXPECT_OCW1;
        p->chip[i].base = base[i];
        p->chip[i].imr = imr[i];
    }
    pic_update(p);
}

struct pic *pic_create(struct bus *bus, struct irq_line intr)
{
    struct pic *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->bus = bus;
    p->intr = intr;
    p->chip[0] = (struct chip){.pic = p, .master = true, .elcr_mask = ELCR_MASTER};
    p->chip[1] = (struct chip){.pic = p, .elcr_mask = ELCR_SLAVE};
    pic_reset(p);
    if (bus_map_port(bus, 0x20, 2, &chip_ops, &p->chip[0]) ||
        bus_map_port(bus, 0xa0, 2, &chip_ops, &p->chip[1]) ||
        bus_map_port(bus, 0x4d0, 2, &elcr_ops, p)) {
        pic_destroy(p);
        return NULL;
    }
    return p;
}

void pic_destroy(struct pic *p)
{
    if (!p)
        return;
    bus_unmap_port(p->bus, 0x20, 2);
    bus_unmap_port(p->bus, 0xa0, 2);
    bus_unmap_port(p->bus, 0x4d0, 2);
    free(p);
}
