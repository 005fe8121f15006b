/* SPDX-License-Identifier: MIT */
/* boot.c: what the boot protocols share: files into guest memory, the memory map, firmware's
 * tables, and the processor state of a 32-bit entry. */
#include "runtime/boot.h"

#include "devices/acpi.h"
#include "devices/mptable.h"
#include "devices/uart.h"
#include "runtime/mmu.h"
#include "runtime/platform.h"
#include "runtime/system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define TABLES_SIZE  0x10000u
#define CHUNK        0x10000u
#define KERNEL_LIMIT (512ull << 20)
#define GDT_SLOTS    8

void boot_complain(struct boot *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(b->err, b->err_size, format, args);
    va_end(args);
}

/* --- little-endian fields --- */

uint16_t boot_le16(const uint8_t *p)
{
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

uint32_t boot_le32(const uint8_t *p)
{
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

void boot_put16(uint8_t *p, uint16_t value)
{
    memcpy(p, &value, sizeof value);
}

void boot_put32(uint8_t *p, uint32_t value)
{
    memcpy(p, &value, sizeof value);
}

void boot_put64(uint8_t *p, uint64_t value)
{
    memcpy(p, &value, sizeof value);
}

/* --- files --- */

struct boot_file {
    struct boot_file *next;
    char *path;
    int fd;
    uint64_t size;
};

/* A descriptor on a regular file, or -1 with a line. */
static int open_file(struct boot *b, const char *path, uint64_t *size)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        boot_complain(b, "%s: %s", path, strerror(errno));
        return -1;
    }
    if (fstat(fd, &st) < 0)
        boot_complain(b, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        boot_complain(b, "%s: is a directory", path);
    else if (!S_ISREG(st.st_mode))
        boot_complain(b, "%s: not a regular file", path);
    else {
        *size = (uint64_t)st.st_size;
        return fd;
    }
    close(fd);
    return -1;
}

/* The file as it was when it was opened, or NULL with a line. */
static const struct boot_file *find_file(struct boot *b, const char *path)
{
    const struct boot_file *f = b->m->files;
    while (f && strcmp(f->path, path) != 0)
        f = f->next;
    if (!f)
        boot_complain(b, "%s: is not open", path);
    return f;
}

static bool add_file(struct boot *b, const char *path)
{
    struct boot_file *f = calloc(1, sizeof *f);
    if (!f)
        return boot_fail(b, "%s: out of memory", path);
    f->fd = open_file(b, path, &f->size);
    f->path = strdup(path);
    if (f->fd < 0 || !f->path) {
        if (f->fd >= 0) {
            boot_complain(b, "%s: out of memory", path);
            close(f->fd);
        }
        free(f->path);
        free(f);
        return false;
    }
    f->next = b->m->files;
    b->m->files = f;
    return true;
}

/* A module's path ends where its arguments begin. */
static bool add_module(struct boot *b, const char *spec)
{
    char *path = strndup(spec, strcspn(spec, " "));
    bool ok = path ? add_file(b, path) : boot_fail(b, "out of memory");
    free(path);
    return ok;
}

bool boot_open_files(struct machine *m, char *err, size_t err_size)
{
    const struct machine_config *c = &m->config;
    struct boot b = {.m = m, .err = err, .err_size = err_size};
    const char *const single[] = {c->kernel, c->bios, c->initrd};
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof single / sizeof single[0]; i++)
        ok = !single[i] || add_file(&b, single[i]);
    for (size_t i = 0; ok && i < c->module_count; i++)
        ok = add_module(&b, c->modules[i]);
    return ok;
}

void boot_close_files(struct machine *m)
{
    while (m->files) {
        struct boot_file *f = m->files;
        m->files = f->next;
        close(f->fd);
        free(f->path);
        free(f);
    }
}

