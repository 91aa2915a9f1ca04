/* quant_block32.c: blocks of 32 elements with one half-float scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
 *
 *   Q4_0  d | qs[16]               byte j: element j in the low nibble, element j + 16 in the high one; w = d * (q - 8)
 *   Q4_1  d | m | qs[16]           the same, but                                                        w = d * q + m
 *   Q5_0  d | qh[4] | qs[16]       as Q4_0, and bit i of the 32-bit qh is bit 4 of element i;           w = d * (q - 16)
 *   Q5_1  d | m | qh[4] | qs[16]   the same, but                                                        w = d * q + m
 *   Q8_0  d | qs[32]               signed bytes;                                                        w = d * q
 *
 * A block is a chunk of codes (quant.h: smt_quant_codes), and values are computed from those. */
#include "quant_blocks.h"
#include "quant_internal.h"

#include <string.h>

#define N      SMT_QUANT_CHUNK /* elements of a block */
#define NO_MIN 0x8000          /* -0 */

/* Both halves, which have one scale. */
static void set_scale(smt_quant_codes *out, uint16_t d, uint16_t m) {
    out->scale[0] = out->scale[1] = smt_half_to_float(d);
    out->min = smt_half_to_float(m);
    out->halves = false;
}

static int code_q4(const uint8_t *qs, int i) { return qs[i % 16] >> (i < 16 ? 0 : 4) & 15; }

static int code_q5(const uint8_t *qh, const uint8_t *qs, int i) { return code_q4(qs, i) | (qh[i / 8] >> (i % 8) & 1) << 4; }

void smt_quant_codes_q4_0(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q4_0 block;
    memcpy(&block, row + chunk * sizeof block, sizeof block);
    set_scale(out, block.d, NO_MIN);
    for (int i = 0; i < N; i++) out->q[i] = (int8_t)(code_q4(block.qs, i) - 8);
}

void smt_quant_codes_q4_1(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q4_1 block;
    memcpy(&block, row + chunk * sizeof block, sizeof block);
    set_scale(out, block.d, block.m);
    for (int i = 0; i < N; i++) out->q[i] = (int8_t)code_q4(block.qs, i);
}

void smt_quant_codes_q5_0(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q5_0 block;
    memcpy(&block, row + chunk * sizeof block, sizeof block);
    set_scale(out, block.d, NO_MIN);
    for (int i = 0; i < N; i++) out->q[i] = (int8_t)(code_q5(block.qh, block.qs, i) - 16);
}

void smt_quant_codes_q5_1(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q5_1 block;
    memcpy(&block, row + chunk * sizeof block, sizeof block);
    set_scale(out, block.d, block.m);
    for (int i = 0; i < N; i++) out->q[i] = (int8_t)code_q5(block.qh, block.qs, i);
}

void smt_quant_codes_q8_0(const uint8_t *row, uint64_t chunk, smt_quant_codes *out) {
    smt_block_q8_0 block;
    memcpy(&block, row + chunk * sizeof block, sizeof block);
    set_scale(out, block.d, NO_MIN);
    memcpy(out->q, block.qs, N);
}
