/* model_rope.c: rotary frequencies and the scale of attention scores, from metadata to numbers in double precision.
 *
 * Three scalings of position exist: none, linear (all frequencies divided by the factor), and YaRN, which leaves fast pairs
 * alone, divides slow ones, and blends between the two along a ramp over the pair index:
 *
 *     weight of division    0 ______/------ 1        lo, hi: the pairs that turn beta_fast and beta_slow
 *     pair index            0     lo   hi   d/2      times within the original context
 *
 * (ext_factor, 1 unless a file says otherwise, is the share of that; the rest is linear.) Beside that, YaRN scales attention.
 * Latent models put the square of 1 + multiplier * ln factor into the scores and rotate without magnitude: files have no key for the
 * ratio of two multipliers that the magnitude would be, and it is 1 in all released models. Plain ones multiply cos and sin by
 * 1 + 0.1 ln factor. rope_freqs.weight divides frequencies pair by pair. */
#include "model_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* The (fractional) pair index whose frequency makes `turns` rotations within the original context. */
static double ramp_pair(const smt_rope_spec *spec, double turns) {
    return spec->dim * log(spec->original_ctx / (2 * pi * turns)) / (2 * log(spec->base));
}

void smt_rope_frequencies(const smt_rope_spec *spec, double *out) {
    double lo = 0, span = 1;
    if (spec->yarn) {
        lo = fmax(floor(ramp_pair(spec, spec->beta_fast)), 0);
        span = fmax(fmin(ceil(ramp_pair(spec, spec->beta_slow)), spec->dim - 1.0) - lo, 0.001);
    }
    for (uint32_t i = 0; i < spec->dim / 2; i++) {
        double divided = spec->yarn ? 1 - (1 - fmin(fmax((i - lo) / span, 0), 1)) * spec->ext_factor : 1;
        double frequency = pow(spec->base, -2.0 * i / spec->dim);
        if (spec->divisors) frequency /= (double)spec->divisors[i];
        out[i] = frequency * ((1 - divided) + divided / spec->factor);
    }
}

double smt_rope_latent_scale(double multiplier, double attn_factor, double factor, uint32_t head) {
    double m = attn_factor * (1 + multiplier * log(fmax(factor, 1)));
    return m * m / sqrt(head);
}

/* ---- keys ---- */

static bool text_is(smt_gguf_string text, const char *word) {
    return text.bytes == strlen(word) && memcmp(text.text, word, text.bytes) == 0;
}

/* Which scaling, and by how much. Old files have a factor under another name and no type; a factor of 0 means none. */
static smt_status read_scaling(smt_model_reader *r, smt_rope_spec *spec) {
    char key[64];
    smt_gguf_string type = {"linear", 6};
    bool found, typed;
    snprintf(key, sizeof key, "%s.rope.scaling.type", r->model->architecture);
    SMT_TRY(smt_gguf_text(r->file, key, &type, &typed, r->err));
    bool none = text_is(type, "none"), linear = text_is(type, "linear");
    spec->yarn = text_is(type, "yarn");
    if (!none && !linear && !spec->yarn)
        return SMT_FAIL(r->err, SMT_UNSUPPORTED, "key %s is \"%.*s\"; none, linear and yarn are supported", key,
                        (int)smt_min_u64(type.bytes, 40), type.text);
    SMT_TRY(smt_model_get_f32(r, "rope.scaling.factor", 0, 1e6, &spec->factor, &found));
    if (!found) SMT_TRY(smt_model_get_f32(r, "rope.scale_linear", 0, 1e6, &spec->factor, &found));
    if (none || spec->factor == 0) spec->factor = 1;
    spec->yarn &= spec->factor != 1;
    return typed || spec->factor == 1 ? SMT_OK : smt_model_assume(r, "rope.scaling.type: linear");
}

/* A YaRN number and its default. The betas are absent from nearly all files, and worth a line in the list of assumptions. */
static smt_status read_yarn_number(smt_model_reader *r, const char *key, double preset, double *out) {
    bool found;
    *out = preset;
    SMT_TRY(smt_model_get_f32(r, key, 1e-6, 1e6, out, &found));
    return found ? SMT_OK : smt_model_assume(r, "%s: %g", key, preset);
}

/* A factor on which programs disagree (it multiplies YaRN's magnitude, replaces it, or is passed over), and which no released model
 * sets to anything but 1. */
static smt_status refuse_unless_one(smt_model_reader *r, const char *key) {
    double value = 1;
    SMT_TRY(smt_model_get_f32(r, key, -1e6, 1e6, &value, NULL));
    if (value == 1) return SMT_OK;
    return SMT_FAIL(r->err, SMT_UNSUPPORTED, "key %s.%s is %g; only 1 is supported", r->model->architecture, key, value);
}

