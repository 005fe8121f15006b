/* SPDX-License-Identifier: MIT */
/* bt_state.h: what bt.c, bt_lookup.c and bt_signal.c share. */
#ifndef RINGDOWN_RUNTIME_BT_STATE_H
#define RINGDOWN_RUNTIME_BT_STATE_H

#include "runtime/fpu.h"
#include "runtime/view.h"
#include "translator/cache.h"
#include "translator/translate.h"

#include <stdbool.h>
#include <stdio.h>

#define BT_RECENT 16u

/* An instruction that has caused host faults, see bt_soft.c. */
#define SOFT_SITE_BITS   TABLE_SIZE(11, 2)
#define SOFT_LIST        TABLE_SIZE(512u, 2u)
#define SOFT_MISSED_BITS 16
#define SOFT_MISSED      (1u << SOFT_MISSED_BITS)
struct soft_site {
    struct code_page *page;
    uint64_t era; /* of `page`; another than the cache's: free */
    uint32_t la;
    uint16_t count;   /* faults, or misses while soft */
    uint16_t repeats; /* misses of pages that it has had before */
    uint8_t relapses;
    bool soft;
    uint64_t since; /* guest time at which counting began */
};

/* Modes by a hash of their contents, and their ids. */
#define KNOWN_MODE_BITS TABLE_SIZE(6, 2)
struct known_mode {
    struct mode mode;
    unsigned id;
    uint64_t era; /* of `id`; another than the cache's: free */
};

/* What loading a selector has come to, see bt_light.c. */
#define LIGHT_SEGMENTS TABLE_SIZE(64u, 4u)
struct light_segment {
    uint64_t raw; /* the descriptor; 0 for a null selector */
    struct segment segment;
    uint16_t sel; /* as it was loaded */
    uint8_t kind, seg_class;
    bool valid;
};
/* A change of mode, and the mode that it leads to. */
#define LIGHT_STEP_BITS TABLE_SIZE(6, 2)
struct light_step {
    uint32_t key;
    unsigned id;
    uint64_t era; /* of both; another than the cache's: free */
};
/* The gate that the last INT n from CPL 3 to CPL 0 went through. */
struct light_gate {
    uint64_t raw;
    bool valid;
};

struct bt {
    struct vcpu *v;
    struct cache *cache;
    struct translator *translator;
    struct views *views;
    struct mode mode; /* of the last dispatch */
    unsigned mode_id; /* MODE_NONE: not interned since the last flush */
    struct known_mode known_modes[1u << KNOWN_MODE_BITS];
    uint64_t at;       /* host address to enter next, */
    uint64_t at_stamp; /* if this is the cache's stamp still */
    int next;          /* how bt_turn() goes on */
    bool inside;       /* translated code has been entered: there will be an exit to serve */
    bool once;         /* leave as soon as something has retired: bt_run_once() */
    bool devices_ran;  /* the interrupt line may have moved since hot.irq_hint was read */
    uint64_t gs_loaded, switches, turns, starts;
    struct light_segment light_segments[LIGHT_SEGMENTS];
    struct light_gate light_gate;
    struct light_step light_steps[1u << LIGHT_STEP_BITS];
    struct return_state {
        uint64_t sp, epoch; /* cache epoch in which sp was last good */
        unsigned mode;
    } returns[2];          /* by privilege */
    unsigned return_side;  /* whose pointer is in hot.return_sp */
    uint8_t *return_stack; /* between two guard pages */
    size_t return_size;
    uint64_t born_ticks, born_ns;
    uint64_t ticks_translator, ticks_turns;
    struct block *faulted;               /* block of the instruction of an EXIT_ID_FAULT */
    struct view_guest_fault guest_fault; /* of an EXIT_ID_GUEST */
    /* The last guest page fault: when the guest returns to the instruction, its page is mapped
     * before it can fault again. */
    struct view_guest_fault served;
    uint32_t served_eip;
    struct soft_site sites[1u << SOFT_SITE_BITS];
    uint64_t missed[SOFT_MISSED]; /* flush count << 20 | page, by page */
    uint64_t filled[SOFT_MISSED]; /* host page of the last fault, by a hash of it */
    uint32_t tlb_flushes;
    uint16_t soft_list[SOFT_LIST];
    unsigned soft_count;
    bool review_wanted;         /* of what is soft, by bt_reclaim() */
    bool settle_wanted;         /* likewise cache_pages_settle() */
    struct block *softened;     /* likewise to be dropped: an instruction of it became soft */
    bool observed;              /* exits are dumped or profiled */
    struct bt_precise *precise; /* NULL but for --stress precise, bt_precise.h */
    FILE *dump_exits;
    uint32_t recent[BT_RECENT];
    unsigned recent_at;
};

