/* SPDX-License-Identifier: MIT */
/* test_verify_control.c: the verifier by hand-made blocks: branches, ends, and the translator's
 * sequences, whole and with one thing wrong. See test_verify.c. */
#include "tests/unit/verify_code.h"

/* --- accepted --- */

static const char *const sequences[] = {
    SET_R8 PROBE,
    SET_R8 PROBE_CALL LEAVE,
    "e8 =block " RETURN_CHECK LEAVE,
    "e8 =block " RETURN_LOAD LEAVE,
    "e8 =block 458d48f4 4f8b8ccf @expected.slot" LEAVE,
    "e8 =block 4181f878563412 0f85 =lookup" LEAVE,
    "e8 =block 4c8bc9 418d48f4 e308 498bc9 e9 =lookup 498bc9" LEAVE,
    "6567458b0424 458d642404 c3",
    STRING_MOVE LEAVE,
    "4d8b97 @hot.view 4a8d3416 4a8d3c17 66a7 8bf6 8bff" LEAVE,
    STRING_STORE LEAVE,
    STRING_LOAD LEAVE,
    "6567ac" LEAVE,
    "656766ad" LEAVE,
    FLAGS_OUT " 458b4f2c 478d0408" LEAVE,
    SET_R8_R9 FLAGS_IN("d50c0000") LEAVE,
    SET_R8_R9 FLAGS_IN_IF LEAVE,
    INTERRUPTS_ON LEAVE,
    TIME LEAVE,
    TIME_AUX LEAVE,
    SET_R8 TLB_READ "438b041a" LEAVE,
    SET_R8 TLB_WRITE "4389041a" LEAVE,
    SET_R8 TLB_WRITE "f043ff041a" LEAVE,
    SET_R8 TLB_READ "43db041a" LEAVE,
    SET_R8 TLB_READ "f3430f10041a" LEAVE,
    GATE,
    "4c8bc9 418b8d04001000 458b9500001000 428d0c11 e30e 498bc9 41b878563412 e9 =indirect 498bc9 "
    "e9 =block"};

Test(verify, sequences_accepted)
{
    for (size_t i = 0; i < COUNT(sequences); i++)
        block(VERIFY_NONE, "%s", sequences[i]);
    as_user = true;
    block(VERIFY_NONE, "%s", SET_R8 TLB_PROBE("1", "") "438b041a" LEAVE);
}

Test(verify, branches_accepted)
{
    block(VERIFY_NONE, "41b8 #0 e9 =exit");
    block(VERIFY_NONE, "41b8 #3 e9 =exit");
    block(VERIFY_NONE, "e9 =block");
    code(VERIFY_NONE, "0f84 =block e8 =block");
    code(VERIFY_NONE, "7400");
    code(VERIFY_NONE, "7401 90");
    code(VERIFY_NONE, "e302 eb05 e9 =block 90");
    code(VERIFY_NONE, "! 90 74fd");
    code(VERIFY_NONE, "90 ! 90 0f84f9ffffff");
    /* to stubs behind the body, and back to a call-out already emitted */
    block(VERIFY_NONE, "0f8405000000 e90b000000 | 41b8 #0 e9 =exit 41b8 #1 e9 =exit");
    block(VERIFY_NONE, "7402 eb0b 41b8 #0 e9 =exit 0f84efffffff" LEAVE);
}

/* --- refused: control --- */

static const char *const branches[] = {"e9",   "e8",   "0f80", "0f81", "0f82", "0f83",
                                       "0f84", "0f85", "0f86", "0f87", "0f88", "0f89",
                                       "0f8a", "0f8b", "0f8c", "0f8d", "0f8e", "0f8f"};

