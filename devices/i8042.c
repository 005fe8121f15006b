/* SPDX-License-Identifier: MIT */
/* i8042.c: keyboard controller between the processor's ports and the keyboard.
 *
 * The output buffer holds one byte. Whenever it is empty it is filled from the controller's own
 * answers first, then, unless the keyboard's clock is disabled, from the keyboard, translated from
 * set 2 to set 1 if the command byte says so. Reading it drops IRQ 1 and the next byte raises it
 * again. There is no auxiliary device: its interface test fails, and what is sent to it comes back
 * as a time-out at once, so that drivers give up without waiting. A20 has two doors, the output
 * port and port 0x92; the last one used decides. The command byte starts out as a BIOS leaves it
 * (translation and IRQ 1 on), so that kernels that are started directly find the keyboard they
 * expect. */
#include "devices/i8042.h"
#include "devices/keyboard.h"

#include <stdlib.h>
#include <string.h>

#define STATUS_OBF      0x01
#define STATUS_SYSTEM   0x04
#define STATUS_COMMAND  0x08 /* the last write went to port 0x64 */
#define STATUS_UNLOCK   0x10
#define STATUS_AUX      0x20
#define STATUS_TIMEOUT  0x40

#define CTR_KBD_INT     0x01
#define CTR_AUX_INT     0x02
#define CTR_SYSTEM      0x04
#define CTR_KBD_DISABLE 0x10
#define CTR_AUX_DISABLE 0x20
#define CTR_XLATE       0x40
#define CTR_BIOS        (CTR_KBD_INT | CTR_SYSTEM | CTR_AUX_DISABLE | CTR_XLATE)

#define OUT_RUN         0x01 /* low: the processor is held in reset */
#define OUT_A20         0x02
#define OUT_KBD_OBF     0x10
#define OUT_AUX_OBF     0x20
#define OUT_IDLE        0xcc /* clock and data lines, unused pins */
#define IN_IDLE         0xb0 /* not locked, colour display, manufacturing jumper open */

#define SELF_TEST_OK    0x55
#define AUX_STUCK       0x02 /* interface test: clock stuck high, as with nothing plugged in */
#define NO_PASSWORD     0xf1
#define RESEND          0xfe
#define RAM_SIZE        32
#define ANSWERS         8

enum command {
    CMD_READ_RAM = 0x20,
    CMD_WRITE_RAM = 0x60,
    CMD_TEST_PASSWORD = 0xa4,
    CMD_AUX_DISABLE = 0xa7,
    CMD_AUX_ENABLE = 0xa8,
    CMD_AUX_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KBD_TEST = 0xab,
    CMD_KBD_DISABLE = 0xad,
    CMD_KBD_ENABLE = 0xae,
    CMD_READ_INPUT = 0xc0,
    CMD_READ_OUTPUT = 0xd0,
    CMD_WRITE_OUTPUT = 0xd1,
    CMD_KBD_LOOP = 0xd2,
    CMD_AUX_LOOP = 0xd3,
    CMD_AUX_SEND = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_TEST_INPUTS = 0xe0,
    CMD_PULSE = 0xf0,
};

struct answer {
    uint8_t byte, status; /* STATUS_AUX and STATUS_TIMEOUT that come with it */
};

struct i8042 {
    struct bus *bus;
    struct irq_line irq1, irq12, a20;
    struct machine_control control;
    struct keyboard keyboard;
    uint8_t set1_by_set2[256];
    uint8_t ctr;           /* the command byte: cell 0 of the controller's memory */
    uint8_t ram[RAM_SIZE]; /* the other cells */
    struct answer answers[ANSWERS];
    unsigned first, count;
    uint8_t data;    /* output buffer */
    uint8_t status;  /* without STATUS_UNLOCK and STATUS_SYSTEM */
    uint8_t command; /* that waits for a byte at port 0x60, or 0 */
    bool breaking;   /* a translated 0xf0 waits for its code */
    bool a20_open;
};

/* --- output buffer and interrupts --- */

static void update_irqs(struct i8042 *k)
{
    bool full = k->status & STATUS_OBF, aux = k->status & STATUS_AUX;
    irq_set(&k->irq1, full && !aux && (k->ctr & CTR_KBD_INT));
    irq_set(&k->irq12, full && aux && (k->ctr & CTR_AUX_INT));
}

/* The next byte for the host out of the keyboard's; false if there is none yet. */
static bool keyboard_byte(struct i8042 *k, uint8_t *byte)
{
    while (!(k->ctr & CTR_KBD_DISABLE) && keyboard_has_byte(&k->keyboard)) {
        uint8_t raw = keyboard_take_byte(&k->keyboard);
        if (!(k->ctr & CTR_XLATE)) {
            *byte = raw;
            return true;
        }
        if (raw == 0xf0) {
            k->breaking = true;
            continue;
        }
        *byte = k->set1_by_set2[raw] | (k->breaking ? 0x80 : 0);
        k->breaking = false;
        return true;
    }
    return false;
}

