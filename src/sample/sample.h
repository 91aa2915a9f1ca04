/* sample.h: logits to a token id; seeded, pure: the same options, seed, position, history and logits give the same token.
 *
 * sample_draw.c  biases and penalties, the cuts, the draw, log-probabilities     sample_best.c  the k best of a stream of logits
 * sample_rule.c  options as the numbers that shaders/shared/draw.h works with: what host and device have in common
 *
 * Order of work: biases, penalties, temperature, top-k, top-p, min-p, draw with a counter-based generator of (seed, position).
 * temperature 0 is argmax, the lowest id on a tie. */
#ifndef SMT_SAMPLE_H
#define SMT_SAMPLE_H

#include "base/base.h"

#define SMT_SAMPLE_REPEAT_LAST 64 /* what smt_sampler_options.repeat_last 0 means */

/* Work space of one draw; both arrays are caller-owned and hold nothing between draws. */
typedef struct smt_sample_scratch {
    float *logits;           /* [n_vocab] */
    smt_token_logprob *best; /* [n_vocab] */
} smt_sample_scratch;

/* SMT_INVALID names the option and its value. */
smt_status smt_sample_check(const smt_sampler_options *options, smt_error *err);

/* `options` have passed smt_sample_check. SMT_INTERNAL when no logit is finite; SMT_INVALID names a token of the history or of the
 * biases that is outside the vocabulary. */
smt_status smt_sample_draw(const smt_sampler_options *options, const smt_draw *draw, const smt_sample_scratch *scratch,
                           int32_t *out_token, smt_error *err);

/* ---- the best of many (sample_best.c) ---- */

/* Keeps the `capacity` best of the values offered: greater first, the lower id first among equals. `logprob` holds any value. */
typedef struct smt_sample_best {
    smt_token_logprob *entries; /* [capacity], borrowed: a heap with the worst one kept at entries[0] */
    uint32_t n, capacity;
} smt_sample_best;
void smt_sample_offer(smt_sample_best *best, int32_t token, float value);
/* The best first. Nothing can be offered afterwards. */
void smt_sample_sort(smt_sample_best *best);

/* ---- the choice among few (sample_rule.c): argmax, and draws from the DRAW_MOST best at most ----
 * Made by the integer arithmetic of shaders/shared/draw.h, on the host here and on the device by sample_draw.comp, with the same result. */
typedef struct smt_sample_rule {
    uint32_t top_k; /* 1: argmax */
    float inverse;  /* of the temperature */
    uint32_t top_p, min_p, seed_low, seed_high;
} smt_sample_rule;
/* False where the options draw from more candidates than that. */
bool smt_sample_make_rule(const smt_sampler_options *options, smt_sample_rule *out);
/* Whether the options ask for nothing but the rule: then logits need not come to the host. */
bool smt_sample_only_rule(const smt_sampler_options *options, smt_sample_rule *out);
/* The token among the best, of which there is one at least, sorted. `best` holds logits. */
int32_t smt_sample_by_rule(const smt_sample_rule *rule, const smt_sample_best *best, uint64_t position);
/* Uniform in [0, 1) from (seed, position), in steps of 2^-32; positions count modulo 2^32. */
double smt_sample_uniform(uint64_t seed, uint64_t position);

#endif
