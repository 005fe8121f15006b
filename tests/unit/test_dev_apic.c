/* SPDX-License-Identifier: MIT */
/* Local APIC, I/O APIC, PIC and their wiring: priorities, virtual wire, levels and EOIs, IPIs,
 * timer. */
#include "devices/ioapic.h"
#include "devices/irq.h"
#include "devices/lapic.h"
#include "devices/pic.h"
#include "scripted_bus.h"

#define INTR    0
#define NMI     1
#define INIT    2
#define STARTUP 3
#define L(off)  (LAPIC_DEFAULT_BASE + (off))
#define ENABLE  STORE(L(0xf0), 0x1ff)
#define EOI     STORE(L(0xb0), 0)
/* I/O APIC registers by index. */
#define IOW(index, v) STORE(IOAPIC_BASE, index), STORE(IOAPIC_BASE + 0x10, v)
#define IOR(index, v) STORE(IOAPIC_BASE, index), LOAD(IOAPIC_BASE + 0x10, v)
#define LOW(pin)      (0x10 + 2 * (pin))

struct fixture {
    struct rig rig;
    struct lapic *lapic;
    struct pic *pic;
    struct ioapic *ioapic;
    struct irq_router *irqs;
};

static void setup(struct fixture *f)
{
    rig_init(&f->rig);
    f->lapic =
        lapic_create(f->rig.bus, f->rig.clock, rig_line(&f->rig, INTR), rig_line(&f->rig, NMI),
                     rig_line(&f->rig, INIT), rig_line(&f->rig, STARTUP));
    f->pic = pic_create(f->rig.bus, lapic_lint0(f->lapic));
    lapic_connect_pic(f->lapic, f->pic);
    f->ioapic = ioapic_create(f->rig.bus, f->lapic);
    f->irqs = irq_router_create(f->pic, f->ioapic);
    static const struct step init[] = {
        OUT(0x20, 0x11), OUT(0x21, 0x20), OUT(0x21, 4), OUT(0x21, 1),
        OUT(0xa0, 0x11), OUT(0xa1, 0x28), OUT(0xa1, 2), OUT(0xa1, 1),
    };
    RUN(&f->rig, init);
}

static void teardown(struct fixture *f)
{
    irq_router_destroy(f->irqs);
    ioapic_destroy(f->ioapic);
    pic_destroy(f->pic);
    lapic_destroy(f->lapic);
    rig_fini(&f->rig);
}

static void self_ipi(struct fixture *f, uint8_t vector)
{
    bus_mmio_write(f->rig.bus, L(0x300), 0x44000u | vector, 4);
}

Test(lapic, registers)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        LOAD(L(0x20), 0),
        LOAD(L(0x30), 0x50014),
        LOAD(L(0xf0), 0xff),
        LOAD(L(0xe0), 0xffffffff),
        LOAD(L(0x320), 0x10000),
        LOAD(L(0x350), 0x700),
        LOAD(L(0x360), 0x400),
        STORE(L(0x320), 0x20),
        LOAD(L(0x320), 0x10020), /* masks cannot be cleared while disabled */
        ENABLE,
        STORE(L(0x320), 0xffffffff),
        LOAD(L(0x320), 0x300ff),
        STORE(L(0x350), 0xffffffff),
        LOAD(L(0x350), 0x1a7ff),
        STORE(L(0x20), 0x05000000),
        LOAD(L(0x20), 0x05000000),
        STORE(L(0xd0), 0xffffffff),
        LOAD(L(0xd0), 0xff000000),
        STORE(L(0xe0), 0),
        LOAD(L(0xe0), 0x0fffffff),
        STORE(L(0x80), 0xab),
        LOAD(L(0x80), 0xab),
        LOAD(L(0xa0), 0xab),
        STORE(L(0x30), 0),
        LOAD(L(0x30), 0x50014),
        STORE(L(0x350), 0x700),
        STORE(L(0xf0), 0xff),
        LOAD(L(0x350), 0x10700), /* disabling masks them all */
        LOAD(L(0x84), 0),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(lapic, priorities)
{
    struct fixture f;
    setup(&f);
    static const struct step on[] = {ENABLE};
    RUN(&f.rig, on);
    self_ipi(&f, 0x51);
    self_ipi(&f, 0x62);
    self_ipi(&f, 0x65);
    static const struct step irr[] = {LINE(INTR, 1), LOAD(L(0x220), 0x00020000),
                                      LOAD(L(0x230), 0x00000024)};
    RUN(&f.rig, irr);
    cr_expect_eq(lapic_ack(f.lapic), 0x65);
    static const struct step same_class[] = {LINE(INTR, 0), LOAD(L(0xa0), 0x60),
                                             LOAD(L(0x130), 0x20), EOI, LINE(INTR, 1)};
    RUN(&f.rig, same_class);
    cr_expect_eq(lapic_ack(f.lapic), 0x62);
    self_ipi(&f, 0x71);
    cr_expect_eq(lapic_ack(f.lapic), 0x71);
    static const struct step tpr[] = {EOI,
                                      EOI,
                                      LINE(INTR, 1),
                                      STORE(L(0x80), 0x50),
                                      LINE(INTR, 0),
                                      LOAD(L(0xa0), 0x50),
                                      STORE(L(0x80), 0x4f),
                                      LINE(INTR, 1)};
    RUN(&f.rig, tpr);
    cr_expect_eq(lapic_ack(f.lapic), 0x51);
    cr_expect_eq(lapic_ack(f.lapic), -1);
    teardown(&f);
}

