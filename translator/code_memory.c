/* SPDX-License-Identifier: MIT */
/* code_memory.c: one memfd, two mappings. */
#include "translator/code_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u

int code_memory_create(struct code_memory *c, size_t size)
{
    *c = (struct code_memory){.size = (size + PAGE - 1) & ~(size_t)(PAGE - 1)};
    int fd = memfd_create("ringdown-code", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = 0;
    if (ftruncate(fd, (off_t)c->size) < 0)
        goto fail;
    c->rw = mmap(NULL, c->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (c->rw == MAP_FAILED)
        goto fail;
    c->rx = mmap(NULL, c->size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (c->rx == MAP_FAILED) {
        error = -errno;
        munmap(c->rw, c->size);
        goto out;
    }
    goto out;
fail:
    error = -errno;
out:
    close(fd);
    return error;
}

void code_memory_destroy(struct code_memory *c)
{
    if (!c->rw)
        return;
    munmap(c->rw, c->size);
    munmap(c->rx, c->size);
    *c = (struct code_memory){0};
}

void code_memory_reset(struct code_memory *c)
{
    c->used = c->reserved;
}
