/* SPDX-License-Identifier: MIT */
/* Control-flow workloads: virtual calls and three interpreters of one bytecode program. */
#include "bench.h"

/* ---- vdispatch: virtual calls over a shuffled array of objects ---- */

struct shape;
struct vtable {
    uint32_t (*area)(const struct shape *);
    uint32_t (*grow)(struct shape *, uint32_t);
};
struct shape {
    const struct vtable *vt;
    uint32_t a, b;
};

#define SHAPE(tag, expr, step)                                                                     \
    static NOINLINE uint32_t area_##tag(const struct shape *s)                                     \
    {                                                                                              \
        (void)s;                                                                                   \
        return (expr);                                                                             \
    }                                                                                              \
    static NOINLINE uint32_t grow_##tag(struct shape *s, uint32_t k)                               \
    {                                                                                              \
        s->a += k;                                                                                 \
        s->b ^= (step);                                                                            \
        return s->a;                                                                               \
    }                                                                                              \
    static const struct vtable vt_##tag = {area_##tag, grow_##tag};

SHAPE(box, s->a * s->b, 3)
SHAPE(tri, s->a * s->b / 2, 5)
SHAPE(disc, s->a * s->a * 3, s->a)
SHAPE(line, 0, 1)
SHAPE(ring, (s->a + s->b) * 3, k)
SHAPE(dot, 1, 7)
SHAPE(trap, (s->a + s->b) * s->a / 2, 9)
SHAPE(kite, s->a ^ s->b, k + 1)

#define SHAPES 1024

static struct shape shapes[SHAPES];

static int setup_vdispatch(uint32_t n)
{
    static const struct vtable *const vts[8] = {
        &vt_box, &vt_tri, &vt_disc, &vt_line, &vt_ring, &vt_dot, &vt_trap, &vt_kite,
    };
    uint32_t s = 31337;

    (void)n;
    for (int i = 0; i < SHAPES; i++) {
        shapes[i].vt = vts[xs32(&s) >> 29];
        shapes[i].a = i;
        shapes[i].b = s & 0xff;
    }
    return 0;
}

static uint32_t run_vdispatch(uint32_t n)
{
    uint32_t acc = 0;

    setup_vdispatch(n);
    for (uint32_t r = 0; r < n; r++)
        for (int i = 0; i < SHAPES; i++) {
            struct shape *s = &shapes[i];

            acc += s->vt->area(s);
            acc ^= s->vt->grow(s, r & 3);
        }
    return acc;
}

/* ---- one bytecode program, three interpreters ---- */

enum op {
    OP_LDI,
    OP_MOV,
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_AND,
    OP_XOR,
    OP_SHR,
    OP_JNZ,
    OP_JLT,
    OP_LD,
    OP_ST,
    OP_INC,
    OP_HALT,
    OP_COUNT
};

struct insn {
    uint8_t op, a, b, c;
};

#define J(off) ((uint8_t)(int8_t)(off))

/* Sum of the lengths of Collatz chains of 1..r1-1, with a histogram in memory. */
static const struct insn program[] = {
    {OP_LDI,  0, 1,     0     }, /* 0: i = 1 */
    {OP_LDI,  2, 0,     0     }, /* 1: total = 0 */
    {OP_LDI,  7, 1,     0     }, /* 2: one */
    {OP_MOV,  3, 0,     0     }, /* 3: x = i */
    {OP_LDI,  4, 0,     0     }, /* 4: len = 0 */
    {OP_AND,  5, 3,     7     }, /* 5: odd = x & 1 */
    {OP_JNZ,  5, J(3),  0     }, /* 6: odd -> 9 */
    {OP_SHR,  3, 3,     7     }, /* 7: x >>= 1 */
    {OP_JNZ,  7, J(4),  0     }, /* 8: -> 12 */
    {OP_ADD,  6, 3,     3     }, /* 9 */
    {OP_ADD,  3, 6,     3     }, /* 10 */
    {OP_INC,  3, 0,     0     }, /* 11: x = 3x + 1 */
    {OP_INC,  4, 0,     0     }, /* 12: len++ */
    {OP_SUB,  5, 3,     7     }, /* 13: x - 1 */
    {OP_JNZ,  5, J(-9), 0     }, /* 14: x != 1 -> 5 */
    {OP_ADD,  2, 2,     4     }, /* 15: total += len */
    {OP_LD,   6, 4,     0     }, /* 16: hist[len]++ */
    {OP_INC,  6, 0,     0     }, /* 17 */
    {OP_ST,   6, 4,     0     }, /* 18 */
    {OP_XOR,  2, 2,     6     }, /* 19 */
    {OP_INC,  0, 0,     0     }, /* 20: i++ */
    {OP_JLT,  0, 1,     J(-18)}, /* 21: i < r1 -> 3 */
    {OP_HALT, 0, 0,     0     },
};

struct vm {
    uint32_t r[8];
    uint32_t mem[256];
    const struct insn *pc;
    int running;
};

static struct vm vm;

static void vm_reset(uint32_t limit)
{
    for (int i = 0; i < 8; i++)
        vm.r[i] = 0;
    for (int i = 0; i < 256; i++)
        vm.mem[i] = 0;
    vm.r[1] = limit;
    vm.pc = program;
    vm.running = 1;
}

