/* SPDX-License-Identifier: MIT */
/* ACPI and MP tables: found, linked, summed; AML lengths; the loader script gives the same tables.
 */
#include "devices/acpi.h"
#include "devices/aml.h"
#include "devices/fw_cfg.h"
#include "devices/hpet.h"
#include "devices/mptable.h"
#include "scripted_bus.h"

#define GPA 0xe0000u

static uint8_t image[0x20000];
static const struct acpi_config config = {.ram_below_4g = 256u << 20, .com1 = 0x3f8, .cpus = 1};

static uint32_t get32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint8_t sum(const uint8_t *p, size_t n)
{
    uint8_t total = 0;
    while (n--)
        total += *p++;
    return total;
}

static const uint8_t *at(uint32_t gpa)
{
    cr_assert(gpa >= GPA && gpa < GPA + sizeof(image));
    return image + (gpa - GPA);
}

/* The table's own signature, length and checksum. */
static const uint8_t *table(uint32_t gpa, const char *signature)
{
    const uint8_t *t = at(gpa);
    cr_assert(!memcmp(t, signature, 4), "%.4s where %s should be", (const char *)t, signature);
    cr_expect_eq(sum(t, get32(t + 4)), 0, "checksum of %s", signature);
    return t;
}

static void check_tree(const uint8_t *rsdp)
{
    cr_assert(!memcmp(rsdp, "RSD PTR ", 8));
    cr_expect_eq(sum(rsdp, 20), 0);
    const uint8_t *rsdt = table(get32(rsdp + 16), "RSDT");
    cr_assert_eq(get32(rsdt + 4), 36 + 12);
    const uint8_t *fadt = table(get32(rsdt + 36), "FACP");
    const uint8_t *madt = table(get32(rsdt + 40), "APIC");
    const uint8_t *hpet = table(get32(rsdt + 44), "HPET");
    cr_expect_eq(get32(hpet + 4), 56);
    cr_expect_eq(get32(hpet + 36), HPET_ID);
    cr_expect_eq(get32(hpet + 44), HPET_BASE);
    cr_expect_eq(get32(fadt + 4), 116);
    uint32_t facs = get32(fadt + 36);
    cr_expect_eq(facs % 64, 0);
    cr_expect(!memcmp(at(facs), "FACS", 4));
    table(get32(fadt + 40), "DSDT");
    /* MADT entries fill it exactly. */
    uint32_t off = 44, entries = 0;
    for (; off < get32(madt + 4); off += madt[off + 1], entries++)
        cr_assert_gt(madt[off + 1], 1);
    cr_expect_eq(off, get32(madt + 4));
    cr_expect_eq(entries, 8);
}

Test(acpi, tree)
{
    size_t size = acpi_build(&config, GPA, image, sizeof(image));
    cr_assert(size > 1000 && size < 8192, "%zu bytes", size);
    check_tree(image);
    for (size_t room = 0; room < size; room += 13)
        cr_expect_eq(acpi_build(&config, GPA, image, room), 0);
}

/* Reads a file by its name, as firmware does. */
static size_t read_file(struct rig *r, const char *name, uint8_t *out)
{
    uint8_t entry[64];
    bus_port_write(r->bus, 0x510, FW_CFG_FILE_DIR, 2);
    for (unsigned i = 0; i < 4; i++)
        bus_port_read(r->bus, 0x511, 1);
    do {
        for (unsigned i = 0; i < 64; i++)
            entry[i] = (uint8_t)bus_port_read(r->bus, 0x511, 1);
    } while (entry[8] && strcmp((char *)entry + 8, name));
    size_t size = (size_t)(entry[1] << 16 | entry[2] << 8 | entry[3]);
    bus_port_write(r->bus, 0x510, (uint32_t)(entry[4] << 8 | entry[5]), 2);
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)bus_port_read(r->bus, 0x511, 1);
    return size;
}

static uint8_t *loaded(const char *name)
{
    return strcmp(name, "etc/acpi/rsdp") ? image + 0x100 : image;
}

