/* SPDX-License-Identifier: MIT */
/* pm.c: ACPI fixed registers of the 82371AB's power management function -> SCI and power-off.
 *
 * The timer is a function of guest time; its status bit (set whenever bit 23 changes) is brought up
 * to date when somebody looks, and a host timer is armed only while its interrupt is enabled. There
 * is no system management mode: the SMI command port does itself what a BIOS's handler would do,
 * turn SCI_EN on and off, and the APMC enable bit reads as set, by which firmware knows not to
 * install a handler. Suspended, the machine wakes by the power button or an enabled RTC alarm.
 * Reference: 82371AB datasheet (290562), 7.1-7.2; ACPI 1.0b, 4.7. */
#include "devices/pm.h"
#include "devices/pci.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_S   1000000000u
#define PM_SIZE    64
#define GPE_SIZE   4
#define APM_SIZE   2
#define TIMER_MASK 0xffffffu
#define TIMER_HALF 0x800000u

/* Configuration space. */
#define CFG_PMBA       0x40
#define CFG_DEVACTB_HI 0x5b
#define CFG_PMREGMISC  0x80
#define APMC_EN        0x02 /* DEVACTB bit 25 */
#define CFG_LINE       0x3c

/* The register block. */
enum { PM1_STS = 0, PM1_EN = 2, PM1_CNT = 4, PM_TMR = 8 };
#define STS_TIMER      0x0001
#define STS_POWER      0x0100
#define STS_RTC        0x0400
#define STS_WAKE       0x8000
#define STS_BITS       0x8d31
#define EN_BITS        0x0521
#define CNT_SCI_EN     0x0001
#define CNT_SLP_EN     0x2000
#define CNT_BITS       0x1c03 /* SLP_TYP, BM_RLD, SCI_EN */
#define CNT_SLP_TYP(v) ((v) >> 10 & 7)

struct pm {
    struct bus *bus;
    struct clock *clock;
    struct pci_function *function;
    struct irq_line sci;
    struct machine_control control;
    struct timer *timer;
    uint16_t base; /* at which the block is mapped, 0: nowhere */
    uint16_t sts, en, cnt;
    uint16_t gpe_sts, gpe_en;
    bool suspended;
    bool waking; /* the next reset is the one that ends suspend */
    uint8_t apm[APM_SIZE];
    uint64_t halves; /* of the timer's period, that sts knows of */
};

/* --- timer and SCI --- */

static uint64_t ticks(const struct pm *p)
{
    return (uint64_t)((unsigned __int128)clock_now(p->clock) * PM_TIMER_HZ / NS_PER_S);
}

static void sync_timer(struct pm *p)
{
    uint64_t halves = ticks(p) / TIMER_HALF;
    if (halves != p->halves)
        p->sts |= STS_TIMER;
    p->halves = halves;
}

