/* SPDX-License-Identifier: MIT */
/* activity.h: what the vCPU's thread is busy with, for the profiler's samples.
 *
 * Slow places say so in machine->activity, one store each; whether translated code runs, and which
 * exit is being served, is told from the interrupted PC and the last exit instead, so nothing that
 * is fast writes it. An exception that is raised leaves by longjmp: the loop sets it afresh. */
#ifndef RINGDOWN_RUNTIME_ACTIVITY_H
#define RINGDOWN_RUNTIME_ACTIVITY_H

#include <stdint.h>

/* In the order of the report. "counted": what the report's number of times counts, "" if nothing.
 */
/* clang-format off */
#define ACTIVITIES(X)                                                                              \
    X(TRANSLATED,  "translated",    "translated code",                             "")             \
    X(SOFT,        "soft",          "translated code: soft accesses",              "")             \
    X(PADS,        "pads",          "jump-cache probes and gates",                 "")             \
    X(SWITCH,      "switch",        "world switch",                                "dispatches")   \
    X(CALLOUT,     "callout",       "call-outs",                                   "exits")        \
    X(SOFT_MISS,   "soft_miss",     "soft accesses that missed the software TLB",  "exits")        \
    X(LOOKUP,      "lookup",        "look-ups and links of branch targets",        "exits")        \
    X(TRANSLATE,   "translate",     "translation",                                 "blocks")       \
    X(RETRANSLATE, "retranslate",   "retranslation of what was translated before", "blocks")       \
    X(FAULT,       "fault",         "host faults",                                 "signals")      \
    X(EMULATED,    "emulated",      "accesses that no view can hold",              "exits")        \
    X(GUEST_FAULT, "guest_fault",   "page faults raised for the guest",            "exits")        \
    X(DELIVERY,    "delivery",      "delivery of exceptions and interrupts",       "deliveries")   \
    X(INTERPRETER, "interpreter",   "interpreter",                                 "")             \
    X(DEVICES,     "devices",       "device models",                               "accesses")     \
    X(TIMERS,      "timers",        "timers and input",                            "")             \
    X(IDLE,        "idle",          "going to sleep and waking up",                "halts")        \
    X(MONITOR,     "monitor",       "the rest of the monitor",                     "")
/* clang-format on */

enum activity {
#define X(name, json, text, counted) ACT_##name,
    ACTIVITIES(X)
#undef X
        ACT_COUNT,
    /* In the dispatcher: the last exit tells what for. */
    ACT_ENGINE = ACT_COUNT,
};

/* Where the machine's thread says what it does; volatile, since a signal handler reads it. */
typedef volatile uint8_t activity_word;

static inline uint8_t activity_begin(activity_word *word, enum activity what)
{
    uint8_t before = *word;
    *word = (uint8_t)what;
    return before;
}

#endif