/* Reads exactly n bytes. */
static bool read_all(struct boot *b, const struct boot_file *f, uint64_t at, uint8_t *buf,
                     uint64_t n)
{
    while (n) {
        ssize_t got = pread(f->fd, buf, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return boot_fail(b, "%s: %s", f->path, strerror(errno));
        if (!got)
            return boot_fail(b, "%s: became shorter while it was read", f->path);
        buf += got;
        at += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return true;
}

bool boot_read_file(struct boot *b, const char *path, uint64_t limit, struct image *out)
{
    const struct boot_file *f = find_file(b, path);
    if (!f)
        return false;
    uint64_t size = f->size;
    bool ok = false;
    *out = (struct image){.path = path, .size = size};
    if (!size)
        boot_complain(b, "%s: is empty", path);
    else if (size > limit)
        boot_complain(b, "%s: %llu bytes are more than the %llu that can be loaded", path,
                      (unsigned long long)size, (unsigned long long)limit);
    else if (!(out->data = malloc(size)))
        boot_complain(b, "%s: out of memory", path);
    else
        ok = read_all(b, f, 0, out->data, size);
    if (!ok)
        boot_free_image(out);
    return ok;
}

void boot_free_image(struct image *i)
{
    free(i->data);
    i->data = NULL;
    i->size = 0;
}

bool boot_file_size(struct boot *b, const char *path, uint64_t *size)
{
    const struct boot_file *f = find_file(b, path);
    *size = f ? f->size : 0;
    return f;
}

bool boot_load_file(struct boot *b, const char *path, uint64_t gpa, uint64_t size)
{
    const struct boot_file *f = find_file(b, path);
    uint64_t at = 0;
    if (!f)
        return false;
    uint8_t *chunk = malloc(CHUNK);
    bool ok = chunk || boot_fail(b, "%s: out of memory", path);
    while (ok && size) {
        uint64_t part = size < CHUNK ? size : CHUNK;
        ok = read_all(b, f, at, chunk, part) && boot_write(b, gpa, chunk, part);
        at += part;
        gpa += part;
        size -= part;
    }
    free(chunk);
    return ok;
}

/* --- gzip --- */

static bool is_gzip(const struct image *i)
{
    return i->size >= 18 && i->data[0] == 0x1f && i->data[1] == 0x8b && i->data[2] == 8;
}

static bool grow(struct boot *b, uint8_t **data, uint64_t *capacity, uint64_t limit)
{
    uint64_t bigger = *capacity ? *capacity * 2 : 1 << 20;
    bigger = bigger < limit ? bigger : limit;
    if (*capacity == bigger)
        return boot_fail(b, "%s: unpacks to more than the %llu bytes that can be loaded",
                         b->kernel.path, (unsigned long long)limit);
    uint8_t *more = realloc(*data, bigger);
    if (!more)
        return boot_fail(b, "%s: out of memory", b->kernel.path);
    *data = more;
    *capacity = bigger;
    return true;
}

/* Replaces b->kernel by what its gzip stream holds, at most `limit` bytes. */
static bool gunzip_kernel(struct boot *b, uint64_t limit)
{
    z_stream z = {.next_in = b->kernel.data, .avail_in = (uInt)b->kernel.size};
    uint8_t *data = NULL;
    uint64_t capacity = 0;
    int result = Z_OK;
    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return boot_fail(b, "%s: out of memory", b->kernel.path);
    bool ok = true;
    while (ok && result == Z_OK) {
        ok = z.total_out < capacity || grow(b, &data, &capacity, limit);
        if (ok) {
            z.next_out = data + z.total_out;
            z.avail_out = (uInt)(capacity - z.total_out);
            result = inflate(&z, Z_NO_FLUSH);
        }
    }
    uint64_t size = z.total_out;
    inflateEnd(&z);
    if (ok && (result != Z_STREAM_END || !size))
        ok = boot_fail(b, "%s: its gzip data are %s", b->kernel.path,
                       result == Z_BUF_ERROR || !size ? "truncated" : "damaged");
    if (!ok) {
        free(data);
        return false;
    }
    free(b->kernel.data);
    b->kernel.data = data;
    b->kernel.size = size;
    return true;
}

/* --- guest memory --- */

bool boot_is_ram(const struct boot *b, uint64_t gpa, uint64_t size)
{
    uint64_t ram = phys_ram_size(b->m->phys);
    uint64_t end = gpa < BOOT_HIGH_START ? BOOT_LOW_END : ram;
    return gpa >= BOOT_LOW_START && gpa <= end && size <= end - gpa;
}

bool boot_write(struct boot *b, uint64_t gpa, const void *data, uint64_t size)
{
    if (phys_dma_write(b->m->phys, gpa, data, size))
        return true;
    return boot_fail(b, "[0x%llx, +0x%llx) is not memory of this machine", (unsigned long long)gpa,
                     (unsigned long long)size);
}

bool boot_zero(struct boot *b, uint64_t gpa, uint64_t size)
{
    static const uint8_t zeros[4096];
    while (size) {
        uint64_t part = size < sizeof zeros ? size : sizeof zeros;
        if (!boot_write(b, gpa, zeros, part))
            return false;
        gpa += part;
        size -= part;
    }
    return true;
}

unsigned boot_memory_map(const struct boot *b, struct boot_range map[BOOT_E820_MAX])
{
    uint64_t ram = phys_ram_size(b->m->phys);
    unsigned n = 0;
    map[n++] = (struct boot_range){0, BOOT_LOW_END, E820_RAM};
    map[n++] = (struct boot_range){BOOT_LOW_END, 0xa0000 - BOOT_LOW_END, E820_RESERVED};
    map[n++] = (struct boot_range){0xf0000, 0x10000, E820_RESERVED};
    if (ram > BOOT_HIGH_START)
        map[n++] = (struct boot_range){BOOT_HIGH_START, ram - BOOT_HIGH_START, E820_RAM};
    return n;
}

/* --- firmware's legacy --- */

void boot_acpi_config(const struct boot *b, struct acpi_config *out)
{
    *out = (struct acpi_config){
        .ram_below_4g = (uint32_t)phys_ram_size(b->m->phys), .com1 = UART_COM1, .cpus = 1};
}

static bool write_tables(struct boot *b)
{
    struct machine *m = b->m;
    uint32_t leaf1[4];
    struct acpi_config acpi;
    uint8_t *buf = calloc(1, TABLES_SIZE);
    if (!buf)
        return boot_fail(b, "out of memory");
    boot_acpi_config(b, &acpi);
    size_t acpi_size = acpi_build(&acpi, BOOT_TABLES_ACPI, buf, TABLES_SIZE);
    bool ok = acpi_size && boot_write(b, BOOT_TABLES_ACPI, buf, acpi_size);
    memset(buf, 0, TABLES_SIZE);
    cpuid(m->vcpu, 1, 0, leaf1);
    size_t mp_size =
        ok ? mptable_build(BOOT_TABLES_MP, buf, TABLES_SIZE - 16, leaf1[0], leaf1[3]) : 0;
    ok = mp_size && boot_write(b, BOOT_TABLES_MP, buf, mp_size);
    free(buf);
    return ok || boot_fail(b, "cannot build the firmware tables");
}

bool boot_firmware(struct boot *b)
{
    platform_bios_init(b->m->platform);
    msr_bios_init(b->m->vcpu);
    return boot_legacy(b) && write_tables(b);
}

/* --- the processor --- */

static void put_descriptor(uint8_t *gdt, uint16_t sel, uint8_t access)
{
    /* Base 0, limit 0xfffff pages, 32-bit. */
    const uint8_t d[8] = {0xff, 0xff, 0, 0, 0, access, 0xcf, 0};
    memcpy(gdt + (sel & ~7u), d, sizeof d);
}

bool boot_enter_protected(struct boot *b, uint32_t gdt_gpa, uint16_t cs, uint16_t ds, uint32_t eip)
{
    const uint32_t flat =
        SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_DB | SEG_ATTR_G | SEG_ATTR_ACCESSED | SEG_ATTR_WRITE;
    struct vcpu *v = b->m->vcpu;
    uint8_t gdt[8 * GDT_SLOTS] = {0};
    put_descriptor(gdt, cs, 0x9b);
    put_descriptor(gdt, ds, 0x93);
    if (!boot_write(b, gdt_gpa, gdt, sizeof gdt))
        return false;
    v->gdtr = (struct table_register){gdt_gpa, sizeof gdt - 1};
    v->idtr = (struct table_register){0, 4 * 256 - 1}; /* the real mode's, as firmware leaves it */
    v->cr0 = CR0_PE | CR0_ET;
    for (unsigned s = SEG_ES; s <= SEG_GS; s++)
        v->seg[s] = (struct segment){.limit = 0xffffffff, .attr = flat, .sel = ds};
    v->seg[SEG_CS].sel = cs;
    v->seg[SEG_CS].attr |= SEG_ATTR_CODE;
    v->cpl = 0;
    v->eflags = EFL_ONE;
    v->eip = eip;
    memset(v->gpr, 0, sizeof v->gpr);
    v->gpr[R_ESP] = 0x7c00;
    mmu_flush_all(v);
    return true;
}

/* --- choosing the protocol --- */

static bool load_kernel(struct boot *b)
{
    const struct machine_config *c = &b->m->config;
    uint64_t ram = phys_ram_size(b->m->phys);
    if (!boot_read_file(b, c->kernel, KERNEL_LIMIT, &b->kernel))
        return false;
    if (is_gzip(&b->kernel) && !gunzip_kernel(b, ram < KERNEL_LIMIT ? ram : KERNEL_LIMIT))
        return false;
    if (boot_is_linux(&b->kernel))
        return boot_linux(b);
    if (boot_is_multiboot(&b->kernel))
        return boot_multiboot(b);
    return boot_fail(b, "%s: not a kernel: neither a Linux bzImage nor Multiboot 1", c->kernel);
}

bool boot_load(struct machine *m, char *err, size_t err_size)
{
    struct boot b = {.m = m, .err = err, .err_size = err_size};
    bool ok = m->config.bios ? boot_rom(&b) : load_kernel(&b);
    boot_free_image(&b.kernel);
    return ok;
}
