/* SPDX-License-Identifier: MIT */
/* bus.c: I/O ports and device memory -> the device that claims them.
 *
 * Ports are found by one load from a table of 65,536 region numbers (128 KiB; 0 is nobody's),
 * memory ranges by a look at the one that was hit last and a binary search. An access that is wider
 * than its device takes, or that leaves its range, is split: little-endian, lowest address first,
 * as a chipset does for a narrower target. A device may map and unmap ranges from within its own
 * handlers. */
#include "devices/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT_COUNT 0x10000u

struct region {
    uint64_t base, size;
    const struct io_ops *ops; /* NULL: a free slot of the port array */
    void *dev;
};

struct regions {
    struct region *at;
    size_t count, capacity;
};

struct bus {
    uint16_t port_region[PORT_COUNT]; /* index + 1 into ports, 0: unclaimed */
    struct regions ports;             /* slots are reused, never moved to another index */
    struct regions mmio;              /* sorted by base */
    size_t last;                      /* MMIO region hit last */
    const struct bus_tap *tap;        /* or NULL */
};

struct bus *bus_create(void)
{
    return calloc(1, sizeof(struct bus));
}

void bus_destroy(struct bus *bus)
{
    if (!bus)
        return;
    free(bus->ports.at);
    free(bus->mmio.at);
    free(bus);
}

static bool regions_reserve(struct regions *r)
{
    if (r->count < r->capacity)
        return true;
    size_t capacity = r->capacity ? 2 * r->capacity : 16;
    struct region *at = realloc(r->at, capacity * sizeof(*at));
    if (!at)
        return false;
    r->at = at;
    r->capacity = capacity;
    return true;
}

/* --- mapping --- */

static size_t ports_free_slot(struct regions *r)
{
    for (size_t i = 0; i < r->count; i++)
        if (!r->at[i].ops)
            return i;
    return r->count;
}

int bus_map_port(struct bus *bus, uint16_t base, uint32_t count, const struct io_ops *ops,
                 void *dev)
{
    if (!count || count > PORT_COUNT - base)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++)
        if (bus->port_region[base + i])
            return -EBUSY;
    if (!regions_reserve(&bus->ports))
        return -ENOMEM;
    size_t slot = ports_free_slot(&bus->ports);
    bus->ports.at[slot] = (struct region){base, count, ops, dev};
    if (slot == bus->ports.count)
        bus->ports.count++;
    for (uint32_t i = 0; i < count; i++)
        bus->port_region[base + i] = (uint16_t)(slot + 1);
    return 0;
}

void bus_unmap_port(struct bus *bus, uint16_t base, uint32_t count)
{
    for (uint32_t port = base; port < base + count && port < PORT_COUNT; port++) {
        unsigned slot = bus->port_region[port];
        bus->port_region[port] = 0;
        if (slot && bus->ports.at[slot - 1].base == port)
            bus->ports.at[slot - 1].ops = NULL;
    }
}

/* Index of the first MMIO region that ends above gpa. */
static size_t mmio_lower_bound(const struct bus *bus, uint64_t gpa)
{
    size_t low = 0, high = bus->mmio.count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const struct region *r = &bus->mmio.at[mid];
        if (r->base + r->size <= gpa)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int bus_map_mmio(struct bus *bus, uint64_t base, uint64_t size, const struct io_ops *ops, void *dev)
{
    if (!size || base + size < base)
        return -EINVAL;
    size_t i = mmio_lower_bound(bus, base);
    if (i < bus->mmio.count && bus->mmio.at[i].base < base + size)
        return -EBUSY;
    if (!regions_reserve(&bus->mmio))
        return -ENOMEM;
    memmove(&bus->mmio.at[i + 1], &bus->mmio.at[i], (bus->mmio.count - i) * sizeof(struct region));
    bus->mmio.at[i] = (struct region){base, size, ops, dev};
    bus->mmio.count++;
    return 0;
}

void bus_unmap_mmio(struct bus *bus, uint64_t base, uint64_t size)
{
    size_t i = mmio_lower_bound(bus, base);
    while (i < bus->mmio.count && bus->mmio.at[i].base < base + size) {
        bus->mmio.count--;
        memmove(&bus->mmio.at[i], &bus->mmio.at[i + 1],
                (bus->mmio.count - i) * sizeof(struct region));
    }
}

/* --- accesses --- */

static uint32_t all_ones(unsigned size)
{
    return size >= 4 ? 0xffffffffu : (1u << (8 * size)) - 1;
}

static unsigned max_size(const struct region *r)
{
    return r->ops->max_size ? r->ops->max_size : 4;
}

/* `r` is a copy: the handler may change the tables. */
static uint32_t region_read(struct region r, uint32_t off, unsigned size)
{
    unsigned step = max_size(&r);
    if (!r.ops->read)
        return all_ones(size);
    if (size <= step)
        return r.ops->read(r.dev, off, size) & all_ones(size);
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i += step)
        value |= (r.ops->read(r.dev, off + i, step) & all_ones(step)) << (8 * i);
    return value;
}

