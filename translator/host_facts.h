/* SPDX-License-Identifier: MIT */
/* host_facts.h: where processors differ in what a guest can see of instructions that run on the
 * host's, found out by running them. The guest is offered one model, whatever the host. */
#ifndef RINGDOWN_TRANSLATOR_HOST_FACTS_H
#define RINGDOWN_TRANSLATOR_HOST_FACTS_H

#include <stdbool.h>

/* Whether a repeated CMPS or SCAS that faults leaves the flags as they were before it, as the model
 * offered has it (Intel's processors; AMD's show those of the last iteration). False also if it
 * can't be found out. The first call handles SIGSEGV for a moment, and maps two pages. */
bool host_keeps_compare_flags(void);

#endif
