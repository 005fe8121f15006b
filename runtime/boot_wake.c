/* SPDX-License-Identifier: MIT */
/* boot_wake.c: out of suspend to RAM (ACPI 1.0b, 9.3.2): memory is what it was, processor and
 * devices are as after RESET. A ROM takes it from there, by the shutdown byte that tells it why;
 * without one this is the firmware, which sets up the devices and jumps to the operating system's
 * waking vector in real mode. */
#include "runtime/boot.h"

#include "devices/acpi.h"
#include "devices/rtc.h"
#include "runtime/phys.h"
#include "runtime/platform.h"
#include "runtime/system.h"

#define CMOS_SHUTDOWN  0x0f
#define SHUTDOWN_WAKE  0xfe /* what SeaBIOS takes for a resume */
#define FACS_SIGNATURE 0x53434146u
#define FACS_VECTOR    12u
#define REAL_MODE_END  0x110000u

/* Of the FACS that we have made; 0 if the guest has set none, or has written over the table. */
static uint32_t waking_vector(struct machine *m)
{
    uint32_t facs = acpi_facs(BOOT_TABLES_ACPI);
    if ((uint32_t)phys_read(m->phys, facs, 4) != FACS_SIGNATURE)
        return 0;
    uint32_t vector = (uint32_t)phys_read(m->phys, facs + FACS_VECTOR, 4);
    return vector < REAL_MODE_END ? vector : 0;
}

bool boot_wake(struct machine *m)
{
    struct vcpu *v = m->vcpu;
    if (m->rom_loaded) {
        rtc_set_cmos(platform_rtc(m->platform), CMOS_SHUTDOWN, SHUTDOWN_WAKE);
        return true;
    }
    uint32_t vector = waking_vector(m);
    if (!vector)
        return false;
    platform_bios_init(m->platform);
    msr_bios_init(v);
    v->seg[SEG_CS].sel = (uint16_t)(vector >> 4);
    v->seg[SEG_CS].base = vector & ~0xfu;
    v->eip = vector & 0xf;
    return true;
}
