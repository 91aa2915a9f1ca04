// quant_funcs.glsl: one tensor type, chosen by SMT_TYPE (its ggml id), behind one interface:
//   Head head_load(window, row, s)  what the eight chunks 8 s ... 8 s + 7 of a row of p.k elements share
//   Raw raw_load(window, row, i, head)    the words and scales of chunk i: elements 32 i ... 32 i + 31
//   vec4 raw_w(raw, j)                   the weights of elements 4j .. 4j + 3 of the chunk; j constant after unrolling
// Row: lib/windows.glsl. A type whose chunks lie in the same vectors may offer these several at a time (lib/matmul_rows.glsl):
//   SHARED_CHUNKS, SharedVectors shared_load(window, row, i), Raw raw_of(shared, i, head)    i in shared_load: a multiple of SHARED_CHUNKS
// Types whose chunks are small integers (src/quant/quant.h: smt_quant_codes) have, instead of raw_w, which follows from them here, and for
// products of integers:
//   uint raw_q(raw, j)                   codes of elements 4j .. 4j + 3 in four bytes, each CODE_OFFSET too large; CODE_SIGNED: signed bytes
//   vec2 raw_scales(raw)                 their scale, and with CODE_MIN the min to add; with CODE_HALVES the scales of elements 0..15 and 16..31
// Weights come out exactly as the C decoder in src/quant computes them, but for two things: a product below 2^-126 may be zero, a freedom that
// Vulkan leaves to devices, and a scale that is infinite or no number is a large one here.
#ifndef QUANT_FUNCS_GLSL
#define QUANT_FUNCS_GLSL

#define T_F32 0
#define T_F16 1
#define T_Q4_0 2
#define T_Q4_1 3
#define T_Q5_0 6
#define T_Q5_1 7
#define T_Q8_0 8
#define T_Q2_K 10
#define T_Q3_K 11
#define T_Q4_K 12
#define T_Q5_K 13
#define T_Q6_K 14
#define T_IQ2_XXS 16
#define T_IQ2_XS 17
#define T_IQ3_XXS 18
#define T_IQ1_S 19
#define T_IQ4_NL 20
#define T_IQ3_S 21
#define T_IQ2_S 22
#define T_IQ4_XS 23
#define T_IQ1_M 29
#define T_BF16 30
#define T_MXFP4 39

#include "lib/windows.glsl"

// Elements 4j .. 4j + 3 of 32 that lie in four words: 0..15 are low nibbles, 16..31 high ones; word j & 3 holds them.
uvec4 nibbles(uint word, uint j) {
    uint q = word >> (j >= 4u ? 4u : 0u);
    return uvec4(q & 15u, (q >> 8) & 15u, (q >> 16) & 15u, (q >> 24) & 15u);
}

// Half number `index` of a vector of eight.
float half_of(uvec4 eight, uint index) {
    uvec2 four = (index & 4u) != 0u ? eight.zw : eight.xy;
    return half_exact((((index & 2u) != 0u ? four.y : four.x) >> (16u * (index & 1u))) & 0xffffu);
}

// The four bytes of a word, less `offset`, as floats. GPUs convert a byte in one instruction. A CPU driver shifts, masks and converts each: where
// weights are texels a byte becomes the last bits of a float of 2^23 (or, at bit 8, of 2^15) instead, which takes one operation where the processor
// has ternary logic, and a subtraction: of 488 vector operations for two rows of a chunk of Q8_0, one column, 445 are left (lavapipe 25.0, 16 lanes).
vec4 bytes_as_exponents(uint q, uint flip, float offset) {
    uvec4 bits = (uvec4(q, q, q >> 16, q >> 16) & uvec4(0xffu, 0xff00u, 0xffu, 0xff00u)) ^
                 (uvec4(0x4b000000u, 0x47000000u, 0x4b000000u, 0x47000000u) | uvec4(flip, flip << 8, flip, flip << 8));
    precise vec4 v = uintBitsToFloat(bits) - (vec2(8388608.0, 32768.0).xyxy + offset);
    return v;
}
vec4 bytes(uint q, float offset) {
#if SMT_TEXELS
    return bytes_as_exponents(q, 0u, offset);
#else
    return vec4(q & 0xffu, (q >> 8) & 0xffu, (q >> 16) & 0xffu, q >> 24) - offset;
#endif
}
vec4 signed_bytes(uint q) {
#if SMT_TEXELS
    return bytes_as_exponents(q, 0x80u, 128.0);
#else
    int i = int(q);
    return vec4(bitfieldExtract(i, 0, 8), bitfieldExtract(i, 8, 8), bitfieldExtract(i, 16, 8), i >> 24);
#endif
}

#if SMT_TYPE == T_F32 || SMT_TYPE == T_F16 || SMT_TYPE == T_BF16
#include "lib/quant_float.glsl"
#elif SMT_TYPE == T_Q4_0 || SMT_TYPE == T_Q4_1 || SMT_TYPE == T_Q5_0 || SMT_TYPE == T_Q5_1 || SMT_TYPE == T_Q8_0
#include "lib/quant_block32.glsl"
#elif SMT_TYPE == T_Q2_K || SMT_TYPE == T_Q3_K
#include "lib/quant_k_low.glsl"
#elif SMT_TYPE == T_Q4_K || SMT_TYPE == T_Q5_K || SMT_TYPE == T_Q6_K
#include "lib/quant_k.glsl"
#elif SMT_TYPE == T_IQ4_NL || SMT_TYPE == T_IQ4_XS || SMT_TYPE == T_MXFP4
#include "lib/quant_nonlinear.glsl"
#elif SMT_TYPE >= T_IQ2_XXS && SMT_TYPE <= T_IQ1_M
#include "lib/quant_codebook.glsl"
#else
#error no decoder for this SMT_TYPE
#endif

#ifdef CODE_OFFSET
vec4 raw_w(Raw r, uint j) {
    vec2 scales = raw_scales(r);
#if CODE_SIGNED
    vec4 codes = signed_bytes(raw_q(r, j));
#else
    vec4 codes = bytes(raw_q(r, j), float(CODE_OFFSET));
#endif
#if CODE_HALVES
    float scale = scales[j >> 2];
#else
    float scale = scales.x;
#endif
#if CODE_MIN
    precise vec4 w = scale * codes + scales.y;
#else
    precise vec4 w = scale * codes;
#endif
    return w;
}
#endif

// For those who take chunks one at a time.
Raw raw_load(uint win, Row row, uint chunk) { return raw_load(win, row, chunk, head_load(win, row, chunk >> 3)); }

#endif
