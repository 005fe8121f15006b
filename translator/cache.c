/* SPDX-License-Identifier: MIT */
/* cache.c: tables of the code cache. See cache.h for the model, block.h for what is kept. */
#include "translator/cache.h"

#include "ringdown/check.h"
#include "translator/arena.h"
#include "translator/emit.h"
#include "translator/insn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define BLOCK_HASH_BITS 16
#define PAGE_HASH_BITS  12
#define ACTIVE_PAGES    (1u << 20)
#define GATE_BYTES      64u /* at most */
/* The jump cache, then a word for each page; both are reached from r13. */
#define TABLE_BYTES (CACHE_GATE_WORDS + CODE_PAGES_MAX * sizeof(uint32_t))
#define FRAMES_MAX  (1u << 20) /* RAM ends below 4 GiB */
#define INT3        0xcc

struct cache {
    struct code_memory code;
    struct stress stress;
    bool full; /* see cache_wants_flush() */
    struct pads pads;
    struct jump_entry *jump;
    struct cache_client client;
    cache_gate_check *gate_check; /* or NULL */
    void *gate_check_opaque;
    struct arena blocks, exits, marks, pages, insns, gates;
    uint64_t *lines;        /* by gfn, see cache_code_lines() */
    uint32_t *inactive;     /* a word for each page in the arena: nonzero if it is not active */
    struct block **by_host; /* committed blocks by rising host offset */
    size_t by_host_count;
    struct block *hash[1u << BLOCK_HASH_BITS];
    struct code_page *page_hash[1u << PAGE_HASH_BITS]; /* by la, gfn and space */
    struct code_page *gfn_hash[1u << PAGE_HASH_BITS];
    struct code_page **active[SPACE_COUNT];      /* by la >> 12 */
    struct code_page **active_list[SPACE_COUNT]; /* dense */
    uint32_t active_count[SPACE_COUNT];
    struct mode modes[MODE_MAX]; /* by id, from mode_first on, cyclically */
    unsigned mode_count, mode_first;
    struct cache_counters counters;
    uint32_t user_deactivations; /* from 1 on, see cache_jump_tag() */
    uint64_t epoch[SPACE_COUNT], generation[SPACE_COUNT], stamp;
};

/* How much code there is for one of them (a boot of Debian: 180, 50, 7, thousands, 2800). A guest
 * whose code is far denser in records than any that was measured fills their arena first; what that
 * comes to, docs/security.md tells. */
#define BYTES_PER_BLOCK 96u
#define BYTES_PER_EXIT  32u
#define BYTES_PER_MARK  6u
#define BYTES_PER_INSN  128u
#define BYTES_PER_PAGE  1024u

static size_t pages_for(size_t code_size)
{
    size_t pages = code_size / BYTES_PER_PAGE + 1024;
    return pages < TABLE_SIZE(CODE_PAGES_MAX, 8u) ? pages : TABLE_SIZE(CODE_PAGES_MAX, 8u);
}

static bool create_arenas(struct cache *c, size_t code)
{
    return arena_create(&c->blocks, sizeof(struct block),
                        TABLE_SIZE(code / BYTES_PER_BLOCK + 64, 8), 1) &&
           arena_create(&c->exits, sizeof(struct exit_record),
                        TABLE_SIZE(code / BYTES_PER_EXIT + 256, 16), BLOCK_EXITS_WORST) &&
           arena_create(&c->marks, sizeof(struct insn_mark),
                        TABLE_SIZE(code / BYTES_PER_MARK + 256, 32), BLOCK_MARKS_WORST) &&
           arena_create(&c->insns, sizeof(struct insn), TABLE_SIZE(code / BYTES_PER_INSN + 64, 4),
                        0) &&
           arena_create(&c->gates, sizeof(struct gate), TABLE_SIZE(code / GATE_BYTES + 64, 4), 0) &&
           arena_create(&c->pages, sizeof(struct code_page), pages_for(code), 0);
}

static bool create_tables(struct cache *c)
{
    c->by_host = reserve_memory((c->blocks.capacity + c->blocks.reserve) * sizeof(*c->by_host));
    c->jump = reserve_memory(TABLE_BYTES);
    c->lines = reserve_memory(FRAMES_MAX * sizeof(*c->lines));
    c->inactive = (uint32_t *)(c->jump + JUMP_CACHE_SIZE);
    for (unsigned s = 0; s < SPACE_COUNT; s++) {
        c->active[s] = reserve_memory(ACTIVE_PAGES * sizeof(**c->active));
        c->active_list[s] = reserve_memory((size_t)ACTIVE_PAGES * sizeof(**c->active_list));
        if (!c->active[s] || !c->active_list[s])
            return false;
    }
    return c->by_host && c->jump && c->lines;
}