Test(verify, targets_refused)
{
    static const char *const places[] = {"exit", "miss", "inside"};
    for (size_t i = 0; i < COUNT(branches); i++) {
        code(VERIFY_MIDDLE, "%s02000000 b890909090", branches[i]);
        code(VERIFY_LOOP, "90 %s =self", branches[i]);
        for (size_t p = 0; p < COUNT(places); p++)
            code(VERIFY_OUTSIDE, "%s =%s", branches[i], places[p]);
        code(VERIFY_SCRATCH, "%s =lookup", branches[i]);
        code(VERIFY_SCRATCH, "%s =indirect", branches[i]);
    }
    for (unsigned opcode = 0x70; opcode < 0x80; opcode++) {
        code(VERIFY_MIDDLE, "%02x01 b890909090", opcode);
        code(VERIFY_LOOP, "%02xfe", opcode);
        code(VERIFY_OUTSIDE, "%02x7f", opcode);
        code(VERIFY_OUTSIDE, "%02x80", opcode);
    }
    static const char *const others[] = {"e3", "eb"};
    for (size_t i = 0; i < COUNT(others); i++) {
        code(VERIFY_MIDDLE, "%s01 b890909090", others[i]);
        code(VERIFY_MIDDLE, "%s03 656766c7003412", others[i]);
        code(VERIFY_LOOP, "90 %sfd", others[i]);
        code(VERIFY_OUTSIDE, "%s7f", others[i]);
        code(VERIFY_OUTSIDE, "%s80", others[i]);
    }
    tell("targets");
}

/* Places within a sequence where nobody may come in. */
Test(verify, entries_into_sequences_refused)
{
    static const struct {
        const char *before, *sequence;
    } rows[] = {
        {SET_R8,    PROBE                     },
        {"",        STRING_MOVE LEAVE         },
        {"",        STRING_STORE LEAVE        },
        {"",        FLAGS_OUT LEAVE           },
        {SET_R8_R9, FLAGS_IN("d50c0000") LEAVE},
        {"",        TIME LEAVE                },
        {"",        TIME_AUX LEAVE            },
        {SET_R8,    TLB_READ "438b041a" LEAVE },
        {SET_R8,    TLB_WRITE "4389041a" LEAVE}
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[1024];
        snprintf(text, sizeof(text), "%s%s", rows[i].before, rows[i].sequence);
        struct code whole = code_assemble(text);
        uint32_t start = code_assemble(rows[i].before).size, end = whole.size;
        if (strstr(rows[i].sequence, LEAVE))
            end -= code_assemble(LEAVE).size;
        /* One landing is allowed: where POPF goes on after a call-out. */
        uint32_t resume = strstr(rows[i].sequence, "4533c8") ? start + 23 : 0;
        for (uint32_t at = start + 1; at < end; at++) {
            struct verify_report report;
            whole.entries[0] = at;
            whole.entry_count = 1;
            enum verify_error error = code_verify(&whole, false, &report);
            cr_expect_eq(error, at == resume ? VERIFY_NONE : VERIFY_MIDDLE, "%s: entry at %u: %s",
                         text, at, verify_error_text(error));
            refused += error != VERIFY_NONE;
        }
    }
    /* between where r8 is set and where it is needed */
    block(VERIFY_MIDDLE, "448bc0 ! c3");
    block(VERIFY_MIDDLE, "448bc0 90 ! 90 c3");
    block(VERIFY_MIDDLE, "7403 448bc0 c3");
    block(VERIFY_MIDDLE, "448bc0 ! 0f84 =lookup" LEAVE);
    block(VERIFY_MIDDLE, "448bc0 7400 " PROBE);
    block(VERIFY_MIDDLE, "e8 =block ! 4181f878563412 0f85 =lookup" LEAVE);
    block(VERIFY_MIDDLE, "458b8f @seg[5].base ! 6567418b01" LEAVE);
    tell("entries");
}

