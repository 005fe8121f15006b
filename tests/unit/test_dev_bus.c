/* SPDX-License-Identifier: MIT */
/* The bus: dispatch, splitting, unclaimed addresses, overlap. The clock: order and re-arming. */
#include "scripted_bus.h"

#include <errno.h>

struct memory {
    uint8_t bytes[16];
    unsigned accesses, widest;
};

static uint32_t memory_read(void *dev, uint32_t off, unsigned size)
{
    struct memory *m = dev;
    uint32_t value = 0;
    m->accesses++;
    m->widest = size > m->widest ? size : m->widest;
    memcpy(&value, m->bytes + off, size);
    return value;
}

static void memory_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct memory *m = dev;
    m->accesses++;
    m->widest = size > m->widest ? size : m->widest;
    memcpy(m->bytes + off, &value, size);
}

static const struct io_ops byte_ops = {memory_read, memory_write, 1};
static const struct io_ops word_ops = {memory_read, memory_write, 2};
static const struct io_ops dword_ops = {memory_read, memory_write, 4};

Test(bus, ports)
{
    struct rig r;
    struct memory a = {0}, b = {0};
    rig_init(&r);
    cr_assert_eq(bus_map_port(r.bus, 0x100, 8, &byte_ops, &a), 0);
    cr_assert_eq(bus_map_port(r.bus, 0x108, 8, &dword_ops, &b), 0);
    cr_expect_eq(bus_map_port(r.bus, 0x107, 1, &byte_ops, &b), -EBUSY);
    cr_expect_eq(bus_map_port(r.bus, 0xfffe, 4, &byte_ops, &b), -EINVAL);
    static const struct step script[] = {
        OUTL(0x100, 0x44332211), IN(0x100, 0x11),         IN(0x103, 0x44),
        INW(0x101, 0x3322),      OUTL(0x108, 0x88776655), INL(0x108, 0x88776655),
        INW(0x10a, 0x8877),      OUTL(0x106, 0xddccbbaa), INW(0x106, 0xbbaa),
        INW(0x108, 0xddcc),      IN(0x200, 0xff),         INW(0x200, 0xffff),
        INL(0x200, 0xffffffff),  OUTL(0x200, 0),          INL(0x10e, 0xffff0000),
        INL(0xfffe, 0xffffffff),
    };
    RUN(&r, script);
    cr_expect_eq(a.widest, 1);
    cr_expect_eq(b.widest, 4);
    bus_unmap_port(r.bus, 0x100, 8);
    cr_expect_eq(bus_port_read(r.bus, 0x100, 4), 0xffffffff);
    cr_expect_eq(bus_map_port(r.bus, 0x100, 4, &word_ops, &b), 0);
    rig_fini(&r);
}

Test(bus, mmio)
{
    struct rig r;
    struct memory m[3] = {0};
    rig_init(&r);
    cr_assert_eq(bus_map_mmio(r.bus, 0xfee00000, 16, &dword_ops, &m[0]), 0);
    cr_assert_eq(bus_map_mmio(r.bus, 0xfec00000, 16, &word_ops, &m[1]), 0);
    cr_assert_eq(bus_map_mmio(r.bus, 0xfec00010, 16, &byte_ops, &m[2]), 0);
    cr_expect_eq(bus_map_mmio(r.bus, 0xfebffff8, 16, &byte_ops, &m[2]), -EBUSY);
    bus_mmio_write(r.bus, 0xfee00000, 0x1122334455667788, 8);
    cr_expect_eq(bus_mmio_read(r.bus, 0xfee00000, 8), 0x1122334455667788);
    cr_expect_eq(m[0].widest, 4);
    bus_mmio_write(r.bus, 0xfec0000c, 0x1122334455667788, 8);
    cr_expect_eq(bus_mmio_read(r.bus, 0xfec0000e, 4), 0x33445566);
    cr_expect_eq(m[1].widest, 2);
    cr_expect_eq(m[2].widest, 1);
    cr_expect_eq(bus_mmio_read(r.bus, 0xfed00000, 8), UINT64_MAX);
    bus_unmap_mmio(r.bus, 0xfec00000, 16);
    cr_expect_eq(bus_mmio_read(r.bus, 0xfec00000, 1), 0xff);
    cr_expect_eq(bus_mmio_read(r.bus, 0xfec00010, 1), 0x44);
    rig_fini(&r);
}

