/* SPDX-License-Identifier: MIT */
/* stats.c: counters -> text for people, JSON for programs. */
#include "runtime/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum unit { UNIT_count, UNIT_bytes, UNIT_ns };

struct row {
    const char *group, *name, *text;
    size_t offset;
    enum unit unit;
};

static const struct row rows[] = {
#define STAT(group, name, unit, text)                                                              \
    {#group, #name, text, offsetof(struct stats, name), UNIT_##unit},
#include "runtime/stats.def"
#undef STAT
};
#define ROW_COUNT (sizeof rows / sizeof rows[0])
_Static_assert(ROW_COUNT * sizeof(uint64_t) == sizeof(struct stats), "every counter has its row");

static uint64_t row_value(const struct stats *s, const struct row *r)
{
    uint64_t value;
    memcpy(&value, (const char *)s + r->offset, sizeof value);
    return value;
}

static bool starts_group(size_t i)
{
    return i == 0 || strcmp(rows[i].group, rows[i - 1].group) != 0;
}

void stats_print(const struct stats *s, FILE *out)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        uint64_t value = row_value(s, &rows[i]);
        if (starts_group(i))
            fprintf(out, "%s\n", rows[i].group);
        if (rows[i].unit == UNIT_ns)
            fprintf(out, "  %12" PRIu64 ".%03u ms  %s\n", value / 1000000,
                    (unsigned)(value / 1000 % 1000), rows[i].text);
        else
            fprintf(out, "  %16" PRIu64 "%s  %s\n", value,
                    rows[i].unit == UNIT_bytes ? " B " : "   ", rows[i].text);
    }
}

int stats_write_json(const struct stats *s, FILE *out)
{
    fputs("{", out);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (starts_group(i))
            fprintf(out, "%s\n  \"%s\": {", i ? "\n  }," : "", rows[i].group);
        fprintf(out, "%s\n    \"%s\": %" PRIu64, starts_group(i) ? "" : ",", rows[i].name,
                row_value(s, &rows[i]));
    }
    fputs("\n  }\n}\n", out);
    errno = 0;
    if (fflush(out) == 0 && !ferror(out))
        return 0;
    return errno ? -errno : -EIO;
}
