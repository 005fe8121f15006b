/* SPDX-License-Identifier: MIT */
/* verify_code.h: code for the verifier, written as text, and what judges it. Words, separated by
 * blanks:
 *
 *   4c8bc9     bytes
 *   =lookup    32-bit displacement to a pad or place: exit, lookup, indirect, miss, block (an entry
 * of another block), inside (of another block, but no entry), self (this block's address)
 *   @vif       32-bit displacement of a field of struct vcpu, see code_fields; @vif+4
 *   #0         32-bit id of the block's first exit record
 *   |          the body ends here, stubs follow
 *   !          an entry: the monitor and other blocks come in here */
#ifndef RINGDOWN_TESTS_VERIFY_CODE_H
#define RINGDOWN_TESTS_VERIFY_CODE_H

#include "ringdown/cpu.h"
#include "translator/verify.h"

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CODE_ADDRESS 0x40010000ull
#define CODE_EXITS   4u
#define CODE_FIRST   1000u
#define CODE_GATES   0x100000u
#define LEAVE        " 41b8 #0 e9 =exit"
#define RETURN_LOAD  "458d8878563412 4f8b8ccf @expected.slot"

static const struct code_place {
    const char *name;
    uint64_t address;
} code_places[] = {
    {"exit",     0x40000000  },
    {"indirect", 0x40000010  },
    {"miss",     0x40000020  },
    {"lookup",   0x40000028  },
    {"block",    0x40020000  },
    {"inside",   0x40020003  },
    {"self",     CODE_ADDRESS},
};

#define FIELD(member)                                                                              \
    {                                                                                              \
#member, offsetof(struct vcpu, member)                                                     \
    }
static const struct code_field {
    const char *name;
    size_t offset;
} code_fields[] = {
    FIELD(gpr),
    FIELD(eip),
    FIELD(eflags),
    FIELD(hot.vif),
    FIELD(hot.vflags),
    FIELD(hot.irq_hint),
    FIELD(hot.exit_id),
    FIELD(hot.exit_eip),
    FIELD(hot.host_flags),
    FIELD(hot.monitor_rsp),
    FIELD(hot.return_sp),
    FIELD(hot.jump_cache),
    FIELD(expected.nothing),
    FIELD(expected.slot),
    FIELD(hot.jump_tag),
    FIELD(hot.view),
    FIELD(hot.scratch),
    FIELD(hot.tlb_index_mask),
    FIELD(hot.tlb_page_mask),
    FIELD(hot.tlb_offset_mask),
    FIELD(hot.three),
    FIELD(hot.code_lines),
    FIELD(hot.flags_mask),
    FIELD(fx),
    FIELD(request),
    FIELD(seg[0].base),
    FIELD(seg[5].base),
    FIELD(seg[6].base),
    FIELD(seg[0].limit),
    FIELD(seg[0].attr),
    FIELD(seg[0].sel),
    FIELD(seg[5].sel),
    FIELD(seg[6].sel),
    FIELD(gdtr),
    FIELD(cr0),
    FIELD(cr3),
    FIELD(cpl),
    FIELD(tsc_offset),
    FIELD(tsc_aux),
    FIELD(tlb[0][0].probe),
    FIELD(tlb[0][0].probe[1]),
    FIELD(tlb[0][0].host),
    FIELD(tlb[0][0].gfn),
    FIELD(tlb_mixed[0]),
    FIELD(tlb[1][0].probe),
    FIELD(tlb[1][0].probe[1]),
    FIELD(tlb[1][0].host),
    FIELD(tlb_mixed[1]),
    FIELD(machine),
};
#undef FIELD

struct code {
    uint8_t bytes[1024];
    uint32_t size, body;
    uint32_t entries[16], entry_count;
};

static void code_u32(struct code *c, uint32_t value)
{
    memcpy(c->bytes + c->size, &value, sizeof(value));
    c->size += sizeof(value);
}

static uint64_t code_place(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof(code_places) / sizeof(code_places[0]); i++)
        if (strlen(code_places[i].name) == length && !memcmp(code_places[i].name, name, length))
            return code_places[i].address;
    cr_assert_fail("no place %s", name);
    return 0;
}

static uint32_t code_field(const char *name, size_t length)
{
    const char *plus = memchr(name, '+', length);
    size_t own = plus ? (size_t)(plus - name) : length;
    for (size_t i = 0; i < sizeof(code_fields) / sizeof(code_fields[0]); i++)
        if (strlen(code_fields[i].name) == own && !memcmp(code_fields[i].name, name, own))
            return (uint32_t)(code_fields[i].offset + (plus ? (size_t)atoi(plus + 1) : 0));
    cr_assert_fail("no field %s", name);
    return 0;
}

static void code_hex(struct code *c, const char *s, size_t length)
{
    for (size_t i = 0; i + 1 < length; i += 2) {
        char digits[3] = {s[i], s[i + 1], 0}, *end;
        c->bytes[c->size++] = (uint8_t)strtoul(digits, &end, 16);
        cr_assert(!*end, "not hexadecimal: %s", s);
    }
    cr_assert_eq(length % 2, 0u, "half a byte in %s", s);
}

