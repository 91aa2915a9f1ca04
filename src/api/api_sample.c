/* api_sample.c: smt_sampler_*: checks the options once and keeps the scratch memory between draws; the drawing itself is the pure
 * function of src/sample. One thread at a time, because of the scratch. */
#include "api_internal.h"
#include "sample/sample.h"

#include <math.h>

struct smt_sampler {
    smt_sampler_options options;
    smt_sample_entry *scratch; /* owned, [n_scratch], grown to the largest vocabulary seen */
    size_t n_scratch;
};

static smt_status check_range(const char *name, float value, float high, smt_error *err) {
    if (isfinite(value) && value >= 0 && value <= high) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "%s is %g; it must lie between 0 and %g", name, (double)value, (double)high);
}

static smt_status check(const smt_sampler_options *options, smt_error *err) {
    SMT_TRY(check_range("temperature", options->temperature, 1e6f, err));
    SMT_TRY(check_range("top_p", options->top_p, 1, err));
    SMT_TRY(check_range("min_p", options->min_p, 1, err));
    return check_range("repeat_penalty", options->repeat_penalty, 1e6f, err);
}

smt_status smt_sampler_create(const smt_sampler_options *options, smt_sampler **out_sampler, smt_error *err) {
    *out_sampler = NULL;
    smt_sampler_options known;
    SMT_TRY(smt_api_copy_options(&known, sizeof known, options, "smt_sampler_options", err));
    SMT_TRY(check(&known, err));
    if (known.repeat_last == 0) known.repeat_last = 64;
    smt_sampler *sampler = smt_alloc(1, sizeof *sampler);
    if (!sampler) return SMT_FAIL(err, SMT_MEMORY, "out of memory making a sampler");
    sampler->options = known;
    *out_sampler = sampler;
    return SMT_OK;
}

void smt_sampler_free(smt_sampler *sampler) {
    if (!sampler) return;
    smt_free(sampler->scratch);
    smt_free(sampler);
}

smt_status smt_sampler_draw(smt_sampler *sampler, const float *logits, uint32_t n_vocab, const int32_t *history, size_t n_history,
                            uint64_t position, int32_t *out_token, smt_error *err) {
    *out_token = 0;
    if (!logits || n_vocab == 0) return SMT_FAIL(err, SMT_INVALID, "no logits to draw from (%u of them)", n_vocab);
    SMT_TRY(smt_grow((void **)&sampler->scratch, &sampler->n_scratch, n_vocab, sizeof *sampler->scratch, err));
    return smt_sample_draw(&sampler->options, logits, n_vocab, history, history ? n_history : 0, position, sampler->scratch,
                           out_token, err);
}
