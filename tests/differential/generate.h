/* SPDX-License-Identifier: MIT */
/* generate.h: makes test cases from the instruction table. */
#ifndef RINGDOWN_TESTS_DIFFERENTIAL_GENERATE_H
#define RINGDOWN_TESTS_DIFFERENTIAL_GENERATE_H

#include "tests/differential/case.h"
#include "translator/insn.h"

struct generator {
    struct decoder *decoder;
    uint32_t seed, state;
    uint32_t features; /* bits by enum cpu_feature */
};

/* The case number `index`, of row r; row 0xffff in it if none could be made. */
void generate_case(struct generator *g, uint32_t index, const struct insn_row *r,
                   struct test_case *c);

#endif
