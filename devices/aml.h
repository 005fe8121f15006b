/* SPDX-License-Identifier: MIT */
/* aml.h: writes ACPI Machine Language, one function a construct (ACPI 1.0b, chapter 16).
 *
 * Blocks open with aml_*_begin(), which returns a mark, and close with aml_end(mark), which puts
 * the package length in. A writer that runs out of room sets `full` and writes nothing more. */
#ifndef RINGDOWN_DEVICES_AML_H
#define RINGDOWN_DEVICES_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
    uint8_t *buf;
    size_t len, size;
    bool full;
};

void aml_byte(struct aml *a, uint8_t byte);
void aml_bytes(struct aml *a, const void *bytes, size_t n);
void aml_le(struct aml *a, uint64_t value, unsigned size); /* little-endian */
void aml_end(struct aml *a, size_t mark);

/* "\\_SB.PCI0.ISA": segments are padded with '_' to four characters. */
void aml_path(struct aml *a, const char *path);
void aml_integer(struct aml *a, uint32_t value);
void aml_eisa_id(struct aml *a, const char *id); /* "PNP0A03", as an integer */

void aml_name(struct aml *a, const char *path); /* its object follows */
size_t aml_scope_begin(struct aml *a, const char *path);
size_t aml_device_begin(struct aml *a, const char *name);
/* A method that makes names of its own must be serialized. */
size_t aml_method_begin(struct aml *a, const char *name, unsigned arguments, bool serialized);
size_t aml_package_begin(struct aml *a, unsigned elements);
void aml_processor(struct aml *a, const char *name, uint8_t id);
/* A configuration-space region with one 8-bit field for each name. */
void aml_pci_config_bytes(struct aml *a, const char *region, uint8_t offset,
                          const char *const *fields, unsigned count);

/* Statements and expressions. Local0 and Arg0 are operands like names. */
void aml_local0(struct aml *a);
void aml_arg0(struct aml *a);
size_t aml_if_begin(struct aml *a); /* the predicate follows */
void aml_return(struct aml *a);     /* its operand follows */
void aml_store(struct aml *a);      /* source, then target */
void aml_and(struct aml *a);        /* operand, operand, target */
void aml_or(struct aml *a);
void aml_no_target(struct aml *a);
void aml_dword_field(struct aml *a); /* buffer, byte offset, name */

/* A resource template (ACPI 1.0b, 6.4), a buffer object. */
size_t aml_resources_begin(struct aml *a);
void aml_resources_end(struct aml *a, size_t mark);
void aml_res_io(struct aml *a, uint16_t base, uint8_t length);
void aml_res_irq(struct aml *a, unsigned irq);
/* Level, active high, shared; any of the given interrupts. */
void aml_res_interrupts(struct aml *a, const uint32_t *irqs, uint8_t count);
void aml_res_bus_numbers(struct aml *a, uint16_t first, uint16_t last);
void aml_res_io_window(struct aml *a, uint16_t first, uint16_t last);
void aml_res_memory_fixed(struct aml *a, uint32_t base, uint32_t size); /* read-only */
void aml_res_memory_window(struct aml *a, uint32_t first, uint32_t last, bool cacheable);

#endif
