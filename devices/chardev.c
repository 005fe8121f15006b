/* SPDX-License-Identifier: MIT */
/* chardev.c: host descriptors <-> two rings <-> a device.
 *
 * One thread per pair of descriptors does all blocking work. Each ring has one producer and one
 * consumer: for output the device fills and the thread drains, for input the other way round.
 * Indices only grow; head - tail is the fill. A side that must wait says so in a flag and then
 * looks at the ring once more before it sleeps; the other side clears the flag after moving its
 * index and wakes it. All of these are sequentially consistent, so one of the two always sees the
 * other (Dekker). The thread blocks every signal: the machine's signals belong to the vCPU's
 * thread. */
#include "devices/chardev.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define RING_SIZE       65536u
#define DRAIN_PATIENCE  1000 /* ms without progress, once the end is near */
#define DESTROY_SECONDS 3
#define WAKE_MS         10 /* where the host won't wake */

struct ring {
    _Atomic size_t head, tail; /* written by the producer, by the consumer */
    _Atomic bool waiting;      /* the one who would be served by the other's progress */
    uint8_t data[RING_SIZE];
};

struct char_fd {
    int in_fd, out_fd, wake_fd;
    void (*begin)(void);
    void (*notify)(void *opaque);
    void *opaque;
    pthread_t thread;
    _Atomic int lost; /* errno of the write that ended output */
    _Atomic bool stop;
    _Atomic bool idle;   /* the thread sleeps, or is about to */
    struct ring out, in; /* out.waiting: the device found it full; in.waiting: so did the thread */
};

/* --- rings --- */

static size_t ring_fill(struct ring *r)
{
    return atomic_load(&r->head) - atomic_load(&r->tail);
}

static size_t ring_push(struct ring *r, const uint8_t *buf, size_t n)
{
    size_t head = atomic_load(&r->head), room = RING_SIZE - ring_fill(r);
    if (n > room)
        n = room;
    size_t at = head % RING_SIZE, first = n < RING_SIZE - at ? n : RING_SIZE - at;
    memcpy(r->data + at, buf, first);
    memcpy(r->data, buf + first, n - first);
    atomic_store(&r->head, head + n);
    return n;
}

/* The longest run of bytes that lies in one piece. */
static size_t ring_peek(struct ring *r, const uint8_t **data)
{
    size_t n = ring_fill(r), at = atomic_load(&r->tail) % RING_SIZE;
    *data = r->data + at;
    return n < RING_SIZE - at ? n : RING_SIZE - at;
}

static void ring_drop(struct ring *r, size_t n)
{
    atomic_store(&r->tail, atomic_load(&r->tail) + n);
}

/* --- the device's side --- */

static void wake(struct char_fd *c)
{
    uint64_t one = 1;
    if (atomic_exchange(&c->idle, false) && write(c->wake_fd, &one, sizeof(one)) < 0)
        return; /* only EAGAIN is possible: a wake-up is pending already */
}

static size_t device_write(void *opaque, const uint8_t *buf, size_t n)
{
    struct char_fd *c = opaque;
    if (c->out_fd < 0)
        return n;
    size_t taken = ring_push(&c->out, buf, n);
    if (taken < n) {
        atomic_store(&c->out.waiting, true);
        taken += ring_push(&c->out, buf + taken, n - taken);
    }
    wake(c);
    return taken;
}

static size_t device_read(void *opaque, uint8_t *buf, size_t n)
{
    struct char_fd *c = opaque;
    size_t done = 0;
    while (done < n) {
        const uint8_t *data;
        size_t run = ring_peek(&c->in, &data);
        if (!run)
            break;
        if (run > n - done)
            run = n - done;
        memcpy(buf + done, data, run);
        ring_drop(&c->in, run);
        done += run;
    }
    if (done && atomic_exchange(&c->in.waiting, false))
        wake(c);
    return done;
}

struct chardev char_fd_chardev(struct char_fd *c)
{
    return (struct chardev){device_write, device_read, c};
}

/* --- the thread's side --- */

static void notify(struct char_fd *c)
{
    if (c->notify)
        c->notify(c->opaque);
}