static void region_write(struct region r, uint32_t off, uint32_t value, unsigned size)
{
    unsigned step = max_size(&r);
    if (!r.ops->write)
        return;
    if (size <= step) {
        r.ops->write(r.dev, off, value & all_ones(size), size);
        return;
    }
    for (unsigned i = 0; i < size; i += step)
        r.ops->write(r.dev, off + i, (value >> (8 * i)) & all_ones(step), step);
}

static uint32_t port_read(struct bus *bus, uint16_t port, unsigned size)
{
    unsigned slot = bus->port_region[port];
    if (slot) {
        const struct region *r = &bus->ports.at[slot - 1];
        if (port - r->base + size <= r->size)
            return region_read(*r, (uint32_t)(port - r->base), size);
    }
    if (size == 1)
        return 0xff;
    uint32_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        uint32_t byte = port + i < PORT_COUNT ? port_read(bus, (uint16_t)(port + i), 1) : 0xff;
        value |= byte << (8 * i);
    }
    return value;
}

static void port_write(struct bus *bus, uint16_t port, uint32_t value, unsigned size)
{
    unsigned slot = bus->port_region[port];
    if (slot) {
        const struct region *r = &bus->ports.at[slot - 1];
        if (port - r->base + size <= r->size) {
            region_write(*r, (uint32_t)(port - r->base), value, size);
            return;
        }
    }
    if (size == 1)
        return;
    for (unsigned i = 0; i < size && port + i < PORT_COUNT; i++)
        port_write(bus, (uint16_t)(port + i), (value >> (8 * i)) & 0xff, 1);
}

static const struct region *mmio_find(struct bus *bus, uint64_t gpa)
{
    if (bus->last < bus->mmio.count) {
        const struct region *r = &bus->mmio.at[bus->last];
        if (gpa - r->base < r->size)
            return r;
    }
    size_t i = mmio_lower_bound(bus, gpa);
    if (i == bus->mmio.count || gpa < bus->mmio.at[i].base)
        return NULL;
    bus->last = i;
    return &bus->mmio.at[i];
}

static bool inside(const struct region *r, uint64_t gpa, unsigned size)
{
    return r && gpa - r->base + size <= r->size;
}

static uint64_t mmio_read(struct bus *bus, uint64_t gpa, unsigned size)
{
    if (size == 8)
        return mmio_read(bus, gpa, 4) | mmio_read(bus, gpa + 4, 4) << 32;
    const struct region *r = mmio_find(bus, gpa);
    if (inside(r, gpa, size))
        return region_read(*r, (uint32_t)(gpa - r->base), size);
    if (size == 1)
        return 0xff;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++)
        value |= mmio_read(bus, gpa + i, 1) << (8 * i);
    return value;
}

static void mmio_write(struct bus *bus, uint64_t gpa, uint64_t value, unsigned size)
{
    if (size == 8) {
        mmio_write(bus, gpa, (uint32_t)value, 4);
        mmio_write(bus, gpa + 4, value >> 32, 4);
        return;
    }
    const struct region *r = mmio_find(bus, gpa);
    if (inside(r, gpa, size)) {
        region_write(*r, (uint32_t)(gpa - r->base), (uint32_t)value, size);
        return;
    }
    if (size == 1)
        return;
    for (unsigned i = 0; i < size; i++)
        mmio_write(bus, gpa + i, (value >> (8 * i)) & 0xff, 1);
}

/* --- the processor's side --- */

void bus_set_tap(struct bus *bus, const struct bus_tap *tap)
{
    bus->tap = tap;
}

static uint64_t perform(struct bus *bus, const struct bus_access *a)
{
    if (a->mmio && a->write)
        mmio_write(bus, a->address, a->value, a->size);
    else if (a->mmio)
        return mmio_read(bus, a->address, a->size);
    else if (a->write)
        port_write(bus, (uint16_t)a->address, (uint32_t)a->value, a->size);
    else
        return port_read(bus, (uint16_t)a->address, a->size);
    return a->value;
}

static uint64_t tapped(struct bus *bus, struct bus_access a)
{
    const struct bus_tap *tap = bus->tap;
    if (tap->answer && tap->answer(tap->opaque, &a))
        return a.value;
    a.value = perform(bus, &a);
    if (tap->saw)
        tap->saw(tap->opaque, &a);
    return a.value;
}

uint32_t bus_port_read(struct bus *bus, uint16_t port, unsigned size)
{
    if (bus->tap)
        return (uint32_t)tapped(bus, (struct bus_access){.address = port, .size = (uint8_t)size});
    return port_read(bus, port, size);
}

void bus_port_write(struct bus *bus, uint16_t port, uint32_t value, unsigned size)
{
    if (bus->tap)
        tapped(bus, (struct bus_access){
                        .address = port, .value = value, .size = (uint8_t)size, .write = true});
    else
        port_write(bus, port, value, size);
}

uint64_t bus_mmio_read(struct bus *bus, uint64_t gpa, unsigned size)
{
    if (bus->tap)
        return tapped(bus,
                      (struct bus_access){.address = gpa, .size = (uint8_t)size, .mmio = true});
    return mmio_read(bus, gpa, size);
}

void bus_mmio_write(struct bus *bus, uint64_t gpa, uint64_t value, unsigned size)
{
    if (bus->tap)
        tapped(bus, (struct bus_access){gpa, value, (uint8_t)size, true, true});
    else
        mmio_write(bus, gpa, value, size);
}