Test(verify, ends_refused)
{
    block(VERIFY_FALLS, "90");
    block(VERIFY_FALLS, "90 | 41b8 #0 e9 =exit");
    block(VERIFY_FALLS, "e8 =block");
    block(VERIFY_FALLS, "e8 =block | 41b8 #0 e9 =exit");
    block(VERIFY_FALLS, "0f84 =block");
    block(VERIFY_FALLS, "41b8 #0 e9 =exit 90");
    block(VERIFY_FALLS, SET_R8 PROBE_CALL);
    block(VERIFY_FALLS, TIME);
    block(VERIFY_STUB, "e9 =block | 90" LEAVE);
    block(VERIFY_STUB, "e9 =block | e9 =block");
    block(VERIFY_STUB, "e9 =block | 41b8 #4 e9 =exit");
    block(VERIFY_STUB, "e9 =block | 41b8 #0 e9 =lookup");
    block(VERIFY_STUB, "e9 =block | 41b8 #0 e9 =exit c3");
    block(VERIFY_STUB, "e9 =block | b800000000" LEAVE);
    block(VERIFY_STUB, "e9 =block | 41b8 #0");
    block(VERIFY_MIDDLE, "e9 =block | ! 41b8 #0 e9 =exit");
    static const char *const whole[] = {
        "81c078563412", "65678b8078563412",           "b878563412", "e900000000",
        "0f8400000000", "656766c780785634121234",     "f30f6fc1",   "660f3a0fc104",
        "69c078563412", "6567c784757856341278563412", "ebfe",       "74fe"};
    for (size_t i = 0; i < COUNT(whole); i++)
        for (size_t length = 2; length < strlen(whole[i]) - 1; length += 2)
            block(VERIFY_TRUNCATED, "90 %.*s", (int)length, whole[i]);
    block(VERIFY_TRUNCATED, "b8 | 00000000 41b8 #0 e9 =exit");
    block(VERIFY_TRUNCATED, "e9 | 00000000 41b8 #0 e9 =exit");
    tell("ends");
}

Test(verify, sizes_refused)
{
    struct code c = code_assemble("41b8 #0 e9 =exit");
    struct verify_env env = {.address = CODE_ADDRESS};
    struct verify_report report;
    cr_assert_eq(verify_block(&env, c.bytes, 0, 0, &report), VERIFY_SIZE);
    cr_assert_eq(verify_block(&env, c.bytes, 0, c.size, &report), VERIFY_SIZE);
    cr_assert_eq(verify_block(&env, c.bytes, c.size + 1, c.size, &report), VERIFY_SIZE);
    cr_assert_eq(verify_block(&env, c.bytes, 1, 1u << 20, &report), VERIFY_SIZE);
}

/* --- refused: sequences with one thing wrong --- */

