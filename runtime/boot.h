/* SPDX-License-Identifier: MIT */
/* boot.h: images on the host's disk -> a machine about to execute its first instruction.
 *
 * Images are hostile: every offset and size in them is checked before use, with arithmetic that
 * can't wrap. A loader that returns false has written one line to b->err and leaves the machine's
 * memory in any state. */
#ifndef RINGDOWN_RUNTIME_BOOT_H
#define RINGDOWN_RUNTIME_BOOT_H

#include "runtime/machine.h"

/* A file's bytes. */
struct image {
    const char *path;
    uint8_t *data;
    uint64_t size;
};

struct boot {
    struct machine *m;
    struct image kernel; /* unpacked if it was gzip's */
    char *err;
    size_t err_size;
};

/* Opens all image files that the configuration names, which is all that can't be done in the
 * sandbox. False with one line in err. */
bool boot_open_files(struct machine *m, char *err, size_t err_size);
/* Loads what the configuration names: a ROM, or a kernel and its companions, and sets the processor
 * to its entry. Can run again after a reset. */
bool boot_load(struct machine *m, char *err, size_t err_size);
/* What firmware does when suspend to RAM ends; false if the guest has set no way to go on. */
bool boot_wake(struct machine *m);
/* Images stay open until then: a reset in the sandbox can open nothing. */
void boot_close_files(struct machine *m);

/* --- loaders --- */
bool boot_is_linux(const struct image *kernel);
bool boot_linux(struct boot *b);
bool boot_is_multiboot(const struct image *kernel);
bool boot_multiboot(struct boot *b);
bool boot_rom(struct boot *b);

/* --- what they share (boot.c) --- */
/* Writes the one line; the value of boot_fail() is false, in sight of the compiler. */
void boot_complain(struct boot *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define boot_fail(...) (boot_complain(__VA_ARGS__), false)
/* A whole file, at most `limit` bytes. */
bool boot_read_file(struct boot *b, const char *path, uint64_t limit, struct image *out);
void boot_free_image(struct image *i);
/* The size of a file that boot_load_file() can read. */
bool boot_file_size(struct boot *b, const char *path, uint64_t *size);
/* Copies exactly `size` bytes of a file into RAM. */
bool boot_load_file(struct boot *b, const char *path, uint64_t gpa, uint64_t size);
/* Copies into RAM, or zeroes it; false with a line if the range isn't RAM throughout. */
bool boot_write(struct boot *b, uint64_t gpa, const void *data, uint64_t size);
bool boot_zero(struct boot *b, uint64_t gpa, uint64_t size);
/* [gpa, gpa+size) lies wholly in low memory that is free for a loader, or wholly above 1 MiB. */
bool boot_is_ram(const struct boot *b, uint64_t gpa, uint64_t size);

/* The memory map that every protocol tells. */
#define BOOT_E820_MAX 8
#define E820_RAM      1u
#define E820_RESERVED 2u
struct boot_range {
    uint64_t base, size;
    uint32_t type;
};
unsigned boot_memory_map(const struct boot *b, struct boot_range map[BOOT_E820_MAX]);

/* Low memory as a BIOS leaves it. */
#define BOOT_LOW_START   0x1000u  /* above the interrupt table and the BIOS data area */
#define BOOT_LOW_END     0x9fc00u /* the extended BIOS data area begins */
#define BOOT_HIGH_START  0x100000u
#define BOOT_TABLES_ACPI 0xe0000u
#define BOOT_TABLES_MP   0xf0000u
/* What the ACPI tables say of this machine. */
struct acpi_config;
void boot_acpi_config(const struct boot *b, struct acpi_config *out);
/* Tables (ACPI, MP, BIOS data area) and devices as firmware leaves them. */
bool boot_firmware(struct boot *b);
/* Of it: interrupt vectors, the BIOS data area (boot_legacy.c). */
bool boot_legacy(struct boot *b);

/* 32-bit protected mode without paging, interrupts off: flat code and data with these selectors,
 * whose descriptors stand in a GDT written at gdt_gpa (64 bytes). */
bool boot_enter_protected(struct boot *b, uint32_t gdt_gpa, uint16_t cs, uint16_t ds, uint32_t eip);

/* Little-endian fields of an image; the caller has checked the bounds. */
uint16_t boot_le16(const uint8_t *p);
uint32_t boot_le32(const uint8_t *p);
void boot_put16(uint8_t *p, uint16_t value);
void boot_put32(uint8_t *p, uint32_t value);
void boot_put64(uint8_t *p, uint64_t value);

#endif
