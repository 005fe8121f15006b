/* SPDX-License-Identifier: MIT */
/* verify_oracle.h: a third opinion on host code, by capstone: whether each instruction of a block,
 * by itself, may do harm. It is slower than the verifier and knows nothing of its tables; it judges
 * the blocks that the verifier has accepted although they were damaged.
 *
 * What it asks: memory operands are in the view, slots of the vCPU, or what the known sequences
 * name; an access through the software TLB is no larger than its probe and writes only behind a
 * probe for writes; the monitor's registers are neither written nor read as data; the guest's
 * registers get 64 bits from those few instructions that sequences use; nothing privileged, no
 * system call, no way to other states of the processor; branches go to the starts of instructions
 * or to given places. */
#ifndef RINGDOWN_TESTS_VERIFY_ORACLE_H
#define RINGDOWN_TESTS_VERIFY_ORACLE_H

#include "ringdown/cpu.h"

#include <capstone/capstone.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct oracle {
    csh handle;
    cs_insn *insn;
    /* the block */
    const uint8_t *code;
    size_t size;
    uint64_t address;
    bool (*is_place)(void *opaque, uint64_t target); /* outside the block */
    void *opaque;
    /* findings */
    const char *complaint; /* NULL: harmless */
    uint32_t at;
    /* on the way */
    bool starts[4096], targets[4096];
    int probed, probed_writes; /* size and direction of the last probe */
    int64_t mask;              /* of the last AND r8d, imm; -1: none */
    bool to_view[2];           /* rsi, rdi are in the view */
    bool difference;           /* r9d has just been computed from r8 */
    bool ends;
};

static inline bool oracle_init(struct oracle *o)
{
    memset(o, 0, sizeof(*o));
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &o->handle) != CS_ERR_OK)
        return false;
    cs_option(o->handle, CS_OPT_DETAIL, CS_OPT_ON);
    o->insn = cs_malloc(o->handle);
    return o->insn;
}

static inline void oracle_done(struct oracle *o)
{
    cs_free(o->insn, 1);
    cs_close(&o->handle);
}

static inline void oracle_complain(struct oracle *o, const char *what)
{
    if (!o->complaint)
        o->complaint = what;
}

static const unsigned oracle_forbidden[] = {
    X86_INS_SYSCALL,  X86_INS_SYSENTER, X86_INS_SYSRET,    X86_INS_SYSEXIT,    X86_INS_INT,
    X86_INS_INT1,     X86_INS_INT3,     X86_INS_INTO,      X86_INS_IRET,       X86_INS_IRETD,
    X86_INS_IRETQ,    X86_INS_IN,       X86_INS_OUT,       X86_INS_INSB,       X86_INS_INSW,
    X86_INS_INSD,     X86_INS_OUTSB,    X86_INS_OUTSW,     X86_INS_OUTSD,      X86_INS_CLI,
    X86_INS_STI,      X86_INS_HLT,      X86_INS_CLTS,      X86_INS_INVD,       X86_INS_WBINVD,
    X86_INS_RDFSBASE, X86_INS_RDGSBASE, X86_INS_WRFSBASE,  X86_INS_WRGSBASE,   X86_INS_SWAPGS,
    X86_INS_XGETBV,   X86_INS_XSETBV,   X86_INS_XSAVE,     X86_INS_XSAVE64,    X86_INS_XSAVEOPT,
    X86_INS_XRSTOR,   X86_INS_XRSTOR64, X86_INS_XSAVEC,    X86_INS_XSAVES,     X86_INS_FXSAVE,
    X86_INS_FXSAVE64, X86_INS_FXRSTOR,  X86_INS_FXRSTOR64, X86_INS_FLDENV,     X86_INS_FNSTENV,
    X86_INS_FRSTOR,   X86_INS_FNSAVE,   X86_INS_CPUID,     X86_INS_RDPMC,      X86_INS_RDMSR,
    X86_INS_WRMSR,    X86_INS_MONITOR,  X86_INS_MWAIT,     X86_INS_XBEGIN,     X86_INS_XEND,
    X86_INS_XABORT,   X86_INS_XTEST,    X86_INS_RETF,      X86_INS_RETFQ,      X86_INS_LCALL,
    X86_INS_LJMP,     X86_INS_ENTER,    X86_INS_LEAVE,     X86_INS_LOOP,       X86_INS_LOOPE,
    X86_INS_LOOPNE,   X86_INS_XLATB,    X86_INS_MASKMOVQ,  X86_INS_MASKMOVDQU, X86_INS_MOVABS,
    X86_INS_LSS,      X86_INS_LFS,      X86_INS_LGS,       X86_INS_LDS,        X86_INS_LES,
    X86_INS_LGDT,     X86_INS_LIDT,     X86_INS_SGDT,      X86_INS_SIDT,       X86_INS_SLDT,
    X86_INS_STR,      X86_INS_SMSW,     X86_INS_LMSW,      X86_INS_LLDT,       X86_INS_LTR,
    X86_INS_LAR,      X86_INS_LSL,      X86_INS_VERR,      X86_INS_VERW,       X86_INS_INVLPG,
    X86_INS_VMCALL,   X86_INS_VMLAUNCH, X86_INS_VMRESUME,  X86_INS_CLAC,       X86_INS_STAC,
    X86_INS_UD2,      X86_INS_ENCLU,    X86_INS_ENCLS,     X86_INS_INVPCID};

