/* model_internal.h: what the files of this room share: reading keys, binding tensors, rotary frequencies, counting.
 *
 * A smt_model_reader lives for one smt_model_create. Functions fill reader->model and report through reader->err. */
#ifndef SMT_MODEL_INTERNAL_H
#define SMT_MODEL_INTERNAL_H

#include "model.h"

/* Widths, head counts and ranks must be below this; products of two then fit 64 bits without a thought. */
#define SMT_MODEL_MAX_DIM (1u << 24)

typedef struct smt_model_reader {
    smt_model *model;
    const smt_gguf *file;
    smt_error *err;
} smt_model_reader;

/* ---- model_keys.c: keys below the architecture's name ("block_count" is "deepseek2.block_count") ---- */

bool smt_model_has_key(const smt_model_reader *r, const char *key);
/* Required, within [low, high]. An array with one value per layer is taken where all values are equal. */
smt_status smt_model_need_u32(smt_model_reader *r, const char *key, uint32_t low, uint32_t high, uint32_t *out);
/* Absent: *out keeps its value. */
smt_status smt_model_get_u32(smt_model_reader *r, const char *key, uint32_t low, uint32_t high, uint32_t *out, bool *found);
/* A finite number within [low, high]. */
smt_status smt_model_get_f32(smt_model_reader *r, const char *key, double low, double high, double *out, bool *found);
/* Records a default that took the place of an absent key: "expert_gating_func: softmax". */
SMT_PRINTF(2, 3)
smt_status smt_model_assume(smt_model_reader *r, const char *format, ...);
/* Layers, width, context, heads, norm epsilon: what all families have. */
smt_status smt_model_read_common(smt_model_reader *r);

/* ---- model_check.c: tensors held against the numbers ---- */

#define SMT_MODEL_WHOLE UINT32_MAX /* in place of a layer: the tensor belongs to the whole model */

/* Binds "blk.LAYER.NAME" to n_planes planes of [rows, k] and checks its shape. Absent: an error if required, else tensor NULL. */
typedef struct smt_model_want {
    uint32_t layer;
    const char *name;
    uint64_t rows, k;
    uint32_t n_planes;
    bool optional;
} smt_model_want;
smt_status smt_model_bind(smt_model_reader *r, smt_model_want want, smt_matrix *out);
/* The first step once all numbers are known: refuses tensors that would change the result and have no place in smt_model, binds
 * embedding, final norm and output head (which may be tied), and makes the layers. */
smt_status smt_model_bind_ends(smt_model_reader *r);

/* ---- model_rope.c ---- */

typedef struct smt_rope_spec {
    uint32_t dim;        /* rotated values of a head, even */
    double base, factor; /* factor 1: no scaling */
    bool yarn;           /* else linear */
    double original_ctx, beta_fast, beta_slow;
    double ext_factor;     /* share of YaRN: 1 is all of it, 0 leaves linear scaling */
    const float *divisors; /* [dim / 2] or NULL: what rope_freqs.weight says */
} smt_rope_spec;
void smt_rope_frequencies(const smt_rope_spec *spec, double *out);
/* (attn_factor * (1 + multiplier * ln factor))^2 / sqrt(head); a factor of at most 1 counts as 1. */
double smt_rope_latent_scale(double multiplier, double attn_factor, double factor, uint32_t head);
/* Fills rope_freq, rope_magnitude and attn_scale from rope_dim, nope_dim, mla and the keys. */
smt_status smt_model_read_rope(smt_model_reader *r);

/* ---- model_count.c ---- */

void smt_model_count(smt_model *model);

/* ---- model_plain.c: heads of their own keys and values, or several heads to one pair ---- */

/* Head counts and sizes, rotation included. */
smt_status smt_model_read_plain(smt_model_reader *r);
smt_status smt_model_bind_plain(smt_model_reader *r, uint32_t i, smt_model_layer *layer);

/* ---- model_experts.c: the feed-forward half, dense or routed ---- */

/* Expert counts, gate and groups; n_dense_layers and n_ff too. A file without experts is dense throughout. */
smt_status smt_model_read_experts(smt_model_reader *r);
smt_status smt_model_bind_feed_forward(smt_model_reader *r, uint32_t i, smt_model_layer *layer);

/* ---- families ---- */

smt_status smt_model_read_deepseek2(smt_model_reader *r);
smt_status smt_model_read_deepseek(smt_model_reader *r);
smt_status smt_model_read_llama(smt_model_reader *r);

#endif