static void jump_cache_clear(struct cache *c)
{
    memset(c->jump, 0, CACHE_GATE_WORDS);
}

struct cache *cache_create(size_t code_size, const struct cache_client *client, int *error)
{
    struct cache *c = calloc(1, sizeof(*c));
    if (!c) {
        *error = -ENOMEM;
        return NULL;
    }
    c->client = *client;
    c->user_deactivations = 1;
    *error = code_memory_create(&c->code, code_size);
    if (!*error && !(create_arenas(c, code_size) && create_tables(c)))
        *error = -ENOMEM;
    if (*error) {
        cache_destroy(c);
        return NULL;
    }
    return c;
}

void cache_destroy(struct cache *c)
{
    if (!c)
        return;
    release_memory(c->by_host, (c->blocks.capacity + c->blocks.reserve) * sizeof(*c->by_host));
    release_memory(c->jump, TABLE_BYTES);
    release_memory(c->lines, FRAMES_MAX * sizeof(*c->lines));
    for (unsigned s = 0; s < SPACE_COUNT; s++) {
        release_memory(c->active[s], ACTIVE_PAGES * sizeof(**c->active));
        release_memory(c->active_list[s], (size_t)ACTIVE_PAGES * sizeof(**c->active_list));
    }
    arena_destroy(&c->blocks);
    arena_destroy(&c->exits);
    arena_destroy(&c->marks);
    arena_destroy(&c->pages);
    arena_destroy(&c->insns);
    arena_destroy(&c->gates);
    code_memory_destroy(&c->code);
    free(c);
}

void cache_set_gate_check(struct cache *c, cache_gate_check *check, void *opaque)
{
    c->gate_check = check;
    c->gate_check_opaque = opaque;
}

struct code_memory *cache_code(struct cache *c)
{
    return &c->code;
}

struct jump_entry *cache_jump_table(struct cache *c)
{
    return c->jump;
}

struct pads *cache_pads(struct cache *c)
{
    return &c->pads;
}

const uint64_t *cache_code_lines(const struct cache *c)
{
    return c->lines;
}

/* Bits of the lines that [offset, offset+size) of a frame touches. */
static uint64_t line_bits(uint32_t offset, uint32_t size)
{
    uint32_t first = offset >> 6, last = (offset + size - 1) >> 6;
    return (~0ull << first) & (~0ull >> (63 - (last > 63 ? 63 : last)));
}

bool cache_has_code_in(const struct cache *c, uint32_t gfn, uint32_t offset, uint32_t size)
{
    return gfn < FRAMES_MAX && (c->lines[gfn] & line_bits(offset, size));
}

const struct cache_counters *cache_counters(const struct cache *c)
{
    return &c->counters;
}

uint64_t cache_epoch(const struct cache *c, enum space space)
{
    return c->epoch[space];
}

uint64_t cache_stamp(const struct cache *c)
{
    return c->stamp;
}

static void new_epoch(struct cache *c, enum space space)
{
    c->epoch[space]++;
    c->stamp++;
}

uint64_t cache_era(const struct cache *c)
{
    return c->counters.flushes + 1;
}

bool cache_wants_flush(const struct cache *c)
{
    return c->full;
}

/* No room for something. */
static void note_full(struct cache *c)
{
    c->full = true;
}

struct stress *cache_stress(struct cache *c)
{
    return &c->stress;
}

uint64_t cache_generation(const struct cache *c, enum space space)
{
    return c->generation[space];
}

/* --- modes --- */

/* Of the nth to be interned. */
static unsigned mode_id_of(const struct cache *c, unsigned n)
{
    return MODE_NONE + 1 + (c->mode_first + n) % (MODE_MAX - 1);
}

/* Called while the guest's xmm registers are live: no memcmp(). */
unsigned cache_mode_find(const struct cache *c, const struct mode *m)
{
    uint64_t want[3], have[3];
    __builtin_memcpy(want, m, sizeof(want));
    for (unsigned n = 0; n < c->mode_count; n++) {
        unsigned id = mode_id_of(c, n);
        __builtin_memcpy(have, &c->modes[id], sizeof(have));
        if (want[0] == have[0] && want[1] == have[1] && want[2] == have[2])
            return id;
    }
    return MODE_NONE;
}

