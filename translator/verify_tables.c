/* SPDX-License-Identifier: MIT */
/* verify_tables.c: verify.def -> tables: the opcodes' rules by map, opcode and prefix, and the
 * patterns' texts as steps to be matched. */
#include "translator/verify_tables.h"

#include "ringdown/cpu.h"

#include <stddef.h>
#include <string.h>
#include <threads.h>

#define N66    (N | P66)
#define NPS    (N | P66 | F2 | F3)
#define ALL    0xff
#define EXT(n) (1u << (n))
/* Bytes of a memory operand, by prefix: none, 66, F2, F3. */
#define SIZES(...)                                                                                 \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define S0   SIZES(0, 0, 0, 0)
#define S1   SIZES(1, 1, 1, 1)
#define S2   SIZES(2, 2, 2, 2)
#define S4   SIZES(4, 4, 4, 4)
#define S8   SIZES(8, 8, 8, 8)
#define S16  SIZES(16, 16, 16, 16)
#define SV   SIZES(SIZE_OPERAND, SIZE_OPERAND, SIZE_OPERAND, SIZE_OPERAND)
#define FP   SIZES(16, 16, 8, 4)
#define MX   SIZES(8, 16, 0, 0)
#define SREG SIZES(SIZE_BY_REG, SIZE_BY_REG, 0, 0)

const struct slot verify_slots[] = {
#define SLOT(name, field, count, stride, access)                                                   \
    {name, offsetof(struct vcpu, field), count, stride, access},
#include "translator/verify.def"
};
const unsigned verify_slot_count = sizeof(verify_slots) / sizeof(verify_slots[0]);

const struct pattern verify_patterns[] = {
#define PATTERN(name, flags, needs, loses, text) {name, flags, needs, loses, text},
#include "translator/verify.def"
};
#define PATTERN_COUNT (sizeof(verify_patterns) / sizeof(verify_patterns[0]))
_Static_assert(PATTERN_COUNT <= 32, "sets of patterns are words of 32 bits");
_Static_assert(EFL_IF == 0x200, "00020000 in the patterns");

const struct rule verify_rules[] = {
#define RULE(...) {__VA_ARGS__},
#include "translator/verify.def"
};
#define RULE_COUNT (sizeof(verify_rules) / sizeof(verify_rules[0]))
_Static_assert(RULE_COUNT < 256, "rule numbers are bytes");

static const char *const word_texts[WORD_COUNT] = {
    "=exit",  "=lookup", "=indirect", "=>",   "#exit", "&host",     "&any",
    "@probe", "@host",   "@mixed",    "@gfn", "@gate", "@expected",
};

struct step verify_programs[PATTERN_COUNT][STEPS_MAX + 1];
uint32_t verify_patterns_by_byte[256];

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_byte(const char *s, uint8_t *out)
{
    int high = hex_digit(s[0]), low = high < 0 ? -1 : hex_digit(s[1]);
    *out = (uint8_t)((unsigned)high << 4 | ((unsigned)low & 15));
    return low >= 0;
}

static bool text_is(const char *s, size_t length, const char *text)
{
    return strlen(text) == length && !memcmp(s, text, length);
}

/* {..}, ?{..}; s behind the brace. */
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
    step->value[1] = length == 4 && s[3] == '+';
    if (s[1] != '@')
        return s[1] == ',' && length == 3u + step->value[1];
    for (unsigned i = 0; i < verify_slot_count; i++) {
        step->value[0] = (uint8_t)i;
        if (text_is(s + 2, length - 2, verify_slots[i].name))
            return true;
    }
    return false;
}

static bool compile_label(struct step *step, enum step_kind kind, char label)
{
    step->kind = (uint8_t)kind;
    step->n = (uint8_t)(label - 'A');
    return step->n < LABELS_MAX;
}

/* One of the texts that make one step. */
static bool compile_text(struct step *step, const char *s, size_t length)
{
    step->kind = STEP_WORD;
    for (step->n = 0; step->n < WORD_COUNT; step->n++)
        if (text_is(s, length, word_texts[step->n]))
            return true;
    step->n = 0;
    switch (*s) {
    case '{':
        step->kind = STEP_SET;
        return compile_set(step, s + 1);
    case '?':
        step->kind = STEP_OPTIONAL;
        return s[1] == '{' && compile_set(step, s + 2);
    case '/':
        return compile_operand(step, s + 1, length - 1);
    case '*':
        step->kind = STEP_LANDING;
        return length == 1;
    case '$':
        step->kind = STEP_INSTRUCTION;
        return length == 1;
    case '>':
        return length == 2 && compile_label(step, STEP_REL8, s[1]);
    case '<':
        return length == 2 && compile_label(step, STEP_BACK, s[1]);
    default:
        return text_is(s + 1, length - 1, ":") && compile_label(step, STEP_LABEL, *s);
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
        } else if (length && (n == STEPS_MAX || !compile_text(&steps[n++], s, length))) {
            return false;
        }
        s += length + (s[length] == ' ');
    }
    return n && steps[0].kind == STEP_BYTE;
}

/* --- both tables, expanded once --- */

uint8_t verify_rule_numbers[4][256][PREFIX_CLASSES];
static bool tables_valid;

static bool build_rules(void)
{
    for (unsigned i = 0; i < RULE_COUNT; i++) {
        const struct rule *r = &verify_rules[i];
        for (unsigned opcode = r->first; opcode <= r->last; opcode += r->step)
            for (unsigned prefix = 0; prefix < PREFIX_CLASSES; prefix++) {
                uint8_t *number = &verify_rule_numbers[r->map][opcode][prefix];
                if (!(r->prefixes >> prefix & 1))
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
        valid = compile_pattern(verify_patterns[i].text, verify_programs[i]) && valid;
        verify_patterns_by_byte[verify_programs[i][0].value[0]] |= 1u << i;
    }
    tables_valid = valid;
}

bool verify_tables(void)
{
    static once_flag once = ONCE_FLAG_INIT;
    call_once(&once, build_tables);
    return tables_valid;
}
