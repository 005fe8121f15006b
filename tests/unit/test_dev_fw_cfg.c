/* SPDX-License-Identifier: MIT */
/* fw_cfg: items, directory, DMA; debug ports. */
#include "devices/debug_ports.h"
#include "devices/fw_cfg.h"
#include "scripted_bus.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>

#define RAM_SIZE 65536

struct fixture {
    struct rig rig;
    struct fw_cfg *fw;
    uint8_t ram[RAM_SIZE];
};

static bool ram_read(void *opaque, uint64_t gpa, void *buf, size_t n)
{
    struct fixture *f = opaque;
    if (gpa > RAM_SIZE || n > RAM_SIZE - gpa)
        return false;
    memcpy(buf, f->ram + gpa, n);
    return true;
}

static bool ram_write(void *opaque, uint64_t gpa, const void *buf, size_t n)
{
    struct fixture *f = opaque;
    if (gpa > RAM_SIZE || n > RAM_SIZE - gpa)
        return false;
    memcpy(f->ram + gpa, buf, n);
    return true;
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    rig_init(&f->rig);
    f->fw = fw_cfg_create(f->rig.bus, (struct dma){ram_read, ram_write, f});
}

static void teardown(struct fixture *f)
{
    fw_cfg_destroy(f->fw);
    rig_fini(&f->rig);
}

/* Runs one descriptor at address 0; its control word afterwards. */
static uint32_t dma(struct fixture *f, uint32_t control, uint32_t length, uint64_t address)
{
    uint32_t words[4] = {htobe32(control), htobe32(length), htobe32((uint32_t)(address >> 32)),
                         htobe32((uint32_t)address)};
    memcpy(f->ram, words, sizeof(words));
    bus_port_write(f->rig.bus, 0x514, 0, 4);
    bus_port_write(f->rig.bus, 0x518, 0, 4);
    memcpy(words, f->ram, 4);
    return be32toh(words[0]);
}

