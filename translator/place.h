/* SPDX-License-Identifier: MIT */
/* place.h: mappings at places that a guest can't know.
 *
 * The host's own randomization moves all mappings together: who learns one address would know the
 * distance to all others. What guests may come near (code, views, their memory, the processor's
 * state) is placed on its own. */
#ifndef RINGDOWN_TRANSLATOR_PLACE_H
#define RINGDOWN_TRANSLATOR_PLACE_H

#include <stddef.h>

/* As mmap() with no address. Where the host has no such place free, at one of its choice. */
void *place_mapping(size_t size, int prot, int flags, int fd);

#endif
