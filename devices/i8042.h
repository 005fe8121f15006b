/* SPDX-License-Identifier: MIT */
/* i8042.h: keyboard controller (0x60, 0x64) with a PS/2 keyboard and no mouse, and port 0x92. */
#ifndef RINGDOWN_DEVICES_I8042_H
#define RINGDOWN_DEVICES_I8042_H

#include "devices/device.h"

struct i8042;
/* a20: level 1 opens the gate; driven at every change and at reset. The reset pulse and port 0x92's
 * bit 0 are MACHINE_RESET. */
struct i8042 *i8042_create(struct bus *bus, struct irq_line irq1, struct irq_line irq12,
                           struct irq_line a20, struct machine_control control);
void i8042_destroy(struct i8042 *k);
void i8042_reset(struct i8042 *k);
/* A key goes down or up. `code` is its make code in scan-code set 1, with 0xe000 added for an
 * extended key (0xe04b: cursor left). Pause is 0xe11d. */
void i8042_key(struct i8042 *k, uint16_t code, bool down);
uint8_t i8042_leds(const struct i8042 *k); /* bit 0 scroll, 1 num, 2 caps */

#endif
