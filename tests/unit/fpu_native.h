/* SPDX-License-Identifier: MIT */
/* fpu_native.h: runs one 32-bit instruction's bytes verbatim on the host, on a given register
 * state: the reference for the interpreter's FPU tests. It shares nothing with the code under test.
 *
 * Memory operands must lie below 4 GiB; the state lives in r15, which no such instruction names. */
#ifndef RINGDOWN_TESTS_UNIT_FPU_NATIVE_H
#define RINGDOWN_TESTS_UNIT_FPU_NATIVE_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct native_state {
    uint8_t fx[512]; /* FXSAVE64 image */
    uint32_t gpr[8]; /* ESP is not loaded */
    uint64_t flags;
    uint64_t trap; /* host trap number, 0 if the instruction completed */
} __attribute__((aligned(16)));

static uint8_t *native_code;
static volatile uint64_t native_exit; /* where a failed instruction goes on */
static volatile uint64_t native_trap;

/* For the signal handler: true if the signal came from the harness. */
static bool native_fix_signal(ucontext_t *uc)
{
    uint64_t pc = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    if (!native_exit || pc - (uint64_t)(uintptr_t)native_code >= 4096)
        return false;
    native_trap = (uint64_t)uc->uc_mcontext.gregs[REG_TRAPNO];
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)native_exit;
    return true;
}

static uint8_t *native_put(uint8_t *at, const void *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}
#define NATIVE_PUT(at, ...)                                                                        \
    native_put(at, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* op reg, [r15 + field] */
static uint8_t *native_field(uint8_t *at, uint8_t rex, uint8_t op, unsigned reg, size_t field)
{
    uint32_t disp = (uint32_t)field;
    at = NATIVE_PUT(at, rex, op, (uint8_t)(0x87 | reg << 3));
    return native_put(at, &disp, 4);
}

static uint8_t *native_fx(uint8_t *at, unsigned ext)
{
    uint32_t disp = offsetof(struct native_state, fx);
    at = NATIVE_PUT(at, 0x49, 0x0f, 0xae, (uint8_t)(0x87 | ext << 3));
    return native_put(at, &disp, 4);
}

static inline void native_run(struct native_state *s, const uint8_t *insn, unsigned length)
{
    if (!native_code)
        native_code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *at = native_code;
    /* push rbx, rbp, r15; mov r15, rdi */
    at = NATIVE_PUT(at, 0x53, 0x55, 0x41, 0x57, 0x49, 0x89, 0xff);
    at = native_fx(at, 1);
    at = native_field(at, 0x41, 0xff, 6, offsetof(struct native_state, flags)); /* push */
    at = NATIVE_PUT(at, 0x9d);
    for (unsigned r = 0; r < 8; r++)
        if (r != 4)
            at = native_field(at, 0x41, 0x8b, r, offsetof(struct native_state, gpr) + 4 * r);
    at = native_put(at, insn, length);
    native_exit = (uint64_t)(uintptr_t)at;
    at = NATIVE_PUT(at, 0x9c);
    at = native_field(at, 0x41, 0x8f, 0, offsetof(struct native_state, flags)); /* pop */
    for (unsigned r = 0; r < 8; r++)
        if (r != 4)
            at = native_field(at, 0x41, 0x89, r, offsetof(struct native_state, gpr) + 4 * r);
    at = native_fx(at, 0);
    at = NATIVE_PUT(at, 0xdb, 0xe3, 0x41, 0x5f, 0x5d, 0x5b, 0xc3); /* fninit; pops; ret */

    uint32_t mxcsr;
    native_trap = 0;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    ((void (*)(struct native_state *))(uintptr_t)native_code)(s);
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    s->trap = native_trap;
    native_exit = 0;
}

#endif
