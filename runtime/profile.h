/* SPDX-License-Identifier: MIT */
/* profile.h: --profile: where the vCPU thread's time goes, by guest PC and by what the monitor
 * does.
 *
 *   p = profile_create(m)          allocates all that will be needed
 *   profile_start(p)               on the vCPU's thread, before the sandbox
 *   profile_stop(p)
 *   profile_print(p, ...)          reports, runtime/profile_report.c
 *   profile_destroy(p)
 *
 * A timer interrupts the thread some thousand times a second. The handler finds out which guest
 * instruction the interrupted code belongs to, and what for it runs, and adds the processor time
 * since the last sample to an entry of a table. Tables are of fixed size and only the handler
 * writes them, so it is async-signal-safe; what does not fit is counted as lost. */
#ifndef RINGDOWN_RUNTIME_PROFILE_H
#define RINGDOWN_RUNTIME_PROFILE_H

#include "runtime/activity.h"
#include "translator/insn.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct machine;
struct profile;
struct guest_symbols;

/* Samples a second: no multiple of the rates at which guests tick. */
#define PROFILE_RATE 997u

/* Why the host's fault handler ran: the counters of stats.def that tell. */
#define PROFILE_FAULTS(X)                                                                          \
    X(fault_fill)                                                                                  \
    X(fault_dirty)                                                                                 \
    X(fault_guest)                                                                                 \
    X(fault_mmio)                                                                                  \
    X(fault_code)                                                                                  \
    X(fault_segment)
enum profile_fault {
#define X(name) PROFILE_##name,
    PROFILE_FAULTS(X)
#undef X
        PROFILE_fault_other,
    PROFILE_FAULT_COUNT
};

/* Time of the processor in nanoseconds, and the number of samples it stands for. */
struct profile_share {
    uint64_t ns, samples;
};
/* What happened so often, and how long it took by the time-stamp counter. */
struct profile_count {
    uint64_t count, ticks;
};

struct profile_entry {
    struct profile_share share; /* samples 0: free */
    uint32_t eip;
    uint8_t activity; /* enum activity */
    uint8_t user;     /* ring 3 */
    uint16_t op;      /* enum insn_op of a call-out, else OP_COUNT */
};
struct profile_host {
    struct profile_share share;
    uint64_t pc; /* in the monitor's own program */
};

/* What has been gathered. Entries lie scattered in their tables. */
struct profile_data {
    const struct profile_entry *entries;
    const struct profile_host *hosts;
    unsigned entry_slots, host_slots;
    struct profile_share activity[ACT_COUNT], mode[2], total;
    uint64_t lost; /* samples for which a table had no room */
    uint64_t callouts[OP_COUNT + 1], soft_misses[OP_COUNT + 1];        /* by operation */
    struct profile_count faults[PROFILE_FAULT_COUNT], translations[2]; /* first, again */
    uint64_t device_accesses, elapsed_ns, born_ticks, ended_ticks;
};

struct profile *profile_create(struct machine *m); /* NULL: no memory */
void profile_destroy(struct profile *p);
int profile_start(struct profile *p); /* 0 or negative errno */
void profile_stop(struct profile *p);
const struct profile_data *profile_data(const struct profile *p);

/* --- what is told while it runs, by whoever finds machine->profile --- */
void profile_callout(struct profile *p, unsigned op, bool soft);
/* Before translation: whether a block was made of these bytes' place before. */
bool profile_seen(struct profile *p, uint32_t eip, uint32_t gfn);
void profile_translated(struct profile *p, bool again, uint64_t ticks);
/* Around the handling of a host fault. */
uint64_t profile_fault_begin(struct profile *p);
void profile_fault_end(struct profile *p, uint64_t began);

/* What an interrupted PC is doing. bt_profile.c answers for translated code. */
struct profile_place {
    uint32_t eip;
    bool user;
    enum activity activity;
    uint16_t op;
};

/* --- the report --- */
void profile_print(const struct machine *m, struct guest_symbols *symbols, FILE *out);
int profile_write_json(const struct machine *m, struct guest_symbols *symbols, FILE *out);

#endif
