/* SPDX-License-Identifier: MIT */
/* inspect.h: blocks of the cache -> the verifier (verify.h), which knows nothing of caches. */
#ifndef RINGDOWN_TRANSLATOR_INSPECT_H
#define RINGDOWN_TRANSLATOR_INSPECT_H

#include "translator/cache.h"
#include "translator/verify.h"

#include <stdio.h>

/* Which new code is inspected: all, one block in INSPECT_SAMPLE, none. */
enum inspect_mode { INSPECT_ALWAYS, INSPECT_SAMPLED, INSPECT_OFF };
#define INSPECT_SAMPLE 16u

/* Checks a block, committed or not, linked or not. */
enum verify_error inspect_block(struct cache *c, const struct block *b, struct verify_report *out);
/* Checks a gate to a block of a mode: `size` bytes at `host`, an offset in code memory. */
enum verify_error inspect_gate(struct cache *c, unsigned mode, uint32_t host, uint32_t size,
                               struct verify_report *out);
/* Tells of refused code, of which the first `body` bytes are no stubs: why, its bytes, its text. */
void inspect_print(struct cache *c, uint32_t host, uint32_t body, uint32_t size,
                   enum verify_error error, const struct verify_report *report, FILE *out);

#endif
