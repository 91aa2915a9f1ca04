/* quant_nonlinear.c: four-bit codes that stand for unevenly spaced numbers: IQ4_NL, IQ4_XS, MXFP4.
 *
 *   IQ4_NL  d | qs[16]                             32 elements; w = d * value
 *   IQ4_XS  d | scales_h | scales_l[4] | qs[128]   256 elements, 8 sub-blocks of 16 bytes each; w = (d * (scale - 32)) * value
 *           6-bit scale of sub-block s: nibble s of scales_l below, bits 2s, 2s + 1 of scales_h above
 *   MXFP4   e | qs[16]                             32 elements; w = 2^(e - 128) * twice the number whose 4 bits are 1 sign,
 *           2 exponent, 1 mantissa (twice, so that all are integers); e = 255 is a number like the others
 *
 * Byte j of 16 holds element j in its low nibble, element j + 16 in its high one. The order of the float operations is part of
 * the format. */
#include "quant_blocks.h"
#include "quant_internal.h"

#include <math.h>
#include <string.h>

const int8_t smt_quant_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t smt_quant_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static void decode32(const int8_t *values, float scale, const uint8_t *qs, float *dst) {
    for (int j = 0; j < 16; j++) {
        dst[j] = scale * (float)values[qs[j] & 15];
        dst[j + 16] = scale * (float)values[qs[j] >> 4];
    }
}

void smt_quant_decode_iq4_nl(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq4_nl block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        decode32(smt_quant_iq4_values, smt_half_to_float(block.d), block.qs, dst + 32 * b);
    }
}

void smt_quant_decode_iq4_xs(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++, dst += 256) {
        smt_block_iq4_xs block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        float d = smt_half_to_float(block.d);
        for (int s = 0; s < 8; s++) {
            int scale = (block.scales_l[s / 2] >> (s % 2 ? 4 : 0) & 15) | (block.scales_h >> (2 * s) & 3) << 4;
            decode32(smt_quant_iq4_values, d * (float)(scale - 32), block.qs + 16 * s, dst + 32 * s);
        }
    }
}

void smt_quant_decode_mxfp4(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_mxfp4 block;
        memcpy(&block, src + b * sizeof block, sizeof block);
        decode32(smt_quant_mxfp4_values, ldexpf(1, block.e - 128), block.qs, dst + 32 * b);
    }
}