Test(lapic, virtual_wire)
{
    struct fixture f;
    setup(&f);
    struct irq_line irq1 = irq_router_line(f.irqs, 1);
    irq_set(&irq1, 1);
    cr_expect_eq(f.rig.level[INTR], 1, "through LINT0 before the APIC is software-enabled");
    cr_expect_eq(lapic_ack(f.lapic), 0x21);
    irq_set(&irq1, 0);
    static const struct step eoi[] = {OUT(0x20, 0x20), ENABLE, LINE(INTR, 0)};
    RUN(&f.rig, eoi);
    irq_set(&irq1, 1);
    self_ipi(&f, 0xf1);
    cr_expect_eq(lapic_ack(f.lapic), 0x21);
    cr_expect_eq(lapic_ack(f.lapic), 0xf1);
    static const struct step masked[] = {EOI, OUT(0x20, 0x20), STORE(L(0x350), 0x10700)};
    RUN(&f.rig, masked);
    irq_set(&irq1, 0);
    irq_set(&irq1, 1);
    cr_expect_eq(f.rig.level[INTR], 0);
    cr_expect(pic_has_interrupt(f.pic));
    cr_expect(lapic_set_base(f.lapic, LAPIC_DEFAULT_BASE | LAPIC_BASE_BSP));
    cr_expect_eq(f.rig.level[INTR], 1, "a disabled APIC is a wire");
    cr_expect_eq(lapic_ack(f.lapic), 0x21);
    cr_expect_eq(bus_mmio_read(f.rig.bus, L(0x30), 4), 0xffffffff);
    cr_expect_not(lapic_set_base(f.lapic, LAPIC_DEFAULT_BASE | 1));
    cr_expect(lapic_set_base(f.lapic, 0xfe000000 | LAPIC_BASE_ENABLE));
    cr_expect_eq(bus_mmio_read(f.rig.bus, 0xfe000030, 4), 0x50014);
    teardown(&f);
}

Test(lapic, local_inputs)
{
    struct fixture f;
    setup(&f);
    static const struct step fixed[] = {ENABLE, STORE(L(0x350), 0x31)};
    RUN(&f.rig, fixed);
    struct irq_line lint0 = lapic_lint0(f.lapic), lint1 = lapic_lint1(f.lapic);
    irq_set(&lint0, 1);
    cr_expect_eq(lapic_ack(f.lapic), 0x31);
    static const struct step level[] = {EOI, LINE(INTR, 0), STORE(L(0x350), 0x8032), LINE(INTR, 1),
                                        LOAD(L(0x350), 0xc032)};
    RUN(&f.rig, level);
    cr_expect_eq(lapic_ack(f.lapic), 0x32);
    static const struct step again[] = {LINE(INTR, 0), EOI, LINE(INTR, 1)};
    RUN(&f.rig, again);
    irq_set(&lint1, 1);
    cr_expect_eq(f.rig.edges[NMI], 1);
    teardown(&f);
}

