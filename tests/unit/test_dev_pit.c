/* SPDX-License-Identifier: MIT */
/* 8254: modes, latches, gates, port 0x61, exactness of time. */
#include "devices/pit.h"
#include "scripted_bus.h"

#define OUT0 0

struct fixture {
    struct rig rig;
    struct pit *pit;
};

static void setup(struct fixture *f)
{
    rig_init(&f->rig);
    f->pit = pit_create(f->rig.bus, f->rig.clock, rig_line(&f->rig, OUT0));
}

static void teardown(struct fixture *f)
{
    pit_destroy(f->pit);
    rig_fini(&f->rig);
}

/* The first nanosecond of a tick. */
static uint64_t ns_of(uint64_t tick)
{
    return (tick * 1000000000u + PIT_HZ - 1) / PIT_HZ;
}

static void wait_until_tick(struct fixture *f, uint64_t tick)
{
    rig_wait(&f->rig, ns_of(tick) - f->rig.now);
}

static unsigned read_count(struct fixture *f, unsigned channel)
{
    bus_port_write(f->rig.bus, 0x43, channel << 6, 1);
    unsigned low = bus_port_read(f->rig.bus, (uint16_t)(0x40 + channel), 1);
    return low | bus_port_read(f->rig.bus, (uint16_t)(0x40 + channel), 1) << 8;
}

Test(pit, one_second_is_exact)
{
    struct fixture f;
    setup(&f);
    static const struct step rate[] = {OUT(0x43, 0x34), OUT(0x40, 0xa9), OUT(0x40, 0x04),
                                       EDGES(OUT0, 1)};
    RUN(&f.rig, rate); /* 1193 ticks, about 1 kHz */
    rig_wait(&f.rig, 60 * 1000000000ull);
    cr_expect_eq(f.rig.edges[OUT0], 60ull * PIT_HZ / 1193);
    f.rig.edges[OUT0] = 0;
    wait_until_tick(&f, 1193ull * 100000 - 1);
    f.rig.edges[OUT0] = 0;
    wait_until_tick(&f, 1193ull * 100000);
    cr_expect_eq(f.rig.edges[OUT0], 1, "the edge comes at its tick, not a nanosecond off");
    teardown(&f);
}

Test(pit, late_periods_are_one_edge_and_keep_phase)
{
    struct fixture f;
    setup(&f);
    static const struct step rate[] = {OUT(0x43, 0x34), OUT(0x40, 0x00), OUT(0x40, 0x10),
                                       EDGES(OUT0, 1)};
    RUN(&f.rig, rate);
    rig_oversleep(&f.rig, ns_of(4096 * 10 + 100));
    static const struct step one[] = {EDGES(OUT0, 1)};
    RUN(&f.rig, one);
    cr_expect_eq(clock_next_deadline(f.rig.clock), ns_of(4096 * 11));
    teardown(&f);
}

Test(pit, no_storm)
{
    struct fixture f;
    setup(&f);
    static const struct step tiny[] = {OUT(0x43, 0x14), OUT(0x40, 2), EDGES(OUT0, 1),
                                       WAIT(10000000)};
    RUN(&f.rig, tiny);
    cr_expect_leq(f.rig.edges[OUT0], 510);
    cr_expect_geq(f.rig.edges[OUT0], 400);
    teardown(&f);
}

Test(pit, mode0)
{
    struct fixture f;
    setup(&f);
    static const struct step load[] = {OUT(0x43, 0x30), LINE(OUT0, 0), OUT(0x40, 0xe8),
                                       OUT(0x40, 0x03), LINE(OUT0, 0)};
    RUN(&f.rig, load);
    wait_until_tick(&f, 400);
    cr_expect_eq(read_count(&f, 0), 600);
    wait_until_tick(&f, 999);
    cr_expect_eq(f.rig.level[OUT0], 0);
    wait_until_tick(&f, 1000);
    cr_expect_eq(f.rig.level[OUT0], 1);
    wait_until_tick(&f, 1001);
    cr_expect_eq(read_count(&f, 0), 0xffff, "it goes on counting");
    cr_expect_eq(clock_next_deadline(f.rig.clock), UINT64_MAX);
    static const struct step stop[] = {OUT(0x40, 5), LINE(OUT0, 0), WAIT(1000000), LINE(OUT0, 0),
                                       OUT(0x40, 0), WAIT(5000),    LINE(OUT0, 1)};
    RUN(&f.rig, stop);
    teardown(&f);
}

