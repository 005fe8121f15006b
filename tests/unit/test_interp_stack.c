/* SPDX-License-Identifier: MIT */
/* test_interp_stack.c: stack instructions against the host's processor; 16-bit stacks, faults. */
#include "interp_guest.h"

TestSuite(interp_stack, .init = compare_init, .fini = guest_fini);

Test(interp_stack, push_and_pop)
{
    for (uint8_t opc = 0x50; opc < 0x60; opc++) {
        COMPARE(2, opc);
        if (opc != 0x54 && opc != 0x5c) /* with SP the rest of the stub's stack is elsewhere */
            COMPARE(2, 0x66, opc);
    }
    COMPARE(2, 0x66, 0x54);
    COMPARE(2, 0x68, 1, 2, 3, 0x84);
    COMPARE(2, 0x66, 0x68, 1, 0x82);
    COMPARE(2, 0x6a, 0x80);
    COMPARE(2, 0x66, 0x6a, 0x80);
    COMPARE(2, 0xff, 0x73, 0x10);       /* push [ebx+10h] */
    COMPARE(2, 0xff, 0x74, 0x24, 0x08); /* push [esp+8] */
    COMPARE(2, 0x66, 0xff, 0x73, 0x10);
    COMPARE(2, 0xff, 0xf1);
    COMPARE(2, 0x8f, 0x43, 0x10);       /* pop [ebx+10h] */
    COMPARE(2, 0x8f, 0x44, 0x24, 0x08); /* pop [esp+8]: by the new ESP */
    COMPARE(2, 0x66, 0x8f, 0x44, 0x24, 0x08);
    COMPARE(2, 0x8f, 0x04, 0x24);
    COMPARE(2, 0x8f, 0xc1);
}

Test(interp_stack, all_registers)
{
    COMPARE(2, 0x60);
    COMPARE(2, 0x66, 0x60);
    COMPARE(2, 0x61);
    COMPARE(2, 0x66, 0x61);
}

Test(interp_stack, frames)
{
    for (uint8_t level = 0; level < 34; level += level < 4 ? 1 : 7) {
        COMPARE(2, 0xc8, 0x20, 0x01, level);
        COMPARE(2, 0x66, 0xc8, 0x20, 0x01, level);
    }
    COMPARE(2, 0xc9);
    struct regs r;
    compare_random_regs(&r, 0);
    r.gpr[R_EBP] = 0x12345678; /* which half of it is replaced? */
    compare((const uint8_t[]){0xc8, 0x20, 0x01, 0}, 4, &r);
    compare((const uint8_t[]){0x66, 0xc8, 0x20, 0x01, 0}, 5, &r);
    r.gpr[R_EBP] = WINDOW_STACK + 0x800;
    compare((const uint8_t[]){0xc9}, 1, &r);
    compare((const uint8_t[]){0x66, 0xc9}, 2, &r);
}

/* SP moves, the upper half of ESP stays; the stack wraps at 64 KiB. */
Test(interp_stack, stack_16)
{
    guest_segment(SEG_SS, WINDOW_DATA, 0xffff, SEG_ATTR_WRITE);
    guest_map(WINDOW_DATA + 0xf000, (WINDOW_DATA + 0xf000) | PTE_P | PTE_W);
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        GUEST_CODE(WINDOW_CODE, 0x50, 0xf4);
        guest->eip = WINDOW_CODE;
        guest->gpr[R_EAX] = 0x11223344;
        guest->gpr[R_ESP] = 0x77770000;
        cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->gpr[R_ESP], 0x7777fffc);
        cr_assert_eq(*(uint32_t *)guest_ram(WINDOW_DATA + 0xfffc), 0x11223344);

        GUEST_CODE(WINDOW_CODE, 0x5b, 0xf4);
        guest->eip = WINDOW_CODE;
        cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->gpr[R_EBX], 0x11223344);
        cr_assert_eq(guest->gpr[R_ESP], 0x77770000);
    }
}

/* Nothing has changed when the last store faults. */
Test(interp_stack, faults)
{
    static const uint8_t code[][5] = {
        {0x60 },
        {0xc8,  0xf0, 0x00, 0x05},
        {0xc8, 0x00, 0x10, 0x00},
        {0x50    },
        {0xff, 0x33},
        {0xe8}
    };
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++)
        for (unsigned k = 0; k < 6; k++) {
            uint32_t gpr[8] = {1, 2, 3, WINDOW_DATA, WINDOW_STACK + 0x1010, WINDOW_STACK + 0x1100};
            if (k >= 3)
                gpr[R_ESP] = WINDOW_STACK + 0x1000;
            guest_write(WINDOW_CODE, code[k], 5);
            guest_map(WINDOW_STACK, WINDOW_STACK | PTE_P);
            guest->eip = WINDOW_CODE;
            memcpy(guest->gpr, gpr, sizeof gpr);
            cr_assert_eq(guest_go(way), VEC_PF, "%u", k);
            cr_assert_eq(guest->exc.error, PF_P | PF_W);
            cr_assert_eq(memcmp(guest->gpr, gpr, sizeof gpr), 0, "%u", k);
            cr_assert_eq(guest->eip, WINDOW_CODE);
        }
}

/* POP to memory that cannot be written leaves the stack pointer. */
Test(interp_stack, pop_to_read_only)
{
    GUEST_CODE(WINDOW_CODE, 0x8f, 0x44, 0x24, 0x10);
    guest->eip = WINDOW_CODE;
    guest->gpr[R_ESP] = WINDOW_STACK + 0xff0;
    guest_map(WINDOW_STACK + 0x1000, (WINDOW_STACK + 0x1000) | PTE_P);
    cr_assert_eq(guest_go(WAY_STEP), VEC_PF);
    cr_assert_eq(guest->exc.cr2, WINDOW_STACK + 0x1004);
    cr_assert_eq(guest->gpr[R_ESP], WINDOW_STACK + 0xff0);
}
