/* SPDX-License-Identifier: MIT */
/* Guest-physical memory: kinds of frames, accesses, the BIOS area, A20, code watching. */
#include "runtime/phys.h"

#include "devices/device.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1ull << 20)

struct mmio_log {
    uint32_t off, value;
    unsigned size, writes;
};

static uint32_t mmio_read(void *dev, uint32_t off, unsigned size)
{
    (void)dev, (void)size;
    return 0xabcd0000u | off;
}

static void mmio_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct mmio_log *log = dev;
    *log = (struct mmio_log){off, value, size, log->writes + 1};
}

static const struct io_ops mmio_ops = {mmio_read, mmio_write, 4};

static struct phys *create(uint64_t ram)
{
    int error = -1;
    struct phys *p = phys_create(ram, NULL, &error);
    cr_assert_not_null(p);
    cr_assert_eq(error, 0);
    return p;
}

Test(phys, size_limits)
{
    const uint64_t bad[] = {0, PHYS_MIN_RAM - 4096, PHYS_MAX_RAM + 4096, 2 * MIB + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int error = 0;
        cr_assert_null(phys_create(bad[i], NULL, &error));
        cr_assert_eq(error, -EINVAL);
    }
    const uint64_t good[] = {PHYS_MIN_RAM, PHYS_MAX_RAM};
    for (size_t i = 0; i < 2; i++) {
        struct phys *p = create(good[i]);
        uint32_t last = (uint32_t)(good[i] >> 12) - 1;
        cr_assert_eq(phys_kind(p, last), PHYS_RAM);
        cr_assert_eq(phys_kind(p, last + 1), PHYS_MMIO);
        cr_assert_eq(phys_ram_size(p), good[i]);
        phys_destroy(p);
    }
}

Test(phys, kinds_and_hosts_agree)
{
    struct phys *p = create(2 * MIB);
    for (uint32_t gfn = 0; gfn < 0x300; gfn++) {
        bool ram = gfn < 0x200 && (gfn < 0xa0 || gfn >= 0xc0);
        cr_assert_eq(phys_kind(p, gfn), ram ? PHYS_RAM : PHYS_MMIO, "gfn %x", gfn);
        cr_assert_eq(phys_memfd_offset(p, gfn), ram ? (int64_t)gfn << 12 : -1);
        cr_assert_eq(phys_hva(p, gfn) != NULL, ram);
    }
    cr_assert_eq(phys_kind(p, UINT32_MAX), PHYS_MMIO);
    cr_assert_null(phys_hva(p, 0x100000));
    phys_destroy(p);
}

Test(phys, the_file_is_what_the_guest_sees_and_never_shrinks)
{
    struct phys *p = create(2 * MIB);
    phys_write(p, 0x123456 & ~7ull, 0x1122334455667788ull, 8);
    uint64_t seen = 0;
    cr_assert_eq(pread(phys_memfd(p), &seen, 8, 0x123450), 8);
    cr_assert_eq(seen, 0x1122334455667788ull);
    cr_assert_eq(ftruncate(phys_memfd(p), 4096), -1);
    cr_assert(fcntl(phys_memfd(p), F_GET_SEALS) & F_SEAL_SHRINK);
    phys_destroy(p);
}

Test(phys, accesses_of_each_size)
{
    struct phys *p = create(2 * MIB);
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t mask = UINT64_MAX >> (64 - 8 * size);
        phys_write(p, 0x1000, UINT64_MAX, 8);
        phys_write(p, 0x1000, 0x0123456789abcdefull, size);
        cr_assert_eq(phys_read(p, 0x1000, size), 0x0123456789abcdefull & mask);
        cr_assert_eq(phys_read(p, 0x1000, 8) | mask, UINT64_MAX);
        cr_assert_eq(phys_read(p, 0x80000000, size), mask, "nobody answers");
        cr_assert_eq(phys_read(p, 0x123456789000ull, size), mask, "beyond 4 GiB");
        phys_write(p, 0x123456789000ull, 0, size);
    }
    phys_destroy(p);
}

