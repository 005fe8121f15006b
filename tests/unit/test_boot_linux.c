/* SPDX-License-Identifier: MIT */
/* The Linux boot protocol: what a kernel finds at its 32-bit entry, and images that lie. */
#include "boot_image.h"

#define SETUP_SECTS 2
#define SETUP_SIZE  ((SETUP_SECTS + 1) * 512)
#define CODE_SIZE   4096
#define IMAGE_SIZE  (SETUP_SIZE + CODE_SIZE)

static uint8_t image[IMAGE_SIZE];

/* A bzImage of protocol 2.15 whose code is bytes of 0x90. */
static void make_image(void)
{
    memset(image, 0, SETUP_SIZE);
    memset(image + SETUP_SIZE, 0x90, CODE_SIZE);
    image[0x1f1] = SETUP_SECTS;
    boot_put32(image + 0x1f4, CODE_SIZE / 16);
    boot_put16(image + 0x1fe, 0xaa55);
    image[0x200] = 0xeb;
    image[0x201] = 0x66;
    memcpy(image + 0x202, "HdrS", 4);
    boot_put16(image + 0x206, 0x20f);
    image[0x211] = 1;
    boot_put32(image + 0x214, 0x100000);
    boot_put32(image + 0x22c, 0x7fffffff);
    boot_put32(image + 0x238, 2047);
    boot_put64(image + 0x258, 0x200000);
    boot_put32(image + 0x260, 0x10000);
}

static struct attempt boot(struct machine_config c)
{
    return boot_kernel(c, image, sizeof image);
}

TestSuite(boot_linux, .init = make_image, .timeout = 60);

Test(boot_linux, entry_state)
{
    struct machine *m = assert_taken(boot(base_config()));
    const struct vcpu *v = m->vcpu;
    cr_assert_eq(v->eip, 0x100000);
    cr_assert_eq(v->cr0 & (CR0_PE | CR0_PG), CR0_PE);
    cr_assert_eq(v->eflags, EFL_ONE);
    cr_assert_eq(v->seg[SEG_CS].sel, 0x10);
    cr_assert(v->seg[SEG_CS].attr & SEG_ATTR_DB);
    for (unsigned s = SEG_ES; s <= SEG_GS; s++) {
        cr_assert_eq(v->seg[s].base, 0);
        cr_assert_eq(v->seg[s].limit, 0xffffffff);
        cr_assert(s == SEG_CS || v->seg[s].sel == 0x18);
    }
    cr_assert(v->gpr[R_EBP] == 0 && v->gpr[R_EDI] == 0 && v->gpr[R_EBX] == 0);
    cr_assert_eq(guest32(m, v->gdtr.base + 0x14), 0x00cf9b00, "the GDT holds CS too");
    cr_assert_eq(guest32(m, 0x100000), 0x90909090);
    cr_assert(phys_a20(m->phys));
    machine_destroy(m);
}

Test(boot_linux, parameters)
{
    struct machine_config c = base_config();
    c.append = "console=ttyS0 quiet";
    struct machine *m = assert_taken(boot(c));
    uint32_t params = m->vcpu->gpr[R_ESI];
    cr_assert_eq(guest32(m, params + 0x202), 0x53726448);
    cr_assert_eq(phys_read(m->phys, params + 0x210, 1), 0xff, "type_of_loader");
    cr_assert_eq(phys_read(m->phys, params + 0x1ef, 1), 0, "sentinel");
    assert_guest_string(m, guest32(m, params + 0x228), c.append);
    uint32_t rsdp = guest32(m, params + 0x70);
    cr_assert_eq(guest32(m, rsdp), 0x20445352, "RSD ");
    unsigned entries = (unsigned)phys_read(m->phys, params + 0x1e8, 1);
    uint64_t ram = 0;
    for (unsigned i = 0; i < entries; i++)
        if (guest32(m, params + 0x2d0 + 20 * i + 16) == 1)
            ram += phys_read(m->phys, params + 0x2d0 + 20 * i + 8, 4);
    cr_assert_eq(ram, 16 * MIB - (1 * MIB - 0x9fc00));
    cr_assert_eq(guest32(m, params + 0x1e0), 15 * 1024, "alt_mem_k");
    machine_destroy(m);
}

