/* SPDX-License-Identifier: MIT */
/* test_verify_blocks.c: the verifier by the translator's own blocks: every row of the instruction
 * table, in several modes, must pass; with any one bit flipped, it must be refused or be harmless
 * still in the eyes of capstone (tests/unit/verify_oracle.h). */
#include "tests/unit/verify_oracle.h"

#include "translator/insn_table.h"
#include "translator/inspect.h"
#include "translator/translate.h"

#include "ringdown/x86.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE      0x1000u
#define CODE_LA   0x8000u
#define CODE_SIZE (16u << 20)

/* --- a translator without a machine --- */

struct fixture {
    struct cache *cache;
    struct translator *translator;
    struct decoder *decoder;
    uint8_t page[2 * PAGE]; /* guest code */
};
static struct fixture fx;

static void ignore_frame(void *opaque, uint32_t gfn)
{
    (void)opaque;
    (void)gfn;
}

static void setup(void)
{
    const struct cache_client client = {.watch = ignore_frame, .unwatch = ignore_frame};
    int error;
    fx.cache = cache_create(CODE_SIZE, &client, &error);
    cr_assert(fx.cache);
    fx.translator = translator_create(fx.cache, NULL);
    fx.decoder = decoder_create(NULL);
    cr_assert(fx.translator && fx.decoder);
    pads_emit(fx.cache, 0x1111, 0x2222);
    translator_set_verify(fx.translator, INSPECT_OFF, NULL, NULL);
}

static void teardown(void)
{
    decoder_destroy(fx.decoder);
    translator_destroy(fx.translator);
    cache_destroy(fx.cache);
}
TestSuite(verify_blocks, .init = setup, .fini = teardown, .timeout = 300);

/* --- modes --- */

static struct mode flat_mode(void)
{
    struct mode m;
    memset(&m, 0, sizeof(m));
    m.cs_limit = UINT32_MAX;
    m.can_set_if = true;
    return m;
}

static struct mode user_mode(void)
{
    struct mode m = flat_mode();
    m.cpl = 3;
    m.can_set_if = false;
    m.seg_class[SEG_GS] = SEGC_BASED;
    return m;
}

static struct mode based_mode(void)
{
    struct mode m = flat_mode();
    for (unsigned s = 0; s < 6; s++)
        m.seg_class[s] = s == SEG_CS ? SEGC_CHECKED : SEGC_BASED;
    m.cs_base = 0x1000;
    return m;
}

static struct mode mixed_mode(void)
{
    struct mode m = flat_mode();
    m.seg_class[SEG_SS] = SEGC_BASED;
    m.seg_class[SEG_FS] = SEGC_CHECKED;
    m.cs_limit = 0xfffff;
    m.tsc_traps = true;
    return m;
}

static struct mode (*const modes[])(void) = {flat_mode, user_mode, based_mode, mixed_mode};
#define MODE_COUNT (sizeof(modes) / sizeof(modes[0]))

/* A block of the guest code in fx.page. */
static struct block *block_of(const struct mode *mode, unsigned left, bool soft)
{
    struct block *b = NULL;
    static unsigned blocks;
    if (++blocks % 256 == 0) /* looking a block up takes a walk over those of its page */
        cache_flush(fx.cache);
    for (unsigned tries = 0; tries < 3; tries++) {
        unsigned id = cache_mode_id(fx.cache, mode);
        enum space space = mode->cpl == 3 ? SPACE_USER : SPACE_SUPERVISOR;
        struct code_page *page = cache_page_activate(fx.cache, space, CODE_LA, 8, false);
        cr_assert(page);
        memset(page->soft, soft ? 0xff : 0, sizeof(page->soft));
        struct source src = {.eip = CODE_LA + PAGE - left - mode->cs_base,
                             .mode = id,
                             .bytes = fx.page + PAGE - left,
                             .left = left,
                             .page = page,
                             .next_bytes = fx.page + PAGE,
                             .next_page = page};
        enum translate_status status = translate(fx.translator, &src, &b);
        if (status == TRANSLATE_OK)
            return b;
        cache_flush(fx.cache);
    }
    cr_assert_fail("not translated");
    return NULL;
}

/* --- guest instructions: forms of a row of the table --- */

struct form {
    uint8_t bytes[32];
    unsigned size;
};