/* False when the descriptor has no more to give. */
static bool take_input(struct char_fd *c)
{
    uint8_t buf[4096];
    size_t room = RING_SIZE - ring_fill(&c->in);
    ssize_t n = read(c->in_fd, buf, room < sizeof(buf) ? room : sizeof(buf));
    if (n > 0) {
        ring_push(&c->in, buf, (size_t)n);
        notify(c);
    }
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* A piece of at most PIPE_BUF bytes, which poll() has promised a pipe to take without blocking.
 * False when nobody reads any more. */
static bool give_output(struct char_fd *c)
{
    const uint8_t *data;
    size_t n = ring_peek(&c->out, &data);
    ssize_t done = write(c->out_fd, data, n < PIPE_BUF ? n : PIPE_BUF);
    if (done > 0) {
        ring_drop(&c->out, (size_t)done);
        if (atomic_exchange(&c->out.waiting, false))
            notify(c);
    }
    if (done >= 0 || errno == EAGAIN || errno == EINTR)
        return true;
    atomic_store(&c->lost, errno);
    return false;
}

static bool wants_input(struct char_fd *c)
{
    if (ring_fill(&c->in) < RING_SIZE)
        return true;
    atomic_store(&c->in.waiting, true);
    return ring_fill(&c->in) < RING_SIZE;
}

static void *serve(void *opaque)
{
    struct char_fd *c = opaque;
    bool in_open = c->in_fd >= 0, out_open = c->out_fd >= 0, wakes = true;
    if (c->begin)
        c->begin();
    for (;;) {
        bool stop = atomic_load(&c->stop);
        atomic_store(&c->idle, true);
        size_t pending = ring_fill(&c->out);
        if (pending && !out_open) {
            ring_drop(&c->out, pending);
            if (atomic_exchange(&c->out.waiting, false))
                notify(c);
            pending = 0;
        }
        if (stop && !pending)
            return NULL;
        struct pollfd fds[3] = {
            {wakes ? c->wake_fd : -1,                            POLLIN,  0},
            {in_open && !stop && wants_input(c) ? c->in_fd : -1, POLLIN,  0},
            {pending ? c->out_fd : -1,                           POLLOUT, 0},
        };
        if (atomic_load(&c->stop) != stop)
            continue;
        int ready = poll(fds, 3, stop ? DRAIN_PATIENCE : wakes ? -1 : WAKE_MS);
        atomic_store(&c->idle, false);
        if (ready == 0 && stop)
            return NULL;
        uint64_t count;
        if (fds[0].revents && read(c->wake_fd, &count, sizeof(count)) < 0)
            wakes = errno == EAGAIN || errno == EINTR;
        if (fds[1].revents && !take_input(c))
            in_open = false;
        if (fds[2].revents && !give_output(c))
            out_open = false;
    }
}

/* --- life --- */

static int start_thread(struct char_fd *c)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&c->thread, NULL, serve, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

int char_fd_lost(const struct char_fd *c)
{
    return atomic_load(&c->lost);
}

struct char_fd *char_fd_create(int in_fd, int out_fd, void (*notify_fn)(void *opaque), void *opaque)
{
    return char_fd_create_with(in_fd, out_fd, NULL, notify_fn, opaque);
}

struct char_fd *char_fd_create_with(int in_fd, int out_fd, void (*begin)(void),
                                    void (*notify_fn)(void *opaque), void *opaque)
{
    struct char_fd *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->in_fd = in_fd;
    c->out_fd = out_fd;
    c->begin = begin;
    c->notify = notify_fn;
    c->opaque = opaque;
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wake_fd < 0 || start_thread(c)) {
        if (c->wake_fd >= 0)
            close(c->wake_fd);
        free(c);
        return NULL;
    }
    return c;
}

void char_fd_destroy(struct char_fd *c)
{
    if (!c)
        return;
    atomic_store(&c->stop, true);
    atomic_store(&c->idle, true);
    wake(c);
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += DESTROY_SECONDS;
    if (pthread_timedjoin_np(c->thread, NULL, &end)) {
        pthread_cancel(c->thread); /* a write that never returns */
        pthread_join(c->thread, NULL);
    }
    close(c->wake_fd);
    free(c);
}
