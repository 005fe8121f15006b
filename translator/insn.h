/* SPDX-License-Identifier: MIT */
/* insn.h: the instruction record that the decoder makes and that interpreter and translator use,
 * and the one table of instruction facts.
 *
 * The table (insn.def, one row an encoding) is the only place for opcode facts: operation,
 * operands, translation class, flags read and written, feature needed, how memory is accessed. */
#ifndef RINGDOWN_TRANSLATOR_INSN_H
#define RINGDOWN_TRANSLATOR_INSN_H

#include <stdbool.h>
#include <stdint.h>

#define INSN_MAX_LENGTH 15

/* Operations: the SDM's mnemonics; condition codes folded (insn->cc), and the FPU/vector ones
 * folded into one each, since the host executes them from their bytes. */
/* clang-format off */
#define INSN_OPS(X)                                                                                \
    X(AAA) X(AAD) X(AAM) X(AAS) X(ADC) X(ADD) X(AND) X(ARPL) X(BOUND) X(BSF) X(BSR) X(BSWAP)       \
    X(BT) X(BTC) X(BTR) X(BTS) X(CALL) X(CALL_IND) X(CALL_FAR) X(CALL_FAR_IND) X(CBW) X(CLC)       \
    X(CLD) X(CLFLUSH) X(CLI) X(CLTS) X(CMC) X(CMOVCC) X(CMP) X(CMPS) X(CMPXCHG) X(CMPXCHG8B)       \
    X(CPUID) X(CRC32) X(CWD) X(DAA) X(DAS) X(DEC) X(DIV) X(ENTER) X(HLT) X(IDIV) X(IMUL1)          \
    X(IMUL2) X(IMUL3) X(IN) X(INC) X(INS) X(INT) X(INT1) X(INT3) X(INTO) X(INVD) X(INVLPG)         \
    X(INVPCID) X(CLAC) X(STAC) X(RDPID) X(RDTSCP)                                                  \
    X(IRET) X(JCC) X(JCXZ) X(JMP) X(JMP_IND) X(JMP_FAR) X(JMP_FAR_IND) X(LAHF) X(LAR) X(LDS)       \
    X(LEA) X(LEAVE) X(LES) X(LFS) X(LGDT) X(LGS) X(LIDT) X(LLDT) X(LMSW) X(LODS) X(LOOP)           \
    X(LOOPE) X(LOOPNE) X(LSL) X(LSS) X(LTR) X(MOV) X(MOVBE) X(MOVS) X(MOVSX) X(MOVZX)              \
    X(MOV_FROM_CR) X(MOV_FROM_DR) X(MOV_FROM_SEG) X(MOV_TO_CR) X(MOV_TO_DR) X(MOV_TO_SEG)          \
    X(MUL) X(NEG) X(NOP) X(NOT) X(OR) X(OUT) X(OUTS) X(PAUSE) X(POP) X(POPA) X(POPCNT) X(POPF)     \
    X(POP_SEG) X(PREFETCH) X(PUSH) X(PUSHA) X(PUSHF) X(PUSH_SEG) X(RCL) X(RCR) X(RDMSR)            \
    X(RDPMC) X(RDRAND) X(RDSEED) X(RDTSC) X(RET) X(RET_FAR) X(ROL) X(ROR) X(RSM) X(SAHF)           \
    X(SALC) X(SAR) X(SBB) X(SCAS) X(SETCC) X(SGDT) X(SHL) X(SHLD) X(SHR) X(SHRD) X(SIDT)           \
    X(SLDT) X(SMSW) X(STC) X(STD) X(STI) X(STOS) X(STR) X(SUB) X(SYSENTER) X(SYSEXIT) X(TEST)      \
    X(UD) X(VERR) X(VERW) X(WBINVD) X(WRMSR) X(XADD) X(XCHG) X(XLAT) X(XOR) X(FENCE)               \
    X(LDMXCSR) X(STMXCSR) X(FXSAVE) X(FXRSTOR) X(FWAIT) X(X87) X(MMX) X(SSE)
