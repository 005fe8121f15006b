/* SPDX-License-Identifier: MIT */
/* debug_ports.h: ports by which software under test talks to its host: debug exit, debug console,
 * POST codes. */
#ifndef RINGDOWN_DEVICES_DEBUG_PORTS_H
#define RINGDOWN_DEVICES_DEBUG_PORTS_H

#include "devices/chardev.h"
#include "devices/device.h"

#define DEBUG_EXIT_PORT  0xf4
#define DEBUG_CONSOLE_E9 0xe9
#define DEBUG_CONSOLE_FW 0x402
#define DEBUG_POST_PORT  0x80

/* isa-debug-exit: a write of any size is MACHINE_DEBUG_EXIT with the value. Four ports. */
struct debug_exit;
struct debug_exit *debug_exit_create(struct bus *bus, uint16_t port,
                                     struct machine_control control);
void debug_exit_destroy(struct debug_exit *d);

/* Bytes written go to the sink, unbuffered; a sink that is full loses them. Reads give 0xe9. */
struct debug_console;
struct debug_console *debug_console_create(struct bus *bus, uint16_t port, struct chardev sink);
void debug_console_destroy(struct debug_console *d);

/* The last POST code; writes cost nothing (kernels use the port as a delay). */
struct debug_post;
struct debug_post *debug_post_create(struct bus *bus);
void debug_post_destroy(struct debug_post *d);
uint8_t debug_post_code(const struct debug_post *d);

#endif
