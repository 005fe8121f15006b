/* SPDX-License-Identifier: MIT */
/* exception.c: raising exceptions, combining them, and the way into their handlers (SDM vol. 3, ch.
 * 6; real mode: 20.1.4; protected mode is gate.c's).
 *
 * Model: at most one event is being delivered, v->delivering names it. When its delivery raises,
 * the raiser's record in v->exc replaces it; the loop calls exception_deliver() again, which finds
 * both and makes #DF or shutdown of them (vol. 3, table 6-5). v->delivering is -1 again once a
 * handler's first instruction is due. */
#include "runtime/exception.h"

#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/system.h"
#include "runtime/transfer.h"

/* Vectors whose error code is a selector, with EXT in bit 0. */
#define SELECTOR_ERRORS (1u << VEC_TS | 1u << VEC_NP | 1u << VEC_SS | 1u << VEC_GP)
/* The faults among the exceptions: RF is set in the image pushed for them (vol. 3, 17.3.1.1). */
#define FAULTS                                                                                     \
    (1u << VEC_DE | 1u << VEC_BR | 1u << VEC_UD | 1u << VEC_NM | 1u << VEC_TS | 1u << VEC_NP |     \
     1u << VEC_SS | 1u << VEC_GP | 1u << VEC_PF | 1u << VEC_MF | 1u << VEC_AC | 1u << VEC_XM)
#define CONTRIBUTORY (1u << VEC_DE | 1u << VEC_TS | 1u << VEC_NP | 1u << VEC_SS | 1u << VEC_GP)

static _Noreturn void raise(struct vcpu *v, const struct exception *e)
{
    v->exc = *e;
    v->exc.pending = true;
    longjmp(v->fault_jmp, 1);
}

void raise_exception(struct vcpu *v, uint8_t vector)
{
    raise(v, &(struct exception){.vector = vector});
}

/* EXT tells that the event under delivery came from outside the program (vol. 3, 6.13). */
void raise_exception_error(struct vcpu *v, uint8_t vector, uint32_t error)
{
    bool external = v->delivering >= 0 && !(v->delivering & DELIVERING_SOFT);
    if (external && (SELECTOR_ERRORS >> vector & 1))
        error |= 1;
    raise(v, &(struct exception){.vector = vector, .has_error = true, .error = error});
}

void raise_ud(struct vcpu *v)
{
    raise_exception(v, VEC_UD);
}

void raise_nm(struct vcpu *v)
{
    raise_exception(v, VEC_NM);
}

void raise_de(struct vcpu *v)
{
    raise_exception(v, VEC_DE);
}

void raise_mf(struct vcpu *v)
{
    raise_exception(v, VEC_MF);
}

void raise_xm(struct vcpu *v)
{
    raise_exception(v, VEC_XM);
}

void raise_gp(struct vcpu *v, uint32_t error)
{
    raise_exception_error(v, VEC_GP, error);
}

void raise_ss(struct vcpu *v, uint32_t error)
{
    raise_exception_error(v, VEC_SS, error);
}

void raise_np(struct vcpu *v, uint32_t error)
{
    raise_exception_error(v, VEC_NP, error);
}

void raise_ts(struct vcpu *v, uint32_t error)
{
    raise_exception_error(v, VEC_TS, error);
}

void raise_ac(struct vcpu *v)
{
    raise_exception_error(v, VEC_AC, 0);
}

void raise_pf(struct vcpu *v, uint32_t la, uint32_t error)
{
    raise(v, &(struct exception){.vector = VEC_PF, .has_error = true, .error = error, .cr2 = la});
}

void raise_db(struct vcpu *v, uint32_t dr6_bits)
{
    raise(v, &(struct exception){.vector = VEC_DB, .dr6 = dr6_bits});
}

/* --- combining (vol. 3, tables 6-4 and 6-5) --- */

static bool vector_in(uint32_t set, int vector)
{
    return vector < 32 && (set >> vector & 1);
}

enum outcome { OUTCOME_SERIAL, OUTCOME_DOUBLE_FAULT, OUTCOME_SHUTDOWN };

