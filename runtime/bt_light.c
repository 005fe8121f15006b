/* SPDX-License-Identifier: MIT */
/* bt_light.c: the instructions of the way into a kernel and out of it, without the world switch.
 *
 * bt_light() runs between two pieces of translated code, with the guest's integer state in the vCPU
 * but its xmm registers in the processor's. Those are safe from all code of ours, which is compiled
 * for general registers only, but not from the C library: nothing here may call it, memcpy() and
 * kin included. bt_light() either executes an instruction as the interpreter would have, or changes
 * nothing and leaves it to bt_turn(). It never raises.
 *
 * Loading a segment register is a function of the selector, the kind of load and the descriptor:
 * what the long way has come to (bt_light_learn) holds for as long as these are the same. Guest
 * memory is reached through the software TLB, where that has the page. */
#include "runtime/bt_state.h"

#include "runtime/machine.h"
#include "runtime/mmu.h"
#include "runtime/system.h"
#include "runtime/transfer.h"

#include <stdatomic.h>

/* A data segment's checks depend on CPL; a code segment's, on the transfer and the ring it goes to.
 */
enum light_kind { DATA_BY_CPL, CODE_BY_GATE = 4, CODE_BY_IRET, STACK_BY_RING = 9 };

#define TSS_ESP0 4u

typedef uint64_t light_fn(struct bt *bt, const struct exit_record *x);
/* Everything that it calls becomes part of it: 4 % of a system call. */
#define WHOLE __attribute__((flatten))

/* --- guest memory --- */

/* Operands may lie at any address. */
typedef uint16_t __attribute__((aligned(1))) loose_u16;
typedef uint32_t __attribute__((aligned(1))) loose_u32;
typedef uint64_t __attribute__((aligned(1))) loose_u64;

/* Host address of [la, la+n) if the software TLB has it, else NULL. */
static uint8_t *probe(struct vcpu *v, bool user, uint32_t la, unsigned access, unsigned n)
{
    const struct tlb_entry *e = &v->tlb[user][la >> 12 & (TLB_SIZE - 1)];
    if (e->tag[access] != (la & ~0xfffu) || (la & 0xfff) > 0x1000 - n)
        return NULL;
    return e->host + (la & 0xfff);
}

/* The descriptor of a selector of the GDT, 0 of a null selector. */
static bool descriptor_of(struct vcpu *v, uint16_t sel, uint64_t *raw)
{
    *raw = 0;
    if (sel_null(sel))
        return true;
    if ((sel & 4) || (sel | 7u) > v->gdtr.limit)
        return false;
    const uint8_t *p = probe(v, false, v->gdtr.base + (sel & 0xfff8u), ACC_READ, 8);
    if (p)
        __builtin_memcpy(raw, p, 8);
    return p;
}

/* --- segments --- */

static unsigned segment_slot(uint16_t sel, unsigned kind)
{
    return (sel >> 3 ^ kind * 5) % LIGHT_SEGMENTS;
}

static const struct light_segment *known_segment(struct bt *bt, uint16_t sel, unsigned kind)
{
    const struct light_segment *s = &bt->light_segments[segment_slot(sel, kind)];
    uint64_t raw;
    if (!s->valid || s->sel != sel || s->kind != kind || !descriptor_of(bt->v, sel, &raw) ||
        s->raw != raw)
        return NULL;
    return s;
}

static void learn_segment(struct bt *bt, unsigned seg, uint16_t sel, unsigned kind)
{
    struct light_segment s = {.segment = bt->v->seg[seg], .sel = sel, .kind = (uint8_t)kind};
    s.valid = descriptor_of(bt->v, sel, &s.raw);
    s.seg_class = mode_classify_segment(&s.segment);
    bt->light_segments[segment_slot(sel, kind)] = s;
}

/* --- going on --- */

/* A change of mode, in a word: the mode's id, what changes (a data segment, or the ring), its
 * value.
 */
enum { STEP_VALUE_BITS = 4, STEP_WHAT_BITS = 4, STEP_RING = 8 };
enum { RING_USER = 1, RING_IOPL = 2, RING_TSC_TRAPS = 4 };

static uint32_t step_key(unsigned mode_id, unsigned what, unsigned value)
{
    return (mode_id << STEP_WHAT_BITS | what) << STEP_VALUE_BITS | value;
}

