/* SPDX-License-Identifier: MIT */
/* 8259A pair: initialisation, priorities, every operation command, cascade, spurious requests. */
#include "devices/pic.h"
#include "scripted_bus.h"

#define INT 0

struct fixture {
    struct rig rig;
    struct pic *pic;
};

static const struct step init[] = {
    OUT(0x20, 0x11), OUT(0x21, 0x20), OUT(0x21, 0x04), OUT(0x21, 0x01),
    OUT(0xa0, 0x11), OUT(0xa1, 0x28), OUT(0xa1, 0x02), OUT(0xa1, 0x01),
};

static void setup(struct fixture *f)
{
    rig_init(&f->rig);
    f->pic = pic_create(f->rig.bus, rig_line(&f->rig, INT));
    RUN(&f->rig, init);
}

static void teardown(struct fixture *f)
{
    pic_destroy(f->pic);
    rig_fini(&f->rig);
}

static void irq(struct fixture *f, unsigned n, int level)
{
    struct irq_line line = pic_irq(f->pic, n);
    irq_set(&line, level);
}

static void edge(struct fixture *f, unsigned n)
{
    irq(f, n, 0);
    irq(f, n, 1);
}

Test(pic, ports_and_masks)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        IN(0x21, 0),      OUT(0x21, 0xfb), IN(0x21, 0xfb),   OUT(0xa1, 0xff), IN(0xa1, 0xff),
        OUT(0x4d0, 0xff), IN(0x4d0, 0xf8), OUT(0x4d1, 0xff), IN(0x4d1, 0xde),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(pic, vectors_and_nesting)
{
    struct fixture f;
    setup(&f);
    edge(&f, 4);
    edge(&f, 1);
    cr_expect(pic_has_interrupt(f.pic));
    cr_expect_eq(pic_ack(f.pic), 0x21); /* 1 before 4 */
    cr_expect_not(pic_has_interrupt(f.pic), "4 waits while 1 is in service");
    edge(&f, 0);
    cr_expect_eq(pic_ack(f.pic), 0x20, "0 nests within 1");
    static const struct step eoi[] = {
        OUT(0x20, 0x0b), IN(0x20, 0x03), /* in service: 0 and 1 */
        OUT(0x20, 0x0a), IN(0x20, 0x10), /* requested: 4 */
        OUT(0x20, 0x20), OUT(0x20, 0x0b), IN(0x20, 0x02), LINE(INT, 0),
        OUT(0x20, 0x20), IN(0x20, 0x00),  LINE(INT, 1),
    };
    RUN(&f.rig, eoi);
    cr_expect_eq(pic_ack(f.pic), 0x24);
    teardown(&f);
}

Test(pic, cascade)
{
    struct fixture f;
    setup(&f);
    edge(&f, 12);
    cr_expect_eq(pic_ack(f.pic), 0x2c);
    edge(&f, 8);
    cr_expect_not(pic_has_interrupt(f.pic), "fully nested: the master holds the slave off");
    static const struct step both[] = {
        OUT(0x20, 0x0b), IN(0x20, 0x04),  OUT(0xa0, 0x0b), IN(0xa0, 0x10),
        OUT(0xa0, 0x64), OUT(0x20, 0x62), LINE(INT, 1), /* specific EOIs */
    };
    RUN(&f.rig, both);
    cr_expect_eq(pic_ack(f.pic), 0x28);
    edge(&f, 3);
    cr_expect_not(pic_has_interrupt(f.pic), "3 is below the cascade");
    static const struct step end[] = {OUT(0xa0, 0x20), OUT(0x20, 0x20), LINE(INT, 1)};
    RUN(&f.rig, end);
    cr_expect_eq(pic_ack(f.pic), 0x23);
    teardown(&f);
}

