/* SPDX-License-Identifier: MIT */
/* translate.c: guest bytes -> block, in four passes.
 *
 * scan     decodes a run of instructions from one page: it goes on over calls and branches
 *          that fall through, and ends at a jump, a return, an instruction that may change
 *          the processor's mode, the end of the page, or where another block starts
 * holds    finds where no interrupt may come
 * lower    emits each instruction by its class in the table (lower*.c)
 * finish   emits the stubs of direct exits, commits, links what is already there
 *
 * The block's bytes, marks and exit records go straight to their final places. */
#include "translator/translate.h"

#include "ringdown/check.h"
#include "ringdown/cpu.h"
#include "translator/decode_dump.h"
#include "translator/host_facts.h"
#include "translator/lower.h"

#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

struct translator {
    struct cache *cache;
    struct decoder *decoder;
    struct translator_counters counters;
    FILE *dump_decode, *dump_blocks, *dump_host;
    enum inspect_mode verify;
    void (*refused)(void *opaque);
    void *refused_opaque;
    struct scanned scanned[BLOCK_INSNS_MAX];
    unsigned count;
    bool counting;
    bool ends;                 /* the last scanned instruction never falls through */
    uint16_t peek, peek_bytes; /* see struct block */
};

static bool gate_passes(void *opaque, unsigned mode, uint32_t host, uint32_t size);

struct translator *translator_create(struct cache *cache, const struct cpu_model *model)
{
    struct translator *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->cache = cache;
    t->decoder = decoder_create(model);
    if (!t->decoder) {
        free(t);
        return NULL;
    }
    cache_set_gate_check(cache, gate_passes, t);
    (void)host_as_model(HOST_COMPARE_FLAGS); /* found out before signals are the machine's */
    return t;
}

void translator_destroy(struct translator *t)
{
    if (!t)
        return;
    cache_set_gate_check(t->cache, NULL, NULL);
    decoder_destroy(t->decoder);
    free(t);
}

const struct translator_counters *translator_counters(const struct translator *t)
{
    return &t->counters;
}

void translator_count(struct translator *t)
{
    t->counting = true;
}

void translator_set_dump(struct translator *t, FILE *decode, FILE *blocks, FILE *host)
{
    t->dump_decode = decode;
    t->dump_blocks = blocks;
    t->dump_host = host;
}

/* --- verification (inspect.h) --- */

void translator_set_verify(struct translator *t, enum inspect_mode mode,
                           void (*refused)(void *opaque), void *opaque)
{
    t->verify = mode;
    t->refused = refused;
    t->refused_opaque = opaque;
}

static bool wants_inspection(const struct translator *t)
{
    return t->verify == INSPECT_ALWAYS ||
           (t->verify == INSPECT_SAMPLED && t->counters.blocks % INSPECT_SAMPLE == 0);
}

/* Counts the verdict on code at an offset of code memory, tells of a bad one. */
static bool passed(struct translator *t, uint32_t host, uint32_t body, uint32_t size,
                   enum verify_error error, const struct verify_report *report)
{
    t->counters.verified++;
    if (!error)
        return true;
    t->counters.refused++;
    inspect_print(t->cache, host, body, size, error, report, stderr);
    if (t->refused)
        t->refused(t->refused_opaque);
    return false;
}

static bool block_passes(struct translator *t, const struct block *b)
{
    struct verify_report report;
    if (!wants_inspection(t))
        return true;
    uint64_t start = __rdtsc();
    enum verify_error error = inspect_block(t->cache, b, &report);
    t->counters.ticks_verify += __rdtsc() - start;
    return passed(t, b->host, b->host_body_end - b->host, b->host_end - b->host, error, &report);
}

static bool gate_passes(void *opaque, unsigned mode, uint32_t host, uint32_t size)
{
    struct translator *t = opaque;
    struct verify_report report;
    if (!wants_inspection(t))
        return true;
    return passed(t, host, size, size, inspect_gate(t->cache, mode, host, size, &report), &report);
}

/* --- scan --- */

static bool falls_through(const struct insn *i)
{
    if (i->info->cls == CLASS_CALLOUT_END || i->info->cls == CLASS_UNDEFINED)
        return false;
    return i->op != OP_JMP && i->op != OP_JMP_IND && i->op != OP_RET;
}

