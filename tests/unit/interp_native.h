/* SPDX-License-Identifier: MIT */
/* interp_native.h: executes 32-bit code verbatim on the host, in compatibility mode: the reference
 * for the interpreter's tests. It shares nothing with the code under test.
 *
 * Code, operands, stack and the saved state lie in one window of low addresses, which the guest has
 * at the same linear addresses (interp_guest.h). The code under test is followed by a stub that
 * stores the registers and goes back to 64-bit mode. Linux gives every process the selectors 0x23
 * (32-bit code), 0x2b (data) and 0x33 (64-bit code). */
#ifndef RINGDOWN_TESTS_UNIT_INTERP_NATIVE_H
#define RINGDOWN_TESTS_UNIT_INTERP_NATIVE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define WINDOW_BASE  0x200000u
#define WINDOW_CODE  0x200000u /* the code under test */
#define WINDOW_STUB  0x202000u
#define WINDOW_STATE 0x203000u
#define WINDOW_DATA  0x204000u /* operands, 4 pages; strings and bit tests may reach around */
#define WINDOW_STACK 0x208000u /* 2 pages */
#define WINDOW_END   0x20a000u
/* Operands and stack, what is compared. */
#define WINDOW_MEMORY      WINDOW_DATA
#define WINDOW_MEMORY_SIZE (WINDOW_END - WINDOW_DATA)

struct regs {
    uint32_t gpr[8];
    uint32_t eflags;
};

/* At WINDOW_STATE. */
struct native_state {
    struct regs in, out;
    uint64_t rsp;
    uint32_t far_offset;
    uint16_t far_selector;
};

static uint8_t *native_at;
static uint32_t native_entry, native_exit;
static volatile int native_signal;

static uint8_t *native_window(uint32_t la)
{
    return (uint8_t *)(uintptr_t)la;
}

static void native_put(const void *bytes, size_t n)
{
    memcpy(native_at, bytes, n);
    native_at += n;
}
#define NATIVE_PUT(...)                                                                            \
    native_put((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void native_put32(uint32_t value)
{
    native_put(&value, 4);
}

static uint32_t native_here(void)
{
    return (uint32_t)(uintptr_t)native_at;
}

static uint32_t native_field(size_t offset)
{
    return WINDOW_STATE + (uint32_t)offset;
}

static void native_move(uint8_t opcode, unsigned reg, size_t field)
{
    NATIVE_PUT(opcode, (uint8_t)(0x05 | reg << 3)); /* [disp32] */
    native_put32(native_field(field));
}

static void native_handler(int signal, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    uint64_t pc = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
    (void)info;
    if (pc < WINDOW_CODE || pc >= WINDOW_STUB) {
        struct sigaction fatal = {.sa_handler = SIG_DFL};
        sigaction(signal, &fatal, NULL);
        return;
    }
    native_signal = signal;
    uc->uc_mcontext.gregs[REG_RIP] = native_exit;
}

static void native_stub(void)
{
    native_at = native_window(WINDOW_STUB);
    native_entry = native_here();
    NATIVE_PUT(0xb8, 0x2b, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0); /* mov eax, 2b; mov ds, es */
    NATIVE_PUT(0xbc); /* mov esp, a stack of our own; push [in.eflags]; popf */
    native_put32(WINDOW_STATE + 0xff0);
    NATIVE_PUT(0xff, 0x35);
    native_put32(native_field(offsetof(struct native_state, in.eflags)));
    NATIVE_PUT(0x9d);
    for (unsigned r = 0; r < 8; r++)
        native_move(0x8b, r, offsetof(struct native_state, in.gpr) + 4 * r);
    NATIVE_PUT(0xe9);
    native_put32(WINDOW_CODE - (native_here() + 4));

    native_exit = native_here();
    for (unsigned r = 0; r < 8; r++)
        native_move(0x89, r, offsetof(struct native_state, out.gpr) + 4 * r);
    NATIVE_PUT(0xbc); /* mov esp, a stack of our own */
    native_put32(WINDOW_STATE + 0xff0);
    NATIVE_PUT(0x9c, 0x8f, 0x05);
    native_put32(native_field(offsetof(struct native_state, out.eflags)));
    NATIVE_PUT(0xfc, 0xea);
    native_put32(native_here() + 6);
    NATIVE_PUT(0x33, 0x00);
    /* 64-bit mode again: mov rsp, [rsp0]; ret */
    NATIVE_PUT(0x48, 0x8b, 0x24, 0x25);
    native_put32(native_field(offsetof(struct native_state, rsp)));
    NATIVE_PUT(0xc3);
}

static void native_init(void)
{
    static uint8_t signal_stack[65536];
    void *at = mmap(native_window(WINDOW_BASE), WINDOW_END - WINDOW_BASE,
                    PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    cr_assert_eq(at, native_window(WINDOW_BASE));
    stack_t alternate = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
    sigaltstack(&alternate, NULL);
    struct sigaction sa = {.sa_sigaction = native_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGFPE, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    native_stub();
}

/* Executes n bytes of code on the host; false if they raised a signal. */
static bool native_run(const uint8_t *code, size_t n, const struct regs *in, struct regs *out)
{
    struct native_state *s = (struct native_state *)native_window(WINDOW_STATE);
    s->in = *in;
    s->far_offset = native_entry;
    s->far_selector = 0x23;
    native_at = native_window(WINDOW_CODE);
    native_put(code, n);
    NATIVE_PUT(0xe9);
    native_put32(native_exit - (native_here() + 4));
    native_signal = 0;
    /* The stub returns to the address that the call pushes. */
    __asm__ volatile("pushq %%rbp\n\t"
                     "subq $128, %%rsp\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "movq %%rsp, %c[rsp](%%rdx)\n\t"
                     "ljmp *%c[far](%%rdx)\n"
                     "1:\n\t"
                     "addq $128, %%rsp\n\t"
                     "popq %%rbp"
                     :
                     : "d"(s), [rsp] "i"(offsetof(struct native_state, rsp)),
                       [far] "i"(offsetof(struct native_state, far_offset))
                     : "rax", "rbx", "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                       "r14", "r15", "memory", "cc");
    *out = s->out;
    return native_signal == 0;
}

#endif
