/* SPDX-License-Identifier: MIT */
/* irq.c: device lines -> wired-OR -> PIC and I/O APIC.
 *
 * Each line that is handed out is one bit of its GSI's word; a controller sees the word's being
 * nonzero. Both controllers see every change: which of them interrupts is the guest's choice, by
 * masks. */
#include "devices/irq.h"
#include "devices/ioapic.h"
#include "devices/pic.h"

#include <stdlib.h>
#include <string.h>

#define PIC_INPUTS 16

struct gsi {
    uint32_t asserted; /* by source */
    unsigned sources;
    struct irq_line pic, ioapic;
};

struct irq_router {
    struct gsi gsi[IRQ_ROUTER_GSIS];
};

struct irq_router *irq_router_create(struct pic *pic, struct ioapic *ioapic)
{
    struct irq_router *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    for (unsigned i = 0; i < IRQ_ROUTER_GSIS; i++) {
        if (pic && i < PIC_INPUTS)
            r->gsi[i].pic = pic_irq(pic, i);
        if (ioapic && i != 2)
            r->gsi[i].ioapic = ioapic_irq(ioapic, i ? i : 2);
    }
    return r;
}

void irq_router_destroy(struct irq_router *r)
{
    free(r);
}

static void router_set(void *controller, unsigned input, int level)
{
    struct irq_router *r = controller;
    struct gsi *g = &r->gsi[input & 31];
    uint32_t bit = 1u << (input >> 5), before = g->asserted;
    g->asserted = level ? before | bit : before & ~bit;
    if (!before != !g->asserted) {
        irq_set(&g->pic, g->asserted != 0);
        irq_set(&g->ioapic, g->asserted != 0);
    }
}

void irq_router_reset(struct irq_router *r)
{
    for (unsigned i = 0; i < IRQ_ROUTER_GSIS; i++) {
        r->gsi[i].asserted = 0;
        irq_set(&r->gsi[i].pic, 0);
        irq_set(&r->gsi[i].ioapic, 0);
    }
}

struct irq_line irq_router_line(struct irq_router *r, unsigned gsi)
{
    if (gsi >= IRQ_ROUTER_GSIS || r->gsi[gsi].sources == 32)
        return (struct irq_line){0};
    return (struct irq_line){router_set, r, gsi | r->gsi[gsi].sources++ << 5};
}
