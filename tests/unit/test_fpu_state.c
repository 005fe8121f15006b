/* SPDX-License-Identifier: MIT */
/* test_fpu_state.c: images of FPU state, availability, errors, and what memory operands may meet.
 */
#include "fpu_guest.h"

#include "translator/host_facts.h"

#define DATA GUEST_DATA

static uint16_t data16(uint32_t la)
{
    uint16_t value;
    memcpy(&value, guest_ram(la), sizeof value);
    return value;
}

static uint32_t data32(uint32_t la)
{
    uint32_t value;
    memcpy(&value, guest_ram(la), sizeof value);
    return value;
}

static void set32(uint32_t la, uint32_t value)
{
    memcpy(guest_ram(la), &value, sizeof value);
}

static void setup(void)
{
    guest_init();
    guest->fx.fcw = 0x037f;
    guest->fx.ftw = 0;
    guest->gpr[R_EBX] = DATA;
    memset(guest_ram(DATA), 0xee, 8192);
}

TestSuite(fpu_state, .init = setup, .fini = guest_fini, .timeout = 30);

/* --- the environment --- */

/* Leaves fip, fdp, fds, fop of FADD DWORD [ebx+4]. */
static void run_fadd(void)
{
    set32(DATA + 4, 0x3f800000);
    cr_assert_eq(GUEST_RUN(0xd9, 0xe8), -1);       /* fld1 */
    cr_assert_eq(GUEST_RUN(0xd8, 0x43, 0x04), -1); /* fadd dword [ebx+4] */
    guest->eip += 2;
    cr_assert_eq(GUEST_RUN(0xd9, 0x2b), -1); /* fldcw [ebx] does not count */
}

static void env_setup(void)
{
    memset(guest_ram(DATA), 0, 4);
    guest_ram(DATA)[0] = 0x7f;
    guest_ram(DATA)[1] = 0x03;
    run_fadd();
    memset(guest_ram(DATA), 0xee, 8192);
}

Test(fpu_state, fnstenv_protected_32)
{
    env_setup();
    cr_assert_eq(GUEST_RUN(0xd9, 0x33), -1);
    cr_assert_eq(data32(DATA), 0xffff037f);
    cr_assert_eq(data32(DATA + 4), 0xffff3800);
    cr_assert_eq(data32(DATA + 8), 0xffff3fff);
    cr_assert_eq(data32(DATA + 12), GUEST_EIP);
    cr_assert_eq(data32(DATA + 16), 0x00430073); /* opcode D8 43 */
    cr_assert_eq(data32(DATA + 20), DATA + 4);
    cr_assert_eq(data32(DATA + 24), 0xffff007b);
    cr_assert_eq(data32(DATA + 28), 0xeeeeeeee);
    cr_assert_eq(guest->fx.fcw, 0x037f);
}

Test(fpu_state, fnstenv_protected_16)
{
    env_setup();
    cr_assert_eq(GUEST_RUN(0x66, 0xd9, 0x33), -1);
    static const uint16_t want[] = {
        0x037f, 0x3800, 0x3fff, GUEST_EIP & 0xffff, 0x73, (DATA + 4) & 0xffff, 0x7b, 0xeeee};
    for (unsigned n = 0; n < 8; n++)
        cr_assert_eq(data16(DATA + 2 * n), want[n], "word %u: %04x", n, data16(DATA + 2 * n));
}

Test(fpu_state, fnstenv_real)
{
    env_setup();
    guest->fx.fip = 0x4321;
    guest->fx.fcs = 0xf00d;
    guest->fx.fdp = 0xabcd;
    guest->fx.fds = 0x8001;
    guest->eflags |= EFL_VM; /* the format of real mode */
    guest->cpl = 3;
    uint32_t lip = 0xf00d0 + 0x4321, ldp = 0x80010 + 0xabcd;
    cr_assert_eq(GUEST_RUN(0xd9, 0x33), -1);
    cr_assert_eq(data32(DATA + 12), 0xffff0000 | (lip & 0xffff));
    cr_assert_eq(data32(DATA + 16), (lip >> 16) << 12 | 0x043);
    cr_assert_eq(data32(DATA + 20), 0xffff0000 | (ldp & 0xffff));
    cr_assert_eq(data32(DATA + 24), (ldp >> 16) << 12);
    cr_assert_eq(GUEST_RUN(0x66, 0xd9, 0x33), -1);
    cr_assert_eq(data16(DATA + 6), lip & 0xffff);
    cr_assert_eq(data16(DATA + 8), (lip >> 16) << 12 | 0x043);
    cr_assert_eq(data16(DATA + 10), ldp & 0xffff);
    cr_assert_eq(data16(DATA + 12), (ldp >> 16) << 12);
}

