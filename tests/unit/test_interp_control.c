/* SPDX-License-Identifier: MIT */
/* test_interp_control.c: near branches, calls and returns, their sizes and limits; LOOP, JCXZ,
 * BOUND. */
#include "interp_guest.h"

TestSuite(interp_control, .init = compare_init, .fini = guest_fini);

/* Where code that says so ends: `taken` or not is told by the address of the HLT that was reached.
 */
static bool taken(const uint8_t *code, uint8_t n, enum way way)
{
    static const uint8_t hlt = 0xf4;
    guest_write(WINDOW_CODE, code, n);
    guest_write(WINDOW_CODE + n, &hlt, 1);
    guest_write(WINDOW_CODE + n + 0x10, &hlt, 1);
    guest->eip = WINDOW_CODE;
    cr_assert_eq(guest_go(way), -1);
    uint32_t at = guest->eip - (way == WAY_RUN);
    cr_assert(at == WINDOW_CODE + n || at == WINDOW_CODE + n + 0x10u, "%s: %x",
              compare_text(code, n), at);
    return at != WINDOW_CODE + n;
}
#define TAKEN(way, ...)                                                                            \
    taken((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), way)

/* SETcc on the host is the reference. */
Test(interp_control, conditions)
{
    for (uint8_t cc = 0; cc < 16; cc++)
        for (unsigned flags = 0; flags < 64; flags++) {
            struct regs r, out;
            compare_random_regs(&r, flags);
            cr_assert(native_run((const uint8_t[]){0x0f, (uint8_t)(0x90 + cc), 0xc0}, 3, &r, &out));
            bool want = out.gpr[R_EAX] & 0xff;
            for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
                guest->eflags = r.eflags;
                cr_assert_eq(TAKEN(way, (uint8_t)(0x70 + cc), 0x10), want, "%x %x", cc, r.eflags);
                guest->eflags = r.eflags;
                cr_assert_eq(TAKEN(way, 0x0f, (uint8_t)(0x80 + cc), 0x10, 0, 0, 0), want);
            }
        }
}

Test(interp_control, counted)
{
    static const struct {
        uint8_t code[3], n;
        uint32_t ecx, left;
        bool zf, taken;
    } cases[] = {
        {{0xe2, 0x10},       2, 2,       1,          false, true },
        {{0xe2, 0x10},       2, 1,       0,          false, false},
        {{0xe2, 0x10},       2, 0,       0xffffffff, false, true },
        {{0x67, 0xe2, 0x10}, 3, 0x10001, 0x10000,    false, false},
        {{0x67, 0xe2, 0x10}, 3, 0x10000, 0x1ffff,    false, true },
        {{0xe1, 0x10},       2, 2,       1,          true,  true },
        {{0xe1, 0x10},       2, 2,       1,          false, false},
        {{0xe0, 0x10},       2, 2,       1,          true,  false},
        {{0xe0, 0x10},       2, 2,       1,          false, true },
        {{0xe0, 0x10},       2, 1,       0,          false, false},
        {{0xe3, 0x10},       2, 0,       0,          false, true },
        {{0xe3, 0x10},       2, 0x10000, 0x10000,    false, false},
        {{0x67, 0xe3, 0x10}, 3, 0x10000, 0x10000,    false, true },
    };
    for (unsigned k = 0; k < sizeof cases / sizeof *cases; k++)
        for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
            guest->eflags = EFL_ONE | (cases[k].zf ? EFL_ZF : 0);
            guest->gpr[R_ECX] = cases[k].ecx;
            cr_assert_eq(taken(cases[k].code, cases[k].n, way), cases[k].taken, "%u", k);
            cr_assert_eq(guest->gpr[R_ECX], cases[k].left, "%u", k);
            cr_assert_eq(guest->eflags & EFL_ARITH, cases[k].zf ? EFL_ZF : 0);
        }
}

Test(interp_control, jumps)
{
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        cr_assert(TAKEN(way, 0xeb, 0x10));
        cr_assert(TAKEN(way, 0xe9, 0x10, 0, 0, 0));
        guest->gpr[R_EDX] = WINDOW_CODE + 2 + 0x10;
        cr_assert(TAKEN(way, 0xff, 0xe2));
        guest->gpr[R_EBX] = WINDOW_DATA;
        *(uint32_t *)guest_ram(WINDOW_DATA + 0x10) = WINDOW_CODE + 3 + 0x10;
        cr_assert(TAKEN(way, 0xff, 0x63, 0x10));
    }
}

