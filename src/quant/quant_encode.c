/* quant_encode.c: the encoders of the block types: quant_fit.h finds scales and codes, this file packs them.
 *
 * The layouts are described where they are decoded (quant_block32.c, quant_k.c, quant_nonlinear.c). Every block is made from
 * its own elements and weights alone. */
#include "quant_blocks.h"
#include "quant_fit.h"

#include <math.h>
#include <string.h>

/* ---- 32 elements -------------------------------------------------------------------------------------------------- */

/* Element j in the low nibble of byte j, element j + 16 in the high one. */
static void pack_nibbles(const int8_t *codes, int offset, uint8_t *qs) {
    for (int j = 0; j < 16; j++) qs[j] = (uint8_t)(((codes[j] + offset) & 15) | ((codes[j + 16] + offset) & 15) << 4);
}

/* Bit 4 of each code. */
static void pack_fifths(const int8_t *codes, int offset, uint8_t *qh) {
    for (int j = 0; j < 32; j++) qh[j / 8] = (uint8_t)(qh[j / 8] | ((codes[j] + offset) >> 4 & 1) << (j % 8));
}

/* `weights` moves on with the blocks, unless there are none. */
#define WEIGHTS(n, b) (weights ? weights + (uint64_t)(n) * (b) : NULL)

static void fit_scale(const smt_levels *levels, const float *x, const float *weights, uint16_t *d, int8_t codes[32]) {
    float w[32];
    smt_fit_weights(weights, 32, w);
    smt_fit_scale(levels, x, w, 32, d, codes);
}

static void fit_line(int high, const float *x, const float *weights, uint16_t *d, uint16_t *m, int8_t codes[32]) {
    float w[32];
    smt_fit_weights(weights, 32, w);
    smt_fit_line(high, x, w, 32, d, m, codes);
}

