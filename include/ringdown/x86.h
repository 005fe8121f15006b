/* SPDX-License-Identifier: MIT */
/* x86.h: the processor structures that guests and the monitor share, each stated once.
 * Section numbers are those of the Intel 64 and IA-32 SDM. */
#ifndef RINGDOWN_INCLUDE_X86_H
#define RINGDOWN_INCLUDE_X86_H

#include <stdint.h>

/* General registers in ModRM order (SDM vol. 2, table 2-2). */
enum { R_EAX, R_ECX, R_EDX, R_EBX, R_ESP, R_EBP, R_ESI, R_EDI };

/* Segment registers in ModRM order; the two system ones follow. */
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, SEG_COUNT };

/* EFLAGS (vol. 1, 3.4.3). */
#define EFL_CF    0x00000001u
#define EFL_ONE   0x00000002u
#define EFL_PF    0x00000004u
#define EFL_AF    0x00000010u
#define EFL_ZF    0x00000040u
#define EFL_SF    0x00000080u
#define EFL_TF    0x00000100u
#define EFL_IF    0x00000200u
#define EFL_DF    0x00000400u
#define EFL_OF    0x00000800u
#define EFL_IOPL  0x00003000u
#define EFL_NT    0x00004000u
#define EFL_RF    0x00010000u
#define EFL_VM    0x00020000u
#define EFL_AC    0x00040000u
#define EFL_VIF   0x00080000u
#define EFL_VIP   0x00100000u
#define EFL_ID    0x00200000u
#define EFL_ARITH (EFL_CF | EFL_PF | EFL_AF | EFL_ZF | EFL_SF | EFL_OF)
/* What translated code keeps in the host's own flags register. */
#define EFL_HOST       (EFL_ARITH | EFL_DF)
#define EFL_IOPL_SHIFT 12

/* Control registers (vol. 3, 2.5). */
#define CR0_PE         0x00000001u
#define CR0_MP         0x00000002u
#define CR0_EM         0x00000004u
#define CR0_TS         0x00000008u
#define CR0_ET         0x00000010u
#define CR0_NE         0x00000020u
#define CR0_WP         0x00010000u
#define CR0_AM         0x00040000u
#define CR0_NW         0x20000000u
#define CR0_CD         0x40000000u
#define CR0_PG         0x80000000u
#define CR4_VME        0x00000001u
#define CR4_PVI        0x00000002u
#define CR4_TSD        0x00000004u
#define CR4_DE         0x00000008u
#define CR4_PSE        0x00000010u
#define CR4_PAE        0x00000020u
#define CR4_MCE        0x00000040u
#define CR4_PGE        0x00000080u
#define CR4_PCE        0x00000100u
#define CR4_OSFXSR     0x00000200u
#define CR4_OSXMMEXCPT 0x00000400u
#define CR4_UMIP       0x00000800u
#define CR4_SMEP       0x00100000u
#define CR4_SMAP       0x00200000u
#define EFER_SCE       0x00000001u
#define EFER_NXE       0x00000800u

/* Exception vectors (vol. 3, table 6-1). */
enum {
    VEC_DE = 0,
    VEC_DB = 1,
    VEC_NMI = 2,
    VEC_BP = 3,
    VEC_OF = 4,
    VEC_BR = 5,
    VEC_UD = 6,
    VEC_NM = 7,
    VEC_DF = 8,
    VEC_TS = 10,
    VEC_NP = 11,
    VEC_SS = 12,
    VEC_GP = 13,
    VEC_PF = 14,
    VEC_MF = 16,
    VEC_AC = 17,
    VEC_MC = 18,
    VEC_XM = 19,
};

/* Page-fault error code (vol. 3, 4.7). */
#define PF_P 0x01u /* protection violation, not a missing page */
#define PF_W 0x02u
#define PF_U 0x04u
#define PF_R 0x08u /* reserved bit set */
#define PF_I 0x10u /* instruction fetch, only with NXE and PAE */

/* Paging-structure entries (vol. 3, 4.3-4.4). */
#define PTE_P  0x001u
#define PTE_W  0x002u
#define PTE_U  0x004u
#define PTE_A  0x020u
#define PTE_D  0x040u
#define PTE_PS 0x080u
#define PTE_G  0x100u
#define PTE_NX 0x8000000000000000ull

/* Segment attributes, in the layout of the VMX access-rights field (vol. 3, 24.4.1). */
#define SEG_ATTR_TYPE      0x0000fu
#define SEG_ATTR_ACCESSED  0x00001u /* code and data segments */
#define SEG_ATTR_WRITE     0x00002u /* data: writable; code: readable */
#define SEG_ATTR_READ      0x00002u
#define SEG_ATTR_DOWN      0x00004u /* data: expand-down; code: conforming */
#define SEG_ATTR_CONFORM   0x00004u
#define SEG_ATTR_CODE      0x00008u
#define SEG_ATTR_S         0x00010u /* code or data, not system */
#define SEG_ATTR_DPL       0x00060u
#define SEG_ATTR_P         0x00080u
#define SEG_ATTR_AVL       0x01000u
#define SEG_ATTR_DB        0x04000u
#define SEG_ATTR_G         0x08000u
#define SEG_ATTR_NULL      0x10000u /* unusable: a null selector was loaded */
#define SEG_ATTR_DPL_SHIFT 5

/* System descriptor types (vol. 3, table 3-2). */
enum {
    DESC_TSS16 = 1,
    DESC_LDT = 2,
    DESC_TSS16_BUSY = 3,
    DESC_CALL16 = 4,
    DESC_TASK_GATE = 5,
    DESC_INT16 = 6,
    DESC_TRAP16 = 7,
    DESC_TSS32 = 9,
    DESC_TSS32_BUSY = 11,
    DESC_CALL32 = 12,
    DESC_INT32 = 14,
    DESC_TRAP32 = 15,
};

/* Model-specific registers that exist here (vol. 4, 2.1). */
#define MSR_TSC          0x010u
#define MSR_APIC_BASE    0x01bu
#define MSR_SYSENTER_CS  0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_PAT          0x277u
#define MSR_EFER         0xc0000080u
#define MSR_TSC_AUX      0xc0000103u

#endif
