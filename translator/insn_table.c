/* SPDX-License-Identifier: MIT */
/* insn_table.c: insn.def -> the table in memory and the lookup in it.
 *
 * A row is chosen by map and opcode, then by a key of ModRM byte and prefixes: each row has a mask
 * and a value, and the first row of the opcode with (key & mask) == value is the one. The rows stay
 * in the order of insn.def; the lookup has its own order, grouped by opcode. */
#include "translator/insn_table.h"

#include "ringdown/feature.h"
#include "ringdown/x86.h"

#include <stddef.h>
#include <threads.h>

/* Values of insn_row.pfx besides the mandatory prefixes themselves. */
#define PFX_ANY   0
#define PFX_NP    INSN_PFX_NP
#define PFX_NOREP INSN_PFX_NOREP
#define PFX_66    0x66
#define PFX_F2    0xf2
#define PFX_F3    0xf3

/* clang-format off */
#define ROW(map, opc, ext, rm, pfx, mod, op, nm, o0, o1, o2, cls, fl, rd, wr, mb, ft) \
    {map, opc, ext, pfx, mod, {SPEC_##o0, SPEC_##o1, SPEC_##o2}, \
     {OP_##op, CLASS_##cls, FEAT_##ft, fl, rd, wr, mb, nm}, rm},
/* clang-format on */
const struct insn_row insn_rows[] = {
#include "translator/insn.def"
};
#undef ROW

#define ROW_COUNT (sizeof(insn_rows) / sizeof(insn_rows[0]))
const unsigned insn_row_count = ROW_COUNT;
_Static_assert(ROW_COUNT < 0xffff, "row numbers are 16 bits");
_Static_assert(OP_COUNT <= 256 && (unsigned)SPEC_COUNT <= 256, "both are stored in bytes");

const struct spec_info insn_spec_info[SPEC_COUNT] = {
#define X(name, source, size, memory_size, fixed) {source, size, memory_size, fixed},
    INSN_SPECS(X)
#undef X
};

struct match {
    uint16_t mask, value, row;
};
static struct match order[ROW_COUNT];
static struct insn_slot slots[4][256];
static const struct insn_info *undefined;
static once_flag once = ONCE_FLAG_INIT;

static bool spec_uses_modrm(unsigned spec)
{
    unsigned source = insn_spec_info[spec].source;
    return source >= SRC_RM_GPR && source <= SRC_REG_DR;
}

static bool row_uses_modrm(const struct insn_row *r)
{
    return r->ext != 0xff || r->rm != 0xff || r->mod != 0 || spec_uses_modrm(r->opnd[0]) ||
           spec_uses_modrm(r->opnd[1]) || spec_uses_modrm(r->opnd[2]);
}

static struct match row_match(const struct insn_row *r)
{
    const unsigned rep = KEY_F2 | KEY_F3;
    unsigned mask = 0, value = 0;
    if (r->ext != 0xff) {
        mask |= 0x38;
        value |= r->ext << 3u;
    }
    if (r->rm != 0xff) {
        mask |= 0x07;
        value |= r->rm;
    }
    if (r->mod != 0) {
        mask |= KEY_REGISTER;
        value |= r->mod == 2 ? KEY_REGISTER : 0;
    }
    /* F2 and F3 outrank 66, which is then ignored (vol. 2, 2.1.2 and appendix A.2.4). */
    switch (r->pfx) {
    case PFX_NP:
        mask |= rep | KEY_66;
        break;
    case PFX_NOREP:
        mask |= rep;
        break;
    case PFX_66:
        mask |= rep | KEY_66;
        value |= KEY_66;
        break;
    case PFX_F2:
        mask |= rep;
        value |= KEY_F2;
        break;
    case PFX_F3:
        mask |= rep;
        value |= KEY_F3;
        break;
    default:
        break;
    }
    return (struct match){(uint16_t)mask, (uint16_t)value, (uint16_t)(r - insn_rows)};
}

static void build(void)
{
    for (unsigned i = 0; i < ROW_COUNT; i++) {
        struct insn_slot *s = &slots[insn_rows[i].map][insn_rows[i].opcode];
        s->count++;
        s->has_modrm |= row_uses_modrm(&insn_rows[i]);
        if (insn_rows[i].info.op == OP_UD && !undefined)
            undefined = &insn_rows[i].info;
    }
    unsigned at = 0;
    for (unsigned map = 0; map < 4; map++) {
        for (unsigned opcode = 0; opcode < 256; opcode++) {
            slots[map][opcode].first = (uint16_t)at;
            at += slots[map][opcode].count;
            if (map >= 2)
                slots[map][opcode].has_modrm = true;
        }
    }
    static uint16_t used[4][256];
    for (unsigned i = 0; i < ROW_COUNT; i++) {
        unsigned map = insn_rows[i].map, opcode = insn_rows[i].opcode;
        order[slots[map][opcode].first + used[map][opcode]++] = row_match(&insn_rows[i]);
    }
}

void insn_table_init(void)
{
    call_once(&once, build);
}

const struct insn_slot *insn_table_slot(unsigned map, uint8_t opcode)
{
    return &slots[map][opcode];
}

const struct insn_row *insn_table_match(const struct insn_slot *slot, unsigned key)
{
    const struct match *m = &order[slot->first];
    for (unsigned i = 0; i < slot->count; i++, m++) {
        if ((key & m->mask) == m->value)
            return &insn_rows[m->row];
    }
    return NULL;
}

const struct insn_row *insn_table_any(unsigned map, const struct insn_slot *slot)
{
    static const struct insn_row reserved[4] = {
        [2] = {.opnd = {SPEC_Ev}},
        [3] = {.opnd = {SPEC_Ev, SPEC_Ib}},
    };
    if (slot->count)
        return &insn_rows[order[slot->first].row];
    return map >= 2 ? &reserved[map] : NULL;
}

const struct insn_info *insn_table_undefined(void)
{
    return undefined;
}

static const char *const op_names[OP_COUNT] = {
#define X(name) #name,
    INSN_OPS(X)
#undef X
};
static const char *const class_names[CLASS_COUNT] = {
    [CLASS_IDENTICAL] = "identical", [CLASS_MEMORY] = "memory",
    [CLASS_REWRITTEN] = "rewritten", [CLASS_CONTROL] = "control",
    [CLASS_CALLOUT] = "callout",     [CLASS_CALLOUT_END] = "callout-end",
    [CLASS_UNDEFINED] = "undefined",
};

const char *insn_op_name(enum insn_op op)
{
    return (unsigned)op < OP_COUNT ? op_names[op] : "?";
}

const char *insn_class_name(enum insn_class cls)
{
    return (unsigned)cls < CLASS_COUNT ? class_names[cls] : "?";
}