static struct mode mode_after(const struct mode *from, unsigned what, unsigned value)
{
    struct mode m = *from;
    if (what != STEP_RING) {
        m.seg_class[what] = (uint8_t)value;
        return m;
    }
    m.cpl = value & RING_USER ? 3 : 0;
    m.can_set_if = value & RING_IOPL;
    m.tsc_traps = value & RING_TSC_TRAPS;
    m.cs_base = 0;
    m.cs_limit = UINT32_MAX;
    m.seg_class[SEG_CS] = SEGC_FLAT;
    m.seg_class[SEG_SS] = SEGC_FLAT;
    return m;
}

/* A step that is not known: kept out of the functions that everything else becomes part of. */
static __attribute__((noinline)) unsigned find_step(struct bt *bt, struct light_step *s,
                                                    uint32_t key, unsigned what, unsigned value)
{
    struct mode m = mode_after(&bt->mode, what, value);
    unsigned id = cache_mode_find(bt->cache, &m);
    if (id != MODE_NONE)
        *s = (struct light_step){key, id, cache_era(bt->cache)};
    return id;
}

/* The mode's id, MODE_NONE if it has not been seen. */
static unsigned step(struct bt *bt, unsigned what, unsigned value)
{
    uint32_t key = step_key(bt->mode_id, what, value);
    struct light_step *s = &bt->light_steps[(key * 0x9e3779b1u) >> (32 - LIGHT_STEP_BITS)];
    bool known = s->key == key && s->era == cache_era(bt->cache);
    return known ? s->id : find_step(bt, s, key, what, value);
}

/* In another mode: where the jump cache has the target there. */
static uint64_t go_to_mode(struct bt *bt, unsigned id, uint32_t eip)
{
    struct vcpu *v = bt->v;
    uint64_t host = id == MODE_NONE ? 0 : cache_jump_find(bt->cache, eip, id);
    v->eip = eip;
    if (!host) {
        v->hot.exit_id = EXIT_ID_LOOKUP;
        v->hot.exit_eip = eip;
        return 0;
    }
    bt->mode = *cache_mode(bt->cache, id);
    bt->mode_id = id;
    bt_load_view(bt);
    bt_load_return_stack(bt);
    v->hot.jump_tag = (uint64_t)cache_jump_tag(bt->cache, id) << 32;
    return host;
}

static uint64_t resume(struct bt *bt, const struct exit_record *x)
{
    bt->v->eip = x->eip + x->insn->length;
    if (!x->host)
        return go_to_mode(bt, bt->mode_id, bt->v->eip);
    return (uint64_t)cache_code(bt->cache)->rx + x->host;
}

/* --- MOV and POP to DS, ES, FS, GS --- */

static uint64_t load_segment(struct bt *bt, const struct exit_record *x, uint16_t sel, uint32_t esp)
{
    struct vcpu *v = bt->v;
    unsigned seg = x->insn->opnd[0].reg;
    const struct light_segment *s = known_segment(bt, sel, DATA_BY_CPL + v->cpl);
    if (!s)
        return 0;
    v->seg[seg] = s->segment;
    v->gpr[R_ESP] = esp;
    if (s->seg_class == bt->mode.seg_class[seg])
        return resume(bt, x);
    return go_to_mode(bt, step(bt, seg, s->seg_class), x->eip + x->insn->length);
}

static bool plain_data_segment(const struct insn *i)
{
    unsigned seg = i->opnd[0].reg;
    return seg != SEG_CS && seg != SEG_SS && seg <= SEG_GS;
}

/* Nothing to check but what the page tables say. */
static bool unlimited(const struct bt *bt, unsigned seg)
{
    return bt->mode.seg_class[seg] == SEGC_FLAT || bt->mode.seg_class[seg] == SEGC_BASED;
}

WHOLE static uint64_t light_mov_to_seg(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    const struct insn *i = x->insn;
    if (!plain_data_segment(i))
        return 0;
    if (!i->has_mem)
        return load_segment(bt, x, (uint16_t)v->gpr[i->opnd[1].reg], v->gpr[R_ESP]);
    if (i->addrsize != 4 || !unlimited(bt, i->mem_seg))
        return 0;
    uint32_t la = v->seg[i->mem_seg].base + i->disp;
    if (i->mem_base != 0xff)
        la += v->gpr[i->mem_base];
    if (i->mem_index != 0xff)
        la += v->gpr[i->mem_index] * i->mem_scale;
    const uint8_t *p = probe(v, v->cpl == 3, la, ACC_READ, 2);
    return p ? load_segment(bt, x, *(const loose_u16 *)p, v->gpr[R_ESP]) : 0;
}

