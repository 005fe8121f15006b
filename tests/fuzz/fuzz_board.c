/* SPDX-License-Identifier: MIT */
/* fuzz_board.c: any sequence of accesses to ports and device memory, interrupt acknowledgements and
 * leaps of time, on the whole board. Five bytes a step, and the value of a write. */
#include "tests/fuzz/fuzz.h"

#include "runtime/phys.h"
#include "runtime/platform.h"

#define STEPS 2000u

enum {
    STEP_IN,
    STEP_OUT,
    STEP_MMIO_READ,
    STEP_MMIO_WRITE,
    STEP_TIME,
    STEP_ACK,
    STEP_DMA,
    STEP_KINDS
};

/* Where the board answers; the input adds an offset. */
static const uint64_t bases[] = {0xfec00000, 0xfed00000, 0xfee00000, 0xa0000,       0xfff00000,
                                 0xfffff000, 0,          0xe0000,    0x100000000ull};

static void step(struct machine *m, struct reader *r, uint64_t *now)
{
    unsigned kind = fuzz_take(r, 1), size = 1u << (kind >> 4 & 3);
    uint64_t gpa = bases[kind >> 5 & 7];
    struct bus *bus = m->bus;
    switch ((kind & 15) % STEP_KINDS) {
    case STEP_IN:
        (void)bus_port_read(bus, (uint16_t)fuzz_take(r, 2), size > 4 ? 4 : size);
        break;
    case STEP_OUT: {
        uint16_t port = (uint16_t)fuzz_take(r, 2);
        bus_port_write(bus, port, fuzz_take(r, size > 4 ? 4 : size), size > 4 ? 4 : size);
        break;
    }
    case STEP_MMIO_READ:
        (void)phys_read(m->phys, gpa + fuzz_take(r, 2), size);
        break;
    case STEP_MMIO_WRITE:
        gpa += fuzz_take(r, 2);
        phys_write(m->phys, gpa, fuzz_take(r, 4), size);
        break;
    case STEP_TIME:
        *now += (uint64_t)fuzz_take(r, 2) << (kind >> 4);
        clock_set_manual(m->clock, *now);
        clock_run_due(m->clock);
        platform_poll(m->platform);
        break;
    case STEP_ACK:
        if (platform_interrupt_line(m->platform))
            (void)platform_ack_interrupt(m->platform);
        if (platform_nmi_line(m->platform))
            platform_ack_nmi(m->platform);
        break;
    default:
        gpa = fuzz_take(r, 3);
        phys_write(m->phys, gpa, fuzz_take(r, 4), 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t now = 1000000;
    struct machine *m = fuzz_machine(ENGINE_INTERP);
    struct reader r = {data, data + size};
    platform_reset(m->platform);
    if (size && *data & 1)
        platform_bios_init(m->platform);
    for (unsigned steps = 0; r.at < r.end && steps < STEPS; steps++)
        step(m, &r, &now);
    return 0;
}
