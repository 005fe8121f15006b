/* SPDX-License-Identifier: MIT */
/* interp_guest.h: a processor with flat segments and paging for the interpreter's tests, and the
 * comparison of an instruction's execution by both of the interpreter's ways with the host's.
 *
 * Linear addresses below 4 MiB are mapped to themselves. CPL is 0; HLT ends a run. */
#ifndef RINGDOWN_TESTS_UNIT_INTERP_GUEST_H
#define RINGDOWN_TESTS_UNIT_INTERP_GUEST_H

#include "devices/device.h"
#include "runtime/exception.h"
#include "runtime/interp.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"
#include "runtime/system.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "interp_native.h"

#define GUEST_PDE 0x1000u
#define GUEST_PT  0x2000u

static struct machine guest_machine;
static struct vcpu *guest;

static void guest_segment(unsigned seg, uint32_t base, uint32_t limit, uint32_t attr)
{
    guest->seg[seg] = (struct segment){.base = base,
                                       .limit = limit,
                                       .attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_ACCESSED | attr,
                                       .sel = (uint16_t)(8 + 8 * seg)};
}

static uint8_t *guest_ram(uint32_t gpa)
{
    return phys_hva(guest_machine.phys, gpa >> 12) + (gpa & 0xfff);
}

static void guest_map(uint32_t la, uint32_t entry)
{
    memcpy(guest_ram(GUEST_PT + (la >> 12) * 4), &entry, 4);
    mmu_invlpg(guest, la);
}

static void guest_flat(void)
{
    guest_segment(SEG_CS, 0, 0xffffffff, SEG_ATTR_CODE | SEG_ATTR_READ | SEG_ATTR_DB | SEG_ATTR_G);
    for (unsigned s = SEG_ES; s <= SEG_GS; s++)
        if (s != SEG_CS)
            guest_segment(s, 0, 0xffffffff, SEG_ATTR_WRITE | SEG_ATTR_DB | SEG_ATTR_G);
}

static void guest_protect_frame(void *opaque, uint32_t gfn)
{
    mmu_protect_frame(opaque, gfn);
}

static void guest_init(void)
{
    int error = 0;
    guest_machine.bus = bus_create();
    guest_machine.phys = phys_create(16u << 20, guest_machine.bus, &error);
    cr_assert_not_null(guest_machine.phys);
    guest = aligned_alloc(64, (sizeof *guest + 63) & ~(size_t)63);
    memset(guest, 0, sizeof *guest);
    guest->machine = &guest_machine;
    guest_machine.vcpu = guest;
    guest->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET;
    guest->cr3 = GUEST_PDE;
    guest->eflags = EFL_ONE;
    guest->dr[7] = DR7_FIXED;
    guest->delivering = -1;
    guest_flat();
    phys_set_watch_callback(guest_machine.phys, guest_protect_frame, guest);
    mmu_reset(guest);
    uint32_t pde = GUEST_PT | PTE_P | PTE_W | PTE_U;
    memcpy(guest_ram(GUEST_PDE), &pde, 4);
    for (uint32_t la = 0; la < 4u << 20; la += 0x1000)
        guest_map(la, la | PTE_P | PTE_W | PTE_U);
    guest->interp = interp_create(guest);
    cr_assert_not_null(guest->interp);
}

static inline void guest_fini(void)
{
    interp_destroy(guest->interp);
    phys_destroy(guest_machine.phys);
    bus_destroy(guest_machine.bus);
    free(guest);
}

/* Writes as a device would. */
static void guest_write(uint32_t gpa, const void *bytes, size_t n)
{
    cr_assert(phys_dma_write(guest_machine.phys, gpa, bytes, n));
}
#define GUEST_CODE(la, ...)                                                                        \
    guest_write(la, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

enum way { WAY_STEP, WAY_RUN };

/* The vector raised, or -1. */
static int guest_go(enum way way)
{
    volatile int vector = -1;
    guest->halted = false;
    if (setjmp(guest->fault_jmp) == 0) {
        if (way == WAY_STEP)
            interp_step(guest);
        else
            interp_run(guest);
    } else {
        vector = guest->exc.vector;
    }
    return vector;
}

/* --- against the host --- */

static uint64_t random_state = 0x9e3779b97f4a7c15u;
static inline uint32_t random32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 24);
}

/* Boundary values every other time. */
static inline uint32_t random_value(void)
{
    static const uint32_t special[] = {
        0,      1,      2,          0x7f,       0x80,       0xff,       0x100,      0x7fff,
        0x8000, 0xffff, 0x7fffffff, 0x80000000, 0x80000001, 0xfffffffe, 0xffffffff, 0x99,
    };
    uint32_t r = random32();
    return r & 1 ? special[r >> 1 & 15] : random32();
}

static uint8_t compare_before[WINDOW_MEMORY_SIZE], compare_after[WINDOW_MEMORY_SIZE];

static inline void compare_randomize_memory(void)
{
    for (unsigned n = 0; n < WINDOW_MEMORY_SIZE; n += 4) {
        uint32_t value = random32();
        memcpy(compare_before + n, &value, 4);
    }
}

