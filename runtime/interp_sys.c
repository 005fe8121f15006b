/* SPDX-License-Identifier: MIT */
/* interp_sys.c: the table of system handlers, and those for control, debug and model-specific
 * registers and the flags.
 *
 * The handlers check operands and privilege in the order of SDM vol. 2 and call system.c, msr.c and
 * cpuid.c for the effects. Privilege: #UD for the mode goes before #GP(0) for CPL. */
#include "runtime/interp_sys.h"

#include "runtime/exception.h"
#include "runtime/interp_ops.h"
#include "runtime/mmu.h"
#include "runtime/system.h"
#include "runtime/transfer.h"

interp_fn *const interp_sys_ops[OP_COUNT] = {
#define X(op, handler) [OP_##op] = handler,
    INTERP_SYS_OPS(X)
#undef X
};

void sys_require_ring0(struct vcpu *v)
{
    if (v->cpl != 0)
        raise_gp(v, 0);
}

void sys_require_visible(struct vcpu *v)
{
    if ((v->cr4 & CR4_UMIP) && v->cpl != 0)
        raise_gp(v, 0);
}

void sys_require_protected(struct vcpu *v)
{
    if (vcpu_real_or_v86(v))
        raise_ud(v);
}

uint32_t sys_next(const struct vcpu *v, const struct insn *i)
{
    uint32_t next = v->eip + i->length;
    return vcpu_code32(v) ? next : next & 0xffff;
}

/* --- control and debug registers --- */

bool sys_mov_from_cr(struct vcpu *v, const struct insn *i)
{
    sys_require_ring0(v);
    ops_set_reg(v, i->opnd[0].reg, 4, cr_read(v, i->opnd[1].reg));
    return false;
}

bool sys_mov_to_cr(struct vcpu *v, const struct insn *i)
{
    sys_require_ring0(v);
    cr_write(v, i->opnd[0].reg, v->gpr[i->opnd[1].reg]);
    return false;
}

bool sys_mov_from_dr(struct vcpu *v, const struct insn *i)
{
    sys_require_ring0(v);
    v->gpr[i->opnd[0].reg] = dr_read(v, i->opnd[1].reg);
    return false;
}

bool sys_mov_to_dr(struct vcpu *v, const struct insn *i)
{
    sys_require_ring0(v);
    dr_write(v, i->opnd[0].reg, v->gpr[i->opnd[1].reg]);
    return false;
}

