/* SPDX-License-Identifier: MIT */
/* test_interp_alu.c: integer instructions against the host's processor: registers, memory, all
 * flags, those that the manual leaves undefined too. */
#include "interp_guest.h"

#include "tests/lib/host_judge.h"

#include <cpuid.h>

TestSuite(interp_alu, .init = compare_init, .fini = guest_fini);

#define ROUNDS 24

/* An instruction with a ModRM byte: as EAX, ECX, AH, [EBX+10h], [EBX+ff], [disp32], [EBP-10h], and
 * with ESI as base and EBX * 4 as index. */
static void with_modrm(const uint8_t *opcode, size_t n, unsigned reg, const uint8_t *imm,
                       size_t n_imm, bool reg_form, bool mem_form)
{
    static const struct {
        uint8_t length, bytes[6];
    } forms[] = {
        {1, {0xc0}                              },
        {1, {0xc1}                              },
        {1, {0xc4}                              },
        {2, {0x43, 0x10}                        },
        {5, {0x83, 0xff}                        },
        {5, {0x05, 0x00, 0x44, 0x20, 0x00}      },
        {2, {0x45, 0xf0}                        },
        {6, {0x84, 0x9e, 0x00, 0xc2, 0x7e, 0xff}},
    };
    for (unsigned f = 0; f < sizeof forms / sizeof *forms; f++) {
        uint8_t code[15];
        if (!(f < 3 ? reg_form : mem_form))
            continue;
        memcpy(code, opcode, n);
        memcpy(code + n, forms[f].bytes, forms[f].length);
        code[n] |= (uint8_t)(reg << 3);
        memcpy(code + n + forms[f].length, imm, n_imm);
        compare_rounds(code, n + forms[f].length + n_imm, ROUNDS);
    }
}
#define MODRM(reg, imm, n_imm, ...)                                                                \
    with_modrm((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), reg, imm,   \
               n_imm, true, true)
#define MODRM_MEM(reg, imm, n_imm, ...)                                                            \
    with_modrm((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), reg, imm,   \
               n_imm, false, true)
static const uint8_t no_imm[1];

Test(interp_alu, binary)
{
    for (unsigned op = 0; op < 8; op++) {
        uint8_t base = (uint8_t)(op << 3);
        for (unsigned reg = 0; reg < 3; reg++) {
            MODRM(reg, no_imm, 0, base);
            MODRM(reg, no_imm, 0, (uint8_t)(base + 1));
            MODRM(reg, no_imm, 0, 0x66, (uint8_t)(base + 1));
            MODRM(reg, no_imm, 0, (uint8_t)(base + 2));
            MODRM(reg, no_imm, 0, (uint8_t)(base + 3));
            MODRM(reg, no_imm, 0, 0x66, (uint8_t)(base + 3));
        }
        COMPARE(ROUNDS, (uint8_t)(base + 4), 0x80);
        COMPARE(ROUNDS, (uint8_t)(base + 5), 0xff, 0xff, 0xff, 0x7f);
        COMPARE(ROUNDS, 0x66, (uint8_t)(base + 5), 0xff, 0x7f);
    }
}

Test(interp_alu, binary_immediate)
{
    static const uint8_t imm[][4] = {
        {0x7f, 0,    0,    0   },
        {0x80, 0xff, 0xff, 0xff},
        {1,    0,    0,    0x80}
    };
    for (unsigned op = 0; op < 8; op++)
        for (unsigned k = 0; k < 3; k++) {
            MODRM(op, imm[k], 1, 0x80);
            MODRM(op, imm[k], 4, 0x81);
            MODRM(op, imm[k], 2, 0x66, 0x81);
            MODRM(op, imm[k], 1, 0x82);
            MODRM(op, imm[k], 1, 0x83);
            MODRM(op, imm[k], 1, 0x66, 0x83);
        }
}

Test(interp_alu, test_and_unary)
{
    static const uint8_t imm[4] = {0x81, 0x7f, 0, 0x80};
    for (unsigned reg = 0; reg < 3; reg++) {
        MODRM(reg, no_imm, 0, 0x84);
        MODRM(reg, no_imm, 0, 0x85);
        MODRM(reg, no_imm, 0, 0x66, 0x85);
    }
    COMPARE(ROUNDS, 0xa8, 0x81);
    COMPARE(ROUNDS, 0xa9, 1, 2, 3, 0x84);
    for (unsigned op = 0; op < 8; op++) {
        MODRM(op, imm, op < 2 ? 1 : 0, 0xf6);
        MODRM(op, imm, op < 2 ? 4 : 0, 0xf7);
        MODRM(op, imm, op < 2 ? 2 : 0, 0x66, 0xf7);
    }
    for (unsigned op = 0; op < 2; op++) {
        MODRM(op, no_imm, 0, 0xfe);
        MODRM(op, no_imm, 0, 0xff);
        MODRM(op, no_imm, 0, 0x66, 0xff);
    }
    for (uint8_t opc = 0x40; opc < 0x50; opc++) {
        COMPARE(ROUNDS, opc);
        COMPARE(ROUNDS, 0x66, opc);
    }
}

