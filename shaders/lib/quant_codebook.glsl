// quant_codebook.glsl: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S: 256 elements a block in groups that index a codebook. The formats are
// told in src/quant/quant_codebook.c. Of a block's eight sub-blocks of 32, g is the chunk's, its four groups of 8 elements are l = 0..3.
//
// The codebooks come in one buffer (src/quant/quant_codebook_data.c), bound beside the windows. As constant arrays, 1024 x 1024 at one column,
// they cost 1.7 (IQ2_XXS) to 11 times (IQ1_S) the run time on SwiftShader and 1.3 to 4 times on lavapipe 25.0, and compiling takes up to 11
// times as long: each invocation gets a copy.
layout(std430, set = 0, binding = CODEBOOK_BINDING) readonly buffer Codebooks { uint codebooks[]; };

// Chunks share nothing.
#define Head uint
Head head_load(uint win, Row row, uint super) { return 0u; }

// Eight elements of two bits: half of a word.
uint entry8(uint base, uint index) { return codebooks[base + (index >> 1)] >> (16u * (index & 1u)); }

// 7 bits of signs become 8: their number is even.
uint even_signs(uint k) { return k | (uint(bitCount(k) & 1) << 7); }
// Those of four groups, each byte its group's.
uint even_signs4(uint s) {
    return even_signs(s & 127u) | (even_signs((s >> 7) & 127u) << 8) | (even_signs((s >> 14) & 127u) << 16) |
           (even_signs((s >> 21) & 127u) << 24);
}
// Negates the elements 4j .. 4j + 3 whose sign bit is set.
ivec4 with_signs(ivec4 size, uint signs, uint j) {
    uint four = signs >> (4u * j);
    ivec4 sign = -ivec4(four & 1u, (four >> 1) & 1u, (four >> 2) & 1u, (four >> 3) & 1u);
    return (size ^ sign) - sign;
}

#if SMT_TYPE == T_IQ3_XXS || SMT_TYPE == T_IQ3_S
struct Raw {
    uint q[8]; // codebook entries: a magnitude a byte
    uint signs;
    float scale;
};

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    uint g = chunk & 7u;
#if SMT_TYPE == T_IQ3_XXS
    uint block = row + (chunk >> 3) * 98u, s = load_u32(win, block + 66u + 4u * g);
    precise float scale = half_exact(load_u16(win, block)) * (0.5 + float(s >> 28)) * 0.5;
    r.signs = even_signs4(s);
    const uint base = CODEBOOK_IQ3_XXS;
    uint high = 0u;
#else
    uint block = row + (chunk >> 3) * 110u, four = load_u8(win, block + 106u + (g >> 1)) >> (4u * (g & 1u));
    precise float scale = half_exact(load_u16(win, block)) * float(1u + 2u * (four & 15u));
    r.signs = load_u32(win, block + 74u + 4u * g);
    const uint base = CODEBOOK_IQ3_S;
    uint high = load_u8(win, block + 66u + g);
#endif
    r.scale = scale;
    uint a = load_u32(win, block + 2u + 8u * g), b = load_u32(win, block + 6u + 8u * g);
    [[unroll]] for (uint i = 0; i < 4; i++) {
        r.q[i] = codebooks[base + (((a >> (8u * i)) & 255u) | (((high >> i) & 1u) << 8))];
        r.q[i + 4u] = codebooks[base + (((b >> (8u * i)) & 255u) | (((high >> (i + 4u)) & 1u) << 8))];
    }
    return r;
}

vec4 raw_w(Raw r, uint j) {
    uint q = r.q[j];
    precise vec4 w = r.scale * vec4(with_signs(ivec4(q & 255u, (q >> 8) & 255u, (q >> 16) & 255u, q >> 24), r.signs, j));
    return w;
}

#elif SMT_TYPE == T_IQ1_S || SMT_TYPE == T_IQ1_M
struct Raw {
    uint q[4];   // codebook entries, in the lower half
    uint minus;  // bit l: delta of group l is -1/8, not 1/8
    vec2 scale;  // of elements 0..15 and 16..31
};

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    uint g = chunk & 7u;
#if SMT_TYPE == T_IQ1_S
    uint block = row + (chunk >> 3) * 50u, low = load_u32(win, block + 2u + 4u * g), h = load_u16(win, block + 34u + 2u * g);
    precise vec2 scale = vec2(half_exact(load_u16(win, block)) * float(2u * ((h >> 12) & 7u) + 1u));
    r.minus = (h >> 15) * 15u;
    const uint step = 3u;
