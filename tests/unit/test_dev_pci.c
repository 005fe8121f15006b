/* SPDX-License-Identifier: MIT */
/* PCI configuration, base addresses, interrupt routing; power management; reset register. */
#include "devices/irq.h"
#include "devices/pci.h"
#include "devices/pic.h"
#include "devices/pm.h"
#include "scripted_bus.h"

#define INT                      0
#define SCI                      1
#define CFG(slot, function, off) (0x80000000u | (slot) << 11 | (function) << 8 | (off))
#define SEL(slot, function, off) OUTL(0xcf8, CFG(slot, function, off))

struct fixture {
    struct rig rig;
    struct pic *pic;
    struct irq_router *irqs;
    struct pci *pci;
    struct pm *pm;
    unsigned writes, resets;
    uint32_t pam[16];
    unsigned pam_calls;
};

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    rig_init(&f->rig);
    f->pic = pic_create(f->rig.bus, rig_line(&f->rig, INT));
    f->irqs = irq_router_create(f->pic, NULL);
    f->pci = pci_create(f->rig.bus, f->irqs, rig_control(&f->rig));
    f->pm =
        pm_create(f->rig.bus, f->rig.clock, f->pci, rig_line(&f->rig, SCI), rig_control(&f->rig));
}

static void teardown(struct fixture *f)
{
    pm_destroy(f->pm);
    pci_destroy(f->pci);
    irq_router_destroy(f->irqs);
    pic_destroy(f->pic);
    rig_fini(&f->rig);
}

Test(pci, mechanism_1)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        OUT(0xcfb, 0x01),       SEL(0, 0, 0),
        INL(0xcf8, 0x80000000), INL(0xcfc, 0x12378086),
        INW(0xcfe, 0x1237),     IN(0xcfd, 0x80),
        SEL(0, 0, 8),           INL(0xcfc, 0x06000002),
        SEL(1, 0, 0),           INL(0xcfc, 0x70008086),
        SEL(1, 0, 0x0c),        INL(0xcfc, 0x00800000),
        SEL(1, 3, 0),           INL(0xcfc, 0x71138086),
        SEL(1, 3, 0x3c),        INL(0xcfc, 0x00000100),
        SEL(2, 0, 0),           INL(0xcfc, 0xffffffff),
        INW(0xcfc, 0xffff),     OUTL(0xcf8, 0x80010000),
        INL(0xcfc, 0xffffffff),                         /* bus 1 */
        OUTL(0xcf8, 0),         INL(0xcfc, 0xffffffff), /* not enabled */
        SEL(0, 0, 0),           OUTL(0xcfc, 0),
        INL(0xcfc, 0x12378086), /* read-only */
        SEL(0, 0, 0x10),        OUTL(0xcfc, 0xffffffff),
        INL(0xcfc, 0), /* no BAR */
    };
    RUN(&f.rig, script);
    teardown(&f);
}

static uint32_t ram_read(void *dev, uint32_t off, unsigned size)
{
    uint32_t value = 0;
    memcpy(&value, (uint8_t *)dev + off, size);
    return value;
}

static void ram_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    memcpy((uint8_t *)dev + off, &value, size);
}

static const struct io_ops ram_ops = {ram_read, ram_write, 4};

static void on_write(void *dev, unsigned off, unsigned size)
{
    struct fixture *f = dev;
    (void)off;
    (void)size;
    f->writes++;
}

static void on_reset(void *dev)
{
    struct fixture *f = dev;
    f->resets++;
}

static uint8_t io_ram[32], memory_ram[4096];

static struct pci_function *add_card(struct fixture *f, unsigned slot)
{
    struct pci_config config = {
        .vendor = 0x1af4,
        .device = 0x1000,
        .subsystem_vendor = 0x1af4,
        .subsystem = 1,
        .class_code = 0x020000,
        .interrupt_pin = 1,
        .bar = {{.size = 32, .io = true, .ops = &ram_ops, .dev = io_ram},
                {.size = 4096, .ops = &ram_ops, .dev = memory_ram}},
        .written = on_write,
        .reset = on_reset,
        .dev = f,
    };
    return pci_add(f->pci, slot, 0, &config);
}