static void refresh(struct pm *p)
{
    sync_timer(p);
    bool event = (p->sts & p->en) || (p->gpe_sts & p->gpe_en);
    irq_set(&p->sci, event && (p->cnt & CNT_SCI_EN));
    if ((p->en & ~p->sts) & STS_TIMER) {
        unsigned __int128 tick = (unsigned __int128)(p->halves + 1) * TIMER_HALF;
        timer_arm(p->timer, (uint64_t)((tick * NS_PER_S + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
    } else {
        timer_disarm(p->timer);
    }
}

static void expired(void *opaque)
{
    refresh(opaque);
}

static void tell(struct pm *p, enum machine_event event)
{
    if (p->control.event)
        p->control.event(p->control.opaque, event, 0);
}

/* Ends suspend if there is a reason to. */
static void look_for_wake(struct pm *p)
{
    if (!p->suspended || !(p->sts & (STS_POWER | (p->en & STS_RTC))))
        return;
    p->suspended = false;
    p->waking = true;
    p->sts |= STS_WAKE;
    tell(p, MACHINE_WAKE);
}

static void happened(struct pm *p, uint16_t status)
{
    p->sts |= status;
    refresh(p);
    look_for_wake(p);
}

void pm_power_button(struct pm *p)
{
    happened(p, STS_POWER);
}

static void set_alarm(void *controller, unsigned input, int level)
{
    struct pm *p = controller;
    (void)input;
    if (level)
        happened(p, STS_RTC);
}

struct irq_line pm_alarm_line(struct pm *p)
{
    return (struct irq_line){set_alarm, p, 0};
}

/* --- the fixed registers, by bytes as ACPI allows --- */

static uint32_t block_register(struct pm *p, uint32_t off)
{
    switch (off & ~3u) {
    case PM1_STS:
        sync_timer(p);
        return p->sts | (uint32_t)p->en << 16;
    case PM1_CNT:
        return p->cnt;
    case PM_TMR:
        return (uint32_t)ticks(p) & TIMER_MASK;
    default:
        return 0;
    }
}

static uint32_t block_read(void *dev, uint32_t off, unsigned size)
{
    struct pm *p = dev;
    uint64_t value = block_register(p, off);
    if ((off & 3) + size > 4)
        value |= (uint64_t)block_register(p, off + 4) << 32;
    return (uint32_t)(value >> (8 * (off & 3)));
}

static void write_control(struct pm *p, uint16_t value)
{
    p->cnt = (value & CNT_BITS & ~CNT_SCI_EN) | (p->cnt & CNT_SCI_EN);
    if (!(value & CNT_SLP_EN))
        return;
    if (CNT_SLP_TYP(value) == PM_SLP_TYP_S5) {
        tell(p, MACHINE_POWER_OFF);
    } else if (CNT_SLP_TYP(value) == PM_SLP_TYP_S3) {
        p->suspended = true;
        tell(p, MACHINE_SUSPEND);
        look_for_wake(p);
    }
}

/* Replaces one byte of a 16-bit register. */
static uint16_t with_byte(uint16_t reg, uint32_t off, uint8_t byte)
{
    return off & 1 ? (uint16_t)((reg & 0x00ff) | byte << 8) : (uint16_t)((reg & 0xff00) | byte);
}

static void block_write_byte(struct pm *p, uint32_t off, uint8_t byte)
{
    switch (off & ~1u) {
    case PM1_STS:
        sync_timer(p);
        p->sts &= (uint16_t)~with_byte(0, off, byte);
        break;
    case PM1_EN:
        p->en = with_byte(p->en, off, byte) & EN_BITS;
        break;
    case PM1_CNT:
        write_control(p, with_byte(p->cnt, off, byte));
        break;
    default:
        break;
    }
}

static void block_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pm *p = dev;
    for (unsigned i = 0; i < size; i++)
        block_write_byte(p, off + i, (uint8_t)(value >> (8 * i)));
    refresh(p);
}

/* --- general-purpose events --- */

static uint32_t gpe_read(void *dev, uint32_t off, unsigned size)
{
    struct pm *p = dev;
    (void)size;
    uint16_t reg = off & 2 ? p->gpe_en : p->gpe_sts;
    return reg >> (8 * (off & 1)) & 0xff;
}

static void gpe_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pm *p = dev;
    (void)size;
    if (off & 2)
        p->gpe_en = with_byte(p->gpe_en, off, (uint8_t)value);
    else
        p->gpe_sts &= (uint16_t)~with_byte(0, off, (uint8_t)value);
    refresh(p);
}

/* --- SMI command and status --- */

static uint32_t apm_read(void *dev, uint32_t off, unsigned size)
{
    struct pm *p = dev;
    (void)size;
    return p->apm[off];
}

static void apm_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct pm *p = dev;
    (void)size;
    p->apm[off] = (uint8_t)value;
    if (off != 0)
        return;
    if (value == PM_ACPI_ENABLE)
        p->cnt |= CNT_SCI_EN;
    else if (value == PM_ACPI_DISABLE)
        p->cnt &= (uint16_t)~CNT_SCI_EN;
    refresh(p);
}