unsigned cache_mode_id(struct cache *c, const struct mode *m)
{
    unsigned id = cache_mode_find(c, m);
    if (id != MODE_NONE)
        return id;
    if (c->mode_count == MODE_MAX - 1 || stress_hits(&c->stress, STRESS_MODE)) {
        note_full(c);
        return MODE_NONE;
    }
    id = mode_id_of(c, c->mode_count++);
    c->modes[id] = *m;
    return id;
}

const struct mode *cache_mode(const struct cache *c, unsigned id)
{
    CHECK(id != MODE_NONE && id < MODE_MAX);
    return &c->modes[id];
}

/* --- jump cache --- */

static struct jump_entry *jump_slot(struct cache *c, uint32_t eip)
{
    return &c->jump[eip & (JUMP_CACHE_SIZE - 1)];
}

/* Entries that a deactivation has made dead stay in the table; they must not become those of a
 * supervisor mode that is given the id of theirs, so their count is never its 0. */
uint32_t cache_jump_tag(const struct cache *c, unsigned mode)
{
    bool user = cache_mode(c, mode)->cpl == 3;
    return mode | (user ? c->user_deactivations << MODE_BITS : 0);
}

static uint64_t jump_key(const struct cache *c, uint32_t eip, unsigned mode)
{
    return -((uint64_t)cache_jump_tag(c, mode) << 32 | eip);
}

uint64_t cache_jump_find(const struct cache *c, uint32_t eip, unsigned mode)
{
    const struct jump_entry *e = &c->jump[eip & (JUMP_CACHE_SIZE - 1)];
    return e->key == jump_key(c, eip, mode) ? e->host : 0;
}

static void jump_remove(struct cache *c, const struct block *b)
{
    const struct insn_mark *marks = cache_marks(c, b);
    for (uint32_t n = 0; n < b->mark_count; n++) {
        uint32_t eip = b->eip + marks[n].guest;
        struct jump_entry *e = jump_slot(c, eip);
        if (e->key == jump_key(c, eip, b->mode))
            *e = (struct jump_entry){0};
    }
}

/* --- gates --- */

/* Offset from r13 of a page's word. */
static int32_t inactive_offset(const struct code_page *p)
{
    return (int32_t)(CACHE_GATE_WORDS + p->flag * sizeof(uint32_t));
}

/*     mov  r9, rcx
 *     mov  ecx, [r13 + inactive]
 *     jrcxz open
 *     mov  rcx, r9
 *     mov  r8d, eip
 *     jmp  indirect
 * open: mov rcx, r9
 *     jmp  entry  */
static void emit_gate(struct cache *c, struct emitter *e, const struct block *b, uint32_t eip,
                      uint32_t entry)
{
    struct mem word = {.base = H_JCACHE, .index = H_NONE, .disp = inactive_offset(b->page)};
    emit_mov64(e, H_R9, H_RCX);
    emit_load(e, H_RCX, &word);
    if (b->page2) {
        word.disp = inactive_offset(b->page2);
        emit_load(e, H_R10, &word);
        emit_lea(e, H_RCX, &(struct mem){.base = H_RCX, .index = H_R10, .scale = 1});
    }
    uint8_t *open = emit_jrcxz(e);
    emit_mov64(e, H_RCX, H_R9);
    emit_mov_imm(e, H_R8, eip);
    emit_jmp(e, c->pads.indirect);
    emit_land8(e, open);
    emit_mov64(e, H_RCX, H_R9);
    emit_jmp(e, c->code.rx + entry);
}

/* The gate to an entry, made at first use; NULL when there is no room. */
static const struct gate *gate_to(struct cache *c, uint32_t eip, struct entry to)
{
    for (struct gate *g = to.block->gates; g; g = g->next)
        if (g->entry == to.host)
            return g;
    if (code_memory_room(&c->code) < GATE_BYTES || !arena_has_room(&c->gates) ||
        stress_hits(&c->stress, STRESS_GATE)) {
        note_full(c);
        return NULL;
    }
    uint32_t host = (uint32_t)c->code.used;
    struct emitter e = {c->code.rw + host, c->code.rx - c->code.rw};
    emit_gate(c, &e, to.block, eip, to.host);
    uint32_t size = (uint32_t)(e.p - (c->code.rw + host));
    CHECK(size <= GATE_BYTES);
    if (c->gate_check && !c->gate_check(c->gate_check_opaque, to.block->mode, host, size))
        return NULL;
    struct gate *g = arena_take(&c->gates);
    *g = (struct gate){to.host, host, size, to.block->gates};
    c->code.used += size;
    to.block->gates = g;
    return g;
}

