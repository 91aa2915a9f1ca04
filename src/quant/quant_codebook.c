/* quant_codebook.c: groups of 4 or 8 elements that are an index into a codebook: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS,
 * IQ3_S. Blocks of 256 elements, g = 0..7 a sub-block of 32, l = 0..3 a group of 8 in it; d a half float.
 *
 *   type     entry    index of group l                             signs of the group            scale
 *   IQ2_XXS  8 of 2b  byte l of the 8 of g                         7 bits 7l of the upper 32     d * (0.5 + top 4 bits) * 0.25
 *   IQ2_XS   8 of 2b  qs[4g + l] & 511                             7 bits qs[4g + l] >> 9        d * (0.5 + nibble) * 0.25
 *   IQ2_S    8 of 2b  qs[4g + l] + bits 2l of qh[g] << 8           8 bits signs[4g + l]          the same
 *   IQ3_XXS  4 bytes  qs[8g + 2l], qs[8g + 2l + 1]                 7 bits 7l of a word           d * (0.5 + top 4 bits) * 0.5
 *   IQ3_S    4 bytes  the same + bits 2l, 2l + 1 of qh[g] << 8     8 bits signs[4g + l]          d * (1 + 2 * nibble)
 *   IQ1_S    8 of 2b  qs[4g + l] + bits 3l of qh[g] << 8           none: the entries have them   d * (2 * 3 bits + 1)
 *   IQ1_M    8 of 2b  qs[4g + l] + 3 bits of a nibble of qh << 8   none                          the same, per 16 elements
 *
 * The scale nibble of IQ2_XS and IQ2_S is the low one of scales[g] for l = 0, 1, the high one for l = 2, 3; of IQ3_S the low one of
 * scales[g / 2] for even g. Signs of 7 bits: the eighth makes their number even. Bit j set: element j is negative.
 * IQ1: w = scale * (entry + delta), delta = -1/8 if a further bit is set (bit 15 of qh[g]; bit 3 of the nibble), else 1/8.
 *
 * The codebooks are lists of points without a formula, packed in quant_codebook_data.c. Magnitudes, and how many bits choose one:
 *   IQ1 -1 0 1 (2 bits)    IQ2 8 25 43 (2 bits)    IQ3_XXS 4 12 20 28 36 44 52 62    IQ3_S 1 3 5 .. 15 (a byte itself)
 * The order of the float operations is part of the format. */
#include "quant_blocks.h"
#include "quant_internal.h"

#include <string.h>

#define N 256 /* elements of a block */

static uint32_t load32(const uint8_t *b) { return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24; }

bool smt_quant_has_codebook(smt_dtype type) {
    switch (type) {
    case SMT_DTYPE_IQ1_S:
    case SMT_DTYPE_IQ1_M:
    case SMT_DTYPE_IQ2_XXS:
    case SMT_DTYPE_IQ2_XS:
    case SMT_DTYPE_IQ2_S:
    case SMT_DTYPE_IQ3_XXS:
    case SMT_DTYPE_IQ3_S:
        return true;
    default:
        return false;
    }
}

/* Entry `index` of a codebook of eight elements, in the lower half. */
static uint32_t entry8(uint32_t base, uint32_t index) { return smt_quant_codebooks[base + index / 2] >> (16 * (index % 2)); }

/* Seven bits of signs to eight. */
static uint32_t even_signs(uint32_t k) {
    uint32_t parity = k ^ k >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return k | (parity & 1) << 7;
}

/* Eight elements of an IQ2 type. */
static void group2(uint32_t codes, uint32_t signs, float scale, float *dst) {
    static const float magnitude[4] = {8, 25, 43, 0};
    for (int j = 0; j < 8; j++) {
        float w = scale * magnitude[codes >> (2 * j) & 3];
        dst[j] = signs >> j & 1 ? -w : w;
    }
}

/* Four elements of an IQ3 type. */
static void group3(uint32_t magnitudes, uint32_t signs, float scale, float *dst) {
    for (int j = 0; j < 4; j++) {
        float w = scale * (float)(magnitudes >> (8 * j) & 255);
        dst[j] = signs >> j & 1 ? -w : w;
    }
}

