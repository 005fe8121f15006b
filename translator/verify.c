/* SPDX-License-Identifier: MIT */
/* verify.c: host code -> accepted, or why not.
 *
 * One pass over the bytes. At each point either a row of `patterns` matches, a sequence that is
 * harmless as a whole although its parts are not, or the bytes must be one instruction of `rules`
 * that is harmless in any state. What is in neither table is refused.
 *
 * Invariants that every accepted instruction and sequence keeps, so that each may rely on them:
 *  - rsp, r13, r14 and r15 are what the world switch has loaded; nothing reads them as data.
 *  - The guest's registers (rax-rdi, r12) are zero-extended. r8-r11 may hold anything.
 *  - rsp moves by 8 bytes with an access each time; the stack holds return addresses of calls only.
 *  - Wherever control leaves for the jump cache or returns, r8 is a zero-extended guest address.
 *
 * Sets of offsets: `starts` holds where control may arrive knowing nothing else than the above; the
 * start of each instruction or sequence is added, and what relies on more is taken out again.
 * `targets` holds where branches, other blocks and the monitor do arrive. At the end there may be
 * no target that is not a start. */
#include "translator/verify.h"

#include "ringdown/cpu.h"

#include <string.h>
#include <threads.h>

#define SIZE_MAX_BLOCK 65536u
#define NOWHERE        UINT32_MAX

/* --- tables (verify.def) --- */

/* How one instruction alone may access a slot. */
enum { SEQUENCE = 0, READ16 = 1, READ32 = 2, WRITE_IF = 4 /* constants 0 and EFL_IF, 32 bits */ };
/* What a pattern needs and does. */
enum {
    NEEDS_TARGET = 1, /* r8 holds a guest address */
    LOSES_TARGET = 2, /* r8 holds anything afterwards */
    ENDS = 4,         /* control does not get behind it */
    CALLS = 8,        /* control gets behind it by a host return */
    LEAVES = 16,      /* an exit: the only thing that may be a stub */
};
/* What a ModRM field names: GPR8 and GPR general registers, VEC x87, MMX and XMM ones; NIL nothing
 * or a part of the opcode; ADDR an address that is not accessed. */
enum { NIL, GPR8, GPR, VEC, ADDR };
/* Prefixes that go with an opcode: none, 66, F2, F3; F0 with memory operands. */
enum { N = 1, P66 = 2, F2 = 4, F3 = 8, LOCK = 16 };
#define N66 (N | P66)
#define NPS (N | P66 | F2 | F3)
/* Immediate: a byte; of the operand's size; the same for ModRM.reg 0 and 1 only. */
enum { I0, I8, IZ, I8G3, IZG3 };
#define ALL        0xff
#define EXT(n)     (1u << (n))
#define EXT2(a, b) (EXT(a) | EXT(b))

static const struct slot {
    const char *name;
    uint32_t offset, count, stride, access;
} slots[] = {
#define SLOT(name, field, extra, count, stride, access)                                            \
    {name, offsetof(struct vcpu, field) + (extra), count, stride, access},
#include "translator/verify.def"
};
#define SLOT_COUNT (sizeof(slots) / sizeof(slots[0]))

static const struct pattern {
    const char *name, *text;
    unsigned flags;
} patterns[] = {
#define PATTERN(name, flags, text) {name, text, flags},
#include "translator/verify.def"
};
#define PATTERN_COUNT (sizeof(patterns) / sizeof(patterns[0]))
_Static_assert(PATTERN_COUNT <= 32, "sets of patterns are words of 32 bits");
_Static_assert(EFL_IF == 0x200, "00020000 in the patterns");

static const struct rule {
    uint8_t map, first, last, step, prefixes, reg, rm, imm, memory, direct;
} rules[] = {
#define RULE(...) {__VA_ARGS__},
#include "translator/verify.def"
};
#define RULE_COUNT (sizeof(rules) / sizeof(rules[0]))
_Static_assert(RULE_COUNT < 256, "rule numbers are bytes");