const struct gate *cache_gate_at(const struct cache *c, uint64_t host_pc)
{
    const struct gate *gates = c->gates.base;
    for (size_t i = 0; i < c->gates.used; i++)
        if ((uint64_t)c->code.rx + gates[i].host == host_pc)
            return &gates[i];
    return NULL;
}

/* User code that leaves the address space so often is linked by gates; what has then stayed for
 * SETTLED ticks of the time-stamp counter (tens of ms) is linked directly again. */
#define GATE_AFTER 4u
#define SETTLED    (1ull << 26)

static bool departs(const struct code_page *p)
{
    return p && p->departures >= GATE_AFTER;
}

/* Whether code of another page needs a gate to get into a block. */
static bool needs_gate(const struct block *b)
{
    return b->page->space == SPACE_USER && (departs(b->page) || departs(b->page2));
}

/* A record of this era: what lies in an arena may be another's since a flush. */
static bool is_live(const struct cache *c, uint64_t era)
{
    return era == cache_era(c);
}

void cache_jump_enter(struct cache *c, uint32_t eip, struct entry to)
{
    CHECK(is_live(c, to.block->era) && to.block->valid);
    if (stress_hits(&c->stress, STRESS_JUMP)) {
        c->jump[stress_pick(&c->stress, JUMP_CACHE_SIZE)] = (struct jump_entry){0};
        return;
    }
    *jump_slot(c, eip) = (struct jump_entry){
        .key = jump_key(c, eip, to.block->mode),
        .host = (uint64_t)c->code.rx + to.host,
    };
}

/* --- links --- */

static void set_branch(struct cache *c, struct exit_record *x, uint32_t target)
{
    emit_patch32(c->code.rw + x->host, c->code.rx - c->code.rw, c->code.rx + target);
}

void cache_link(struct cache *c, struct exit_record *x, struct entry entry)
{
    struct block *to = entry.block;
    uint32_t host = entry.host;
    CHECK(is_live(c, x->from->era) && is_live(c, to->era) && to->valid);
    if (x->linked || x->kind != EXIT_BRANCH || !x->from->valid ||
        stress_hits(&c->stress, STRESS_LINK))
        return;
    x->gated = (x->from->page != to->page || to->page2) && needs_gate(to);
    if (x->gated) {
        const struct gate *g = gate_to(c, x->eip, entry);
        if (!g)
            return;
        host = g->host;
    }
    x->linked = true;
    x->to = to;
    x->prev = NULL;
    x->next = to->incoming;
    if (x->next)
        x->next->prev = x;
    to->incoming = x;
    set_branch(c, x, host);
    c->counters.links++;
}

static void unlink_exit(struct cache *c, struct exit_record *x)
{
    if (x->prev)
        x->prev->next = x->next;
    else
        x->to->incoming = x->next;
    if (x->next)
        x->next->prev = x->prev;
    x->linked = false;
    x->to = NULL;
    set_branch(c, x, x->stub);
    c->counters.unlinks++;
}

/* Cuts the ways into a block; with `keep_local`, not those from blocks of its own page. */
static void unlink_incoming(struct cache *c, struct block *b, bool keep_local)
{
    for (struct exit_record *x = b->incoming, *next; x; x = next) {
        next = x->next;
        if (!keep_local || (x->from->page != b->page && !x->gated))
            unlink_exit(c, x);
    }
}

static void unlink_gated(struct cache *c, struct block *b)
{
    for (struct exit_record *x = b->incoming, *next; x; x = next) {
        next = x->next;
        if (x->gated)
            unlink_exit(c, x);
    }
}

/* Nobody may enter a block whose page is not active now. */
static void shut_out(struct cache *c, struct block *b, bool keep_local)
{
    unlink_incoming(c, b, keep_local);
    if (b->page->space == SPACE_SUPERVISOR)
        jump_remove(c, b);
}

/* --- pages --- */

static uint32_t mix(uint32_t a, uint32_t b)
{
    return (a ^ b * 0x9e3779b1u) * 0x85ebca6bu;
}

static struct code_page **page_bucket(struct cache *c, enum space space, uint32_t la, uint32_t gfn)
{
    return &c->page_hash[mix(la >> 12, gfn + space) >> (32 - PAGE_HASH_BITS)];
}

static struct code_page **gfn_bucket(struct cache *c, uint32_t gfn)
{
    return &c->gfn_hash[mix(gfn, 0) >> (32 - PAGE_HASH_BITS)];
}

struct code_page *cache_page_active(struct cache *c, enum space space, uint32_t la)
{
    return c->active[space][la >> 12];
}

