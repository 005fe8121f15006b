/* SPDX-License-Identifier: MIT */
/* user_code.c: random instructions such as programs have, and bytes such as they do not. */
#include "tests/sysgen/sysgen.h"

/* What stands behind the opcode. */
#define M  1u  /* ModRM */
#define B  2u  /* one byte */
#define Z  4u  /* a word of the operand's size */
#define R  8u  /* the low three bits of the opcode are a register */
#define X0 16u /* preceded by 0F */
#define G  32u /* ModRM.reg is any of `groups` */

static const struct form {
    uint8_t opcode, flags, groups;
} forms[] = {
    {0x00, M,              0   },
    {0x01, M,              0   },
    {0x03, M,              0   },
    {0x09, M,              0   },
    {0x11, M,              0   },
    {0x1b, M,              0   },
    {0x21, M,              0   },
    {0x29, M,              0   },
    {0x2b, M,              0   },
    {0x31, M,              0   },
    {0x39, M,              0   },
    {0x3a, M,              0   },
    {0x84, M,              0   },
    {0x85, M,              0   },
    {0x86, M,              0   },
    {0x87, M,              0   },
    {0x88, M,              0   },
    {0x89, M,              0   },
    {0x8a, M,              0   },
    {0x8b, M,              0   },
    {0x8d, M,              0   },
    {0x05, Z,              0   },
    {0x2d, Z,              0   },
    {0x3d, Z,              0   },
    {0x40, R,              0   },
    {0x48, R,              0   },
    {0x50, R,              0   },
    {0x58, R,              0   },
    {0x90, R,              0   },
    {0xb8, R | Z,          0   },
    {0x68, Z,              0   },
    {0x6a, B,              0   },
    {0x6b, M | B,          0   },
    {0x80, M | B | G,      0xff},
    {0x81, M | Z | G,      0xff},
    {0x83, M | B | G,      0xff},
    {0xc0, M | B | G,      0xff},
    {0xc1, M | B | G,      0xff},
    {0xd1, M | G,          0xff},
    {0xd3, M | G,          0xff},
    {0xc7, M | Z | G,      0x01},
    {0xf6, M | G,          0xfc},
    {0xf7, M | G,          0xfc},
    {0xfe, M | G,          0x03},
    {0xff, M | G,          0x43},
    {0x8f, M | G,          0x01},
    {0x60, 0,              0   },
    {0x61, 0,              0   },
    {0x98, 0,              0   },
    {0x99, 0,              0   },
    {0x9c, 0,              0   },
    {0x9e, 0,              0   },
    {0x9f, 0,              0   },
    {0xa4, 0,              0   },
    {0xa5, 0,              0   },
    {0xaa, 0,              0   },
    {0xab, 0,              0   },
    {0xac, 0,              0   },
    {0xad, 0,              0   },
    {0xd7, 0,              0   },
    {0xf8, 0,              0   },
    {0xf9, 0,              0   },
    {0xfc, 0,              0   },
    {0xfd, 0,              0   },
    {0xc9, 0,              0   },
    {0xd8, M,              0   },
    {0xd9, M,              0   },
    {0xda, M,              0   },
    {0xdb, M,              0   },
    {0xdc, M,              0   },
    {0xdd, M,              0   },
    {0xde, M,              0   },
    {0xdf, M,              0   },
    {0x9b, 0,              0   },
    {0x10, X0 | M,         0   },
    {0x11, X0 | M,         0   },
    {0x28, X0 | M,         0   },
    {0x57, X0 | M,         0   },
    {0x6f, X0 | M,         0   },
    {0x7f, X0 | M,         0   },
    {0xef, X0 | M,         0   },
    {0x77, X0,             0   },
    {0x44, X0 | M,         0   },
    {0x94, X0 | M,         0   },
    {0xa3, X0 | M,         0   },
    {0xab, X0 | M,         0   },
    {0xa4, X0 | M | B,     0   },
    {0xad, X0 | M,         0   },
    {0xaf, X0 | M,         0   },
    {0xb0, X0 | M,         0   },
    {0xb1, X0 | M,         0   },
    {0xb6, X0 | M,         0   },
    {0xbf, X0 | M,         0   },
    {0xba, X0 | M | B | G, 0xf0},
    {0xbc, X0 | M,         0   },
    {0xbd, X0 | M,         0   },
    {0xc0, X0 | M,         0   },
    {0xc1, X0 | M,         0   },
    {0xc7, X0 | M | G,     0x02},
    {0xc8, X0 | R,         0   },
    {0xae, X0 | M | G,     0x0f},
};
#define FORM_COUNT (sizeof forms / sizeof forms[0])

/* An operand: a register, an address, or a register with a displacement. */
static void put_modrm(struct code *c, unsigned reg)
{
    unsigned how = rng_below(&c->r, 8);
    if (how < 3) {
        put8(c, 0xc0 | reg << 3 | rng_below(&c->r, 8));
    } else if (how < 6) {
        uint32_t la = random_data(&c->r);
        put8(c, (c->sample->wide ? 0x05 : 0x06) | reg << 3);
        c->sample->wide ? put32(c, la) : put16(c, la & 0xffff);
    } else {
        static const uint8_t bases[4] = {3, 5, 6, 7};
        put8(c, 0x40 | reg << 3 | bases[rng_below(&c->r, 4)]);
        put8(c, rng_next(&c->r));
    }
}