void smt_quant_encode_q4_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_levels levels = {.low = -8, .high = 7};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_q4_0 block;
        int8_t codes[32];
        fit_scale(&levels, src + 32 * b, WEIGHTS(32, b), &block.d, codes);
        pack_nibbles(codes, 8, block.qs);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_q4_1(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_q4_1 block;
        int8_t codes[32];
        fit_line(15, src + 32 * b, WEIGHTS(32, b), &block.d, &block.m, codes);
        pack_nibbles(codes, 0, block.qs);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_q5_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_levels levels = {.low = -16, .high = 15};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_q5_0 block = {0};
        int8_t codes[32];
        fit_scale(&levels, src + 32 * b, WEIGHTS(32, b), &block.d, codes);
        pack_nibbles(codes, 16, block.qs);
        pack_fifths(codes, 16, block.qh);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_q5_1(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_q5_1 block = {0};
        int8_t codes[32];
        fit_line(31, src + 32 * b, WEIGHTS(32, b), &block.d, &block.m, codes);
        pack_nibbles(codes, 0, block.qs);
        pack_fifths(codes, 0, block.qh);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

/* Eight bits leave nothing to search for. The division uses the scale before it is rounded, as in the tools that made most
 * existing files: our blocks equal theirs. */
void smt_quant_encode_q8_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t b = 0; b < n_blocks; b++, src += 32) {
        float top = 0;
        for (int j = 0; j < 32; j++) top = fmaxf(top, fabsf(src[j]));
        float d = top / 127, id = d != 0 ? 1 / d : 0;
        smt_block_q8_0 block = {.d = smt_float_to_half(d)};
        for (int j = 0; j < 32; j++) block.qs[j] = (int8_t)smt_quant_nearest(src[j] * id, -127, 127);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_iq4_nl(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_levels levels = {.low = 0, .high = 15, .values = smt_quant_iq4_values};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_iq4_nl block;
        int8_t codes[32];
        fit_scale(&levels, src + 32 * b, WEIGHTS(32, b), &block.d, codes);
        pack_nibbles(codes, 0, block.qs);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

/* ---- MXFP4: the scale is a power of two --------------------------------------------------------------------------- */

/* Codes for x in units of `scale`; returns the weighted error. */
static float code_mxfp4(const float *x, const float *w, float scale, int8_t codes[32]) {
    static const smt_levels magnitudes = {.low = 0, .high = 7, .values = smt_quant_mxfp4_values};
    float error = 0;
    for (int j = 0; j < 32; j++) {
        int code = smt_fit_code(&magnitudes, fabsf(x[j]) / scale);
        float off = fabsf(x[j]) - scale * (float)smt_quant_mxfp4_values[code];
        codes[j] = (int8_t)(code | (x[j] < 0 && code ? 8 : 0));
        error += w[j] * off * off;
    }
    return error;
}

/* The exponent with which the largest magnitude lies between the two top levels, and its neighbours. */
static void encode_block_mxfp4(const float *x, const float *w, smt_block_mxfp4 *block) {
    float top = 0, least = INFINITY;
    int exponent = 0;
    int8_t codes[32], best[32] = {0};
    for (int j = 0; j < 32; j++) top = fmaxf(top, fabsf(x[j]));
    block->e = 0;
    if (top > 0 && isfinite(top)) {
        frexpf(top, &exponent); /* top < 2^exponent, and 8 is the last power of two among the levels */
        for (int e = exponent - 5; e <= exponent - 3; e++) {
            int biased = e + 128 < 0 ? 0 : e + 128 > 254 ? 254 : e + 128;
            float error = code_mxfp4(x, w, ldexpf(1, biased - 128), codes);
            if (error < least) {
                least = error;
                block->e = (uint8_t)biased;
                memcpy(best, codes, sizeof best);
            }
        }
    }
    pack_nibbles(best, 0, block->qs);
}

void smt_quant_encode_mxfp4(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_block_mxfp4 block;
        float w[32];
        smt_fit_weights(WEIGHTS(32, b), 32, w);
        encode_block_mxfp4(src + 32 * b, w, &block);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

/* ---- 256 elements ------------------------------------------------------------------------------------------------- */

static void fit_scales(const smt_fit_grid *grid, const float *x, const float *weights, smt_fit_block *fit) {
    float w[256];
    smt_fit_weights(weights, 256, w);
    smt_fit_scales(grid, x, w, fit);
}

static void fit_lines(const smt_fit_grid *grid, const float *x, const float *weights, smt_fit_block *fit) {
    float w[256];
    smt_fit_weights(weights, 256, w);
    smt_fit_lines(grid, x, w, fit);
}

/* Two bits of each element: bits 2r, 2r + 1 of byte l of a half for element 32r + l. */
static void pack_pairs(const int8_t *codes, int offset, int shift, uint8_t *qs) {
    for (int i = 0; i < 256; i++) {
        uint8_t *at = &qs[32 * (i / 128) + i % 32];
        *at = (uint8_t)(*at | ((codes[i] + offset) >> shift & 3) << (2 * (i / 32 % 4)));
    }
}

void smt_quant_encode_q2_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_fit_grid grid = {.levels = {0, 3, NULL}, .size = 16, .n_subs = 16, .scale_high = 15};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_fit_block fit;
        fit_lines(&grid, src + 256 * b, WEIGHTS(256, b), &fit);
        smt_block_q2_k block = {.d = fit.d, .dmin = fit.dmin};
        for (int s = 0; s < 16; s++) block.scales[s] = (uint8_t)(fit.scales[s] | fit.mins[s] << 4);
        pack_pairs(fit.codes, 0, 0, block.qs);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_q3_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_fit_grid grid = {.levels = {-4, 3, NULL}, .size = 16, .n_subs = 16, .scale_low = -32, .scale_high = 31};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_fit_block fit;
        fit_scales(&grid, src + 256 * b, WEIGHTS(256, b), &fit);
        smt_block_q3_k block = {.d = fit.d};
        for (int s = 0; s < 16; s++) {
            int scale = fit.scales[s] + 32;
            block.scales[s % 8] = (uint8_t)(block.scales[s % 8] | (scale & 15) << (s < 8 ? 0 : 4));
            block.scales[8 + s % 4] = (uint8_t)(block.scales[8 + s % 4] | (scale >> 4) << (2 * (s / 4)));
        }
        pack_pairs(fit.codes, 4, 0, block.qs);
        for (int i = 0; i < 256; i++)
            block.hmask[i % 32] = (uint8_t)(block.hmask[i % 32] | ((fit.codes[i] + 4) >> 2) << (i / 32));
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

/* The first four scales and minimums have a byte each (six low bits); the others keep their low nibbles in bytes 8..11 and
 * their two high bits in the tops of bytes 0..3 (scales) and 4..7 (minimums). */
static void pack_scale_mins(const smt_fit_block *fit, uint8_t *scales) {
    for (int s = 0; s < 4; s++) {
        int scale = fit->scales[s + 4], min = fit->mins[s + 4];
        scales[s] = (uint8_t)(fit->scales[s] | (scale >> 4) << 6);
        scales[s + 4] = (uint8_t)(fit->mins[s] | (min >> 4) << 6);
        scales[s + 8] = (uint8_t)((scale & 15) | (min & 15) << 4);
    }
}

/* Runs of 32 elements, two at a time: the first in the low nibbles, the second in the high ones. */
static void pack_runs(const int8_t *codes, uint8_t *qs) {
    for (int i = 0; i < 256; i++) {
        uint8_t *at = &qs[32 * (i / 64) + i % 32];
        *at = (uint8_t)(*at | (codes[i] & 15) << (i / 32 % 2 ? 4 : 0));
    }
}

void smt_quant_encode_q4_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_fit_grid grid = {.levels = {0, 15, NULL}, .size = 32, .n_subs = 8, .scale_high = 63};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_fit_block fit;
        fit_lines(&grid, src + 256 * b, WEIGHTS(256, b), &fit);
        smt_block_q4_k block = {.d = fit.d, .dmin = fit.dmin};
        pack_scale_mins(&fit, block.scales);
        pack_runs(fit.codes, block.qs);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_q5_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_fit_grid grid = {.levels = {0, 31, NULL}, .size = 32, .n_subs = 8, .scale_high = 63};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_fit_block fit;
        fit_lines(&grid, src + 256 * b, WEIGHTS(256, b), &fit);
        smt_block_q5_k block = {.d = fit.d, .dmin = fit.dmin};
        pack_scale_mins(&fit, block.scales);
        pack_runs(fit.codes, block.qs);
        for (int i = 0; i < 256; i++) block.qh[i % 32] = (uint8_t)(block.qh[i % 32] | (fit.codes[i] >> 4) << (i / 32));
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_q6_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_fit_grid grid = {.levels = {-32, 31, NULL}, .size = 16, .n_subs = 16, .scale_low = -128, .scale_high = 127};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_fit_block fit;
        fit_scales(&grid, src + 256 * b, WEIGHTS(256, b), &fit);
        smt_block_q6_k block = {.d = fit.d};
        for (int s = 0; s < 16; s++) block.scales[s] = (int8_t)fit.scales[s];
        for (int i = 0; i < 256; i++) { /* a half is four runs of 32; see quant_k.c */
            uint8_t *ql = &block.ql[64 * (i / 128) + i % 64];
            *ql = (uint8_t)(*ql | ((fit.codes[i] + 32) & 15) << (i % 128 < 64 ? 0 : 4));
        }
        pack_pairs(fit.codes, 32, 4, block.qh);
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}

void smt_quant_encode_iq4_xs(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    static const smt_fit_grid grid = {
        .levels = {0, 15, smt_quant_iq4_values}, .size = 32, .n_subs = 8, .scale_low = -32, .scale_high = 31};
    for (uint64_t b = 0; b < n_blocks; b++) {
        smt_fit_block fit;
        fit_scales(&grid, src + 256 * b, WEIGHTS(256, b), &fit);
        smt_block_iq4_xs block = {.d = fit.d};
        for (int s = 0; s < 8; s++) {
            int scale = fit.scales[s] + 32;
            block.scales_l[s / 2] = (uint8_t)(block.scales_l[s / 2] | (scale & 15) << (s % 2 ? 4 : 0));
            block.scales_h = (uint16_t)(block.scales_h | (scale >> 4) << (2 * s));
            pack_nibbles(fit.codes + 32 * s, 0, block.qs + 16 * s);
        }
        memcpy(dst + b * sizeof block, &block, sizeof block);
    }
}
