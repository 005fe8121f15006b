/* SPDX-License-Identifier: MIT */
/* exec.h: the life of the loop's host side; the rest of exec.c is declared in machine.h. */
#ifndef RINGDOWN_RUNTIME_EXEC_H
#define RINGDOWN_RUNTIME_EXEC_H

#include "runtime/machine.h"

struct exec;
/* Follows m->clock from then on. NULL when out of memory. */
struct exec *exec_create(struct machine *m);
void exec_destroy(struct exec *e);

#endif
