/* SPDX-License-Identifier: MIT */
/* console.c: the user's terminal or a file -> the first serial port's chardev.
 *
 * Bytes travel through a char_fd (a thread and two bounded rings). On their way in they pass the
 * escape filter here, on the vCPU's thread: Ctrl-a x ends the run, Ctrl-a c is kept for a console,
 * Ctrl-a Ctrl-a is one Ctrl-a. The filter reads ahead of the guest, so that Ctrl-a x works when the
 * guest no longer listens; what a person types ahead beyond the buffer is dropped, what comes from
 * a pipe waits.
 *
 * The terminal's saved state is the process's, as the terminal is; it is restored by whoever
 * leaves, signal handlers too. */
#include "runtime/console.h"

#include "runtime/machine.h"
#include "runtime/platform.h"
#include "runtime/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define CTRL_A        0x01
#define INPUT_SIZE    4096u /* a power of two */
#define ESCAPE_NOTICE "\r\nringdown: no console yet; Ctrl-a x leaves\r\n"

struct console {
    struct machine *machine;
    struct char_fd *fd;
    struct chardev far;
    int out_fd; /* of "file:", -1 */
    bool interactive;
    bool escape; /* the last byte was Ctrl-a */
    uint8_t input[INPUT_SIZE];
    unsigned head, tail; /* free-running; input[tail..head) waits for the guest */
};

static struct termios saved_termios, raw_termios;
static atomic_bool terminal_raw;

void console_restore_terminal(void)
{
    if (atomic_exchange(&terminal_raw, false))
        tcsetattr(STDIN_FILENO, TCSANOW, &saved_termios);
}

/* A shell that had us stopped gives the terminal back in its own mode. */
static void continued(int signo)
{
    (void)signo;
    int error = errno;
    if (atomic_load(&terminal_raw) && tcgetpgrp(STDIN_FILENO) == getpgrp())
        tcsetattr(STDIN_FILENO, TCSANOW, &raw_termios);
    errno = error;
}

/* Raw input, so that every key including ^C reaches the guest; output processing stays on, so that
 * our own messages look right. */
static bool terminal_make_raw(void)
{
    struct sigaction sa = {.sa_handler = continued, .sa_flags = SA_ONSTACK | SA_RESTART};
    if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
        tcgetattr(STDIN_FILENO, &saved_termios) < 0)
        return false;
    struct termios raw = saved_termios;
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    raw_termios = raw;
    atomic_store(&terminal_raw, true);
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0) {
        atomic_store(&terminal_raw, false);
        return false;
    }
    sigemptyset(&sa.sa_mask);
    sigaction(SIGCONT, &sa, NULL);
    return true;
}

/* --- the escape filter --- */

static void put(struct console *c, uint8_t byte)
{
    if (c->head - c->tail < INPUT_SIZE)
        c->input[c->head++ % INPUT_SIZE] = byte;
}

static void escape_command(struct console *c, uint8_t byte)
{
    switch (byte) {
    case 'x':
    case 'X':
        machine_stop(c->machine, END_QUIT);
        break;
    case 'p':
    case 'P':
        platform_power_button(c->machine->platform);
        break;
    case 'c':
    case 'C':
        chardev_write(&c->far, (const uint8_t *)ESCAPE_NOTICE, sizeof ESCAPE_NOTICE - 1);
        break;
    case CTRL_A:
        put(c, CTRL_A);
        break;
    default:
        put(c, CTRL_A);
        put(c, byte);
    }
}

void console_poll(struct console *c)
{
    uint8_t buf[256];
    for (;;) {
        size_t room = INPUT_SIZE - (c->head - c->tail);
        /* One byte can make two. From a pipe nothing may be lost, so it stays there. */
        size_t want = c->interactive || room / 2 > sizeof buf ? sizeof buf : room / 2;
        size_t got = want ? chardev_read(&c->far, buf, want) : 0;
        if (!got)
            return;
        for (size_t i = 0; i < got; i++) {
            if (c->escape) {
                c->escape = false;
                escape_command(c, buf[i]);
            } else if (buf[i] == CTRL_A) {
                c->escape = true;
            } else {
                put(c, buf[i]);
            }
        }
    }
}

/* --- the device's end --- */

static size_t device_write(void *opaque, const uint8_t *buf, size_t n)
{
    struct console *c = opaque;
    return chardev_write(&c->far, buf, n);
}

static size_t device_read(void *opaque, uint8_t *buf, size_t n)
{
    struct console *c = opaque;
    if (c->head == c->tail)
        console_poll(c);
    size_t got = 0;
    while (got < n && c->tail != c->head)
        buf[got++] = c->input[c->tail++ % INPUT_SIZE];
    return got;
}

struct chardev console_chardev(struct console *c)
{
    return (struct chardev){device_write, device_read, c};
}

/* --- life --- */

static void notify(void *opaque)
{
    struct console *c = opaque;
    machine_kick(c->machine);
}

static bool open_backend(struct console *c, const char *spec, char *err, size_t err_size,
                         bool *bad_input)
{
    int in = -1, out = -1;
    if (!strcmp(spec, "null"))
        return true;
    if (!strncmp(spec, "file:", 5) && spec[5]) {
        out = c->out_fd = open(spec + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (out < 0) {
            *bad_input = true;
            snprintf(err, err_size, "--serial: cannot write %s: %s", spec + 5, strerror(errno));
            return false;
        }
    } else if (!strcmp(spec, "stdio")) {
        in = fcntl(STDIN_FILENO, F_GETFD) < 0 ? -1 : STDIN_FILENO;
        out = fcntl(STDOUT_FILENO, F_GETFD) < 0 ? -1 : STDOUT_FILENO;
        c->interactive = in >= 0 && isatty(in);
    } else {
        *bad_input = true;
        snprintf(err, err_size, "--serial: %s is not stdio, file:F or null", spec);
        return false;
    }
    void (*begin)(void) = c->machine->config.sandbox ? sandbox_enter_serial : NULL;
    c->fd = char_fd_create_with(in, out, begin, notify, c);
    if (!c->fd) {
        snprintf(err, err_size, "cannot serve the serial port: out of memory or threads");
        return false;
    }
    c->far = char_fd_chardev(c->fd);
    if (c->interactive)
        terminal_make_raw();
    return true;
}

struct console *console_create(struct machine *m, const char *spec, char *err, size_t err_size,
                               bool *bad_input)
{
    struct console *c = calloc(1, sizeof *c);
    if (!c) {
        snprintf(err, err_size, "out of memory");
        return NULL;
    }
    c->machine = m;
    c->out_fd = -1;
    if (open_backend(c, spec, err, err_size, bad_input))
        return c;
    console_destroy(c);
    return NULL;
}

/* A reader that went away is his own business; a full disk is not. */
static void report_loss(const struct console *c)
{
    int lost = char_fd_lost(c->fd);
    if (lost && lost != EPIPE)
        fprintf(stderr, "ringdown: the serial port's output is not complete: %s\n", strerror(lost));
}

void console_destroy(struct console *c)
{
    if (!c)
        return;
    if (c->fd) {
        report_loss(c);
        char_fd_destroy(c->fd);
    }
    if (c->out_fd >= 0)
        close(c->out_fd);
    console_restore_terminal();
    free(c);
}
