/* SPDX-License-Identifier: MIT */
/* operands.c: where an instruction's memory operands lie when 16 bits of an address, or of a stack
 * pointer, have to do. */
#include "lib/guest.h"

#define SEGMENT  0x1400000u
#define SELECTOR 0x63 /* of 64 KiB there */

static void put16(uint32_t at, uint16_t value)
{
    *(volatile uint16_t *)(SEGMENT + at) = value;
}

static void put32(uint32_t at, uint32_t value)
{
    *(volatile uint32_t *)(SEGMENT + at) = value;
}

static uint32_t get32(uint32_t at)
{
    return *(volatile uint32_t *)(SEGMENT + at);
}

static void fresh_segment(unsigned flags, int fill)
{
    gdt_set(SELECTOR, descriptor(SEGMENT, 0xffff, ACC_DATA | ACC_DPL(3), flags));
    memset((void *)SEGMENT, fill, 0x20000);
}

/* --- ENTER on a 16-bit stack: SDM vol. 2, FrameTemp is ESP with a 32-bit operand --- */

CODE(enter_0, "movl %edi,%esp", "enter $0x10,$0");
CODE(enter_1, "movl %edi,%esp", "enter $0x10,$1");
CODE(enter_3, "movl %edi,%esp", "enter $0x10,$3");
CODE(enter_3_word, "movl %edi,%esp", ".byte 0x66; enter $0x10,$3");

static const struct enter_case {
    const char *what;
    const uint8_t *code;
    uint32_t esp, ebp;
    uint32_t at, pushed; /* what stands at an offset afterwards */
    uint32_t mask;
} enter_cases[] = {
    {"level 0", enter_0, 0x56787fec, 0x56787ffc, 0x7ffc, 0x12349000, UINT32_MAX},
    {"level 1", enter_1, 0x56787fe8, 0x56787ffc, 0x7ff8, 0x56787ffc, UINT32_MAX},
    {"level 3", enter_3, 0x56787fe0, 0x56787ffc, 0x7ff0, 0x56787ffc, UINT32_MAX},
    {"level 3, outer", enter_3, 0x56787fe0, 0x56787ffc, 0x7ff4, 0x2222, UINT32_MAX},
    {"level 3, words", enter_3_word, 0x56787fe8, 0x12347ffe, 0x7ff8, 0x7ffe, 0xffff},
};

static void enter_16(void)
{
    for (unsigned n = 0; n < sizeof(enter_cases) / sizeof(*enter_cases); n++) {
        const struct enter_case *e = &enter_cases[n];
        fresh_segment(0, 0xee);
        put32(0x8ffc, 0x1111);
        put32(0x8ff8, 0x2222);
        struct ctx c = user_ctx(e->code);
        c.ss = SELECTOR;
        c.edi = 0x56788000;
        c.ebp = 0x12349000;
        trap_run(&c);
        CHECK(c.vector == VEC_EXIT && c.esp == e->esp && c.ebp == e->ebp &&
                  (get32(e->at) & e->mask) == e->pushed,
              "%s: vector %#x esp %#x ebp %#x at %#x %#x", e->what, c.vector, c.esp, c.ebp, e->at,
              get32(e->at));
    }
}

/* --- operands of two parts: with a 16-bit address the second part's offset wraps --- */

CODE(les_word, "", ".byte 0x64,0x66,0x67,0xc4,0x07");
CODE(les_dword, "", ".byte 0x64,0x67,0xc4,0x07");
CODE(lgs_word, "", ".byte 0x64,0x66,0x67,0x0f,0xb5,0x07");
CODE(bound_word, "", ".byte 0x64,0x66,0x67,0x62,0x07");
CODE(bound_dword, "", ".byte 0x64,0x67,0x62,0x07");
CODE(sgdt_16, "", ".byte 0x64,0x67,0x0f,0x01,0x07");
CODE(jmp_far, "", ".byte 0x64,0x67,0xff,0x2f");

static struct ctx run_at(const void *code, uint32_t bx)
{
    struct ctx c = user_ctx(code);
    c.fs = SELECTOR;
    c.ebx = bx;
    c.eax = 3;
    trap_run(&c);
    return c;
}

static void far_loads(void)
{
    fresh_segment(FLAG_D, 0);
    put16(0xfffe, 0x1234);
    put16(0x10000, UDS); /* behind the segment: not to be read */
    struct ctx c = run_at(les_word, 0xfffe);
    CHECK(c.vector == VEC_EXIT && (c.eax & 0xffff) == 0x1234 && !(c.es & 0xffff),
          "LES m16:16: vector %#x eax %#x es %#x", c.vector, c.eax, c.es);
    c = run_at(lgs_word, 0xfffe);
    CHECK(c.vector == VEC_EXIT && (c.eax & 0xffff) == 0x1234 && !(c.gs & 0xffff),
          "LGS m16:16: vector %#x eax %#x gs %#x", c.vector, c.eax, c.gs);
    c = run_at(les_word, 0xfffd);
    expect(&c, VEC_GP, 0, les_word, "LES m16:16, its second part across the end");
    c = run_at(les_word, 0xffff);
    expect(&c, VEC_GP, 0, les_word, "LES m16:16, its first part across the end");
    put32(0xfffc, 0x12345678);
    put16(0, 0);
    c = run_at(les_dword, 0xfffc);
    CHECK(c.vector == VEC_EXIT && c.eax == 0x12345678 && !(c.es & 0xffff),
          "LES m16:32: vector %#x eax %#x es %#x", c.vector, c.eax, c.es);
}

static void bounds(void)
{
    fresh_segment(FLAG_D, 0);
    put16(0xfffe, (uint16_t)-5);
    put16(0, 10);
    put16(0x10000, (uint16_t)-100);
    struct ctx c = run_at(bound_word, 0xfffe);
    CHECK_EQ(c.vector, VEC_EXIT, "BOUND m16: vector");
    put32(0xfffc, (uint32_t)-5);
    put32(0, 10);
    put32(0x10000, (uint32_t)-100);
    c = run_at(bound_dword, 0xfffc);
    CHECK_EQ(c.vector, VEC_EXIT, "BOUND m32: vector");
}

static void far_jump(void)
{
    fresh_segment(FLAG_D, 0);
    put32(0xfffc, (uint32_t)jmp_far_next);
    put16(0, UCS);
    put16(0x10000, UDS);
    struct ctx c = run_at(jmp_far, 0xfffc);
    CHECK_EQ(c.vector, VEC_EXIT, "JMP m16:32: vector");
}

static void table_store(void)
{
    fresh_segment(FLAG_D, 0xcc);
    struct ctx c = run_at(sgdt_16, 0xfffe);
    CHECK_EQ(c.vector, VEC_EXIT, "SGDT: vector");
    CHECK_EQ(get32(0), gdt, "the base, at offset 0");
    CHECK_EQ(get32(0x10000), 0xcccccccc, "behind the segment");
}

static const struct test tests[] = {
    {"enter_16", enter_16, NULL}, {"far_loads", far_loads, NULL},     {"bounds", bounds, NULL},
    {"far_jump", far_jump, NULL}, {"table_store", table_store, NULL},
};

void guest_main(void)
{
    RUN_TESTS(tests);
}
