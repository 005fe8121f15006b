/* SPDX-License-Identifier: MIT */
/* limits.h: the most that one block takes of anything, and the sizes of tables.
 *
 * Every reserve follows from the first half: room for one block at its worst is looked for once,
 * before the block is begun (cache_has_room()); then nothing can run out under way. lower_one()
 * holds each instruction to its share when RINGDOWN_CHECKED. */
#ifndef RINGDOWN_TRANSLATOR_LIMITS_H
#define RINGDOWN_TRANSLATOR_LIMITS_H

/* A block ends at the latest after so many instructions, or when its direct branches run out. */
#define BLOCK_INSNS_MAX    48u
#define BLOCK_BRANCHES_MAX 24u

/* Of one guest instruction. Its branch needs a stub, its late call-outs code behind the body. */
#define INSN_BRANCHES_MAX 1u
#define INSN_CALLOUTS_MAX 1u /* amid its code, or instead of it */
#define INSN_LATE_MAX     3u /* a limit check each of source, target and stack */
#define INSN_MARKS_MAX    2u
#define EMIT_INSN_MAX     320u /* host bytes, stubs included */
#define EMIT_COUNT_MAX    96u  /* host bytes that lower_count() puts before it */
#define EMIT_STUB_MAX     11u

/* Of one block. The branch that ends a block without one of its own, and the last change of ESP,
 * count as an instruction. */
#define BLOCK_LATE_WORST (BLOCK_INSNS_MAX * INSN_LATE_MAX)
#define BLOCK_EXITS_WORST                                                                          \
    (BLOCK_BRANCHES_MAX + BLOCK_INSNS_MAX * INSN_CALLOUTS_MAX + BLOCK_LATE_WORST)
#define BLOCK_MARKS_WORST (BLOCK_INSNS_MAX * INSN_MARKS_MAX)
#define BLOCK_BYTES_WORST ((BLOCK_INSNS_MAX + 1) * (EMIT_INSN_MAX + EMIT_COUNT_MAX))

_Static_assert(BLOCK_BYTES_WORST <= UINT16_MAX, "marks give offsets in a block 16 bits");
_Static_assert((INSN_BRANCHES_MAX + INSN_LATE_MAX) * EMIT_STUB_MAX < EMIT_INSN_MAX,
               "stubs and late call-outs are part of an instruction's share");

/* Tables have their usual size, or, to be at their ends all the time, one of a few entries. */
#ifdef RINGDOWN_TINY_TABLES
#define TABLE_SIZE(usual, tiny) (tiny)
#else
#define TABLE_SIZE(usual, tiny) (usual)
#endif

#endif
