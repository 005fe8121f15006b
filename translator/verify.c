/* SPDX-License-Identifier: MIT */
/* verify.c: host code -> accepted, or why not.
 *
 * One pass over the bytes. At each point either a PATTERN of verify.def matches, a sequence that is
 * harmless as a whole although its parts are not, or the bytes must be one branch, or one
 * instruction by a RULE that is harmless in any state. What is in neither table is refused.
 *
 * Invariants that every accepted instruction and sequence keeps, so that each may rely on them:
 *  - rsp, r13, r14 and r15 are what the world switch has loaded; nothing reads them as data.
 *  - The guest's registers (rax-rdi, r12) are zero-extended.
 *  - r8-r11 are used only where they have been set, to 32 bits, on the straight way there; so
 *    what sequences leave in them, addresses of the monitor's memory for one, goes nowhere.
 *  - rsp moves by 8 bytes with an access each time; the stack holds return addresses of calls.
 *  - A host return leaves a guest address in r8, and so does what goes to the jump cache.
 *
 * Sets of offsets: `starts` holds where control may arrive knowing nothing else than the above; the
 * start of each instruction or sequence is added, and what relies on more is taken out again.
 * `targets` holds where branches, other blocks and the monitor do arrive. At the end there may be
 * no target that is not a start. */
#include "translator/verify.h"

#include "ringdown/cpu.h"
#include "translator/verify_tables.h"

#include <string.h>

#define SIZE_MAX_BLOCK 65536u
#define NOWHERE        UINT32_MAX

static bool slot_holds(const struct slot *s, int32_t disp)
{
    uint32_t from = (uint32_t)disp - s->offset;
    return from % s->stride == 0 && from / s->stride < s->count;
}

/* --- the state of one check --- */

typedef uint64_t offset_set[SIZE_MAX_BLOCK / 64];

struct check {
    const struct verify_env *env;
    const uint8_t *code;
    uint32_t body, total;
    uint32_t at; /* start of what is being checked */
    bool falls;  /* control can get from there to what follows */
    /* For r8-r11: set if control has come on a straight way from behind this offset; NOWHERE: not
     * known to be set. */
    uint32_t set_at[SCRATCH_COUNT];
    offset_set starts, targets;
    offset_set breaks; /* where a loop can be left: entries and exits */
};

static void set_add(uint64_t *set, uint32_t offset)
{
    set[offset / 64] |= 1ull << offset % 64;
}

static bool set_has(const uint64_t *set, uint32_t offset)
{
    return set[offset / 64] >> offset % 64 & 1;
}

/* What is at hand relies on scratch registers: nothing may land between where they were set and
 * here. */
static enum verify_error need_scratch(struct check *c, unsigned registers)
{
    for (; registers; registers &= registers - 1) {
        uint32_t from = c->set_at[__builtin_ctz(registers)];
        if (from == NOWHERE)
            return VERIFY_SCRATCH;
        for (uint32_t offset = from + 1; offset <= c->at; offset++)
            c->starts[offset / 64] &= ~(1ull << offset % 64);
    }
    return VERIFY_NONE;
}

static void set_scratch(struct check *c, unsigned registers, uint32_t at)
{
    for (; registers; registers &= registers - 1)
        c->set_at[__builtin_ctz(registers)] = at;
}

/* Control comes back to `next` from a host call. */
static void come_back(struct check *c, uint32_t next)
{
    set_scratch(c, R9 | R10 | R11, NOWHERE);
    set_scratch(c, R8, next - 1);
}

static int32_t read32(const uint8_t *p)
{
    int32_t value;
    memcpy(&value, p, sizeof(value));
    return value;
}

static uint64_t address_at(const struct check *c, const uint8_t *p)
{
    return c->env->address + (uint64_t)(p - c->code);
}

/* --- single instructions --- */

/* What an instruction at the end of a probe of the software TLB may access. */
struct probe {
    int32_t size;
    bool writable;
};

struct host {
    const uint8_t *p; /* next byte */
    const struct probe *probe;
    const struct rule *rule;
    bool gs, a32, op16, lock, memory, sib;
    uint8_t rep, prefix, rex, map, opcode, mod, reg, rm;
    uint8_t base, index, scale; /* registers, or NO_REGISTER */
    uint8_t uses, sets;         /* sets of scratch registers */
    int32_t disp;
};
#define NO_REGISTER 0xff
enum { REX_B = 1, REX_X = 2, REX_R = 4, REX_W = 8 };

