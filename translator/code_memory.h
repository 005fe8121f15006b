/* SPDX-License-Identifier: MIT */
/* code_memory.h: memory for emitted code, mapped twice: writable for the translator, executable for
 * the processor, never both at one address (W^X). */
#ifndef RINGDOWN_TRANSLATOR_CODE_MEMORY_H
#define RINGDOWN_TRANSLATOR_CODE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct code_memory {
    uint8_t *rw, *rx; /* two mappings of the same memory */
    size_t size;
    size_t used;
    size_t reserved; /* bytes at the start that a reset keeps (the pads) */
};

/* 0 or negative errno. Size is rounded up to pages; at most 1 GiB, so that rel32 reaches. */
int code_memory_create(struct code_memory *c, size_t size);
void code_memory_destroy(struct code_memory *c);
/* Forgets all but the reserved start. */
void code_memory_reset(struct code_memory *c);

static inline size_t code_memory_room(const struct code_memory *c)
{
    return c->size - c->used;
}
static inline bool code_memory_holds(const struct code_memory *c, uint64_t host_pc)
{
    return host_pc - (uint64_t)c->rx < c->size;
}

#endif
