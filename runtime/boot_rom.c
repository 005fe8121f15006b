/* SPDX-License-Identifier: MIT */
/* boot_rom.c: ROM image (--bios) -> the top of the address space, the processor at its reset
 * vector.
 *
 * The image ends at 4 GiB, where RESET starts; its last 128 KiB also end at 1 MiB, for real-mode
 * code (phys_add_rom()). Everything else is the firmware's work. */
#include "runtime/boot.h"

#include "devices/acpi.h"
#include "runtime/platform.h"

#include <errno.h>
#include <string.h>

#define ROM_ALIGN 4096u
#define ROM_MAX   (16ull << 20)

/* Firmware that knows fw_cfg takes the ACPI tables from there. */
static bool offer_tables(struct boot *b)
{
    struct acpi_config acpi;
    boot_acpi_config(b, &acpi);
    return !acpi_add_files(&acpi, platform_fw_cfg(b->m->platform)) ||
           boot_fail(b, "cannot build the ACPI tables: out of memory");
}

bool boot_rom(struct boot *b)
{
    const char *path = b->m->config.bios;
    struct image rom;
    if (b->m->rom_loaded)
        return true; /* a reset: ROM stays */
    if (!boot_read_file(b, path, ROM_MAX, &rom))
        return false;
    bool ok = false;
    int error = 0;
    if (rom.size % ROM_ALIGN)
        boot_complain(b, "%s: not a ROM image: %llu bytes are no multiple of 4 KiB", path,
                      (unsigned long long)rom.size);
    else if ((error = phys_add_rom(b->m->phys, rom.data, rom.size)))
        boot_complain(b, "%s: cannot place the ROM: %s", path, strerror(-error));
    else
        ok = b->m->rom_loaded = true;
    boot_free_image(&rom);
    return ok && offer_tables(b);
}