static struct code_page *page_find(struct cache *c, enum space space, uint32_t la, uint32_t gfn)
{
    struct code_page **bucket = page_bucket(c, space, la, gfn);
    for (struct code_page *p = *bucket; p; p = p->hash_next)
        if (p->la == la && p->gfn == gfn && p->space == space)
            return p;
    if (!arena_has_room(&c->pages) || stress_hits(&c->stress, STRESS_PAGE)) {
        note_full(c);
        return NULL;
    }
    struct code_page *p = arena_take(&c->pages);
    p->era = cache_era(c);
    p->la = la;
    p->gfn = gfn;
    p->space = (uint8_t)space;
    p->hash_next = *bucket;
    *bucket = p;
    struct code_page **frame = gfn_bucket(c, gfn);
    p->gfn_next = *frame;
    *frame = p;
    p->flag = (uint32_t)(c->pages.used - 1);
    c->inactive[p->flag] = 1;
    return p;
}

struct code_page *cache_page_activate(struct cache *c, enum space space, uint32_t la, uint32_t gfn,
                                      bool global)
{
    la &= ~0xfffu;
    struct code_page *old = c->active[space][la >> 12];
    if (old && old->gfn == gfn)
        return old;
    if (old)
        cache_page_deactivate(c, old);
    struct code_page *p = page_find(c, space, la, gfn);
    if (!p)
        return NULL;
    p->active = true;
    p->since = __rdtsc();
    c->generation[space]++;
    c->inactive[p->flag] = 0;
    p->global = global;
    p->active_index = c->active_count[space]++;
    c->active_list[space][p->active_index] = p;
    c->active[space][la >> 12] = p;
    return p;
}

void cache_page_deactivate(struct cache *c, struct code_page *p)
{
    CHECK(is_live(c, p->era) && p->active);
    struct code_page **list = c->active_list[p->space];
    struct code_page *last = list[--c->active_count[p->space]];
    list[p->active_index] = last;
    last->active_index = p->active_index;
    c->active[p->space][p->la >> 12] = NULL;
    p->active = false;
    c->inactive[p->flag] = 1;
    new_epoch(c, p->space);
    /* The jump cache's entries: a user's die by their tag, the supervisor's one by one. */
    if (p->space == SPACE_USER && ++c->user_deactivations >> (32 - MODE_BITS)) {
        c->user_deactivations = 1;
        jump_cache_clear(c);
    }
    if (departs(p))
        return; /* its gates are shut */
    p->departures += p->space == SPACE_USER;
    for (struct block *b = p->blocks; b; b = b->page_next)
        shut_out(c, b, true);
    for (struct block *b = p->spilled; b; b = b->page2_next)
        shut_out(c, b, false);
}

void cache_pages_settle(struct cache *c)
{
    uint64_t now = __rdtsc();
    for (uint32_t i = 0; i < c->active_count[SPACE_USER]; i++) {
        struct code_page *p = c->active_list[SPACE_USER][i];
        if (!departs(p) || now - p->since < SETTLED)
            continue;
        p->departures = GATE_AFTER - 1;
        for (struct block *b = p->blocks; b; b = b->page_next)
            unlink_gated(c, b);
    }
}

void cache_pages_verify(struct cache *c, enum space space, bool globals_too,
                        bool (*still)(void *opaque, const struct code_page *p), void *opaque)
{
    for (uint32_t i = c->active_count[space]; i-- > 0;) {
        struct code_page *p = c->active_list[space][i];
        if ((globals_too || !p->global) && !still(opaque, p))
            cache_page_deactivate(c, p);
    }
}

/* --- blocks --- */

static struct block **block_bucket(struct cache *c, uint32_t eip, unsigned mode,
                                   const struct code_page *page)
{
    uint32_t h = mix(eip, mode ^ page->gfn << 8);
    return &c->hash[h >> (32 - BLOCK_HASH_BITS)];
}

struct entry cache_entry_in(const struct cache *c, struct block *b, uint32_t eip)
{
    CHECK(is_live(c, b->era));
    const struct insn_mark *marks = cache_marks(c, b);
    uint32_t guest = eip - b->eip;
    if (guest < b->guest_bytes)
        for (uint32_t n = 0; n < b->mark_count && marks[n].guest <= guest; n++)
            if (marks[n].guest == guest && !(marks[n].flags & MARK_INSIDE) && !marks[n].esp)
                return (struct entry){b, b->host + marks[n].host};
    return (struct entry){0};
}

static struct entry find_start(struct cache *c, uint32_t eip, unsigned mode, struct code_page *page)
{
    for (struct block *b = *block_bucket(c, eip, mode, page); b; b = b->hash_next)
        if (b->eip == eip && b->page == page && b->mode == mode)
            return (struct entry){b, b->host};
    return (struct entry){0};
}

