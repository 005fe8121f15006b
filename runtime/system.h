/* SPDX-License-Identifier: MIT */
/* system.h: control, debug and model-specific registers, CPUID, reset state. */
#ifndef RINGDOWN_RUNTIME_SYSTEM_H
#define RINGDOWN_RUNTIME_SYSTEM_H

#include "ringdown/cpu.h"
#include "ringdown/feature.h"

#include <stddef.h>

/* The state after RESET (SDM vol. 3, table 9-1). Keeps machine, interp, views and bt pointers. */
void vcpu_reset(struct vcpu *v);

/* MOV to CRn/DRn, LMSW, CLTS: checks, effects (TLB, PDPTEs, modes). Raise #GP, #UD, #DB. */
void cr_write(struct vcpu *v, unsigned n, uint32_t value);
uint32_t cr_read(struct vcpu *v, unsigned n);
void dr_write(struct vcpu *v, unsigned n, uint32_t value);
uint32_t dr_read(struct vcpu *v, unsigned n);
void msr_write(struct vcpu *v, uint32_t index, uint64_t value);
uint64_t msr_read(struct vcpu *v, uint32_t index);
uint64_t tsc_read(const struct vcpu *v);

/* The features offered to the guest, fixed at machine creation (runtime/cpuid.c). */
struct cpu_model;
/* SPEC: "686" or "max" (default), then ",-name" or ",+name" to take features away or back. NULL on
 * error, with one line in err. */
struct cpu_model *cpu_model_create(const char *spec, char *err, size_t err_size);
void cpu_model_destroy(struct cpu_model *m);
void cpuid(struct vcpu *v, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
bool cpu_has(const struct cpu_model *m, enum cpu_feature f);
const struct cpu_model *machine_cpu_model(const struct machine *m);

/* True while every instruction must go through the interpreter: TF, or an enabled breakpoint. */
bool debug_active(const struct vcpu *v);

#endif