#else
    // Eight bytes of scales at 48: four words of {four 3-bit scales, a nibble of d}.
    uint block = row + (chunk >> 3) * 56u, at = block >> 2, low = W[win].w[at + g], h = load_u16(win, block + 32u + 2u * g);
    uint s0 = W[win].w[at + 12u], s1 = W[win].w[at + 13u], s = W[win].w[at + 12u + (g >> 2)] >> (16u * ((g >> 1) & 1u) + 6u * (g & 1u));
    uint d = ((s0 >> 12) & 0xfu) | ((s0 >> 24) & 0xf0u) | ((s1 >> 4) & 0xf00u) | ((s1 >> 16) & 0xf000u);
    precise vec2 scale = half_exact(d) * vec2(2u * (s & 7u) + 1u, 2u * ((s >> 3) & 7u) + 1u);
    r.minus = ((h >> 3) & 1u) | ((h >> 6) & 2u) | ((h >> 9) & 4u) | ((h >> 12) & 8u);
    const uint step = 4u;
#endif
    r.scale = scale;
    [[unroll]] for (uint l = 0; l < 4; l++)
        r.q[l] = entry8(CODEBOOK_IQ1, ((low >> (8u * l)) & 255u) | (((h >> (step * l)) & 7u) << 8));
    return r;
}

vec4 raw_w(Raw r, uint j) {
    uint q = r.q[j >> 1] >> (8u * (j & 1u));
    float base = -0.875 - 0.25 * float((r.minus >> (j >> 1)) & 1u); // delta - 1
    precise vec4 w = r.scale[j >> 2] * (vec4(q & 3u, (q >> 2) & 3u, (q >> 4) & 3u, (q >> 6) & 3u) + base);
    return w;
}

#else
struct Raw {
    uint q[4]; // codebook entries, in the lower half
    uint signs;
    vec2 scale; // of elements 0..15 and 16..31
};

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    uint g = chunk & 7u;
#if SMT_TYPE == T_IQ2_XXS
    uint block = row + (chunk >> 3) * 66u, low = load_u32(win, block + 2u + 8u * g), s = load_u32(win, block + 6u + 8u * g);
    precise vec2 scale = vec2(half_exact(load_u16(win, block)) * (0.5 + float(s >> 28)) * 0.25);
    r.signs = even_signs4(s);
    [[unroll]] for (uint l = 0; l < 4; l++) r.q[l] = entry8(CODEBOOK_IQ2_XXS, (low >> (8u * l)) & 255u);
#elif SMT_TYPE == T_IQ2_XS
    uint block = row + (chunk >> 3) * 74u, a = load_u32(win, block + 2u + 8u * g), b = load_u32(win, block + 6u + 8u * g);
    uint nibble = load_u8(win, block + 66u + g);
    r.signs = even_signs((a >> 9) & 127u) | (even_signs(a >> 25) << 8) | (even_signs((b >> 9) & 127u) << 16) | (even_signs(b >> 25) << 24);
    r.q = uint[4](entry8(CODEBOOK_IQ2_XS, a & 511u), entry8(CODEBOOK_IQ2_XS, (a >> 16) & 511u), entry8(CODEBOOK_IQ2_XS, b & 511u),
                  entry8(CODEBOOK_IQ2_XS, (b >> 16) & 511u));
#else
    uint block = row + (chunk >> 3) * 82u, low = load_u32(win, block + 2u + 4u * g), high = load_u8(win, block + 66u + g);
    uint nibble = load_u8(win, block + 74u + g);
    r.signs = load_u32(win, block + 34u + 4u * g);
    [[unroll]] for (uint l = 0; l < 4; l++)
        r.q[l] = entry8(CODEBOOK_IQ2_S, ((low >> (8u * l)) & 255u) | (((high >> (2u * l)) & 3u) << 8));
#endif
#if SMT_TYPE != T_IQ2_XXS
    precise vec2 scale = half_exact(load_u16(win, block)) * (0.5 + vec2(nibble & 15u, nibble >> 4)) * 0.25;
#endif
    r.scale = scale;
    return r;
}

vec4 raw_w(Raw r, uint j) {
    uint q = r.q[j >> 1] >> (8u * (j & 1u));
    uvec4 code = uvec4(q & 3u, (q >> 2) & 3u, (q >> 4) & 3u, (q >> 6) & 3u);
    ivec4 size = ivec4((uvec4(0x2b1908u) >> (8u * code)) & 63u); // 8, 25, 43
    precise vec4 w = r.scale[j >> 2] * vec4(with_signs(size, r.signs, j));
    return w;
}
#endif
