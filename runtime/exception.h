/* SPDX-License-Identifier: MIT */
/* exception.h: raising guest exceptions and delivering them and interrupts (SDM vol. 3, ch. 6).
 *
 * raise_*() end the instruction under way: they record the exception in vcpu->exc and longjmp to
 * vcpu->fault_jmp, where the loop calls exception_deliver(). So an instruction must not change
 * guest state before its last possible fault. */
#ifndef RINGDOWN_RUNTIME_EXCEPTION_H
#define RINGDOWN_RUNTIME_EXCEPTION_H

#include "ringdown/cpu.h"

_Noreturn void raise_exception(struct vcpu *v, uint8_t vector);
_Noreturn void raise_exception_error(struct vcpu *v, uint8_t vector, uint32_t error);
_Noreturn void raise_ud(struct vcpu *v);
_Noreturn void raise_nm(struct vcpu *v);
_Noreturn void raise_de(struct vcpu *v);
_Noreturn void raise_mf(struct vcpu *v);
_Noreturn void raise_xm(struct vcpu *v);
_Noreturn void raise_gp(struct vcpu *v, uint32_t error);
_Noreturn void raise_ss(struct vcpu *v, uint32_t error);
_Noreturn void raise_np(struct vcpu *v, uint32_t error);
_Noreturn void raise_ts(struct vcpu *v, uint32_t error);
_Noreturn void raise_ac(struct vcpu *v);
_Noreturn void raise_pf(struct vcpu *v, uint32_t la, uint32_t error);
_Noreturn void raise_db(struct vcpu *v, uint32_t dr6_bits);

/* Delivers vcpu->exc (set by a raiser). May itself raise, in which case the loop calls it again and
 * it combines the two into #DF or shutdown (vol. 3, table 6-5). Sets vcpu->shutdown on a triple
 * fault. */
void exception_deliver(struct vcpu *v);
/* An external interrupt: the caller has checked IF and the shadow. Clears vcpu->halted. */
void interrupt_deliver(struct vcpu *v, uint8_t vector);
/* An NMI: the caller has checked v->nmi_blocked, which this sets and IRET clears. */
void nmi_deliver(struct vcpu *v);
/* INT n, INT3, INTO, INT1: eip is still that of the instruction, `next_eip` is pushed. */
void soft_interrupt(struct vcpu *v, uint8_t vector, uint32_t next_eip);

#endif
