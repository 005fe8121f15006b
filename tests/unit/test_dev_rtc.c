/* SPDX-License-Identifier: MIT */
/* MC146818: calendar in all formats, setting, update, alarm and periodic interrupts, CMOS. */
#include "devices/rtc.h"
#include "scripted_bus.h"

#define ALARM     1
#define IRQ       8
#define SECOND    1000000000ull
#define GET(i, v) OUT(0x70, i), IN(0x71, v)
/* Register C but for the periodic flag, which comes at 1024 Hz, and the alarm's, at midnight. */
#define FLAGS(v)  OUT(0x70, 0x0c), IN_MASK(0x71, v, 0x90)
#define SET(i, v) OUT(0x70, i), OUT(0x71, v)

struct fixture {
    struct rig rig;
    struct rtc *rtc;
};

/* 2024-02-28 23:59:58 UTC, a Wednesday. */
#define START 1709164798

static void setup(struct fixture *f)
{
    rig_init(&f->rig);
    f->rtc = rtc_create(f->rig.bus, f->rig.clock, rig_line(&f->rig, IRQ), rig_line(&f->rig, ALARM));
    rtc_set_time(f->rtc, START);
}

static void teardown(struct fixture *f)
{
    rtc_destroy(f->rtc);
    rig_fini(&f->rig);
}

Test(rtc, bcd_calendar)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        GET(0x0d, 0x80),
        GET(0x0b, 0x02),
        GET(0x0a, 0x26),
        GET(0, 0x58),
        GET(2, 0x59),
        GET(4, 0x23),
        GET(6, 4),
        GET(7, 0x28),
        GET(8, 0x02),
        GET(9, 0x24),
        GET(0x32, 0x20),
        WAIT(2 * SECOND),
        GET(0, 0),
        GET(2, 0),
        GET(4, 0),
        GET(6, 5),
        GET(7, 0x29),
        GET(8, 0x02),
        WAIT(86400 * SECOND),
        GET(7, 0x01),
        GET(8, 0x03),
        GET(6, 6),
        IN(0x70, 0xff),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(rtc, formats)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        SET(0x0b, 0x06),
        GET(0, 58),
        GET(4, 23),
        GET(9, 24),
        GET(0x32, 20), /* binary */
        SET(0x0b, 0x04),
        GET(4, 0x8b), /* 11 PM */
        SET(0x0b, 0x00),
        GET(4, 0x91),
        WAIT(2 * SECOND),
        GET(4, 0x12), /* midnight: 12 AM */
        WAIT(12 * 3600 * SECOND),
        GET(4, 0x92), /* noon: 12 PM */
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(rtc, setting)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        SET(0x0b, 0x82), WAIT(5 * SECOND),
        GET(0, 0x58), /* stopped */
        SET(0, 0x30),    SET(2, 0x15),
        SET(4, 0x08),    SET(7, 0x31),
        SET(8, 0x12),    SET(9, 0x99),
        SET(0x32, 0x19), SET(0x0b, 0x02),
        GET(0, 0x30),    WAIT(30 * SECOND),
        GET(0, 0x00),    GET(2, 0x16),
        GET(9, 0x99),    WAIT(16 * 3600 * SECOND),
        GET(9, 0x00),    GET(0x32, 0x20),
        GET(8, 0x01),    GET(7, 0x01),
        GET(6, 7), /* a Saturday */
        SET(4, 0x10),    GET(4, 0x10),
        GET(2, 0x16), /* one register of a running clock */
        SET(0x0d, 0),    GET(0x0d, 0x80),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(rtc, divider_reset_starts_half_a_second_later)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        SET(0x0b, 0x82), SET(0x0a, 0x76), WAIT(3 * SECOND), SET(0, 0x10), SET(0x0b, 0x02),
        SET(0x0a, 0x26), GET(0, 0x10),    WAIT(499999999),  GET(0, 0x10), WAIT(1),
        GET(0, 0x11),    WAIT(SECOND),    GET(0, 0x12),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(rtc, update_in_progress)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        GET(0x0a, 0x26),        WAIT(SECOND - 2000000), GET(0x0a, 0xa6), GET(0, 0x58),
        WAIT(2000000),          GET(0x0a, 0x26),        GET(0, 0x59),    SET(0x0b, 0x82),
        WAIT(SECOND - 1000000), GET(0x0a, 0x26),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(rtc, update_interrupt)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        WAIT(SECOND),    FLAGS(0x10),     FLAGS(0x00),     LINE(IRQ, 0), /* flagged only */
        SET(0x0b, 0x12), WAIT(SECOND),    LINE(IRQ, 1),    WAIT(5 * SECOND),
        EDGES(IRQ, 1),   FLAGS(0x90),     LINE(IRQ, 0),    WAIT(SECOND),
        EDGES(IRQ, 1),   SET(0x0b, 0x92), GET(0x0b, 0x82), /* SET clears UIE */
    };
    RUN(&f.rig, script);
    cr_expect_eq(clock_next_deadline(f.rig.clock), UINT64_MAX);
    teardown(&f);
}

