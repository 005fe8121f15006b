/* SPDX-License-Identifier: MIT */
/* host_facts.c: see host_facts.h. */
#include "translator/host_facts.h"

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGE 4096u
#define CF   1u

extern const char host_facts_compare[], host_facts_end[];
static volatile sig_atomic_t flags_at_fault;

static void on_fault(int signo, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    if (regs[REG_RIP] != (greg_t)host_facts_compare) { /* not ours: let it happen again */
        signal(signo, SIG_DFL);
        return;
    }
    flags_at_fault = (sig_atomic_t)regs[REG_EFL];
    regs[REG_RIP] = (greg_t)host_facts_end;
}

/* With CF set: one iteration of equal bytes, which would clear it, then a fault. */
static void compare(const uint8_t *last)
{
    const uint8_t *a = last, *b = last;
    uint64_t count = 2;
    __asm__ volatile("stc\n"
                     ".globl host_facts_compare, host_facts_end\n"
                     "host_facts_compare: repe cmpsb\n"
                     "host_facts_end:"
                     : "+S"(a), "+D"(b), "+c"(count)
                     :
                     : "cc", "memory");
}

static bool probe(void)
{
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, before;
    uint8_t *pages =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return false;
    flags_at_fault = 0;
    if (!mprotect(pages + PAGE, PAGE, PROT_NONE) && !sigaction(SIGSEGV, &ours, &before)) {
        compare(pages + PAGE - 1);
        sigaction(SIGSEGV, &before, NULL);
    }
    munmap(pages, 2 * PAGE);
    return flags_at_fault & CF;
}

bool host_keeps_compare_flags(void)
{
    static enum { UNKNOWN, NO, YES } known;
    if (known == UNKNOWN)
        known = probe() ? YES : NO;
    return known == YES;
}
