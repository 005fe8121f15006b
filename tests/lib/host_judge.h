/* SPDX-License-Identifier: MIT */
/* host_judge.h: whether this host can judge what the model does. RINGDOWN_HOST_FACTS names facts in
 * which to take it for one that can't, as --host-facts does. */
#ifndef RINGDOWN_TESTS_LIB_HOST_JUDGE_H
#define RINGDOWN_TESTS_LIB_HOST_JUDGE_H

#include "translator/host_facts.h"

#include <stdio.h>
#include <stdlib.h>

/* How often host_judges() said no, by fact. */
static unsigned host_unjudged[HOST_FACT_COUNT];

static inline void host_assume_environment(void)
{
    const char *names = getenv("RINGDOWN_HOST_FACTS");
    if (names && *names && !host_assume_other(names)) {
        fprintf(stderr, "RINGDOWN_HOST_FACTS: %s: no such facts\n", names);
        exit(2);
    }
}

static inline bool host_judges(enum host_fact fact)
{
    static bool assumed;
    if (!assumed)
        host_assume_environment();
    assumed = true;
    if (host_as_model(fact))
        return true;
    host_unjudged[fact]++;
    return false;
}

static inline void host_tell_unjudged(FILE *out)
{
    for (unsigned i = 0; i < HOST_FACT_COUNT; i++)
        if (host_unjudged[i])
            fprintf(out, "%u cases not judged, since this host does otherwise: %s\n",
                    host_unjudged[i], host_fact_model((enum host_fact)i));
}

#endif
