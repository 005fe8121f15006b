/* SPDX-License-Identifier: MIT */
/* profile_report.c: what the profiler has gathered -> a table for people, JSON for programs.
 *
 * Percentages are of the processor time of the vCPU's thread. A count beside a time comes from the
 * machine's counters, so it is exact, while the time beside it is sampled. */
#include "runtime/profile.h"

#include "runtime/guest_symbols.h"
#include "runtime/machine.h"
#include "runtime/symbols.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TOP_FUNCTIONS 30u
#define TOP_PLACES    40u
#define TOP_CALLOUTS  20u
#define TOP_HOST      20u
#define PER_MILLE     1000u
#define NS_PER_S      1000000000u

static const struct {
    const char *json, *text, *counted;
} activities[] = {
#define X(name, json, text, counted) {json, text, counted},
    ACTIVITIES(X)
#undef X
};
static const char *const op_names[] = {
#define X(name) #name,
    INSN_OPS(X)
#undef X
        "(fetched anew)",
};
static const char *const fault_names[] = {
#define X(name) #name,
    PROFILE_FAULTS(X)
#undef X
        "fault_other",
};
static const char *const fault_texts[] = {
    [PROFILE_fault_fill] = "page mapped into a view",
    [PROFILE_fault_dirty] = "first write to a clean page",
    [PROFILE_fault_guest] = "the guest's own page fault",
    [PROFILE_fault_mmio] = "device memory",
    [PROFILE_fault_code] = "write to a page with translated code",
    [PROFILE_fault_segment] = "segment limit or wrap at 4 GiB",
    [PROFILE_fault_other] = "other: signals of instructions, stack of returns, single steps",
};

/* A line of a table: what shares a name, or has none and an address. */
struct row {
    const char *name;
    uint32_t eip, offset;
    bool user;
    uint16_t op;
    uint8_t activity;
    struct profile_share share;
    uint64_t ns[ACT_COUNT];
};

struct rows {
    struct row *at;
    size_t count;
};

typedef int order(const struct row *a, const struct row *b);

/* --- gathering --- */

static void sift(struct row *at, size_t root, size_t count, order *compare)
{
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare(&at[child], &at[child + 1]) < 0)
            child++;
        if (compare(&at[root], &at[child]) >= 0)
            return;
        struct row swap = at[root];
        at[root] = at[child];
        at[child] = swap;
    }
}

/* The C library's qsort() asks the host for the size of its memory, which the sandbox refuses. */
static void sort(struct row *at, size_t count, order *compare)
{
    for (size_t i = count / 2; i-- > 0;)
        sift(at, i, count, compare);
    for (size_t end = count; end-- > 1;) {
        struct row swap = at[0];
        at[0] = at[end];
        at[end] = swap;
        sift(at, 0, end, compare);
    }
}

static int by_time(const struct row *x, const struct row *y)
{
    if (x->share.ns != y->share.ns)
        return x->share.ns < y->share.ns ? 1 : -1;
    return (x->eip > y->eip) - (x->eip < y->eip);
}

static void add_share(struct profile_share *to, const struct profile_share *from)
{
    to->ns += from->ns;
    to->samples += from->samples;
}

/* Every entry with its symbol, most time first. */
static struct rows gather_places(const struct profile_data *d, const struct guest_symbols *symbols)
{
    struct rows rows = {calloc(d->entry_slots, sizeof(struct row)), 0};
    for (unsigned i = 0; rows.at && i < d->entry_slots; i++) {
        const struct profile_entry *e = &d->entries[i];
        if (!e->share.samples)
            continue;
        struct row *r = &rows.at[rows.count++];
        *r = (struct row){.eip = e->eip,
                          .user = e->user,
                          .op = e->op,
                          .activity = e->activity,
                          .share = e->share};
        r->name = e->eip ? guest_symbols_find(symbols, e->eip, &r->offset) : NULL;
    }
    sort(rows.at, rows.count, by_time);
    return rows;
}

