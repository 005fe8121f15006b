/* SPDX-License-Identifier: MIT */
/* uart.c: 16550A serial port -> character device.
 *
 * Transmission takes no time: a byte written goes to the backend at once, THR is empty again and
 * its interrupt pends anew, which gives the interrupt line a fresh edge a byte (or FIFO load). When
 * the backend refuses, the byte stays in the transmit FIFO, THRE stays clear, and a timer offers it
 * again: a slow reader slows the guest, nothing is lost and nothing grows. Input is taken from the
 * backend only when the receive FIFO is empty, so it cannot overrun. The character-timeout
 * interrupt comes four character times after the last one, as the divisor and line control say.
 * OUT2 does not gate the interrupt. Reference: PC16550D datasheet (National Semiconductor, 1995),
 * section 8. */
#include "devices/uart.h"

#include <stdlib.h>
#include <string.h>

#define FIFO_SIZE  16
#define RETRY_NS   1000000u
#define UART_CLOCK 1843200u /* Hz; 16 cycles a bit at divisor 1 */
#define UART_PORTS 8

enum { REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX     0x01
#define IER_TX     0x02
#define IER_LINE   0x04
#define IER_MODEM  0x08
#define IIR_NONE   0x01
#define IIR_MODEM  0x00
#define IIR_TX     0x02
#define IIR_RX     0x04
#define IIR_LINE   0x06
#define IIR_TIME   0x0c
#define IIR_FIFO   0xc0
#define FCR_ENABLE 0x01
#define FCR_RX     0x02
#define FCR_TX     0x04
#define LCR_BREAK  0x40
#define LCR_DLAB   0x80
#define MCR_LOOP   0x10
#define MCR_BITS   0x1f
#define LSR_DR     0x01
#define LSR_OE     0x02
#define LSR_BI     0x10
#define LSR_THRE   0x20
#define LSR_TEMT   0x40
#define LSR_ERRORS 0x1e
#define LSR_FIFO   0x80 /* an error is somewhere in the FIFO */
#define MSR_DELTAS 0x0f
#define MSR_TERI   0x04
#define MSR_RI     0x40
#define MSR_CABLE  0xb0 /* CTS, DSR, DCD: a terminal is there */

struct fifo {
    uint8_t data[FIFO_SIZE];
    unsigned first, count;
};

struct uart {
    struct bus *bus;
    struct clock *clock;
    uint16_t base;
    struct irq_line irq;
    struct chardev backend;
    struct timer *retry, *timeout;
    struct fifo rx, tx;
    uint16_t divisor;
    uint8_t ier, lcr, mcr, msr, scratch;
    uint8_t fcr;          /* enable and trigger bits */
    uint8_t line;         /* LSR's error bits */
    bool tx_pending;      /* THR-empty interrupt, until IIR names it or THR is written */
    bool timeout_pending; /* character timeout */
};

/* --- FIFOs --- */

static unsigned fifo_capacity(const struct uart *u)
{
    return u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static bool fifo_push(const struct uart *u, struct fifo *f, uint8_t byte)
{
    if (f->count >= fifo_capacity(u))
        return false;
    f->data[(f->first + f->count++) % FIFO_SIZE] = byte;
    return true;
}

static uint8_t fifo_pop(struct fifo *f)
{
    uint8_t byte = f->data[f->first];
    f->first = (f->first + 1) % FIFO_SIZE;
    f->count--;
    return byte;
}

static unsigned rx_trigger(const struct uart *u)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/* --- interrupts --- */

static uint8_t interrupt_source(const struct uart *u)
{
    if ((u->ier & IER_LINE) && u->line)
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->rx.count >= rx_trigger(u))
        return IIR_RX;
    if ((u->ier & IER_RX) && u->timeout_pending)
        return IIR_TIME;
    if ((u->ier & IER_TX) && u->tx_pending)
        return IIR_TX;
    if ((u->ier & IER_MODEM) && (u->msr & MSR_DELTAS))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(struct uart *u)
{
    irq_set(&u->irq, interrupt_source(u) != IIR_NONE);
}

/* Four characters of start, data, parity and stop bits. */
static uint64_t timeout_ns(const struct uart *u)
{
    unsigned bits = 1 + 5 + (u->lcr & 3) + (u->lcr >> 3 & 1) + 1 + (u->lcr >> 2 & 1);
    unsigned divisor = u->divisor ? u->divisor : 1;
    return 4ull * bits * divisor * 16 * 1000000000u / UART_CLOCK;
}

static void restart_timeout(struct uart *u)
{
    u->timeout_pending = false;
    if ((u->fcr & FCR_ENABLE) && u->rx.count && u->rx.count < rx_trigger(u))
        timer_arm(u->timeout, clock_now(u->clock) + timeout_ns(u));
    else
        timer_disarm(u->timeout);
}

static void timeout_expired(void *opaque)
{
    struct uart *u = opaque;
    u->timeout_pending = u->rx.count > 0;
    update_irq(u);
}

/* --- receiving --- */

static void receive(struct uart *u, uint8_t byte)
{
    if (!fifo_push(u, &u->rx, byte)) {
        u->line |= LSR_OE;
        if (!(u->fcr & FCR_ENABLE))
            u->rx.data[u->rx.first] = byte; /* without FIFOs the new one replaces the old */
    }
}

static void pull_input(struct uart *u)
{
    uint8_t buf[FIFO_SIZE];
    if (u->rx.count || (u->mcr & MCR_LOOP))
        return;
    size_t n = chardev_read(&u->backend, buf, fifo_capacity(u));
    for (size_t i = 0; i < n; i++)
        receive(u, buf[i]);
    if (n)
        restart_timeout(u);
}

static uint8_t read_data(struct uart *u)
{
    uint8_t byte = u->rx.data[u->rx.first]; /* an empty buffer gives the last byte again */
    if (!u->rx.count)
        return byte;
    fifo_pop(&u->rx);
    restart_timeout(u);
    update_irq(u);
    pull_input(u);
    update_irq(u);
    return byte;
}

/* --- transmitting --- */

/* Hands over what the backend takes; the THR-empty interrupt pends when all is gone. */
static void transmit(struct uart *u)
{
    while (u->tx.count) {
        unsigned run = FIFO_SIZE - u->tx.first;
        if (run > u->tx.count)
            run = u->tx.count;
        size_t taken = chardev_write(&u->backend, u->tx.data + u->tx.first, run);
        u->tx.first = (unsigned)(u->tx.first + taken) % FIFO_SIZE;
        u->tx.count -= (unsigned)taken;
        if (taken < run) {
            timer_arm(u->retry, clock_now(u->clock) + RETRY_NS);
            return;
        }
    }
    timer_disarm(u->retry);
    u->tx_pending = true;
}

static void retry_expired(void *opaque)
{
    struct uart *u = opaque;
    transmit(u);
    update_irq(u);
}

static void write_data(struct uart *u, uint8_t byte)
{
    u->tx_pending = false;
    update_irq(u);
    if (u->mcr & MCR_LOOP) {
        receive(u, byte);
        restart_timeout(u);
        u->tx_pending = true;
    } else {
        fifo_push(u, &u->tx, byte); /* one too many is lost */
        transmit(u);
    }
    update_irq(u);
}

void uart_poll(struct uart *u)
{
    if (u->tx.count)
        transmit(u);
    pull_input(u);
    update_irq(u);
}

/* --- control registers --- */

/* In loopback the modem outputs are the modem inputs: RTS-CTS, DTR-DSR, OUT1-RI, OUT2-DCD. */
static uint8_t modem_inputs(const struct uart *u)
{
    uint8_t m = u->mcr;
    if (!(m & MCR_LOOP))
        return MSR_CABLE;
    return (uint8_t)((m & 2) << 3 | (m & 1) << 5 | (m & 4) << 4 | (m & 8) << 4);
}

static void update_modem(struct uart *u)
{
    uint8_t now = modem_inputs(u), before = u->msr & 0xf0;
    uint8_t deltas = (uint8_t)((now ^ before) >> 4);
    if (!(before & MSR_RI) || (now & MSR_RI))
        deltas &= (uint8_t)~MSR_TERI; /* RI tells its trailing edge only */
    u->msr = now | (u->msr & MSR_DELTAS) | deltas;
}

static void write_ier(struct uart *u, uint8_t value)
{
    uint8_t before = u->ier;
    u->ier = value & 0x0f;
    if ((u->ier & ~before & IER_TX) && !u->tx.count)
        u->tx_pending = true;
}

static void write_fcr(struct uart *u, uint8_t value)
{
    bool toggled = (value ^ u->fcr) & FCR_ENABLE;
    if (toggled || ((value & FCR_ENABLE) && (value & FCR_RX)))
        u->rx = (struct fifo){0};
    if (toggled || ((value & FCR_ENABLE) && (value & FCR_TX))) {
        u->tx_pending |= u->tx.count != 0;
        u->tx = (struct fifo){0};
        timer_disarm(u->retry);
    }
    u->fcr = value & FCR_ENABLE ? value & 0xc1 : 0;
    restart_timeout(u);
    pull_input(u);
}

static void write_lcr(struct uart *u, uint8_t value)
{
    bool break_begins = (value & ~u->lcr) & LCR_BREAK;
    u->lcr = value;
    if (break_begins && (u->mcr & MCR_LOOP)) {
        receive(u, 0);
        u->line |= LSR_BI;
        restart_timeout(u);
    }
}

static void write_mcr(struct uart *u, uint8_t value)
{
    u->mcr = value & MCR_BITS;
    update_modem(u);
    pull_input(u);
}

static uint8_t read_iir(struct uart *u)
{
    uint8_t source = interrupt_source(u);
    if (source == IIR_TX) {
        u->tx_pending = false;
        update_irq(u);
    }
    return source | (u->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *u)
{
    uint8_t value = u->line;
    if (u->rx.count)
        value |= LSR_DR;
    if (!u->tx.count)
        value |= LSR_THRE | LSR_TEMT;
    if ((u->fcr & FCR_ENABLE) && (u->line & LSR_BI))
        value |= LSR_FIFO;
    u->line = 0;
    update_irq(u);
    return value;
}

static uint8_t read_msr(struct uart *u)
{
    uint8_t value = u->msr;
    u->msr &= (uint8_t)~MSR_DELTAS;
    update_irq(u);
    return value;
}

/* --- ports --- */

static uint32_t uart_read(void *dev, uint32_t off, unsigned size)
{
    struct uart *u = dev;
    bool dlab = u->lcr & LCR_DLAB;
    (void)size;
    switch (off) {
    case REG_DATA:
        return dlab ? u->divisor & 0xff : read_data(u);
    case REG_IER:
        return dlab ? u->divisor >> 8 : u->ier;
    case REG_IIR_FCR:
        return read_iir(u);
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        return read_lsr(u);
    case REG_MSR:
        return read_msr(u);
    default:
        return u->scratch;
    }
}

static void uart_write(void *dev, uint32_t off, uint32_t value, unsigned size)
{
    struct uart *u = dev;
    uint8_t byte = (uint8_t)value;
    bool dlab = u->lcr & LCR_DLAB;
    (void)size;
    switch (off) {
    case REG_DATA:
        if (!dlab) {
            write_data(u, byte);
            return;
        }
        u->divisor = (u->divisor & 0xff00) | byte;
        break;
    case REG_IER:
        if (dlab)
            u->divisor = (uint16_t)((u->divisor & 0xff) | byte << 8);
        else
            write_ier(u, byte);
        break;
    case REG_IIR_FCR:
        write_fcr(u, byte);
        break;
    case REG_LCR:
        write_lcr(u, byte);
        break;
    case REG_MCR:
        write_mcr(u, byte);
        break;
    case REG_SCR:
        u->scratch = byte;
        break;
    default: /* LSR and MSR are for factory tests */
        break;
    }
    update_irq(u);
}

static const struct io_ops uart_ops = {uart_read, uart_write, 1};

/* --- life --- */

void uart_reset(struct uart *u)
{
    u->rx = u->tx = (struct fifo){0};
    u->divisor = 12; /* 9600 baud */
    u->ier = u->mcr = u->scratch = u->fcr = u->line = 0;
    u->lcr = 3;
    u->msr = MSR_CABLE;
    u->tx_pending = u->timeout_pending = false;
    timer_disarm(u->retry);
    timer_disarm(u->timeout);
    irq_set(&u->irq, 0);
}

struct uart *uart_create(struct bus *bus, struct clock *clock, uint16_t base, struct irq_line irq,
                         struct chardev backend)
{
    struct uart *u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->bus = bus;
    u->clock = clock;
    u->base = base;
    u->irq = irq;
    u->backend = backend;
    u->retry = timer_create_on(clock, retry_expired, u);
    u->timeout = timer_create_on(clock, timeout_expired, u);
    if (!u->retry || !u->timeout || bus_map_port(bus, base, UART_PORTS, &uart_ops, u)) {
        timer_destroy(u->retry);
        timer_destroy(u->timeout);
        free(u);
        return NULL;
    }
    uart_reset(u);
    return u;
}

void uart_destroy(struct uart *u)
{
    if (!u)
        return;
    bus_unmap_port(u->bus, u->base, UART_PORTS);
    timer_destroy(u->retry);
    timer_destroy(u->timeout);
    free(u);
}
