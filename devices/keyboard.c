/* SPDX-License-Identifier: MIT */
/* keyboard.c: keys and host commands -> the bytes a PS/2 keyboard sends.
 *
 * Keys are named by their set-1 make codes. The keyboard speaks set 2 after reset; the controller
 * translates that to set 1 (i8042.c), as on a PC. In set 3 every key is make/break.
 * Reference: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
 * Controller" and "101- and 102-Key Keyboards". */
#include "devices/keyboard.h"

#include <stddef.h>

#define ACK     0xfa
#define RESEND  0xfe
#define BAT_OK  0xaa
#define ECHO    0xee
#define BREAK   0xf0
#define PAUSE   0xe11d
#define PRINT   0xe037
#define RELEASE 0x80 /* of set 1 */
/* Keys leave this much of the queue to the answers of commands. */
#define ANSWER_ROOM 16

enum command {
    CMD_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SET = 0xf0,
    CMD_ID = 0xf2,
    CMD_RATE = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_ALL_KEYS_FIRST = 0xf7, /* set 3 key types, for all keys: no parameter */
    CMD_ALL_KEYS_LAST = 0xfa,
    CMD_KEY_FIRST = 0xfb, /* and for one: its code follows */
    CMD_KEY_LAST = 0xfd,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff,
};

/* Set 2 by set 1. */
static const uint8_t set2_by_set1[128] = {
    0x00, 0x76, 0x16, 0x1e, 0x26, 0x25, 0x2e, 0x36, 0x3d, 0x3e, 0x46, 0x45, 0x4e, 0x55, 0x66, 0x0d,
    0x15, 0x1d, 0x24, 0x2d, 0x2c, 0x35, 0x3c, 0x43, 0x44, 0x4d, 0x54, 0x5b, 0x5a, 0x14, 0x1c, 0x1b,
    0x23, 0x2b, 0x34, 0x33, 0x3b, 0x42, 0x4b, 0x4c, 0x52, 0x0e, 0x12, 0x5d, 0x1a, 0x22, 0x21, 0x2a,
    0x32, 0x31, 0x3a, 0x41, 0x49, 0x4a, 0x59, 0x7c, 0x11, 0x29, 0x58, 0x05, 0x06, 0x04, 0x0c, 0x03,
    0x0b, 0x83, 0x0a, 0x01, 0x09, 0x77, 0x7e, 0x6c, 0x75, 0x7d, 0x7b, 0x6b, 0x73, 0x74, 0x79, 0x69,
    0x72, 0x7a, 0x70, 0x71, 0x84, 0x60, 0x61, 0x78, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f,
    0x47, 0x4f, 0x56, 0x5e, 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x40, 0x48, 0x50, 0x57, 0x6f,
    0x13, 0x19, 0x39, 0x51, 0x53, 0x5c, 0x5f, 0x62, 0x63, 0x64, 0x65, 0x67, 0x68, 0x6a, 0x6d, 0x6e,
};

/* Keys whose set-3 code is not their set-2 code. */
static const struct {
    uint16_t key;
    uint8_t code;
} set3_exceptions[] = {
    {0x01,   0x08},
    {0x1d,   0x11},
    {0x2b,   0x5c},
    {0x37,   0x7e},
    {0x38,   0x19},
    {0x3a,   0x14},
    {0x3b,   0x07},
    {0x3c,   0x0f},
    {0x3d,   0x17},
    {0x3e,   0x1f},
    {0x3f,   0x27},
    {0x40,   0x2f},
    {0x41,   0x37},
    {0x42,   0x3f},
    {0x43,   0x47},
    {0x44,   0x4f},
    {0x45,   0x76},
    {0x46,   0x5f},
    {0x4a,   0x84},
    {0x4e,   0x7c},
    {0x56,   0x13},
    {0x57,   0x56},
    {0x58,   0x5e},
    {0xe01c, 0x79},
    {0xe01d, 0x58},
    {0xe035, 0x77},
    {PRINT,  0x57},
    {0xe038, 0x39},
    {0xe047, 0x6e},
    {0xe048, 0x63},
    {0xe049, 0x6f},
    {0xe04b, 0x61},
    {0xe04d, 0x6a},
    {0xe04f, 0x65},
    {0xe050, 0x60},
    {0xe051, 0x6d},
    {0xe052, 0x67},
    {0xe053, 0x64},
    {0xe05b, 0x8b},
    {0xe05c, 0x8c},
    {0xe05d, 0x8d},
    {PAUSE,  0x62},
};

uint8_t keyboard_set2(uint8_t code)
{
    return set2_by_set1[code & 0x7f];
}

/* --- the queue --- */

static void send(struct keyboard *k, uint8_t byte)
{
    if (k->count < KEYBOARD_QUEUE)
        k->queue[(k->first + k->count++) % KEYBOARD_QUEUE] = byte;
}

static void send_all(struct keyboard *k, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        send(k, bytes[i]);
}

