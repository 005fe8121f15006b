/* SPDX-License-Identifier: MIT */
/* interp_fpu.c: x87, MMX and SSE in the interpreter: checks in C, execution by thunks
 * (fpu_thunk.h), so that results are the host's bit for bit.
 *
 * A memory operand is touched in place when it lies in one page of plain RAM. Otherwise (page
 * crossing, device, watched code) it goes through a bounce buffer; a store then checks the guest's
 * memory first, so that nothing has changed when it faults. */
#include "runtime/interp_fpu.h"

#include "runtime/exception.h"
#include "runtime/interp_ops.h"
#include "runtime/system.h"

#include <stdatomic.h>
#include <string.h>

#define BOUNCE_SIZE  16u
#define MASKMOV_SIZE 16u
#define FCW_MASKS    0x3fu

/* --- availability (SDM vol. 3, tables 2-2 and 9-2; vol. 2, exception classes) --- */

static inline bool sse_available(const struct vcpu *v)
{
    return !(v->cr0 & (CR0_EM | CR0_TS)) && v->cr4 & CR4_OSFXSR;
}

void interp_fpu_check_sse(struct vcpu *v)
{
    if (sse_available(v))
        return;
    if (v->cr0 & CR0_EM || !(v->cr4 & CR4_OSFXSR))
        raise_ud(v);
    raise_nm(v);
}

static inline void check_mmx(struct vcpu *v)
{
    if (INTERP_LIKELY(!(v->cr0 & (CR0_EM | CR0_TS))))
        return;
    if (v->cr0 & CR0_EM)
        raise_ud(v);
    raise_nm(v);
}

void interp_fpu_align(struct vcpu *v, uint32_t la, unsigned size)
{
    if (INTERP_UNLIKELY(v->eflags & EFL_AC && v->cr0 & CR0_AM && v->cpl == 3 && la & (size - 1)))
        raise_ac(v);
}

/* Table 6-7 of vol. 3: an extended real must be a multiple of 8. Operands of 16 bytes either must
 * be aligned, which is #GP, or need not be (vol. 2, 2.5, exception type 4). */
static __attribute__((noinline)) void check_rare(struct vcpu *v, uint32_t la, unsigned n,
                                                 bool write)
{
    if (n < 16)
        interp_fpu_align(v, la, n >= 8 ? 8 : n);
    if (debug_data_armed(v))
        debug_data_access(v, la, n, write);
}

/* --- errors --- */

bool interp_fpu_error(struct vcpu *v)
{
    if (v->cr0 & CR0_NE)
        raise_mf(v);
    if (v->fpu)
        irq_set(&v->fpu->ferr, 1);
    atomic_fetch_or(&v->request, VCPU_REQ_EVENT);
    return true; /* the instruction waits where it is */
}

/* IGNNE# is asserted: executes a thunk as if nothing were pending. */
static __attribute__((noinline)) unsigned run_ignoring(struct vcpu *v, const struct fpu_thunk *t,
                                                       void *mem)
{
    uint16_t fcw = fpu_control(), masked = fcw | FCW_MASKS;
    unsigned flags = fpu_status() & FCW_MASKS;
    __asm__ volatile("fnclex; fldcw %0" : : "m"(masked));
    unsigned trap = t->run(v, mem);
    if (fpu_control() == masked)
        __asm__ volatile("fldcw %0" : : "m"(fcw));
    fpu_sync(v);
    v->fx.fsw |= flags;
    fpu_load(v);
    return trap;
}

/* What the trap that a thunk took means to the guest. The result is that of a handler. */
static __attribute__((noinline)) bool thunk_failed(struct vcpu *v, unsigned trap)
{
    if (trap == VEC_MF)
        return interp_fpu_error(v);
    if (trap == VEC_XM && v->cr4 & CR4_OSXMMEXCPT)
        raise_xm(v);
    if (trap == VEC_GP)
        raise_gp(v, 0);
    raise_ud(v);
}

static inline __attribute__((always_inline)) unsigned run(struct vcpu *v, const struct fpu_thunk *t,
                                                          void *mem)
{
    unsigned trap = t->run(v, mem);
    if (INTERP_UNLIKELY(trap == VEC_MF && !(v->cr0 & CR0_NE) && v->fpu->ignne))
        trap = run_ignoring(v, t, mem);
    return trap;
}