Test(phys, the_rest_is_the_bus)
{
    struct mmio_log log = {0};
    struct bus *bus = bus_create();
    int error;
    struct phys *p = phys_create(2 * MIB, bus, &error);
    cr_assert_eq(bus_map_mmio(bus, 0xa0000, 0x1000, &mmio_ops, &log), 0);
    cr_assert_eq(phys_read(p, 0xa0010, 4), 0xabcd0010);
    phys_write(p, 0xa0020, 0x55, 2);
    cr_assert_eq(log.writes, 1);
    cr_assert_eq(log.off, 0x20);
    cr_assert_eq(log.value, 0x55);
    phys_write(p, 0x1000, 1, 4);
    cr_assert_eq(log.writes, 1, "RAM is not the bus's");
    phys_destroy(p);
    bus_destroy(bus);
}

Test(phys, rom_stands_twice_and_is_not_written)
{
    static uint8_t image[256 << 10];
    struct phys *p = create(2 * MIB);
    for (size_t i = 0; i < sizeof image; i++)
        image[i] = (uint8_t)(i >> 12);
    cr_assert_eq(phys_add_rom(p, image, 0), -EINVAL);
    cr_assert_eq(phys_add_rom(p, image, 4097), -EINVAL);
    cr_assert_eq(phys_add_rom(p, image, sizeof image), 0);
    cr_assert_eq(phys_add_rom(p, image, sizeof image), -EEXIST);
    cr_assert_eq(phys_kind(p, 0xfffff), PHYS_ROM);
    cr_assert_eq(phys_kind(p, 0xfffc0), PHYS_ROM);
    cr_assert_eq(phys_kind(p, 0xfffbf), PHYS_MMIO);
    cr_assert_eq(phys_kind(p, 0xe0), PHYS_ROM);
    cr_assert_eq(phys_kind(p, 0xdf), PHYS_RAM);
    cr_assert_eq(phys_read(p, 0xfffffff0, 1), 63);
    cr_assert_eq(phys_read(p, 0xffff0, 1), 63);
    cr_assert_eq(phys_read(p, 0xe0000, 1), 32, "the image's last 128 KiB");
    phys_write(p, 0xffff0, 0, 1);
    cr_assert_eq(phys_read(p, 0xfffffff0, 1), 63);
    cr_assert_not(phys_dma_write(p, 0xf0000, image, 16));
    phys_destroy(p);
}

Test(phys, a_small_rom_leaves_memory_below)
{
    static const uint8_t image[64 << 10] = {0x5a};
    struct phys *p = create(2 * MIB);
    cr_assert_eq(phys_add_rom(p, image, sizeof image), 0);
    cr_assert_eq(phys_read(p, 0xf0000, 1), 0x5a);
    cr_assert_eq(phys_read(p, 0xe0000, 1), 0);
    phys_destroy(p);
}

Test(phys, shadowing_the_bios)
{
    static const uint8_t image[128 << 10] = {[0x10000] = 0x77};
    struct phys *p = create(2 * MIB);
    cr_assert_eq(phys_add_rom(p, image, sizeof image), 0);
    cr_assert_eq(phys_set_shadow(p, 0xbf, 1, PHYS_SHADOW_RAM), -EINVAL);
    cr_assert_eq(phys_set_shadow(p, 0xff, 2, PHYS_SHADOW_RAM), -EINVAL);
    cr_assert_eq(phys_set_shadow(p, 0xf0, 0x10, PHYS_SHADOW_RAM), 0);
    cr_assert_eq(phys_read(p, 0xf0000, 1), 0, "the memory under the ROM");
    phys_write(p, 0xf0000, 0x42, 1);
    cr_assert_eq(phys_set_shadow(p, 0xf0, 0x10, PHYS_SHADOW_READ), 0);
    phys_write(p, 0xf0000, 0x43, 1);
    cr_assert_eq(phys_read(p, 0xf0000, 1), 0x42);
    cr_assert_eq(phys_set_shadow(p, 0xf0, 0x10, PHYS_SHADOW_ROM), 0);
    cr_assert_eq(phys_read(p, 0xf0000, 1), 0x77);
    phys_destroy(p);
}