Test(pci, base_addresses)
{
    struct fixture f;
    setup(&f);
    struct pci_function *card = add_card(&f, 3);
    cr_assert(card);
    cr_expect_null(add_card(&f, 3));
    static const struct step script[] = {
        SEL(3, 0, 0x2c),
        INL(0xcfc, 0x00011af4),
        SEL(3, 0, 0x10),
        INL(0xcfc, 1),
        OUTL(0xcfc, 0xffffffff),
        INL(0xcfc, 0xffffffe1),
        OUTL(0xcfc, 0xc001),
        SEL(3, 0, 0x14),
        OUTL(0xcfc, 0xffffffff),
        INL(0xcfc, 0xfffff000),
        OUTL(0xcfc, 0xe0000000),
        INL(0xc000, 0xffffffff), /* not enabled */
        SEL(3, 0, 4),
        OUTW(0xcfc, 1),
        OUTL(0xc004, 0x12345678),
        INL(0xc004, 0x12345678),
        LOAD(0xe0000000, 0xffffffff),
        OUTW(0xcfc, 3),
        STORE(0xe0000ffc, 7),
        LOAD(0xe0000ffc, 7),
        SEL(3, 0, 0x10),
        OUTL(0xcfc, 0xd001),
        INL(0xc004, 0xffffffff),
        INL(0xd004, 0x12345678),
        SEL(3, 0, 4),
        OUTW(0xcfc, 0),
        INL(0xd004, 0xffffffff),
        LOAD(0xe0000ffc, 0xffffffff),
    };
    RUN(&f.rig, script);
    cr_expect_not(pci_bus_master(card));
    cr_expect_gt(f.writes, 5);
    /* A collision is resolved when one of the two moves away. */
    static const struct step clash[] = {
        SEL(3, 0, 0x10), OUTL(0xcfc, 0xcf1),  SEL(3, 0, 4),
        OUTW(0xcfc, 1),  SEL(3, 0, 0),        INL(0xcfc, 0x10001af4),
        SEL(3, 0, 0x10), OUTL(0xcfc, 0xe001), INL(0xe004, 0x12345678),
    };
    RUN(&f.rig, clash);
    pci_reset(f.pci);
    cr_expect_eq(f.resets, 1);
    static const struct step after[] = {INL(0xe004, 0xffffffff), SEL(3, 0, 0x10), INL(0xcfc, 1)};
    RUN(&f.rig, after);
    teardown(&f);
}

Test(pci, assignment_and_interrupts)
{
    struct fixture f;
    setup(&f);
    struct pci_function *a = add_card(&f, 3), *b = add_card(&f, 7);
    struct irq_line inta = pci_intx(a), intb = pci_intx(b);
    pm_bios_init(f.pm);
    pci_assign(f.pci);
    cr_expect(pci_bus_master(a));
    static const struct step init[] = {
        SEL(3, 0, 0x10), INL(0xcfc, 0xc001),     SEL(7, 0, 0x10), INL(0xcfc, 0xc021),
        SEL(3, 0, 0x14), INL(0xcfc, 0xe0000000), SEL(7, 0, 0x14), INL(0xcfc, 0xe0001000),
        OUTL(0xc024, 1), INL(0xc024, 1),         IN(0x4d1, 0x0e), SEL(3, 0, 0x3c),
        IN(0xcfc, 11),   OUT(0x20, 0x11),        OUT(0x21, 0x20), OUT(0x21, 4),
        OUT(0x21, 1),    OUT(0xa0, 0x11),        OUT(0xa1, 0x28), OUT(0xa1, 2),
        OUT(0xa1, 1),
    };
    RUN(&f.rig, init);
    /* Slots 3 and 7 share PIRQC. */
    irq_set(&inta, 1);
    irq_set(&intb, 1);
    cr_expect_eq(pic_ack(f.pic), 0x2b);
    irq_set(&inta, 0);
    static const struct step shared[] = {
        OUT(0xa0, 0x20),      OUT(0x20, 0x20),  LINE(INT, 1),        SEL(7, 0, 6),
        IN_MASK(0xcfe, 8, 8), SEL(7, 0, 4),     OUTW(0xcfc, 0x0407), LINE(INT, 0),
        OUTW(0xcfc, 0x0007),  LINE(INT, 1),     SEL(1, 0, 0x60),     OUT(0xcfe, 0x80),
        LINE(INT, 0),         OUT(0xcfe, 0x05), LINE(INT, 1)};
    RUN(&f.rig, shared);
    cr_expect_eq(pic_ack(f.pic), 0x25, "routed to IRQ 5 now");
    irq_set(&intb, 0);
    teardown(&f);
}

static void on_pam(void *opaque, uint32_t base, uint32_t size, bool readable, bool writable)
{
    struct fixture *f = opaque;
    f->pam[f->pam_calls++ & 15] = base | (size >> 12) << 4 | (uint32_t)readable << 1 | writable;
}

Test(pci, shadow_memory)
{
    struct fixture f;
    setup(&f);
    pci_on_pam(f.pci, on_pam, &f);
    static const struct step script[] = {SEL(0, 0, 0x58), OUT(0xcfd, 0x30), OUT(0xcfe, 0x21)};
    RUN(&f.rig, script);
    cr_expect_eq(f.pam_calls, 3);
    cr_expect_eq(f.pam[0], 0xf0103);
    cr_expect_eq(f.pam[1], 0xc0042);
    cr_expect_eq(f.pam[2], 0xc4041);
    teardown(&f);
}

Test(pci, reset_register)
{
    struct fixture f;
    setup(&f);
    static const struct step arm[] = {OUT(0xcf9, 0x02), IN(0xcf9, 0x02)};
    RUN(&f.rig, arm);
    cr_expect_eq(f.rig.event, -1);
    static const struct step fire[] = {OUT(0xcf9, 0x06)};
    RUN(&f.rig, fire);
    cr_expect_eq(f.rig.event, MACHINE_RESET);
    teardown(&f);
}

/* --- power management --- */

