/* SPDX-License-Identifier: MIT */
/* check.h: conditions that no guest can break. Looked at in builds with RINGDOWN_CHECKED (debug,
 * sanitized and stress builds), where a broken one ends the process with a line that says which. */
#ifndef RINGDOWN_CHECK_H
#define RINGDOWN_CHECK_H

#ifdef RINGDOWN_CHECKED
#include <stdio.h>
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                \
            __builtin_trap();                                                                      \
        }                                                                                          \
    } while (0)
#else
#define CHECK(condition) ((void)(0 && (condition)))
#endif

#endif
