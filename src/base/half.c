/* half.c: binary16 and bfloat16 by integer arithmetic, so that no compiler flag or flush-to-zero mode changes a result. */
#include "base.h"

#include <string.h>

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float smt_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, mantissa = half & 1023;
    if (exponent == 31) return from_bits(sign | 0x7f800000 | mantissa << 13);
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float magnitude = (float)mantissa * 0x1p-24f; /* exact: subnormal halves are normal floats */
    return sign ? -magnitude : magnitude;
}

uint16_t smt_float_to_half(float value) {
    uint32_t bits = to_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);  /* NaN */
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* rounds to 65536 or more: infinity */
    if (magnitude < 0x38800000) {                                  /* subnormal half: round value / 2^-24 to nearest even */
        if (magnitude < 0x33000000) return (uint16_t)sign;
        uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000, shift = 126 - (magnitude >> 23);
        uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), middle = 1u << (shift - 1);
        kept += rest > middle || (rest == middle && (kept & 1));
        return (uint16_t)(sign | kept);
    }
    magnitude -= 0x38000000;
    magnitude += 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | magnitude >> 13);
}

float smt_bf16_to_float(uint16_t bits) { return from_bits((uint32_t)bits << 16); }

uint16_t smt_float_to_bf16(float value) {
    uint32_t bits = to_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 64); /* keep NaN a NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
