// quant_k.glsl: Q4_K, Q5_K and Q6_K: super-blocks of 256 elements.
//
// Q4_K stays in place. Planes with the scales and mins of each sub-block precomputed as float32 pairs (192 bytes a block instead of 144, equal
// bits) measured 1.01x at one column and 1.04x at eight on lavapipe 25, 0.98x and 0.99x on lavapipe 22, 1.13x and 1.24x on SwiftShader, and
// save 10 to 13 % of RADV's static cost at one column, 3 % at eight: not worth a third more memory traffic. Float16 pairs change the results.

// Each chunk of 32 loads anew what it shares with its neighbours. Loading 64 (Q4_K) or 128 elements (Q6_K) at once multiplies the code that a
// CPU driver compiles: the cold first dispatch of Q6_K x8 took 46 to 49 s on lavapipe 25.0, now 7 to 10 s, Q4_K x8 11 to 17 s, now 7 to 8 s.
// The price at one column, 8192 x 2048: Q6_K 15 ms, now 27 ms; Q4_K 10 ms, now 11 to 13 ms.

#if SMT_TYPE != T_Q6_K
// 16-byte aligned: {d, dmin, 12 bytes of 6-bit scales and mins}, in Q5_K 32 bytes of fifth bits (bit s for sub-block s), then 4 x 32 bytes of
// which each holds two sub-blocks of 32: low nibbles, then high nibbles.
#define VECTORS (SMT_TYPE == T_Q4_K ? 9u : 11u)
struct Raw {
    uint q[8]; // the wanted bits at the bottom of each byte
    float scale, low; // w = scale * q - low
};

// 6-bit scale and min of sub-block s.
uvec2 scale_min(uvec4 head, uint s) {
    uint t = 8u * (s & 3u);
    uint y = head.y >> t, z = head.z >> t, w = head.w >> t;
    return s < 4u ? uvec2(y & 63u, z & 63u)
                  : uvec2((w & 15u) | ((y >> 2) & 48u), ((w >> 4) & 15u) | ((z >> 2) & 48u));
}

Raw raw_load(uint win, uint row_byte, uint chunk) {
    Raw r;
    uint s = chunk & 7u, block = (row_byte >> 4) + (chunk >> 3) * VECTORS, at = block + VECTORS - 8u + (s & 6u), shift = 4u * (s & 1u);
    uvec4 head = WV[win].v[block], a = WV[win].v[at] >> shift, b = WV[win].v[at + 1u] >> shift;
#if SMT_TYPE == T_Q5_K
    a = (a & 0x0f0f0f0fu) | (((WV[win].v[block + 1u] >> s) & 0x01010101u) << 4);
    b = (b & 0x0f0f0f0fu) | (((WV[win].v[block + 2u] >> s) & 0x01010101u) << 4);
#endif
    r.q = uint[8](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
    uvec2 both = scale_min(head, s);
    precise float scale = half_exact(head.x & 0xffffu) * float(both.x), low = half_exact(head.x >> 16) * float(both.y);
    r.scale = scale;
    r.low = low;
    return r;
}

vec4 raw_w(Raw r, uint j) {
    const uint mask = SMT_TYPE == T_Q4_K ? 15u : 31u;
    uint q = r.q[j];
    precise vec4 w = r.scale * vec4(q & mask, (q >> 8) & mask, (q >> 16) & mask, (q >> 24) & mask) - r.low;
    return w;
}

#else
// Q6_K, 210 bytes at 2-byte alignment: low nibbles, pairs of high bits, 16 signed scales, d. Sub-block s of 32 lies in half n = s / 4: its low
// nibbles in 32 bytes that it shares with s + 2, its high bits in 32 bytes that all four share.
struct Raw {
    uint low[8], high[8]; // the wanted bits at the bottom of each byte
    vec2 scale;           // of elements 0..15 and 16..31
};

Raw raw_load(uint win, uint row_byte, uint chunk) {
    Raw r;
    uint block = row_byte + (chunk >> 3) * 210u, s = chunk & 3u, n = (chunk >> 2) & 1u;
    // A block at an odd half-word: each word is the upper half of one and the lower half of the next. Plain arithmetic, no choice: with
    // ?: here, SwiftShader takes minutes to compile.
    uint shift = 8u * (block & 2u), mask = (block & 2u) != 0u ? 0xffffffffu : 0u;
    uint at = (block >> 2) + 16u * n + 8u * (s & 1u), prev = W[win].w[at];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint next = W[win].w[at + 1u + i];
        r.low[i] = ((prev >> shift) | ((next << 16) & mask)) >> (4u * (s >> 1));
        prev = next;
    }
    at = (block >> 2) + 32u + 8u * n;
    prev = W[win].w[at];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint next = W[win].w[at + 1u + i];
        r.high[i] = ((prev >> shift) | ((next << 16) & mask)) >> (2u * s);
        prev = next;
    }
    int both = int(load_u16(win, block + 192u + 8u * n + 2u * s));
    precise vec2 scale = half_exact(load_u16(win, block + 208u)) * vec2(bitfieldExtract(both, 0, 8), bitfieldExtract(both, 8, 8));
    r.scale = scale;
    return r;
}

vec4 raw_w(Raw r, uint j) {
    uint low = r.low[j], high = r.high[j];
    uvec4 q = uvec4((low & 15u) | ((high & 3u) << 4), ((low >> 8) & 15u) | ((high >> 4) & 48u),
                    ((low >> 16) & 15u) | ((high >> 12) & 48u), ((low >> 24) & 15u) | ((high >> 20) & 48u));
    precise vec4 w = r.scale[j >> 2] * vec4(ivec4(q) - 32);
    return w;
}
#endif
