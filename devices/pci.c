/* SPDX-License-Identifier: MIT */
/* pci.c: configuration cycles -> headers, base addresses -> bus ranges, INTx -> ISA interrupts.
 *
 * Each function is 256 bytes of configuration space with two masks beside it, one of the bits that
 * a guest may write and one of those it clears by writing 1; all side effects follow from comparing
 * the space before and after (mappings, INTx) or are the device's own (`written`). A base address
 * that collides with something already mapped stays unmapped until it or the other moves.
 * References: PCI Local Bus Specification 2.2, chapter 6; 82441FX and 82371SB datasheets. */
#include "devices/pci.h"
#include "devices/irq.h"

#include <stdlib.h>
#include <string.h>

/* The type 0 header. */
enum {
    H_VENDOR = 0x00,
    H_DEVICE = 0x02,
    H_COMMAND = 0x04,
    H_STATUS = 0x06,
    H_REVISION = 0x08,
    H_CLASS = 0x09,
    H_CACHE_LINE = 0x0c,
    H_LATENCY = 0x0d,
    H_TYPE = 0x0e,
    H_BAR = 0x10,
    H_SUBSYSTEM = 0x2c,
    H_LINE = 0x3c,
    H_PIN = 0x3d,
    H_DEVICE_SPECIFIC = 0x40,
};

#define BARS            6
#define COMMAND_IO      0x0001
#define COMMAND_MEMORY  0x0002
#define COMMAND_MASTER  0x0004
#define COMMAND_NO_INTX 0x0400
#define COMMAND_BITS    0x0547
#define STATUS_INTX     0x0008
#define STATUS_W1C      0xf900
#define TYPE_MULTI      0x80
#define BAR_IO          0x1
#define BAR_PREFETCH    0x8
#define ADDRESS_ENABLE  0x80000000u
#define ADDRESS_BITS    0x80fffffcu
#define ADDRESS_PORT    0xcf8
#define RESET_OFFSET    1 /* 0xcf9 lies within the address register, reached by byte accesses */
#define RESET_CPU       0x04
#define RESET_BITS      0x0e

#define PAM0            0x59 /* i440FX: shadow memory attributes, 7 bytes */
#define PAM_COUNT       7
#define SMRAM           0x72
#define PIRQRC          0x60 /* PIIX3: routing of PIRQA-PIRQD */
#define PIRQ_OFF        0x80
#define ELCR_PORT       0x4d0
#define ISA_IRQS        16

struct pci_function {
    struct pci *pci;
    unsigned slot, function;
    struct pci_config desc;
    uint8_t config[256], mask[256], w1c[256];
    uint32_t mapped[BARS]; /* address at which the BAR stands on the bus, 0 if it does not */
    bool intx;
};

struct pci {
    struct bus *bus;
    struct machine_control control;
    struct pci_function *functions[PCI_SLOTS][PCI_FUNCTIONS];
    struct pci_function *host, *isa;
    uint32_t address;
    uint8_t reset_control;
    unsigned asserted[4]; /* by PIRQ: functions that pull it */
    bool pull[PCI_SLOTS][PCI_FUNCTIONS];
    struct irq_line irq[ISA_IRQS];
    pci_pam_fn *pam_fn;
    void *pam_opaque;
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static void put16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *p, uint32_t value)
{
    put16(p, (uint16_t)value);
    put16(p + 2, (uint16_t)(value >> 16));
}

/* --- interrupts --- */

unsigned pci_slot_pirq(unsigned slot, unsigned pin)
{
    return (slot + pin + 2) & 3; /* slot 1's INTA is PIRQA */
}

unsigned pci_pirq_irq(unsigned pirq)
{
    static const uint8_t irq[4] = {10, 10, 11, 11};
    return irq[pirq & 3];
}

static void update_isa_irqs(struct pci *p)
{
    uint32_t level = 0;
    for (unsigned pirq = 0; pirq < 4; pirq++) {
        uint8_t route = p->isa->config[PIRQRC + pirq];
        if (p->asserted[pirq] && !(route & PIRQ_OFF))
            level |= 1u << (route & 15);
    }
    for (unsigned i = 0; i < ISA_IRQS; i++)
        irq_set(&p->irq[i], level >> i & 1);
}