static const struct {
    size_t offset;
    uint8_t size;
    bool writes;
} oracle_slots[] = {
    {offsetof(struct vcpu, hot.vif),             4, true },
    {offsetof(struct vcpu, hot.vflags),          4, false},
    {offsetof(struct vcpu, hot.irq_hint),        4, false},
    {offsetof(struct vcpu, hot.view),            8, false},
    {offsetof(struct vcpu, hot.flags_mask),      8, false},
    {offsetof(struct vcpu, hot.jump_tag),        8, false},
    {offsetof(struct vcpu, hot.code_lines),      8, false},
    {offsetof(struct vcpu, hot.scratch),         8, true },
    {offsetof(struct vcpu, hot.scratch),         4, true },
    {offsetof(struct vcpu, hot.scratch) + 4,     4, true },
    {offsetof(struct vcpu, tsc_offset),          8, false},
    {offsetof(struct vcpu, tsc_aux),             4, false},
    {offsetof(struct vcpu, hot.tlb_index_mask),  4, false},
    {offsetof(struct vcpu, hot.tlb_page_mask),   4, false},
    {offsetof(struct vcpu, hot.tlb_offset_mask), 4, false},
    {offsetof(struct vcpu, hot.three),           4, false},
};

static inline bool oracle_slot(const cs_x86_op *op)
{
    for (unsigned s = 0; s < 6; s++)
        if (!(op->access & CS_AC_WRITE) &&
            ((op->mem.disp == (int64_t)offsetof(struct vcpu, seg[s].base) && op->size == 4) ||
             (op->mem.disp == (int64_t)offsetof(struct vcpu, seg[s].sel) && op->size == 2)))
            return true;
    for (size_t i = 0; i < sizeof(oracle_slots) / sizeof(oracle_slots[0]); i++)
        if (op->mem.disp == (int64_t)oracle_slots[i].offset && op->size == oracle_slots[i].size &&
            (oracle_slots[i].writes || !(op->access & CS_AC_WRITE)))
            return true;
    return false;
}

/* Capstone 4 has some operands larger than the manual (vol. 2), and lets TEST write. */
static inline void oracle_correct(const cs_insn *insn, const cs_x86_op *op, int *size, bool *writes)
{
    *size = op->size;
    *writes = op->access & CS_AC_WRITE;
    switch (insn->id) {
    case X86_INS_COMISS:
    case X86_INS_UCOMISS:
        *size = 4;
        break;
    case X86_INS_FNSTSW:
        *size = 2;
        break;
    case X86_INS_COMISD:
    case X86_INS_UCOMISD:
        *size = 8;
        break;
    case X86_INS_PUNPCKLBW:
    case X86_INS_PUNPCKLWD:
    case X86_INS_PUNPCKLDQ:
        *size = op->size == 8 ? 4 : op->size;
        break;
    case X86_INS_TEST:
        *writes = false;
        break;
    }
}