Test(interp_control, calls_and_returns)
{
    const uint32_t top = WINDOW_STACK + 0x1000;
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        guest->gpr[R_ESP] = top;
        cr_assert(TAKEN(way, 0xe8, 0x10, 0, 0, 0));
        cr_assert_eq(guest->gpr[R_ESP], top - 4);
        cr_assert_eq(*(uint32_t *)guest_ram(top - 4), WINDOW_CODE + 5);

        guest->gpr[R_EDX] = WINDOW_CODE + 2 + 0x10;
        cr_assert(TAKEN(way, 0xff, 0xd2));
        cr_assert_eq(guest->gpr[R_ESP], top - 8);
        cr_assert_eq(*(uint32_t *)guest_ram(top - 8), WINDOW_CODE + 2);

        /* call [esp+4]: the operand is read before the push */
        *(uint32_t *)guest_ram(top - 4) = WINDOW_CODE + 4 + 0x10;
        cr_assert(TAKEN(way, 0xff, 0x54, 0x24, 0x04));
        cr_assert_eq(guest->gpr[R_ESP], top - 12);

        *(uint32_t *)guest_ram(top - 12) = WINDOW_CODE + 1 + 0x10;
        cr_assert(TAKEN(way, 0xc3));
        cr_assert_eq(guest->gpr[R_ESP], top - 8);
        *(uint32_t *)guest_ram(top - 8) = WINDOW_CODE + 3 + 0x10;
        cr_assert(TAKEN(way, 0xc2, 0x04, 0x80));
        cr_assert_eq(guest->gpr[R_ESP], top + 0x8000);
    }
}

/* A 16-bit operand size cuts EIP; there is nothing at that address here but #PF tells it. */
Test(interp_control, operand_size_16)
{
    guest_map(0x0000, 0);
    guest_segment(SEG_CS, 0, 0xffffffff, SEG_ATTR_CODE | SEG_ATTR_READ | SEG_ATTR_DB | SEG_ATTR_G);
    GUEST_CODE(WINDOW_CODE, 0x66, 0xeb, 0x10);
    guest->eip = WINDOW_CODE;
    cr_assert_eq(guest_go(WAY_STEP), -1);
    cr_assert_eq(guest->eip, (WINDOW_CODE + 3 + 0x10) & 0xffff);
    GUEST_CODE(WINDOW_CODE, 0x66, 0xe8, 0x10, 0x00);
    guest->eip = WINDOW_CODE;
    guest->gpr[R_ESP] = WINDOW_STACK + 0x1000;
    cr_assert_eq(guest_go(WAY_STEP), -1);
    cr_assert_eq(guest->eip, (WINDOW_CODE + 4 + 0x10) & 0xffff);
    cr_assert_eq(guest->gpr[R_ESP], WINDOW_STACK + 0xffe);
}

/* Targets beyond CS's limit are #GP(0) of the branch, with nothing changed. */
Test(interp_control, limits)
{
    static const uint8_t code[][6] = {
        {0xe9, 0,      1, 0, 0},
        {0x74,   0x7f       },
        {0xe8, 0, 1, 0, 0},
        {0xff, 0xe2     },
        {0xff,   0xd2       },
        {0xc3},
        {0xe2, 0x7f  }
    };
    guest_segment(SEG_CS, 0, WINDOW_CODE + 0x3f, SEG_ATTR_CODE | SEG_ATTR_READ | SEG_ATTR_DB);
    for (unsigned k = 0; k < sizeof code / sizeof *code; k++)
        for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
            guest_write(WINDOW_CODE, code[k], 6);
            guest->eip = WINDOW_CODE;
            guest->eflags = EFL_ONE | EFL_ZF;
            guest->gpr[R_ECX] = 5;
            guest->gpr[R_EDX] = WINDOW_CODE + 0x40;
            guest->gpr[R_ESP] = WINDOW_STACK;
            *(uint32_t *)guest_ram(WINDOW_STACK) = WINDOW_CODE + 0x40;
            cr_assert_eq(guest_go(way), VEC_GP, "%u", k);
            cr_assert_eq(guest->exc.error, 0);
            cr_assert_eq(guest->eip, WINDOW_CODE);
            cr_assert_eq(guest->gpr[R_ESP], WINDOW_STACK);
            cr_assert_eq(guest->gpr[R_ECX], 5);
        }
}

Test(interp_control, bound)
{
    for (unsigned k = 0; k < 4; k++) {
        static const int32_t index[] = {-5, 7, -6, 8};
        int32_t bounds[] = {-5, 7};
        guest_write(WINDOW_DATA, bounds, 8);
        GUEST_CODE(WINDOW_CODE, 0x62, 0x03);
        guest->eip = WINDOW_CODE;
        guest->gpr[R_EBX] = WINDOW_DATA;
        guest->gpr[R_EAX] = (uint32_t)index[k];
        cr_assert_eq(guest_go(WAY_STEP), k < 2 ? -1 : VEC_BR);
        cr_assert_eq(guest->eip, WINDOW_CODE + (k < 2 ? 2 : 0));
    }
}
