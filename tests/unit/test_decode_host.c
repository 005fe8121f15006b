/* SPDX-License-Identifier: MIT */
/* test_decode_host.c: the instruction table against the host's own processor (host32.h): lengths
 * and #UD, sizes, directions and alignment of memory operands, flags, general registers, waiting
 * for x87 exceptions. Rows whose feature the host lacks are left out. */
#include "tests/unit/host32.h"

#include "tests/lib/host_judge.h"
#include "translator/insn.h"
#include "translator/insn_table.h"

#include "ringdown/feature.h"
#include "ringdown/x86.h"

#include <cpuid.h>
#include <criterion/criterion.h>

static struct decoder *decoder;
static uint32_t features;

static uint32_t host_features(void)
{
    unsigned a, b, c, d, a7 = 0, b7 = 0, c7 = 0, d7 = 0;
    __cpuid(1, a, b, c, d);
    __cpuid_count(7, 0, a7, b7, c7, d7);
    uint32_t f = 1u << FEAT_BASE;
    const struct {
        unsigned word, bit, feature;
    } bits[] = {
        {d,  15, FEAT_CMOV   },
        {d,  8,  FEAT_CX8    },
        {d,  4,  FEAT_TSC    },
        {d,  5,  FEAT_MSR    },
        {d,  11, FEAT_SEP    },
        {d,  24, FEAT_FXSR   },
        {d,  0,  FEAT_FPU    },
        {d,  23, FEAT_MMX    },
        {d,  25, FEAT_SSE    },
        {d,  26, FEAT_SSE2   },
        {c,  0,  FEAT_SSE3   },
        {c,  9,  FEAT_SSSE3  },
        {c,  19, FEAT_SSE41  },
        {c,  20, FEAT_SSE42  },
        {c,  23, FEAT_POPCNT },
        {c,  25, FEAT_AES    },
        {c,  1,  FEAT_PCLMUL },
        {c,  22, FEAT_MOVBE  },
        {d,  19, FEAT_CLFLUSH},
        {c,  30, FEAT_RDRAND },
        {b7, 18, FEAT_RDSEED },
    };
    for (unsigned k = 0; k < sizeof(bits) / sizeof(bits[0]); k++)
        f |= (bits[k].word >> bits[k].bit & 1) << bits[k].feature;
    return f;
}

static void setup(void)
{
    features = host_features();
    decoder = decoder_create_features(features);
    cr_assert(decoder);
    if (!host_init())
        cr_skip_test("no 32-bit code on this host");
}
static void teardown(void)
{
    decoder_destroy(decoder);
}
TestSuite(decode_host, .init = setup, .fini = teardown);

static const struct host_input plain = {
    .gpr = {0, 1, 0, HOST_DATA + 0x800, HOST_STACK, 0, 0, 0}
};

/* ---- lengths and #UD ---- */

/* These would enter the host's kernel. */
static bool enters_kernel(unsigned map, unsigned opcode)
{
    return (map == 0 && opcode == 0xcd) ||
           (map == 1 && (opcode == 0x34 || opcode == 0x05 || opcode == 0x07));
}
/* 0F 01 with a register form may be WRPKRU and the like. */
static bool dangerous(unsigned map, unsigned opcode, unsigned modrm)
{
    return map == 1 && opcode == 0x01 && modrm >= 0xc0 && modrm != 0xe0 && modrm != 0xf0;
}
/* Opcodes under which hosts have instructions that are not offered to guests. */
static bool host_may_have_more(unsigned map, unsigned opcode)
{
    static const uint8_t more[] = {0x01, 0x0e, 0x0f, 0x1a, 0x1b, 0x2b, 0x37,
                                   0x78, 0x79, 0xa6, 0xa7, 0xae, 0xc7};
    if (map == 0)
        return opcode == 0xc4 || opcode == 0xc5 || opcode == 0x62 || opcode == 0x8f ||
               opcode == 0xc6 || opcode == 0xc7;
    return map >= 2 || memchr(more, (int)opcode, sizeof(more));
}

