/* SPDX-License-Identifier: MIT */
/* segment.h: segment registers, descriptors, and accesses through them (SDM vol. 3, ch. 3 and 5).
 */
#ifndef RINGDOWN_RUNTIME_SEGMENT_H
#define RINGDOWN_RUNTIME_SEGMENT_H

#include "ringdown/cpu.h"

#include <stddef.h>

/* A segment descriptor, unpacked. */
struct descriptor {
    uint32_t low, high; /* as in memory */
    uint32_t base, limit, attr;
};

/* Reads the descriptor of a selector from GDT or LDT. False if it lies outside the table (nothing
 * is raised); may raise #PF. */
bool descriptor_read(struct vcpu *v, uint16_t sel, struct descriptor *out);
void descriptor_unpack(uint32_t low, uint32_t high, struct descriptor *out);

/* MOV/POP to a segment register, LDS and kin: all checks of the mode under way (real, v86,
 * protected) and the hidden part. Raises. Not for CS. */
void segment_load(struct vcpu *v, unsigned seg, uint16_t sel);
/* Hidden part as real mode and v86 have it. */
void segment_set_real(struct vcpu *v, unsigned seg, uint16_t sel);
void segment_set_v86(struct vcpu *v, unsigned seg, uint16_t sel);
void segment_set(struct vcpu *v, unsigned seg, uint16_t sel, const struct descriptor *d);
void segment_set_null(struct vcpu *v, unsigned seg, uint16_t sel);

/* Linear address of seg:off for n bytes after type and limit checks; raises #GP(0) or #SS(0). */
uint32_t segment_check(struct vcpu *v, unsigned seg, uint32_t off, size_t n, int write);

/* True if the segment is the whole address space from 0, present, and readable and writable:
 * nothing to add and nothing to check. */
static inline bool segment_flat(const struct segment *s)
{
    return s->base == 0 && s->limit == 0xffffffffu &&
           (s->attr & (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_CODE | SEG_ATTR_DOWN | SEG_ATTR_WRITE |
                       SEG_ATTR_NULL)) == (SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_WRITE);
}

/* Far transfers (vol. 2, JMP/CALL/RET/IRET/SYSENTER/SYSEXIT). Each commits EIP itself; `next_eip`
 * is the address after the instruction, `opsize` 2 or 4. */
void far_jump(struct vcpu *v, uint16_t sel, uint32_t off, unsigned opsize, uint32_t next_eip);
void far_call(struct vcpu *v, uint16_t sel, uint32_t off, unsigned opsize, uint32_t next_eip);
void far_return(struct vcpu *v, unsigned opsize, uint16_t pop);
void interrupt_return(struct vcpu *v, unsigned opsize, uint32_t next_eip);
void sysenter(struct vcpu *v);
void sysexit(struct vcpu *v);

/* Hardware task switch (vol. 3, 7.3). */
enum task_cause { TASK_JUMP, TASK_CALL, TASK_IRET, TASK_GATE_INT };
void task_switch(struct vcpu *v, uint16_t tss_sel, enum task_cause cause, uint32_t next_eip,
                 bool has_error, uint32_t error);

#endif
