/* SPDX-License-Identifier: MIT */
/* lower.h: the state of one translation and the lowering of guest instructions to host code.
 *
 * Rules for every sequence (docs/registers.md):
 *  - Guest state changes only after the last access to guest memory of the instruction, so that a
 *    fault finds the state of the instruction's start. Repeated strings are the exception: their
 *    registers are the state.
 *  - Host flags are guest flags: sequences use mov, lea, jrcxz, pext/pdep; or the flags are dead.
 *  - r8-r11 are free at instruction boundaries; every guest register is zero-extended there. */
#ifndef RINGDOWN_TRANSLATOR_LOWER_H
#define RINGDOWN_TRANSLATOR_LOWER_H

#include "translator/emit.h"
#include "translator/translate.h"

/* A guest instruction of the block under way. */
struct scanned {
    struct insn insn;
    uint32_t eip;
    bool held;         /* no interrupt may be taken before it */
    bool retpoline;    /* a call that only serves to jump to `retpoline_reg` (see scan) */
    struct insn *kept; /* as exit records have it, NULL: not yet */
    uint8_t retpoline_reg;
};

struct lowering {
    struct cache *cache;
    struct pads *pads;
    struct emitter e;
    struct block *block;
    const struct mode *mode;
    const struct source *src;
    struct scanned *at;                      /* the instruction being lowered */
    uint32_t next_eip;                       /* of the one after it */
    bool last;                               /* it is the last of the block */
    bool soft;                               /* it keeps causing host faults: see lower_soft.c */
    bool counted;                            /* code that counts instructions: see lower_count.c */
    int32_t pending;                         /* of ESP: see lower_esp.c */
    bool no_rex;                             /* the instruction under way can't have a REX prefix */
    uint32_t stub_exits[BLOCK_BRANCHES_MAX]; /* branch exits that want stubs */
    unsigned stub_count;
    struct late_callout {
        uint8_t *disp; /* rel32 of the jump to it */
        struct scanned *at;
        uint32_t resume;      /* offset in code memory behind the instruction */
    } late[BLOCK_LATE_WORST]; /* call-outs off the hot path */
    unsigned late_count;
};

/* False: not lowered (nothing may have been emitted): the interpreter will execute it. */
typedef bool lower_fn(struct lowering *l, const struct insn *i);

bool lower_identical(struct lowering *l, const struct insn *i);
bool lower_memory(struct lowering *l, const struct insn *i);
extern lower_fn *const lower_ops[OP_COUNT];

/* By file: */
bool lower_inc_dec(struct lowering *l, const struct insn *i); /* lower_move.c */
bool lower_xlat(struct lowering *l, const struct insn *i);
bool lower_mov_from_seg(struct lowering *l, const struct insn *i);
bool lower_rdtsc(struct lowering *l, const struct insn *i);
bool lower_push(struct lowering *l, const struct insn *i); /* lower_stack.c */
bool lower_pop(struct lowering *l, const struct insn *i);
bool lower_push_seg(struct lowering *l, const struct insn *i);
bool lower_pusha(struct lowering *l, const struct insn *i);
bool lower_popa(struct lowering *l, const struct insn *i);
bool lower_leave(struct lowering *l, const struct insn *i);
bool lower_pushf(struct lowering *l, const struct insn *i); /* lower_flags.c */
bool lower_popf(struct lowering *l, const struct insn *i);
bool lower_cli(struct lowering *l, const struct insn *i);
bool lower_sti(struct lowering *l, const struct insn *i);
bool lower_jmp(struct lowering *l, const struct insn *i); /* lower_control.c */
bool lower_jcc(struct lowering *l, const struct insn *i);
bool lower_jcxz(struct lowering *l, const struct insn *i);
bool lower_loop(struct lowering *l, const struct insn *i);
bool lower_call(struct lowering *l, const struct insn *i);
bool lower_call_indirect(struct lowering *l, const struct insn *i);
bool lower_jmp_indirect(struct lowering *l, const struct insn *i);
bool lower_ret(struct lowering *l, const struct insn *i);
bool lower_string(struct lowering *l, const struct insn *i); /* lower_string.c */

/* lower_esp.c: ESP's changes by runs of pushes and pops, made once at the end of the run. */
bool lower_esp_may_wait(const struct lowering *l, const struct insn *i);
void lower_esp_move(struct lowering *l, int32_t by);
void lower_esp_settle(struct lowering *l);

/* Shared by them (lower.c). */
/* Host register that holds a guest general register. */
static inline unsigned host_gpr(unsigned reg)
{
    return reg == 4 ? H_ESP : reg;
}
/* i's memory operand, moved by `extra`; may emit into r8, r9 and r11. False: not addressable here.
 */
/* Leaves for the interpreter if the target in r8d is beyond the limit of CS; emits into r9 and r11.
 */
void lower_check_target(struct lowering *l);
bool lower_operand(struct lowering *l, const struct insn *i, int32_t extra, struct mem *m);
/* The same as a linear address, to be computed by a 32-bit LEA. */
bool lower_address(struct lowering *l, const struct insn *i, struct mem *m);
/* [SS:ESP + disp]; may emit into r8, r9 and r11. False if SS needs checks that only the interpreter
 * can make. */
bool lower_stack_operand(struct lowering *l, unsigned base, int32_t disp, struct mem *m);
/* A direct branch: emits jmp (cc < 0), jcc, or call; unlinked it goes to a stub made later. */
void lower_branch(struct lowering *l, int cc, bool is_call, uint32_t target);
/* Leaves for the interpreter, which resumes at offset `resume` of code memory, behind this very
 * place, or, with CALLOUT_END, wherever EIP leads. */
#define CALLOUT_END    0u
#define CALLOUT_RESUME 1u
void lower_callout(struct lowering *l, uint32_t resume);
/* Jump to the guest address in r8d through the jump cache; `call` makes it a host call. */
void lower_indirect(struct lowering *l, bool call);
/* Marks a point inside the instruction whose registers are complete guest state (REP). */
void lower_mark_restart(struct lowering *l);
/* Jumps to a call-out for this instruction that is emitted behind the block's body. */
void lower_late_callout(struct lowering *l);
/* The operand by way of the software TLB; emits into r8-r11 (lower_soft.c). */
bool lower_soft_operand(struct lowering *l, const struct insn *i, struct mem *m);
bool insn_writes_memory(const struct insn *i);
/* Counts the instruction about to be lowered; the second, n more that it stands for
 * (lower_count.c).
 */
void lower_count(struct lowering *l, const struct scanned *s);
void lower_count_more(struct lowering *l, unsigned n);

#endif
