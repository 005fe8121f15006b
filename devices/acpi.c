/* SPDX-License-Identifier: MIT */
/* acpi.c: this machine's hardware, as ACPI 1.0b tables (chapter 5).
 *
 * One builder serves two ways of installing the tables. Each pointer within them is written through
 * put_pointer() and each checksum through finish_table(), which note where they stand: acpi_build()
 * fills them in for a known address, acpi_add_files() hands the notes to firmware as a loader
 * script (the format is that of QEMU's bios-linker-loader). */
#include "devices/acpi.h"
#include "devices/aml.h"
#include "devices/fw_cfg.h"
#include "devices/hpet.h"
#include "devices/ioapic.h"
#include "devices/lapic.h"
#include "devices/pci.h"
#include "devices/pm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TABLES_MAX     16384
#define RSDP_SIZE      20
#define RSDP_ALIGNED   64 /* the tables follow it, FACS first, which wants this alignment */
#define FACS_SIZE      64
#define MAX_POINTERS   8
#define MAX_SUMS       8
#define PCI_SLOT_PINS  4
#define PCI_WINDOW_MIN 0xc0000000u

/* FADT flags. */
#define FADT_WBINVD     (1u << 0)
#define FADT_PROC_C1    (1u << 2)
#define FADT_SLP_BUTTON (1u << 5) /* no sleep button in the fixed registers */
#define RTC_CENTURY     0x32
#define NO_C2           0x0fff /* latencies too long to use */

/* MADT. */
#define MADT_PCAT   1      /* there is a PIC too */
#define FLAGS_LEVEL 0x000d /* MPS INTI flags: active high, level */

struct builder {
    struct aml out; /* the bytes, relative to `base` */
    uint32_t base;  /* guest-physical address of out.buf */
    size_t pointers[MAX_POINTERS];
    unsigned pointer_count;
    struct {
        size_t start, length, at;
    } sums[MAX_SUMS];
    unsigned sum_count;
};

/* --- tables --- */

static uint8_t checksum(const uint8_t *p, size_t n)
{
    uint8_t sum = 0;
    while (n--)
        sum += *p++;
    return (uint8_t)-sum;
}

static void put_pointer(struct builder *b, size_t target)
{
    b->pointers[b->pointer_count++] = b->out.len;
    aml_le(&b->out, b->base + target, 4);
}

static size_t begin_table(struct builder *b, const char *signature, uint8_t revision)
{
    struct aml *a = &b->out;
    while (!a->full && a->len % 16)
        aml_byte(a, 0);
    size_t start = a->len;
    aml_bytes(a, signature, 4);
    aml_le(a, 0, 4); /* length */
    aml_byte(a, revision);
    aml_byte(a, 0); /* checksum */
    aml_bytes(a, "RNGDWN", 6);
    aml_bytes(a, "RINGDOWN", 8);
    aml_le(a, 1, 4);
    aml_bytes(a, "RNGD", 4);
    aml_le(a, 1, 4);
    return start;
}

static void finish_table(struct builder *b, size_t start)
{
    size_t length = b->out.len - start;
    if (b->out.full)
        return;
    uint8_t *table = b->out.buf + start;
    for (unsigned i = 0; i < 4; i++)
        table[4 + i] = (uint8_t)(length >> (8 * i));
    table[9] = checksum(table, length);
    b->sums[b->sum_count].start = start;
    b->sums[b->sum_count].length = length;
    b->sums[b->sum_count++].at = start + 9;
}

static size_t build_facs(struct builder *b)
{
    size_t start = b->out.len;
    aml_bytes(&b->out, "FACS", 4);
    aml_le(&b->out, FACS_SIZE, 4);
    for (unsigned i = 8; i < FACS_SIZE; i++)
        aml_byte(&b->out, 0);
    return start;
}

