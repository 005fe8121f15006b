/* SPDX-License-Identifier: MIT */
/* facts.c: see facts.h. Undefined flags as SDM vol. 2 has them on each instruction's page. */
#include "tests/differential/facts.h"

#include "tests/differential/case.h"
#include "ringdown/feature.h"
#include "translator/host_facts.h"
#include "translator/insn_table.h"

#include <string.h>

static const uint8_t treatments[OP_COUNT] = {
    [OP_CPUID] = TREAT_ENGINES,        [OP_SGDT] = TREAT_ENGINES,
    [OP_SIDT] = TREAT_ENGINES,         [OP_SLDT] = TREAT_ENGINES,
    [OP_STR] = TREAT_ENGINES,          [OP_SMSW] = TREAT_ENGINES,
    [OP_LAR] = TREAT_ENGINES,          [OP_LSL] = TREAT_ENGINES,
    [OP_VERR] = TREAT_ENGINES,         [OP_VERW] = TREAT_ENGINES,
    [OP_MOV_FROM_SEG] = TREAT_ENGINES, [OP_MOV_TO_SEG] = TREAT_ENGINES,
    [OP_PUSH_SEG] = TREAT_ENGINES,     [OP_POP_SEG] = TREAT_ENGINES,
    [OP_LDS] = TREAT_ENGINES,          [OP_LES] = TREAT_ENGINES,
    [OP_LFS] = TREAT_ENGINES,          [OP_LGS] = TREAT_ENGINES,
    [OP_LSS] = TREAT_ENGINES,          [OP_CALL_FAR] = TREAT_ENGINES,
    [OP_CALL_FAR_IND] = TREAT_ENGINES, [OP_JMP_FAR] = TREAT_ENGINES,
    [OP_JMP_FAR_IND] = TREAT_ENGINES,  [OP_RET_FAR] = TREAT_ENGINES,
    [OP_IRET] = TREAT_ENGINES,         [OP_SYSENTER] = TREAT_ENGINES,
    [OP_RDTSC] = TREAT_GUEST,          [OP_RDRAND] = TREAT_GUEST,
    [OP_RDSEED] = TREAT_GUEST,
};

enum treatment facts_treatment(const struct insn_row *r)
{
    return treatments[r->info.op];
}

const char *facts_guest(enum insn_op op)
{
    switch (op) {
    case OP_RDTSC:
        return "flags: rdtsc";
    case OP_RDRAND:
    case OP_RDSEED:
        return "random numbers: nothing to compare";
    default:
        return NULL;
    }
}

static uint32_t shift_undefined(const struct insn *i, uint32_t count)
{
    unsigned bits = i->opnd[0].size * 8u;
    count &= 31;
    if (!count)
        return 0;
    uint32_t of = count != 1 ? EFL_OF : 0;
    switch (i->op) {
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
        return of;
    case OP_SAR:
        return EFL_AF | of;
    case OP_SHLD:
    case OP_SHRD:
        return count > bits ? EFL_ARITH : EFL_AF | of;
    default:
        return EFL_AF | of | (count >= bits ? EFL_CF : 0);
    }
}

uint32_t facts_undefined_flags(const struct insn *i, const uint32_t gpr[8])
{
    switch (i->op) {
    case OP_AND:
    case OP_OR:
    case OP_XOR:
    case OP_TEST:
        return EFL_AF;
    case OP_MUL:
    case OP_IMUL1:
    case OP_IMUL2:
    case OP_IMUL3:
        return EFL_SF | EFL_ZF | EFL_AF | EFL_PF;
    case OP_DIV:
    case OP_IDIV:
        return EFL_ARITH;
    case OP_BT:
    case OP_BTS:
    case OP_BTR:
    case OP_BTC:
        return EFL_OF | EFL_SF | EFL_AF | EFL_PF;
    case OP_BSF:
    case OP_BSR:
        return EFL_ARITH & ~EFL_ZF;
    case OP_AAA:
    case OP_AAS:
        return EFL_OF | EFL_SF | EFL_ZF | EFL_PF;
    case OP_AAM:
    case OP_AAD:
        return EFL_OF | EFL_AF | EFL_CF;
    case OP_DAA:
    case OP_DAS:
        return EFL_OF;
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
    case OP_SHLD:
    case OP_SHRD: {
        const struct opnd *count = &i->opnd[i->n_opnds - 1];
        return shift_undefined(i, count->kind == OPND_ONE   ? 1
                                  : count->kind == OPND_IMM ? i->imm
                                                            : gpr[R_ECX]);
    }
    default:
        return 0;
    }
}