/* What is stored comes back, in each format, with the registers where FSAVE has them. */
Test(fpu_state, fsave_round_trip)
{
    for (unsigned format = 0; format < 4; format++) {
        uint8_t save[] = {0x66, 0xdd, 0x33}, load[] = {0x66, 0xdd, 0x23}, again[108];
        unsigned skip = format & 1, n = skip ? 108 : 94;
        struct fxsave_area before;
        guest->eflags = EFL_ONE | (format & 2 ? EFL_VM : 0);
        memset(&guest->fx.st, 0, sizeof guest->fx.st);
        for (unsigned r = 0; r < 8; r++)
            memset(guest->fx.st[r], 0x81 + (int)r, 10);
        guest->fx.fcw = 0x0a7f;
        guest->fx.fsw = 0x2d00;
        guest->fx.ftw = 0x5a;
        guest->fx.fip = format == 1 ? 0x87654321 : 0x4321;
        guest->fx.fcs = format & 2 ? 0 : 0x33;
        guest->fx.fdp = 0x1234;
        guest->fx.fds = format & 2 ? 0 : 0x3b;
        guest->fx.fop = format ? 0x543 : 0; /* not in the 16-bit protected image */
        before = guest->fx;
        cr_assert_eq(guest_run(save + skip, 3 - skip), -1);
        cr_assert_eq(guest->fx.fcw, 0x037f);
        cr_assert_eq(guest->fx.fsw, 0);
        cr_assert_eq(guest->fx.ftw, 0);
        cr_assert_eq(guest->fx.fip, 0);
        cr_assert_eq(guest->fx.fop, 0);
        cr_assert_eq(guest_ram(DATA + n)[0], 0xee);
        for (unsigned r = 0; r < 8; r++)
            cr_assert_arr_eq(guest_ram(DATA + n - 80 + 10 * r), before.st[r], 10);
        memcpy(again, guest_ram(DATA), n);
        cr_assert_eq(guest_run(load + skip, 3 - skip), -1);
        cr_assert_arr_eq(&guest->fx, &before, 24, "format %u", format);
        cr_assert_arr_eq(guest->fx.st, before.st, sizeof before.st);
        memset(guest_ram(DATA), 0xee, n);
        cr_assert_eq(guest_run(save + skip, 3 - skip), -1);
        cr_assert_arr_eq(guest_ram(DATA), again, n, "format %u", format);
        memset(guest_ram(DATA), 0xee, n);
    }
}

Test(fpu_state, fnstenv_masks_exceptions_and_fldenv_brings_them_back)
{
    guest->fx.fcw = 0x0340;
    cr_assert_eq(GUEST_RUN(0xd9, 0x33), -1);
    cr_assert_eq(guest->fx.fcw, 0x037f);
    cr_assert_eq(GUEST_RUN(0xd9, 0x23), -1);
    cr_assert_eq(guest->fx.fcw, 0x0340);
}

extern const char located_insn[];
static struct fpu_pointers located;
static bool locate(struct vcpu *v, const struct fpu_pointers *host)
{
    located = *host;
    v->fx.fip = 0x11223344;
    return true;
}

static void locate_pointers(void)
{
    guest->fx.fcw = 0x0340;
    fpu_set_locator(guest, locate);
    fpu_enter(guest);
    __asm__ volatile(".globl located_insn\nlocated_insn: fnop");
    fpu_pointers_update(guest);
    fpu_leave(guest);
    uint64_t here = (uint64_t)(uintptr_t)located_insn;
    cr_assert_eq(fpu_pointer_from(&located, located.fip, here - 1), here);
    cr_assert_eq(guest->fx.fip, 0x11223344);
    cr_assert_eq(located.narrow, !host_as_model(HOST_FXSAVE_POINTERS));
    cr_assert_eq(guest->fx.fcw, 0x0340);
    cr_assert_eq(GUEST_RUN(0xd9, 0xe8), -1);
    cr_assert_eq(guest->fx.fip, GUEST_EIP);
    memset(&located, 0, sizeof located);
    fpu_enter(guest);
    fpu_leave(guest);
    cr_assert_eq(located.fip, 0, "nothing has run since");
}