static int by_function(const struct row *x, const struct row *y)
{
    if (x->user != y->user)
        return x->user - y->user;
    if (x->name && y->name)
        return strcmp(x->name, y->name);
    return (x->name != NULL) - (y->name != NULL);
}

/* Entries of one function joined; those without a name make one row a mode. */
static struct rows gather_functions(const struct rows *places)
{
    struct rows rows = {calloc(places->count + 1, sizeof(struct row)), 0};
    if (!rows.at || !places->count)
        return rows;
    memcpy(rows.at, places->at, places->count * sizeof *rows.at);
    sort(rows.at, places->count, by_function);
    for (size_t i = 0; i < places->count; i++) {
        struct row *from = &rows.at[i], *to = rows.count ? &rows.at[rows.count - 1] : NULL;
        struct row copy = *from;
        if (!to || by_function(to, &copy) != 0) {
            to = &rows.at[rows.count++];
            *to = copy;
            to->eip -= to->offset;
            memset(to->ns, 0, sizeof to->ns);
        } else {
            add_share(&to->share, &copy.share);
        }
        to->ns[copy.activity] += copy.share.ns;
    }
    sort(rows.at, rows.count, by_time);
    return rows;
}

static struct rows gather_callouts(const struct rows *places)
{
    struct rows rows = {calloc(2 * (OP_COUNT + 1), sizeof(struct row)), 0};
    if (!rows.at)
        return rows;
    for (unsigned i = 0; i < 2 * (OP_COUNT + 1); i++)
        rows.at[i] = (struct row){.op = (uint16_t)(i / 2),
                                  .eip = i, /* a stable order */
                                  .activity = i & 1 ? ACT_SOFT_MISS : ACT_CALLOUT};
    for (size_t i = 0; i < places->count; i++) {
        const struct row *p = &places->at[i];
        if (p->activity == ACT_CALLOUT || p->activity == ACT_SOFT_MISS)
            add_share(&rows.at[2 * p->op + (p->activity == ACT_SOFT_MISS)].share, &p->share);
    }
    rows.count = 2 * (OP_COUNT + 1);
    sort(rows.at, rows.count, by_time);
    return rows;
}

static int by_name(const struct row *x, const struct row *y)
{
    return strcmp(x->name, y->name);
}

/* The monitor's own functions. */
static struct rows gather_host(const struct profile_data *d)
{
    struct rows rows = {calloc(d->host_slots, sizeof(struct row)), 0};
    size_t count = 0;
    for (unsigned i = 0; rows.at && i < d->host_slots; i++) {
        const struct profile_host *h = &d->hosts[i];
        uint64_t offset;
        const char *name = h->share.samples && h->pc ? symbols_find(h->pc, &offset) : NULL;
        if (h->share.samples)
            rows.at[count++] = (struct row){.name = name ? name : "(unnamed)", .share = h->share};
    }
    if (!count)
        return rows;
    sort(rows.at, count, by_name);
    for (size_t i = 0; i < count; i++) {
        struct row copy = rows.at[i];
        if (rows.count && !by_name(&rows.at[rows.count - 1], &copy))
            add_share(&rows.at[rows.count - 1].share, &copy.share);
        else
            rows.at[rows.count++] = copy;
    }
    sort(rows.at, rows.count, by_time);
    return rows;
}

/* How often an activity happened; 0 where nothing counts it. */
static uint64_t times(const struct machine *m, enum activity a)
{
    const struct stats *s = &m->stats;
    const struct profile_data *d = profile_data(m->profile);
    uint64_t n = 0;
    switch (a) {
    case ACT_SWITCH:
        return s->dispatches;
    case ACT_CALLOUT:
        for (unsigned op = 0; op <= OP_COUNT; op++)
            n += d->callouts[op];
        return n;
    case ACT_SOFT_MISS:
        for (unsigned op = 0; op <= OP_COUNT; op++)
            n += d->soft_misses[op];
        return n;
    case ACT_LOOKUP:
        return s->exit_link + s->exit_indirect;
    case ACT_TRANSLATE:
    case ACT_RETRANSLATE:
        return d->translations[a == ACT_RETRANSLATE].count;
    case ACT_FAULT:
        for (unsigned i = 0; i < PROFILE_FAULT_COUNT; i++)
            n += d->faults[i].count;
        return n;
    case ACT_EMULATED:
        return s->exit_fault - s->fault_guest;
    case ACT_GUEST_FAULT:
        return s->fault_guest;
    case ACT_DELIVERY:
        return s->exceptions + s->interrupts;
    case ACT_DEVICES:
        return d->device_accesses;
    case ACT_IDLE:
        return s->halts;
    default:
        return 0;
    }
}

