// quant_k_low.glsl: Q2_K and Q3_K: 256 elements in sixteen sub-blocks of 16. A half of 128 elements is four runs of 32 elements: the low two bits
// of run s are bits 2s, 2s + 1 of the half's 32 bytes.
//
// As planes (src/quant/quant_layout.c):
//   Q2_K  per block a vector of {scale, min as nibbles} and 4 of codes; then d, dmin, four pairs to a vector
//   Q3_K  per block 2 vectors of third bits (bit i for run i of 8) and 4 of codes; then a vector each: 12 bytes of 6-bit scales, d
struct Raw {
    uvec4 q, q2; // Q2_K: the wanted bits at the bottom of each byte; Q3_K: nothing else in the byte
    vec2 scale; // of elements 0..15 and 16..31
#if SMT_TYPE == T_Q2_K
    vec2 low;
#endif
};

#if SMT_TYPE == T_Q2_K
struct Head {
    uvec4 scales;
    uint d; // and dmin
};

Head head_load(uint win, Row row, uint super) {
    Head h;
    h.scales = row_vec(win, row, super * 5u);
    h.d = row_vec(win, row, (p.k >> 8) * 5u + (super >> 2))[super & 3u];
    return h;
}

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    uint s = chunk & 7u, at = (chunk >> 3) * 5u + 1u + 2u * (s >> 2), shift = 2u * (s & 3u);
    r.q = row_vec(win, row, at) >> shift;
    r.q2 = row_vec(win, row, at + 1u) >> shift;
    uint both = head.scales[s >> 1] >> (16u * (s & 1u));
    precise vec2 scale = half_exact(head.d & 0xffffu) * vec2(both & 15u, (both >> 8) & 15u);
    precise vec2 low = half_exact(head.d >> 16) * vec2((both >> 4) & 15u, (both >> 12) & 15u);
    r.scale = scale;
    r.low = low;
    return r;
}

vec4 raw_w(Raw r, uint j) {
    precise vec4 w = r.scale[j >> 2] * bytes((j < 4u ? r.q[j] : r.q2[j & 3u]) & 0x03030303u, 0.0) - r.low[j >> 2];
    return w;
}

#else
struct Head {
    uvec4 scales, third, third2;
};

Head head_load(uint win, Row row, uint super) {
    Head h;
    h.scales = row_vec(win, row, (p.k >> 8) * 6u + super);
    h.third = row_vec(win, row, super * 6u);
    h.third2 = row_vec(win, row, super * 6u + 1u);
    return h;
}

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    uint s = chunk & 7u, at = (chunk >> 3) * 6u + 2u + 2u * (s >> 2), shift = 2u * (s & 3u);
    r.q = ((row_vec(win, row, at) >> shift) & 0x03030303u) | (((head.third >> s) & 0x01010101u) << 2);
    r.q2 = ((row_vec(win, row, at + 1u) >> shift) & 0x03030303u) | (((head.third2 >> s) & 0x01010101u) << 2);
    // Scales 2s and 2s + 1: nibbles of two of the first eight bytes, pairs of bits of two of the last four.
    uint low4 = head.scales[(s & 3u) >> 1] >> (16u * (s & 1u) + 4u * (s >> 2));
    uint high2 = head.scales.z >> (16u * (s & 1u) + 2u * (s >> 1));
    uint both = (low4 & 0x0f0fu) | ((high2 & 0x0303u) << 4);
    precise vec2 scale = half_exact(head.scales.w & 0xffffu) * vec2(ivec2(both & 63u, (both >> 8) & 63u) - 32);
    r.scale = scale;
    return r;
}

vec4 raw_w(Raw r, uint j) {
    precise vec4 w = r.scale[j >> 2] * bytes(j < 4u ? r.q[j] : r.q2[j & 3u], 4.0);
    return w;
}
#endif
