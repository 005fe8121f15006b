/* SPDX-License-Identifier: MIT */
/* feature.h: the instruction-set features by which rows of the instruction table are offered or
 * #UD. The machine's model says which it has (runtime/cpuid.c). */
#ifndef RINGDOWN_INCLUDE_FEATURE_H
#define RINGDOWN_INCLUDE_FEATURE_H

enum cpu_feature {
    FEAT_BASE,
    FEAT_CMOV,
    FEAT_CX8,
    FEAT_TSC,
    FEAT_MSR,
    FEAT_SEP,
    FEAT_FXSR,
    FEAT_FPU,
    FEAT_MMX,
    FEAT_SSE,
    FEAT_SSE2,
    FEAT_SSE3,
    FEAT_SSSE3,
    FEAT_SSE41,
    FEAT_SSE42,
    FEAT_POPCNT,
    FEAT_AES,
    FEAT_PCLMUL,
    FEAT_MOVBE,
    FEAT_CLFLUSH,
    FEAT_RDRAND,
    FEAT_RDSEED,
    FEAT_RDTSCP,
    FEAT_RDPID,
    FEAT_INVPCID,
    FEAT_SMAP,
    FEAT_NEVER,
};

#endif
