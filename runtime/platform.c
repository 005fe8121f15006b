/* SPDX-License-Identifier: MIT */
/* platform.c: the board of a PC with i440FX and PIIX parts: creates the devices and draws the
 * traces between them.
 *
 * One table lists the devices in the order of their making: what each needs stands above it. Reset
 * goes down the same table, the end goes up. */
#include "runtime/platform.h"

#include "devices/debug_ports.h"
#include "devices/fw_cfg.h"
#include "devices/hpet.h"
#include "devices/i8042.h"
#include "devices/ioapic.h"
#include "devices/irq.h"
#include "devices/lapic.h"
#include "devices/pci.h"
#include "devices/pic.h"
#include "devices/pit.h"
#include "devices/pm.h"
#include "devices/rtc.h"
#include "devices/uart.h"
#include "runtime/console.h"
#include "runtime/fpu.h"
#include "runtime/lockstep.h"
#include "runtime/mmu.h"
#include "runtime/system.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FPU_BUSY_PORT 0xf0 /* a write clears FERR#; 0xf1 resets the coprocessor */
#define GSI_PIT       0
#define GSI_KEYBOARD  1
#define GSI_COM2      3
#define GSI_COM1      4
#define GSI_RTC       8
#define GSI_MOUSE     12
#define GSI_FPU       13

struct platform {
    struct machine *machine;
    struct lapic *lapic;
    struct pic *pic;
    struct ioapic *ioapic;
    struct irq_router *irqs;
    struct hpet *hpet;
    struct pit *pit;
    struct rtc *rtc;
    struct i8042 *i8042;
    struct console *console;
    struct uart *com1;
    struct pci *pci;
    struct pm *pm;
    struct fw_cfg *fw_cfg;
    struct debug_exit *debug_exit;
    struct debug_console *e9;
    struct debug_post *post;
    struct irq_line ferr;
    bool nmi, init, startup;
};

/* --- what devices ask of the machine --- */

static void control_event(void *opaque, enum machine_event event, uint32_t value)
{
    struct machine *m = opaque;
    switch (event) {
    case MACHINE_POWER_OFF:
        machine_stop(m, END_POWER_OFF);
        break;
    case MACHINE_RESET:
        if (m->config.no_reboot)
            machine_stop(m, END_POWER_OFF);
        else
            m->reset_pending = true;
        break;
    case MACHINE_DEBUG_EXIT:
        m->end_value = value;
        machine_stop(m, END_DEBUG_EXIT);
        break;
    case MACHINE_SUSPEND:
        m->suspended = true;
        break;
    case MACHINE_WAKE:
        m->wake_pending = true;
        break;
    }
    atomic_fetch_or(&m->vcpu->request, VCPU_REQ_EVENT);
}

/* --- the processor's pins --- */

static void intr_set(void *opaque, unsigned input, int level)
{
    struct platform *p = opaque;
    (void)input;
    if (level)
        atomic_fetch_or(&p->machine->vcpu->request, VCPU_REQ_EVENT);
}

static void nmi_set(void *opaque, unsigned input, int level)
{
    struct platform *p = opaque;
    (void)input;
    if (!level)
        return;
    p->nmi = true;
    atomic_fetch_or(&p->machine->vcpu->request, VCPU_REQ_EVENT);
}

/* INIT to the boot processor restarts the firmware. A machine that has none begins anew: its kernel
 * was started by us, and there is nothing at the reset vector. */
static void init_set(void *opaque, unsigned input, int level)
{
    struct platform *p = opaque;
    (void)input;
    if (!level)
        return;
    if (!p->machine->rom_loaded) {
        control_event(p->machine, MACHINE_RESET, 0);
        return;
    }
    p->init = true;
    atomic_fetch_or(&p->machine->vcpu->request, VCPU_REQ_EVENT);
}

static void startup_set(void *opaque, unsigned input, int level)
{
    struct platform *p = opaque;
    (void)input;
    p->startup |= level;
    atomic_fetch_or(&p->machine->vcpu->request, VCPU_REQ_EVENT);
}

static void a20_set(void *opaque, unsigned input, int level)
{
    struct machine *m = opaque;
    (void)input;
    if (phys_a20(m->phys) == !!level)
        return;
    phys_set_a20(m->phys, level);
    mmu_flush_all(m->vcpu);
}

/* Without a ROM the area holds the tables of a direct boot, whatever the registers say. */
static void pam_set(void *opaque, uint32_t base, uint32_t size, bool readable, bool writable)
{
    static const enum phys_shadow shadow[2][2] = {
        {PHYS_SHADOW_ROM,  PHYS_SHADOW_COPY},
        {PHYS_SHADOW_READ, PHYS_SHADOW_RAM }
    };
    struct machine *m = opaque;
    if (!m->rom_loaded)
        return;
    phys_set_shadow(m->phys, base >> 12, size >> 12, shadow[readable][writable]);
    mmu_flush_all(m->vcpu);
}