static void update_intx(struct pci_function *f)
{
    struct pci *p = f->pci;
    bool pull = f->intx && !(get16(f->config + H_COMMAND) & COMMAND_NO_INTX);
    unsigned pirq = pci_slot_pirq(f->slot, f->desc.interrupt_pin);
    if (pull != p->pull[f->slot][f->function]) {
        p->pull[f->slot][f->function] = pull;
        p->asserted[pirq] += pull ? 1u : -1u;
        update_isa_irqs(p);
    }
}

static void set_intx(void *controller, unsigned input, int level)
{
    struct pci_function *f = controller;
    (void)input;
    f->intx = level;
    f->config[H_STATUS] =
        (uint8_t)((f->config[H_STATUS] & ~STATUS_INTX) | (level ? STATUS_INTX : 0));
    update_intx(f);
}

struct irq_line pci_intx(struct pci_function *f)
{
    return f->desc.interrupt_pin ? (struct irq_line){set_intx, f, 0} : (struct irq_line){0};
}

/* --- base addresses --- */

static uint32_t bar_address(const struct pci_function *f, unsigned i)
{
    const struct pci_bar *bar = &f->desc.bar[i];
    uint16_t command = get16(f->config + H_COMMAND);
    if (!bar->size || !bar->ops || !(command & (bar->io ? COMMAND_IO : COMMAND_MEMORY)))
        return 0;
    uint32_t address = get32(f->config + H_BAR + 4 * i) & ~(bar->size - 1);
    uint64_t end = (uint64_t)address + bar->size;
    return end > (bar->io ? 0x10000ull : 0x100000000ull) ? 0 : address;
}

static void bar_unmap(struct pci_function *f, unsigned i)
{
    const struct pci_bar *bar = &f->desc.bar[i];
    if (!f->mapped[i])
        return;
    if (bar->io)
        bus_unmap_port(f->pci->bus, (uint16_t)f->mapped[i], bar->size);
    else
        bus_unmap_mmio(f->pci->bus, f->mapped[i], bar->size);
    f->mapped[i] = 0;
}

static void bar_map(struct pci_function *f, unsigned i, uint32_t address)
{
    const struct pci_bar *bar = &f->desc.bar[i];
    struct bus *bus = f->pci->bus;
    int error = bar->io ? bus_map_port(bus, (uint16_t)address, bar->size, bar->ops, bar->dev)
                        : bus_map_mmio(bus, address, bar->size, bar->ops, bar->dev);
    if (!error)
        f->mapped[i] = address;
}

/* Brings one function's mappings in line, then gives those that collided another try. */
static void update_mappings(struct pci_function *f)
{
    struct pci *p = f->pci;
    for (unsigned i = 0; i < BARS; i++)
        if (f->mapped[i] != bar_address(f, i))
            bar_unmap(f, i);
    for (unsigned n = 0; n < PCI_SLOTS * PCI_FUNCTIONS; n++) {
        struct pci_function *g = p->functions[n / PCI_FUNCTIONS][n % PCI_FUNCTIONS];
        for (unsigned i = 0; g && i < BARS; i++) {
            uint32_t address = bar_address(g, i);
            if (address && !g->mapped[i])
                bar_map(g, i, address);
        }
    }
}

/* --- configuration space --- */

static bool overlaps(unsigned off, unsigned size, unsigned from, unsigned length)
{
    return off < from + length && from < off + size;
}

static void report_pam(struct pci *p, unsigned index)
{
    static const uint32_t size[2] = {0x10000, 0x4000};
    uint8_t value = p->host->config[PAM0 + index];
    if (!p->pam_fn)
        return;
    if (index == 0) {
        p->pam_fn(p->pam_opaque, 0xf0000, size[0], value >> 4 & 1, value >> 5 & 1);
        return;
    }
    uint32_t base = 0xc0000 + (index - 1) * 2 * size[1];
    p->pam_fn(p->pam_opaque, base, size[1], value & 1, value >> 1 & 1);
    p->pam_fn(p->pam_opaque, base + size[1], size[1], value >> 4 & 1, value >> 5 & 1);
}

