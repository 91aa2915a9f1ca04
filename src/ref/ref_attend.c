/* ref_attend.c: one attention head over the cached positions, in chunks of 256.
 *
 * The chunk is part of the numeric contract (ref.h): each is reduced by itself to its maximum, the sum of its weights and
 * its weighted values, and chunks merge in ascending order. A device may thus compute chunks side by side, or extend a cached
 * prefix, without a bit of difference. The first chunk is taken as it is, which is what merging it into an empty
 * (-infinity, 0, 0) would give. */
#include "ref_internal.h"

#include <math.h>
#include <string.h>

#define CHUNK 256

typedef struct {
    float max, sum;
    float *values; /* [value_dim], borrowed */
} partial;

SMT_REF_HOT static void reduce_chunk(const float *q, const float *keys, const float *values, size_t stride, uint32_t n,
                                     uint32_t key_dim, uint32_t value_dim, float scale, partial *out) {
    float p[CHUNK];
    out->max = -INFINITY;
    out->sum = 0;
    for (uint32_t t = 0; t < n; t++) {
        p[t] = scale * smt_ref_dot(q, keys + t * stride, key_dim);
        if (p[t] > out->max) out->max = p[t];
    }
    memset(out->values, 0, value_dim * sizeof *out->values);
    for (uint32_t t = 0; t < n; t++) {
        const float *v = values + t * stride;
        p[t] = smt_ref_exp(p[t] - out->max);
        out->sum += p[t];
        for (uint32_t d = 0; d < value_dim; d++) out->values[d] = fmaf(p[t], v[d], out->values[d]);
    }
}

static void merge(partial *all, const partial *chunk, uint32_t value_dim) {
    float max = chunk->max > all->max ? chunk->max : all->max;
    float a = smt_ref_exp(all->max - max), b = smt_ref_exp(chunk->max - max);
    all->max = max;
    all->sum = all->sum * a + chunk->sum * b;
    for (uint32_t d = 0; d < value_dim; d++) all->values[d] = all->values[d] * a + chunk->values[d] * b;
}

smt_status smt_ref_attend(const float *q, const float *keys, const float *values, size_t stride, uint32_t n, uint32_t key_dim,
                          uint32_t value_dim, float scale, float *out, smt_error *err) {
    if (!n) return SMT_FAIL(err, SMT_INVALID, "attention over 0 positions");
    partial all = {.values = out}, chunk = {.values = NULL};
    reduce_chunk(q, keys, values, stride, smt_min_u32(n, CHUNK), key_dim, value_dim, scale, &all);
    if (n > CHUNK) {
        chunk.values = smt_alloc(value_dim, sizeof *chunk.values);
        if (!chunk.values) return SMT_FAIL(err, SMT_MEMORY, "no memory for %u attention values", value_dim);
    }
    for (uint32_t t = CHUNK; t < n; t += CHUNK) {
        reduce_chunk(q, keys + t * stride, values + t * stride, stride, smt_min_u32(n - t, CHUNK), key_dim, value_dim, scale,
                     &chunk);
        merge(&all, &chunk, value_dim);
    }
    for (uint32_t d = 0; d < value_dim; d++) out[d] /= all.sum;
    smt_free(chunk.values);
    return SMT_OK;
}
