/* SPDX-License-Identifier: MIT */
/* decode_text.c: struct insn or bytes -> capstone -> text and a second opinion on the length.
 *
 * Capstone minds the order of prefixes and how many there are; so it gets a copy in which each
 * group is given once: lock or repeat, segment, 66, 67, then the opcode. */
#include "translator/decode_text.h"

#include <capstone/capstone.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct decode_text {
    csh handle[2]; /* 16-bit and 32-bit code */
    cs_insn *insn[2];
};

/* The canonical copy; `dropped` is how many prefix bytes it is shorter by. */
struct copy {
    uint8_t bytes[INSN_MAX_LENGTH + 1];
    unsigned length, dropped;
};

static struct copy canonical_copy(const uint8_t *bytes, unsigned n)
{
    static const uint8_t groups[4][6] = {
        {0xf3,  0xf2},
        {0x26,     0x2e, 0x36, 0x3e, 0x64, 0x65},
        {0x66},
        {0x67}
    };
    uint8_t last[4] = {0};
    bool lock = false;
    unsigned at = 0;
    for (; at < n && at < INSN_MAX_LENGTH; at++) {
        unsigned g = 0;
        while (g < 4 && !memchr(groups[g], bytes[at], 6))
            g++;
        if (bytes[at] == 0xf0)
            lock = true;
        else if (g < 4 && bytes[at] != 0)
            last[g] = bytes[at];
        else
            break;
    }
    struct copy c = {.length = 0};
    if (lock)
        c.bytes[c.length++] = 0xf0;
    for (unsigned g = 0; g < 4; g++) {
        if (last[g])
            c.bytes[c.length++] = last[g];
    }
    c.dropped = at - c.length;
    while (at < n && c.length < INSN_MAX_LENGTH)
        c.bytes[c.length++] = bytes[at++];
    return c;
}

struct decode_text *decode_text_create(void)
{
    struct decode_text *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    const cs_mode mode[2] = {CS_MODE_16, CS_MODE_32};
    for (unsigned m = 0; m < 2; m++) {
        if (cs_open(CS_ARCH_X86, mode[m], &t->handle[m]) != CS_ERR_OK)
            t->handle[m] = 0;
        else
            t->insn[m] = cs_malloc(t->handle[m]);
        if (!t->insn[m]) {
            decode_text_destroy(t);
            return NULL;
        }
    }
    return t;
}

void decode_text_destroy(struct decode_text *t)
{
    if (!t)
        return;
    for (unsigned m = 0; m < 2; m++) {
        if (t->insn[m])
            cs_free(t->insn[m], 1);
        if (t->handle[m])
            cs_close(&t->handle[m]);
    }
    free(t);
}

/* Disassembles a canonical copy; NULL if capstone can't. */
static const cs_insn *disassemble(struct decode_text *t, const struct copy *c, uint32_t pc,
                                  bool code32)
{
    const uint8_t *code = c->bytes;
    size_t size = c->length;
    uint64_t address = pc;
    cs_insn *insn = t->insn[code32];
    return cs_disasm_iter(t->handle[code32], &code, &size, &address, insn) ? insn : NULL;
}

unsigned decode_text_length(struct decode_text *t, const uint8_t *bytes, unsigned n, bool code32)
{
    struct copy c = canonical_copy(bytes, n);
    const cs_insn *insn = disassemble(t, &c, 0, code32);
    return insn ? insn->size + c.dropped : 0;
}

bool decode_text_format(struct decode_text *t, const struct insn *i, uint32_t pc, bool code32,
                        char *buf, unsigned size)
{
    struct copy c = canonical_copy(i->bytes, i->length);
    /* Relative targets count from the end of the real instruction, not of the copy. */
    const cs_insn *insn = disassemble(t, &c, pc + c.dropped, code32);
    if (!insn || insn->size + c.dropped != i->length)
        return false;
    snprintf(buf, size, "%s%s%s", insn->mnemonic, insn->op_str[0] ? " " : "", insn->op_str);
    return true;
}
