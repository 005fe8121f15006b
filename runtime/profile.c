/* SPDX-License-Identifier: MIT */
/* profile.c: samples of the vCPU's thread -> tables by guest PC and by the monitor's own code.
 *
 * The timer is one of real time, since the host checks timers of processor time at its own slow
 * ticks only. Each sample weighs what the thread has used of a processor since the last one: time
 * asleep or displaced by others weighs nothing, and the weights add up to what was used.
 *
 * The handler runs with kicks blocked, so that a kick finds translated code and not the handler.
 * What the kernel does for the thread shows where the thread goes on afterwards: the delivery of a
 * SIGSEGV at the first instruction of its handler, which counts as a host fault; the return from it
 * at the translated instruction. */
#include "runtime/profile.h"

#include "runtime/bt.h"
#include "runtime/machine.h"
#include "runtime/signal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#define SIGNAL_SAMPLE SIGPROF
#define NS_PER_S      1000000000u
#define ENTRY_BITS    16
#define HOST_BITS     14
#define PROBES        32u
#define SEEN_BITS     24 /* of a set of places by hash: 2 MiB */
#define STACK_WORDS   24 /* looked at for the caller of a library's function */

struct profile {
    struct machine *machine;
    struct profile_data data;
    struct profile_entry entries[1u << ENTRY_BITS];
    struct profile_host hosts[1u << HOST_BITS];
    uint64_t seen[1u << (SEEN_BITS - 6)];
    timer_t timer;
    bool running;
    uint64_t cpu_ns, start_ns;            /* of the last sample; when it began */
    uint64_t causes[PROFILE_FAULT_COUNT]; /* the machine's counters when a fault came */
    struct bus_tap tap;
    uint8_t before_device;
};

/* Of the machine that this thread runs. */
static _Thread_local struct profile *sampled;

extern const char __executable_start[], etext[];

struct profile *profile_create(struct machine *m)
{
    struct profile *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->machine = m;
    p->data.entries = p->entries;
    p->data.hosts = p->hosts;
    p->data.entry_slots = 1u << ENTRY_BITS;
    p->data.host_slots = 1u << HOST_BITS;
    return p;
}

void profile_destroy(struct profile *p)
{
    free(p);
}