Test(pit, mode3_counts_by_two)
{
    struct fixture f;
    setup(&f);
    static const struct step load[] = {OUT(0x43, 0xb6), OUT(0x42, 10), OUT(0x42, 0), OUT(0x61, 1)};
    RUN(&f.rig, load);
    static const uint8_t expect[11] = {10, 8, 6, 4, 2, 10, 8, 6, 4, 2, 10};
    for (unsigned i = 0; i < 11; i++) {
        wait_until_tick(&f, i);
        cr_expect_eq(read_count(&f, 2), expect[i], "tick %u", i);
        cr_expect_eq(bus_port_read(f.rig.bus, 0x61, 1) >> 5 & 1, i % 10 < 5, "tick %u", i);
    }
    teardown(&f);
}

/* Channel 0 in mode 3: OUT is low in the second half, and the request with it. */
Test(pit, mode3_drives_a_level)
{
    struct fixture f;
    setup(&f);
    static const struct step load[] = {OUT(0x43, 0x36), OUT(0x40, 0xe9), OUT(0x40, 0x03)};
    RUN(&f.rig, load); /* 1001 ticks: 501 of them high */
    for (unsigned cycle = 0; cycle < 5; cycle++) {
        wait_until_tick(&f, 1001 * cycle + 500);
        cr_expect_eq(f.rig.level[OUT0], 1);
        wait_until_tick(&f, 1001 * cycle + 501);
        cr_expect_eq(f.rig.level[OUT0], 0);
        wait_until_tick(&f, 1001 * cycle + 1000);
        cr_expect_eq(f.rig.level[OUT0], 0);
    }
    cr_expect_eq(f.rig.edges[OUT0], 5);
    /* Seen late, in the low half: the edge is shown all the same, for a moment. */
    rig_oversleep(&f.rig, ns_of(700));
    cr_expect_eq(f.rig.level[OUT0], 1);
    rig_wait(&f.rig, 10000);
    cr_expect_eq(f.rig.level[OUT0], 0);
    wait_until_tick(&f, 1001 * 7);
    cr_expect_eq(f.rig.level[OUT0], 1);
    teardown(&f);
}

Test(pit, mode2_new_count_waits_for_the_period)
{
    struct fixture f;
    setup(&f);
    static const struct step load[] = {OUT(0x43, 0x34), OUT(0x40, 100), OUT(0x40, 0)};
    RUN(&f.rig, load);
    wait_until_tick(&f, 30);
    static const struct step next[] = {
        OUT(0x40, 50), OUT(0x40, 0), OUT(0x43, 0xe2), IN(0x40, 0xf4), /* null count */
    };
    RUN(&f.rig, next);
    cr_expect_eq(read_count(&f, 0), 70);
    f.rig.edges[OUT0] = 0;
    wait_until_tick(&f, 99);
    cr_expect_eq(f.rig.edges[OUT0], 0);
    wait_until_tick(&f, 110);
    cr_expect_eq(f.rig.edges[OUT0], 1);
    cr_expect_eq(read_count(&f, 0), 40);
    static const struct step status[] = {OUT(0x43, 0xe2), IN(0x40, 0xb4)};
    RUN(&f.rig, status);
    wait_until_tick(&f, 150);
    cr_expect_eq(f.rig.edges[OUT0], 2);
    teardown(&f);
}

Test(pit, mode4_strobe)
{
    struct fixture f;
    setup(&f);
    static const struct step load[] = {OUT(0x43, 0x38), LINE(OUT0, 1), OUT(0x40, 0xe8),
                                       OUT(0x40, 0x03), EDGES(OUT0, 1)};
    RUN(&f.rig, load);
    wait_until_tick(&f, 1000);
    static const struct step fired[] = {EDGES(OUT0, 1), LINE(OUT0, 1), WAIT(100000000),
                                        EDGES(OUT0, 0), OUT(0x40, 10), OUT(0x40, 0),
                                        WAIT(100000),   EDGES(OUT0, 1)};
    RUN(&f.rig, fired);
    teardown(&f);
}

