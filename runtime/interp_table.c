/* SPDX-License-Identifier: MIT */
/* interp_table.c: operation -> handler, from the three parts of the interpreter. */
#include "runtime/interp_cache.h"
#include "runtime/interp_handlers.h"

interp_fn *const interp_int_ops[OP_COUNT] = {
#define X(op, handler) [OP_##op] = handler,
    INTERP_INT_OPS(X)
#undef X
};

interp_fn *interp_handler(enum insn_op op)
{
    if (interp_int_ops[op])
        return interp_int_ops[op];
    if (interp_sys_ops[op])
        return interp_sys_ops[op];
    if (interp_fpu_ops[op])
        return interp_fpu_ops[op];
    return op_ud;
}

/* System operations that leave segments, CPL, paging, and all of EFLAGS that matters between
 * instructions as they are. The others, whatever they be, end a block. */
static const bool harmless[OP_COUNT] = {
    [OP_ARPL] = true,     [OP_CLI] = true,         [OP_CPUID] = true,        [OP_LAR] = true,
    [OP_LSL] = true,      [OP_MOV_FROM_CR] = true, [OP_MOV_FROM_SEG] = true, [OP_PUSHF] = true,
    [OP_PUSH_SEG] = true, [OP_RDPID] = true,       [OP_RDTSCP] = true,       [OP_RDTSC] = true,
    [OP_SGDT] = true,     [OP_SIDT] = true,        [OP_SLDT] = true,         [OP_SMSW] = true,
    [OP_STR] = true,      [OP_VERR] = true,        [OP_VERW] = true,
};

bool interp_changes_mode(enum insn_op op)
{
    return interp_sys_ops[op] && !harmless[op];
}