/* In the one order that is accepted; each at most once. */
static enum verify_error take_opcode(struct host *h)
{
    h->gs = *h->p == 0x65 && h->p++;
    h->a32 = *h->p == 0x67 && h->p++;
    h->op16 = *h->p == 0x66 && h->p++;
    h->rep = *h->p == 0xf2 || *h->p == 0xf3 ? *h->p++ : 0;
    h->lock = *h->p == 0xf0 && h->p++;
    h->rex = (*h->p & 0xf0) == 0x40 ? *h->p++ : 0;
    h->prefix = h->rep == 0xf2 ? CLASS_F2 : h->rep ? CLASS_F3 : h->op16 ? CLASS_66 : CLASS_N;
    h->opcode = *h->p++;
    if (h->opcode == 0x0f) {
        h->opcode = *h->p++;
        h->map = h->opcode == 0x38 ? 2 : h->opcode == 0x3a ? 3 : 1;
        if (h->map > 1)
            h->opcode = *h->p++;
    }
    unsigned number = verify_rule_numbers[h->map][h->opcode][h->prefix];
    if (!number)
        return h->map == 0 && memchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", h->opcode, 11)
                   ? VERIFY_PREFIX
                   : VERIFY_OPCODE;
    h->rule = &verify_rules[number - 1];
    return VERIFY_NONE;
}

static void take_memory(struct host *h)
{
    unsigned low = h->rm;
    h->base = (uint8_t)(h->rm | (h->rex & REX_B) << 3);
    h->index = NO_REGISTER;
    if (h->rm == 4) {
        unsigned sib = *h->p++, index = (sib >> 3 & 7) | (h->rex & REX_X) << 2;
        low = sib & 7;
        h->sib = true;
        h->scale = sib >> 6;
        h->base = (uint8_t)(low | (h->rex & REX_B) << 3);
        h->index = (uint8_t)(index == 4 ? NO_REGISTER : index);
    }
    if (h->mod == 0 && low == 5)
        h->base = NO_REGISTER; /* without a SIB byte it is RIP */
    if (h->mod == 1)
        h->disp = (int8_t)*h->p++;
    if (h->mod == 2 || h->base == NO_REGISTER) {
        h->disp = read32(h->p);
        h->p += 4;
    }
}

static enum verify_error take_operands(struct host *h)
{
    const struct rule *r = h->rule;
    if (!(r->memory | r->direct)) {
        h->rm = h->opcode & 7;
        return VERIFY_NONE;
    }
    unsigned modrm = *h->p++;
    h->mod = (uint8_t)(modrm >> 6);
    h->reg = modrm >> 3 & 7;
    h->rm = modrm & 7;
    h->memory = h->mod != 3;
    if (!((h->memory ? r->memory : r->direct) >> h->reg & 1))
        return VERIFY_OPCODE;
    if (h->memory)
        take_memory(h);
    return VERIFY_NONE;
}

static unsigned immediate_size(const struct host *h)
{
    unsigned word = h->op16 ? 2 : 4;
    switch (h->rule->imm) {
    case I8:
        return 1;
    case IZ:
        return word;
    case I8G3:
        return h->reg < 2 ? 1 : 0;
    case IZG3:
        return h->reg < 2 ? word : 0;
    default:
        return 0;
    }
}

/* rsp, r13, r14, r15 are the monitor's. */
static bool is_reserved(unsigned reg)
{
    return reg == 4 || (reg >= 13 && reg <= 15);
}

static unsigned scratch_bit(unsigned reg)
{
    return reg >= 8 && reg < 12 ? 1u << (reg - 8) : 0;
}

/* MOV, LEA and MOVZX replace the whole of a register that they do not read, and zero-extend. */
static bool replaces_reg(const struct host *h)
{
    return !h->op16 && ((h->map == 0 && (h->opcode == 0x8b || h->opcode == 0x8d)) ||
                        (h->map == 1 && (h->opcode == 0xb6 || h->opcode == 0xb7)));
}

static bool replaces_rm(const struct host *h)
{
    return !h->op16 && h->map == 0 && (h->opcode & 0xf8) == 0xb8;
}

