/* SPDX-License-Identifier: MIT */
/* verify_tables.h: the rows of verify.def as verify.c uses them; of no use to anybody else. */
#ifndef RINGDOWN_TRANSLATOR_VERIFY_TABLES_H
#define RINGDOWN_TRANSLATOR_VERIFY_TABLES_H

#include <stdbool.h>
#include <stdint.h>

/* How one instruction alone may access a slot. */
enum { SEQUENCE = 0, READ16 = 1, READ32 = 2, WRITE_IF = 4 /* constants 0 and EFL_IF, 32 bits */ };
/* Sets of scratch registers. */
enum { R8 = 1, R9 = 2, R10 = 4, R11 = 8, SCRATCH_COUNT = 4 };
/* What a pattern is and does. */
enum {
    ENDS = 1,    /* control does not get behind it */
    CALLS = 2,   /* control gets behind it by a host return */
    LEAVES = 4,  /* an exit: the only thing that may be a stub */
    SETS_R8 = 8, /* r8 is set by it */
};
/* What a ModRM field names: GPR8 and GPR general registers, VEC x87, MMX and XMM ones; NIL nothing
 * or a part of the opcode; ADDR an address that is not accessed. */
enum { NIL, GPR8, GPR, VEC, ADDR };
/* Prefixes that go with an opcode: none, 66, F2, F3; F0 with memory operands. */
enum { N = 1, P66 = 2, F2 = 4, F3 = 8, LOCK = 16 };
/* Immediate: a byte; of the operand's size; the same for ModRM.reg 0 and 1 only. */
enum { I0, I8, IZ, I8G3, IZG3 };
/* In place of the size of a memory operand: that of the operand; by ModRM.reg, see size_by_reg().
 */
#define SIZE_OPERAND 0xfe
#define SIZE_BY_REG  0xff

struct slot {
    const char *name;
    uint32_t offset, count, stride, access;
};

struct pattern {
    const char *name;
    unsigned flags, needs, loses;
    const char *text;
};

struct rule {
    uint8_t map, first, last, step, prefixes, reg, rm, imm, memory, direct, size[4], writes;
};

/* Texts of patterns, as steps. */
#define STEPS_MAX  192
#define SET_MAX    6
#define LABELS_MAX 4
enum step_kind {
    STEP_END,
    STEP_BYTE,
    STEP_SET,
    STEP_OPTIONAL,
    STEP_SLOT,
    STEP_MODRM,
    STEP_REL8,
    STEP_BACK,
    STEP_LABEL,
    STEP_LANDING,
    STEP_INSTRUCTION,
    STEP_WORD, /* a constant or displacement of 32 bits, see below */
};
struct step {
    uint8_t kind, n; /* n: a set's size, ModRM.reg, a label, or the kind of a word */
    uint8_t value[SET_MAX];
};
enum word {
    WORD_EXIT,
    WORD_LOOKUP,
    WORD_INDIRECT,
    WORD_BRANCH,
    WORD_EXIT_ID,
    WORD_HOST_FLAGS,
    WORD_ANY,
    WORD_TLB_PROBE,
    WORD_TLB_HOST,
    WORD_TLB_MIXED,
    WORD_TLB_GFN,
    WORD_GATE,
    WORD_EXPECTED,
    WORD_COUNT,
};

extern const struct slot verify_slots[];
extern const unsigned verify_slot_count;
extern const struct pattern verify_patterns[];
extern const struct rule verify_rules[];

/* What is made of them; verify_tables() must have been called. */
extern struct step verify_programs[][STEPS_MAX + 1];
extern uint32_t verify_patterns_by_byte[256]; /* sets of the patterns that begin with a byte */
/* Numbers of rules plus one by map, opcode and prefix; 0: refused. */
enum { CLASS_N, CLASS_66, CLASS_F2, CLASS_F3, PREFIX_CLASSES };
extern uint8_t verify_rule_numbers[4][256][PREFIX_CLASSES];

/* Expands the tables once, from any thread. False if a row is malformed. */
bool verify_tables(void);

#endif
