/* SPDX-License-Identifier: MIT */
/* boot_multiboot.c: Multiboot 1 kernel -> its entry (Multiboot Specification 0.6.96).
 *
 * The kernel stands where its ELF program headers or its header's address fields say. Modules
 * follow it on pages of their own. Everything else that the loader tells (the information
 * structure, memory map, module list, strings, the GDT) is one blob, put into low memory or, where
 * the kernel's own segments are in the way, behind the modules. */
#include "runtime/boot.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_MAGIC  0x1badb002u
#define LOADER_MAGIC  0x2badb002u
#define SEARCH_LIMIT  8192u
#define FLAG_AOUT     0x00010000u /* the address fields are valid */
#define FLAG_KNOWN    0x00000007u /* page-aligned modules, memory information, video mode */
#define FLAG_REQUIRED 0x0000ffffu
#define PAGE          4096ull
#define MAX_SEGMENTS  64
#define MAX_MODULES   64
#define BOOT_CS       0x08
#define BOOT_DS       0x10
#define GDT_SIZE      64u
#define INFO_SIZE     120u
#define MMAP_ENTRY    24u
#define MODULE_ENTRY  16u
#define LOW_BLOB      0x9000u

/* Header and information structure, by offset. */
enum {
    MB_FLAGS = 4,
    MB_CHECKSUM = 8,
    MB_HEADER_ADDR = 12,
    MB_LOAD_ADDR = 16,
    MB_LOAD_END = 20,
    MB_BSS_END = 24,
    MB_ENTRY = 28,
    MB_AOUT_SIZE = 32
};
enum {
    INFO_FLAGS = 0,
    INFO_MEM_LOWER = 4,
    INFO_MEM_UPPER = 8,
    INFO_CMDLINE = 16,
    INFO_MODS_COUNT = 20,
    INFO_MODS_ADDR = 24,
    INFO_SECTIONS = 28, /* count, entry size, address, index of the names' section */
    INFO_MMAP_LENGTH = 44,
    INFO_MMAP_ADDR = 48,
    INFO_LOADER_NAME = 64
};
enum {
    HAVE_MEMORY = 0x001,
    HAVE_CMDLINE = 0x004,
    HAVE_MODULES = 0x008,
    HAVE_SECTIONS = 0x020,
    HAVE_MMAP = 0x040,
    HAVE_LOADER_NAME = 0x200
};

/* ELF32 (System V ABI, chapter 4), by offset. */
enum {
    EI_CLASS = 4,
    EI_DATA = 5,
    E_MACHINE = 18,
    E_ENTRY = 24,
    E_PHOFF = 28,
    E_PHENTSIZE = 42,
    E_PHNUM = 44,
    E_SIZE = 52
};
enum {
    P_TYPE = 0,
    P_OFFSET = 4,
    P_VADDR = 8,
    P_PADDR = 12,
    P_FILESZ = 16,
    P_MEMSZ = 20,
    P_SIZE = 32
};
enum {
    E_SHOFF = 32,
    E_SHENTSIZE = 46,
    E_SHNUM = 48,
    E_SHSTRNDX = 50,
};
enum { SH_TYPE = 4, SH_FLAGS = 8, SH_ADDR = 12, SH_OFFSET = 16, SH_LENGTH = 20, SH_SIZE = 40 };
#define SHT_NOBITS 8u
#define SHF_ALLOC  2u
#define PT_LOAD    1u
#define EM_386     3u

struct range {
    uint64_t start, end;
};

struct multiboot {
    uint32_t header; /* offset of the header in the file */
    uint32_t flags;
    uint32_t entry;
    struct range segment[MAX_SEGMENTS]; /* guest memory that the kernel occupies */
    unsigned segment_count;
    uint64_t next; /* first free page above the kernel, then above each module */
    struct range module[MAX_MODULES];
    const char *module_spec[MAX_MODULES];
    unsigned module_count;
    uint32_t sections, section_count, section_names; /* table's guest address, 0: none */
};

