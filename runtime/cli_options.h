/* SPDX-License-Identifier: MIT */
/* cli_options.h: the options of `ringdown run` -> a machine's configuration. */
#ifndef RINGDOWN_RUNTIME_CLI_OPTIONS_H
#define RINGDOWN_RUNTIME_CLI_OPTIONS_H

#include "runtime/machine.h"

enum cli_parse { CLI_OK, CLI_HELP, CLI_ERROR };

/* The lists of *config are allocated; all strings are argv's. On CLI_ERROR err has one line.
 */
enum cli_parse cli_parse_run(int argc, char **argv, struct machine_config *config, char *err,
                             size_t err_size);
void cli_print_run_help(FILE *out);

#endif