/* Decodes at `eip`. False if the block must end before it. */
static bool scan_one(struct translator *t, const struct source *src, uint32_t eip, bool *crosses)
{
    unsigned offset = eip - src->eip, left = src->left - offset;
    const uint8_t *bytes = src->bytes + offset;
    struct scanned *s = &t->scanned[t->count];
    uint8_t joined[2 * INSN_MAX_LENGTH];
    enum decode_status status = decode(t->decoder, bytes, left, true, &s->insn);
    *crosses = false;
    if (status == DECODE_TRUNCATED) {
        *crosses = true;
        if (t->count || !src->next_bytes)
            return false;
        memcpy(joined, bytes, left);
        memcpy(joined + left, src->next_bytes, INSN_MAX_LENGTH);
        status = decode(t->decoder, joined, left + INSN_MAX_LENGTH, true, &s->insn);
    }
    if (status == DECODE_TOO_LONG || status == DECODE_TRUNCATED)
        s->insn.length = 1; /* the interpreter raises #GP; the block ends here */
    s->eip = eip;
    s->held = s->retpoline = false;
    s->kept = NULL;
    if (status != DECODE_OK)
        s->insn.info = NULL;
    return true;
}

/* Retpolines: CALL over a loop that traps speculation, to MOV [ESP], reg; RET. On hardware each is
 * a mispredicted return, and so it would be here; as an indirect jump it is predicted. */
static void find_retpoline(struct translator *t, const struct source *src, const struct mode *m,
                           struct scanned *s)
{
    uint32_t target = s->eip + s->insn.length + s->insn.imm;
    uint32_t in_page = 0x1000 - src->left + (target - src->eip);
    struct insn move, ret;
    if (s->insn.op != OP_CALL || s->insn.opsize != 4 || in_page > 0x1000 - 2 * INSN_MAX_LENGTH ||
        m->seg_class[SEG_SS] == SEGC_CHECKED || m->cs_limit != UINT32_MAX)
        return;
    const uint8_t *bytes = src->bytes + (int32_t)(target - src->eip);
    if (decode(t->decoder, bytes, INSN_MAX_LENGTH, true, &move) != DECODE_OK ||
        decode(t->decoder, bytes + move.length, INSN_MAX_LENGTH, true, &ret) != DECODE_OK)
        return;
    if (move.op != OP_MOV || move.opnd[0].kind != OPND_MEM || move.opnd[1].kind != OPND_REG ||
        move.opnd[1].size != 4 || move.opnd[1].reg == R_ESP || move.mem_base != R_ESP ||
        move.mem_index != 0xff || move.disp || move.mem_seg != SEG_SS || move.addrsize != 4 ||
        ret.op != OP_RET || ret.imm_size || ret.opsize != 4)
        return;
    s->retpoline = true;
    s->retpoline_reg = move.opnd[1].reg;
    t->peek = (uint16_t)in_page;
    t->peek_bytes = (uint16_t)(move.length + ret.length);
}

/* A good place to stop before: it saves translating the same run twice. */
static bool known(struct translator *t, const struct source *src, uint32_t eip)
{
    return cache_find(t->cache, eip, src->mode, src->page).block;
}

static enum translate_status scan(struct translator *t, const struct source *src,
                                  const struct mode *mode)
{
    uint32_t cs_limit = mode->cs_limit;
    uint32_t eip = src->eip;
    bool crosses;
    t->count = 0;
    t->ends = false;
    t->peek_bytes = 0;
    while (t->count < BLOCK_INSNS_MAX && !t->ends) {
        if (eip - src->eip >= src->left || eip > cs_limit - INSN_MAX_LENGTH)
            break;
        if (t->count && known(t, src, eip))
            break;
        if (!scan_one(t, src, eip, &crosses)) {
            if (!t->count)
                return TRANSLATE_CROSSES;
            break;
        }
        struct scanned *s = &t->scanned[t->count++];
        if (s->insn.info)
            find_retpoline(t, src, mode, s);
        t->ends = !s->insn.info || s->retpoline || !falls_through(&s->insn);
        eip += s->insn.length;
        if (crosses)
            break;
    }
    return TRANSLATE_OK;
}

/* --- holds --- */

static void find_holds(struct translator *t)
{
    for (unsigned n = 0; n + 1 < t->count; n++)
        if (t->scanned[n].insn.info && t->scanned[n].insn.op == OP_STI)
            t->scanned[n + 1].held = true;
}

/* --- lower --- */

static bool fpu_unavailable(const struct mode *m, const struct insn *i)
{
    if (m->fpu_traps && (i->info->flags & (INSN_FPU | INSN_MMX | INSN_SSE | INSN_WAIT)))
        return true;
    return m->sse_off && (i->info->flags & INSN_SSE);
}

/* Instructions whose result differs at each execution. */
static bool never_twice(const struct insn *i)
{
    return i->op == OP_RDTSC || i->op == OP_RDTSCP || i->op == OP_RDRAND || i->op == OP_RDSEED;
}