/* --- FERR# and IGNNE# --- */

static void fpu_port_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct platform *p = dev;
    (void)off, (void)value, (void)size;
    irq_set(&p->ferr, 0);
    fpu_ignore_error(p->machine->vcpu);
}

static uint32_t fpu_port_read(void *dev, uint32_t off, unsigned size)
{
    (void)dev, (void)off, (void)size;
    return 0xff;
}

static const struct io_ops fpu_port_ops = {fpu_port_read, fpu_port_write, 1};

/* --- guest memory for DMA --- */

static bool dma_read(void *opaque, uint64_t gpa, void *buf, size_t n)
{
    const struct machine *m = opaque;
    return phys_dma_read(m->phys, gpa, buf, n);
}

static bool dma_write(void *opaque, uint64_t gpa, const void *buf, size_t n)
{
    const struct machine *m = opaque;
    if (m->lockstep)
        lockstep_dma(m->lockstep, gpa, buf, n);
    return phys_dma_write(m->phys, gpa, buf, n);
}

/* --- making --- */

static bool create_interrupts(struct platform *p)
{
    struct machine *m = p->machine;
    struct irq_line intr = {intr_set, p, 0}, nmi = {nmi_set, p, 0}, init = {init_set, p, 0},
                    startup = {startup_set, p, 0};
    p->lapic = lapic_create(m->bus, m->clock, intr, nmi, init, startup);
    p->pic = p->lapic ? pic_create(m->bus, lapic_lint0(p->lapic)) : NULL;
    p->ioapic = p->pic ? ioapic_create(m->bus, p->lapic) : NULL;
    p->irqs = p->ioapic ? irq_router_create(p->pic, p->ioapic) : NULL;
    if (!p->irqs)
        return false;
    lapic_connect_pic(p->lapic, p->pic);
    p->ferr = irq_router_line(p->irqs, GSI_FPU);
    fpu_connect_ferr(m->vcpu, p->ferr);
    return !bus_map_port(m->bus, FPU_BUSY_PORT, 2, &fpu_port_ops, p);
}

static bool create_timers(struct platform *p)
{
    struct machine *m = p->machine;
    struct irq_line pins[HPET_PINS];
    for (unsigned i = 0; i < HPET_PINS; i++)
        pins[i] = irq_router_line(p->irqs, HPET_PIN_FIRST + i);
    p->hpet = hpet_create(m->bus, m->clock, irq_router_line(p->irqs, GSI_PIT),
                          irq_router_line(p->irqs, GSI_RTC), pins);
    if (!p->hpet)
        return false;
    p->pit = pit_create(m->bus, m->clock, hpet_pit_line(p->hpet));
    return p->pit;
}

static bool create_devices(struct platform *p)
{
    struct machine *m = p->machine;
    struct bus *bus = m->bus;
    struct machine_control control = {control_event, m};
    struct irq_line a20 = {a20_set, m, 0};
    struct irq_router *irqs = p->irqs;
    struct chardev serial = console_chardev(p->console);
    struct dma dma = {dma_read, dma_write, m};

    p->i8042 = i8042_create(bus, irq_router_line(irqs, GSI_KEYBOARD),
                            irq_router_line(irqs, GSI_MOUSE), a20, control);
    p->com1 = uart_create(bus, m->clock, UART_COM1, irq_router_line(irqs, GSI_COM1), serial);
    p->pci = pci_create(bus, irqs, control);
    if (p->pci)
        pci_on_pam(p->pci, pam_set, m);
    p->pm = p->pci ? pm_create(bus, m->clock, p->pci, irq_router_line(irqs, PM_SCI_IRQ), control)
                   : NULL;
    p->fw_cfg = fw_cfg_create(bus, dma);
    p->e9 = debug_console_create(bus, DEBUG_CONSOLE_E9, serial);
    p->post = debug_post_create(bus);
    if (m->config.debug_exit)
        p->debug_exit = debug_exit_create(bus, DEBUG_EXIT_PORT, control);
    p->rtc = p->pm ? rtc_create(bus, m->clock, hpet_rtc_line(p->hpet), pm_alarm_line(p->pm)) : NULL;
    return p->rtc && p->i8042 && p->com1 && p->pci && p->pm && p->fw_cfg && p->e9 && p->post &&
           (p->debug_exit || !m->config.debug_exit);
}

