/* ref_math.c: the elementary operations of the numeric contract in ref.h: dot product, norm, rotation, matrix times vector.
 *
 * Every fmaf here is one rounding by the C standard, with or without hardware for it, so results are equal on all
 * hosts. The build forbids contraction (-ffp-contract=off): a plain product and sum stay two roundings. */
#include "ref_internal.h"

#include <math.h>

SMT_REF_HOT static float dot(const float *a, const float *b, uint32_t k) {
    float c[4] = {0};
    uint32_t i = 0;
    for (; i + 4 <= k; i += 4)
        for (uint32_t j = 0; j < 4; j++) c[j] = fmaf(a[i + j], b[i + j], c[j]);
    for (uint32_t j = 0; i + j < k; j++) c[j] = fmaf(a[i + j], b[i + j], c[j]);
    return (c[0] + c[1]) + (c[2] + c[3]);
}

float smt_ref_dot(const float *a, const float *b, uint32_t k) { return dot(a, b, k); }

float smt_ref_dot_wave(const float *a, const float *b, uint32_t k) {
    enum { LANES = 16, CHUNK = 32 };
    float sums[LANES] = {0};
    for (uint32_t i = 0; i < k; i++) sums[i / CHUNK % LANES] = fmaf(a[i], b[i], sums[i / CHUNK % LANES]);
    for (uint32_t l = 1; l < LANES; l++) sums[0] += sums[l];
    return sums[0];
}

float smt_ref_silu(float x) { return x / (1.0f + smt_ref_exp(-x)); }

void smt_ref_rmsnorm(const float *x, const float *weight, float eps, float *y, uint32_t n) {
    float scale = 1.0f / sqrtf(smt_ref_dot(x, x, n) / (float)n + eps);
    for (uint32_t i = 0; i < n; i++) y[i] = (x[i] * scale) * weight[i];
}

void smt_ref_rope(const double *freq, double magnitude, int32_t position, float *x, uint32_t rope_dim) {
    for (uint32_t i = 0; i < rope_dim / 2; i++) {
        double angle = (double)position * freq[i];
        float c = (float)(cos(angle) * magnitude), s = (float)(sin(angle) * magnitude);
        float x0 = x[2 * i], x1 = x[2 * i + 1];
        x[2 * i] = x0 * c - x1 * s;
        x[2 * i + 1] = x0 * s + x1 * c;
    }
}

smt_status smt_ref_matvec(const smt_matrix *w, uint32_t plane, const float *x, float *y, smt_error *err) {
    float *row = smt_alloc(w->k, sizeof *row);
    if (!row) return SMT_FAIL(err, SMT_MEMORY, "%s: no memory for a row of %u values", w->tensor->name, w->k);
    smt_status status = SMT_OK;
    for (uint32_t r = 0; r < w->rows && !status; r++) {
        if (smt_matrix_row(w, plane, r, row))
            y[r] = smt_ref_dot(row, x, w->k);
        else
            status =
                SMT_FAIL(err, SMT_UNSUPPORTED, "%s: row %u of plane %u cannot be read or decoded", w->tensor->name, r, plane);
    }
    smt_free(row);
    return status;
}
