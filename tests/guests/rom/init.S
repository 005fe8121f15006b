/* SPDX-License-Identifier: MIT */
/* init.S: a ROM image that sends its processor INIT, twice: the boot processor starts again at the
 * reset vector with all that INIT leaves alone (SDM vol. 3, table 9-1 and 8.4.2); one that says that
 * it is not waits for SIPI for ever. Prints a letter for each step on port E9. */
#define APIC_BASE   0x1b
#define SYSENTER_SP 0x175
#define ICR_LOW     0xfee00300
#define ICR_INIT    0x4500
#define STAGE       0x500
#define COUNT       0x504

        .code16
        .text
        .globl _start
_start:
start:
        cli
        movl    %edx, %ebp
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        cmpl    $0x600d, STAGE
        je      restarted
        movb    $'a', %al               /* from power-on */
        outb    %al, $0xe9
        movl    $0x600d, STAGE
        movl    $SYSENTER_SP, %ecx
        movl    $0x1234, %eax
        xorl    %edx, %edx
        wrmsr
        fninit
        fld1
        movl    $0x10, %eax             /* caches on, which INIT leaves so */
        movl    %eax, %cr0
        movl    $0x80, %eax
        movl    %eax, %cr4
        movl    $0x55, %eax
        movl    %eax, %dr0
        jmp     send

restarted:
        movl    %cr0, %eax
        cmpl    $0x10, %eax
        jne     wrong
        movl    %cr4, %eax
        testl   %eax, %eax
        jne     wrong
        movl    %dr0, %eax
        testl   %eax, %eax
        jne     wrong
        shrl    $8, %ebp                /* EDX: the model, family 6 */
        andl    $0xf, %ebp
        cmpl    $6, %ebp
        jne     wrong
        movl    $SYSENTER_SP, %ecx
        rdmsr
        cmpl    $0x1234, %eax
        jne     wrong
        fnstsw  %ax
        cmpw    $0x3800, %ax
        jne     wrong
        incl    COUNT
        cmpl    $1, COUNT
        jne     wrong
        movb    $'b', %al
        outb    %al, $0xe9
        movl    $APIC_BASE, %ecx
        rdmsr
        andl    $~0x100, %eax           /* not the boot processor any more */
        wrmsr
send:
        lgdtl   %cs:table_pointer
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        movw    $8, %bx
        movw    %bx, %ds
        andb    $~1, %al
        movl    %eax, %cr0
        movl    $ICR_LOW, %ebx
        movl    $0, 0x10(%ebx)
        movl    $ICR_INIT, (%ebx)
        movl    $1000000, %ecx
1:      decl    %ecx
        jnz     1b
wrong:
        movb    $'!', %al
        outb    %al, $0xe9
        movw    $0xf4, %dx
        outb    %al, %dx
2:      hlt
        jmp     2b

        .balign 8
table:  .quad   0, 0x00cf93000000ffff
table_pointer:
        .word   15
        .long   0xf0000 + table - _start

        .org    0xfff0
        ljmp    $0xf000, $(start - _start)
        .org    0xffff
        .byte   0