/* What firmware and test kernels ask fw_cfg about the machine. */
static bool describe_machine(struct platform *p)
{
    uint64_t ram = phys_ram_size(p->machine->phys);
    struct fw_cfg_e820 e820 = {0, ram, 1};
    rtc_set_memory(p->rtc, ram, 0);
    return !fw_cfg_add_u64(p->fw_cfg, FW_CFG_RAM_SIZE, ram) &&
           !fw_cfg_add_u16(p->fw_cfg, FW_CFG_NB_CPUS, 1) &&
           !fw_cfg_add_u16(p->fw_cfg, FW_CFG_MAX_CPUS, 1) &&
           !fw_cfg_add_u16(p->fw_cfg, FW_CFG_NOGRAPHIC, 1) &&
           !fw_cfg_add_u16(p->fw_cfg, FW_CFG_BOOT_MENU, 0) &&
           !fw_cfg_add_u32(p->fw_cfg, FW_CFG_X86_IRQ0_OVERRIDE, 1) &&
           !fw_cfg_add_file(p->fw_cfg, "etc/e820", &e820, sizeof e820);
}

struct platform *platform_create(struct machine *m, char *err, size_t err_size, bool *bad_input)
{
    struct platform *p = calloc(1, sizeof *p);
    if (!p) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    p->machine = m;
    p->console = console_create(m, m->config.serial, err, err_size, bad_input);
    if (!p->console) {
        free(p);
        return NULL;
    }
    if (!create_interrupts(p) || !create_timers(p) || !create_devices(p) || !describe_machine(p)) {
        snprintf(err, err_size, "cannot create the devices: out of memory");
        platform_destroy(p);
        return NULL;
    }
    return p;
}

void platform_destroy(struct platform *p)
{
    if (!p)
        return;
    if (p->debug_exit)
        debug_exit_destroy(p->debug_exit);
    if (p->post)
        debug_post_destroy(p->post);
    if (p->e9)
        debug_console_destroy(p->e9);
    if (p->fw_cfg)
        fw_cfg_destroy(p->fw_cfg);
    if (p->pm)
        pm_destroy(p->pm);
    if (p->pci)
        pci_destroy(p->pci);
    if (p->com1)
        uart_destroy(p->com1);
    if (p->i8042)
        i8042_destroy(p->i8042);
    if (p->rtc)
        rtc_destroy(p->rtc);
    if (p->pit)
        pit_destroy(p->pit);
    if (p->hpet)
        hpet_destroy(p->hpet);
    if (p->irqs)
        irq_router_destroy(p->irqs);
    if (p->ioapic)
        ioapic_destroy(p->ioapic);
    if (p->pic)
        pic_destroy(p->pic);
    if (p->lapic)
        lapic_destroy(p->lapic);
    console_destroy(p->console);
    free(p);
}

/* But for what has a battery. */
static void reset_board(struct platform *p)
{
    p->nmi = p->init = p->startup = false;
    lapic_reset(p->lapic);
    pic_reset(p->pic);
    ioapic_reset(p->ioapic);
    irq_router_reset(p->irqs);
    hpet_reset(p->hpet);
    pit_reset(p->pit);
    i8042_reset(p->i8042);
    uart_reset(p->com1);
    pci_reset(p->pci); /* and with it the functions on it */
    fw_cfg_reset(p->fw_cfg);
}

void platform_reset(struct platform *p)
{
    reset_board(p);
    rtc_reset(p->rtc);
}

void platform_wake(struct platform *p)
{
    reset_board(p);
}

void platform_bios_init(struct platform *p)
{
    pic_bios_init(p->pic);
    pit_bios_init(p->pit);
    pm_bios_init(p->pm);
    pci_assign(p->pci);
}

void platform_poll(struct platform *p)
{
    console_poll(p->console);
    uart_poll(p->com1);
}

bool platform_interrupt_line(const struct platform *p)
{
    return lapic_has_interrupt(p->lapic);
}

int platform_ack_interrupt(struct platform *p)
{
    return lapic_ack(p->lapic);
}

bool platform_nmi_line(const struct platform *p)
{
    return p->nmi;
}

void platform_ack_nmi(struct platform *p)
{
    p->nmi = false;
}

bool platform_take_init(struct platform *p)
{
    bool init = p->init;
    p->init = false;
    return init;
}

int platform_take_startup(struct platform *p)
{
    bool startup = p->startup;
    p->startup = false;
    return startup ? lapic_startup_page(p->lapic) : -1;
}

struct lapic *platform_lapic(struct platform *p)
{
    return p->lapic;
}

struct rtc *platform_rtc(struct platform *p)
{
    return p->rtc;
}

void platform_power_button(struct platform *p)
{
    pm_power_button(p->pm);
}

struct fw_cfg *platform_fw_cfg(struct platform *p)
{
    return p->fw_cfg;
}
