/* SPDX-License-Identifier: MIT */
/* A guest that writes anything anywhere: a whole board takes random accesses of every size while
 * time passes in leaps, and neither breaks an invariant nor fails to come back. The sanitizers
 * judge the rest. Deterministic: the generator's seed is the test's. */
#include "devices/debug_ports.h"
#include "devices/fw_cfg.h"
#include "devices/i8042.h"
#include "devices/ioapic.h"
#include "devices/irq.h"
#include "devices/lapic.h"
#include "devices/pci.h"
#include "devices/pic.h"
#include "devices/hpet.h"
#include "devices/pit.h"
#include "devices/pm.h"
#include "devices/rtc.h"
#include "devices/uart.h"
#include "scripted_bus.h"

#define ACCESSES 300000
#define RAM_SIZE 65536

struct board {
    struct rig rig;
    struct lapic *lapic;
    struct pic *pic;
    struct ioapic *ioapic;
    struct irq_router *irqs;
    struct hpet *hpet;
    struct pit *pit;
    struct rtc *rtc;
    struct i8042 *kbd;
    struct uart *uart;
    struct pci *pci;
    struct pm *pm;
    struct fw_cfg *fw;
    struct debug_exit *exit;
    struct pci_function *card;
    uint64_t seed;
    uint8_t ram[RAM_SIZE];
};

static uint32_t draw(struct board *b)
{
    b->seed ^= b->seed << 13;
    b->seed ^= b->seed >> 7;
    b->seed ^= b->seed << 17;
    return (uint32_t)(b->seed >> 16);
}

static bool ram_read(void *opaque, uint64_t gpa, void *buf, size_t n)
{
    struct board *b = opaque;
    if (gpa > RAM_SIZE || n > RAM_SIZE - gpa)
        return false;
    memcpy(buf, b->ram + gpa, n);
    return true;
}

static bool ram_write(void *opaque, uint64_t gpa, const void *buf, size_t n)
{
    struct board *b = opaque;
    if (gpa > RAM_SIZE || n > RAM_SIZE - gpa)
        return false;
    memcpy(b->ram + gpa, buf, n);
    return true;
}

static size_t fickle_sink(void *opaque, const uint8_t *buf, size_t n)
{
    (void)buf;
    return draw(opaque) & 1 ? n : n / 2;
}

static size_t random_source(void *opaque, uint8_t *buf, size_t n)
{
    if (draw(opaque) & 7)
        return 0;
    memset(buf, (int)draw(opaque), n);
    return n;
}

static uint32_t card_read(void *dev, uint32_t off, unsigned size)
{
    uint32_t value = 0;
    memcpy(&value, (uint8_t *)dev + off, size);
    return value;
}

static void card_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    memcpy((uint8_t *)dev + off, &value, size);
}

static const struct io_ops card_ops = {card_read, card_write, 4};
static uint8_t card_io[256], card_memory[4096];

static void setup(struct board *b)
{
    memset(b, 0, sizeof(*b));
    b->seed = 0x9e3779b97f4a7c15;
    rig_init(&b->rig);
    struct bus *bus = b->rig.bus;
    struct clock *clock = b->rig.clock;
    struct machine_control control = rig_control(&b->rig);
    b->lapic = lapic_create(bus, clock, rig_line(&b->rig, 0), rig_line(&b->rig, 1),
                            rig_line(&b->rig, 2), rig_line(&b->rig, 3));
    b->pic = pic_create(bus, lapic_lint0(b->lapic));
    lapic_connect_pic(b->lapic, b->pic);
    b->ioapic = ioapic_create(bus, b->lapic);
    b->irqs = irq_router_create(b->pic, b->ioapic);
    struct irq_line pins[HPET_PINS];
    for (unsigned i = 0; i < HPET_PINS; i++)
        pins[i] = irq_router_line(b->irqs, HPET_PIN_FIRST + i);
    b->hpet =
        hpet_create(bus, clock, irq_router_line(b->irqs, 0), irq_router_line(b->irqs, 8), pins);
    b->pit = pit_create(bus, clock, hpet_pit_line(b->hpet));
    b->kbd = i8042_create(bus, irq_router_line(b->irqs, 1), irq_router_line(b->irqs, 12),
                          rig_line(&b->rig, 3), control);
    b->uart = uart_create(bus, clock, UART_COM1, irq_router_line(b->irqs, 4),
                          (struct chardev){fickle_sink, random_source, b});
    b->pci = pci_create(bus, b->irqs, control);
    b->pm = pm_create(bus, clock, b->pci, irq_router_line(b->irqs, 9), control);
    b->rtc = rtc_create(bus, clock, hpet_rtc_line(b->hpet), pm_alarm_line(b->pm));
    rtc_set_time(b->rtc, 1000000000);
    b->fw = fw_cfg_create(bus, (struct dma){ram_read, ram_write, b});
    b->exit = debug_exit_create(bus, DEBUG_EXIT_PORT, control);
    const struct pci_config card = {
        .vendor = 0x1234,
        .device = 0x1111,
        .interrupt_pin = 1,
        .bar = {{.size = 256, .io = true, .ops = &card_ops, .dev = card_io},
                {.size = 4096, .ops = &card_ops, .dev = card_memory}},
    };
    b->card = pci_add(b->pci, 5, 0, &card);
    pci_assign(b->pci);
    pm_bios_init(b->pm);
}