const struct profile_data *profile_data(const struct profile *p)
{
    return &p->data;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* --- tables --- */

static uint32_t hash(uint64_t key, unsigned bits)
{
    return (uint32_t)(key * 0x9e3779b97f4a7c15ull >> (64 - bits));
}

static void add(struct profile_share *share, uint64_t ns)
{
    share->ns += ns;
    share->samples++;
}

static void add_entry(struct profile *p, const struct profile_place *at, uint64_t ns)
{
    bool user = at->user;
    uint64_t key = (uint64_t)at->op << 41 | (uint64_t)user << 40 | (uint64_t)at->activity << 32;
    uint32_t slot = hash(key | at->eip, ENTRY_BITS);
    for (unsigned i = 0; i < PROBES; i++, slot = (slot + 1) % (1u << ENTRY_BITS)) {
        struct profile_entry *e = &p->entries[slot];
        if (!e->share.samples) {
            e->eip = at->eip;
            e->activity = (uint8_t)at->activity;
            e->user = user;
            e->op = at->op;
        } else if (e->eip != at->eip || e->activity != at->activity || e->user != user ||
                   e->op != at->op) {
            continue;
        }
        add(&e->share, ns);
        return;
    }
    p->data.lost++;
}

static void add_host(struct profile *p, uint64_t pc, uint64_t ns)
{
    uint32_t slot = hash(pc, HOST_BITS);
    for (unsigned i = 0; i < PROBES; i++, slot = (slot + 1) % (1u << HOST_BITS)) {
        struct profile_host *h = &p->hosts[slot];
        if (h->share.samples && h->pc != pc)
            continue;
        h->pc = pc;
        add(&h->share, ns);
        return;
    }
    p->data.lost++;
}

/* --- a sample --- */

static bool own_code(uint64_t pc)
{
    return pc >= (uint64_t)__executable_start && pc < (uint64_t)etext;
}

/* The monitor's code that runs, or that has called the library in which the PC is: the nearest
 * address on the stack that is its own. */
static uint64_t host_pc(const greg_t *regs)
{
    uint64_t pc = (uint64_t)regs[REG_RIP];
    const uint64_t *stack = (const uint64_t *)regs[REG_RSP];
    for (unsigned i = 0; !own_code(pc) && i < STACK_WORDS; i++)
        pc = stack[i];
    return own_code(pc) ? pc : 0;
}

/* A handler that has not begun: what it interrupted is what the time went to. */
static const greg_t *interrupted(const greg_t *regs)
{
    return ((const ucontext_t *)regs[REG_RDX])->uc_mcontext.gregs;
}

/* C code: what the thread says that it does; for a fault, the guest instruction that had it. */
static void place_of_monitor(const struct machine *m, enum activity activity, uint64_t fault_pc,
                             struct profile_place *place)
{
    struct vcpu *v = m->vcpu;
    place->activity = activity;
    if (activity == ACT_FAULT && v->bt) {
        bt_place_of_pc(v->bt, fault_pc, place);
        place->activity = ACT_FAULT;
    } else if ((activity == ACT_ENGINE || activity == ACT_INTERPRETER) && v->bt) {
        bt_place_of_exit(v->bt, place);
    }
    if (place->activity >= ACT_COUNT)
        place->activity = ACT_MONITOR;
}

static void on_sample(int signo, siginfo_t *info, void *ucontext)
{
    struct profile *p = sampled;
    (void)signo, (void)info;
    if (!p)
        return;
    const struct machine *m = p->machine;
    struct vcpu *v = m->vcpu;
    const greg_t *regs = ((ucontext_t *)ucontext)->uc_mcontext.gregs;
    struct profile_place place = {.eip = v->eip, .user = v->cpl == 3, .op = OP_COUNT};
    uint64_t now = clock_ns(CLOCK_THREAD_CPUTIME_ID), ns = now - p->cpu_ns;
    p->cpu_ns = now;
    if ((uint64_t)regs[REG_RIP] == signals_kick_entry())
        regs = interrupted(regs);
    if ((uint64_t)regs[REG_RIP] == signals_fault_entry()) { /* it has not said so yet */
        place_of_monitor(m, ACT_FAULT, (uint64_t)interrupted(regs)[REG_RIP], &place);
        add_host(p, host_pc(regs), ns);
    } else if (!v->bt || !bt_place_of_pc(v->bt, (uint64_t)regs[REG_RIP], &place)) {
        place_of_monitor(m, (enum activity)m->activity, m->fault_pc, &place);
        add_host(p, host_pc(regs), ns);
    }
    add(&p->data.activity[place.activity], ns);
    add(&p->data.mode[place.user], ns);
    add(&p->data.total, ns);
    add_entry(p, &place, ns);
}

/* --- what is told --- */

void profile_callout(struct profile *p, unsigned op, bool soft)
{
    (soft ? p->data.soft_misses : p->data.callouts)[op <= OP_COUNT ? op : OP_COUNT]++;
}

bool profile_seen(struct profile *p, uint32_t eip, uint32_t gfn)
{
    uint32_t bit = hash((uint64_t)gfn << 32 | eip, SEEN_BITS);
    bool seen = p->seen[bit / 64] >> (bit % 64) & 1;
    p->seen[bit / 64] |= 1ull << (bit % 64);
    return seen;
}

static void count(struct profile_count *c, uint64_t ticks)
{
    c->count++;
    c->ticks += ticks;
}

void profile_translated(struct profile *p, bool again, uint64_t ticks)
{
    count(&p->data.translations[again], ticks);
}

static void copy_causes(const struct stats *s, uint64_t causes[PROFILE_FAULT_COUNT])
{
#define X(name) causes[PROFILE_##name] = s->name;
    PROFILE_FAULTS(X)
#undef X
}

uint64_t profile_fault_begin(struct profile *p)
{
    copy_causes(&p->machine->stats, p->causes);
    return __rdtsc();
}

void profile_fault_end(struct profile *p, uint64_t began)
{
    uint64_t causes[PROFILE_FAULT_COUNT], ticks = __rdtsc() - began;
    unsigned cause = 0;
    copy_causes(&p->machine->stats, causes);
    while (cause < PROFILE_fault_other && causes[cause] == p->causes[cause])
        cause++;
    count(&p->data.faults[cause], ticks);
}

/* --- devices --- */

static bool device_begins(void *opaque, struct bus_access *a)
{
    struct profile *p = opaque;
    (void)a;
    p->before_device = activity_begin(&p->machine->activity, ACT_DEVICES);
    p->data.device_accesses++;
    return false;
}

static void device_ends(void *opaque, const struct bus_access *a)
{
    struct profile *p = opaque;
    (void)a;
    p->machine->activity = p->before_device;
}

/* --- start and stop --- */

static int install_handler(void)
{
    struct sigaction sa = {.sa_sigaction = on_sample,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    sigemptyset(&sa.sa_mask);
    sigaddset(&sa.sa_mask, SIGNAL_KICK);
    sigaddset(&sa.sa_mask, SIGALRM);
    return sigaction(SIGNAL_SAMPLE, &sa, NULL) < 0 ? -errno : 0;
}

int profile_start(struct profile *p)
{
    const long period = NS_PER_S / PROFILE_RATE;
    struct itimerspec when = {.it_value.tv_nsec = period, .it_interval.tv_nsec = period};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGNAL_SAMPLE};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    int error = install_handler();
    if (error)
        return error;
    if (timer_create(CLOCK_MONOTONIC, &event, &p->timer) < 0)
        return -errno;
    if (!p->machine->lockstep) { /* which taps the bus itself */
        p->tap = (struct bus_tap){device_begins, device_ends, p};
        bus_set_tap(p->machine->bus, &p->tap);
    }
    p->running = true;
    p->start_ns = clock_ns(CLOCK_MONOTONIC);
    p->data.born_ticks = __rdtsc();
    p->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    sampled = p;
    return timer_settime(p->timer, 0, &when, NULL) < 0 ? -errno : 0;
}

void profile_stop(struct profile *p)
{
    if (!p->running)
        return;
    timer_delete(p->timer);
    sampled = NULL;
    signal(SIGNAL_SAMPLE, SIG_IGN);
    p->running = false;
    p->data.elapsed_ns += clock_ns(CLOCK_MONOTONIC) - p->start_ns;
    p->data.ended_ticks = __rdtsc();
    if (!p->machine->lockstep)
        bus_set_tap(p->machine->bus, NULL);
}