WHOLE static uint64_t light_pop_seg(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    const struct insn *i = x->insn;
    if (!plain_data_segment(i) || !unlimited(bt, SEG_SS))
        return 0;
    const uint8_t *p =
        probe(v, v->cpl == 3, v->seg[SEG_SS].base + v->gpr[R_ESP], ACC_READ, i->opsize);
    return p ? load_segment(bt, x, *(const loose_u16 *)p, v->gpr[R_ESP] + i->opsize) : 0;
}

/* --- rings --- */

/* With CPL, EIP and the system flags as they are now, CS and SS flat. */
static uint64_t go_to_ring(struct bt *bt)
{
    struct vcpu *v = bt->v;
    unsigned iopl = (v->hot.vflags & EFL_IOPL) >> EFL_IOPL_SHIFT;
    unsigned value = (v->cpl ? RING_USER : 0) | (v->cpl <= iopl ? RING_IOPL : 0) |
                     ((v->cr4 & CR4_TSD) && v->cpl ? RING_TSC_TRAPS : 0);
    return go_to_mode(bt, step(bt, STEP_RING, value), v->eip);
}

static bool alignment_checks(const struct vcpu *v, uint32_t eflags)
{
    return (v->cr0 & CR0_AM) && (eflags & EFL_AC);
}

static bool interrupt_waits(const struct vcpu *v, uint32_t vif)
{
    return vif && v->hot.irq_hint;
}

WHOLE static uint64_t light_sysenter(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    (void)x;
    if (!(v->sysenter_cs & 0xfffc))
        return 0;
    sysenter(v);
    v->hot.vif = 0;
    return go_to_ring(bt);
}

WHOLE static uint64_t light_sysexit(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    (void)x;
    if (!(v->sysenter_cs & 0xfffc) || v->cpl != 0 || interrupt_waits(v, v->hot.vif) ||
        alignment_checks(v, v->hot.vflags))
        return 0;
    sysexit(v);
    return go_to_ring(bt);
}

/* The kinds of CS and SS that go_to_ring() takes for granted. */
static bool flat_code(const struct light_segment *s)
{
    return s && s->segment.base == 0 && s->segment.limit == UINT32_MAX &&
           (s->segment.attr & SEG_ATTR_READ) && (s->segment.attr & SEG_ATTR_DB);
}

static bool flat_stack(const struct light_segment *s)
{
    return s && s->seg_class == SEGC_FLAT && (s->segment.attr & SEG_ATTR_DB);
}

static uint32_t guest_eflags(const struct vcpu *v)
{
    return ((uint32_t)v->hot.host_flags & EFL_HOST) | v->hot.vif | v->hot.vflags | EFL_ONE;
}

static void set_guest_eflags(struct vcpu *v, uint32_t eflags)
{
    v->hot.host_flags = eflags & EFL_HOST;
    v->hot.vif = eflags & EFL_IF;
    v->hot.vflags = eflags & ~(EFL_HOST | EFL_IF | EFL_RF);
}

/* INT n, from CPL 3 to CPL 0 through the gate that it went through last. */
WHOLE static uint64_t light_int(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    const struct segment *tr = &v->seg[SEG_TR];
    uint32_t entry = (x->insn->imm & 0xff) * 8;
    if (v->cpl != 3 || !bt->light_gate.valid || entry + 7 > v->idtr.limit ||
        attr_system_type(tr->attr) != DESC_TSS32_BUSY || tr->limit < TSS_ESP0 + 5)
        return 0;
    const loose_u64 *gate = (const void *)probe(v, false, v->idtr.base + entry, ACC_READ, 8);
    const loose_u32 *tss = (const void *)probe(v, false, tr->base + TSS_ESP0, ACC_READ, 8);
    if (!gate || !tss || *gate != bt->light_gate.raw)
        return 0;
    uint64_t raw = *gate;
    unsigned type = raw >> 40 & 0xf;
    const struct light_segment *cs = known_segment(bt, (uint16_t)(raw >> 16), CODE_BY_GATE);
    const struct light_segment *ss = known_segment(bt, (uint16_t)tss[1], STACK_BY_RING + 0);
    uint32_t esp = tss[0] - 20;
    loose_u32 *frame = (void *)probe(v, false, esp, ACC_WRITE, 20);
    if (!flat_code(cs) || !flat_stack(ss) || !frame || (type != DESC_INT32 && type != DESC_TRAP32))
        return 0;
    frame[4] = v->seg[SEG_SS].sel;
    frame[3] = v->gpr[R_ESP];
    frame[2] = guest_eflags(v);
    frame[1] = v->seg[SEG_CS].sel;
    frame[0] = x->eip + x->insn->length;
    v->hot.vflags &= ~(EFL_TF | EFL_NT | EFL_VM | EFL_RF);
    if (type == DESC_INT32)
        v->hot.vif = 0;
    v->seg[SEG_CS] = cs->segment;
    v->seg[SEG_SS] = ss->segment;
    v->gpr[R_ESP] = esp;
    v->cpl = 0;
    v->eip = (uint32_t)(raw >> 32 & 0xffff0000u) | (uint32_t)(raw & 0xffff);
    return go_to_ring(bt);
}