static void add32(uint8_t *p, uint32_t value)
{
    value += get32(p);
    memcpy(p, &value, 4);
}

Test(acpi, loader_script)
{
    static uint8_t script[8192];
    struct rig r;
    rig_init(&r);
    struct fw_cfg *fw = fw_cfg_create(r.bus, (struct dma){0});
    cr_assert_eq(acpi_add_files(&config, fw), 0);
    read_file(&r, "etc/acpi/rsdp", loaded("etc/acpi/rsdp"));
    read_file(&r, "etc/acpi/tables", loaded("etc/acpi/tables"));
    size_t size = read_file(&r, "etc/table-loader", script);
    cr_assert(size && size % 128 == 0);
    for (const uint8_t *e = script; e < script + size; e += 128) {
        uint8_t *file = loaded((const char *)e + 4);
        if (get32(e) == 2) {
            const uint8_t *to = loaded((const char *)e + 60);
            add32(file + get32(e + 116), GPA + (uint32_t)(to - image));
        } else if (get32(e) == 3) {
            uint8_t *place = file + get32(e + 60);
            *place = (uint8_t)(*place - sum(file + get32(e + 64), get32(e + 68)));
        } else {
            cr_expect_eq(get32(e), 1);
        }
    }
    check_tree(image);
    fw_cfg_destroy(fw);
    rig_fini(&r);
}

Test(aml, lengths)
{
    static uint8_t buf[0x20000];
    static const size_t bodies[] = {0, 1, 62, 63, 100, 4093, 4094, 5000, 70000};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct aml a = {.buf = buf, .size = sizeof(buf)};
        size_t mark = aml_if_begin(&a);
        for (size_t k = 0; k < bodies[i]; k++)
            aml_byte(&a, 0xa3);
        aml_end(&a, mark);
        size_t more = buf[1] >> 6, length = buf[1] & (more ? 0x0f : 0x3f);
        for (size_t k = 0; k < more; k++)
            length |= (size_t)buf[2 + k] << (4 + 8 * k);
        cr_expect_eq(length, a.len - 1, "body of %zu", bodies[i]);
        cr_expect_eq(a.len, 2 + more + bodies[i]);
    }
}

Test(aml, names)
{
    uint8_t buf[64];
    struct aml a = {.buf = buf, .size = sizeof(buf)};
    aml_path(&a, "\\_SB.PCI0.ISA");
    static const char multi[] = "\\\x2f\x03_SB_PCI0ISA_";
    cr_expect(a.len == sizeof(multi) - 1 && !memcmp(buf, multi, a.len));
    a.len = 0;
    aml_eisa_id(&a, "PNP0A03");
    static const uint8_t id[] = {0x0c, 0x41, 0xd0, 0x0a, 0x03};
    cr_expect(a.len == sizeof(id) && !memcmp(buf, id, a.len));
}

Test(mptable, structure)
{
    size_t size = mptable_build(0xf0000, image, sizeof(image), 0x633, 0x0febfbff);
    cr_assert_gt(size, 60);
    cr_expect(!memcmp(image, "_MP_", 4));
    cr_expect_eq(sum(image, 16), 0);
    cr_expect_eq(get32(image + 4), 0xf0010);
    const uint8_t *t = image + 16;
    unsigned length = t[4] | t[5] << 8, count = t[34] | t[35] << 8, off = 44, seen[5] = {0};
    cr_expect(!memcmp(t, "PCMP", 4));
    cr_expect_eq(length, size - 16);
    cr_expect_eq(sum(t, length), 0);
    for (unsigned i = 0; i < count; i++) {
        cr_assert_lt(t[off], 5);
        seen[t[off]]++;
        off += t[off] == 0 ? 20 : 8;
    }
    cr_expect_eq(off, length);
    cr_expect(seen[0] == 1 && seen[1] == 2 && seen[2] == 1 && seen[4] == 2);
    cr_expect_eq(seen[3], 31 * 4 + 13);
    cr_expect_eq(mptable_build(0xf0000, image, 100, 0, 0), 0);
}