Test(lapic, ipis_and_errors)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        ENABLE,
        STORE(L(0x370), 0xfe),
        STORE(L(0x300), 0x40003),
        STORE(L(0x280), 0),
        LOAD(L(0x280), 0x20), /* illegal vector */
        STORE(L(0x280), 0),
        LOAD(L(0x280), 0),
        STORE(L(0x310), 0x01000000),
        STORE(L(0x300), 0x00034), /* nobody */
        STORE(L(0x310), 0x00000000),
        STORE(L(0x300), 0x00035), /* by ID */
        STORE(L(0xd0), 0x02000000),
        STORE(L(0x310), 0x03000000),
        STORE(L(0x300), 0x00836),
        STORE(L(0x300), 0xc0037), /* all others */
        STORE(L(0x300), 0x80038), /* all */
        LOAD(L(0x210), 0x01600000),
        LOAD(L(0x300), 0x80038),
        STORE(L(0x310), 0),
        STORE(L(0x300), 0x00400),
        EDGES(NMI, 1),
        STORE(L(0x300), 0x08500),
        EDGES(INIT, 0),
        STORE(L(0x300), 0x0c500),
        EDGES(INIT, 1),
        EDGES(STARTUP, 0),
        STORE(L(0x300), 0x00610),
        EDGES(STARTUP, 1),
    };
    RUN(&f.rig, script);
    cr_expect_eq(lapic_startup_page(f.lapic), 0x10);
    cr_expect_eq(lapic_ack(f.lapic), 0xfe, "the error interrupt");
    /* Cluster model. */
    static const struct step cluster[] = {EOI,
                                          STORE(L(0xe0), 0),
                                          STORE(L(0xd0), 0x21000000),
                                          STORE(L(0x310), 0x23000000),
                                          STORE(L(0x300), 0x00841),
                                          STORE(L(0x310), 0x31000000),
                                          STORE(L(0x300), 0x00842),
                                          LOAD(L(0x220), 0x00000002)};
    RUN(&f.rig, cluster);
    teardown(&f);
}

Test(lapic, timer_one_shot)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        ENABLE,
        STORE(L(0x320), 0x40),
        STORE(L(0x3e0), 0x3), /* by 16 */
        STORE(L(0x380), 1000),
        LOAD(L(0x390), 1000),
        WAIT(1600),
        LOAD(L(0x390), 900),
        STORE(L(0x3e0), 0xb),
        LOAD(L(0x390), 900),
        WAIT(100),
        LOAD(L(0x390), 800), /* by 1 */
        WAIT(799),
        LINE(INTR, 0),
        WAIT(1),
        LINE(INTR, 1),
        LOAD(L(0x390), 0),
        WAIT(1000000),
    };
    RUN(&f.rig, script);
    cr_expect_eq(lapic_ack(f.lapic), 0x40);
    static const struct step once[] = {EOI,
                                       WAIT(1000000),
                                       LINE(INTR, 0),
                                       STORE(L(0x380), 1000),
                                       STORE(L(0x380), 0),
                                       LOAD(L(0x390), 0),
                                       WAIT(100000),
                                       LINE(INTR, 0)};
    RUN(&f.rig, once);
    teardown(&f);
}

Test(lapic, timer_periodic)
{
    struct fixture f;
    setup(&f);
    static const struct step on[] = {ENABLE, STORE(L(0x3e0), 0xb), STORE(L(0x320), 0x20040),
                                     STORE(L(0x380), 1000000)};
    RUN(&f.rig, on);
    unsigned n = 0;
    for (int i = 0; i < 2000; i++) {
        rig_wait(&f.rig, 500000);
        if (lapic_ack(f.lapic) == 0x40) {
            n++;
            bus_mmio_write(f.rig.bus, L(0xb0), 0, 4);
        }
    }
    cr_expect_eq(n, 1000);
    rig_oversleep(&f.rig, 10300000);
    cr_expect_eq(lapic_ack(f.lapic), 0x40);
    static const struct step masked[] = {EOI,
                                         LINE(INTR, 0),
                                         LOAD(L(0x390), 700000),
                                         STORE(L(0x320), 0x30040),
                                         WAIT(2000000),
                                         LINE(INTR, 0),
                                         LOAD(L(0x390), 700000),
                                         STORE(L(0x320), 0x20040),
                                         WAIT(699999),
                                         LINE(INTR, 0),
                                         WAIT(1),
                                         LINE(INTR, 1)};
    RUN(&f.rig, masked);
    cr_expect_eq(lapic_ack(f.lapic), 0x40);
    static const struct step tiny[] = {EOI, STORE(L(0x380), 1), WAIT(1000000)};
    RUN(&f.rig, tiny); /* comes back */
    teardown(&f);
}

Test(ioapic, registers)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        IOR(1, 0x00170011),
        IOR(0, 0),
        IOW(0, 0xff000000),
        IOR(0, 0x0f000000),
        IOR(2, 0x0f000000),
        IOR(LOW(0), 0x10000),
        IOW(LOW(3), 0xffffffff),
        IOR(LOW(3), 0x1afff),
        IOW(LOW(3) + 1, 0xffffffff),
        IOR(LOW(3) + 1, 0xff000000),
        IOR(LOW(24), 0),
        IOR(0xff, 0),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(ioapic, pit_comes_in_at_pin_2)
{
    struct fixture f;
    setup(&f);
    struct irq_line pit = irq_router_line(f.irqs, 0);
    static const struct step on[] = {ENABLE, STORE(L(0x350), 0x10700), IOW(LOW(2), 0x30)};
    RUN(&f.rig, on);
    irq_set(&pit, 1);
    irq_set(&pit, 0);
    cr_expect_eq(lapic_ack(f.lapic), 0x30);
    cr_expect_eq(lapic_ack(f.lapic), -1);
    /* An edge at a masked pin is lost. */
    static const struct step mask[] = {EOI, IOW(LOW(2), 0x10030)};
    RUN(&f.rig, mask);
    irq_set(&pit, 1);
    static const struct step unmask[] = {LINE(INTR, 0), IOW(LOW(2), 0x30), LINE(INTR, 0)};
    RUN(&f.rig, unmask);
    irq_set(&pit, 0);
    irq_set(&pit, 1);
    cr_expect_eq(lapic_ack(f.lapic), 0x30);
    teardown(&f);
}