Test(pm, block_and_power_off)
{
    struct fixture f;
    setup(&f);
    static const struct step map[] = {
        INW(0x604, 0xffff), SEL(1, 3, 0x40),     INL(0xcfc, 1),          OUTL(0xcfc, 0x601),
        INL(0xcfc, 0x601),  INW(0x604, 0xffff),  SEL(1, 3, 0x80),        OUT(0xcfc, 1),
        INW(0x604, 0),      SEL(1, 3, 0x58),     INL(0xcfc, 0x02000000), OUT(0xb2, 0xf1),
        INW(0x604, 1),      OUTW(0x604, 0),      INW(0x604, 1),          OUT(0xb2, 0xf0),
        INW(0x604, 0),      OUT(0xb3, 0x12),     IN(0xb3, 0x12),         OUTW(0x604, 0x1401),
        INW(0x604, 0x1400), OUTW(0x604, 0x3400), /* not S5 */
    };
    RUN(&f.rig, map);
    cr_expect_eq(f.rig.event, -1);
    static const struct step off[] = {OUTW(0x604, 0x2000)};
    RUN(&f.rig, off);
    cr_expect_eq(f.rig.event, MACHINE_POWER_OFF);
    teardown(&f);
}

/* The machine sleeps until there is a reason not to; the reset that ends it keeps the reasons. */
Test(pm, suspend)
{
    struct fixture f;
    setup(&f);
    static const struct step sleep[] = {SEL(1, 3, 0x40), OUTL(0xcfc, 0x601), SEL(1, 3, 0x80),
                                        OUT(0xcfc, 1),   OUT(0xb2, 0xf1),    OUTW(0x604, 0x2400)};
    RUN(&f.rig, sleep);
    cr_expect_eq(f.rig.event, MACHINE_SUSPEND);
    struct irq_line alarm = pm_alarm_line(f.pm);
    irq_set(&alarm, 1);
    cr_expect_eq(f.rig.event, MACHINE_SUSPEND, "the alarm is not enabled");
    irq_set(&alarm, 0);
    static const struct step again[] = {OUTW(0x600, 0xffff), OUTW(0x602, 0x400),
                                        OUTW(0x604, 0x2400)};
    RUN(&f.rig, again);
    cr_expect_eq(f.rig.event, MACHINE_SUSPEND);
    irq_set(&alarm, 1);
    cr_expect_eq(f.rig.event, MACHINE_WAKE);
    pm_reset(f.pm);
    static const struct step woken[] = {SEL(1, 3, 0x40), OUTL(0xcfc, 0x601), SEL(1, 3, 0x80),
                                        OUT(0xcfc, 1),   INW(0x600, 0x8400), INW(0x602, 0x400),
                                        INW(0x604, 1),   OUTW(0x604, 0x2400)};
    RUN(&f.rig, woken);
    cr_expect_eq(f.rig.event, MACHINE_WAKE, "the alarm's event is still there: no sleep");
    pm_reset(f.pm);
    pm_reset(f.pm);
    static const struct step reset[] = {SEL(1, 3, 0x40),    OUTL(0xcfc, 0x601), SEL(1, 3, 0x80),
                                        OUT(0xcfc, 1),      INW(0x600, 0),      OUT(0xb2, 0xf1),
                                        OUTW(0x604, 0x2400)};
    RUN(&f.rig, reset);
    cr_expect_eq(f.rig.event, MACHINE_SUSPEND);
    pm_power_button(f.pm);
    cr_expect_eq(f.rig.event, MACHINE_WAKE);
    teardown(&f);
}

Test(pm, timer)
{
    struct fixture f;
    setup(&f);
    pm_bios_init(f.pm);
    static const struct step script[] = {
        INL(0x608, 0),  WAIT(1000000000), INL(0x608, 3579545), INW(0x600, 0),   WAIT(1400000000),
        INW(0x600, 1),  OUTW(0x600, 1),   INW(0x600, 0),       OUT(0xb2, 0xf1), OUTW(0x602, 1),
        INW(0x602, 1),  WAIT(2200000000), LINE(SCI, 0),        WAIT(100000000), LINE(SCI, 1),
        OUTW(0x600, 1), LINE(SCI, 0),     WAIT(2400000000),    EDGES(SCI, 2),   OUTW(0x602, 0),
        LINE(SCI, 0),
    };
    RUN(&f.rig, script);
    cr_expect_eq(clock_next_deadline(f.rig.clock), UINT64_MAX);
    cr_expect_leq(bus_port_read(f.rig.bus, 0x608, 4), 0xffffff);
    teardown(&f);
}

Test(pm, power_button)
{
    struct fixture f;
    setup(&f);
    pm_bios_init(f.pm);
    static const struct step on[] = {OUT(0xb2, 0xf1), OUTW(0x602, 0x0100)};
    RUN(&f.rig, on);
    pm_power_button(f.pm);
    static const struct step press[] = {
        LINE(SCI, 1),   INW(0x600, 0x0100),   OUT(0x601, 1),          LINE(SCI, 0),
        INL(0xafe0, 0), OUTW(0xafe2, 0xffff), INL(0xafe0, 0xffff0000)};
    RUN(&f.rig, press);
    teardown(&f);
}
