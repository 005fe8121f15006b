/* SPDX-License-Identifier: MIT */
/* stress.h: --stress evict: whatever may be refused, dropped or renumbered now and then, is so all
 * the time, by a seeded choice at each place where it may happen. */
#ifndef RINGDOWN_TRANSLATOR_STRESS_H
#define RINGDOWN_TRANSLATOR_STRESS_H

#include <stdbool.h>
#include <stdint.h>

enum stress_place {
    STRESS_FLUSH,      /* where nobody holds anything: everything goes, modes are renumbered */
    STRESS_DROP,       /* there: a block goes */
    STRESS_DEACTIVATE, /* there: a page stops being active */
    STRESS_SOFTEN,     /* there: an instruction becomes soft or hard */
    STRESS_MODE,       /* refused: an id for a mode */
    STRESS_PAGE,       /* refused: a page's record */
    STRESS_ROOM,       /* refused: room for a block */
    STRESS_INSN,       /* refused: room for a decoded instruction */
    STRESS_GATE,       /* refused: room for a gate */
    STRESS_LINK,       /* a link is not made */
    STRESS_JUMP,       /* an entry of the jump cache goes */
    STRESS_PLACES,
};

struct stress {
    bool on;
    uint64_t state;
    uint64_t hits[STRESS_PLACES];
};

void stress_start(struct stress *s, uint64_t seed);
/* How often something was hit. */
uint64_t stress_total(const struct stress *s);
/* Uniform in [0, n). */
uint32_t stress_pick(struct stress *s, uint32_t n);
bool stress_chooses(struct stress *s, enum stress_place place);
/* Whether it is to happen here and now. */
static inline bool stress_hits(struct stress *s, enum stress_place place)
{
    return __builtin_expect(s->on, 0) && stress_chooses(s, place);
}

#endif