static smt_status read_yarn(smt_model_reader *r, smt_rope_spec *spec, double *multiplier) {
    uint32_t original = r->model->n_ctx_train;
    bool found;
    SMT_TRY(smt_model_get_u32(r, "rope.scaling.original_context_length", 1, INT32_MAX, &original, &found));
    if (!found) SMT_TRY(smt_model_assume(r, "rope.scaling.original_context_length: %u (context_length)", original));
    spec->original_ctx = original;
    SMT_TRY(read_yarn_number(r, "rope.scaling.yarn_beta_fast", 32, &spec->beta_fast));
    SMT_TRY(read_yarn_number(r, "rope.scaling.yarn_beta_slow", 1, &spec->beta_slow));
    SMT_TRY(smt_model_get_f32(r, "rope.scaling.yarn_ext_factor", 0, 1, &spec->ext_factor, NULL));
    SMT_TRY(refuse_unless_one(r, "rope.scaling.yarn_attn_factor"));
    if (!r->model->mla) return SMT_OK;
    SMT_TRY(smt_model_get_f32(r, "rope.scaling.yarn_log_multiplier", 0, 10, multiplier, &found));
    return found ? SMT_OK : smt_model_assume(r, "rope.scaling.yarn_log_multiplier: 0");
}

/* rope_freqs.weight: read now, so that the model holds plain numbers. *out stays NULL where the file has none. */
static smt_status read_divisors(smt_model_reader *r, uint32_t n, const float **out) {
    smt_matrix matrix;
    SMT_TRY(smt_model_bind(r, (smt_model_want){SMT_MODEL_WHOLE, "rope_freqs.weight", 1, n, 1, true}, &matrix));
    if (!matrix.tensor) return SMT_OK;
    if (matrix.tensor->type != SMT_DTYPE_F32)
        return SMT_FAIL(r->err, SMT_UNSUPPORTED, "tensor rope_freqs.weight is of type %s, only F32 is supported for it",
                        smt_dtype_get((uint32_t)matrix.tensor->type)->name);
    float *divisors = smt_arena_alloc(&r->model->arena, n, sizeof *divisors);
    if (!divisors) return SMT_FAIL(r->err, SMT_MEMORY, "out of memory for %u rotary divisors", n);
    SMT_TRY(smt_gguf_tensor_read(matrix.tensor, 0, divisors, n * sizeof *divisors, r->err));
    for (uint32_t i = 0; i < n; i++)
        if (!(divisors[i] >= 1e-6f && divisors[i] <= 1e6f))
            return SMT_FAIL(r->err, SMT_FORMAT, "tensor rope_freqs.weight: value %u is %g, 1e-6 to 1e6 is allowed", i,
                            (double)divisors[i]);
    *out = divisors;
    return SMT_OK;
}

smt_status smt_model_read_rope(smt_model_reader *r) {
    smt_model *model = r->model;
    smt_rope_spec spec = {.dim = model->rope_dim, .base = 10000, .factor = 1, .ext_factor = 1};
    double multiplier = 0, attn_factor = 1;
    bool found;
    if (spec.dim == 0 || spec.dim % 2)
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s.rope.dimension_count gives %u rotated values; an even number is wanted",
                        model->architecture, spec.dim);
    SMT_TRY(smt_model_get_f32(r, "rope.freq_base", 1.0001, 1e30, &spec.base, &found));
    if (!found) SMT_TRY(smt_model_assume(r, "rope.freq_base: 10000"));
    SMT_TRY(read_scaling(r, &spec));
    if (spec.yarn) SMT_TRY(read_yarn(r, &spec, &multiplier));
    SMT_TRY(smt_model_get_f32(r, "rope.scaling.attn_factor", 1e-3, 1e3, &attn_factor, NULL));
    if (!model->mla) SMT_TRY(read_divisors(r, spec.dim / 2, &spec.divisors));

    model->rope_freq = smt_arena_alloc(&model->arena, spec.dim / 2, sizeof *model->rope_freq);
    if (!model->rope_freq) return SMT_FAIL(r->err, SMT_MEMORY, "out of memory for %u rotary frequencies", spec.dim / 2);
    smt_rope_frequencies(&spec, model->rope_freq);
    model->rope_scaling = spec.yarn ? SMT_ROPE_YARN : spec.factor != 1 ? SMT_ROPE_LINEAR : SMT_ROPE_PLAIN;
    model->rope_base = spec.base;
    model->rope_factor = spec.factor;
    model->rope_divided = spec.divisors != NULL;
    uint32_t head = model->nope_dim + model->rope_dim;
    bool lifted = spec.yarn && spec.ext_factor > 0; /* without any share of YaRN its magnitude goes too */
    double magnitude = attn_factor * (lifted ? 1 + 0.1 * log(fmax(spec.factor, 1)) : 1);
    model->rope_magnitude = model->mla ? 1 : magnitude;
    model->attn_scale = (float)(model->mla ? smt_rope_latent_scale(multiplier, attn_factor, spec.factor, head) : 1 / sqrt(head));
    return SMT_OK;
}
