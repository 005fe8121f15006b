/* SPDX-License-Identifier: MIT */
/* pic.h: the two cascaded 8259A interrupt controllers of a PC, with edge/level registers. */
#ifndef RINGDOWN_DEVICES_PIC_H
#define RINGDOWN_DEVICES_PIC_H

#include "devices/device.h"

struct pic;
/* `intr` is the master's INT output: lapic_lint0(), or the processor's INTR where there is no APIC.
 * Ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1. */
struct pic *pic_create(struct bus *bus, struct irq_line intr);
void pic_destroy(struct pic *p);
void pic_reset(struct pic *p);
struct irq_line pic_irq(struct pic *p, unsigned irq); /* 0-15; 2 is the cascade */
bool pic_has_interrupt(const struct pic *p);          /* state of the INT output */
/* The processor's interrupt acknowledge cycle: the vector, spurious 7 or 15 if the request is gone.
 */
int pic_ack(struct pic *p);
/* For boot code that takes a BIOS's place: vectors 0x08/0x70, everything but the cascade masked. */
void pic_bios_init(struct pic *p);

#endif