/* PE, MP, EM and TS; PE can be set but not cleared. */
bool sys_lmsw(struct vcpu *v, const struct insn *i)
{
    sys_require_ring0(v);
    uint32_t msw = ops_read(v, i, 0) & (CR0_PE | CR0_MP | CR0_EM | CR0_TS);
    cr_write(v, 0, (v->cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | msw);
    return false;
}

/* A register of 32 bits gets all of CR0. */
bool sys_smsw(struct vcpu *v, const struct insn *i)
{
    sys_require_visible(v);
    ops_write(v, i, 0, v->cr0);
    return false;
}

bool sys_clts(struct vcpu *v, const struct insn *i)
{
    (void)i;
    sys_require_ring0(v);
    v->cr0 &= ~CR0_TS;
    return false;
}

/* --- model-specific registers, CPUID, counters --- */

static void set_edx_eax(struct vcpu *v, uint64_t value)
{
    v->gpr[R_EAX] = (uint32_t)value;
    v->gpr[R_EDX] = (uint32_t)(value >> 32);
}

bool sys_rdmsr(struct vcpu *v, const struct insn *i)
{
    (void)i;
    sys_require_ring0(v);
    set_edx_eax(v, msr_read(v, v->gpr[R_ECX]));
    return false;
}

bool sys_wrmsr(struct vcpu *v, const struct insn *i)
{
    (void)i;
    sys_require_ring0(v);
    msr_write(v, v->gpr[R_ECX], (uint64_t)v->gpr[R_EDX] << 32 | v->gpr[R_EAX]);
    return false;
}

bool sys_cpuid(struct vcpu *v, const struct insn *i)
{
    (void)i;
    uint32_t out[4];
    cpuid(v, v->gpr[R_EAX], v->gpr[R_ECX], out);
    v->gpr[R_EAX] = out[0];
    v->gpr[R_EBX] = out[1];
    v->gpr[R_ECX] = out[2];
    v->gpr[R_EDX] = out[3];
    return false;
}

bool sys_rdtsc(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if ((v->cr4 & CR4_TSD) && v->cpl != 0)
        raise_gp(v, 0);
    set_edx_eax(v, tsc_read(v));
    return false;
}

bool sys_rdtscp(struct vcpu *v, const struct insn *i)
{
    sys_rdtsc(v, i);
    v->gpr[R_ECX] = (uint32_t)v->tsc_aux;
    return false;
}

bool sys_rdpid(struct vcpu *v, const struct insn *i)
{
    ops_set_reg(v, i->opnd[0].reg, 4, (uint32_t)v->tsc_aux);
    return false;
}

/* The model has no performance counter (CPUID leaf 0Ah), so no index is valid. */
bool sys_rdpmc(struct vcpu *v, const struct insn *i)
{
    (void)i;
    raise_gp(v, 0);
}

/* --- caches and TLB --- */

bool sys_invlpg(struct vcpu *v, const struct insn *i)
{
    sys_require_ring0(v);
    mmu_invlpg(v, v->seg[i->mem_seg].base + ops_ea(v, i));
    return false;
}

/* PCIDs need CR4.PCIDE, which needs 64-bit mode: all is PCID 0. */
#define INVPCID_ADDRESS    0u
#define INVPCID_ALL_GLOBAL 2u
#define INVPCID_ALL        3u

bool sys_invpcid(struct vcpu *v, const struct insn *i)
{
    sys_require_ring0(v);
    uint32_t type = v->gpr[i->opnd[0].reg], la = ops_mem(v, i, 16, 0);
    uint64_t pcid = mmu_read64(v, la), address = mmu_read64(v, la + 8);
    if (type > INVPCID_ALL || pcid >> 12 || (type < INVPCID_ALL_GLOBAL && pcid))
        raise_gp(v, 0);
    if (type == INVPCID_ADDRESS)
        mmu_invlpg(v, (uint32_t)address);
    else if (type == INVPCID_ALL_GLOBAL)
        mmu_flush_all(v);
    else
        mmu_flush_nonglobal(v);
    return false;
}

/* Nothing here is cached in a way that a guest could see. */
bool sys_invd(struct vcpu *v, const struct insn *i)
{
    (void)i;
    sys_require_ring0(v);
    return false;
}

/* There is no system-management mode to return from. */
bool sys_rsm(struct vcpu *v, const struct insn *i)
{
    (void)i;
    raise_ud(v);
}

bool sys_hlt(struct vcpu *v, const struct insn *i)
{
    (void)i;
    sys_require_ring0(v);
    v->halted = true;
    return false;
}

/* --- flags --- */

/* #UD, not #GP, outside CPL 0 (vol. 2, CLAC and STAC). */
static bool set_ac(struct vcpu *v, uint32_t ac)
{
    if (v->cpl != 0)
        raise_ud(v);
    v->eflags = (v->eflags & ~EFL_AC) | ac;
    return false;
}

bool sys_clac(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return set_ac(v, 0);
}

bool sys_stac(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return set_ac(v, EFL_AC);
}

/* CLI, STI, PUSHF, POPF and IRET of virtual-8086 mode are the monitor's unless IOPL is 3; CR4.VME
 * and CR4.PVI are not offered. */
static void require_iopl(struct vcpu *v)
{
    if (v->cpl > vcpu_iopl(v))
        raise_gp(v, 0);
}

bool sys_cli(struct vcpu *v, const struct insn *i)
{
    (void)i;
    require_iopl(v);
    v->eflags &= ~EFL_IF;
    return false;
}

bool sys_sti(struct vcpu *v, const struct insn *i)
{
    (void)i;
    require_iopl(v);
    if (!(v->eflags & EFL_IF))
        v->shadow = SHADOW_STI;
    v->eflags |= EFL_IF;
    return false;
}

bool sys_pushf(struct vcpu *v, const struct insn *i)
{
    if (vcpu_v86(v))
        require_iopl(v);
    ops_push(v, v->eflags & ~(EFL_VM | EFL_RF), i->opsize);
    return false;
}

bool sys_popf(struct vcpu *v, const struct insn *i)
{
    if (vcpu_v86(v))
        require_iopl(v);
    uint32_t mask = ops_stack_mask(v), sp = v->gpr[R_ESP];
    uint32_t image = ops_pop_at(v, &sp, mask, i->opsize);
    uint32_t writable = eflags_writable(v, i->opsize);
    ops_set_sp(v, mask, sp);
    v->eflags = (v->eflags & ~(writable | EFL_RF)) | (image & writable);
    return false;
}
