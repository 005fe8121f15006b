/* SPDX-License-Identifier: MIT */
/* guest_symbols.h: guest addresses -> function names, from System.map and ELF files.
 *
 *   s = guest_symbols_open(files, count, err, err_size)    before the sandbox
 *   guest_symbols_load(s, err, err_size)                   in it
 *   name = guest_symbols_find(s, eip, &offset)
 *
 * A file is FILE or FILE@0xOFFSET; the offset is added to its addresses. A kernel that moves itself
 * when it boots gets its offset found: guest_symbols_fit() compares the handlers in the guest's
 * interrupt table, which are functions, with what the file has. */
#ifndef RINGDOWN_RUNTIME_GUEST_SYMBOLS_H
#define RINGDOWN_RUNTIME_GUEST_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vcpu;
struct guest_symbols;

/* NULL: one line in err. The names must outlive the load. */
struct guest_symbols *guest_symbols_open(const char *const *files, size_t count, char *err,
                                         size_t err_size);
/* Reads and closes the files; false with one line in err. */
bool guest_symbols_load(struct guest_symbols *s, char *err, size_t err_size);
void guest_symbols_destroy(struct guest_symbols *s);
/* Once it has found an offset it is done; changes nothing in the guest. */
void guest_symbols_fit(struct guest_symbols *s, struct vcpu *v);
/* NULL if no function is there; *offset is the distance from its start. s may be NULL. */
const char *guest_symbols_find(const struct guest_symbols *s, uint32_t eip, uint32_t *offset);

#endif
