/* SPDX-License-Identifier: MIT */
/* fw_cfg.h: QEMU's firmware configuration device (ports 0x510-0x51b), which SeaBIOS, OVMF and
 * kernels know. docs/specs/fw_cfg in QEMU describes it. */
#ifndef RINGDOWN_DEVICES_FW_CFG_H
#define RINGDOWN_DEVICES_FW_CFG_H

#include "devices/device.h"

enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_UUID = 0x02,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_MACHINE_ID = 0x06,
    FW_CFG_KERNEL_ADDR = 0x07,
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_KERNEL_CMDLINE = 0x09,
    FW_CFG_INITRD_ADDR = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_BOOT_DEVICE = 0x0c,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_ENTRY = 0x10,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_CMDLINE_ADDR = 0x13,
    FW_CFG_CMDLINE_SIZE = 0x14,
    FW_CFG_CMDLINE_DATA = 0x15,
    FW_CFG_SETUP_ADDR = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIR = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_X86_IRQ0_OVERRIDE = 0x8002,
    FW_CFG_X86_E820_TABLE = 0x8003,
};

/* An entry of the file "etc/e820" (and of the BIOS's E820 answer). */
struct fw_cfg_e820 {
    uint64_t address, length;
    uint32_t type; /* 1 RAM, 2 reserved */
} __attribute__((packed));

struct fw_cfg;
/* Starts with the signature, the ID (DMA offered if dma.read is set) and an empty file directory.
 */
struct fw_cfg *fw_cfg_create(struct bus *bus, struct dma dma);
void fw_cfg_destroy(struct fw_cfg *f);
void fw_cfg_reset(struct fw_cfg *f); /* selection only; items stay */
/* Adds or replaces an item. All return 0, -ENOMEM, -EINVAL (bad key) or -ENOSPC (too many files).
 * The `borrow` form keeps the caller's pointer, which must outlive the device; the others copy. */
int fw_cfg_add(struct fw_cfg *f, uint16_t key, const void *data, size_t size);
int fw_cfg_borrow(struct fw_cfg *f, uint16_t key, const void *data, size_t size);
int fw_cfg_add_u16(struct fw_cfg *f, uint16_t key, uint16_t value);
int fw_cfg_add_u32(struct fw_cfg *f, uint16_t key, uint32_t value);
int fw_cfg_add_u64(struct fw_cfg *f, uint16_t key, uint64_t value);
int fw_cfg_add_string(struct fw_cfg *f, uint16_t key, const char *s); /* with its NUL */
/* Files stand in the directory under a name of at most 55 characters. */
int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, size_t size);

#endif