/* clang-format on */

enum insn_op {
#define X(name) OP_##name,
    INSN_OPS(X)
#undef X
        OP_COUNT
};

/* How the translator treats an encoding. */
enum insn_class {
    CLASS_IDENTICAL, /* register-only, copied verbatim (possibly with an inserted REX for ESP); also
                      * the NOPs whose ModRM names memory that they never touch */
    CLASS_MEMORY,    /* one ModRM/moffs memory operand: copied with its operand re-addressed */
    CLASS_REWRITTEN, /* replaced by an equivalent sequence (stack, strings, flags, segments) */
    CLASS_CONTROL,   /* near control transfer: ends the block, chained */
    CLASS_CALLOUT,   /* executed by the interpreter; the block goes on after it */
    CLASS_CALLOUT_END, /* executed by the interpreter; the block ends with it */
    CLASS_UNDEFINED,   /* raises #UD */
    CLASS_COUNT
};

/* An operand, as appendix A of SDM vol. 2 has them. */
enum opnd_kind {
    OPND_NONE,
    OPND_REG, /* general register `reg`, of `size` (8-bit: 4-7 are AH CH DH BH) */
    OPND_MEM, /* the record's memory operand, `size` bytes (0: address only) */
    OPND_IMM, /* insn->imm, already sign-extended where the encoding says so */
    OPND_REL, /* relative target: insn->imm is the displacement */
    OPND_FAR, /* ptr16:16/32: insn->imm offset, insn->imm2 selector */
    OPND_SEG, /* segment register `reg` */
    OPND_CR,
    OPND_DR,
    OPND_XMM,
    OPND_MMX,
    OPND_ST,
    OPND_ONE, /* the constant 1 of shifts */
    OPND_STR, /* string operand of `size` bytes: reg R_ESI is mem_seg:[(E)SI], R_EDI is
               * ES:[(E)DI], R_EBX is XLAT's mem_seg:[(E)BX + AL]; mem_size is set, has_mem is not
               */
};
struct opnd {
    uint8_t kind, reg, size;
};

/* Table row flags. */
#define INSN_LOCKABLE  0x0001u /* LOCK is allowed when operand 0 is memory */
#define INSN_REP       0x0002u /* F3/F2 repeat it (string operations) */
#define INSN_WRITES0   0x0004u /* writes operand 0 */
#define INSN_READS0    0x0008u /* reads operand 0 */
#define INSN_ALIGN16   0x0010u /* memory operand of 16 bytes must be aligned, else #GP(0) */
#define INSN_FPU       0x0020u /* x87: #NM on CR0.EM or CR0.TS; #MF */
#define INSN_MMX       0x0040u /* MMX: #UD on CR0.EM, #NM on CR0.TS, #MF */
#define INSN_SSE       0x0080u /* SSE: #UD on CR0.EM or !CR4.OSFXSR, #NM on CR0.TS, #XM */
#define INSN_STACK     0x0100u /* implicitly uses SS:ESP */
#define INSN_PRIV0     0x0200u /* #GP(0) unless CPL 0 */
#define INSN_NOT_V86   0x0400u /* #UD in real and virtual-8086 mode */
#define INSN_SENSITIVE 0x0800u /* behaves differently deprivileged without a fault */
#define INSN_WAIT      0x1000u /* FWAIT: #NM on MP and TS together */
#define INSN_NO_WAIT   0x2000u /* x87 control instruction that does not check pending #MF */

struct insn_info {
    uint8_t op, cls, feature; /* enum insn_op, insn_class, cpu_feature */
    uint16_t flags;           /* INSN_* */
    uint16_t fl_read;         /* EFL_ARITH|EFL_DF bits it reads */
    uint16_t fl_write;        /* bits it writes whatever its operands (defined or not) */
    uint16_t fl_maybe;        /* bits it writes for some operand values only (shift counts, REP) */
    const char *name;
};

