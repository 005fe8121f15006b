/* SPDX-License-Identifier: MIT */
/* 16550A: registers, interrupts by priority, FIFOs, loopback, a sink that refuses, host
 * descriptors. */
#include "devices/uart.h"
#include "scripted_bus.h"

#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#define IRQ  4
#define R(n) (UART_COM1 + (n))

struct fixture {
    struct rig rig;
    struct uart *uart;
    char out[256];
    size_t out_len, out_room;
    const char *in;
};

static size_t sink(void *opaque, const uint8_t *buf, size_t n)
{
    struct fixture *f = opaque;
    if (n > f->out_room - f->out_len)
        n = f->out_room - f->out_len;
    memcpy(f->out + f->out_len, buf, n);
    f->out_len += n;
    return n;
}

static size_t source(void *opaque, uint8_t *buf, size_t n)
{
    struct fixture *f = opaque;
    size_t left = f->in ? strlen(f->in) : 0;
    n = n < left ? n : left;
    if (n)
        memcpy(buf, f->in, n);
    f->in += n;
    return n;
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    rig_init(&f->rig);
    f->out_room = sizeof(f->out) - 1;
    f->uart = uart_create(f->rig.bus, f->rig.clock, UART_COM1, rig_line(&f->rig, IRQ),
                          (struct chardev){sink, source, f});
}

static void teardown(struct fixture *f)
{
    uart_destroy(f->uart);
    rig_fini(&f->rig);
}

static void feed(struct fixture *f, const char *s)
{
    f->in = s;
    uart_poll(f->uart);
}

Test(uart, registers)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        IN(R(5), 0x60),  IN(R(2), 0x01),
        IN(R(6), 0xb0),  OUT(R(1), 0xff),
        IN(R(1), 0x0f),  OUT(R(1), 0), /* the upper half is not there */
        OUT(R(3), 0x83), OUT(R(0), 0x01),
        OUT(R(1), 0x02), /* divisor */
        IN(R(0), 0x01),  IN(R(1), 0x02),
        OUT(R(3), 0x03), IN(R(3), 0x03),
        IN(R(1), 0x00),  OUT(R(7), 0x5a),
        IN(R(7), 0x5a),  OUT(R(4), 0xff),
        IN(R(4), 0x1f),  OUT(R(4), 0),
        OUT(R(2), 0x01), IN_MASK(R(2), 0xc0, 0xe0), /* a 16550A */
        OUT(R(2), 0x00), IN_MASK(R(2), 0x00, 0xe0),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(uart, transmit_interrupt)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        LINE(IRQ, 0),    OUT(R(1), 0x02), LINE(IRQ, 1),    EDGES(IRQ, 1), /* enabling tells it is
                                                                             empty */
        IN(R(2), 0x02),  LINE(IRQ, 0),    IN(R(2), 0x01), /* reading IIR clears it */
        OUT(R(0), 'h'),  LINE(IRQ, 1),    EDGES(IRQ, 1),   OUT(R(0), 'i'), EDGES(IRQ, 1), /* anew */
        IN(R(5), 0x60),  LINE(IRQ, 1), /* reading LSR does not */
        OUT(R(1), 0x00), LINE(IRQ, 0),    OUT(R(1), 0x02), LINE(IRQ, 1),   IN(R(2), 0x02),
        OUT(R(1), 0x02), LINE(IRQ, 0),
    };
    RUN(&f.rig, script);
    cr_expect_str_eq(f.out, "hi");
    teardown(&f);
}

