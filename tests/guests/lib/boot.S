/* SPDX-License-Identifier: MIT */
/* boot.S: Multiboot 1 header and entry of every test kernel. */
    .section .multiboot, "a"
    .balign 4
    .long 0x1badb002, 0x3, -(0x1badb002 + 0x3)

    .text
    .globl _start
_start:
    cli
    cld
    movl $stack_top, %esp
    movl %ebx, multiboot_info
    pushl $0
    popfl
    xorl %ebp, %ebp
    call guest_start
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .skip 65536
stack_top:
    .section .note.GNU-stack, "", @progbits
