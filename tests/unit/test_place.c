/* SPDX-License-Identifier: MIT */
/* Mappings that guests come near stand at no known distance from the monitor or from one another.
 */
#include "translator/code_memory.h"
#include "translator/place.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define TRIALS 64

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* All different, and spread over far more than what a table of neighbours would take. */
static void expect_scattered(uint64_t distances[TRIALS], const char *what)
{
#ifdef RINGDOWN_SANITIZED
    cr_skip_test("the sanitizer chooses");
#endif
    qsort(distances, TRIALS, sizeof distances[0], by_value);
    for (unsigned i = 1; i < TRIALS; i++)
        cr_expect_neq(distances[i], distances[i - 1], "%s: twice the same distance", what);
    cr_expect_gt(distances[TRIALS - 1] - distances[0], 1ull << 43, "%s: close together", what);
}

Test(place, is_not_to_be_known)
{
    static const size_t sizes[] = {4096, 1 << 20, 64 << 20, 1ull << 44};
    for (unsigned n = 0; n < sizeof sizes / sizeof sizes[0]; n++) {
        uint64_t from_program[TRIALS];
        for (unsigned i = 0; i < TRIALS; i++) {
            char *p =
                place_mapping(sizes[n], PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
            cr_assert_neq(p, MAP_FAILED);
            from_program[i] = (uint64_t)p - (uint64_t)&by_value;
            munmap(p, sizes[n]);
        }
        expect_scattered(from_program, "program");
    }
}

Test(place, code_is_far_from_where_it_is_written)
{
    uint64_t distance[TRIALS];
    for (unsigned i = 0; i < TRIALS; i++) {
        struct code_memory c;
        cr_assert_eq(code_memory_create(&c, 1 << 20), 0);
        memset(c.rw, 0xc3, 16);
        cr_assert_eq(*(const uint8_t *)c.rx, 0xc3, "two mappings of the same");
        distance[i] = (uint64_t)c.rx - (uint64_t)c.rw;
        code_memory_destroy(&c);
    }
    expect_scattered(distance, "code");
}

Test(place, is_the_hosts_choice_where_nothing_fits)
{
    void *p = place_mapping(1ull << 60, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    cr_assert_eq(p, MAP_FAILED);
    int values = 7;
    p = place_mapping(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    memcpy(p, &values, sizeof values);
    cr_assert_eq(memcmp(p, &values, sizeof values), 0);
}
