/* SPDX-License-Identifier: MIT */
/* generate.c: instruction table -> cases. Rows are taken in turn, so that all are covered alike;
 * what is random comes from the seed and the case's number alone.
 *
 * A case is one instruction of the row, or (one in three) a sequence that ends with it: then EBX,
 * EBP, ESI, EDI stay pointers into the window. All registers that an access depends on are chosen
 * after decoding, so that it lands in the window, at its edges, over its middle page boundary, or
 * in the hole around it, and never anywhere else: the oracle is a real process. */
#include "tests/differential/generate.h"

#include "tests/differential/facts.h"
#include "translator/insn_table.h"

#include <string.h>

static uint32_t rnd(struct generator *g)
{
    return case_random(&g->state);
}
static bool one_in(struct generator *g, unsigned n)
{
    return rnd(g) >> 7 & 0x1ffffff ? (rnd(g) >> 5) % n == 0 : false;
}

/* --- encoding --- */

static bool row_has_modrm(const struct insn_row *r)
{
    if (r->ext != 0xff || r->rm != 0xff || r->mod)
        return true;
    for (unsigned i = 0; i < 3; i++) {
        unsigned source = insn_spec_info[r->opnd[i]].source;
        if (source >= SRC_RM_GPR && source <= SRC_REG_DR)
            return true;
    }
    return r->map >= 2;
}

