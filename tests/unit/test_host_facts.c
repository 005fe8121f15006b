/* SPDX-License-Identifier: MIT */
/* What is found out about the host's processor, against what is known of the two vendors'. */
#include "translator/host_facts.h"

#include <criterion/criterion.h>
#include <signal.h>

Test(host_facts, compare_flags_are_those_of_the_vendor)
{
    struct sigaction before, after;
    sigaction(SIGSEGV, NULL, &before);
    bool keeps = host_keeps_compare_flags();
    sigaction(SIGSEGV, NULL, &after);
    cr_assert_eq(before.sa_handler, after.sa_handler, "the handler is what it was");
    if (__builtin_cpu_is("intel"))
        cr_assert(keeps);
    else if (__builtin_cpu_is("amd"))
        cr_assert(!keeps);
    else
        cr_log_warn("not judged on this host: it %s the flags", keeps ? "keeps" : "changes");
    cr_assert_eq(host_keeps_compare_flags(), keeps, "a fact");
}
