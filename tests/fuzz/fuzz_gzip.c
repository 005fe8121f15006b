/* SPDX-License-Identifier: MIT */
/* fuzz_gzip.c: any bytes as a kernel file, compressed ones too: the outermost layer. */
#include "tests/fuzz/boot_target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_boot(data, size);
    return 0;
}