/* The host's kernel emulates these in user mode and goes on without a trap. */
static bool emulated(const struct insn *i)
{
    return i->op == OP_SGDT || i->op == OP_SIDT || i->op == OP_SMSW || i->op == OP_SLDT ||
           i->op == OP_STR;
}

/* Encodings that this host defines otherwise than the model does. */
static bool host_differs(unsigned map, unsigned opcode, unsigned modrm, unsigned prefix)
{
    if (map == 1 && opcode == 0x0d && modrm >= 0xc0)
        return !host_judges(HOST_PREFETCH_NOP);
    if (map == 1 && (opcode == 0x20 || opcode == 0x22) && prefix == 0xf0)
        return !host_judges(HOST_LOCK_CR);
    return map == 0 && opcode == 0xf1 && prefix && !host_judges(HOST_INT1_PREFIX);
}

static unsigned ud_lengths_differ;

static void check_length(const uint8_t *code, bool code16, unsigned map, unsigned opcode)
{
    struct insn i;
    struct host_input in = plain;
    in.code16 = code16;
    enum decode_status status = decode(decoder, code, 15, !code16, &i);
    if (status == DECODE_OK && emulated(&i))
        return;
    struct host_result whole = host_run(code, i.length, &in);
    bool ud = whole.event == HOST_FAULT && whole.trap == VEC_UD;
    if (status == DECODE_OK) {
        cr_expect(whole.event != HOST_FETCH && !ud,
                  "%d-bit %02x %02x %02x %02x %s: event %d, vector %d", code16 ? 16 : 32, code[0],
                  code[1], code[2], code[3], i.info->name, whole.event, whole.trap);
        if (i.length > 1)
            cr_expect_eq(host_run(code, i.length - 1, &in).event, HOST_FETCH,
                         "%02x %02x %02x %02x %s is shorter than %u", code[0], code[1], code[2],
                         code[3], i.info->name, i.length);
        return;
    }
    /* How far processors fetch before they raise #UD is their own affair. */
    if (whole.event == HOST_FETCH) {
        ud_lengths_differ++;
        whole = host_run(code, 15, &in);
        ud = whole.event == HOST_FAULT && whole.trap == VEC_UD;
    }
    cr_expect(ud || host_may_have_more(map, opcode), "%02x %02x %02x %02x is defined", code[0],
              code[1], code[2], code[3]);
}

