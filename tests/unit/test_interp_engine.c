/* SPDX-License-Identifier: MIT */
/* test_interp_engine.c: fetching, the decode cache and its invalidation, what happens between
 * instructions: traps, breakpoints, shadows, requests. */
#include "interp_guest.h"

TestSuite(interp_engine, .init = compare_init, .fini = guest_fini);

#define CODE WINDOW_CODE

static void at(uint32_t eip)
{
    guest->eip = eip;
    guest->eflags = EFL_ONE;
    memset(guest->gpr, 0, sizeof guest->gpr);
    guest->gpr[R_ESP] = WINDOW_STACK + 0x1000;
}

/* --- fetch --- */

/* Bytes of the second page are fetched only if needed, and its fault is at its first byte. */
Test(interp_engine, crossing_pages)
{
    guest_map(CODE + 0x1000, 0);
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        GUEST_CODE(CODE + 0xffb, 0xb8, 1, 2, 3, 4); /* mov eax, imm32 up to the end of the page */
        at(CODE + 0xffb);
        cr_assert_eq(guest_go(WAY_STEP), -1);
        cr_assert_eq(guest->gpr[R_EAX], 0x04030201);
        GUEST_CODE(CODE + 0xffd, 0xb8, 1, 2);
        for (unsigned k = 0; k < 3; k++) {
            at(CODE + 0xffd);
            cr_assert_eq(guest_go(way), VEC_PF);
            cr_assert_eq(guest->exc.cr2, CODE + 0x1000);
            cr_assert_eq(guest->eip, CODE + 0xffd);
        }
    }
}

/* The pages of a crossing instruction may be remapped or written one by one. */
Test(interp_engine, crossing_pages_change)
{
    GUEST_CODE(CODE + 0xffd, 0xb8, 1, 2);
    GUEST_CODE(CODE + 0x1000, 3, 4, 0xf4);
    GUEST_CODE(0x300000, 5, 6, 0x40, 0xf4);
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        guest_map(CODE + 0x1000, (CODE + 0x1000) | PTE_P | PTE_W);
        at(CODE + 0xffd);
        cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->gpr[R_EAX], 0x04030201);
        guest_map(CODE + 0x1000, 0x300000 | PTE_P | PTE_W);
        at(CODE + 0xffd);
        cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->gpr[R_EAX], way == WAY_STEP ? 0x06050201 : 0x06050202);
    }
}

Test(interp_engine, too_long)
{
    uint8_t code[16];
    memset(code, 0x2e, 16);
    code[14] = 0x90;
    code[15] = 0xf4;
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        guest_write(CODE, code, 16);
        at(CODE);
        cr_assert_eq(guest_go(way), -1);
        at(CODE - 1);
        GUEST_CODE(CODE - 1, 0x2e);
        cr_assert_eq(guest_go(way), VEC_GP);
        cr_assert_eq(guest->eip, CODE - 1);
    }
}

/* The limit of CS counts for each byte of an instruction. */
Test(interp_engine, code_limit)
{
    GUEST_CODE(CODE, 0x40, 0x40, 0xb8, 1, 2, 3, 4, 0xf4);
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        guest_segment(SEG_CS, 0, CODE + 6, SEG_ATTR_CODE | SEG_ATTR_READ | SEG_ATTR_DB);
        at(CODE + 2);
        cr_assert_eq(guest_go(way), way == WAY_STEP ? -1 : VEC_GP);
        cr_assert_eq(guest->eip, CODE + 7);
        cr_assert_eq(guest->gpr[R_EAX], 0x04030201);
        guest_segment(SEG_CS, 0, CODE + 5, SEG_ATTR_CODE | SEG_ATTR_READ | SEG_ATTR_DB);
        at(CODE);
        if (way == WAY_STEP)
            guest->eip = CODE + 2;
        cr_assert_eq(guest_go(way), VEC_GP);
        cr_assert_eq(guest->eip, CODE + 2);
        cr_assert_eq(guest->gpr[R_EAX], way == WAY_STEP ? 0 : 2);
    }
}

