/* SPDX-License-Identifier: MIT */
/* Multiboot 1: both ways to say where a kernel goes, what it is told, and images that lie. */
#include "boot_image.h"

#include <zlib.h>

#define IMAGE_SIZE 8192
#define MAGIC      0x1badb002u

static uint8_t image[IMAGE_SIZE];

static void put_header(uint32_t at, uint32_t flags)
{
    boot_put32(image + at, MAGIC);
    boot_put32(image + at + 4, flags);
    boot_put32(image + at + 8, -(MAGIC + flags));
}

/* Header at 0x40, loaded by its address fields: file offset 0 at 1 MiB, 8 KiB and 4 KiB of bss. */
static void make_addressed(void)
{
    memset(image, 0x90, sizeof image);
    put_header(0x40, 0x10003);
    boot_put32(image + 0x4c, 0x100040);
    boot_put32(image + 0x50, 0x100000);
    boot_put32(image + 0x54, 0x102000);
    boot_put32(image + 0x58, 0x103000);
    boot_put32(image + 0x5c, 0x100080);
}

/* ELF linked at 0xc0100000, loaded at 1 MiB, with a second segment in low memory. */
static void make_elf(void)
{
    static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 1, 1, 1};
    memset(image, 0, sizeof image);
    memcpy(image, ident, sizeof ident);
    boot_put16(image + 16, 2);
    boot_put16(image + 18, 3);
    boot_put32(image + 24, 0xc0100010); /* entry */
    boot_put32(image + 28, 52);
    boot_put16(image + 42, 32);
    boot_put16(image + 44, 2);
    static const uint32_t headers[2][8] = {
        {1, 0x1000, 0xc0100000, 0x100000, 0x800, 0x2000, 5, 0x1000},
        {1, 0x800,  0x9000,     0x9000,   0x10,  0x10,   6, 0x1000},
    };
    memcpy(image + 52, headers, sizeof headers);
    put_header(0x200, 0x3);
    memset(image + 0x1000, 0xaa, 0x800);
    memset(image + 0x800, 0xbb, 0x10);
}

static struct attempt boot(struct machine_config c)
{
    return boot_kernel(c, image, sizeof image);
}

TestSuite(boot_multiboot, .init = make_addressed, .timeout = 60);

Test(boot_multiboot, entry_state)
{
    struct machine *m = assert_taken(boot(base_config()));
    const struct vcpu *v = m->vcpu;
    cr_assert_eq(v->gpr[R_EAX], 0x2badb002);
    cr_assert_eq(v->eip, 0x100080);
    cr_assert_eq(v->cr0 & (CR0_PE | CR0_PG), CR0_PE);
    cr_assert_eq(v->eflags & (EFL_IF | EFL_VM), 0);
    for (unsigned s = SEG_ES; s <= SEG_GS; s++)
        cr_assert(v->seg[s].base == 0 && v->seg[s].limit == 0xffffffff);
    cr_assert(v->seg[SEG_CS].attr & SEG_ATTR_CODE);
    cr_assert(phys_a20(m->phys));
    cr_assert_eq(guest32(m, 0x101ffc), 0x90909090);
    cr_assert_eq(guest32(m, 0x102000), 0);
    machine_destroy(m);
}

Test(boot_multiboot, information)
{
    struct machine_config c = base_config();
    c.append = "root=hd0 -s";
    struct machine *m = assert_taken(boot(c));
    uint32_t info = m->vcpu->gpr[R_EBX];
    cr_assert_eq(guest32(m, info), 0x24d, "memory, command line, modules, map, loader name");
    cr_assert_eq(guest32(m, info + 4), 639);
    cr_assert_eq(guest32(m, info + 8), 15 * 1024);
    char line[128] = {0};
    cr_assert(phys_dma_read(m->phys, guest32(m, info + 16), line, sizeof line - 1));
    cr_assert(strstr(line, " root=hd0 -s"), "%s", line);
    cr_assert_eq(guest32(m, info + 20), 0);
    assert_guest_string(m, guest32(m, info + 64), "ringdown");
    uint32_t at = guest32(m, info + 48), end = at + guest32(m, info + 44);
    uint64_t ram = 0;
    while (at < end) {
        if (guest32(m, at + 20) == 1)
            ram += phys_read(m->phys, at + 12, 4);
        at += guest32(m, at) + 4;
    }
    cr_assert_eq(at, end);
    cr_assert_eq(ram, 15 * MIB + 0x9fc00);
    machine_destroy(m);
}

Test(boot_multiboot, elf_segments_and_virtual_entry)
{
    make_elf();
    struct machine *m = assert_taken(boot(base_config()));
    cr_assert_eq(m->vcpu->eip, 0x100010);
    cr_assert_eq(guest32(m, 0x1007fc), 0xaaaaaaaa);
    cr_assert_eq(guest32(m, 0x100800), 0, "the rest of memsz is cleared");
    cr_assert_eq(guest32(m, 0x900c), 0xbbbbbbbb);
    uint32_t info = m->vcpu->gpr[R_EBX];
    cr_assert(info >= 0x9010 && m->vcpu->gdtr.base >= 0x9010, "clear of the kernel's low segment");
    machine_destroy(m);
}