static struct code code_assemble(const char *text)
{
    struct code c = {0};
    for (const char *s = text; *s;) {
        size_t length = strcspn(s, " ");
        cr_assert_lt(c.size, sizeof(c.bytes) - 16);
        if (*s == '=')
            code_u32(&c, (uint32_t)(code_place(s + 1, length - 1) -
                                    (CODE_ADDRESS + c.size + sizeof(uint32_t))));
        else if (*s == '@')
            code_u32(&c, code_field(s + 1, length - 1));
        else if (*s == '#')
            code_u32(&c, CODE_FIRST + (uint32_t)atoi(s + 1));
        else if (*s == '|')
            c.body = c.size;
        else if (*s == '!')
            c.entries[c.entry_count++] = c.size;
        else
            code_hex(&c, s, length);
        s += length + strspn(s + length, " ");
    }
    if (!c.body)
        c.body = c.size;
    return c;
}

static bool code_is_entry(void *opaque, uint64_t host)
{
    (void)opaque;
    return host == code_place("block", 5);
}

static enum verify_error code_verify(const struct code *c, bool user, struct verify_report *report)
{
    struct verify_env env = {
        .address = CODE_ADDRESS,
        .exit = code_place("exit", 4),
        .lookup = code_place("lookup", 6),
        .indirect = code_place("indirect", 8),
        .exit_first = CODE_FIRST,
        .exit_count = CODE_EXITS,
        .user = user,
        .gate_words = CODE_GATES,
        .gate_end = CODE_GATES + 0x1000,
        .entries = c->entries,
        .entry_count = c->entry_count,
        .is_entry = code_is_entry,
    };
    return verify_block(&env, c->bytes, c->body, c->size, report);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- the runner --- */

static unsigned refused;
static bool as_user;

static void judge(enum verify_error want, const char *text)
{
    struct code c = code_assemble(text);
    struct verify_report report;
    enum verify_error error = code_verify(&c, as_user, &report);
    cr_expect(error == want, "%s\n  at %u: %s\n  wanted: %s", text, report.offset,
              verify_error_text(error), verify_error_text(want));
    refused += want != VERIFY_NONE;
}

static void block(enum verify_error want, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void block(enum verify_error want, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    judge(want, text);
}

/* A block that leaves at its end. */
#define code(want, format, ...) block(want, format LEAVE __VA_OPT__(, ) __VA_ARGS__)

static void tell(const char *what)
{
    fprintf(stderr, "%s: %u blocks refused\n", what, refused);
}

/* --- the translator's sequences, and what precedes them --- */

#define SET_R8 "448bc0 "
#define PROBE                                                                                      \
    "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e308 498bc9 e9 "   \
    "=indirect 498bc9 "                                                                            \
    "43ff64d508"
#define PROBE_CALL                                                                                 \
    "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e30a 498bc9 e8 "   \
    "=indirect eb08 498bc9 "                                                                       \
    "43ff54d508"
#define RETURN_CHECK "4c8bc9 418d8878563412 e308 498bc9 e9 =lookup 498bc9"
#define STRING_MOVE  "4d8b97 @hot.view 4a8d3416 4a8d3c17 f3a5 8bf6 8bff"
#define STRING_STORE "4d8b97 @hot.view 4a8d3c17 f3ab 8bff"
#define STRING_LOAD  "4d8b97 @hot.view 4a8d3416 ac 8bf6"
#define FLAGS_OUT    "9c 4158 4d8b8f @hot.flags_mask c442baf5c1 c442bbf5c1"
#define SET_R8_R9    "448bc0 448bc8 "
#define FLAGS_IN(mask)                                                                             \
    "4533c8 4181e100732400 740d 41b8 #0 e9 =exit eb0f 4181e0" mask " 458d642404 4150 9d"
#define FLAGS_IN_IF                                                                                \
    "4533c8 4181e100732400 740d 41b8 #0 e9 =exit eb30 458bc8 4181e100020000 740e 4183bf "          \
    "@hot.irq_hint 00 0f85d9ffffff 45898f @hot.vif 4181e0d50c0000 458d642404 4150 9d"
#define INTERRUPTS_ON                                                                              \
    "4c8bc9 418b8f @hot.irq_hint e310 498bc9 41b8 #0 e9 =exit eb0e 498bc9 41c787 @hot.vif "        \
    "00020000"
#define TIME                                                                                       \
    "0f31 418987 @hot.scratch 418997 @hot.scratch+4 4d8b87 @hot.scratch 4d8b8f @tsc_offset "       \
    "4f8d0408 4d8987 @hot.scratch 418b87 @hot.scratch 418b97 @hot.scratch+4"
#define TIME_AUX                                                                                   \
    "0f01f9 418987 @hot.scratch 418997 @hot.scratch+4 4d8b87 @hot.scratch 4d8b8f @tsc_offset "     \
    "4f8d0408 4d8987 @hot.scratch 418b87 @hot.scratch 418b97 @hot.scratch+4 418b8f @tsc_aux"
#define TLB_PROBE(table, probe)                                                                    \
    "4c8bc9 c4423af597 @hot.tlb_index_mask 468d149500000000 418d4803 c4c272f58f "                  \
    "@hot.tlb_page_mask 478b9cd7 @tlb[" table "][0].probe" probe                                   \
    " 428d0c19 e308 498bc9 e9 =block 498bc9 c4423af59f @hot.tlb_offset_mask 4f8b94d7 @tlb[" table  \
    "][0].host "
#define TLB_READ  TLB_PROBE("0", "")
#define TLB_WRITE TLB_PROBE("0", "[1]")
#define GATE      "4c8bc9 418b8d04001000 e30e 498bc9 41b878563412 e9 =indirect 498bc9 e9 =block"

#endif
