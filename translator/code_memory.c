/* SPDX-License-Identifier: MIT */
/* code_memory.c: one piece of shared memory, two mappings.
 *
 * It has no file, not even a memfd: perf asks its map of names only about executable mappings
 * without one (runtime/perf_map.h). The second mapping is made by mremap(), which duplicates a
 * shared mapping when the old size is 0, over a place that is held for it. */
#include "translator/code_memory.h"

#include "translator/place.h"

#include <errno.h>
#include <sys/mman.h>

#define PAGE 4096u

int code_memory_create(struct code_memory *c, size_t size)
{
    *c = (struct code_memory){.size = (size + PAGE - 1) & ~(size_t)(PAGE - 1)};
    void *rw = place_mapping(c->size, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (rw == MAP_FAILED)
        return -errno;
    void *rx = place_mapping(c->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (rx == MAP_FAILED ||
        mremap(rw, 0, c->size, MREMAP_MAYMOVE | MREMAP_FIXED, rx) == MAP_FAILED ||
        mprotect(rx, c->size, PROT_READ | PROT_EXEC) < 0) {
        int error = -errno;
        if (rx != MAP_FAILED)
            munmap(rx, c->size);
        munmap(rw, c->size);
        return error;
    }
    c->rw = rw;
    c->rx = rx;
    return 0;
}

void code_memory_destroy(struct code_memory *c)
{
    if (!c->rw)
        return;
    munmap(c->rw, c->size);
    munmap(c->rx, c->size);
    *c = (struct code_memory){0};
}

void code_memory_reset(struct code_memory *c)
{
    c->used = c->reserved;
}
