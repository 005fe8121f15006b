/* SPDX-License-Identifier: MIT */
/* acpi.h: builds the ACPI 1.0 tables (RSDP, RSDT, FADT, FACS, MADT, DSDT) of this machine. */
#ifndef RINGDOWN_DEVICES_ACPI_H
#define RINGDOWN_DEVICES_ACPI_H

#include <stddef.h>
#include <stdint.h>

struct fw_cfg;

struct acpi_config {
    uint32_t ram_below_4g; /* bytes; the PCI window starts above */
    uint16_t com1, com2;   /* I/O base, 0: absent */
    unsigned cpus;         /* 1 */
};

/* Builds the tables for guest-physical address gpa into buf, the RSDP first. gpa must be a multiple
 * of 64 within 0xe0000-0xfffff. Bytes used, or 0 if size is too small. */
size_t acpi_build(const struct acpi_config *c, uint32_t gpa, uint8_t *buf, size_t size);
/* Where acpi_build() has put the FACS. */
uint32_t acpi_facs(uint32_t gpa);
/* The same tables as the files "etc/acpi/rsdp", "etc/acpi/tables" and "etc/table-loader" from which
 * SeaBIOS builds them. 0 or negative errno. */
int acpi_add_files(const struct acpi_config *c, struct fw_cfg *f);

#endif