Test(uart, receive_without_fifo)
{
    struct fixture f;
    setup(&f);
    static const struct step on[] = {OUT(R(1), 0x01)};
    RUN(&f.rig, on);
    feed(&f, "ab");
    static const struct step script[] = {
        EDGES(IRQ, 1), IN(R(2), 0x04), IN(R(5), 0x61), IN(R(0), 'a'),  EDGES(IRQ, 1),
        IN(R(0), 'b'), LINE(IRQ, 0),   IN(R(5), 0x60), IN(R(2), 0x01),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(uart, trigger_and_timeout)
{
    struct fixture f;
    setup(&f);
    static const struct step on[] = {OUT(R(3), 0x83), OUT(R(0), 1), OUT(R(1), 0), OUT(R(3), 3),
                                     OUT(R(2), 0x81), OUT(R(1), 1)}; /* trigger 8, 115200 baud */
    RUN(&f.rig, on);
    feed(&f, "0123456");
    static const struct step below[] = {
        LINE(IRQ, 0),  IN(R(2), 0xc1), IN(R(5), 0x61), WAIT(340000),   LINE(IRQ, 0),
        WAIT(10000),   LINE(IRQ, 1),   IN(R(2), 0xcc),                 /* four characters later */
        IN(R(0), '0'), LINE(IRQ, 0),   WAIT(350000),   IN(R(2), 0xcc), /* and again after a read */
        IN(R(0), '1'), IN(R(0), '2'),  IN(R(0), '3'),  IN(R(0), '4'),  IN(R(0), '5'),
        IN(R(0), '6'), IN(R(5), 0x60), WAIT(1000000),  LINE(IRQ, 0),
    };
    RUN(&f.rig, below);
    feed(&f, "01234567");
    static const struct step at[] = {LINE(IRQ, 1), IN(R(2), 0xc4), IN(R(0), '0'), LINE(IRQ, 0)};
    RUN(&f.rig, at);
    static const struct step clear[] = {OUT(R(2), 0x83), IN(R(5), 0x60)};
    RUN(&f.rig, clear);
    teardown(&f);
}

Test(uart, long_input_does_not_overrun)
{
    struct fixture f;
    setup(&f);
    static const struct step on[] = {OUT(R(2), 0x01), OUT(R(1), 0x05)};
    static const char text[] = "the quick brown fox jumps over the lazy dog";
    RUN(&f.rig, on);
    feed(&f, text);
    for (const char *p = text; *p; p++) {
        cr_expect_eq(bus_port_read(f.rig.bus, R(5), 1), 0x61);
        cr_expect_eq(bus_port_read(f.rig.bus, R(0), 1), (uint8_t)*p);
    }
    cr_expect_eq(bus_port_read(f.rig.bus, R(5), 1), 0x60);
    teardown(&f);
}

Test(uart, loopback)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        OUT(R(4), 0x1a), IN_MASK(R(6), 0x90, 0xf0), /* as drivers probe */
        OUT(R(4), 0x15), IN_MASK(R(6), 0x60, 0xf0),
        OUT(R(4), 0x10), SKIP(R(6)),
        OUT(R(1), 0x08), OUT(R(4), 0x12),
        LINE(IRQ, 1),    IN(R(2), 0x00),
        IN(R(6), 0x11),  LINE(IRQ, 0),
        IN(R(6), 0x10),  OUT(R(4), 0x16),
        IN(R(6), 0x50), /* RI rises: no delta */
        OUT(R(4), 0x12), IN(R(6), 0x14),
        OUT(R(1), 0x05), OUT(R(0), 0x42),
        LINE(IRQ, 1),    IN(R(2), 0x04),
        IN(R(5), 0x61),  IN(R(0), 0x42),
        OUT(R(0), 1),    OUT(R(0), 2),
        IN(R(2), 0x06),  IN(R(5), 0x63),
        IN(R(5), 0x61), /* overrun */
        IN(R(0), 2),     LINE(IRQ, 0),
        OUT(R(3), 0x43), IN(R(2), 0x06),
        IN(R(5), 0x71),  IN(R(0), 0), /* break */
        OUT(R(3), 0x03), OUT(R(4), 0),
    };
    RUN(&f.rig, script);
    cr_expect_eq(f.out_len, 0);
    teardown(&f);
}

