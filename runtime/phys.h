/* SPDX-License-Identifier: MIT */
/* phys.h: guest-physical memory: one memfd with RAM and ROM, and the bus for the rest.
 *
 * Words as in KVM: gva/la guest virtual/linear address, gpa guest-physical, gfn guest frame number
 * (gpa >> 12), hva host address. RAM is [0, ram_size) less the legacy hole [0xa0000, 0xc0000);
 * [0xc0000, 0x100000) is RAM that boot code may fill and protect; ROM images stand below 4 GiB. */
#ifndef RINGDOWN_RUNTIME_PHYS_H
#define RINGDOWN_RUNTIME_PHYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bus;
struct phys;

#define PHYS_MIN_RAM (1ull << 20)
#define PHYS_MAX_RAM (3ull << 30) /* the last GiB below 4 GiB belongs to devices and ROM */

/* What a frame is. */
enum phys_kind { PHYS_MMIO, PHYS_ROM, PHYS_RAM };

struct phys *phys_create(uint64_t ram_size, struct bus *bus, int *error /* negative errno */);
void phys_destroy(struct phys *p);
uint64_t phys_ram_size(const struct phys *p);
/* Places a ROM image ending at 4 GiB, its last 128 KiB also ending at 1 MiB. Size: a multiple of
 * 4 KiB up to 16 MiB. 0 or negative errno. */
int phys_add_rom(struct phys *p, const void *image, size_t size);
/* What the frames of [0xc0000, 0x100000) show, as a host bridge's PAM registers choose: the ROM's
 * low copy (where there is none: RAM that can't be written), RAM that can't be written, RAM that
 * begins as a copy of what is there (for firmware that lets reads go to ROM and writes to RAM, and
 * copies each byte onto itself), or RAM. The caller flushes the TLB. 0, or -EINVAL outside that
 * range. */
enum phys_shadow { PHYS_SHADOW_ROM, PHYS_SHADOW_READ, PHYS_SHADOW_COPY, PHYS_SHADOW_RAM };
int phys_set_shadow(struct phys *p, uint32_t gfn, uint32_t count, enum phys_shadow shadow);

enum phys_kind phys_kind(const struct phys *p, uint32_t gfn);
/* The page's bytes in the monitor's own mapping (writable even for ROM), NULL for MMIO. */
uint8_t *phys_hva(const struct phys *p, uint32_t gfn);
/* Offset of a frame in the memfd, for views; -1 for MMIO. */
int64_t phys_memfd_offset(const struct phys *p, uint32_t gfn);
int phys_memfd(const struct phys *p);

/* Accesses of any kind, size 1, 2, 4 or 8, not crossing a page. Tell code watchers on a write. */
uint64_t phys_read(struct phys *p, uint64_t gpa, unsigned size);
void phys_write(struct phys *p, uint64_t gpa, uint64_t value, unsigned size);
/* Bulk transfers to and from RAM, as DMA does; false (and nothing done) if any byte is not RAM. */
bool phys_dma_read(struct phys *p, uint64_t gpa, void *buf, size_t n);
bool phys_dma_write(struct phys *p, uint64_t gpa, const void *buf, size_t n);

/* Code watching. A frame is watched while instructions from it are cached, by the interpreter's
 * decode cache or the translator's. Nobody may write to a watched frame without calling
 * phys_code_written() (before or after the store, but before the next instruction). */
typedef void phys_code_fn(void *opaque, uint32_t gfn, uint32_t offset, uint32_t size);
enum { PHYS_WATCH_INTERP = 1, PHYS_WATCH_BT = 2, PHYS_WATCH_LOG = 4 };
void phys_set_code_callback(struct phys *p, unsigned watcher, phys_code_fn *fn, void *opaque);
/* Called when a frame becomes watched for the first time: write permission that was handed out
 * (soft TLB, views) must be taken back. */
void phys_set_watch_callback(struct phys *p, void (*fn)(void *opaque, uint32_t gfn), void *opaque);
void phys_watch(struct phys *p, uint32_t gfn, unsigned watcher);
void phys_unwatch(struct phys *p, uint32_t gfn, unsigned watcher);
bool phys_watched(const struct phys *p, uint32_t gfn);
unsigned phys_watchers(const struct phys *p, uint32_t gfn); /* PHYS_WATCH_* */
void phys_code_written(struct phys *p, uint32_t gfn, uint32_t offset, uint32_t size);

/* A second memory beside the machine's own, for lock step. phys_write() and phys_dma_write() tell
 * watchers before they store. Both have the same RAM size; offsets are those of the file, which in
 * RAM are guest-physical addresses. */
void phys_watch_all(struct phys *p, unsigned watcher);
/* `to` shows at each frame what `from` shows; 0 or negative errno. The caller flushes the TLB. */
int phys_mirror_frames(struct phys *to, const struct phys *from);
/* Copies what differs, telling `to`'s watchers. */
void phys_mirror_bytes(struct phys *to, const struct phys *from);
/* Offset of the first page that differs, -1 if none does. */
int64_t phys_difference(const struct phys *a, const struct phys *b);

/* A20 gate: with it off, bit 20 of every physical address is zero: phys_gate() says where an
 * address really goes. Whoever changes it flushes the TLB. */
void phys_set_a20(struct phys *p, bool on);
bool phys_a20(const struct phys *p);
uint64_t phys_gate(const struct phys *p, uint64_t gpa);

/* Counts changes of what stands behind a frame (A20, shadowing, ROM): what was derived from
 * phys_hva() or phys_memfd_offset() before is void. */
uint32_t phys_generation(const struct phys *p);

#endif