static void queue_clear(struct keyboard *k)
{
    k->first = k->count = 0;
}

bool keyboard_has_byte(const struct keyboard *k)
{
    return k->count != 0;
}

uint8_t keyboard_take_byte(struct keyboard *k)
{
    uint8_t byte = k->queue[k->first];
    k->first = (k->first + 1) % KEYBOARD_QUEUE;
    k->count--;
    if (byte != RESEND)
        k->last = byte;
    return byte;
}

/* --- keys --- */

/* Appends one code as a press or release in the present set; the number of bytes. */
static size_t put_code(const struct keyboard *k, uint8_t *out, uint16_t key, bool down)
{
    size_t n = 0;
    if (key >> 8)
        out[n++] = (uint8_t)(key >> 8);
    if (k->set == 1) {
        out[n++] = (uint8_t)key | (down ? 0 : RELEASE);
    } else {
        if (!down)
            out[n++] = BREAK;
        out[n++] = keyboard_set2((uint8_t)key);
    }
    return n;
}

static uint8_t set3_code(uint16_t key)
{
    for (size_t i = 0; i < sizeof(set3_exceptions) / sizeof(set3_exceptions[0]); i++)
        if (set3_exceptions[i].key == key)
            return set3_exceptions[i].code;
    return keyboard_set2((uint8_t)key);
}

/* Pause has no release: its press sends both. */
static size_t put_pause(const struct keyboard *k, uint8_t *out, bool down)
{
    size_t n = 0;
    if (!down)
        return 0;
    for (int pressed = 1; pressed >= 0; pressed--) {
        n += put_code(k, out + n, PAUSE, pressed);
        n += put_code(k, out + n, 0x45, pressed);
    }
    return n;
}

/* Print Screen comes with a shift of its own. */
static size_t put_print(const struct keyboard *k, uint8_t *out, bool down)
{
    size_t n = put_code(k, out, down ? 0xe02a : PRINT, down);
    return n + put_code(k, out + n, down ? PRINT : 0xe02a, down);
}

void keyboard_key(struct keyboard *k, uint16_t code, bool down)
{
    uint8_t bytes[16];
    size_t n = 0;
    if (!k->scanning || !(code & 0x7f))
        return;
    if (k->set == 3) {
        if (!down)
            bytes[n++] = BREAK;
        bytes[n++] = set3_code(code);
    } else if (code == PAUSE) {
        n = put_pause(k, bytes, down);
    } else if (code == PRINT) {
        n = put_print(k, bytes, down);
    } else {
        n = put_code(k, bytes, code, down);
    }
    if (k->count + n <= KEYBOARD_QUEUE - ANSWER_ROOM)
        send_all(k, bytes, n);
}

/* --- commands --- */

static void set_defaults(struct keyboard *k)
{
    queue_clear(k);
    k->set = 2;
    k->command = 0;
}

static void parameter(struct keyboard *k, uint8_t byte)
{
    uint8_t command = k->command;
    k->command = 0;
    if (command == CMD_SET && byte > 3) {
        send(k, RESEND);
        return;
    }
    send(k, ACK);
    if (command == CMD_LEDS)
        k->leds = byte & 7;
    else if (command == CMD_SET && byte == 0)
        send(k, k->set);
    else if (command == CMD_SET)
        k->set = byte;
}

static bool takes_parameter(uint8_t command)
{
    return command == CMD_LEDS || command == CMD_SET || command == CMD_RATE ||
           (command >= CMD_KEY_FIRST && command <= CMD_KEY_LAST);
}

void keyboard_command(struct keyboard *k, uint8_t byte)
{
    static const uint8_t id[] = {ACK, 0xab, 0x83}, bat[] = {ACK, BAT_OK};
    if (k->command && byte < CMD_LEDS) {
        parameter(k, byte);
        return;
    }
    k->command = takes_parameter(byte) ? byte : 0;
    switch (byte) {
    case CMD_ECHO:
        send(k, ECHO);
        break;
    case CMD_ID:
        send_all(k, id, sizeof(id));
        break;
    case CMD_DISABLE:
    case CMD_DEFAULTS:
    case CMD_ENABLE:
        if (byte == CMD_ENABLE)
            queue_clear(k);
        else
            set_defaults(k);
        k->scanning = byte != CMD_DISABLE;
        send(k, ACK);
        break;
    case CMD_RESEND:
        send(k, k->last);
        break;
    case CMD_RESET:
        keyboard_reset(k);
        send_all(k, bat, sizeof(bat));
        break;
    default:
        if (k->command || (byte >= CMD_ALL_KEYS_FIRST && byte <= CMD_ALL_KEYS_LAST))
            send(k, ACK);
        else
            send(k, RESEND);
        break;
    }
}

void keyboard_reset(struct keyboard *k)
{
    set_defaults(k);
    k->leds = 0;
    k->last = 0;
    k->scanning = true;
}
