/* SPDX-License-Identifier: MIT */
/* test_interp_string.c: string instructions against the host's processor, and what the host cannot
 * show: 16-bit addresses, faults and requests half-way. */
#include "interp_guest.h"

TestSuite(interp_string, .init = compare_init, .fini = guest_fini);

/* All string operations but INS and OUTS, with one prefix or none. */
static void all_forms(const struct regs *r)
{
    static const uint8_t ops[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    static const uint8_t prefixes[] = {0, 0xf3, 0xf2};
    for (unsigned p = 0; p < 3; p++)
        for (unsigned k = 0; k < sizeof ops; k++) {
            uint8_t code[3] = {prefixes[p], 0x66, ops[k]};
            if (p)
                compare(code, 3, r);
            else
                compare(code + 1, 2, r);
            code[1] = prefixes[p];
            compare(code + (p ? 1 : 2), p ? 2 : 1, r);
        }
}

static struct regs string_regs(uint32_t esi, uint32_t edi, uint32_t ecx, bool down)
{
    struct regs r;
    compare_random_regs(&r, random32());
    r.gpr[R_ESI] = esi;
    r.gpr[R_EDI] = edi;
    r.gpr[R_ECX] = ecx;
    r.eflags |= down ? EFL_DF : 0;
    return r;
}

Test(interp_string, host_forms)
{
    static const uint32_t counts[] = {0, 1, 2, 3, 7, 100, 700};
    for (unsigned down = 0; down < 2; down++)
        for (unsigned k = 0; k < sizeof counts / sizeof *counts; k++) {
            uint32_t start = WINDOW_DATA + (down ? 0x1c00 : 0x1000);
            struct regs r = string_regs(start, start + 0x1357, counts[k], down);
            all_forms(&r);
            r = string_regs(start + 1, start - 0x400, counts[k], down);
            all_forms(&r);
        }
}

/* Overlapping moves repeat what they have written. */
Test(interp_string, overlap)
{
    for (unsigned down = 0; down < 2; down++)
        for (int distance = -9; distance < 10; distance++) {
            uint32_t start = WINDOW_DATA + 0x1f00;
            struct regs r = string_regs(start, start + (uint32_t)distance, 150, down);
            all_forms(&r);
        }
}

/* Compares that stop early, late, and not at all. */
Test(interp_string, compares)
{
    for (uint32_t at = 0; at < 40; at += 3) {
        memset(compare_before + 0x1000, 0x5a, 0x40);
        memset(compare_before + 0x1ff0, 0x5a, 0x40);
        compare_before[0x1000 + at] = 0x5b;
        struct regs r = string_regs(WINDOW_DATA + 0x1000, WINDOW_DATA + 0x1ff0, 8, false);
        r.gpr[R_EAX] = 0x5a5a5a5a;
        all_forms(&r);
        r.gpr[R_ECX] = 30;
        all_forms(&r);
        r.gpr[R_EAX] = 0x5a5a5a5b;
        r.gpr[R_EDI] = WINDOW_DATA + 0x1000;
        all_forms(&r);
    }
}

static void start(uint32_t esi, uint32_t edi, uint32_t ecx)
{
    guest_write(WINDOW_MEMORY, compare_before, WINDOW_MEMORY_SIZE);
    guest->eip = WINDOW_CODE;
    guest->eflags = EFL_ONE;
    guest->gpr[R_EAX] = 0x11223344;
    guest->gpr[R_ESI] = esi;
    guest->gpr[R_EDI] = edi;
    guest->gpr[R_ECX] = ecx;
}

/* A page that is missing ends the instruction after what came before it. */
Test(interp_string, fault_in_the_middle)
{
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        start(WINDOW_DATA + 0xffd, WINDOW_DATA + 0x2000, 100);
        guest_map(WINDOW_DATA + 0x1000, 0);
        GUEST_CODE(WINDOW_CODE, 0xf3, 0xa5, 0xf4); /* rep movsd */
        cr_assert_eq(guest_go(way), VEC_PF);
        cr_assert_eq(guest->exc.cr2, WINDOW_DATA + 0x1000);
        cr_assert_eq(guest->eip, WINDOW_CODE);
        cr_assert_eq(guest->gpr[R_ESI], WINDOW_DATA + 0xffd);
        cr_assert_eq(guest->gpr[R_ECX], 100);

        start(WINDOW_DATA + 0xff0, WINDOW_DATA + 0x2001, 100);
        cr_assert_eq(guest_go(way), VEC_PF);
        cr_assert_eq(guest->gpr[R_ESI], WINDOW_DATA + 0x1000);
        cr_assert_eq(guest->gpr[R_EDI], WINDOW_DATA + 0x2011);
        cr_assert_eq(guest->gpr[R_ECX], 96);
        cr_assert_eq(memcmp(guest_ram(WINDOW_DATA + 0x2001), compare_before + 0xff0, 16), 0);
        cr_assert_eq(guest_ram(WINDOW_DATA + 0x2011)[0], compare_before[0x2011]);
        guest_map(WINDOW_DATA + 0x1000, (WINDOW_DATA + 0x1000) | PTE_P | PTE_W | PTE_U);
        cr_assert_eq(guest_go(WAY_STEP), -1);
        cr_assert_eq(guest->gpr[R_ECX], 0);
        cr_assert_eq(memcmp(guest_ram(WINDOW_DATA + 0x2001), compare_before + 0xff0, 400), 0);
    }
}

