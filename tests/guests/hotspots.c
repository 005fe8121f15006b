/* SPDX-License-Identifier: MIT */
/* hotspots.c: a guest whose time goes where its functions' names say, for the profiler's test: into
 * a loop, port reads, pages that are mapped anew, and code that is written anew. */
#include "lib/guest.h"

enum {
    LOOPS = 50,
    LOOPS_LONG = 600, /* with `long` on the command line */
    PORT_READS = 200000,
    REMAPS = 60000,
    REWRITES = 3000,
    PORT = 0x61,
    ALIAS = 25 << 20,
    CODE_PAGE = 26 << 20
};

#define HOT __attribute__((noinline, noclone)) uint32_t

HOT hot_loop(uint32_t x);
HOT hot_ports(void);
HOT hot_remap(void);
HOT hot_rewrite(void);

HOT hot_loop(uint32_t x)
{
    for (uint32_t i = 0; i < 200000; i++)
        x = (x << 7 | x >> 25) * 0x9e3779b9u + i;
    return x;
}

HOT hot_ports(void)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < PORT_READS; i++)
        sum += inb(PORT) & 0x80; /* never set on a machine without parity errors */
    return sum;
}

/* Two frames in turn behind one address. */
HOT hot_remap(void)
{
    uint32_t frames[2] = {27u << 20, 28u << 20}, good = 0;
    for (unsigned i = 0; i < 2; i++)
        *(volatile uint32_t *)frames[i] = i;
    for (unsigned i = 0; i < REMAPS; i++) {
        pte_set(ALIAS, frames[i & 1] | PTE_P | PTE_W);
        good += *(volatile uint32_t *)ALIAS == (i & 1);
    }
    return good;
}

/* mov $i, %eax; ret */
HOT hot_rewrite(void)
{
    volatile uint8_t *code = (volatile uint8_t *)CODE_PAGE;
    uint32_t sum = 0;
    code[0] = 0xb8;
    code[2] = code[3] = code[4] = 0;
    code[5] = 0xc3;
    for (unsigned i = 0; i < REWRITES; i++) {
        code[1] = (uint8_t)i;
        sum += ((uint32_t(*)(void))CODE_PAGE)();
    }
    return sum;
}

static void test_hotspots(void)
{
    uint32_t x = 1, sum = 0;
    paging_on(false);
    for (unsigned i = 0; i < (cmdline_has("long") ? LOOPS_LONG : LOOPS); i++)
        x = hot_loop(x);
    for (unsigned i = 0; i < REWRITES; i++)
        sum += i & 0xff;
    CHECK(x != 0, "the loop's result");
    CHECK_EQ(hot_ports(), 0, "bits read from the port");
    CHECK_EQ(hot_remap(), REMAPS, "reads that found the frame");
    CHECK_EQ(hot_rewrite(), sum, "results of the code");
    paging_off();
}

static const struct test tests[] = {
    {"hotspots", test_hotspots, NULL},
};

void guest_main(void)
{
    RUN_TESTS(tests);
}
