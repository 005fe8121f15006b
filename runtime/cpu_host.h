/* SPDX-License-Identifier: MIT */
/* cpu_host.h: facts about the host's processor that the guest's is made from. */
#ifndef RINGDOWN_RUNTIME_CPU_HOST_H
#define RINGDOWN_RUNTIME_CPU_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct cpu_host {
    bool intel;
    uint32_t signature;    /* leaf 1, EAX */
    uint32_t l2;           /* leaf 80000006h, ECX */
    uint32_t caches[4][4]; /* leaf 4, subleaves 0-3; unused ones have type 0 */
    uint32_t tsc_khz;
    uint64_t arch_capabilities; /* what the guest's processor may say, see cpu_host.c */
};
void cpu_host_query(struct cpu_host *h);
/* Registers EAX EBX ECX EDX; zeros for leaves that the host does not have. */
void cpu_host_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

#endif
