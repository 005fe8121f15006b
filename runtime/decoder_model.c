/* SPDX-License-Identifier: MIT */
/* decoder_model.c: a decoder for what the machine's processor model offers. It stands here because
 * the translator's folder knows features but no models. */
#include "translator/insn.h"

#include "runtime/system.h"

_Static_assert(FEAT_NEVER < 32, "a set of features is a word");

struct decoder *decoder_create(const struct cpu_model *model)
{
    uint32_t features = 1u << FEAT_BASE;
    for (unsigned f = 0; f < FEAT_NEVER; f++) {
        if (!model || cpu_has(model, (enum cpu_feature)f))
            features |= 1u << f;
    }
    return decoder_create_features(features);
}
