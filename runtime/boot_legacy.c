/* SPDX-License-Identifier: MIT */
/* boot_legacy.c: what a PC's firmware leaves in memory for whoever goes to real mode: interrupt
 * vectors that lead to code which acknowledges and returns, and the BIOS data area.
 *
 * There are no BIOS services. Those that say whether they have done something say no, with CF set;
 * the others return. */
#include "runtime/boot.h"

#include "devices/uart.h"

#include <string.h>

#define BIOS_SEGMENT 0xf000u
#define VECTORS      256u

/* Handlers, at offsets of segment F000h behind the MP table; 16-bit code. */
struct stub {
    uint16_t offset;
    uint8_t size;
    uint8_t code[48];
};

enum handler { RETURN, TIMER, MASTER, SLAVE, KEYBOARD, CLOCK, MOUSE, EQUIPMENT, MEMORY, FAIL };

static const struct stub stubs[] = {
    [RETURN] = {0xff53, 1,  {0xcf}                                                                                      },
 /* push ds, ax; ds = 0; add 1 to the ticks; at 24 hours: ticks = 0, note the day; int 1ch; EOI
  */
    [TIMER] = {0xfea5, 44, {0x1e, 0x50, 0x31, 0xc0, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x6c, 0x04,
                            0x66, 0x81, 0x3e, 0x6c, 0x04, 0xb0, 0x00, 0x18, 0x00, 0x72, 0x0d,
                            0x66, 0xc7, 0x06, 0x6c, 0x04, 0x00, 0x00, 0x00, 0x00, 0xfe, 0x06,
                            0x70, 0x04, 0xcd, 0x1c, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0x1f, 0xcf}},
 /* push ax; EOI; pop ax; iret */
    [MASTER] = {0xff60, 7,  {0x50, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf}                                                  },
    [SLAVE] = {0xff68, 9,  {0x50, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf}                                      },
 /* the same with a read of port 60h, or of the clock's register C */
    [KEYBOARD] = {0xff72, 9,  {0x50, 0xe4, 0x60, 0xb0, 0x20, 0xe6, 0x20, 0x58, 0xcf}                                      },
    [CLOCK] = {0xff80,
                15,         {0x50, 0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58,
                0xcf}                                                                                },
    [MOUSE] = {0xff90, 11, {0x50, 0xe4, 0x60, 0xb0, 0x20, 0xe6, 0xa0, 0xe6, 0x20, 0x58, 0xcf}                          },
 /* push ds; ds = 0; ax = [410h] or [413h] */
    [EQUIPMENT] = {0xffa0, 10, {0x1e, 0x31, 0xc0, 0x8e, 0xd8, 0xa1, 0x10, 0x04, 0x1f, 0xcf}                                },
    [MEMORY] = {0xffb0, 10, {0x1e, 0x31, 0xc0, 0x8e, 0xd8, 0xa1, 0x13, 0x04, 0x1f, 0xcf}                                },
 /* ah = 86h; CF in the flags to be popped */
    [FAIL] = {0xffc0, 11, {0xb4, 0x86, 0x55, 0x89, 0xe5, 0x83, 0x4e, 0x06, 0x01, 0x5d, 0xcf}                          },
};

/* The vectors of other than RETURN: IRQ 0 to 7 from 8 on, 8 to 15 from 70h on. */
static const uint8_t handlers[VECTORS] = {
    [0x08] = TIMER,  [0x09] = KEYBOARD, [0x0a] = MASTER, [0x0b] = MASTER,    [0x0c] = MASTER,
    [0x0d] = MASTER, [0x0e] = MASTER,   [0x0f] = MASTER, [0x11] = EQUIPMENT, [0x12] = MEMORY,
    [0x13] = FAIL,   [0x14] = FAIL,     [0x15] = FAIL,   [0x16] = FAIL,      [0x17] = FAIL,
    [0x1a] = FAIL,   [0x70] = CLOCK,    [0x71] = SLAVE,  [0x72] = SLAVE,     [0x73] = SLAVE,
    [0x74] = MOUSE,  [0x75] = SLAVE,    [0x76] = SLAVE,  [0x77] = SLAVE,
};

/* Words of the BIOS data area that are not 0. */
static const struct {
    uint16_t at, value;
} data_area[] = {
    {0x400, UART_COM1         },
    {0x40e, BOOT_LOW_END >> 4 }, /* segment of the extended BIOS data area */
    {0x410, 1u << 9 | 1u << 1 }, /* equipment: a serial port, an x87 */
    {0x413, BOOT_LOW_END >> 10}, /* base memory in KiB */
    {0x41a, 0x1e              }, /* keyboard buffer: head, tail, start, end */
    {0x41c, 0x1e              },
    {0x480, 0x1e              },
    {0x482, 0x3e              },
};

static bool write_vectors(struct boot *b)
{
    uint8_t table[4 * VECTORS];
    for (unsigned n = 0; n < VECTORS; n++) {
        boot_put16(table + 4 * n, stubs[handlers[n]].offset);
        boot_put16(table + 4 * n + 2, BIOS_SEGMENT);
    }
    return boot_write(b, 0, table, sizeof(table));
}

bool boot_legacy(struct boot *b)
{
    for (unsigned n = 0; n < sizeof(stubs) / sizeof(*stubs); n++)
        if (!boot_write(b, (BIOS_SEGMENT << 4) + stubs[n].offset, stubs[n].code, stubs[n].size))
            return false;
    for (unsigned n = 0; n < sizeof(data_area) / sizeof(*data_area); n++) {
        uint8_t word[2];
        boot_put16(word, data_area[n].value);
        if (!boot_write(b, data_area[n].at, word, sizeof(word)))
            return false;
    }
    return write_vectors(b);
}
