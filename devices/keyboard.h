/* SPDX-License-Identifier: MIT */
/* keyboard.h: a PS/2 keyboard at the end of the controller's first port: bytes in, bytes out. */
#ifndef RINGDOWN_DEVICES_KEYBOARD_H
#define RINGDOWN_DEVICES_KEYBOARD_H

#include <stdbool.h>
#include <stdint.h>

#define KEYBOARD_QUEUE 64

struct keyboard {
    uint8_t queue[KEYBOARD_QUEUE];
    unsigned first, count;
    uint8_t last; /* sent, for the resend command */
    uint8_t set;  /* scan-code set, 1-3 */
    uint8_t leds;
    uint8_t command; /* that waits for its parameter, or 0 */
    bool scanning;
};

void keyboard_reset(struct keyboard *k);
/* A byte from the host: a command or a parameter. The answer goes to the queue. */
void keyboard_command(struct keyboard *k, uint8_t byte);
/* See i8042_key(). A key that finds no room in the queue is lost whole. */
void keyboard_key(struct keyboard *k, uint16_t code, bool down);
bool keyboard_has_byte(const struct keyboard *k);
uint8_t keyboard_take_byte(struct keyboard *k);
/* The code in set 2 of a key whose make code in set 1 is `code` (below 0x80). */
uint8_t keyboard_set2(uint8_t code);

#endif