Test(fw_cfg, ports)
{
    struct fixture f;
    setup(&f);
    fw_cfg_add_u32(f.fw, FW_CFG_KERNEL_SIZE, 0x12345678);
    fw_cfg_add_string(f.fw, FW_CFG_CMDLINE_DATA, "root=/dev/ram");
    fw_cfg_add_u16(f.fw, FW_CFG_NB_CPUS, 1);
    fw_cfg_add_u32(f.fw, FW_CFG_X86_IRQ0_OVERRIDE, 1);
    cr_expect_eq(fw_cfg_add_u16(f.fw, 0x3000, 1), -EINVAL);
    static const struct step script[] = {
        OUTW(0x510, 0),         IN(0x511, 'Q'),      IN(0x511, 'E'),  IN(0x511, 'M'),
        IN(0x511, 'U'),         IN(0x511, 0),        OUTW(0x510, 1),  IN(0x511, 3),
        OUTW(0x510, 8),         IN(0x511, 0x78),     IN(0x511, 0x56), OUTW(0x510, 8),
        IN(0x511, 0x78),        OUTW(0x510, 0x15),   IN(0x511, 'r'),  OUTW(0x510, 0x8002),
        IN(0x511, 1),           OUTW(0x510, 0xffff), IN(0x511, 0),    INL(0x514, 0x554d4551),
        INL(0x518, 0x47464320),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(fw_cfg, directory)
{
    struct fixture f;
    setup(&f);
    static const struct step empty[] = {OUTW(0x510, 0x19), IN(0x511, 0), IN(0x511, 0), IN(0x511, 0),
                                        IN(0x511, 0)};
    RUN(&f.rig, empty);
    struct fw_cfg_e820 e820 = {0, 0xa0000, 1};
    cr_expect_eq(sizeof(e820), 20);
    cr_expect_eq(fw_cfg_add_file(f.fw, "etc/e820", &e820, sizeof(e820)), 0);
    cr_expect_eq(fw_cfg_add_file(f.fw, "bootorder", "x", 1), 0);
    cr_expect_eq(fw_cfg_add_file(f.fw, "etc/e820", &e820, 19), 0, "replaced");
    static const struct step two[] = {
        OUTW(0x510, 0x19), IN(0x511, 0),   IN(0x511, 0),      IN(0x511, 0),
        IN(0x511, 2),      IN(0x511, 0),   IN(0x511, 0),      IN(0x511, 0),
        IN(0x511, 19),     IN(0x511, 0),   IN(0x511, 0x20),   IN(0x511, 0),
        IN(0x511, 0),      IN(0x511, 'e'), OUTW(0x510, 0x21), IN(0x511, 'x'),
    };
    RUN(&f.rig, two);
    char name[64];
    int error = 0;
    for (int i = 0; i < 100 && !error; i++) {
        snprintf(name, sizeof(name), "file%d", i);
        error = fw_cfg_add_file(f.fw, name, "", 0);
    }
    cr_expect_eq(error, -ENOSPC);
    memset(name, 'x', 60);
    name[60] = 0;
    cr_expect_eq(fw_cfg_add_file(f.fw, name, "", 0), -EINVAL);
    teardown(&f);
}

Test(fw_cfg, dma)
{
    struct fixture f;
    setup(&f);
    static uint8_t kernel[20000];
    for (size_t i = 0; i < sizeof(kernel); i++)
        kernel[i] = (uint8_t)(i * 7 + 1);
    fw_cfg_borrow(f.fw, FW_CFG_KERNEL_DATA, kernel, sizeof(kernel));
    cr_expect_eq(dma(&f, 0x0011000a, 10000, 0x1000), 0);
    cr_expect(!memcmp(f.ram + 0x1000, kernel, 10000));
    cr_expect_eq(dma(&f, 4, 1000, 0), 0); /* skip */
    memset(f.ram + 0x5000, 0xee, 12000);
    cr_expect_eq(dma(&f, 2, 11000, 0x5000), 0);
    cr_expect(!memcmp(f.ram + 0x5000, kernel + 11000, 9000));
    for (unsigned i = 9000; i < 11000; i++)
        cr_expect_eq(f.ram[0x5000 + i], 0, "zeros past the end");
    cr_expect_eq(f.ram[0x5000 + 11000], 0xee);
    cr_expect_eq(dma(&f, 0x0011000a, 100, RAM_SIZE - 50), 1, "not RAM");
    cr_expect_eq(dma(&f, 0x0011000a, 100, 1ull << 40), 1);
    cr_expect_eq(dma(&f, 0x7777000a, 0xffffffff, 0x1000), 1, "ends where RAM ends");
    cr_expect_eq(dma(&f, 0x00110010, 100, 0x1000), 1, "nothing can be written");
    bus_port_write(f.rig.bus, 0x518, htobe32(0xfffffff0), 4); /* a descriptor nowhere */
    teardown(&f);
}

/* --- debug ports --- */

static char console[16];
static size_t console_sink(void *opaque, const uint8_t *buf, size_t n)
{
    (void)opaque;
    strncat(console, (const char *)buf, n);
    return n;
}

Test(debug, ports)
{
    struct rig r;
    rig_init(&r);
    struct chardev sink = {.write = console_sink};
    struct debug_exit *e = debug_exit_create(r.bus, DEBUG_EXIT_PORT, rig_control(&r));
    struct debug_console *c = debug_console_create(r.bus, DEBUG_CONSOLE_E9, sink);
    struct debug_post *p = debug_post_create(r.bus);
    static const struct step script[] = {IN(0xe9, 0xe9),  OUT(0xe9, 'o'), OUT(0xe9, 'k'),
                                         OUT(0x80, 0x42), IN(0x80, 0x42), IN(0xf4, 0)};
    RUN(&r, script);
    cr_expect_str_eq(console, "ok");
    cr_expect_eq(debug_post_code(p), 0x42);
    cr_expect_eq(r.event, -1);
    static const struct step end[] = {OUTL(0xf4, 0x12345)};
    RUN(&r, end);
    cr_expect_eq(r.event, MACHINE_DEBUG_EXIT);
    cr_expect_eq(r.event_value, 0x12345);
    debug_exit_destroy(e);
    debug_console_destroy(c);
    debug_post_destroy(p);
    rig_fini(&r);
}
