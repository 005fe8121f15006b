/* SPDX-License-Identifier: MIT */
/* inherited.c: see inherited.h. */
#include "runtime/inherited.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static int *noted;
static size_t count;

static int note(int fd)
{
    int *more = realloc(noted, (count + 1) * sizeof *noted);
    if (!more)
        return -ENOMEM;
    noted = more;
    noted[count++] = fd;
    return 0;
}

int inherited_note(void)
{
    DIR *d = opendir("/proc/self/fd");
    int error = d ? 0 : -errno;
    if (!d)
        return error;
    for (const struct dirent *e; !error && (e = readdir(d));) {
        int fd = atoi(e->d_name); /* 0 for "." and ".." */
        if (fd > STDERR_FILENO && fd != dirfd(d))
            error = note(fd);
    }
    closedir(d);
    return error;
}

/* The strings themselves stand on the stack, where the program's start has put them. */
static void wipe_environment(void)
{
    for (char **e = environ; e && *e; e++)
        explicit_bzero(*e, strlen(*e));
    environ = NULL;
}

void inherited_drop(void)
{
    for (size_t i = 0; i < count; i++)
        close(noted[i]);
    free(noted);
    noted = NULL;
    count = 0;
    wipe_environment();
}
