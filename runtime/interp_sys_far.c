/* SPDX-License-Identifier: MIT */
/* interp_sys_far.c: handlers that leave the code segment: interrupts and far transfers. */
#include "runtime/interp_sys.h"

#include "runtime/exception.h"
#include "runtime/interp_ops.h"
#include "runtime/transfer.h"

/* In virtual-8086 mode INT n is the monitor's unless IOPL is 3; INT3 and INTO are not. */
bool sys_int(struct vcpu *v, const struct insn *i)
{
    if (vcpu_v86(v) && vcpu_iopl(v) < 3)
        raise_gp(v, 0);
    soft_interrupt(v, (uint8_t)i->imm, sys_next(v, i));
    return true;
}

bool sys_int3(struct vcpu *v, const struct insn *i)
{
    soft_interrupt(v, VEC_BP, sys_next(v, i));
    return true;
}

bool sys_into(struct vcpu *v, const struct insn *i)
{
    if (!(v->eflags & EFL_OF))
        return false;
    soft_interrupt(v, VEC_OF, sys_next(v, i));
    return true;
}

bool sys_int1(struct vcpu *v, const struct insn *i)
{
    soft_interrupt_int1(v, sys_next(v, i));
    return true;
}

bool sys_iret(struct vcpu *v, const struct insn *i)
{
    interrupt_return(v, i->opsize, sys_next(v, i));
    return true;
}

bool sys_call_far(struct vcpu *v, const struct insn *i)
{
    far_call(v, (uint16_t)i->imm2, i->imm, i->opsize, sys_next(v, i));
    return true;
}

bool sys_jmp_far(struct vcpu *v, const struct insn *i)
{
    far_jump(v, (uint16_t)i->imm2, i->imm, i->opsize, sys_next(v, i));
    return true;
}

static uint32_t read_pointer(struct vcpu *v, const struct insn *i, uint16_t *sel)
{
    struct ops_parts la = ops_mem_parts(v, i, i->opsize, 2, 0);
    uint32_t off = ops_load(v, la.first, i->opsize);
    *sel = (uint16_t)ops_load(v, la.second, 2);
    return off;
}

bool sys_call_far_ind(struct vcpu *v, const struct insn *i)
{
    uint16_t sel;
    uint32_t off = read_pointer(v, i, &sel);
    far_call(v, sel, off, i->opsize, sys_next(v, i));
    return true;
}

bool sys_jmp_far_ind(struct vcpu *v, const struct insn *i)
{
    uint16_t sel;
    uint32_t off = read_pointer(v, i, &sel);
    far_jump(v, sel, off, i->opsize, sys_next(v, i));
    return true;
}

bool sys_ret_far(struct vcpu *v, const struct insn *i)
{
    far_return(v, i->opsize, i->imm_size ? (uint16_t)i->imm : 0);
    return true;
}

bool sys_sysenter(struct vcpu *v, const struct insn *i)
{
    (void)i;
    sysenter(v);
    return true;
}

bool sys_sysexit(struct vcpu *v, const struct insn *i)
{
    (void)i;
    sysexit(v);
    return true;
}