Test(pic, special_fully_nested)
{
    struct fixture f;
    setup(&f);
    static const struct step nested[] = {OUT(0x20, 0x11), OUT(0x21, 0x20), OUT(0x21, 0x04),
                                         OUT(0x21, 0x11)};
    RUN(&f.rig, nested);
    edge(&f, 12);
    cr_expect_eq(pic_ack(f.pic), 0x2c);
    edge(&f, 8);
    cr_expect(pic_has_interrupt(f.pic), "a higher slave input gets through");
    cr_expect_eq(pic_ack(f.pic), 0x28);
    teardown(&f);
}

Test(pic, edge_and_level)
{
    struct fixture f;
    setup(&f);
    irq(&f, 5, 1);
    cr_expect_eq(pic_ack(f.pic), 0x25);
    static const struct step level[] = {OUT(0x20, 0x20), LINE(INT, 0), OUT(0x4d0, 0x20)};
    irq(&f, 5, 0);
    RUN(&f.rig, level);
    irq(&f, 5, 1);
    cr_expect_eq(pic_ack(f.pic), 0x25);
    static const struct step again[] = {LINE(INT, 0), OUT(0x20, 0x20), LINE(INT, 1)};
    RUN(&f.rig, again);
    irq(&f, 5, 0);
    static const struct step gone[] = {LINE(INT, 0)};
    RUN(&f.rig, gone);
    teardown(&f);
}

/* A driver that polls takes a request back: it must not come later. */
Test(pic, withdrawn_before_the_acknowledge)
{
    struct fixture f;
    setup(&f);
    static const struct step requested[] = {OUT(0x20, 0x0a), OUT(0xa0, 0x0a), LINE(INT, 1)};
    static const struct step gone[] = {IN(0x20, 0), IN(0xa0, 0), LINE(INT, 0)};
    for (unsigned n = 0; n < 16; n++) {
        if (n == 2)
            continue;
        irq(&f, n, 1);
        RUN(&f.rig, requested);
        irq(&f, n, 0);
        RUN(&f.rig, gone);
        cr_expect_eq(pic_ack(f.pic), 0x27, "input %u", n);
    }
    static const struct step polled[] = {OUT(0x20, 0x0c), IN(0x20, 0), OUT(0x20, 0x0b),
                                         IN(0x20, 0)};
    RUN(&f.rig, polled);
    irq(&f, 1, 1);
    irq(&f, 1, 0);
    irq(&f, 1, 1);
    cr_expect_eq(pic_ack(f.pic), 0x21, "the next edge counts");
    irq(&f, 1, 0);
    static const struct step served[] = {IN(0x20, 2)};
    RUN(&f.rig, served);
    teardown(&f);
}

/* The slave's request falls after the master has begun to answer for it. */
Test(pic, slave_without_a_request)
{
    struct fixture f;
    setup(&f);
    edge(&f, 8);
    static const struct step mask[] = {OUT(0x21, 0xfb), OUT(0xa1, 0xff), LINE(INT, 0)};
    RUN(&f.rig, mask);
    cr_expect_eq(pic_ack(f.pic), 0x27);
    teardown(&f);
}

Test(pic, spurious)
{
    struct fixture f;
    setup(&f);
    cr_expect_eq(pic_ack(f.pic), 0x27, "nothing requested: master's 7");
    static const struct step none[] = {OUT(0x20, 0x0b), IN(0x20, 0), OUT(0x4d1, 0x04)};
    RUN(&f.rig, none);
    edge(&f, 3);
    static const struct step mask[] = {LINE(INT, 1), OUT(0x21, 0x08), LINE(INT, 0)};
    RUN(&f.rig, mask);
    cr_expect_eq(pic_ack(f.pic), 0x27, "masked between INT and acknowledge");
    static const struct step unmask[] = {OUT(0x21, 0), LINE(INT, 1)};
    RUN(&f.rig, unmask);
    teardown(&f);
}