static bool lower_by_class(struct lowering *l, const struct insn *i)
{
    if (fpu_unavailable(l->mode, i) || (l->counted && never_twice(i)))
        return false;
    switch (i->info->cls) {
    case CLASS_IDENTICAL:
        return lower_identical(l, i);
    case CLASS_MEMORY:
        return lower_memory(l, i);
    case CLASS_REWRITTEN:
    case CLASS_CONTROL:
    case CLASS_CALLOUT: /* some of them have a sequence in some modes */
        return lower_ops[i->op] && lower_ops[i->op](l, i);
    default:
        return false;
    }
}

/* What a block has taken so far. */
struct taken {
    size_t bytes, branches, late, exits, marks;
};

static struct taken taken(const struct lowering *l)
{
    return (struct taken){
        .bytes = (size_t)(l->e.p - (cache_code(l->cache)->rw + l->block->host)),
        .branches = l->stub_count,
        .late = l->late_count,
        .exits = l->block->exit_count,
        .marks = l->block->mark_count,
    };
}

/* An instruction has kept to its share (limits.h). */
static void check_share(const struct translator *t, const struct taken *a, const struct taken *b)
{
    size_t behind = (b->branches - a->branches + b->late - a->late) * EMIT_STUB_MAX;
    CHECK(b->bytes - a->bytes + behind <= EMIT_INSN_MAX + (t->counting ? EMIT_COUNT_MAX : 0));
    CHECK(b->branches - a->branches <= INSN_BRANCHES_MAX);
    CHECK(b->late - a->late <= INSN_LATE_MAX);
    CHECK(b->exits - a->exits <= INSN_BRANCHES_MAX + INSN_CALLOUTS_MAX);
    CHECK(b->marks - a->marks <= INSN_MARKS_MAX);
    (void)t, (void)a, (void)b, (void)behind;
}

static void lower_one(struct translator *t, struct lowering *l, struct scanned *s)
{
    const struct insn *i = &s->insn;
    unsigned cls = i->info ? i->info->cls : CLASS_UNDEFINED;
    struct taken before = taken(l);
    l->at = s;
    l->next_eip = s->eip + i->length;
    l->soft = cache_is_soft(l->block->page, s->eip + l->mode->cs_base);
    if (!lower_esp_may_wait(l, i))
        lower_esp_settle(l);
    *cache_add_mark(t->cache, l->block) = (struct insn_mark){
        .host = (uint16_t)(l->e.p - (cache_code(t->cache)->rw + l->block->host)),
        .guest = (uint16_t)(s->eip - l->block->eip) & 0xfff,
        .flags = s->held ? MARK_HELD : 0,
        .esp = (int16_t)l->pending,
    };
    bool goes_on = i->info && falls_through(i) && cls != CLASS_CONTROL;
    if (t->counting)
        lower_count(l, s);
    uint8_t *start = l->e.p;
    unsigned late = l->late_count, stubs = l->stub_count;
    int32_t pending = l->pending;
    if (!i->info || !lower_by_class(l, i)) {
        CHECK(l->stub_count == stubs); /* none gives up once it has branched */
        (void)stubs;
        l->e.p = start;
        l->late_count = late;
        l->pending = pending;
        lower_esp_settle(l);
        lower_callout(l, goes_on ? CALLOUT_RESUME : CALLOUT_END);
        if (cls != CLASS_UNDEFINED && cls != CLASS_CALLOUT_END)
            cls = CLASS_CALLOUT;
    }
    uint32_t behind = (uint32_t)(l->e.p - cache_code(t->cache)->rw);
    for (; late < l->late_count; late++)
        l->late[late].resume = goes_on ? behind : CALLOUT_END;
    t->counters.by_class[cls]++;
    struct taken now = taken(l);
    check_share(t, &before, &now);
}

static void lower_all(struct translator *t, struct lowering *l)
{
    for (unsigned n = 0; n < t->count; n++) {
        /* its own, and the one that ends a block without one */
        if (l->stub_count + INSN_BRANCHES_MAX + 1 > BLOCK_BRANCHES_MAX) {
            t->count = n;
            t->ends = false;
            break;
        }
        l->last = n + 1 == t->count;
        lower_one(t, l, &t->scanned[n]);
    }
    lower_esp_settle(l);
    if (!t->ends)
        lower_branch(l, -1, false, l->next_eip);
}

/* --- finish --- */

