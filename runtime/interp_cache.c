/* SPDX-License-Identifier: MIT */
/* interp_cache.c: the interpreter's store of decoded code. See interp_cache.h for the model. */
#include "runtime/interp_cache.h"

#include "runtime/machine.h"
#include "runtime/phys.h"
#include "runtime/system.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Demand-zero memory: what is not used costs nothing. */
static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void release(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes);
}

static void reset(struct interp *in)
{
    in->rec_count = 0;
    in->frame_count = 0;
    in->block_count = 1;
    in->blocks[0].key = BLOCK_DEAD;
    in->blocks[0].hash_next = NULL;
    in->link = NULL;
    for (unsigned n = 0; n < INTERP_HASH_SIZE; n++)
        in->hash[n] = &in->blocks[0];
    memset(in->frame_hash, 0, sizeof(in->frame_hash));
}

void interp_cache_flush(struct interp *in)
{
    for (uint32_t n = 0; n < in->frame_count; n++)
        if (in->frames[n].blocks)
            phys_unwatch(in->vcpu->machine->phys, in->frames[n].gfn, PHYS_WATCH_INTERP);
    reset(in);
}

/* --- frames and invalidation --- */

static struct interp_frame *frame_find(struct interp *in, uint32_t gfn)
{
    struct interp_frame *f = in->frame_hash[gfn & (INTERP_FRAME_HASH - 1)];
    while (f && f->gfn != gfn)
        f = f->next;
    return f;
}

/* There must be room. */
static struct interp_frame *frame_get(struct interp *in, uint32_t gfn)
{
    struct interp_frame *f = frame_find(in, gfn);
    if (!f) {
        struct interp_frame **head = &in->frame_hash[gfn & (INTERP_FRAME_HASH - 1)];
        f = &in->frames[in->frame_count++];
        *f = (struct interp_frame){.gfn = gfn, .next = *head};
        *head = f;
    }
    if (!f->blocks)
        phys_watch(in->vcpu->machine->phys, gfn, PHYS_WATCH_INTERP);
    return f;
}

/* The 64-byte pieces that [offset, offset + size) touches. */
static uint64_t pieces(uint32_t offset, uint32_t size)
{
    unsigned first = offset >> 6, last = (offset + size - 1) >> 6;
    return (UINT64_MAX << first) & (UINT64_MAX >> (63 - last));
}

static struct interp_links *links(const struct interp_block *b)
{
    return (struct interp_links *)&b->rec[b->count];
}

static void kill_block(struct interp *in, struct interp_block *b)
{
    struct interp_block **at = &in->hash[interp_hash((uint32_t)b->key)];
    while (*at != b)
        at = &(*at)->hash_next;
    *at = b->hash_next;
    b->key = BLOCK_DEAD;
    for (uint32_t n = 0; n < b->count; n++)
        b->rec[n].fn = interp_fast_leave;
}

/* Takes links to dead blocks out of the frame's others; only they can have any. */
static void unlink_dead(struct interp_frame *f)
{
    for (struct interp_block *b = f->blocks; b; b = b->frame_next)
        for (unsigned k = 0; k < 2; k++) {
            const struct interp_rec **to = &links(b)->to[k];
            if (*to && (*to)->fn == interp_fast_leave)
                *to = NULL;
        }
}

static void code_written(void *opaque, uint32_t gfn, uint32_t offset, uint32_t size)
{
    struct interp *in = opaque;
    struct interp_frame *f = frame_find(in, gfn);
    if (!f || !size || !(f->cover & pieces(offset, size)))
        return;
    f->cover = 0;
    for (struct interp_block **at = &f->blocks; *at;) {
        struct interp_block *b = *at;
        uint32_t start = (uint32_t)b->key & 0xfff;
        if (start < offset + size && offset < start + b->bytes) {
            *at = b->frame_next;
            kill_block(in, b);
        } else {
            f->cover |= pieces(start, b->bytes);
            at = &b->frame_next;
        }
    }
    if (f->blocks)
        unlink_dead(f);
    else
        phys_unwatch(in->vcpu->machine->phys, gfn, PHYS_WATCH_INTERP);
}

