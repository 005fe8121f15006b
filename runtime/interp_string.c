/* SPDX-License-Identifier: MIT */
/* interp_string.c: MOVS, STOS, LODS, CMPS, SCAS and their repetition.
 *
 * An iteration is one function: it makes its accesses, then moves the index registers. After each
 * iteration ESI, EDI and ECX tell how far the instruction came, so a fault or a request may end it
 * there; EIP stays on it until the count is used up. The flags of a compare change only when the
 * instruction is left in good order, since a fault restores them (SDM vol. 2, REP).
 *
 * Runs of iterations within a page of plain RAM are done by the host's own string instructions,
 * which have the right element order even when source and destination overlap. */
#include "runtime/interp_ops.h"

#include "runtime/interp_handlers.h"

/* The operands of one string instruction. */
struct string {
    unsigned size; /* of an element */
    unsigned seg;  /* of the source */
    uint32_t mask; /* of index registers and count: the address size */
    int32_t step;  /* size or -size, by DF */
};

static struct string string_of(const struct vcpu *v, const struct insn *i)
{
    struct string s;
    s.size = i->opcode & 1 ? i->opsize : 1;
    s.seg = i->seg_prefix == 0xff ? SEG_DS : i->seg_prefix;
    s.mask = i->addrsize == 4 ? 0xffffffffu : 0xffffu;
    s.step = v->eflags & EFL_DF ? -(int32_t)s.size : (int32_t)s.size;
    return s;
}

static void advance(struct vcpu *v, const struct string *s, unsigned reg, int32_t by)
{
    v->gpr[reg] = (v->gpr[reg] & ~s->mask) | ((v->gpr[reg] + (uint32_t)by) & s->mask);
}

static uint32_t source(struct vcpu *v, const struct string *s)
{
    return ops_linear(v, s->seg, v->gpr[R_ESI] & s->mask, s->size, 0);
}

static uint32_t destination(struct vcpu *v, const struct string *s, int write)
{
    return ops_linear(v, SEG_ES, v->gpr[R_EDI] & s->mask, s->size, write);
}

/* --- one iteration --- */

static void movs_once(struct vcpu *v, const struct string *s)
{
    uint32_t value = ops_load(v, source(v, s), s->size);
    ops_store(v, destination(v, s, 1), value, s->size);
    advance(v, s, R_ESI, s->step);
    advance(v, s, R_EDI, s->step);
}

static void stos_once(struct vcpu *v, const struct string *s)
{
    ops_store(v, destination(v, s, 1), v->gpr[R_EAX], s->size);
    advance(v, s, R_EDI, s->step);
}

static void lods_once(struct vcpu *v, const struct string *s)
{
    ops_set_reg(v, R_EAX, s->size, ops_load(v, source(v, s), s->size));
    advance(v, s, R_ESI, s->step);
}

static uint32_t compare_flags(uint32_t a, uint32_t b, unsigned size)
{
    uint32_t fl = 0;
    if (size == 1)
        alu_cmp8(a, b, &fl);
    else if (size == 2)
        alu_cmp16(a, b, &fl);
    else
        alu_cmp32(a, b, &fl);
    return fl;
}

static uint32_t cmps_once(struct vcpu *v, const struct string *s)
{
    /* processors read the destination first, which shows if both fault */
    uint32_t b = ops_load(v, destination(v, s, 0), s->size);
    uint32_t a = ops_load(v, source(v, s), s->size);
    advance(v, s, R_ESI, s->step);
    advance(v, s, R_EDI, s->step);
    return compare_flags(a, b, s->size);
}

static uint32_t scas_once(struct vcpu *v, const struct string *s)
{
    uint32_t b = ops_load(v, destination(v, s, 0), s->size);
    advance(v, s, R_EDI, s->step);
    return compare_flags(ops_reg(v, R_EAX, s->size), b, s->size);
}

/* --- repetition --- */

static uint32_t count(const struct vcpu *v, const struct string *s)
{
    return v->gpr[R_ECX] & s->mask;
}

/* After an iteration or a run of them: stop here although the count is not used up? */
static bool pause_here(const struct vcpu *v)
{
    return v->request || ops_shared(v)->single;
}

/* Left before the end: EIP stays. What comes in between saves RF set, so that an instruction
 * breakpoint is not met again (SDM vol. 3, 17.3.1.1); it matters only where there may be
 * breakpoints. */