Test(interp_engine, undefined)
{
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        GUEST_CODE(CODE, 0x0f, 0x0b);
        at(CODE);
        cr_assert_eq(guest_go(way), VEC_UD);
        GUEST_CODE(CODE, 0xf0, 0x40); /* LOCK where it is not allowed */
        at(CODE);
        cr_assert_eq(guest_go(way), VEC_UD);
        cr_assert_eq(guest->eip, CODE);
    }
}

/* --- the cache --- */

/* The same code at the same address in another frame, and the other way round. */
Test(interp_engine, remapping)
{
    GUEST_CODE(CODE, 0x40, 0xf4);
    GUEST_CODE(0x300000, 0x48, 0xf4);
    for (unsigned k = 0; k < 4; k++) {
        guest_map(CODE, (k & 1 ? 0x300000 : CODE) | PTE_P | PTE_W);
        at(CODE);
        cr_assert_eq(guest_go(WAY_RUN), -1);
        cr_assert_eq(guest->gpr[R_EAX], k & 1 ? 0xffffffff : 1);
    }
}

/* The same bytes are 16-bit and 32-bit code. */
Test(interp_engine, code_size)
{
    GUEST_CODE(CODE, 0xb8, 1, 0, 0x90, 0xf4, 0xf4);
    for (unsigned k = 0; k < 4; k++) {
        guest_segment(SEG_CS, 0, 0xffffffff,
                      SEG_ATTR_CODE | SEG_ATTR_READ | (k & 1 ? SEG_ATTR_DB : 0));
        at(CODE);
        cr_assert_eq(guest_go(WAY_RUN), -1);
        cr_assert_eq(guest->gpr[R_EAX], k & 1 ? 0xf4900001 : 1);
        cr_assert_eq(guest->eip, k & 1 ? CODE + 6 : CODE + 5);
    }
}

/* An instruction that changes the very next one, by each kind of store. */
Test(interp_engine, next_instruction_changes)
{
    static const uint8_t stores[][12] = {
        {0xc6,  0x03, 0x48}, /* mov byte [ebx], 48h */
        {0x88, 0x13}, /* mov [ebx], dl */
        {0x80,  0x33, 0x08}, /* xor byte [ebx], 8 */
        {0xaa    }, /* stosb */
        {0x86,0x13}, /* xchg [ebx], dl */
        {0x0f,     0xba, 0x2b, 0x03}, /* bts dword [ebx], 3 */
        {0x89, 0x0b}, /* mov [ebx], ecx */
        {0x55 }, /* push ebp, with ESP just above */
    };
    static const uint8_t length[] = {3, 2, 3, 1, 2, 4, 2, 1};
    for (unsigned k = 0; k < 8; k++)
        for (unsigned round = 0; round < 3; round++)
            for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
                uint32_t next = CODE + length[k];
                guest_write(CODE, stores[k], length[k]);
                GUEST_CODE(next, 0x40, 0xf4, 0x90, 0x90); /* inc eax, to be dec eax */
                at(CODE);
                guest->gpr[R_EAX] = 0x48;
                guest->gpr[R_EBX] = guest->gpr[R_EDI] = next;
                guest->gpr[R_ECX] = guest->gpr[R_EBP] = 0x9090f448;
                guest->gpr[R_EDX] = 0x48;
                guest->gpr[R_ESP] = next + 4;
                cr_assert_eq(guest_go(way), -1);
                if (way == WAY_STEP)
                    cr_assert_eq(guest_go(way), -1);
                cr_assert_eq(guest->gpr[R_EAX], 0x47, "%u way %d: %x", k, way, guest->gpr[R_EAX]);
            }
}

/* A loop whose body is changed by a device between two runs, and linked branches into dead code. */
Test(interp_engine, device_writes_code)
{
    GUEST_CODE(CODE, 0x40, 0xe2, 0xfd, 0xf4);        /* inc eax; loop; hlt */
    GUEST_CODE(CODE + 0x20, 0x49, 0x75, 0xdd, 0xf4); /* dec ecx; jnz CODE; hlt */
    for (unsigned k = 0; k < 6; k++) {
        GUEST_CODE(CODE, k & 1 ? 0x48 : 0x40);
        at(CODE);
        guest->gpr[R_ECX] = 100;
        cr_assert_eq(guest_go(WAY_RUN), -1);
        cr_assert_eq(guest->gpr[R_EAX], k & 1 ? -100u : 100u);
        at(CODE + 0x20);
        guest->gpr[R_ECX] = 100;
        cr_assert_eq(guest_go(WAY_RUN), -1);
        cr_assert_eq(guest->gpr[R_EAX], k & 1 ? -99u : 99u);
    }
}

