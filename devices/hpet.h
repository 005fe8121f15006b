/* SPDX-License-Identifier: MIT */
/* hpet.h: the event timers of a PC at fed00000h (IA-PC HPET specification 1.0a): a 64-bit counter
 * at 100 MHz and three comparators, the first of which can repeat. */
#ifndef RINGDOWN_DEVICES_HPET_H
#define RINGDOWN_DEVICES_HPET_H

#include "devices/device.h"

#define HPET_BASE      0xfed00000u
#define HPET_SIZE      0x400u
#define HPET_ID        0x8086a201u /* lower half of the capabilities: legacy routes, 64 bits, 3 timers */
#define HPET_TIMERS    3u
#define HPET_TICK_NS   10u
#define HPET_PIN_FIRST 20u /* of the I/O APIC's pins that comparators may be routed to */
#define HPET_PINS      4u

/* irq0, irq8: what the PIT's and the RTC's lines reach, unless the legacy replacement route is on.
 * pins: HPET_PINS lines from HPET_PIN_FIRST on. NULL if there is no memory or no room. */
struct hpet;
struct hpet *hpet_create(struct bus *bus, struct clock *clock, struct irq_line irq0,
                         struct irq_line irq8, const struct irq_line *pins);
void hpet_destroy(struct hpet *h);
void hpet_reset(struct hpet *h);
/* The lines that the PIT and the RTC drive. */
struct irq_line hpet_pit_line(struct hpet *h);
struct irq_line hpet_rtc_line(struct hpet *h);

#endif