static bool unfinished(struct vcpu *v)
{
    if (ops_shared(v)->single)
        v->eflags |= EFL_RF;
    return true;
}

/* How many elements from `reg` on lie in one page and in the segment, going up; 0 if the address
 * would wrap. *la gets the first one's linear address. */
static uint32_t run_length(const struct vcpu *v, const struct string *s, unsigned seg, unsigned reg,
                           int write, uint32_t *la)
{
    const struct segment *g = &v->seg[seg];
    uint32_t off = v->gpr[reg] & s->mask;
    uint32_t room;
    if (segment_flat(g)) {
        room = 0xffffffffu - off;
    } else {
        uint32_t want = SEG_ATTR_P | SEG_ATTR_S | (write ? SEG_ATTR_WRITE : 0);
        uint32_t bad = SEG_ATTR_CODE | SEG_ATTR_DOWN | SEG_ATTR_NULL;
        if ((g->attr & (want | bad)) != want || off > g->limit)
            return 0;
        room = g->limit - off;
    }
    if (room > s->mask - off)
        room = s->mask - off;
    *la = g->base + off;
    uint32_t page = 0xfff - (*la & 0xfff);
    return ((room < page ? room : page) + 1) / s->size;
}

/* A run for the host's string instructions; 0: not now. */
static uint32_t run_max(const struct vcpu *v, const struct string *s)
{
    if (s->step < 0 || ops_shared(v)->hooks || pause_here(v))
        return 0;
    return count(v, s);
}

static uint32_t min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void run_done(struct vcpu *v, const struct string *s, uint32_t n, bool src, bool dst)
{
    if (src)
        advance(v, s, R_ESI, (int32_t)(n * s->size));
    if (dst)
        advance(v, s, R_EDI, (int32_t)(n * s->size));
    advance(v, s, R_ECX, -(int32_t)n);
}

#define HOST_STRING(insn, size, ...)                                                               \
    ((size) == 1   ? ({ __asm__ volatile(insn "b" __VA_ARGS__); })                                 \
     : (size) == 2 ? ({ __asm__ volatile(insn "w" __VA_ARGS__); })                                 \
                   : ({ __asm__ volatile(insn "l" __VA_ARGS__); }))

static bool movs_run(struct vcpu *v, const struct string *s)
{
    uint32_t from, to, n = run_max(v, s);
    if (n < 2)
        return false;
    n = min(n, run_length(v, s, s->seg, R_ESI, 0, &from));
    n = n ? min(n, run_length(v, s, SEG_ES, R_EDI, 1, &to)) : 0;
    if (n < 2)
        return false;
    const uint8_t *src = mmu_direct(v, from, (size_t)n * s->size, ACC_READ);
    uint8_t *dst = src ? mmu_direct(v, to, (size_t)n * s->size, ACC_WRITE) : NULL;
    if (!dst)
        return false;
    uint64_t left = n;
    HOST_STRING("rep movs", s->size, : "+S"(src), "+D"(dst), "+c"(left) : : "memory");
    run_done(v, s, n, true, true);
    return true;
}

static bool stos_run(struct vcpu *v, const struct string *s)
{
    uint32_t to, n = run_max(v, s);
    if (n < 2)
        return false;
    n = min(n, run_length(v, s, SEG_ES, R_EDI, 1, &to));
    uint8_t *dst = n < 2 ? NULL : mmu_direct(v, to, (size_t)n * s->size, ACC_WRITE);
    if (!dst)
        return false;
    uint64_t left = n;
    HOST_STRING("rep stos", s->size, : "+D"(dst), "+c"(left) : "a"(v->gpr[R_EAX]) : "memory");
    run_done(v, s, n, false, true);
    return true;
}

static bool repeat(struct vcpu *v, const struct string *s,
                   void (*once)(struct vcpu *, const struct string *),
                   bool (*run)(struct vcpu *, const struct string *))
{
    while (count(v, s)) {
        if (!run || !run(v, s)) {
            once(v, s);
            advance(v, s, R_ECX, -1);
        }
        if (pause_here(v) && count(v, s))
            return unfinished(v);
    }
    return false;
}

static bool is_repeated(const struct insn *i)
{
    return i->rep || i->repne;
}

