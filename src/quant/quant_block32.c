/* quant_block32.c: blocks of 32 elements with one half-float scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
 *
 *   Q4_0  d | qs[16]               byte j: element j in the low nibble, element j + 16 in the high one; w = d * (q - 8)
 *   Q4_1  d | m | qs[16]           the same, but                                                        w = d * q + m
 *   Q5_0  d | qh[4] | qs[16]       as Q4_0, and bit i of the 32-bit qh is bit 4 of element i;           w = d * (q - 16)
 *   Q5_1  d | m | qh[4] | qs[16]   the same, but                                                        w = d * q + m
 *   Q8_0  d | qs[32]               signed bytes;                                                        w = d * q */
#include "quant_blocks.h"
#include "quant_internal.h"

#include <string.h>

#define N 32 /* elements of a block */

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

void smt_quant_decode_q8_0(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += N) {
        smt_block_q8_0 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int j = 0; j < N; j++) dst[j] = d * (float)block.qs[j];
    }
}