static void fill_buffer(struct i8042 *k)
{
    uint8_t byte;
    if (k->status & STATUS_OBF)
        return;
    if (k->count) {
        struct answer a = k->answers[k->first];
        k->first = (k->first + 1) % ANSWERS;
        k->count--;
        k->data = a.byte;
        k->status |= STATUS_OBF | a.status;
    } else if (keyboard_byte(k, &byte)) {
        k->data = byte;
        k->status |= STATUS_OBF;
    }
    update_irqs(k);
}

static void answer(struct i8042 *k, uint8_t byte, uint8_t status)
{
    if (k->count < ANSWERS)
        k->answers[(k->first + k->count++) % ANSWERS] = (struct answer){byte, status};
}

/* --- what hangs on the output port --- */

static void set_a20(struct i8042 *k, bool open)
{
    if (k->a20_open == open)
        return;
    k->a20_open = open;
    irq_set(&k->a20, open);
}

static void reset_machine(struct i8042 *k)
{
    if (k->control.event)
        k->control.event(k->control.opaque, MACHINE_RESET, 0);
}

static void write_output(struct i8042 *k, uint8_t value)
{
    set_a20(k, value & OUT_A20);
    if (!(value & OUT_RUN))
        reset_machine(k);
}

static uint8_t read_output(const struct i8042 *k)
{
    uint8_t full = k->status & STATUS_OBF ? OUT_KBD_OBF : 0;
    if (k->status & STATUS_AUX)
        full = OUT_AUX_OBF;
    return OUT_IDLE | OUT_RUN | (k->a20_open ? OUT_A20 : 0) | full;
}

/* --- port 0x64 --- */

static bool takes_byte(uint8_t command)
{
    return (command >= CMD_WRITE_RAM && command < CMD_WRITE_RAM + RAM_SIZE) ||
           (command >= CMD_WRITE_OUTPUT && command <= CMD_AUX_SEND);
}

static void run_command(struct i8042 *k, uint8_t command)
{
    k->command = takes_byte(command) ? command : 0;
    if (command >= CMD_READ_RAM && command < CMD_READ_RAM + RAM_SIZE) {
        answer(k, command == CMD_READ_RAM ? k->ctr : k->ram[command - CMD_READ_RAM], 0);
        return;
    }
    if (command >= CMD_PULSE) { /* the low bits that are 0 name the lines to pulse */
        if (!(command & OUT_RUN))
            reset_machine(k);
        return;
    }
    switch (command) {
    case CMD_TEST_PASSWORD:
        answer(k, NO_PASSWORD, 0);
        break;
    case CMD_AUX_DISABLE:
        k->ctr |= CTR_AUX_DISABLE;
        break;
    case CMD_AUX_ENABLE:
        k->ctr &= (uint8_t)~CTR_AUX_DISABLE;
        break;
    case CMD_AUX_TEST:
        answer(k, AUX_STUCK, 0);
        break;
    case CMD_SELF_TEST:
        k->ctr |= CTR_SYSTEM;
        answer(k, SELF_TEST_OK, 0);
        break;
    case CMD_KBD_TEST:
        answer(k, 0, 0);
        break;
    case CMD_KBD_DISABLE:
        k->ctr |= CTR_KBD_DISABLE;
        break;
    case CMD_KBD_ENABLE:
        k->ctr &= (uint8_t)~CTR_KBD_DISABLE;
        break;
    case CMD_READ_INPUT:
        answer(k, IN_IDLE, 0);
        break;
    case CMD_READ_OUTPUT:
        answer(k, read_output(k), 0);
        break;
    case CMD_A20_OFF:
    case CMD_A20_ON:
        set_a20(k, command == CMD_A20_ON);
        break;
    case CMD_TEST_INPUTS:
        answer(k, 0, 0);
        break;
    default:
        break;
    }
}

/* --- port 0x60 --- */

static void run_with_byte(struct i8042 *k, uint8_t command, uint8_t byte)
{
    switch (command) {
    case CMD_WRITE_OUTPUT:
        write_output(k, byte);
        break;
    case CMD_KBD_LOOP:
    case CMD_AUX_LOOP: /* without an auxiliary port it comes back as the keyboard's */
        answer(k, byte, 0);
        break;
    case CMD_AUX_SEND:
        answer(k, RESEND, STATUS_AUX | STATUS_TIMEOUT);
        break;
    case CMD_WRITE_RAM:
        k->ctr = byte;
        break;
    default:
        k->ram[command - CMD_WRITE_RAM] = byte;
        break;
    }
}

