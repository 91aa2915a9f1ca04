/* sample.h: logits to a token id; seeded, pure: the same options, seed, position and logits give the same token.
 * Order of work: repeat penalty, temperature, top-k, softmax, top-p, min-p, draw with a counter-based generator of
 * (seed, position). temperature 0 is argmax, the lowest id on a tie. */
#ifndef SMT_SAMPLE_H
#define SMT_SAMPLE_H

#include "base/base.h"

typedef struct smt_sample_entry {
    float logit, p;
    int32_t id;
} smt_sample_entry;

/* scratch: [n_vocab] entries, caller-owned. SMT_INTERNAL when no logit is finite. */
smt_status smt_sample_draw(const smt_sampler_options *options, const float *logits, uint32_t n_vocab, const int32_t *history,
                           size_t n_history, uint64_t position, smt_sample_entry *scratch, int32_t *out_token, smt_error *err);
/* Uniform in [0, 1) from (seed, position): a stateless 64-bit mix. */
double smt_sample_uniform(uint64_t seed, uint64_t position);

#endif
