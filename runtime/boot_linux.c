/* SPDX-License-Identifier: MIT */
/* boot_linux.c: Linux bzImage -> the 32-bit entry of the Linux/x86 boot protocol
 * (Documentation/x86/boot.rst in the kernel's tree, section "32-bit boot protocol").
 *
 * The image is a real-mode part of setup_sects sectors, whose header from 0x1f1 on says what the
 * rest needs, and a protected-mode part, loaded at 1 MiB. The boot loader does the real-mode part's
 * work: it fills struct boot_params (here by offsets, as the protocol numbers them). Low memory:
 *
 *     0x90000  boot_params     0x91000  GDT     0x92000  command line
 *
 * Protocols before 2.02 give the command line by its offset from 0x90000. */
#include "runtime/boot.h"

#include "devices/fw_cfg.h"
#include "runtime/platform.h"

#include <string.h>

#define PARAMS_GPA  0x90000u
#define GDT_GPA     0x91000u
#define CMDLINE_GPA 0x92000u
#define LOAD_GPA    0x100000u
#define SECTOR      512u
#define BOOT_CS     0x10
#define BOOT_DS     0x18

/* The setup header, as offsets in the file and in boot_params alike. */
enum {
    HDR_START = 0x1f1,
    HDR_SETUP_SECTS = 0x1f1,
    HDR_SYSSIZE = 0x1f4,
    HDR_BOOT_FLAG = 0x1fe,
    HDR_JUMP_LENGTH = 0x201, /* the header ends at 0x202 plus this */
    HDR_MAGIC = 0x202,
    HDR_VERSION = 0x206,
    HDR_TYPE_OF_LOADER = 0x210,
    HDR_LOADFLAGS = 0x211,
    HDR_CODE32_START = 0x214,
    HDR_RAMDISK_IMAGE = 0x218,
    HDR_RAMDISK_SIZE = 0x21c,
    HDR_HEAP_END_PTR = 0x224,
    HDR_CMD_LINE_PTR = 0x228,
    HDR_INITRD_ADDR_MAX = 0x22c,
    HDR_RELOCATABLE = 0x234,
    HDR_CMDLINE_SIZE = 0x238,
    HDR_SETUP_DATA = 0x250,
    HDR_PREF_ADDRESS = 0x258,
    HDR_INIT_SIZE = 0x260,
    HDR_MIN_IMAGE = 0x264,
    HDR_LIMIT = 0x290, /* boot_params.edd_mbr_sig_buffer follows */
};
/* The rest of boot_params. */
enum {
    BP_EXT_MEM_K = 0x002,
    BP_CL_MAGIC = 0x020,
    BP_CL_OFFSET = 0x022,
    BP_ACPI_RSDP = 0x070,
    BP_ALT_MEM_K = 0x1e0,
    BP_E820_ENTRIES = 0x1e8,
    BP_E820_TABLE = 0x2d0,
    BP_SIZE = 0x1000,
};
#define MAGIC_HDRS     0x53726448u
#define CL_MAGIC       0xa33fu
#define LOADED_HIGH    0x01u
#define CAN_USE_HEAP   0x80u
#define LOADER_UNKNOWN 0xffu
#define INITRD_MAX_OLD 0x37ffffffu /* before protocol 2.03 */
#define CMDLINE_OLD    255u        /* before protocol 2.06 */

struct linux_image {
    uint64_t setup_size;  /* bytes of the real-mode part */
    uint64_t kernel_size; /* bytes of the rest */
    uint16_t version;
    uint32_t initrd_max; /* highest address of an initrd's last byte */
    uint32_t cmdline_max;
    uint64_t run_start; /* where the kernel unpacks itself to, and what it needs there */
    uint64_t run_size;
};

bool boot_is_linux(const struct image *k)
{
    return k->size >= HDR_MIN_IMAGE && boot_le16(k->data + HDR_BOOT_FLAG) == 0xaa55 &&
           boot_le32(k->data + HDR_MAGIC) == MAGIC_HDRS;
}