Test(verify, sequences_refused)
{
    /* exits: a record of another block, of none, no record */
    block(VERIFY_OUTSIDE, "41b8 #4 e9 =exit");
    block(VERIFY_OUTSIDE, "41b8 #-1 e9 =exit");
    block(VERIFY_OUTSIDE, "41b8ffffffff e9 =exit");
    block(VERIFY_OUTSIDE, "41b8fdffffff e9 =exit");
    block(VERIFY_OUTSIDE, "b8 #0 e9 =exit");
    block(VERIFY_OUTSIDE, "41b9 #0 e9 =exit");
    block(VERIFY_OUTSIDE, "41b8 #0 90 e9 =exit");
    /* the jump cache: no address, another table, another entry, another register */
    block(VERIFY_SCRATCH, PROBE);
    block(VERIFY_SCRATCH, PROBE_CALL LEAVE);
    block(VERIFY_SCRATCH, RETURN_CHECK LEAVE);
    block(VERIFY_SCRATCH, RETURN_LOAD LEAVE);
    /* the return's load: a difference of 64 bits, another base, scale, index, word, direction; LODS
     * with less, other or more prefixes, and its kin */
    static const char *const loads[] = {"4d8d48f4 4f8b8ccf @expected.slot",
                                        "458d4cf4 4f8b8ccf @expected.slot",
                                        "458d48f4 4f8b8c8f @expected.slot",
                                        "458d48f4 4f8b8cd7 @expected.slot",
                                        "458d48f4 4f8b8ccf @expected.nothing",
                                        "458d48f4 4f898ccf @expected.slot",
                                        "458d48f4 418bc9 4f8b8ccf @expected.slot",
                                        "6567aa",
                                        "6567a4",
                                        "6567ae",
                                        "6567f3ac",
                                        "67ac",
                                        "65ac",
                                        "6467ac",
                                        "656748ad"};
    for (size_t i = 0; i < COUNT(loads); i++) {
        struct verify_report report;
        char text[256];
        snprintf(text, sizeof(text), SET_R8 "%s" LEAVE, loads[i]);
        struct code whole = code_assemble(text);
        cr_expect_neq(code_verify(&whole, false, &report), VERIFY_NONE, "%s", loads[i]);
        refused++;
    }
    block(VERIFY_SCRATCH, "c3");
    block(VERIFY_SCRATCH, "41b8 #0 e9 =exit c3");
    block(VERIFY_SCRATCH, SET_R8 TIME " c3");
    block(VERIFY_OPCODE, SET_R8 "43ff64d508");
    block(VERIFY_OPCODE, SET_R8 "43ff54d508" LEAVE);
    block(VERIFY_OPCODE, SET_R8 "41ffe0");
    block(VERIFY_OPCODE, SET_R8 "41ffd0" LEAVE);
    static const char *const probes[] = {
        /* without the comparison, with a jump table elsewhere, by r8 itself, one byte off */
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 e308 498bc9 e9 "
        "=indirect 498bc9 43ff64d508",
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd508 4a8d0c19 e308 498bc9 e9 "
        "=indirect 498bc9 "
        "43ff64d508",
        "4c8bc9 458bd0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e308 498bc9 e9 "
        "=indirect 498bc9 "
        "43ff64d508",
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e308 498bc9 e9 "
        "=indirect 498bc9 "
        "43ff64d509",
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e308 498bc9 e9 "
        "=indirect 498bc9 "
        "43ff64d500",
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e30b 498bc9 e9 "
        "=indirect 498bc9 "
        "43ff64d508",
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e308 498bc9 e9 "
        "=exit 498bc9 "
        "43ff64d508",
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 e308 498bc9 e9 "
        "=indirect 90 90 90 "
        "43ff64d508",
        "4c8bc9 450fb7d0 478d1412 498b8f @hot.jump_tag 4a8d0c01 4f8b5cd500 4a8d0c19 7408 498bc9 e9 "
        "=indirect 498bc9 "
        "43ff64d508",
        "4c8bc9 418d8878563412 e308 498bc9 e9 =exit 498bc9",
        "4c8bc9 418d8878563412 e308 498bca e9 =lookup 498bc9",
        "4c8bc9 418d8978563412 e308 498bc9 e9 =lookup 498bc9"};
    for (size_t i = 0; i < COUNT(probes); i++)
        block(VERIFY_WIDE, SET_R8 "%s" LEAVE, probes[i]);
    /* strings: one pointer only, the wrong one, not truncated, another base, another instruction */
    static const char *const strings[] = {"4d8b97 @hot.view 4a8d3416 f3a5 8bf6",
                                          "4d8b97 @hot.view 4a8d3c17 f3a5 8bff",
                                          "4d8b97 @hot.view 4a8d3416 4a8d3c17 f3a5 8bf6 90 90",
                                          "4d8b97 @hot.view 4a8d3416 4a8d3c17 f3a5 90 90 8bff",
                                          "4d8b97 @hot.view 4a8d3416 4a8d3c17 f348a5 8bf6 8bff",
                                          "4d8b97 @hot.view 4a8d3416 4a8d3c17 f36d 8bf6 8bff",
                                          "4d8b97 @hot.view 4a8d3416 4a8d3c17 64a4 8bf6 8bff",
                                          "4d8b97 @hot.view 4a8d3416 4a8d3c17 67a4 8bf6 8bff",
                                          "4d8b97 @hot.view 4a8d3416 ab 8bff",
                                          "4d8b97 @hot.view 4a8d3c17 ac 8bf6",
                                          "4d8b97 @hot.jump_cache 4a8d3c17 ab 8bff",
                                          "4d8b97 @hot.scratch 4a8d3c17 ab 8bff",
                                          "4d8b97 @hot.view+4 4a8d3c17 ab 8bff",
                                          "4d8b97 @hot.monitor_rsp 4a8d3c17 ab 8bff",
                                          "4d8b9f @hot.view 4a8d3c17 ab 8bff",
                                          "4d8b97 @hot.view 4a8d7c1701 ab 8bff",
                                          "4d8b97 @hot.view 4a8d3c57 ab 8bff",
                                          "4d8b97 @hot.view 4a8d3c17 90 ab 8bff",
                                          "4d8b97 @hot.view 4a8d3c17 ab 90 8bff",
                                          "4d8b97 @hot.view 4a8d3c17 66f066ab 8bff"};
    for (size_t i = 0; i < COUNT(strings); i++)
        code(VERIFY_WIDE, "%s", strings[i]);
    tell("probes and strings");
}