/* Exit ids that are no records. */
#define EXIT_ID_INDIRECT 0xffffffffu
#define EXIT_ID_FAULT    0xfffffffeu /* at hot.exit_eip; the interpreter executes the instruction */
#define EXIT_ID_GUEST    0xfffffffcu /* guest page fault of the instruction at hot.exit_eip */
#define EXIT_ID_LOOKUP   0xfffffffbu /* of bt_light(): goes on at hot.exit_eip, in whatever mode */
#define EXIT_ID_KICK     EXIT_ID_STOP   /* before the instruction at hot.exit_eip */
#define EXIT_ID_SPECIAL  EXIT_ID_LOOKUP /* from here on */

/* switch.S */
void bt_loop(struct vcpu *v);
extern const char bt_switch_committed[], bt_switch_end[];
extern const char bt_exit_entry[], bt_exit_indirect[], bt_switch_return[];

/* bt.c, for switch.S */
uint64_t bt_turn(struct vcpu *v);

/* bt_light.c: serves an exit while the guest's xmm registers are live; where to go on, or 0 to have
 * bt_turn() serve hot.exit_id. */
uint64_t bt_light(struct vcpu *v, uint32_t id);
/* After an instruction has been executed the long way, with EFLAGS and CPL from before it. */
void bt_light_learn(struct bt *bt, const struct insn *i, uint32_t eflags, unsigned cpl);
void bt_load_view(struct bt *bt);
void bt_load_return_stack(struct bt *bt);

/* EFLAGS from the three places in which they are while translated code runs. */
static inline uint32_t bt_join_flags(const struct vcpu *v, uint64_t host_flags)
{
    return ((uint32_t)host_flags & EFL_HOST) | v->hot.vif | v->hot.vflags | EFL_ONE;
}

/* bt_signal.c: which guest instruction a PC in translated code belongs to. */
struct recovery {
    struct block *block;
    const struct insn_mark *mark; /* the last one at or before the PC */
    uint32_t eip;
    bool exact;   /* the PC is that mark's own */
    bool in_body; /* and no stub's or late call-out's */
};
/* False if it is in no block. */
bool bt_recover(struct bt *bt, uint64_t pc, struct recovery *r);
/* The guest's registers and flags from those of the host; EIP is bt_recover()'s. */
void bt_recreate(const struct bt *bt, const long long *regs, const struct recovery *r,
                 uint32_t gpr[8], uint32_t *eflags);
/* Makes the interrupted context leave translated code with this exit id before the instruction. */
void bt_leave(struct bt *bt, long long *regs, uint32_t id, const struct recovery *r);

/* bt_reclaim.c: the one place where code is given up and records are given to others, called
 * between two exits, when nobody holds any (docs/design.md, "Who may hold what"). True if it has
 * done anything: what was found before has to be found again. */
bool bt_reclaim(struct bt *bt);

/* bt_lookup.c: where to enter for EIP, translating if need be; block NULL if the interpreter has to
 * execute the instruction. Raises. */
struct entry bt_lookup(struct bt *bt, uint32_t eip);
/* False if code is not translated in the vCPU's state, or no mode has room before a flush. */
bool bt_update_mode(struct bt *bt);
void bt_tlb_event(struct vcpu *v, enum tlb_event event, uint32_t arg);
void bt_code_written(void *opaque, uint32_t gfn, uint32_t offset, uint32_t size);

/* bt_soft.c */
void bt_soft_fault(struct bt *bt, struct block *b, uint32_t eip, uint64_t hva);
/* A call whose callee has not returned to it. */
void bt_soft_return(struct bt *bt, struct block *b, uint32_t eip);
void bt_soft_miss(struct bt *bt, const struct code_page *page, uint32_t eip, uint32_t la);
/* For bt_reclaim() alone: drops what becomes hard again; forgets all sites, whose pages have gone;
 * makes some instruction of a block soft or hard. */
void bt_soft_review(struct bt *bt);
void bt_soft_forget(struct bt *bt);
void bt_soft_stress(struct bt *bt, struct block *b);
void bt_soft_invlpg(struct bt *bt, uint32_t la);

/* bt_x87.c, an fpu_locate_fn. */
bool bt_locate_x87(struct vcpu *v, const struct fpu_pointers *host);

/* bt_stack.c: the stacks of host return addresses, one a privilege. */
int bt_stack_create(struct bt *bt);
void bt_stack_destroy(struct bt *bt);
uint64_t bt_stack_base(const struct bt *bt, unsigned side);
/* Writes the sentinels that returns without a call land on. */
void bt_stack_seal(struct bt *bt);
/* Whether a host fault at `hva` means that the stack has run out. */
bool bt_stack_overflow(const struct bt *bt, uint64_t hva);

#endif
