/* SPDX-License-Identifier: MIT */
/* interp.c: the interpreter's engine: one instruction with all the rules between instructions, or
 * blocks of decoded records as long as nothing demands attention.
 *
 * interp_run() executes blocks (interp_cache.h). What the processor checks between two instructions
 * -- traps by TF, breakpoints, RF, the shadow of STI and MOV SS -- can only begin after an
 * instruction that ends a block as `system`, or on entry; then interp_run() goes by interp_step()
 * until it is over.
 *
 * interp_step() looks at everything, decodes into a small cache that it checks by content, and uses
 * the full handlers only. */
#include "runtime/interp_cache.h"

#include "runtime/machine.h"
#include "runtime/system.h"

#include <stdatomic.h>
#include <stdlib.h>

/* --- what the state demands --- */

static uint32_t hooks(const struct vcpu *v)
{
    uint32_t h = debug_data_armed(v) ? HOOK_WATCH : 0;
    if (v->cpl == 3 && v->cr0 & CR0_AM && v->eflags & EFL_AC)
        h |= HOOK_ALIGN;
    return h;
}

static enum interp_mode current_mode(const struct vcpu *v, const struct interp *in)
{
    const struct segment *cs = &v->seg[SEG_CS];
    if (!vcpu_code32(v))
        return MODE_CODE16;
    if (in->shared.hooks || !vcpu_stack32(v) || cs->base != 0 || cs->limit != 0xffffffffu)
        return MODE_CODE32;
    bool flat = segment_flat(&v->seg[SEG_DS]) && segment_flat(&v->seg[SEG_ES]) &&
                segment_flat(&v->seg[SEG_SS]);
    return flat ? MODE_FLAT : MODE_CODE32;
}

void interp_access_hook(struct vcpu *v, uint32_t la, unsigned n, bool write)
{
    uint32_t h = ops_shared(v)->hooks;
    if (h & HOOK_ALIGN && la & (n - 1))
        raise_ac(v);
    if (h & HOOK_WATCH)
        debug_data_access(v, la, n, write);
}

/* --- one instruction --- */

static bool is_software_interrupt(unsigned op)
{
    return op == OP_INT || op == OP_INT3 || op == OP_INTO || op == OP_INT1;
}

/* Debug traps after instruction i. A load of SS holds them back for one instruction; then the
 * single step is that of the next one (SDM vol. 3, 6.8.3). */
static void trap(struct vcpu *v, const struct insn *i, bool tf)
{
    if (v->shadow == SHADOW_SS)
        return;
    uint32_t bits = v->dr6_pending;
    /* A software interrupt clears TF on its way, and is then not stepped over (vol. 3, 17.3.1.4).
     */
    if (tf && (!is_software_interrupt(i->op) || v->eflags & EFL_TF))
        bits |= DR6_BS;
    v->dr6_pending = 0;
    if (bits)
        raise_db(v, bits);
}

void interp_step(struct vcpu *v)
{
    struct interp *in = v->interp;
    bool tf = v->eflags & EFL_TF, debug = debug_active(v);
    /* Nor is there a code breakpoint right behind a load of SS: as if RF were set. */
    uint32_t hits = debug && v->shadow != SHADOW_SS
                        ? debug_code_breakpoint(v, v->seg[SEG_CS].base + v->eip)
                        : 0;
    if (hits)
        raise_db(v, hits);
    v->eflags &= ~EFL_RF;
    if (v->shadow != SHADOW_SS)
        v->dr6_pending = 0;
    v->shadow = SHADOW_NONE;
    in->shared.hooks = hooks(v);
    in->shared.single = debug;
    const struct insn *i = interp_cache_single(in);
    uint32_t next = v->eip + i->length;
    bool moved = ((interp_fn *)i->handler)(v, i);
    if (!moved)
        v->eip = next;
    if (!moved || !(i->info->flags & INSN_REP))
        v->retired++;
    if (debug || v->dr6_pending)
        trap(v, i, tf);
}

void interp_execute(struct vcpu *v, struct insn *i)
{
    struct interp *in = v->interp;
    if (!i->handler)
        i->handler = (void *)interp_handler(i->op);
    v->eflags &= ~EFL_RF;
    v->dr6_pending = 0;
    v->shadow = SHADOW_NONE;
    in->shared.hooks = 0;
    in->shared.single = false;
    uint32_t next = v->eip + i->length;
    bool moved = ((interp_fn *)i->handler)(v, i);
    if (!moved)
        v->eip = next;
    v->retired++;
    if (v->dr6_pending)
        trap(v, i, false);
}

