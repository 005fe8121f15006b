/* SPDX-License-Identifier: MIT */
/* cli_run.h: `ringdown run`. */
#ifndef RINGDOWN_RUNTIME_CLI_RUN_H
#define RINGDOWN_RUNTIME_CLI_RUN_H

/* argv[0] is "run". Returns the exit status. */
int cli_run(int argc, char **argv);

/* Exit statuses. A write of V to the debug-exit port gives V << 1 | 1. */
enum {
    STATUS_POWER_OFF = 0,
    STATUS_FAILURE = 1,    /* the monitor's own */
    STATUS_USAGE = 2,      /* bad usage or an unreadable image */
    STATUS_GUEST_DIED = 3, /* of a triple fault */
    STATUS_TIMEOUT = 4,
};

#endif
