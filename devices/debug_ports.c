/* SPDX-License-Identifier: MIT */
/* debug_ports.c: debug exit, debug console and POST port. */
#include "devices/debug_ports.h"

#include <stdlib.h>

#define EXIT_PORTS    4
#define CONSOLE_MAGIC 0xe9 /* what a read gives, so that software can probe */

/* --- debug exit --- */

struct debug_exit {
    struct bus *bus;
    uint16_t port;
    struct machine_control control;
};

static uint32_t exit_read(void *dev, uint32_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return 0;
}

static void exit_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct debug_exit *d = dev;
    (void)off;
    (void)size;
    if (d->control.event)
        d->control.event(d->control.opaque, MACHINE_DEBUG_EXIT, value);
}

static const struct io_ops exit_ops = {exit_read, exit_write, 4};

struct debug_exit *debug_exit_create(struct bus *bus, uint16_t port, struct machine_control control)
{
    struct debug_exit *d = malloc(sizeof(*d));
    if (!d)
        return NULL;
    *d = (struct debug_exit){bus, port, control};
    if (bus_map_port(bus, port, EXIT_PORTS, &exit_ops, d)) {
        free(d);
        return NULL;
    }
    return d;
}

void debug_exit_destroy(struct debug_exit *d)
{
    if (d)
        bus_unmap_port(d->bus, d->port, EXIT_PORTS);
    free(d);
}

/* --- debug console --- */

struct debug_console {
    struct bus *bus;
    uint16_t port;
    struct chardev sink;
};

static uint32_t console_read(void *dev, uint32_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return CONSOLE_MAGIC;
}

static void console_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct debug_console *d = dev;
    uint8_t byte = (uint8_t)value;
    (void)off;
    (void)size;
    chardev_write(&d->sink, &byte, 1);
}

static const struct io_ops console_ops = {console_read, console_write, 1};

struct debug_console *debug_console_create(struct bus *bus, uint16_t port, struct chardev sink)
{
    struct debug_console *d = malloc(sizeof(*d));
    if (!d)
        return NULL;
    *d = (struct debug_console){bus, port, sink};
    if (bus_map_port(bus, port, 1, &console_ops, d)) {
        free(d);
        return NULL;
    }
    return d;
}

void debug_console_destroy(struct debug_console *d)
{
    if (d)
        bus_unmap_port(d->bus, d->port, 1);
    free(d);
}

/* --- POST codes --- */

struct debug_post {
    struct bus *bus;
    uint8_t code;
};

static uint32_t post_read(void *dev, uint32_t off, unsigned size)
{
    struct debug_post *d = dev;
    (void)off;
    (void)size;
    return d->code;
}

static void post_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct debug_post *d = dev;
    (void)off;
    (void)size;
    d->code = (uint8_t)value;
}

static const struct io_ops post_ops = {post_read, post_write, 1};

struct debug_post *debug_post_create(struct bus *bus)
{
    struct debug_post *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->bus = bus;
    if (bus_map_port(bus, DEBUG_POST_PORT, 1, &post_ops, d)) {
        free(d);
        return NULL;
    }
    return d;
}

void debug_post_destroy(struct debug_post *d)
{
    if (d)
        bus_unmap_port(d->bus, DEBUG_POST_PORT, 1);
    free(d);
}

uint8_t debug_post_code(const struct debug_post *d)
{
    return d->code;
}
