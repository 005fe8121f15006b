/* SPDX-License-Identifier: MIT */
/* cpu.h: the state of one virtual processor, shared by interpreter, translator, MMU and
 * exception delivery.
 *
 * While C code runs, all of the guest's integer state stands in `struct vcpu`. While translated
 * code runs, the general registers and the arithmetic flags live in host registers (see
 * docs/registers.md) and the rest stays here, reached through r15.
 *
 * Floating point: from vcpu_run() until its return the guest's x87 registers, control words and
 * MXCSR stay *live in the host's own x87/MXCSR registers*; the monitor's C code uses none of them
 * (no float, double or long double in any code that runs inside the loop). The XMM registers are
 * in vcpu->fx while C code runs and in the host's while translated code does.
 *
 * Rule for EIP: while an instruction executes in C, vcpu->eip is the address of *that* instruction;
 * it moves on when the instruction retires. So a fault raised half-way reports the right address.
 */
#ifndef RINGDOWN_INCLUDE_CPU_H
#define RINGDOWN_INCLUDE_CPU_H

#include "ringdown/x86.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>

struct segment {
    uint32_t base;
    uint32_t limit; /* in bytes, granularity already applied */
    uint32_t attr;  /* SEG_ATTR_* */
    uint16_t sel;
};

struct table_register {
    uint32_t base;
    uint16_t limit;
};

/* The image of FXSAVE (SDM vol. 1, table 10-2). */
struct fxsave_area {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint32_t fip;
    uint16_t fcs, reserved2;
    uint32_t fdp;
    uint16_t fds, reserved3;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[16][16];
    uint8_t rest[96];
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct fxsave_area) == 512, "FXSAVE writes 512 bytes");

/* One entry of the interpreter's software TLB. A tag is the page's linear address when that kind
 * of access may go straight to `host`, else TLB_INVALID. */
#define TLB_INVALID   1u
#define TLB_BITS      10
#define TLB_SIZE      (1u << TLB_BITS)
#define TLB_COUNT     3u
#define TLB_FILL_LIST 128
struct tlb_entry {
    uint32_t tag[3]; /* by enum access: read, write, execute */
    uint32_t gfn;
    uint8_t *host;     /* of the page's first byte */
    uint32_t probe[2]; /* minus the page number, for reads and writes, or TLB_PROBE_INVALID: what
                        * translated code adds its page number to, to get zero on a hit */
};
#define TLB_PROBE_INVALID 0x40000000u

/* An exception on its way to the guest. */
struct exception {
    uint8_t vector;
    bool has_error;
    bool pending;
    uint32_t error;
    uint32_t cr2;
    uint32_t dr6; /* bits to set for #DB */
};

/* Why C code that runs on the processor's thread should come back to its loop. */
enum vcpu_request {
    VCPU_REQ_NONE = 0,
    VCPU_REQ_EVENT = 1, /* timers, input, an interrupt line: look at the devices */
    VCPU_REQ_STOP = 2,  /* the machine stops */
};

/* What the MMU tells whoever keeps something derived from the guest's page tables. */
enum tlb_event {
    TLB_FLUSH_ALL, /* control bits have changed, or global entries are flushed */
    TLB_CR3,       /* CR3 was loaded: entries that are not global are flushed */
    TLB_INVLPG,    /* `arg`: linear address */
    TLB_PROTECT,   /* `arg`: frame that may no longer be written to unseen */
};

struct machine;
struct bt;     /* translated execution, runtime/bt.c */
struct interp; /* decode cache of the interpreter */
struct fpu;    /* host code for FPU instructions, runtime/fpu.h */

/* Interrupt shadows (vol. 3, 6.8.1 and 6.8.3). The one of a load of SS also holds off debug traps.
 */
enum { SHADOW_NONE, SHADOW_STI, SHADOW_SS };

/* What translated code and the world switch reach through r15, in the first 128 bytes after the
 * registers so that one displacement byte does. Owner: runtime/bt.c. */
struct vcpu_hot {
    uint32_t vif;      /* EFL_IF or 0 while translated code runs */
    uint32_t vflags;   /* all of EFLAGS but EFL_HOST and IF while translated code runs */
    uint32_t irq_hint; /* nonzero: an interrupt waits for IF */
    uint32_t exit_id;  /* record of the exit taken, see translator/block.h */
    uint32_t exit_eip; /* target of an indirect branch that missed */
    uint32_t padding;
    uint64_t host_flags, monitor_rsp, return_sp;
    uint64_t jump_cache; /* loaded into r13 */
    uint64_t jump_tag;   /* the mode's */
    uint64_t view;       /* base of the current view: r14 */
    uint64_t scratch;    /* of RDTSC */
    uint32_t tlb_index_mask, tlb_page_mask, tlb_offset_mask, three; /* operands of pext */
    uint64_t code_lines; /* by gfn: a bit for each 64 bytes that hold translated code */
    uint64_t flags_mask; /* EFL_HOST, operand of pext/pdep */
};

