/* SPDX-License-Identifier: MIT */
/* stress.c: see stress.h. */
#include "translator/stress.h"

/* Once in so many times. */
static const uint16_t odds[STRESS_PLACES] = {
    [STRESS_FLUSH] = 512, [STRESS_DROP] = 16, [STRESS_DEACTIVATE] = 64, [STRESS_SOFTEN] = 32,
    [STRESS_MODE] = 64,   [STRESS_PAGE] = 64, [STRESS_ROOM] = 128,      [STRESS_INSN] = 16,
    [STRESS_GATE] = 64,   [STRESS_LINK] = 8,  [STRESS_JUMP] = 8,
};

void stress_start(struct stress *s, uint64_t seed)
{
    *s = (struct stress){.on = true, .state = seed * 0x9e3779b97f4a7c15ull | 1};
}

/* Marsaglia's xorshift. */
static uint64_t next(struct stress *s)
{
    s->state ^= s->state << 13;
    s->state ^= s->state >> 7;
    s->state ^= s->state << 17;
    return s->state;
}

uint32_t stress_pick(struct stress *s, uint32_t n)
{
    return (uint32_t)((next(s) >> 32) * n >> 32);
}

uint64_t stress_total(const struct stress *s)
{
    uint64_t total = 0;
    for (unsigned place = 0; place < STRESS_PLACES; place++)
        total += s->hits[place];
    return total;
}

bool stress_chooses(struct stress *s, enum stress_place place)
{
    bool hit = !stress_pick(s, odds[place]);
    s->hits[place] += hit;
    return hit;
}