/* ModRM and what follows: registers, then memory operands of all shapes. */
static const struct {
    uint8_t bytes[6], size;
} operands[] = {
    {{0xc0},                               1},
    {{0xe1},                               1},
    {{0xcc},                               1},
    {{0xf5},                               1},
    {{0x00},                               1},
    {{0x20},                               1},
    {{0x44, 0x24, 0x08},                   3},
    {{0x65, 0xfc},                         2},
    {{0x05, 0x78, 0x56, 0x34, 0x02},       5},
    {{0x3c, 0xb5, 0x78, 0x56, 0x34, 0x12}, 6},
    {{0x8c, 0xcb, 0x78, 0x56, 0x34, 0x12}, 6},
    {{0x97, 0x00, 0x00, 0x00, 0xff},       5},
};
#define OPERAND_COUNT (sizeof(operands) / sizeof(operands[0]))

static const struct {
    uint8_t byte; /* 0: none */
    uint16_t needs;
} prefixes[] = {
    {0,    0            },
    {0x66, 0            },
    {0xf0, INSN_LOCKABLE},
    {0xf3, INSN_REP     },
    {0xf2, INSN_REP     },
    {0x65, 0            },
    {0x67, 0            },
};
#define PREFIX_COUNT (sizeof(prefixes) / sizeof(prefixes[0]))

/* False if there is no such form. */
static bool make_form(const struct insn_row *r, unsigned prefix, unsigned operand, struct form *f)
{
    bool has_modrm = insn_table_slot(r->map, r->opcode)->has_modrm;
    static const uint8_t escapes[4][2] = {
        {0},
        {    0x0f},
        { 0x0f, 0x38},
        { 0x0f, 0x3a}
    };
    memset(f, 0, sizeof(*f));
    if ((r->info.flags & prefixes[prefix].needs) != prefixes[prefix].needs ||
        (!has_modrm && operand))
        return false;
    if (prefixes[prefix].byte)
        f->bytes[f->size++] = prefixes[prefix].byte;
    if (r->pfx == 0x66 || r->pfx == 0xf2 || r->pfx == 0xf3)
        f->bytes[f->size++] = r->pfx;
    for (unsigned i = 0; i < 2 && escapes[r->map][i]; i++)
        f->bytes[f->size++] = escapes[r->map][i];
    f->bytes[f->size++] = r->opcode;
    if (has_modrm) {
        bool direct = operands[operand].bytes[0] >= 0xc0;
        if ((r->mod == 1 && direct) || (r->mod == 2 && !direct))
            return false;
        memcpy(f->bytes + f->size, operands[operand].bytes, operands[operand].size);
        if (r->ext != 0xff)
            f->bytes[f->size] = (uint8_t)((f->bytes[f->size] & 0xc7) | r->ext << 3);
        if (r->rm != 0xff)
            f->bytes[f->size] = (uint8_t)((f->bytes[f->size] & 0xf8) | r->rm);
        f->size += operands[operand].size;
    }
    static const uint8_t immediate[] = {0x12, 0x00, 0x00, 0x00, 0x01, 0x00};
    memcpy(f->bytes + f->size, immediate, sizeof(immediate));
    struct insn insn;
    if (decode(fx.decoder, f->bytes, INSN_MAX_LENGTH, true, &insn) == DECODE_TRUNCATED)
        return false;
    f->size = insn.length;
    return true;
}

/* The form, then a call to elsewhere, what takes flags, and a return. */
static struct block *block_of_form(const struct form *f, unsigned mode, bool soft)
{
    static const uint8_t after[] = {0xe8, 0x00, 0x10, 0x00, 0x00, 0x31, 0xc0, 0xc3};
    struct mode m = modes[mode]();
    memset(fx.page, 0x90, sizeof(fx.page));
    uint8_t *p = fx.page + PAGE - 64;
    memcpy(p, f->bytes, f->size);
    memcpy(p + f->size, after, sizeof(after));
    return block_of(&m, 64, soft);
}

static void must_pass(const struct block *b, const struct form *f)
{
    struct verify_report report;
    enum verify_error error = inspect_block(fx.cache, b, &report);
    if (!error)
        return;
    for (unsigned i = 0; i < f->size; i++)
        fprintf(stderr, "%02x ", f->bytes[i]);
    inspect_print(fx.cache, b->host, b->host_body_end - b->host, b->host_end - b->host, error,
                  &report, stderr);
    cr_assert_fail("a good block is refused");
}

/* --- good blocks --- */

Test(verify_blocks, every_row_passes)
{
    unsigned blocks = 0, rows = 0;
    for (unsigned n = 0; n < insn_row_count; n++) {
        unsigned before = blocks;
        for (unsigned form = 0; form < PREFIX_COUNT * OPERAND_COUNT; form++) {
            struct form f;
            if (!make_form(&insn_rows[n], form / OPERAND_COUNT, form % OPERAND_COUNT, &f))
                continue;
            for (unsigned mode = 0; mode < MODE_COUNT; mode++)
                for (unsigned soft = 0; soft < 2; soft++, blocks++)
                    must_pass(block_of_form(&f, mode, soft), &f);
        }
        rows += blocks > before;
    }
    fprintf(stderr, "%u blocks of %u rows accepted\n", blocks, rows);
    cr_assert_eq(rows, insn_row_count);
}