void pci_on_pam(struct pci *p, pci_pam_fn *fn, void *opaque)
{
    p->pam_fn = fn;
    p->pam_opaque = opaque;
}

static void host_written(void *dev, unsigned off, unsigned size)
{
    for (unsigned i = 0; i < PAM_COUNT; i++)
        if (overlaps(off, size, PAM0 + i, 1))
            report_pam(dev, i);
}

static void isa_written(void *dev, unsigned off, unsigned size)
{
    if (overlaps(off, size, PIRQRC, 4))
        update_isa_irqs(dev);
}

static void function_write(struct pci_function *f, unsigned off, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++, value >>= 8) {
        uint8_t byte = (uint8_t)value, *cell = &f->config[off + i];
        *cell = (*cell & (uint8_t)~f->mask[off + i]) | (byte & f->mask[off + i]);
        *cell &= (uint8_t) ~(byte & f->w1c[off + i]);
    }
    if (overlaps(off, size, H_COMMAND, 2) || overlaps(off, size, H_BAR, 4 * BARS)) {
        update_mappings(f);
        update_intx(f);
    }
    if (f->desc.written)
        f->desc.written(f->desc.dev, off, size);
}

static struct pci_function *addressed(const struct pci *p)
{
    uint32_t a = p->address;
    if (!(a & ADDRESS_ENABLE) || (a >> 16 & 0xff))
        return NULL;
    return p->functions[a >> 11 & 31][a >> 8 & 7];
}

static uint32_t data_read(void *dev, uint32_t off, unsigned size)
{
    struct pci *p = dev;
    const struct pci_function *f = addressed(p);
    uint32_t value = 0xffffffff;
    if (f && off + size <= 4) {
        value = get32(f->config + (p->address & 0xfc)) >> (8 * off);
    }
    return value;
}

static void data_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pci *p = dev;
    struct pci_function *f = addressed(p);
    if (f && off + size <= 4)
        function_write(f, (p->address & 0xfc) + off, value, size);
}

static uint32_t address_read(void *dev, uint32_t off, unsigned size)
{
    struct pci *p = dev;
    if (off == 0 && size == 4)
        return p->address;
    return off == RESET_OFFSET && size == 1 ? p->reset_control : 0xffffffff;
}

static void address_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pci *p = dev;
    if (off == 0 && size == 4) {
        p->address = value & ADDRESS_BITS;
    } else if (off == RESET_OFFSET && size == 1) {
        bool rising = value & ~(uint32_t)p->reset_control & RESET_CPU;
        p->reset_control = value & RESET_BITS;
        if (rising && p->control.event)
            p->control.event(p->control.opaque, MACHINE_RESET, 0);
    }
}

static const struct io_ops address_ops = {address_read, address_write, 4};
static const struct io_ops data_ops = {data_read, data_write, 4};

/* --- registering --- */

static void init_header(struct pci_function *f)
{
    const struct pci_config *d = &f->desc;
    put16(f->config + H_VENDOR, d->vendor);
    put16(f->config + H_DEVICE, d->device);
    put32(f->config + H_REVISION, d->revision | d->class_code << 8);
    put16(f->config + H_SUBSYSTEM, d->subsystem_vendor);
    put16(f->config + H_SUBSYSTEM + 2, d->subsystem);
    f->config[H_PIN] = d->interrupt_pin;
    put16(f->mask + H_COMMAND, COMMAND_BITS);
    put16(f->w1c + H_STATUS, STATUS_W1C);
    f->mask[H_CACHE_LINE] = f->mask[H_LATENCY] = f->mask[H_LINE] = 0xff;
    for (unsigned i = 0; i < BARS; i++) {
        const struct pci_bar *bar = &d->bar[i];
        if (!bar->size)
            continue;
        put32(f->mask + H_BAR + 4 * i, ~(bar->size - 1) & (bar->io ? ~3u : ~15u));
        f->config[H_BAR + 4 * i] = bar->io ? BAR_IO : bar->prefetchable ? BAR_PREFETCH : 0;
    }
}

