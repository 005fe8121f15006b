/* SPDX-License-Identifier: MIT */
/* host_facts.h: in what processors differ, as far as a guest or a test could see it.
 *
 * A guest is offered one model, whatever the host (cpuid.c). Each fact is told as that model has
 * it; a host does the same or something else. The engines ask where a guest's instruction would run
 * on the host, the tests where they take the host for the reference. */
#ifndef RINGDOWN_TRANSLATOR_HOST_FACTS_H
#define RINGDOWN_TRANSLATOR_HOST_FACTS_H

#include <stdbool.h>

/* name for the command line, what the model offered does, whether Intel's and AMD's processors do
 */
#define HOST_FACTS(X)                                                                              \
    X(COMPARE_FLAGS, "compare", "a repeated CMPS or SCAS that faults leaves the flags alone",      \
      HOST_SAME, HOST_OTHER)                                                                       \
    X(PREFETCH_NOP, "prefetch", "0F 0D with a register is a NOP", HOST_SAME, HOST_OTHER)           \
    X(LOCK_CR, "lock-cr", "LOCK MOV of a control register is undefined", HOST_SAME, HOST_OTHER)    \
    X(PCMPSTR_ALIGN, "pcmpstr", "PCMPxSTRx is exempt from alignment checks", HOST_SAME,            \
      HOST_OTHER)                                                                                  \
    X(FXSAVE_POINTERS, "fxsave", "FXSAVE stores the x87 pointers, exception or not", HOST_SAME,    \
      HOST_UNKNOWN)                                                                                \
    X(INT1_PREFIX, "int1", "INT1 may have prefixes, and LOCK makes it undefined", HOST_SAME,       \
      HOST_UNKNOWN)                                                                                \
    X(DECIMAL_FLAGS, "decimal", "the undefined flags of DAA, DAS, AAA and AAS are Intel's",        \
      HOST_SAME, HOST_OTHER)

enum host_answer { HOST_UNKNOWN, HOST_SAME, HOST_OTHER };

#define HOST_FACT_ID(id, name, model, intel, amd) HOST_##id,
enum host_fact { HOST_FACTS(HOST_FACT_ID) HOST_FACT_COUNT };
#undef HOST_FACT_ID

/* Whether this host does as the model. Found out by trying, or, where 64-bit code can't show it, by
 * the vendor; false also if neither tells. The first call handles some signals for a moment. */
bool host_as_model(enum host_fact fact);

/* What is known of this host's vendor, HOST_UNKNOWN for a third one: for the tests of the above. */
enum host_answer host_vendor_answer(enum host_fact fact);

const char *host_fact_name(enum host_fact fact);
const char *host_fact_model(enum host_fact fact);

/* For tests: takes this host for one that does otherwise in the facts of a comma-separated list of
 * names, or in all that AMD's processors may ("amd"). False, and nothing changed, if a name is
 * unknown. */
bool host_assume_other(const char *names);

#endif
