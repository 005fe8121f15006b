/* SPDX-License-Identifier: MIT */
/* translate.h: guest bytes -> block.
 *
 * Four passes (translate.c): scan decodes a run of instructions; holds finds where no interrupt may
 * come; lower emits each instruction by its class; finish emits the exit stubs, commits the block
 * and links what can be linked. */
#ifndef RINGDOWN_TRANSLATOR_TRANSLATE_H
#define RINGDOWN_TRANSLATOR_TRANSLATE_H

#include "translator/cache.h"
#include "translator/insn.h"
#include "translator/inspect.h"

#include <stdio.h>

struct translator;

/* Where a block is to be made from. */
struct source {
    uint32_t eip;
    unsigned mode;
    const uint8_t *bytes; /* guest code at eip, `left` bytes to the end of its page */
    unsigned left;
    struct code_page *page;
    const uint8_t *next_bytes; /* start of the following page if the first instruction crosses and
                                * the page can be fetched, else NULL */
    struct code_page *next_page;
};

enum translate_status {
    TRANSLATE_OK,
    TRANSLATE_CROSSES, /* the first instruction runs into the next page: give next_bytes */
    TRANSLATE_FULL,    /* no room before the cache is flushed, which it now wants */
    TRANSLATE_REFUSED, /* the verifier refuses the result, a bug of ours: there is no block */
};

struct translator_counters {
    uint64_t insns, blocks, guest_bytes, host_bytes, by_class[CLASS_COUNT];
    uint64_t verified, refused, ticks_verify;
};

struct translator *translator_create(struct cache *cache, const struct cpu_model *model);
void translator_destroy(struct translator *t);
const struct translator_counters *translator_counters(const struct translator *t);
/* From now on, blocks count the instructions that they execute (lower_count.c), and what differs at
 * each execution (time, random numbers) is left to the interpreter. */
void translator_count(struct translator *t);
/* --dump: NULL or a stream for decoded guest code, blocks, host code. */
void translator_set_dump(struct translator *t, FILE *decode, FILE *blocks, FILE *host);
/* Which blocks are verified before they can run; at first, all. `refused`, if not NULL, is called
 * when code is refused, which has been reported on standard error and does not run. */
void translator_set_verify(struct translator *t, enum inspect_mode mode,
                           void (*refused)(void *opaque), void *opaque);

enum translate_status translate(struct translator *t, const struct source *src, struct block **out);

/* Emits the cache's pads; once, before any block (pads.c). */
void pads_emit(struct cache *cache, uint64_t exit_entry, uint64_t indirect_entry);

#endif
