/* SPDX-License-Identifier: MIT */
/* arena.c: see arena.h. */
#include "translator/arena.h"

#include "translator/place.h"

#include <string.h>
#include <sys/mman.h>

#define POISON 0xdb
#define LITTLE (1u << 16) /* bytes not worth a system call */

void *reserve_memory(size_t bytes)
{
    void *p = place_mapping(bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    return p == MAP_FAILED ? NULL : p;
}

void release_memory(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

static size_t bytes_of(const struct arena *a)
{
    return a->item * (a->capacity + a->reserve);
}

bool arena_create(struct arena *a, size_t item, size_t capacity, size_t reserve)
{
    *a = (struct arena){.item = item, .capacity = capacity, .reserve = reserve};
    a->base = reserve_memory(bytes_of(a));
    return a->base;
}

void arena_destroy(struct arena *a)
{
    release_memory(a->base, bytes_of(a));
}

void *arena_take(struct arena *a)
{
    /* limits.h says why this cannot be; what lies behind the reserve is nobody's. */
    if (a->used == a->capacity + a->reserve)
        __builtin_trap();
    void *p = (char *)a->base + a->item * a->used++;
    memset(p, 0, a->item);
    return p;
}

void arena_reset(struct arena *a, bool poison)
{
    if (poison)
        memset(a->base, POISON, a->item * a->used);
    else if (a->item * a->used > LITTLE) /* a flush must not leave the high-water mark resident */
        madvise(a->base, bytes_of(a), MADV_DONTNEED);
    a->used = 0;
}
