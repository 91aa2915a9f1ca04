/* quant_k.c: blocks of 256 elements whose sub-block scales are quantised in turn: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
 *
 *   Q2_K  scales[16] | qs[64] | d | dmin        16 sub-blocks of 16; w = (d * low nibble of scales[s]) * q - (dmin * high nibble)
 *         a half of 128 elements is four runs of 32 (r = 0..3): element l of run r is bits 2r, 2r + 1 of qs[l] of that half
 *   Q3_K  hmask[32] | qs[64] | scales[12] | d   16 sub-blocks of 16; w = (d * (S[s] - 32)) * q
 *         low two bits as in Q2_K; bit i / 32 of hmask[i % 32] clear means minus 4; scales packs sixteen 6-bit S: see scale_q3
 *   Q4_K  d | dmin | scales[12] | qs[128]       8 sub-blocks of 32; w = (d * sc[s]) * q - (dmin * mn[s])
 *         element 64c + l is the low, 64c + 32 + l the high nibble of qs[32c + l]
 *         scales packs eight 6-bit sc and eight 6-bit mn: see scale_min
 *   Q5_K  as Q4_K with qh[32] before qs: bit s of qh[l] is bit 4 of element l of sub-block s
 *   Q6_K  ql[128] | qh[64] | scales[16] | d     16 sub-blocks of 16; w = (d * scales[s]) * (q - 32), scales signed
 *         a half is four runs again: the low four bits of run r, element l, are nibble r / 2 of
 *         ql[32 * (r % 2) + l], its high two are bits 2r, 2r + 1 of qh[l]
 *
 * The order of the float operations is part of the format: the shaders repeat it and are compared bit for bit.
 *
 * The encoders are plain. Each sub-block's ideal scale (and minimum) comes from its extremes; the block's d (and dmin) make the
 * largest of them fit; then each quantised scale and its two neighbours are tried and the one of least squared error kept.
 * That costs a few lines and recovers most of what rounding the scales loses. */
#include "quant_blocks.h"
#include "quant_internal.h"

#include <math.h>
#include <string.h>

#define N 256 /* elements of a block */

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

/* ---- Q2_K, Q3_K --------------------------------------------------------------------------------------------------- */

/* The low two bits of element i. */
static int code_q2(const uint8_t *qs, int i) { return qs[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3; }

void smt_quant_decode_q2_k(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q2_k block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d), dmin = smt_half_to_float(block.dmin);
        for (int i = 0; i < N; i++) {
            float scale = d * (float)(block.scales[i / 16] & 15), min = dmin * (float)(block.scales[i / 16] >> 4);
            dst[i] = scale * (float)code_q2(block.qs, i) - min;
        }
    }
}

/* Scale s of 16: the low nibbles of the first eight are the low nibbles of bytes 0..7, those of the last eight the high ones;
 * the two high bits of scales s, s + 4, s + 8, s + 12 lie in byte 8 + s, from its lowest bits up. */
static int scale_q3(const uint8_t *b, int s) {
    return (b[s % 8] >> (s < 8 ? 0 : 4) & 15) | (b[8 + s % 4] >> (2 * (s / 4)) & 3) << 4;
}

void smt_quant_decode_q3_k(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q3_k block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N; i++) {
            int high = block.hmask[i % 32] >> (i / 32) & 1;
            dst[i] = d * (float)(scale_q3(block.scales, i / 16) - 32) * (float)(code_q2(block.qs, i) - (high ? 0 : 4));
        }
    }
}

/* ---- Q4_K, Q5_K --------------------------------------------------------------------------------------------------------- */

/* Scale and minimum s of 8. The first four have a byte each (six low bits); the last four keep their low nibbles in bytes
 * 8..11 and their two high bits in the tops of bytes 0..3 (scales) and 4..7 (minimums). */
