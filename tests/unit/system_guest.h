/* SPDX-License-Identifier: MIT */
/* system_guest.h: a processor in protected mode with tables of its own in low memory, for the tests
 * of segmentation, gates, tasks and system registers. Nothing is executed: tests call the functions
 * behind the instructions and look at the processor's state. */
#ifndef RINGDOWN_TESTS_UNIT_SYSTEM_GUEST_H
#define RINGDOWN_TESTS_UNIT_SYSTEM_GUEST_H

#include "devices/device.h"
#include "runtime/exception.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/phys.h"
#include "runtime/segment.h"
#include "runtime/system.h"
#include "runtime/transfer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define GDT         0x1000u
#define IDT         0x2000u
#define LDT         0x3000u
#define TSS_A       0x4000u /* the current task's */
#define TSS_B       0x5000u
#define TSS_C       0x6000u /* 16-bit */
#define STACK(ring) (0x9000u + (ring)*0x1000u)
#define USER_ESP    0xf000u

/* Selectors; ring is or-ed in as RPL where it matters. */
enum {
    S_CODE0 = 0x08,
    S_DATA0 = 0x10,
    S_CODE3 = 0x18,
    S_DATA3 = 0x20,
    S_TSS_A = 0x28,
    S_SCRATCH = 0x30,
    S_CONFORMING = 0x38,
    S_LDT = 0x40,
    S_TSS_B = 0x48,
    S_TSS_C = 0x50,
    S_TASK_GATE = 0x58,
    S_CALL_GATE = 0x60,
    S_CODE16 = 0x68,
    S_CODE1 = 0x70,
    S_DATA1 = 0x78,
    S_DATA16 = 0x80,
};
#define GDT_LIMIT 0x87u

/* Attribute shorthands: present segments of each kind. */
#define A_CODE(dpl)      (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | SEG_ATTR_G | 0xa | (dpl) << 5)
#define A_DATA(dpl)      (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | SEG_ATTR_G | 0x2 | (dpl) << 5)
#define A_SYS(type, dpl) (SEG_ATTR_P | (type) | (dpl) << 5)

static struct machine guest_machine;
static struct vcpu *guest;

static uint8_t *ram(uint32_t gpa)
{
    return phys_hva(guest_machine.phys, gpa >> 12) + (gpa & 0xfff);
}

static inline uint32_t peek32(uint32_t gpa)
{
    uint32_t value;
    memcpy(&value, ram(gpa), 4);
    return value;
}

static inline uint16_t peek16(uint32_t gpa)
{
    return (uint16_t)peek32(gpa);
}

static inline void poke32(uint32_t gpa, uint32_t value)
{
    memcpy(ram(gpa), &value, 4);
}

static inline void poke16(uint32_t gpa, uint16_t value)
{
    memcpy(ram(gpa), &value, 2);
}

/* limit in units of the attribute's granularity */
static inline void put_descriptor(uint32_t at, uint32_t base, uint32_t limit, uint32_t attr)
{
    poke32(at, (limit & 0xffff) | base << 16);
    poke32(at + 4, (base >> 16 & 0xff) | attr << 8 | (limit & 0xf0000) | (base & 0xff000000u));
}

static inline void gdt_set(uint16_t sel, uint32_t base, uint32_t limit, uint32_t attr)
{
    put_descriptor(GDT + (sel & 0xfff8u), base, limit, attr);
}

/* Gates of GDT and IDT. */
static inline void put_gate(uint32_t at, uint16_t sel, uint32_t off, uint32_t attr, unsigned params)
{
    poke32(at, (off & 0xffff) | (uint32_t)sel << 16);
    poke32(at + 4, (off & 0xffff0000u) | attr << 8 | params);
}

static inline void idt_set(uint8_t vector, uint16_t sel, uint32_t off, uint32_t attr)
{
    put_gate(IDT + vector * 8u, sel, off, attr, 0);
}

#define HANDLER(vector) (0x100000u + (vector)*0x10u)

/* Loads CS and SS of a ring as if the guest ran there. */
static void run_in(unsigned ring)
{
    static const uint16_t code[] = {S_CODE0, S_CODE1, 0, S_CODE3};
    static const uint16_t data[] = {S_DATA0, S_DATA1, 0, S_DATA3};
    struct descriptor d;
    guest->cpl = (uint8_t)ring;
    descriptor_unpack(0x0000ffff, 0x00cf0000u | (A_CODE(ring) & 0xff) << 8 | 1 << 8, &d);
    segment_set(guest, SEG_CS, (uint16_t)(code[ring] | ring), &d);
    descriptor_unpack(0x0000ffff, 0x00cf0000u | (A_DATA(ring) & 0xff) << 8 | 1 << 8, &d);
    segment_set(guest, SEG_SS, (uint16_t)(data[ring] | ring), &d);
    for (unsigned seg = SEG_ES; seg <= SEG_GS; seg++)
        if (seg != SEG_CS && seg != SEG_SS)
            segment_set(guest, seg, (uint16_t)(data[ring] | ring), &d);
    guest->gpr[R_ESP] = ring == 3 ? USER_ESP : STACK(ring);
    guest->eip = 0xc000;
    guest->delivering = -1;
    guest->exc.pending = false;
    guest->shutdown = false;
}

