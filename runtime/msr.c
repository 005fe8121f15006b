/* SPDX-License-Identifier: MIT */
/* msr.c: model-specific registers (SDM vol. 4, 2.1) and the time-stamp counter.
 *
 * Registers that a family-6 processor has whatever CPUID says, and those behind a CPUID feature
 * that the model offers. All else raises #GP(0), which is how software probes. */
#include "runtime/system.h"

#include "devices/lapic.h"
#include "runtime/exception.h"
#include "runtime/lockstep.h"
#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/platform.h"

#include <string.h>
#include <x86intrin.h>

#define MSR_P5_MC_ADDR        0x000u
#define MSR_P5_MC_TYPE        0x001u
#define MSR_PLATFORM_ID       0x017u
#define MSR_TSC_ADJUST        0x03bu
#define MSR_BIOS_UPDT_TRIG    0x079u
#define MSR_BIOS_SIGN_ID      0x08bu
#define MSR_MTRRCAP           0x0feu
#define MSR_ARCH_CAPABILITIES 0x10au
#define MSR_MCG_CAP           0x179u /* no banks: nothing here can go wrong in a way they could tell */
#define MSR_MCG_STATUS        0x17au
#define MSR_MISC_ENABLE       0x1a0u
#define MSR_MTRR_VAR          0x200u /* base and mask, eight times */
#define MSR_MTRR_VAR_END      0x210u
#define MSR_MTRR_FIX64K       0x250u
#define MSR_MTRR_FIX16K       0x258u
#define MSR_MTRR_FIX4K        0x268u
#define MSR_MTRR_FIX4K_END    0x270u
#define MSR_MTRR_DEF          0x2ffu

#define PHYS_RESERVED         0xfffffff000000000ull /* beyond MAXPHYADDR, 36 */

/* No update is newer than this, so no guest tries to load one. */
#define MICROCODE_REVISION 0x7fffffffull

/* IA32_MISC_ENABLE (SDM vol. 4, table 2-2). BTS and PEBS are not available. The bits that can be
 * written are kept; CPUID's limit and XD's disable have their effect, for the others there is
 * nothing here that they could change: thermal control, SpeedStep, xTPR messages. */
#define MISC_FAST_STRINGS 0x00000001ull
#define MISC_THERMAL      0x00000008ull
#define MISC_PERFMON      0x00000080ull /* read only, as the next two */
#define MISC_UNAVAILABLE  0x00001800ull
#define MISC_SPEEDSTEP    0x00010000ull
#define MISC_XTPR_DISABLE 0x00800000ull
#define MISC_READ_ONLY    (MISC_PERFMON | MISC_UNAVAILABLE)
#define MISC_WRITABLE                                                                              \
    (MISC_FAST_STRINGS | MISC_THERMAL | MISC_SPEEDSTEP | MISC_LIMIT_CPUID | MISC_XTPR_DISABLE)

/* IA32_MTRRCAP: eight variable ranges, fixed ranges, write-combining. */
#define MTRR_VAR_COUNT    8
#define MTRRCAP           (0x500ull | MTRR_VAR_COUNT)
#define MTRR_DEF_WRITABLE 0x0cffull
#define MTRR_DEF_ENABLE   0x0c00ull /* fixed ranges, too */
#define MTRR_MASK_VALID   0x800ull

static uint64_t host_tsc(void)
{
    return __rdtsc();
}

uint64_t tsc_read(const struct vcpu *v)
{
    uint64_t now = host_tsc() + v->tsc_offset;
    return v->machine->lockstep ? lockstep_value(v, now) : now;
}

void msr_reset(struct vcpu *v)
{
    v->efer = 0;
    v->sysenter_cs = v->sysenter_esp = v->sysenter_eip = 0;
    v->apic_base = LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE | LAPIC_BASE_BSP;
    v->pat = 0x0007040600070406ull;
    v->tsc_offset = 0 - host_tsc();
    v->tsc_adjust = v->tsc_aux = 0;
    v->mcg_status = 0;
    v->mtrr_def = 0;
    memset(v->mtrr_fixed, 0, sizeof(v->mtrr_fixed));
    memset(v->mtrr_var, 0, sizeof(v->mtrr_var));
    v->misc_enable = MISC_FAST_STRINGS | MISC_UNAVAILABLE;
}

/* --- memory types --- */

