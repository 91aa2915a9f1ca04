/* quant_block32.c: blocks of 32 elements with one half-float scale: Q4_0, Q5_0, Q8_0.
 *
 *   Q4_0  d | qs[16]           byte j: element j in the low nibble, element j + 16 in the high one; w = d * (q - 8)
 *   Q5_0  d | qh[4] | qs[16]   the same, and bit i of the 32-bit qh is bit 4 of element i;           w = d * (q - 16)
 *   Q8_0  d | qs[32]           signed bytes;                                                         w = d * q
 *
 * Encoding divides by the scale before it is rounded to half, as the tools that made most existing files do, so that our
 * blocks equal theirs. In Q4_0 and Q5_0 the element of greatest magnitude gets the one code that has no positive
 * counterpart (0, standing for -8 or -16), therefore the scale carries that element's sign, negated. */
#include "quant_internal.h"

#include <math.h>
#include <string.h>

#define N 32 /* elements of a block */

typedef struct {
    uint16_t d;
    uint8_t qs[N / 2];
} block_q4_0;
_Static_assert(sizeof(block_q4_0) == 18, "Q4_0 is packed");

typedef struct {
    uint16_t d;
    uint8_t qh[4]; /* bytes: a 32-bit field would be aligned */
    uint8_t qs[N / 2];
} block_q5_0;
_Static_assert(sizeof(block_q5_0) == 22, "Q5_0 is packed");

typedef struct {
    uint16_t d;
    int8_t qs[N];
} block_q8_0;
_Static_assert(sizeof(block_q8_0) == 34, "Q8_0 is packed");

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
        block_q4_0 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int j = 0; j < N / 2; j++) {
            dst[j] = d * (float)((block.qs[j] & 15) - 8);
            dst[j + N / 2] = d * (float)((block.qs[j] >> 4) - 8);
        }
    }
}

void smt_quant_encode_q4_0(const float *src, uint8_t *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, src += N) {
        float d = extreme(src) / -8, id = inverse(d);
        block_q4_0 block = {.d = smt_float_to_half(d)};
        for (int j = 0; j < N / 2; j++) {
            int low = smt_quant_nearest(src[j] * id + 8, 0, 15), high = smt_quant_nearest(src[j + N / 2] * id + 8, 0, 15);
            block.qs[j] = (uint8_t)(low | high << 4);
        }
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_decode_q5_0(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        block_q5_0 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        uint32_t qh;
        memcpy(&qh, block.qh, sizeof qh);
        for (int j = 0; j < N / 2; j++) {
            int low = (block.qs[j] & 15) | (int)(qh >> j & 1) << 4;
            int high = (block.qs[j] >> 4) | (int)(qh >> (j + 16) & 1) << 4;
            dst[j] = d * (float)(low - 16);
            dst[j + N / 2] = d * (float)(high - 16);
        }
    }
}

void smt_quant_encode_q5_0(const float *src, uint8_t *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, src += N) {
        float d = extreme(src) / -16, id = inverse(d);
        block_q5_0 block = {.d = smt_float_to_half(d)};
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
        block_q8_0 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int j = 0; j < N; j++) dst[j] = d * (float)block.qs[j];
    }
}

void smt_quant_encode_q8_0(const float *src, uint8_t *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, src += N) {
        float d = fabsf(extreme(src)) / 127, id = inverse(d);
        block_q8_0 block = {.d = smt_float_to_half(d)};
        for (int j = 0; j < N; j++) block.qs[j] = (int8_t)smt_quant_nearest(src[j] * id, -127, 127);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}