Test(pit, gate_of_channel_2)
{
    struct fixture f;
    setup(&f);
    /* Mode 0 counts while the gate is high: Linux calibrates its TSC so. */
    static const struct step mode0[] = {OUT(0x61, 0),    OUT(0x43, 0xb0), OUT(0x42, 0xff),
                                        OUT(0x42, 0xff), WAIT(1000000),   IN_MASK(0x61, 0, 0x20)};
    RUN(&f.rig, mode0);
    cr_expect_eq(read_count(&f, 2), 0xffff);
    static const struct step open[] = {OUT(0x61, 1), IN_MASK(0x61, 1, 0x2f)};
    RUN(&f.rig, open);
    uint64_t begin = f.rig.now * PIT_HZ / 1000000000u;
    wait_until_tick(&f, begin + 500);
    unsigned paused = read_count(&f, 2);
    cr_expect_eq(paused, 0xffff - 500);
    static const struct step shut[] = {OUT(0x61, 0), WAIT(1000000)};
    RUN(&f.rig, shut);
    cr_expect_eq(read_count(&f, 2), paused);
    static const struct step rest[] = {OUT(0x61, 1), WAIT(60000000), IN_MASK(0x61, 0x21, 0x2f)};
    RUN(&f.rig, rest);
    /* Mode 1: a rising gate starts a low pulse of N ticks. */
    static const struct step mode1[] = {
        OUT(0x61, 0),
        OUT(0x43, 0xb2),
        OUT(0x42, 100),
        OUT(0x42, 0),
        IN_MASK(0x61, 0x20, 0x20),
        OUT(0x61, 1),
        IN_MASK(0x61, 0, 0x20),
        WAIT(83000),
        IN_MASK(0x61, 0, 0x20),
        WAIT(2000),
        IN_MASK(0x61, 0x20, 0x20),
        OUT(0x61, 0),
        OUT(0x61, 1),
        IN_MASK(0x61, 0, 0x20),
    };
    RUN(&f.rig, mode1);
    /* Mode 3: a low gate holds OUT high. */
    static const struct step mode3[] = {
        OUT(0x43, 0xb6),
        OUT(0x42, 0),
        OUT(0x42, 0),
        WAIT(40000000),
        IN_MASK(0x61, 0, 0x20),
        OUT(0x61, 0),
        IN_MASK(0x61, 0x20, 0x20),
        OUT(0x61, 1),
        WAIT(1000000),
        IN_MASK(0x61, 0x20, 0x20),
    };
    RUN(&f.rig, mode3);
    teardown(&f);
}

Test(pit, access_modes_and_latches)
{
    struct fixture f;
    setup(&f);
    static const struct step low[] = {OUT(0x43, 0x94), OUT(0x42, 200), OUT(0x61, 1), IN(0x42, 200),
                                      OUT(0x43, 0xa4), OUT(0x42, 3),   IN(0x42, 3)};
    RUN(&f.rig, low);
    static const struct step both[] = {OUT(0x43, 0xb4), OUT(0x42, 0x34), OUT(0x42, 0x12),
                                       OUT(0x43, 0x80), WAIT(100000), /* latched */
                                       OUT(0x43, 0x80),               /* the second is ignored */
                                       IN(0x42, 0x34),  IN(0x42, 0x12)};
    RUN(&f.rig, both);
    cr_expect_neq(read_count(&f, 2), 0x1234);
    /* Read-back of status and count of channel 2: status comes first. */
    static const struct step back[] = {OUT(0x43, 0xb0), OUT(0x43, 0xe8), IN(0x42, 0x70),
                                       OUT(0x42, 9),    OUT(0x42, 0),    OUT(0x43, 0xc8),
                                       IN(0x42, 0x30),  IN(0x42, 9),     IN(0x42, 0)};
    RUN(&f.rig, back);
    teardown(&f);
}

Test(pit, bcd)
{
    struct fixture f;
    setup(&f);
    static const struct step load[] = {OUT(0x43, 0x31), OUT(0x40, 0x00), OUT(0x40, 0x10)};
    RUN(&f.rig, load);
    wait_until_tick(&f, 1);
    cr_expect_eq(read_count(&f, 0), 0x0999);
    wait_until_tick(&f, 1001);
    cr_expect_eq(read_count(&f, 0), 0x9999);
    cr_expect_eq(f.rig.level[OUT0], 1);
    teardown(&f);
}

Test(pit, refresh_toggles)
{
    struct fixture f;
    setup(&f);
    unsigned toggles = 0, last = 0;
    for (unsigned us = 0; us < 1500; us++) {
        unsigned now = bus_port_read(f.rig.bus, 0x61, 1) & 0x10;
        toggles += now != last;
        last = now;
        rig_wait(&f.rig, 1000);
    }
    cr_expect(toggles >= 98 && toggles <= 100, "%u toggles in 1.5 ms", toggles);
    teardown(&f);
}
