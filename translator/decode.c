/* SPDX-License-Identifier: MIT */
/* decode.c: bytes -> struct insn.
 *
 * One walk: legacy prefixes in any order, opcode, ModRM and what it calls for, immediates. The
 * table (insn.def) says which opcodes have a ModRM byte, which encodings exist and what their
 * operands are, so the walk itself knows no opcode. Running out of bytes is noticed in one place,
 * take().
 *
 * Capstone gives the text for dumps and a second opinion on every length for the tests; it is not
 * asked on the way, since the table has the last word anyway and the question costs several times
 * the walk. */
#include "translator/insn.h"

#include "ringdown/feature.h"
#include "ringdown/x86.h"
#include "translator/decode_text.h"
#include "translator/insn_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_REG 0xff

struct decoder {
    uint32_t features;
    struct decode_text *text; /* made when it is first needed */
};

/* The walk's position. `end` is the limit, by the bytes given or by the longest instruction. */
struct cursor {
    const uint8_t *bytes;
    unsigned pos, end;
    bool over; /* a byte beyond the end was asked for */
};

static inline uint32_t take(struct cursor *c, unsigned n)
{
    if (n > c->end - c->pos) {
        c->over = true;
        c->pos = c->end;
        return 0;
    }
    uint32_t value = 0;
    for (unsigned i = 0; i < n; i++)
        value |= (uint32_t)c->bytes[c->pos++] << (8 * i);
    return value;
}

/* ---- prefixes (SDM vol. 2, 2.1.1) ---- */

enum prefix {
    PREFIX_NONE,
    PREFIX_SEG, /* with the segment register in the bits above */
    PREFIX_66,
    PREFIX_67,
    PREFIX_LOCK,
    PREFIX_F2,
    PREFIX_F3,
};
#define PREFIX_OF_SEG(seg) (PREFIX_SEG | (seg) << 4)
static const uint8_t prefixes[256] = {
    [0x26] = PREFIX_OF_SEG(SEG_ES),
    [0x2e] = PREFIX_OF_SEG(SEG_CS),
    [0x36] = PREFIX_OF_SEG(SEG_SS),
    [0x3e] = PREFIX_OF_SEG(SEG_DS),
    [0x64] = PREFIX_OF_SEG(SEG_FS),
    [0x65] = PREFIX_OF_SEG(SEG_GS),
    [0x66] = PREFIX_66,
    [0x67] = PREFIX_67,
    [0xf0] = PREFIX_LOCK,
    [0xf2] = PREFIX_F2,
    [0xf3] = PREFIX_F3,
};

static void prefix_apply(struct insn *i, unsigned prefix)
{
    switch (prefix & 15) {
    case PREFIX_SEG:
        i->seg_prefix = (uint8_t)(prefix >> 4);
        break;
    case PREFIX_66:
        i->prefix66 = true;
        break;
    case PREFIX_67:
        i->prefix67 = true;
        break;
    case PREFIX_LOCK:
        i->lock = true;
        break;
    case PREFIX_F2:
    case PREFIX_F3:
        i->rep = prefix == PREFIX_F3;
        i->repne = prefix == PREFIX_F2;
        break;
    }
}

/* Takes the prefixes and the opcode; true if there was one. */
static bool decode_opcode(struct cursor *c, struct insn *i)
{
    uint8_t byte = (uint8_t)take(c, 1);
    while (prefixes[byte] && !c->over) {
        prefix_apply(i, prefixes[byte]);
        byte = (uint8_t)take(c, 1);
    }
    if (byte == 0x0f) {
        i->map = 1;
        byte = (uint8_t)take(c, 1);
        if (byte == 0x38 || byte == 0x3a) {
            i->map = byte == 0x38 ? 2 : 3;
            byte = (uint8_t)take(c, 1);
        }
    }
    i->opcode = byte;
    return !c->over;
}

/* ---- the memory operand (vol. 2, 2.1.5) ---- */

static void decode_mem16(struct cursor *c, struct insn *i)
{
    static const uint8_t base[8] = {R_EBX, R_EBX, R_EBP, R_EBP, R_ESI, R_EDI, R_EBP, R_EBX};
    static const uint8_t index[4] = {R_ESI, R_EDI, R_ESI, R_EDI};
    unsigned mod = i->modrm >> 6, rm = i->modrm & 7;
    if (mod == 0 && rm == 6) {
        i->disp_size = 2;
        i->disp = (int32_t)take(c, 2);
        return;
    }
    i->mem_base = base[rm];
    if (rm < 4)
        i->mem_index = index[rm];
    i->disp_size = (uint8_t)mod; /* 0, 1 or 2 */
    if (mod == 1)
        i->disp = (int8_t)take(c, 1);
    else if (mod == 2)
        i->disp = (int16_t)take(c, 2);
}