static size_t build_fadt(struct builder *b, size_t facs, size_t dsdt)
{
    struct aml *a = &b->out;
    size_t start = begin_table(b, "FACP", 1);
    put_pointer(b, facs);
    put_pointer(b, dsdt);
    aml_byte(a, 1); /* the interrupt model has APICs */
    aml_byte(a, 0);
    aml_le(a, PM_SCI_IRQ, 2);
    aml_le(a, PM_SMI_CMD, 4);
    aml_byte(a, PM_ACPI_ENABLE);
    aml_byte(a, PM_ACPI_DISABLE);
    aml_le(a, 0, 2);           /* S4BIOS_REQ, reserved */
    aml_le(a, PM_BASE, 4);     /* PM1a event block */
    aml_le(a, 0, 4);           /* PM1b */
    aml_le(a, PM_BASE + 4, 4); /* PM1a control */
    aml_le(a, 0, 4);           /* PM1b */
    aml_le(a, 0, 4);           /* PM2 control */
    aml_le(a, PM_BASE + 8, 4); /* PM timer */
    aml_le(a, PM_GPE_BASE, 4);
    aml_le(a, 0, 4); /* GPE1 */
    static const uint8_t lengths[] = {4, 2, 0, 4, 4, 0, 0, 0};
    aml_bytes(a, lengths, sizeof(lengths)); /* of PM1 event .. GPE1, GPE1 base, reserved */
    aml_le(a, NO_C2, 2);
    aml_le(a, NO_C2, 2);
    aml_le(a, 0, 8); /* cache flush size and stride, duty cycle, day and month alarm */
    aml_byte(a, RTC_CENTURY);
    aml_le(a, 0, 3);
    aml_le(a, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON, 4);
    finish_table(b, start);
    return start;
}

static void interrupt_override(struct aml *a, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    aml_byte(a, 2);
    aml_byte(a, 10);
    aml_byte(a, 0); /* ISA */
    aml_byte(a, irq);
    aml_le(a, gsi, 4);
    aml_le(a, flags, 2);
}

static size_t build_madt(struct builder *b)
{
    static const uint8_t level_irqs[] = {5, PM_SCI_IRQ, 10, 11};
    struct aml *a = &b->out;
    size_t start = begin_table(b, "APIC", 1);
    aml_le(a, LAPIC_DEFAULT_BASE, 4);
    aml_le(a, MADT_PCAT, 4);
    static const uint8_t cpu[] = {0, 8, 0, 0, 1, 0, 0, 0}; /* processor 0, APIC 0, enabled */
    aml_bytes(a, cpu, sizeof(cpu));
    static const uint8_t ioapic[] = {1, 12, 0, 0};
    aml_bytes(a, ioapic, sizeof(ioapic));
    aml_le(a, IOAPIC_BASE, 4);
    aml_le(a, 0, 4);
    interrupt_override(a, 0, 2, 0);
    for (unsigned i = 0; i < sizeof(level_irqs); i++)
        interrupt_override(a, level_irqs[i], level_irqs[i], FLAGS_LEVEL);
    static const uint8_t nmi[] = {4, 6, 0xff, 0, 0, 1}; /* LINT1 of all processors */
    aml_bytes(a, nmi, sizeof(nmi));
    finish_table(b, start);
    return start;
}

static size_t build_hpet(struct builder *b)
{
    struct aml *a = &b->out;
    size_t start = begin_table(b, "HPET", 1);
    aml_le(a, HPET_ID, 4);
    static const uint8_t registers[] = {0, 64, 0, 0}; /* memory, 64 bits wide */
    aml_bytes(a, registers, sizeof registers);
    aml_le(a, HPET_BASE, 8);
    aml_byte(a, 0);  /* the first and only block */
    aml_le(a, 0, 2); /* ticks that a periodic timer must have at least: no matter */
    aml_byte(a, 0);  /* the page may hold other things */
    finish_table(b, start);
    return start;
}

/* --- DSDT --- */

static const char *const links[4] = {"LNKA", "LNKB", "LNKC", "LNKD"};
static const char *const routes[4] = {"\\_SB.PCI0.ISA.PRQA", "\\_SB.PCI0.ISA.PRQB",
                                      "\\_SB.PCI0.ISA.PRQC", "\\_SB.PCI0.ISA.PRQD"};

static void dsdt_hid(struct aml *a, const char *id, uint32_t uid)
{
    aml_name(a, "_HID");
    aml_eisa_id(a, id);
    aml_name(a, "_UID");
    aml_integer(a, uid);
}

