/* SPDX-License-Identifier: MIT */
/* interp_sys.h: the system handlers, one declaration an operation: X(operation, handler). */
#ifndef RINGDOWN_RUNTIME_INTERP_SYS_H
#define RINGDOWN_RUNTIME_INTERP_SYS_H

#include "runtime/interp.h"

/* clang-format off */
#define INTERP_SYS_OPS(X) \
    /* interp_sys_io.c */ \
    X(IN, sys_in) X(OUT, sys_out) X(INS, sys_ins) X(OUTS, sys_outs) \
    /* interp_sys_far.c */ \
    X(INT, sys_int) X(INT3, sys_int3) X(INTO, sys_into) X(INT1, sys_int1) \
    X(IRET, sys_iret) X(CALL_FAR, sys_call_far) X(CALL_FAR_IND, sys_call_far_ind) \
    X(JMP_FAR, sys_jmp_far) X(JMP_FAR_IND, sys_jmp_far_ind) X(RET_FAR, sys_ret_far) \
    X(SYSENTER, sys_sysenter) X(SYSEXIT, sys_sysexit) \
    /* interp_sys_segment.c */ \
    X(LDS, sys_load_far) X(LES, sys_load_far) X(LFS, sys_load_far) X(LGS, sys_load_far) \
    X(LSS, sys_load_far) X(MOV_FROM_SEG, sys_mov_from_seg) X(MOV_TO_SEG, sys_mov_to_seg) \
    X(PUSH_SEG, sys_push_seg) X(POP_SEG, sys_pop_seg) X(LGDT, sys_lgdt) X(LIDT, sys_lidt) \
    X(SGDT, sys_sgdt) X(SIDT, sys_sidt) X(LLDT, sys_lldt) X(LTR, sys_ltr) \
    X(SLDT, sys_sldt) X(STR, sys_str) X(VERR, sys_verr) X(VERW, sys_verw) \
    X(LAR, sys_lar) X(LSL, sys_lsl) X(ARPL, sys_arpl) \
    /* interp_sys.c */ \
    X(MOV_FROM_CR, sys_mov_from_cr) X(MOV_TO_CR, sys_mov_to_cr) \
    X(MOV_FROM_DR, sys_mov_from_dr) X(MOV_TO_DR, sys_mov_to_dr) X(LMSW, sys_lmsw) \
    X(SMSW, sys_smsw) X(CLTS, sys_clts) X(CLI, sys_cli) X(STI, sys_sti) \
    X(PUSHF, sys_pushf) X(POPF, sys_popf) X(HLT, sys_hlt) X(CPUID, sys_cpuid) \
    X(RDTSC, sys_rdtsc) X(RDTSCP, sys_rdtscp) X(RDPID, sys_rdpid) X(RDPMC, sys_rdpmc) \
    X(RDMSR, sys_rdmsr) X(WRMSR, sys_wrmsr) X(CLAC, sys_clac) X(STAC, sys_stac) \
    X(INVPCID, sys_invpcid) X(INVLPG, sys_invlpg) X(INVD, sys_invd) X(WBINVD, sys_invd) X(RSM, sys_rsm)
/* clang-format on */

#define X(op, handler) interp_fn handler;
INTERP_SYS_OPS(X)
#undef X

/* #GP(0) unless CPL is 0. */
void sys_require_ring0(struct vcpu *v);
/* #GP(0) if CR4.UMIP reserves to CPL 0 what shows tables and the machine's status (vol. 3, 2.5). */
void sys_require_visible(struct vcpu *v);
/* #UD in real and virtual-8086 mode. */
void sys_require_protected(struct vcpu *v);
/* Address of the next instruction, what calls and interrupts push. */
uint32_t sys_next(const struct vcpu *v, const struct insn *i);

#endif