/* Divisions with small dividends, so that quotients fit; and the extremes. */
Test(interp_alu, division)
{
    static const uint32_t values[] = {
        0,      1,      2,      3,          7,          0x7f,       0x80,       0xff,
        0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0xffffff80};
    static const uint8_t code[][3] = {
        {0xf6,  0xf1},
        {0x66,  0xf7, 0xf1},
        {0xf7,     0xf1     },
        {0xf6,     0xf9},
        {0x66,     0xf7,      0xf9},
        {0xf7, 0xf9}
    };
    static const uint8_t length[] = {2, 3, 2, 2, 3, 2};
    struct regs r;
    compare_random_regs(&r, 0x2a);
    for (unsigned op = 0; op < 6; op++)
        for (unsigned a = 0; a < 16; a++)
            for (unsigned d = 0; d < 16; d += 5)
                for (unsigned c = 0; c < 16; c += 2) {
                    r.gpr[R_EAX] = values[a];
                    r.gpr[R_EDX] = values[d];
                    r.gpr[R_ECX] = values[c ^ (a & 1)];
                    compare(code[op], length[op], &r);
                }
}

Test(interp_alu, shifts)
{
    static const uint8_t counts[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 0xff};
    for (unsigned op = 0; op < 8; op++) {
        for (unsigned k = 0; k < sizeof counts; k++) {
            COMPARE(16, 0xc0, (uint8_t)(0xc0 | op << 3), counts[k]);
            COMPARE(16, 0xc1, (uint8_t)(0xc0 | op << 3), counts[k]);
            COMPARE(16, 0x66, 0xc1, (uint8_t)(0xc0 | op << 3), counts[k]);
            MODRM_MEM(op, &counts[k], 1, 0xc1);
        }
        MODRM(op, no_imm, 0, 0xd0);
        MODRM(op, no_imm, 0, 0xd1);
        MODRM(op, no_imm, 0, 0x66, 0xd1);
        for (unsigned k = 0; k < 4; k++) {
            MODRM(op, no_imm, 0, 0xd2);
            MODRM(op, no_imm, 0, 0xd3);
            MODRM(op, no_imm, 0, 0x66, 0xd3);
        }
    }
}

Test(interp_alu, double_shifts)
{
    static const uint8_t counts[] = {0, 1, 8, 15, 16, 17, 31, 32, 0xff};
    for (uint8_t opc = 0xa4; opc <= 0xac; opc += 8)
        for (unsigned k = 0; k < sizeof counts; k++) {
            MODRM(R_EDX, &counts[k], 1, 0x0f, opc);
            MODRM(R_EDX, &counts[k], 1, 0x66, 0x0f, opc);
            MODRM(R_EDX, no_imm, 0, 0x0f, (uint8_t)(opc + 1));
            MODRM(R_EDX, no_imm, 0, 0x66, 0x0f, (uint8_t)(opc + 1));
        }
}

Test(interp_alu, bits)
{
    static const uint8_t imm[] = {0, 1, 15, 16, 31, 32, 0xff};
    for (uint8_t ext = 4; ext < 8; ext++)
        for (unsigned k = 0; k < sizeof imm; k++) {
            MODRM(ext, &imm[k], 1, 0x0f, 0xba);
            MODRM(ext, &imm[k], 1, 0x66, 0x0f, 0xba);
        }
    for (uint8_t opc = 0xa3; opc <= 0xbb; opc += 8) {
        COMPARE(ROUNDS, 0x0f, opc, 0xc8);
        COMPARE(ROUNDS, 0x66, 0x0f, opc, 0xd0);
        for (unsigned k = 0; k < ROUNDS; k++) { /* bit numbers that reach around the operand */
            struct regs r;
            compare_random_regs(&r, k);
            r.gpr[R_EBX] = WINDOW_DATA + 0x2000;
            r.gpr[R_EAX] = random32() % 0x6000 - 0x3000;
            compare((const uint8_t[]){0x0f, opc, 0x43, 0x04}, 4, &r);
            compare((const uint8_t[]){0x66, 0x0f, opc, 0x43, 0x04}, 5, &r);
        }
    }
    for (uint8_t opc = 0xbc; opc <= 0xbd; opc++) {
        MODRM(R_ECX, no_imm, 0, 0x0f, opc);
        MODRM(R_ECX, no_imm, 0, 0x66, 0x0f, opc);
    }
    for (uint8_t reg = 0; reg < 4; reg++) {
        COMPARE(ROUNDS, 0x0f, (uint8_t)(0xc8 + reg));
        COMPARE(ROUNDS, 0x66, 0x0f, (uint8_t)(0xc8 + reg));
    }
}

