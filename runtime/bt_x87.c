/* SPDX-License-Identifier: MIT */
/* bt_x87.c: the x87 unit's pointers to its last instruction and operand, after translated code.
 *
 * The host's own pointers (SDM vol. 1, 8.1.8) name the instruction in code memory and the operand
 * in a view: fpu.c asks here when a guest wants to see them. */
#include "runtime/bt_state.h"

#include "runtime/fpu.h"
#include "runtime/machine.h"
#include "runtime/phys.h"

#define ESCAPE_FIRST 0xd8u /* opcodes of the x87 */
#define ESCAPE_LAST  0xdfu
#define OP_BYTES_MAX 15u

/* An instruction as its bytes tell. */
struct x87_insn {
    uint16_t fop;
    bool has_mem;
    uint8_t seg;
};

/* The guest's bytes from `la` on, as far as the block's pages go. */
static unsigned read_code(const struct bt *bt, const struct block *b, uint32_t la,
                          uint8_t bytes[OP_BYTES_MAX])
{
    unsigned n = 0;
    for (; n < OP_BYTES_MAX; n++) {
        const struct code_page *page = (la + n) >> 12 == b->page->la >> 12 ? b->page : b->page2;
        const uint8_t *hva = page ? phys_hva(bt->v->machine->phys, page->gfn) : NULL;
        if (!hva)
            break;
        bytes[n] = hva[(la + n) & 0xfff];
    }
    return n;
}

/* The segment of a prefix byte; -1: it names none; -2: it is no prefix. */
static int prefix_segment(uint8_t byte)
{
    switch (byte) {
    case 0x26:
        return SEG_ES;
    case 0x2e:
        return SEG_CS;
    case 0x36:
        return SEG_SS;
    case 0x3e:
        return SEG_DS;
    case 0x64:
        return SEG_FS;
    case 0x65:
        return SEG_GS;
    case 0x66:
    case 0x67:
    case 0xf2:
    case 0xf3:
        return -1;
    default:
        return -2;
    }
}

/* Whether a memory operand is by EBP or ESP (vol. 2, tables 2-1 to 2-3). */
static bool is_stack_operand(uint8_t modrm, uint8_t sib, bool address16)
{
    unsigned mod = modrm >> 6, rm = modrm & 7, base = sib & 7;
    if (address16)
        return rm == 2 || rm == 3 || (rm == 6 && mod);
    if (rm == 4)
        return base == 4 || (base == 5 && mod);
    return rm == 5 && mod;
}

static bool parse(const uint8_t *bytes, unsigned n, struct x87_insn *i)
{
    int segment = -1, prefix;
    bool address16 = false;
    unsigned at = 0;
    for (; at < n && (prefix = prefix_segment(bytes[at])) != -2; at++) {
        segment = prefix >= 0 ? prefix : segment;
        address16 |= bytes[at] == 0x67;
    }
    if (at + 2 >= n || bytes[at] < ESCAPE_FIRST || bytes[at] > ESCAPE_LAST)
        return false;
    uint8_t modrm = bytes[at + 1];
    i->fop = (uint16_t)((bytes[at] & 7) << 8 | modrm);
    i->has_mem = modrm < 0xc0;
    bool stack = is_stack_operand(modrm, bytes[at + 2], address16);
    i->seg = (uint8_t)(segment >= 0 ? segment : stack ? SEG_SS : SEG_DS);
    return true;
}

bool bt_locate_x87(struct vcpu *v, const struct fpu_pointers *host)
{
    struct bt *bt = v->bt;
    struct recovery r;
    struct x87_insn i;
    uint8_t bytes[OP_BYTES_MAX];
    if (!bt)
        return false;
    const struct code_memory *code = cache_code(bt->cache);
    uint64_t fip = fpu_pointer_from(host, host->fip, (uint64_t)code->rx);
    if (!code_memory_holds(code, fip) || !bt_recover(bt, fip, &r))
        return false;
    const struct mode *mode = cache_mode(bt->cache, r.block->mode);
    if (!parse(bytes, read_code(bt, r.block, mode->cs_base + r.eip, bytes), &i))
        return false;
    v->fx.fip = r.eip;
    v->fx.fop = i.fop;
    if (mode->cpl == v->cpl) /* else the selector is from another time */
        v->fx.fcs = v->seg[SEG_CS].sel;
    bool known = host->narrow ? host->fdp : views_hold(bt->views, host->fdp);
    if (i.has_mem && known) {
        v->fx.fdp = (uint32_t)host->fdp - v->seg[i.seg].base; /* views are aligned to their size */
        v->fx.fds = v->seg[i.seg].sel;
    }
    return true;
}