/* A level that is still there when its pin is unmasked is not. */
Test(ioapic, level_at_a_masked_pin)
{
    struct fixture f;
    setup(&f);
    struct irq_line a = irq_router_line(f.irqs, 10);
    static const struct step masked[] = {ENABLE, STORE(L(0x350), 0x10700), IOW(LOW(10), 0x18044)};
    static const struct step open[] = {LINE(INTR, 0), IOR(LOW(10), 0x18044), IOW(LOW(10), 0x8044),
                                       LINE(INTR, 1), IOR(LOW(10), 0xc044)};
    RUN(&f.rig, masked);
    irq_set(&a, 1);
    RUN(&f.rig, open);
    cr_expect_eq(lapic_ack(f.lapic), 0x44);
    /* Masked while it is in service: the EOI clears remote IRR, and nothing comes. */
    static const struct step ended[] = {IOW(LOW(10), 0x18044), IOR(LOW(10), 0x1c044), EOI,
                                        IOR(LOW(10), 0x18044), LINE(INTR, 0)};
    RUN(&f.rig, ended);
    irq_set(&a, 0);
    irq_set(&a, 1);
    irq_set(&a, 0);
    static const struct step nothing[] = {IOW(LOW(10), 0x8044), LINE(INTR, 0)};
    RUN(&f.rig, nothing);
    teardown(&f);
}

Test(ioapic, polarity)
{
    struct fixture f;
    setup(&f);
    struct irq_line edge = irq_router_line(f.irqs, 4), level = irq_router_line(f.irqs, 11);
    static const struct step on[] = {ENABLE, STORE(L(0x350), 0x10700), IOW(LOW(4), 0x2040),
                                     LINE(INTR, 0)};
    RUN(&f.rig, on);
    irq_set(&edge, 1);
    static const struct step rise[] = {LINE(INTR, 0)};
    RUN(&f.rig, rise);
    irq_set(&edge, 0);
    cr_expect_eq(lapic_ack(f.lapic), 0x40, "active low: the falling edge");
    irq_set(&level, 1);
    static const struct step low[] = {EOI, IOW(LOW(11), 0xa045), LINE(INTR, 0)};
    RUN(&f.rig, low);
    irq_set(&level, 0);
    cr_expect_eq(lapic_ack(f.lapic), 0x45, "active low: while it is low");
    irq_set(&level, 1);
    static const struct step end[] = {EOI, LINE(INTR, 0), IOR(LOW(11), 0xa045)};
    RUN(&f.rig, end);
    teardown(&f);
}

Test(ioapic, shared_level)
{
    struct fixture f;
    setup(&f);
    struct irq_line a = irq_router_line(f.irqs, 11), b = irq_router_line(f.irqs, 11);
    static const struct step on[] = {ENABLE, STORE(L(0x350), 0x10700), IOW(LOW(11), 0x8045)};
    RUN(&f.rig, on);
    irq_set(&a, 1);
    irq_set(&b, 1);
    static const struct step remote[] = {LINE(INTR, 1), IOR(LOW(11), 0xc045), LOAD(L(0x1a0), 0x20)};
    RUN(&f.rig, remote);
    cr_expect_eq(lapic_ack(f.lapic), 0x45);
    irq_set(&a, 0);
    static const struct step again[] = {LINE(INTR, 0), EOI, LINE(INTR, 1)};
    RUN(&f.rig, again);
    cr_expect_eq(lapic_ack(f.lapic), 0x45);
    irq_set(&b, 0);
    static const struct step done[] = {EOI, LINE(INTR, 0), IOR(LOW(11), 0x8045)};
    RUN(&f.rig, done);
    /* Turning the entry to edge and back ends it too. */
    irq_set(&a, 1);
    static const struct step trick[] = {IOR(LOW(11), 0xc045), IOW(LOW(11), 0x10045),
                                        IOR(LOW(11), 0x10045), IOW(LOW(11), 0x8045),
                                        IOR(LOW(11), 0xc045)};
    RUN(&f.rig, trick);
    teardown(&f);
}
