/* SPDX-License-Identifier: MIT */
/* boot_image.h: images made by hand, written to a temporary file, and machines made from them. */
#ifndef RINGDOWN_TESTS_UNIT_BOOT_IMAGE_H
#define RINGDOWN_TESTS_UNIT_BOOT_IMAGE_H

#include "runtime/boot.h"
#include "runtime/machine.h"
#include "runtime/phys.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)

/* A temporary file that holds the bytes; the caller frees the name after unlink(). */
static inline char *write_temporary(const void *data, size_t size)
{
    char *path = strdup("/tmp/ringdown-test-XXXXXX");
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    cr_assert_eq(write(fd, data, size), (ssize_t)size);
    close(fd);
    return path;
}

static inline void remove_temporary(char *path)
{
    unlink(path);
    free(path);
}

static inline struct machine_config base_config(void)
{
    return (struct machine_config){.engine = ENGINE_INTERP,
                                   .memory = 16 * MIB,
                                   .append = "",
                                   .serial = "null",
                                   .cpu = "max",
                                   .cache_size = MIB};
}

struct attempt {
    struct machine *m;
    bool bad_input;
    char err[512];
};

/* A machine from this kernel image. */
static inline struct attempt boot_kernel(struct machine_config c, const void *data, size_t size)
{
    struct attempt a = {0};
    char *path = write_temporary(data, size);
    c.kernel = path;
    a.m = machine_create(&c, a.err, sizeof a.err, &a.bad_input);
    if (a.m && !machine_load(a.m, a.err, sizeof a.err)) {
        machine_destroy(a.m);
        a.m = NULL;
        a.bad_input = true;
    }
    remove_temporary(path);
    return a;
}

/* The image is refused, as the user's mistake, in one line that holds `part`. */
static inline void assert_refused(struct attempt a, const char *part)
{
    cr_assert_null(a.m, "taken instead of: %s", part);
    cr_assert(a.bad_input);
    cr_assert(strstr(a.err, part), "'%s' says nothing of '%s'", a.err, part);
    cr_assert_null(strchr(a.err, '\n'));
}

static inline struct machine *assert_taken(struct attempt a)
{
    cr_assert_not_null(a.m, "%s", a.err);
    return a.m;
}

static inline uint32_t guest32(struct machine *m, uint64_t gpa)
{
    return (uint32_t)phys_read(m->phys, gpa, 4);
}

static inline void assert_guest_string(struct machine *m, uint64_t gpa, const char *wanted)
{
    char text[256] = {0};
    cr_assert(strlen(wanted) < sizeof text);
    cr_assert(phys_dma_read(m->phys, gpa, text, strlen(wanted) + 1));
    cr_assert_str_eq(text, wanted);
}

/* A small generator, so that a failure can be repeated. */
static inline uint32_t random32(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 16);
}

#endif