static bool read_header(struct boot *b, struct linux_image *l)
{
    const uint8_t *h = b->kernel.data;
    const char *path = b->kernel.path;
    uint64_t sects = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : 4;
    l->setup_size = (sects + 1) * SECTOR;
    l->version = boot_le16(h + HDR_VERSION);
    if (l->version < 0x200 || !(h[HDR_LOADFLAGS] & LOADED_HIGH))
        return boot_fail(b, "%s: an old zImage (boot protocol %u.%02u); a bzImage is needed", path,
                         l->version >> 8, l->version & 0xffu);
    /* Linux's own says 0x100000; whoever says nothing (iPXE) has his setup code find BIOS services.
     */
    if (!boot_le32(h + HDR_CODE32_START))
        return boot_fail(
            b,
            "%s: has no 32-bit entry: its 16-bit setup code needs a BIOS, which direct "
            "boot does not have",
            path);
    if (b->kernel.size <= l->setup_size)
        return boot_fail(b, "%s: truncated: %llu bytes, its setup code alone has %llu", path,
                         (unsigned long long)b->kernel.size, (unsigned long long)l->setup_size);
    l->kernel_size = b->kernel.size - l->setup_size;
    /* From 2.04 on the header gives the size, in paragraphs. */
    uint64_t stated = (uint64_t)boot_le32(h + HDR_SYSSIZE) * 16;
    if (l->version >= 0x204 && stated > (l->kernel_size + 15) / 16 * 16)
        return boot_fail(b, "%s: truncated: %llu bytes of kernel, its header says %llu", path,
                         (unsigned long long)l->kernel_size, (unsigned long long)stated);
    l->initrd_max = l->version >= 0x203 ? boot_le32(h + HDR_INITRD_ADDR_MAX) : INITRD_MAX_OLD;
    l->cmdline_max = l->version >= 0x206 ? boot_le32(h + HDR_CMDLINE_SIZE) : CMDLINE_OLD;
    l->run_start = LOAD_GPA;
    l->run_size = l->kernel_size;
    if (l->version >= 0x20a) {
        uint64_t preferred;
        memcpy(&preferred, h + HDR_PREF_ADDRESS, sizeof preferred);
        l->run_start = preferred > LOAD_GPA ? preferred : LOAD_GPA;
        l->run_size = boot_le32(h + HDR_INIT_SIZE);
    }
    return true;
}

static bool check_memory(struct boot *b, const struct linux_image *l)
{
    uint64_t ram = phys_ram_size(b->m->phys);
    if (l->run_start > PHYS_MAX_RAM)
        return boot_fail(b, "%s: wants to run at 0x%llx, beyond what the machine maps",
                         b->kernel.path, (unsigned long long)l->run_start);
    uint64_t need = l->run_start + l->run_size;
    if (need < LOAD_GPA + l->kernel_size)
        need = LOAD_GPA + l->kernel_size;
    if (need > ram)
        return boot_fail(b, "%s: needs %llu MiB of memory, --memory gives %llu", b->kernel.path,
                         (unsigned long long)((need + 0xfffff) >> 20),
                         (unsigned long long)(ram >> 20));
    return true;
}

/* As high as the kernel allows, so that it stays clear of what unpacks below. */
static bool load_initrd(struct boot *b, const struct linux_image *l, uint8_t *params)
{
    const char *path = b->m->config.initrd;
    uint64_t size = 0;
    if (!path)
        return true;
    if (!boot_file_size(b, path, &size))
        return false;
    uint64_t ram = phys_ram_size(b->m->phys);
    uint64_t top = (uint64_t)l->initrd_max + 1;
    top = (top < ram ? top : ram) & ~0xfffull;
    uint64_t bottom = l->run_start + l->run_size;
    if (bottom < LOAD_GPA + l->kernel_size)
        bottom = LOAD_GPA + l->kernel_size;
    if (size > top || (top - size) < bottom)
        return boot_fail(b,
                         "%s: the initrd's %llu bytes do not fit into memory beside the kernel, "
                         "which leaves %llu",
                         path, (unsigned long long)size,
                         (unsigned long long)(top > bottom ? top - bottom : 0));
    uint64_t gpa = (top - size) & ~0xfffull;
    if (gpa < bottom)
        gpa = top - size;
    boot_put32(params + HDR_RAMDISK_IMAGE, (uint32_t)gpa);
    boot_put32(params + HDR_RAMDISK_SIZE, (uint32_t)size);
    return boot_load_file(b, path, gpa, size);
}