Test(uart, a_full_sink_holds_the_guest_back)
{
    struct fixture f;
    setup(&f);
    f.out_room = 4;
    static const struct step script[] = {
        OUT(R(2), 0x01), OUT(R(1), 0x02), IN(R(2), 0xc2), OUT(R(0), 'a'), OUT(R(0), 'b'),
        OUT(R(0), 'c'),  OUT(R(0), 'd'),  IN(R(2), 0xc2), OUT(R(0), 'e'), OUT(R(0), 'f'),
        IN(R(5), 0x00),  IN(R(2), 0xc1),  LINE(IRQ, 0),   WAIT(5000000),  IN(R(5), 0x00),
    };
    RUN(&f.rig, script);
    f.out_room = 200;
    static const struct step room[] = {WAIT(1000000), IN(R(5), 0x60), LINE(IRQ, 1)};
    RUN(&f.rig, room);
    cr_expect_str_eq(f.out, "abcdef");
    cr_expect_eq(clock_next_deadline(f.rig.clock), UINT64_MAX);
    teardown(&f);
}

/* --- host descriptors --- */

static atomic_int notified;
static void count_notice(void *opaque)
{
    (void)opaque;
    notified++;
}

Test(char_fd, both_ways)
{
    int to_guest[2], from_guest[2];
    cr_assert(!pipe(to_guest) && !pipe(from_guest));
    struct char_fd *fd = char_fd_create(to_guest[0], from_guest[1], count_notice, NULL);
    struct chardev c = char_fd_chardev(fd);
    uint8_t buf[16];
    cr_expect_eq(chardev_read(&c, buf, sizeof(buf)), 0);
    cr_assert_eq(write(to_guest[1], "hello", 5), 5);
    for (int i = 0; i < 2000 && !notified; i++)
        usleep(1000);
    cr_expect_eq(chardev_read(&c, buf, sizeof(buf)), 5);
    cr_expect_eq(chardev_write(&c, (const uint8_t *)"world", 5), 5);
    cr_expect_eq(read(from_guest[0], buf, sizeof(buf)), 5);
    cr_expect(!memcmp(buf, "world", 5));
    cr_expect_eq(chardev_write(&c, (const uint8_t *)"last", 4), 4);
    char_fd_destroy(fd); /* drains */
    cr_expect_eq(read(from_guest[0], buf, sizeof(buf)), 4);
}

Test(char_fd, bounded)
{
    int from_guest[2];
    uint8_t block[4096] = {0};
    size_t total = 0;
    cr_assert(!pipe(from_guest));
    struct char_fd *fd = char_fd_create(-1, from_guest[1], count_notice, NULL);
    struct chardev c = char_fd_chardev(fd);
    for (int i = 0; i < 1000; i++)
        total += chardev_write(&c, block, sizeof(block));
    cr_expect_leq(total, 65536 + 65536 + 4096, "a ring and a pipe, no more");
    for (size_t got = 0; got < total;) {
        ssize_t n = read(from_guest[0], block, sizeof(block));
        cr_assert_gt(n, 0);
        got += (size_t)n;
    }
    for (int i = 0; i < 2000 && !notified; i++)
        usleep(1000);
    cr_expect_gt(notified, 0, "the ring's room was announced");
    cr_expect_eq(chardev_write(&c, block, 10), 10);
    char_fd_destroy(fd);
}

Test(char_fd, closed_reader_loses_output_only)
{
    int from_guest[2];
    uint8_t block[4096] = {0};
    cr_assert(!pipe(from_guest));
    struct char_fd *fd = char_fd_create(-1, from_guest[1], NULL, NULL);
    struct chardev c = char_fd_chardev(fd);
    close(from_guest[0]);
    size_t total = 0;
    for (int i = 0; i < 2000 && total < 1000000; i++) {
        total += chardev_write(&c, block, sizeof(block));
        usleep(100);
    }
    cr_expect_geq(total, 1000000);
    char_fd_destroy(fd);
}