static void decode_mem32(struct cursor *c, struct insn *i)
{
    unsigned mod = i->modrm >> 6, base = i->modrm & 7;
    if (base == 4) {
        i->has_sib = true;
        i->sib = (uint8_t)take(c, 1);
        base = i->sib & 7;
        unsigned index = (i->sib >> 3) & 7;
        if (index != 4) {
            i->mem_index = (uint8_t)index;
            i->mem_scale = (uint8_t)(1u << (i->sib >> 6));
        }
    }
    if (mod != 0 || base != 5)
        i->mem_base = (uint8_t)base;
    if (mod == 1) {
        i->disp_size = 1;
        i->disp = (int8_t)take(c, 1);
    } else if (mod == 2 || i->mem_base == NO_REG) {
        i->disp_size = 4;
        i->disp = (int32_t)take(c, 4);
    }
}

static void decode_mem(struct cursor *c, struct insn *i)
{
    i->has_mem = true;
    if (i->addrsize == 4)
        decode_mem32(c, i);
    else
        decode_mem16(c, i);
    if (i->seg_prefix == 0xff && (i->mem_base == R_ESP || i->mem_base == R_EBP))
        i->mem_seg = SEG_SS;
}

/* ---- operands ---- */

static unsigned resolve_size(unsigned size, unsigned opsize)
{
    switch (size) {
    case SIZE_V:
        return opsize;
    case SIZE_P:
        return opsize + 2;
    case SIZE_A:
        return opsize * 2;
    case SIZE_ENV:
        return opsize == 4 ? 28 : 14;
    case SIZE_SAVE:
        return opsize == 4 ? 108 : 94;
    default:
        return size;
    }
}

static const uint8_t source_kind[] = {
    [SRC_NONE] = OPND_NONE,   [SRC_RM_GPR] = OPND_REG,    [SRC_RM_XMM] = OPND_XMM,
    [SRC_RM_MMX] = OPND_MMX,  [SRC_RM_ST] = OPND_ST,      [SRC_RM_REG] = OPND_REG,
    [SRC_REG_GPR] = OPND_REG, [SRC_REG_XMM] = OPND_XMM,   [SRC_REG_MMX] = OPND_MMX,
    [SRC_REG_SEG] = OPND_SEG, [SRC_REG_CR] = OPND_CR,     [SRC_REG_DR] = OPND_DR,
    [SRC_OPC_GPR] = OPND_REG, [SRC_FIXED_GPR] = OPND_REG, [SRC_FIXED_SEG] = OPND_SEG,
    [SRC_FIXED_ST] = OPND_ST, [SRC_MOFFS] = OPND_MEM,     [SRC_STR] = OPND_STR,
    [SRC_IMM] = OPND_IMM,     [SRC_SIMM] = OPND_IMM,      [SRC_REL] = OPND_REL,
    [SRC_FAR] = OPND_FAR,     [SRC_ONE] = OPND_ONE,
};

static void decode_imm(struct cursor *c, struct insn *i, unsigned source, unsigned size)
{
    uint32_t value = take(c, source == SRC_FAR ? size - 2 : size);
    if (source == SRC_SIMM || source == SRC_REL) {
        if (size == 1)
            value = (uint32_t)(int8_t)value;
        else if (size == 2)
            value = (uint32_t)(int16_t)value;
    }
    if (i->imm_size)
        i->imm2 = value;
    else
        i->imm = value;
    if (source == SRC_FAR)
        i->imm2 = take(c, 2);
    i->imm_size += (uint8_t)size;
}

static struct opnd decode_opnd(struct cursor *c, struct insn *i, unsigned spec)
{
    const struct spec_info *s = &insn_spec_info[spec];
    struct opnd o = {source_kind[s->source], s->fixed, (uint8_t)resolve_size(s->size, i->opsize)};
    switch (s->source) {
    case SRC_RM_GPR:
    case SRC_RM_XMM:
    case SRC_RM_MMX:
    case SRC_RM_ST:
        if (i->has_mem) {
            i->mem_size = (uint8_t)resolve_size(s->mem_size, i->opsize);
            return (struct opnd){OPND_MEM, 0, i->mem_size};
        }
        o.reg = i->modrm & 7;
        break;
    case SRC_RM_REG:
        o.reg = i->modrm & 7;
        break;
    case SRC_REG_GPR:
    case SRC_REG_XMM:
    case SRC_REG_MMX:
    case SRC_REG_SEG:
    case SRC_REG_CR:
    case SRC_REG_DR:
        o.reg = (i->modrm >> 3) & 7;
        break;
    case SRC_OPC_GPR:
        o.reg = i->opcode & 7;
        break;
    case SRC_MOFFS:
        i->has_mem = true;
        i->disp_size = i->addrsize;
        i->disp = (int32_t)take(c, i->addrsize);
        i->mem_size = o.size = (uint8_t)resolve_size(s->mem_size, i->opsize);
        break;
    case SRC_STR:
        i->mem_size = o.size = (uint8_t)resolve_size(s->mem_size, i->opsize);
        break;
    case SRC_IMM:
    case SRC_REL:
    case SRC_FAR:
        decode_imm(c, i, s->source, o.size);
        break;
    case SRC_SIMM:
        decode_imm(c, i, s->source, o.size);
        o.size = i->opsize;
        break;
    }
    return o;
}

