/* SPDX-License-Identifier: MIT */
/* ioapic.c: 24 inputs -> messages to the local APIC, by the redirection table.
 *
 * An edge that arrives while its entry is masked is lost. A level is sent while its pin is asserted
 * and its remote-IRR bit is clear; the local APIC's EOI clears that bit, and so does turning the
 * entry to edge mode, which drivers for this version use as an EOI. The board's lines are active
 * high: an entry whose polarity bit says low takes them the other way round. Reference: Intel
 * 82093AA datasheet (290566). */
#include "devices/ioapic.h"
#include "devices/lapic.h"

#include <stdlib.h>

#define PAGE_SIZE  0x1000u
#define OFF_SELECT 0x00
#define OFF_WINDOW 0x10

enum { REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_TABLE = 0x10 };
#define VERSION          (0x11u | (IOAPIC_PINS - 1) << 16)

#define ENTRY_LOW        0x02000u
#define ENTRY_REMOTE_IRR 0x04000u
#define ENTRY_LEVEL      0x08000u
#define ENTRY_MASKED     0x10000u
#define ENTRY_LOGICAL    0x00800u
#define ENTRY_READ_ONLY  0x05000u /* remote IRR, delivery status */
#define ENTRY_BITS       0x1ffffu

struct ioapic {
    struct bus *bus;
    struct lapic *lapic;
    uint8_t select;
    uint8_t id;
    uint32_t lines; /* levels */
    uint32_t low[IOAPIC_PINS], high[IOAPIC_PINS];
};

static bool asserted(const struct ioapic *io, unsigned pin)
{
    return (io->lines >> pin & 1) != !!(io->low[pin] & ENTRY_LOW);
}

static void send(struct ioapic *io, unsigned pin)
{
    uint32_t entry = io->low[pin];
    bool level = entry & ENTRY_LEVEL;
    /* Set first: the processor may end the interrupt within the call. */
    if (level)
        io->low[pin] |= ENTRY_REMOTE_IRR;
    bool taken = lapic_deliver(io->lapic, (uint8_t)(io->high[pin] >> 24), entry & ENTRY_LOGICAL,
                               entry >> 8 & 7, (uint8_t)entry, level);
    if (level && !taken)
        io->low[pin] &= ~ENTRY_REMOTE_IRR;
}

/* After anything that may have asserted a pin; an edge is one if it was not before. */
static void service(struct ioapic *io, unsigned pin, bool before)
{
    uint32_t entry = io->low[pin];
    if ((entry & ENTRY_MASKED) || !asserted(io, pin))
        return;
    if (entry & ENTRY_LEVEL ? !(entry & ENTRY_REMOTE_IRR) : !before)
        send(io, pin);
}

static void set_pin(void *controller, unsigned pin, int level)
{
    struct ioapic *io = controller;
    uint32_t bit = 1u << pin;
    bool before = asserted(io, pin);
    io->lines = level ? io->lines | bit : io->lines & ~bit;
    service(io, pin, before);
}

struct irq_line ioapic_irq(struct ioapic *io, unsigned pin)
{
    return pin < IOAPIC_PINS ? (struct irq_line){set_pin, io, pin} : (struct irq_line){0};
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if ((uint8_t)io->low[pin] == vector && (io->low[pin] & ENTRY_REMOTE_IRR)) {
            io->low[pin] &= ~ENTRY_REMOTE_IRR;
            service(io, pin, true);
        }
    }
}

static void eoi_callback(void *opaque, uint8_t vector)
{
    ioapic_eoi(opaque, vector);
}

/* --- registers --- */

static uint32_t window_read(const struct ioapic *io)
{
    unsigned pin = (io->select - REG_TABLE) / 2u;
    if (io->select >= REG_TABLE && pin < IOAPIC_PINS)
        return io->select & 1 ? io->high[pin] : io->low[pin];
    switch (io->select) {
    case REG_ID:
    case REG_ARBITRATION:
        return (uint32_t)io->id << 24;
    case REG_VERSION:
        return VERSION;
    default:
        return 0;
    }
}

static void window_write(struct ioapic *io, uint32_t value)
{
    unsigned pin = (io->select - REG_TABLE) / 2u;
    if (io->select == REG_ID)
        io->id = value >> 24 & 0x0f;
    if (io->select < REG_TABLE || pin >= IOAPIC_PINS)
        return;
    if (io->select & 1) {
        io->high[pin] = value & 0xff000000u;
        return;
    }
    uint32_t keep = value & ENTRY_LEVEL ? io->low[pin] & ENTRY_READ_ONLY : 0;
    io->low[pin] = (value & ENTRY_BITS & ~ENTRY_READ_ONLY) | keep;
    service(io, pin, true); /* what is written makes no edge */
}

static uint32_t ioapic_read(void *dev, uint32_t off, unsigned size)
{
    const struct ioapic *io = dev;
    (void)size;
    switch (off & ~3u) {
    case OFF_SELECT:
        return (uint32_t)io->select >> (8 * (off & 3));
    case OFF_WINDOW:
        return window_read(io) >> (8 * (off & 3));
    default:
        return 0;
    }
}

static void ioapic_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct ioapic *io = dev;
    (void)size;
    if (off == OFF_SELECT)
        io->select = (uint8_t)value;
    else if (off == OFF_WINDOW)
        window_write(io, value);
}

static const struct io_ops ioapic_ops = {ioapic_read, ioapic_write, 4};

/* --- life --- */

void ioapic_reset(struct ioapic *io)
{
    io->select = 0;
    io->id = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        io->low[pin] = ENTRY_MASKED;
        io->high[pin] = 0;
    }
}

struct ioapic *ioapic_create(struct bus *bus, struct lapic *lapic)
{
    struct ioapic *io = calloc(1, sizeof(*io));
    if (!io)
        return NULL;
    io->bus = bus;
    io->lapic = lapic;
    ioapic_reset(io);
    if (bus_map_mmio(bus, IOAPIC_BASE, PAGE_SIZE, &ioapic_ops, io)) {
        free(io);
        return NULL;
    }
    lapic_on_eoi(lapic, eoi_callback, io);
    return io;
}

void ioapic_destroy(struct ioapic *io)
{
    if (!io)
        return;
    lapic_on_eoi(io->lapic, NULL, NULL);
    bus_unmap_mmio(io->bus, IOAPIC_BASE, PAGE_SIZE);
    free(io);
}