static uint64_t ticks_to_ns(const struct profile_data *d, uint64_t ticks)
{
    uint64_t all = d->ended_ticks - d->born_ticks;
    return all ? (uint64_t)((unsigned __int128)ticks * d->elapsed_ns / all) : 0;
}

/* --- text --- */

static void put_percent(FILE *out, uint64_t part, uint64_t whole)
{
    uint64_t tenths = whole ? (part * PER_MILLE + whole / 2) / whole : 0;
    fprintf(out, " %3" PRIu64 ".%" PRIu64 "%%", tenths / 10, tenths % 10);
}

static void put_seconds(FILE *out, uint64_t ns)
{
    fprintf(out, " %6" PRIu64 ".%03u s", ns / NS_PER_S, (unsigned)(ns / 1000000 % 1000));
}

static void put_share(FILE *out, const struct profile_data *d, const struct profile_share *s)
{
    put_percent(out, s->ns, d->total.ns);
    put_seconds(out, s->ns);
}

static void print_activities(const struct machine *m, FILE *out)
{
    const struct profile_data *d = profile_data(m->profile);
    fputs("\nwhere the time went\n", out);
    for (unsigned a = 0; a < ACT_COUNT; a++) {
        uint64_t n = times(m, (enum activity)a), ns = d->activity[a].ns;
        if (!ns && !n)
            continue;
        put_share(out, d, &d->activity[a]);
        fprintf(out, "  %-44s", activities[a].text);
        if (n)
            fprintf(out, "%12" PRIu64 " %-10s %8" PRIu64 " ns each", n, activities[a].counted,
                    ns / n);
        fputc('\n', out);
    }
    fputs("\nby privilege\n", out);
    for (unsigned user = 0; user < 2; user++) {
        put_share(out, d, &d->mode[user]);
        fprintf(out, "  %s\n", user ? "user (ring 3)" : "kernel (rings 0 to 2)");
    }
}

static void print_callouts(const struct profile_data *d, const struct rows *callouts, FILE *out)
{
    fputs("\ncall-outs by instruction\n", out);
    for (size_t i = 0; i < callouts->count && i < TOP_CALLOUTS; i++) {
        const struct row *r = &callouts->at[i];
        bool soft = r->activity == ACT_SOFT_MISS;
        uint64_t n = (soft ? d->soft_misses : d->callouts)[r->op];
        if (!n || !r->share.samples)
            continue;
        put_share(out, d, &r->share);
        fprintf(out, "  %-16s%-12s%28" PRIu64 " exits      %8" PRIu64 " ns each\n", op_names[r->op],
                soft ? "soft miss" : "", n, r->share.ns / n);
    }
}

static void print_counts(const struct profile_data *d, FILE *out)
{
    fputs("\nhost faults by cause (in their handler, by the time-stamp counter)\n", out);
    for (unsigned i = 0; i < PROFILE_FAULT_COUNT; i++) {
        const struct profile_count *c = &d->faults[i];
        uint64_t ns = ticks_to_ns(d, c->ticks);
        if (!c->count)
            continue;
        fputs("       ", out);
        put_seconds(out, ns);
        fprintf(out, "  %-44s%12" PRIu64 " signals    %8" PRIu64 " ns each\n", fault_texts[i],
                c->count, ns / c->count);
    }
}

static const char *mode_name(const struct row *r)
{
    return r->user ? "user  " : "kernel";
}

