/* SPDX-License-Identifier: MIT */
/* decode_dump.h: host code as text, for --dump host. */
#ifndef RINGDOWN_TRANSLATOR_DECODE_DUMP_H
#define RINGDOWN_TRANSLATOR_DECODE_DUMP_H

#include <stdint.h>
#include <stdio.h>

void dump_host_code(FILE *out, const uint8_t *code, uint32_t size);

#endif
