/* SPDX-License-Identifier: MIT */
/* transfer.h: what far transfers, interrupts and task switches share (SDM vol. 3, 5.8 and 6.12):
 * descriptors in tables, code segments, and frames on a stack that may be another ring's.
 *
 * The pattern in all of them: read and check everything, lay out the frame, frame_check(), then
 * commit by frame_write() and plain assignments. Nothing after frame_check() raises. */
#ifndef RINGDOWN_RUNTIME_TRANSFER_H
#define RINGDOWN_RUNTIME_TRANSFER_H

#include "runtime/segment.h"

/* Error code of a selector: its index and TI (EXT and IDT are the raiser's). */
static inline uint32_t sel_error(uint16_t sel)
{
    return sel & 0xfffcu;
}
static inline bool sel_null(uint16_t sel)
{
    return (sel & 0xfffcu) == 0;
}
static inline unsigned sel_rpl(uint16_t sel)
{
    return sel & 3u;
}
static inline unsigned attr_dpl(uint32_t attr)
{
    return (attr & SEG_ATTR_DPL) >> SEG_ATTR_DPL_SHIFT;
}
static inline bool attr_is_code(uint32_t attr)
{
    return (attr & (SEG_ATTR_S | SEG_ATTR_CODE)) == (SEG_ATTR_S | SEG_ATTR_CODE);
}
static inline bool attr_is_writable_data(uint32_t attr)
{
    return (attr & (SEG_ATTR_S | SEG_ATTR_CODE | SEG_ATTR_WRITE)) == (SEG_ATTR_S | SEG_ATTR_WRITE);
}
/* Type of a system descriptor, 0 (reserved) for code and data. */
static inline unsigned attr_system_type(uint32_t attr)
{
    return attr & SEG_ATTR_S ? 0 : attr & SEG_ATTR_TYPE;
}

/* Linear address of a selector's descriptor; the selector is known to lie within its table. */
uint32_t descriptor_address(const struct vcpu *v, uint16_t sel);
/* Sets the accessed bit in the table and in *d. */
void descriptor_set_accessed(struct vcpu *v, uint16_t sel, struct descriptor *d);
/* Sets or clears the busy bit of a TSS descriptor in the table. */
void descriptor_set_busy(struct vcpu *v, uint16_t sel, bool busy);

/* The code segment that a gate or far pointer names, and where to. */
struct code_target {
    uint16_t sel;
    struct descriptor desc;
    uint32_t off;
    unsigned cpl; /* afterwards */
};
/* Accessed bit and limit: the last checks before the commit. #GP(0) if off is beyond the limit. */
void code_target_check(struct vcpu *v, struct code_target *t);
/* CS, EIP and CPL. Cannot raise. */
void code_target_enter(struct vcpu *v, const struct code_target *t);
/* Real and virtual-8086 mode: the offset check, then CS:EIP. */
void code_check_real(struct vcpu *v, uint32_t off);
void code_enter_real(struct vcpu *v, uint16_t sel, uint32_t off);

/* A frame to be pushed. Values are pushed in the order they are given. */
#define FRAME_MAX 40
struct frame {
    struct segment ss;
    uint32_t esp;   /* before the first push */
    uint32_t error; /* of #SS: 0 for the current stack, the selector for a new one */
    bool user;      /* by what privilege paging judges */
    unsigned size;  /* of an entry: 2 or 4 */
    unsigned n;
    uint32_t value[FRAME_MAX];
};
void frame_current(const struct vcpu *v, struct frame *f, unsigned size);
/* The stack of an inner ring, from the TSS: checks all but the room. */
void frame_inner(struct vcpu *v, struct frame *f, unsigned cpl, unsigned size);
static inline void frame_push(struct frame *f, uint32_t value)
{
    f->value[f->n++] = value;
}
void frame_check(struct vcpu *v, const struct frame *f);
/* Stores the frame; returns the new ESP. */
uint32_t frame_write(struct vcpu *v, const struct frame *f);

/* Reads from the current stack: the value `*esp` points at; moves *esp on as SS.B says. */
uint32_t stack_read(struct vcpu *v, uint32_t *esp, unsigned size);
/* ESP or SP by a stack segment's B bit. */
uint32_t stack_pointer(const struct segment *ss, uint32_t old, uint32_t value);

/* The code segment that RET and IRET return to: all but accessed bit and limit. */
void return_target(struct vcpu *v, struct code_target *t);
/* A data-segment register after a return to an outer ring: null if CPL may not use it any more. */
void segment_drop_inner(struct vcpu *v, unsigned cpl);
/* The stack segment that a return to outer ring `cpl` loads; raises with `vector_base` semantics of
 * RET and IRET: #GP(sel), #SS(sel). */
void stack_check_outer(struct vcpu *v, uint16_t sel, unsigned cpl, struct descriptor *d);

/* TSS through a task gate or directly: #GP or #NP with the selector's error code. */
void task_gate_follow(struct vcpu *v, uint16_t tss_sel);

/* EFLAGS bits that POPF and IRET may change at CPL and IOPL, for an operand size. */
uint32_t eflags_writable(const struct vcpu *v, unsigned opsize);
#define EFL_DEFINED                                                                                \
    (EFL_ARITH | EFL_TF | EFL_IF | EFL_DF | EFL_IOPL | EFL_NT | EFL_RF | EFL_VM | EFL_AC |         \
     EFL_VIF | EFL_VIP | EFL_ID)

/* INT1: as soft_interrupt(), but the gate's DPL does not matter. */
void soft_interrupt_int1(struct vcpu *v, uint32_t next_eip);

/* What an event brings into a gate. */
enum event_kind { EVENT_EXCEPTION, EVENT_INTERRUPT, EVENT_SOFT, EVENT_INT1 };
struct event {
    enum event_kind kind;
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint32_t return_eip;
    uint32_t eflags; /* image to be pushed */
};
/* Protected and virtual-8086 mode: through the IDT's gate. */
void gate_enter(struct vcpu *v, const struct event *e);

/* Fields of the 32-bit and 16-bit TSS (vol. 3, figures 7-2 and 7-10). */
enum {
    TSS32_ESP0 = 4,
    TSS32_CR3 = 0x1c,
    TSS32_EIP = 0x20,
    TSS32_EFLAGS = 0x24,
    TSS32_GPR = 0x28,
    TSS32_SEG = 0x48,
    TSS32_LDT = 0x60,
    TSS32_TRAP = 0x64,
    TSS32_IOMAP = 0x66,
    TSS32_MIN_LIMIT = 0x67,
    TSS16_SP0 = 2,
    TSS16_IP = 0x0e,
    TSS16_FLAGS = 0x10,
    TSS16_GPR = 0x12,
    TSS16_SEG = 0x22,
    TSS16_LDT = 0x2a,
    TSS16_MIN_LIMIT = 0x2b,
};

/* v->delivering besides a plain vector: the event is no exception (so it is benign whatever its
 * vector), and it comes from the program (so EXT is clear). */
#define DELIVERING_BENIGN 0x100
#define DELIVERING_SOFT   0x200

#endif
