/* SPDX-License-Identifier: MIT */
/* place.c: see place.h. Sanitizers have the address space divided up already: there the host
 * chooses. */
#include "translator/place.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#ifdef RINGDOWN_SANITIZED
#define TRIES 0
#else
#define TRIES 8
#endif

/* From 1 TiB on; above stand programs, libraries and stacks. */
#define FIRST (1ull << 40)
#define END   (80ull << 40)
#define LARGE (2ull << 20) /* stays aligned for huge pages */
#define PAGE  4096ull

static bool random_address(size_t size, uint64_t *address)
{
    uint64_t unit = size >= LARGE ? LARGE : PAGE, units = (END - FIRST - size) / unit, value;
    if (size >= END - FIRST || getrandom(&value, sizeof value, 0) != sizeof value)
        return false;
    *address = FIRST + value % units * unit;
    return true;
}

void *place_mapping(size_t size, int prot, int flags, int fd)
{
    uint64_t address;
    for (int i = 0; i < TRIES && random_address(size, &address); i++) {
        void *wanted = (void *)(uintptr_t)address;
        void *p = mmap(wanted, size, prot, flags | MAP_FIXED_NOREPLACE, fd, 0);
        if (p == wanted)
            return p;
        if (p != MAP_FAILED) /* a host that takes the address for a hint */
            munmap(p, size);
    }
    return mmap(NULL, size, prot, flags, fd, 0);
}