Test(decode_host, lengths_and_undefined)
{
    static const uint8_t prefixes[] = {0, 0x66, 0xf2, 0xf3, 0x67, 0xf0};
    for (unsigned p = 0; p < sizeof(prefixes) * 2; p++) {
        for (unsigned at = 0; at < 4 * 256 * 256; at++) {
            unsigned map = at >> 16, opcode = at >> 8 & 255, modrm = at & 255;
            static const uint8_t not [] = {0x0f, 0x26, 0x2e, 0x36, 0x3e, 0x64,
                                           0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
            if ((map == 0 && memchr(not, (int)opcode, sizeof(not ))) ||
                (map == 1 && (opcode == 0x38 || opcode == 0x3a)) || enters_kernel(map, opcode) ||
                dangerous(map, opcode, modrm) || host_differs(map, opcode, modrm, prefixes[p / 2]))
                continue;
            /* With prefixes, one ModRM.rm of each shape will do. */
            if (p > 1 && !(0x71 >> (modrm & 7) & 1))
                continue;
            uint8_t code[16] = {0};
            unsigned n = 0;
            if (prefixes[p / 2])
                code[n++] = prefixes[p / 2];
            if (map)
                code[n++] = 0x0f;
            if (map > 1)
                code[n++] = map == 2 ? 0x38 : 0x3a;
            code[n++] = (uint8_t)opcode;
            code[n++] = (uint8_t)modrm;
            code[n++] = 0x24;
            check_length(code, p & 1, map, opcode);
        }
    }
    host_tell_unjudged(stderr);
    cr_log_info("undefined encodings with another length here: %u", ud_lengths_differ);
}

Test(decode_host, fifteen_bytes)
{
    uint8_t code[16];
    memset(code, 0x3e, sizeof(code));
    code[14] = 0x90;
    cr_expect_eq(host_run(code, 15, &plain).event, HOST_DONE);
    code[14] = 0x3e;
    cr_expect_eq(host_run(code, 14, &plain).event, HOST_FETCH);
    struct host_result r = host_run(code, 15, &plain);
    cr_expect(r.event == HOST_FAULT && r.trap == VEC_GP);
}

/* ---- rows ---- */

/* Code for a row with [EBX], or with rm (and reg) registers; returns its length, 0 if it has no
 * such form or must not run here. */
static unsigned code_for_row(const struct insn_row *r, bool memory, unsigned reg, unsigned rm,
                             uint8_t *code, struct insn *i)
{
    unsigned n = 0;
    if ((memory && r->mod == 2) || (!memory && r->mod == 1) || enters_kernel(r->map, r->opcode) ||
        host_differs(r->map, r->opcode, memory ? 0 : 0xc0, 0) ||
        !(features >> r->info.feature & 1) || r->info.cls == CLASS_UNDEFINED)
        return 0;
    memset(code, 0, 16);
    if (r->pfx == 0x66 || r->pfx == 0xf2 || r->pfx == 0xf3)
        code[n++] = r->pfx;
    if (r->map)
        code[n++] = 0x0f;
    if (r->map > 1)
        code[n++] = r->map == 2 ? 0x38 : 0x3a;
    code[n++] = r->opcode;
    code[n++] = (uint8_t)((memory ? 0 : 0xc0) | (r->ext != 0xff ? r->ext : reg) << 3 |
                          (memory          ? R_EBX
                           : r->rm != 0xff ? r->rm
                                           : rm));
    code[n] = 1; /* an immediate, of shifts mostly */
    if (decode(decoder, code, 15, true, i) != DECODE_OK || i->info != &r->info || emulated(i) ||
        i->has_mem != memory)
        return 0;
    return i->length;
}

/* The instruction with its operand `offset` bytes into the data page. */
static struct host_result run_at(const uint8_t *code, const struct insn *i, unsigned offset)
{
    struct host_input in = plain;
    in.gpr[R_EBX] = HOST_DATA + offset;
    uint8_t copy[16];
    memcpy(copy, code, sizeof(copy));
    if (!i->has_modrm) /* moffs */
        memcpy(copy + i->length - 4, &in.gpr[R_EBX], 4);
    return host_run(copy, i->length, &in);
}

static bool data_fault(const struct host_result *r, bool write)
{
    return r->event == HOST_FAULT && r->trap == VEC_PF && (r->error & PF_W) == (write ? PF_W : 0) &&
           r->cr2 - HOST_DATA <= HOST_PAGE;
}

static void check_memory(const struct insn_row *r)
{
    uint8_t code[16], *data = (uint8_t *)(uintptr_t)HOST_DATA;
    struct insn i;
    if (!code_for_row(r, true, R_EAX, 0, code, &i))
        return;
    const struct insn_info *f = &r->info;
    unsigned size = i.mem_size;
    if (f->op == OP_FXSAVE || f->op == OP_FXRSTOR)
        size = 512;
    if (f->flags & INSN_PRIV0)
        return;
    memset(data, 0, HOST_PAGE);
    struct host_result fits = run_at(code, &i, HOST_PAGE - size);
    cr_expect(!data_fault(&fits, true) && !data_fault(&fits, false), "%s %02x: more than %u bytes",
              f->name, r->opcode, size);
    /* ALIGN16 rows are tried one alignment further. */
    unsigned step = f->flags & INSN_ALIGN16 ? 16 : 1;
    struct host_result out = run_at(code, &i, HOST_PAGE - size + step);
    bool faults = data_fault(&out, true) || data_fault(&out, false);
    /* FXSAVE leaves the end of its area to software. */
    cr_expect_eq(faults, size > 0 && size < 512, "%s %02x: fewer than %u bytes", f->name, r->opcode,
                 size);
    memset(data, 0, HOST_PAGE);
    struct host_result odd = run_at(code, &i, 0x801);
    if (size >= 16)
        cr_expect_eq(odd.event == HOST_FAULT && odd.trap == VEC_GP,
                     (f->flags & INSN_ALIGN16) || f->op == OP_FXRSTOR, "%s %02x: alignment",
                     f->name, r->opcode);
    memset(data, 0, HOST_PAGE);
    mprotect(data, HOST_PAGE, PROT_READ);
    struct host_result store = run_at(code, &i, 0x800);
    mprotect(data, HOST_PAGE, PROT_READ | PROT_WRITE);
    /* ARPL writes when it finds something to adjust. */
    bool writes = i.opnd[0].kind == OPND_MEM && (f->flags & INSN_WRITES0) && f->op != OP_ARPL;
    cr_expect_eq(data_fault(&store, true), writes, "%s %02x: direction", f->name, r->opcode);
}

Test(decode_host, memory_operands)
{
    for (unsigned k = 0; k < insn_row_count; k++)
        check_memory(&insn_rows[k]);
}

/* ---- flags ---- */

static uint32_t random_state = 1;
static uint32_t random32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* Leaves the instruction's course or the flags to others: control, strings, stack and system. */
static bool flags_can_run(const struct insn *i)
{
    const struct insn_info *f = i->info;
    return (f->cls == CLASS_IDENTICAL || f->cls == CLASS_MEMORY || f->op == OP_SALC ||
            f->op <= OP_AAS /* AAA, AAD, AAM, AAS */ || f->op == OP_DAA || f->op == OP_DAS ||
            f->op == OP_INC || f->op == OP_DEC || f->cls == CLASS_CONTROL) &&
           !(f->flags & (INSN_PRIV0 | INSN_STACK)) && f->op != OP_RDRAND && f->op != OP_RDSEED &&
           f->op != OP_JMP_IND;
}

struct outcome {
    struct host_result r;
    uint8_t data[16];
};
static struct outcome flags_run(const uint8_t *code, const struct insn *i,
                                const struct host_input *in, const uint8_t *data)
{
    struct outcome o;
    memcpy((uint8_t *)(uintptr_t)(HOST_DATA + 0x800), data, 16);
    o.r = host_run(code, i->length, in);
    memcpy(o.data, (uint8_t *)(uintptr_t)(HOST_DATA + 0x800), 16);
    return o;
}

/* Everything but the flags in `mask`. */
static bool same_but(const struct outcome *a, const struct outcome *b, uint32_t mask)
{
    return !memcmp(a->r.gpr, b->r.gpr, sizeof(a->r.gpr)) && a->r.eip == b->r.eip &&
           !memcmp(a->data, b->data, 16) && !((a->r.eflags ^ b->r.eflags) & EFL_HOST & ~mask);
}

/* What undefined flags a processor leaves as they were, the table calls written. */
static unsigned kept_though_written;

static void check_flags_once(const struct insn_row *r, const uint8_t *code, const struct insn *i)
{
    static const uint32_t bits[] = {EFL_CF, EFL_PF, EFL_AF, EFL_ZF, EFL_SF, EFL_OF, EFL_DF};
    const struct insn_info *f = &r->info;
    struct host_input in = plain;
    uint8_t data[16];
    for (unsigned k = 0; k < 16; k++)
        data[k] = (uint8_t)random32();
    for (unsigned k = 0; k < 8; k++) {
        if (k != R_ESP && k != R_EBX)
            in.gpr[k] = random32() & (random32() & 1 ? 0xffffffff : 0x1f);
    }
    if (i->has_mem && (f->op == OP_BT || f->op == OP_BTS || f->op == OP_BTR || f->op == OP_BTC))
        in.gpr[R_EAX] &= 31;
    in.eflags = random32() & EFL_HOST;
    if (!i->has_modrm && i->has_mem)
        return;
    struct outcome a = flags_run(code, i, &in, data);
    if (a.r.event != HOST_DONE)
        return;
    uint32_t changed = (a.r.eflags ^ in.eflags) & EFL_HOST;
    cr_expect_eq(changed & ~(f->fl_write | f->fl_maybe), 0, "%s %02x writes flags %#x", f->name,
                 r->opcode, changed & ~(f->fl_write | f->fl_maybe));
    for (unsigned k = 0; k < sizeof(bits) / sizeof(bits[0]); k++) {
        struct host_input flipped = in;
        flipped.eflags ^= bits[k];
        struct outcome b = flags_run(code, i, &flipped, data);
        if (f->fl_read & bits[k])
            continue;
        cr_expect(same_but(&a, &b, bits[k]), "%s %02x reads flag %#x", f->name, r->opcode, bits[k]);
        if ((f->fl_write & bits[k]) && ((a.r.eflags ^ b.r.eflags) & bits[k]))
            kept_though_written++;
    }
}

/* Flags that a row reads must make a difference in some trial. */
static void check_flags_read(const struct insn_row *r, const uint8_t *code, const struct insn *i)
{
    uint32_t seen = 0;
    static const uint8_t data[16] = {0x99, 0x0f, 0x80, 0x7f};
    for (unsigned trial = 0; trial < 64; trial++) {
        for (uint32_t bit = 1; bit <= EFL_OF; bit <<= 1) {
            struct host_input in = plain, flipped;
            in.gpr[R_EAX] = random32();
            in.gpr[R_ECX] = random32() & 7;
            in.eflags = random32() & EFL_ARITH;
            flipped = in;
            flipped.eflags ^= bit;
            struct outcome a = flags_run(code, i, &in, data),
                           b = flags_run(code, i, &flipped, data);
            if ((bit & r->info.fl_read) && !same_but(&a, &b, bit))
                seen |= bit;
            if ((bit & r->info.fl_read & r->info.fl_write) && ((a.r.eflags ^ b.r.eflags) & bit))
                seen |= bit;
        }
    }
    if (r->info.op == OP_X87)
        return; /* FCMOV's registers are not compared */
    cr_expect_eq(seen, r->info.fl_read & EFL_ARITH, "%s %02x reads %#x only", r->info.name,
                 r->opcode, seen);
}

Test(decode_host, flags)
{
    for (unsigned k = 0; k < insn_row_count; k++) {
        for (unsigned form = 0; form < 2; form++) {
            uint8_t code[16];
            struct insn i;
            if (!code_for_row(&insn_rows[k], form, R_EAX, R_ECX, code, &i) || !flags_can_run(&i))
                continue;
            for (unsigned trial = 0; trial < 24; trial++)
                check_flags_once(&insn_rows[k], code, &i);
            if (insn_rows[k].info.fl_read & EFL_ARITH)
                check_flags_read(&insn_rows[k], code, &i);
        }
    }
    cr_log_info("undefined flags kept by this host: %u times", kept_though_written);
}

/* ---- general registers of FPU and vector rows ---- */

Test(decode_host, vector_rows_write_the_register_they_name)
{
    for (unsigned k = 0; k < insn_row_count; k++) {
        const struct insn_row *r = &insn_rows[k];
        const struct insn_info *f = &r->info;
        if (f->op != OP_SSE && f->op != OP_MMX && f->op != OP_X87)
            continue;
        for (unsigned form = 0; form < 4; form++) {
            uint8_t code[16];
            struct insn i;
            unsigned reg = form & 2 ? R_ESI : R_EDX;
            if (!code_for_row(r, form & 1, reg, reg ^ 1, code, &i))
                continue;
            struct host_input in = plain;
            for (unsigned g = 0; g < 8; g++)
                in.gpr[g] = g == R_EBX || g == R_ESP ? in.gpr[g] : 0x5a5a5a5a;
            /* MASKMOV stores there. */
            in.gpr[R_EDI] = HOST_DATA;
            struct host_result out = host_run(code, i.length, &in);
            if (out.event != HOST_DONE)
                continue;
            unsigned changed = 0, named = 0;
            for (unsigned g = 0; g < 8; g++)
                changed |= (unsigned)(out.gpr[g] != in.gpr[g]) << g;
            if (i.opnd[0].kind == OPND_REG && (f->flags & INSN_WRITES0))
                named = 1u << i.opnd[0].reg;
            if (r->map == 3 && (r->opcode == 0x61 || r->opcode == 0x63))
                named = 1u << R_ECX;
            cr_expect_eq(changed, named, "%s %02x: changed %#x, named %#x", f->name, r->opcode,
                         changed, named);
        }
    }
}

/* ---- pending x87 exceptions ---- */

Test(decode_host, waiting)
{
    for (unsigned k = 0; k < insn_row_count; k++) {
        const struct insn_row *r = &insn_rows[k];
        const struct insn_info *f = &r->info;
        if (f->cls != CLASS_IDENTICAL && f->cls != CLASS_MEMORY && !(f->flags & INSN_FPU))
            continue;
        uint8_t code[16];
        struct insn i;
        for (unsigned form = 0; form < 2; form++) {
            if (!code_for_row(r, form, R_EAX, R_ECX, code, &i))
                continue;
            struct host_input in = plain;
            in.x87_pending = true;
            struct host_result out = host_run(code, i.length, &in);
            bool waits = ((f->flags & (INSN_FPU | INSN_MMX)) && !(f->flags & INSN_NO_WAIT)) ||
                         (f->flags & INSN_WAIT);
            cr_expect_eq(out.event == HOST_FAULT && out.trap == VEC_MF, waits, "%s %02x %s",
                         f->name, r->opcode, form ? "memory" : "register");
        }
    }
}

/* ---- 64-bit code ---- */

/* What the translator copies must do in 64-bit code what it does in 32-bit code; memory operands
 * get the address-size prefix. */
static void check_64(const struct insn_row *r, bool memory)
{
    uint8_t code[17] = {0x67};
    struct insn i;
    enum insn_class cls = (enum insn_class)r->info.cls;
    if ((cls != CLASS_IDENTICAL && cls != CLASS_MEMORY) || r->info.op == OP_RDRAND ||
        r->info.op == OP_RDSEED || !code_for_row(r, memory, R_EAX, R_ECX, code + 1, &i))
        return;
    if (memory && !i.has_modrm)
        memcpy(code + 1 + i.length - 4, &plain.gpr[R_EBX], 4);
    for (unsigned trial = 0; trial < 8; trial++) {
        uint8_t data[16];
        struct host_input in = plain;
        for (unsigned k = 0; k < 16; k++)
            data[k] = (uint8_t)random32();
        in.gpr[R_EAX] = random32() & 31;
        in.gpr[R_ECX] = random32();
        in.eflags = random32() & EFL_HOST;
        struct outcome a = flags_run(code + 1, &i, &in, data);
        in.code64 = true;
        struct insn longer = i;
        longer.length += memory;
        struct outcome b = flags_run(code + !memory, &longer, &in, data);
        cr_expect(a.r.event == b.r.event && a.r.trap == b.r.trap, "%s %02x: vectors %d, %d",
                  r->info.name, r->opcode, a.r.trap, b.r.trap);
        a.r.eip = b.r.eip;
        cr_expect(a.r.event != HOST_DONE || same_but(&a, &b, 0), "%s %02x", r->info.name,
                  r->opcode);
    }
}

Test(decode_host, copied_rows_in_64_bit_code)
{
    for (unsigned k = 0; k < insn_row_count; k++) {
        check_64(&insn_rows[k], false);
        check_64(&insn_rows[k], true);
    }
}
