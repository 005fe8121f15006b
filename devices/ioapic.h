/* SPDX-License-Identifier: MIT */
/* ioapic.h: 82093AA I/O APIC with 24 inputs at 0xfec00000. */
#ifndef RINGDOWN_DEVICES_IOAPIC_H
#define RINGDOWN_DEVICES_IOAPIC_H

#include "devices/device.h"

#define IOAPIC_BASE 0xfec00000u
#define IOAPIC_PINS 24

struct lapic;
struct ioapic;
struct ioapic *ioapic_create(struct bus *bus, struct lapic *lapic); /* registers for its EOIs */
void ioapic_destroy(struct ioapic *io);
void ioapic_reset(struct ioapic *io);
struct irq_line ioapic_irq(struct ioapic *io, unsigned pin);
void ioapic_eoi(struct ioapic *io, uint8_t vector);

#endif
