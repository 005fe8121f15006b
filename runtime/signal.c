/* SPDX-License-Identifier: MIT */
/* signal.c: handlers of kicks (SIGUSR1) and of faults on the vCPU's thread. All run on an alternate
 * stack, since translated code uses rsp for its own purpose; the kick is blocked while a fault is
 * handled, so that it finds translated code where it was. */
#include "runtime/signal.h"

#include "runtime/bt.h"
#include "runtime/crash.h"
#include "runtime/fpu.h"
#include "runtime/profile.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#define STACK_BYTES (256u << 10)

static const int fault_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
#define FAULT_COUNT (sizeof(fault_signals) / sizeof(fault_signals[0]))

/* The machine that this thread runs. */
static _Thread_local struct machine *running;
static _Thread_local void *stack;

static void on_kick(int signo, siginfo_t *info, void *ucontext)
{
    (void)signo;
    (void)info;
    struct machine *m = running;
    if (!m)
        return;
    atomic_fetch_or(&m->vcpu->request, VCPU_REQ_EVENT);
    if (m->vcpu->bt)
        bt_kicked(m->vcpu->bt, ucontext);
}

/* A fault of the monitor's own: report, then die of the signal as the host would have it. */
static void die(int signo)
{
    if (running)
        crash_report(running->vcpu, "the monitor itself has failed");
    signal(signo, SIG_DFL);
    raise(signo);
}

/* True if it was translated code's. */
static bool serve_fault(struct machine *m, int signo, siginfo_t *info, void *ucontext)
{
    uint8_t before = activity_begin(&m->activity, ACT_FAULT);
    m->fault_pc = (uint64_t)((ucontext_t *)ucontext)->uc_mcontext.gregs[REG_RIP];
    uint64_t began = m->profile ? profile_fault_begin(m->profile) : 0;
    bool served = bt_host_fault(m->vcpu->bt, signo, info, ucontext);
    if (m->profile && served)
        profile_fault_end(m->profile, began);
    m->activity = before;
    return served;
}

static void on_fault(int signo, siginfo_t *info, void *ucontext)
{
    struct machine *m = running;
    if (m && m->vcpu->bt && serve_fault(m, signo, info, ucontext))
        return;
    if (fpu_fix_signal(ucontext))
        return;
    if (m && signo == SIGBUS && info->si_code == BUS_ADRERR)
        crash_host_refused("no memory for the guest", -ENOMEM);
    die(signo);
}

uint64_t signals_kick_entry(void)
{
    return (uint64_t)on_kick;
}

uint64_t signals_fault_entry(void)
{
    return (uint64_t)on_fault;
}

static int install(int signo, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction sa = {.sa_sigaction = handler,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaddset(&sa.sa_mask, SIGNAL_KICK);
    sigaddset(&sa.sa_mask, SIGALRM);
    return sigaction(signo, &sa, NULL) < 0 ? -errno : 0;
}

int signals_enter(struct machine *m)
{
    stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED)
        return -errno;
    stack_t ss = {.ss_sp = stack, .ss_size = STACK_BYTES};
    if (sigaltstack(&ss, NULL) < 0)
        return -errno;
    running = m;
    int error = install(SIGNAL_KICK, on_kick);
    if (!error) /* an alarm that whoever started us had set is no reason to die */
        error = install(SIGALRM, on_kick);
    for (unsigned i = 0; !error && i < FAULT_COUNT; i++)
        error = install(fault_signals[i], on_fault);
    return error;
}

void signals_leave(struct machine *m)
{
    (void)m;
    running = NULL;
    for (unsigned i = 0; i < FAULT_COUNT; i++)
        signal(fault_signals[i], SIG_DFL);
    signal(SIGNAL_KICK, SIG_IGN);
    signal(SIGALRM, SIG_IGN);
    stack_t ss = {.ss_flags = SS_DISABLE};
    sigaltstack(&ss, NULL);
    munmap(stack, STACK_BYTES);
}