/* --- memory operands --- */

/* True if the x87 store that has just been executed stored nothing, for an unmasked exception
 * (vol. 1, 8.5; a precision exception alone does not keep it from storing). No unmasked flag was
 * set before it, or it would not have executed. */
static bool store_suppressed(void)
{
    return fpu_status() & ~fpu_control() & (FSW_IE | FSW_DE | FSW_ZE | FSW_OE | FSW_UE);
}

/* The two parts of an operand that crosses a page, if both are in the soft TLB. */
struct crossing {
    uint8_t *low, *high;
    unsigned left; /* bytes in the first page */
};

static bool crossing_hit(struct vcpu *v, uint32_t la, unsigned n, enum access access,
                         struct crossing *c)
{
    c->left = 0x1000 - (la & 0xfff);
    if (c->left >= n)
        return false;
    c->low = ops_hit(v, la, c->left, access);
    c->high = ops_hit(v, la + c->left, n - c->left, access);
    return c->low && c->high;
}

static void bounce_read(struct vcpu *v, uint32_t la, void *buf, unsigned n)
{
    struct crossing c;
    if (crossing_hit(v, la, n, ACC_READ, &c)) {
        memcpy(buf, c.low, c.left);
        memcpy((uint8_t *)buf + c.left, c.high, n - c.left);
    } else if (n == 4) { /* one access to a device */
        uint32_t word = mmu_read32(v, la);
        memcpy(buf, &word, 4);
    } else if (n == 8) {
        uint64_t quad = mmu_read64(v, la);
        memcpy(buf, &quad, 8);
    } else {
        mmu_read(v, la, buf, n);
    }
}

static void bounce_write(struct vcpu *v, uint32_t la, const void *buf, unsigned n)
{
    uint32_t word;
    uint64_t quad;
    if (n == 4) {
        memcpy(&word, buf, 4);
        mmu_write32(v, la, word);
    } else if (n == 8) {
        memcpy(&quad, buf, 8);
        mmu_write64(v, la, quad);
    } else {
        mmu_write(v, la, buf, n);
    }
}

/* The processors store ten bytes as eight and two; the eight stay if the two fault. */
static void store_first_part(struct vcpu *v, const struct fpu_thunk *t, uint32_t la)
{
    uint8_t state[108], value[BOUNCE_SIZE] __attribute__((aligned(16)));
    uint64_t first;
    mmu_probe(v, la, sizeof first, ACC_WRITE);
    if (mmu_walk(v, la + t->size - 1u, ACC_WRITE, mmu_as(v, v->eflags), false).ok)
        return;
    __asm__ volatile("fnsave %0; frstor %0" : "+m"(state));
    unsigned trap = run(v, t, value);
    __asm__ volatile("fnclex; frstor %0" : : "m"(state));
    memcpy(&first, value, sizeof first);
    if (!trap)
        mmu_write64(v, la, first);
}

static __attribute__((noinline)) unsigned run_bounced(struct vcpu *v, const struct fpu_thunk *t,
                                                      uint32_t la)
{
    uint8_t buf[BOUNCE_SIZE] __attribute__((aligned(16)));
    struct crossing c;
    unsigned trap;
    if (!t->write) {
        bounce_read(v, la, buf, t->size);
        return run(v, t, buf);
    }
    bool split = crossing_hit(v, la, t->size, ACC_WRITE, &c);
    if (!split && t->x87 && t->size == 10)
        store_first_part(v, t, la);
    if (!split)
        mmu_probe(v, la, t->size, ACC_WRITE);
    trap = run(v, t, buf);
    /* What does not wait (FNSTSW, FNSTCW) stores whatever is pending. */
    if (trap || (t->x87 && t->waits && store_suppressed()))
        return trap;
    if (split) {
        memcpy(c.low, buf, c.left);
        memcpy(c.high, buf + c.left, t->size - c.left);
    } else {
        bounce_write(v, la, buf, t->size);
    }
    return trap;
}

/* A store that will be suppressed cannot fault: it is tried on another operand, with the state put
 * by. True: it has been executed, to that end. */