/* --- the header --- */

static bool find_header(const struct image *k, uint32_t *at)
{
    uint64_t limit = k->size < SEARCH_LIMIT ? k->size : SEARCH_LIMIT;
    for (uint32_t i = 0; i + 12 <= limit; i += 4) {
        const uint8_t *h = k->data + i;
        if (boot_le32(h) == HEADER_MAGIC &&
            boot_le32(h) + boot_le32(h + MB_FLAGS) + boot_le32(h + MB_CHECKSUM) == 0) {
            *at = i;
            return true;
        }
    }
    return false;
}

bool boot_is_multiboot(const struct image *k)
{
    uint32_t at;
    return find_header(k, &at);
}

/* --- the kernel's segments --- */

/* Copies [offset, offset+filesz) of the file to gpa and clears up to memsz. */
static bool load_segment(struct boot *b, struct multiboot *mb, uint64_t gpa, uint64_t offset,
                         uint64_t filesz, uint64_t memsz)
{
    const struct image *k = &b->kernel;
    if (offset > k->size || filesz > k->size - offset)
        return boot_fail(b, "%s: truncated: a segment of %llu bytes at offset %llu ends behind it",
                         k->path, (unsigned long long)filesz, (unsigned long long)offset);
    if (memsz < filesz)
        memsz = filesz;
    if (!memsz)
        return true;
    if (!boot_is_ram(b, gpa, memsz))
        return boot_fail(
            b, "%s: its segment [0x%llx, 0x%llx) is outside memory (--memory gives %llu MiB)",
            k->path, (unsigned long long)gpa, (unsigned long long)(gpa + memsz),
            (unsigned long long)(phys_ram_size(b->m->phys) >> 20));
    if (mb->segment_count == MAX_SEGMENTS)
        return boot_fail(b, "%s: more than %d segments", k->path, MAX_SEGMENTS);
    mb->segment[mb->segment_count++] = (struct range){gpa, gpa + memsz};
    return boot_write(b, gpa, k->data + offset, filesz) &&
           boot_zero(b, gpa + filesz, memsz - filesz);
}

/* The address fields of the header ("a.out kludge"). */
static bool load_by_header(struct boot *b, struct multiboot *mb)
{
    const struct image *k = &b->kernel;
    if (mb->header + MB_AOUT_SIZE > k->size)
        return boot_fail(b, "%s: truncated in its Multiboot header", k->path);
    const uint8_t *h = k->data + mb->header;
    uint64_t header_addr = boot_le32(h + MB_HEADER_ADDR), load = boot_le32(h + MB_LOAD_ADDR);
    uint64_t load_end = boot_le32(h + MB_LOAD_END), bss_end = boot_le32(h + MB_BSS_END);
    if (load > header_addr || header_addr - load > mb->header)
        return boot_fail(b, "%s: its Multiboot header asks for bytes before the file's start",
                         k->path);
    uint64_t offset = mb->header - (header_addr - load);
    if ((load_end && load_end < load) || (bss_end && bss_end < load))
        return boot_fail(b, "%s: its Multiboot header's addresses are out of order", k->path);
    uint64_t filesz = load_end ? load_end - load : k->size - offset;
    uint64_t memsz = bss_end ? bss_end - load : filesz;
    mb->entry = boot_le32(h + MB_ENTRY);
    return load_segment(b, mb, load, offset, filesz, memsz);
}