static bool slot_holds(const struct slot *s, int32_t disp)
{
    uint32_t from = (uint32_t)disp - s->offset;
    return from % s->stride == 0 && from / s->stride < s->count;
}

/* --- patterns: text -> steps --- */

#define STEPS_MAX  72
#define SET_MAX    6
#define LABELS_MAX 4
enum step_kind {
    STEP_END,
    STEP_BYTE,
    STEP_SET,
    STEP_OPTIONAL,
    STEP_SLOT,
    STEP_MODRM,
    STEP_REL8,
    STEP_LABEL,
    STEP_BRANCH,
    STEP_PAD,
    STEP_EXIT_ID,
    STEP_FLAGS,
    STEP_LANDING,
};
struct step {
    uint8_t kind, n; /* n: a set's size, or ModRM.reg, or a label */
    uint8_t value[SET_MAX];
};
enum { PAD_EXIT, PAD_LOOKUP, PAD_INDIRECT };

static struct step programs[PATTERN_COUNT][STEPS_MAX + 1];
static uint32_t patterns_by_byte[256]; /* sets of the patterns that begin with a byte */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_byte(const char *s, uint8_t *out)
{
    int high = hex_digit(s[0]), low = high < 0 ? -1 : hex_digit(s[1]);
    *out = (uint8_t)(high << 4 | (low & 15));
    return low >= 0;
}

static bool word_is(const char *word, size_t length, const char *text)
{
    return strlen(text) == length && !memcmp(word, text, length);
}

/* {..} or ?{..}; s behind the brace. */
static bool compile_set(struct step *step, const char *s)
{
    for (; *s != '}'; s += 2)
        if (step->n == SET_MAX || !hex_byte(s, &step->value[step->n++]))
            return false;
    return step->n > 0;
}

/* /reg@slot or /reg,base; s behind the slash. */
static bool compile_operand(struct step *step, const char *s, size_t length)
{
    step->n = (uint8_t)(s[0] & 7);
    step->kind = s[1] == '@' ? STEP_SLOT : STEP_MODRM;
    step->value[0] = (uint8_t)(s[2] & 7);
    if (s[1] != '@')
        return s[1] == ',' && length == 3;
    for (unsigned i = 0; i < SLOT_COUNT; i++) {
        step->value[0] = (uint8_t)i;
        if (word_is(s + 2, length - 2, slots[i].name))
            return true;
    }
    return false;
}

static bool compile_pad(struct step *step, const char *s, size_t length)
{
    static const char *const names[] = {"exit", "lookup", "indirect"};
    step->kind = STEP_PAD;
    for (step->n = 0; step->n < sizeof(names) / sizeof(names[0]); step->n++)
        if (word_is(s, length, names[step->n]))
            return true;
    return false;
}

/* One word that makes one step. */
static bool compile_word(struct step *step, const char *s, size_t length)
{
    switch (*s) {
    case '{':
        step->kind = STEP_SET;
        return compile_set(step, s + 1);
    case '?':
        step->kind = STEP_OPTIONAL;
        return s[1] == '{' && compile_set(step, s + 2);
    case '/':
        return compile_operand(step, s + 1, length - 1);
    case '=':
        return compile_pad(step, s + 1, length - 1);
    case '#':
        step->kind = STEP_EXIT_ID;
        return word_is(s, length, "#exit");
    case '&':
        step->kind = STEP_FLAGS;
        return word_is(s, length, "&host");
    case '*':
        step->kind = STEP_LANDING;
        return length == 1;
    case '>':
        step->kind = s[1] == '>' ? STEP_BRANCH : STEP_REL8;
        step->n = (uint8_t)(s[1] - 'A');
        return length == 2 && (s[1] == '>' || step->n < LABELS_MAX);
    default:
        step->kind = STEP_LABEL;
        step->n = (uint8_t)(*s - 'A');
        return word_is(s + 1, length - 1, ":") && step->n < LABELS_MAX;
    }
}

