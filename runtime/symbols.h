/* SPDX-License-Identifier: MIT */
/* symbols.h: an address of the monitor's own code -> the function's name, for crash reports.
 *
 * The program's file is mapped at start-up, since a crash in the sandbox can open nothing; looking
 * up allocates nothing and is async-signal-safe. */
#ifndef RINGDOWN_RUNTIME_SYMBOLS_H
#define RINGDOWN_RUNTIME_SYMBOLS_H

#include <stdint.h>

/* Without it, or where it finds no symbols, symbols_find() knows no names. */
void symbols_load(void);
/* NULL if unknown; *offset is the address's distance from the function's start. */
const char *symbols_find(uint64_t address, uint64_t *offset);

#endif
