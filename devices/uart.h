/* SPDX-License-Identifier: MIT */
/* uart.h: 16550A serial port. */
#ifndef RINGDOWN_DEVICES_UART_H
#define RINGDOWN_DEVICES_UART_H

#include "devices/chardev.h"
#include "devices/device.h"

#define UART_COM1 0x3f8
#define UART_COM2 0x2f8
#define UART_COM3 0x3e8
#define UART_COM4 0x2e8

struct uart;
/* COM1 and COM3 use IRQ 4, COM2 and COM4 IRQ 3. */
struct uart *uart_create(struct bus *bus, struct clock *clock, uint16_t base, struct irq_line irq,
                         struct chardev backend);
void uart_destroy(struct uart *u);
void uart_reset(struct uart *u);
/* Takes input that has arrived and offers output that was refused. Cheap; call it when the backend
 * notifies, on the device thread. */
void uart_poll(struct uart *u);

#endif