/* Extensions, as far as the host has them. */
Test(interp_alu, extensions)
{
    if (__builtin_cpu_supports("popcnt")) {
        MODRM(R_EDX, no_imm, 0, 0xf3, 0x0f, 0xb8);
        MODRM(R_EDX, no_imm, 0, 0x66, 0xf3, 0x0f, 0xb8);
    }
    if (__builtin_cpu_supports("sse4.2")) {
        MODRM(R_EDX, no_imm, 0, 0xf2, 0x0f, 0x38, 0xf0);
        MODRM(R_EDX, no_imm, 0, 0xf2, 0x0f, 0x38, 0xf1);
        MODRM(R_EDX, no_imm, 0, 0x66, 0xf2, 0x0f, 0x38, 0xf1);
    }
    unsigned eax, ebx, ecx = 0, edx;
    __get_cpuid(1, &eax, &ebx, &ecx, &edx);
    if (ecx & bit_MOVBE)
        for (uint8_t opc = 0xf0; opc <= 0xf1; opc++) {
            MODRM_MEM(R_EDX, no_imm, 0, 0x0f, 0x38, opc);
            MODRM_MEM(R_EDX, no_imm, 0, 0x66, 0x0f, 0x38, opc);
        }
    GUEST_CODE(WINDOW_CODE, 0x0f, 0xc7, 0xf0); /* rdrand eax */
    guest->eip = WINDOW_CODE;
    guest->eflags = EFL_ONE | EFL_ZF | EFL_OF;
    cr_assert_eq(guest_go(WAY_STEP), -1);
    cr_assert_eq(guest->eflags, EFL_ONE | EFL_CF);
}

Test(interp_alu, multiply)
{
    static const uint8_t imm[4] = {0x85, 0xff, 0xff, 0x7f};
    MODRM(R_EDX, no_imm, 0, 0x0f, 0xaf);
    MODRM(R_EDX, no_imm, 0, 0x66, 0x0f, 0xaf);
    MODRM(R_EDX, imm, 4, 0x69);
    MODRM(R_EDX, imm, 2, 0x66, 0x69);
    MODRM(R_EDX, imm, 1, 0x6b);
    MODRM(R_EDX, imm, 1, 0x66, 0x6b);
}

Test(interp_alu, exchange)
{
    static const uint8_t two[] = {0x87, 0xc1, 0xb1};
    MODRM(R_EDX, no_imm, 0, 0x86);
    MODRM(R_EDX, no_imm, 0, 0x87);
    MODRM(R_EDX, no_imm, 0, 0x66, 0x87);
    for (unsigned k = 1; k < 3; k++) {
        MODRM(R_EDX, no_imm, 0, 0x0f, (uint8_t)(two[k] - 1));
        MODRM(R_EDX, no_imm, 0, 0x0f, two[k]);
        MODRM(R_EDX, no_imm, 0, 0x66, 0x0f, two[k]);
        MODRM_MEM(R_EDX, no_imm, 0, 0xf0, 0x0f, two[k]);
    }
    for (uint8_t opc = 0x91; opc < 0x98; opc++)
        if (opc != 0x94) {
            COMPARE(ROUNDS, opc);
            COMPARE(ROUNDS, 0x66, opc);
        }
    MODRM_MEM(1, no_imm, 0, 0x0f, 0xc7);
    /* The comparison succeeds. */
    for (unsigned k = 0; k < ROUNDS; k++) {
        struct regs r;
        compare_random_regs(&r, k);
        memcpy(&r.gpr[R_EAX], compare_before + 0x1110, 4);
        memcpy(&r.gpr[R_EDX], compare_before + 0x1114, 4);
        compare((const uint8_t[]){0x0f, 0xc7, 0x4b, 0x10}, 4, &r);
        compare((const uint8_t[]){0x0f, 0xb1, 0x4b, 0x10}, 4, &r);
        compare((const uint8_t[]){0x0f, 0xb0, 0x4b, 0x10}, 4, &r);
    }
}