static const char *compare_text(const uint8_t *code, size_t n)
{
    static char text[64];
    for (size_t k = 0; k < n && k < 20; k++)
        snprintf(text + 3 * k, sizeof text - 3 * k, "%02x ", code[k]);
    return text;
}

/* Flags in which the host is no reference. */
static uint32_t compare_not;

static void compare_guest(const uint8_t *code, size_t n, const struct regs *in,
                          const struct regs *want, bool want_ok, enum way way)
{
    static const uint8_t hlt = 0xf4;
    guest_write(WINDOW_CODE, code, n);
    guest_write(WINDOW_CODE + (uint32_t)n, &hlt, 1);
    guest_write(WINDOW_MEMORY, compare_before, WINDOW_MEMORY_SIZE);
    memcpy(guest->gpr, in->gpr, sizeof guest->gpr);
    guest->eflags = in->eflags | EFL_ONE;
    guest->eip = WINDOW_CODE;
    uint64_t retired = guest->retired;
    int vector = guest_go(way);
    const char *text = compare_text(code, n);
    cr_assert_eq(vector < 0, want_ok, "%s way %d: vector %d", text, way, vector);
    if (!want_ok) {
        cr_assert_eq(guest->eip, WINDOW_CODE, "%s", text);
        cr_assert_eq(memcmp(guest->gpr, in->gpr, sizeof guest->gpr), 0, "%s", text);
        return;
    }
    uint32_t end = WINDOW_CODE + (uint32_t)n + (way == WAY_RUN);
    cr_assert_eq(guest->eip, end, "%s way %d: eip %x", text, way, guest->eip);
    cr_assert_eq(guest->retired - retired, way == WAY_RUN ? 2 : 1, "%s way %d: retired %lu", text,
                 way, guest->retired - retired);
    for (unsigned r = 0; r < 8; r++)
        cr_assert_eq(guest->gpr[r], want->gpr[r],
                     "%s way %d: register %u is %08x, not %08x (eax %08x ecx %08x edx %08x, flags "
                     "%x)",
                     text, way, r, guest->gpr[r], want->gpr[r], in->gpr[0], in->gpr[1], in->gpr[2],
                     in->eflags);
    uint32_t differs = (guest->eflags ^ want->eflags) & (EFL_ARITH | EFL_DF) & ~compare_not;
    cr_assert_eq(differs, 0,
                 "%s way %d: flags %03x, not %03x (eax %08x ecx %08x edx %08x, flags %03x)", text,
                 way, guest->eflags, want->eflags, in->gpr[0], in->gpr[1], in->gpr[2], in->eflags);
    for (unsigned k = 0; k < WINDOW_MEMORY_SIZE; k += 0x1000) {
        const uint8_t *ram = guest_ram(WINDOW_MEMORY + k);
        for (unsigned b = 0; b < 0x1000 && memcmp(ram, compare_after + k, 0x1000); b++)
            cr_assert_eq(ram[b], compare_after[k + b], "%s way %d: byte %x is %02x, not %02x", text,
                         way, WINDOW_MEMORY + k + b, ram[b], compare_after[k + b]);
    }
}

/* One instruction from one state, on the host and in both ways. */
static void compare(const uint8_t *code, size_t n, const struct regs *in)
{
    struct regs out;
    memcpy(native_window(WINDOW_MEMORY), compare_before, WINDOW_MEMORY_SIZE);
    bool ok = native_run(code, n, in, &out);
    memcpy(compare_after, native_window(WINDOW_MEMORY), WINDOW_MEMORY_SIZE);
    compare_guest(code, n, in, &out, ok, WAY_STEP);
    compare_guest(code, n, in, &out, ok, WAY_RUN);
}

/* EAX, ECX, EDX random, the others pointers; the arithmetic flags in all combinations in turn. */
static inline void compare_random_regs(struct regs *r, unsigned round)
{
    static const uint32_t flag[] = {EFL_CF, EFL_PF, EFL_AF, EFL_ZF, EFL_SF, EFL_OF};
    r->gpr[R_EAX] = random_value();
    r->gpr[R_ECX] = random_value();
    r->gpr[R_EDX] = random_value();
    r->gpr[R_EBX] = WINDOW_DATA + 0x1100;
    r->gpr[R_ESP] = WINDOW_STACK + 0x1000;
    r->gpr[R_EBP] = WINDOW_DATA + 0x1400;
    r->gpr[R_ESI] = WINDOW_DATA + 0x1200;
    r->gpr[R_EDI] = WINDOW_DATA + 0x1ffc;
    r->eflags = EFL_ONE | EFL_IF;
    for (unsigned k = 0; k < 6; k++)
        r->eflags |= round >> k & 1 ? flag[k] : 0;
}

static inline void compare_rounds(const uint8_t *code, size_t n, unsigned rounds)
{
    for (unsigned k = 0; k < rounds; k++) {
        struct regs r;
        compare_random_regs(&r, random32());
        compare(code, n, &r);
    }
}
#define COMPARE(rounds, ...)                                                                       \
    compare_rounds((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), rounds)

static void compare_init(void)
{
    native_init();
    guest_init();
    compare_randomize_memory();
}

#endif