static struct entry find_inside(struct cache *c, uint32_t eip, unsigned mode,
                                struct code_page *page)
{
    for (struct block *b = page->blocks; b; b = b->page_next) {
        if (eip - b->eip >= b->guest_bytes || b->mode != mode)
            continue;
        struct entry e = cache_entry_in(c, b, eip);
        if (e.block)
            return e;
    }
    return (struct entry){0};
}

struct entry cache_find(struct cache *c, uint32_t eip, unsigned mode, struct code_page *page)
{
    CHECK(is_live(c, page->era) && page->active);
    if (!cache_maybe_known(page, eip + cache_mode(c, mode)->cs_base))
        return (struct entry){0};
    struct entry e = find_start(c, eip, mode, page);
    if (!e.block)
        e = find_inside(c, eip, mode, page);
    if (e.block && e.block->page2 && !e.block->page2->active)
        return (struct entry){0};
    return e;
}

static void note_starts(struct cache *c, const struct block *b)
{
    const struct insn_mark *marks = cache_marks(c, b);
    uint32_t base = b->eip + c->modes[b->mode].cs_base;
    for (uint32_t n = 0; n < b->mark_count; n++) {
        uint32_t la = base + marks[n].guest;
        if (!((la ^ base) >> 12))
            b->page->starts[la >> 6 & 63] |= 1ull << (la & 63);
    }
}

bool cache_has_room(struct cache *c)
{
    bool room = code_memory_room(&c->code) > BLOCK_BYTES_WORST && arena_has_room(&c->blocks) &&
                arena_has_room(&c->exits) && arena_has_room(&c->marks) &&
                !stress_hits(&c->stress, STRESS_ROOM);
    if (!room)
        note_full(c);
    return room;
}

struct block *cache_block_begin(struct cache *c)
{
    struct block *b = arena_take(&c->blocks);
    b->era = cache_era(c);
    b->host = (uint32_t)c->code.used;
    b->marks = (uint32_t)c->marks.used;
    b->exits = (uint32_t)c->exits.used;
    return b;
}

struct exit_record *cache_add_exit(struct cache *c, struct block *b, uint32_t *id)
{
    *id = (uint32_t)c->exits.used;
    struct exit_record *x = arena_take(&c->exits);
    x->from = b;
    b->exit_count++;
    return x;
}

struct insn *cache_add_insn(struct cache *c, const struct insn *i)
{
    if (!arena_has_room(&c->insns) || stress_hits(&c->stress, STRESS_INSN))
        return NULL;
    struct insn *copy = arena_take(&c->insns);
    *copy = *i;
    return copy;
}

struct insn_mark *cache_add_mark(struct cache *c, struct block *b)
{
    b->mark_count++;
    return arena_take(&c->marks);
}

static void note_lines(struct cache *c, const struct block *b)
{
    uint32_t start = (b->eip + c->modes[b->mode].cs_base) & 0xfff, end = start + b->guest_bytes;
    c->lines[b->page->gfn] |= line_bits(start, (end > 0x1000 ? 0x1000 : end) - start);
    if (b->page2 && end > 0x1000)
        c->lines[b->page2->gfn] |= line_bits(0, end - 0x1000);
    if (b->peek_bytes)
        c->lines[b->page->gfn] |= line_bits(b->peek, b->peek_bytes);
}

static bool frame_has_blocks(struct cache *c, uint32_t gfn)
{
    for (struct code_page *p = *gfn_bucket(c, gfn); p; p = p->gfn_next)
        if (p->gfn == gfn && (p->blocks || p->spilled))
            return true;
    return false;
}

void cache_block_commit(struct cache *c, struct block *b)
{
    struct block **bucket = block_bucket(c, b->eip, b->mode, b->page);
    CHECK(is_live(c, b->page->era) && b->page->active && (!b->page2 || b->page2->active));
    c->client.watch(c->client.opaque, b->page->gfn);
    if (b->page2)
        c->client.watch(c->client.opaque, b->page2->gfn);
    b->hash_next = *bucket;
    *bucket = b;
    b->page_next = b->page->blocks;
    b->page->blocks = b;
    if (b->page2) {
        b->page2_next = b->page2->spilled;
        b->page2->spilled = b;
    }
    note_starts(c, b);
    note_lines(c, b);
    c->by_host[c->by_host_count++] = b;
    b->valid = true;
    c->code.used = b->host_end;
}

