/* SPDX-License-Identifier: MIT */
/* pads.c: the few pieces of code at the start of code memory that all blocks share. */
#include "translator/translate.h"

#include "translator/emit.h"
#include "translator/lower.h"

/* jmp [rip + 0]; the absolute address follows. */
static const uint8_t *emit_far_jump(struct emitter *e, uint64_t target)
{
    const uint8_t *here = emit_here(e);
    emit_u8(e, 0xff);
    emit_u8(e, 0x25);
    emit_u32(e, 0);
    emit_u64(e, target);
    return here;
}

void pads_emit(struct cache *cache, uint64_t exit_entry, uint64_t indirect_entry)
{
    struct code_memory *code = cache_code(cache);
    struct pads *pads = cache_pads(cache);
    struct lowering l = {.cache = cache, .pads = pads};
    l.e = (struct emitter){code->rw, code->rx - code->rw};
    pads->exit = emit_far_jump(&l.e, exit_entry);
    pads->indirect = emit_far_jump(&l.e, indirect_entry);
    pads->return_miss = emit_here(&l.e);
    /* The sentinel that the return has popped goes back: lea rsp, [rsp - 8]. */
    emit_lea64(&l.e, H_RSP, &(struct mem){.base = H_RSP, .index = H_NONE, .disp = -8});
    pads->lookup = emit_here(&l.e);
    lower_indirect(&l, false);
    code->used = code->reserved = (size_t)(l.e.p - code->rw);
}