Test(boot_multiboot, elf_sections_go_behind_the_kernel)
{
    make_elf();
    boot_put32(image + 32, 0x1c00);
    boot_put16(image + 46, 40);
    boot_put16(image + 48, 2);
    boot_put16(image + 50, 1);
    boot_put32(image + 0x1c00 + 40 + 4, 3);       /* a string table, not allocated */
    boot_put32(image + 0x1c00 + 40 + 16, 0x1d00); /* offset */
    boot_put32(image + 0x1c00 + 40 + 20, 9);
    memcpy(image + 0x1d00, "\0.strtab", 9);
    struct machine *m = assert_taken(boot(base_config()));
    uint32_t info = m->vcpu->gpr[R_EBX], table = guest32(m, info + 36);
    cr_assert(guest32(m, info) & 0x20);
    cr_assert_eq(guest32(m, info + 28), 2);
    cr_assert_eq(guest32(m, info + 32), 40);
    cr_assert_eq(guest32(m, info + 40), 1);
    cr_assert(table >= 0x102000);
    assert_guest_string(m, guest32(m, table + 40 + 12) + 1, ".strtab");
    machine_destroy(m);
    boot_put32(image + 0x1c00 + 40 + 20, 0xffffffff);
    m = assert_taken(boot(base_config()));
    cr_assert_eq(guest32(m, m->vcpu->gpr[R_EBX]) & 0x20, 0, "left out, not refused");
    machine_destroy(m);
}

Test(boot_multiboot, modules)
{
    static uint8_t data[5000];
    memset(data, 0x6d, sizeof data);
    char *one = write_temporary(data, sizeof data), *two = write_temporary(data, 1);
    char spec[128];
    snprintf(spec, sizeof spec, "%s first=1 second", one);
    const char *const modules[] = {spec, two};
    struct machine_config c = base_config();
    c.modules = modules;
    c.module_count = 2;
    struct machine *m = assert_taken(boot(c));
    uint32_t info = m->vcpu->gpr[R_EBX], list = guest32(m, info + 24);
    cr_assert_eq(guest32(m, info + 20), 2);
    uint32_t first = guest32(m, list), second = guest32(m, list + 16);
    cr_assert_eq(first, 0x103000, "the first page behind the bss");
    cr_assert_eq(guest32(m, list + 4) - first, sizeof data);
    cr_assert_eq(second, 0x105000);
    cr_assert_eq(guest32(m, list + 20) - second, 1);
    cr_assert_eq(guest32(m, first + 4096), 0x6d6d6d6d);
    assert_guest_string(m, guest32(m, list + 8), spec);
    assert_guest_string(m, guest32(m, list + 24), two);
    machine_destroy(m);

    c.memory = 1 * MIB + 0x100000;
    const char *const huge[] = {"/dev/zero"};
    c.modules = huge;
    c.module_count = 1;
    assert_refused(boot(c), "/dev/zero");
    remove_temporary(one);
    remove_temporary(two);
}

Test(boot_multiboot, gzip)
{
    uint8_t packed[IMAGE_SIZE];
    z_stream z = {
        .next_in = image, .avail_in = sizeof image, .next_out = packed, .avail_out = sizeof packed};
    cr_assert_eq(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
    cr_assert_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t size = z.total_out;
    deflateEnd(&z);
    struct machine *m = assert_taken(boot_kernel(base_config(), packed, size));
    cr_assert_eq(m->vcpu->eip, 0x100080);
    machine_destroy(m);
    for (size_t cut = 18; cut < size; cut += 3)
        assert_refused(boot_kernel(base_config(), packed, cut), "gzip data are truncated");
    packed[size / 2] ^= 0x55;
    struct attempt a = boot_kernel(base_config(), packed, size);
    cr_assert_null(a.m);
}

Test(boot_multiboot, a_bomb_is_not_unpacked)
{
    static uint8_t zeros[1 << 20];
    uint8_t *packed = malloc(1 << 20);
    z_stream z = {.next_out = packed, .avail_out = 1 << 20};
    cr_assert_eq(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
    for (unsigned i = 0; i < 64; i++) {
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        cr_assert(deflate(&z, i == 63 ? Z_FINISH : Z_NO_FLUSH) >= 0);
    }
    size_t size = z.total_out;
    deflateEnd(&z);
    assert_refused(boot_kernel(base_config(), packed, size), "unpacks to more");
    free(packed);
}

Test(boot_multiboot, headers_that_lie)
{
    struct machine_config c = base_config();
    make_elf();
    image[4] = 2;
    assert_refused(boot(c), "32-bit");
    make_elf();
    boot_put32(image + 28, 0xfffffff0);
    assert_refused(boot(c), "program headers");
    make_elf();
    boot_put16(image + 44, 0xffff);
    assert_refused(boot(c), "program headers");
    make_elf();
    boot_put32(image + 52 + 4, 0xffffff00);
    assert_refused(boot(c), "truncated");
    make_elf();
    boot_put32(image + 52 + 20, 0xffffffff);
    assert_refused(boot(c), "outside memory");
    make_elf();
    boot_put32(image + 52 + 12, 0xfffff000);
    assert_refused(boot(c), "outside memory");
    make_elf();
    boot_put32(image + 52, 4);
    boot_put32(image + 84, 4);
    assert_refused(boot(c), "no segment");
}

Test(boot_multiboot, hostile_images)
{
    uint64_t seed = 0xd1b54a32d192ed03ull;
    for (unsigned round = 0; round < 300; round++) {
        bool elf = round & 1;
        if (elf)
            make_elf();
        else
            make_addressed();
        for (unsigned n = random32(&seed) % 10; n; n--)
            image[random32(&seed) % (elf ? 116 : 0x60)] = (uint8_t)random32(&seed);
        put_header(elf ? 0x200 : 0x40, elf ? 3 : 0x10003);
        size_t size = round & 2 ? sizeof image : 0x300 + random32(&seed) % (sizeof image - 0x300);
        struct attempt a = boot_kernel(base_config(), image, size);
        cr_assert(a.m || (a.bad_input && a.err[0] && !strchr(a.err, '\n')), "round %u", round);
        machine_destroy(a.m);
    }
}