Test(boot_linux, initrd_is_high_and_within_its_limit)
{
    static uint8_t data[10000];
    struct machine_config c = base_config();
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    char *path = write_temporary(data, sizeof data);
    c.initrd = path;
    const uint32_t limits[] = {0x7fffffff, 0x7fffff, 0x37ffff};
    for (size_t i = 0; i < 3; i++) {
        boot_put32(image + 0x22c, limits[i]);
        struct machine *m = assert_taken(boot(c));
        uint32_t params = m->vcpu->gpr[R_ESI], at = guest32(m, params + 0x218);
        uint8_t seen[sizeof data];
        uint64_t top = limits[i] < 16 * MIB ? limits[i] + 1 : 16 * MIB;
        cr_assert_eq(guest32(m, params + 0x21c), sizeof data);
        cr_assert_eq(at & 0xfff, 0);
        cr_assert(at + sizeof data <= top && at + sizeof data + 0x2000 > top);
        cr_assert(phys_dma_read(m->phys, at, seen, sizeof seen));
        cr_assert_arr_eq(seen, data, sizeof data);
        machine_destroy(m);
    }
    boot_put32(image + 0x22c, 0x20ffff);
    assert_refused(boot(c), "do not fit");
    remove_temporary(path);
}

Test(boot_linux, old_protocols)
{
    boot_put16(image + 0x206, 0x201);
    struct machine_config c = base_config();
    c.append = "root=/dev/hda1";
    struct machine *m = assert_taken(boot(c));
    uint32_t params = m->vcpu->gpr[R_ESI];
    cr_assert_eq(phys_read(m->phys, params + 0x20, 2), 0xa33f);
    assert_guest_string(m, params + (uint32_t)phys_read(m->phys, params + 0x22, 2), c.append);
    machine_destroy(m);

    static char line[300];
    memset(line, 'a', sizeof line - 1);
    c.append = line;
    assert_refused(boot(c), "at most 255");
    image[0x211] = 0;
    assert_refused(boot(c), "zImage");
}

Test(boot_linux, needs_that_are_not_met)
{
    struct machine_config c = base_config();
    boot_put32(image + 0x260, 14 * MIB + 1);
    assert_refused(boot(c), "needs 17 MiB");
    boot_put32(image + 0x260, 0xffffffff);
    assert_refused(boot(c), "needs");
    boot_put64(image + 0x258, UINT64_MAX);
    assert_refused(boot(c), "wants to run at");
    make_image();
    boot_put32(image + 0x1f4, CODE_SIZE / 16 + 1);
    assert_refused(boot(c), "truncated");
    make_image();
    c.memory = 1 * MIB;
    assert_refused(boot(c), "needs");
}

Test(boot_linux, sixteen_bit_entry_only)
{
    make_image();
    boot_put32(image + 0x214, 0);
    assert_refused(boot(base_config()), "16-bit setup code needs a BIOS");
}

Test(boot_linux, a_reset_loads_everything_again)
{
    char err[256];
    char *path = write_temporary(image, sizeof image);
    struct machine_config c = base_config();
    bool bad;
    c.kernel = path;
    struct machine *m = machine_create(&c, err, sizeof err, &bad);
    cr_assert_not_null(m);
    cr_assert(machine_load(m, err, sizeof err), "%s", err);
    phys_write(m->phys, 0x100000, 0, 8);
    m->vcpu->eip = 5;
    m->vcpu->cr0 |= CR0_PG;
    cr_assert(machine_reset(m, err, sizeof err));
    cr_assert_eq(m->vcpu->eip, 0x100000);
    cr_assert_eq(m->vcpu->cr0 & CR0_PG, 0);
    cr_assert_eq(guest32(m, 0x100000), 0x90909090);
    unlink(path);
    cr_assert(machine_reset(m, err, sizeof err), "the image stays open: %s", err);
    machine_destroy(m);
    free(path);
}

Test(boot_linux, a_reset_finds_a_shorter_image)
{
    char err[256];
    char *path = write_temporary(image, sizeof image);
    struct machine_config c = base_config();
    bool bad;
    c.kernel = path;
    struct machine *m = machine_create(&c, err, sizeof err, &bad);
    cr_assert_not_null(m);
    cr_assert(machine_load(m, err, sizeof err), "%s", err);
    cr_assert_eq(truncate(path, 100), 0);
    cr_assert_not(machine_reset(m, err, sizeof err));
    cr_assert(strstr(err, "became shorter"), "%s", err);
    unlink(path);
    machine_destroy(m);
    free(path);
}

/* Headers full of noise, cut anywhere: refused or taken, never followed out of bounds. */
Test(boot_linux, hostile_headers)
{
    uint64_t seed = 0x9e3779b97f4a7c15ull;
    for (unsigned round = 0; round < 300; round++) {
        make_image();
        for (unsigned n = random32(&seed) % 12; n; n--)
            image[0x1f1 + random32(&seed) % 0x80] = (uint8_t)random32(&seed);
        boot_put16(image + 0x1fe, 0xaa55);
        memcpy(image + 0x202, "HdrS", 4);
        size_t size = round & 1 ? sizeof image : 1 + random32(&seed) % sizeof image;
        struct attempt a = boot_kernel(base_config(), image, size);
        cr_assert(a.m || (a.bad_input && a.err[0] && !strchr(a.err, '\n')), "round %u", round);
        machine_destroy(a.m);
    }
}
