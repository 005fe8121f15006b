/* SPDX-License-Identifier: MIT */
/* crash.h: what is told when a guest dies or the monitor fails. */
#ifndef RINGDOWN_RUNTIME_CRASH_H
#define RINGDOWN_RUNTIME_CRASH_H

#include "ringdown/cpu.h"

/* At start-up: what the report will need of the host and the sandbox then denies. */
void crash_prepare(void);
/* Prints to standard error: why, the guest's registers, mode, segments, the code bytes at EIP, the
 * last blocks, a walk of the guest's stack by EBP, and the monitor's own backtrace. Changes no
 * guest state; survives any guest state. */
void crash_report(struct vcpu *v, const char *why);

/* The host has refused what the run cannot go on without: one line, and status 1. */
_Noreturn void crash_host_refused(const char *what, int error);

#endif
