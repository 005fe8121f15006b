/* SPDX-License-Identifier: MIT */
/* fpu_thunk.c: instruction record -> host thunk.
 *
 * Everything is made from the thunk's key: the prefixes that select the instruction, map, opcode,
 * ModRM with the memory operand canonical, immediate byte. So equal keys are equal code. What the
 * key does not say (which operands are XMM or general registers, flags) the table's row says.
 *
 * Host registers in a thunk: rdi = vcpu, rsi = memory operand, eax = the general register operand,
 * XMM registers under their own numbers; eax, ecx, edx scratch. x87 and MMX registers are live.
 *
 * Code memory is one memfd mapped twice, writable and executable (never both in one mapping). When
 * it or the thunk array is full, all is dropped and the generation changes. */
#include "runtime/fpu_thunk.h"

#include "translator/place.h"

#include "translator/insn_table.h"

#include <cpuid.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define THUNK_COUNT  8192u
#define BUCKET_COUNT (4 * THUNK_COUNT)
#define CODE_SIZE    (1u << 20)
#define THUNK_MAX    128u /* bytes of the longest thunk */
#define EXIT_OFFSET  0u   /* of the exit stub */
#define CODE_START   16u
_Static_assert(THUNK_COUNT < UINT16_MAX, "a bucket holds a thunk number + 1");
_Static_assert(CODE_SIZE >= THUNK_MAX * 64, "room for some thunks between flushes");

/* --- the key --- */

enum { PFX_66 = 1, PFX_F3 = 2, PFX_F2 = 4 };
enum { HAS_MODRM = 1, HAS_IMM = 2 };
#define MODRM_RSI 0x06u /* mod 0, rm 6: [rsi] */

struct key {
    uint8_t pfx, map, opcode, modrm, imm, size, op, has; /* has: HAS_* */
};
_Static_assert(sizeof(struct key) == sizeof(uint64_t), "a key is one word");

/* Prefixes that take part in selecting an instruction: 66, and the last of F2 and F3. x87 has none.
 */
static uint8_t key_prefixes(const struct insn *i)
{
    uint8_t pfx = 0;
    if (i->op == OP_X87)
        return 0;
    for (unsigned n = 0; n < i->length && i->bytes[n] != 0x0f; n++) {
        if (i->bytes[n] == 0x66)
            pfx |= PFX_66;
        else if (i->bytes[n] == 0xf3)
            pfx = (pfx & PFX_66) | PFX_F3;
        else if (i->bytes[n] == 0xf2)
            pfx = (pfx & PFX_66) | PFX_F2;
    }
    return pfx;
}

static struct key key_of(const struct insn *i)
{
    struct key k = {.pfx = key_prefixes(i),
                    .map = i->map,
                    .opcode = i->opcode,
                    .modrm = i->modrm,
                    .size = i->has_mem ? i->mem_size : 0,
                    .op = i->op};
    if (i->has_modrm)
        k.has |= HAS_MODRM;
    if (i->has_mem)
        k.modrm = (i->modrm & 0x38) | MODRM_RSI;
    if (i->imm_size) {
        k.has |= HAS_IMM;
        k.imm = i->bytes[i->length - 1];
    }
    return k;
}

static uint64_t key_word(struct key k)
{
    uint64_t word;
    memcpy(&word, &k, sizeof word);
    return word;
}

/* --- what the encoding implies beyond the record's operands (SDM vol. 2) --- */

enum {
    IMPLICIT_XMM0_IN = 1,  /* BLENDVPS and kin */
    IMPLICIT_XMM0_OUT = 2, /* PCMPxSTRM */
    IMPLICIT_LENGTHS = 4,  /* PCMPESTRx read EAX and EDX */
    IMPLICIT_ECX_OUT = 8,  /* PCMPxSTRI */
    IMPLICIT_EDI = 16,     /* MASKMOVQ, MASKMOVDQU: the memory operand is [edi] */
};

static const struct {
    uint8_t map, first, last, what;
} implicit[] = {
    {1, 0xf7, 0xf7, IMPLICIT_EDI                        },
    {2, 0x10, 0x10, IMPLICIT_XMM0_IN                    },
    {2, 0x14, 0x15, IMPLICIT_XMM0_IN                    },
    {3, 0x60, 0x60, IMPLICIT_LENGTHS | IMPLICIT_XMM0_OUT},
    {3, 0x61, 0x61, IMPLICIT_LENGTHS | IMPLICIT_ECX_OUT },
    {3, 0x62, 0x62, IMPLICIT_XMM0_OUT                   },
    {3, 0x63, 0x63, IMPLICIT_ECX_OUT                    },
};

