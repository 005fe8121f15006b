/* SPDX-License-Identifier: MIT */
/* console.h: the user's terminal as the far end of the first serial port. */
#ifndef RINGDOWN_RUNTIME_CONSOLE_H
#define RINGDOWN_RUNTIME_CONSOLE_H

#include "devices/chardev.h"

#include <stdbool.h>

struct machine;
struct console;

/* SPEC: "stdio", "file:F" or "null". NULL on error, with one line in err; *bad_input tells a user's
 * mistake. With stdio on a terminal, the terminal goes raw. */
struct console *console_create(struct machine *m, const char *spec, char *err, size_t err_size,
                               bool *bad_input);
/* Writes out what is buffered and gives the terminal back. */
void console_destroy(struct console *c);
/* The device's end. */
struct chardev console_chardev(struct console *c);
/* Takes what was typed: escapes are acted upon, the rest waits for the device. */
void console_poll(struct console *c);

/* Gives the terminal back as it was found; async-signal-safe, any number of times. For every way
 * out of the process. */
void console_restore_terminal(void);

#endif
