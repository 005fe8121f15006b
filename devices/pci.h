/* SPDX-License-Identifier: MIT */
/* pci.h: one PCI bus behind configuration mechanism #1 (0xcf8, 0xcfc), the i440FX host bridge at
 * 00:00.0, the PIIX3 ISA bridge at 00:01.0, and the reset control register at 0xcf9.
 *
 * A device registers a function with a description of its header and base addresses; the bus then
 * maps the ranges wherever the guest puts them. The PIIX3 routes INTA-INTD through its PIRQ
 * registers to ISA interrupts. */
#ifndef RINGDOWN_DEVICES_PCI_H
#define RINGDOWN_DEVICES_PCI_H

#include "devices/device.h"

#define PCI_SLOTS     32
#define PCI_FUNCTIONS 8
/* Where pci_assign() and the ACPI tables place base addresses. */
#define PCI_IO_BASE   0xc000u
#define PCI_MMIO_BASE 0xe0000000u
#define PCI_MMIO_END  0xfec00000u

struct irq_router;
struct pci;
struct pci_function;

struct pci_bar {
    uint32_t size; /* a power of two: I/O 4-256, memory 16 and up; 0: no such BAR */
    bool io;
    bool prefetchable;
    const struct io_ops *ops;
    void *dev;
};

struct pci_config {
    uint16_t vendor, device;
    uint16_t subsystem_vendor, subsystem;
    uint8_t revision;
    uint32_t class_code;   /* 24 bits: class, subclass, programming interface */
    uint8_t interrupt_pin; /* 0 none, 1 INTA ... 4 INTD */
    struct pci_bar bar[6];
    /* Both may be NULL. written() runs after the guest's write to configuration space took effect;
     * reset() when the bus is reset, after the header's registers were. */
    void (*written)(void *dev, unsigned off, unsigned size);
    void (*reset)(void *dev);
    void *dev;
};

struct pci *pci_create(struct bus *bus, struct irq_router *irqs, struct machine_control control);
void pci_destroy(struct pci *p); /* frees the functions too, not their devices */
void pci_reset(struct pci *p);
/* What a BIOS does: gives every BAR an address, interrupt lines a number, enables decoding, and
 * programs the PIRQ registers. For machines that start a kernel directly. */
void pci_assign(struct pci *p);
/* NULL if the slot is taken, out of range or memory is short. */
struct pci_function *pci_add(struct pci *p, unsigned slot, unsigned function,
                             const struct pci_config *config);
/* The function's 256 bytes, and the mask of the bits a guest may write, both for the device to edit
 * (device-specific registers, capabilities). */
uint8_t *pci_config_bytes(struct pci_function *f);
uint8_t *pci_config_mask(struct pci_function *f);
/* Bits that a guest clears by writing 1. */
uint8_t *pci_config_w1c(struct pci_function *f);
struct irq_line pci_intx(struct pci_function *f);
bool pci_bus_master(const struct pci_function *f);
/* The host bridge's shadow-memory attributes: called for each range within 0xc0000-0xfffff whose
 * register is written, and at reset. Not readable: reads come from ROM or nowhere. */
typedef void pci_pam_fn(void *opaque, uint32_t base, uint32_t size, bool readable, bool writable);
void pci_on_pam(struct pci *p, pci_pam_fn *fn, void *opaque);
/* The ISA interrupt to which pci_assign() routes PIRQA..PIRQD (0-3), for the ACPI and MP tables. */
unsigned pci_pirq_irq(unsigned pirq);
/* The PIRQ (0-3) of a slot's pin (1 INTA ... 4 INTD). */
unsigned pci_slot_pirq(unsigned slot, unsigned pin);

#endif