Test(fpu_state, pointers_of_translated_code_are_located)
{
    locate_pointers();
}

Test(fpu_state, pointers_are_located_though_fxsave_has_none)
{
    cr_assert(host_assume_other("fxsave"));
    locate_pointers();
}

/* --- FXSAVE, MXCSR --- */

Test(fpu_state, fxsave_writes_what_a_32_bit_processor_writes)
{
    for (unsigned r = 0; r < 8; r++)
        memset(guest->fx.xmm[r], 0x10 + (int)r, 16);
    env_setup();
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x03), -1);
    const struct fxsave_area *area = (const struct fxsave_area *)guest_ram(DATA);
    cr_assert_eq(area->fcw, 0x037f);
    cr_assert_eq(area->fsw, 0x3800);
    cr_assert_eq(area->ftw, 0x80);
    cr_assert_eq(area->fop, 0x043);
    cr_assert_eq(area->fip, GUEST_EIP);
    cr_assert_eq(area->fcs, 0x73);
    cr_assert_eq(area->fdp, DATA + 4);
    cr_assert_eq(area->fds, 0x7b);
    cr_assert_eq(area->mxcsr, 0x1f80);
    cr_assert_eq(area->mxcsr_mask, fpu_mxcsr_mask());
    for (unsigned r = 0; r < 8; r++)
        cr_assert_arr_eq(area->xmm[r], guest->fx.xmm[r], 16);
    for (unsigned n = 288; n < 512; n++)
        cr_assert_eq(guest_ram(DATA)[n], 0xee);
}

Test(fpu_state, fxrstor_brings_it_back)
{
    struct fxsave_area before;
    for (unsigned r = 0; r < 8; r++) {
        memset(guest->fx.xmm[r], 0x10 + (int)r, 16);
        memset(guest->fx.st[r], 0x90 + (int)r, 10);
    }
    guest->fx.mxcsr = 0x5fa1;
    guest->fx.ftw = 0xa5;
    env_setup();
    before = guest->fx;
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x03), -1);
    memset(&guest->fx, 0, 288);
    guest->fx.mxcsr = 0x1f80;
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x0b), -1);
    cr_assert_arr_eq(&guest->fx, &before, 288);
}

Test(fpu_state, fxsave_without_osfxsr_leaves_sse_alone)
{
    guest->cr4 = 0;
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x03), -1);
    cr_assert_eq(data32(DATA + 24), 0xeeeeeeee);
    cr_assert_eq(data32(DATA + 28), 0xeeeeeeee);
    cr_assert_eq(data32(DATA + 160), 0xeeeeeeee);
    cr_assert_eq(data32(DATA + 32), 0);
    guest->fx.mxcsr = 0x3f80;
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x0b), -1);
    cr_assert_eq(guest->fx.mxcsr, 0x3f80);
    cr_assert_eq(guest->fx.xmm[0][0], 0);
}

Test(fpu_state, fxsave_faults)
{
    guest->gpr[R_EBX] = DATA + 8;
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x03), VEC_GP);
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x0b), VEC_GP);
    guest->gpr[R_EBX] = GUEST_HOLE - 496;
    memset(guest_ram(GUEST_HOLE - 496), 0xee, 496);
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x03), VEC_PF);
    cr_assert_eq(guest->exc.cr2, GUEST_HOLE);
    cr_assert_eq(data32(GUEST_HOLE - 496), 0xeeeeeeee, "stored before the fault");
    guest->gpr[R_EBX] = DATA;
    guest->fx.fcw = 0x0c7f;
    memset(guest_ram(DATA), 0, 512);
    set32(DATA + 24, 0x10000); /* reserved in MXCSR */
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x0b), VEC_GP);
    cr_assert_eq(guest->fx.fcw, 0x0c7f);
    guest->cr0 |= CR0_EM;
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x03), VEC_NM);
}