/* A register operand: whether the guest may have it, and what it means for r8-r11. */
static bool take_register(struct host *h, unsigned kind, unsigned number, bool replaced)
{
    switch (kind) {
    case GPR8: /* with any REX, 4-7 are SPL, BPL, SIL, DIL instead of AH, CH, DH, BH */
        h->uses |= (uint8_t)scratch_bit(number);
        return !h->rex || number < 4 || (number >= 8 && number < 12);
    case GPR:
        *(replaced ? &h->sets : &h->uses) |= (uint8_t)scratch_bit(number);
        return !is_reserved(number);
    case VEC: /* the upper half of the vector registers is not the guest's */
        return number < 8;
    default:
        return true;
    }
}

static bool take_registers(struct host *h)
{
    unsigned reg = h->reg | (h->rex & REX_R) << 1, rm = h->rm | (h->rex & REX_B) << 3;
    return take_register(h, h->rule->reg, reg, replaces_reg(h)) &&
           (h->memory || take_register(h, h->rule->rm, rm, replaces_rm(h)));
}

/* [r15 + disp]. `imm` is the immediate, if there is one. */
static enum verify_error check_slot(const struct host *h, const uint8_t *imm)
{
    unsigned access = 0;
    if (h->prefix != CLASS_N || h->lock)
        return VERIFY_SLOT;
    if (h->map == 0 && h->opcode == 0x8b)
        access = READ32;
    else if (h->map == 1 && h->opcode == 0xb7)
        access = READ16;
    else if (h->map == 0 && h->opcode == 0xc7 && !(read32(imm) & ~(int32_t)EFL_IF))
        access = WRITE_IF;
    for (unsigned i = 0; i < verify_slot_count; i++)
        if ((verify_slots[i].access & access) && slot_holds(&verify_slots[i], h->disp))
            return VERIFY_NONE;
    return VERIFY_SLOT;
}

/* Of D9, DB, DD, DF and 0F AE by ModRM.reg; 0 where there is no operand that is accepted. */
static int size_by_reg(const struct host *h)
{
    static const uint8_t sizes[5][8] = {
        {4, 0, 4, 4, 0,  2,  0,  2 },
        {4, 4, 4, 4, 0,  10, 0,  10},
        {8, 8, 8, 8, 0,  0,  0,  2 },
        {2, 2, 2, 2, 10, 8,  10, 8 },
        {0, 0, 4, 4, 0,  0,  0,  1 },
    };
    return sizes[h->map ? 4 : h->opcode >> 1 & 3][h->reg];
}

static int memory_size(const struct host *h)
{
    int size = h->rule->size[h->prefix];
    return size == SIZE_OPERAND ? (h->op16 ? 2 : 4) : size == SIZE_BY_REG ? size_by_reg(h) : size;
}

/* [r10 + r11] behind a probe: no more than what was probed for. */
static enum verify_error check_probed(const struct host *h)
{
    const struct rule *r = h->rule;
    int size = memory_size(h);
    bool writes = r->writes >> h->reg & 1;
    if (h->gs || h->a32 || r->rm == ADDR || h->base != 10 || h->index != 11 || h->scale ||
        h->disp || !size || size > h->probe->size || (writes && !h->probe->writable))
        return VERIFY_PROBE;
    return VERIFY_NONE;
}

/* [r14 + disp], [r14 + 32-bit register + disp]: within 2 GiB of the view. */
static enum verify_error check_view(struct host *h)
{
    if (h->index == NO_REGISTER)
        return VERIFY_NONE;
    if (h->scale)
        return VERIFY_MEMORY;
    h->uses |= (uint8_t)scratch_bit(h->index);
    return is_reserved(h->index) ? VERIFY_REGISTER : VERIFY_NONE;
}

static enum verify_error check_memory(struct host *h, const uint8_t *imm)
{
    bool address_only = h->rule->rm == ADDR;
    if (h->probe)
        return check_probed(h);
    if (h->base == NO_REGISTER && !h->sib)
        return VERIFY_RIP;
    if (h->base == 15 && !h->sib && !h->gs && !h->a32 && !address_only)
        return check_slot(h, imm);
    if (h->base == 14 && !h->gs && !h->a32 && !address_only)
        return check_view(h);
    if (address_only ? h->gs : !h->gs || !h->a32)
        return VERIFY_MEMORY;
    h->uses |= (uint8_t)(scratch_bit(h->base) | scratch_bit(h->index));
    return is_reserved(h->base) || is_reserved(h->index) ? VERIFY_REGISTER : VERIFY_NONE;
}

