/* SPDX-License-Identifier: MIT */
/* bt_precise.h: --stress precise: the guest's state, recreated at host instructions of translated
 * code by the routine that faults and interrupts rely on (bt_recover()), and kept for lock step to
 * compare with the interpreter's (docs/lockstep.md).
 *
 * Each guest instruction of each block is *armed*: its first byte of host code is INT3 until it
 * runs. From the trap on, the host's trap flag stops after each host instruction, and the state at
 * each is recorded, until an instruction begins that has been visited before. After one entry from
 * the dispatcher in PRECISE_SAMPLE, so many instructions are stepped through, visited or not.
 *
 * All but the handler runs in the monitor, never while translated code is on the processor. */
#ifndef RINGDOWN_RUNTIME_BT_PRECISE_H
#define RINGDOWN_RUNTIME_BT_PRECISE_H

#include "runtime/bt_state.h"

#include <signal.h>
#include <ucontext.h>

/* Where a state was recreated. */
enum precise_place {
    PRECISE_START,  /* at the start of a guest instruction: an interrupt may be taken */
    PRECISE_REPEAT, /* inside a repeated string: likewise */
    PRECISE_INSIDE, /* elsewhere: a fault may be taken, if the host instruction can have one */
};

struct precise_state {
    uint32_t gpr[8], eip, eflags;
    uint32_t done; /* guest instructions completed since lock step's stretch began */
    uint32_t host; /* offset in code memory */
    uint32_t fpu;  /* its struct precise_fpu */
    uint8_t place; /* enum precise_place */
};

/* As in the signal's frame, without the pointers, which translated code does not keep. */
struct precise_fpu {
    uint16_t fcw, fsw, ftw, unused;
    uint32_t mxcsr;
    uint8_t st[8][16], xmm[8][16];
};

#define PRECISE_STATES 16384u
#define PRECISE_FPUS   4096u
#define PRECISE_SAMPLE 256u
#define PRECISE_RUN    64u

struct bt_precise {
    struct precise_state states[PRECISE_STATES];
    struct precise_fpu fpus[PRECISE_FPUS];
    uint32_t state_count, fpu_count;
    uint32_t done;    /* of the instruction under way */
    uint32_t repeats; /* states recorded of one repeated string */
    uint32_t sample;  /* instructions to be stepped through in any case */
    bool under_way;   /* an instruction is stepped through */
    struct precise_mark {
        uint8_t byte; /* what INT3 stands for */
        bool visited;
    } * under;           /* by mark of the cache */
    size_t under_count;  /* marks that it has room for */
    uint64_t entries;    /* from the dispatcher */
    uint64_t spoil_mark; /* self-test: the so many-th block's table is made wrong; 0: none */
};

/* False: out of memory. */
bool bt_precise_start(struct bt *bt, uint64_t spoil_mark);
void bt_precise_stop(struct bt *bt);
/* A block has been made: arms all its instructions. */
void bt_precise_arm(struct bt *bt, const struct block *b);
/* Translated code is about to be entered at bt->at. */
void bt_precise_enter(struct bt *bt);
/* What was recorded has been looked at. */
void bt_precise_clear(struct bt *bt);
/* SIGTRAP in translated code. False if it has to leave at the next boundary (a kick). */
bool bt_precise_trap(struct bt *bt, ucontext_t *uc);

#endif