Test(fpu_state, mxcsr)
{
    guest->fx.mxcsr = 0x7fbf;
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x1b), -1);
    cr_assert_eq(data32(DATA), 0x7fbf);
    set32(DATA, 0x1fa5);
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x13), -1);
    cr_assert_eq(guest->fx.mxcsr, 0x1fa5);
    set32(DATA, 0x00011f80);
    cr_assert_eq(GUEST_RUN(0x0f, 0xae, 0x13), VEC_GP);
    cr_assert_eq(guest->fx.mxcsr, 0x1fa5);
}

/* --- availability --- */

#define NONE (-1)
/* clang-format off */
static const struct {
    const char *name;
    uint8_t bytes[4], n;
    /* EM, TS, MP|TS, !OSFXSR, EM and !OSFXSR and TS */
    int em, ts, mp_ts, no_fxsr, all;
} availability[] = {
    {"fld1",     {0xd9, 0xe8},             2, VEC_NM, VEC_NM, VEC_NM, NONE,   VEC_NM},
    {"fninit",   {0xdb, 0xe3},             2, VEC_NM, VEC_NM, VEC_NM, NONE,   VEC_NM},
    {"fnstsw",   {0xdf, 0xe0},             2, VEC_NM, VEC_NM, VEC_NM, NONE,   VEC_NM},
    {"fwait",    {0x9b},                   1, NONE,   NONE,   VEC_NM, NONE,   NONE  },
    {"paddb mm", {0x0f, 0xfc, 0xc1},       3, VEC_UD, VEC_NM, VEC_NM, NONE,   VEC_UD},
    {"emms",     {0x0f, 0x77},             2, VEC_UD, VEC_NM, VEC_NM, NONE,   VEC_UD},
    {"pavgb mm", {0x0f, 0xe0, 0xc1},       3, VEC_UD, VEC_NM, VEC_NM, NONE,   VEC_UD},
    {"addps",    {0x0f, 0x58, 0xc1},       3, VEC_UD, VEC_NM, VEC_NM, VEC_UD, VEC_UD},
    {"paddb",    {0x66, 0x0f, 0xfc, 0xc1}, 4, VEC_UD, VEC_NM, VEC_NM, VEC_UD, VEC_UD},
    {"cvtpi2ps", {0x0f, 0x2a, 0xc1},       3, VEC_UD, VEC_NM, VEC_NM, VEC_UD, VEC_UD},
    {"stmxcsr",  {0x0f, 0xae, 0x1b},       3, VEC_UD, VEC_NM, VEC_NM, VEC_UD, VEC_UD},
    {"lfence",   {0x0f, 0xae, 0xe8},       3, NONE,   NONE,   NONE,   NONE,   NONE  },
    {"prefetch", {0x0f, 0x18, 0x0b},       3, NONE,   NONE,   NONE,   NONE,   NONE  },
};
/* clang-format on */

static int vector_with(unsigned n, uint32_t cr0, uint32_t cr4)
{
    guest->cr0 = CR0_PE | CR0_PG | CR0_NE | cr0;
    guest->cr4 = cr4;
    return guest_run(availability[n].bytes, availability[n].n);
}

Test(fpu_state, availability)
{
    for (unsigned n = 0; n < sizeof availability / sizeof availability[0]; n++) {
        const char *name = availability[n].name;
        cr_expect_eq(vector_with(n, 0, CR4_OSFXSR), NONE, "%s", name);
        cr_expect_eq(vector_with(n, CR0_EM, CR4_OSFXSR), availability[n].em, "%s: EM", name);
        cr_expect_eq(vector_with(n, CR0_TS, CR4_OSFXSR), availability[n].ts, "%s: TS", name);
        cr_expect_eq(vector_with(n, CR0_MP, CR4_OSFXSR), NONE, "%s: MP", name);
        cr_expect_eq(vector_with(n, CR0_MP | CR0_TS, CR4_OSFXSR), availability[n].mp_ts,
                     "%s: MP TS", name);
        cr_expect_eq(vector_with(n, 0, 0), availability[n].no_fxsr, "%s: no OSFXSR", name);
        cr_expect_eq(vector_with(n, CR0_EM | CR0_TS, 0), availability[n].all, "%s: all", name);
    }
}

