/* SPDX-License-Identifier: MIT */
/* lower_soft.c: memory operands of instructions that keep causing host faults.
 *
 * A view costs nothing while its pages are mapped, and microseconds when one is not. An instruction
 * that keeps meeting such pages -- a kernel's copies from and to user memory, a device's registers,
 * data on a page with code, the first touch of each page of a fresh mapping -- is therefore
 * translated again, as "soft": it probes the interpreter's software TLB itself and calls the
 * interpreter on a miss. The runtime decides which (bt_soft.c), and makes them hard again when the
 * misses stop.
 *
 *     lea  r8d, [address]
 *     mov  r9, rcx
 *     pext r10d, r8d, index mask       entry number, times 32
 *     lea  r10d, [r10*4]
 *     lea  ecx, [r8 + size-1]
 *     pext ecx, ecx, page mask         page number of the last byte
 *     mov  r11d, [r15 + r10*8 + probe] minus the page number if the access may go ahead
 *     lea  ecx, [rcx + r11]
 *     jrcxz hit
 *     mov  rcx, r9
 *     jmp  miss                        out of line: call-out
 * hit: mov rcx, r9
 *     pext r11d, r8d, offset mask
 *     mov  r10, [r15 + r10*8 + host]
 *     op   [r10 + r11]  */
#include "translator/lower.h"

#include "ringdown/cpu.h"

#include <stddef.h>

#define SLOT(member) offsetof(struct vcpu, member)

_Static_assert(sizeof(struct tlb_entry) == 32, "the probe multiplies by 32");

/* pext dst, src, [r15 + off] */
static void emit_pext(struct emitter *e, unsigned dst, unsigned src, size_t off)
{
    emit_u8(e, 0xc4);
    emit_u8(e, (uint8_t)((dst < 8 ? 0x80 : 0) | 0x40 | 0x02));
    emit_u8(e, (uint8_t)((~src & 15) << 3 | 2));
    emit_u8(e, 0xf5);
    emit_u8(e, (uint8_t)(0x80 | (dst & 7) << 3 | (H_VCPU & 7)));
    emit_u32(e, (uint32_t)off);
}

/* A write that missed: does the page hold code, but not here? Two neighbouring lines are looked at,
 * since the operand may reach into the second. Returns the jump to the access.
 *     lea  ecx, [r8 + size-1]
 *     pext ecx, ecx, page mask
 *     mov  r11d, [r15 + r10 + mixed]
 *     lea  ecx, [rcx + r11]
 *     jrcxz known
 * miss: mov rcx, r9
 *     jmp  call-out
 * known: mov r11d, [r15 + r10*8 + gfn]
 *     mov  rcx, [r15 + code_lines]
 *     mov  r11, [rcx + r11*8]
 *     rorx ecx, r8d, 6
 *     shrx rcx, r11, rcx
 *     pext ecx, ecx, 3
 *     jrcxz hit
 *     jmp  miss  */
static uint8_t *emit_mixed_probe(struct lowering *l, const struct insn *i, bool user)
{
    static const uint8_t line_bits[] = {
        0xc4, 0xc3, 0x7b, 0xf0, 0xc8, 0x06, /* rorx ecx, r8d, 6 */
        0xc4, 0xc2, 0xf3, 0xf7, 0xcb,       /* shrx rcx, r11, rcx */
    };
    struct emitter *e = &l->e;
    size_t entry = SLOT(tlb) + (user ? sizeof(struct tlb_entry) * TLB_SIZE : 0);
    size_t mixed = SLOT(tlb_mixed) + (user ? sizeof(uint32_t) * TLB_SIZE : 0);
    emit_add_imm(e, H_RCX, H_R8, i->mem_size - 1);
    emit_pext(e, H_RCX, H_RCX, SLOT(hot.tlb_page_mask));
    emit_load(e, H_R11,
              &(struct mem){.base = H_VCPU, .index = H_R10, .scale = 1, .disp = (int32_t)mixed});
    emit_lea(e, H_RCX, &(struct mem){.base = H_RCX, .index = H_R11, .scale = 1});
    uint8_t *known = emit_jrcxz(e);
    const uint8_t *miss = emit_here(e);
    emit_mov64(e, H_RCX, H_R9);
    lower_late_callout(l);
    emit_land8(e, known);
    emit_load(e, H_R11,
              &(struct mem){.base = H_VCPU,
                            .index = H_R10,
                            .scale = 8,
                            .disp = (int32_t)(entry + offsetof(struct tlb_entry, gfn))});
    emit_load_slot64(e, H_RCX, SLOT(hot.code_lines));
    emit_mem(e, (struct opc){PFX_W, 0, 0x8b}, H_R11,
             &(struct mem){.base = H_RCX, .index = H_R11, .scale = 8});
    emit_bytes(e, line_bits, sizeof(line_bits));
    emit_pext(e, H_RCX, H_RCX, SLOT(hot.three));
    uint8_t *hit = emit_jrcxz(e);
    emit_jmp(e, miss);
    return hit;
}

/* Whether the instruction is one whose operand can be probed for. */
static bool possible(const struct insn *i)
{
    bool bit_string = (i->op == OP_BT || i->op == OP_BTS || i->op == OP_BTR || i->op == OP_BTC) &&
                      i->opnd[1].kind == OPND_REG;
    return i->mem_size && i->mem_size <= 16 && !bit_string && __builtin_cpu_supports("bmi2");
}

bool lower_soft_operand(struct lowering *l, const struct insn *i, struct mem *m)
{
    struct emitter *e = &l->e;
    struct mem address;
    if (!possible(i) || !lower_address(l, i, &address))
        return false;
    bool user = l->mode->cpl == 3;
    size_t entry = SLOT(tlb) + (user ? sizeof(struct tlb_entry) * TLB_SIZE : 0);
    size_t probe = offsetof(struct tlb_entry, probe) + (insn_writes_memory(i) ? 4 : 0);
    struct mem at = {.base = H_VCPU, .index = H_R10, .scale = 8};
    emit_lea(e, H_R8, &address);
    emit_mov64(e, H_R9, H_RCX);
    emit_pext(e, H_R10, H_R8, SLOT(hot.tlb_index_mask));
    emit_lea(e, H_R10, &(struct mem){.base = H_NONE, .index = H_R10, .scale = 4});
    emit_add_imm(e, H_RCX, H_R8, i->mem_size - 1);
    emit_pext(e, H_RCX, H_RCX, SLOT(hot.tlb_page_mask));
    at.disp = (int32_t)(entry + probe);
    emit_load(e, H_R11, &at);
    emit_lea(e, H_RCX, &(struct mem){.base = H_RCX, .index = H_R11, .scale = 1});
    uint8_t *hit = emit_jrcxz(e);
    if (insn_writes_memory(i)) {
        emit_land8(e, emit_mixed_probe(l, i, user));
    } else {
        emit_mov64(e, H_RCX, H_R9);
        lower_late_callout(l);
    }
    emit_land8(e, hit);
    emit_mov64(e, H_RCX, H_R9);
    emit_pext(e, H_R11, H_R8, SLOT(hot.tlb_offset_mask));
    at.disp = (int32_t)(entry + offsetof(struct tlb_entry, host));
    emit_mem(e, (struct opc){PFX_W, 0, 0x8b}, H_R10, &at);
    *m = (struct mem){.base = H_R10, .index = H_R11, .scale = 1};
    return true;
}