bool op_movs(struct vcpu *v, const struct insn *i)
{
    struct string s = string_of(v, i);
    if (is_repeated(i))
        return repeat(v, &s, movs_once, movs_run);
    movs_once(v, &s);
    return false;
}

bool op_stos(struct vcpu *v, const struct insn *i)
{
    struct string s = string_of(v, i);
    if (is_repeated(i))
        return repeat(v, &s, stos_once, stos_run);
    stos_once(v, &s);
    return false;
}

bool op_lods(struct vcpu *v, const struct insn *i)
{
    struct string s = string_of(v, i);
    if (is_repeated(i))
        return repeat(v, &s, lods_once, NULL);
    lods_once(v, &s);
    return false;
}

/* --- compares --- */

/* The host's REPE or REPNE on a run; false if it cannot be. *fl are the last iteration's flags. */
static bool cmps_run(struct vcpu *v, const struct string *s, bool until_equal, uint32_t *fl)
{
    uint32_t a, b, n = run_max(v, s);
    if (n < 2)
        return false;
    n = min(n, run_length(v, s, s->seg, R_ESI, 0, &a));
    n = n ? min(n, run_length(v, s, SEG_ES, R_EDI, 0, &b)) : 0;
    if (n < 2)
        return false;
    const uint8_t *src = mmu_direct(v, a, (size_t)n * s->size, ACC_READ);
    const uint8_t *dst = src ? mmu_direct(v, b, (size_t)n * s->size, ACC_READ) : NULL;
    if (!dst)
        return false;
    uint64_t left = n;
    uint32_t raw;
    if (until_equal)
        HOST_STRING("repne cmps", s->size, RAW_OUT
                    : "+S"(src), "+D"(dst), "+c"(left), "=a"(raw)
                    :
                    : "memory", "cc");
    else
        HOST_STRING("repe cmps", s->size, RAW_OUT
                    : "+S"(src), "+D"(dst), "+c"(left), "=a"(raw)
                    :
                    : "memory", "cc");
    *fl = raw;
    run_done(v, s, n - (uint32_t)left, true, true);
    return true;
}

static bool scas_run(struct vcpu *v, const struct string *s, bool until_equal, uint32_t *fl)
{
    uint32_t b, n = run_max(v, s);
    if (n < 2)
        return false;
    n = min(n, run_length(v, s, SEG_ES, R_EDI, 0, &b));
    const uint8_t *dst = n < 2 ? NULL : mmu_direct(v, b, (size_t)n * s->size, ACC_READ);
    if (!dst)
        return false;
    uint64_t left = n;
    uint32_t raw = v->gpr[R_EAX];
    if (until_equal)
        HOST_STRING("repne scas", s->size, RAW_OUT
                    : "+D"(dst), "+c"(left), "+a"(raw)
                    :
                    : "memory", "cc");
    else
        HOST_STRING("repe scas", s->size, RAW_OUT
                    : "+D"(dst), "+c"(left), "+a"(raw)
                    :
                    : "memory", "cc");
    *fl = raw;
    run_done(v, s, n - (uint32_t)left, false, true);
    return true;
}

static bool repeat_compare(struct vcpu *v, const struct string *s, bool until_equal,
                           uint32_t (*once)(struct vcpu *, const struct string *),
                           bool (*run)(struct vcpu *, const struct string *, bool, uint32_t *))
{
    uint32_t fl = flags_pack(v->eflags);
    bool stopped = false;
    while (count(v, s) && !stopped) {
        if (!run(v, s, until_equal, &fl)) {
            fl = once(v, s);
            advance(v, s, R_ECX, -1);
        }
        stopped = !(fl & RAW_ZF) == !until_equal;
        if (pause_here(v) && count(v, s) && !stopped) {
            ops_set_flags(v, fl);
            return unfinished(v);
        }
    }
    ops_set_flags(v, fl);
    return false;
}

bool op_cmps(struct vcpu *v, const struct insn *i)
{
    struct string s = string_of(v, i);
    if (is_repeated(i))
        return repeat_compare(v, &s, i->repne, cmps_once, cmps_run);
    ops_set_flags(v, cmps_once(v, &s));
    return false;
}

bool op_scas(struct vcpu *v, const struct insn *i)
{
    struct string s = string_of(v, i);
    if (is_repeated(i))
        return repeat_compare(v, &s, i->repne, scas_once, scas_run);
    ops_set_flags(v, scas_once(v, &s));
    return false;
}