static enum verify_error check_parts(struct host *h)
{
    enum verify_error error = take_opcode(h);
    if (!error)
        error = take_operands(h);
    if (error)
        return error;
    const uint8_t *imm = h->p;
    h->p += immediate_size(h);
    if (h->rex & REX_W)
        return VERIFY_WIDE;
    if (h->lock && !((h->rule->prefixes & LOCK) && h->memory && h->rule->writes >> h->reg & 1))
        return VERIFY_PREFIX;
    if (!take_registers(h))
        return VERIFY_REGISTER;
    if (h->memory)
        return check_memory(h, imm);
    if (h->probe)
        return VERIFY_PROBE;
    return h->gs || h->a32 ? VERIFY_PREFIX : VERIFY_NONE;
}

#define HOST_MAX 20 /* more than the longest instruction that take_*() go through */

/* One instruction at `code`, of which `left` bytes may belong to it. */
static enum verify_error check_instruction(struct check *c, const uint8_t *code, size_t left,
                                           const struct probe *probe, unsigned *length)
{
    uint8_t tail[HOST_MAX];
    const uint8_t *start = code;
    if (left < HOST_MAX) {
        memset(tail, 0, sizeof(tail));
        start = memcpy(tail, code, left);
    }
    struct host h = {.p = start, .probe = probe};
    enum verify_error error = check_parts(&h);
    *length = (unsigned)(h.p - start);
    if (*length > left)
        return VERIFY_TRUNCATED;
    if (!error)
        error = need_scratch(c, h.uses);
    set_scratch(c, h.sets, c->at);
    c->falls = true;
    return error;
}

/* --- branches --- */

static enum verify_error branch_to(struct check *c, uint64_t target)
{
    const struct verify_env *env = c->env;
    uint64_t offset = target - env->address;
    if (offset < c->total) {
        if (offset <= c->at && !set_has(c->breaks, (uint32_t)offset))
            return VERIFY_LOOP;
        set_add(c->targets, (uint32_t)offset);
        return VERIFY_NONE;
    }
    if (target == env->lookup || target == env->indirect)
        return need_scratch(c, R8);
    return env->is_entry && env->is_entry(env->opaque, target) ? VERIFY_NONE : VERIFY_OUTSIDE;
}

/* Jumps, calls and the return, all without prefixes. Length 0: the bytes are none of them. */
static enum verify_error check_branch(struct check *c, unsigned left, unsigned *length)
{
    const uint8_t *p = c->code + c->at;
    unsigned opcode = p[0];
    bool near = left > 1 && opcode == 0x0f && (p[1] & 0xf0) == 0x80; /* Jcc rel32 */
    bool call = opcode == 0xe8, jump = opcode == 0xe9 || opcode == 0xeb;
    if (opcode == 0xc3) { /* RET */
        *length = 1;
        c->falls = false;
        return need_scratch(c, R8);
    }
    if ((opcode & 0xf0) == 0x70 || opcode == 0xe3 || opcode == 0xeb) /* Jcc, JRCXZ, JMP rel8 */
        *length = 2;
    else if (call || jump || near)
        *length = near ? 6 : 5;
    else
        return VERIFY_NONE;
    if (*length > left)
        return VERIFY_TRUNCATED;
    const uint8_t *next = p + *length;
    int64_t displacement = *length == 2 ? (int8_t)next[-1] : read32(next - 4);
    enum verify_error error = branch_to(c, address_at(c, next) + (uint64_t)displacement);
    c->falls = !jump;
    if (call)
        come_back(c, c->at + *length);
    return error;
}

/* --- sequences --- */

struct match {
    const uint8_t *p, *end;
    const uint8_t *branch, *landing, *last; /* behind a `=>`; at a `*`; at a `$` */
    const uint8_t *labels[LABELS_MAX];
    struct probe probe;
};

/* The displacement of a ModRM byte with the given reg field and base register (bit 3 is in REX). */
static bool match_operand(struct match *m, unsigned reg, unsigned base, int32_t *disp)
{
    static const uint8_t disp_size[] = {0, 1, 4};
    if (m->p == m->end)
        return false;
    unsigned modrm = *m->p++, mod = modrm >> 6;
    if (mod == 3 || (modrm >> 3 & 7) != reg || (modrm & 7) != base || (mod == 0 && base == 5) ||
        m->end - m->p < (base == 4) + disp_size[mod])
        return false;
    if (base == 4 && *m->p++ != 0x24)
        return false;
    *disp = mod == 0 ? 0 : mod == 1 ? (int8_t)*m->p : read32(m->p);
    m->p += disp_size[mod];
    return true;
}

