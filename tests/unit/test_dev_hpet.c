/* SPDX-License-Identifier: MIT */
/* HPET: the counter, one-shot and periodic matches, levels, the legacy replacement route. */
#include "devices/hpet.h"
#include "scripted_bus.h"

#define IRQ0   0
#define IRQ8   1
#define PIN(n) (2 + (n))
#define H(off) (HPET_BASE + (off))
#define ON     STORE(H(0x10), 1)

struct fixture {
    struct rig rig;
    struct hpet *hpet;
};

static void setup(struct fixture *f)
{
    struct irq_line pins[HPET_PINS];
    rig_init(&f->rig);
    for (unsigned i = 0; i < HPET_PINS; i++)
        pins[i] = rig_line(&f->rig, PIN(i));
    f->hpet = hpet_create(f->rig.bus, f->rig.clock, rig_line(&f->rig, IRQ0),
                          rig_line(&f->rig, IRQ8), pins);
}

static void teardown(struct fixture *f)
{
    hpet_destroy(f->hpet);
    rig_fini(&f->rig);
}

Test(hpet, registers)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        LOAD(H(0), 0x8086a201),
        LOAD(H(4), 10000000), /* femtoseconds */
        STORE(H(0), 0),
        LOAD(H(0), 0x8086a201),
        STORE(H(0x10), 0xfffffffc),
        LOAD(H(0x10), 0),
        LOAD(H(0x100), 0x30),
        LOAD(H(0x104), 0x00f00000),
        LOAD(H(0x108), 0xffffffff),
        STORE(H(0x100), 0xffffffff),
        LOAD(H(0x100), 0x3f3e),
        STORE(H(0x120), 0xffffffff),
        LOAD(H(0x120), 0x3f26),
        STORE(H(0x110), 1),
        LOAD(H(0x110), 0),
        LOAD(H(0x160), 0),
        LOAD(H(0x3fc), 0),
    };
    RUN(&f.rig, script);
    hpet_reset(f.hpet);
    static const struct step after[] = {LOAD(H(0x100), 0x30), LOAD(H(0x108), 0xffffffff)};
    RUN(&f.rig, after);
    teardown(&f);
}

Test(hpet, counter)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        WAIT(1000),
        LOAD(H(0xf0), 0),
        STORE(H(0xf0), 0xfffffff0),
        STORE(H(0xf4), 5),
        ON,
        WAIT(150),
        LOAD(H(0xf0), 0xffffffff),
        LOAD(H(0xf4), 5),
        WAIT(10),
        LOAD(H(0xf0), 0),
        LOAD(H(0xf4), 6),
        WAIT(1000),
        STORE(H(0x10), 0),
        LOAD(H(0xf0), 100),
        WAIT(5000),
        LOAD(H(0xf0), 100),
        ON,
        WAIT(10),
        LOAD(H(0xf0), 101),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(hpet, one_shot)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        ON,
        STORE(H(0x120), 0x2804), /* comparator 1, pin 20 */
        STORE(H(0x128), 1000),
        STORE(H(0x12c), 0),
        WAIT(9990),
        EDGES(PIN(0), 0),
        WAIT(10),
        EDGES(PIN(0), 1),
        WAIT(1000000000),
        EDGES(PIN(0), 0),
        LOAD(H(0x20), 0),
        /* 32 bits: once more when the lower half comes round */
        STORE(H(0x140), 0x2b04), /* comparator 2, pin 21 */
        STORE(H(0x148), 5),
        WAIT(40000000000),
        EDGES(PIN(1), 0),
        WAIT(3000000000),
        EDGES(PIN(1), 1),
        WAIT(42949672960),
        EDGES(PIN(1), 1),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(hpet, level)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        ON,
        STORE(H(0x140), 0x2e06), /* comparator 2, pin 23, level */
        STORE(H(0x148), 100),
        STORE(H(0x14c), 0),
        WAIT(1000),
        LINE(PIN(3), 1),
        LOAD(H(0x20), 4),
        STORE(H(0x20), 3),
        LINE(PIN(3), 1),
        STORE(H(0x20), 4),
        LINE(PIN(3), 0),
        LOAD(H(0x20), 0),
        /* status is kept without the interrupt, which comes when it is enabled */
        STORE(H(0x140), 0x2e02),
        STORE(H(0x148), 300),
        WAIT(2000),
        LINE(PIN(3), 0),
        LOAD(H(0x20), 4),
        STORE(H(0x140), 0x2e06),
        LINE(PIN(3), 1),
        STORE(H(0x20), 4),
        LINE(PIN(3), 0),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

/* As Linux programs it: the first write is the match, the second the period. */
Test(hpet, periodic_on_the_legacy_route)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        STORE(H(0x10), 3),
        STORE(H(0x100), 0x14c),
        STORE(H(0x108), 10000),
        STORE(H(0x108), 100000),
        WAIT(99990),
        EDGES(IRQ0, 0),
        WAIT(10),
        EDGES(IRQ0, 1),
        WAIT(999990),
        EDGES(IRQ0, 0),
        WAIT(10),
        EDGES(IRQ0, 1),
        WAIT(100000000),
        EDGES(IRQ0, 100),
        EDGES(PIN(0), 0),
    };
    RUN(&f.rig, script);
    /* Late: one edge for all, and the phase is kept. */
    rig_oversleep(&f.rig, 10500000);
    static const struct step late[] = {EDGES(IRQ0, 1), WAIT(499990),   EDGES(IRQ0, 0),
                                       WAIT(100000),   EDGES(IRQ0, 1), STORE(H(0x10), 2),
                                       WAIT(10000000), EDGES(IRQ0, 0)};
    RUN(&f.rig, late);
    /* No storm. */
    static const struct step tiny[] = {STORE(H(0x10), 3), STORE(H(0x108), 1), WAIT(10000000)};
    RUN(&f.rig, tiny);
    cr_expect_leq(f.rig.edges[IRQ0], 510);
    cr_expect_geq(f.rig.edges[IRQ0], 400);
    teardown(&f);
}

Test(hpet, legacy_route_takes_the_lines_over)
{
    struct fixture f;
    setup(&f);
    struct irq_line pit = hpet_pit_line(f.hpet), rtc = hpet_rtc_line(f.hpet);
    irq_set(&pit, 1);
    irq_set(&rtc, 1);
    static const struct step off[] = {LINE(IRQ0, 1), LINE(IRQ8, 1), STORE(H(0x10), 2),
                                      LINE(IRQ0, 0), LINE(IRQ8, 0), EDGES(IRQ0, 1)};
    RUN(&f.rig, off);
    irq_set(&pit, 0);
    irq_set(&pit, 1);
    static const struct step silent[] = {EDGES(IRQ0, 0), STORE(H(0x10), 0), LINE(IRQ0, 1),
                                         LINE(IRQ8, 1)};
    RUN(&f.rig, silent);
    teardown(&f);
}
