/* SPDX-License-Identifier: MIT */
/* mptable.h: builds the MultiProcessor Specification 1.4 tables of this machine. */
#ifndef RINGDOWN_DEVICES_MPTABLE_H
#define RINGDOWN_DEVICES_MPTABLE_H

#include <stddef.h>
#include <stdint.h>

/* Builds the floating pointer and the configuration table for guest-physical address gpa (a
 * multiple of 16 within 0xf0000-0xfffff or the top KiB of base memory) into buf. cpu_signature and
 * features are CPUID leaf 1's EAX and EDX. Bytes used, or 0 if size is too small. */
size_t mptable_build(uint32_t gpa, uint8_t *buf, size_t size, uint32_t cpu_signature,
                     uint32_t cpu_features);

#endif