static bool match_modrm(struct match *m, const struct step *s)
{
    int32_t disp;
    if (!match_operand(m, s->n, s->value[0], &disp))
        return false;
    if (!s->value[1])
        return true;
    if (disp < 0 || disp >= 16 || (m->probe.size && m->probe.size != disp + 1))
        return false;
    m->probe.size = disp + 1;
    return true;
}

/* Where the entry of the software TLB for page 0 has a field. */
static uint32_t tlb_field(const struct check *c, size_t field)
{
    return (uint32_t)(offsetof(struct vcpu, tlb) + field +
                      (c->env->user ? TLB_SIZE * sizeof(struct tlb_entry) : 0));
}

static bool match_word(const struct check *c, struct match *m, enum word word)
{
    if (m->end - m->p < 4)
        return false;
    uint32_t value = (uint32_t)read32(m->p);
    m->p += 4;
    uint64_t target = address_at(c, m->p) + (uint64_t)(int32_t)value;
    uint32_t probe = tlb_field(c, offsetof(struct tlb_entry, probe));
    switch (word) {
    case WORD_EXIT:
        return target == c->env->exit;
    case WORD_LOOKUP:
        return target == c->env->lookup;
    case WORD_INDIRECT:
        return target == c->env->indirect;
    case WORD_EXIT_ID:
        return value - c->env->exit_first < c->env->exit_count;
    case WORD_HOST_FLAGS:
        return !(value & ~EFL_HOST);
    case WORD_TLB_PROBE:
        m->probe.writable = value == probe + sizeof(uint32_t);
        return m->probe.writable || value == probe;
    case WORD_TLB_HOST:
        return value == tlb_field(c, offsetof(struct tlb_entry, host));
    case WORD_TLB_MIXED: /* only what was probed for as a write may be written where code is not */
        return m->probe.writable && value == offsetof(struct vcpu, tlb_mixed) +
                                                 (c->env->user ? TLB_SIZE * sizeof(uint32_t) : 0);
    case WORD_TLB_GFN:
        return value == tlb_field(c, offsetof(struct tlb_entry, gfn));
    case WORD_GATE:
        return value >= c->env->gate_words && value < c->env->gate_end && !(value & 3);
    case WORD_EXPECTED:
        return value == offsetof(struct vcpu, expected.slot);
    case WORD_BRANCH:
        m->branch = m->p;
        return true;
    default:
        return true;
    }
}

static bool match_set(struct match *m, const struct step *s)
{
    if (m->p == m->end || !memchr(s->value, *m->p, s->n))
        return s->kind == STEP_OPTIONAL;
    m->p++;
    return true;
}

static bool match_step(const struct check *c, struct match *m, const struct step *s)
{
    int32_t disp;
    switch (s->kind) {
    case STEP_SET:
    case STEP_OPTIONAL:
        return match_set(m, s);
    case STEP_SLOT:
        return match_operand(m, s->n, 7, &disp) && slot_holds(&verify_slots[s->value[0]], disp);
    case STEP_MODRM:
        return match_modrm(m, s);
    case STEP_REL8:
        if (m->p == m->end || (int8_t)*m->p < 0)
            return false;
        if (m->labels[s->n] && m->labels[s->n] != m->p + 1 + *m->p)
            return false;
        m->labels[s->n] = m->p + 1 + *m->p;
        m->p++;
        return true;
    case STEP_BACK:
        if (m->end - m->p < 4)
            return false;
        m->p += 4;
        return m->labels[s->n] == m->p + read32(m->p - 4);
    case STEP_LABEL: /* the target of a branch before it, or of one behind it */
        if (!m->labels[s->n])
            m->labels[s->n] = m->p;
        return m->labels[s->n] == m->p;
    case STEP_LANDING:
        m->landing = m->p;
        return true;
    case STEP_INSTRUCTION:
        m->last = m->p;
        return true;
    default:
        return match_word(c, m, s->n);
    }
}

static bool match_program(const struct check *c, struct match *m, const struct step *s)
{
    for (; s->kind != STEP_END; s++) {
        if (s->kind == STEP_BYTE) {
            if (m->p == m->end || *m->p != s->value[0])
                return false;
            m->p++;
        } else if (!match_step(c, m, s)) {
            return false;
        }
    }
    return true;
}