/* Whether a return to CPL 3 would empty one of DS, ES, FS and GS. */
static bool drops_inner(const struct vcpu *v)
{
    static const uint8_t data[] = {SEG_ES, SEG_DS, SEG_FS, SEG_GS};
    for (unsigned n = 0; n < sizeof(data); n++) {
        uint32_t attr = v->seg[data[n]].attr;
        if (!(attr & SEG_ATTR_NULL) && attr_dpl(attr) < 3)
            return true;
    }
    return false;
}

/* IRET in CPL 0, to itself or to CPL 3. */
WHOLE static uint64_t light_iret(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    if (x->insn->opsize != 4 || v->cpl != 0 || (v->hot.vflags & EFL_NT) || v->nmi_blocked ||
        bt->mode.seg_class[SEG_SS] != SEGC_FLAT)
        return 0;
    uint32_t esp = v->gpr[R_ESP];
    const loose_u32 *frame = (const void *)probe(v, false, esp, ACC_READ, 20);
    if (!frame || (frame[2] & (EFL_TF | EFL_NT | EFL_RF | EFL_VM)) ||
        (bt->served_eip && bt->served_eip == frame[0]))
        return 0;
    uint16_t sel = (uint16_t)frame[1];
    unsigned ring = sel_rpl(sel);
    const struct light_segment *cs = known_segment(bt, sel, CODE_BY_IRET + ring), *ss = NULL;
    uint32_t mask = eflags_writable(v, 4);
    uint32_t eflags = (guest_eflags(v) & ~mask) | (frame[2] & mask) | EFL_ONE;
    if ((ring != 0 && ring != 3) || !flat_code(cs) || interrupt_waits(v, eflags & EFL_IF))
        return 0;
    uint32_t eip = frame[0];
    if (ring) {
        ss = known_segment(bt, (uint16_t)frame[4], STACK_BY_RING + ring);
        if (!flat_stack(ss) || alignment_checks(v, eflags) || drops_inner(v))
            return 0;
        esp = frame[3];
        v->seg[SEG_SS] = ss->segment;
    } else {
        esp += 12;
    }
    v->seg[SEG_CS] = cs->segment;
    v->cpl = (uint8_t)ring;
    v->gpr[R_ESP] = esp;
    v->eip = eip;
    set_guest_eflags(v, eflags);
    return go_to_ring(bt);
}

/* The view of the privilege and of EFLAGS.AC, in GS. */
void bt_load_view(struct bt *bt)
{
    struct vcpu *v = bt->v;
    v->hot.view = views_current(bt->views, mmu_as(v, v->hot.vflags));
    if (v->hot.view == bt->gs_loaded)
        return;
    __asm__ volatile("wrgsbase %0" : : "r"(v->hot.view));
    bt->gs_loaded = v->hot.view;
}

/* Each privilege has its stack of host return addresses, so that a system call leaves the user's
 * predictions in place. Addresses from before an invalidation, or from another mode, may not be
 * used. */
void bt_load_return_stack(struct bt *bt)
{
    unsigned side = bt->v->cpl == 3;
    uint64_t epoch = cache_epoch(bt->cache, side ? SPACE_USER : SPACE_SUPERVISOR);
    if (side != bt->return_side) {
        bt->returns[bt->return_side].sp = bt->v->hot.return_sp;
        bt->v->hot.return_sp = bt->returns[side].sp;
        bt->return_side = side;
    }
    struct return_state *r = &bt->returns[side];
    if (r->epoch == epoch && r->mode == bt->mode_id)
        return;
    r->epoch = epoch;
    r->mode = bt->mode_id;
    bt->v->hot.return_sp = bt_stack_base(bt, side);
}

