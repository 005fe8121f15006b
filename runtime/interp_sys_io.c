/* SPDX-License-Identifier: MIT */
/* interp_sys_io.c: port I/O and its permissions (SDM vol. 1, 18.5).
 *
 * A port access has effects that cannot be taken back, so whatever may fault (permission, the
 * memory operand) comes before it. Repeated forms are left after an iteration when somebody wants
 * the loop. */
#include "runtime/interp_sys.h"

#include "runtime/exception.h"
#include "runtime/interp_ops.h"
#include "runtime/machine.h"
#include "runtime/system.h"
#include "runtime/transfer.h"

/* The I/O permission bit map of a 32-bit TSS. A byte of it that lies beyond the TSS's limit
 * forbids; two bytes are read always, since ports may straddle them. */
static bool bitmap_allows(struct vcpu *v, uint16_t port, unsigned size)
{
    const struct segment *tr = &v->seg[SEG_TR];
    if (attr_system_type(tr->attr) != DESC_TSS32_BUSY || tr->limit < TSS32_MIN_LIMIT)
        return false;
    uint32_t map = (uint32_t)mmu_sys_read(v, tr->base + TSS32_IOMAP, 2) + port / 8u;
    if (map + 1 > tr->limit)
        return false;
    uint32_t bits = (uint32_t)mmu_sys_read(v, tr->base + map, 2) >> (port & 7);
    return !(bits & ((1u << size) - 1));
}

static void check_port(struct vcpu *v, uint16_t port, unsigned size)
{
    if (!vcpu_protected(v) || (!vcpu_v86(v) && v->cpl <= vcpu_iopl(v)))
        return;
    if (!bitmap_allows(v, port, size))
        raise_gp(v, 0);
}

static uint32_t port_read(struct vcpu *v, uint16_t port, unsigned size)
{
    debug_io_access(v, port, size);
    return bus_port_read(v->machine->bus, port, size);
}

static void port_write(struct vcpu *v, uint16_t port, uint32_t value, unsigned size)
{
    debug_io_access(v, port, size);
    bus_port_write(v->machine->bus, port, value, size);
}

/* An immediate port number is a byte. */
static uint16_t port_operand(const struct vcpu *v, const struct insn *i, unsigned k)
{
    return i->opnd[k].kind == OPND_IMM ? (uint8_t)i->imm : (uint16_t)v->gpr[R_EDX];
}

bool sys_in(struct vcpu *v, const struct insn *i)
{
    unsigned size = i->opnd[0].size;
    uint16_t port = port_operand(v, i, 1);
    check_port(v, port, size);
    ops_set_reg(v, R_EAX, size, port_read(v, port, size));
    return false;
}

bool sys_out(struct vcpu *v, const struct insn *i)
{
    unsigned size = i->opnd[1].size;
    uint16_t port = port_operand(v, i, 0);
    check_port(v, port, size);
    port_write(v, port, ops_reg(v, R_EAX, size), size);
    return false;
}

/* --- strings --- */

static uint32_t address_mask(const struct insn *i)
{
    return i->addrsize == 4 ? 0xffffffffu : 0xffff;
}

static void advance(struct vcpu *v, unsigned reg, uint32_t mask, uint32_t by)
{
    v->gpr[reg] = (v->gpr[reg] & ~mask) | ((v->gpr[reg] + by) & mask);
}

static void ins_once(struct vcpu *v, unsigned size, uint32_t mask, uint32_t step)
{
    uint16_t port = (uint16_t)v->gpr[R_EDX];
    uint32_t la = ops_linear(v, SEG_ES, v->gpr[R_EDI] & mask, size, 1);
    ops_hook(v, la, size, true);
    mmu_probe(v, la, size, ACC_WRITE);
    ops_store(v, la, port_read(v, port, size), size);
    advance(v, R_EDI, mask, step);
}

static void outs_once(struct vcpu *v, unsigned seg, unsigned size, uint32_t mask, uint32_t step)
{
    uint16_t port = (uint16_t)v->gpr[R_EDX];
    uint32_t la = ops_linear(v, seg, v->gpr[R_ESI] & mask, size, 0);
    port_write(v, port, ops_load(v, la, size), size);
    advance(v, R_ESI, mask, step);
}

/* True if the instruction has to be left although iterations remain. RF then keeps an instruction
 * breakpoint from being met again (vol. 3, 17.3.1.1). */
static bool pause_here(struct vcpu *v)
{
    bool single = ops_shared(v)->single || v->dr6_pending;
    if (single)
        v->eflags |= EFL_RF;
    return single || v->request;
}

static bool string_io(struct vcpu *v, const struct insn *i, bool in)
{
    unsigned size = i->opnd[in ? 0 : 1].size;
    unsigned seg = i->seg_prefix == 0xff ? SEG_DS : i->seg_prefix;
    uint32_t mask = address_mask(i), step = v->eflags & EFL_DF ? -size : size;
    bool repeat = i->rep || i->repne;
    /* the port must be allowed even if nothing is to be done: so processors have it */
    check_port(v, (uint16_t)v->gpr[R_EDX], size);
    if (repeat && !(v->gpr[R_ECX] & mask))
        return false;
    for (;;) {
        if (in)
            ins_once(v, size, mask, step);
        else
            outs_once(v, seg, size, mask, step);
        if (!repeat)
            return false;
        advance(v, R_ECX, mask, 0xffffffffu);
        if (!(v->gpr[R_ECX] & mask))
            return false;
        if (pause_here(v))
            return true;
    }
}

bool sys_ins(struct vcpu *v, const struct insn *i)
{
    return string_io(v, i, true);
}

bool sys_outs(struct vcpu *v, const struct insn *i)
{
    return string_io(v, i, false);
}
