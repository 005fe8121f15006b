/* SPDX-License-Identifier: MIT */
/* decode_dump.c: host code -> text, by capstone. */
#include "translator/decode_dump.h"

#include <capstone/capstone.h>
#include <inttypes.h>

void dump_host_code(FILE *out, const uint8_t *code, uint32_t size)
{
    csh handle;
    cs_insn *insns;
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK)
        return;
    size_t n = cs_disasm(handle, code, size, (uint64_t)code, 0, &insns);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "    %012" PRIx64 "  %s %s\n", insns[i].address, insns[i].mnemonic,
                insns[i].op_str);
    if (n)
        cs_free(insns, n);
    cs_close(&handle);
}