/* A field of the software TLB or of the table of mixed pages, by r10. */
static inline bool oracle_tlb(struct oracle *o, const cs_x86_op *op)
{
    const x86_op_mem *m = &op->mem;
    size_t tlb = offsetof(struct vcpu, tlb), mixed = offsetof(struct vcpu, tlb_mixed);
    size_t offset = (size_t)m->disp - tlb;
    if (op->access & CS_AC_WRITE)
        return false;
    if (m->index == X86_REG_R9) /* the word that a return's difference indexes */
        return o->difference && m->scale == 8 && op->size == 8 &&
               (size_t)m->disp == offsetof(struct vcpu, expected.slot);
    if (m->index != X86_REG_R10)
        return false;
    if (m->scale == 1)
        return op->size == 4 &&
               ((size_t)m->disp == mixed || (size_t)m->disp == mixed + TLB_SIZE * sizeof(uint32_t));
    if (offset >= TLB_SIZE * sizeof(struct tlb_entry))
        offset -= TLB_SIZE * sizeof(struct tlb_entry);
    if (offset == offsetof(struct tlb_entry, probe))
        o->probed_writes = false;
    else if (offset == offsetof(struct tlb_entry, probe) + 4)
        o->probed_writes = true;
    else if (offset == offsetof(struct tlb_entry, host))
        return op->size == 8;
    else
        return offset == offsetof(struct tlb_entry, gfn) && op->size == 4;
    return op->size == 4;
}

static inline bool oracle_string(struct oracle *o, const cs_x86_op *op)
{
    switch (o->insn->id) {
    case X86_INS_MOVSB:
    case X86_INS_MOVSW:
    case X86_INS_MOVSD:
    case X86_INS_STOSB:
    case X86_INS_STOSW:
    case X86_INS_STOSD:
    case X86_INS_LODSB:
    case X86_INS_LODSW:
    case X86_INS_LODSD:
    case X86_INS_SCASB:
    case X86_INS_SCASW:
    case X86_INS_SCASD:
    case X86_INS_CMPSB:
    case X86_INS_CMPSW:
    case X86_INS_CMPSD:
        return (op->mem.base == X86_REG_RSI && o->to_view[0]) ||
               (op->mem.base == X86_REG_RDI && o->to_view[1]);
    default:
        return false;
    }
}

/* rsp, r13-r15 in any width. */
static inline bool oracle_reserved(unsigned reg)
{
    static const unsigned regs[] = {
        X86_REG_RSP,  X86_REG_ESP,  X86_REG_SP,   X86_REG_SPL,  X86_REG_R13,  X86_REG_R13D,
        X86_REG_R13W, X86_REG_R13B, X86_REG_R14,  X86_REG_R14D, X86_REG_R14W, X86_REG_R14B,
        X86_REG_R15,  X86_REG_R15D, X86_REG_R15W, X86_REG_R15B, X86_REG_FS,   X86_REG_GS,
        X86_REG_SS,   X86_REG_DS,   X86_REG_ES,   X86_REG_CS};
    for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
        if (regs[i] == reg)
            return true;
    return false;
}

static inline bool oracle_memory(struct oracle *o, const cs_x86_op *op)
{
    const cs_x86 *x = &o->insn->detail->x86;
    const x86_op_mem *m = &op->mem;
    unsigned id = o->insn->id;
    bool call = id == X86_INS_JMP || id == X86_INS_CALL, writes;
    int size;
    oracle_correct(o->insn, op, &size, &writes);
    if (id == X86_INS_LEA)
        return m->base != X86_REG_RIP && m->base != X86_REG_EIP;
    if (m->segment == X86_REG_GS)
        return x->addr_size == 4 && !call && m->base != X86_REG_EIP && m->base != X86_REG_RIP;
    if (m->segment != X86_REG_INVALID && m->segment != X86_REG_DS && m->segment != X86_REG_ES)
        return false;
    if (x->addr_size != 8)
        return false;
    if (m->base == X86_REG_R14)
        return !call && m->scale == 1 &&
               (m->index == X86_REG_INVALID ||
                (!oracle_reserved(m->index) && m->index != X86_REG_R10 && m->index != X86_REG_R11));
    if (m->base == X86_REG_R15 && !call)
        return m->index == X86_REG_INVALID ? oracle_slot(op) : oracle_tlb(o, op);
    if (m->base == X86_REG_R13 && m->index == X86_REG_R10)
        return m->scale == 8 && (call ? m->disp == 8 : m->disp == 0 && id == X86_INS_MOV);
    if (m->base == X86_REG_R13) /* a gate's word */
        return m->index == X86_REG_INVALID && op->size == 4 && id == X86_INS_MOV;
    if (m->base == X86_REG_RCX && m->index == X86_REG_R11)
        return m->scale == 8 && !m->disp && op->size == 8 && id == X86_INS_MOV;
    if (m->base == X86_REG_R10 && m->index == X86_REG_R11)
        return m->scale == 1 && !m->disp && !call && size && size <= o->probed &&
               (o->probed_writes || !writes);
    return oracle_string(o, op);
}