static bool load_command_line(struct boot *b, const struct linux_image *l, uint8_t *params)
{
    const char *line = b->m->config.append;
    size_t length = strlen(line);
    size_t room = BOOT_LOW_END - CMDLINE_GPA - 1;
    size_t limit = l->cmdline_max < room ? l->cmdline_max : room;
    if (length > limit)
        return boot_fail(b, "--append: %zu characters, this kernel takes at most %zu", length,
                         limit);
    if (l->version >= 0x202) {
        boot_put32(params + HDR_CMD_LINE_PTR, CMDLINE_GPA);
    } else {
        boot_put16(params + BP_CL_MAGIC, CL_MAGIC);
        boot_put16(params + BP_CL_OFFSET, (uint16_t)(CMDLINE_GPA - PARAMS_GPA));
    }
    return boot_write(b, CMDLINE_GPA, line, length + 1);
}

static void fill_params(struct boot *b, const struct linux_image *l, uint8_t *params)
{
    const uint8_t *h = b->kernel.data;
    unsigned end = HDR_MAGIC + h[HDR_JUMP_LENGTH];
    end = end < HDR_LIMIT ? end : HDR_LIMIT;
    end = end < l->setup_size ? end : (unsigned)l->setup_size;
    memcpy(params + HDR_START, h + HDR_START, end - HDR_START);

    params[HDR_TYPE_OF_LOADER] = LOADER_UNKNOWN;
    params[HDR_LOADFLAGS] |= CAN_USE_HEAP;
    boot_put16(params + HDR_HEAP_END_PTR, 0xe000 - 0x200);
    boot_put32(params + HDR_CODE32_START, LOAD_GPA);
    if (l->version >= 0x209)
        boot_put64(params + HDR_SETUP_DATA, 0);
    if (l->version >= 0x20e)
        boot_put64(params + BP_ACPI_RSDP, BOOT_TABLES_ACPI);

    struct boot_range map[BOOT_E820_MAX];
    unsigned count = boot_memory_map(b, map);
    params[BP_E820_ENTRIES] = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        uint8_t *entry = params + BP_E820_TABLE + 20 * i;
        boot_put64(entry, map[i].base);
        boot_put64(entry + 8, map[i].size);
        boot_put32(entry + 16, map[i].type);
    }
    uint64_t above = (phys_ram_size(b->m->phys) - BOOT_HIGH_START) >> 10;
    boot_put16(params + BP_EXT_MEM_K, above < 0xffff ? (uint16_t)above : 0xffff);
    boot_put32(params + BP_ALT_MEM_K, (uint32_t)above);
}

/* What a firmware's own Linux loader would find. */
static bool tell_fw_cfg(struct boot *b, const struct linux_image *l)
{
    struct fw_cfg *f = platform_fw_cfg(b->m->platform);
    const char *line = b->m->config.append;
    return (!fw_cfg_add_u32(f, FW_CFG_KERNEL_ADDR, LOAD_GPA) &&
            !fw_cfg_add_u32(f, FW_CFG_KERNEL_SIZE, (uint32_t)l->kernel_size) &&
            !fw_cfg_add_u32(f, FW_CFG_CMDLINE_ADDR, CMDLINE_GPA) &&
            !fw_cfg_add_u32(f, FW_CFG_CMDLINE_SIZE, (uint32_t)strlen(line) + 1) &&
            !fw_cfg_add_string(f, FW_CFG_CMDLINE_DATA, line)) ||
           boot_fail(b, "out of memory");
}

bool boot_linux(struct boot *b)
{
    struct linux_image l;
    uint8_t params[BP_SIZE] = {0};
    if (b->m->config.module_count)
        return boot_fail(b,
                         "--module: %s is a Linux kernel, modules are for Multiboot; use --initrd",
                         b->kernel.path);
    if (!read_header(b, &l) || !check_memory(b, &l))
        return false;
    fill_params(b, &l, params);
    if (!boot_write(b, LOAD_GPA, b->kernel.data + l.setup_size, l.kernel_size) ||
        !load_initrd(b, &l, params) || !load_command_line(b, &l, params) ||
        !boot_write(b, PARAMS_GPA, params, sizeof params) || !tell_fw_cfg(b, &l))
        return false;
    if (!boot_firmware(b) || !boot_enter_protected(b, GDT_GPA, BOOT_CS, BOOT_DS, LOAD_GPA))
        return false;
    b->m->vcpu->gpr[R_ESI] = PARAMS_GPA;
    return true;
}
