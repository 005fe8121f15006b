/* SPDX-License-Identifier: MIT */
/* fpu_guest.h: a processor with flat segments and one page table, for the FPU tests. Linear
 * addresses below 4 MiB are mapped to themselves, but for GUEST_HOLE. */
#ifndef RINGDOWN_TESTS_UNIT_FPU_GUEST_H
#define RINGDOWN_TESTS_UNIT_FPU_GUEST_H

#include "devices/device.h"
#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/interp.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"
#include "translator/insn.h"

#include "fpu_native.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define GUEST_PDE  0x1000u
#define GUEST_PT   0x2000u
#define GUEST_DATA 0x20000u /* two pages for operands */
#define GUEST_HOLE 0x30000u /* a page that is not present */
#define GUEST_EIP  0x12345678u

static struct machine guest_machine;
static struct vcpu *guest;
static struct decoder *guest_decoder;

static void guest_signal(int signal, siginfo_t *info, void *context)
{
    (void)info;
    if (!native_fix_signal(context) && !fpu_fix_signal(context)) {
        struct sigaction fatal = {.sa_handler = SIG_DFL};
        sigaction(signal, &fatal, NULL);
    }
}

static void guest_segment(struct segment *s, uint16_t sel, uint32_t type)
{
    *s = (struct segment){.limit = 0xffffffff,
                          .attr = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | SEG_ATTR_G | type |
                                  SEG_ATTR_ACCESSED,
                          .sel = sel};
}

static uint8_t *guest_ram(uint32_t gpa)
{
    return phys_hva(guest_machine.phys, gpa >> 12) + (gpa & 0xfff);
}

static void guest_page(uint32_t la, uint32_t entry)
{
    memcpy(guest_ram(GUEST_PT + (la >> 12) * 4), &entry, 4);
}

static void guest_init(void)
{
    int error = 0;
    struct sigaction sa = {.sa_sigaction = guest_signal, .sa_flags = SA_SIGINFO};
    sigaction(SIGFPE, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    guest_machine.bus = bus_create();
    guest_machine.phys = phys_create(16u << 20, guest_machine.bus, &error);
    cr_assert_not_null(guest_machine.phys);
    guest = aligned_alloc(64, (sizeof *guest + 63) & ~(size_t)63);
    memset(guest, 0, sizeof *guest);
    guest->machine = &guest_machine;
    guest_machine.vcpu = guest;
    guest->cr0 = CR0_PE | CR0_PG | CR0_NE | CR0_ET;
    guest->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
    guest->cr3 = GUEST_PDE;
    guest->eflags = EFL_ONE;
    guest->eip = GUEST_EIP;
    guest->delivering = -1;
    guest_segment(&guest->seg[SEG_CS], 0x73, SEG_ATTR_CODE | SEG_ATTR_READ);
    for (unsigned s = SEG_ES; s <= SEG_GS; s++)
        if (s != SEG_CS)
            guest_segment(&guest->seg[s], 0x7b, SEG_ATTR_WRITE);
    uint32_t pde = GUEST_PT | PTE_P | PTE_W | PTE_U;
    memcpy(guest_ram(GUEST_PDE), &pde, 4);
    for (uint32_t la = 0; la < 4u << 20; la += 0x1000)
        guest_page(la, la == GUEST_HOLE ? 0 : la | PTE_P | PTE_W | PTE_U);
    mmu_reset(guest);
    fpu_reset(guest);
    cr_assert_eq(fpu_create(guest), 0);
    guest_decoder = decoder_create_features(~0u);
    cr_assert_not_null(guest_decoder);
}

static void guest_fini(void)
{
    fpu_destroy(guest);
    decoder_destroy(guest_decoder);
    phys_destroy(guest_machine.phys);
    bus_destroy(guest_machine.bus);
    free(guest);
}

static void guest_decode(const uint8_t *bytes, unsigned n, struct insn *i)
{
    uint8_t padded[INSN_MAX_LENGTH] = {0};
    memcpy(padded, bytes, n);
    enum decode_status status = decode(guest_decoder, padded, sizeof padded, true, i);
    cr_assert_eq(status, DECODE_OK, "%02x %02x %02x %02x: status %d", padded[0], padded[1],
                 padded[2], padded[3], status);
    cr_assert_eq(i->length, n, "%02x %02x %02x %02x: length %u", padded[0], padded[1], padded[2],
                 padded[3], i->length);
}

/* Executes i with the FPU entered. The vector raised, or -1. *waiting: the instruction did not
 * execute but asserted FERR#. */
static int guest_execute(const struct insn *i, bool *waiting)
{
    volatile int vector = -1;
    fpu_enter(guest);
    if (setjmp(guest->fault_jmp) == 0) {
        bool moved = interp_fpu_ops[i->op](guest, i);
        if (waiting)
            *waiting = moved;
    } else {
        vector = guest->exc.vector;
    }
    fpu_leave(guest);
    return vector;
}

/* The same from bytes. */
static inline int guest_run(const uint8_t *bytes, unsigned n)
{
    struct insn i;
    guest_decode(bytes, n, &i);
    return guest_execute(&i, NULL);
}
#define GUEST_RUN(...)                                                                             \
    guest_run((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

#endif
