/* quant_simple.c: types without blocks: F32, F16, BF16.
 *
 * F32 is a copy, bit for bit, NaN payloads included. The 16-bit types decode exactly and encode with rounding to nearest
 * even (base/half.c), subnormals included, so decode(encode(decode(bits))) is the identity on numbers. */
#include "quant_internal.h"

#include <string.h>

_Static_assert(sizeof(float) == 4, "F32 elements are copied");

void smt_quant_decode_f32(const uint8_t *src, float *dst, uint64_t n_blocks) { memcpy(dst, src, n_blocks * sizeof *dst); }
void smt_quant_encode_f32(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    memcpy(dst, src, n_blocks * sizeof *src);
}

static uint16_t load16(const uint8_t *src) { return (uint16_t)(src[0] | src[1] << 8); }
static void store16(uint8_t *dst, uint16_t bits) {
    dst[0] = (uint8_t)(bits & 255);
    dst[1] = (uint8_t)(bits >> 8);
}

void smt_quant_decode_f16(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t i = 0; i < n_blocks; i++) dst[i] = smt_half_to_float(load16(src + 2 * i));
}

void smt_quant_encode_f16(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t i = 0; i < n_blocks; i++) store16(dst + 2 * i, smt_float_to_half(src[i]));
}

void smt_quant_decode_bf16(const uint8_t *src, float *dst, uint64_t n_blocks) {
    for (uint64_t i = 0; i < n_blocks; i++) dst[i] = smt_bf16_to_float(load16(src + 2 * i));
}

void smt_quant_encode_bf16(const float *src, const float *weights, uint8_t *dst, uint64_t n_blocks) {
    (void)weights;
    for (uint64_t i = 0; i < n_blocks; i++) store16(dst + 2 * i, smt_float_to_bf16(src[i]));
}