static unsigned implicit_of(struct key k)
{
    if (k.op == OP_X87)
        return 0;
    for (unsigned n = 0; n < sizeof implicit / sizeof implicit[0]; n++)
        if (implicit[n].map == k.map && k.opcode >= implicit[n].first &&
            k.opcode <= implicit[n].last)
            return implicit[n].what;
    return 0;
}

/* --- emitting --- */

struct out {
    uint8_t *at;
};

static void put(struct out *o, const void *bytes, unsigned n)
{
    memcpy(o->at, bytes, n);
    o->at += n;
}
#define PUT(o, ...) put(o, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* op reg, [rdi + offset] */
static void put_field(struct out *o, unsigned reg, size_t offset)
{
    uint32_t disp = (uint32_t)offset;
    PUT(o, (uint8_t)(0x87 | reg << 3));
    put(o, &disp, sizeof disp);
}

#define FIELD_GPR(n) (offsetof(struct vcpu, gpr) + 4 * (size_t)(n))
#define FIELD_XMM(n) (offsetof(struct vcpu, fx.xmm) + 16 * (size_t)(n))
#define FIELD_EFLAGS offsetof(struct vcpu, eflags)

static void put_gpr_load(struct out *o, unsigned host_reg, unsigned gpr)
{
    PUT(o, 0x8b);
    put_field(o, host_reg, FIELD_GPR(gpr));
}

static void put_gpr_store(struct out *o, unsigned host_reg, unsigned gpr)
{
    PUT(o, 0x89);
    put_field(o, host_reg, FIELD_GPR(gpr));
}

static void put_xmm_load(struct out *o, unsigned n)
{
    PUT(o, 0x0f, 0x10); /* movups */
    put_field(o, n, FIELD_XMM(n));
}

static void put_xmm_store(struct out *o, unsigned n)
{
    PUT(o, 0x0f, 0x11);
    put_field(o, n, FIELD_XMM(n));
}

/* Arithmetic flags into the host's. Clobbers eax and ecx. */
static void put_flags_load(struct out *o)
{
    PUT(o, 0x8b); /* mov ecx, eflags */
    put_field(o, 1, FIELD_EFLAGS);
    PUT(o, 0x88, 0xcc,        /* mov ah, cl */
        0x0f, 0xba, 0xe1, 11, /* bt ecx, 11 */
        0x0f, 0x92, 0xc0,     /* setc al */
        0x04, 0x7f,           /* add al, 0x7f: OF = al */
        0x9e);                /* sahf: SF ZF AF PF CF */
}

static void put_flags_store(struct out *o)
{
    uint32_t mask = EFL_ARITH, keep = ~EFL_ARITH;
    PUT(o, 0x9c, 0x58, 0x25); /* pushfq; pop rax; and eax, EFL_ARITH */
    put(o, &mask, sizeof mask);
    PUT(o, 0x8b); /* mov ecx, eflags */
    put_field(o, 1, FIELD_EFLAGS);
    PUT(o, 0x81, 0xe1); /* and ecx, ~EFL_ARITH */
    put(o, &keep, sizeof keep);
    PUT(o, 0x09, 0xc1, 0x89); /* or ecx, eax; mov eflags, ecx */
    put_field(o, 1, FIELD_EFLAGS);
}

/* The general register operand, which eax stands for in the thunk. */
struct gpr {
    bool used, written;
    uint8_t number;
    uint8_t modrm_mask; /* clears its field */
};

/* At most one operand is a general register; where it is encoded the table's row says. */
static struct gpr gpr_operand(const struct insn *i, struct key k)
{
    const struct insn_row *row =
        (const struct insn_row *)((const char *)i->info - offsetof(struct insn_row, info));
    struct gpr g = {.modrm_mask = 0xff};
    for (unsigned n = 0; n < i->n_opnds; n++) {
        if (i->opnd[n].kind != OPND_REG)
            continue;
        g.used = true;
        g.written = n == 0;
        switch (insn_spec_info[row->opnd[n]].source) {
        case SRC_REG_GPR:
            g.number = k.modrm >> 3 & 7;
            g.modrm_mask = 0xc7;
            break;
        case SRC_FIXED_GPR: /* FNSTSW AX */
            g.number = i->opnd[n].reg;
            break;
        default:
            g.number = k.modrm & 7;
            g.modrm_mask = 0xf8;
            break;
        }
    }
    return g;
}

