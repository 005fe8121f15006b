/* SPDX-License-Identifier: MIT */
/* mode.h: the processor state that a translation depends on, interned to a small id. */
#ifndef RINGDOWN_TRANSLATOR_MODE_H
#define RINGDOWN_TRANSLATOR_MODE_H

#include "ringdown/cpu.h"

#include <stdbool.h>
#include <stdint.h>

/* What an access through a segment needs. */
enum seg_class {
    SEGC_FLAT,    /* base 0, limit 4 GiB, readable and writable */
    SEGC_BASED,   /* limit 4 GiB, readable and writable: base is added at run time */
    SEGC_LIMITED, /* like SEGC_BASED, but for a limit that is checked at run time */
    SEGC_CHECKED, /* anything else: the interpreter checks */
};

struct mode {
    uint32_t cs_base, cs_limit;
    uint8_t seg_class[6];
    uint8_t cpl;
    bool can_set_if; /* CPL <= IOPL: CLI, STI and POPF change IF */
    bool fpu_traps;  /* CR0.EM or TS, or NE clear: x87, MMX and SSE leave for the interpreter */
    bool sse_off;    /* CR4.OSFXSR clear */
    bool tsc_traps;  /* CR4.TSD at CPL 3 */
    uint8_t pad[5];  /* zero; the whole is compared as three words */
};
_Static_assert(sizeof(struct mode) == 24, "three words");

/* The enum seg_class of a data segment. */
uint8_t mode_classify_segment(const struct segment *s);

/* False if code in this state is not translated (16-bit code or stack, v86, real mode, alignment
 * checks on): the interpreter runs it. */
bool mode_from_vcpu(const struct vcpu *v, struct mode *out);

#endif
