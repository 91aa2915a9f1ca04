/* ref.h: the forward pass in slow, obvious C: the truth that kernels are tested against. One token row at a time, float32
 * weights decoded row by row, absorbed latent attention, the published routing rules.
 *
 * The numeric contract, shared with the shaders:
 *   - A dot product of length K runs in four interleaved chains (chain j takes elements i = j mod 4, ascending) of fmaf,
 *     each starting at 0; the result is (c0 + c1) + (c2 + c3). Elements beyond K count as zero products.
 *   - The GPU family of products (base/caps.h: smt_family) has a second order: sum l of 16 is one chain of fmaf from 0 over
 *     the elements of the chunks l, l + 16, ... of 32 elements, all ascending; the result is ((s0 + s1) + s2) + ... + s15.
 *     Equality is promised within a family; the model below follows the first.
 *   - Fast precision (`--precision fast`) is a third, of the types that are small integers (quant.h: smt_quant_codes) in the GPU family.
 *     Each chunk of 32 activations is rounded: peak = max |x|, q = nearest integer (halves to even) to x * (127 / peak), scale
 *     peak * (1 / 127); all zero where the peak is at most 1e-30. Sum l of 16 goes over the chunks l, l + 16, ... as above, for each
 *     fmaf(w_scale * float(sum of w_q x_q), x_scale, sum), where the first factor is a sum of two if the halves of a chunk have scales
 *     of their own; then, for types with a min, fmaf(w_min, x_scale * float(sum of x_q), sum). The 16 are added as above.
 *     Where a device has cooperative matrices, fast products of 64 and more columns round both factors to float16 instead, activations after
 *     division by a power of two where a column's greatest magnitude is not between 2^-8 and 2^15, and add float32 in an order that is the
 *     device's. Against the exact result they are off by at most 2^-9 of the sum of |w_i x_i|, for factors that are normal in float16. The
 *     equality that is promised for any number of columns ends there: 63 columns and 64 give different bits. Columns beside each other
 *     still do not matter.
 *   - Attention goes over the positions in chunks of 256: per chunk maximum, weights, sum and weighted values; chunks are
 *     merged in ascending order.
 *   - Experts are summed in ascending id inside each of 8 fixed id ranges (the expert groups, where the model has them), then over
 *     the ranges, then the shared expert, then the residual.
 * A driver may round twice in fma, as Vulkan allows; lavapipe 22.3 and 25.0 and SwiftShader do. There a dot product equals the same four
 * chains with rounded products to the bit (tests/support/kernel_support.c probes which of the two a device does). On every device 1, 2, 4
 * and 8 columns, dense and expert products and any batch give equal bits.
 * In detail, with every float32 operation as written (no contraction, no reassociation):
 *   exp       smt_ref_exp below, everywhere; silu(x) = x / (1 + exp(-x)).
 *   rmsnorm   s = 1 / sqrt(dot(x, x) / n + eps); y = (x * s) * w.
 *   rope      c, s: cosine and sine in double, times the magnitude, rounded to float; x' = x*c - y*s, y' = x*s + y*c, plain.
 *   attention per chunk: s_t = scale * dot(q, k_t); m = max s_t; p_t = exp(s_t - m); l = sum of p_t; o_d = chain of
 *             fmaf(p_t, v_t[d], o_d) from 0; both over ascending t (tiles: l in a chain for each lane, folded; the rest the
 *             same). Chunks (m, l, o) merge into (M, L, O): M' = max(M, m),
 *             a = exp(M - M'), b = exp(m - M'), L' = L*a + l*b, O' = O*a + o*b, plain. The result is O / L.
 *   router    softmax: m = max, e = exp(x - m), z = sum of e over ascending id, e / z. Sigmoid: 1 / (1 + exp(-x)).
 *             Ties go to the lower id. Normalised weights: w / (sum of w in order of choice + 1e-20). Then w * weight_scale.
 *   bias      added to the folded dot product, before the residual.
 *   experts   y = down(silu(gate) * up); a range sums as the chain fmaf(w_e, y_e, sum) from 0; ranges add up from 0. */
#ifndef SMT_REF_H
#define SMT_REF_H

#include "model/model.h"
#include "quant/quant.h"

/* ---- operations; every pointer caller-owned, sizes in elements ---- */
float smt_ref_dot(const float *a, const float *b, uint32_t k);
float smt_ref_dot_wave(const float *a, const float *b, uint32_t k);
/* A chunk of activations in fast precision. */
typedef struct smt_ref_rounded {
    int8_t q[SMT_QUANT_CHUNK];
    float scale;
    int32_t sum; /* of q */
} smt_ref_rounded;
void smt_ref_round(const float *x, smt_ref_rounded *out);
/* The product of a chunk without the min, divided by the scale of x. */
float smt_ref_product(const smt_quant_codes *w, const smt_ref_rounded *x);
/* row: k elements (a multiple of 32) of a type with codes, as in a file. */
float smt_ref_dot_fast(smt_dtype type, const void *row, const float *x, uint32_t k);
/* y[rows] = W[plane] x[k] */
smt_status smt_ref_matvec(const smt_matrix *w, uint32_t plane, const float *x, float *y, smt_error *err);
void smt_ref_rmsnorm(const float *x, const float *weight, float eps, float *y, uint32_t n);
/* Rotates pairs (2i, 2i+1) of x[rope_dim] by position * freq[i]. */
void smt_ref_rope(const double *freq, double magnitude, int32_t position, float *x, uint32_t rope_dim);
/* The exponential of the contract: smt_exp of base.h. */
static inline float smt_ref_exp(float x) { return smt_exp(x); }
float smt_ref_silu(float x);
/* logits[n_experts] -> the chosen ids (largest selection score first) and weights, by the model's rule. */
void smt_ref_route(const smt_model *model, const float *bias, const float *logits, int32_t *ids, float *weights);
/* Experts in each of the id ranges that are summed apart: range of expert e = e / this. */
uint32_t smt_ref_range_size(const smt_model *model);
/* One head over n cached rows: key row t is keys + t * stride, value row t is values + t * stride. out[value_dim]. */
smt_status smt_ref_attend(const float *q, const float *keys, const float *values, size_t stride, uint32_t n, uint32_t key_dim,
                          uint32_t value_dim, float scale, float *out, smt_error *err);

/* ---- the whole model ---- */
typedef struct smt_ref smt_ref;
smt_status smt_ref_create(const smt_model *model, uint32_t n_ctx, smt_ref **out, smt_error *err);
/* The same with a say in what the weights may take: decoded once when they fit decoded_max bytes as float32 (above: 256 MiB),
 * else row by row in each step. Changes the speed and no bit. */
smt_status smt_ref_create_within(const smt_model *model, uint32_t n_ctx, uint64_t decoded_max, smt_ref **out, smt_error *err);
void smt_ref_free(smt_ref *ref);
/* Appends one token at rotary position `position`. Outputs may be NULL: logits [n_vocab], hidden [n_layers + 2, n_embd],
 * ids and weights [n_moe_layers, n_used]. */
smt_status smt_ref_step(smt_ref *ref, int32_t token, int32_t position, float *logits, float *hidden, int32_t *ids, float *weights,
                        smt_error *err);

#endif
