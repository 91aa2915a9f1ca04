/* quant_table.c: the table of codecs: one row per type that the engine computes with.
 *
 * A type absent from it has no decoder and no encoder, a NULL is one that is missing, and the calls say so by returning false;
 * so they do when the type's block does not divide the count, and nothing is written then. */
#include "quant_internal.h"

static const struct {
    smt_quant_decode_fn decode;
    smt_quant_encode_fn encode;
    smt_quant_codes_fn codes; /* in place of decode: values are computed from codes */
} codecs[SMT_DTYPE_LIMIT] = {
    [SMT_DTYPE_F32] = {.decode = smt_quant_decode_f32, .encode = smt_quant_encode_f32},
    [SMT_DTYPE_F16] = {.decode = smt_quant_decode_f16, .encode = smt_quant_encode_f16},
    [SMT_DTYPE_BF16] = {.decode = smt_quant_decode_bf16, .encode = smt_quant_encode_bf16},
    [SMT_DTYPE_Q4_0] = {.codes = smt_quant_codes_q4_0, .encode = smt_quant_encode_q4_0},
    [SMT_DTYPE_Q4_1] = {.codes = smt_quant_codes_q4_1, .encode = smt_quant_encode_q4_1},
    [SMT_DTYPE_Q5_0] = {.codes = smt_quant_codes_q5_0, .encode = smt_quant_encode_q5_0},
    [SMT_DTYPE_Q5_1] = {.codes = smt_quant_codes_q5_1, .encode = smt_quant_encode_q5_1},
    [SMT_DTYPE_Q8_0] = {.codes = smt_quant_codes_q8_0, .encode = smt_quant_encode_q8_0},
    [SMT_DTYPE_Q2_K] = {.decode = smt_quant_decode_q2_k, .encode = smt_quant_encode_q2_k},
    [SMT_DTYPE_Q3_K] = {.decode = smt_quant_decode_q3_k, .encode = smt_quant_encode_q3_k},
    [SMT_DTYPE_Q4_K] = {.codes = smt_quant_codes_q4_k, .encode = smt_quant_encode_q4_k},
    [SMT_DTYPE_Q5_K] = {.codes = smt_quant_codes_q5_k, .encode = smt_quant_encode_q5_k},
    [SMT_DTYPE_Q6_K] = {.codes = smt_quant_codes_q6_k, .encode = smt_quant_encode_q6_k},
    [SMT_DTYPE_IQ4_NL] = {.decode = smt_quant_decode_iq4_nl, .encode = smt_quant_encode_iq4_nl},
    [SMT_DTYPE_IQ4_XS] = {.decode = smt_quant_decode_iq4_xs, .encode = smt_quant_encode_iq4_xs},
    [SMT_DTYPE_MXFP4] = {.decode = smt_quant_decode_mxfp4, .encode = smt_quant_encode_mxfp4},
    [SMT_DTYPE_IQ1_S] = {.decode = smt_quant_decode_iq1_s},
    [SMT_DTYPE_IQ1_M] = {.decode = smt_quant_decode_iq1_m},
    [SMT_DTYPE_IQ2_XXS] = {.decode = smt_quant_decode_iq2_xxs},
    [SMT_DTYPE_IQ2_XS] = {.decode = smt_quant_decode_iq2_xs},
    [SMT_DTYPE_IQ2_S] = {.decode = smt_quant_decode_iq2_s},
    [SMT_DTYPE_IQ3_XXS] = {.decode = smt_quant_decode_iq3_xxs},
    [SMT_DTYPE_IQ3_S] = {.decode = smt_quant_decode_iq3_s},
};

/* True when the type has a codec and its block divides n; then *blocks is n in blocks. */
static bool blocks_of(smt_dtype type, uint64_t n, uint64_t *blocks) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    if (!info || (!codecs[type].decode && !codecs[type].codes) || n % info->elems) return false;
    *blocks = n / info->elems;
    return true;
}

bool smt_quant_has_codes(smt_dtype type) { return codecs[type].codes != NULL; }

void smt_quant_codes_at(smt_dtype type, const void *row, uint64_t chunk, smt_quant_codes *out) {
    codecs[type].codes(row, chunk, out);
}

static void decode_codes(smt_quant_codes_fn codes, const uint8_t *src, float *dst, uint64_t n_chunks) {
    for (uint64_t c = 0; c < n_chunks; c++) {
        smt_quant_codes chunk;
        codes(src, c, &chunk);
        for (int i = 0; i < SMT_QUANT_CHUNK; i++) *dst++ = chunk.scale[i / (SMT_QUANT_CHUNK / 2)] * (float)chunk.q[i] + chunk.min;
    }
}

bool smt_quant_decode(smt_dtype type, const void *src, float *dst, uint64_t n) {
    uint64_t blocks;
    if (!blocks_of(type, n, &blocks)) return false;
    if (codecs[type].codes)
        decode_codes(codecs[type].codes, src, dst, n / SMT_QUANT_CHUNK);
    else
        codecs[type].decode(src, dst, blocks);
    return true;
}

bool smt_quant_encode_weighted(smt_dtype type, const float *src, const float *weights, void *dst, uint64_t n) {
    uint64_t blocks;
    if (!blocks_of(type, n, &blocks) || !codecs[type].encode) return false;
    codecs[type].encode(src, weights, dst, blocks);
    return true;
}

bool smt_quant_encode(smt_dtype type, const float *src, void *dst, uint64_t n) {
    return smt_quant_encode_weighted(type, src, NULL, dst, n);
}
