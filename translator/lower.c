/* SPDX-License-Identifier: MIT */
/* lower.c: what all lowerings share: operands, branches, ways out, and the table of lowerings. */
#include "translator/lower.h"

#include "ringdown/check.h"
#include "ringdown/cpu.h"

#include <stddef.h>

#define SLOT(member) offsetof(struct vcpu, member)

bool insn_writes_memory(const struct insn *i)
{
    return i->n_opnds && i->opnd[0].kind == OPND_MEM && (i->info->flags & INSN_WRITES0);
}

static uint8_t host_index(uint8_t reg)
{
    return reg == 0xff ? H_NONE : (uint8_t)host_gpr(reg);
}

/* Adds a segment base held in r9 to an address, which may take a LEA into r8. */
static void add_segment_base(struct lowering *l, struct mem *m, unsigned seg)
{
    emit_load_slot(&l->e, H_R9, SLOT(seg[0].base) + seg * sizeof(struct segment));
    if (m->base != H_NONE && m->index != H_NONE) {
        emit_lea(&l->e, H_R8, &(struct mem){m->base, m->index, m->scale, m->disp, false, false});
        *m = (struct mem){.base = H_R8, .index = H_R9, .scale = 1};
    } else if (m->base == H_NONE) {
        m->base = H_R9;
    } else {
        m->index = H_R9;
        m->scale = 1;
    }
}

void lower_late_callout(struct lowering *l)
{
    CHECK(l->late_count < BLOCK_LATE_WORST);
    struct late_callout *late = &l->late[l->late_count++];
    late->disp = emit_jmp(&l->e, l->pads->exit);
    late->at = l->at;
}

/* Leaves for the interpreter unless r8 + size - 1 is within the limit in r9 (zero-extended):
 *     lea  r11, [r8 + size-1]
 *     not  r11
 *     (r9 = limit)
 *     lea  r9, [r9 + r11 + 1]   negative beyond the limit
 *     rorx r9, r9, 32           its upper half, all zeros or ones, in front
 *     mov  r11, rcx
 *     mov  ecx, r9d
 *     jrcxz within
 *     mov  rcx, r11
 *     jmp  call-out
 * within: mov rcx, r11  */
static void emit_limit_check(struct lowering *l, int limit_slot, uint32_t limit, unsigned size)
{
    static const uint8_t not_r11[] = {0x49, 0xf7, 0xd3};
    static const uint8_t upper_half[] = {0xc4, 0x43, 0xfb, 0xf0, 0xc9, 0x20};
    struct emitter *e = &l->e;
    emit_lea64(e, H_R11, &(struct mem){.base = H_R8, .index = H_NONE, .disp = (int32_t)size - 1});
    emit_bytes(e, not_r11, sizeof(not_r11));
    if (limit_slot)
        emit_load_slot(e, H_R9, (size_t)limit_slot);
    else
        emit_mov_imm(e, H_R9, limit);
    emit_lea64(e, H_R9, &(struct mem){.base = H_R9, .index = H_R11, .scale = 1, .disp = 1});
    emit_bytes(e, upper_half, sizeof(upper_half));
    emit_mov64(e, H_R11, H_RCX);
    emit_mov(e, H_RCX, H_R9);
    uint8_t *within = emit_jrcxz(e);
    emit_mov64(e, H_RCX, H_R11);
    lower_late_callout(l);
    emit_land8(e, within);
    emit_mov64(e, H_RCX, H_R11);
}

void lower_check_target(struct lowering *l)
{
    if (l->mode->cs_limit != UINT32_MAX)
        emit_limit_check(l, 0, l->mode->cs_limit, 1);
}

static bool through_limited(struct lowering *l, unsigned seg, unsigned size, struct mem *m)
{
    size_t slot = seg * sizeof(struct segment);
    if (!size)
        return false;
    emit_lea(&l->e, H_R8, m);
    emit_limit_check(l, (int)(SLOT(seg[0].limit) + slot), 0, size);
    emit_load_slot(&l->e, H_R9, SLOT(seg[0].base) + slot);
    *m = (struct mem){.base = H_R8, .index = H_R9, .scale = 1};
    return true;
}

