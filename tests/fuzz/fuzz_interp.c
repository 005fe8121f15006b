/* SPDX-License-Identifier: MIT */
/* fuzz_interp.c: any bytes as a guest's program, in any mode, executed by the interpreter with the
 * whole board around it. Whatever it does, the monitor comes back. */
#include "tests/fuzz/fuzz.h"

#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/interp.h"
#include "runtime/phys.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define STEPS   200u
#define TICK_NS 2000000

/* The host's processor reports the guest's floating-point exceptions to the monitor. */
static void on_signal(int signo, siginfo_t *info, void *ucontext)
{
    (void)info;
    if (!fpu_fix_signal(ucontext))
        fuzz_fail("signal %d", signo);
}

/* Repeated instructions go on until something asks for the loop, as the machine's timer does. */
static void on_tick(int signo)
{
    (void)signo;
    atomic_fetch_or(&fuzz_machine(ENGINE_INTERP)->vcpu->request, VCPU_REQ_EVENT);
}

static void start_ticks(void)
{
    struct sigaction sa = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    struct itimerspec often = {
        {0, TICK_NS},
        {0, TICK_NS}
    };
    timer_t timer;
    sigemptyset(&sa.sa_mask);
    if (sigaction(SIGUSR2, &sa, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
        timer_settime(timer, 0, &often, NULL) < 0)
        fuzz_fail("no timer");
}

static void catch_signals(void)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGFPE, &sa, NULL);
}

static void run(struct machine *m)
{
    struct vcpu *v = m->vcpu;
    volatile unsigned steps = 0;
    if (_setjmp(v->fault_jmp)) {
        /* A delivery that faults comes back here, too: double and triple faults end it. */
        if (steps++ < STEPS)
            exception_deliver(v);
    }
    while (steps++ < STEPS && !v->halted && !v->shutdown && !m->stop && !m->reset_pending) {
        interp_step(v);
        if (v->request) {
            v->request = 0;
            machine_poll(m);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine *m;
    if (!m) {
        m = fuzz_machine(ENGINE_INTERP);
        catch_signals();
        start_ticks();
    }
    if (size < 2)
        return 0;
    fuzz_clean(m);
    fuzz_processor(m);
    fuzz_mode(m, data[0]);
    size_t n = size - 1 < 4096 ? size - 1 : 4096;
    phys_dma_write(m->phys, FUZZ_CODE, data + 1, n);
    for (unsigned r = 0; r < 8; r++)
        m->vcpu->gpr[r] = 0x8000 + 0x100 * r;
    fpu_enter(m->vcpu);
    run(m);
    fpu_leave(m->vcpu);
    return 0;
}
