/* SPDX-License-Identifier: MIT */
/* test_fpu.c: every x87, MMX and SSE row of the instruction table, interpreted, against the same
 * bytes run by the host on the same state. */
#include "fpu_guest.h"

#include "translator/insn_table.h"

#ifndef ROUNDS
#define ROUNDS 24
#endif
#define PAGE       4096u
#define HOST_PAGES 2u

static uint8_t *host_data; /* two pages below 4 GiB, then one without access */
static uint64_t seed = 0x2545f4914f6cdd1dull;

static uint32_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 16);
}

static void rnd_fill(uint8_t *at, size_t n)
{
    for (size_t b = 0; b < n; b++)
        at[b] = (uint8_t)rnd();
}

/* --- operands: mostly special values --- */

static const uint64_t doubles[] = {
    0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff8000000000000,
    0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
    0xfff4000000000000, 0x0000000000000001, 0x800fffffffffffff, 0x0010000000000000,
    0x7fefffffffffffff, 0x41dfffffffc00000, 0x43e0000000000000, 0x3fe0000000000000,
    0x4330000000000001, 0xc1e0000000000000,
};
static const uint32_t floats[] = {
    0x00000000, 0x80000000, 0x3f800000, 0xbfc00000, 0x7f800000, 0xff800000,
    0x7fc00000, 0x7f800001, 0xffa00000, 0x00000001, 0x807fffff, 0x00800000,
    0x7f7fffff, 0x4effffff, 0x4f000000, 0x3f000000, 0x4b800001, 0xcf000000,
};
static const struct {
    uint64_t mantissa;
    uint16_t exponent;
} extendeds[] = {
    {0x0000000000000000, 0x0000}, /* +0 */
    {0x0000000000000000, 0x8000}, /* -0 */
    {0x8000000000000000, 0x3fff}, /* 1 */
    {0xc90fdaa22168c235, 0xc000}, /* -pi */
    {0x8000000000000000, 0x7fff}, /* inf */
    {0x8000000000000000, 0xffff},
    {0xc000000000000000, 0x7fff}, /* QNaN */
    {0x8000000000000001, 0x7fff}, /* SNaN */
    {0xa000000000000000, 0xffff},
    {0x0000000000000001, 0x0000}, /* denormals */
    {0x7fffffffffffffff, 0x8000},
    {0x8000000000000000, 0x0000}, /* pseudo-denormal */
    {0x4000000000000000, 0x3fff}, /* unnormal */
    {0x0000000000000000, 0x7fff}, /* pseudo-infinity */
    {0x0000000000000000, 0x4001}, /* pseudo-zero of the 8087 */
    {0x8000000000000000, 0x0001}, /* smallest normal */
    {0xffffffffffffffff, 0x7ffe}, /* largest */
    {0xfffffffffffffff0, 0x401e},
    {0x8000000000000001, 0x403e},
    {0xde0b6b3a763ffff0, 0x403a}, /* 18 decimal digits, for FBSTP */
};
#define PICK(array) (array)[rnd() % (sizeof(array) / sizeof((array)[0]))]

static void value_fill(uint8_t *at, size_t n)
{
    unsigned kind = rnd() % 4;
    if (kind == 0) {
        rnd_fill(at, n);
    } else if (kind == 1) {
        for (size_t b = 0; b + 4 <= n; b += 4)
            memcpy(at + b, &PICK(floats), 4);
    } else {
        for (size_t b = 0; b + 8 <= n; b += 8)
            memcpy(at + b, &PICK(doubles), 8);
    }
    if (n == 16 && rnd() % 8 == 0) /* text, for the string comparisons */
        for (size_t b = 0; b < n; b++)
            at[b] = (uint8_t)("ab\0"[rnd() % 3]);
}

static void extended_fill(uint8_t *at)
{
    if (rnd() % 4 == 0) {
        rnd_fill(at, 10);
        return;
    }
    unsigned n = rnd() % (sizeof extendeds / sizeof extendeds[0]);
    memcpy(at, &extendeds[n].mantissa, 8);
    memcpy(at + 8, &extendeds[n].exponent, 2);
}