Test(pic, auto_eoi_and_rotation)
{
    struct fixture f;
    setup(&f);
    static const struct step aeoi[] = {OUT(0x20, 0x13), OUT(0x21, 0x40), OUT(0x21, 0x03),
                                       OUT(0x20, 0x80)}; /* single, auto EOI, rotating */
    RUN(&f.rig, aeoi);
    edge(&f, 0);
    edge(&f, 1);
    cr_expect_eq(pic_ack(f.pic), 0x40);
    edge(&f, 0);
    cr_expect_eq(pic_ack(f.pic), 0x41, "0 is now the lowest");
    cr_expect_eq(pic_ack(f.pic), 0x40);
    static const struct step isr[] = {OUT(0x20, 0x0b), IN(0x20, 0)};
    RUN(&f.rig, isr);
    teardown(&f);
}

Test(pic, rotate_commands)
{
    struct fixture f;
    setup(&f);
    static const struct step priority[] = {OUT(0x20, 0xc3)}; /* 3 lowest, 4 highest */
    RUN(&f.rig, priority);
    edge(&f, 0);
    edge(&f, 4);
    cr_expect_eq(pic_ack(f.pic), 0x24);
    static const struct step rotate[] = {OUT(0x20, 0xa0), LINE(INT, 1)}; /* 4 lowest now */
    RUN(&f.rig, rotate);
    edge(&f, 4);
    edge(&f, 5);
    cr_expect_eq(pic_ack(f.pic), 0x25);
    static const struct step specific[] = {OUT(0x20, 0xe5)};
    RUN(&f.rig, specific);
    edge(&f, 5);
    edge(&f, 6);
    cr_expect_eq(pic_ack(f.pic), 0x26);
    teardown(&f);
}

Test(pic, special_mask)
{
    struct fixture f;
    setup(&f);
    edge(&f, 1);
    cr_expect_eq(pic_ack(f.pic), 0x21);
    edge(&f, 4);
    static const struct step smm[] = {LINE(INT, 0), OUT(0x21, 0x02), LINE(INT, 0), OUT(0x20, 0x68),
                                      LINE(INT, 1)};
    RUN(&f.rig, smm);
    cr_expect_eq(pic_ack(f.pic), 0x24);
    static const struct step eoi[] = {
        OUT(0x20, 0x20), OUT(0x20, 0x0b), IN(0x20, 0x02), /* the masked one is left alone */
        OUT(0x20, 0x61), IN(0x20, 0x00),  OUT(0x20, 0x48), IN(0x21, 0x02),
    };
    RUN(&f.rig, eoi);
    teardown(&f);
}

Test(pic, poll)
{
    struct fixture f;
    setup(&f);
    static const struct step none[] = {OUT(0x20, 0x0c), IN(0x20, 0x00)};
    RUN(&f.rig, none);
    edge(&f, 6);
    static const struct step some[] = {OUT(0x20, 0x0c), IN(0x20, 0x86), LINE(INT, 0),
                                       OUT(0x20, 0x0b), IN(0x20, 0x40), OUT(0x20, 0x20),
                                       IN(0x20, 0x00)};
    RUN(&f.rig, some);
    teardown(&f);
}

Test(pic, icw1_drops_edges)
{
    struct fixture f;
    setup(&f);
    edge(&f, 4);
    static const struct step again[] = {OUT(0x21, 0xff), OUT(0x20, 0x11), LINE(INT, 0),
                                        OUT(0x21, 0x30), OUT(0x21, 0x04), OUT(0x21, 0x01),
                                        IN(0x21, 0),     LINE(INT, 0)};
    RUN(&f.rig, again);
    irq(&f, 4, 1);
    cr_expect_not(pic_has_interrupt(f.pic), "the line was high already");
    edge(&f, 4);
    cr_expect_eq(pic_ack(f.pic), 0x34);
    teardown(&f);
}

Test(pic, bios_state)
{
    struct fixture f;
    setup(&f);
    pic_bios_init(f.pic);
    edge(&f, 0);
    cr_expect_eq(pic_ack(f.pic), 0x08);
    static const struct step eoi[] = {OUT(0x20, 0x20)};
    RUN(&f.rig, eoi);
    edge(&f, 8);
    cr_expect_eq(pic_ack(f.pic), 0x70);
    teardown(&f);
}