/* --- CLAC and STAC --- */

static uint64_t set_ac(struct bt *bt, const struct exit_record *x, uint32_t ac)
{
    struct vcpu *v = bt->v;
    if (v->cpl != 0)
        return 0;
    v->hot.vflags = (v->hot.vflags & ~EFL_AC) | ac;
    bt_load_view(bt);
    return resume(bt, x);
}

WHOLE static uint64_t light_clac(struct bt *bt, const struct exit_record *x)
{
    return set_ac(bt, x, 0);
}

WHOLE static uint64_t light_stac(struct bt *bt, const struct exit_record *x)
{
    return set_ac(bt, x, EFL_AC);
}

/* --- CPUID --- */

WHOLE static uint64_t light_cpuid(struct bt *bt, const struct exit_record *x)
{
    struct vcpu *v = bt->v;
    uint32_t out[4];
    cpuid(v, v->gpr[R_EAX], v->gpr[R_ECX], out);
    v->gpr[R_EAX] = out[0];
    v->gpr[R_EBX] = out[1];
    v->gpr[R_ECX] = out[2];
    v->gpr[R_EDX] = out[3];
    return resume(bt, x);
}

/* --- the table --- */

static light_fn *const light_ops[OP_COUNT] = {
    [OP_MOV_TO_SEG] = light_mov_to_seg,
    [OP_CLAC] = light_clac,
    [OP_CPUID] = light_cpuid,
    [OP_STAC] = light_stac,
    [OP_POP_SEG] = light_pop_seg,
    [OP_SYSENTER] = light_sysenter,
    [OP_SYSEXIT] = light_sysexit,
    [OP_INT] = light_int,
    [OP_IRET] = light_iret,
};

static light_fn *op_of(const struct exit_record *x)
{
    return x->kind == EXIT_CALLOUT && !x->soft && x->insn ? light_ops[x->insn->op] : NULL;
}

uint64_t bt_light(struct vcpu *v, uint32_t id)
{
    struct bt *bt = v->bt;
    if (id >= EXIT_ID_SPECIAL || atomic_load_explicit(&v->request, memory_order_relaxed) ||
        bt->softened || bt->dump_exits)
        return 0;
    const struct exit_record *x = cache_exit(bt->cache, id);
    light_fn *op = op_of(x);
    uint64_t host = op ? op(bt, x) : 0;
    v->machine->stats.exit_light += host != 0;
    return host;
}

/* --- learning --- */

static void learn_int(struct bt *bt, const struct insn *i, unsigned cpl)
{
    struct vcpu *v = bt->v;
    const uint8_t *gate = probe(v, false, v->idtr.base + (i->imm & 0xff) * 8, ACC_READ, 8);
    if (cpl != 3 || v->cpl != 0 || !gate)
        return;
    __builtin_memcpy(&bt->light_gate.raw, gate, 8);
    bt->light_gate.valid = true;
    learn_segment(bt, SEG_CS, (uint16_t)(bt->light_gate.raw >> 16), CODE_BY_GATE);
    learn_segment(bt, SEG_SS, v->seg[SEG_SS].sel, STACK_BY_RING + 0);
}

static void learn_iret(struct bt *bt, unsigned cpl)
{
    struct vcpu *v = bt->v;
    if (cpl != 0)
        return;
    learn_segment(bt, SEG_CS, v->seg[SEG_CS].sel, CODE_BY_IRET + v->cpl);
    if (v->cpl != 0)
        learn_segment(bt, SEG_SS, v->seg[SEG_SS].sel, STACK_BY_RING + v->cpl);
}

void bt_light_learn(struct bt *bt, const struct insn *i, uint32_t eflags, unsigned cpl)
{
    struct vcpu *v = bt->v;
    if (vcpu_real_or_v86(v) || (eflags & (EFL_NT | EFL_VM)))
        return;
    switch (i->op) {
    case OP_MOV_TO_SEG:
    case OP_POP_SEG:
        if (plain_data_segment(i))
            learn_segment(bt, i->opnd[0].reg, v->seg[i->opnd[0].reg].sel, DATA_BY_CPL + v->cpl);
        break;
    case OP_INT:
        learn_int(bt, i, cpl);
        break;
    case OP_IRET:
        learn_iret(bt, cpl);
        break;
    default:
        break;
    }
}