static void scale_min(const uint8_t *b, int s, int *sc, int *mn) {
    if (s < 4) {
        *sc = b[s] & 63;
        *mn = b[s + 4] & 63;
    } else {
        *sc = (b[s + 4] & 15) | (b[s - 4] >> 6) << 4;
        *mn = (b[s + 4] >> 4) | (b[s] >> 6) << 4;
    }
}

static void set_scale_min(uint8_t *b, int s, int sc, int mn) {
    if (s < 4) {
        b[s] = (uint8_t)(b[s] | sc);
        b[s + 4] = (uint8_t)(b[s + 4] | mn);
    } else {
        b[s + 4] = (uint8_t)((sc & 15) | (mn & 15) << 4);
        b[s - 4] = (uint8_t)(b[s - 4] | (sc >> 4) << 6);
        b[s] = (uint8_t)(b[s] | (mn >> 4) << 6);
    }
}

void smt_quant_decode_q4_k(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q4_k block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d), dmin = smt_half_to_float(block.dmin);
        for (int s = 0; s < 8; s++) {
            int sc, mn;
            scale_min(block.scales, s, &sc, &mn);
            float scale = d * (float)sc, min = dmin * (float)mn;
            const uint8_t *qs = block.qs + 32 * (s / 2);
            for (int l = 0; l < 32; l++) dst[32 * s + l] = scale * (float)(s % 2 ? qs[l] >> 4 : qs[l] & 15) - min;
        }
    }
}

void smt_quant_decode_q5_k(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q5_k block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d), dmin = smt_half_to_float(block.dmin);
        for (int s = 0; s < 8; s++) {
            int sc, mn;
            scale_min(block.scales, s, &sc, &mn);
            float scale = d * (float)sc, min = dmin * (float)mn;
            const uint8_t *qs = block.qs + 32 * (s / 2);
            for (int l = 0; l < 32; l++) {
                int q = (s % 2 ? qs[l] >> 4 : qs[l] & 15) | (block.qh[l] >> s & 1) << 4;
                dst[32 * s + l] = scale * (float)q - min;
            }
        }
    }
}

static int code_q4(float x, float inverse_scale, float min) { return smt_quant_nearest((x + min) * inverse_scale, 0, 15); }

static float error_q4(const float *x, float scale, float min) {
    float error = 0, inverse_scale = inverse(scale);
    for (int l = 0; l < 32; l++) {
        float off = scale * (float)code_q4(x[l], inverse_scale, min) - min - x[l];
        error += off * off;
    }
    return error;
}

/* The best pair among *sc - 1 .. *sc + 1 and *mn - 1 .. *mn + 1. */
static void refine_q4(const float *x, float d, float dmin, int *sc, int *mn) {
    int sc0 = *sc, mn0 = *mn;
    float least = error_q4(x, d * (float)sc0, dmin * (float)mn0);
    for (int i = sc0 > 0 ? sc0 - 1 : 0; i <= sc0 + 1 && i < 64; i++)
        for (int j = mn0 > 0 ? mn0 - 1 : 0; j <= mn0 + 1 && j < 64; j++) {
            float error = error_q4(x, d * (float)i, dmin * (float)j);
            if (error < least) {
                least = error;
                *sc = i;
                *mn = j;
            }
        }
}

