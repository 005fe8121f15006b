/* SPDX-License-Identifier: MIT */
/* bt.h: translated execution: the dispatcher between monitor and translated code.
 *
 * bt_run() finds or makes the block at EIP, switches to it, and serves its exits; what the
 * translator does not handle, the interpreter executes one instruction at a time. */
#ifndef RINGDOWN_RUNTIME_BT_H
#define RINGDOWN_RUNTIME_BT_H

#include "ringdown/cpu.h"
#include "runtime/profile.h"

#include <stdbool.h>
#include <stdio.h>

struct bt;

/* cache_size: bytes of translated code. NULL: *error is a negative errno. */
struct bt *bt_create(struct vcpu *v, uint64_t cache_size, int *error);
void bt_destroy(struct bt *bt);
/* Runs until v->request, HLT, shutdown, or an interrupt can be delivered. Raises. */
void bt_run(struct vcpu *v);
/* One turn of the same, for lock step: at most v->count.budget - 1 instructions, but at least one
 * unless there is something for the loop; v->count.retired counts them. `first`: something else
 * than this has run since, or it has raised. False when bt_run() would return. */
bool bt_run_once(struct vcpu *v, bool first);
/* Called by the handler of the kick signal, on the vCPU's thread: gets translated code to leave at
 * the next boundary of guest instructions. */
void bt_kicked(struct bt *bt, void *ucontext);
/* The handler of SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGTRAP asks: true if the signal was
 * translated code's and has been dealt with. */
bool bt_host_fault(struct bt *bt, int signo, void *siginfo, void *ucontext);
/* Copies the translator's and the cache's counters into the machine's statistics. */
void bt_collect_stats(struct bt *bt);
/* --dump: streams for decoded code, blocks, host code, exits; NULL for none. */
void bt_set_dump(struct bt *bt, unsigned dump, FILE *out);
/* For crash reports: the EIPs of the last blocks entered from the dispatcher, newest first; returns
 * how many. */
unsigned bt_recent(const struct bt *bt, uint32_t *eips, unsigned max);

/* For the profiler's samples, bt_profile.c: what runs at a host address, false if it is no code of
 * the engine's; what the last exit is being served for. Async-signal-safe. */
bool bt_place_of_pc(struct bt *bt, uint64_t pc, struct profile_place *place);
void bt_place_of_exit(struct bt *bt, struct profile_place *place);

#endif
