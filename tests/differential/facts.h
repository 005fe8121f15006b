/* SPDX-License-Identifier: MIT */
/* facts.h: what the tests know of an operation beyond the instruction table: how it can be compared
 * with the host, and which flags the manual leaves undefined. */
#ifndef RINGDOWN_TESTS_DIFFERENTIAL_FACTS_H
#define RINGDOWN_TESTS_DIFFERENTIAL_FACTS_H

#include "translator/insn.h"

enum treatment {
    TREAT_NATIVE,  /* compared with the host's processor and between the engines */
    TREAT_ENGINES, /* its result tells of the machine's system state: compared between the engines
                    */
    TREAT_GUEST,   /* left to the test kernel that facts_guest() names */
};
enum treatment facts_treatment(const struct insn_row *r);
const char *facts_guest(enum insn_op op);

/* EFLAGS bits that i leaves undefined, given the registers before it. */
uint32_t facts_undefined_flags(const struct insn *i, const uint32_t gpr[8]);
/* Whether this host can be the reference for i, by what is known of it (host_facts.h). */
bool facts_judged(const struct insn *i, uint32_t eflags);
/* What a fault within i leaves open, as DIFFERS_ bits (case.h): POPA has loaded some registers
 * on real processors; a masked store names any of its bytes. */
unsigned facts_open(const struct insn *i);
/* May i write this general register, explicitly or not? */
bool facts_writes(const struct insn *i, unsigned reg);
/* Accesses memory at [ESI], [EDI] or [EBX + AL]. */
bool facts_string(enum insn_op op);
/* Bytes that i's memory operand covers. */
unsigned facts_mem_size(const struct insn *i);

#endif
