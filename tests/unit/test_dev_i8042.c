/* SPDX-License-Identifier: MIT */
/* Keyboard controller and keyboard: commands, translation, scan-code sets, A20, reset. */
#include "devices/i8042.h"
#include "devices/keyboard.h"
#include "scripted_bus.h"

#define IRQ1  1
#define IRQ12 12
#define A20   20

struct fixture {
    struct rig rig;
    struct i8042 *kbd;
};

static void setup(struct fixture *f)
{
    rig_init(&f->rig);
    f->kbd = i8042_create(f->rig.bus, rig_line(&f->rig, IRQ1), rig_line(&f->rig, IRQ12),
                          rig_line(&f->rig, A20), rig_control(&f->rig));
}

static void teardown(struct fixture *f)
{
    i8042_destroy(f->kbd);
    rig_fini(&f->rig);
}

Test(i8042, self_tests_and_command_byte)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        IN(0x64, 0x14),  OUT(0x64, 0xaa), IN(0x64, 0x1d),  IN(0x60, 0x55),
        IN(0x64, 0x1c),  OUT(0x64, 0xab), IN(0x60, 0x00),  OUT(0x64, 0x20),
        IN(0x60, 0x65),  OUT(0x64, 0x60), OUT(0x60, 0x74), OUT(0x64, 0x20),
        IN(0x60, 0x74),  LINE(IRQ1, 0),   OUT(0x64, 0xae), OUT(0x64, 0x20),
        IN(0x60, 0x64),  OUT(0x64, 0xad), OUT(0x64, 0x20), IN(0x60, 0x74),
        OUT(0x64, 0x65), OUT(0x60, 0x99), OUT(0x64, 0x25), IN(0x60, 0x99),
        OUT(0x64, 0xd2), OUT(0x60, 0x5a), IN(0x64, 0x15),  IN(0x60, 0x5a),
        OUT(0x64, 0xa4), IN(0x60, 0xf1),  OUT(0x64, 0xc0), IN_MASK(0x60, 0x80, 0x80),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

/* The order in which Linux finds out that there is no second port: nothing may be left waiting. */
Test(i8042, no_mouse)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        OUT(0x64, 0xd3),
        OUT(0x60, 0x5a),
        IN_MASK(0x64, 0x01, 0x21),
        IN(0x60, 0x5a),
        OUT(0x64, 0xa9),
        IN_MASK(0x64, 0x01, 0x21),
        IN(0x60, 0x02),
        OUT(0x64, 0xa8),
        OUT(0x64, 0x20),
        IN_MASK(0x60, 0x00, 0x20),
        OUT(0x64, 0xa7),
        OUT(0x64, 0x20),
        IN_MASK(0x60, 0x20, 0x20),
        OUT(0x64, 0xd4),
        OUT(0x60, 0xff),
        IN_MASK(0x64, 0x61, 0x61),
        IN(0x60, 0xfe),
        IN_MASK(0x64, 0x00, 0x61),
        LINE(IRQ12, 0),
    };
    RUN(&f.rig, script);
    teardown(&f);
}

Test(i8042, keyboard_commands)
{
    struct fixture f;
    setup(&f);
    static const struct step script[] = {
        OUT(0x60, 0xff), LINE(IRQ1, 1),       IN(0x60, 0xfa),      IN(0x60, 0xaa),
        LINE(IRQ1, 0),   EDGES(IRQ1, 2),      OUT(0x60, 0xf2),     IN(0x60, 0xfa),
        IN(0x60, 0xab),  IN(0x60, 0x41),      OUT(0x60, 0xed),     IN(0x60, 0xfa),
        OUT(0x60, 0x05), IN(0x60, 0xfa),      OUT(0x60, 0xee),     IN(0x60, 0xee),
        OUT(0x60, 0xfe), IN(0x60, 0xee),      OUT(0x60, 0xf3),     IN(0x60, 0xfa),
        OUT(0x60, 0x20), IN(0x60, 0xfa),      OUT(0x60, 0xf0),     IN(0x60, 0xfa),
        OUT(0x60, 0x00), IN(0x60, 0xfa),      IN(0x60, 0x41),      OUT(0x60, 0x12),
        IN(0x60, 0xfe),  IN_MASK(0x64, 0, 1), OUT(0x60, 0xed),     IN(0x60, 0xfa),
        OUT(0x60, 0xf4), IN(0x60, 0xfa),      IN_MASK(0x64, 0, 1), /* not a parameter */
    };
    RUN(&f.rig, script);
    cr_expect_eq(i8042_leds(f.kbd), 5);
    teardown(&f);
}