static void write_data(struct i8042 *k, uint8_t byte)
{
    uint8_t command = k->command;
    k->command = 0;
    if (command) {
        run_with_byte(k, command, byte);
        return;
    }
    k->ctr &= (uint8_t)~CTR_KBD_DISABLE; /* sending starts the clock */
    k->breaking = false;
    keyboard_command(&k->keyboard, byte);
}

static uint32_t data_read(void *dev, uint32_t off, unsigned size)
{
    struct i8042 *k = dev;
    uint8_t byte = k->data;
    (void)off;
    (void)size;
    k->status &= (uint8_t) ~(STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT);
    update_irqs(k);
    fill_buffer(k);
    return byte;
}

static void data_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct i8042 *k = dev;
    (void)off;
    (void)size;
    k->status &= (uint8_t)~STATUS_COMMAND;
    write_data(k, (uint8_t)value);
    fill_buffer(k);
    update_irqs(k);
}

static uint32_t status_read(void *dev, uint32_t off, unsigned size)
{
    struct i8042 *k = dev;
    (void)off;
    (void)size;
    return k->status | STATUS_UNLOCK | (k->ctr & CTR_SYSTEM ? STATUS_SYSTEM : 0);
}

static void command_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct i8042 *k = dev;
    (void)off;
    (void)size;
    k->status |= STATUS_COMMAND;
    run_command(k, (uint8_t)value);
    fill_buffer(k);
    update_irqs(k);
}

/* --- port 0x92: bit 0 resets as it rises, bit 1 is A20 --- */

static uint32_t port92_read(void *dev, uint32_t off, unsigned size)
{
    struct i8042 *k = dev;
    (void)off;
    (void)size;
    return k->a20_open ? OUT_A20 : 0;
}

static void port92_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct i8042 *k = dev;
    (void)off;
    (void)size;
    set_a20(k, value & OUT_A20);
    if (value & 1)
        reset_machine(k);
}

static const struct io_ops data_ops = {data_read, data_write, 1};
static const struct io_ops command_ops = {status_read, command_write, 1};
static const struct io_ops port92_ops = {port92_read, port92_write, 1};

/* --- keys --- */

void i8042_key(struct i8042 *k, uint16_t code, bool down)
{
    keyboard_key(&k->keyboard, code, down);
    fill_buffer(k);
}

uint8_t i8042_leds(const struct i8042 *k)
{
    return k->keyboard.leds;
}

/* --- life --- */

/* Translation is keyboard_set2() turned round; answers (0x80 and up) pass, but for the codes of F7
 * and Alt-SysRq. Codes that no key sends map as the original controller's ROM maps them. */
static void build_translation(struct i8042 *k)
{
    for (unsigned i = 0; i < 256; i++)
        k->set1_by_set2[i] = (uint8_t)i;
    for (uint8_t code = 1; code < 0x80; code++)
        k->set1_by_set2[keyboard_set2(code)] = code;
    k->set1_by_set2[0x00] = 0xff;
    k->set1_by_set2[0x02] = 0x41;
    k->set1_by_set2[0x7f] = 0x54;
}

void i8042_reset(struct i8042 *k)
{
    keyboard_reset(&k->keyboard);
    memset(k->ram, 0, sizeof(k->ram));
    k->ctr = CTR_BIOS;
    k->first = k->count = 0;
    k->data = k->status = k->command = 0;
    k->breaking = false;
    k->a20_open = true;
    irq_set(&k->a20, 1);
    update_irqs(k);
}

struct i8042 *i8042_create(struct bus *bus, struct irq_line irq1, struct irq_line irq12,
                           struct irq_line a20, struct machine_control control)
{
    struct i8042 *k = calloc(1, sizeof(*k));
    if (!k)
        return NULL;
    k->bus = bus;
    k->irq1 = irq1;
    k->irq12 = irq12;
    k->a20 = a20;
    k->control = control;
    build_translation(k);
    if (bus_map_port(bus, 0x60, 1, &data_ops, k) || bus_map_port(bus, 0x64, 1, &command_ops, k) ||
        bus_map_port(bus, 0x92, 1, &port92_ops, k)) {
        i8042_destroy(k);
        return NULL;
    }
    i8042_reset(k);
    return k;
}

void i8042_destroy(struct i8042 *k)
{
    if (!k)
        return;
    bus_unmap_port(k->bus, 0x60, 1);
    bus_unmap_port(k->bus, 0x64, 1);
    bus_unmap_port(k->bus, 0x92, 1);
    free(k);
}