struct vcpu {
    uint32_t gpr[8];
    uint32_t eip;
    uint32_t eflags; /* complete while C code runs; EFL_ONE always set */
    struct vcpu_hot hot;
    struct fxsave_area fx;
    _Atomic uint32_t request; /* enum vcpu_request bits; may be set from any thread or handler */
    struct segment seg[SEG_COUNT];
    struct table_register gdtr, idtr;
    uint32_t cr0, cr2, cr3, cr4;
    uint64_t efer;
    uint64_t pdpte[4]; /* loaded at CR3/CR0/CR4 writes with PAE on (vol. 3, 4.4.1) */
    uint32_t dr[8];
    uint8_t cpl;          /* 0 in real mode, 3 in virtual-8086 mode */
    bool halted;          /* after HLT, until an interrupt */
    bool waits_for_sipi;  /* `halted`, and deaf to all else: after INIT, unless it is the boot
                             processor */
    bool shutdown;        /* triple fault */
    bool nmi_blocked;     /* from the delivery of an NMI to the next IRET (vol. 3, 6.7.1) */
    uint8_t shadow;       /* SHADOW_*; nonzero: interrupts are held off until the next instruction
                           * retires; the loop clears it */
    struct exception exc; /* being raised or delivered */
    int delivering;       /* vector whose delivery is under way, -1 if none: for #DF and shutdown */

    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t apic_base, pat;
    uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
    uint64_t tsc_aux;    /* 32 bits, what RDTSCP and RDPID show */
    uint64_t mtrr_def, mtrr_fixed[11], mtrr_var[16];
    uint64_t misc_enable;
    uint64_t mcg_status;
    uint64_t tsc_adjust; /* IA32_TSC_ADJUST: what the guest has added to its TSC */
    /* DR6 bits of data and I/O breakpoints that the instruction under way has met: a trap once it
     * has retired. Set by debug_data_access() and debug_io_access(), cleared by whoever raises. */
    uint32_t dr6_pending;

    jmp_buf fault_jmp; /* raise_*() jumps here; set by the loop that executes guest code */

    struct tlb_entry tlb[TLB_COUNT][TLB_SIZE]; /* by enum walk_as (mmu.h) */
    /* Like probe[ACC_WRITE], for pages that are writable but hold translated code: a write may go
     * ahead where hot.code_lines shows none. */
    uint32_t tlb_mixed[TLB_COUNT][TLB_SIZE];
    /* Slots filled since the last flush (slot index + TLB_SIZE * which), so that flushing a TLB
     * that was little used costs little; tlb_fills may exceed the list's length. */
    uint16_t tlb_filled[TLB_FILL_LIST];
    uint32_t tlb_fills;
    uint32_t tlb_large[32]; /* a bit for each 4 MiB in which an entry came from a large page */

    struct machine *machine;
    struct interp *interp;
    void (*tlb_listener)(struct vcpu *v, enum tlb_event event, uint32_t arg); /* or NULL */
    struct bt *bt;
    struct fpu *fpu;
    uint64_t retired; /* instructions that the interpreter has retired */
    /* Of counted translations (translator/lower_count.c): */
    struct {
        uint64_t budget; /* boundaries of instructions to pass, plus one; then they leave */
        uint64_t
            retired; /* instructions begun; whoever leaves before the end of one takes it back */
    } count;
    /* Last, see vcpu_memory.c. */
    struct {
        uint64_t nothing, slot;
    } __attribute__((aligned(16))) expected;
};

/* Zeroed memory, NULL if there is none; and its end. */
struct vcpu *vcpu_allocate(void);
void vcpu_release(struct vcpu *v);
/* Whether a host fault at `hva` means that a guest's return went elsewhere than expected. */
bool vcpu_guard_holds(const struct vcpu *v, uint64_t hva);

/* Paging, protection and mode in the manual's words. */
static inline bool vcpu_protected(const struct vcpu *v)
{
    return v->cr0 & CR0_PE;
}
static inline bool vcpu_v86(const struct vcpu *v)
{
    return v->eflags & EFL_VM;
}
/* Real mode or virtual-8086 mode: segment bases are selector times 16. */
static inline bool vcpu_real_or_v86(const struct vcpu *v)
{
    return !vcpu_protected(v) || vcpu_v86(v);
}
static inline unsigned vcpu_iopl(const struct vcpu *v)
{
    return (v->eflags & EFL_IOPL) >> EFL_IOPL_SHIFT;
}
static inline bool vcpu_code32(const struct vcpu *v)
{
    return v->seg[SEG_CS].attr & SEG_ATTR_DB;
}
static inline bool vcpu_stack32(const struct vcpu *v)
{
    return v->seg[SEG_SS].attr & SEG_ATTR_DB;
}

#endif