static bool through_segment(struct lowering *l, unsigned seg, bool write, unsigned size,
                            struct mem *m)
{
    if (l->mode->seg_class[seg] == SEGC_CHECKED || (write && seg == SEG_CS))
        return false;
    if (l->mode->seg_class[seg] == SEGC_LIMITED)
        return through_limited(l, seg, size, m);
    if (l->mode->seg_class[seg] == SEGC_BASED)
        add_segment_base(l, m, seg);
    return true;
}

/* Addresses into the view. A single register and a displacement are added to r14, its base. That
 * does not wrap at 4 GiB: what should have wrapped meets guard space, and the instruction becomes
 * soft if it does so often; large negative displacements are a kernel's addresses, which always
 * wrap. All else goes through GS with a 32-bit address: that costs a load two cycles of latency and
 * halves the rate of stores, but a LEA before would cost more. */
#define WRAPS_BELOW (-(1 << 20))

static void into_view(const struct lowering *l, struct mem *m)
{
    if (m->index != H_NONE || (m->base == H_NONE ? m->disp < 0 : m->disp < WRAPS_BELOW) ||
        l->no_rex) {
        m->gs = m->a32 = true;
        return;
    }
    m->index = m->base;
    m->base = H_VIEW;
    m->scale = 1;
}

/* BT and kin with a bit offset in a register reach beyond their operand: no limit can be checked.
 */
static unsigned checked_size(const struct insn *i)
{
    bool bit_string = (i->op == OP_BT || i->op == OP_BTS || i->op == OP_BTR || i->op == OP_BTC) &&
                      i->opnd[1].kind == OPND_REG;
    return bit_string ? 0 : i->mem_size;
}

static bool address_of(struct lowering *l, const struct insn *i, int32_t extra, struct mem *m)
{
    if (i->addrsize != 4)
        return false;
    *m = (struct mem){
        .base = host_index(i->mem_base),
        .index = host_index(i->mem_index),
        .scale = i->mem_scale,
        .disp = (int32_t)((uint32_t)i->disp + (uint32_t)extra),
    };
    if (i->mem_base == R_ESP)
        m->disp = (int32_t)((uint32_t)m->disp + (uint32_t)l->pending);
    return through_segment(l, i->mem_seg, insn_writes_memory(i), checked_size(i), m);
}

bool lower_address(struct lowering *l, const struct insn *i, struct mem *m)
{
    return address_of(l, i, 0, m);
}

bool lower_operand(struct lowering *l, const struct insn *i, int32_t extra, struct mem *m)
{
    if (!address_of(l, i, extra, m))
        return false;
    into_view(l, m);
    return true;
}

bool lower_stack_operand(struct lowering *l, unsigned base, int32_t disp, struct mem *m)
{
    *m = (struct mem){.base = (uint8_t)base, .index = H_NONE, .disp = disp};
    if (base == H_ESP)
        m->disp += l->pending;
    if (!through_segment(l, SEG_SS, true, 4, m))
        return false;
    into_view(l, m);
    return true;
}

void lower_branch(struct lowering *l, int cc, bool is_call, uint32_t target)
{
    uint32_t id;
    struct exit_record *x = cache_add_exit(l->cache, l->block, &id);
    const uint8_t *nowhere = l->pads->exit; /* the stub's address is set when it is made */
    uint8_t *disp = is_call   ? emit_call(&l->e, nowhere)
                    : cc >= 0 ? emit_jcc(&l->e, (unsigned)cc, nowhere)
                              : emit_jmp(&l->e, nowhere);
    x->kind = EXIT_BRANCH;
    x->is_call = is_call;
    x->eip = target;
    x->host = (uint32_t)(disp - cache_code(l->cache)->rw);
    CHECK(l->stub_count < BLOCK_BRANCHES_MAX);
    l->stub_exits[l->stub_count++] = id;
}

/* One copy serves all call-outs of the instruction. */
static struct insn *keep_insn(struct lowering *l)
{
    if (l->at->insn.info && !l->at->kept)
        l->at->kept = cache_add_insn(l->cache, &l->at->insn);
    return l->at->kept;
}

void lower_callout(struct lowering *l, uint32_t resume)
{
    uint32_t id;
    struct exit_record *x = cache_add_exit(l->cache, l->block, &id);
    emit_mov_imm(&l->e, H_R8, id);
    emit_jmp(&l->e, l->pads->exit);
    x->kind = EXIT_CALLOUT;
    x->soft = l->soft;
    x->eip = l->at->eip;
    x->insn = keep_insn(l);
    x->host = resume == CALLOUT_RESUME ? (uint32_t)(l->e.p - cache_code(l->cache)->rw) : resume;
}