/* Data on a page with code is written without losing the code; then its frame is watched no more.
 */
Test(interp_engine, data_beside_code)
{
    GUEST_CODE(CODE, 0xff, 0x03, 0xe2, 0xfc, 0xf4); /* inc [ebx]; loop; hlt */
    *(uint32_t *)guest_ram(CODE + 0x800) = 0;
    at(CODE);
    guest->gpr[R_EBX] = CODE + 0x800;
    guest->gpr[R_ECX] = 1000;
    cr_assert_eq(guest_go(WAY_RUN), -1);
    cr_assert_eq(*(uint32_t *)guest_ram(CODE + 0x800), 1000);
    cr_assert(phys_watched(guest_machine.phys, CODE >> 12));
    GUEST_CODE(CODE, 0x90, 0x90, 0x90, 0x90, 0x90);
    cr_assert(!phys_watched(guest_machine.phys, CODE >> 12));
}

/* More code than the cache holds. */
Test(interp_engine, flush)
{
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t page = 0x300000; page < 0x400000; page += 0x1000) {
            uint8_t *ram = guest_ram(page);
            if (round == 0) {
                memset(ram, 0x40, 0x1000); /* inc eax */
                memcpy(ram + 0xffe, (const uint8_t[]){0xeb, (uint8_t)round}, 2);
            }
        }
        *guest_ram(0x3fffff) = 0xf4;
        *guest_ram(0x3ffffe) = 0x40;
        for (uint32_t shift = 0; shift < 4; shift++) {
            at(0x300000 + shift);
            uint64_t retired = guest->retired;
            cr_assert_eq(guest_go(WAY_RUN), -1);
            cr_assert_eq(guest->eip, 0x400000);
            uint32_t incs = 0x100 * 0xffe + 1 - shift;
            cr_assert_eq(guest->gpr[R_EAX], incs);
            cr_assert_eq(guest->retired - retired, incs + 0xff + 1);
        }
    }
}

/* A write to a read-only page in a block faults at the right instruction, with all before it done.
 */
Test(interp_engine, fault_in_block)
{
    guest_map(WINDOW_DATA, WINDOW_DATA | PTE_P);
    GUEST_CODE(CODE, 0x40, 0x43, 0x89, 0x03, 0x40, 0xf4);
    at(CODE);
    guest->gpr[R_EBX] = WINDOW_DATA;
    uint64_t retired = guest->retired;
    cr_assert_eq(guest_go(WAY_RUN), VEC_PF);
    cr_assert_eq(guest->exc.cr2, WINDOW_DATA + 1);
    cr_assert_eq(guest->exc.error, PF_P | PF_W);
    cr_assert_eq(guest->eip, CODE + 2);
    cr_assert_eq(guest->gpr[R_EAX], 1);
    cr_assert_eq(guest->retired - retired, 2);
}

/* --- between instructions --- */

Test(interp_engine, request)
{
    GUEST_CODE(CODE, 0x40, 0xeb, 0xfd); /* inc eax; jmp */
    at(CODE);
    guest->request = VCPU_REQ_EVENT;
    cr_assert_eq(guest_go(WAY_RUN), -1);
    cr_assert_eq(guest->eip, CODE);
    guest->request = 0;
    /* Enabling interrupts ends a run, one instruction later. */
    GUEST_CODE(CODE, 0xfb, 0x40, 0x40, 0xf4);
    at(CODE);
    cr_assert_eq(guest_go(WAY_RUN), -1);
    cr_assert_eq(guest->eip, CODE + 2);
    cr_assert_eq(guest->shadow, SHADOW_NONE);
    cr_assert(!guest->halted);
}

