/* SPDX-License-Identifier: MIT */
/* phys.c: guest-physical memory.
 *
 * One memfd holds RAM at offset 0 (the legacy hole's bytes exist and are never shown) and the ROM
 * image behind it. One shared mapping of it is the monitor's own; views map pieces of the same
 * file. `frame[gfn]` says for each frame below 4 GiB what it is: a memfd page number, a kind, and
 * who watches it; an all-zero entry is MMIO. The table is demand-zero memory, so what no machine
 * uses costs nothing.
 *
 * Invariants: every entry with a kind other than MMIO names a page inside the file. The file never
 * shrinks (it is sealed), so no access through a mapping of it can raise SIGBUS. Watch bits are
 * only on RAM and ROM frames. */
#include "runtime/phys.h"

#include "translator/place.h"

#include "devices/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAME_COUNT    (1u << 20)
#define FRAME_KIND     0x3u /* enum phys_kind */
#define FRAME_WATCH_AT 2    /* PHYS_WATCH_* shifted by this */
#define FRAME_WATCH    (0x7u << FRAME_WATCH_AT)
#define FRAME_PAGE_AT  5
#define FRAME_BYTES    (FRAME_COUNT * sizeof(uint32_t))

#define HOLE_START     0xa0u  /* VGA window, 128 KiB */
#define HOLE_END       0xc0u  /* option ROMs and BIOS shadow begin */
#define BIOS_START     0xe0u  /* where the low copy of a ROM begins at most */
#define BIOS_END       0x100u /* 1 MiB */
#define MAX_ROM        (16u << 20)
#define A20_FRAME      0x100u
#define WATCHER_MAX    3

struct watcher {
    phys_code_fn *fn;
    void *opaque;
};

struct phys {
    uint64_t ram_size;
    uint64_t rom_size;
    uint64_t file_size;
    uint8_t *host; /* the whole file */
    uint32_t *frame;
    uint32_t generation;
    uint32_t gfn_mask; /* clears bit 20 of the address while A20 is off */
    int fd;
    struct bus *bus;
    struct watcher watcher[WATCHER_MAX]; /* by bit number of PHYS_WATCH_* */
    void (*watch_fn)(void *opaque, uint32_t gfn);
    void *watch_opaque;
};

_Static_assert((PHYS_MAX_RAM + MAX_ROM) >> 12 < 1u << (32 - FRAME_PAGE_AT),
               "a memfd page number fits a frame entry");
_Static_assert((PHYS_WATCH_INTERP | PHYS_WATCH_BT | PHYS_WATCH_LOG) << FRAME_WATCH_AT ==
                   FRAME_WATCH,
               "every watcher has its bit");

static uint32_t frame_entry(const struct phys *p, uint32_t gfn)
{
    gfn &= p->gfn_mask;
    return gfn < FRAME_COUNT ? p->frame[gfn] : PHYS_MMIO;
}

static uint8_t *entry_host(const struct phys *p, uint32_t entry)
{
    return p->host + ((uint64_t)(entry >> FRAME_PAGE_AT) << 12);
}

static void set_frames(struct phys *p, uint32_t gfn, uint32_t count, uint64_t file_offset,
                       enum phys_kind kind)
{
    uint32_t page = (uint32_t)(file_offset >> 12);
    for (uint32_t n = 0; n < count; n++)
        p->frame[gfn + n] = kind == PHYS_MMIO ? 0 : (page + n) << FRAME_PAGE_AT | kind;
}

/* --- life --- */

/* Sets the file's size, and forbids less; growing is for phys_add_rom. */
static int file_resize(struct phys *p, uint64_t size)
{
    if (ftruncate(p->fd, (off_t)size) < 0)
        return -errno;
    void *host =
        p->host ? mremap(p->host, p->file_size, size, MREMAP_MAYMOVE)
                : place_mapping(size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, p->fd);
    if (host == MAP_FAILED)
        return -errno;
    p->host = host;
    p->file_size = size;
    /* Only advice: fewer host faults where shared memory may have huge pages. */
    (void)madvise(host, size, MADV_HUGEPAGE);
    (void)madvise(host, size, MADV_DONTDUMP);
    return 0;
}