static bool compile_pattern(const char *text, struct step *steps)
{
    unsigned n = 0;
    for (const char *s = text; *s;) {
        size_t length = strcspn(s, " ");
        uint8_t byte;
        if (hex_byte(s, &byte)) {
            for (size_t i = 0; i < length; i += 2, n++) {
                if (n == STEPS_MAX || !hex_byte(s + i, &byte))
                    return false;
                steps[n] = (struct step){.kind = STEP_BYTE, .value = {byte}};
            }
        } else if (length && (n == STEPS_MAX || !compile_word(&steps[n++], s, length))) {
            return false;
        }
        s += length + (s[length] == ' ');
    }
    return n && steps[0].kind == STEP_BYTE;
}

/* --- both tables, expanded once --- */

enum { CLASS_N, CLASS_66, CLASS_F2, CLASS_F3, PREFIX_CLASSES };
static uint8_t rule_numbers[4][256][PREFIX_CLASSES]; /* plus one; 0: refused */

static bool tables_valid;

static bool build_rules(void)
{
    for (unsigned i = 0; i < RULE_COUNT; i++) {
        const struct rule *r = &rules[i];
        for (unsigned opcode = r->first; opcode <= r->last; opcode += r->step)
            for (unsigned class = 0; class < PREFIX_CLASSES; class ++) {
                uint8_t *number = &rule_numbers[r->map][opcode][class];
                if (!(r->prefixes >> class & 1))
                    continue;
                if (*number)
                    return false;
                *number = (uint8_t)(i + 1);
            }
    }
    return true;
}

static void build_tables(void)
{
    bool valid = build_rules();
    for (unsigned i = 0; i < PATTERN_COUNT; i++) {
        valid = compile_pattern(patterns[i].text, programs[i]) && valid;
        patterns_by_byte[programs[i][0].value[0]] |= 1u << i;
    }
    tables_valid = valid;
}

bool verify_tables_valid(void)
{
    static once_flag once = ONCE_FLAG_INIT;
    call_once(&once, build_tables);
    return tables_valid;
}

/* --- the state of one check --- */

#define WORDS (SIZE_MAX_BLOCK / 64)
typedef uint64_t offset_set[WORDS];

