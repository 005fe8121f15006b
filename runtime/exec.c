/* SPDX-License-Identifier: MIT */
/* exec.c: the loop: requests, interrupts, HLT, and one engine or the other.
 *
 * The thread that calls machine_run() is the vCPU's; devices run on it too. Everyone else reaches
 * it by a kick: bits in vcpu->request, then a signal. The engines come back when they see a
 * request; the signal gets translated code out of a loop that looks at nothing, and ends a sleep.
 *
 * Timers: the host's POSIX timer fires the kick signal at `armed`, which is never later than the
 * earliest deadline of the guest's clock. It may be earlier: a deadline that moves away leaves it
 * alone, and the spare wake-up programs the next one. So arming and disarming a device's timer
 * costs no system call unless the next event comes closer.
 *
 * No wake-up is lost: whoever needs attention sets a request bit first; the sleep is a futex wait
 * for request == 0, which the kernel checks, and a signal that comes in between ends or prevents
 * it. */
#include "runtime/exec.h"

#include "runtime/bt.h"
#include "runtime/crash.h"
#include "runtime/exception.h"
#include "runtime/fpu.h"
#include "runtime/inherited.h"
#include "runtime/interp.h"
#include "runtime/lockstep.h"
#include "runtime/platform.h"
#include "runtime/profile.h"
#include "runtime/sandbox.h"
#include "runtime/signal.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

struct exec {
    struct machine *machine;
    _Atomic pid_t tid; /* of the vCPU's thread while it runs, else 0 */
    timer_t timer;
    bool has_timer;
    uint64_t armed;      /* guest time at which the host's timer fires, UINT64_MAX: it doesn't */
    uint64_t timeout_at; /* guest time, UINT64_MAX: none */
};

static uint64_t host_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* --- kicks --- */

static void request(struct machine *m, uint32_t bits)
{
    uint32_t before = atomic_fetch_or(&m->vcpu->request, bits);
    pid_t tid = atomic_load(&m->exec->tid);
    /* Who set the first bit sends the signal; a second one finds it on its way. */
    if (tid && (before & bits) != bits)
        syscall(SYS_tgkill, getpid(), tid, SIGNAL_KICK);
}

void machine_kick(struct machine *m)
{
    request(m, VCPU_REQ_EVENT);
}

void machine_stop(struct machine *m, enum machine_end end)
{
    uint32_t none = 0;
    atomic_compare_exchange_strong(&m->stop, &none, (uint32_t)end + 1);
    request(m, VCPU_REQ_STOP);
}

/* --- the host's timer --- */

static void arm(struct exec *e, uint64_t deadline)
{
    if (deadline >= e->armed || !e->has_timer)
        return;
    uint64_t now = clock_now(e->machine->clock);
    uint64_t wait = deadline > now ? deadline - now : 1;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(wait / NS_PER_S), .tv_nsec = (long)(wait % NS_PER_S)}
    };
    e->armed = deadline;
    timer_settime(e->timer, 0, &when, NULL);
}

static void deadline_changed(void *opaque, uint64_t deadline)
{
    arm(opaque, deadline);
}

static int create_timer(struct exec *e)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGNAL_KICK};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_MONOTONIC, &event, &e->timer) < 0)
        return -errno;
    e->has_timer = true;
    return 0;
}

static void run_timers(struct exec *e)
{
    struct clock *clock = e->machine->clock;
    uint64_t now = clock_now(clock);
    if (now >= e->armed)
        e->armed = UINT64_MAX; /* it fired, or is about to for nothing */
    if (now >= clock_next_deadline(clock))
        clock_run_due(clock);
    if (now >= e->timeout_at) {
        e->timeout_at = UINT64_MAX;
        machine_stop(e->machine, END_TIMEOUT);
    }
    arm(e, clock_next_deadline(clock));
    arm(e, e->timeout_at);
}

void machine_poll(struct machine *m)
{
    run_timers(m->exec);
    platform_poll(m->platform);
}

void machine_idle(struct machine *m)
{
    struct vcpu *v = m->vcpu;
    uint64_t start = host_ns();
    m->activity = ACT_IDLE;
    m->stats.halts++;
    while (!atomic_load(&v->request))
        syscall(SYS_futex, &v->request, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0);
    m->stats.time_idle += host_ns() - start;
}

/* --- interrupts --- */

bool machine_interrupt_line(const struct machine *m)
{
    return platform_interrupt_line(m->platform);
}

int machine_ack_interrupt(struct machine *m)
{
    return platform_ack_interrupt(m->platform);
}

/* What the other engine has to do, too. */
static void note_event(struct machine *m, int event)
{
    if (m->lockstep)
        lockstep_note(m->lockstep, event);
}

/* Delivers what is deliverable now. True if something was done, so that the caller looks again. */
static bool take_interrupt(struct machine *m, struct vcpu *v)
{
    if (v->waits_for_sipi)
        return false;
    bool nmi = !v->nmi_blocked && platform_nmi_line(m->platform);
    bool intr = v->eflags & EFL_IF && machine_interrupt_line(m);
    if (!nmi && !intr)
        return false;
    if (v->shadow) {
        /* One more instruction belongs to STI, MOV SS or POP SS (SDM vol. 3, 6.8.3). */
        note_event(m, LOCKSTEP_STEP);
        interp_step(v);
        return true;
    }
    if (nmi) {
        platform_ack_nmi(m->platform);
        note_event(m, LOCKSTEP_NMI);
        nmi_deliver(v);
        return true;
    }
    int vector = machine_ack_interrupt(m);
    if (vector < 0)
        return false;
    m->stats.interrupts++;
    note_event(m, vector);
    interrupt_deliver(v, (uint8_t)vector);
    return true;
}