bool facts_judged(const struct insn *i, uint32_t eflags)
{
    bool prefixed = i->length > 1;
    switch (i->op) {
    case OP_NOP:
        return i->opcode != 0x0d || host_as_model(HOST_PREFETCH_NOP);
    case OP_MOV_FROM_CR:
    case OP_MOV_TO_CR:
        return !i->lock || host_as_model(HOST_LOCK_CR);
    case OP_INT1:
        return !prefixed || host_as_model(HOST_INT1_PREFIX);
    case OP_FXSAVE: /* what it leaves alone of its area */
        return host_as_model(HOST_FXSAVE_POINTERS);
    case OP_SSE:
        return strncmp(i->info->name, "pcmp", 4) || i->info->feature != FEAT_SSE42 ||
               !(eflags & EFL_AC) || host_as_model(HOST_PCMPSTR_ALIGN);
    default:
        return true;
    }
}

static unsigned compare_flags(const struct insn *i)
{
    return (i->rep || i->repne) && !host_as_model(HOST_COMPARE_FLAGS) ? DIFFERS_FLAGS : 0;
}

unsigned facts_open(const struct insn *i)
{
    switch (i->op) {
    case OP_POPA:
        return DIFFERS_GPR | DIFFERS_CR2;
    case OP_MMX: /* a store that faults has switched the x87 stack to MMX or not */
        return DIFFERS_FPU | DIFFERS_CR2;
    case OP_CMPS: /* which operand is read first */
        return DIFFERS_CR2 | compare_flags(i);
    case OP_SCAS:
        return compare_flags(i);
    case OP_ENTER:
    case OP_PUSHA:
    case OP_FXSAVE:
    case OP_FXRSTOR:
        return DIFFERS_CR2 | DIFFERS_MEMORY;
    default:
        /* any byte of those that a masked store selects */
        if (!strncmp(i->info->name, "maskmov", 7))
            return DIFFERS_CR2;
        /* x87 images, and the halves of an 80-bit number */
        return i->mem_size > 12 && i->info->flags & INSN_FPU ? DIFFERS_CR2 | DIFFERS_MEMORY
               : i->mem_size == 10                           ? DIFFERS_MEMORY
                                                             : 0;
    }
}

/* Registers written besides operand 0, as a mask. */
static unsigned implicit_writes(const struct insn *i)
{
    switch (i->op) {
    case OP_POPA:
        return 0xff;
    case OP_PUSHA:
    case OP_PUSH:
    case OP_PUSHF:
    case OP_POPF:
    case OP_PUSH_SEG:
    case OP_POP_SEG:
    case OP_POP:
        return 1u << R_ESP;
    case OP_ENTER:
    case OP_LEAVE:
        return 1u << R_ESP | 1u << R_EBP;
    case OP_MUL:
    case OP_IMUL1:
    case OP_DIV:
    case OP_IDIV:
    case OP_CWD:
    case OP_CMPXCHG8B:
        return 1u << R_EAX | 1u << R_EDX;
    case OP_CPUID:
        return 1u << R_EAX | 1u << R_ECX | 1u << R_EDX | 1u << R_EBX;
    case OP_XCHG:
    case OP_XADD: {
        const struct opnd *o = &i->opnd[1];
        return o->kind == OPND_REG ? 1u << (o->size == 1 ? o->reg & 3 : o->reg) : 0;
    }
    case OP_SSE: /* PCMPESTRI, PCMPISTRI: ECX */
        return 1u << R_ECX | 1u << R_EAX;
    case OP_MOVS:
    case OP_CMPS:
    case OP_STOS:
    case OP_LODS:
    case OP_SCAS:
    case OP_INS:
    case OP_OUTS:
        return 1u << R_ESI | 1u << R_EDI | 1u << R_ECX | 1u << R_EAX;
    default:
        return 1u << R_EAX; /* AL, AH, AX of the decimal and conversion instructions */
    }
}

bool facts_writes(const struct insn *i, unsigned reg)
{
    const struct opnd *o = &i->opnd[0];
    if (i->info->flags & INSN_WRITES0 && o->kind == OPND_REG &&
        (o->size == 1 ? o->reg & 3u : o->reg) == reg)
        return true;
    return implicit_writes(i) >> reg & 1;
}

bool facts_string(enum insn_op op)
{
    return op == OP_MOVS || op == OP_CMPS || op == OP_STOS || op == OP_LODS || op == OP_SCAS ||
           op == OP_INS || op == OP_OUTS || op == OP_XLAT;
}

unsigned facts_mem_size(const struct insn *i)
{
    if (i->op == OP_FXSAVE || i->op == OP_FXRSTOR)
        return 512;
    return i->mem_size ? i->mem_size : 4;
}