static void encode_block_q4_k(const float *src, smt_block_q4_k *block) {
    float scales[8], mins[8], top_scale = 0, top_min = 0;
    for (int s = 0; s < 8; s++) {
        float low = 0, high = 0; /* zero must be representable: the minimum is subtracted, never added */
        for (int l = 0; l < 32; l++) {
            low = fminf(low, src[32 * s + l]);
            high = fmaxf(high, src[32 * s + l]);
        }
        scales[s] = (high - low) / 15;
        mins[s] = -low;
        top_scale = fmaxf(top_scale, scales[s]);
        top_min = fmaxf(top_min, mins[s]);
    }
    memset(block, 0, sizeof *block);
    block->d = smt_float_to_half(top_scale / 63);
    block->dmin = smt_float_to_half(top_min / 63);
    float d = smt_half_to_float(block->d), dmin = smt_half_to_float(block->dmin);
    for (int s = 0; s < 8; s++) {
        int sc = smt_quant_nearest(scales[s] * inverse(d), 0, 63), mn = smt_quant_nearest(mins[s] * inverse(dmin), 0, 63);
        refine_q4(src + 32 * s, d, dmin, &sc, &mn);
        set_scale_min(block->scales, s, sc, mn);
        float id = inverse(d * (float)sc), min = dmin * (float)mn;
        uint8_t *qs = block->qs + 32 * (s / 2);
        for (int l = 0; l < 32; l++) qs[l] = (uint8_t)(qs[l] | code_q4(src[32 * s + l], id, min) << (s % 2 ? 4 : 0));
    }
}

void smt_quant_encode_q4_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_q4_k block;
        encode_block_q4_k(src + b * N, &block);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

/* ---- Q6_K --------------------------------------------------------------------------------------------------------- */

void smt_quant_decode_q6_k(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q6_k block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N; i++) {
            int half = i / 128, run = i / 32 % 4, l = i % 32;
            int low = block.ql[64 * half + 32 * (run % 2) + l] >> (run < 2 ? 0 : 4) & 15;
            int high = block.qh[32 * half + l] >> (2 * run) & 3;
            dst[i] = d * (float)block.scales[i / 16] * (float)((low | high << 4) - 32);
        }
    }
}

static int code_q6(float x, float inverse_scale) { return smt_quant_nearest(x * inverse_scale, -32, 31); }

static float error_q6(const float *x, float scale) {
    float error = 0, inverse_scale = inverse(scale);
    for (int l = 0; l < 16; l++) {
        float off = scale * (float)code_q6(x[l], inverse_scale) - x[l];
        error += off * off;
    }
    return error;
}

static int refine_q6(const float *x, float d, int sc0) {
    int best = sc0;
    float least = error_q6(x, d * (float)sc0);
    for (int sc = sc0 - 1; sc <= sc0 + 1; sc++) {
        if (sc < -128 || sc > 127) continue;
        float error = error_q6(x, d * (float)sc);
        if (error < least) {
            least = error;
            best = sc;
        }
    }
    return best;
}

static void encode_block_q6_k(const float *src, smt_block_q6_k *block) {
    float scales[16], top = 0; /* signed: the extreme of a sub-block gets code -32, which has no positive counterpart */
    for (int s = 0; s < 16; s++) {
        float extreme = 0;
        for (int l = 0; l < 16; l++)
            if (fabsf(src[16 * s + l]) > fabsf(extreme)) extreme = src[16 * s + l];
        scales[s] = extreme / -32;
        if (fabsf(scales[s]) > fabsf(top)) top = scales[s];
    }
    memset(block, 0, sizeof *block);
    block->d = smt_float_to_half(top / -128);
    float d = smt_half_to_float(block->d);
    for (int s = 0; s < 16; s++)
        block->scales[s] = (int8_t)refine_q6(src + 16 * s, d, smt_quant_nearest(scales[s] * inverse(d), -128, 127));
    for (int i = 0; i < N; i++) {
        int half = i / 128, run = i / 32 % 4, l = i % 32;
        int q = code_q6(src[i], inverse(d * (float)block->scales[i / 16])) + 32;
        uint8_t *ql = &block->ql[64 * half + 32 * (run % 2) + l], *qh = &block->qh[32 * half + l];
        *ql = (uint8_t)(*ql | (q & 15) << (run < 2 ? 0 : 4));
        *qh = (uint8_t)(*qh | (q >> 4) << (2 * run));
    }
}

void smt_quant_encode_q6_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_q6_k block;
        encode_block_q6_k(src + b * N, &block);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}