/* Instructions in a row, up to the most that a block takes. */
Test(verify_blocks, long_blocks_pass)
{
    unsigned seed = 1, blocks = 0;
    for (unsigned n = 0; n < 3000; n++) {
        struct mode m = modes[n % MODE_COUNT]();
        unsigned at = 0;
        memset(fx.page, 0x90, sizeof(fx.page));
        while (at < 400) {
            struct form f;
            seed = seed * 1664525u + 1013904223u;
            if (!make_form(&insn_rows[(seed >> 8) % insn_row_count], (seed >> 4) % PREFIX_COUNT,
                           (seed >> 20) % OPERAND_COUNT, &f))
                continue;
            memcpy(fx.page + PAGE - 512 + at, f.bytes, f.size);
            at += f.size;
        }
        must_pass(block_of(&m, 512, n % 3 == 0), &(struct form){.size = 0});
        blocks++;
    }
    fprintf(stderr, "%u long blocks accepted\n", blocks);
}

/* --- linked blocks --- */

/* A block of bytes at the start of a page. */
static struct block *block_at(const struct mode *mode, uint32_t la, const uint8_t *bytes)
{
    enum space space = mode->cpl == 3 ? SPACE_USER : SPACE_SUPERVISOR;
    struct block *b = NULL;
    struct source src = {.eip = la,
                         .mode = cache_mode_id(fx.cache, mode),
                         .bytes = bytes,
                         .left = PAGE,
                         .page = cache_page_activate(fx.cache, space, la, la >> 12, false)};
    cr_assert_eq(translate(fx.translator, &src, &b), TRANSLATE_OK);
    return b;
}

static enum verify_error verdict(const struct block *b)
{
    struct verify_report report;
    return inspect_block(fx.cache, b, &report);
}

static void count_refusal(void *opaque)
{
    ++*(unsigned *)opaque;
}

/* A page that has left its address space so often is entered by gates only. */
static void make_restless(uint32_t la)
{
    for (unsigned n = 0; n < 8; n++) {
        struct code_page *page = cache_page_activate(fx.cache, SPACE_USER, la, la >> 12, false);
        cache_page_deactivate(fx.cache, page);
    }
}

/* A jump to another page: to a block directly, or, into a restless page of user code, to a gate,
 * which is checked too. */
Test(verify_blocks, links_are_checked)
{
    static uint8_t to[PAGE] = {0x31, 0xc0, 0xc3}, from[PAGE] = {0xe9, 0xfb, 0x0f, 0x00, 0x00};
    struct mode (*const both[])(void) = {flat_mode, user_mode};
    struct code_memory *code = cache_code(fx.cache);
    unsigned refusals = 0;
    translator_set_verify(fx.translator, INSPECT_ALWAYS, count_refusal, &refusals);
    make_restless(0x9000);
    for (unsigned user = 0; user < 2; user++) {
        struct mode m = both[user]();
        struct block *target = block_at(&m, 0x9000, to);
        uint64_t verified = translator_counters(fx.translator)->verified;
        struct block *b = block_at(&m, 0x8000, from);
        struct exit_record *x = cache_exit(fx.cache, b->exits);
        cr_assert(x->linked);
        cr_assert_eq(translator_counters(fx.translator)->verified, verified + 1 + user);
        cr_assert_eq(verdict(b), VERIFY_NONE);
        uint8_t *displacement = code->rw + x->host; /* not aligned */
        uint32_t linked, end = x->host + sizeof(linked);
        memcpy(&linked, displacement, sizeof(linked));
        for (unsigned n = 0; n < 128; n++) {
            uint32_t changed = linked + n - 64, to_host = end + changed;
            memcpy(displacement, &changed, sizeof(changed));
            bool is_entry = to_host == x->stub || to_host == b->host || to_host == target->host ||
                            to_host == target->host + 2 ||
                            cache_gate_at(fx.cache, (uint64_t)code->rx + to_host);
            cr_assert_eq(verdict(b) == VERIFY_NONE, is_entry, "at %+d", (int)n - 64);
        }
        memcpy(displacement, &linked, sizeof(linked));
        cache_drop(fx.cache, target);
        cr_assert(!x->linked);
        cr_assert_eq(verdict(b), VERIFY_NONE);
        memcpy(displacement, &linked, sizeof(linked)); /* where no valid block is any more */
        cr_assert_eq(verdict(b), VERIFY_OUTSIDE);
    }
    cr_assert_eq(refusals, 0u);
}