/* What a function's time goes to besides translated code. */
static void put_parts(FILE *out, const struct row *r)
{
    bool first = true;
    for (unsigned a = 0; a < ACT_COUNT; a++) {
        if (!r->ns[a] || r->ns[a] * 20 < r->share.ns)
            continue;
        fprintf(out, "%s%s %" PRIu64 "%%", first ? "  " : ", ", activities[a].json,
                r->ns[a] * 100 / r->share.ns);
        first = false;
    }
}

static void print_functions(const struct profile_data *d, const struct rows *functions, FILE *out)
{
    fputs("\nguest functions, and what their time went to\n", out);
    for (size_t i = 0; i < functions->count && i < TOP_FUNCTIONS; i++) {
        const struct row *r = &functions->at[i];
        put_share(out, d, &r->share);
        fprintf(out, "  %s  %-36s", mode_name(r), r->name ? r->name : "(no symbol)");
        put_parts(out, r);
        fputc('\n', out);
    }
}

static void print_places(const struct profile_data *d, const struct rows *places, FILE *out)
{
    fputs("\nguest instructions\n", out);
    for (size_t i = 0; i < places->count && i < TOP_PLACES; i++) {
        const struct row *r = &places->at[i];
        put_share(out, d, &r->share);
        fprintf(out, "  %s  %08x  %-14s", mode_name(r), r->eip, activities[r->activity].json);
        if (r->op < OP_COUNT)
            fprintf(out, " %-10s", op_names[r->op]);
        else
            fprintf(out, " %-10s", "");
        if (r->name)
            fprintf(out, "  %s+0x%x", r->name, r->offset);
        fputc('\n', out);
    }
}

static void print_host(const struct profile_data *d, const struct rows *host, FILE *out)
{
    fputs("\nthe monitor's functions (the host's kernel and libraries count as their caller)\n",
          out);
    for (size_t i = 0; i < host->count && i < TOP_HOST; i++) {
        put_share(out, d, &host->at[i].share);
        fprintf(out, "  %s\n", host->at[i].name);
    }
}

struct tables {
    struct rows places, functions, callouts, host;
};

static bool gather(const struct machine *m, struct guest_symbols *symbols, struct tables *t)
{
    const struct profile_data *d = profile_data(m->profile);
    guest_symbols_fit(symbols, m->vcpu);
    t->places = gather_places(d, symbols);
    t->functions = gather_functions(&t->places);
    t->callouts = gather_callouts(&t->places);
    t->host = gather_host(d);
    return t->places.at && t->functions.at && t->callouts.at && t->host.at;
}

static void release(struct tables *t)
{
    free(t->places.at);
    free(t->functions.at);
    free(t->callouts.at);
    free(t->host.at);
}

void profile_print(const struct machine *m, struct guest_symbols *symbols, FILE *out)
{
    const struct profile_data *d = profile_data(m->profile);
    struct tables t;
    if (!gather(m, symbols, &t)) {
        fputs("profile: out of memory\n", out);
        release(&t);
        return;
    }
    fprintf(out, "profile:");
    put_seconds(out, d->total.ns);
    fprintf(out, " of processor time in %" PRIu64 " samples;", d->total.samples);
    put_seconds(out, m->stats.time_idle);
    fprintf(out, " idle besides");
    if (d->lost)
        fprintf(out, "; %" PRIu64 " samples found no room in a table", d->lost);
    fputc('\n', out);
    print_activities(m, out);
    print_callouts(d, &t.callouts, out);
    print_counts(d, out);
    if (symbols)
        print_functions(d, &t.functions, out);
    print_places(d, &t.places, out);
    print_host(d, &t.host, out);
    release(&t);
}

/* --- JSON --- */

static void put_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c == '"' || *c == '\\')
            fprintf(out, "\\%c", *c);
        else if (*c < 0x20 || *c >= 0x7f)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
    fputc('"', out);
}

static void json_share(FILE *out, const struct profile_share *s)
{
    fprintf(out, "\"ns\": %" PRIu64 ", \"samples\": %" PRIu64, s->ns, s->samples);
}