static void tables_init(void)
{
    memset(ram(GDT), 0, 0x1000);
    gdt_set(S_CODE0, 0, 0xfffff, A_CODE(0));
    gdt_set(S_DATA0, 0, 0xfffff, A_DATA(0));
    gdt_set(S_CODE3, 0, 0xfffff, A_CODE(3));
    gdt_set(S_DATA3, 0, 0xfffff, A_DATA(3));
    gdt_set(S_CODE1, 0, 0xfffff, A_CODE(1));
    gdt_set(S_DATA1, 0, 0xfffff, A_DATA(1));
    gdt_set(S_CONFORMING, 0, 0xfffff, A_CODE(0) | SEG_ATTR_CONFORM);
    gdt_set(S_CODE16, 0, 0xffff, SEG_ATTR_P | SEG_ATTR_S | 0xa);
    gdt_set(S_DATA16, 0, 0xffff, SEG_ATTR_P | SEG_ATTR_S | 0x2);
    gdt_set(S_LDT, LDT, 0x7f, A_SYS(DESC_LDT, 0));
    gdt_set(S_TSS_A, TSS_A, 0x67, A_SYS(DESC_TSS32_BUSY, 0));
    gdt_set(S_TSS_B, TSS_B, 0x67, A_SYS(DESC_TSS32, 0));
    gdt_set(S_TSS_C, TSS_C, 0x2b, A_SYS(DESC_TSS16, 0));
    put_gate(GDT + S_TASK_GATE, S_TSS_B, 0, A_SYS(DESC_TASK_GATE, 3), 0);
    for (unsigned i = 0; i < 256; i++)
        idt_set((uint8_t)i, S_CODE0, HANDLER(i), A_SYS(DESC_INT32, 3));
    for (unsigned ring = 0; ring < 3; ring++) {
        static const uint16_t data[] = {S_DATA0, S_DATA1 | 1, 0};
        poke32(TSS_A + 4 + 8 * ring, STACK(ring));
        poke32(TSS_A + 8 + 8 * ring, data[ring]);
    }
    poke16(TSS_A + 0x66, 0x68);
}

static void guest_init(void)
{
    char err[128];
    int error;
    memset(&guest_machine, 0, sizeof(guest_machine));
    guest_machine.bus = bus_create();
    guest_machine.phys = phys_create(4u << 20, guest_machine.bus, &error);
    guest_machine.cpu_model = cpu_model_create("max", err, sizeof(err));
    guest = aligned_alloc(64, (sizeof(*guest) + 63) & ~(size_t)63);
    memset(guest, 0, sizeof(*guest));
    guest->machine = &guest_machine;
    guest_machine.vcpu = guest;
    vcpu_reset(guest);
    tables_init();
    guest->cr0 |= CR0_PE;
    guest->gdtr = (struct table_register){GDT, GDT_LIMIT};
    guest->idtr = (struct table_register){IDT, 0x7ff};
    guest->seg[SEG_TR] = (struct segment){
        .base = TSS_A, .limit = 0x67, .attr = A_SYS(DESC_TSS32_BUSY, 0), .sel = S_TSS_A};
    guest->seg[SEG_LDTR] = (struct segment){.attr = SEG_ATTR_NULL};
    run_in(0);
}

static void guest_fini(void)
{
    cpu_model_destroy(guest_machine.cpu_model);
    phys_destroy(guest_machine.phys);
    bus_destroy(guest_machine.bus);
    free(guest);
}

/* Defines try_NAME(): the vector that the call raises, or -1. guest->exc tells the rest. */
#define TRY(name, params, call)                                                                    \
    static inline int try_##name params                                                            \
    {                                                                                              \
        guest->exc.pending = false;                                                                \
        if (_setjmp(guest->fault_jmp))                                                             \
            return guest->exc.vector;                                                              \
        call;                                                                                      \
        return -1;                                                                                 \
    }

#define assert_fault(call, vector, code)                                                           \
    do {                                                                                           \
        int raised = (call);                                                                       \
        cr_assert_eq(raised, (int)(vector), #call ": vector %d, not %d", raised, (int)(vector));   \
        cr_assert_eq(guest->exc.error, (uint32_t)(code), #call ": error %#x, not %#x",             \
                     guest->exc.error, (uint32_t)(code));                                          \
    } while (0)
#define assert_ok(call) cr_assert_eq((call), -1, #call ": vector %d", guest->exc.vector)

#endif