Test(verify, flags_refused)
{
    /* POPF: bits that the host's EFLAGS must not get */
    static const char *const masks[] = {"d50d0000", "d54c0000", "d50c0400", "d50e0000", "d53c0000",
                                        "d50c2000", "ffffffff", "d70c0000", "d50c0100", "00010000",
                                        "00000400", "d50c0200", "ddcd0000", "d50c0080"};
    for (size_t i = 0; i < COUNT(masks); i++)
        code(VERIFY_SCRATCH,
             SET_R8_R9
             "4533c8 4181e100732400 740d 41b8 #0 e9 =exit eb0f 4181e0%s 458d642404 4150 9d",
             masks[i]);
    code(VERIFY_OPCODE, "4150 9d");
    code(VERIFY_OPCODE, "448bc0 4150 9d");
    code(VERIFY_OPCODE, "50 9d");
    code(VERIFY_OPCODE, "9c 9d");
    code(VERIFY_OPCODE, "9c 58");
    code(VERIFY_OPCODE, "9c 4158 4d8b8f @hot.view c442baf5c1 c442bbf5c1");
    code(VERIFY_OPCODE, "9c 4159 4d8b8f @hot.flags_mask c442baf5c1 c442bbf5c1");
    code(VERIFY_OPCODE, "9c 4158 4d8b8f @hot.flags_mask c442baf5c1");
    code(VERIFY_OPCODE, "9c 4158 4d8b8f @hot.flags_mask c442bbf5c1 c442bbf5c1");
    code(VERIFY_SCRATCH, FLAGS_IN("d50c0000"));
    code(VERIFY_SCRATCH, SET_R8 FLAGS_IN("d50c0000"));
    /* TLB probes of the wrong privilege, kind, size, or with something else behind */
    as_user = true;
    code(VERIFY_WIDE, SET_R8 TLB_READ "438b041a");
    code(VERIFY_WIDE, SET_R8 TLB_WRITE "438b041a");
    as_user = false;
    code(VERIFY_WIDE, SET_R8 TLB_PROBE("1", "") "438b041a");
    code(VERIFY_SCRATCH, TLB_READ "438b041a");
    static const char *const reads[] = {
        "4389041a", "4301041a", "43ff041a", "43c7041a00000000", "438704 1a", "f0430fb10c1a",
        "430f94041a", "43d9141a", "43d93c1a", "430f7e041a", "430f11041a", "43f7141a",
        /* more than four bytes */
        "43dd041a", "43df2c1a", "43db2c1a", "430f10041a", "66430f6f041a", "f2430f10041a",
        "430fc70c1a", "430f6f041a", "430fa3041a", "430fab041a", "43df3c1a",
        /* elsewhere */
        "438b441a04", "438b045a", "438b041b", "428b041a", "418b02", "438b0413", "6567438b041a",
        "43 8d041a", "8bc0", "438b841a00000010", "65438b041a", "67438b041a", "430f18041a"};
    for (size_t i = 0; i < COUNT(reads); i++)
        code(VERIFY_PROBE, SET_R8 TLB_READ "%s", reads[i]);
    code(VERIFY_OPCODE, SET_R8 TLB_READ "43ff141a");
    code(VERIFY_OPCODE, SET_R8 TLB_READ "c3");
    code(VERIFY_WIDE, SET_R8 TLB_READ "4b8b041a");
    code(VERIFY_REGISTER, SET_R8 TLB_READ "438b241a");
    code(VERIFY_SCRATCH, SET_R8 TLB_WRITE "4789141a");
    code(VERIFY_SCRATCH, SET_R8 TLB_WRITE "47891c1a");
    tell("flags and probes");
}