/* Probes the jump cache for the guest address in r8d:
 *     mov   r9, rcx
 *     movzx r10d, r8w
 *     lea   r10d, [r10 + r10]         entries are 16 bytes
 *     mov   rcx, [r15 + jump_tag]
 *     lea   rcx, [rcx + r8]           tag and address
 *     mov   r11, [r13 + r10*8]
 *     lea   rcx, [rcx + r11]          zero if the keys are equal
 *     jrcxz hit
 *     mov   rcx, r9
 *     jmp   miss
 * hit: mov  rcx, r9
 *     jmp   [r13 + r10*8 + 8]  */
static void emit_probe(struct emitter *e)
{
    emit_mov64(e, H_R9, H_RCX);
    emit_reg(e, (struct opc){0, 1, 0xb7}, H_R10, H_R8);
    emit_lea(e, H_R10, &(struct mem){.base = H_R10, .index = H_R10, .scale = 1});
    emit_load_slot64(e, H_RCX, SLOT(hot.jump_tag));
    emit_lea64(e, H_RCX, &(struct mem){.base = H_RCX, .index = H_R8, .scale = 1});
    emit_mem(e, (struct opc){PFX_W, 0, 0x8b}, H_R11,
             &(struct mem){.base = H_JCACHE, .index = H_R10, .scale = 8});
    emit_lea64(e, H_RCX, &(struct mem){.base = H_RCX, .index = H_R11, .scale = 1});
}

void lower_indirect(struct lowering *l, bool call)
{
    struct emitter *e = &l->e;
    struct mem host = {.base = H_JCACHE, .index = H_R10, .scale = 8, .disp = 8};
    emit_probe(e);
    uint8_t *hit = emit_jrcxz(e);
    emit_mov64(e, H_RCX, H_R9);
    uint8_t *over = NULL;
    if (call) { /* the miss, too, must push a return address */
        emit_call(e, l->pads->indirect);
        over = emit_jmp8(e);
    } else {
        emit_jmp(e, l->pads->indirect);
    }
    emit_land8(e, hit);
    emit_mov64(e, H_RCX, H_R9);
    emit_mem(e, (struct opc){0, 0, 0xff}, call ? 2 : 4, &host);
    if (over)
        emit_land8(e, over);
}

static uint16_t host_here(const struct lowering *l)
{
    return (uint16_t)(l->e.p - (cache_code(l->cache)->rw + l->block->host));
}

void lower_mark_restart(struct lowering *l)
{
    *cache_add_mark(l->cache, l->block) = (struct insn_mark){
        .host = host_here(l),
        .guest = (uint16_t)(l->at->eip - l->block->eip) & 0xfff,
        .flags = MARK_INSIDE | MARK_RESTART,
    };
}

lower_fn *const lower_ops[OP_COUNT] = {
    [OP_INC] = lower_inc_dec,
    [OP_DEC] = lower_inc_dec,
    [OP_XLAT] = lower_xlat,
    [OP_MOV_FROM_SEG] = lower_mov_from_seg,
    [OP_RDTSC] = lower_rdtsc,
    [OP_RDTSCP] = lower_rdtsc,
    [OP_PUSH] = lower_push,
    [OP_POP] = lower_pop,
    [OP_PUSH_SEG] = lower_push_seg,
    [OP_PUSHA] = lower_pusha,
    [OP_POPA] = lower_popa,
    [OP_LEAVE] = lower_leave,
    [OP_PUSHF] = lower_pushf,
    [OP_POPF] = lower_popf,
    [OP_CLI] = lower_cli,
    [OP_STI] = lower_sti,
    [OP_JMP] = lower_jmp,
    [OP_JCC] = lower_jcc,
    [OP_JCXZ] = lower_jcxz,
    [OP_LOOP] = lower_loop,
    [OP_LOOPE] = lower_loop,
    [OP_LOOPNE] = lower_loop,
    [OP_CALL] = lower_call,
    [OP_CALL_IND] = lower_call_indirect,
    [OP_JMP_IND] = lower_jmp_indirect,
    [OP_RET] = lower_ret,
    [OP_MOVS] = lower_string,
    [OP_STOS] = lower_string,
    [OP_LODS] = lower_string,
    [OP_SCAS] = lower_string,
    [OP_CMPS] = lower_string,
};
