/* SPDX-License-Identifier: MIT */
/* fuzz_decode.c: any bytes through the decoder. A prefix of what decodes must ask for more bytes or
 * be an instruction of its own, a length never exceeds what was given, and bytes behind an
 * instruction change nothing. */
#include "tests/fuzz/fuzz.h"
#include "translator/insn.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct decoder *d;
    uint8_t padded[INSN_MAX_LENGTH];
    struct insn full, again;
    char text[128];
    if (!d)
        d = decoder_create_features(~0u);
    if (!d || size < 2)
        return 0;
    bool code32 = data[0] & 1;
    unsigned n = size - 1 < INSN_MAX_LENGTH ? (unsigned)size - 1 : INSN_MAX_LENGTH;
    enum decode_status status = decode(d, data + 1, n, code32, &full);
    if (status == DECODE_TRUNCATED)
        return 0;
    if (!full.info)
        fuzz_fail("no table row");
    if (status != DECODE_OK)
        return 0;
    if (!full.length || full.length > n)
        fuzz_fail("length %u of %u", full.length, n);
    decode_format(d, &full, 0x1000, code32, text, sizeof text);
    memset(padded, 0xff, sizeof padded);
    memcpy(padded, data + 1, full.length);
    if (decode(d, padded, INSN_MAX_LENGTH, code32, &again) != DECODE_OK ||
        again.length != full.length || again.op != full.op || again.imm != full.imm ||
        again.disp != full.disp)
        fuzz_fail("what follows matters: %s", text);
    for (unsigned part = 1; part < full.length; part++)
        if (decode(d, data + 1, part, code32, &again) == DECODE_OK)
            fuzz_fail("%u of %u bytes are an instruction: %s", part, full.length, text);
    return 0;
}