static bool store_futile(struct vcpu *v, const struct fpu_thunk *t, unsigned *trap)
{
    uint8_t state[108], scratch[16];
    uint16_t fcw;
    __asm__ volatile("fnstcw %0" : "=m"(fcw));
    if ((fcw & 0x3f) == 0x3f)
        return false;
    __asm__ volatile("fnsave %0; frstor %0" : "+m"(state));
    *trap = run(v, t, scratch);
    if (!*trap && store_suppressed())
        return true;
    __asm__ volatile("fnclex; frstor %0" : : "m"(state)); /* FRSTOR waits: nothing may be pending */
    return false;
}

/* TOP of the status word becomes 0, as MMX instructions have it, before an MMX store looks at
 * memory: processors leave it so when that faults, as translated code shows. Tags stay. */
static void clear_top(void)
{
    struct {
        uint32_t control, status, others[5];
    } env;
    __asm__ volatile("fnstenv %0" : "=m"(env));
    env.status &= ~(uint32_t)FSW_TOP;
    __asm__ volatile("fldenv %0" : : "m"(env));
}

/* With every check, in the processor's order: a pending error comes before whatever the memory
 * operand may raise. */
static __attribute__((noinline)) unsigned run_mem_checked(struct vcpu *v, const struct insn *i,
                                                          const struct fpu_thunk *t, uint32_t ea)
{
    if (t->waits && interp_fpu_pending(v))
        return VEC_MF;
    unsigned trap;
    if (t->x87 && t->write && t->waits && store_futile(v, t, &trap))
        return trap;
    uint32_t la = ops_linear(v, i->mem_seg, ea, t->size, t->write);
    if (la & t->align)
        raise_gp(v, 0);
    check_rare(v, la, t->size, t->write);
    if (t->write && i->info->flags & INSN_MMX)
        clear_top();
    void *mem = mmu_direct(v, la, t->size, t->write ? ACC_WRITE : ACC_READ);
    return mem ? run(v, t, mem) : run_bounced(v, t, la);
}

static inline __attribute__((always_inline)) unsigned
run_mem(struct vcpu *v, const struct insn *i, const struct fpu_thunk *t, uint32_t ea)
{
    bool usual = segment_flat(&v->seg[i->mem_seg]) &&
                 !((ea & t->align) | (v->eflags & EFL_AC) | debug_data_armed(v));
    if (INTERP_LIKELY(usual)) {
        void *mem = ops_hit(v, ea, t->size, t->write ? ACC_WRITE : ACC_READ);
        if (INTERP_LIKELY(mem))
            return run(v, t, mem);
    }
    return run_mem_checked(v, i, t, ea);
}

/* --- handlers --- */

static __attribute__((noinline)) const struct fpu_thunk *thunk_find(struct vcpu *v,
                                                                    const struct insn *i)
{
    fpu_special_fn *special = i->op == OP_X87 ? interp_fpu_special(i) : NULL;
    const struct fpu_thunk *t = fpu_thunk_make(v, i, special);
    if (!t) {
        atomic_fetch_or(&v->request, VCPU_REQ_STOP);
        raise_ud(v);
    }
    return t;
}

static inline const struct fpu_thunk *thunk_of(struct vcpu *v, const struct insn *i)
{
    const struct fpu_thunk *t = fpu_thunk_cached(v, i);
    return INTERP_LIKELY(t) ? t : thunk_find(v, i);
}

static bool op_x87(struct vcpu *v, const struct insn *i)
{
    if (INTERP_UNLIKELY(v->cr0 & (CR0_EM | CR0_TS)))
        raise_nm(v);
    const struct fpu_thunk *t = thunk_of(v, i);
    if (INTERP_UNLIKELY(t->special))
        return t->special(v, i);
    uint32_t ea = 0;
    unsigned trap;
    if (t->size) {
        ea = ops_ea(v, i);
        trap = run_mem(v, i, t, ea);
    } else {
        trap = run(v, t, NULL);
    }
    if (INTERP_UNLIKELY(trap))
        return thunk_failed(v, trap);
    if (t->track) {
        v->fx.fip = v->eip;
        v->fx.fcs = v->seg[SEG_CS].sel;
        v->fx.fop = (uint16_t)((i->opcode & 7) << 8 | i->modrm);
        if (t->size) {
            v->fx.fdp = ea;
            v->fx.fds = v->seg[i->mem_seg].sel;
        }
    }
    return false;
}