#define TYPE_UC 0x00ull
#define TYPE_WB 0x06ull
#define TYPE_WP 0x05ull

/* UC, WC, WT, WP, WB; PAT also has UC-. */
#define TYPES_MTRR 0x73u
#define TYPES_PAT  0xf3u

static bool types_valid(uint64_t value, unsigned n, unsigned allowed)
{
    for (unsigned i = 0; i < n; i++, value >>= 8)
        if ((value & 0xff) > 7 || !(allowed >> (value & 7) & 1))
            return false;
    return true;
}

/* The slot of a fixed-range register, -1 if it is none. */
static int mtrr_fixed_slot(uint32_t index)
{
    if (index == MSR_MTRR_FIX64K)
        return 0;
    if (index == MSR_MTRR_FIX16K || index == MSR_MTRR_FIX16K + 1)
        return (int)(1 + index - MSR_MTRR_FIX16K);
    if (index >= MSR_MTRR_FIX4K && index < MSR_MTRR_FIX4K_END)
        return (int)(3 + index - MSR_MTRR_FIX4K);
    return -1;
}

static bool mtrr_var_valid(uint32_t index, uint64_t value)
{
    if (value & PHYS_RESERVED)
        return false;
    if (index & 1)
        return !(value & 0xfff & ~MTRR_MASK_VALID);
    return !(value & 0xf00) && types_valid(value, 1, TYPES_MTRR);
}

/* --- ranges of registers; false: no such register, or a value it refuses --- */

static bool mtrr_access(struct vcpu *v, uint32_t index, uint64_t *value, bool write)
{
    uint64_t *reg = NULL;
    bool valid = true;
    int fixed = mtrr_fixed_slot(index);
    if (fixed >= 0) {
        reg = &v->mtrr_fixed[fixed];
        valid = types_valid(*value, 8, TYPES_MTRR);
    } else if (index >= MSR_MTRR_VAR && index < MSR_MTRR_VAR_END) {
        reg = &v->mtrr_var[index - MSR_MTRR_VAR];
        valid = mtrr_var_valid(index, *value);
    } else if (index == MSR_MTRR_DEF) {
        reg = &v->mtrr_def;
        valid = !(*value & ~MTRR_DEF_WRITABLE) && types_valid(*value & 0xff, 1, TYPES_MTRR);
    } else if (index == MSR_MTRRCAP && !write) {
        *value = MTRRCAP;
        return true;
    }
    if (!reg || !cpu_has_name(machine_cpu_model(v->machine), "mtrr"))
        return false;
    if (write && valid)
        *reg = *value;
    else if (!write)
        *value = *reg;
    return !write || valid;
}

/* Plain storage behind a feature. */
static uint64_t *plain_register(struct vcpu *v, uint32_t index)
{
    const struct cpu_model *m = machine_cpu_model(v->machine);
    switch (index) {
    case MSR_SYSENTER_CS:
        return cpu_has(m, FEAT_SEP) ? &v->sysenter_cs : NULL;
    case MSR_SYSENTER_ESP:
        return cpu_has(m, FEAT_SEP) ? &v->sysenter_esp : NULL;
    case MSR_SYSENTER_EIP:
        return cpu_has(m, FEAT_SEP) ? &v->sysenter_eip : NULL;
    case MSR_PAT:
        return cpu_has_name(m, "pat") ? &v->pat : NULL;
    case MSR_EFER:
        return cpu_model_nx(m) ? &v->efer : NULL;
    case MSR_TSC_AUX:
        return cpu_has(m, FEAT_RDTSCP) || cpu_has(m, FEAT_RDPID) ? &v->tsc_aux : NULL;
    case MSR_TSC_ADJUST:
        return cpu_has_name(m, "tsc_adjust") ? &v->tsc_adjust : NULL;
    case MSR_APIC_BASE:
        return cpu_has_name(m, "apic") ? &v->apic_base : NULL;
    case MSR_MCG_STATUS:
        return cpu_has_name(m, "mca") ? &v->mcg_status : NULL;
    case MSR_MISC_ENABLE:
        return &v->misc_enable;
    default:
        return NULL;
    }
}