static void teardown(struct board *b)
{
    debug_exit_destroy(b->exit);
    fw_cfg_destroy(b->fw);
    pm_destroy(b->pm);
    pci_destroy(b->pci);
    uart_destroy(b->uart);
    i8042_destroy(b->kbd);
    rtc_destroy(b->rtc);
    pit_destroy(b->pit);
    hpet_destroy(b->hpet);
    irq_router_destroy(b->irqs);
    ioapic_destroy(b->ioapic);
    pic_destroy(b->pic);
    lapic_destroy(b->lapic);
    rig_fini(&b->rig);
}

static uint16_t some_port(struct board *b)
{
    static const uint16_t base[] = {0x20,  0x21,  0xa0,  0xa1,  0x4d0, 0x40,  0x43,  0x60,
                                    0x61,  0x64,  0x70,  0x71,  0x92,  0xb2,  0xf4,  0x3f8,
                                    0x3fc, 0x510, 0x514, 0x600, 0x608, 0xcf8, 0xcfc, 0xafe0};
    if (!(draw(b) & 15))
        return (uint16_t)draw(b);
    return (uint16_t)(base[draw(b) % (sizeof(base) / sizeof(base[0]))] + (draw(b) & 3));
}

static uint64_t some_address(struct board *b)
{
    switch (draw(b) & 7) {
    case 0:
        return IOAPIC_BASE + (draw(b) & 0x1f);
    case 1:
        return draw(b);
    case 2:
    case 3:
        return HPET_BASE + (draw(b) & 0x1ff);
    default:
        return LAPIC_DEFAULT_BASE + (draw(b) & 0xfff);
    }
}

static void random_access(struct board *b)
{
    unsigned size = 1u << (draw(b) & 3), port_size = size > 4 ? 1 : size;
    uint32_t value = draw(b) & 1 ? draw(b) : draw(b) & 0xff;
    switch (draw(b) & 7) {
    case 0:
        bus_mmio_read(b->rig.bus, some_address(b), size);
        break;
    case 1:
    case 2:
        bus_mmio_write(b->rig.bus, some_address(b), (uint64_t)value << 32 | value, size);
        break;
    case 3:
    case 4:
        bus_port_read(b->rig.bus, some_port(b), port_size);
        break;
    default:
        if (!(draw(b) & 7)) /* aim at configuration space */
            bus_port_write(b->rig.bus, 0xcf8, 0x80000000u | (draw(b) & 0x3ffc), 4);
        bus_port_write(b->rig.bus, some_port(b), value, port_size);
        break;
    }
}

static void random_event(struct board *b)
{
    struct irq_line intx = pci_intx(b->card);
    switch (draw(b) & 15) {
    case 0:
        i8042_key(b->kbd, (uint16_t)draw(b), draw(b) & 1);
        break;
    case 1:
        uart_poll(b->uart);
        break;
    case 2:
        irq_set(&intx, draw(b) & 1);
        break;
    case 3:
        rig_oversleep(&b->rig, (uint64_t)draw(b) << (draw(b) & 7));
        break;
    case 4:
        lapic_set_base(b->lapic, (uint64_t)draw(b) << 8 | LAPIC_BASE_ENABLE);
        lapic_set_base(b->lapic, LAPIC_DEFAULT_BASE | (draw(b) & LAPIC_BASE_ENABLE));
        break;
    case 5:
        lapic_reset(b->lapic);
        break;
    default:
        if (lapic_has_interrupt(b->lapic)) {
            int vector = lapic_ack(b->lapic);
            cr_assert(vector >= 0 && vector < 256, "a pending interrupt has a vector");
        }
        break;
    }
}

Test(hostile, board)
{
    static struct board b;
    setup(&b);
    for (unsigned i = 0; i < ACCESSES; i++) {
        random_access(&b);
        random_event(&b);
        rig_oversleep(&b.rig, draw(&b) & 0xffff);
        cr_assert_eq(b.rig.level[0], lapic_has_interrupt(b.lapic), "INTR is what is pending");
        cr_assert_gt(clock_next_deadline(b.rig.clock), b.rig.now, "nothing is due again at once");
    }
    pic_reset(b.pic);
    pit_reset(b.pit);
    rtc_reset(b.rtc);
    i8042_reset(b.kbd);
    uart_reset(b.uart);
    pci_reset(b.pci);
    fw_cfg_reset(b.fw);
    ioapic_reset(b.ioapic);
    lapic_reset(b.lapic);
    irq_router_reset(b.irqs);
    teardown(&b);
}
