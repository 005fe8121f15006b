/* SPDX-License-Identifier: MIT */
/* interp_handlers.h: the integer handlers, one declaration an operation: X(operation, handler). */
#ifndef RINGDOWN_RUNTIME_INTERP_HANDLERS_H
#define RINGDOWN_RUNTIME_INTERP_HANDLERS_H

#include "runtime/interp.h"

/* clang-format off */
#define INTERP_INT_OPS(X)                                                                          \
    X(AAA, op_aaa) X(AAD, op_aad) X(AAM, op_aam) X(AAS, op_aas) X(ADC, op_adc) X(ADD, op_add)      \
    X(AND, op_and) X(BOUND, op_bound) X(BSF, op_bsf) X(BSR, op_bsr) X(BSWAP, op_bswap)             \
    X(BT, op_bt) X(BTC, op_btc) X(BTR, op_btr) X(BTS, op_bts) X(CALL, op_call)                     \
    X(CALL_IND, op_call_ind) X(CBW, op_cbw) X(CLC, op_clc) X(CLD, op_cld) X(CLFLUSH, op_clflush)   \
    X(CMC, op_cmc) X(CMOVCC, op_cmovcc) X(CMP, op_cmp) X(CMPS, op_cmps) X(CMPXCHG, op_cmpxchg)     \
    X(CMPXCHG8B, op_cmpxchg8b) X(CRC32, op_crc32) X(CWD, op_cwd) X(DAA, op_daa) X(DAS, op_das)     \
    X(DEC, op_dec) X(DIV, op_div) X(ENTER, op_enter) X(FENCE, op_nop) X(IDIV, op_idiv)             \
    X(IMUL1, op_imul1) X(IMUL2, op_imul2) X(IMUL3, op_imul3) X(INC, op_inc) X(JCC, op_jcc)         \
    X(JCXZ, op_jcxz) X(JMP, op_jmp) X(JMP_IND, op_jmp_ind) X(LAHF, op_lahf) X(LEA, op_lea)         \
    X(LEAVE, op_leave) X(LODS, op_lods) X(LOOP, op_loop) X(LOOPE, op_loope) X(LOOPNE, op_loopne)   \
    X(MOV, op_mov) X(MOVBE, op_movbe) X(MOVS, op_movs) X(MOVSX, op_movsx) X(MOVZX, op_movzx)       \
    X(MUL, op_mul) X(NEG, op_neg) X(NOP, op_nop) X(NOT, op_not) X(OR, op_or) X(PAUSE, op_nop)      \
    X(POP, op_pop) X(POPA, op_popa) X(POPCNT, op_popcnt) X(PREFETCH, op_nop) X(PUSH, op_push)      \
    X(PUSHA, op_pusha) X(RCL, op_rcl) X(RCR, op_rcr) X(RDRAND, op_rdrand) X(RDSEED, op_rdrand)     \
    X(RET, op_ret) X(ROL, op_rol) X(ROR, op_ror) X(SAHF, op_sahf) X(SALC, op_salc) X(SAR, op_sar)  \
    X(SBB, op_sbb) X(SCAS, op_scas) X(SETCC, op_setcc) X(SHL, op_shl) X(SHLD, op_shld)             \
    X(SHR, op_shr) X(SHRD, op_shrd) X(STC, op_stc) X(STD, op_std) X(STOS, op_stos) X(SUB, op_sub)  \
    X(TEST, op_test) X(UD, op_ud) X(XADD, op_xadd) X(XCHG, op_xchg) X(XLAT, op_xlat)               \
    X(XOR, op_xor)
/* clang-format on */

/* Some operations share a handler, which is then declared more than once. */
#define X(op, handler) interp_fn handler;
INTERP_INT_OPS(X)
#undef X

#endif
