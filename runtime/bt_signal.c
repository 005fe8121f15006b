/* SPDX-License-Identifier: MIT */
/* bt_signal.c: host signals that interrupt translated code.
 *
 * A fault is either a page to be mapped into a view (retry the instruction), or one for the
 * interpreter: then the handler rewrites the interrupted context so that it continues at the exit
 * entry, all guest registers in place, with the guest's EIP in hot.exit_eip.
 *
 * A kick must leave at a boundary of guest instructions. If the interrupted PC is one, the context
 * is redirected at once; otherwise the host's trap flag is set and the code goes on, one host
 * instruction at a time, until it gets to one: a few steps at most. */
#include "runtime/bt.h"

#include "runtime/bt_precise.h"
#include "runtime/bt_state.h"

#include <signal.h>
#include <ucontext.h>

#define TRAP_BREAKPOINT 3
#define TRAP_PAGE_FAULT 14
#define PF_ERROR_WRITE  2

static greg_t *regs_of(void *ucontext)
{
    return ((ucontext_t *)ucontext)->uc_mcontext.gregs;
}

static void redirect(long long *regs, uint32_t id)
{
    regs[REG_R8] = id;
    regs[REG_RIP] = (greg_t)bt_exit_entry;
    regs[REG_EFL] &= ~(greg_t)EFL_TF;
}

/* ESP, which lags behind inside a run of pushes and pops. */
static uint32_t esp_of(const long long *regs, const struct recovery *r)
{
    return (uint32_t)regs[REG_R12] + (uint32_t)r->mark->esp;
}

void bt_leave(struct bt *bt, long long *regs, uint32_t id, const struct recovery *r)
{
    bt->v->hot.exit_eip = r->eip;
    regs[REG_R12] = esp_of(regs, r);
    redirect(regs, id);
}

/* --- recovery --- */

/* The mark that covers a host address of a block's body. */
static const struct insn_mark *mark_at(struct bt *bt, const struct block *b, uint32_t offset)
{
    const struct insn_mark *marks = cache_marks(bt->cache, b), *found = NULL;
    for (uint32_t n = 0; n < b->mark_count && marks[n].host <= offset; n++)
        found = &marks[n];
    return found;
}

bool bt_recover(struct bt *bt, uint64_t pc, struct recovery *r)
{
    r->block = cache_block_at(bt->cache, pc);
    if (!r->block)
        return false;
    uint32_t at = (uint32_t)(pc - (uint64_t)cache_code(bt->cache)->rx);
    r->mark = mark_at(bt, r->block, at - r->block->host);
    if (!r->mark)
        return false;
    r->eip = r->block->eip + r->mark->guest;
    r->exact = r->mark->host == at - r->block->host;
    r->in_body = at < r->block->host_body_end;
    return true;
}

void bt_recreate(const struct bt *bt, const long long *regs, const struct recovery *r,
                 uint32_t gpr[8], uint32_t *eflags)
{
    static const int order[8] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX,
                                 REG_R12, REG_RBP, REG_RSI, REG_RDI};
    for (unsigned i = 0; i < 8; i++)
        gpr[i] = (uint32_t)regs[order[i]];
    gpr[R_ESP] = esp_of(regs, r);
    *eflags = bt_join_flags(bt->v, (uint64_t)regs[REG_EFL]);
}

/* --- leaving --- */

static bool in_cache(const struct bt *bt, uint64_t pc)
{
    return code_memory_holds(cache_code(bt->cache), pc);
}

static bool in_switch(uint64_t pc)
{
    return pc >= (uint64_t)bt_switch_committed && pc < (uint64_t)bt_switch_end;
}

/* Leaves if the PC is at a boundary, else arranges to be called again after one host instruction.
 */
