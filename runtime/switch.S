/* SPDX-License-Identifier: MIT */
/* switch.S: the world switch between the monitor and translated code (docs/registers.md).
 *
 *   void bt_loop(struct vcpu *v)
 *
 * asks bt_turn() where to enter, loads the guest's registers from *v and jumps there. Translated
 * code comes back through bt_exit_entry with an exit id in r8d, or through bt_exit_indirect with a
 * target EIP in r8d. Then bt_light() is asked first, with the guest's xmm registers in place; what
 * it does not serve goes to the next bt_turn(). bt_loop returns when bt_turn() says 0.
 *
 * Guest code is entered and left by jumps, and all of the monitor's calls return before it goes on:
 * so the host's prediction of returns stays that of the guest.
 *
 * A kick signal that comes after the check for requests but before translated code runs is noticed
 * because the handler sees a PC in [bt_switch_committed, bt_switch_end). */
#include "runtime/switch_offsets.h"

/* Sanitizers call the C library from anywhere: then bt_light() must not find the guest's registers. */
        .macro SAVE_XMM
        movups  %xmm0, VCPU_XMM+0x00(%r15)
        movups  %xmm1, VCPU_XMM+0x10(%r15)
        movups  %xmm2, VCPU_XMM+0x20(%r15)
        movups  %xmm3, VCPU_XMM+0x30(%r15)
        movups  %xmm4, VCPU_XMM+0x40(%r15)
        movups  %xmm5, VCPU_XMM+0x50(%r15)
        movups  %xmm6, VCPU_XMM+0x60(%r15)
        movups  %xmm7, VCPU_XMM+0x70(%r15)
        .endm
        .macro LOAD_XMM
        movups  VCPU_XMM+0x00(%r15), %xmm0
        movups  VCPU_XMM+0x10(%r15), %xmm1
        movups  VCPU_XMM+0x20(%r15), %xmm2
        movups  VCPU_XMM+0x30(%r15), %xmm3
        movups  VCPU_XMM+0x40(%r15), %xmm4
        movups  VCPU_XMM+0x50(%r15), %xmm5
        movups  VCPU_XMM+0x60(%r15), %xmm6
        movups  VCPU_XMM+0x70(%r15), %xmm7
        .endm

        .text
        .globl  bt_loop, bt_switch_committed, bt_switch_end, bt_exit_entry, bt_exit_indirect
        .globl  bt_switch_return
        .type   bt_loop, @function
bt_loop:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        movq    %rdi, %r15
        movq    %rsp, VCPU_MONITOR_RSP(%r15)
.Lturn:
        movq    %r15, %rdi
        call    bt_turn
        testq   %rax, %rax
        jz      .Lleave
        LOAD_XMM
.Lenter:
        movq    %rax, %r11
        cmpl    $0, VCPU_REQUEST(%r15)
bt_switch_committed:
        jne     .Lrequested
        movq    VCPU_JUMP_CACHE(%r15), %r13
        movq    VCPU_VIEW(%r15), %r14
        /* Flags: DF by STD, OF by an addition that overflows, the rest by SAHF. */
        movl    VCPU_HOST_FLAGS(%r15), %ecx
        testl   $0x400, %ecx
        jz      1f
        std
1:      movb    %cl, %ah
        shrl    $11, %ecx
        andl    $1, %ecx
        addb    $0x7f, %cl
        sahf
        movl    VCPU_GPR+4(%r15), %ecx
        movl    VCPU_GPR+8(%r15), %edx
        movl    VCPU_GPR+12(%r15), %ebx
        movl    VCPU_GPR+16(%r15), %r12d
        movl    VCPU_GPR+20(%r15), %ebp
        movl    VCPU_GPR+24(%r15), %esi
        movl    VCPU_GPR+28(%r15), %edi
        movl    VCPU_GPR+0(%r15), %eax
        movq    VCPU_RETURN_SP(%r15), %rsp
        jmpq    *%r11
.Lrequested:
        movl    VCPU_EIP(%r15), %eax
        movl    %eax, VCPU_EXIT_EIP(%r15)
        movl    $0xfffffffd, VCPU_EXIT_ID(%r15)
        jmp     .Lheavy
bt_switch_end:

bt_exit_indirect:
        movl    %r8d, VCPU_EXIT_EIP(%r15)
        movl    $0xffffffff, %r8d
bt_exit_entry:
        movl    %eax, VCPU_GPR+0(%r15)
        movl    %ecx, VCPU_GPR+4(%r15)
        movl    %edx, VCPU_GPR+8(%r15)
        movl    %ebx, VCPU_GPR+12(%r15)
        movl    %r12d, VCPU_GPR+16(%r15)
        movl    %ebp, VCPU_GPR+20(%r15)
        movl    %esi, VCPU_GPR+24(%r15)
        movl    %edi, VCPU_GPR+28(%r15)
        movl    %r8d, VCPU_EXIT_ID(%r15)
        pushfq
        popq    %rax
        movq    %rsp, VCPU_RETURN_SP(%r15)
        movq    VCPU_MONITOR_RSP(%r15), %rsp
        movq    %rax, VCPU_HOST_FLAGS(%r15)
        cld
        movq    %r15, %rdi
        movl    %r8d, %esi
#ifdef RINGDOWN_SANITIZED
        SAVE_XMM
        call    bt_light
        LOAD_XMM
#else
        call    bt_light
#endif
        testq   %rax, %rax
        jnz     .Lenter
.Lheavy:
        SAVE_XMM
        jmp     .Lturn
.Lleave:
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_endproc
bt_switch_return:
        .size   bt_loop, .-bt_loop
        .section .note.GNU-stack, "", @progbits