static void decode_row(struct cursor *c, struct insn *i, const struct insn_row *row, bool code32)
{
    i->info = &row->info;
    i->op = row->info.op;
    i->cc = i->opcode & 15;
    /* A mandatory 66 selects the row and does not change the operand size. */
    i->opsize = (i->prefix66 && row->pfx != 0x66) == code32 ? 2 : 4;
    bool mod_ignored = row->opnd[0] == SPEC_Rd || row->opnd[1] == SPEC_Rd;
    if (i->has_modrm && i->modrm < 0xc0 && !mod_ignored)
        decode_mem(c, i);
    while (i->n_opnds < 3 && row->opnd[i->n_opnds] != SPEC_No) {
        i->opnd[i->n_opnds] = decode_opnd(c, i, row->opnd[i->n_opnds]);
        i->n_opnds++;
    }
}

/* ---- the whole ---- */

static enum decode_status finish(const struct cursor *c, struct insn *i, enum decode_status status)
{
    if (status != DECODE_OK) {
        i->info = insn_table_undefined();
        i->op = i->info->op;
    }
    i->length = (uint8_t)c->pos;
    memcpy(i->bytes, c->bytes, c->pos);
    return status;
}

/* The bytes ended too early: either more might help, or the limit is reached (vol. 3, 6.15, #GP).
 */
static enum decode_status finish_over(const struct cursor *c, struct insn *i)
{
    return finish(c, i, c->end < INSN_MAX_LENGTH ? DECODE_TRUNCATED : DECODE_TOO_LONG);
}

static bool lock_allowed(const struct insn *i)
{
    return (i->info->flags & INSN_LOCKABLE) && i->opnd[0].kind == OPND_MEM;
}

enum decode_status decode(struct decoder *d, const uint8_t *bytes, unsigned n, bool code32,
                          struct insn *out)
{
    struct cursor c = {bytes, 0, n < INSN_MAX_LENGTH ? n : INSN_MAX_LENGTH, false};
    *out = (struct insn){
        .seg_prefix = 0xff,
        .mem_base = NO_REG,
        .mem_index = NO_REG,
        .mem_scale = 1,
    };
    if (!decode_opcode(&c, out))
        return finish_over(&c, out);
    out->opsize = out->prefix66 == code32 ? 2 : 4;
    out->addrsize = out->prefix67 == code32 ? 2 : 4;
    out->mem_seg = out->seg_prefix != 0xff ? out->seg_prefix : SEG_DS;

    const struct insn_slot *slot = insn_table_slot(out->map, out->opcode);
    unsigned key =
        (out->prefix66 ? KEY_66 : 0) | (out->rep ? KEY_F3 : 0) | (out->repne ? KEY_F2 : 0);
    if (slot->has_modrm) {
        out->has_modrm = true;
        out->modrm = (uint8_t)take(&c, 1);
        if (c.over)
            return finish_over(&c, out);
        key |= out->modrm | (out->modrm >= 0xc0 ? KEY_REGISTER : 0);
    }
    const struct insn_row *row = insn_table_match(slot, key);
    bool defined =
        row && row->info.cls != CLASS_UNDEFINED && (d->features >> row->info.feature & 1);
    /* A processor has fetched the whole instruction before it finds it undefined; its length is
     * that of the opcode's other encodings, or that common to the map. */
    if (!row)
        row = insn_table_any(out->map, slot);
    if (row)
        decode_row(&c, out, row, code32);
    if (c.over)
        return finish_over(&c, out);
    if (!defined || (out->lock && !lock_allowed(out)))
        return finish(&c, out, DECODE_UNDEFINED);
    return finish(&c, out, DECODE_OK);
}

struct decoder *decoder_create_features(uint32_t features)
{
    struct decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    insn_table_init();
    d->features = features & ~(1u << FEAT_NEVER);
    return d;
}

void decoder_destroy(struct decoder *d)
{
    if (!d)
        return;
    decode_text_destroy(d->text);
    free(d);
}

char *decode_format(struct decoder *d, const struct insn *i, uint32_t pc, bool code32, char *buf,
                    unsigned size)
{
    if (!d->text)
        d->text = decode_text_create();
    if (i->op == OP_UD)
        snprintf(buf, size, "(undefined)");
    else if (!d->text || !decode_text_format(d->text, i, pc, code32, buf, size))
        snprintf(buf, size, "%s", i->info->name);
    return buf;
}
