/* SPDX-License-Identifier: MIT */
/* fuzz_multiboot.c: any bytes as a Multiboot kernel: header at the front with the right checksum,
 * or anywhere as the input has it, with or without an ELF header before. */
#include "tests/fuzz/boot_target.h"

#include <string.h>

#define IMAGE_MAX 65536u
#define MAGIC     0x1badb002u

static void put_header(uint8_t *at, uint32_t flags)
{
    uint32_t header[3] = {MAGIC, flags, 0u - MAGIC - flags};
    memcpy(at, header, sizeof header);
}

/* The first byte chooses; the rest is the image. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t image[IMAGE_MAX];
    if (size < 80 || size > sizeof image)
        return 0;
    memcpy(image, data + 1, --size);
    uint32_t flags = (uint32_t)(data[0] >> 4) | (data[0] & 4 ? 0x10000u : 0);
    if (data[0] & 1)
        put_header(image + (data[0] & 2 ? 52 : 0), flags);
    if (data[0] & 2)
        memcpy(image,
               "\x7f"
               "ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0\1\0\0",
               24);
    fuzz_boot(image, size);
    return 0;
}