/* The instruction itself. */
static void put_insn(struct out *o, struct key k, uint8_t modrm_mask)
{
    if (k.pfx & PFX_66)
        PUT(o, 0x66);
    if (k.pfx & PFX_F3)
        PUT(o, 0xf3);
    if (k.pfx & PFX_F2)
        PUT(o, 0xf2);
    if (k.map >= 1)
        PUT(o, 0x0f);
    if (k.map == 2)
        PUT(o, 0x38);
    if (k.map == 3)
        PUT(o, 0x3a);
    PUT(o, k.opcode);
    if (k.has & HAS_MODRM)
        PUT(o, k.modrm & modrm_mask);
    if (k.has & HAS_IMM)
        PUT(o, k.imm);
}

/* XMM registers to load and to store, as bit sets. */
static void xmm_operands(const struct insn *i, unsigned what, unsigned *load, unsigned *store)
{
    *load = *store = 0;
    for (unsigned n = 0; n < i->n_opnds; n++)
        if (i->opnd[n].kind == OPND_XMM) {
            *load |= 1u << (i->opnd[n].reg & 7);
            if (n == 0)
                *store |= 1u << (i->opnd[n].reg & 7);
        }
    if (what & IMPLICIT_XMM0_IN)
        *load |= 1;
    if (what & IMPLICIT_XMM0_OUT)
        *store |= 1;
}

static void put_thunk(struct out *o, const struct insn *i, struct key k)
{
    unsigned what = implicit_of(k), load, store;
    struct gpr gpr = gpr_operand(i, k);
    bool fcomi = k.op == OP_X87 && i->info->fl_write; /* leaves some arithmetic flags alone */
    xmm_operands(i, what, &load, &store);

    for (unsigned n = 0; n < 8; n++)
        if (load >> n & 1)
            put_xmm_load(o, n);
    if (i->info->fl_read || fcomi)
        put_flags_load(o);
    if (gpr.used)
        put_gpr_load(o, R_EAX, gpr.number);
    if (what & IMPLICIT_LENGTHS) {
        put_gpr_load(o, R_EAX, R_EAX);
        put_gpr_load(o, R_EDX, R_EDX);
    }
    if (what & IMPLICIT_EDI)
        PUT(o, 0x48, 0x89, 0xf7); /* mov rdi, rsi */
    put_insn(o, k, gpr.modrm_mask);
    if (gpr.written)
        put_gpr_store(o, R_EAX, gpr.number);
    if (what & IMPLICIT_ECX_OUT)
        put_gpr_store(o, R_ECX, R_ECX);
    if (!(what & IMPLICIT_EDI))
        for (unsigned n = 0; n < 8; n++)
            if (store >> n & 1)
                put_xmm_store(o, n);
    if (i->info->fl_write)
        put_flags_store(o);
    PUT(o, 0x31, 0xc0, 0xc3); /* xor eax, eax; ret */
}

/* --- memory --- */

int fpu_thunk_create(struct fpu *f)
{
    int fd = memfd_create("ringdown-fpu", MFD_CLOEXEC), error;
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, CODE_SIZE) < 0)
        goto fail;
    f->code_rw = place_mapping(CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
    if (f->code_rw == MAP_FAILED) {
        f->code_rw = NULL;
        goto fail;
    }
    f->code_rx = place_mapping(CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd);
    if (f->code_rx == MAP_FAILED) {
        f->code_rx = NULL;
        goto fail;
    }
    f->thunk = calloc(THUNK_COUNT, sizeof f->thunk[0]);
    f->bucket = calloc(BUCKET_COUNT, sizeof f->bucket[0]);
    errno = ENOMEM;
    if (!f->thunk || !f->bucket)
        goto fail;
    close(fd);
    fpu_thunk_flush(f);
    return 0;
fail:
    error = -errno;
    close(fd);
    fpu_thunk_destroy(f);
    return error;
}

void fpu_thunk_destroy(struct fpu *f)
{
    if (f->code_rw)
        munmap(f->code_rw, CODE_SIZE);
    if (f->code_rx)
        munmap(f->code_rx, CODE_SIZE);
    free(f->thunk);
    free(f->bucket);
    f->code_rw = f->code_rx = NULL;
    f->thunk = NULL;
    f->bucket = NULL;
}

