/* SPDX-License-Identifier: MIT */
/* host_insn.h: one instruction of translated code, as capstone reads it: its text, and whether it
 * may raise an exception that is the guest's business.
 *
 *     d = host_decoder_create();
 *     host_decoder_may_fault(d, code, size, address, text, sizeof(text));
 *     host_decoder_destroy(d); */
#ifndef RINGDOWN_TRANSLATOR_HOST_INSN_H
#define RINGDOWN_TRANSLATOR_HOST_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host_decoder;

/* NULL: out of memory. */
struct host_decoder *host_decoder_create(void);
void host_decoder_destroy(struct host_decoder *d);
/* False only for what is known not to: no access but to the vCPU's context, the jump cache and the
 * stack of host return addresses; no division; nothing of x87, MMX or SSE. */
bool host_decoder_may_fault(struct host_decoder *d, const uint8_t *code, size_t size,
                            uint64_t address, char *text, size_t text_size);

#endif
