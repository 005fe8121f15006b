/* SPDX-License-Identifier: MIT */
/* fuzz.h: what the fuzz targets share: a machine, and a reader of the input's bytes.
 *
 * A target is a file fuzz_NAME.c with LLVMFuzzerTestOneInput(). The sanitizers judge; where there
 * is a second opinion (the verifier, a model), the target compares and calls fuzz_fail(). */
#ifndef RINGDOWN_TESTS_FUZZ_FUZZ_H
#define RINGDOWN_TESTS_FUZZ_FUZZ_H

#include "runtime/machine.h"

#include <stddef.h>
#include <stdint.h>

#define FUZZ_RAM  (1ull << 20)
#define FUZZ_CODE 0x10000u /* where a target puts guest code */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The process's one machine, with 1 MiB of RAM, a ROM and time that stands still; made at the first
 * call. */
struct machine *fuzz_machine(enum engine engine);
/* The processor as after RESET, then in flat 32-bit protected mode at FUZZ_CODE, without paging. */
void fuzz_processor(struct machine *m);
/* Real mode, 16-bit segments and CPL 3, by the low bits of `mode`. */
void fuzz_mode(struct machine *m, uint8_t mode);
/* Puts guest memory back to zeros and the devices back to their reset state. */
void fuzz_clean(struct machine *m);

_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Reads zeros when the bytes have run out. */
struct reader {
    const uint8_t *at, *end;
};
uint32_t fuzz_take(struct reader *r, unsigned bytes);

#endif
