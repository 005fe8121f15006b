/* SPDX-License-Identifier: MIT */
/* perf_map.c: blocks as they are made -> lines of /tmp/perf-PID.map.
 *
 * The cache fills its memory upwards, so what lies between two blocks are gates, and a block below
 * the last one means that the cache has been flushed. */
#include "runtime/perf_map.h"

#include "runtime/guest_symbols.h"
#include "runtime/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_SIZE (64u << 10)
#define LINE_MAX_   256u

struct perf_map {
    struct machine *machine;
    int fd;
    bool full;         /* the limit, or the disk's end, has been reached */
    uint64_t written;  /* since the last flush */
    uint32_t named_to; /* offset in code memory */
    uint64_t blocks;
    size_t used;
    char buffer[BUFFER_SIZE];
};

struct perf_map *perf_map_create(struct machine *m, int *error)
{
    char path[64];
    struct perf_map *p = calloc(1, sizeof *p);
    *error = -ENOMEM;
    if (!p)
        return NULL;
    p->machine = m;
    snprintf(path, sizeof path, "/tmp/perf-%d.map", getpid());
    unlink(path); /* of an earlier process of this number; the name must be no link of others' */
    p->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (p->fd >= 0)
        return p;
    *error = -errno;
    free(p);
    return NULL;
}

/* The file is an aid: where it cannot be written, the run goes on without. */
static void write_out(struct perf_map *p)
{
    for (size_t at = 0; at < p->used && !p->full;) {
        ssize_t n = write(p->fd, p->buffer + at, p->used - at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            p->full = true;
    }
    p->used = 0;
}

void perf_map_destroy(struct perf_map *p)
{
    if (!p)
        return;
    write_out(p);
    close(p->fd);
    free(p);
}

static void put_line(struct perf_map *p, const struct code_memory *code, uint32_t from, uint32_t to,
                     const char *name)
{
    char line[LINE_MAX_];
    int n = snprintf(line, sizeof line, "%llx %x %s\n",
                     (unsigned long long)(uintptr_t)code->rx + from, to - from, name);
    if (n < 0 || (size_t)n >= sizeof line || p->full)
        return;
    if (p->written + (size_t)n > PERF_MAP_LIMIT) {
        p->full = true;
        return;
    }
    if (p->used + (size_t)n > sizeof p->buffer)
        write_out(p);
    memcpy(p->buffer + p->used, line, (size_t)n);
    p->used += (size_t)n;
    p->written += (size_t)n;
}

static void start_afresh(struct perf_map *p)
{
    p->used = 0;
    p->written = 0;
    p->named_to = 0;
    if (ftruncate(p->fd, 0) < 0 || lseek(p->fd, 0, SEEK_SET) < 0)
        p->full = true;
}

static void name_block(struct perf_map *p, const struct block *b, bool user, char *name,
                       size_t size)
{
    struct guest_symbols *symbols = p->machine->symbols;
    uint32_t offset;
    /* Where the kernel is shows once its interrupt table does; trying costs a pass over the names.
     */
    if (!(p->blocks & (p->blocks - 1)))
        guest_symbols_fit(symbols, p->machine->vcpu);
    const char *symbol = guest_symbols_find(symbols, b->eip, &offset);
    const char *mode = user ? "user" : "kernel";
    if (symbol)
        snprintf(name, size, "[%s] %.160s+0x%x", mode, symbol, offset);
    else
        snprintf(name, size, "[%s] 0x%08x", mode, b->eip);
}

void perf_map_block(struct perf_map *p, const struct code_memory *code, const struct block *b,
                    bool user)
{
    char name[LINE_MAX_ - 40];
    if (b->host < p->named_to)
        start_afresh(p);
    if (!p->named_to) {
        put_line(p, code, 0, (uint32_t)code->reserved, "[ringdown] pads");
        p->named_to = (uint32_t)code->reserved;
    }
    if (b->host > p->named_to)
        put_line(p, code, p->named_to, b->host, "[ringdown] gates");
    p->blocks++;
    name_block(p, b, user, name, sizeof name);
    put_line(p, code, b->host, b->host_end, name);
    p->named_to = b->host_end;
}
