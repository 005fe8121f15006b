/* SPDX-License-Identifier: MIT */
/* arena.h: an array of records in lazily committed memory that only grows until it is reset.
 *
 * Behind the capacity lies a reserve: whoever has asked arena_has_room() once may take as many
 * records as the reserve holds. Records are zero when they are handed out. */
#ifndef RINGDOWN_TRANSLATOR_ARENA_H
#define RINGDOWN_TRANSLATOR_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena {
    void *base;
    size_t item, capacity, reserve, used;
};

/* False: no memory. */
bool arena_create(struct arena *a, size_t item, size_t capacity, size_t reserve);
void arena_destroy(struct arena *a);
static inline bool arena_has_room(const struct arena *a)
{
    return a->used < a->capacity;
}
/* The next record; arena_has_room() has been asked, and no more taken since than are in reserve. */
void *arena_take(struct arena *a);
/* Forgets all records. With `poison`, they are first made what no pointer or offset can be. */
void arena_reset(struct arena *a, bool poison);

/* Zeroed, lazily committed memory; NULL if there is none. */
void *reserve_memory(size_t bytes);
void release_memory(void *p, size_t bytes);

#endif
