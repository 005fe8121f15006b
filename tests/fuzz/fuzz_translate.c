/* SPDX-License-Identifier: MIT */
/* fuzz_translate.c: any bytes as a guest's code page, in any mode: translated from several starts.
 * Every block is verified as it is made; one that the verifier refuses is a bug of the translator
 * (or of the verifier), unless the guest gets it to run. */
#include "tests/fuzz/fuzz.h"

#include "runtime/bt_state.h"
#include "runtime/phys.h"

#include <string.h>

#define STARTS 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct machine *m = fuzz_machine(ENGINE_BT);
    struct vcpu *v = m->vcpu;
    struct bt *bt = v->bt;
    static uint8_t code[2 * 4096];
    if (size < 3)
        return 0;
    uint32_t at = (data[1] | (uint32_t)data[2] << 8) % 4096;
    size_t n = size - 3 < sizeof code - at ? size - 3 : sizeof code - at;
    memset(code, 0x90, sizeof code);
    memcpy(code + at, data + 3, n);
    fuzz_processor(m);
    fuzz_mode(m, data[0]);
    phys_dma_write(m->phys, FUZZ_CODE, code, sizeof code);
    /* A volatile count, since a start may raise and come back by the setjmp. */
    volatile uint32_t start = 0;
    (void)_setjmp(v->fault_jmp);
    while (start < STARTS) {
        uint32_t step = start++;
        v->exc.pending = false;
        (void)bt_reclaim(bt);
        if (!bt_update_mode(bt))
            break;
        (void)bt_lookup(bt, (FUZZ_CODE - v->seg[SEG_CS].base) + at + step);
    }
    if (translator_counters(bt->translator)->refused)
        fuzz_fail("a block was refused");
    return 0;
}