struct insn {
    const struct insn_info *info; /* of its table row; never NULL after a decode */
    uint8_t length;               /* bytes consumed, 1..15 */
    uint8_t op;                   /* = info->op */
    uint8_t cc;                   /* condition for JCC, SETCC, CMOVCC (0-15) */
    uint8_t map;                  /* 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A */
    uint8_t opcode;
    uint8_t modrm, sib;               /* valid if has_modrm / has_sib */
    bool has_modrm, has_sib, has_mem; /* has_mem: ModRM or moffs memory operand */
    bool lock, rep, repne; /* F3 rep, F2 repne, mandatory ones too; of both the last counts */
    bool prefix66, prefix67;
    uint8_t seg_prefix; /* SEG_*, or 0xff */
    uint8_t opsize;     /* 2 or 4: effective operand size; a mandatory 66 does not count */
    uint8_t addrsize;   /* 2 or 4: effective address size */
    /* The memory operand: effective address = base + index * scale + disp, mod 2^(8*addrsize). */
    uint8_t mem_seg;             /* SEG_*, prefixes and SS default applied */
    uint8_t mem_base, mem_index; /* R_*, or 0xff */
    uint8_t mem_scale;           /* 1, 2, 4, 8 */
    uint8_t mem_size;            /* bytes accessed; 0: address only or by its own rules (FXSAVE: 512
                                  * does not fit and is given by op) */
    uint8_t disp_size, imm_size; /* encoded sizes in bytes; imm_size of all immediates together */
    int32_t disp;
    uint32_t imm;  /* first immediate, sign-extended where the encoding says so */
    uint32_t imm2; /* ENTER's level, a far pointer's selector */
    struct opnd opnd[3];
    uint8_t n_opnds;
    uint8_t bytes[INSN_MAX_LENGTH];
    void *handler; /* for the interpreter's own use */
    void *thunk;
};

enum decode_status {
    DECODE_OK,
    DECODE_UNDEFINED, /* #UD: insn->info is the OP_UD row; length is right where it can be known */
    DECODE_TOO_LONG,  /* more than 15 bytes: #GP(0) */
    DECODE_TRUNCATED, /* the bytes given end inside the instruction: fetch more and try again */
};

/* A decoder holds a capstone handle; one a thread. */
struct decoder;
struct cpu_model;
struct decoder *decoder_create(const struct cpu_model *model); /* NULL model: all features */
/* The same for a set of features, bit (1u << FEAT_x); this is all that the translator's side needs.
 */
struct decoder *decoder_create_features(uint32_t features);
void decoder_destroy(struct decoder *d);
/* Decodes one instruction from n bytes. `code32` is CS.D. Rows whose feature the model lacks are
 * DECODE_UNDEFINED. LOCK where it is not allowed is DECODE_UNDEFINED. */
enum decode_status decode(struct decoder *d, const uint8_t *bytes, unsigned n, bool code32,
                          struct insn *out);
const char *insn_op_name(enum insn_op op);
const char *insn_class_name(enum insn_class cls);
/* Intel-syntax text by capstone for dumps; returns buf. */
char *decode_format(struct decoder *d, const struct insn *i, uint32_t pc, bool code32, char *buf,
                    unsigned size);
/* A row's demands on 66, F2 and F3 besides one of them being mandatory. */
#define INSN_PFX_NP    1 /* none of them */
#define INSN_PFX_NOREP 2 /* neither F2 nor F3; 66 is the operand size */
/* The whole table, for generated coverage maps and tests. */
struct insn_row {
    uint8_t map, opcode, ext /* ModRM.reg, or 0xff */, pfx /* 0, INSN_PFX_*, or 0x66, 0xf2, 0xf3 */;
    uint8_t mod /* 0 any, 1 memory only, 2 register only */;
    uint8_t opnd[3]; /* enum insn_spec, see insn_table.h */
    struct insn_info info;
    uint8_t rm; /* ModRM.rm, or 0xff */
};
extern const struct insn_row insn_rows[];
extern const unsigned insn_row_count;

#endif