static bool load_elf(struct boot *b, struct multiboot *mb)
{
    const struct image *k = &b->kernel;
    const uint8_t *e = k->data;
    if (k->size < E_SIZE || memcmp(e, "\177ELF", 4))
        return boot_fail(b, "%s: Multiboot without load addresses, and not ELF", k->path);
    if (e[EI_CLASS] != 1 || e[EI_DATA] != 1 || boot_le16(e + E_MACHINE) != EM_386)
        return boot_fail(b, "%s: an ELF file, but not for 32-bit x86", k->path);
    uint64_t phoff = boot_le32(e + E_PHOFF), entsize = boot_le16(e + E_PHENTSIZE);
    unsigned count = boot_le16(e + E_PHNUM);
    uint32_t entry = boot_le32(e + E_ENTRY);
    if (!count || entsize < P_SIZE || phoff > k->size || count * entsize > k->size - phoff)
        return boot_fail(b, "%s: truncated: its ELF program headers are missing", k->path);
    mb->entry = entry;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *p = e + phoff + i * entsize;
        uint64_t vaddr = boot_le32(p + P_VADDR), paddr = boot_le32(p + P_PADDR);
        uint64_t memsz = boot_le32(p + P_MEMSZ);
        if (boot_le32(p + P_TYPE) != PT_LOAD)
            continue;
        /* A kernel linked high may give its entry as a virtual address. */
        if (entry >= vaddr && entry - vaddr < memsz)
            mb->entry = (uint32_t)(entry - vaddr + paddr);
        if (!load_segment(b, mb, paddr, boot_le32(p + P_OFFSET), boot_le32(p + P_FILESZ), memsz))
            return false;
    }
    return mb->segment_count || boot_fail(b, "%s: no segment to load", k->path);
}

/* Puts the section headers behind what is loaded, and before them the sections that a kernel's
 * symbols are in, which no segment has. A damaged or oversized table is left out: it is a courtesy.
 */
static bool load_sections(struct boot *b, struct multiboot *mb)
{
    const struct image *k = &b->kernel;
    uint64_t ram = phys_ram_size(b->m->phys);
    uint64_t shoff = boot_le32(k->data + E_SHOFF), count = boot_le16(k->data + E_SHNUM);
    if (!count || boot_le16(k->data + E_SHENTSIZE) != SH_SIZE || shoff > k->size ||
        count * SH_SIZE > k->size - shoff)
        return true;
    uint8_t *table = malloc(count * SH_SIZE);
    if (!table)
        return boot_fail(b, "out of memory");
    memcpy(table, k->data + shoff, count * SH_SIZE);
    uint64_t next = mb->next;
    bool ok = true;
    for (uint64_t i = 0; ok && i < count; i++) {
        uint8_t *h = table + i * SH_SIZE;
        uint64_t offset = boot_le32(h + SH_OFFSET), length = boot_le32(h + SH_LENGTH);
        if (boot_le32(h + SH_FLAGS) & SHF_ALLOC || boot_le32(h + SH_TYPE) == SHT_NOBITS ||
            boot_le32(h + SH_ADDR) || !length)
            continue;
        if (offset > k->size || length > k->size - offset || next > ram || length > ram - next)
            goto out;
        ok = boot_write(b, next, k->data + offset, length);
        boot_put32(h + SH_ADDR, (uint32_t)next);
        next = (next + length + 15) & ~15ull;
    }
    if (!ok || next > ram || count * SH_SIZE > ram - next)
        goto out;
    ok = boot_write(b, next, table, count * SH_SIZE);
    mb->sections = (uint32_t)next;
    mb->section_count = (uint32_t)count;
    mb->section_names = boot_le16(k->data + E_SHSTRNDX);
    mb->next = (next + count * SH_SIZE + PAGE - 1) & ~(PAGE - 1);
out:
    free(table);
    return ok;
}