Test(interp_engine, single_step)
{
    static const struct {
        uint8_t code[8];
        uint32_t trap_at;
    } cases[] = {
        {{0x40, 0xf4},             1},
        {{0xeb, 0x05},             7},
        {{0x8e, 0xd8, 0x90},       2}, /* mov ds, ax */
        {{0x8e, 0xd0, 0x40, 0x90}, 3}, /* mov ss, ax: held back */
        {{0xfb, 0x40},             1}, /* sti: not held back */
        {{0x9d, 0x40},             1}, /* popf that clears TF */
        {{0xf3, 0xaa, 0x90},       0}, /* rep stosb: after an iteration */
    };
    uint64_t flat = 0x00cf93000000ffff;
    guest_write(0x3000 + 8, &flat, 8);
    guest->gdtr = (struct table_register){0x3000, 0xff};
    for (unsigned k = 0; k < sizeof cases / sizeof *cases; k++)
        for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
            guest_write(CODE, cases[k].code, 8);
            at(CODE);
            guest->eflags |= EFL_TF;
            guest->gpr[R_EAX] = 8;
            guest->gpr[R_ECX] = 2;
            guest->gpr[R_EDI] = WINDOW_DATA;
            *(uint32_t *)guest_ram(WINDOW_STACK + 0x1000) = EFL_ONE;
            int vector = guest_go(way);
            if (way == WAY_STEP && vector < 0)
                vector = guest_go(way);
            cr_assert_eq(vector, VEC_DB, "%u: %d", k, vector);
            cr_assert_eq(guest->exc.dr6 & 0xffff, 0x4000, "%u: %x", k, guest->exc.dr6);
            cr_assert_eq(guest->eip, CODE + cases[k].trap_at, "%u: %x", k, guest->eip);
            guest->shadow = SHADOW_NONE;
            guest_flat();
        }
}

Test(interp_engine, breakpoints)
{
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        /* At an instruction: before it, unless RF is set, which it then clears. */
        GUEST_CODE(CODE, 0x90, 0x90, 0xf4);
        guest->dr[0] = CODE + 1;
        guest->dr[7] = DR7_FIXED | 1;
        at(CODE);
        int vector = guest_go(way);
        if (way == WAY_STEP)
            vector = guest_go(way);
        cr_assert_eq(vector, VEC_DB);
        cr_assert_eq(guest->exc.dr6 & 15, 1);
        cr_assert_eq(guest->eip, CODE + 1);
        guest->eflags |= EFL_RF;
        cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->eip, way == WAY_STEP ? CODE + 2 : CODE + 3);
        cr_assert_eq(guest->eflags & EFL_RF, 0);

        /* At data: after the access. */
        GUEST_CODE(CODE, 0x8b, 0x03, 0x89, 0x43, 0xfe, 0xf4); /* mov eax, [ebx]; mov [ebx-2], eax */
        guest->dr[0] = WINDOW_DATA;
        guest->dr[7] = DR7_FIXED | 2 | 1u << 16; /* write, one byte */
        at(CODE);
        guest->gpr[R_EBX] = WINDOW_DATA;
        vector = guest_go(way);
        if (way == WAY_STEP)
            vector = guest_go(way);
        cr_assert_eq(vector, VEC_DB);
        cr_assert_eq(guest->exc.dr6 & 15, 1);
        cr_assert_eq(guest->eip, CODE + 5);
        guest->dr[7] = DR7_FIXED | 2 | 3u << 16; /* any access */
        at(CODE);
        guest->gpr[R_EBX] = WINDOW_DATA;
        cr_assert_eq(guest_go(way), VEC_DB);
        cr_assert_eq(guest->eip, CODE + 2);
        guest->dr[7] = DR7_FIXED;
    }
}

Test(interp_engine, alignment)
{
    GUEST_CODE(CODE, 0x8b, 0x03, 0x90);
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        guest->cr0 |= CR0_AM;
        guest->cpl = 3;
        at(CODE);
        guest->eflags |= EFL_AC;
        guest->gpr[R_EBX] = WINDOW_DATA + 2;
        cr_assert_eq(guest_go(way), VEC_AC);
        cr_assert_eq(guest->eip, CODE);
        guest->gpr[R_EBX] = WINDOW_DATA;
        cr_assert_eq(guest_go(WAY_STEP), -1);
        at(CODE);
        guest->gpr[R_EBX] = WINDOW_DATA + 2; /* without EFLAGS.AC */
        cr_assert_eq(guest_go(WAY_STEP), -1);
        guest->cpl = 0;
    }
}

