/* SPDX-License-Identifier: MIT */
/* x87.c: the pointers to the last x87 instruction and its operand (SDM vol. 1, 8.1.8), as a handler
 * of #MF reads them. */
#include "lib/guest.h"

#define SNIPPET(name, code)                                                                        \
    asm(".pushsection .text.snippet\n" #name ": " code "; int $0x30\n.popsection\n");              \
    extern uint8_t name[]
SNIPPET(by_register,
        "fninit; fldcw (%ebx); fld1; fldz; div_register: fdivrp; wait_register: fwait");
SNIPPET(by_memory, "fninit; fldcw (%ebx); fld1; div_memory: fdivs 64(%ebx); wait_memory: fwait");
SNIPPET(many, "fninit; fldcw (%ebx); movl $100,%ecx; 1: fld1; fstps 68(%ebx); loop 1b; fld1; "
              "nop; nop; div_many: fdivs 64(%ebx); nop; wait_many: fwait");
extern uint8_t div_register[], wait_register[], div_memory[], wait_memory[], div_many[],
    wait_many[];

static struct {
    uint16_t cw; /* zero divide unmasked */
    uint8_t fill[62];
    float zero, other;
} data = {.cw = 0x37b};

/* Runs it; what FNSTENV stores then. */
static void run(const uint8_t *code, const uint8_t *at, const uint8_t *wait, bool memory)
{
    static uint32_t env[7];
    WRITE_CR(0, READ_CR(0) | CR0_NE);
    struct ctx c = user_ctx(code);
    c.ebx = (uint32_t)&data;
    trap_run(&c);
    asm volatile("fnstenv %0; fnclex" : "=m"(env));
    CHECK(c.vector == 16 && c.eip == (uint32_t)wait, "vector %u eip %#x", c.vector, c.eip);
    CHECK_EQ(env[3], at, "FIP");
    CHECK_EQ(env[4] >> 16 & 0x7ff, (at[0] & 7u) << 8 | at[1], "FOP");
    if (memory)
        CHECK_EQ(env[5], &data.zero, "FDP");
}

static void pointers(void)
{
    if (cmdline_has("lockstep")) /* does not keep them, see docs/lockstep.md */
        return;
    run(by_register, div_register, wait_register, false);
    run(by_memory, div_memory, wait_memory, true);
    run(many, div_many, wait_many, true);
}

static const struct test tests[] = {
    {"pointers", pointers, NULL},
};

void guest_main(void)
{
    RUN_TESTS(tests);
}