struct pci_function *pci_add(struct pci *p, unsigned slot, unsigned function,
                             const struct pci_config *config)
{
    if (slot >= PCI_SLOTS || function >= PCI_FUNCTIONS || p->functions[slot][function])
        return NULL;
    struct pci_function *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->pci = p;
    f->slot = slot;
    f->function = function;
    f->desc = *config;
    init_header(f);
    p->functions[slot][function] = f;
    if (p->functions[slot][0])
        for (unsigned i = 1; i < PCI_FUNCTIONS; i++)
            if (p->functions[slot][i])
                p->functions[slot][0]->config[H_TYPE] |= TYPE_MULTI;
    return f;
}

uint8_t *pci_config_bytes(struct pci_function *f)
{
    return f->config;
}

uint8_t *pci_config_mask(struct pci_function *f)
{
    return f->mask;
}

uint8_t *pci_config_w1c(struct pci_function *f)
{
    return f->w1c;
}

bool pci_bus_master(const struct pci_function *f)
{
    return get16(f->config + H_COMMAND) & COMMAND_MASTER;
}

/* --- what a BIOS does --- */

static void assign_bars(struct pci_function *f, uint32_t *io, uint32_t *memory)
{
    uint16_t enable = get16(f->config + H_COMMAND);
    for (unsigned i = 0; i < BARS; i++) {
        const struct pci_bar *bar = &f->desc.bar[i];
        if (!bar->size)
            continue;
        uint32_t *next = bar->io ? io : memory, limit = bar->io ? 0x10000 : PCI_MMIO_END;
        uint32_t at = (*next + bar->size - 1) & ~(bar->size - 1);
        if (at < *next || at > limit - bar->size)
            continue;
        *next = at + bar->size;
        put32(f->config + H_BAR + 4 * i, at | (f->config[H_BAR + 4 * i] & 15));
        enable |= bar->io ? COMMAND_IO | COMMAND_MASTER : COMMAND_MEMORY | COMMAND_MASTER;
    }
    put16(f->config + H_COMMAND, enable);
    if (f->desc.interrupt_pin)
        f->config[H_LINE] = (uint8_t)pci_pirq_irq(pci_slot_pirq(f->slot, f->desc.interrupt_pin));
}

void pci_assign(struct pci *p)
{
    uint32_t io = PCI_IO_BASE, memory = PCI_MMIO_BASE;
    for (unsigned n = 0; n < PCI_SLOTS * PCI_FUNCTIONS; n++) {
        struct pci_function *f = p->functions[n / PCI_FUNCTIONS][n % PCI_FUNCTIONS];
        if (!f)
            continue;
        assign_bars(f, &io, &memory);
        update_mappings(f);
        if (f->desc.written)
            f->desc.written(f->desc.dev, H_COMMAND, H_DEVICE_SPECIFIC - H_COMMAND);
    }
    for (unsigned pirq = 0; pirq < 4; pirq++) {
        unsigned irq = pci_pirq_irq(pirq);
        uint16_t elcr = ELCR_PORT + (irq >> 3);
        p->isa->config[PIRQRC + pirq] = (uint8_t)irq;
        bus_port_write(p->bus, elcr, bus_port_read(p->bus, elcr, 1) | 1u << (irq & 7), 1);
    }
    update_isa_irqs(p);
}

/* --- the two bridges --- */

static bool add_bridges(struct pci *p)
{
    const struct pci_config host = {
        .vendor = 0x8086,
        .device = 0x1237,
        .revision = 2,
        .class_code = 0x060000,
        .written = host_written,
        .dev = p,
    };
    const struct pci_config isa = {
        .vendor = 0x8086,
        .device = 0x7000,
        .class_code = 0x060100,
        .written = isa_written,
        .dev = p,
    };
    p->host = pci_add(p, 0, 0, &host);
    p->isa = pci_add(p, 1, 0, &isa);
    if (!p->host || !p->isa)
        return false;
    memset(p->host->mask + H_DEVICE_SPECIFIC, 0xff, 256 - H_DEVICE_SPECIFIC);
    memset(p->isa->mask + H_DEVICE_SPECIFIC, 0xff, 256 - H_DEVICE_SPECIFIC);
    return true;
}