/* --- the loop --- */

static void serve_request(struct machine *m, struct vcpu *v)
{
    m->activity = ACT_TIMERS;
    atomic_exchange(&v->request, 0);
    machine_poll(m);
    if (!machine_start_processor(m, m->end_message, sizeof m->end_message))
        machine_stop(m, END_ERROR);
    if (m->wake_pending && !machine_wake(m, m->end_message, sizeof m->end_message))
        machine_stop(m, END_ERROR);
    if (m->reset_pending && !atomic_load(&m->stop)) {
        m->reset_pending = false;
        if (!machine_reset(m, m->end_message, sizeof m->end_message))
            machine_stop(m, END_ERROR);
    }
}

/* Runs until the engine has something for the loop. Every raise_*() of guest code, and of the
 * delivery that follows, comes back to the setjmp. */
static void run_slice(struct machine *m, struct vcpu *v)
{
    if (_setjmp(v->fault_jmp)) {
        m->activity = ACT_DELIVERY;
        exception_deliver(v);
        return;
    }
    if (atomic_load_explicit(&v->request, memory_order_relaxed))
        serve_request(m, v);
    m->activity = ACT_DELIVERY;
    if (atomic_load_explicit(&m->stop, memory_order_relaxed) ||
        (!m->suspended && take_interrupt(m, v)))
        return;
    m->activity = ACT_INTERPRETER;
    if (v->halted || m->suspended)
        machine_idle(m);
    else if (m->lockstep)
        lockstep_run(m->lockstep);
    else if (v->bt)
        bt_run(v);
    else
        interp_run(v);
}

static void leave(struct machine *m)
{
    struct exec *e = m->exec;
    if (m->profile)
        profile_stop(m->profile);
    timer_delete(e->timer);
    e->has_timer = false;
    atomic_store(&e->tid, 0);
    signals_leave(m);
}

/* The host's side of a run; undone by leave(). */
static int enter(struct machine *m)
{
    struct exec *e = m->exec;
    int error = signals_enter(m);
    if (error)
        return error;
    error = create_timer(e);
    if (error) {
        signals_leave(m);
        return error;
    }
    error = m->profile ? profile_start(m->profile) : 0;
    if (error) {
        leave(m);
        return error;
    }
    atomic_store(&e->tid, (pid_t)syscall(SYS_gettid));
    if (m->config.timeout_ns)
        e->timeout_at = clock_now(m->clock) + m->config.timeout_ns;
    atomic_fetch_or(&m->vcpu->request, VCPU_REQ_EVENT); /* the first pass arms the timer */
    return 0;
}

/* Everything is open, mapped and created by now; the images have not been looked at. */
static int enter_sandbox(struct machine *m)
{
    struct sandbox_report report = {0};
    inherited_drop();
    int error = sandbox_enter_vcpu(&report);
    m->stats.sandbox_calls = report.calls;
    m->stats.sandbox_landlock = report.landlock;
    return error;
}

static uint64_t peak_resident(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (uint64_t)usage.ru_maxrss << 10;
}

static void account(struct machine *m, uint64_t total)
{
    struct stats *s = &m->stats;
    if (m->vcpu->bt)
        bt_collect_stats(m->vcpu->bt);
    uint64_t busy = total > s->time_idle ? total - s->time_idle : 0;
    if (!m->vcpu->bt)
        s->time_monitor = busy;
    uint64_t named = s->time_monitor + s->time_translator;
    s->time_translated = busy > named ? busy - named : 0;
    s->interp_retired = m->vcpu->retired;
    s->peak_resident = peak_resident();
}

enum machine_end machine_run(struct machine *m)
{
    struct vcpu *v = m->vcpu;
    int error = enter(m);
    if (error) {
        snprintf(m->end_message, sizeof m->end_message,
                 "cannot set up the host's signals and timer: %s", strerror(-error));
        return END_ERROR;
    }
    error = m->config.sandbox ? enter_sandbox(m) : 0;
    if (error) {
        leave(m);
        snprintf(m->end_message, sizeof m->end_message,
                 "cannot enter the sandbox: %s (--sandbox off runs without)", strerror(-error));
        return END_ERROR;
    }
    if (!m->loaded && !machine_load(m, m->end_message, sizeof m->end_message)) {
        leave(m);
        return END_BAD_IMAGE;
    }
    uint64_t start = host_ns();
    fpu_enter(v);
    while (!atomic_load_explicit(&m->stop, memory_order_relaxed) && !v->shutdown)
        run_slice(m, v);
    if (m->lockstep)
        lockstep_finish(m->lockstep);
    fpu_leave(v);
    account(m, host_ns() - start);
    leave(m);
    uint32_t stop = atomic_load(&m->stop);
    if (stop)
        return (enum machine_end)(stop - 1);
    crash_report(v, "the guest died of a triple fault");
    return END_SHUTDOWN;
}

struct exec *exec_create(struct machine *m)
{
    struct exec *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->machine = m;
    e->armed = e->timeout_at = UINT64_MAX;
    clock_on_deadline_change(m->clock, deadline_changed, e);
    return e;
}

void exec_destroy(struct exec *e)
{
    free(e);
}