static void leave_or_step(struct bt *bt, greg_t *regs)
{
    uint64_t pc = (uint64_t)regs[REG_RIP];
    regs[REG_EFL] &= ~(greg_t)EFL_TF;
    if (!in_cache(bt, pc)) {
        if (in_switch(pc))
            regs[REG_EFL] |= EFL_TF;
        return;
    }
    struct recovery r;
    if (bt_recover(bt, pc, &r)) {
        if (!r.in_body)
            return; /* a stub: on its way out */
        if (r.exact && (r.mark->flags == 0 || (r.mark->flags & MARK_RESTART))) {
            if (r.mark->flags & MARK_RESTART)
                bt->v->count.retired--;
            bt_leave(bt, regs, EXIT_ID_KICK, &r);
            return;
        }
    }
    regs[REG_EFL] |= EFL_TF;
}

void bt_kicked(struct bt *bt, void *ucontext)
{
    leave_or_step(bt, regs_of(ucontext));
}

/* Leaves with the guest instruction at the interrupted PC not executed. */
static bool leave_before(struct bt *bt, greg_t *regs, uint32_t id)
{
    struct recovery r;
    if (!bt_recover(bt, (uint64_t)regs[REG_RIP], &r))
        return false;
    bt->faulted = r.block;
    if (id == EXIT_ID_KICK)
        bt->v->count.retired--;
    bt_leave(bt, regs, id, &r);
    return true;
}

/* A guest's return has gone elsewhere than its call said, to the address in r8d. */
static void return_elsewhere(struct bt *bt, greg_t *regs)
{
    struct recovery r;
    if (bt_recover(bt, (uint64_t)regs[REG_RIP], &r))
        bt_soft_return(bt, r.block, r.eip);
    bt->v->hot.exit_eip = (uint32_t)regs[REG_R8];
    redirect(regs, EXIT_ID_INDIRECT);
}

static bool page_fault(struct bt *bt, const siginfo_t *info, greg_t *regs)
{
    uint64_t hva = (uint64_t)info->si_addr;
    if (bt_stack_overflow(bt, hva)) {
        regs[REG_RSP] = (greg_t)bt_stack_base(bt, bt->return_side);
        return true;
    }
    if (!in_cache(bt, (uint64_t)regs[REG_RIP]))
        return false;
    if (vcpu_guard_holds(bt->v, hva)) {
        return_elsewhere(bt, regs);
        return true;
    }
    bool write = regs[REG_ERR] & PF_ERROR_WRITE;
    struct recovery r;
    if (bt_recover(bt, (uint64_t)regs[REG_RIP], &r))
        bt_soft_fault(bt, r.block, r.eip, hva);
    if (bt->softened) /* before the page tables show an access that has not been made yet */
        return leave_before(bt, regs, EXIT_ID_KICK);
    uint64_t stamp = cache_stamp(bt->cache);
    switch (views_handle_fault(bt->views, hva, write, &bt->guest_fault)) {
    case VIEW_FILLED: /* accessed and dirty bits may have been written into code, even into this */
        return stamp == cache_stamp(bt->cache) || leave_before(bt, regs, EXIT_ID_FAULT);
    case VIEW_GUEST:
        return leave_before(bt, regs, EXIT_ID_GUEST);
    case VIEW_EMULATE:
        return leave_before(bt, regs, EXIT_ID_FAULT);
    default:
        return false;
    }
}

/* INT3: code of a block that has been dropped (--stress evict). */
static bool is_poison(const greg_t *regs)
{
    return regs[REG_TRAPNO] == TRAP_BREAKPOINT;
}

bool bt_host_fault(struct bt *bt, int signo, void *siginfo, void *ucontext)
{
    greg_t *regs = regs_of(ucontext);
    if (signo == SIGTRAP) {
        if (bt->precise ? bt_precise_trap(bt, ucontext) : is_poison(regs))
            return bt->precise;
        leave_or_step(bt, regs);
        return true;
    }
    if (signo == SIGSEGV && regs[REG_TRAPNO] == TRAP_PAGE_FAULT)
        return page_fault(bt, siginfo, regs);
    return in_cache(bt, (uint64_t)regs[REG_RIP]) && leave_before(bt, regs, EXIT_ID_FAULT);
}