static bool load_kernel(struct boot *b, struct multiboot *mb)
{
    find_header(&b->kernel, &mb->header);
    mb->flags = boot_le32(b->kernel.data + mb->header + MB_FLAGS);
    uint32_t unknown = mb->flags & FLAG_REQUIRED & ~FLAG_KNOWN;
    if (unknown)
        return boot_fail(b, "%s: its Multiboot header requires unknown features 0x%x",
                         b->kernel.path, unknown);
    if (!(mb->flags & FLAG_AOUT ? load_by_header(b, mb) : load_elf(b, mb)))
        return false;
    mb->next = BOOT_HIGH_START;
    for (unsigned i = 0; i < mb->segment_count; i++)
        if (mb->segment[i].end > mb->next)
            mb->next = (mb->segment[i].end + PAGE - 1) & ~(PAGE - 1);
    return mb->flags & FLAG_AOUT || load_sections(b, mb);
}

/* --- modules --- */

/* `spec` is "FILE arguments"; the kernel sees it whole. */
static bool load_module(struct boot *b, struct multiboot *mb, const char *spec)
{
    size_t length = strcspn(spec, " ");
    uint64_t size = 0, ram = phys_ram_size(b->m->phys);
    char *path = strndup(spec, length);
    if (!path)
        return boot_fail(b, "out of memory");
    bool ok = false;
    if (mb->module_count == MAX_MODULES)
        boot_complain(b, "--module: more than %d", MAX_MODULES);
    else if (boot_file_size(b, path, &size)) {
        if (mb->next > ram || size > ram - mb->next)
            boot_complain(b,
                          "%s: the module's %llu bytes do not fit into memory, which has %llu left",
                          path, (unsigned long long)size,
                          (unsigned long long)(ram > mb->next ? ram - mb->next : 0));
        else
            ok = boot_load_file(b, path, mb->next, size);
    }
    free(path);
    if (!ok)
        return false;
    mb->module_spec[mb->module_count] = spec;
    mb->module[mb->module_count++] = (struct range){mb->next, mb->next + size};
    mb->next = (mb->next + size + PAGE - 1) & ~(PAGE - 1);
    return true;
}

static bool load_modules(struct boot *b, struct multiboot *mb)
{
    const struct machine_config *c = &b->m->config;
    if (c->initrd && !load_module(b, mb, c->initrd))
        return false;
    for (size_t i = 0; i < c->module_count; i++)
        if (!load_module(b, mb, c->modules[i]))
            return false;
    return true;
}

/* --- the blob --- */

static bool overlaps_kernel(const struct multiboot *mb, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < mb->segment_count; i++)
        if (start < mb->segment[i].end && mb->segment[i].start < end)
            return true;
    return false;
}

/* Where `size` bytes for the kernel to read can stand. */
static bool place_blob(struct boot *b, const struct multiboot *mb, uint64_t size, uint32_t *gpa)
{
    uint64_t ram = phys_ram_size(b->m->phys);
    for (uint64_t at = LOW_BLOB; at + size <= BOOT_LOW_END; at += PAGE)
        if (!overlaps_kernel(mb, at, at + size)) {
            *gpa = (uint32_t)at;
            return true;
        }
    if (mb->next > ram || size > ram - mb->next)
        return boot_fail(b, "%s: no memory left for its boot information", b->kernel.path);
    *gpa = (uint32_t)mb->next;
    return true;
}

static void put_memory_map(const struct boot *b, uint8_t *info, uint8_t *table, uint32_t gpa)
{
    struct boot_range map[BOOT_E820_MAX];
    unsigned count = boot_memory_map(b, map);
    for (unsigned i = 0; i < count; i++, table += MMAP_ENTRY) {
        boot_put32(table, MMAP_ENTRY - 4); /* the size field does not count itself */
        boot_put64(table + 4, map[i].base);
        boot_put64(table + 12, map[i].size);
        boot_put32(table + 20, map[i].type);
    }
    boot_put32(info + INFO_MMAP_LENGTH, count * MMAP_ENTRY);
    boot_put32(info + INFO_MMAP_ADDR, gpa);
    boot_put32(info + INFO_MEM_LOWER, BOOT_LOW_END >> 10);
    boot_put32(info + INFO_MEM_UPPER,
               (uint32_t)((phys_ram_size(b->m->phys) - BOOT_HIGH_START) >> 10));
}

