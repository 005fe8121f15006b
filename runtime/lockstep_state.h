/* SPDX-License-Identifier: MIT */
/* lockstep_state.h: what lockstep*.c share.
 *
 * `a` is the machine's processor, driven by the translator; `b` the interpreter's, in `shadow`, a
 * machine that has only memory and a bus on which everything is answered from the record. Between
 * two stretches both are alike, and so are their memories. */
#ifndef RINGDOWN_RUNTIME_LOCKSTEP_STATE_H
#define RINGDOWN_RUNTIME_LOCKSTEP_STATE_H

#include "runtime/lockstep.h"
#include "translator/host_insn.h"
#include "translator/insn.h"

#include <setjmp.h>
#include <stdio.h>

/* --- what comes from outside (lockstep_log.c) --- */

enum event_kind {
    EVENT_ACCESS, /* of a device, by port or memory */
    EVENT_VALUE,  /* lockstep_value() */
    EVENT_NOTE,   /* lockstep_note(): `value` */
    EVENT_DMA,    /* `value` bytes at `address`, kept at `data` of the log */
    EVENT_FRAMES, /* memory shows something else at some frames */
    EVENT_KIND_COUNT
};
struct event_record {
    uint8_t kind;
    struct bus_access access; /* EVENT_ACCESS; of others address and value */
    size_t data;
};

/* A store of b: enough to undo it and to compare what it left. */
struct store {
    uint32_t gfn;
    uint16_t offset, size;
    size_t old; /* at `data` of the log: what was there before */
};
/* A paging-structure entry in which a walk has set bits. */
struct walked {
    uint64_t gpa;
    unsigned size;
};

#define WALKED_MAX 4096u

struct log {
    struct event_record *events;
    size_t event_count, event_capacity;
    size_t a_at, b_at; /* how far each has come; a only when it is run again */
    struct store *stores;
    size_t store_count, store_capacity;
    struct walked walked[WALKED_MAX];
    unsigned walked_count;
    uint8_t *data;
    size_t data_count, data_capacity;
    bool out_of_memory;
};

/* A processor's state but for what is derived from it. */
#define STATE_TAIL (offsetof(struct vcpu, fault_jmp) - offsetof(struct vcpu, seg))
struct cpu_state {
    uint32_t gpr[8], eip, eflags;
    struct fxsave_area fx;
    uint8_t tail[STATE_TAIL];
};

struct lockstep {
    struct machine *machine;
    struct machine shadow;
    struct vcpu *a, *b;
    struct bus_tap tap_a, tap_b;
    struct decoder *decoder;           /* of reports */
    struct host_decoder *host_decoder; /* with --stress precise */
    struct log log;
    uint32_t generation;     /* of a's memory, as b's has it */
    struct cpu_state before; /* of both, before the stretch under way */
    uint64_t total;          /* instructions compared before it */
    uint64_t next_all;       /* time stamp at which all of memory is compared next */
    uint64_t all_alike_at;   /* `total` when it was last */
    uint32_t every;
    bool again; /* the stretch is run again to find the place: a is given what it was before */
    bool failed;
    bool told;     /* the report has been made */
    char why[160]; /* what else than differing state */
    bool a_raised, b_raised;
    uint8_t a_vector, b_vector; /* of the exceptions raised last */
    enum lockstep_spoil spoil;
    uint64_t spoil_after;
};

bool log_init(struct log *g);
void log_release(struct log *g);
void log_clear(struct log *g);
/* b's part of a stretch, or both processors', begins anew: nothing has been taken from the log. */
void log_rewind(struct log *g);
/* Both processors' taps and b's watcher. */
void log_connect(struct lockstep *ls);
/* The next event of b if it is a note, else -1. */
int log_next_note(struct lockstep *ls);
/* Gives b what has come from devices without its doing. */
void log_apply_effects(struct lockstep *ls, struct vcpu *v);
/* What the interpreter has not taken, in words. */
void log_tell_untaken(const struct log *g, char *out, size_t size);
/* Takes b's stores back. */
void log_undo(struct lockstep *ls);

/* The engines have parted company in another way than by state: never returns to b's instruction.
 */
_Noreturn void lockstep_stray(struct lockstep *ls, struct vcpu *v, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Where and what b's next instruction is. */
void lockstep_describe(struct lockstep *ls, char *text, size_t size);
/* One instruction of b, or one iteration if there is a request. */
void lockstep_step(struct lockstep *ls, uint32_t request);
/* Ends the machine. */
void lockstep_fail(struct lockstep *ls, const char *what, const char *when);

/* --- recreated states (lockstep_precise.c) --- */

/* Compares what the stretch of `count` instructions has recorded with b, which executes the
 * instructions before each; returns how many it has executed. Raises. */
uint64_t precise_check(struct lockstep *ls, uint64_t count);

/* --- comparing (lockstep_compare.c) --- */

void state_save(const struct vcpu *v, struct cpu_state *s);
void state_load(struct vcpu *v, const struct cpu_state *s);
/* Whether both processors and the bytes stored in this stretch are alike. */
bool lockstep_alike(struct lockstep *ls);
/* Prints each register in which both differ. */
void lockstep_report_fields(const struct lockstep *ls, FILE *out);
/* Prints what differs after the instruction that began at ls->before, or after what `when` says. */
void lockstep_report(struct lockstep *ls, const char *when, FILE *out);

#endif
