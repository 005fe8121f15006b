/* SPDX-License-Identifier: MIT */
/* inspect.c: what the verifier has to know about a block, and what is told of one it refuses. */
#include "translator/inspect.h"

#include "translator/decode_dump.h"

#include <inttypes.h>

#define ENTRIES_MAX   (BLOCK_MARKS_WORST + BLOCK_EXITS_WORST)
#define BYTES_PER_ROW 16u

/* Offsets in a block at which others enter: the starts of guest instructions, and where call-outs
 * resume. */
static uint32_t entries_of(struct cache *c, const struct block *b, uint32_t *entries)
{
    const struct insn_mark *marks = cache_marks(c, b);
    uint32_t count = 0;
    for (uint32_t i = 0; i < b->mark_count; i++)
        if (!(marks[i].flags & MARK_INSIDE) && !marks[i].esp)
            entries[count++] = marks[i].host;
    for (uint32_t i = 0; i < b->exit_count; i++) {
        const struct exit_record *x = cache_exit(c, b->exits + i);
        if (x->kind == EXIT_CALLOUT && x->host)
            entries[count++] = x->host - b->host;
    }
    return count;
}

/* What is_entry() is asked for. */
struct surroundings {
    struct cache *cache;
    unsigned mode;
};

/* The start of a guest instruction of a block of this mode that is in the cache. */
static bool is_start(const struct surroundings *s, uint64_t host)
{
    struct cache *c = s->cache;
    const struct block *b = cache_block_at(c, host);
    if (!b || !b->valid || b->mode != s->mode)
        return false;
    const struct insn_mark *marks = cache_marks(c, b);
    uint64_t offset = host - (uint64_t)cache_code(c)->rx - b->host;
    for (uint32_t i = 0; i < b->mark_count; i++)
        if (marks[i].host == offset && !(marks[i].flags & MARK_INSIDE) && !marks[i].esp)
            return true;
    return false;
}

/* Where other blocks may go: there, or to a gate that leads there. */
static bool is_entry(void *opaque, uint64_t host)
{
    const struct surroundings *s = opaque;
    if (is_start(s, host))
        return true;
    const struct gate *gate = cache_gate_at(s->cache, host);
    return gate && is_start(s, (uint64_t)cache_code(s->cache)->rx + gate->entry);
}

static struct verify_env environment(struct surroundings *s, uint32_t host)
{
    struct cache *c = s->cache;
    const struct pads *pads = cache_pads(c);
    return (struct verify_env){
        .address = (uint64_t)cache_code(c)->rx + host,
        .exit = (uint64_t)pads->exit,
        .lookup = (uint64_t)pads->lookup,
        .indirect = (uint64_t)pads->indirect,
        .gate_words = CACHE_GATE_WORDS,
        .gate_end = CACHE_GATE_WORDS + CODE_PAGES_MAX * sizeof(uint32_t),
        .is_entry = is_entry,
        .opaque = s,
    };
}

enum verify_error inspect_block(struct cache *c, const struct block *b, struct verify_report *out)
{
    uint32_t entries[ENTRIES_MAX];
    struct surroundings around = {c, b->mode};
    struct verify_env env = environment(&around, b->host);
    env.exit_first = b->exits;
    env.exit_count = b->exit_count;
    env.user = cache_mode(c, b->mode)->cpl == 3;
    env.entries = entries;
    env.entry_count = entries_of(c, b, entries);
    *out = (struct verify_report){0};
    return verify_block(&env, cache_code(c)->rw + b->host, b->host_body_end - b->host,
                        b->host_end - b->host, out);
}

enum verify_error inspect_gate(struct cache *c, unsigned mode, uint32_t host, uint32_t size,
                               struct verify_report *out)
{
    struct surroundings around = {c, mode};
    struct verify_env env = environment(&around, host);
    return verify_block(&env, cache_code(c)->rw + host, size, size, out);
}

void inspect_print(struct cache *c, uint32_t host, uint32_t body, uint32_t size,
                   enum verify_error error, const struct verify_report *report, FILE *out)
{
    const uint8_t *code = cache_code(c)->rx + host;
    fprintf(out,
            "code at %p, body 0x%" PRIx32 ", size 0x%" PRIx32 ", refused at 0x%" PRIx32 ": %s\n",
            (const void *)code, body, size, report->offset, verify_error_text(error));
    for (uint32_t i = 0; i < size; i++)
        fprintf(out, "%s%02x%s", i % BYTES_PER_ROW ? " " : "    ", code[i],
                i % BYTES_PER_ROW == BYTES_PER_ROW - 1 || i + 1 == size ? "\n" : "");
    dump_host_code(out, code, size);
}
