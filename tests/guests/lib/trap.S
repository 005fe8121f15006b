/* SPDX-License-Identifier: MIT */
/* trap.S: entries of all 256 vectors, and the way into and out of a tested context.
 *
 * An entry moves the interrupted state from the stack into trap_save by POPs, so that it works whatever
 * the stack segment's base and size are, then runs trap_dispatch() on a stack of its own. The
 * result 0 resumes trap_save; 1 returns from trap_enter(). Traps do not nest: gates clear IF. */
#include "guest.h"

#define T_EDI 0
#define T_ESI 4
#define T_EBP 8
#define T_EBX 16
#define T_EDX 20
#define T_ECX 24
#define T_EAX 28
#define T_GS 32
#define T_FS 36
#define T_ES 40
#define T_DS 44
#define T_VECTOR 48
#define T_ERROR 52
#define T_EIP 56
#define T_CS 60
#define T_EFLAGS 64
#define T_ESP 68
#define T_SS 72
#define T_CR2 76
#define T_V86 80

    .text
    .balign 16
    .globl trap_stubs
trap_stubs:
    .set n, 0
    .rept 256
    .balign 16
    .if n == 8 || (n >= 10 && n <= 14) || n == 17 || n == 21
    .else
    pushl $0
    .endif
    pushl $n
    jmp trap_common
    .set n, n + 1
    .endr

trap_common:
    pushl %ds
    pushl %eax
    movl $KDS, %eax
    movl %eax, %ds
    pushfl
    popl trap_flags
    popl trap_save + T_EAX
    popl trap_save + T_DS
    popl trap_save + T_VECTOR
    popl trap_save + T_ERROR
    popl trap_save + T_EIP
    popl trap_save + T_CS
    popl trap_save + T_EFLAGS
    movl %ecx, trap_save + T_ECX
    movl %edx, trap_save + T_EDX
    movl %ebx, trap_save + T_EBX
    movl %ebp, trap_save + T_EBP
    movl %esi, trap_save + T_ESI
    movl %edi, trap_save + T_EDI
    movl %es, %eax
    movl %eax, trap_save + T_ES
    movl %fs, %eax
    movl %eax, trap_save + T_FS
    movl %gs, %eax
    movl %eax, trap_save + T_GS
    testl $0x20000, trap_save + T_EFLAGS
    jnz 1f
    testl $3, trap_save + T_CS
    jnz 2f
    movl %esp, trap_save + T_ESP
    movl %ss, %eax
    movl %eax, trap_save + T_SS
    jmp 3f
1:  popl trap_save + T_ESP
    popl trap_save + T_SS
    popl trap_save + T_V86 + 8
    popl trap_save + T_V86 + 12
    popl trap_save + T_V86 + 4
    popl trap_save + T_V86
    jmp 3f
2:  popl trap_save + T_ESP
    popl trap_save + T_SS
3:  movl $KDS, %eax
    movl %eax, %ss
    movl $trap_stack_top, %esp
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    cld
    movl %cr2, %eax
    movl %eax, trap_save + T_CR2
    call trap_dispatch
    testl %eax, %eax
    jz trap_resume
    .globl trap_leave
trap_leave:
    movl trap_return_esp, %esp
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    popfl
    ret

/* void trap_enter(void): loads trap_save, returns when trap_dispatch() says so. Interrupts off. */
    .globl trap_enter
trap_enter:
    pushfl
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    movl %esp, trap_return_esp
    movl %esp, tss_main + 4
trap_resume:
    testl $0x20000, trap_save + T_EFLAGS
    jnz 1f
    testl $3, trap_save + T_CS
    jnz 2f
    lssl trap_save + T_ESP, %esp
    jmp 3f
1:  movl trap_return_esp, %esp
    pushl trap_save + T_V86
    pushl trap_save + T_V86 + 4
    pushl trap_save + T_V86 + 12
    pushl trap_save + T_V86 + 8
    pushl trap_save + T_SS
    pushl trap_save + T_ESP
    jmp 3f
2:  movl trap_return_esp, %esp
    pushl trap_save + T_SS
    pushl trap_save + T_ESP
3:  pushl trap_save + T_EFLAGS
    pushl trap_save + T_CS
    pushl trap_save + T_EIP
    movl trap_save + T_ES, %eax
    movl %eax, %es
    movl trap_save + T_FS, %eax
    movl %eax, %fs
    movl trap_save + T_GS, %eax
    movl %eax, %gs
    movl trap_save + T_EAX, %eax
    movl trap_save + T_ECX, %ecx
    movl trap_save + T_EDX, %edx
    movl trap_save + T_EBX, %ebx
    movl trap_save + T_EBP, %ebp
    movl trap_save + T_ESI, %esi
    movl trap_save + T_EDI, %edi
    mov trap_save + T_DS, %ds
    iretl

/* The double-fault task (a task gate, so that it works with any stack broken): its error code is on
 * its own stack, the interrupted state in tss_main. */
    .globl trap_df_entry
trap_df_entry:
    popl %eax
    movl %eax, trap_save + T_ERROR
    movl %cr2, %eax
    movl %eax, trap_save + T_CR2
    clts
    pushl $0
    popfl
    call trap_df
    jmp trap_leave

    .bss
    .balign 16
    .skip 16384
trap_stack_top:
    .globl trap_return_esp
trap_return_esp: .skip 4
    .globl trap_flags
trap_flags: .skip 4
    .section .note.GNU-stack, "", @progbits
