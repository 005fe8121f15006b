/* SPDX-License-Identifier: MIT */
/* platform.h: the board: which devices the machine has and how they are wired. */
#ifndef RINGDOWN_RUNTIME_PLATFORM_H
#define RINGDOWN_RUNTIME_PLATFORM_H

#include "runtime/machine.h"

struct fw_cfg;
struct lapic;

/* Creates every device on m->bus and m->clock; m->phys and m->vcpu exist. NULL on error, with one
 * line in err; *bad_input tells a user's mistake. */
struct platform *platform_create(struct machine *m, char *err, size_t err_size, bool *bad_input);
void platform_destroy(struct platform *p);
void platform_reset(struct platform *p);
/* The reset at the end of suspend to RAM: the calendar and what has woken the machine stay. */
void platform_wake(struct platform *p);
/* What firmware leaves behind: for machines that start a kernel directly. */
void platform_bios_init(struct platform *p);
/* Lets devices with a host side take input and offer output. */
void platform_poll(struct platform *p);

/* The processor's pins. */
bool platform_interrupt_line(const struct platform *p);
int platform_ack_interrupt(struct platform *p);
/* An NMI waits; taking it clears it. */
bool platform_nmi_line(const struct platform *p);
void platform_ack_nmi(struct platform *p);
/* INIT has come; the page of a SIPI, -1 if none has. Taking them clears them. */
bool platform_take_init(struct platform *p);
int platform_take_startup(struct platform *p);

struct lapic *platform_lapic(struct platform *p);
struct rtc *platform_rtc(struct platform *p);
void platform_power_button(struct platform *p);
struct fw_cfg *platform_fw_cfg(struct platform *p);

#endif
