/* SPDX-License-Identifier: MIT */
/* irq.c: the 8259A pair and the 8254's channel 0. */
#include "guest.h"

void pic_mask(uint16_t mask)
{
    outb(0x21, (uint8_t)mask);
    outb(0xa1, (uint8_t)(mask >> 8));
}

void pic_init(void)
{
    outb(0x20, 0x11);
    outb(0xa0, 0x11);
    outb(0x21, VEC_IRQ0);
    outb(0xa1, VEC_IRQ0 + 8);
    outb(0x21, 4);
    outb(0xa1, 2);
    outb(0x21, 1);
    outb(0xa1, 1);
    pic_mask(0xffff);
}

void pic_eoi(unsigned irq)
{
    if (irq >= 8)
        outb(0xa0, 0x20);
    outb(0x20, 0x20);
}

void pit_start(unsigned hz)
{
    unsigned n = 1193182 / hz;
    outb(0x43, 0x34);
    outb(0x40, (uint8_t)n);
    outb(0x40, (uint8_t)(n >> 8));
}

/* Mode 0 with a count that is never completed raises no further edge. */
void pit_stop(void)
{
    outb(0x43, 0x30);
}