/* --- blocks --- */

struct interp_block *interp_cache_find(struct interp *in, uint64_t key)
{
    struct interp_block **head = &in->hash[interp_hash((uint32_t)key)];
    struct interp_block *b = *head, *before = NULL;
    while (b && b->key != key) {
        before = b;
        b = b->hash_next;
    }
    if (b && before) { /* to the front, where the fast functions look */
        before->hash_next = b->hash_next;
        b->hash_next = *head;
        *head = b;
    }
    return b;
}

static bool full(const struct interp *in)
{
    return in->rec_count + INTERP_BLOCK_RECS + 2 > INTERP_MAX_RECS ||
           in->block_count == INTERP_MAX_BLOCKS || in->frame_count == INTERP_MAX_FRAMES;
}

static bool ends_block(const struct insn *i)
{
    return i->info->cls == CLASS_CONTROL || interp_changes_mode(i->op);
}

/* Fills records from `first` on; returns how many bytes of code they stand for. */
static uint32_t decode_run(struct interp *in, struct interp_block *b, uint32_t first,
                           uint32_t avail, enum interp_mode mode, const uint8_t *code)
{
    uint32_t at = 0;
    bool ended = false;
    while (!ended && b->count < INTERP_BLOCK_RECS) {
        struct insn *i = &in->insns[first + b->count];
        uint32_t left = avail - at < INSN_MAX_LENGTH ? avail - at : INSN_MAX_LENGTH;
        if (decode(in->decoder, code + at, left, mode != MODE_CODE16, i) != DECODE_OK)
            break;
        i->handler = (void *)interp_handler(i->op);
        interp_fast_select(&b->rec[b->count], i, mode);
        b->rec[b->count].at = (uint8_t)b->count;
        b->count++;
        at += i->length;
        ended = ends_block(i);
    }
    if (!ended && b->count) {
        b->rec[b->count] = (struct interp_rec){.fn = interp_fast_continue, .at = (uint8_t)b->count};
        b->count++;
    }
    *links(b) = (struct interp_links){
        {NULL, NULL}
    };
    return at;
}

struct interp_block *interp_cache_build(struct interp *in, uint32_t gpa, enum interp_mode mode,
                                        const uint8_t *code)
{
    if (full(in))
        interp_cache_flush(in);
    uint32_t offset = gpa & 0xfff, first = in->rec_count;
    struct interp_block *b = &in->blocks[in->block_count];
    *b = (struct interp_block){.key = interp_key(gpa, mode), .rec = &in->recs[first]};
    b->bytes = decode_run(in, b, first, 0x1000 - offset, mode, code);
    if (!b->count)
        return NULL;
    in->block_count++;
    in->rec_count += b->count + 1;
    struct interp_frame *f = frame_get(in, gpa >> 12);
    b->frame_next = f->blocks;
    f->blocks = b;
    f->cover |= pieces(offset, b->bytes);
    struct interp_block **head = &in->hash[interp_hash(gpa)];
    b->hash_next = *head;
    *head = b;
    return b;
}

/* --- single instructions --- */

/* Bytes of one instruction, as far as they had to be fetched. */
struct fetch {
    uint8_t bytes[INSN_MAX_LENGTH];
    unsigned n;
    uint64_t gpa;
};

