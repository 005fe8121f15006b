/* SPDX-License-Identifier: MIT */
/* interp_fast_control.c: fast functions that end blocks, and those that execute a record by its
 * full handler. */
#include "runtime/interp_fast.h"

/* --- by the full handler --- */

void interp_fast_leave(FAST_ARGS)
{
    (void)tlb;
    fast_sync(v, r, eip, fl);
}

static bool execute(struct vcpu *v, const struct interp_rec *r, uint32_t eip, uint32_t fl)
{
    fast_sync(v, r, eip, fl);
    return ((interp_fn *)r->insn->handler)(v, r->insn);
}

void interp_fast_generic(FAST_ARGS)
{
    if (execute(v, r, eip, fl))
        return; /* a string operation that has not finished: it retires another time */
    v->retired -= r->at;
    FAST_NEXT(flags_pack(v->eflags));
}

void interp_fast_generic_end(FAST_ARGS)
{
    (void)tlb;
    if (!execute(v, r, eip, fl))
        v->eip = eip + r->length;
    v->retired++;
}

void interp_fast_system(FAST_ARGS)
{
    (void)tlb;
    v->interp->system = true;
    bool moved = execute(v, r, eip, fl);
    if (!moved)
        v->eip = eip + r->length;
    if (!moved || !(r->insn->info->flags & INSN_REP))
        v->retired++;
}

/* --- from block to block --- */

/* The loop goes on at `target`, after r. */
static __attribute__((noinline)) void leave_after(struct vcpu *v, const struct interp_rec *r,
                                                  uint32_t target, uint32_t fl,
                                                  struct tlb_entry *tlb)
{
    (void)tlb;
    fast_sync(v, r, target, fl);
    v->retired++;
}

/* To any address, after r. */
static inline void go_to(struct vcpu *v, const struct interp_rec *r, uint32_t target, uint32_t fl,
                         struct tlb_entry *tlb)
{
    const struct tlb_entry *e = &tlb[target >> 12 & (TLB_SIZE - 1)];
    if (FAST_CHAIN && INTERP_LIKELY(e->tag[ACC_EXEC] == (target & ~0xfffu) && !v->request)) {
        uint32_t gpa = e->gfn << 12 | (target & 0xfff);
        const struct interp_block *b = v->interp->hash[interp_hash(gpa)];
        if (INTERP_LIKELY(b->key == interp_key(gpa, MODE_FLAT)))
            FAST_ENTER(b->rec, target);
    }
    return leave_after(v, r, target, fl, tlb);
}

static inline struct interp_links *links(const struct interp_rec *r)
{
    return (struct interp_links *)(r + 1);
}

/* A fixed target that r is not linked to, or must not be followed now. `eip` is r's. */
static inline void unlinked(struct vcpu *v, const struct interp_rec *r, uint32_t target,
                            uint32_t fl, struct tlb_entry *tlb, uint32_t eip, unsigned taken)
{
    if ((target ^ eip) >> 12)
        return go_to(v, r, target, fl, tlb);
    v->interp->link = &links(r)->to[taken];
    return leave_after(v, r, target, fl, tlb);
}

static __attribute__((noinline)) void unlinked_taken(struct vcpu *v, const struct interp_rec *r,
                                                     uint32_t target, uint32_t fl,
                                                     struct tlb_entry *tlb)
{
    return unlinked(v, r, target, fl, tlb, target - r->imm - r->length, 1);
}

static __attribute__((noinline)) void unlinked_next(struct vcpu *v, const struct interp_rec *r,
                                                    uint32_t target, uint32_t fl,
                                                    struct tlb_entry *tlb)
{
    return unlinked(v, r, target, fl, tlb, target - r->length, 0);
}

static inline void branch_taken(FAST_ARGS)
{
    const struct interp_rec *to = links(r)->to[1];
    uint32_t target = eip + r->length + r->imm;
    if (FAST_CHAIN && INTERP_LIKELY(to && !v->request))
        FAST_ENTER(to, target);
    return unlinked_taken(v, r, target, fl, tlb);
}

static inline void branch_next(FAST_ARGS)
{
    const struct interp_rec *to = links(r)->to[0];
    uint32_t target = eip + r->length;
    if (FAST_CHAIN && INTERP_LIKELY(to && !v->request))
        FAST_ENTER(to, target);
    return unlinked_next(v, r, target, fl, tlb);
}

/* Not an instruction: r - 1 was the last one. */
void interp_fast_continue(FAST_ARGS)
{
    return go_to(v, r - 1, eip, fl, tlb);
}

/* --- branches --- */

static void jmp_rel(FAST_ARGS)
{
    return branch_taken(v, r, eip, fl, tlb);
}

