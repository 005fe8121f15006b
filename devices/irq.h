/* SPDX-License-Identifier: MIT */
/* irq.h: wiring between devices and interrupt controllers.
 *
 * The router stands for the traces on the board: a global system interrupt (GSI) below 16 reaches
 * the PIC's input of the same number and the I/O APIC's pin of the same number, except that GSI 0
 * (the PIT) reaches pin 2; 16-23 reach the I/O APIC only. Lines that share a GSI are wired-OR. */
#ifndef RINGDOWN_DEVICES_IRQ_H
#define RINGDOWN_DEVICES_IRQ_H

#include "devices/device.h"

struct pic;
struct ioapic;
struct irq_router;
#define IRQ_ROUTER_GSIS 24

struct irq_router *irq_router_create(struct pic *pic, struct ioapic *ioapic /* may be NULL */);
void irq_router_destroy(struct irq_router *r);
void irq_router_reset(struct irq_router *r); /* all sources low; devices drive them again */
/* A new source for a GSI, to be given to one device. At most 32 for each GSI. */
struct irq_line irq_router_line(struct irq_router *r, unsigned gsi);

#endif