struct exit_record *cache_exit(struct cache *c, uint32_t id)
{
    CHECK(id < c->exits.used);
    return (struct exit_record *)c->exits.base + id;
}

const struct insn_mark *cache_marks(const struct cache *c, const struct block *b)
{
    return (const struct insn_mark *)c->marks.base + b->marks;
}

struct block *cache_block_at(struct cache *c, uint64_t host_pc)
{
    uint64_t offset = host_pc - (uint64_t)c->code.rx;
    size_t low = 0, high = c->by_host_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c->by_host[mid]->host_end <= offset)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == c->by_host_count || c->by_host[low]->host > offset)
        return NULL;
    return c->by_host[low];
}

/* --- invalidation --- */

static void list_remove_page(struct block **list, struct block *b)
{
    while (*list != b)
        list = &(*list)->page_next;
    *list = b->page_next;
}

static void list_remove_page2(struct block **list, struct block *b)
{
    while (*list != b)
        list = &(*list)->page2_next;
    *list = b->page2_next;
}

static void list_remove_hash(struct block **list, struct block *b)
{
    while (*list != b)
        list = &(*list)->hash_next;
    *list = b->hash_next;
}

/* Whoever comes to its code all the same is not to get far. */
static void poison_code(struct cache *c, const struct block *b)
{
    memset(c->code.rw + b->host, INT3, b->host_end - b->host);
    for (const struct gate *g = b->gates; g; g = g->next)
        memset(c->code.rw + g->host, INT3, g->size);
}

static void block_drop(struct cache *c, struct block *b)
{
    CHECK(is_live(c, b->era) && b->valid);
    unlink_incoming(c, b, false);
    jump_remove(c, b);
    for (uint32_t i = 0; i < b->exit_count; i++) {
        struct exit_record *x = cache_exit(c, b->exits + i);
        if (x->linked)
            unlink_exit(c, x);
    }
    list_remove_hash(block_bucket(c, b->eip, b->mode, b->page), b);
    list_remove_page(&b->page->blocks, b);
    if (!b->page->blocks) /* the hints are those of code that has gone */
        memset(b->page->starts, 0, sizeof(b->page->starts));
    if (b->page2)
        list_remove_page2(&b->page2->spilled, b);
    b->valid = false;
    c->counters.inv_write++;
    new_epoch(c, b->page->space);
    if (c->stress.on)
        poison_code(c, b);
}

/* The last block of a frame has gone. */
static void forget_frame(struct cache *c, uint32_t gfn)
{
    c->lines[gfn] = 0;
    c->client.unwatch(c->client.opaque, gfn);
}

/* A write has dropped the last block of a frame. Code that patches itself is translated again soon:
 * the frame stays watched, since taking back the right to write costs more than letting a few
 * writes wait. */
#define IDLE_WRITES_MAX 3u

static void empty_frame(struct cache *c, uint32_t gfn)
{
    c->lines[gfn] = 0;
    for (struct code_page *p = *gfn_bucket(c, gfn); p; p = p->gfn_next)
        if (p->gfn == gfn)
            p->idle_writes = 0;
}

void cache_drop(struct cache *c, struct block *b)
{
    CHECK(is_live(c, b->era));
    if (!b->valid)
        return;
    struct code_page *page = b->page, *page2 = b->page2;
    block_drop(c, b);
    if (!frame_has_blocks(c, page->gfn))
        forget_frame(c, page->gfn);
    if (page2 && !frame_has_blocks(c, page2->gfn))
        forget_frame(c, page2->gfn);
}

void cache_drop_at(struct cache *c, struct code_page *page, uint32_t la)
{
    for (struct block *b = page->blocks, *next; b; b = next) {
        next = b->page_next;
        if (la - (b->eip + c->modes[b->mode].cs_base) < b->guest_bytes)
            cache_drop(c, b);
    }
}

void cache_set_soft(struct code_page *page, uint32_t la, bool soft)
{
    uint64_t bit = 1ull << (la & 63), *word = &page->soft[la >> 6 & 63];
    *word = soft ? *word | bit : *word & ~bit;
}

/* Whether a block has bytes in [offset, offset+size) of the frame that `page` stands for. */
static bool block_overlaps(const struct cache *c, const struct block *b,
                           const struct code_page *page, uint32_t offset, uint32_t size)
{
    uint32_t start = (b->eip + c->modes[b->mode].cs_base) & 0xfff, end = start + b->guest_bytes;
    if (page != b->page) { /* the part on its second page */
        start = 0;
        end -= 0x1000;
    } else if (b->peek < offset + size && offset < (uint32_t)b->peek + b->peek_bytes) {
        return true;
    }
    return start < offset + size && offset < end;
}