/* --- many instructions --- */

/* What interp_run() cannot do by blocks. */
static bool needs_step(const struct vcpu *v)
{
    return v->eflags & (EFL_TF | EFL_RF) || v->shadow || debug_active(v);
}

static bool done(const struct vcpu *v)
{
    return v->request || v->halted || v->shutdown;
}

/* The block at CS:EIP; NULL if its first instruction has to be executed by itself. */
static struct interp_block *find_block(struct vcpu *v, struct interp *in, enum interp_mode mode)
{
    const struct segment *cs = &v->seg[SEG_CS];
    const uint8_t *host;
    if (v->eip > cs->limit)
        raise_gp(v, 0);
    uint64_t gpa = mmu_fetch(v, cs->base + v->eip, &host);
    if (!host)
        return NULL;
    struct interp_block *b = interp_cache_find(in, interp_key((uint32_t)gpa, mode));
    if (!b)
        b = interp_cache_build(in, (uint32_t)gpa, mode, host);
    if (b && b->bytes - 1 > cs->limit - v->eip)
        return NULL;
    return b;
}

/* One instruction by itself in the middle of blocks: it crosses a page, say. */
static void run_single(struct vcpu *v, struct interp *in)
{
    in->system = true;
    in->link = NULL;
    interp_step(v);
}

/* Blocks until one ends with an instruction after which the mode may be another, or for a request.
 */
static void run_blocks(struct vcpu *v, struct interp *in, enum interp_mode mode)
{
    struct tlb_entry *tlb = v->tlb[mmu_as(v, v->eflags)];
    in->link = NULL;
    in->system = false;
    while (!in->system && !v->request) {
        struct interp_block *b = find_block(v, in, mode);
        if (!b) {
            run_single(v, in);
            return;
        }
        if (in->link)
            *in->link = b->rec;
        in->link = NULL;
        b->rec->fn(v, b->rec, v->eip, flags_pack(v->eflags), tlb);
    }
}

/* A task switch into a TSS with T set. */
static _Noreturn void raise_pending_debug(struct vcpu *v)
{
    uint32_t bits = v->dr6_pending;
    v->dr6_pending = 0;
    raise_db(v, bits);
}

void interp_run(struct vcpu *v)
{
    struct interp *in = v->interp;
    while (!done(v)) {
        bool masked = !(v->eflags & EFL_IF) || v->shadow;
        if (needs_step(v)) {
            interp_step(v);
        } else {
            in->shared.hooks = hooks(v);
            in->shared.single = false;
            run_blocks(v, in, current_mode(v, in));
            if (v->dr6_pending)
                raise_pending_debug(v);
        }
        if (masked && v->eflags & EFL_IF && !v->shadow)
            return;
    }
}

uint32_t interp_run_some(struct vcpu *v, uint32_t n)
{
    struct interp *in = v->interp;
    uint64_t before = v->retired;
    if (!needs_step(v)) {
        in->shared.hooks = hooks(v);
        in->shared.single = false;
        in->link = NULL;
        struct interp_block *b = find_block(v, in, current_mode(v, in));
        if (b && b->count <= n) {
            atomic_store_explicit(&v->request, VCPU_REQ_EVENT, memory_order_relaxed);
            b->rec->fn(v, b->rec, v->eip, flags_pack(v->eflags), v->tlb[mmu_as(v, v->eflags)]);
            atomic_store_explicit(&v->request, 0, memory_order_relaxed);
        }
        if (v->dr6_pending)
            raise_pending_debug(v);
    }
    if (v->retired == before)
        interp_step(v);
    return (uint32_t)(v->retired - before);
}

/* --- life --- */

struct interp *interp_create(struct vcpu *v)
{
    struct interp *in = calloc(1, sizeof(*in));
    if (!in)
        return NULL;
    in->vcpu = v;
    if (!interp_cache_init(in)) {
        interp_destroy(in);
        return NULL;
    }
    return in;
}

void interp_destroy(struct interp *in)
{
    if (!in)
        return;
    interp_cache_release(in);
    free(in);
}

uint32_t interp_ea(const struct vcpu *v, const struct insn *i)
{
    return ops_ea(v, i);
}

uint32_t interp_mem(struct vcpu *v, const struct insn *i, unsigned n, int write)
{
    return ops_mem(v, i, n, write);
}