Test(rtc, alarm)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        SET(1, 0x05),
        SET(3, 0xff),
        SET(5, 0xc0),
        SET(0x0b, 0x22), /* every minute at :05 */
        WAIT(6 * SECOND),
        LINE(IRQ, 0),
        WAIT(SECOND),
        LINE(IRQ, 1),
        FLAGS(0xb0),
        WAIT(59 * SECOND),
        LINE(IRQ, 0),
        WAIT(SECOND),
        LINE(IRQ, 1),
        SKIP(0x71),
        SET(5, 0x23),
        SET(3, 0x00),
        WAIT(22 * 3600 * SECOND),
        LINE(IRQ, 0),
        WAIT(3600 * SECOND),
        LINE(IRQ, 1),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(rtc, periodic)
{
    struct fixture f;
    setup(&f);
    static const struct step polled[] = {WAIT(976562), GET(0x0c, 0x00), WAIT(1), GET(0x0c, 0x40)};
    RUN(&f.rig, polled); /* 1024 Hz */
    static const struct step on[] = {SET(0x0b, 0x42)};
    RUN(&f.rig, on);
    unsigned before = f.rig.edges[IRQ];
    for (int i = 0; i < 2000; i++) {
        rig_wait(&f.rig, 500000);
        static const struct step c[] = {OUT(0x70, 0x0c), SKIP(0x71)};
        RUN(&f.rig, c);
    }
    cr_expect(f.rig.edges[IRQ] - before >= 1023 && f.rig.edges[IRQ] - before <= 1025, "%u",
              f.rig.edges[IRQ] - before);
    static const struct step slow[] = {
        SET(0x0a, 0x2f),  OUT(0x70, 0x0c),          SKIP(0x71),
        EDGES(IRQ, 1024), WAIT(10 * SECOND),        EDGES(IRQ, 1),
        SET(0x0a, 0x20),  OUT(0x70, 0x0c),          IN_MASK(0x71, 0xd0, 0xd0),
        WAIT(SECOND),     IN_MASK(0x71, 0x10, 0xd0)};
    f.rig.edges[IRQ] = 1024;
    RUN(&f.rig, slow);
    teardown(&f);
}

Test(rtc, cmos)
{
    struct fixture f;
    setup(&f);
    rtc_set_memory(f.rtc, 256u << 20, 0);
    rtc_set_cmos(f.rtc, 0x3d, 0x21);
    rtc_set_cmos(f.rtc, 0x00, 0x99); /* not through this door */
    static const struct step script[] = {
        GET(0x15, 0x80), GET(0x16, 0x02), GET(0x17, 0xff), GET(0x18, 0xff), GET(0x30, 0xff),
        GET(0x34, 0x00), GET(0x35, 0x0f), GET(0x3d, 0x21), GET(0x00, 0x58), GET(0x5b, 0),
        SET(0x8f, 0x0a), GET(0x0f, 0x0a), SET(0x7f, 0x77), GET(0xff, 0x77),
    };
    RUN(&f.rig, script);
    cr_expect_eq(rtc_get_cmos(f.rtc, 0x0f), 0x0a);
    rtc_reset(f.rtc);
    cr_expect_eq(rtc_get_cmos(f.rtc, 0x0f), 0x0a, "reset does not touch memory");
    teardown(&f);
}