/* --- errors --- */

Test(fpu_state, simd_error_without_osxmmexcpt)
{
    guest->cr4 = CR4_OSFXSR;
    guest->fx.mxcsr = 0x1f00; /* invalid unmasked */
    memset(guest->fx.xmm[1], 0xff, 16);
    guest->fx.xmm[1][2] = 0xbf; /* SNaN */
    cr_assert_eq(GUEST_RUN(0xf3, 0x0f, 0x58, 0xc1), VEC_UD);
    guest->cr4 |= CR4_OSXMMEXCPT;
    cr_assert_eq(GUEST_RUN(0xf3, 0x0f, 0x58, 0xc1), VEC_XM);
    cr_assert_eq(guest->fx.mxcsr, 0x1f01);
}

/* A pending x87 error comes before a fault of the memory operand. */
Test(fpu_state, pending_error_comes_first)
{
    guest->fx.fcw = 0x0340;
    guest->fx.fsw = 0x0001;
    guest->gpr[R_EBX] = GUEST_HOLE;
    cr_assert_eq(GUEST_RUN(0xd9, 0x03), VEC_MF);
    cr_assert_eq(GUEST_RUN(0xd9, 0x23), VEC_MF);       /* fldenv */
    cr_assert_eq(GUEST_RUN(0x0f, 0xfc, 0x03), VEC_MF); /* paddb mm0, [ebx] */
    cr_assert_eq(GUEST_RUN(0x9b), VEC_MF);
    cr_assert_eq(GUEST_RUN(0x0f, 0x77), VEC_MF);
    cr_assert_eq(GUEST_RUN(0xd9, 0x33), VEC_PF); /* fnstenv does not wait */
    cr_assert_eq(GUEST_RUN(0xdb, 0xe2), -1);     /* fnclex */
    cr_assert_eq(GUEST_RUN(0x9b), -1);
}

static int ferr_level;
static void ferr_set(void *controller, unsigned input, int level)
{
    cr_assert_eq(controller, &ferr_level);
    cr_assert_eq(input, 13);
    ferr_level = level;
}

Test(fpu_state, ferr_and_ignne)
{
    struct insn fld1, faddp, fnclex;
    bool waiting = false;
    fpu_connect_ferr(guest, (struct irq_line){ferr_set, &ferr_level, 13});
    guest->cr0 &= ~CR0_NE;
    guest->fx.fcw = 0x037b;
    guest->fx.fsw = 0x0004;
    guest_decode((const uint8_t[]){0xd9, 0xe8}, 2, &fld1);
    guest_decode((const uint8_t[]){0xde, 0xc1}, 2, &faddp);
    guest_decode((const uint8_t[]){0xdb, 0xe2}, 2, &fnclex);
    cr_assert_eq(guest_execute(&fld1, &waiting), -1);
    cr_assert(waiting);
    cr_assert_eq(ferr_level, 1);
    cr_assert(guest->request & VCPU_REQ_EVENT);
    cr_assert_eq(guest->fx.ftw, 0);
    fpu_ignore_error(guest);
    cr_assert_eq(ferr_level, 0);
    cr_assert_eq(guest_execute(&fld1, &waiting), -1);
    cr_assert_not(waiting);
    cr_assert_eq(guest_execute(&fld1, &waiting), -1);
    cr_assert_eq(guest_execute(&faddp, &waiting), -1);
    cr_assert_eq(guest->fx.ftw, 0x80);
    cr_assert_eq(guest->fx.fcw, 0x037b);
    cr_assert_eq(guest->fx.fsw & 0xff, 0x84, "the error is still pending");
    cr_assert_eq(GUEST_RUN(0x9b), -1);
    cr_assert_eq(guest_execute(&fnclex, &waiting), -1);
    guest->fx.fsw |= 0x0004;
    cr_assert_eq(guest_execute(&fld1, &waiting), -1);
    cr_assert(waiting, "IGNNE# went away with the error");
    cr_assert_eq(ferr_level, 1);
}

/* --- memory operands --- */