static void one_instruction(struct code *c)
{
    const struct form *f = &forms[rng_below(&c->r, FORM_COUNT)];
    bool other = !rng_below(&c->r, 6);
    unsigned reg = rng_below(&c->r, 8), opcode = f->opcode;
    if (other)
        put8(c, 0x66);
    if (!rng_below(&c->r, 12))
        put8(c, (const uint8_t[]){0x26, 0x36, 0x2e, 0x64, 0x65, 0xf0}[rng_below(&c->r, 6)]);
    if (f->flags & X0)
        put8(c, 0x0f);
    if (f->flags & R)
        opcode |= reg;
    put8(c, opcode);
    if (f->flags & G)
        while (!(f->groups >> reg & 1))
            reg = rng_below(&c->r, 8);
    if (f->flags & M)
        put_modrm(c, reg);
    if (f->flags & B)
        put8(c, rng_value(&c->r));
    if (f->flags & Z)
        c->sample->wide != other ? put32(c, rng_value(&c->r)) : put16(c, rng_value(&c->r));
}

/* Registers point to where something is, or nearly. */
static void some_pointer(struct code *c)
{
    static const uint8_t regs[5] = {3, 5, 6, 7, 4};
    unsigned reg = regs[rng_below(&c->r, rng_below(&c->r, 8) ? 4 : 5)];
    uint32_t la = random_data(&c->r);
    put_mov(c, reg, c->sample->wide ? la : la & 0xffff);
}

/* A repeated string instruction of few rounds. */
static void some_string(struct code *c)
{
    static const uint8_t moves[6] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad};
    static const uint8_t compares[4] = {0xa6, 0xa7, 0xae, 0xaf};
    /* Short, so that code that is rewritten seldom makes it a count of millions: it would overwrite
     * itself, and what is seen of that depends on when an interrupt comes. */
    PUT(c, "\x31\xc9\xb1"); /* xor ecx, ecx; mov cl, imm8 */
    put8(c, rng_below(&c->r, 40));
    bool compare = c->sample->with_rep && rng_below(&c->r, 2);
    put8(c, compare ? 0xf2 + rng_below(&c->r, 2) : 0xf3);
    put8(c, compare ? compares[rng_below(&c->r, 4)] : moves[rng_below(&c->r, 6)]);
}

/* Within the statement, a few rounds at most. */
static void some_branch(struct code *c)
{
    unsigned start = c->n;
    switch (rng_below(&c->r, 3)) {
    case 0: /* forwards over one instruction */
        put8(c, 0x70 | rng_below(&c->r, 16));
        put8(c, 0);
        one_instruction(c);
        c->bytes[start + 1] = (uint8_t)(c->n - start - 2);
        break;
    case 1:
        put_mov(c, 1, 1 + rng_below(&c->r, 20));
        start = c->n;
        put8(c, 0x40 | rng_below(&c->r, 1)); /* inc eax */
        put8(c, 0xe2);                       /* loop */
        put8(c, start - c->n - 1);
        break;
    default: /* call over a return */
        PUT(c, "\xeb\x01\xc3\xe8");
        c->sample->wide ? put32(c, 0xfffffffau) : put16(c, 0xfffc);
    }
}

void user_code(struct code *c)
{
    unsigned n = 1 + rng_below(&c->r, 4);
    c->kind = "user";
    while (n--) {
        switch (rng_below(&c->r, 8)) {
        case 0:
            some_pointer(c);
            break;
        case 1:
            some_string(c);
            break;
        case 2:
            some_branch(c);
            break;
        default:
            one_instruction(c);
        }
    }
}

/* CLI and HLT, after which nothing may come, and ports, which reset the machine: outside ring 3. */
static bool harmful(uint8_t b)
{
    return b == 0xf4 || b == 0xfa || (b & 0xf4) == 0xe4 || (b & 0xfc) == 0x6c;
}

/* Any bytes, with opcodes that do something being more likely than others; but no repeated
 * comparisons unless they are asked for. */
void crashme_code(struct code *c)
{
    static const uint8_t likely[] = {0x0f, 0x66, 0x67, 0xf0, 0xd9, 0xdd, 0xc5, 0xff,
                                     0x8e, 0xcd, 0x9a, 0xea, 0xcf, 0xe4, 0xee, 0x0f};
    unsigned n = 2 + rng_below(&c->r, SLOT_ROOM - 2);
    c->kind = "crashme";
    while (n--) {
        uint8_t b = (uint8_t)rng_next(&c->r);
        if (!rng_below(&c->r, 5))
            b = likely[rng_below(&c->r, sizeof likely)];
        if ((!c->sample->with_rep && (b == 0xf2 || b == 0xf3)) ||
            (!c->sample->crashme && harmful(b)))
            b = 0x90;
        put8(c, b);
    }
}