/* A device with fixed ports and one interrupt. */
static void dsdt_isa_device(struct aml *a, const char *name, const char *id, uint32_t uid,
                            const uint16_t (*ports)[2], unsigned count, unsigned irq)
{
    size_t device = aml_device_begin(a, name);
    dsdt_hid(a, id, uid);
    aml_name(a, "_CRS");
    size_t resources = aml_resources_begin(a);
    for (unsigned i = 0; i < count; i++)
        aml_res_io(a, ports[i][0], (uint8_t)ports[i][1]);
    aml_res_irq(a, irq);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

static void dsdt_isa(struct aml *a, const struct acpi_config *c)
{
    static const char *const fields[4] = {"PRQA", "PRQB", "PRQC", "PRQD"};
    static const uint16_t keyboard[][2] =
        {
            {0x60, 1},
            {0x64, 1}
    },
                          rtc[][2] = {{0x70, 2}};
    const uint16_t com1[][2] =
        {
            {c->com1, 8}
    },
                   com2[][2] = {{c->com2, 8}};
    size_t isa = aml_device_begin(a, "ISA");
    aml_name(a, "_ADR");
    aml_integer(a, 0x00010000);
    aml_pci_config_bytes(a, "PIRQ", 0x60, fields, 4);
    dsdt_isa_device(a, "KBD", "PNP0303", 0, keyboard, 2, 1);
    dsdt_isa_device(a, "RTC", "PNP0B00", 0, rtc, 1, 8);
    if (c->com1)
        dsdt_isa_device(a, "COM1", "PNP0501", 1, com1, 1, 4);
    if (c->com2)
        dsdt_isa_device(a, "COM2", "PNP0501", 2, com2, 1, 3);
    aml_end(a, isa);
}

static void dsdt_hpet(struct aml *a)
{
    size_t device = aml_device_begin(a, "HPET");
    dsdt_hid(a, "PNP0103", 0);
    aml_name(a, "_CRS");
    size_t resources = aml_resources_begin(a);
    aml_res_memory_fixed(a, HPET_BASE, HPET_SIZE);
    aml_resources_end(a, resources);
    aml_end(a, device);
}

static void dsdt_root_resources(struct aml *a, const struct acpi_config *c)
{
    const uint32_t step = 1u << 28;
    uint32_t first = (c->ram_below_4g + step - 1) & ~(step - 1);
    aml_name(a, "_CRS");
    size_t resources = aml_resources_begin(a);
    aml_res_bus_numbers(a, 0, 0xff);
    aml_res_io(a, 0xcf8, 8);
    aml_res_io_window(a, 0x0000, 0x0cf7);
    aml_res_io_window(a, 0x0d00, 0xffff);
    aml_res_memory_window(a, 0xa0000, 0xbffff, true);
    aml_res_memory_window(a, first > PCI_WINDOW_MIN ? first : PCI_WINDOW_MIN, PCI_MMIO_END - 1,
                          false);
    aml_resources_end(a, resources);
}

static void dsdt_routing(struct aml *a)
{
    aml_name(a, "_PRT");
    size_t table = aml_package_begin(a, (PCI_SLOTS - 1) * PCI_SLOT_PINS);
    for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < PCI_SLOT_PINS; pin++) {
            size_t row = aml_package_begin(a, 4);
            aml_integer(a, slot << 16 | 0xffff); /* any function */
            aml_integer(a, pin);
            aml_path(a, links[pci_slot_pirq(slot, pin + 1)]);
            aml_integer(a, 0);
            aml_end(a, row);
        }
    }
    aml_end(a, table);
}

/* If (route & 0x80) { Return (9) } Return (0x0b): off, or on. */
static void dsdt_link_status(struct aml *a, const char *route)
{
    size_t method = aml_method_begin(a, "_STA", 0, false);
    size_t off = aml_if_begin(a);
    aml_and(a);
    aml_path(a, route);
    aml_integer(a, 0x80);
    aml_no_target(a);
    aml_return(a);
    aml_integer(a, 0x09);
    aml_end(a, off);
    aml_return(a);
    aml_integer(a, 0x0b);
    aml_end(a, method);
}

/* CreateDWordField (buffer, 5, IRQW): the interrupt in an extended interrupt descriptor. */
static void dsdt_interrupt_field(struct aml *a, void (*buffer)(struct aml *))
{
    aml_dword_field(a);
    buffer(a);
    aml_integer(a, 5);
    aml_path(a, "IRQW");
}

static void link_buffer(struct aml *a)
{
    aml_path(a, "BUFA");
}