static enum outcome combine(int first, int second)
{
    bool contributory = vector_in(CONTRIBUTORY, second), page_fault = second == VEC_PF;
    if (first < 0 || (first & DELIVERING_BENIGN) || (!contributory && !page_fault))
        return OUTCOME_SERIAL;
    if (first == VEC_DF)
        return OUTCOME_SHUTDOWN;
    if (first == VEC_PF || (vector_in(CONTRIBUTORY, first) && contributory))
        return OUTCOME_DOUBLE_FAULT;
    return OUTCOME_SERIAL;
}

/* --- delivery --- */

/* Through the interrupt vector table, which IDTR locates (vol. 3, 20.1.4). Error codes are not
 * pushed. */
static void deliver_real(struct vcpu *v, const struct event *e)
{
    uint32_t entry = e->vector * 4u;
    if (entry + 3 > v->idtr.limit)
        raise_gp(v, entry * 2 + 2);
    uint32_t pointer = (uint32_t)mmu_sys_read(v, v->idtr.base + entry, 4);
    struct frame f;
    frame_current(v, &f, 2);
    frame_push(&f, e->eflags);
    frame_push(&f, v->seg[SEG_CS].sel);
    frame_push(&f, e->return_eip);
    frame_check(v, &f);
    code_check_real(v, pointer & 0xffff);
    v->gpr[R_ESP] = frame_write(v, &f);
    v->eflags &= ~(EFL_IF | EFL_TF | EFL_AC | EFL_RF);
    code_enter_real(v, (uint16_t)(pointer >> 16), pointer & 0xffff);
}

static void deliver(struct vcpu *v, const struct event *e)
{
    v->halted = false;
    if (vcpu_protected(v))
        gate_enter(v, e);
    else
        deliver_real(v, e);
    v->delivering = -1;
    v->shadow = SHADOW_NONE;
}

static bool is_fault(const struct exception *e)
{
    return e->vector == VEC_DB ? (e->dr6 & DR6_BD) != 0 : vector_in(FAULTS, e->vector);
}

void exception_deliver(struct vcpu *v)
{
    struct exception e = v->exc;
    if (!e.pending)
        return;
    v->exc.pending = false;
    v->dr6_pending = 0;
    if (e.vector == VEC_PF)
        v->cr2 = e.cr2;
    if (e.vector == VEC_DB) {
        v->dr[6] |= e.dr6;
        v->dr[7] &= ~DR7_GD;
    }
    switch (combine(v->delivering, e.vector)) {
    case OUTCOME_SHUTDOWN:
        v->shutdown = true;
        v->delivering = -1;
        return;
    case OUTCOME_DOUBLE_FAULT:
        e = (struct exception){.vector = VEC_DF, .has_error = true};
        break;
    case OUTCOME_SERIAL:
        break;
    }
    v->machine->stats.exceptions++;
    v->machine->stats.page_faults += e.vector == VEC_PF;
    v->delivering = e.vector;
    struct event event = {
        .kind = EVENT_EXCEPTION,
        .vector = e.vector,
        .has_error = e.has_error,
        .error = e.error,
        .return_eip = v->eip,
        .eflags = v->eflags | (is_fault(&e) ? EFL_RF : 0),
    };
    deliver(v, &event);
}

void interrupt_deliver(struct vcpu *v, uint8_t vector)
{
    v->delivering = DELIVERING_BENIGN | vector;
    struct event event = {
        .kind = EVENT_INTERRUPT,
        .vector = vector,
        .return_eip = v->eip,
        .eflags = v->eflags,
    };
    deliver(v, &event);
}

void nmi_deliver(struct vcpu *v)
{
    v->nmi_blocked = true;
    interrupt_deliver(v, VEC_NMI);
}

static void deliver_program(struct vcpu *v, uint8_t vector, uint32_t next_eip, enum event_kind kind)
{
    v->delivering = DELIVERING_BENIGN | (kind == EVENT_SOFT ? DELIVERING_SOFT : 0) | vector;
    struct event event = {
        .kind = kind,
        .vector = vector,
        .return_eip = next_eip,
        .eflags = v->eflags & ~EFL_RF,
    };
    deliver(v, &event);
}

void soft_interrupt(struct vcpu *v, uint8_t vector, uint32_t next_eip)
{
    deliver_program(v, vector, next_eip, EVENT_SOFT);
}

void soft_interrupt_int1(struct vcpu *v, uint32_t next_eip)
{
    deliver_program(v, VEC_DB, next_eip, EVENT_INT1);
}
