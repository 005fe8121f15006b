/* SPDX-License-Identifier: MIT */
/* fuzz_linux.c: any bytes behind a bzImage's signatures, as kernel and as its initial RAM disk. */
#include "tests/fuzz/boot_target.h"

#include <string.h>

#define IMAGE_MAX 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t image[IMAGE_MAX];
    if (size > sizeof image)
        return 0;
    memcpy(image, data, size);
    if (size > 0x206) {
        memcpy(image + 0x1fe, "\x55\xaa", 2);
        memcpy(image + 0x202, "HdrS", 4);
    }
    fuzz_boot(image, size);
    return 0;
}