uint64_t msr_read(struct vcpu *v, uint32_t index)
{
    uint64_t value = 0;
    const uint64_t *reg = plain_register(v, index);
    if (reg)
        return *reg;
    switch (index) {
    case MSR_TSC:
        return tsc_read(v);
    case MSR_PLATFORM_ID:
        return 0;
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE:
    case MSR_MCG_CAP:
        if (cpu_has_name(machine_cpu_model(v->machine), "mca"))
            return 0;
        break;
    case MSR_BIOS_SIGN_ID:
        return MICROCODE_REVISION << 32;
    case MSR_ARCH_CAPABILITIES:
        if (cpu_model_arch_capabilities(machine_cpu_model(v->machine), &value))
            return value;
        break;
    default:
        if (mtrr_access(v, index, &value, false))
            return value;
    }
    raise_gp(v, 0);
}

static void apic_base_write(struct vcpu *v, uint64_t value)
{
    struct platform *p = v->machine->platform;
    if (p && !lapic_set_base(platform_lapic(p), value))
        raise_gp(v, 0);
    v->apic_base = value;
}

static uint64_t efer_valid(const struct vcpu *v)
{
    return v->misc_enable & MISC_XD_DISABLE ? EFER_SCE : EFER_SCE | EFER_NXE;
}

static uint64_t misc_writable(const struct vcpu *v)
{
    return MISC_WRITABLE | (cpu_model_nx(machine_cpu_model(v->machine)) ? MISC_XD_DISABLE : 0);
}

static void plain_write(struct vcpu *v, uint32_t index, uint64_t *reg, uint64_t value)
{
    switch (index) {
    case MSR_PAT:
        if (!types_valid(value, 8, TYPES_PAT))
            raise_gp(v, 0);
        break;
    case MSR_EFER: /* SCE is kept; SYSCALL is not offered */
        if (value & ~efer_valid(v))
            raise_gp(v, 0);
        break;
    case MSR_TSC_ADJUST:
        v->tsc_offset += value - v->tsc_adjust;
        break;
    case MSR_APIC_BASE:
        apic_base_write(v, value);
        break;
    case MSR_TSC_AUX:
        if (value >> 32)
            raise_gp(v, 0);
        break;
    case MSR_MCG_STATUS: /* software may only clear it (SDM vol. 3, 15.3.1.2) */
        if (value)
            raise_gp(v, 0);
        break;
    case MSR_MISC_ENABLE:
        if (value & ~(misc_writable(v) | MISC_READ_ONLY))
            raise_gp(v, 0);
        value = (value & misc_writable(v)) | (*reg & MISC_READ_ONLY);
        break;
    default:
        break;
    }
    bool nxe_changed = index == MSR_EFER && *reg != value;
    *reg = value;
    if (nxe_changed)
        mmu_flush_all(v);
}

void msr_write(struct vcpu *v, uint32_t index, uint64_t value)
{
    uint64_t *reg = plain_register(v, index);
    if (reg) {
        plain_write(v, index, reg, value);
        return;
    }
    switch (index) {
    case MSR_TSC: {
        uint64_t delta = value - tsc_read(v);
        v->tsc_offset += delta;
        v->tsc_adjust += delta;
        break;
    }
    case MSR_BIOS_UPDT_TRIG: /* no update is taken */
    case MSR_BIOS_SIGN_ID:   /* CPUID writes the revision back at once */
        break;
    default:
        if (!mtrr_access(v, index, &value, true))
            raise_gp(v, 0);
    }
}

/* RAM is write-back, what PCI devices decode is not cached, ROM is write-protected. */
void msr_bios_init(struct vcpu *v)
{
    const uint64_t eight = 0x0101010101010101ull;
    if (!cpu_has_name(machine_cpu_model(v->machine), "mtrr"))
        return;
    v->mtrr_fixed[0] = v->mtrr_fixed[1] = eight * TYPE_WB; /* 0 to a0000h */
    v->mtrr_fixed[2] = eight * TYPE_UC;                    /* to c0000h */
    for (unsigned i = 3; i < 11; i++)
        v->mtrr_fixed[i] = eight * TYPE_WP;
    v->mtrr_var[0] = PHYS_MAX_RAM | TYPE_UC; /* from the end of RAM's space to 4 GiB */
    v->mtrr_var[1] = (~PHYS_RESERVED & ~(0xffffffffull - PHYS_MAX_RAM)) | MTRR_MASK_VALID;
    v->mtrr_def = MTRR_DEF_ENABLE | TYPE_WB;
}
