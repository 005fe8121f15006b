/* SPDX-License-Identifier: MIT */
/* sandbox.h: what the process may still ask of the host's kernel once guest code runs.
 *
 * Each thread enters for itself, for good: no new privileges, no file system and no network where
 * the host has Landlock, and a seccomp filter that admits the few system calls in sandbox.c's
 * tables. A call outside of them ends the process with one line and status 1. docs/security.md
 * says what this is worth.
 *
 *   sandbox_prepare()                  once, before threads exist
 *   sandbox_enter_serial()             the serial port's thread, before its first read
 *   sandbox_enter_vcpu(&report)        the vCPU's thread, when everything is open and allocated */
#ifndef RINGDOWN_RUNTIME_SANDBOX_H
#define RINGDOWN_RUNTIME_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

/* More than this no file that was open for output grows, so that a guest cannot fill a disk. */
#define SANDBOX_OUTPUT_LIMIT (1ull << 30)

struct sandbox_report {
    uint32_t calls;    /* system calls that the vCPU's thread may make */
    uint32_t landlock; /* Landlock's ABI version in force, 0: the host has none */
};

/* Handlers, and what libraries load when first needed. 0 or a negative errno. */
int sandbox_prepare(void);
/* 0 or a negative errno; then the thread is not in the sandbox, or only half. */
int sandbox_enter_vcpu(struct sandbox_report *report);
/* Ends the process, with a line, where it fails. */
void sandbox_enter_serial(void);

/* Of those that sandbox_enter_vcpu() puts up, the limit on the size of files. */
int sandbox_limit_output(void);

/* While a crash is reported, refused calls return -EPERM instead: what they wanted is missing from
 * the report, which is still written. */
void sandbox_tolerate(bool on);

#endif