static void json_summary(const struct machine *m, FILE *out)
{
    const struct profile_data *d = profile_data(m->profile);
    fputs("{\n  \"total\": {", out);
    json_share(out, &d->total);
    fprintf(out,
            ", \"elapsed_ns\": %" PRIu64 ", \"idle_ns\": %" PRIu64 ", \"lost\": %" PRIu64
            "},\n  \"activities\": {",
            d->elapsed_ns, m->stats.time_idle, d->lost);
    for (unsigned a = 0; a < ACT_COUNT; a++) {
        fprintf(out, "%s\n    \"%s\": {", a ? "," : "", activities[a].json);
        json_share(out, &d->activity[a]);
        fprintf(out, ", \"count\": %" PRIu64 "}", times(m, (enum activity)a));
    }
    fputs("\n  },\n  \"privilege\": {\"kernel\": {", out);
    json_share(out, &d->mode[0]);
    fputs("}, \"user\": {", out);
    json_share(out, &d->mode[1]);
    fputs("}},\n  \"faults\": {", out);
    for (unsigned i = 0; i < PROFILE_FAULT_COUNT; i++)
        fprintf(out, "%s\n    \"%s\": {\"count\": %" PRIu64 ", \"ns\": %" PRIu64 "}", i ? "," : "",
                fault_names[i], d->faults[i].count, ticks_to_ns(d, d->faults[i].ticks));
    fputs("\n  }", out);
}

static void json_callouts(const struct profile_data *d, const struct rows *callouts, FILE *out)
{
    bool first = true;
    fputs(",\n  \"callouts\": [", out);
    for (size_t i = 0; i < callouts->count; i++) {
        const struct row *r = &callouts->at[i];
        bool soft = r->activity == ACT_SOFT_MISS;
        uint64_t n = (soft ? d->soft_misses : d->callouts)[r->op];
        if (!n && !r->share.samples)
            continue;
        fprintf(out, "%s\n    {\"instruction\": \"%s\", \"soft\": %s, \"count\": %" PRIu64 ", ",
                first ? "" : ",", op_names[r->op], soft ? "true" : "false", n);
        json_share(out, &r->share);
        fputc('}', out);
        first = false;
    }
    fputs("\n  ]", out);
}

static void json_places(const struct rows *places, FILE *out)
{
    fputs(",\n  \"guest\": [", out);
    for (size_t i = 0; i < places->count; i++) {
        const struct row *r = &places->at[i];
        fprintf(out, "%s\n    {\"eip\": %u, \"user\": %s, \"activity\": \"%s\", ", i ? "," : "",
                r->eip, r->user ? "true" : "false", activities[r->activity].json);
        if (r->op < OP_COUNT)
            fprintf(out, "\"instruction\": \"%s\", ", op_names[r->op]);
        if (r->name) {
            fputs("\"symbol\": ", out);
            put_string(out, r->name);
            fprintf(out, ", \"offset\": %u, ", r->offset);
        }
        json_share(out, &r->share);
        fputc('}', out);
    }
    fputs("\n  ]", out);
}

static void json_host(const struct rows *host, FILE *out)
{
    fputs(",\n  \"monitor\": [", out);
    for (size_t i = 0; i < host->count; i++) {
        fprintf(out, "%s\n    {\"function\": ", i ? "," : "");
        put_string(out, host->at[i].name);
        fputs(", ", out);
        json_share(out, &host->at[i].share);
        fputc('}', out);
    }
    fputs("\n  ]\n}\n", out);
}

int profile_write_json(const struct machine *m, struct guest_symbols *symbols, FILE *out)
{
    struct tables t;
    if (!gather(m, symbols, &t)) {
        release(&t);
        return -ENOMEM;
    }
    json_summary(m, out);
    json_callouts(profile_data(m->profile), &t.callouts, out);
    json_places(&t.places, out);
    json_host(&t.host, out);
    release(&t);
    errno = 0;
    if (fflush(out) == 0 && !ferror(out))
        return 0;
    return errno ? -errno : -EIO;
}