static inline bool oracle_wide(unsigned reg)
{
    return reg == X86_REG_RAX || reg == X86_REG_RBX || reg == X86_REG_RCX || reg == X86_REG_RDX ||
           reg == X86_REG_RSI || reg == X86_REG_RDI || reg == X86_REG_RBP || reg == X86_REG_R12;
}

static inline void oracle_operand(struct oracle *o, const cs_x86_op *op)
{
    unsigned id = o->insn->id;
    bool stack = id == X86_INS_PUSH || id == X86_INS_POP;
    if (op->type == X86_OP_MEM && !oracle_memory(o, op))
        oracle_complain(o, "memory operand");
    if (op->type != X86_OP_REG || id == X86_INS_NOP)
        return;
    if (oracle_reserved(op->reg))
        oracle_complain(o, "reserved register");
    if (stack && op->reg != X86_REG_R8)
        oracle_complain(o, "stack");
    if ((op->access & CS_AC_WRITE) && oracle_wide(op->reg) &&
        !(id == X86_INS_LEA &&
          (op->reg == X86_REG_RCX || op->reg == X86_REG_RSI || op->reg == X86_REG_RDI)) &&
        !((id == X86_INS_MOV || id == X86_INS_SHRX) && op->reg == X86_REG_RCX))
        oracle_complain(o, "64 bits to a guest's register");
}

/* What later instructions depend on. */
static inline void oracle_follow(struct oracle *o)
{
    const cs_x86 *x = &o->insn->detail->x86;
    const cs_x86_op *a = &x->operands[0], *b = &x->operands[1];
    unsigned id = o->insn->id;
    bool view = id == X86_INS_LEA && b->mem.index == X86_REG_R10 && b->mem.base == a->reg &&
                b->mem.scale == 1 && !b->mem.disp;
    if (view && a->reg == X86_REG_RSI)
        o->to_view[0] = true;
    if (view && a->reg == X86_REG_RDI)
        o->to_view[1] = true;
    if (id == X86_INS_MOV && a->type == X86_OP_REG && a->reg == X86_REG_ESI)
        o->to_view[0] = false;
    if (id == X86_INS_MOV && a->type == X86_OP_REG && a->reg == X86_REG_EDI)
        o->to_view[1] = false;
    o->difference = id == X86_INS_LEA && a->reg == X86_REG_R9D && b->mem.base == X86_REG_R8;
    if (id == X86_INS_LEA && a->reg == X86_REG_ECX && b->mem.base == X86_REG_R8)
        o->probed = b->mem.disp >= 0 && b->mem.disp < 16 ? (int)b->mem.disp + 1 : 0;
    if (id == X86_INS_AND && a->type == X86_OP_REG && a->reg == X86_REG_R8D &&
        b->type == X86_OP_IMM)
        o->mask = b->imm;
    if (id == X86_INS_POPFQ && (o->mask < 0 || (o->mask & ~(int64_t)EFL_HOST)))
        oracle_complain(o, "flags");
    if (id == X86_INS_POPF)
        oracle_complain(o, "16-bit POPF");
}

static inline void oracle_branch(struct oracle *o)
{
    const cs_x86_op *op = &o->insn->detail->x86.operands[0];
    unsigned id = o->insn->id;
    o->ends = id == X86_INS_JMP || id == X86_INS_RET;
    bool direct = cs_insn_group(o->handle, o->insn, CS_GRP_JUMP) ||
                  cs_insn_group(o->handle, o->insn, CS_GRP_CALL);
    if (id == X86_INS_RET && o->insn->size != 1)
        oracle_complain(o, "return");
    if (!direct || op->type == X86_OP_MEM)
        return;
    if (op->type != X86_OP_IMM || o->insn->detail->x86.prefix[2]) {
        oracle_complain(o, "branch");
        return;
    }
    uint64_t offset = (uint64_t)op->imm - o->address;
    if (offset < o->size)
        o->targets[offset] = true;
    else if (!o->is_place(o->opaque, (uint64_t)op->imm))
        oracle_complain(o, "branch target");
}