/* Adds up to `want` bytes from the page of CS:EIP + f->n. */
static void fetch_more(struct vcpu *v, struct fetch *f, unsigned want)
{
    const uint8_t *host;
    uint32_t la = v->seg[SEG_CS].base + v->eip + f->n;
    uint64_t gpa = mmu_fetch(v, la, &host);
    unsigned left = 0x1000 - (la & 0xfff), n = want < left ? want : left;
    if (!f->n)
        f->gpa = gpa;
    if (host) {
        memcpy(f->bytes + f->n, host, n);
    } else {
        for (unsigned k = 0; k < n; k++)
            f->bytes[f->n + k] = (uint8_t)phys_read(v->machine->phys, gpa + k, 1);
    }
    f->n += n;
}

/* How many bytes an instruction at EIP may have by CS's limit; #GP(0) if none. */
static unsigned fetch_limit(struct vcpu *v)
{
    uint32_t limit = v->seg[SEG_CS].limit;
    if (v->eip > limit)
        raise_gp(v, 0);
    uint32_t room = limit - v->eip;
    return room >= INSN_MAX_LENGTH - 1 ? INSN_MAX_LENGTH : room + 1;
}

static bool same_bytes(const struct insn *i, const struct fetch *f)
{
    return f->n >= i->length && !memcmp(i->bytes, f->bytes, i->length);
}

const struct insn *interp_cache_single(struct interp *in)
{
    struct vcpu *v = in->vcpu;
    struct fetch f = {.n = 0};
    bool code32 = vcpu_code32(v);
    unsigned max = fetch_limit(v);
    fetch_more(v, &f, max);
    struct interp_single *s = &in->single[(f.gpa ^ f.gpa >> 12) & (INTERP_SINGLES - 1)];
    bool usable = s->valid && s->code32 == code32;
    if (usable && same_bytes(&s->insn, &f))
        return &s->insn;
    if (usable && f.n < s->insn.length && f.n < max && !memcmp(s->insn.bytes, f.bytes, f.n)) {
        /* The known instruction begins so: its rest is needed in any case. */
        fetch_more(v, &f, max - f.n);
        if (same_bytes(&s->insn, &f))
            return &s->insn;
    }
    s->valid = false;
    enum decode_status status = decode(in->decoder, f.bytes, f.n, code32, &s->insn);
    if (status == DECODE_TRUNCATED && f.n < max) {
        fetch_more(v, &f, max - f.n);
        status = decode(in->decoder, f.bytes, f.n, code32, &s->insn);
    }
    if (status == DECODE_UNDEFINED)
        raise_ud(v);
    if (status != DECODE_OK) /* too long, or cut by the limit */
        raise_gp(v, 0);
    s->insn.handler = (void *)interp_handler(s->insn.op);
    s->valid = true;
    s->code32 = code32;
    return &s->insn;
}

/* --- life --- */

bool interp_cache_init(struct interp *in)
{
    struct machine *m = in->vcpu->machine;
    in->decoder = decoder_create(m->cpu_model);
    in->recs = reserve(INTERP_MAX_RECS * sizeof(*in->recs));
    in->insns = reserve(INTERP_MAX_RECS * sizeof(*in->insns));
    in->blocks = reserve(INTERP_MAX_BLOCKS * sizeof(*in->blocks));
    in->frames = reserve(INTERP_MAX_FRAMES * sizeof(*in->frames));
    if (!in->decoder || !in->recs || !in->insns || !in->blocks || !in->frames)
        return false;
    reset(in);
    phys_set_code_callback(m->phys, PHYS_WATCH_INTERP, code_written, in);
    return true;
}

void interp_cache_release(struct interp *in)
{
    struct machine *m = in->vcpu->machine;
    phys_set_code_callback(m->phys, PHYS_WATCH_INTERP, NULL, NULL);
    release(in->recs, INTERP_MAX_RECS * sizeof(*in->recs));
    release(in->insns, INTERP_MAX_RECS * sizeof(*in->insns));
    release(in->blocks, INTERP_MAX_BLOCKS * sizeof(*in->blocks));
    release(in->frames, INTERP_MAX_FRAMES * sizeof(*in->frames));
    if (in->decoder)
        decoder_destroy(in->decoder);
}