static NOINLINE uint32_t vm_switch(void)
{
    const struct insn *pc = vm.pc;
    uint32_t *r = vm.r;

    for (;;) {
        struct insn i = *pc++;

        switch ((enum op)i.op) {
        case OP_LDI:
            r[i.a] = i.b;
            break;
        case OP_MOV:
            r[i.a] = r[i.b];
            break;
        case OP_ADD:
            r[i.a] = r[i.b] + r[i.c];
            break;
        case OP_SUB:
            r[i.a] = r[i.b] - r[i.c];
            break;
        case OP_MUL:
            r[i.a] = r[i.b] * r[i.c];
            break;
        case OP_AND:
            r[i.a] = r[i.b] & r[i.c];
            break;
        case OP_XOR:
            r[i.a] = r[i.b] ^ r[i.c];
            break;
        case OP_SHR:
            r[i.a] = r[i.b] >> (r[i.c] & 31);
            break;
        case OP_JNZ:
            if (r[i.a])
                pc += (int8_t)i.b - 1;
            break;
        case OP_JLT:
            if (r[i.a] < r[i.b])
                pc += (int8_t)i.c - 1;
            break;
        case OP_LD:
            r[i.a] = vm.mem[r[i.b] & 255];
            break;
        case OP_ST:
            vm.mem[r[i.b] & 255] = r[i.a];
            break;
        case OP_INC:
            r[i.a]++;
            break;
        case OP_HALT:
            return r[2];
        default:
            return 0;
        }
    }
}

static NOINLINE uint32_t vm_goto(void)
{
    static const void *const lab[OP_COUNT] = {
        &&ldi, &&mov, &&add, &&sub, &&mul, &&and, &&xor,
        &&shr, &&jnz, &&jlt, &&ld,  &&st,  &&inc, &&halt,
    };
    const struct insn *pc = vm.pc;
    uint32_t *r = vm.r;
    struct insn i;

/* the marker keeps the compiler from folding the dispatches into one */
#define NEXT                                                                                       \
    do {                                                                                           \
        __asm__ volatile("" : : "i"(__COUNTER__));                                                 \
        i = *pc++;                                                                                 \
        goto *lab[i.op];                                                                           \
    } while (0)
    NEXT;
ldi:
    r[i.a] = i.b;
    NEXT;
mov:
    r[i.a] = r[i.b];
    NEXT;
add:
    r[i.a] = r[i.b] + r[i.c];
    NEXT;
sub:
    r[i.a] = r[i.b] - r[i.c];
    NEXT;
mul:
    r[i.a] = r[i.b] * r[i.c];
    NEXT;
    and : r[i.a] = r[i.b] & r[i.c];
    NEXT;
    xor : r[i.a] = r[i.b] ^ r[i.c];
    NEXT;
shr:
    r[i.a] = r[i.b] >> (r[i.c] & 31);
    NEXT;
jnz:
    if (r[i.a])
        pc += (int8_t)i.b - 1;
    NEXT;
jlt:
    if (r[i.a] < r[i.b])
        pc += (int8_t)i.c - 1;
    NEXT;
ld:
    r[i.a] = vm.mem[r[i.b] & 255];
    NEXT;
st:
    vm.mem[r[i.b] & 255] = r[i.a];
    NEXT;
inc:
    r[i.a]++;
    NEXT;
halt:
    return r[2];
#undef NEXT
}

#define H(name, body)                                                                              \
    static NOINLINE void h_##name(struct insn i)                                                   \
    {                                                                                              \
        uint32_t *r = vm.r;                                                                        \
        (void)r;                                                                                   \
        (void)i;                                                                                   \
        body;                                                                                      \
    }
H(ldi, r[i.a] = i.b)
H(mov, r[i.a] = r[i.b])
H(add, r[i.a] = r[i.b] + r[i.c])
H(sub, r[i.a] = r[i.b] - r[i.c])
H(mul, r[i.a] = r[i.b] * r[i.c])
H(and, r[i.a] = r[i.b] & r[i.c])
H(xor, r[i.a] = r[i.b] ^ r[i.c])
H(shr, r[i.a] = r[i.b] >> (r[i.c] & 31))
H(jnz, if (r[i.a]) vm.pc += (int8_t)i.b - 1)
H(jlt, if (r[i.a] < r[i.b]) vm.pc += (int8_t)i.c - 1)
H(ld, r[i.a] = vm.mem[r[i.b] & 255])
H(st, vm.mem[r[i.b] & 255] = r[i.a])
H(inc, r[i.a]++)
H(halt, vm.running = 0)

static NOINLINE uint32_t vm_fptr(void)
{
    static void (*const handler[OP_COUNT])(struct insn) = {
        h_ldi, h_mov, h_add, h_sub, h_mul, h_and, h_xor,
        h_shr, h_jnz, h_jlt, h_ld,  h_st,  h_inc, h_halt,
    };

    while (vm.running) {
        struct insn i = *vm.pc++;

        handler[i.op](i);
    }
    return vm.r[2];
}

static uint32_t run_vm(uint32_t n, uint32_t (*interp)(void))
{
    uint32_t acc = 0;

    while (n--) {
        vm_reset(1000); /* about 0.49 million bytecodes a pass */
        acc = acc * 3 + interp();
    }
    return acc;
}

static uint32_t run_switchvm(uint32_t n)
{
    return run_vm(n, vm_switch);
}
static uint32_t run_gotovm(uint32_t n)
{
    return run_vm(n, vm_goto);
}
static uint32_t run_fptrvm(uint32_t n)
{
    return run_vm(n, vm_fptr);
}

const struct bench call_benches[] = {
    {"vdispatch",      "2048 virtual calls", 30000, run_vdispatch, setup_vdispatch, NULL, 0},
    {"switchvm",           "collatz<1000 pass", 400, run_switchvm, NULL, NULL, 0},
    {"gotovm", "collatz<1000 pass", 400, run_gotovm, NULL, NULL, 0},
    {"fptrvm",               "collatz<1000 pass", 200, run_fptrvm, NULL, NULL, 0},
    {0      }
};
