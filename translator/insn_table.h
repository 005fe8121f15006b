/* SPDX-License-Identifier: MIT */
/* insn_table.h: what the decoder needs to know of the table beyond insn.h: the operand
 * specifications and the lookup by prefix, opcode and ModRM. */
#ifndef RINGDOWN_TRANSLATOR_INSN_TABLE_H
#define RINGDOWN_TRANSLATOR_INSN_TABLE_H

#include "ringdown/x86.h"
#include "translator/insn.h"

/* Sizes that depend on the operand size; smaller values are sizes in bytes. */
enum {
    SIZE_V = 0xf0, /* 2 or 4 */
    SIZE_P,        /* far pointer: 4 or 6 */
    SIZE_A,        /* BOUND's pair: 4 or 8 */
    SIZE_ENV,      /* FLDENV, FNSTENV: 14 or 28 */
    SIZE_SAVE,     /* FRSTOR, FNSAVE: 94 or 108 */
};

/* Where an operand comes from. */
enum spec_source {
    SRC_NONE,
    SRC_RM_GPR, /* ModRM.rm: general register or memory */
    SRC_RM_XMM,
    SRC_RM_MMX,
    SRC_RM_ST,
    SRC_RM_REG,  /* ModRM.rm is a general register whatever ModRM.mod is */
    SRC_REG_GPR, /* ModRM.reg */
    SRC_REG_XMM,
    SRC_REG_MMX,
    SRC_REG_SEG,
    SRC_REG_CR,
    SRC_REG_DR,
    SRC_OPC_GPR, /* low three bits of the opcode */
    SRC_FIXED_GPR,
    SRC_FIXED_SEG,
    SRC_FIXED_ST,
    SRC_MOFFS,
    SRC_STR, /* string operand at [ESI], ES:[EDI] or [EBX + AL] */
    SRC_IMM,
    SRC_SIMM, /* sign-extended */
    SRC_REL,
    SRC_FAR,
    SRC_ONE,
};