static int phys_init(struct phys *p)
{
    p->fd = memfd_create("ringdown-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (p->fd < 0)
        return -errno;
    p->frame = mmap(NULL, FRAME_BYTES, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p->frame == MAP_FAILED) {
        p->frame = NULL;
        return -ENOMEM;
    }
    int error = file_resize(p, p->ram_size);
    if (error)
        return error;
    if (fcntl(p->fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        return -errno;
    set_frames(p, 0, HOLE_START, 0, PHYS_RAM);
    set_frames(p, HOLE_END, (uint32_t)(p->ram_size >> 12) - HOLE_END, (uint64_t)HOLE_END << 12,
               PHYS_RAM);
    return 0;
}

struct phys *phys_create(uint64_t ram_size, struct bus *bus, int *error)
{
    if (ram_size < PHYS_MIN_RAM || ram_size > PHYS_MAX_RAM || ram_size & 0xfff) {
        *error = -EINVAL;
        return NULL;
    }
    struct phys *p = calloc(1, sizeof *p);
    if (!p) {
        *error = -ENOMEM;
        return NULL;
    }
    p->fd = -1;
    p->bus = bus;
    p->ram_size = ram_size;
    p->gfn_mask = UINT32_MAX;
    *error = phys_init(p);
    if (*error) {
        phys_destroy(p);
        return NULL;
    }
    return p;
}

void phys_destroy(struct phys *p)
{
    if (!p)
        return;
    if (p->host)
        munmap(p->host, p->file_size);
    if (p->frame)
        munmap(p->frame, FRAME_BYTES);
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

uint64_t phys_ram_size(const struct phys *p)
{
    return p->ram_size;
}

int phys_add_rom(struct phys *p, const void *image, size_t size)
{
    if (p->rom_size)
        return -EEXIST;
    if (!size || size > MAX_ROM || size & 0xfff)
        return -EINVAL;
    int error = file_resize(p, p->ram_size + size);
    if (error)
        return error;
    memcpy(p->host + p->ram_size, image, size);
    p->rom_size = size;
    uint32_t pages = (uint32_t)(size >> 12);
    set_frames(p, FRAME_COUNT - pages, pages, p->ram_size, PHYS_ROM);
    phys_set_shadow(p, BIOS_START, BIOS_END - BIOS_START, PHYS_SHADOW_ROM);
    return 0;
}

static void set_shadow_frame(struct phys *p, uint32_t gfn, enum phys_shadow shadow)
{
    uint32_t from_top = BIOS_END - gfn; /* pages to 1 MiB, as the ROM's to its end */
    bool has_rom = gfn >= BIOS_START && from_top <= p->rom_size >> 12;
    uint8_t *ram = p->host + ((uint64_t)gfn << 12);
    phys_code_written(p, gfn, 0, 4096);
    uint32_t watched = p->frame[gfn] & FRAME_WATCH; /* what the watchers still want */
    if (shadow == PHYS_SHADOW_COPY && entry_host(p, p->frame[gfn]) != ram)
        memcpy(ram, entry_host(p, p->frame[gfn]), 4096);
    if (shadow == PHYS_SHADOW_ROM && has_rom)
        set_frames(p, gfn, 1, p->ram_size + p->rom_size - ((uint64_t)from_top << 12), PHYS_ROM);
    else
        set_frames(p, gfn, 1, (uint64_t)gfn << 12,
                   shadow >= PHYS_SHADOW_COPY ? PHYS_RAM : PHYS_ROM);
    p->frame[gfn] |= watched;
}

int phys_set_shadow(struct phys *p, uint32_t gfn, uint32_t count, enum phys_shadow shadow)
{
    if (gfn < HOLE_END || gfn >= BIOS_END || count > BIOS_END - gfn)
        return -EINVAL;
    for (uint32_t f = gfn; f < gfn + count; f++)
        set_shadow_frame(p, f, shadow);
    p->generation++;
    return 0;
}

/* --- frames --- */

enum phys_kind phys_kind(const struct phys *p, uint32_t gfn)
{
    return frame_entry(p, gfn) & FRAME_KIND;
}

uint8_t *phys_hva(const struct phys *p, uint32_t gfn)
{
    uint32_t entry = frame_entry(p, gfn);
    return entry & FRAME_KIND ? entry_host(p, entry) : NULL;
}

int64_t phys_memfd_offset(const struct phys *p, uint32_t gfn)
{
    uint32_t entry = frame_entry(p, gfn);
    return entry & FRAME_KIND ? (int64_t)(entry >> FRAME_PAGE_AT) << 12 : -1;
}

int phys_memfd(const struct phys *p)
{
    return p->fd;
}

/* --- accesses --- */

uint64_t phys_gate(const struct phys *p, uint64_t gpa)
{
    return p->gfn_mask == UINT32_MAX ? gpa : gpa & ~((uint64_t)A20_FRAME << 12);
}

static uint32_t entry_at(const struct phys *p, uint64_t gpa)
{
    uint64_t gfn = gpa >> 12;
    return gfn < FRAME_COUNT ? frame_entry(p, (uint32_t)gfn) : PHYS_MMIO;
}

uint64_t phys_read(struct phys *p, uint64_t gpa, unsigned size)
{
    uint32_t entry = entry_at(p, gpa);
    if (!(entry & FRAME_KIND))
        return p->bus ? bus_mmio_read(p->bus, phys_gate(p, gpa), size)
                      : UINT64_MAX >> (64 - 8 * size);
    uint64_t value = 0;
    memcpy(&value, entry_host(p, entry) + (gpa & 0xfff), size);
    return value;
}

void phys_write(struct phys *p, uint64_t gpa, uint64_t value, unsigned size)
{
    uint32_t entry = entry_at(p, gpa);
    if ((entry & FRAME_KIND) == PHYS_RAM) {
        if (entry & FRAME_WATCH)
            phys_code_written(p, (uint32_t)(gpa >> 12), gpa & 0xfff, size);
        memcpy(entry_host(p, entry) + (gpa & 0xfff), &value, size);
    } else if ((entry & FRAME_KIND) == PHYS_MMIO && p->bus) {
        bus_mmio_write(p->bus, phys_gate(p, gpa), value, size);
    }
}

static bool range_is_ram(const struct phys *p, uint64_t gpa, size_t n)
{
    if (!n)
        return true;
    if (gpa + n - 1 < gpa)
        return false;
    uint64_t last = (gpa + n - 1) >> 12;
    if (last >= FRAME_COUNT)
        return false;
    for (uint64_t gfn = gpa >> 12; gfn <= last; gfn++)
        if (phys_kind(p, (uint32_t)gfn) != PHYS_RAM)
            return false;
    return true;
}

bool phys_dma_read(struct phys *p, uint64_t gpa, void *buf, size_t n)
{
    if (!range_is_ram(p, gpa, n))
        return false;
    for (uint8_t *to = buf; n;) {
        size_t part = 4096 - (gpa & 0xfff);
        part = part < n ? part : n;
        memcpy(to, phys_hva(p, (uint32_t)(gpa >> 12)) + (gpa & 0xfff), part);
        to += part;
        gpa += part;
        n -= part;
    }
    return true;
}

bool phys_dma_write(struct phys *p, uint64_t gpa, const void *buf, size_t n)
{
    if (!range_is_ram(p, gpa, n))
        return false;
    for (const uint8_t *from = buf; n;) {
        uint32_t gfn = (uint32_t)(gpa >> 12), offset = gpa & 0xfff;
        size_t part = 4096 - offset;
        part = part < n ? part : n;
        if (phys_watched(p, gfn))
            phys_code_written(p, gfn, offset, (uint32_t)part);
        memcpy(phys_hva(p, gfn) + offset, from, part);
        from += part;
        gpa += part;
        n -= part;
    }
    return true;
}

/* --- code watching --- */

void phys_set_code_callback(struct phys *p, unsigned watcher, phys_code_fn *fn, void *opaque)
{
    for (unsigned w = 0; w < WATCHER_MAX; w++)
        if (watcher >> w & 1)
            p->watcher[w] = (struct watcher){fn, opaque};
}

void phys_set_watch_callback(struct phys *p, void (*fn)(void *opaque, uint32_t gfn), void *opaque)
{
    p->watch_fn = fn;
    p->watch_opaque = opaque;
}

void phys_watch(struct phys *p, uint32_t gfn, unsigned watcher)
{
    uint32_t entry = frame_entry(p, gfn);
    gfn &= p->gfn_mask;
    if (!(entry & FRAME_KIND))
        return;
    p->frame[gfn] |= watcher << FRAME_WATCH_AT & FRAME_WATCH;
    if (!(entry & FRAME_WATCH) && p->watch_fn)
        p->watch_fn(p->watch_opaque, gfn);
}

void phys_unwatch(struct phys *p, uint32_t gfn, unsigned watcher)
{
    gfn &= p->gfn_mask;
    if (gfn < FRAME_COUNT)
        p->frame[gfn] &= ~(watcher << FRAME_WATCH_AT & FRAME_WATCH);
}

unsigned phys_watchers(const struct phys *p, uint32_t gfn)
{
    return (frame_entry(p, gfn) & FRAME_WATCH) >> FRAME_WATCH_AT;
}

bool phys_watched(const struct phys *p, uint32_t gfn)
{
    return frame_entry(p, gfn) & FRAME_WATCH;
}

void phys_code_written(struct phys *p, uint32_t gfn, uint32_t offset, uint32_t size)
{
    uint32_t watch = (frame_entry(p, gfn) & FRAME_WATCH) >> FRAME_WATCH_AT;
    gfn &= p->gfn_mask;
    for (unsigned w = 0; w < WATCHER_MAX; w++)
        if (watch >> w & 1 && p->watcher[w].fn)
            p->watcher[w].fn(p->watcher[w].opaque, gfn, offset, size);
}

/* --- two memories alike --- */

void phys_watch_all(struct phys *p, unsigned watcher)
{
    for (uint32_t gfn = 0; gfn < FRAME_COUNT; gfn++)
        if (p->frame[gfn] & FRAME_KIND)
            p->frame[gfn] |= watcher << FRAME_WATCH_AT & FRAME_WATCH;
}

int phys_mirror_frames(struct phys *to, const struct phys *from)
{
    int error = to->file_size < from->file_size ? file_resize(to, from->file_size) : 0;
    if (error)
        return error;
    for (uint32_t gfn = 0; gfn < FRAME_COUNT; gfn++) {
        uint32_t watch = from->frame[gfn] & FRAME_KIND ? to->frame[gfn] & FRAME_WATCH : 0;
        if (from->frame[gfn] | to->frame[gfn]) /* else the page of the table stays untouched */
            to->frame[gfn] = (from->frame[gfn] & ~FRAME_WATCH) | watch;
    }
    to->rom_size = from->rom_size;
    to->gfn_mask = from->gfn_mask;
    to->generation++;
    return 0;
}

/* The next page of the file, from `offset` on, that is not a hole in `of` and differs; -1: none. */
static int64_t next_difference(const struct phys *a, const struct phys *b, const struct phys *of,
                               int64_t offset)
{
    while (offset < (int64_t)a->file_size) {
        int64_t data = lseek(of->fd, offset, SEEK_DATA);
        int64_t hole = data < 0 ? -1 : lseek(of->fd, data, SEEK_HOLE);
        if (hole < 0)
            break;
        for (offset = data; offset < hole; offset += 4096)
            if (memcmp(a->host + offset, b->host + offset, 4096))
                return offset;
    }
    return -1;
}

int64_t phys_difference(const struct phys *a, const struct phys *b)
{
    int64_t offset = next_difference(a, b, a, 0);
    return offset >= 0 ? offset : next_difference(a, b, b, 0);
}

static void copy_differences(struct phys *to, const struct phys *from, const struct phys *of)
{
    int64_t offset = 0;
    while ((offset = next_difference(to, from, of, offset)) >= 0) {
        uint32_t gfn = (uint32_t)(offset >> 12);
        if ((uint64_t)offset < to->ram_size)
            phys_code_written(to, gfn, 0, 4096);
        memcpy(to->host + offset, from->host + offset, 4096);
    }
}

void phys_mirror_bytes(struct phys *to, const struct phys *from)
{
    copy_differences(to, from, from);
    copy_differences(to, from, to);
}

/* --- A20 --- */

void phys_set_a20(struct phys *p, bool on)
{
    p->gfn_mask = on ? UINT32_MAX : ~A20_FRAME;
    p->generation++;
}

bool phys_a20(const struct phys *p)
{
    return p->gfn_mask == UINT32_MAX;
}

uint32_t phys_generation(const struct phys *p)
{
    return p->generation;
}