static void dsdt_link_settings(struct aml *a, const char *route)
{
    static const uint32_t none[] = {0}, possible[] = {5, 10, 11};
    aml_name(a, "_PRS");
    size_t resources = aml_resources_begin(a);
    aml_res_interrupts(a, possible, 3);
    aml_resources_end(a, resources);

    aml_name(a, "BUFA");
    resources = aml_resources_begin(a);
    aml_res_interrupts(a, none, 1);
    aml_resources_end(a, resources);

    size_t method = aml_method_begin(a, "_CRS", 0, true);
    dsdt_interrupt_field(a, link_buffer);
    aml_and(a);
    aml_path(a, route);
    aml_integer(a, 0x8f);
    aml_local0(a);
    size_t off = aml_if_begin(a);
    aml_and(a);
    aml_local0(a);
    aml_integer(a, 0x80);
    aml_no_target(a);
    aml_store(a);
    aml_integer(a, 0);
    aml_local0(a);
    aml_end(a, off);
    aml_store(a);
    aml_local0(a);
    aml_path(a, "IRQW");
    aml_return(a);
    aml_path(a, "BUFA");
    aml_end(a, method);

    method = aml_method_begin(a, "_SRS", 1, true);
    dsdt_interrupt_field(a, aml_arg0);
    aml_store(a);
    aml_path(a, "IRQW");
    aml_path(a, route);
    aml_end(a, method);
}

static void dsdt_link(struct aml *a, unsigned i)
{
    size_t device = aml_device_begin(a, links[i]);
    dsdt_hid(a, "PNP0C0F", i + 1);
    dsdt_link_status(a, routes[i]);
    dsdt_link_settings(a, routes[i]);
    size_t method = aml_method_begin(a, "_DIS", 0, false);
    aml_or(a);
    aml_path(a, routes[i]);
    aml_integer(a, 0x80);
    aml_path(a, routes[i]);
    aml_end(a, method);
    aml_end(a, device);
}

static void dsdt_sleep(struct aml *a, const char *state, unsigned type)
{
    aml_name(a, state);
    size_t package = aml_package_begin(a, 4);
    aml_integer(a, type);
    aml_integer(a, type);
    aml_integer(a, 0);
    aml_integer(a, 0);
    aml_end(a, package);
}

static size_t build_dsdt(struct builder *b, const struct acpi_config *c)
{
    struct aml *a = &b->out;
    size_t start = begin_table(b, "DSDT", 1);
    size_t scope = aml_scope_begin(a, "\\_PR");
    aml_processor(a, "CPU0", 0);
    aml_end(a, scope);

    scope = aml_scope_begin(a, "\\_SB");
    size_t root = aml_device_begin(a, "PCI0");
    dsdt_hid(a, "PNP0A03", 0);
    aml_name(a, "_BBN");
    aml_integer(a, 0);
    dsdt_root_resources(a, c);
    dsdt_routing(a);
    dsdt_isa(a, c);
    aml_end(a, root);
    dsdt_hpet(a);
    for (unsigned i = 0; i < 4; i++)
        dsdt_link(a, i);
    aml_end(a, scope);

    dsdt_sleep(a, "\\_S3", PM_SLP_TYP_S3);
    dsdt_sleep(a, "\\_S5", PM_SLP_TYP_S5);
    finish_table(b, start);
    return start;
}

/* --- the whole --- */

/* Everything but the RSDP; the RSDT's offset. */
static size_t build_tables(struct builder *b, const struct acpi_config *c)
{
    size_t facs = build_facs(b);
    size_t dsdt = build_dsdt(b, c);
    size_t fadt = build_fadt(b, facs, dsdt);
    size_t madt = build_madt(b);
    size_t hpet = build_hpet(b);
    size_t rsdt = begin_table(b, "RSDT", 1);
    put_pointer(b, fadt);
    put_pointer(b, madt);
    put_pointer(b, hpet);
    finish_table(b, rsdt);
    return rsdt;
}

static void build_rsdp(uint8_t out[RSDP_SIZE], uint32_t rsdt)
{
    struct aml a = {.buf = out, .size = RSDP_SIZE};
    aml_bytes(&a, "RSD PTR ", 8);
    aml_byte(&a, 0);
    aml_bytes(&a, "RNGDWN", 6);
    aml_byte(&a, 0);
    aml_le(&a, rsdt, 4);
    out[8] = checksum(out, RSDP_SIZE);
}

