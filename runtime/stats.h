/* SPDX-License-Identifier: MIT */
/* stats.h: the monitor's counters, declared once in stats.def, and their reports. */
#ifndef RINGDOWN_RUNTIME_STATS_H
#define RINGDOWN_RUNTIME_STATS_H

#include <stdint.h>
#include <stdio.h>

struct stats {
#define STAT(group, name, unit, text) uint64_t name;
#include "runtime/stats.def"
#undef STAT
};

/* --stats: grouped text. --stats-json: one object, {"group": {"name": value}}. */
void stats_print(const struct stats *s, FILE *out);
int stats_write_json(const struct stats *s, FILE *out); /* 0 or negative errno */

#endif
