/* SPDX-License-Identifier: MIT */
/* perf_map.h: --perf-map: the names by which Linux perf knows translated blocks.
 *
 * perf looks up code in memory without a file in /tmp/perf-PID.map, whose lines are "start size
 * name" in hexadecimal. Code memory is such memory (translator/code_memory.c).
 *
 * The file describes what the code cache holds: a flush of the cache empties it. So it is bounded
 * by the size of the cache, and by PERF_MAP_LIMIT. */
#ifndef RINGDOWN_RUNTIME_PERF_MAP_H
#define RINGDOWN_RUNTIME_PERF_MAP_H

#include "translator/block.h"
#include "translator/code_memory.h"

#include <stdbool.h>

#define PERF_MAP_LIMIT (256ull << 20)

struct machine;
struct perf_map;

/* Before the sandbox. NULL: *error is a negative errno. */
struct perf_map *perf_map_create(struct machine *m, int *error);
void perf_map_destroy(struct perf_map *p);
/* A block has been added to the cache; user: it is code of ring 3. */
void perf_map_block(struct perf_map *p, const struct code_memory *code, const struct block *b,
                    bool user);

#endif
