/* quant_internal.h: the codecs behind quant.h, one row of quant_table.c each. Private to this room.
 *
 * A codec works on whole blocks. Bytes come from files at any alignment, so each block is copied into its struct (quant_blocks.h)
 * before a field is read; the structs hold half floats as raw bits, little-endian as in the file (so is every host we build for).
 * A further type is a struct, one decoder (and maybe an encoder) in its family's file, two lines here, and one row of the table. */
#ifndef SMT_QUANT_INTERNAL_H
#define SMT_QUANT_INTERNAL_H

#include "quant.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks are read as they lie in the file");

typedef void (*smt_quant_codes_fn)(const uint8_t *row, uint64_t chunk, smt_quant_codes *out); /* as smt_quant_codes_at */
typedef void (*smt_quant_decode_fn)(const uint8_t *src, float *dst, uint64_t n_blocks);
/* `weights` is NULL where every element counts alike; types of one element a block have no use for them. */
typedef void (*smt_quant_encode_fn)(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);

/* quant_simple.c: one element a block */
void smt_quant_decode_f32(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_encode_f32(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_decode_f16(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_encode_f16(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_decode_bf16(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_encode_bf16(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);

/* quant_block32.c: 32 elements a block, one scale */
void smt_quant_codes_q4_0(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);
void smt_quant_codes_q4_1(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);
void smt_quant_codes_q5_0(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);
void smt_quant_codes_q5_1(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);
void smt_quant_codes_q8_0(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);

/* quant_k.c: 256 elements a block, scales of sub-blocks quantised themselves */
void smt_quant_decode_q2_k(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_q3_k(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_codes_q4_k(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);
void smt_quant_codes_q5_k(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);
void smt_quant_codes_q6_k(const uint8_t *row, uint64_t chunk, smt_quant_codes *out);

/* quant_nonlinear.c: 4-bit codes that stand for the numbers of a table */
void smt_quant_decode_iq4_nl(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_iq4_xs(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_mxfp4(const uint8_t *src, float *dst, uint64_t n_blocks);
extern const int8_t smt_quant_iq4_values[16];   /* ascending */
extern const int8_t smt_quant_mxfp4_values[16]; /* twice the value */

/* quant_codebook.c: 256 elements a block, groups of 4 or 8 elements listed in a codebook */
void smt_quant_decode_iq2_xxs(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_iq2_xs(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_iq2_s(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_iq3_xxs(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_iq3_s(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_iq1_s(const uint8_t *src, float *dst, uint64_t n_blocks);
void smt_quant_decode_iq1_m(const uint8_t *src, float *dst, uint64_t n_blocks);

/* quant_encode.c */
void smt_quant_encode_q4_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q4_1(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q5_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q5_1(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q8_0(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_iq4_nl(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_mxfp4(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q2_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q3_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q4_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q5_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_q6_k(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);
void smt_quant_encode_iq4_xs(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks);

/* The integer nearest to x, halves away from zero, held between low and high. NaN gives low: no input makes it undefined. */
static inline int smt_quant_nearest(float x, int low, int high) {
    if (!(x > (float)low)) return low;
    if (x >= (float)high) return high;
    return (int)(x < 0 ? x - 0.5f : x + 0.5f);
}

#endif