/* Eight elements of an IQ1 type. */
static void group1(uint32_t codes, float delta, float scale, float *dst) {
    for (int j = 0; j < 8; j++) dst[j] = scale * ((float)(int)(codes >> (2 * j) & 3) - 1 + delta);
}

void smt_quant_decode_iq2_xxs(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq2_xxs block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int g = 0; g < 8; g++) {
            uint32_t s = load32(block.qs[g] + 4);
            float scale = d * (0.5f + (float)(s >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, dst += 8)
                group2(entry8(CODEBOOK_IQ2_XXS, block.qs[g][l]), even_signs(s >> (7 * l) & 127), scale, dst);
        }
    }
}

/* The scale of group l of IQ2_XS and IQ2_S from the byte of its sub-block. */
static float scale2(float d, uint8_t scales, int l) { return d * (0.5f + (float)(scales >> (l < 2 ? 0 : 4) & 15)) * 0.25f; }

void smt_quant_decode_iq2_xs(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq2_xs block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N / 8; i++, dst += 8) {
            uint32_t v = block.qs[i];
            group2(entry8(CODEBOOK_IQ2_XS, v & 511), even_signs(v >> 9), scale2(d, block.scales[i / 4], i % 4), dst);
        }
    }
}

void smt_quant_decode_iq2_s(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq2_s block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N / 8; i++, dst += 8) {
            uint32_t index = block.qs[i] | (uint32_t)(block.qh[i / 4] >> (2 * (i % 4)) & 3) << 8;
            group2(entry8(CODEBOOK_IQ2_S, index), block.signs[i], scale2(d, block.scales[i / 4], i % 4), dst);
        }
    }
}

void smt_quant_decode_iq3_xxs(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq3_xxs block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N / 8; i++, dst += 8) {
            uint32_t s = load32(block.signs[i / 4]), signs = even_signs(s >> (7 * (i % 4)) & 127);
            float scale = d * (0.5f + (float)(s >> 28)) * 0.5f;
            group3(smt_quant_codebooks[CODEBOOK_IQ3_XXS + block.qs[2 * i]], signs, scale, dst);
            group3(smt_quant_codebooks[CODEBOOK_IQ3_XXS + block.qs[2 * i + 1]], signs >> 4, scale, dst + 4);
        }
    }
}

void smt_quant_decode_iq3_s(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq3_s block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N / 4; i++, dst += 4) {
            int g = i / 8;
            float scale = d * (float)(1 + 2 * (block.scales[g / 2] >> (g % 2 ? 4 : 0) & 15));
            uint32_t index = block.qs[i] | (uint32_t)(block.qh[g] >> (i % 8) & 1) << 8;
            group3(smt_quant_codebooks[CODEBOOK_IQ3_S + index], block.signs[i / 2] >> (i % 2 ? 4 : 0), scale, dst);
        }
    }
}

void smt_quant_decode_iq1_s(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq1_s block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int i = 0; i < N / 8; i++, dst += 8) {
            uint32_t h = block.qh[i / 4], index = block.qs[i] | (h >> (3 * (i % 4)) & 7) << 8;
            float scale = d * (float)(2 * (h >> 12 & 7) + 1);
            group1(entry8(CODEBOOK_IQ1, index), h & 0x8000 ? -0.125f : 0.125f, scale, dst);
        }
    }
}

/* A scale word of IQ1_M serves 64 elements: four scales of 3 bits for 16 elements each, and a nibble of d. */
void smt_quant_decode_iq1_m(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq1_m block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        int bits = 0;
        for (int k = 0; k < 4; k++) bits |= (block.scales[k] >> 12) << (4 * k);
        float d = smt_half_to_float((uint16_t)bits);
        for (int i = 0; i < N / 8; i++, dst += 8) {
            uint32_t h = block.qh[i / 2] >> (i % 2 ? 4 : 0) & 15, index = block.qs[i] | (h & 7) << 8;
            float scale = d * (float)(2 * (block.scales[i / 8] >> (3 * (i / 2 % 4)) & 7) + 1);
            group1(entry8(CODEBOOK_IQ1, index), h & 8 ? -0.125f : 0.125f, scale, dst);
        }
    }
}
