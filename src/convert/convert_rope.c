/* convert_rope.c: how a checkpoint rotates: "rope_theta" and "rope_scaling" of config.json (newer files have both in
 * "rope_parameters"), and Llama 3's scaling as the table of divisors that GGUF files carry.
 *
 * Llama 3 compares the wave length of each pair with the original context L:
 *
 *     shorter than L / high_freq_factor   kept                           divisor 1
 *     longer than L / low_freq_factor     divided by the factor          divisor = factor
 *     between                             blended between both           1 / ((1 - s) / factor + s)
 *                                         with s = (L / length - low) / (high - low) */
#include "convert_internal.h"

#include <math.h>

#define LABEL "config.json"

static smt_status read_factor(const json_t *scaling, smt_hf_rope *rope, smt_error *err) {
    return smt_convert_f64(LABEL, scaling, "factor", 1, 1e6, true, &rope->factor, err);
}

/* What the GGUF keys of each family can say. Latent models: the magnitude of the rotation is 1, the scores take mscale_all_dim;
 * plain models: the magnitude is 1 + 0.1 ln factor. */
static smt_status read_yarn(const json_t *scaling, bool latent, smt_hf_rope *rope, smt_error *err) {
    double mscale = 1;
    rope->beta_fast = 32;
    rope->beta_slow = 1;
    SMT_TRY(read_factor(scaling, rope, err));
    SMT_TRY(smt_convert_u32(LABEL, scaling, "original_max_position_embeddings", 1, INT32_MAX, true, &rope->original_ctx, err));
    SMT_TRY(smt_convert_f64(LABEL, scaling, "beta_fast", 1e-6, 1e6, false, &rope->beta_fast, err));
    SMT_TRY(smt_convert_f64(LABEL, scaling, "beta_slow", 1e-6, 1e6, false, &rope->beta_slow, err));
    SMT_TRY(smt_convert_f64(LABEL, scaling, "mscale", 0, 100, false, &mscale, err));
    SMT_TRY(smt_convert_f64(LABEL, scaling, "mscale_all_dim", 0, 100, false, &rope->mscale_all_dim, err));
    if (latent && mscale != rope->mscale_all_dim)
        return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"mscale\" %g differs from \"mscale_all_dim\" %g, which GGUF cannot say",
                        mscale, rope->mscale_all_dim);
    bool magnitude = smt_convert_value(scaling, "attention_factor") || rope->mscale_all_dim != 0 || mscale != 1;
    if (!latent && magnitude)
        return SMT_FAIL(err, SMT_UNSUPPORTED,
                        LABEL ": YaRN with \"attention_factor\", \"mscale\" or \"mscale_all_dim\" is "
                              "supported for latent attention only");
    return SMT_OK;
}

static smt_status read_llama3(const json_t *scaling, smt_hf_rope *rope, smt_error *err) {
    SMT_TRY(read_factor(scaling, rope, err));
    SMT_TRY(smt_convert_f64(LABEL, scaling, "low_freq_factor", 1e-6, 1e6, true, &rope->low_freq_factor, err));
    SMT_TRY(smt_convert_f64(LABEL, scaling, "high_freq_factor", 1e-6, 1e6, true, &rope->high_freq_factor, err));
    if (rope->high_freq_factor <= rope->low_freq_factor)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": \"high_freq_factor\" %g does not exceed \"low_freq_factor\" %g",
                        rope->high_freq_factor, rope->low_freq_factor);
    return smt_convert_u32(LABEL, scaling, "original_max_position_embeddings", 1, INT32_MAX, true, &rope->original_ctx, err);
}

static smt_status read_scaling(const json_t *scaling, const smt_hf_config *config, smt_hf_rope *rope, smt_error *err) {
    const char *type = "default";
    SMT_TRY(smt_convert_text(LABEL, scaling, "type", &type, err));
    SMT_TRY(smt_convert_text(LABEL, scaling, "rope_type", &type, err)); /* the newer name counts */
    if (smt_convert_is(type, "default")) return SMT_OK;
    if (smt_convert_is(type, "linear")) {
        rope->scaling = SMT_HF_LINEAR;
        return read_factor(scaling, rope, err);
    }
    if (smt_convert_is(type, "yarn")) {
        rope->scaling = SMT_HF_YARN;
        return read_yarn(scaling, config->family == SMT_HF_DEEPSEEK2, rope, err);
    }
    if (smt_convert_is(type, "llama3") && config->family == SMT_HF_LLAMA) {
        rope->scaling = SMT_HF_LLAMA3;
        return read_llama3(scaling, rope, err);
    }
    return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": rotary scaling \"%.40s\" is not supported for %s", type, config->architecture);
}

smt_status smt_hf_rope_read(const json_t *config, smt_hf_config *out, smt_error *err) {
    const json_t *both = smt_convert_value(config, "rope_parameters"), *scaling = smt_convert_value(config, "rope_scaling");
    if (!scaling) scaling = both;
    out->rope = (smt_hf_rope){.base = 10000, .factor = 1};
    SMT_TRY(smt_convert_f64(LABEL, both, "rope_theta", 1.0001, 1e30, false, &out->rope.base, err));
    SMT_TRY(smt_convert_f64(LABEL, config, "rope_theta", 1.0001, 1e30, false, &out->rope.base, err));
    if (!scaling) return SMT_OK;
    if (!json_is_object(scaling)) return SMT_FAIL(err, SMT_FORMAT, LABEL ": \"rope_scaling\" is not an object");
    return read_scaling(scaling, out, &out->rope, err);
}

void smt_hf_rope_divisors(const smt_hf_rope *rope, uint32_t dim, float *out) {
    const double turn = 2 * 3.14159265358979323846;
    for (uint32_t i = 0; i < dim / 2; i++) {
        double length = turn * pow(rope->base, 2.0 * i / dim), turns = rope->original_ctx / length;
        double s = (turns - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
        s = fmin(fmax(s, 0), 1); /* the ends are the first two cases */
        out[i] = (float)(1 / ((1 - s) / rope->factor + s));
    }
}
