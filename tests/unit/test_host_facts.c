/* SPDX-License-Identifier: MIT */
/* What is found out about the host's processor, against what is known of the two vendors'. */
#include "translator/host_facts.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(host_facts, what_is_tried_is_what_the_vendor_does)
{
    struct sigaction before, after;
    sigaction(SIGSEGV, NULL, &before);
    bool first = host_as_model(HOST_COMPARE_FLAGS);
    sigaction(SIGSEGV, NULL, &after);
    cr_assert_eq(before.sa_handler, after.sa_handler, "the handler is what it was");
    cr_assert_eq(host_as_model(HOST_COMPARE_FLAGS), first, "a fact");
    for (unsigned i = 0; i < HOST_FACT_COUNT; i++) {
        enum host_fact fact = (enum host_fact)i;
        bool same = host_as_model(fact);
        enum host_answer known = host_vendor_answer(fact);
        if (known == HOST_UNKNOWN)
            cr_log_warn("not judged on this host: %s: %s", same ? "the same" : "otherwise",
                        host_fact_model(fact));
        else
            cr_expect_eq(same, known == HOST_SAME, "%s", host_fact_model(fact));
    }
}

Test(host_facts, may_be_taken_for_another_host)
{
    cr_assert_not(host_assume_other(""));
    cr_assert_not(host_assume_other("compare,nonsense"));
    cr_assert_not(host_assume_other("compare,"));
    bool prefetch = host_as_model(HOST_PREFETCH_NOP);
    cr_assert(host_assume_other("compare,decimal"));
    cr_assert_not(host_as_model(HOST_COMPARE_FLAGS));
    cr_assert_not(host_as_model(HOST_DECIMAL_FLAGS));
    cr_assert_eq(host_as_model(HOST_PREFETCH_NOP), prefetch);
    cr_assert(host_assume_other("amd"));
    for (unsigned i = 0; i < HOST_FACT_COUNT; i++)
        cr_assert_not(host_as_model((enum host_fact)i));
}