/* MASKMOVQ and MASKMOVDQU write the bytes that a mask selects at DS:[(E)DI]. */
static __attribute__((noinline)) bool maskmov(struct vcpu *v, const struct insn *i,
                                              const struct fpu_thunk *t)
{
    unsigned n = i->op == OP_MMX ? 8 : 16, trap;
    unsigned seg = i->seg_prefix == 0xff ? SEG_DS : i->seg_prefix;
    uint32_t off = i->addrsize == 2 ? v->gpr[R_EDI] & 0xffff : v->gpr[R_EDI];
    uint32_t la = segment_check(v, seg, off, n, true);
    uint8_t zeros[MASKMOV_SIZE], ones[MASKMOV_SIZE];
    interp_fpu_align(v, la, 8);
    check_rare(v, la, n, true);
    void *mem = mmu_direct(v, la, n, ACC_WRITE);
    if (mem) {
        trap = run(v, t, mem);
        return trap ? thunk_failed(v, trap) : false;
    }
    mmu_probe(v, la, n, ACC_WRITE);
    memset(zeros, 0x00, sizeof zeros);
    memset(ones, 0xff, sizeof ones);
    trap = run(v, t, zeros);
    if (!trap)
        trap = run(v, t, ones);
    if (trap)
        return thunk_failed(v, trap);
    /* Bytes that come out the same over different grounds are those that were written. */
    for (unsigned b = 0; b < n; b++)
        if (zeros[b] == ones[b])
            mmu_write8(v, la + b, ones[b]);
    return false;
}

static inline __attribute__((always_inline)) bool execute(struct vcpu *v, const struct insn *i,
                                                          const struct fpu_thunk *t)
{
    unsigned trap;
    if (t->size)
        trap = run_mem(v, i, t, ops_ea(v, i));
    else
        trap = run(v, t, NULL);
    return INTERP_UNLIKELY(trap) ? thunk_failed(v, trap) : false;
}

/* Vector instructions that have anything uncommon, or may not execute now. */
static __attribute__((noinline)) bool execute_rare(struct vcpu *v, const struct insn *i,
                                                   const struct fpu_thunk *t)
{
    if (i->info->flags & INSN_SSE)
        interp_fpu_check_sse(v);
    else if (i->info->flags & INSN_MMX)
        check_mmx(v);
    return t->maskmov ? maskmov(v, i, t) : execute(v, i, t);
}

static bool op_mmx(struct vcpu *v, const struct insn *i)
{
    const struct fpu_thunk *t = thunk_of(v, i);
    if (INTERP_UNLIKELY(v->cr0 & (CR0_EM | CR0_TS) || t->rare))
        return execute_rare(v, i, t);
    return execute(v, i, t);
}

static bool op_sse(struct vcpu *v, const struct insn *i)
{
    const struct fpu_thunk *t = thunk_of(v, i);
    if (INTERP_UNLIKELY(t->rare || !sse_available(v)))
        return execute_rare(v, i, t);
    return execute(v, i, t);
}

static bool op_fwait(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if ((v->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        raise_nm(v);
    if (interp_fpu_pending(v))
        return interp_fpu_error(v);
    return false;
}

/* One processor, and its devices run on its thread: there is no order to enforce. */
static bool op_fence(struct vcpu *v, const struct insn *i)
{
    (void)v;
    (void)i;
    return false;
}

/* Faults like a load of a byte (vol. 2, CLFLUSH); caches are coherent. */
static bool op_clflush(struct vcpu *v, const struct insn *i)
{
    mmu_probe(v, interp_mem(v, i, 1, false), 1, ACC_READ);
    return false;
}

interp_fn *const interp_fpu_ops[OP_COUNT] = {
    [OP_X87] = op_x87,
    [OP_MMX] = op_mmx,
    [OP_SSE] = op_sse,
    [OP_FWAIT] = op_fwait,
    [OP_FENCE] = op_fence,
    [OP_PREFETCH] = op_fence,
    [OP_CLFLUSH] = op_clflush,
    [OP_LDMXCSR] = interp_fpu_ldmxcsr,
    [OP_STMXCSR] = interp_fpu_stmxcsr,
    [OP_FXSAVE] = interp_fpu_fxsave,
    [OP_FXRSTOR] = interp_fpu_fxrstor,
};
