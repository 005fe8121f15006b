/* SPDX-License-Identifier: MIT */
/* fsw.c: x87 stores that do not wait (FNSTSW, FNSTCW: SDM vol. 1, 8.3.11) while an exception is
 * pending: they store, wherever their operand lies, and the next waiting instruction takes #MF. */
#include "lib/guest.h"

CODE(store_status, "fnstsw (%ebx)", "fwait");
CODE(store_control, "fnstcw (%ebx)", "fwait");
CODE(store_real, "", "fstps (%ebx)");

#define UNTOUCHED     0xa452
#define CONTROL       0x0040 /* everything is unmasked */
#define STATUS_ZERO   0xb084 /* B, ES, ZE, TOP 6 */
#define CROSSING      0xfff
#define PLACES_TESTED 4

static uint8_t pages[3 * 4096] __attribute__((aligned(4096)));

/* In a page, over a page's end, in a page that holds code, and in the next to it over its end. */
static uint8_t *place(unsigned n)
{
    static const uint8_t exits[2] = {0xcd, VEC_EXIT};
    static const uint16_t offsets[PLACES_TESTED] = {0x102, CROSSING, 0x1102, 0x1000 + CROSSING};
    memcpy(pages + 0x1200, exits, sizeof exits);
    struct ctx c = user_ctx(pages + 0x1200);
    trap_run(&c);
    return pages + offsets[n];
}

static void pend(void)
{
    static const uint16_t control = CONTROL;
    WRITE_CR(0, (READ_CR(0) & ~(CR0_EM | CR0_TS)) | CR0_NE | CR0_MP);
    asm volatile("fninit; fldcw %0; fldz; fld1; fdivp" ::"m"(control)); /* #Z */
}

static void check(const uint8_t *code, const uint8_t *fault, uint16_t want)
{
    for (unsigned n = 0; n < PLACES_TESTED; n++) {
        uint16_t word = UNTOUCHED;
        uint8_t *at = place(n);
        memcpy(at, &word, sizeof word);
        pend();
        struct ctx c = user_ctx(code);
        c.ebx = (uint32_t)at;
        trap_run(&c);
        expect(&c, VEC_MF, 0, fault, "the waiting instruction");
        memcpy(&word, at, sizeof word);
        CHECK_EQ(word, want, "stored");
        asm volatile("fninit");
    }
}

static void status(void)
{
    check(store_status, store_status_at, STATUS_ZERO);
}

static void control(void)
{
    check(store_control, store_control_at, CONTROL);
}

/* What waits stores nothing. */
static void real(void)
{
    check(store_real, store_real_at, UNTOUCHED);
}

static const struct test tests[] = {
    {"fnstsw-pending", status, NULL},
    {"fnstcw-pending", control, NULL},
    {"fstp-pending", real, NULL},
};

void guest_main(void)
{
    RUN_TESTS(tests);
}