Test(fpu_state, faulting_stores_change_nothing)
{
    /* clang-format off */
    static const uint8_t stores[][4] = {
        {0xdd, 0x1b},             /* fstp qword */
        {0xdb, 0x3b},             /* fstp tbyte */
        {0xdf, 0x33},             /* fbstp */
        {0xdd, 0x33},             /* fnsave */
        {0x0f, 0x11, 0x03},       /* movups */
        {0x0f, 0x13, 0x03},       /* movlps */
        {0x0f, 0x7f, 0x03},       /* movq mm */
        {0x66, 0x0f, 0xf7, 0xc1}, /* maskmovdqu */
    };
    /* clang-format on */
    for (unsigned n = 0; n < sizeof stores / sizeof stores[0]; n++) {
        uint32_t la = GUEST_HOLE - 4;
        struct fxsave_area before;
        struct insn i;
        guest->fx.ftw = 0xff;
        guest->fx.fsw = 0;
        memset(guest->fx.xmm[1], 0x80, 16);
        set32(la, 0xeeeeeeee);
        guest->gpr[R_EBX] = guest->gpr[R_EDI] = la;
        before = guest->fx;
        cr_assert_eq(decode(guest_decoder, stores[n], 4, true, &i), DECODE_OK);
        cr_assert_eq(guest_execute(&i, NULL), VEC_PF, "%s", i.info->name);
        cr_assert_eq(guest->exc.cr2, GUEST_HOLE, "%s", i.info->name);
        cr_assert_eq(data32(la), 0xeeeeeeee, "%s", i.info->name);
        cr_assert_arr_eq(&guest->fx, &before, 288, "%s", i.info->name);
    }
}

/* An unmasked error of a store keeps it from storing, in a bounce buffer as well. */
Test(fpu_state, store_with_unmasked_error)
{
    for (unsigned at = 0; at < 2; at++) {
        guest->gpr[R_EBX] = at ? DATA + 4094 : DATA;
        guest->fx.fcw = 0x037e;
        guest->fx.fsw = 0;
        guest->fx.ftw = 0xff;
        memset(guest->fx.st[0], 0xff, 10); /* NaN */
        cr_assert_eq(GUEST_RUN(0xdb, 0x1b), -1);
        cr_assert_eq(data32(guest->gpr[R_EBX]), 0xeeeeeeee);
        cr_assert_eq(guest->fx.fsw & 0x3881, 0x0081, "not popped, pending");
        guest->fx.fcw = 0x035f; /* inexact alone stores */
        guest->fx.fsw = 0;
        memcpy(guest->fx.st[0], "\x35\xc2\x68\x21\xa2\xda\x0f\xc9\x00\x40", 10);
        cr_assert_eq(GUEST_RUN(0xdb, 0x1b), -1);
        cr_assert_eq(data32(guest->gpr[R_EBX]), 3);
    }
}

Test(fpu_state, segment_override_and_pointers)
{
    guest->seg[SEG_FS].base = 0x1000;
    guest->seg[SEG_FS].sel = 0x83;
    guest->gpr[R_EBX] = DATA - 0x1000;
    set32(DATA, 0x40000000);
    cr_assert_eq(GUEST_RUN(0x64, 0xd9, 0x03), -1);
    cr_assert_eq(guest->fx.fdp, DATA - 0x1000);
    cr_assert_eq(guest->fx.fds, 0x83);
    cr_assert_eq(guest->fx.st[0][9], 0x40);
}

Test(fpu_state, alignment_check)
{
    guest->cr0 |= CR0_AM;
    guest->eflags |= EFL_AC;
    guest->cpl = 3;
    cr_assert_eq(GUEST_RUN(0xdd, 0x43, 0x08), -1);
    cr_assert_eq(GUEST_RUN(0xdd, 0x43, 0x04), VEC_AC);
    cr_assert_eq(GUEST_RUN(0xf3, 0x0f, 0x10, 0x43, 0x02), VEC_AC);
    cr_assert_eq(GUEST_RUN(0x0f, 0x28, 0x43, 0x08), VEC_GP);
    guest->cpl = 0;
    cr_assert_eq(GUEST_RUN(0xdd, 0x43, 0x04), -1);
}

static uint32_t device_log[16], device_count;
static uint32_t device_read(void *dev, uint32_t off, unsigned size)
{
    (void)dev;
    device_log[device_count++ & 15] = off | size << 16;
    return 0x3f800000 + off;
}
static void device_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    (void)dev;
    (void)value;
    device_log[device_count++ & 15] = off | size << 16 | 1u << 31;
}

