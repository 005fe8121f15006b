/* SPDX-License-Identifier: MIT */
/* decode_text.h: capstone's reading of instructions. */
#ifndef RINGDOWN_TRANSLATOR_DECODE_TEXT_H
#define RINGDOWN_TRANSLATOR_DECODE_TEXT_H

#include "translator/insn.h"

struct decode_text;
struct decode_text *decode_text_create(void);
void decode_text_destroy(struct decode_text *t);
/* What capstone holds for the length of the instruction that begins at bytes; 0 if it knows none.
 */
unsigned decode_text_length(struct decode_text *t, const uint8_t *bytes, unsigned n, bool code32);
/* Intel-syntax text of i at pc into buf; false if capstone knows none. */
bool decode_text_format(struct decode_text *t, const struct insn *i, uint32_t pc, bool code32,
                        char *buf, unsigned size);

#endif
