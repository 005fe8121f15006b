/* SPDX-License-Identifier: MIT */
/* verify.h: a second opinion on emitted code, given before it can run.
 *
 * verify_block() decodes a block's host code by itself and accepts only what it can prove harmless
 * whatever the guest does: it shares neither tables nor code with the decoder, the lowerings and
 * the emitter. docs/isolation.md says what is proved, under which assumptions, and how a new
 * sequence of the translator is made known to it. */
#ifndef RINGDOWN_TRANSLATOR_VERIFY_H
#define RINGDOWN_TRANSLATOR_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Why a block is refused. X(name, text) */
#define VERIFY_ERRORS(X)                                                                           \
    X(NONE, "accepted")                                                                            \
    X(SIZE, "sizes make no sense")                                                                 \
    X(PREFIX, "prefix not allowed, or out of order")                                               \
    X(OPCODE, "opcode not allowed")                                                                \
    X(WIDE, "64-bit operation outside a known sequence")                                           \
    X(REGISTER, "reserved or renamed register")                                                    \
    X(MEMORY, "memory operand neither in the view nor a slot")                                     \
    X(RIP, "RIP-relative operand")                                                                 \
    X(SLOT, "vCPU slot not open to this access")                                                   \
    X(TRUNCATED, "instruction runs past the end")                                                  \
    X(FALLS, "control runs past the end")                                                          \
    X(MIDDLE, "target or entry is not the start of an instruction or sequence")                    \
    X(OUTSIDE, "branch to a place outside that is no entry")                                       \
    X(LOOP, "backward branch that no interrupt can stop")                                          \
    X(SCRATCH, "scratch register used where it is not known to be set")                            \
    X(PROBE, "more is accessed than was probed for")                                               \
    X(STUB, "something else than an exit behind the body")

enum verify_error {
#define X(name, text) VERIFY_##name,
    VERIFY_ERRORS(X)
#undef X
        VERIFY_ERROR_COUNT
};

/* What is around the block. Addresses are those of the executable mapping. */
struct verify_env {
    uint64_t address;                /* of the block's first byte */
    uint64_t exit, lookup, indirect; /* the pads, see cache.h */
    uint32_t exit_first, exit_count; /* ids of the block's own exit records */
    bool user;                       /* the block runs at CPL 3 */
    uint32_t gate_words, gate_end;   /* offsets from r13 of the words that gates look at */
    const uint32_t *entries;         /* offsets at which the monitor and other blocks may enter */
    uint32_t entry_count;
    /* Whether an address outside is where another block may be entered. NULL: none is. */
    bool (*is_entry)(void *opaque, uint64_t host);
    void *opaque;
};

struct verify_report {
    uint32_t offset; /* of what is refused */
    uint32_t insns;  /* checked; a sequence counts as one */
};

/* The body, then the exit stubs up to total_size. `code` may be either mapping of the block. */
enum verify_error verify_block(const struct verify_env *env, const uint8_t *code, size_t body_size,
                               size_t total_size, struct verify_report *out);
const char *verify_error_text(enum verify_error error);

#endif
