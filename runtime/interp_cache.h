/* SPDX-License-Identifier: MIT */
/* interp_cache.h: decoded instructions, as the interpreter keeps and executes them.
 *
 * A *record* is one decoded instruction, 32 bytes: a function, the little that the fast functions
 * need, and a pointer to the full `struct insn`. A *block* is a run of records from one page, ended
 * by a control transfer, by an instruction after which the machine's mode may be another, or by a
 * record that only goes on elsewhere. Each record's function ends by a tail call of the next one's;
 * so a block is executed without coming back, and block ends may go on to another block in the same
 * way.
 *
 * Blocks are found by guest-physical address and mode, whatever linear address leads there:
 * remapping needs no invalidation. A write to a block's bytes makes it *dead*: it leaves the
 * lookup, and all its records' functions become interp_fast_leave, so that a block that is being
 * executed, or is linked from others, comes back to the loop before its next instruction. Memory is
 * reused only by a full flush, which only the loop does. */
#ifndef RINGDOWN_RUNTIME_INTERP_CACHE_H
#define RINGDOWN_RUNTIME_INTERP_CACHE_H

#include "runtime/interp_ops.h"

/* What code is decoded for. MODE_FLAT: 32-bit code; CS, SS, DS and ES flat; a 32-bit stack; no
 * access hooks. Only in it do records use the fast functions that touch memory or EIP. */
enum interp_mode { MODE_CODE16, MODE_CODE32, MODE_FLAT };

struct interp_rec;
/* eip and the raw flags travel in registers; v's copies are brought up to date (interp_fast_sync)
 * before anything that may raise or look at them. `tlb` is the half of v->tlb for the current CPL.
 */
typedef void interp_fast_fn(struct vcpu *v, const struct interp_rec *r, uint32_t eip, uint32_t fl,
                            struct tlb_entry *tlb);

struct interp_rec {
    interp_fast_fn *fn;
    const struct insn *insn; /* NULL: the end of a block that just goes on */
    uint32_t disp;
    uint32_t imm;
    uint8_t length;
    uint8_t at;          /* instructions before it in its block */
    uint8_t a, b;        /* registers, as byte offsets from v->gpr */
    uint8_t base, index; /* registers, as word offsets from v->gpr; REC_ZERO if absent */
    uint8_t scale;
    uint8_t seg; /* of the memory operand */
};
_Static_assert(sizeof(struct interp_rec) == 32, "two records a cache line");

/* An absent base or index register reads as zero from the base of CS, which is zero in MODE_FLAT;
 * the fast functions that compute addresses run only there. */
#define REC_ZERO_OFFSET (offsetof(struct vcpu, seg[SEG_CS].base) - offsetof(struct vcpu, gpr))
#define REC_ZERO        (REC_ZERO_OFFSET / 4)
_Static_assert(REC_ZERO <= UINT8_MAX && REC_ZERO_OFFSET % 4 == 0, "a word offset has 8 bits");

/* Follows the record that ends a block, in the place of one: successors on the same page, not taken
 * and taken. While code of a page is executed that page stays where it is, so nothing needs to be
 * looked up on the way. */
struct interp_links {
    const struct interp_rec *to[2];
};
_Static_assert(sizeof(struct interp_links) <= sizeof(struct interp_rec), "it has a record's place");

struct interp_block {
    uint64_t key;   /* gpa, and the mode above bit 32; BLOCK_DEAD */
    uint32_t bytes; /* of guest code */
    uint32_t count; /* of records, the ending one included, the links not */
    struct interp_rec *rec;
    struct interp_block *hash_next, *frame_next;
};
#define BLOCK_DEAD UINT64_MAX

/* A frame from which blocks were made, and which 64-byte pieces of it they cover. */
struct interp_frame {
    uint32_t gfn;
    uint64_t cover;
    struct interp_block *blocks;
    struct interp_frame *next;
};

#define INTERP_MAX_RECS   (1u << 18)
#define INTERP_MAX_BLOCKS (1u << 16)
#define INTERP_MAX_FRAMES (1u << 14)
#define INTERP_BLOCK_RECS 64u /* at most, in one block */
#define INTERP_HASH_SIZE  (1u << 15)
#define INTERP_FRAME_HASH (1u << 12)
#define INTERP_SINGLES    (1u << 10)

/* An instruction that is executed outside of blocks: it is decoded again whenever the bytes differ.
 */
struct interp_single {
    bool valid, code32;
    struct insn insn;
};

struct interp {
    struct interp_shared shared; /* first, see ops_shared() */
    struct vcpu *vcpu;
    struct decoder *decoder;

    /* The run under way. */
    const struct interp_rec **link; /* where to enter the next block found */
    bool system;                    /* an instruction ran after which all may be different */

    struct interp_rec *recs;
    struct insn *insns;
    struct interp_block *blocks;
    struct interp_frame *frames;
    uint32_t rec_count, block_count, frame_count;
    struct interp_block *hash[INTERP_HASH_SIZE]; /* never NULL: `blocks[0]` matches nothing */
    struct interp_frame *frame_hash[INTERP_FRAME_HASH];
    struct interp_single single[INTERP_SINGLES];
};

static inline uint64_t interp_key(uint32_t gpa, enum interp_mode mode)
{
    return gpa | (uint64_t)mode << 32;
}
static inline uint32_t interp_hash(uint32_t gpa)
{
    return (gpa ^ gpa >> 13) & (INTERP_HASH_SIZE - 1);
}

bool interp_cache_init(struct interp *in);
void interp_cache_release(struct interp *in);
void interp_cache_flush(struct interp *in);
struct interp_block *interp_cache_find(struct interp *in, uint64_t key);
/* Decodes a block at gpa, whose bytes are at `code` up to the end of the page. NULL if its very
 * first instruction does not lie in the page or is none. May flush. */
struct interp_block *interp_cache_build(struct interp *in, uint32_t gpa, enum interp_mode mode,
                                        const uint8_t *code);
/* The instruction at CS:EIP by itself; raises what its fetch raises. */
const struct insn *interp_cache_single(struct interp *in);

/* The generic handler of an operation, never NULL. */
interp_fn *interp_handler(enum insn_op op);
/* True for operations after which a block must end since segments, CPL, control registers or
 * EFLAGS' system bits may be others. */
bool interp_changes_mode(enum insn_op op);

/* --- interp_fast*.c --- */
interp_fast_fn interp_fast_leave;       /* back to the loop before this record */
interp_fast_fn interp_fast_generic;     /* by the full record's handler, then on */
interp_fast_fn interp_fast_generic_end; /* by the full record's handler, then back to the loop */
interp_fast_fn interp_fast_system;      /* the same; the machine's mode may be another after it */
interp_fast_fn interp_fast_continue;    /* end of a block without a branch */
/* Chooses a record's function and fills in what it needs. */
void interp_fast_select(struct interp_rec *r, const struct insn *i, enum interp_mode mode);
interp_fast_fn *interp_fast_select_alu(const struct insn *i, bool mem, bool flat_mem);
interp_fast_fn *interp_fast_select_control(struct interp_rec *r, const struct insn *i,
                                           bool flat_mem);

#endif