Test(interp_alu, moves)
{
    static const uint8_t imm[4] = {1, 2, 3, 4};
    for (uint8_t opc = 0x88; opc < 0x8c; opc++) {
        MODRM(R_EDX, no_imm, 0, opc);
        MODRM(R_EDX, no_imm, 0, 0x66, opc);
        MODRM(6, no_imm, 0, 0x88); /* DH */
    }
    MODRM(0, imm, 1, 0xc6);
    MODRM(0, imm, 4, 0xc7);
    MODRM(0, imm, 2, 0x66, 0xc7);
    for (uint8_t reg = 0; reg < 8; reg++) {
        COMPARE(1, (uint8_t)(0xb0 + reg), 0x99);
        if (reg != R_ESP)
            COMPARE(1, (uint8_t)(0xb8 + reg), 0x99, 1, 2, 3);
        COMPARE(1, 0x66, (uint8_t)(0xb8 + reg), 0x99, 1);
    }
    for (uint8_t opc = 0xa0; opc < 0xa4; opc++)
        COMPARE(2, opc, 0x02, 0x44, 0x20, 0x00);
    for (uint8_t opc = 0xb6; opc <= 0xbe; opc += 8) {
        MODRM(R_EDX, no_imm, 0, 0x0f, opc);
        MODRM(R_EDX, no_imm, 0, 0x66, 0x0f, opc);
        MODRM(R_EDX, no_imm, 0, 0x0f, (uint8_t)(opc + 1));
        MODRM(R_EDX, no_imm, 0, 0x66, 0x0f, (uint8_t)(opc + 1));
    }
    COMPARE(4, 0x8d, 0x44, 0x4b, 0x12);       /* lea eax, [ebx+ecx*2+12h] */
    COMPARE(4, 0x66, 0x8d, 0x44, 0x4b, 0x12); /* lea ax, ... */
    COMPARE(4, 0x67, 0x8d, 0x40, 0x12);       /* lea eax, [bx+si+12h] */
    COMPARE(4, 0x8d, 0x14, 0x8d, 0x78, 0x56, 0x34, 0x12);
    COMPARE(4, 0x8b, 0x54, 0x33, 0x00); /* leaves the window */
}

Test(interp_alu, conditions)
{
    for (uint8_t cc = 0; cc < 16; cc++) {
        for (unsigned flags = 0; flags < 64; flags++) {
            struct regs r;
            compare_random_regs(&r, flags);
            compare((const uint8_t[]){0x0f, (uint8_t)(0x90 + cc), 0xc0}, 3, &r);
            compare((const uint8_t[]){0x0f, (uint8_t)(0x90 + cc), 0x43, 0x10}, 4, &r);
            compare((const uint8_t[]){0x0f, (uint8_t)(0x40 + cc), 0xc2}, 3, &r);
            compare((const uint8_t[]){0x66, 0x0f, (uint8_t)(0x40 + cc), 0x43, 0x10}, 5, &r);
            compare((const uint8_t[]){0x0f, (uint8_t)(0x40 + cc), 0x4b, 0x10}, 4, &r);
        }
    }
}

Test(interp_alu, conversions_and_flag_bits)
{
    static const uint8_t plain[] = {0x98, 0x99, 0x9e, 0x9f, 0xf5, 0xf8,
                                    0xf9, 0xfc, 0xfd, 0xd6, 0x90};
    for (unsigned k = 0; k < sizeof plain; k++) {
        COMPARE(64, plain[k]);
        COMPARE(64, 0x66, plain[k]);
    }
    for (unsigned k = 0; k < 64; k++) {
        struct regs r;
        compare_random_regs(&r, k);
        r.gpr[R_EBX] = WINDOW_DATA;
        compare((const uint8_t[]){0xd7}, 1, &r);
    }
}

/* All 256 values of AL with all values of AF and CF. */
Test(interp_alu, decimal)
{
    static const struct {
        uint8_t opcode;
        uint32_t undefined; /* SDM vol. 2 */
    } plain[] = {
        {0x27, EFL_OF                           },
        {0x2f, EFL_OF                           },
        {0x37, EFL_OF | EFL_SF | EFL_ZF | EFL_PF},
        {0x3f, EFL_OF | EFL_SF | EFL_ZF | EFL_PF}
    };
    for (unsigned al = 0; al < 256; al += 3)
        for (unsigned flags = 0; flags < 64; flags += 5) {
            struct regs r;
            compare_random_regs(&r, flags);
            r.gpr[R_EAX] = (r.gpr[R_EAX] & ~0xffu) | al;
            for (unsigned k = 0; k < 4; k++) {
                compare_not = host_judges(HOST_DECIMAL_FLAGS) ? 0 : plain[k].undefined;
                compare(&plain[k].opcode, 1, &r);
            }
            compare_not = 0;
            compare((const uint8_t[]){0xd4, 10}, 2, &r);
            compare((const uint8_t[]){0xd5, 10}, 2, &r);
            compare((const uint8_t[]){0xd4, (uint8_t)al}, 2, &r);
            compare((const uint8_t[]){0xd5, (uint8_t)al}, 2, &r);
        }
    host_tell_unjudged(stderr);
}