/* --- clock --- */

static char trace[64];
struct mark {
    struct timer *timer;
    char name;
    struct mark *other; /* armed or disarmed from the callback */
    uint64_t arm_at;
};

static void marked(void *opaque)
{
    struct mark *m = opaque;
    strncat(trace, &m->name, 1);
    if (m->other && m->arm_at)
        timer_arm(m->other->timer, m->arm_at);
    else if (m->other)
        timer_disarm(m->other->timer);
}

Test(clock, order)
{
    struct rig r;
    struct mark m[5] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}, {.name = 'd'}, {.name = 'e'}};
    rig_init(&r);
    for (int i = 0; i < 5; i++)
        m[i].timer = timer_create_on(r.clock, marked, &m[i]);
    timer_arm(m[0].timer, 300);
    timer_arm(m[1].timer, 100);
    timer_arm(m[2].timer, 200);
    timer_arm(m[3].timer, 100); /* the same deadline: after b */
    timer_arm(m[4].timer, 50);
    cr_expect_eq(clock_next_deadline(r.clock), 50);
    timer_disarm(m[4].timer);
    cr_expect_eq(clock_next_deadline(r.clock), 100);
    cr_expect_not(timer_armed(m[4].timer));
    m[2].other = &m[0]; /* c disarms a */
    rig_oversleep(&r, 1000);
    cr_expect_str_eq(trace, "bdc");
    cr_expect_eq(clock_next_deadline(r.clock), UINT64_MAX);
    for (int i = 0; i < 5; i++)
        timer_destroy(m[i].timer);
    rig_fini(&r);
}

Test(clock, rearming_for_now_returns)
{
    struct rig r;
    struct mark m = {.name = 'x', .other = &m, .arm_at = 1};
    rig_init(&r);
    m.timer = timer_create_on(r.clock, marked, &m);
    timer_arm(m.timer, 5);
    rig_oversleep(&r, 10);
    cr_expect_str_eq(trace, "x");
    clock_run_due(r.clock);
    cr_expect_str_eq(trace, "xx");
    timer_destroy(m.timer);
    rig_fini(&r);
}

static uint64_t told;
static void tell(void *opaque, uint64_t deadline)
{
    (void)opaque;
    told = deadline;
}

Test(clock, deadline_changes_are_told)
{
    struct rig r;
    struct mark m = {.name = 'x'};
    rig_init(&r);
    clock_on_deadline_change(r.clock, tell, NULL);
    cr_expect_eq(told, UINT64_MAX);
    m.timer = timer_create_on(r.clock, marked, &m);
    timer_arm(m.timer, 500);
    cr_expect_eq(told, 500);
    timer_arm(m.timer, 400);
    cr_expect_eq(told, 400);
    rig_oversleep(&r, 400);
    cr_expect_eq(told, UINT64_MAX);
    timer_destroy(m.timer);
    rig_fini(&r);
}

/* Many timers with pseudo-random deadlines fire in order whatever is disarmed meanwhile. */
static uint64_t last_fired;
static struct clock *heap_clock;
static unsigned fired;
static void in_order(void *opaque)
{
    uint64_t deadline = *(uint64_t *)opaque;
    cr_expect_geq(deadline, last_fired);
    last_fired = deadline;
    fired++;
}

Test(clock, heap)
{
    enum { N = 300 };
    struct timer *t[N];
    uint64_t deadline[N], seed = 1;
    heap_clock = clock_create();
    clock_set_manual(heap_clock, 0);
    for (int i = 0; i < N; i++) {
        t[i] = timer_create_on(heap_clock, in_order, &deadline[i]);
        for (int k = 0; k < 3; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            deadline[i] = seed >> 40;
            timer_arm(t[i], deadline[i]);
        }
    }
    for (int i = 0; i < N; i += 3)
        timer_disarm(t[i]);
    clock_set_manual(heap_clock, 1u << 24);
    clock_run_due(heap_clock);
    cr_expect_eq(fired, 200);
    for (int i = 0; i < N; i++)
        timer_destroy(t[i]);
    clock_destroy(heap_clock);
}