static void emit_stubs(struct lowering *l)
{
    struct code_memory *code = cache_code(l->cache);
    for (unsigned n = 0; n < l->stub_count; n++) {
        struct exit_record *x = cache_exit(l->cache, l->stub_exits[n]);
        x->stub = (uint32_t)(l->e.p - code->rw);
        emit_patch32(code->rw + x->host, l->e.delta, emit_here(&l->e));
        emit_mov_imm(&l->e, H_R8, l->stub_exits[n]);
        emit_jmp(&l->e, l->pads->exit);
    }
}

static void emit_late_callouts(struct lowering *l)
{
    l->soft = true;
    for (unsigned n = 0; n < l->late_count; n++) {
        const struct late_callout *late = &l->late[n];
        emit_patch32(late->disp, l->e.delta, emit_here(&l->e));
        l->at = late->at;
        lower_callout(l, late->resume);
    }
}

/* Links exits whose target is translated and whose page is active now. */
static void link_known(struct lowering *l)
{
    struct cache *c = l->cache;
    for (unsigned n = 0; n < l->stub_count; n++) {
        struct exit_record *x = cache_exit(c, l->stub_exits[n]);
        struct code_page *page =
            cache_page_active(c, l->src->page->space, x->eip + l->mode->cs_base);
        struct entry to = {0};
        if (page)
            to = cache_find(c, x->eip, l->src->mode, page);
        if (to.block)
            cache_link(c, x, to);
    }
}

static void dump(struct translator *t, const struct lowering *l)
{
    const struct block *b = l->block;
    const uint8_t *host = cache_code(t->cache)->rx + b->host;
    if (t->dump_blocks)
        fprintf(t->dump_blocks,
                "block eip %08x mode %u insns %u bytes %u exits %u host %p+%u marks %u\n", b->eip,
                b->mode, b->insn_count, b->guest_bytes, b->exit_count, (const void *)host,
                b->host_end - b->host, b->mark_count);
    for (unsigned n = 0; t->dump_decode && n < t->count; n++) {
        const struct scanned *s = &t->scanned[n];
        char text[96];
        fprintf(t->dump_decode, "  %08x  %-10s %s\n", s->eip,
                insn_class_name(s->insn.info ? s->insn.info->cls : CLASS_UNDEFINED),
                decode_format(t->decoder, &s->insn, s->eip, true, text, sizeof(text)));
    }
    if (t->dump_host)
        dump_host_code(t->dump_host, host, b->host_end - b->host);
}

static enum translate_status finish(struct translator *t, struct lowering *l)
{
    struct block *b = l->block;
    struct code_memory *code = cache_code(t->cache);
    b->host_body_end = (uint32_t)(l->e.p - code->rw);
    emit_stubs(l);
    emit_late_callouts(l);
    b->host_end = (uint32_t)(l->e.p - code->rw);
    CHECK(b->host_end - b->host <= BLOCK_BYTES_WORST && b->exit_count <= BLOCK_EXITS_WORST &&
          b->mark_count <= BLOCK_MARKS_WORST);
    b->insn_count = (uint16_t)t->count;
    const struct scanned *end = &t->scanned[t->count - 1];
    b->guest_bytes = (uint16_t)(end->eip + end->insn.length - b->eip);
    if (!block_passes(t, b))
        return TRANSLATE_REFUSED; /* the room that it took is free again at the next flush */
    cache_block_commit(t->cache, b);
    link_known(l);
    t->counters.blocks++;
    t->counters.insns += t->count;
    t->counters.guest_bytes += b->guest_bytes;
    t->counters.host_bytes += b->host_end - b->host;
    dump(t, l);
    return TRANSLATE_OK;
}

enum translate_status translate(struct translator *t, const struct source *src, struct block **out)
{
    const struct mode *mode = cache_mode(t->cache, src->mode);
    if (!cache_has_room(t->cache))
        return TRANSLATE_FULL;
    enum translate_status status = scan(t, src, mode);
    if (status != TRANSLATE_OK)
        return status;
    find_holds(t);
    struct lowering l = {.cache = t->cache, .pads = cache_pads(t->cache), .mode = mode, .src = src};
    struct code_memory *code = cache_code(t->cache);
    l.block = cache_block_begin(t->cache);
    l.e = (struct emitter){code->rw + code->used, code->rx - code->rw};
    l.block->eip = src->eip;
    l.block->mode = (uint16_t)src->mode;
    l.block->page = src->page;
    l.block->peek = t->peek;
    l.block->peek_bytes = t->peek_bytes;
    const struct scanned *first = &t->scanned[0];
    l.block->page2 = first->insn.length > src->left ? src->next_page : NULL;
    lower_all(t, &l);
    *out = l.block;
    return finish(t, &l);
}