/* X(name, source, size as register or in the instruction, size in memory, fixed register) */
#define INSN_SPECS(X)                                                                              \
    X(No, SRC_NONE, 0, 0, 0)                                                                       \
    X(Eb, SRC_RM_GPR, 1, 1, 0)                                                                     \
    X(Ew, SRC_RM_GPR, 2, 2, 0)                                                                     \
    X(Ed, SRC_RM_GPR, 4, 4, 0)                                                                     \
    X(Ev, SRC_RM_GPR, SIZE_V, SIZE_V, 0)                                                           \
    X(RvMw, SRC_RM_GPR, SIZE_V, 2, 0)                                                              \
    X(RdMb, SRC_RM_GPR, 4, 1, 0)                                                                   \
    X(RdMw, SRC_RM_GPR, 4, 2, 0)                                                                   \
    X(M, SRC_RM_GPR, 0, 0, 0)                                                                      \
    X(Mb, SRC_RM_GPR, 0, 1, 0)                                                                     \
    X(Mw, SRC_RM_GPR, 0, 2, 0)                                                                     \
    X(Md, SRC_RM_GPR, 0, 4, 0)                                                                     \
    X(Mq, SRC_RM_GPR, 0, 8, 0)                                                                     \
    X(Mt, SRC_RM_GPR, 0, 10, 0)                                                                    \
    X(Mx, SRC_RM_GPR, 0, 16, 0)                                                                    \
    X(Mv, SRC_RM_GPR, 0, SIZE_V, 0)                                                                \
    X(Mp, SRC_RM_GPR, 0, SIZE_P, 0)                                                                \
    X(Ms, SRC_RM_GPR, 0, 6, 0)                                                                     \
    X(Ma, SRC_RM_GPR, 0, SIZE_A, 0)                                                                \
    X(Menv, SRC_RM_GPR, 0, SIZE_ENV, 0)                                                            \
    X(Msave, SRC_RM_GPR, 0, SIZE_SAVE, 0)                                                          \
    X(Rd, SRC_RM_REG, 4, 0, 0)                                                                     \
    X(Gb, SRC_REG_GPR, 1, 0, 0)                                                                    \
    X(Gw, SRC_REG_GPR, 2, 0, 0)                                                                    \
    X(Gd, SRC_REG_GPR, 4, 0, 0)                                                                    \
    X(Gv, SRC_REG_GPR, SIZE_V, 0, 0)                                                               \
    X(Sw, SRC_REG_SEG, 2, 0, 0)                                                                    \
    X(Cd, SRC_REG_CR, 4, 0, 0)                                                                     \
    X(Dd, SRC_REG_DR, 4, 0, 0)                                                                     \
    X(Zb, SRC_OPC_GPR, 1, 0, 0)                                                                    \
    X(Zv, SRC_OPC_GPR, SIZE_V, 0, 0)                                                               \
    X(AL, SRC_FIXED_GPR, 1, 0, R_EAX)                                                              \
    X(AX, SRC_FIXED_GPR, 2, 0, R_EAX)                                                              \
    X(eAX, SRC_FIXED_GPR, SIZE_V, 0, R_EAX)                                                        \
    X(CL, SRC_FIXED_GPR, 1, 0, R_ECX)                                                              \
    X(DX, SRC_FIXED_GPR, 2, 0, R_EDX)                                                              \
    X(ES, SRC_FIXED_SEG, 2, 0, SEG_ES)                                                             \
    X(CS, SRC_FIXED_SEG, 2, 0, SEG_CS)                                                             \
    X(SS, SRC_FIXED_SEG, 2, 0, SEG_SS)                                                             \
    X(DS, SRC_FIXED_SEG, 2, 0, SEG_DS)                                                             \
    X(FS, SRC_FIXED_SEG, 2, 0, SEG_FS)                                                             \
    X(GS, SRC_FIXED_SEG, 2, 0, SEG_GS)                                                             \
    X(Ob, SRC_MOFFS, 0, 1, 0)                                                                      \
    X(Ov, SRC_MOFFS, 0, SIZE_V, 0)                                                                 \
    X(Xb, SRC_STR, 0, 1, R_ESI)                                                                    \
    X(Xv, SRC_STR, 0, SIZE_V, R_ESI)                                                               \
    X(Yb, SRC_STR, 0, 1, R_EDI)                                                                    \
    X(Yv, SRC_STR, 0, SIZE_V, R_EDI)                                                               \
    X(BBb, SRC_STR, 0, 1, R_EBX)                                                                   \
    X(Ib, SRC_IMM, 1, 0, 0)                                                                        \
    X(Iw, SRC_IMM, 2, 0, 0)                                                                        \
    X(Iz, SRC_IMM, SIZE_V, 0, 0)                                                                   \
    X(sIb, SRC_SIMM, 1, 0, 0)                                                                      \
    X(Jb, SRC_REL, 1, 0, 0)                                                                        \
    X(Jz, SRC_REL, SIZE_V, 0, 0)                                                                   \
    X(Ap, SRC_FAR, SIZE_P, 0, 0)                                                                   \
    X(One, SRC_ONE, 1, 0, 0)                                                                       \
    X(Vx, SRC_REG_XMM, 16, 0, 0)                                                                   \
    X(Wx, SRC_RM_XMM, 16, 16, 0)                                                                   \
    X(Wq, SRC_RM_XMM, 16, 8, 0)                                                                    \
    X(Wd, SRC_RM_XMM, 16, 4, 0)                                                                    \
    X(Ww, SRC_RM_XMM, 16, 2, 0)                                                                    \
    X(Pq, SRC_REG_MMX, 8, 0, 0)                                                                    \
    X(Qq, SRC_RM_MMX, 8, 8, 0)                                                                     \
    X(Qd, SRC_RM_MMX, 8, 4, 0)                                                                     \
    X(ST0, SRC_FIXED_ST, 10, 0, 0)                                                                 \
    X(ST1, SRC_FIXED_ST, 10, 0, 1)                                                                 \
    X(STi, SRC_RM_ST, 10, 0, 0)

enum insn_spec {
#define X(name, source, size, memory_size, fixed) SPEC_##name,
    INSN_SPECS(X)
#undef X
        SPEC_COUNT
};
struct spec_info {
    uint8_t source, size, mem_size, fixed;
};
extern const struct spec_info insn_spec_info[SPEC_COUNT];

/* The key by which a row is chosen within its opcode: ModRM in the low byte, then these. */
#define KEY_REGISTER 0x0100u /* ModRM.mod is 3 */
#define KEY_66       0x0200u
#define KEY_F2       0x0400u /* the last of F2 and F3 */
#define KEY_F3       0x0800u

/* What is known of an opcode before its ModRM byte is read. */
struct insn_slot {
    uint16_t first; /* in the lookup order */
    uint16_t count; /* 0: undefined */
    bool has_modrm;
};

void insn_table_init(void); /* builds the lookup once; from any thread */
const struct insn_slot *insn_table_slot(unsigned map, uint8_t opcode);
/* The row that `key` selects, NULL if the encoding is undefined. */
const struct insn_row *insn_table_match(const struct insn_slot *slot, unsigned key);
/* A row of the same shape as the opcode's undefined encodings; NULL if they end with the opcode. */
const struct insn_row *insn_table_any(unsigned map, const struct insn_slot *slot);
const struct insn_info *insn_table_undefined(void);

#endif