/* What capstone does not know, all of it harmless: reserved NOPs, fences and undefined forms of x87
 * instructions, without memory, and prefetches in the view that stand for each other. Returns the
 * length, 0 if it is something else. */
static inline size_t oracle_unknown(struct oracle *o, const uint8_t *p, size_t left)
{
    uint8_t copy[32] = {0};
    size_t n = 0;
    memcpy(copy, p, left < sizeof(copy) / 2 ? left : sizeof(copy) / 2);
    bool view = copy[0] == 0x65 && copy[1] == 0x67;
    if (view)
        n += 2;
    if (copy[n] == 0x66)
        n++;
    if ((copy[n] & 0xf0) == 0x40)
        n++;
    bool direct = copy[n + 2] >= 0xc0 && !view;
    if (copy[n] >= 0xd8 && copy[n] <= 0xdf && copy[n + 1] >= 0xc0 && !view)
        return n + 2;
    if (copy[n] != 0x0f)
        return 0;
    if (direct && (copy[n + 1] == 0x0d || (copy[n + 1] >= 0x18 && copy[n + 1] <= 0x1f)))
        return n + 3;
    if (direct && copy[n + 1] == 0xae && copy[n + 2] >= 0xe8 && !n)
        return 3;
    unsigned rm = copy[n + 2] & 7, base = rm == 4 ? copy[n + 3] & 7 : rm;
    bool by_r14 = n && (copy[n - 1] & 0xf1) == 0x41 && base == 6;
    if (!(view || by_r14) || copy[n + 1] != 0x0d || copy[n + 2] >= 0xc0)
        return 0;
    const uint8_t *at = copy;
    size_t rest = sizeof(copy);
    uint64_t address = 0;
    copy[n + 2] = (uint8_t)((copy[n + 2] & 0xc7) | 0x08);
    return cs_disasm_iter(o->handle, &at, &rest, &address, o->insn) ? o->insn->size : 0;
}

static inline void oracle_one(struct oracle *o)
{
    const cs_x86 *x = &o->insn->detail->x86;
    for (size_t i = 0; i < sizeof(oracle_forbidden) / sizeof(oracle_forbidden[0]); i++)
        if (o->insn->id == oracle_forbidden[i])
            oracle_complain(o, "forbidden instruction");
    bool rdtscp = o->insn->id == X86_INS_RDTSCP; /* to capstone it is privileged */
    if ((cs_insn_group(o->handle, o->insn, CS_GRP_PRIVILEGE) && !rdtscp) ||
        cs_insn_group(o->handle, o->insn, CS_GRP_INT) ||
        cs_insn_group(o->handle, o->insn, CS_GRP_IRET))
        oracle_complain(o, "privilege");
    for (unsigned i = 0; i < x->op_count; i++)
        oracle_operand(o, &x->operands[i]);
    oracle_branch(o);
    oracle_follow(o);
}

/* Whether the block, as set up in *o, is harmless. */
static inline bool oracle_judge(struct oracle *o)
{
    size_t at = 0;
    o->complaint = NULL;
    o->probed = o->probed_writes = 0;
    o->mask = -1;
    o->to_view[0] = o->to_view[1] = o->ends = false;
    memset(o->starts, 0, o->size);
    memset(o->targets, 0, o->size);
    while (at < o->size && !o->complaint) {
        const uint8_t *p = o->code + at;
        size_t left = o->size - at;
        uint64_t address = o->address + at;
        o->starts[at] = true;
        o->at = (uint32_t)at;
        o->ends = false;
        if (cs_disasm_iter(o->handle, &p, &left, &address, o->insn)) {
            oracle_one(o);
            at += o->insn->size;
        } else {
            size_t length = oracle_unknown(o, p, left);
            if (!length)
                oracle_complain(o, "not an instruction");
            at += length;
        }
    }
    if (!o->complaint && !o->ends)
        oracle_complain(o, "runs off the end");
    for (size_t i = 0; i < o->size && !o->complaint; i++)
        if (o->targets[i] && !o->starts[i])
            oracle_complain(o, "branch into an instruction");
    return !o->complaint;
}

#endif
