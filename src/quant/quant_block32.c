/* quant_block32.c: blocks of 32 elements with one half-float scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
 *
 *   Q4_0  d | qs[16]               byte j: element j in the low nibble, element j + 16 in the high one; w = d * (q - 8)
 *   Q4_1  d | m | qs[16]           the same, but                                                        w = d * q + m
 *   Q5_0  d | qh[4] | qs[16]       as Q4_0, and bit i of the 32-bit qh is bit 4 of element i;           w = d * (q - 16)
 *   Q5_1  d | m | qh[4] | qs[16]   the same, but                                                        w = d * q + m
 *   Q8_0  d | qs[32]               signed bytes;                                                        w = d * q
 *
 * Encoding divides by the scale before it is rounded to half, as the tools that made most existing files do, so that our
 * blocks equal theirs. In Q4_0 and Q5_0 the element of greatest magnitude gets the one code that has no positive
 * counterpart (0, standing for -8 or -16), therefore the scale carries that element's sign, negated. */
#include "quant_blocks.h"
#include "quant_internal.h"

#include <math.h>
#include <string.h>

#define N 32 /* elements of a block */

/* The element of greatest magnitude, sign kept; the first of equals. */
static float extreme(const float *x) {
    float best = 0;
    for (int i = 0; i < N; i++)
        if (fabsf(x[i]) > fabsf(best)) best = x[i];
    return best;
}

static float inverse(float d) { return d != 0 ? 1 / d : 0; }

void smt_quant_decode_q4_0(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q4_0 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int j = 0; j < N / 2; j++) {
            dst[j] = d * (float)((block.qs[j] & 15) - 8);
            dst[j + N / 2] = d * (float)((block.qs[j] >> 4) - 8);
        }
    }
}

void smt_quant_encode_q4_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t b = 0; b < n_blocks; b++, src += N) {
        float d = extreme(src) / -8, id = inverse(d);
        smt_block_q4_0 block = {.d = smt_float_to_half(d)};
        for (int j = 0; j < N / 2; j++) {
            int low = smt_quant_nearest(src[j] * id + 8, 0, 15), high = smt_quant_nearest(src[j + N / 2] * id + 8, 0, 15);
            block.qs[j] = (uint8_t)(low | high << 4);
        }
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_decode_q4_1(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q4_1 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d), m = smt_half_to_float(block.m);
        for (int j = 0; j < N / 2; j++) {
            dst[j] = d * (float)(block.qs[j] & 15) + m;
            dst[j + N / 2] = d * (float)(block.qs[j] >> 4) + m;
        }
    }
}

/* The 5-bit code of element i of Q5_0 and Q5_1. */
static int code_q5(const uint8_t *qh, const uint8_t *qs, int i) {
    return (qs[i % 16] >> (i < 16 ? 0 : 4) & 15) | (qh[i / 8] >> (i % 8) & 1) << 4;
}

void smt_quant_decode_q5_0(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q5_0 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N; i++) dst[i] = d * (float)(code_q5(block.qh, block.qs, i) - 16);
    }
}

void smt_quant_decode_q5_1(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q5_1 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d), m = smt_half_to_float(block.m);
        for (int i = 0; i < N; i++) dst[i] = d * (float)code_q5(block.qh, block.qs, i) + m;
    }
}

void smt_quant_encode_q5_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t b = 0; b < n_blocks; b++, src += N) {
        float d = extreme(src) / -16, id = inverse(d);
        smt_block_q5_0 block = {.d = smt_float_to_half(d)};
        uint32_t qh = 0;
        for (int j = 0; j < N / 2; j++) {
            int low = smt_quant_nearest(src[j] * id + 16, 0, 31), high = smt_quant_nearest(src[j + N / 2] * id + 16, 0, 31);
            block.qs[j] = (uint8_t)((low & 15) | (high & 15) << 4);
            qh |= (uint32_t)(low >> 4) << j | (uint32_t)(high >> 4) << (j + 16);
        }
        memcpy(block.qh, &qh, sizeof qh);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_decode_q8_0(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q8_0 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int j = 0; j < N; j++) dst[j] = d * (float)block.qs[j];
    }
}

void smt_quant_encode_q8_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t b = 0; b < n_blocks; b++, src += N) {
        float d = fabsf(extreme(src)) / 127, id = inverse(d);
        smt_block_q8_0 block = {.d = smt_float_to_half(d)};
        for (int j = 0; j < N; j++) block.qs[j] = (int8_t)smt_quant_nearest(src[j] * id, -127, 127);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}
