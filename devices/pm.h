/* SPDX-License-Identifier: MIT */
/* pm.h: PIIX4 power management, function 00:01.3: ACPI fixed registers, GPE block and SMI command.
 */
#ifndef RINGDOWN_DEVICES_PM_H
#define RINGDOWN_DEVICES_PM_H

#include "devices/device.h"

#define PM_BASE         0x600u /* where pm_bios_init() puts the block */
#define PM_GPE_BASE     0xafe0u
#define PM_SMI_CMD      0xb2u
#define PM_ACPI_ENABLE  0xf1u
#define PM_ACPI_DISABLE 0xf0u
#define PM_SCI_IRQ      9u
#define PM_TIMER_HZ     3579545u
#define PM_SLP_TYP_S5   0u /* as in the DSDT's _S5 */
#define PM_SLP_TYP_S3   1u /* and _S3 */

struct pci;
struct pm;
struct pm *pm_create(struct bus *bus, struct clock *clock, struct pci *pci, struct irq_line sci,
                     struct machine_control control);
void pm_destroy(struct pm *p);
/* Also runs from pci_reset(). On the way out of suspend it keeps status, enable and SCI_EN. */
void pm_reset(struct pm *p);
/* Maps the block at PM_BASE, for machines without a BIOS. */
void pm_bios_init(struct pm *p);
void pm_power_button(struct pm *p); /* a short press */
/* What the RTC's alarm drives: an event, and the end of suspend if it is enabled. */
struct irq_line pm_alarm_line(struct pm *p);

#endif
