/* SPDX-License-Identifier: MIT */
/* signal.h: the host signals that the monitor lives on. */
#ifndef RINGDOWN_RUNTIME_SIGNAL_H
#define RINGDOWN_RUNTIME_SIGNAL_H

#include "runtime/machine.h"

#include <signal.h>

#define SIGNAL_KICK SIGUSR1

/* Installs the handlers of kicks and faults and gives the calling thread, which becomes the vCPU's,
 * its signal stack. 0 or negative errno. */
int signals_enter(struct machine *m);
/* Takes them back. */
void signals_leave(struct machine *m);
/* Where the host enters the handlers: a thread that is there has just been interrupted. */
uint64_t signals_fault_entry(void);
uint64_t signals_kick_entry(void);

#endif
