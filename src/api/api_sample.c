/* api_sample.c: smt_sampler_*: checks and copies the options once and keeps the scratch memory between draws; the drawing itself
 * is the pure function of src/sample. One thread at a time, because of the scratch. */
#include "api_engine.h"

#include <string.h>

smt_status smt_sampler_create(const smt_sampler_options *options, smt_sampler **out_sampler, smt_error *err) {
    *out_sampler = NULL;
    smt_sampler_options known;
    SMT_TRY(smt_api_copy_options(&known, sizeof known, options, "smt_sampler_options", err));
    SMT_TRY(smt_sample_check(&known, err));
    smt_sampler *sampler = smt_alloc(1, sizeof *sampler);
    smt_logit_bias *biases = smt_alloc(known.n_biases, sizeof *biases);
    if (!sampler || !biases) {
        smt_free(sampler);
        smt_free(biases);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory making a sampler with %u biases", known.n_biases);
    }
    if (known.n_biases) memcpy(biases, known.biases, known.n_biases * sizeof *biases);
    known.biases = biases;
    sampler->options = known;
    sampler->biases = biases;
    *out_sampler = sampler;
    return SMT_OK;
}

void smt_sampler_free(smt_sampler *sampler) {
    if (!sampler) return;
    smt_free(sampler->biases);
    smt_free(sampler->scratch.logits);
    smt_free(sampler->scratch.best);
    smt_free(sampler);
}

smt_status smt_sampler_draw(smt_sampler *sampler, const smt_draw *draw, int32_t *out_token, smt_error *err) {
    *out_token = 0;
    smt_draw d;
    SMT_TRY(smt_api_copy_options(&d, sizeof d, draw, "smt_draw", err));
    if (!d.logits || d.n_vocab == 0) return SMT_FAIL(err, SMT_INVALID, "no logits to draw from (%u of them)", d.n_vocab);
    if (d.n_top && !d.top) return SMT_FAIL(err, SMT_INVALID, "smt_draw.top is NULL, n_top %u", d.n_top);
    smt_sample_scratch *scratch = &sampler->scratch;
    SMT_TRY(smt_grow((void **)&scratch->logits, &sampler->n_logits, d.n_vocab, sizeof *scratch->logits, err));
    SMT_TRY(smt_grow((void **)&scratch->best, &sampler->n_best, d.n_vocab, sizeof *scratch->best, err));
    return smt_sample_draw(&sampler->options, &d, scratch, out_token, err);
}