static void reset_bridges(struct pci *p)
{
    /* 82371SB register defaults that are not zero. */
    static const uint8_t isa[][2] = {
        {0x4c, 0x4d},
        {0x4e, 0x03},
        {0x60, 0x80},
        {0x61, 0x80},
        {0x62, 0x80},
        {0x63, 0x80},
        {0x69, 0x02},
        {0x70, 0x80},
        {0x76, 0x0c},
        {0x77, 0x0c},
        {0x78, 0x02},
        {0xa0, 0x08},
    };
    memset(p->host->config + H_DEVICE_SPECIFIC, 0, 256 - H_DEVICE_SPECIFIC);
    memset(p->isa->config + H_DEVICE_SPECIFIC, 0, 256 - H_DEVICE_SPECIFIC);
    for (unsigned i = 0; i < sizeof(isa) / sizeof(isa[0]); i++)
        p->isa->config[isa[i][0]] = isa[i][1];
    p->host->config[SMRAM] = 0x02;
    /* Both always decode and may always be masters. */
    put16(p->host->config + H_COMMAND, COMMAND_MEMORY | COMMAND_MASTER);
    put16(p->isa->config + H_COMMAND, COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER);
    put16(p->isa->config + H_STATUS, 0x0200);
    for (unsigned i = 0; i < PAM_COUNT; i++)
        report_pam(p, i);
}

/* --- life --- */

static void reset_function(struct pci_function *f)
{
    put16(f->config + H_COMMAND, 0);
    put16(f->config + H_STATUS,
          get16(f->config + H_STATUS) & (uint16_t) ~(STATUS_W1C | STATUS_INTX));
    f->config[H_CACHE_LINE] = f->config[H_LATENCY] = f->config[H_LINE] = 0;
    for (unsigned i = 0; i < BARS; i++) {
        bar_unmap(f, i);
        if (f->desc.bar[i].size)
            put32(f->config + H_BAR + 4 * i, f->config[H_BAR + 4 * i] & 15);
    }
    f->intx = false;
    if (f->desc.reset)
        f->desc.reset(f->desc.dev);
}

void pci_reset(struct pci *p)
{
    p->address = 0;
    p->reset_control = 0;
    memset(p->asserted, 0, sizeof(p->asserted));
    memset(p->pull, 0, sizeof(p->pull));
    for (unsigned n = 0; n < PCI_SLOTS * PCI_FUNCTIONS; n++) {
        struct pci_function *f = p->functions[n / PCI_FUNCTIONS][n % PCI_FUNCTIONS];
        if (f)
            reset_function(f);
    }
    reset_bridges(p);
    update_isa_irqs(p);
}

struct pci *pci_create(struct bus *bus, struct irq_router *irqs, struct machine_control control)
{
    struct pci *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->bus = bus;
    p->control = control;
    for (unsigned i = 3; irqs && i < ISA_IRQS; i++)
        p->irq[i] = irq_router_line(irqs, i);
    if (!add_bridges(p) || bus_map_port(bus, ADDRESS_PORT, 4, &address_ops, p) ||
        bus_map_port(bus, ADDRESS_PORT + 4, 4, &data_ops, p)) {
        pci_destroy(p);
        return NULL;
    }
    pci_reset(p);
    return p;
}

void pci_destroy(struct pci *p)
{
    if (!p)
        return;
    for (unsigned n = 0; n < PCI_SLOTS * PCI_FUNCTIONS; n++) {
        struct pci_function *f = p->functions[n / PCI_FUNCTIONS][n % PCI_FUNCTIONS];
        for (unsigned i = 0; f && i < BARS; i++)
            bar_unmap(f, i);
        free(f);
    }
    bus_unmap_port(p->bus, ADDRESS_PORT, 8);
    free(p);
}
