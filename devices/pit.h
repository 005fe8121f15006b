/* SPDX-License-Identifier: MIT */
/* pit.h: 8254 programmable interval timer (0x40-0x43) and the system control port (0x61). */
#ifndef RINGDOWN_DEVICES_PIT_H
#define RINGDOWN_DEVICES_PIT_H

#include "devices/device.h"

#define PIT_HZ 1193182u

struct pit;
struct pit *pit_create(struct bus *bus, struct clock *clock, struct irq_line out0);
void pit_destroy(struct pit *p);
void pit_reset(struct pit *p);
/* What a BIOS leaves behind: channel 0 in mode 3 at 18.2 Hz, channel 1 as refresh. */
void pit_bios_init(struct pit *p);

#endif