/* Appends a string to the blob and returns its guest address. */
static uint32_t put_string(uint8_t *blob, uint32_t gpa, size_t *at, const char *first,
                           const char *second)
{
    uint32_t where = gpa + (uint32_t)*at;
    size_t n = strlen(first);
    memcpy(blob + *at, first, n);
    *at += n;
    if (second) {
        blob[(*at)++] = ' ';
        n = strlen(second);
        memcpy(blob + *at, second, n);
        *at += n;
    }
    blob[(*at)++] = 0;
    return where;
}

static bool write_information(struct boot *b, struct multiboot *mb, uint32_t *gdt, uint32_t *info)
{
    static const char loader[] = "ringdown";
    const char *append = b->m->config.append, *kernel = b->m->config.kernel;
    const size_t mmap_at = GDT_SIZE + INFO_SIZE, mods_at = mmap_at + BOOT_E820_MAX * MMAP_ENTRY;
    size_t at = mods_at + mb->module_count * MODULE_ENTRY;
    uint64_t size = at + strlen(kernel) + 1 + strlen(append) + 1 + sizeof loader;
    for (unsigned i = 0; i < mb->module_count; i++)
        size += strlen(mb->module_spec[i]) + 1;
    uint32_t gpa;
    if (!place_blob(b, mb, size, &gpa))
        return false;
    uint8_t *blob = calloc(1, size);
    if (!blob)
        return boot_fail(b, "out of memory");
    uint8_t *i = blob + GDT_SIZE;
    boot_put32(i + INFO_FLAGS,
               HAVE_MEMORY | HAVE_CMDLINE | HAVE_MODULES | HAVE_MMAP | HAVE_LOADER_NAME);
    if (mb->sections) {
        boot_put32(i + INFO_FLAGS, boot_le32(i + INFO_FLAGS) | HAVE_SECTIONS);
        boot_put32(i + INFO_SECTIONS, mb->section_count);
        boot_put32(i + INFO_SECTIONS + 4, SH_SIZE);
        boot_put32(i + INFO_SECTIONS + 8, mb->sections);
        boot_put32(i + INFO_SECTIONS + 12, mb->section_names);
    }
    put_memory_map(b, i, blob + mmap_at, gpa + (uint32_t)mmap_at);
    boot_put32(i + INFO_MODS_COUNT, mb->module_count);
    boot_put32(i + INFO_MODS_ADDR, gpa + (uint32_t)mods_at);
    boot_put32(i + INFO_CMDLINE, put_string(blob, gpa, &at, kernel, *append ? append : NULL));
    boot_put32(i + INFO_LOADER_NAME, put_string(blob, gpa, &at, loader, NULL));
    for (unsigned n = 0; n < mb->module_count; n++) {
        uint8_t *entry = blob + mods_at + n * MODULE_ENTRY;
        boot_put32(entry, (uint32_t)mb->module[n].start);
        boot_put32(entry + 4, (uint32_t)mb->module[n].end);
        boot_put32(entry + 8, put_string(blob, gpa, &at, mb->module_spec[n], NULL));
    }
    bool ok = boot_write(b, gpa, blob, size);
    free(blob);
    *gdt = gpa;
    *info = gpa + GDT_SIZE;
    return ok;
}

bool boot_multiboot(struct boot *b)
{
    struct multiboot mb = {0};
    uint32_t gdt, info;
    if (!boot_firmware(b) || !load_kernel(b, &mb) || !load_modules(b, &mb) ||
        !write_information(b, &mb, &gdt, &info) ||
        !boot_enter_protected(b, gdt, BOOT_CS, BOOT_DS, mb.entry))
        return false;
    b->m->vcpu->gpr[R_EAX] = LOADER_MAGIC;
    b->m->vcpu->gpr[R_EBX] = info;
    return true;
}