static const struct io_ops block_ops = {block_read, block_write, 4};
static const struct io_ops gpe_ops = {gpe_read, gpe_write, 1};
static const struct io_ops apm_ops = {apm_read, apm_write, 1};

/* --- configuration space --- */

static void map_block(struct pm *p)
{
    const uint8_t *c = pci_config_bytes(p->function);
    uint16_t base = 0;
    if (c[CFG_PMREGMISC] & 1)
        base = (uint16_t)((c[CFG_PMBA] | c[CFG_PMBA + 1] << 8) & 0xffc0);
    if (base == p->base)
        return;
    if (p->base)
        bus_unmap_port(p->bus, p->base, PM_SIZE);
    p->base = 0;
    if (base && bus_map_port(p->bus, base, PM_SIZE, &block_ops, p) == 0)
        p->base = base;
}

static void written(void *dev, unsigned off, unsigned size)
{
    (void)off;
    (void)size;
    map_block(dev);
}

static void init_config(struct pm *p)
{
    uint8_t *mask = pci_config_mask(p->function);
    mask[CFG_PMBA] = 0xc0;
    mask[CFG_PMBA + 1] = 0xff;
    mask[CFG_PMREGMISC] = 0x01;
}

void pm_bios_init(struct pm *p)
{
    uint8_t *c = pci_config_bytes(p->function);
    c[CFG_PMBA] = (PM_BASE & 0xff) | 1;
    c[CFG_PMBA + 1] = PM_BASE >> 8;
    c[CFG_PMREGMISC] = 1;
    c[CFG_LINE] = PM_SCI_IRQ;
    map_block(p);
    uint16_t elcr = 0x4d0 + PM_SCI_IRQ / 8;
    bus_port_write(p->bus, elcr, bus_port_read(p->bus, elcr, 1) | 1u << (PM_SCI_IRQ & 7), 1);
}

/* --- life --- */

static void reset(void *dev)
{
    struct pm *p = dev;
    uint8_t *c = pci_config_bytes(p->function);
    c[CFG_PMBA] = 1;
    c[CFG_PMBA + 1] = 0;
    c[CFG_PMREGMISC] = 0;
    c[CFG_DEVACTB_HI] = APMC_EN;
    map_block(p);
    if (!p->waking)
        p->sts = p->en = p->cnt = 0;
    p->cnt &= CNT_SCI_EN;
    p->gpe_sts = p->gpe_en = 0;
    p->suspended = p->waking = false;
    memset(p->apm, 0, sizeof(p->apm));
    p->halves = ticks(p) / TIMER_HALF;
    refresh(p);
}

void pm_reset(struct pm *p)
{
    reset(p);
}

static const struct pci_config pci_description = {
    .vendor = 0x8086,
    .device = 0x7113,
    .revision = 3,
    .class_code = 0x068000,
    .interrupt_pin = 1,
    .written = written,
    .reset = reset,
};

struct pm *pm_create(struct bus *bus, struct clock *clock, struct pci *pci, struct irq_line sci,
                     struct machine_control control)
{
    struct pm *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    struct pci_config description = pci_description;
    description.dev = p;
    p->bus = bus;
    p->clock = clock;
    p->sci = sci;
    p->control = control;
    p->timer = timer_create_on(clock, expired, p);
    if (p->timer)
        p->function = pci_add(pci, 1, 3, &description);
    if (!p->function || bus_map_port(bus, PM_GPE_BASE, GPE_SIZE, &gpe_ops, p) ||
        bus_map_port(bus, PM_SMI_CMD, APM_SIZE, &apm_ops, p)) {
        timer_destroy(p->timer);
        free(p);
        return NULL;
    }
    init_config(p);
    reset(p);
    return p;
}

void pm_destroy(struct pm *p)
{
    if (!p)
        return;
    if (p->base)
        bus_unmap_port(p->bus, p->base, PM_SIZE);
    bus_unmap_port(p->bus, PM_GPE_BASE, GPE_SIZE);
    bus_unmap_port(p->bus, PM_SMI_CMD, APM_SIZE);
    timer_destroy(p->timer);
    free(p);
}
