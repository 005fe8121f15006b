/* SPDX-License-Identifier: MIT */
/* view.h: shadow page tables as windows of the host's address space.
 *
 * A view is a 4 GiB-aligned, 4 GiB window followed by guard space, in which each guest page that
 * translated code may touch is a mapping of the guest's memfd. There is one supervisor view, shared
 * by all address spaces, one more for what the supervisor does with EFLAGS.AC set where CR4.SMAP
 * is, and a user view for each recently used address space. docs/memory.md tells how they are
 * filled and kept coherent. */
#ifndef RINGDOWN_RUNTIME_VIEW_H
#define RINGDOWN_RUNTIME_VIEW_H

#include "runtime/mmu.h"

#include <stddef.h>

/* Distance between two views: 4 GiB of window, then guard space for what an access may reach beyond
 * it (displacements and sizes past 4 GiB, failed segment-limit checks). */
#define VIEW_SIZE   (1ull << 32)
#define VIEW_STRIDE (1ull << 34)

struct views;

struct views *views_create(struct vcpu *v, int *error);
void views_destroy(struct views *w);

/* Base of the view for accesses on behalf of `as` in the current address space. */
uint64_t views_current(struct views *w, enum walk_as as);

/* Whether a host address is in any view. */
bool views_hold(const struct views *w, uint64_t hva);

/* What to do about a host fault at `hva`. */
enum view_fault {
    VIEW_NOT_MINE, /* not in any view */
    VIEW_FILLED,   /* mapped: retry the host instruction */
    VIEW_GUEST,    /* a guest page fault: linear address and error code in *fault */
    VIEW_EMULATE,  /* let the interpreter execute the instruction: MMIO, code page, guard */
};
struct view_guest_fault {
    uint32_t la, error;
};
enum view_fault views_handle_fault(struct views *w, uint64_t hva, bool write,
                                   struct view_guest_fault *fault);

/* Maps the page of `la` if the guest's tables allow it, before it is touched (after a guest page
 * fault has been served). Never faults, sets A as a speculative access may. */
void views_prefill(struct views *w, uint32_t la, enum walk_as as);

/* Code pages. The owner notes each page that it executes from; from then on views_code_moved()
 * tells whether any noted page's mapping may have changed in the supervisor or the current user
 * view since it was last cleared, or since `generation`, the owner's count of noted pages, was last
 * seen there. */
void views_note_code(struct views *w, uint32_t la, bool user);
bool views_code_moved(struct views *w, bool user, uint64_t generation);

/* TLB events; see mmu.h. */
void views_flush_all(struct views *w);
void views_cr3_loaded(struct views *w);
void views_invlpg(struct views *w, uint32_t la);
/* Takes write permission on a frame out of every view. */
void views_protect_frame(struct views *w, uint32_t gfn);

#endif