Test(phys, dma_all_or_nothing)
{
    static uint8_t in[3 * 4096], out[3 * 4096];
    struct phys *p = create(2 * MIB);
    memset(in, 0x3c, sizeof in);
    cr_assert(phys_dma_write(p, 0x10ff8, in, sizeof in));
    cr_assert(phys_dma_read(p, 0x10ff8, out, sizeof out));
    cr_assert_arr_eq(in, out, sizeof in);
    cr_assert_not(phys_dma_write(p, 0x9f000, in, sizeof in), "into the hole");
    cr_assert_eq(phys_read(p, 0x9f000, 4), 0);
    cr_assert_not(phys_dma_read(p, 2 * MIB - 1, out, 2));
    cr_assert_not(phys_dma_read(p, UINT64_MAX - 1, out, 16), "wraps");
    cr_assert(phys_dma_read(p, UINT64_MAX, out, 0), "nothing is always there");
    phys_destroy(p);
}

Test(phys, a20_folds_addresses)
{
    struct phys *p = create(4 * MIB);
    phys_write(p, 0x1000, 0x11, 1);
    phys_write(p, 0x101000, 0x22, 1);
    cr_assert(phys_a20(p));
    phys_set_a20(p, false);
    cr_assert_eq(phys_read(p, 0x101000, 1), 0x11);
    cr_assert_eq(phys_memfd_offset(p, 0x101), 0x1000);
    cr_assert_eq(phys_read(p, 0x201000, 1), 0);
    cr_assert_eq(phys_hva(p, 0x301), phys_hva(p, 0x201));
    phys_set_a20(p, true);
    cr_assert_eq(phys_read(p, 0x101000, 1), 0x22);
    phys_destroy(p);
}

struct watch_log {
    unsigned calls;
    uint32_t gfn, offset, size;
};

static void code_written(void *opaque, uint32_t gfn, uint32_t offset, uint32_t size)
{
    struct watch_log *log = opaque;
    *log = (struct watch_log){log->calls + 1, gfn, offset, size};
}

static void frame_watched(void *opaque, uint32_t gfn)
{
    struct watch_log *log = opaque;
    log->calls++;
    log->gfn = gfn;
}

Test(phys, watching)
{
    struct watch_log interp = {0}, bt = {0}, first = {0};
    static const uint8_t bytes[8192];
    struct phys *p = create(2 * MIB);
    phys_set_code_callback(p, PHYS_WATCH_INTERP, code_written, &interp);
    phys_set_code_callback(p, PHYS_WATCH_BT, code_written, &bt);
    phys_set_watch_callback(p, frame_watched, &first);
    phys_watch(p, 5, PHYS_WATCH_INTERP);
    cr_assert_eq(first.calls, 1);
    cr_assert_eq(first.gfn, 5);
    phys_watch(p, 5, PHYS_WATCH_BT);
    cr_assert_eq(first.calls, 1, "watched already");
    phys_write(p, 0x5010, 1, 4);
    cr_assert(interp.calls == 1 && bt.calls == 1 && bt.gfn == 5 && bt.offset == 0x10 &&
              bt.size == 4);
    phys_write(p, 0x6010, 1, 4);
    cr_assert_eq(interp.calls, 1);
    phys_unwatch(p, 5, PHYS_WATCH_INTERP);
    cr_assert(phys_dma_write(p, 0x4800, bytes, sizeof bytes));
    cr_assert_eq(interp.calls, 1);
    cr_assert(bt.calls == 2 && bt.offset == 0 && bt.size == 4096);
    phys_unwatch(p, 5, PHYS_WATCH_BT);
    cr_assert_not(phys_watched(p, 5));
    phys_write(p, 0x5010, 1, 4);
    cr_assert_eq(bt.calls, 2);
    phys_watch(p, 0xa0, PHYS_WATCH_BT);
    cr_assert_not(phys_watched(p, 0xa0), "device memory holds no cached code");
    phys_destroy(p);
}
