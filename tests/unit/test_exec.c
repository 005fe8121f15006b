/* SPDX-License-Identifier: MIT */
/* The loop: every way a run ends, timers that wake a halted guest and interrupt a spinning one, and
 * kicks from other threads that lose nothing. All in both engines. */
#include "boot_image.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define CODE_GPA 0x100080
#define TICKS    200

/* Counts 200 ticks of the PIT at 1 kHz, then says so by the debug-exit port. Loaded at CODE_GPA;
 * TICK_WAIT is what it does in between. Tick count at 0x200000, IDT at 0x201000. */
#define TICK_GUEST(name, TICK_WAIT)                                                                \
    extern const uint8_t name[], name##_end[];                                                     \
    __asm__(".pushsection .rodata\n.code32\n" #name ":\n"                                          \
            "    mov $0x300000, %esp\n"                                                            \
            "    lea " #name "_isr - " #name " + 0x100080, %eax\n"                                 \
            "    mov %ax, 0x201040\n    movw $8, 0x201042\n    movw $0x8e00, 0x201044\n"           \
            "    shr $16, %eax\n    mov %ax, 0x201046\n"                                           \
            "    movw $0x7ff, 0x202000\n    movl $0x201000, 0x202002\n    lidt 0x202000\n"         \
            "    mov $0x34, %al\n    out %al, $0x43\n"                                             \
            "    mov $0xa9, %al\n    out %al, $0x40\n    mov $4, %al\n    out %al, $0x40\n"        \
            "    mov $0xfe, %al\n    out %al, $0x21\n    sti\n"                                    \
            "1:  " TICK_WAIT "\n    cmpl $200, 0x200000\n    jb 1b\n"                              \
            "    mov $5, %al\n    out %al, $0xf4\n2:  hlt\n    jmp 2b\n" #name "_isr:\n"           \
            "    push %eax\n    incl 0x200000\n    mov $0x20, %al\n    out %al, $0x20\n"           \
            "    pop %eax\n    iret\n" #name "_end:\n.code64\n.popsection\n")
TICK_GUEST(halting_guest, "hlt");
TICK_GUEST(spinning_guest, "nop");

static struct machine *boot_code(enum engine engine, const void *code, size_t size)
{
    static uint8_t image[4096];
    struct machine_config c = base_config();
    c.engine = engine;
    c.debug_exit = true;
    c.timeout_ns = 20000000000u;
    memset(image, 0, sizeof image);
    boot_put32(image + 0x40, 0x1badb002);
    boot_put32(image + 0x44, 0x10000);
    boot_put32(image + 0x48, -(0x1badb002u + 0x10000));
    boot_put32(image + 0x4c, 0x100040);
    boot_put32(image + 0x50, 0x100000);
    boot_put32(image + 0x5c, CODE_GPA);
    cr_assert(size <= sizeof image - 0x80);
    memcpy(image + 0x80, code, size);
    return assert_taken(boot_kernel(c, image, sizeof image));
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

TestSuite(exec, .timeout = 100);

static const uint8_t spin[] = {0xeb, 0xfe};
static const uint8_t halt[] = {0xfa, 0xf4, 0xeb, 0xfd};

Test(exec, debug_exit_and_triple_fault)
{
    static const uint8_t leave[] = {0xb0, 0x15, 0xe6, 0xf4, 0xcc};
    static const uint8_t fault[] = {0xcc};
    for (enum engine e = ENGINE_BT; e <= ENGINE_INTERP; e++) {
        struct machine *m = boot_code(e, leave, sizeof leave);
        cr_assert_eq(machine_run(m), END_DEBUG_EXIT);
        cr_assert_eq(m->end_value, 0x15);
        machine_destroy(m);
        m = boot_code(e, fault, sizeof fault);
        cr_assert_eq(machine_run(m), END_SHUTDOWN, "no interrupt table");
        machine_destroy(m);
    }
}

Test(exec, timeout_ends_a_spinning_and_a_halted_guest)
{
    for (enum engine e = ENGINE_BT; e <= ENGINE_INTERP; e++)
        for (unsigned halted = 0; halted < 2; halted++) {
            struct machine *m =
                boot_code(e, halted ? halt : spin, halted ? sizeof halt : sizeof spin);
            m->config.timeout_ns = 100000000;
            uint64_t start = now_ns(CLOCK_MONOTONIC);
            cr_assert_eq(machine_run(m), END_TIMEOUT);
            uint64_t took = now_ns(CLOCK_MONOTONIC) - start;
            cr_assert(took >= 100000000 && took < 10000000000u);
            machine_destroy(m);
        }
}

Test(exec, a_halted_guest_costs_nothing)
{
    for (enum engine e = ENGINE_BT; e <= ENGINE_INTERP; e++) {
        struct machine *m = boot_code(e, halt, sizeof halt);
        m->config.timeout_ns = 500000000;
        uint64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
        cr_assert_eq(machine_run(m), END_TIMEOUT);
        cr_assert(now_ns(CLOCK_THREAD_CPUTIME_ID) - start < 50000000);
        cr_assert(m->stats.time_idle > 400000000);
        machine_destroy(m);
    }
}

static void *stop_soon(void *opaque)
{
    usleep(100000);
    machine_stop(opaque, END_QUIT);
    return NULL;
}

Test(exec, stop_from_another_thread)
{
    for (enum engine e = ENGINE_BT; e <= ENGINE_INTERP; e++)
        for (unsigned halted = 0; halted < 2; halted++) {
            pthread_t thread;
            struct machine *m =
                boot_code(e, halted ? halt : spin, halted ? sizeof halt : sizeof spin);
            cr_assert_eq(pthread_create(&thread, NULL, stop_soon, m), 0);
            cr_assert_eq(machine_run(m), END_QUIT);
            pthread_join(thread, NULL);
            machine_destroy(m);
        }
}

static void run_ticks(enum engine e, bool halting)
{
    struct machine *m =
        halting ? boot_code(e, halting_guest, (size_t)(halting_guest_end - halting_guest))
                : boot_code(e, spinning_guest, (size_t)(spinning_guest_end - spinning_guest));
    uint64_t start = now_ns(CLOCK_MONOTONIC);
    cr_assert_eq(machine_run(m), END_DEBUG_EXIT);
    uint64_t took = now_ns(CLOCK_MONOTONIC) - start;
    cr_assert_eq(m->end_value, 5);
    cr_assert_eq(guest32(m, 0x200000), TICKS);
    cr_assert(took > (TICKS - 2) * 1000000u, "%llu ns", (unsigned long long)took);
    if (halting)
        cr_assert(m->stats.halts >= TICKS / 2);
    machine_destroy(m);
}

Test(exec, ticks_wake_a_halted_guest)
{
    run_ticks(ENGINE_BT, true);
    run_ticks(ENGINE_INTERP, true);
}

Test(exec, ticks_interrupt_a_spinning_guest)
{
    run_ticks(ENGINE_BT, false);
    run_ticks(ENGINE_INTERP, false);
}

struct kicker {
    struct machine *m;
    atomic_bool done;
};

static void *kick_all_the_time(void *opaque)
{
    struct kicker *k = opaque;
    for (unsigned n = 0; !atomic_load(&k->done); n++) {
        machine_kick(k->m);
        usleep(n % 50);
    }
    return NULL;
}

Test(exec, kicks_disturb_nothing)
{
    for (enum engine e = ENGINE_BT; e <= ENGINE_INTERP; e++)
        for (unsigned halting = 0; halting < 2; halting++) {
            struct machine *m =
                halting
                    ? boot_code(e, halting_guest, (size_t)(halting_guest_end - halting_guest))
                    : boot_code(e, spinning_guest, (size_t)(spinning_guest_end - spinning_guest));
            struct kicker k = {.m = m};
            pthread_t thread;
            cr_assert_eq(pthread_create(&thread, NULL, kick_all_the_time, &k), 0);
            cr_assert_eq(machine_run(m), END_DEBUG_EXIT);
            atomic_store(&k.done, true);
            pthread_join(thread, NULL);
            cr_assert_eq(guest32(m, 0x200000), TICKS);
            machine_destroy(m);
        }
}