unsigned cache_invalidate(struct cache *c, uint32_t gfn, uint32_t offset, uint32_t size)
{
    unsigned dropped = 0;
    for (struct code_page *p = *gfn_bucket(c, gfn); p; p = p->gfn_next) {
        if (p->gfn != gfn)
            continue;
        if (size == 0x1000)
            p->foreign_writes = 0;
        for (struct block *b = p->blocks, *next; b; b = next) {
            next = b->page_next;
            if (block_overlaps(c, b, p, offset, size)) {
                block_drop(c, b);
                dropped++;
            }
        }
        for (struct block *b = p->spilled, *next; b; b = next) {
            next = b->page2_next;
            if (block_overlaps(c, b, p, offset, size)) {
                block_drop(c, b);
                dropped++;
            }
        }
    }
    if (dropped && !frame_has_blocks(c, gfn)) {
        if (size == 0x1000)
            forget_frame(c, gfn);
        else
            empty_frame(c, gfn);
    }
    return dropped;
}

void cache_note_idle_write(struct cache *c, uint32_t gfn)
{
    if (gfn >= FRAMES_MAX || c->lines[gfn])
        return;
    for (struct code_page *p = *gfn_bucket(c, gfn); p; p = p->gfn_next)
        if (p->gfn == gfn && ++p->idle_writes < IDLE_WRITES_MAX)
            return;
    forget_frame(c, gfn);
}

uint32_t cache_note_foreign_write(struct cache *c, uint32_t gfn)
{
    uint32_t most = 0;
    for (struct code_page *p = *gfn_bucket(c, gfn); p; p = p->gfn_next)
        if (p->gfn == gfn && ++p->foreign_writes > most)
            most = p->foreign_writes;
    return most;
}

/* --- flush --- */

static void reset_arenas(struct cache *c)
{
    struct arena *arenas[] = {&c->blocks, &c->exits, &c->marks, &c->pages, &c->insns, &c->gates};
    for (unsigned n = 0; n < sizeof(arenas) / sizeof(*arenas); n++)
        arena_reset(arenas[n], c->stress.on);
    if (c->stress.on)
        memset(c->code.rw + c->code.reserved, INT3, c->code.used - c->code.reserved);
    code_memory_reset(&c->code);
}

/* A block less costs less than the whole table when there are few. */
#define FEW_BLOCKS (JUMP_CACHE_SIZE / 64)

static void forget_blocks(struct cache *c)
{
    bool few = c->by_host_count < FEW_BLOCKS;
    for (size_t i = 0; i < c->by_host_count; i++) {
        struct block *b = c->by_host[i];
        if (b->valid && few)
            jump_remove(c, b);
        *block_bucket(c, b->eip, b->mode, b->page) = NULL;
        b->valid = false;
        forget_frame(c, b->page->gfn);
        if (b->page2)
            forget_frame(c, b->page2->gfn);
    }
    if (!few)
        jump_cache_clear(c);
    c->by_host_count = 0;
}

static void forget_pages(struct cache *c)
{
    const struct code_page *pages = c->pages.base;
    for (size_t i = 0; i < c->pages.used; i++) {
        *page_bucket(c, pages[i].space, pages[i].la, pages[i].gfn) = NULL;
        *gfn_bucket(c, pages[i].gfn) = NULL;
    }
    for (unsigned s = 0; s < SPACE_COUNT; s++) {
        for (uint32_t i = 0; i < c->active_count[s]; i++)
            c->active[s][c->active_list[s][i]->la >> 12] = NULL;
        c->active_count[s] = 0;
    }
}

void cache_flush(struct cache *c)
{
    forget_blocks(c);
    forget_pages(c);
    c->mode_count = 0;
    c->mode_first = c->stress.on ? stress_pick(&c->stress, MODE_MAX) : 0;
    reset_arenas(c);
    c->full = false;
    c->counters.flushes++;
    for (unsigned s = 0; s < SPACE_COUNT; s++) {
        new_epoch(c, s);
        c->generation[s]++;
    }
}

/* --- stress --- */

struct block *cache_some_block(struct cache *c)
{
    if (!c->by_host_count)
        return NULL;
    struct block *b = c->by_host[stress_pick(&c->stress, (uint32_t)c->by_host_count)];
    return b->valid ? b : NULL;
}

struct code_page *cache_some_page(struct cache *c)
{
    enum space space = stress_pick(&c->stress, SPACE_COUNT);
    uint32_t count = c->active_count[space];
    return count ? c->active_list[space][stress_pick(&c->stress, count)] : NULL;
}
