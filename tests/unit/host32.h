/* SPDX-License-Identifier: MIT */
/* host32.h: one 16-, 32- or 64-bit instruction on the host's own processor, as an oracle for tests.
 *
 * The code lies at the end of a page behind which nothing is mapped, so that fetching too much
 * faults; the trap flag stops after one instruction. The process enters it by IRET to a
 * compatibility-mode code segment and comes back by the signal, whose handler first puts the FS
 * base right: the instruction may have loaded FS. All memory it may touch is below 4 GiB. */
#ifndef RINGDOWN_TESTS_UNIT_HOST32_H
#define RINGDOWN_TESTS_UNIT_HOST32_H

#include <asm/ldt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define HOST_PAGE  4096u
#define HOST_CODE  0x30000000u /* code page, then a hole */
#define HOST_DATA  0x31000000u /* data page, then a hole */
#define HOST_STACK 0x32008000u /* in the middle of 64 KiB */

enum host_event { HOST_DONE, HOST_FETCH, HOST_FAULT };
struct host_result {
    enum host_event event;
    int trap;            /* vector */
    uint32_t error, cr2; /* of a page fault */
    uint32_t gpr[8], eip, eflags;
};
struct host_input {
    uint32_t gpr[8], eflags;
    bool code16, code64;
    bool x87_pending; /* an unmasked x87 exception is pending */
};

/* Under AddressSanitizer each siglongjmp clears the shadow of a whole stack: a thousand times
 * slower. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
static const bool host_too_slow = true;
#else
static const bool host_too_slow = false;
#endif

static sigjmp_buf host_return;
static uint64_t host_fs_base;
static struct host_result host_result;

/* Runs before FS is known to be right. */
__attribute__((no_sanitize("address", "undefined"), no_stack_protector)) static void
host_handler(int number, siginfo_t *info, void *context)
{
    __asm__ volatile("wrfsbase %0" ::"r"(host_fs_base));
    (void)number;
    (void)info;
    const greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    static const int order[8] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX,
                                 REG_RSP, REG_RBP, REG_RSI, REG_RDI};
    for (unsigned r = 0; r < 8; r++)
        host_result.gpr[r] = (uint32_t)g[order[r]];
    host_result.trap = (int)g[REG_TRAPNO];
    host_result.error = (uint32_t)g[REG_ERR];
    host_result.cr2 = (uint32_t)g[REG_CR2];
    host_result.eip = (uint32_t)g[REG_RIP];
    host_result.eflags = (uint32_t)g[REG_EFL];
    siglongjmp(host_return, 1);
}

static bool host_map(uint32_t at, unsigned size, unsigned hole)
{
    void *want = (void *)(uintptr_t)at;
    void *got = mmap(want, size + hole, PROT_READ | PROT_WRITE | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != want)
        return false;
    return !hole || mprotect((uint8_t *)want + size, hole, PROT_NONE) == 0;
}

static uint64_t host_frame[5];
static struct host_input host_in;

__attribute__((noinline)) static void host_enter(void)
{
    if (sigsetjmp(host_return, 0))
        return;
    /* The same floating-point state each time (FXSAVE's image: FCW, MXCSR, some XMM registers). */
    static const _Alignas(16) uint8_t fx[512] = {[0] = 0x7f,   [1] = 3, [24] = 0x80,  [25] = 0x1f,
                                                 [160] = 0x41, 0x42,    [176] = 0x81, [183] = 0x40};
    __asm__ volatile("fxrstor %0" ::"m"(fx));
    if (host_in.x87_pending) {
        static const uint16_t unmasked = 0x037b; /* ZE */
        __asm__ volatile("fldcw %0; fld1; fldz; fdivrp" ::"m"(unmasked));
    }
    /* 64-bit code runs with null DS and ES. */
    __asm__ volatile("mov %0, %%rsp\n\t"
                     "mov $0x2b, %%eax\n\t"
                     "mov %%eax, %%ds\n\t"
                     "mov %%eax, %%es\n\t"
                     "mov 0(%1), %%eax\n\t"
                     "mov 4(%1), %%ecx\n\t"
                     "mov 8(%1), %%edx\n\t"
                     "mov 12(%1), %%ebx\n\t"
                     "mov 20(%1), %%ebp\n\t"
                     "mov 24(%1), %%esi\n\t"
                     "mov 28(%1), %%edi\n\t"
                     "iretq" ::"S"(host_frame),
                     "D"(host_in.gpr)
                     : "memory");
    __builtin_unreachable();
}

/* Executes the first n bytes of code, with `in`. */
static struct host_result host_run(const uint8_t *code, unsigned n, const struct host_input *in)
{
    memcpy((uint8_t *)(uintptr_t)(HOST_CODE + HOST_PAGE - n), code, n);
    host_in = *in;
    /* The 16-bit segment's offset 0x8000 is at HOST_CODE. */
    host_frame[0] = (in->code16 ? 0x8000 : HOST_CODE) + HOST_PAGE - n;
    host_frame[1] = in->code16 ? 0x0f : in->code64 ? 0x33 : 0x23;
    host_frame[2] = in->eflags | 0x102;
    host_frame[3] = in->gpr[4];
    host_frame[4] = 0x2b;
    host_enter();
    static const uint32_t mxcsr = 0x1f80;
    __asm__ volatile("fninit; ldmxcsr %0; cld" ::"m"(mxcsr));
    bool fetch = host_result.trap == 14 && (host_result.error & 0x10) &&
                 host_result.cr2 == HOST_CODE + HOST_PAGE;
    host_result.event = host_result.trap == 1 ? HOST_DONE : fetch ? HOST_FETCH : HOST_FAULT;
    return host_result;
}

/* False if this host can't serve. */
static bool host_init(void)
{
    static uint8_t stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = host_handler,
                               .sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};
    static const int signals[] = {SIGILL, SIGSEGV, SIGTRAP, SIGBUS, SIGFPE};
    struct user_desc segment = {.entry_number = 1,
                                .base_addr = HOST_CODE - 0x8000,
                                .limit = 0xffff,
                                .contents = MODIFY_LDT_CONTENTS_CODE,
                                .useable = 1};
    if (host_too_slow || !host_map(HOST_CODE, HOST_PAGE, HOST_PAGE) ||
        !host_map(HOST_DATA, HOST_PAGE, HOST_PAGE) || !host_map(HOST_STACK - 0x8000, 0x10000, 0))
        return false;
    if (syscall(SYS_modify_ldt, 1, &segment, sizeof(segment)) || sigaltstack(&alternate, NULL))
        return false;
    for (unsigned s = 0; s < sizeof(signals) / sizeof(signals[0]); s++)
        sigaction(signals[s], &action, NULL);
    __asm__ volatile("rdfsbase %0" : "=r"(host_fs_base));
    static const uint8_t nop[] = {0x90};
    struct host_input in = {.gpr = {[4] = HOST_STACK}};
    bool ok = host_run(nop, 1, &in).event == HOST_DONE;
    in.code16 = true;
    return ok && host_run(nop, 1, &in).event == HOST_DONE;
}

#endif
