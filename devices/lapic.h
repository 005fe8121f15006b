/* SPDX-License-Identifier: MIT */
/* lapic.h: the local APIC of the one processor (SDM vol. 3, chapter 11), and the one place where
 * the processor's interrupt input is decided: fixed interrupts by priority, and the PIC through
 * LINT0 in ExtINT mode (virtual wire) or directly while the APIC is disabled. */
#ifndef RINGDOWN_DEVICES_LAPIC_H
#define RINGDOWN_DEVICES_LAPIC_H

#include "devices/device.h"

#define LAPIC_DEFAULT_BASE 0xfee00000u
#define LAPIC_BASE_ENABLE  0x800u /* IA32_APIC_BASE bit 11 */
#define LAPIC_BASE_BSP     0x100u

struct pic;
struct lapic;
/* intr: the processor's INTR, level. nmi: pulsed for NMI. init and startup: pulsed for INIT and
 * SIPI. The timer counts at LAPIC_TIMER_HZ before its divider. */
#define LAPIC_TIMER_HZ 1000000000u
struct lapic *lapic_create(struct bus *bus, struct clock *clock, struct irq_line intr,
                           struct irq_line nmi, struct irq_line init, struct irq_line startup);
void lapic_destroy(struct lapic *l);
void lapic_reset(struct lapic *l);
/* What INIT leaves: as after reset, but for the ID and IA32_APIC_BASE (SDM vol. 3, 11.4.7.3). */
void lapic_init(struct lapic *l);
/* The vector of the last SIPI: the page that the processor starts at. */
uint8_t lapic_startup_page(const struct lapic *l);
void lapic_connect_pic(struct lapic *l, struct pic *pic);
struct irq_line lapic_lint0(struct lapic *l); /* the PIC's INT output goes here */
struct irq_line lapic_lint1(struct lapic *l); /* NMI sources */
/* IA32_APIC_BASE: relocation and global enable. False if reserved bits are set (then #GP). */
uint64_t lapic_get_base(const struct lapic *l);
bool lapic_set_base(struct lapic *l, uint64_t value);
/* What the processor sees: the level of INTR, and the acknowledge cycle. lapic_ack() returns the
 * vector, or -1 if nothing is deliverable any more. */
bool lapic_has_interrupt(const struct lapic *l);
int lapic_ack(struct lapic *l);
/* Task priority, for MOV CR8 in other modes and for tests. */
uint8_t lapic_get_tpr(const struct lapic *l);

/* A message on the APIC bus (I/O APIC, MSI). delivery: 0 fixed, 1 lowest, 2 SMI, 4 NMI, 5 INIT,
 * 6 SIPI, 7 ExtINT. True if this processor is among the destinations. */
bool lapic_deliver(struct lapic *l, uint8_t dest, bool logical, unsigned delivery, uint8_t vector,
                   bool level);
/* Called at the EOI of a level-triggered vector. */
void lapic_on_eoi(struct lapic *l, void (*fn)(void *opaque, uint8_t vector), void *opaque);

#endif