void fpu_thunk_flush(struct fpu *f)
{
    static _Atomic uint32_t generations;
    unsigned a, b, c, d;
    do
        f->generation = atomic_fetch_add(&generations, 1) + 1;
    while (!f->generation); /* zero is what a fresh record has */
    f->count = 0;
    memset(f->bucket, 0, BUCKET_COUNT * sizeof f->bucket[0]);
    f->code_rw[EXIT_OFFSET] = 0xc3;
    f->code_used = CODE_START;
    /* Bytes that may have been executed change through another address: serialize (vol. 3, 8.1.3).
     */
    __cpuid(0, a, b, c, d);
}

uint64_t fpu_thunk_base(const struct fpu *f)
{
    return (uint64_t)(uintptr_t)f->code_rx;
}

bool fpu_thunk_owns(const struct fpu *f, uint64_t pc)
{
    return pc - fpu_thunk_base(f) < CODE_SIZE;
}

uint64_t fpu_thunk_exit(const struct fpu *f)
{
    return (uint64_t)(uintptr_t)f->code_rx + EXIT_OFFSET;
}

/* --- making and finding --- */

/* x87 instructions other than control ones move the pointers (vol. 1, 8.1.8). */
static bool moves_pointers(const struct insn *i)
{
    bool fldcw = i->opcode == 0xd9 && i->has_mem && (i->modrm >> 3 & 7) == 5;
    return i->op == OP_X87 && !(i->info->flags & INSN_NO_WAIT) && !fldcw;
}

static uint16_t *bucket_find(struct fpu *f, uint64_t key)
{
    uint64_t hash = key * 0x9e3779b97f4a7c15ull;
    for (uint32_t n = (uint32_t)(hash >> 40);; n++) {
        uint16_t *b = &f->bucket[n % BUCKET_COUNT];
        if (!*b || f->thunk[*b - 1].key == key)
            return b;
    }
}

static void thunk_build(struct fpu *f, struct fpu_thunk *t, const struct insn *i, struct key k,
                        fpu_special_fn *special)
{
    unsigned flags = i->info->flags, common = k.op == OP_MMX ? INSN_MMX : INSN_SSE;
    bool maskmov = implicit_of(k) & IMPLICIT_EDI;
    /* CVTPI2PS from memory does not look at the x87 state; what writes an MMX register does. */
    bool mmx = k.op == OP_MMX || i->opnd[0].kind == OPND_MMX;
    *t = (struct fpu_thunk){.special = special,
                            .key = key_word(k),
                            .size = k.size,
                            .write =
                                i->has_mem && i->opnd[0].kind == OPND_MEM && flags & INSN_WRITES0,
                            .align = flags & INSN_ALIGN16 ? 15 : 0,
                            .track = moves_pointers(i),
                            .waits = i->op == OP_X87 ? !(flags & INSN_NO_WAIT) : mmx,
                            .x87 = i->op == OP_X87,
                            .maskmov = maskmov,
                            .rare = maskmov || !(flags & common)};
    if (special)
        return;
    struct out o = {f->code_rw + f->code_used};
    t->run = (fpu_thunk_fn *)(uintptr_t)(f->code_rx + f->code_used);
    put_thunk(&o, i, k);
    f->code_used = ((size_t)(o.at - f->code_rw) + 15) & ~(size_t)15;
}

const struct fpu_thunk *fpu_thunk_make(struct vcpu *v, const struct insn *i,
                                       fpu_special_fn *special)
{
    int error = v->fpu ? 0 : fpu_create(v);
    if (error) {
        fprintf(stderr, "ringdown: no memory for FPU instructions: %s\n", strerror(-error));
        return NULL;
    }
    struct fpu *f = v->fpu;
    struct key k = key_of(i);
    uint16_t *b = bucket_find(f, key_word(k));
    if (!*b && (f->count == THUNK_COUNT || f->code_used + THUNK_MAX > CODE_SIZE)) {
        fpu_thunk_flush(f);
        b = bucket_find(f, key_word(k));
    }
    if (!*b) {
        thunk_build(f, &f->thunk[f->count], i, k, special);
        *b = (uint16_t)++f->count;
    }
    uint64_t tagged = (uint64_t)f->generation << 32 | (uint32_t)(*b - 1);
    ((struct insn *)(uintptr_t)i)->thunk = (void *)(uintptr_t)tagged;
    return &f->thunk[*b - 1];
}