/* Sequences with each of their bytes changed, one at a time. A few are free: a guest address, the
 * number of an exit, which page a gate asks about. */
Test(verify, sequences_are_exact)
{
    static const struct {
        const char *before, *sequence, *after;
        uint32_t free[4][2]; /* offset, size */
    } rows[] = {
        {SET_R8,       PROBE,                "",               {{0}}                              },
        {SET_R8,       PROBE_CALL,           LEAVE,            {{0}}                              },
        {"e8 =block ", RETURN_CHECK,         LEAVE,            {{6, 4}}                           },
        {"e8 =block ", RETURN_LOAD,          LEAVE,            {{3, 4}}                           },
        {"",           STRING_MOVE,          LEAVE,            {{15, 2}}                          },
        {"",           STRING_STORE,         LEAVE,            {{11, 2}}                          },
        {"",           STRING_LOAD,          LEAVE,            {{11, 1}}                          },
        {"",           FLAGS_OUT,            LEAVE,            {{0}}                              },
        {SET_R8_R9,    FLAGS_IN("d50c0000"), LEAVE,            {{6, 4}, {14, 4}, {28, 1}, {36, 1}}},
        {SET_R8_R9,    FLAGS_IN_IF,          LEAVE,            {{6, 4}, {14, 4}, {61, 1}, {69, 1}}},
        {"",           INTERRUPTS_ON,        LEAVE,            {{17, 4}}                          },
        {"",           TIME,                 LEAVE,            {{0}}                              },
        {SET_R8,       TLB_READ,             "438b041a" LEAVE, {{0}}                              },
        {SET_R8,       TLB_WRITE,            "4389041a" LEAVE, {{0}}                              },
        {"",           GATE,                 "",               {{6, 4}, {17, 4}}                  }
    };
    static const uint8_t changes[] = {0x01, 0x10, 0x80, 0xff};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[1024];
        snprintf(text, sizeof(text), "%s%s %s", rows[i].before, rows[i].sequence, rows[i].after);
        struct code whole = code_assemble(text);
        uint32_t start = code_assemble(rows[i].before).size;
        uint32_t size = code_assemble(rows[i].sequence).size;
        for (uint32_t at = 0; at < size; at++) {
            bool is_free = false;
            for (unsigned f = 0; f < 4; f++)
                is_free |= at - rows[i].free[f][0] < rows[i].free[f][1];
            for (size_t n = 0; n < sizeof(changes) && !is_free; n++) {
                struct code changed = whole;
                struct verify_report report;
                changed.bytes[start + at] ^= changes[n];
                enum verify_error error = code_verify(&changed, false, &report);
                cr_expect_neq(error, VERIFY_NONE, "%s: byte %u ^ %02x", text, at, changes[n]);
                refused += error != VERIFY_NONE;
            }
        }
    }
    tell("bytes of sequences");
}
