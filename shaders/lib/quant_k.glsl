// quant_k.glsl: Q4_K, Q5_K and Q6_K: super-blocks of 256 elements.
//
// Q4_K and Q5_K keep the file's blocks. Planes with the scales and mins of each sub-block precomputed as float32 pairs (192 bytes a block instead of 144, equal
// bits) measured 1.01x at one column and 1.04x at eight on lavapipe 25, 0.98x and 0.99x on lavapipe 22, 1.13x and 1.24x on SwiftShader, and
// save 10 to 13 % of RADV's static cost at one column, 3 % at eight: not worth a third more memory traffic. Float16 pairs change the results.

// A chunk has 32 elements; scales come once for eight of them (Head). Decoding 64 (Q4_K) or 128 elements (Q6_K) in a row, unrolled, multiplies
// the code that a CPU driver compiles: the cold first dispatch of Q6_K x8 took 46 to 49 s on lavapipe 25.0 and 7 to 10 s with chunks of 32.

#if SMT_TYPE != T_Q6_K
// 16-byte aligned: {d, dmin, 12 bytes of 6-bit scales and mins}, in Q5_K 32 bytes of fifth bits (bit s for sub-block s), then 4 x 32 bytes of
// which each holds two sub-blocks of 32: low nibbles, then high nibbles.
#define VECTORS (SMT_TYPE == T_Q4_K ? 9u : 11u)
struct Raw {
    uint q[8];        // a code in each byte
    float scale, low; // w = scale * q - low
};

// 6-bit scale and min of sub-block s.
uvec2 scale_min(uvec4 head, uint s) {
    uint t = 8u * (s & 3u);
    uint y = head.y >> t, z = head.z >> t, w = head.w >> t;
    return s < 4u ? uvec2(y & 63u, z & 63u)
                  : uvec2((w & 15u) | ((y >> 2) & 48u), ((w >> 4) & 15u) | ((z >> 2) & 48u));
}

struct Head {
    uvec4 scales;
#if SMT_TYPE == T_Q5_K
    uvec4 high, high2;
#endif
};

Head head_load(uint win, Row row, uint super) {
    Head h;
    uint block = super * VECTORS;
    h.scales = row_vec(win, row, block);
#if SMT_TYPE == T_Q5_K
    h.high = row_vec(win, row, block + 1u);
    h.high2 = row_vec(win, row, block + 2u);
#endif
    return h;
}

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    uint s = chunk & 7u, at = (chunk >> 3) * VECTORS + VECTORS - 8u + (s & 6u), shift = 4u * (s & 1u);
    uvec4 a = (row_vec(win, row, at) >> shift) & 0x0f0f0f0fu, b = (row_vec(win, row, at + 1u) >> shift) & 0x0f0f0f0fu;
#if SMT_TYPE == T_Q5_K
    a |= ((head.high >> s) & 0x01010101u) << 4;
    b |= ((head.high2 >> s) & 0x01010101u) << 4;
#endif
    r.q = uint[8](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
    uvec2 both = scale_min(head.scales, s);
    precise float scale = half_exact(head.scales.x & 0xffffu) * float(both.x), low = half_exact(head.scales.x >> 16) * float(both.y);
    r.scale = scale;
    r.low = low;
    return r;
}

#define CODE_SIGNED 0
#define CODE_OFFSET 0
#define CODE_MIN 1
#define CODE_HALVES 0
uint raw_q(Raw r, uint j) { return r.q[j]; }
vec2 raw_scales(Raw r) { return vec2(r.scale, -r.low); }

#else
// Q6_K as planes: per block 8 vectors of low nibbles, 4 of pairs of high bits, one of 16 signed scales; the blocks' d follow, eight to a
// vector. Sub-block s of 32 lies in half n = s / 4: its low nibbles in two vectors that it shares with s + 2, its high bits in two that all
// four share.
struct Raw {
    uvec4 low, low2, high, high2; // the wanted bits at the bottom of each byte
    vec2 scale;                   // of elements 0..15 and 16..31
};

struct Head {
    uvec4 scales;
    float d;
};

Head head_load(uint win, Row row, uint super) {
    Head h;
    h.scales = row_vec(win, row, super * 13u + 12u);
    h.d = half_of(row_vec(win, row, (p.k >> 8) * 13u + (super >> 3)), super);
    return h;
}

Raw raw_make(uvec4 low, uvec4 low2, uvec4 high, uvec4 high2, uint chunk, Head head) {
    Raw r;
    uint s = chunk & 3u, n = (chunk >> 2) & 1u, shift = 4u * (s >> 1);
    r.low = low >> shift;
    r.low2 = low2 >> shift;
    r.high = high >> (2u * s);
    r.high2 = high2 >> (2u * s);
    int both = int(head.scales[2u * n + (s >> 1)] >> (16u * (s & 1u)));
    precise vec2 scale = head.d * vec2(bitfieldExtract(both, 0, 8), bitfieldExtract(both, 8, 8));
    r.scale = scale;
    return r;
}

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    uint block = (chunk >> 3) * 13u, n = (chunk >> 2) & 1u, low = block + 4u * n + 2u * (chunk & 1u), high = block + 8u + 2u * n;
    return raw_make(row_vec(win, row, low), row_vec(win, row, low + 1u), row_vec(win, row, high), row_vec(win, row, high + 1u), chunk, head);
}

// The four chunks of a half together: 6 vectors instead of 16. On lavapipe 25.0 a product of one column takes 0.83 to 0.87 of the time, of eight
// 0.94 (16 lanes) to 1.04 (8); Q4_K, whose chunks share in pairs, loses (1.06 and 1.20 at 16 lanes).
#define SHARED_CHUNKS 4u
struct SharedVectors {
    uvec4 low[4], high[2];
};
SharedVectors shared_load(uint win, Row row, uint chunk) {
    uint block = (chunk >> 3) * 13u, n = (chunk >> 2) & 1u, low = block + 4u * n, high = block + 8u + 2u * n;
    SharedVectors v;
    [[unroll]] for (uint i = 0; i < 4; i++) v.low[i] = row_vec(win, row, low + i);
    [[unroll]] for (uint i = 0; i < 2; i++) v.high[i] = row_vec(win, row, high + i);
    return v;
}
Raw raw_of(SharedVectors v, uint chunk, Head head) {
    bvec4 odd = bvec4((chunk & 1u) != 0u);
    return raw_make(mix(v.low[0], v.low[2], odd), mix(v.low[1], v.low[3], odd), v.high[0], v.high[1], chunk, head);
}

#define CODE_SIGNED 0
#define CODE_OFFSET 32
#define CODE_MIN 0
#define CODE_HALVES 1
uint raw_q(Raw r, uint j) {
    uint low = j < 4u ? r.low[j] : r.low2[j & 3u], high = j < 4u ? r.high[j] : r.high2[j & 3u];
    return (low & 0x0f0f0f0fu) | ((high & 0x03030303u) << 4);
}
vec2 raw_scales(Raw r) { return r.scale; }
#endif
