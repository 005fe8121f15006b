/* SPDX-License-Identifier: MIT */
/* host_probe.S: what host_facts.c tries. Each is a function whose one telling instruction may raise
 * an exception, with nothing on the stack; the handler goes on at probe_return. */
    .text
    .macro PROBE name
    .globl probe_\name
    .hidden probe_\name
probe_\name:
    .endm

    PROBE start
    PROBE compare               /* RCX bytes at RSI with those at RDI */
    stc
    repe cmpsb
    ret
    PROBE prefetch
    .byte 0x0f, 0x0d, 0xc0
    ret
    PROBE lock_cr
    .byte 0xf0, 0x0f, 0x20, 0xc0
    ret
    PROBE pcmpstr               /* 16 bytes at RDI, with EFLAGS.AC */
    pushfq
    orl $0x40000, (%rsp)
    popfq
    pcmpistri $0, (%rdi), %xmm0
    pushfq
    andl $~0x40000, (%rsp)
    popfq
    ret
    PROBE fxsave                /* image to RDI; RSI: two bytes of room */
    fnstcw (%rsi)
    fninit
    fld1
    fxsave64 (%rdi)
    fninit
    fldcw (%rsi)
    ret
    PROBE int1_66
    .byte 0x66, 0xf1
    PROBE int1_end
    ret
    PROBE int1_lock
    .byte 0xf0, 0xf1
    PROBE return
    ret
    PROBE end
    .section .note.GNU-stack, "", @progbits