static uint8_t *put_prefixes(struct generator *g, const struct insn_row *r, uint8_t *p, bool memory)
{
    uint8_t list[8];
    unsigned n = 0;
    bool free66 = r->pfx == 0 || r->pfx == INSN_PFX_NOREP || r->pfx == 0xf2 || r->pfx == 0xf3;
    if (r->pfx > INSN_PFX_NOREP)
        list[n++] = r->pfx;
    /* on a host with BMI, LZCNT, CET and the like F2 and F3 make other instructions of the 0F map's
     */
    if (r->info.flags & INSN_REP && !one_in(g, 3))
        list[n++] = rnd(g) & 16 ? 0xf3 : 0xf2;
    else if (r->pfx == 0 && r->map == 0 && r->opcode != 0x90 && one_in(g, 32))
        list[n++] = rnd(g) & 16 ? 0xf3 : 0xf2;
    if (free66 && one_in(g, 4))
        list[n++] = 0x66;
    if (one_in(g, 24))
        list[n++] = 0x67;
    static const uint8_t segs[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    if (one_in(g, 8))
        list[n++] = segs[rnd(g) % 6];
    if (memory && r->info.flags & INSN_LOCKABLE ? one_in(g, 3) : one_in(g, 96))
        list[n++] = 0xf0;
    for (unsigned i = n; i > 1; i--) {
        unsigned k = rnd(g) % i;
        uint8_t t = list[i - 1];
        list[i - 1] = list[k], list[k] = t;
    }
    /* doubled now and then, up to the longest instruction and beyond */
    for (unsigned i = 0; i < n; i++) {
        unsigned times = one_in(g, 40) ? 1 + rnd(g) % 6 : 1;
        while (times--)
            *p++ = list[i];
    }
    return p;
}

/* ModRM, SIB and displacement. `simple`: base EBX, EBP, ESI or EDI with a small displacement. */
static uint8_t *put_modrm(struct generator *g, const struct insn_row *r, uint8_t *p, bool memory,
                          bool simple)
{
    unsigned reg = r->ext != 0xff ? r->ext : rnd(g) >> 3 & 7;
    unsigned rm = r->rm != 0xff ? r->rm : rnd(g) >> 3 & 7;
    if (!memory) {
        *p++ = (uint8_t)(0xc0 | reg << 3 | rm);
        return p;
    }
    if (simple) {
        static const uint8_t bases[] = {3, 5, 6, 7};
        bool disp32 = one_in(g, 3);
        *p++ = (uint8_t)((disp32 ? 0x80 : 0x40) | reg << 3 | bases[rnd(g) >> 4 & 3]);
        int32_t d = (int32_t)(rnd(g) >> 5 & 0xff) - 128;
        memcpy(p, &d, 4);
        return p + (disp32 ? 4 : 1);
    }
    unsigned mod = rnd(g) % 3;
    *p++ = (uint8_t)(mod << 6 | reg << 3 | rm);
    for (unsigned i = 0; i < 6; i++) /* SIB and displacement, more than needed */
        *p++ = (uint8_t)(rnd(g) >> 9);
    return p;
}

/* Encodes a random instruction of row r; false if the decoder takes it for another row. */
static bool encode(struct generator *g, const struct insn_row *r, bool simple, uint8_t *out,
                   struct insn *i)
{
    bool modrm = row_has_modrm(r);
    bool memory = modrm && (r->mod == 1 || (r->mod == 0 && r->rm == 0xff && rnd(g) & 64));
    uint8_t bytes[64], *p = put_prefixes(g, r, bytes, memory);
    static const uint8_t escape[4][3] = {
        {0},
        { 1,     0x0f},
        { 2, 0x0f, 0x38},
        { 2, 0x0f, 0x3a}
    };
    for (unsigned k = 0; k < escape[r->map][0]; k++)
        *p++ = escape[r->map][1 + k];
    *p++ = r->opcode;
    if (modrm)
        p = put_modrm(g, r, p, memory, simple);
    for (unsigned k = 0; k < 10; k++)
        *p++ = (uint8_t)(one_in(g, 6) ? case_edges[rnd(g) & 31] : rnd(g) >> 11);
    enum decode_status s = decode(g->decoder, bytes, (unsigned)(p - bytes), true, i);
    if (s == DECODE_TOO_LONG) {
        memcpy(out, bytes, 16);
        i->length = 16;
        return true;
    }
    memcpy(out, bytes, i->length);
    return s == DECODE_OK ? i->info == &r->info : i->lock;
}

/* --- where accesses go --- */

static uint32_t target_offset(struct generator *g, unsigned size, bool align)
{
    uint32_t r = rnd(g), off;
    switch (r >> 8 & 31) {
    case 0: /* over the middle */
        off = 4096 - (r >> 16) % (size + 1);
        break;
    case 1: /* over the end, or in the hole behind */
        off = CASE_WINDOW - (r >> 16) % (size + 8) + ((r >> 30) ? 0 : 16);
        break;
    case 2: /* over the start */
        off = (r >> 16) % (size + 8) - size;
        break;
    default:
        off = 640 + (r >> 13) % (CASE_WINDOW - 1920);
    }
    return align ? off & ~15u : off;
}

/* A linear address that a branch may go to: HLTs of the slot, or now and then where no code is. */
static uint32_t branch_target(struct generator *g, const struct test_case *c, unsigned end,
                              bool wild)
{
    uint32_t slot = CASE_CODE + c->index % CASE_BATCH * CASE_SLOT, r = rnd(g);
    if (wild && (r & 31) == 0)
        return r & 32 ? CASE_DATA + (r >> 8 & 0xfff)
                      : CASE_CODE + CASE_CODE_PAGES * 4096 + (r >> 8 & 0xfff);
    if ((r & 3) == 0 && c->start)
        return slot + (r >> 8) % c->start;
    return slot + end + (r >> 8) % (CASE_SLOT - end);
}

static void patch(struct test_case *c, uint32_t address, uint32_t value)
{
    uint32_t off = address - CASE_DATA;
    if (off <= CASE_WINDOW - 4 && c->patches < CASE_PATCHES) {
        c->patch[c->patches].off = off;
        c->patch[c->patches++].value = value;
    }
}

static uint32_t effective(const struct insn *i, const uint32_t gpr[8])
{
    uint32_t ea = (uint32_t)i->disp;
    if (i->mem_base != 0xff)
        ea += gpr[i->mem_base];
    if (i->mem_index != 0xff)
        ea += gpr[i->mem_index] * i->mem_scale;
    return ea;
}

/* Makes the memory operand of the instruction at `bytes` point to `ea`, by its displacement or
 * base. */
static void aim(const struct insn *i, uint8_t *bytes, uint32_t gpr[8], uint32_t ea)
{
    if (i->addrsize == 2)
        return; /* below 64 KiB: nothing is there */
    if (i->disp_size == 4) {
        uint32_t disp = ea - (effective(i, gpr) - (uint32_t)i->disp);
        memcpy(bytes + i->length - i->imm_size - 4, &disp, 4);
        return;
    }
    if (i->mem_base == 0xff)
        return;
    if (i->mem_base == R_ESP && i->mem_index != 0xff) /* ESP itself must stay in the window */
        gpr[i->mem_index] &= 7;
    uint32_t rest = effective(i, gpr) - gpr[i->mem_base];
    if (i->mem_index == i->mem_base)
        gpr[i->mem_base] = (ea - (uint32_t)i->disp) / (1u + i->mem_scale);
    else
        gpr[i->mem_base] = ea - rest;
}

static unsigned bit_register(const struct insn *i)
{
    bool bits = i->op == OP_BT || i->op == OP_BTS || i->op == OP_BTR || i->op == OP_BTC;
    return bits && i->has_mem && i->opnd[1].kind == OPND_REG ? i->opnd[1].reg : 8;
}

/* Registers of an instruction whose effects lie outside its ModRM operand. */
static void aim_implicit(struct generator *g, struct test_case *c, const struct insn *i)
{
    uint32_t *gpr = c->gpr;
    unsigned n = i->opsize;
    if (facts_string(i->op) || (i->op == OP_MMX && !strcmp(i->info->name, "maskmovq")) ||
        (i->op == OP_SSE && !strcmp(i->info->name, "maskmovdqu"))) {
        gpr[R_ESI] = CASE_DATA + target_offset(g, 4, false);
        gpr[R_EDI] = CASE_DATA + target_offset(g, 4, false);
        if (i->op == OP_XLAT)
            gpr[R_EBX] = CASE_DATA + target_offset(g, 1, false) - 128;
        if (i->rep || i->repne) /* short, zero, or until it runs into the hole */
            gpr[R_ECX] = one_in(g, 6) ? 0x10000 + (rnd(g) & 0xffff) : rnd(g) % 48;
    }
    if (i->info->flags & INSN_STACK || i->op == OP_ENTER || i->op == OP_LEAVE) {
        gpr[R_ESP] = CASE_DATA + target_offset(g, 32, false);
        if (!one_in(g, 4))
            gpr[R_ESP] &= ~3u;
    }
    if (i->op == OP_ENTER || i->op == OP_LEAVE)
        gpr[R_EBP] = CASE_DATA + target_offset(g, 8, false);
    if (i->op == OP_POPF || i->op == OP_IRET) {
        uint32_t flags = rnd(g) & ~(EFL_TF | EFL_NT | (one_in(g, 8) ? 0 : EFL_AC));
        patch(c, gpr[R_ESP], i->op == OP_IRET ? rnd(g) : flags);
        if (i->op == OP_IRET)
            patch(c, gpr[R_ESP] + 2 * n, flags);
    }
    if (i->op == OP_LOOP || i->op == OP_LOOPE || i->op == OP_LOOPNE || i->op == OP_JCXZ)
        if (rnd(g) & 64)
            gpr[R_ECX] = rnd(g) >> 20 & 3;
    if ((i->op == OP_DIV || i->op == OP_IDIV) && !one_in(g, 3)) /* so that some do not overflow */
        gpr[R_EDX] = i->op == OP_IDIV && gpr[R_EAX] >> 31 ? ~0u : rnd(g) & 3;
    if ((i->op == OP_SHLD || i->op == OP_SHRD) && n == 2)
        gpr[R_ECX] = (gpr[R_ECX] & ~31u) | rnd(g) % 17;
    unsigned bit = bit_register(i);
    if (bit < 8)
        gpr[bit] = (rnd(g) >> 4 & 0x1fff) - 4096;
}

/* Immediates that must not be arbitrary: targets, INT's vector, 16-bit double shifts. */
static void fix_immediate(struct generator *g, struct test_case *c, struct insn *i, uint8_t *bytes,
                          unsigned end)
{
    uint8_t *imm = bytes + i->length - i->imm_size;
    if (i->n_opnds && i->opnd[0].kind == OPND_REL) {
        uint32_t next = CASE_CODE + c->index % CASE_BATCH * CASE_SLOT + end;
        uint32_t rel = branch_target(g, c, end, i->imm_size >= 4) - next;
        memcpy(imm, &rel, i->imm_size);
    }
    if (i->op == OP_INT && (imm[0] == 0x80 || imm[0] == 0x30))
        imm[0] = 0x41;
    if ((i->op == OP_SHLD || i->op == OP_SHRD) && i->opsize == 2 && i->imm_size)
        imm[0] = (uint8_t)(imm[0] % 17);
    if (i->op == OP_ENTER && !one_in(g, 4)) /* the frame's size and level */
        imm[1] = 0, imm[2] &= 7;
}

/* Whether an operand of a locked instruction leaves its cache line, wherever that is: hosts punish
 * the attempt. */
static bool leaves_line(const struct insn *i, const uint32_t gpr[8])
{
    uint32_t at = effective(i, gpr), bit = bit_register(i);
    if (bit < 8)
        at += (uint32_t)((int32_t)(i->opsize == 2 ? (int16_t)gpr[bit] : (int32_t)gpr[bit]) >>
                         (i->opsize == 2 ? 4 : 5)) *
              i->opsize;
    return (at & 63) + facts_mem_size(i) > 64;
}

/* Moves it, by its base or its displacement, until it stays in one. */
static void keep_in_line(struct generator *g, struct insn *i, uint8_t *bytes, uint32_t gpr[8])
{
    uint8_t *disp = bytes + i->length - i->imm_size - i->disp_size;
    for (unsigned tries = 0; tries < 128 && leaves_line(i, gpr); tries++) {
        if (i->mem_base != 0xff) {
            gpr[i->mem_base]--;
        } else if (i->disp_size) {
            --*disp;
            decode(g->decoder, bytes, i->length, true, i);
        }
    }
}

static void aim_operand(struct generator *g, struct test_case *c, const struct insn *i,
                        uint8_t *bytes, unsigned end)
{
    uint32_t *gpr = c->gpr;
    if (i->has_mem && !facts_string(i->op)) {
        unsigned size = facts_mem_size(i);
        bool align = i->info->flags & INSN_ALIGN16 || size == 512;
        uint32_t off = target_offset(g, size, align && !one_in(g, 8));
        /* an access that is locked must not leave its cache line: hosts punish that */
        if ((i->lock || i->op == OP_XCHG) && (off & 63) + size > 64)
            off &= ~63u;
        /* with one register as base and index the aim is not exact: rather into the hole */
        if ((i->lock || i->op == OP_XCHG) && i->mem_index == i->mem_base && i->mem_base != 0xff)
            off = CASE_CODE + CASE_CODE_PAGES * 4096 + 0x8000 - CASE_DATA;
        aim(i, bytes, gpr, CASE_DATA + off);
    }
    /* decoded anew: the displacement may be another now */
    struct insn now = *i;
    decode(g->decoder, bytes, i->length, true, &now);
    if (i->has_mem && (i->lock || i->op == OP_XCHG))
        keep_in_line(g, &now, bytes, gpr);
    uint32_t ea = effective(&now, gpr);
    uint32_t target = branch_target(g, c, end, true);
    if (i->op == OP_CALL_IND || i->op == OP_JMP_IND) {
        if (i->has_mem)
            patch(c, ea, target);
        else if (i->opnd[0].reg != R_ESP)
            gpr[i->opnd[0].reg] = target;
        else
            gpr[R_ESP] = CASE_DATA + 1024; /* a jump to data */
    }
    if (i->op == OP_RET)
        patch(c, gpr[R_ESP], target);
    if (i->op == OP_LDMXCSR && !one_in(g, 4))
        patch(c, ea, rnd(g) & 0xffff);
    if (i->op == OP_FXRSTOR)
        patch(c, ea + 24, one_in(g, 4) ? rnd(g) : (rnd(g) & 0x603f) | 0x1f80);
    if (i->op == OP_X87 && !strcmp(i->info->name, "fldcw") && !one_in(g, 3))
        patch(c, ea & ~1u, rnd(g) | 0x3f003f);
}

/* --- cases --- */

static bool is_floating(const struct insn *i)
{
    return i->info->flags & (INSN_FPU | INSN_MMX | INSN_SSE | INSN_WAIT) || i->op == OP_FXSAVE ||
           i->op == OP_FXRSTOR || i->op == OP_LDMXCSR || i->op == OP_STMXCSR;
}

static bool offered(const struct generator *g, const struct insn_row *r)
{
    return g->features >> r->info.feature & 1;
}

/* A row that may stand in a sequence before its end. */
static const struct insn_row *filler(struct generator *g, struct insn *i, uint8_t *bytes,
                                     uint32_t undefined)
{
    for (unsigned tries = 0; tries < 40; tries++) {
        const struct insn_row *r = &insn_rows[rnd(g) % insn_row_count];
        if (!offered(g, r) || facts_treatment(r) != TREAT_NATIVE || r->info.cls > CLASS_REWRITTEN ||
            facts_string(r->info.op) || r->info.op == OP_POPF || r->info.op == OP_POPA ||
            r->info.op == OP_CLI || r->info.op == OP_STI || r->info.op == OP_FXRSTOR)
            continue;
        if (!encode(g, r, true, bytes, i) || i->length > 11 || i->addrsize == 2 || i->lock)
            continue;
        if (i->has_mem && (i->mem_base == 0xff || i->mem_seg == SEG_CS || i->op == OP_XCHG))
            continue;
        if (bit_register(i) < 8 || facts_writes(i, R_EBX) || facts_writes(i, R_EBP) ||
            facts_writes(i, R_ESI) || facts_writes(i, R_EDI))
            continue;
        if (!facts_judged(i, EFL_AC)) /* a sequence is judged by its end */
            continue;
        if (facts_writes(i, R_ESP) && i->op != OP_PUSH && i->op != OP_POP && i->op != OP_PUSHF)
            continue;
        if (i->info->flags & INSN_WRITES0 && i->opnd[0].kind == OPND_REG &&
            i->opnd[0].reg == R_ESP && i->opnd[0].size != 1)
            continue;
        if (i->info->fl_read & undefined || ((i->op == OP_PUSHF || i->op == OP_LAHF) && undefined))
            continue;
        return r;
    }
    return NULL;
}

static void random_registers(struct generator *g, struct test_case *c)
{
    for (unsigned i = 0; i < 8; i++)
        c->gpr[i] = case_value(&g->state);
    if (c->gpr[R_ESP] - CASE_SIGNALS + 0x10000 < 0x30000)
        c->gpr[R_ESP] = 0;
    uint32_t r = rnd(g);
    c->eflags = EFL_ONE | EFL_IF | (r & EFL_ARITH) | (r >> 16 & 7 ? 0 : EFL_DF) |
                (r >> 20 & 63 ? 0 : EFL_AC) | (r >> 26 & 3 ? 0 : EFL_ID);
}

static bool finish(struct generator *g, struct test_case *c, const struct insn_row *r, unsigned at,
                   bool simple)
{
    struct insn i;
    uint8_t bytes[32];
    if (!encode(g, r, simple, bytes, &i) || at + i.length > CASE_BYTES)
        return false;
    unsigned end = c->start + at + i.length;
    if (i.length > 15) { /* too long: #GP whatever it would do */
        memcpy(c->code + at, bytes, 16);
        c->length = (uint8_t)(at + 16);
        c->native = 1;
        return true;
    }
    uint32_t keep[8];
    memcpy(keep, c->gpr, sizeof keep);
    fix_immediate(g, c, &i, bytes, end);
    if (!simple) {
        aim_implicit(g, c, &i);
        aim_operand(g, c, &i, bytes, end);
        /* pointers that do not fit together (a base that is a count): leave that to another case */
        decode(g->decoder, bytes, i.length, true, &i);
        if (i.has_mem && i.addrsize == 4) {
            uint32_t off = effective(&i, c->gpr) - CASE_CODE - CASE_CODE_PAGES * 4096;
            if (off > CASE_DATA + CASE_WINDOW + 8192 - CASE_CODE - CASE_CODE_PAGES * 4096)
                return false;
        }
    } else if (bit_register(&i) < 8 || i.addrsize == 2 || facts_string(i.op) ||
               (i.info->flags & INSN_STACK) || i.info->cls >= CLASS_CALLOUT ||
               i.op == OP_CALL_IND || i.op == OP_JMP_IND || i.op == OP_RET || i.op == OP_LEAVE ||
               i.op == OP_ENTER || i.lock || i.op == OP_XCHG || (i.has_mem && i.mem_base == 0xff) ||
               i.op == OP_FXRSTOR) {
        return false;
    }
    /* #GP or #AC, as the model has it; a probe at the new stack pointer */
    if (i.op == OP_FXSAVE || i.op == OP_FXRSTOR || i.op == OP_ENTER)
        c->eflags &= ~EFL_AC;
    memcpy(c->code + at, bytes, i.length);
    c->length = (uint8_t)(at + i.length);
    if (is_floating(&i) || one_in(g, 16))
        c->fpu_seed = c->fpu_seed ? c->fpu_seed : rnd(g) | 1;
    if (c->flags_undefined & i.info->fl_read ||
        (c->flags_undefined && (i.op == OP_LAHF || i.op == OP_PUSHF)))
        return false;
    c->flags_undefined &= ~(uint32_t)i.info->fl_write;
    /* counts in CL are known only at the start */
    static const uint32_t many[8] = {0, 2};
    c->flags_undefined |= facts_undefined_flags(&i, simple && at ? many : c->gpr);
    c->native = facts_treatment(r) == TREAT_NATIVE && facts_judged(&i, c->eflags);
    c->ignore |= (uint16_t)facts_open(&i);
    return true;
}

static bool try_sequence(struct generator *g, struct test_case *c, const struct insn_row *r)
{
    unsigned at = 0, n = 1 + rnd(g) % 5;
    static const uint8_t pointers[] = {R_EBX, R_EBP, R_ESI, R_EDI, R_ESP};
    for (unsigned i = 0; i < 5; i++)
        c->gpr[pointers[i]] = CASE_DATA + ((1024 + rnd(g) % (CASE_WINDOW - 2048)) & ~15u);
    while (n--) {
        struct insn i;
        uint8_t bytes[32];
        if (!filler(g, &i, bytes, c->flags_undefined))
            continue;
        if (at + i.length > CASE_BYTES - 16)
            break;
        memcpy(c->code + at, bytes, i.length);
        at += i.length;
        if (is_floating(&i))
            c->fpu_seed = rnd(g) | 1;
        c->ignore |= (uint16_t)facts_open(&i);
        static const uint32_t many[8] = {0, 2};
        c->flags_undefined &= ~(uint32_t)i.info->fl_write;
        c->flags_undefined |= facts_undefined_flags(&i, many);
        if (i.op == OP_SHLD || i.op == OP_SHRD)
            if (i.opsize == 2)
                return false; /* a count above 16 leaves the result undefined */
    }
    return finish(g, c, r, at, true);
}

void generate_case(struct generator *g, uint32_t index, const struct insn_row *r,
                   struct test_case *c)
{
    for (unsigned tries = 0; tries < 64; tries++) {
        g->state = (g->seed * 0x9e3779b9u) ^ (index * 0x85ebca6bu) ^ (tries * 0xc2b2ae35u);
        g->state = g->state ? g->state : 1;
        for (unsigned i = 0; i < 4; i++)
            rnd(g);
        *c = (struct test_case){.index = index, .row = (uint16_t)(r - insn_rows)};
        c->mem_seed = g->seed * 31 + index / CASE_BATCH;
        c->start = (uint8_t)(8 + rnd(g) % 8);
        random_registers(g, c);
        if (tries < 4 && index % 3 == 0 ? try_sequence(g, c, r) : finish(g, c, r, 0, false))
            return;
    }
    /* no case could be made: an empty one, which the coverage does not count */
    *c = (struct test_case){.index = index, .row = 0xffff, .start = 8};
    c->mem_seed = g->seed * 31 + index / CASE_BATCH;
    c->eflags = EFL_ONE | EFL_IF;
}