uint32_t acpi_facs(uint32_t gpa)
{
    return gpa + RSDP_ALIGNED;
}

size_t acpi_build(const struct acpi_config *c, uint32_t gpa, uint8_t *buf, size_t size)
{
    if (size < RSDP_ALIGNED)
        return 0;
    struct builder b = {
        .out = {.buf = buf + RSDP_ALIGNED, .size = size - RSDP_ALIGNED},
        .base = gpa + RSDP_ALIGNED,
    };
    size_t rsdt = build_tables(&b, c);
    if (b.out.full)
        return 0;
    memset(buf, 0, RSDP_ALIGNED);
    build_rsdp(buf, (uint32_t)(b.base + rsdt));
    return RSDP_ALIGNED + b.out.len;
}

/* --- loader script --- */

#define FILE_RSDP   "etc/acpi/rsdp"
#define FILE_TABLES "etc/acpi/tables"
#define FILE_LOADER "etc/table-loader"
#define NAME_SIZE   56
#define ENTRY_SIZE  128
#define ENTRIES_MAX 32

enum loader_command { LOADER_ALLOCATE = 1, LOADER_POINTER = 2, LOADER_CHECKSUM = 3 };
enum loader_zone { ZONE_HIGH = 1, ZONE_FSEG = 2 };

static void loader_name(struct aml *a, const char *name)
{
    char padded[NAME_SIZE] = {0};
    memcpy(padded, name, strlen(name));
    aml_bytes(a, padded, NAME_SIZE);
}

static void loader_pad(struct aml *a)
{
    while (!a->full && a->len % ENTRY_SIZE)
        aml_byte(a, 0);
}

static void loader_allocate(struct aml *a, const char *file, uint32_t align, uint8_t zone)
{
    aml_le(a, LOADER_ALLOCATE, 4);
    loader_name(a, file);
    aml_le(a, align, 4);
    aml_byte(a, zone);
    loader_pad(a);
}

static void loader_pointer(struct aml *a, const char *in, const char *to, size_t offset)
{
    aml_le(a, LOADER_POINTER, 4);
    loader_name(a, in);
    loader_name(a, to);
    aml_le(a, offset, 4);
    aml_byte(a, 4);
    loader_pad(a);
}

static void loader_checksum(struct aml *a, const char *file, size_t at, size_t start, size_t length)
{
    aml_le(a, LOADER_CHECKSUM, 4);
    loader_name(a, file);
    aml_le(a, at, 4);
    aml_le(a, start, 4);
    aml_le(a, length, 4);
    loader_pad(a);
}

/* Pointers are relative to the start of the file they point into; firmware adds its address, and
 * then corrects the sums. */
int acpi_add_files(const struct acpi_config *c, struct fw_cfg *f)
{
    uint8_t rsdp[RSDP_SIZE], script[ENTRIES_MAX * ENTRY_SIZE];
    uint8_t *tables = malloc(TABLES_MAX);
    if (!tables)
        return -ENOMEM;
    struct builder b = {
        .out = {.buf = tables, .size = TABLES_MAX}
    };
    size_t rsdt = build_tables(&b, c);
    build_rsdp(rsdp, (uint32_t)rsdt);

    struct aml s = {.buf = script, .size = sizeof(script)};
    loader_allocate(&s, FILE_TABLES, 64, ZONE_HIGH);
    loader_allocate(&s, FILE_RSDP, 16, ZONE_FSEG);
    for (unsigned i = 0; i < b.pointer_count; i++)
        loader_pointer(&s, FILE_TABLES, FILE_TABLES, b.pointers[i]);
    loader_pointer(&s, FILE_RSDP, FILE_TABLES, 16);
    for (unsigned i = 0; i < b.sum_count; i++)
        loader_checksum(&s, FILE_TABLES, b.sums[i].at, b.sums[i].start, b.sums[i].length);
    loader_checksum(&s, FILE_RSDP, 8, 0, RSDP_SIZE);

    int error = b.out.full || s.full ? -ENOSPC : 0;
    if (!error)
        error = fw_cfg_add_file(f, FILE_RSDP, rsdp, RSDP_SIZE);
    if (!error)
        error = fw_cfg_add_file(f, FILE_TABLES, tables, b.out.len);
    if (!error)
        error = fw_cfg_add_file(f, FILE_LOADER, script, s.len);
    free(tables);
    return error;
}