/* A processor state, the same for both sides. Exceptions are masked, all of them or at random. */
static void state_fill(struct native_state *s, unsigned round)
{
    struct fxsave_area fx;
    bool masked = round % 3 != 0;
    memset(&fx, 0, sizeof fx);
    memset(s, 0, sizeof *s);
    fx.fcw = (uint16_t)(0x40 | (rnd() & 0xf00) | (masked ? 0x3f : rnd() & 0x3f));
    fx.fsw = (uint16_t)(rnd() & 0x7f00);
    if (round % 5 == 0)
        fx.fsw |= rnd() & 0x3f; /* may be pending */
    fx.ftw = (uint8_t)(round % 2 ? 0xff : rnd());
    fx.mxcsr =
        (rnd() & 0xe040) | (masked ? 0x1f80 : rnd() & 0x1f80) | (rnd() % 4 ? 0 : rnd() & 0x3f);
    for (unsigned r = 0; r < 8; r++) {
        extended_fill(fx.st[r]);
        value_fill(fx.xmm[r], 16);
        s->gpr[r] = rnd() % 3 ? rnd() % 20 : rnd();
    }
    s->flags = EFL_ONE | (rnd() & EFL_ARITH);
    memcpy(s->fx, &fx, sizeof fx);
}

/* --- one execution on both sides --- */

struct run {
    const struct insn_row *row;
    uint8_t bytes[INSN_MAX_LENGTH];
    unsigned n;
    char text[96];
};

static void guest_state(const struct native_state *s)
{
    memcpy(&guest->fx, s->fx, 288);
    memcpy(guest->gpr, s->gpr, sizeof guest->gpr);
    guest->fx.fip = guest->fx.fdp = 0;
    guest->eflags = (uint32_t)s->flags;
}

static void compare(const struct run *t, const struct native_state *s, int vector, bool addressed)
{
    struct fxsave_area want;
    memcpy(&want, s->fx, sizeof want);
    int want_vector = s->trap ? (int)s->trap : -1;
    const struct fxsave_area *fx = &guest->fx;
    cr_assert_eq(vector, want_vector, "%s: vector %d, host %d", t->text, vector, want_vector);
    cr_assert_eq(fx->fcw, want.fcw, "%s: fcw %04x, host %04x", t->text, fx->fcw, want.fcw);
    cr_assert_eq(fx->fsw, want.fsw, "%s: fsw %04x, host %04x", t->text, fx->fsw, want.fsw);
    cr_assert_eq(fx->ftw, want.ftw, "%s: ftw %02x, host %02x", t->text, fx->ftw, want.ftw);
    cr_assert_eq(fx->mxcsr, want.mxcsr, "%s: mxcsr %x, host %x", t->text, fx->mxcsr, want.mxcsr);
    cr_assert_arr_eq(fx->st, want.st, sizeof want.st, "%s: x87 registers", t->text);
    cr_assert_arr_eq(fx->xmm, want.xmm, 8 * 16, "%s: XMM registers", t->text);
    for (unsigned r = 0; r < 8; r++)
        if (r != R_ESP && !(addressed && (r == R_EBX || r == R_EDI)))
            cr_assert_eq(guest->gpr[r], s->gpr[r], "%s: gpr %u %x, host %x", t->text, r,
                         guest->gpr[r], s->gpr[r]);
    cr_assert_eq((guest->eflags ^ s->flags) & EFL_ARITH, 0, "%s: eflags %x, host %lx", t->text,
                 guest->eflags, (unsigned long)s->flags);
    cr_assert_arr_eq(guest_ram(GUEST_DATA), host_data, HOST_PAGES * PAGE, "%s: memory", t->text);
}

/* Offset of the operand in the two pages. */
static uint32_t operand_offset(const struct insn *i, unsigned round)
{
    unsigned size = i->mem_size ? i->mem_size : 16;
    switch (round % 6) {
    case 0: /* up to the last byte that there is */
        return HOST_PAGES * PAGE - size;
    case 1: /* across the page boundary */
        return PAGE - 1 - rnd() % size;
    case 2: /* unaligned */
        return 1 + rnd() % 512;
    default:
        return (rnd() % 64) * 16;
    }
}

/* False if the registers named cannot be had on the host along with the address. */
static bool usable(const struct insn *i, bool addressed)
{
    for (unsigned n = 0; n < i->n_opnds; n++) {
        unsigned reg = i->opnd[n].reg;
        if (i->opnd[n].kind == OPND_REG &&
            (reg == R_ESP || (addressed && (reg == R_EBX || reg == R_EDI))))
            return false;
    }
    return true;
}

