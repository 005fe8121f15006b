/* SPDX-License-Identifier: MIT */
/* statements.c: random statements of system code, one function a kind. */
#include "tests/sysgen/sysgen.h"

/* --- numbers --- */

static uint32_t mix(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

void rng_start(struct rng *r, uint32_t seed, uint32_t number, uint32_t stream)
{
    r->s = mix(mix(mix(seed + 0x9e3779b9u) ^ number) + stream * 0x85ebca6bu);
}

uint32_t rng_next(struct rng *r)
{
    r->s += 0x9e3779b9u;
    return mix(r->s);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    return rng_next(r) % n;
}

uint32_t rng_value(struct rng *r)
{
    static const uint32_t edges[] = {
        0,       1,  0xffffffff, 0x7fffffff, 0x80000000, 0xff,       0x8000, 0x7fff,    0xffff,
        0x10000, 31, 32,         0x80,       0xfffffffe, 0xfffff000, 0xfff,  DATA_BASE, CODE_BASE};
    if (rng_below(r, 3))
        return edges[rng_below(r, sizeof edges / sizeof edges[0])];
    return rng_next(r) >> rng_below(r, 32);
}

uint32_t random_data(struct rng *r)
{
    uint32_t at = rng_below(r, 0xc000);
    if (!rng_below(r, 3))
        at = (at & ~0xfffu) + 0x1000 - rng_below(r, 17); /* over a page's end */
    return (rng_below(r, 3) ? DATA_BASE : ALIAS_BASE) + at;
}

uint32_t random_selector(struct rng *r)
{
    static const uint16_t fixed[] = {KCS,    KDS,    UCS,     UDS,     RCS(1), RDS(1),
                                     RCS(2), RDS(2), SEL_TSS, SEL_LDT, 0,      3};
    switch (rng_below(r, 8)) {
    case 0:
    case 1:
    case 2:
        return fixed[rng_below(r, sizeof fixed / sizeof fixed[0])];
    case 3:
        return rng_below(r, 16) * 8 + 4 + rng_below(r, 4);
    case 4:
        return rng_next(r) & 0xffff;
    default:
        return (FIRST_FREE + rng_below(r, LAST_FREE - FIRST_FREE + 1)) * 8 + rng_below(r, 4);
    }
}

uint64_t random_descriptor(struct rng *r)
{
    static const uint32_t bases[] = {
        0, 0, CODE_BASE, DATA_BASE, TASK_BASE, TASK_BASE + 0x100, 0xfffff000};
    static const uint32_t limits[] = {0xfffff, 0xfffff, 0xffff, 0xfff, 103, 0x3f, 0};
    uint32_t base = bases[rng_below(r, 7)], limit = limits[rng_below(r, 7)];
    unsigned access = rng_below(r, 256);
    if (rng_below(r, 4))
        access |= 0x80;
    if (rng_below(r, 2))
        access |= 0x10;
    if ((access & 0x1f) == 0x0c || (access & 0x1f) == 0x04) /* a call gate */
        return gate(CODE_BASE + SLOT * rng_below(r, 24), rng_below(r, 3) ? KCS : random_selector(r),
                    access, rng_below(r, 4));
    if (!rng_below(r, 8))
        base = rng_next(r);
    return descriptor(base, limit, access, rng_below(r, 16));
}

/* --- bytes --- */

void put8(struct code *c, unsigned v)
{
    if (c->n < sizeof c->bytes)
        c->bytes[c->n++] = (uint8_t)v;
}

void put16(struct code *c, unsigned v)
{
    put8(c, v & 0xff);
    put8(c, v >> 8 & 0xff);
}

void put32(struct code *c, uint32_t v)
{
    put16(c, v & 0xffff);
    put16(c, v >> 16);
}

void put_bytes(struct code *c, const char *hex, unsigned n)
{
    while (n--)
        put8(c, (uint8_t)*hex++);
}

void put_operand32(struct code *c)
{
    if (!c->sample->wide)
        put8(c, 0x66);
}

void put_address32(struct code *c)
{
    if (!c->sample->wide)
        put8(c, 0x67);
}

void put_mov(struct code *c, unsigned reg, uint32_t v)
{
    put_operand32(c);
    put8(c, 0xb8 | reg);
    put32(c, v);
}

void put_store(struct code *c, uint32_t address, uint32_t v)
{
    put_operand32(c);
    put_address32(c);
    PUT(c, "\xc7\x05");
    put32(c, address);
    put32(c, v);
}

/* ModRM and displacement of ds:[address], the prefix having been put. */
static void put_at(struct code *c, unsigned reg, uint32_t address)
{
    put8(c, 0x05 | reg << 3);
    put32(c, address);
}

static void put_store64(struct code *c, uint32_t address, uint64_t v)
{
    unsigned half = rng_below(&c->r, 6);
    if (half != 1)
        put_store(c, address, (uint32_t)v);
    if (half)
        put_store(c, address + 4, (uint32_t)(v >> 32));
}

/* The start of another statement or, mostly, of the next one. */
uint32_t random_target(struct code *c)
{
    unsigned n = c->index + 1;
    if (!rng_below(&c->r, 4))
        n += rng_below(&c->r, 3);
    uint32_t la = slot_address(c->sample, n < c->sample->count ? n : c->sample->count);
    return rng_below(&c->r, 4) ? la : la - CODE_BASE;
}

/* One of the last statements, so that what handlers run comes to an end. */
static uint32_t handler_target(struct code *c)
{
    return slot_address(c->sample, c->sample->count - rng_below(&c->r, 8));
}

/* --- kinds --- */

static void write_descriptor(struct code *c)
{
    bool local = !rng_below(&c->r, 4);
    uint32_t at = local ? (uint32_t)&ldt[rng_below(&c->r, 16)]
                        : (uint32_t)&gdt[FIRST_FREE + rng_below(&c->r, LAST_FREE - FIRST_FREE + 1)];
    put_store64(c, at, random_descriptor(&c->r));
}

static void write_gate(struct code *c)
{
    static const uint8_t types[] = {0x8e, 0xee, 0x8f, 0xef, 0x86, 0xe6, 0x85, 0xe5, 0x0e};
    unsigned v = 0x40 + rng_below(&c->r, 16);
    unsigned type = rng_below(&c->r, 6) ? types[rng_below(&c->r, 9)] : rng_next(&c->r) & 0xff;
    unsigned sel = rng_below(&c->r, 2) ? KCS : random_selector(&c->r);
    put_store64(c, (uint32_t)&idt[v], gate(handler_target(c), sel, type, 0));
}

static void write_selector(struct code *c)
{
    put_mov(c, 0, random_selector(&c->r));
    switch (rng_below(&c->r, 4)) {
    case 0: /* push eax; pop seg */
        put8(c, 0x50);
        put_bytes(c, &"\x07\x17\x1f"[rng_below(&c->r, 3)], 1);
        break;
    default: /* mov seg, eax */
        put8(c, 0x8e);
        put8(c, 0xc0 | rng_below(&c->r, 6) << 3);
    }
}

static void far_pointer(struct code *c)
{
    uint32_t at = random_data(&c->r) & ~3u;
    put_store(c, at, rng_below(&c->r, 2) ? random_data(&c->r) : random_target(c));
    put_store(c, at + 4, random_selector(&c->r));
    put_operand32(c);
    put_address32(c);
    switch (rng_below(&c->r, 5)) {
    case 0:
        put8(c, 0xc4), put_at(c, 0, at);
        break;
    case 1:
        put8(c, 0xc5), put_at(c, 3, at);
        break;
    case 2:
        put8(c, 0xff), put_at(c, 3, at);
        break;
    case 3:
        put8(c, 0xff), put_at(c, 5, at);
        break;
    default:
        put8(c, 0x0f), put8(c, (const uint8_t[]){0xb2, 0xb4, 0xb5}[rng_below(&c->r, 3)]),
            put_at(c, 1, at);
    }
}

static void far_direct(struct code *c)
{
    put_operand32(c);
    put8(c, rng_below(&c->r, 2) ? 0xea : 0x9a);
    put32(c, random_target(c));
    put16(c, random_selector(&c->r));
}

static void push32(struct code *c, uint32_t v)
{
    put_operand32(c);
    put8(c, 0x68);
    put32(c, v);
}

/* RETF, RETF n and IRET of frames made by hand, to outer rings and V86, too. */
static void far_return(struct code *c)
{
    bool interrupt = rng_below(&c->r, 2);
    bool outer = rng_below(&c->r, 2);
    if (outer) {
        push32(c, random_selector(&c->r));
        push32(c, rng_below(&c->r, 4) ? random_data(&c->r) : rng_value(&c->r));
    }
    if (interrupt)
        push32(c, rng_below(&c->r, 3) ? 0x202 : rng_next(&c->r) & 0x277fd7);
    push32(c, rng_below(&c->r, 2) ? KCS : random_selector(&c->r));
    push32(c, random_target(c));
    put_operand32(c);
    put8(c, interrupt ? 0xcf : 0xcb);
}

static void software_interrupt(struct code *c)
{
    switch (rng_below(&c->r, 8)) {
    case 0:
        put8(c, 0xcc);
        break;
    case 1:
        put8(c, 0xce);
        break;
    case 2:
        put8(c, 0xf1);
        break;
    case 3:
        PUT(c, "\x0f\x0b");
        break;
    case 4:
        put8(c, 0xcd);
        put8(c, rng_next(&c->r));
        break;
    default:
        put8(c, 0xcd);
        put8(c, 0x40 + rng_below(&c->r, 16));
    }
}

static void xor_control(struct code *c, unsigned cr, uint32_t mask)
{
    PUT(c, "\x0f\x20");
    put8(c, 0xc0 | cr << 3);
    put_operand32(c);
    put8(c, 0x35);
    put32(c, mask);
    PUT(c, "\x0f\x22");
    put8(c, 0xc0 | cr << 3);
}

static void control_register(struct code *c)
{
    static const uint32_t cr0[] = {CR0_WP, CR0_WP, CR0_AM, CR0_TS,     CR0_EM,     CR0_MP,
                                   CR0_NE, CR0_PG, CR0_PG, 0x60000000, 0x20000000, 0x10000000};
    static const uint32_t cr4[] = {CR4_PGE, CR4_PGE, CR4_PGE,  1,        2,
                                   4,       8,       CR4_PAE,  0x200,    0x400,
                                   0x100,   0x800,   0x100000, 0x200000, 0x2000};
    uint32_t mask;
    switch (rng_below(&c->r, 5)) {
    case 0:
    case 1:
        xor_control(c, 0, cr0[rng_below(&c->r, 12)]);
        break;
    case 2:
    case 3:
        /* Never PSE: page tables would then be taken from device memory, and how often a walk
         * reads them is a processor's own affair. */
        mask = rng_below(&c->r, 8) ? cr4[rng_below(&c->r, 15)] : 1u << rng_below(&c->r, 32);
        xor_control(c, 4, mask & ~(uint32_t)CR4_PSE);
        break;
    default:
        put_mov(c, 0, rng_below(&c->r, 2) ? ROOT_COPY : page_directory_address);
        PUT(c, "\x0f\x22\xd8");
    }
}

static void debug_register(struct code *c)
{
    unsigned n = (const uint8_t[]){0, 1, 2, 3, 7, 7, 7, 6, 4, 5}[rng_below(&c->r, 10)];
    uint32_t v = n == 7                ? rng_next(&c->r) & 0xffff27ff
                 : rng_below(&c->r, 2) ? random_data(&c->r)
                                       : random_target(c);
    if (n == 7 && !rng_below(&c->r, 8))
        v |= 0x2000; /* general detect */
    put_mov(c, 0, v);
    PUT(c, "\x0f");
    put8(c, rng_below(&c->r, 4) ? 0x23 : 0x21);
    put8(c, 0xc0 | n << 3);
}

static void model_register(struct code *c)
{
    static const uint32_t msrs[] = {0x10,       0x1b,       0x174, 0x175, 0x176, 0x277, 0x1a0,
                                    0xc0000080, 0xc0000081, 0x200, 0x201, 0x20f, 0x250, 0x26f,
                                    0x2ff,      0xfe,       0x8b,  0x17,  0x3a,  0x179, 0x17a,
                                    0x3b,       0xc0000103, 0x400, 0x1d9, 0x2a,  0x6e0};
    uint32_t msr = rng_below(&c->r, 8) ? msrs[rng_below(&c->r, 27)] : rng_next(&c->r);
    bool write = msr != 0x1b && msr != 0x10 && msr != 0x6e0 && msr != 0x3b && rng_below(&c->r, 2);
    put_mov(c, 1, msr);
    if (write) {
        bool sysenter = msr >= 0x174 && msr <= 0x176;
        uint32_t good = msr == 0x174 ? KCS : msr == 0x175 ? DATA_BASE + 0xb000 : random_target(c);
        put_mov(c, 0, sysenter ? good : rng_value(&c->r));
        put_mov(c, 2, sysenter ? 0 : rng_value(&c->r) & (rng_below(&c->r, 2) ? 0 : ~0u));
    }
    put8(c, 0x0f);
    put8(c, write ? 0x30 : 0x32);
}

static void fast_call(struct code *c)
{
    put_mov(c, 2, random_target(c));
    put_mov(c, 1, random_data(&c->r));
    put8(c, 0x0f);
    put8(c, 0x34 + rng_below(&c->r, 2));
}

/* Asks the driver for another entry (VEC_PAGE): an entry that is changed may be used as it was
 * until it is invalidated (SDM vol. 3, 4.10.2.3), so nothing may run in between. */
static void page_table(struct code *c)
{
    bool directory = !rng_below(&c->r, 4);
    uint32_t flags =
        rng_below(&c->r, 3) ? 0x67 & ~(1u << rng_below(&c->r, 7)) : rng_next(&c->r) & 0x1ff;
    if (rng_below(&c->r, 3))
        flags |= PTE_P;
    uint32_t page = rng_below(&c->r, PAGE_CHOICES), frame = rng_below(&c->r, 64);
    put_mov(c, 0, page | (uint32_t)directory << 8 | (rng_next(&c->r) & 7) << 16);
    put_mov(c, 1, flags | frame << 12);
    put8(c, 0xcd);
    put8(c, VEC_PAGE);
    if (rng_below(&c->r, 2)) { /* and look what has become of it */
        uint32_t la = page < 16 ? ALIAS_BASE + page * 4096 : DATA_BASE + (page - 16) * 4096;
        put_address32(c);
        put8(c, rng_below(&c->r, 2) ? 0x8b : 0x01);
        put_at(c, 0, la + rng_below(&c->r, 0xffd));
    }
}

/* LGDT, LIDT, SGDT, SIDT, SMSW, LMSW, SLDT, STR, LLDT, LTR, VERR, VERW, LAR, LSL, ARPL, CLTS. */
static void descriptor_tables(struct code *c)
{
    uint32_t at = random_data(&c->r);
    if (c->sample->paging == PAGING_OFF) /* there is nothing at the alias */
        at = DATA_BASE + at % 0x8000;
    put_mov(c, 0, random_selector(&c->r));
    switch (rng_below(&c->r, 10)) {
    case 0:
        put_store(c, at, rng_below(&c->r, 2) ? 0x1ff : 0x1c0 + rng_below(&c->r, 64));
        put_store(c, at + 2, (uint32_t)gdt);
        put_address32(c);
        PUT(c, "\x0f\x01");
        put_at(c, 2, at);
        break;
    case 1:
        put_store(c, at, rng_below(&c->r, 2) ? 0x7ff : 0x1ff + rng_below(&c->r, 128));
        put_store(c, at + 2, (uint32_t)idt);
        put_address32(c);
        PUT(c, "\x0f\x01");
        put_at(c, 3, at);
        break;
    case 2:
        put_address32(c);
        PUT(c, "\x0f\x01");
        put_at(c, rng_below(&c->r, 2), at);
        break;
    case 3:
        PUT(c, "\x0f\x01\xe0\x34\x0e\x0f\x01\xf0"); /* smsw ax; xor al, 14; lmsw ax */
        break;
    case 4:
        PUT(c, "\x0f\x06");
        break;
    case 5: /* of a register: group 6 */
    case 6:
        PUT(c, "\x0f");
        put8(c, 0);
        put8(c, 0xc0 | rng_below(&c->r, 6) << 3);
        break;
    case 7:
        PUT(c, "\x63\xc8");
        break;
    default:
        put8(c, 0x0f);
        put8(c, 2 + rng_below(&c->r, 2));
        PUT(c, "\xc8");
    }
}

static void flags(struct code *c)
{
    switch (rng_below(&c->r, 6)) {
    case 0:
        put8(c, 0xfa);
        break;
    case 1:
        put8(c, 0xfb);
        break;
    case 2:
        put8(c, 0x9d);
        break;
    default:
        push32(c, rng_below(&c->r, 3) ? (rng_next(&c->r) & 0x47ed5) | 0x202
                                      : rng_next(&c->r) & ~0x100u);
        put_operand32(c);
        put8(c, 0x9d);
    }
    user_code(c);
}

static void modify_code(struct code *c)
{
    unsigned n = c->index + rng_below(&c->r, 3);
    uint32_t at = slot_address(c->sample, n < c->sample->count ? n : c->index) +
                  rng_below(&c->r, SLOT_ROOM - 4);
    static const uint32_t values[] = {0x90909090, 0x9090cccc, 0x40404040, 0x90c3c990};
    put_store(c, at, values[rng_below(&c->r, 4)]);
    user_code(c);
}

/* To itself, through the local APIC: an interrupt at a place that the seed decides. */
static void interprocessor(struct code *c)
{
    if (rng_below(&c->r, 2))
        put8(c, rng_below(&c->r, 2) ? 0xfb : 0xfa);
    put_store(c, 0xfee00300u, 0x44000 | (0x50 + rng_below(&c->r, 16)));
    user_code(c);
}

static void port(struct code *c)
{
    switch (rng_below(&c->r, 3)) {
    case 0:
        PUT(c, "\xe6\x80");
        break;
    case 1:
        put_store(c, (uint32_t)&tss_main.iomap, rng_below(&c->r, 2) ? 104u << 16 : 200u << 16);
        break;
    default:
        put_mov(c, 2, 0x80);
        put8(c, 0xec + rng_below(&c->r, 4));
    }
}

static void frames(struct code *c)
{
    put8(c, 0xc8);
    put16(c, rng_below(&c->r, 3) ? rng_below(&c->r, 64) : rng_next(&c->r) & 0xffff);
    put8(c, rng_below(&c->r, 4));
    user_code(c);
    put8(c, 0xc9);
}

/* Through the trampoline into real mode and back: the driver has laid it out. */
static void real_mode(struct code *c)
{
    if (!c->sample->wide || c->sample->dropped[c->index])
        return;
    put8(c, 0xe8); /* call */
    put32(c, REAL_BASE - (c->at + c->n + 4));
}

static const struct kind {
    void (*make)(struct code *c);
    const char *name;
    unsigned weight;
} kinds[] = {
    {user_code,          "user",       10},
    {crashme_code,       "crashme",    2 },
    {write_descriptor,   "descriptor", 4 },
    {write_gate,         "gate",       4 },
    {write_selector,     "selector",   6 },
    {far_pointer,        "far",        4 },
    {far_direct,         "far",        4 },
    {far_return,         "return",     5 },
    {software_interrupt, "interrupt",  4 },
    {control_register,   "control",    5 },
    {debug_register,     "debug",      3 },
    {model_register,     "msr",        3 },
    {fast_call,          "sysenter",   2 },
    {page_table,         "page",       8 },
    {descriptor_tables,  "table",      4 },
    {flags,              "flags",      4 },
    {modify_code,        "modify",     5 },
    {interprocessor,     "ipi",        3 },
    {port,               "port",       2 },
    {frames,             "frames",     2 },
    {real_mode,          "real",       1 },
};
#define KIND_COUNT (sizeof kinds / sizeof kinds[0])

static const struct kind *random_kind(struct rng *r)
{
    unsigned total = 0;
    for (unsigned k = 0; k < KIND_COUNT; k++)
        total += kinds[k].weight;
    unsigned at = rng_below(r, total), k = 0;
    while (at >= kinds[k].weight)
        at -= kinds[k++].weight;
    return &kinds[k];
}

void statement_make(struct code *c, const struct sample *s, unsigned n)
{
    *c = (struct code){.sample = s, .index = n, .at = slot_address(s, n)};
    rng_start(&c->r, s->seed, s->number, 100 + n);
    if (s->crashme) {
        crashme_code(c);
    } else {
        const struct kind *k = random_kind(&c->r);
        k->make(c);
        c->kind = k->name;
    }
    if (s->dropped[n])
        c->n = 0;
    if (c->n > SLOT_ROOM)
        c->n = SLOT_ROOM;
}

void statements_write(const struct sample *s)
{
    struct code c;
    for (unsigned n = 0; n < s->count; n++) {
        uint8_t *to = (uint8_t *)slot_address(s, n);
        statement_make(&c, s, n);
        memset(to, 0x90, SLOT);
        memcpy(to, c.bytes, c.n);
        if (SLOT - c.n > 2) { /* no long way through NOPs */
            to[c.n] = 0xeb;
            to[c.n + 1] = (uint8_t)(SLOT - c.n - 2);
        }
    }
    uint8_t *end = (uint8_t *)slot_address(s, s->count);
    for (unsigned n = 0; n < SLOT * 4; n += 2)
        end[n] = 0xcd, end[n + 1] = VEC_EXIT;
}
