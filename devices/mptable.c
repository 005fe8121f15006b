/* SPDX-License-Identifier: MIT */
/* mptable.c: this machine's hardware, as MultiProcessor Specification 1.4 tables (chapter 4): for
 * kernels that use the APICs and do not read ACPI. */
#include "devices/mptable.h"
#include "devices/aml.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/pci.h"
#include "devices/pm.h"

#define POINTER_SIZE   16
#define LAPIC_VERSION  0x14
#define IOAPIC_VERSION 0x11
#define IOAPIC_ID      0
#define ALL_LAPICS     0xff
#define FLAGS_CONFORM  0x0000
#define FLAGS_LEVEL    0x000d /* active high, level */

enum bus_id { BUS_PCI, BUS_ISA };
enum entry { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_IO_INTERRUPT, MP_LOCAL_INTERRUPT };
enum interrupt { INT_VECTORED, INT_NMI, INT_SMI, INT_EXT };

struct table {
    struct aml out;
    unsigned entries;
};

static uint8_t checksum(const uint8_t *p, size_t n)
{
    uint8_t sum = 0;
    while (n--)
        sum += *p++;
    return (uint8_t)-sum;
}

static void entry(struct table *t, enum entry type)
{
    aml_byte(&t->out, (uint8_t)type);
    t->entries++;
}

static void interrupt(struct table *t, enum entry type, enum interrupt kind, uint16_t flags,
                      uint8_t bus, uint8_t source, uint8_t to, uint8_t input)
{
    entry(t, type);
    aml_byte(&t->out, (uint8_t)kind);
    aml_le(&t->out, flags, 2);
    aml_byte(&t->out, bus);
    aml_byte(&t->out, source);
    aml_byte(&t->out, to);
    aml_byte(&t->out, input);
}

static void parts(struct table *t, uint32_t signature, uint32_t features)
{
    static const char *const buses[] = {[BUS_PCI] = "PCI   ", [BUS_ISA] = "ISA   "};
    struct aml *a = &t->out;
    entry(t, MP_PROCESSOR);
    aml_byte(a, 0); /* local APIC ID */
    aml_byte(a, LAPIC_VERSION);
    aml_byte(a, 3); /* enabled, bootstrap processor */
    aml_le(a, signature, 4);
    aml_le(a, features, 4);
    aml_le(a, 0, 8);
    for (uint8_t i = 0; i < 2; i++) {
        entry(t, MP_BUS);
        aml_byte(a, i);
        aml_bytes(a, buses[i], 6);
    }
    entry(t, MP_IOAPIC);
    aml_byte(a, IOAPIC_ID);
    aml_byte(a, IOAPIC_VERSION);
    aml_byte(a, 1); /* enabled */
    aml_le(a, IOAPIC_BASE, 4);
}

static bool pci_routed(unsigned irq)
{
    for (unsigned pirq = 0; pirq < 4; pirq++)
        if (pci_pirq_irq(pirq) == irq)
            return true;
    return false;
}

/* PCI pins by slot, then the ISA interrupts that none of them uses; IRQ 0 comes in at pin 2. */
static void interrupts(struct table *t)
{
    for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < 4; pin++) {
            unsigned irq = pci_pirq_irq(pci_slot_pirq(slot, pin + 1));
            interrupt(t, MP_IO_INTERRUPT, INT_VECTORED, FLAGS_LEVEL, BUS_PCI,
                      (uint8_t)(slot << 2 | pin), IOAPIC_ID, (uint8_t)irq);
        }
    }
    for (uint8_t irq = 0; irq < 16; irq++) {
        if (irq == 2 || pci_routed(irq))
            continue;
        uint16_t flags = irq == PM_SCI_IRQ ? FLAGS_LEVEL : FLAGS_CONFORM;
        interrupt(t, MP_IO_INTERRUPT, INT_VECTORED, flags, BUS_ISA, irq, IOAPIC_ID, irq ? irq : 2);
    }
    interrupt(t, MP_LOCAL_INTERRUPT, INT_EXT, FLAGS_CONFORM, BUS_ISA, 0, ALL_LAPICS, 0);
    interrupt(t, MP_LOCAL_INTERRUPT, INT_NMI, FLAGS_CONFORM, BUS_ISA, 0, ALL_LAPICS, 1);
}

static void put16(uint8_t *p, size_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static void configuration(struct table *t, uint32_t signature, uint32_t features)
{
    struct aml *a = &t->out;
    size_t start = a->len;
    aml_bytes(a, "PCMP", 4);
    aml_le(a, 0, 2); /* length */
    aml_byte(a, 4);  /* revision 1.4 */
    aml_byte(a, 0);  /* checksum */
    aml_bytes(a, "RINGDOWN", 8);
    aml_bytes(a, "PC          ", 12);
    aml_le(a, 0, 6); /* no OEM table */
    aml_le(a, 0, 2); /* entries */
    aml_le(a, LAPIC_DEFAULT_BASE, 4);
    aml_le(a, 0, 4); /* no extended entries */
    parts(t, signature, features);
    interrupts(t);
    if (a->full)
        return;
    put16(a->buf + start + 4, a->len - start);
    put16(a->buf + start + 34, t->entries);
    a->buf[start + 7] = checksum(a->buf + start, a->len - start);
}

size_t mptable_build(uint32_t gpa, uint8_t *buf, size_t size, uint32_t cpu_signature,
                     uint32_t cpu_features)
{
    struct table t = {
        .out = {.buf = buf, .size = size}
    };
    aml_bytes(&t.out, "_MP_", 4);
    aml_le(&t.out, gpa + POINTER_SIZE, 4);
    aml_byte(&t.out, 1);  /* length, in 16 bytes */
    aml_byte(&t.out, 4);  /* revision 1.4 */
    aml_byte(&t.out, 0);  /* checksum */
    aml_le(&t.out, 0, 5); /* a configuration table is there; virtual wire mode, no IMCR */
    configuration(&t, cpu_signature, cpu_features);
    if (t.out.full)
        return 0;
    buf[10] = checksum(buf, POINTER_SIZE);
    return t.out.len;
}
