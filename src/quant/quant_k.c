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
 * Q4_K, Q5_K and Q6_K have chunks of codes (quant.h: smt_quant_codes), from which values are computed.
 * The order of the float operations is part of the format: the shaders repeat it and are compared bit for bit. */
#include "quant_blocks.h"
#include "quant_internal.h"

#include <string.h>

#define N      256 /* elements of a block */
#define CHUNKS (N / SMT_QUANT_CHUNK)

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

/* Scale and minimum of sub-block s, which is a chunk. */
static void set_scales(smt_quant_codes *out, uint16_t d, uint16_t dmin, const uint8_t *scales, int s) {
    int sc, mn;
    scale_min(scales, s, &sc, &mn);
    out->scale[0] = out->scale[1] = smt_half_to_float(d) * (float)sc;
    out->min = -(smt_half_to_float(dmin) * (float)mn);
    out->halves = false;
}

static int code_q4(const uint8_t *qs, int s, int l) { return qs[32 * (s / 2) + l] >> (s % 2 ? 4 : 0) & 15; }

void smt_quant_codes_q4_k(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q4_k block;
    int s = (int)(chunk % CHUNKS);
    memcpy(&block, row + chunk / CHUNKS * sizeof block, sizeof block);
    set_scales(out, block.d, block.dmin, block.scales, s);
    for (int l = 0; l < SMT_QUANT_CHUNK; l++) out->q[l] = (int8_t)code_q4(block.qs, s, l);
}

void smt_quant_codes_q5_k(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q5_k block;
    int s = (int)(chunk % CHUNKS);
    memcpy(&block, row + chunk / CHUNKS * sizeof block, sizeof block);
    set_scales(out, block.d, block.dmin, block.scales, s);
    for (int l = 0; l < SMT_QUANT_CHUNK; l++) out->q[l] = (int8_t)(code_q4(block.qs, s, l) | (block.qh[l] >> s & 1) << 4);
}

/* ---- Q6_K --------------------------------------------------------------------------------------------------------- */

void smt_quant_codes_q6_k(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q6_k block;
    int c = (int)(chunk % CHUNKS), half = c / 4, run = c % 4;
    memcpy(&block, row + chunk / CHUNKS * sizeof block, sizeof block);
    float d = smt_half_to_float(block.d);
    out->scale[0] = d * (float)block.scales[2 * c];
    out->scale[1] = d * (float)block.scales[2 * c + 1];
    out->min = -0.0f;
    out->halves = true;
    for (int l = 0; l < SMT_QUANT_CHUNK; l++) {
        int low = block.ql[64 * half + 32 * (run % 2) + l] >> (run < 2 ? 0 : 4) & 15,
            high = block.qh[32 * half + l] >> (2 * run) & 3;
        out->q[l] = (int8_t)((low | high << 4) - 32);
    }
}
