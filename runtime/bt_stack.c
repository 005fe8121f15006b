/* SPDX-License-Identifier: MIT */
/* bt_stack.c: the stack that rsp points at while translated code runs. It holds host return
 * addresses only, written by host calls; so returns are predicted by the host. Below and above it
 * are guard pages: running out just starts it afresh, since every return checks where it ought to
 * go. */
#include "runtime/bt_state.h"

#include "translator/place.h"

#include <errno.h>
#include <sys/mman.h>

#define STACK_SIZE (1u << 20)
#define GUARD      65536u
#define SENTINELS  64u
#define SIDES      2u
#define SIDE_SIZE  (STACK_SIZE + GUARD)

static uint8_t *side_start(const struct bt *bt, unsigned side)
{
    return bt->return_stack + GUARD + side * SIDE_SIZE;
}

int bt_stack_create(struct bt *bt)
{
    bt->return_size = GUARD + SIDES * SIDE_SIZE;
    uint8_t *p = place_mapping(bt->return_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    if (p == MAP_FAILED)
        return -errno;
    bt->return_stack = p;
    for (unsigned side = 0; side < SIDES; side++)
        if (mprotect(side_start(bt, side), STACK_SIZE, PROT_READ | PROT_WRITE) < 0)
            return -errno;
    return 0;
}

void bt_stack_destroy(struct bt *bt)
{
    if (bt->return_stack)
        munmap(bt->return_stack, bt->return_size);
}

uint64_t bt_stack_base(const struct bt *bt, unsigned side)
{
    return (uint64_t)side_start(bt, side) + STACK_SIZE - SENTINELS * 8;
}

void bt_stack_seal(struct bt *bt)
{
    for (unsigned side = 0; side < SIDES; side++) {
        uint64_t *base = (uint64_t *)bt_stack_base(bt, side);
        for (unsigned i = 0; i < SENTINELS; i++)
            base[i] = (uint64_t)cache_pads(bt->cache)->return_miss;
    }
}

bool bt_stack_overflow(const struct bt *bt, uint64_t hva)
{
    return hva - (uint64_t)bt->return_stack < bt->return_size;
}
