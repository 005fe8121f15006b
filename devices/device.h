/* SPDX-License-Identifier: MIT */
/* device.h: the seam between devices and the machine.
 *
 * A device is an opaque state behind `struct io_ops` (what the bus calls), interrupt lines (what it
 * drives) and timers (what wakes it). It knows nothing of the processor. Everything here runs on
 * the machine's one device thread (the vCPU's), so devices need no locks. No device uses globals,
 * and none uses floating point (the host's FPU holds guest state while devices run). */
#ifndef RINGDOWN_DEVICES_DEVICE_H
#define RINGDOWN_DEVICES_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Accesses to a range. `off` is relative to the range's start, size is 1, 2 or 4 (MMIO also 8,
 * split by the bus into two of 4). A device that only knows bytes sets `max_size` 1: the bus
 * splits. */
struct io_ops {
    uint32_t (*read)(void *dev, uint32_t off, unsigned size);
    void (*write)(void *dev, uint32_t off, uint32_t value, unsigned size);
    unsigned max_size; /* 1, 2 or 4; 0 means 4 */
};

/* --- the bus (devices/bus.c) --- */
struct bus;
struct bus *bus_create(void);
void bus_destroy(struct bus *bus);
/* Claims ports [base, base+count) or physical addresses [base, base+size). 0, or -EBUSY on overlap,
 * -ENOMEM. The ops and the device must outlive the mapping. */
int bus_map_port(struct bus *bus, uint16_t base, uint32_t count, const struct io_ops *ops,
                 void *dev);
int bus_map_mmio(struct bus *bus, uint64_t base, uint64_t size, const struct io_ops *ops,
                 void *dev);
void bus_unmap_port(struct bus *bus, uint16_t base, uint32_t count);
void bus_unmap_mmio(struct bus *bus, uint64_t base, uint64_t size);
/* Unclaimed addresses read as all ones and ignore writes. */
uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned size);
void bus_port_write(struct bus *bus, uint16_t port, uint32_t value, unsigned size);
uint64_t bus_mmio_read(struct bus *bus, uint64_t gpa, unsigned size);
void bus_mmio_write(struct bus *bus, uint64_t gpa, uint64_t value, unsigned size);

/* Somebody between the processor and the devices, for record and replay: sees each access as the
 * processor makes it. `answer` comes first and may answer in the devices' place (true; a read's
 * value is then in a->value); `saw` comes after the devices. Either may be NULL. */
struct bus_access {
    uint64_t address, value;
    uint8_t size;
    bool write, mmio;
};
struct bus_tap {
    bool (*answer)(void *opaque, struct bus_access *a);
    void (*saw)(void *opaque, const struct bus_access *a);
    void *opaque;
};
/* NULL takes it away. The tap must outlive its use. */
void bus_set_tap(struct bus *bus, const struct bus_tap *tap);

/* --- interrupt lines --- */
/* A wire to an input of an interrupt controller. Level: 1 asserted. An edge is 0 then 1. */
struct irq_line {
    void (*set)(void *controller, unsigned input, int level);
    void *controller;
    unsigned input;
};
static inline void irq_set(const struct irq_line *line, int level)
{
    if (line->set)
        line->set(line->controller, line->input, level);
}

/* --- time (devices/clock.c) --- */
/* Guest time is nanoseconds since the machine was created; it comes from the host's monotonic
 * clock, or in tests from clock_set_manual(). */
struct clock;
struct timer;
typedef void timer_fn(void *opaque);
struct clock *clock_create(void);
void clock_destroy(struct clock *clock);
uint64_t clock_now(struct clock *clock);
void clock_set_manual(struct clock *clock, uint64_t now_ns); /* from then on time stands still */
/* A timer is owned by its device and fires once for each arming, on or after its deadline. */
struct timer *timer_create_on(struct clock *clock, timer_fn *fn, void *opaque);
void timer_destroy(struct timer *timer);
void timer_arm(struct timer *timer, uint64_t deadline_ns);
void timer_disarm(struct timer *timer);
bool timer_armed(const struct timer *timer);
/* For the machine's loop: earliest deadline (UINT64_MAX: none), and run what is due. */
uint64_t clock_next_deadline(struct clock *clock);
void clock_run_due(struct clock *clock);
/* Called whenever the earliest deadline changes, so that the host's timer can follow. */
void clock_on_deadline_change(struct clock *clock, void (*fn)(void *opaque, uint64_t deadline),
                              void *opaque);

/* --- guest memory, for devices that fetch or store (fw_cfg DMA) --- */
struct dma {
    /* False if any byte of the range is not RAM; nothing is transferred then. A write drops
     * translations of the pages it touches. */
    bool (*read)(void *opaque, uint64_t gpa, void *buf, size_t n);
    bool (*write)(void *opaque, uint64_t gpa, const void *buf, size_t n);
    void *opaque;
};

/* --- what a device may ask of the machine --- */
enum machine_event {
    MACHINE_POWER_OFF,
    MACHINE_RESET,
    MACHINE_DEBUG_EXIT,
    MACHINE_SUSPEND, /* to RAM, until MACHINE_WAKE */
    MACHINE_WAKE,
};
struct machine_control {
    void (*event)(void *opaque, enum machine_event event, uint32_t value);
    void *opaque;
};

#endif