Test(fpu_state, device_memory)
{
    static const struct io_ops ops = {device_read, device_write, 4};
    cr_assert_eq(bus_map_mmio(guest_machine.bus, 0xe0000000, 0x1000, &ops, NULL), 0);
    guest_page(0x40000, 0xe0000000 | PTE_P | PTE_W | PTE_U);
    guest->gpr[R_EBX] = 0x40000;
    cr_assert_eq(GUEST_RUN(0xf3, 0x0f, 0x10, 0x43, 0x04), -1); /* movss xmm0, [ebx+4] */
    cr_assert_eq(device_count, 1);
    cr_assert_eq(device_log[0], 4 | 4 << 16);
    cr_assert_eq(guest->fx.xmm[0][0], 4);
    cr_assert_eq(GUEST_RUN(0xdd, 0x03), -1); /* fld qword [ebx] */
    cr_assert_eq(device_count, 3);
    cr_assert_eq(GUEST_RUN(0x0f, 0x7f, 0x43, 0x10), -1); /* movq [ebx+16], mm0 */
    cr_assert_eq(device_count, 5);
    cr_assert_eq(device_log[3], (16 | 4 << 16 | 1u << 31));
}

static unsigned code_writes;
static void code_written(void *opaque, uint32_t gfn, uint32_t offset, uint32_t size)
{
    (void)opaque;
    cr_assert_eq(gfn, DATA >> 12);
    cr_assert_leq(offset, 0x10 + 16 - size);
    code_writes += size;
}

Test(fpu_state, watched_code)
{
    phys_set_code_callback(guest_machine.phys, PHYS_WATCH_INTERP, code_written, NULL);
    phys_watch(guest_machine.phys, DATA >> 12, PHYS_WATCH_INTERP);
    memset(guest->fx.xmm[0], 0x5a, 16);
    cr_assert_eq(GUEST_RUN(0x0f, 0x29, 0x43, 0x10), -1); /* movaps [ebx+16], xmm0 */
    cr_assert_eq(data32(DATA + 0x1c), 0x5a5a5a5a);
    cr_assert_eq(code_writes, 16);
}

/* --- thunks --- */

/* More different instructions than thunks: records made before a flush still execute rightly. */
Test(fpu_state, flush)
{
    struct insn first;
    guest_decode((const uint8_t[]){0x66, 0x0f, 0x70, 0xc1, 0x1b}, 5, &first);
    for (unsigned n = 0; n < 16384; n++) {
        const uint8_t bytes[] = {0x66, 0x0f, 0x70, (uint8_t)(0xc0 | n >> 8), (uint8_t)n};
        struct insn i;
        guest_decode(bytes, sizeof bytes, &i);
        for (unsigned r = 0; r < 8; r++)
            for (unsigned b = 0; b < 16; b++)
                guest->fx.xmm[r][b] = (uint8_t)(r << 4 | b / 4);
        cr_assert_eq(guest_execute(&i, NULL), -1);
        unsigned from = n >> 8 & 7, to = n >> 11 & 7;
        for (unsigned lane = 0; lane < 4; lane++)
            cr_assert_eq(guest->fx.xmm[to][4 * lane], from << 4 | (n >> (2 * lane) & 3), "%u", n);
        if (n % 1000 == 0) {
            guest->fx.xmm[1][12] = 0xa5;
            cr_assert_eq(guest_execute(&first, NULL), -1);
            cr_assert_eq(guest->fx.xmm[0][0], 0xa5);
        }
    }
}

Test(fpu_state, host_environment_survives)
{
    uint16_t before = fpu_control();
    uint32_t mxcsr;
    guest->fx.fcw = 0x0c7f;
    guest->fx.mxcsr = 0x7f80;
    cr_assert_eq(GUEST_RUN(0xd9, 0xe8), -1);
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    cr_assert_eq(fpu_control(), before);
    cr_assert_eq(mxcsr & 0xffc0, 0x1f80);
    cr_assert_eq(guest->fx.fcw, 0x0c7f);
    cr_assert_eq(guest->fx.mxcsr, 0x7f80);
}