struct check {
    const struct verify_env *env;
    const uint8_t *code;
    uint32_t body, total;
    uint32_t at;     /* start of what is being checked */
    bool falls;      /* control can get from there to what follows */
    uint32_t target; /* r8 holds a guest address if control has come on a straight way from behind
                      * this offset; NOWHERE: it holds anything */
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

/* The instruction at hand relies on r8: nothing may land between where r8 was loaded and here. */
static enum verify_error need_target(struct check *c)
{
    if (c->target == NOWHERE)
        return VERIFY_TARGET;
    for (uint32_t offset = c->target + 1; offset <= c->at; offset++)
        c->starts[offset / 64] &= ~(1ull << offset % 64);
    return VERIFY_NONE;
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
        return need_target(c);
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
        return need_target(c);
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
        c->target = c->at + *length - 1;
    return error;
}

/* --- sequences --- */

struct match {
    const uint8_t *p, *end;
    const uint8_t *branch, *landing; /* behind a `>>`, at a `*` */
    const uint8_t *labels[LABELS_MAX];
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

static bool match_word(struct check *c, struct match *m, const struct step *s)
{
    const uint64_t pads[] = {c->env->exit, c->env->lookup, c->env->indirect};
    if (m->end - m->p < 4)
        return false;
    uint32_t value = (uint32_t)read32(m->p);
    m->p += 4;
    switch (s->kind) {
    case STEP_PAD:
        return address_at(c, m->p) + (uint64_t)(int32_t)value == pads[s->n];
    case STEP_EXIT_ID:
        return value - c->env->exit_first < c->env->exit_count;
    case STEP_FLAGS:
        return !(value & ~EFL_HOST);
    default:
        m->branch = m->p;
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

static bool match_step(struct check *c, struct match *m, const struct step *s)
{
    int32_t disp;
    switch (s->kind) {
    case STEP_SET:
    case STEP_OPTIONAL:
        return match_set(m, s);
    case STEP_SLOT:
        return match_operand(m, s->n, 7, &disp) && slot_holds(&slots[s->value[0]], disp);
    case STEP_MODRM:
        return match_operand(m, s->n, s->value[0], &disp);
    case STEP_REL8:
        if (m->p == m->end || (int8_t)*m->p < 0)
            return false;
        m->labels[s->n] = m->p + 1 + *m->p;
        m->p++;
        return true;
    case STEP_LABEL:
        return m->labels[s->n] == m->p;
    case STEP_LANDING:
        m->landing = m->p;
        return true;
    default:
        return match_word(c, m, s);
    }
}

static bool match_program(struct check *c, struct match *m, const struct step *s)
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

/* What a sequence that has been recognised does to the state. */
static enum verify_error accept_pattern(struct check *c, const struct match *m, unsigned flags)
{
    enum verify_error error = flags & NEEDS_TARGET ? need_target(c) : VERIFY_NONE;
    if (!error && m->branch)
        error = branch_to(c, address_at(c, m->branch) + (uint64_t)(int64_t)read32(m->branch - 4));
    if (m->landing)
        set_add(c->starts, (uint32_t)(m->landing - c->code));
    if (flags & LEAVES)
        set_add(c->breaks, c->at);
    if (flags & LOSES_TARGET)
        c->target = NOWHERE;
    if (flags & CALLS)
        c->target = (uint32_t)(m->p - c->code) - 1;
    c->falls = !(flags & ENDS);
    return error;
}

/* Length 0: no sequence starts here. */
static enum verify_error check_pattern(struct check *c, uint32_t limit, unsigned *length)
{
    const uint8_t *start = c->code + c->at;
    for (uint32_t left = patterns_by_byte[*start]; left; left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctz(left);
        struct match m = {.p = start, .end = c->code + limit};
        if (!match_program(c, &m, programs[n]))
            continue;
        *length = (unsigned)(m.p - start);
        return accept_pattern(c, &m, patterns[n].flags);
    }
    return VERIFY_NONE;
}

/* --- single instructions --- */

struct host {
    const uint8_t *p; /* next byte */
    bool gs, a32, op16, lock, locks_ok, memory, sib;
    uint8_t rep, rex, map, opcode, mod, reg, rm;
    uint8_t base, index; /* NO_REGISTER: none */
    int32_t disp;
    const struct rule *rule;
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
    h->opcode = *h->p++;
    if (h->opcode == 0x0f) {
        h->opcode = *h->p++;
        h->map = h->opcode == 0x38 ? 2 : h->opcode == 0x3a ? 3 : 1;
        if (h->map > 1)
            h->opcode = *h->p++;
    }
    unsigned class = h->rep ? (h->rep == 0xf2 ? CLASS_F2 : CLASS_F3) : h->op16 ? CLASS_66 : CLASS_N;
    unsigned number = rule_numbers[h->map][h->opcode][class];
    if (!number)
        return h->map == 0 && memchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3", h->opcode, 11)
                   ? VERIFY_PREFIX
                   : VERIFY_OPCODE;
    h->rule = &rules[number - 1];
    return VERIFY_NONE;
}

static void take_memory(struct host *h)
{
    h->base = (uint8_t)(h->rm | (h->rex & REX_B) << 3);
    h->index = NO_REGISTER;
    unsigned low = h->rm;
    if (h->rm == 4) {
        unsigned sib = *h->p++, index = (sib >> 3 & 7) | (h->rex & REX_X) << 2;
        low = sib & 7;
        h->sib = true;
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
    h->mod = modrm >> 6;
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

static bool register_ok(const struct host *h, unsigned kind, unsigned field, unsigned rex_bit)
{
    unsigned number = field | (h->rex & rex_bit ? 8 : 0);
    switch (kind) {
    case GPR8: /* with any REX, 4-7 are SPL, BPL, SIL, DIL instead of AH, CH, DH, BH */
        return !h->rex || (number < 4 || (number >= 8 && number < 12));
    case GPR:
        return !is_reserved(number);
    case VEC: /* the upper half of the vector registers is not the guest's */
        return number < 8;
    default:
        return true;
    }
}

/* [r15 + disp]. `imm` is the immediate, if there is one. */
static enum verify_error check_slot(const struct host *h, const uint8_t *imm)
{
    bool plain = !h->op16 && !h->rep && !h->lock;
    unsigned access = 0;
    if (plain && h->map == 0 && h->opcode == 0x8b)
        access = READ32;
    else if (plain && h->map == 1 && h->opcode == 0xb7)
        access = READ16;
    else if (plain && h->map == 0 && h->opcode == 0xc7 && !(read32(imm) & ~(int32_t)EFL_IF))
        access = WRITE_IF;
    for (unsigned i = 0; i < SLOT_COUNT; i++)
        if ((slots[i].access & access) && slot_holds(&slots[i], h->disp))
            return VERIFY_NONE;
    return VERIFY_SLOT;
}

static enum verify_error check_memory(const struct host *h, const uint8_t *imm)
{
    bool address_only = h->rule->rm == ADDR;
    if (h->base == NO_REGISTER && !h->sib)
        return VERIFY_RIP;
    if (h->base == 15 && !h->sib && !h->gs && !h->a32 && !address_only)
        return check_slot(h, imm);
    if (h->gs != !address_only || h->a32 != !address_only)
        return VERIFY_MEMORY;
    return is_reserved(h->base) || is_reserved(h->index) ? VERIFY_REGISTER : VERIFY_NONE;
}

/* MOV, LEA and MOVZX to r8d load a guest address, or as good as one. */
static bool loads_target(const struct host *h)
{
    if (h->op16 || h->rep)
        return false;
    if (h->map == 0 && (h->opcode & 0xf8) == 0xb8)
        return h->rm == 0 && (h->rex & REX_B);
    return ((h->map == 0 && (h->opcode == 0x8b || h->opcode == 0x8d)) ||
            (h->map == 1 && (h->opcode == 0xb6 || h->opcode == 0xb7))) &&
           h->reg == 0 && (h->rex & REX_R);
}

static enum verify_error check_parts(struct host *h)
{
    enum verify_error error = take_opcode(h);
    if (!error)
        error = take_operands(h);
    if (error)
        return error;
    const uint8_t *imm = h->p;
    const struct rule *r = h->rule;
    h->p += immediate_size(h);
    if (h->rex & REX_W)
        return VERIFY_WIDE;
    if (h->lock && !((r->prefixes & LOCK) && h->memory))
        return VERIFY_PREFIX;
    if (!register_ok(h, r->reg, h->reg, REX_R) ||
        (!h->memory && !register_ok(h, r->rm, h->rm, REX_B)))
        return VERIFY_REGISTER;
    if (h->memory)
        return check_memory(h, imm);
    return h->gs || h->a32 ? VERIFY_PREFIX : VERIFY_NONE;
}

#define HOST_MAX 32 /* more than the longest instruction, prefixes and all */

static enum verify_error check_instruction(struct check *c, unsigned left, unsigned *length)
{
    uint8_t tail[HOST_MAX] = {0};
    const uint8_t *start = c->code + c->at;
    if (left < HOST_MAX)
        start = memcpy(tail, start, left);
    struct host h = {.p = start};
    enum verify_error error = check_parts(&h);
    *length = (unsigned)(h.p - start);
    if (*length > left)
        return VERIFY_TRUNCATED;
    if (loads_target(&h))
        c->target = c->at;
    c->falls = true;
    return error;
}

/* --- the pass --- */

static enum verify_error check_next(struct check *c, unsigned *length)
{
    uint32_t limit = c->at < c->body ? c->body : c->total;
    enum verify_error error = check_pattern(c, limit, length);
    if (c->at >= c->body && !error && (!*length || !set_has(c->breaks, c->at) || c->falls))
        return VERIFY_STUB;
    if (!error && !*length)
        error = check_branch(c, limit - c->at, length);
    if (!error && !*length)
        error = check_instruction(c, limit - c->at, length);
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
    if (!verify_tables_valid() || !body_size || body_size > total_size ||
        total_size > SIZE_MAX_BLOCK)
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
    c.target = NOWHERE;
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