/* What a sequence that has been recognised asks of the state and does to it. */
static enum verify_error accept_pattern(struct check *c, struct match *m, const struct pattern *row)
{
    enum verify_error error = need_scratch(c, row->needs);
    if (!error && m->branch)
        error = branch_to(c, address_at(c, m->branch) + (uint64_t)(int64_t)read32(m->branch - 4));
    if (m->landing)
        set_add(c->starts, (uint32_t)(m->landing - c->code));
    set_scratch(c, row->loses, NOWHERE);
    if (row->flags & SETS_R8)
        set_scratch(c, R8, c->at);
    if (m->last && !error) {
        unsigned length;
        error = check_instruction(c, m->last, (size_t)(m->end - m->last), &m->probe, &length);
        m->p += length;
    }
    if (row->flags & LEAVES)
        set_add(c->breaks, c->at);
    if (row->flags & CALLS)
        come_back(c, (uint32_t)(m->p - c->code));
    c->falls = !(row->flags & ENDS);
    return error;
}

/* Length 0: no sequence starts here. */
static enum verify_error check_pattern(struct check *c, uint32_t limit, unsigned *length)
{
    const uint8_t *start = c->code + c->at;
    uint32_t left = limit - c->at > 1 ? verify_patterns_by_byte[*start] : 0;
    for (; left; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctz(left);
        if (verify_programs[n][1].kind == STEP_BYTE && verify_programs[n][1].value[0] != start[1])
            continue;
        struct match m = {.p = start, .end = c->code + limit};
        if (!match_program(c, &m, verify_programs[n]))
            continue;
        enum verify_error error = accept_pattern(c, &m, &verify_patterns[n]);
        *length = (unsigned)(m.p - start);
        return error;
    }
    return VERIFY_NONE;
}

/* --- the pass --- */

static enum verify_error check_next(struct check *c, unsigned *length)
{
    uint32_t limit = c->at < c->body ? c->body : c->total;
    enum verify_error error = check_pattern(c, limit, length);
    if (c->at >= c->body && !error && (!*length || !set_has(c->breaks, c->at)))
        return VERIFY_STUB;
    if (!error && !*length)
        error = check_branch(c, limit - c->at, length);
    if (!error && !*length)
        error = check_instruction(c, c->code + c->at, limit - c->at, NULL, length);
    return error;
}

static enum verify_error check_all(struct check *c, struct verify_report *out)
{
    for (c->at = 0; c->at < c->total; out->insns++) {
        unsigned length = 0;
        set_add(c->starts, c->at);
        enum verify_error error = check_next(c, &length);
        if (error)
            return error;
        c->at += length;
        if ((c->at == c->body || c->at == c->total) && c->falls)
            return VERIFY_FALLS;
    }
    for (uint32_t i = 0; i <= (c->total - 1) / 64; i++) {
        uint64_t bad = c->targets[i] & ~c->starts[i];
        if (bad) {
            c->at = i * 64 + (uint32_t)__builtin_ctzll(bad);
            return VERIFY_MIDDLE;
        }
    }
    return VERIFY_NONE;
}

enum verify_error verify_block(const struct verify_env *env, const uint8_t *code, size_t body_size,
                               size_t total_size, struct verify_report *out)
{
    struct check c; /* large: only as much of the sets is cleared as the block needs */
    *out = (struct verify_report){0};
    if (!verify_tables() || !body_size || body_size > total_size || total_size > SIZE_MAX_BLOCK)
        return VERIFY_SIZE;
    size_t bytes = (total_size + 63) / 64 * sizeof(uint64_t);
    memset(c.starts, 0, bytes);
    memset(c.targets, 0, bytes);
    memset(c.breaks, 0, bytes);
    c.env = env;
    c.code = code;
    c.body = (uint32_t)body_size;
    c.total = (uint32_t)total_size;
    c.falls = true;
    set_scratch(&c, R8 | R9 | R10 | R11, NOWHERE);
    for (uint32_t i = 0; i < env->entry_count; i++) {
        if (env->entries[i] >= body_size) {
            out->offset = env->entries[i];
            return VERIFY_MIDDLE;
        }
        set_add(c.targets, env->entries[i]);
        set_add(c.breaks, env->entries[i]);
    }
    enum verify_error error = check_all(&c, out);
    out->offset = c.at;
    return error;
}

const char *verify_error_text(enum verify_error error)
{
    static const char *const texts[] = {
#define X(name, text) text,
        VERIFY_ERRORS(X)
#undef X
    };
    return (unsigned)error < VERIFY_ERROR_COUNT ? texts[error] : "?";
}
