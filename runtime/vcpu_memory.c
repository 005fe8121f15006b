/* SPDX-License-Identifier: MIT */
/* vcpu_memory.c: where a struct vcpu lives: at the end of its pages, with nothing mapped behind.
 *
 * Where a guest's call has landed again, translated code loads from
 *
 *     &vcpu->expected.slot + 8 * (address returned to - address expected), modulo 32 GiB
 *
 * which is there if both are the same, and a host fault if not (translator/lower_control.c). */
#include "ringdown/cpu.h"
#include "translator/place.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE  4096ull
#define GUARD ((8ull << 32) + PAGE)

_Static_assert(offsetof(struct vcpu, expected.slot) + sizeof(uint64_t) == sizeof(struct vcpu),
               "the slot is the last word");

static size_t mapped_size(void)
{
    return (sizeof(struct vcpu) + PAGE - 1) & ~(PAGE - 1);
}

struct vcpu *vcpu_allocate(void)
{
    size_t size = mapped_size();
    uint8_t *p =
        place_mapping(size + GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
    if (p == MAP_FAILED)
        return NULL;
    if (mprotect(p, size, PROT_READ | PROT_WRITE) < 0) {
        munmap(p, size + GUARD);
        return NULL;
    }
    return (struct vcpu *)(p + size - sizeof(struct vcpu));
}

void vcpu_release(struct vcpu *v)
{
    if (v)
        munmap((uint8_t *)(v + 1) - mapped_size(), mapped_size() + GUARD);
}

bool vcpu_guard_holds(const struct vcpu *v, uint64_t hva)
{
    return hva - (uint64_t)(v + 1) < GUARD;
}