/* A damaged gate is not used: the jump stays unlinked. */
static bool damage_gate(void *opaque, unsigned mode, uint32_t host, uint32_t size)
{
    struct verify_report report;
    struct code_memory *code = cache_code(fx.cache);
    unsigned *refused = opaque;
    for (uint32_t bit = 0; bit < 8 * size; bit++) {
        code->rw[host + bit / 8] ^= (uint8_t)(1u << bit % 8);
        *refused += inspect_gate(fx.cache, mode, host, size, &report) != VERIFY_NONE;
        code->rw[host + bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    cr_assert_eq(inspect_gate(fx.cache, mode, host, size, &report), VERIFY_NONE);
    return false;
}

Test(verify_blocks, refused_gates_are_not_used)
{
    static uint8_t to[PAGE] = {0x31, 0xc0, 0xc3}, from[PAGE] = {0xe9, 0xfb, 0x0f, 0x00, 0x00};
    struct mode m = user_mode();
    unsigned refused = 0;
    make_restless(0x9000);
    cache_set_gate_check(fx.cache, damage_gate, &refused);
    block_at(&m, 0x9000, to);
    struct block *b = block_at(&m, 0x8000, from);
    cr_assert(!cache_exit(fx.cache, b->exits)->linked);
    cr_assert_eq(verdict(b), VERIFY_NONE);
    /* all but those of the guest address and of the word's number may not change */
    cr_assert_gt(refused, 8u * 20);
}

/* --- damaged blocks --- */

struct surroundings {
    uint64_t exit, lookup, indirect;
};

static bool is_pad(void *opaque, uint64_t target)
{
    const struct surroundings *s = opaque;
    return target == s->exit || target == s->lookup || target == s->indirect;
}

struct tally {
    unsigned refused, harmless, harmful;
};

static void flip_all(struct oracle *o, const struct block *b, struct tally *t)
{
    struct code_memory *code = cache_code(fx.cache);
    const struct pads *pads = cache_pads(fx.cache);
    struct surroundings s = {(uint64_t)pads->exit, (uint64_t)pads->lookup,
                             (uint64_t)pads->indirect};
    o->code = code->rw + b->host;
    o->size = b->host_end - b->host;
    o->address = (uint64_t)code->rx + b->host;
    o->is_place = is_pad;
    o->opaque = &s;
    for (uint32_t bit = 0; bit < 8 * o->size; bit++) {
        struct verify_report report;
        uint8_t *byte = code->rw + b->host + bit / 8;
        *byte ^= (uint8_t)(1u << bit % 8);
        if (inspect_block(fx.cache, b, &report))
            t->refused++;
        else if (oracle_judge(o))
            t->harmless++;
        else if (t->harmful++ < 20) {
            fprintf(stderr, "accepted, but %s at 0x%x, bit %u:\n", o->complaint, o->at, bit);
            inspect_print(fx.cache, b->host, b->host_body_end - b->host, (uint32_t)o->size,
                          VERIFY_NONE, &report, stderr);
        }
        *byte ^= (uint8_t)(1u << bit % 8);
    }
}

Test(verify_blocks, flipped_bits_are_refused_or_harmless)
{
    struct oracle *o = malloc(sizeof(*o));
    struct tally t = {0};
    /* RINGDOWN_LONG in the environment: some operands with each row; else, all with some row. */
    unsigned one_in = getenv("RINGDOWN_LONG") ? 4 : 32;
    cr_assert(o && oracle_init(o));
    for (unsigned n = 0; n < insn_row_count; n++)
        for (unsigned form = 0; form < PREFIX_COUNT * OPERAND_COUNT; form++) {
            unsigned pick = n + form * 7;
            struct form f;
            if (form && pick % one_in)
                continue;
            if (!make_form(&insn_rows[n], form / OPERAND_COUNT, form % OPERAND_COUNT, &f))
                continue;
            cache_flush(fx.cache); /* no other block to go to */
            flip_all(o, block_of_form(&f, pick % MODE_COUNT, pick % 3 == 0), &t);
        }
    oracle_done(o);
    free(o);
    fprintf(stderr, "flipped bits: %u refused, %u harmless, %u harmful\n", t.refused, t.harmless,
            t.harmful);
    cr_assert_eq(t.harmful, 0u);
    cr_assert_gt(t.refused, t.harmless);
}