Test(i8042, keys_translated)
{
    struct fixture f;
    setup(&f);
    i8042_key(f.kbd, 0x1e, true);
    i8042_key(f.kbd, 0x1e, false);
    i8042_key(f.kbd, 0xe04b, true);
    i8042_key(f.kbd, 0xe04b, false);
    i8042_key(f.kbd, 0x41, true); /* F7, 0x83 in set 2 */
    i8042_key(f.kbd, 0x41, false);
    i8042_key(f.kbd, 0xe11d, true);
    i8042_key(f.kbd, 0xe037, true);
    i8042_key(f.kbd, 0xe037, false);
    static const struct step script[] = {
        IN(0x60, 0x1e), IN(0x60, 0x9e), IN(0x60, 0xe0),      IN(0x60, 0x4b),  IN(0x60, 0xe0),
        IN(0x60, 0xcb), IN(0x60, 0x41), IN(0x60, 0xc1),      IN(0x60, 0xe1),  IN(0x60, 0x1d),
        IN(0x60, 0x45), IN(0x60, 0xe1), IN(0x60, 0x9d),      IN(0x60, 0xc5),  IN(0x60, 0xe0),
        IN(0x60, 0x2a), IN(0x60, 0xe0), IN(0x60, 0x37),      IN(0x60, 0xe0),  IN(0x60, 0xb7),
        IN(0x60, 0xe0), IN(0x60, 0xaa), IN_MASK(0x64, 0, 1), EDGES(IRQ1, 22),
    };
    RUN(&f.rig, script);
    for (unsigned code = 1; code < 0x59; code++) {
        i8042_key(f.kbd, (uint16_t)code, true);
        i8042_key(f.kbd, (uint16_t)code, false);
        cr_expect_eq(bus_port_read(f.rig.bus, 0x60, 1), code);
        cr_expect_eq(bus_port_read(f.rig.bus, 0x60, 1), code | 0x80);
    }
    teardown(&f);
}

Test(i8042, scan_code_sets)
{
    struct fixture f;
    setup(&f);
    static const struct step raw[] = {OUT(0x64, 0x60), OUT(0x60, 0x25)};
    RUN(&f.rig, raw);
    i8042_key(f.kbd, 0xe04b, false);
    static const struct step two[] = {IN(0x60, 0xe0),  IN(0x60, 0xf0), IN(0x60, 0x6b),
                                      OUT(0x60, 0xf0), IN(0x60, 0xfa), OUT(0x60, 1),
                                      IN(0x60, 0xfa)};
    RUN(&f.rig, two);
    i8042_key(f.kbd, 0xe04b, false);
    static const struct step one[] = {IN(0x60, 0xe0), IN(0x60, 0xcb), OUT(0x60, 0xf0),
                                      IN(0x60, 0xfa), OUT(0x60, 3),   IN(0x60, 0xfa)};
    RUN(&f.rig, one);
    i8042_key(f.kbd, 0xe04b, false);
    static const struct step three[] = {IN(0x60, 0xf0), IN(0x60, 0x61), IN_MASK(0x64, 0, 1)};
    RUN(&f.rig, three);
    teardown(&f);
}

Test(i8042, disabled_keyboard_keeps_its_keys)
{
    struct fixture f;
    setup(&f);
    static const struct step off[] = {OUT(0x64, 0xad)};
    RUN(&f.rig, off);
    i8042_key(f.kbd, 0x10, true);
    static const struct step on[] = {IN_MASK(0x64, 0, 1), LINE(IRQ1, 0), OUT(0x64, 0xae),
                                     LINE(IRQ1, 1), IN(0x60, 0x10)};
    RUN(&f.rig, on);
    static const struct step stop[] = {OUT(0x60, 0xf5), IN(0x60, 0xfa)};
    RUN(&f.rig, stop);
    i8042_key(f.kbd, 0x10, true);
    static const struct step none[] = {IN_MASK(0x64, 0, 1)};
    RUN(&f.rig, none);
    teardown(&f);
}

Test(i8042, a_full_queue_still_answers)
{
    struct fixture f;
    setup(&f);
    for (int i = 0; i < 500; i++)
        i8042_key(f.kbd, 0xe04b, i & 1);
    bus_port_write(f.rig.bus, 0x60, 0xf2, 1);
    unsigned n = 0, last = 0, before = 0;
    while (bus_port_read(f.rig.bus, 0x64, 1) & 1) {
        before = last;
        last = bus_port_read(f.rig.bus, 0x60, 1);
        n++;
    }
    cr_expect_leq(n, KEYBOARD_QUEUE);
    cr_expect_eq(before, 0xab);
    cr_expect_eq(last, 0x41);
    teardown(&f);
}

Test(i8042, a20_and_reset)
{
    struct fixture f;
    setup(&f);
    static const struct step a20[] = {
        LINE(A20, 1),    OUT(0x64, 0xd1), OUT(0x60, 0xdd),
        LINE(A20, 0),    OUT(0x64, 0xd0), IN_MASK(0x60, 0x01, 0x03),
        OUT(0x64, 0xdf), LINE(A20, 1),    OUT(0x64, 0xdd),
        LINE(A20, 0),    IN(0x92, 0),     OUT(0x92, 2),
        LINE(A20, 1),    IN(0x92, 2),     OUT(0x92, 0),
        LINE(A20, 0),
    };
    RUN(&f.rig, a20);
    cr_expect_eq(f.rig.event, -1);
    i8042_reset(f.kbd);
    cr_expect_eq(f.rig.level[A20], 1);
    static const struct step harmless[] = {OUT(0x64, 0xff), OUT(0x64, 0xfd)};
    RUN(&f.rig, harmless);
    cr_expect_eq(f.rig.event, -1);
    static const struct step pulse[] = {OUT(0x64, 0xfe)};
    RUN(&f.rig, pulse);
    cr_expect_eq(f.rig.event, MACHINE_RESET);
    f.rig.event = -1;
    static const struct step fast[] = {OUT(0x92, 3)};
    RUN(&f.rig, fast);
    cr_expect_eq(f.rig.event, MACHINE_RESET);
    f.rig.event = -1;
    static const struct step port[] = {OUT(0x64, 0xd1), OUT(0x60, 0xfe)};
    RUN(&f.rig, port);
    cr_expect_eq(f.rig.event, MACHINE_RESET);
    teardown(&f);
}
