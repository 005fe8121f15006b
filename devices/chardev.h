/* SPDX-License-Identifier: MIT */
/* chardev.h: where a guest's character device ends on the host.
 *
 * Neither call blocks and neither keeps more than a bounded amount of data: a full sink takes fewer
 * bytes than offered and the device offers the rest again later, so that a guest cannot fill the
 * host's memory. A NULL `write` swallows everything, a NULL `read` never has input. */
#ifndef RINGDOWN_DEVICES_CHARDEV_H
#define RINGDOWN_DEVICES_CHARDEV_H

#include <stddef.h>
#include <stdint.h>

struct chardev {
    size_t (*write)(void *opaque, const uint8_t *buf, size_t n); /* how many were taken */
    size_t (*read)(void *opaque, uint8_t *buf, size_t n);        /* how many had arrived */
    void *opaque;
};

static inline size_t chardev_write(const struct chardev *c, const uint8_t *buf, size_t n)
{
    return c->write ? c->write(c->opaque, buf, n) : n;
}
static inline size_t chardev_read(const struct chardev *c, uint8_t *buf, size_t n)
{
    return c->read ? c->read(c->opaque, buf, n) : 0;
}

/* A pair of host descriptors served by a thread of its own, through two lock-free rings of 64 KiB.
 * `notify` (may be NULL) runs on that thread whenever input has arrived or a full output ring has
 * room again: it should make the machine poll (uart_poll()). in_fd -1: no input; out_fd -1: output
 * is dropped. The descriptors stay the caller's and their flags are left alone. */
struct char_fd;
struct char_fd *char_fd_create(int in_fd, int out_fd, void (*notify)(void *opaque), void *opaque);
/* As above; `begin` is the first thing that the thread does. */
struct char_fd *char_fd_create_with(int in_fd, int out_fd, void (*begin)(void),
                                    void (*notify)(void *opaque), void *opaque);
/* Why output ended before the end (an errno), 0 if it did not. */
int char_fd_lost(const struct char_fd *fd);
/* Writes what is still buffered (giving up on a reader that takes nothing for a second). */
void char_fd_destroy(struct char_fd *fd);
struct chardev char_fd_chardev(struct char_fd *fd);

#endif