#define FAST_JCC(cc)                                                                               \
    static void jcc_##cc(FAST_ARGS)                                                                \
    {                                                                                              \
        if (flags_cond(fl, cc))                                                                    \
            return branch_taken(v, r, eip, fl, tlb);                                               \
        return branch_next(v, r, eip, fl, tlb);                                                    \
    }
FAST_JCC(0)
FAST_JCC(1)
FAST_JCC(2)
FAST_JCC(3)
FAST_JCC(4)
FAST_JCC(5)
FAST_JCC(6)
FAST_JCC(7)
FAST_JCC(8)
FAST_JCC(9)
FAST_JCC(10)
FAST_JCC(11)
FAST_JCC(12)
FAST_JCC(13)
FAST_JCC(14)
FAST_JCC(15)
static interp_fast_fn *const jcc_fns[16] = {
    jcc_0, jcc_1, jcc_2,  jcc_3,  jcc_4,  jcc_5,  jcc_6,  jcc_7,
    jcc_8, jcc_9, jcc_10, jcc_11, jcc_12, jcc_13, jcc_14, jcc_15,
};

static void call_rel(FAST_ARGS)
{
    uint32_t la = v->gpr[R_ESP] - 4;
    uint8_t *host = fast_hit(tlb, la, 4, ACC_WRITE);
    if (INTERP_UNLIKELY(!host))
        return interp_fast_generic_end(v, r, eip, fl, tlb);
    ops_poke(host, eip + r->length, 4);
    v->gpr[R_ESP] = la;
    return branch_taken(v, r, eip, fl, tlb);
}

#define FAST_CALL_TO(name, TARGET)                                                                 \
    static void name(FAST_ARGS)                                                                    \
    {                                                                                              \
        uint32_t la = v->gpr[R_ESP] - 4, target;                                                   \
        uint8_t *host = fast_hit(tlb, la, 4, ACC_WRITE);                                           \
        if (INTERP_UNLIKELY(!host))                                                                \
            return interp_fast_generic_end(v, r, eip, fl, tlb);                                    \
        TARGET;                                                                                    \
        ops_poke(host, eip + r->length, 4);                                                        \
        v->gpr[R_ESP] = la;                                                                        \
        return go_to(v, r, target, fl, tlb);                                                       \
    }
#define FAST_JMP_TO(name, TARGET)                                                                  \
    static void name(FAST_ARGS)                                                                    \
    {                                                                                              \
        uint32_t target;                                                                           \
        (void)eip;                                                                                 \
        TARGET;                                                                                    \
        return go_to(v, r, target, fl, tlb);                                                       \
    }
#define TARGET_REG() target = FAST_REG(uint32_t, r->a)
#define TARGET_MEM()                                                                               \
    uint32_t from_la;                                                                              \
    fast_ea_full(v, r, &from_la);                                                                  \
    const uint8_t *from = fast_hit(tlb, from_la, 4, ACC_READ);                                     \
    if (INTERP_UNLIKELY(!from))                                                                    \
        return interp_fast_generic_end(v, r, eip, fl, tlb);                                        \
    target = ops_peek(from, 4)
FAST_CALL_TO(call_r32, TARGET_REG())
FAST_CALL_TO(call_m32, TARGET_MEM())
FAST_JMP_TO(jmp_r32, TARGET_REG())
FAST_JMP_TO(jmp_m32, TARGET_MEM())

/* imm: bytes to release besides the return address. */
static void ret_32(FAST_ARGS)
{
    uint32_t la = v->gpr[R_ESP];
    const uint8_t *host = fast_hit(tlb, la, 4, ACC_READ);
    if (INTERP_UNLIKELY(!host))
        return interp_fast_generic_end(v, r, eip, fl, tlb);
    v->gpr[R_ESP] = la + 4 + r->imm;
    return go_to(v, r, ops_peek(host, 4), fl, tlb);
}

/* For records of class CONTROL in flat mode. */
interp_fast_fn *interp_fast_select_control(struct interp_rec *r, const struct insn *i,
                                           bool flat_mem)
{
    bool reg = i->opnd[0].kind == OPND_REG;
    if (i->opsize != 4)
        return interp_fast_generic_end;
    switch (i->op) {
    case OP_JCC:
        return jcc_fns[i->cc];
    case OP_JMP:
        return jmp_rel;
    case OP_CALL:
        return call_rel;
    case OP_RET:
        r->imm = i->opnd[0].kind == OPND_IMM ? i->imm & 0xffff : 0;
        return ret_32;
    case OP_JMP_IND:
        return reg ? jmp_r32 : flat_mem ? jmp_m32 : interp_fast_generic_end;
    case OP_CALL_IND:
        return reg ? call_r32 : flat_mem ? call_m32 : interp_fast_generic_end;
    default:
        return interp_fast_generic_end;
    }
}
