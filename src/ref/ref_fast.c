/* ref_fast.c: the dot product of fast precision, as ref.h defines it: activations rounded to eight bits, products of integers. */
#include "ref_internal.h"

#include <math.h>

#define LITTLE   1e-30f /* chunks that reach no further become zeros */
#define GREATEST 127.0f
#define LANES    16

void smt_ref_round(const float *x, smt_ref_rounded *out) {
    float peak = 0;
    for (int i = 0; i < SMT_QUANT_CHUNK; i++) peak = fmaxf(peak, fabsf(x[i]));
    float factor = peak > LITTLE ? GREATEST / peak : 0;
    *out = (smt_ref_rounded){.scale = peak > LITTLE ? peak * (1 / GREATEST) : 0};
    for (int i = 0; i < SMT_QUANT_CHUNK; i++) {
        out->q[i] = (int8_t)rintf(x[i] * factor);
        out->sum += out->q[i];
    }
}

float smt_ref_product(const smt_quant_codes *w, const smt_ref_rounded *x) {
    int32_t sums[2] = {0};
    for (int i = 0; i < SMT_QUANT_CHUNK; i++) sums[i / (SMT_QUANT_CHUNK / 2)] += w->q[i] * x->q[i];
    if (w->halves) return w->scale[0] * (float)sums[0] + w->scale[1] * (float)sums[1];
    return w->scale[0] * (float)(sums[0] + sums[1]);
}

float smt_ref_dot_fast(smt_dtype type, const void *row, const float *x, uint32_t k) {
    float sums[LANES] = {0};
    for (uint32_t c = 0; c < k / SMT_QUANT_CHUNK; c++) {
        smt_quant_codes w;
        smt_ref_rounded r;
        float *acc = &sums[c % LANES];
        smt_quant_codes_at(type, row, c, &w);
        smt_ref_round(x + c * SMT_QUANT_CHUNK, &r);
        *acc = fmaf(smt_ref_product(&w, &r), r.scale, *acc);
        *acc = fmaf(w.min, r.scale * (float)r.sum, *acc);
    }
    for (int l = 1; l < LANES; l++) sums[0] += sums[l];
    return sums[0];
}
