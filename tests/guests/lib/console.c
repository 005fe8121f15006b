/* SPDX-License-Identifier: MIT */
/* console.c: COM1, a small printf, memory functions, the ways to end. */
#include "guest.h"

#define COM1 0x3f8

uint32_t multiboot_info;
const char *cmdline = "";

void putch(char c)
{
    if (c == '\n')
        putch('\r');
    while (!(inb(COM1 + 5) & 0x20))
        ;
    outb(COM1, (uint8_t)c);
}

int getch(void)
{
    return inb(COM1 + 5) & 1 ? inb(COM1) : -1;
}

static void put_number(uint32_t v, unsigned base, int width, char pad, bool neg)
{
    char buf[16];
    int n = 0;
    do {
        buf[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    if (neg)
        buf[n++] = '-';
    for (int i = n; i < width; i++)
        putch(pad);
    while (n)
        putch(buf[--n]);
}

void vprint(const char *fmt, va_list ap)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            putch(*fmt);
            continue;
        }
        char pad = ' ';
        int width = 0;
        bool alt = false;
        fmt++;
        if (*fmt == '#')
            alt = true, fmt++;
        if (*fmt == '0')
            pad = '0';
        while (*fmt >= '0' && *fmt <= '9')
            width = width * 10 + *fmt++ - '0';
        switch (*fmt) {
        case 's':
            for (const char *s = va_arg(ap, const char *); *s; s++)
                putch(*s);
            break;
        case 'c':
            putch((char)va_arg(ap, int));
            break;
        case 'd': {
            int v = va_arg(ap, int);
            put_number(v < 0 ? -(uint32_t)v : (uint32_t)v, 10, width, pad, v < 0);
            break;
        }
        case 'u':
            put_number(va_arg(ap, uint32_t), 10, width, pad, false);
            break;
        case 'x':
        case 'p':
            if (alt || *fmt == 'p')
                putch('0'), putch('x');
            put_number(va_arg(ap, uint32_t), 16, width, pad, false);
            break;
        default:
            putch(*fmt);
        }
    }
}

void print(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vprint(fmt, ap);
    va_end(ap);
}

_Noreturn void guest_exit(unsigned value)
{
    while (!(inb(COM1 + 5) & 0x40))
        ;
    outb(0xf4, (uint8_t)value);
    for (;;)
        asm volatile("cli; hlt");
}

void *memset(void *d, int c, size_t n)
{
    void *r = d;
    asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return r;
}

void *memcpy(void *d, const void *s, size_t n)
{
    void *r = d;
    asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
    return r;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

bool cmdline_has(const char *word)
{
    size_t n = strlen(word);
    for (const char *p = cmdline; *p; p++)
        if ((p == cmdline || p[-1] == ' ') && !memcmp(p, word, n) && (!p[n] || p[n] == ' '))
            return true;
    return false;
}

uint32_t cmdline_number(const char *name, uint32_t otherwise)
{
    size_t n = strlen(name);
    for (const char *p = cmdline; *p; p++) {
        if ((p != cmdline && p[-1] != ' ') || memcmp(p, name, n) || p[n] != '=')
            continue;
        uint32_t value = 0;
        for (p += n + 1; *p >= '0' && *p <= '9'; p++)
            value = 10 * value + (uint32_t)(*p - '0');
        return value;
    }
    return otherwise;
}
