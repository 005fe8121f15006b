/* SPDX-License-Identifier: MIT */
/* host_facts.c: see host_facts.h.
 *
 * What can be tried is tried (host_probe.S): the handler notes what it sees. */
#include "translator/host_facts.h"

#include "ringdown/x86.h"

#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define PAGE 4096u

/* host_probe.S */
extern const char probe_start[], probe_return[], probe_end[], probe_int1_end[];
void probe_compare(const uint8_t *b, const uint8_t *a, uint64_t unused, uint64_t count);
void probe_prefetch(void);
void probe_lock_cr(void);
void probe_pcmpstr(const void *unaligned);
void probe_fxsave(void *area, uint16_t *fcw);
void probe_int1_66(void);
void probe_int1_lock(void);

/* What the last trial raised; NO_TRAP if nothing. */
#define NO_TRAP (-1)
static struct {
    volatile sig_atomic_t trap;
    volatile uint64_t rip, eflags;
} seen;

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
#define SIGNALS (sizeof signals / sizeof signals[0])

static void on_trap(int signo, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    uint64_t rip = (uint64_t)regs[REG_RIP];
    if (rip - (uint64_t)(uintptr_t)probe_start >= (uint64_t)(probe_end - probe_start)) {
        signal(signo, SIG_DFL); /* not ours: let it happen again */
        return;
    }
    seen.trap = (sig_atomic_t)regs[REG_TRAPNO];
    seen.rip = rip;
    seen.eflags = (uint64_t)regs[REG_EFL];
    regs[REG_EFL] &= ~(greg_t)EFL_AC;
    regs[REG_RIP] = (greg_t)probe_return;
}

static enum host_answer answer(bool same)
{
    return same ? HOST_SAME : HOST_OTHER;
}

/* With CF set: one iteration of equal bytes, which would clear it, then a fault. */
static enum host_answer try_compare(void)
{
    uint8_t *pages =
        mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return HOST_UNKNOWN;
    enum host_answer found = HOST_UNKNOWN;
    if (!mprotect(pages + PAGE, PAGE, PROT_NONE)) {
        probe_compare(pages + PAGE - 1, pages + PAGE - 1, 0, 2);
        found = answer(seen.trap == VEC_PF && (seen.eflags & EFL_CF));
    }
    munmap(pages, 2 * PAGE);
    return found;
}

static enum host_answer try_prefetch(void)
{
    probe_prefetch();
    return answer(seen.trap == NO_TRAP);
}

static enum host_answer try_lock_cr(void)
{
    probe_lock_cr();
    return answer(seen.trap == VEC_UD);
}

static enum host_answer try_pcmpstr(void)
{
    static const uint8_t bytes[32];
    if (!__builtin_cpu_supports("sse4.2"))
        return HOST_SAME; /* then it is not offered */
    probe_pcmpstr(bytes + 1);
    return answer(seen.trap == NO_TRAP);
}

static enum host_answer try_fxsave(void)
{
    struct {
        uint8_t before[8];
        uint64_t fip;
        uint8_t rest[496];
    } __attribute__((aligned(16))) area;
    uint16_t fcw;
    area.fip = 0;
    probe_fxsave(&area, &fcw);
    return answer(area.fip);
}

static enum host_answer try_int1(void)
{
    probe_int1_66();
    bool prefixed = seen.trap == VEC_DB && seen.rip == (uint64_t)(uintptr_t)probe_int1_end;
    seen.trap = NO_TRAP;
    probe_int1_lock();
    return answer(prefixed && seen.trap == VEC_UD);
}

static enum host_answer (*const trials[HOST_FACT_COUNT])(void) = {
    [HOST_COMPARE_FLAGS] = try_compare,  [HOST_PREFETCH_NOP] = try_prefetch,
    [HOST_LOCK_CR] = try_lock_cr,        [HOST_PCMPSTR_ALIGN] = try_pcmpstr,
    [HOST_FXSAVE_POINTERS] = try_fxsave, [HOST_INT1_PREFIX] = try_int1,
};

#define HOST_FACT_ROW(id, name, model, intel, amd) {name, model, intel, amd},
static const struct {
    const char *name, *model;
    enum host_answer intel, amd;
} facts[HOST_FACT_COUNT] = {HOST_FACTS(HOST_FACT_ROW)};
#undef HOST_FACT_ROW

static enum host_answer answers[HOST_FACT_COUNT];

enum host_answer host_vendor_answer(enum host_fact fact)
{
    return __builtin_cpu_is("intel") ? facts[fact].intel
           : __builtin_cpu_is("amd") ? facts[fact].amd
                                     : HOST_UNKNOWN;
}

static void find_out(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    struct sigaction ours = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO}, before[SIGNALS];
    for (unsigned i = 0; i < SIGNALS; i++)
        (void)sigaction(signals[i], &ours, &before[i]);
    for (unsigned i = 0; i < HOST_FACT_COUNT; i++) {
        seen.trap = NO_TRAP;
        answers[i] = trials[i] ? trials[i]() : host_vendor_answer((enum host_fact)i);
    }
    for (unsigned i = 0; i < SIGNALS; i++)
        (void)sigaction(signals[i], &before[i], NULL);
}

bool host_as_model(enum host_fact fact)
{
    find_out();
    return answers[fact] == HOST_SAME;
}

const char *host_fact_name(enum host_fact fact)
{
    return facts[fact].name;
}

const char *host_fact_model(enum host_fact fact)
{
    return facts[fact].model;
}

/* Which fact the first `n` characters name; HOST_FACT_COUNT if none. */
static unsigned fact_named(const char *name, size_t n)
{
    unsigned i = 0;
    while (i < HOST_FACT_COUNT && (strlen(facts[i].name) != n || memcmp(facts[i].name, name, n)))
        i++;
    return i;
}

bool host_assume_other(const char *names)
{
    bool other[HOST_FACT_COUNT] = {false}, amd = !strcmp(names, "amd");
    for (const char *at = names; !amd; at++) {
        size_t n = strcspn(at, ",");
        unsigned i = fact_named(at, n);
        if (i == HOST_FACT_COUNT)
            return false;
        other[i] = true;
        at += n;
        if (!*at)
            break;
    }
    find_out();
    for (unsigned i = 0; i < HOST_FACT_COUNT; i++)
        if (other[i] || (amd && facts[i].amd != HOST_SAME))
            answers[i] = HOST_OTHER;
    return true;
}
