/* SPDX-License-Identifier: MIT */
/* inherited.h: what the process was given by whoever started it, and does not need: descriptors
 * beyond the standard three, and the environment. Code that has taken the monitor over could use
 * the former and read the latter. */
#ifndef RINGDOWN_RUNTIME_INHERITED_H
#define RINGDOWN_RUNTIME_INHERITED_H

/* Notes the open descriptors: before anything is opened. 0 or -errno. */
int inherited_note(void);
/* Closes them, and overwrites the environment: when all files are open, since a path may lead
 * through a descriptor (/dev/fd/N). */
void inherited_drop(void);

#endif
