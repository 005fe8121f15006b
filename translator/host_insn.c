/* SPDX-License-Identifier: MIT */
/* host_insn.c: which instructions of translated code may raise an exception, by capstone: a reading
 * that shares nothing with the emitter. */
#include "translator/host_insn.h"

#include <capstone/capstone.h>
#include <stdio.h>
#include <stdlib.h>

struct host_decoder {
    csh handle;
    cs_insn *insn;
};

void host_decoder_destroy(struct host_decoder *d)
{
    if (!d)
        return;
    if (d->insn)
        cs_free(d->insn, 1);
    cs_close(&d->handle);
    free(d);
}

struct host_decoder *host_decoder_create(void)
{
    struct host_decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &d->handle) != CS_ERR_OK) {
        free(d);
        return NULL;
    }
    cs_option(d->handle, CS_OPT_DETAIL, CS_OPT_ON);
    d->insn = cs_malloc(d->handle);
    if (d->insn)
        return d;
    host_decoder_destroy(d);
    return NULL;
}

/* Not guest memory: the context, the jump cache with the words of gates, the return stack, and the
 * lines of code that a soft write looks up (translator/lower_soft.c). */
static bool monitors_own(const x86_op_mem *m)
{
    if (m->segment != X86_REG_INVALID)
        return false;
    return m->base == X86_REG_R15 || m->base == X86_REG_R13 || m->base == X86_REG_RSP ||
           (m->base == X86_REG_RCX && m->index == X86_REG_R11);
}

static bool is_float(const cs_detail *detail)
{
    for (unsigned i = 0; i < detail->groups_count; i++)
        switch (detail->groups[i]) {
        case X86_GRP_FPU:
        case X86_GRP_MMX:
        case X86_GRP_SSE1:
        case X86_GRP_SSE2:
        case X86_GRP_SSE3:
        case X86_GRP_SSSE3:
        case X86_GRP_SSE41:
        case X86_GRP_SSE42:
        case X86_GRP_AES:
        case X86_GRP_PCLMUL:
            return true;
        default:
            break;
        }
    return false;
}

static bool may_fault(const cs_insn *insn)
{
    const cs_x86 *x = &insn->detail->x86;
    switch (insn->id) {
    case X86_INS_LEA:
    case X86_INS_NOP:
        return false;
    case X86_INS_DIV:
    case X86_INS_IDIV:
    case X86_INS_UD2:
    case X86_INS_INT3:
    case X86_INS_HLT:
        return true;
    default:
        break;
    }
    for (unsigned i = 0; i < x->op_count; i++)
        if (x->operands[i].type == X86_OP_MEM && !monitors_own(&x->operands[i].mem))
            return true;
    return is_float(insn->detail);
}

bool host_decoder_may_fault(struct host_decoder *d, const uint8_t *code, size_t size,
                            uint64_t address, char *text, size_t text_size)
{
    if (!cs_disasm_iter(d->handle, &code, &size, &address, d->insn)) {
        snprintf(text, text_size, "?");
        return true;
    }
    snprintf(text, text_size, "%s %s", d->insn->mnemonic, d->insn->op_str);
    return may_fault(d->insn);
}
