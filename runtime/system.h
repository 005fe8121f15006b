/* SPDX-License-Identifier: MIT */
/* system.h: control, debug and model-specific registers, CPUID, reset state. */
#ifndef RINGDOWN_RUNTIME_SYSTEM_H
#define RINGDOWN_RUNTIME_SYSTEM_H

#include "ringdown/cpu.h"
#include "ringdown/feature.h"

#include <stddef.h>

/* The state after RESET (SDM vol. 3, table 9-1). Keeps machine, interp, views and bt pointers. */
void vcpu_reset(struct vcpu *v);
/* The state after INIT: x87, SSE, TSC and model-specific registers keep theirs. A processor that is
 * not the boot processor (IA32_APIC_BASE) then waits for SIPI, which starts it at page:0000 in
 * units of 4 KiB (vol. 3, 8.4.3). */
void vcpu_init(struct vcpu *v);
void vcpu_start(struct vcpu *v, uint8_t page);

/* MOV to CRn/DRn, LMSW, CLTS: checks, effects (TLB, PDPTEs, modes). Raise #GP, #UD, #DB. */
void cr_write(struct vcpu *v, unsigned n, uint32_t value);
uint32_t cr_read(struct vcpu *v, unsigned n);
void dr_write(struct vcpu *v, unsigned n, uint32_t value);
uint32_t dr_read(struct vcpu *v, unsigned n);
void msr_write(struct vcpu *v, uint32_t index, uint64_t value);
uint64_t msr_read(struct vcpu *v, uint32_t index);
uint64_t tsc_read(const struct vcpu *v);
void msr_reset(struct vcpu *v); /* part of vcpu_reset() */
/* The MTRRs as firmware leaves them, for machines that start a kernel directly. */
void msr_bios_init(struct vcpu *v);
/* IA32_MISC_ENABLE: CPUID says no more than leaf 2 (old software), 3 here. */
#define MISC_LIMIT_CPUID 0x00400000ull
#define MISC_XD_DISABLE  0x400000000ull /* NX is neither told of nor to be had */

/* The features offered to the guest, fixed at machine creation (runtime/cpuid.c). */
struct cpu_model;
/* SPEC: "686" or "max" (default), then ",-name" or ",+name" to take features away or back. NULL on
 * error, with one line in err. */
struct cpu_model *cpu_model_create(const char *spec, char *err, size_t err_size);
void cpu_model_destroy(struct cpu_model *m);
void cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
bool cpu_has(const struct cpu_model *m, enum cpu_feature f);
/* By the name that /proc/cpuinfo has, for features without rows in the table. */
bool cpu_has_name(const struct cpu_model *m, const char *name);
/* CR4 bits that the model lets a guest set, and whether it has IA32_EFER (NX). */
uint32_t cpu_model_cr4(const struct cpu_model *m);
bool cpu_model_nx(const struct cpu_model *m);
/* IA32_ARCH_CAPABILITIES; 0 and false if the model has none. */
bool cpu_model_arch_capabilities(const struct cpu_model *m, uint64_t *value);
/* Leaf 1, EAX. */
uint32_t cpu_model_signature(const struct cpu_model *m);
/* Frequency of the host's TSC and thus the guest's, in kHz. */
uint32_t cpu_model_tsc_khz(const struct cpu_model *m);
const struct cpu_model *machine_cpu_model(const struct machine *m);

/* True while every instruction must go through the interpreter: TF, or an enabled breakpoint. */
bool debug_active(const struct vcpu *v);
/* DR6 bits of the enabled instruction breakpoints at la, 0 if there are none or RF is set. Raised
 * before the instruction executes. */
uint32_t debug_code_breakpoint(const struct vcpu *v, uint32_t la);
/* Notes enabled data and I/O breakpoints that an access meets in v->dr6_pending. */
void debug_data_access(struct vcpu *v, uint32_t la, unsigned n, int write);
void debug_io_access(struct vcpu *v, uint16_t port, unsigned n);
/* True while any data breakpoint is enabled: cheap guard for debug_data_access(). */
static inline bool debug_data_armed(const struct vcpu *v)
{
    return v->dr[7] & 0xff;
}

/* DR6 and DR7 (SDM vol. 3, 17.2). */
#define DR6_B     0x0000000fu
#define DR6_BD    0x00002000u
#define DR6_BS    0x00004000u
#define DR6_BT    0x00008000u
#define DR6_FIXED 0xffff0ff0u
#define DR7_LOCAL 0x00000155u
#define DR7_GD    0x00002000u
#define DR7_FIXED 0x00000400u

#endif