/* A fault takes back the flags of the iterations before it. */
Test(interp_string, fault_keeps_flags)
{
    start(WINDOW_DATA + 0xff0, WINDOW_DATA + 0x2000, 100);
    memset(guest_ram(WINDOW_DATA + 0xff0), 0, 16);
    memset(guest_ram(WINDOW_DATA + 0x2000), 0, 16);
    guest->eflags |= EFL_CF | EFL_SF;
    guest_map(WINDOW_DATA + 0x1000, 0);
    GUEST_CODE(WINDOW_CODE, 0xf3, 0xa6); /* repe cmpsb */
    cr_assert_eq(guest_go(WAY_STEP), VEC_PF);
    cr_assert_eq(guest->eflags, EFL_ONE | EFL_CF | EFL_SF);
    cr_assert_eq(guest->gpr[R_ECX], 84);
}

/* With a request pending the instruction is left in good order, and makes progress each time. */
Test(interp_string, requests)
{
    start(WINDOW_DATA + 0x123, WINDOW_DATA + 0x2000, 0x1800);
    GUEST_CODE(WINDOW_CODE, 0xf3, 0xa4, 0x90); /* rep movsb */
    guest->request = VCPU_REQ_EVENT;
    unsigned steps = 0;
    uint64_t retired = guest->retired;
    while (guest->eip == WINDOW_CODE) {
        uint32_t before = guest->gpr[R_ECX];
        cr_assert_eq(guest_go(WAY_STEP), -1);
        cr_assert_lt(guest->gpr[R_ECX], before);
        cr_assert_eq(guest->gpr[R_ESI] - WINDOW_DATA - 0x123, 0x1800 - guest->gpr[R_ECX]);
        steps++;
    }
    cr_assert_gt(steps, 1);
    cr_assert_eq(guest->eip, WINDOW_CODE + 2);
    cr_assert_eq(guest->retired - retired, 1);
    cr_assert_eq(memcmp(guest_ram(WINDOW_DATA + 0x2000), compare_before + 0x123, 0x1800), 0);
    guest->request = 0;
}

/* 16-bit addresses wrap and leave the upper halves alone. */
Test(interp_string, addresses_16)
{
    guest_segment(SEG_DS, WINDOW_DATA - 0xf000, 0xffff, SEG_ATTR_WRITE);
    guest_segment(SEG_ES, WINDOW_DATA + 0x2000 - 0xf000, 0xffff, SEG_ATTR_WRITE);
    start(0xaaaaf010, 0xbbbbf020, 0xcccc0008);
    GUEST_CODE(WINDOW_CODE, 0x67, 0xf3, 0xa5);
    cr_assert_eq(guest_go(WAY_STEP), -1);
    cr_assert_eq(guest->gpr[R_ESI], 0xaaaaf030);
    cr_assert_eq(guest->gpr[R_EDI], 0xbbbbf040);
    cr_assert_eq(guest->gpr[R_ECX], 0xcccc0000);
    cr_assert_eq(memcmp(guest_ram(WINDOW_DATA + 0x2020), compare_before + 0x10, 32), 0);

    /* Up to the end of the segment, and on at its beginning. */
    guest_segment(SEG_ES, WINDOW_DATA, 0xffff, SEG_ATTR_WRITE);
    start(0, 0xbbbbfffe, 0xcccc0004);
    GUEST_CODE(WINDOW_CODE, 0x67, 0xf3, 0xaa);
    guest_map(WINDOW_DATA + 0xf000, (WINDOW_DATA + 0xf000) | PTE_P | PTE_W);
    cr_assert_eq(guest_go(WAY_STEP), -1);
    cr_assert_eq(guest->gpr[R_EDI], 0xbbbb0002);
    cr_assert_eq(guest_ram(WINDOW_DATA)[1], 0x44);
    cr_assert_eq(guest_ram(WINDOW_DATA + 0xffff)[0], 0x44);
}

/* Only the source's segment can be another; a limit stops both. */
Test(interp_string, segments)
{
    guest_segment(SEG_FS, WINDOW_DATA + 0x1000, 0xfff, SEG_ATTR_WRITE | SEG_ATTR_DB);
    start(0x20, WINDOW_DATA, 0x1000);
    GUEST_CODE(WINDOW_CODE, 0x64, 0xf3, 0xa4); /* rep movsb, fs: */
    cr_assert_eq(guest_go(WAY_STEP), VEC_GP);
    cr_assert_eq(guest->gpr[R_ESI], 0x1000);
    cr_assert_eq(guest->gpr[R_ECX], 0x20);
    cr_assert_eq(memcmp(guest_ram(WINDOW_DATA), compare_before + 0x1020, 0xfe0), 0);
}

/* A repeated store over its own code goes on; the next instruction is the new one. */
Test(interp_string, overwrites_itself)
{
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        start(0, WINDOW_CODE, 0x40);
        GUEST_CODE(WINDOW_CODE, 0xf3, 0xaa, 0xf4); /* rep stosb; hlt */
        guest->gpr[R_EAX] = 0x40;                  /* inc eax */
        guest_ram(WINDOW_CODE + 0x40)[0] = 0xf4;
        cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->gpr[R_ECX], 0);
        if (way == WAY_STEP) {
            cr_assert_eq(guest->eip, WINDOW_CODE + 2);
            continue;
        }
        cr_assert_eq(guest->eip, WINDOW_CODE + 0x41);
        cr_assert_eq(guest->gpr[R_EAX], 0x40 + 0x3e);
    }
}