/* Segments that are not flat: limits, expand-down, read-only. */
Test(interp_engine, segments)
{
    GUEST_CODE(CODE, 0x8b, 0x03, 0xf4);
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        guest_segment(SEG_DS, WINDOW_DATA, 0xfff, SEG_ATTR_WRITE | SEG_ATTR_DB);
        *(uint32_t *)guest_ram(WINDOW_DATA + 0xffc) = 0x12345678;
        at(CODE);
        guest->gpr[R_EBX] = 0xffc;
        cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->gpr[R_EAX], 0x12345678);
        at(CODE);
        guest->gpr[R_EBX] = 0xffd;
        cr_assert_eq(guest_go(way), VEC_GP);
        guest_segment(SEG_DS, WINDOW_DATA, 0xfff, SEG_ATTR_WRITE | SEG_ATTR_DB | SEG_ATTR_DOWN);
        at(CODE);
        guest->gpr[R_EBX] = 0xfff;
        cr_assert_eq(guest_go(way), VEC_GP);
        guest->gpr[R_EBX] = 0x1000;
        cr_assert_eq(guest_go(way), -1);
        guest_flat();
        GUEST_CODE(CODE, 0x89, 0x03, 0xf4);
        guest_segment(SEG_DS, 0, 0xffffffff, SEG_ATTR_DB);
        at(CODE);
        guest->gpr[R_EBX] = WINDOW_DATA;
        cr_assert_eq(guest_go(way), VEC_GP);
        guest_flat();
        GUEST_CODE(CODE, 0x8b, 0x03, 0xf4);
    }
}

/* FS and GS with a base, then with a limit, then null. */
Test(interp_engine, based_segments)
{
    static const uint8_t code[] = {0x64, 0x8b, 0x43, 0x04,        /* mov eax, fs:[ebx+4] */
                                   0x65, 0x01, 0x43, 0x08,        /* add gs:[ebx+8], eax */
                                   0x64, 0x80, 0x3b, 0x7f,        /* cmp byte fs:[ebx], 7fh */
                                   0x65, 0x88, 0x43, 0x0c, 0xf4}; /* mov gs:[ebx+0ch], al */
    for (enum way way = WAY_STEP; way <= WAY_RUN; way++) {
        guest_write(CODE, code, sizeof code);
        guest_write(WINDOW_DATA, (const uint32_t[]){0x7f, 0x11223344, 1, 0}, 16);
        guest_segment(SEG_FS, WINDOW_DATA - 0x10, 0xffffffff, SEG_ATTR_WRITE | SEG_ATTR_DB);
        guest_segment(SEG_GS, WINDOW_DATA - 0x20, 0xffffffff, SEG_ATTR_WRITE | SEG_ATTR_DB);
        guest_write(WINDOW_DATA - 0x10, (const uint32_t[]){0, 0, 5, 0}, 16);
        at(CODE);
        guest->gpr[R_EBX] = 0x10;
        unsigned steps = way == WAY_STEP ? 4 : 1;
        for (unsigned k = 0; k < steps; k++)
            cr_assert_eq(guest_go(way), -1);
        cr_assert_eq(guest->gpr[R_EAX], 0x11223344);
        cr_assert_eq(*(uint32_t *)guest_ram(WINDOW_DATA - 8), 0x11223349);
        cr_assert_eq(*(uint32_t *)guest_ram(WINDOW_DATA - 4), 0x44);
        cr_assert_eq(guest->eflags & EFL_ARITH, EFL_ZF | EFL_PF);

        guest->seg[SEG_GS].limit = 0x1a;
        at(CODE);
        guest->gpr[R_EBX] = 0x10;
        int vector = guest_go(way);
        if (way == WAY_STEP)
            vector = guest_go(way);
        cr_assert_eq(vector, VEC_GP);
        cr_assert_eq(guest->eip, CODE + 4);
        guest->seg[SEG_FS] = (struct segment){.attr = SEG_ATTR_NULL};
        at(CODE);
        cr_assert_eq(guest_go(way), VEC_GP);
        cr_assert_eq(guest->eip, CODE);
    }
}