/* False if the host does not have the instruction. */
static bool run_both(const struct run *t, unsigned round)
{
    struct native_state s;
    struct insn i;
    guest_decode(t->bytes, t->n, &i);
    cr_assert_eq(i.info, &t->row->info, "%s: row %s", t->text, i.info->name);
    bool addressed = i.has_mem || (i.map == 1 && i.opcode == 0xf7); /* MASKMOV */
    if (!usable(&i, addressed))
        return true;
    state_fill(&s, round);
    uint32_t offset = operand_offset(&i, round);
    rnd_fill(host_data, HOST_PAGES * PAGE);
    if (i.mem_size == 10)
        extended_fill(host_data + offset);
    else
        value_fill(host_data + offset, i.mem_size ? i.mem_size : 16);
    memcpy(guest_ram(GUEST_DATA), host_data, HOST_PAGES * PAGE);
    guest_state(&s);
    if (addressed) {
        guest->gpr[R_EBX] = guest->gpr[R_EDI] = GUEST_DATA + offset;
        s.gpr[R_EBX] = s.gpr[R_EDI] = (uint32_t)(uintptr_t)host_data + offset;
    }
    native_run(&s, t->bytes, t->n);
    if (s.trap == VEC_UD)
        return false;
    cr_assert_neq(s.trap, VEC_PF, "%s: the host touches more than %u bytes", t->text, i.mem_size);
    compare(t, &s, guest_execute(&i, NULL), addressed);
    return true;
}

/* --- encodings of a row --- */

static bool row_has_imm(const struct insn_row *row)
{
    for (unsigned n = 0; n < 3; n++)
        if (insn_spec_info[row->opnd[n]].source == SRC_IMM)
            return true;
    return false;
}

static bool row_has_modrm(const struct insn_row *row)
{
    struct insn i;
    uint8_t bytes[INSN_MAX_LENGTH] = {0x0f, row->opcode};
    return row->map != 1 || row->opcode != 0x77 ||
           decode(guest_decoder, bytes, sizeof bytes, true, &i) != DECODE_OK || i.has_modrm;
}

static void encode(struct run *t, bool memory)
{
    const struct insn_row *row = t->row;
    unsigned reg = row->ext != 0xff ? row->ext : rnd() % 8;
    unsigned rm = memory ? R_EBX : row->rm != 0xff ? row->rm : rnd() % 8;
    t->n = 0;
    if (row->pfx >= 0x66)
        t->bytes[t->n++] = row->pfx;
    if (row->map >= 1)
        t->bytes[t->n++] = 0x0f;
    if (row->map >= 2)
        t->bytes[t->n++] = row->map == 2 ? 0x38 : 0x3a;
    t->bytes[t->n++] = row->opcode;
    if (row_has_modrm(row))
        t->bytes[t->n++] = (uint8_t)((memory ? 0x00 : 0xc0) | reg << 3 | rm);
    if (row_has_imm(row))
        t->bytes[t->n++] = (uint8_t)rnd();
    int at = snprintf(t->text, sizeof t->text, "%s", row->info.name);
    for (unsigned n = 0; n < t->n; n++)
        at += snprintf(t->text + at, sizeof t->text - (size_t)at, " %02x", t->bytes[n]);
}

/* Rows that have tests of their own (test_fpu_state.c). */
static bool is_state(const struct insn_row *row)
{
    bool env = row->info.op == OP_X87 && (row->opcode == 0xd9 || row->opcode == 0xdd) &&
               row->mod != 2 && (row->ext == 4 || row->ext == 6);
    return env && insn_spec_info[row->opnd[0]].mem_size >= SIZE_ENV;
}

static void run_rows(enum insn_op op)
{
    unsigned rows = 0, missing = 0;
    for (unsigned r = 0; r < insn_row_count; r++) {
        struct run t = {.row = &insn_rows[r]};
        bool present = true;
        if (insn_rows[r].info.op != op || is_state(t.row))
            continue;
        for (unsigned round = 0; round < ROUNDS && present; round++) {
            if (t.row->mod != 2 && row_has_modrm(t.row)) {
                encode(&t, true);
                present &= run_both(&t, round);
            }
            if (t.row->mod != 1) {
                encode(&t, false);
                present &= run_both(&t, round);
            }
        }
        rows++;
        missing += !present;
    }
    printf("%s: %u rows, %u not on this host\n", insn_op_name(op), rows, missing);
    cr_assert_gt(rows, 20);
    cr_assert_lt(missing, rows / 4);
}

static void setup(void)
{
    host_data = mmap(NULL, (HOST_PAGES + 1) * PAGE, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    cr_assert_neq(host_data, MAP_FAILED);
    cr_assert_eq(mprotect(host_data, HOST_PAGES * PAGE, PROT_READ | PROT_WRITE), 0);
    guest_init();
}

static void teardown(void)
{
    munmap(host_data, (HOST_PAGES + 1) * PAGE);
    guest_fini();
}

TestSuite(fpu, .init = setup, .fini = teardown, .timeout = 60);

Test(fpu, x87_rows)
{
    run_rows(OP_X87);
}

Test(fpu, mmx_rows)
{
    run_rows(OP_MMX);
}

Test(fpu, sse_rows)
{
    run_rows(OP_SSE);
}
