// quant_k_low.glsl: Q2_K and Q3_K: 256 elements in sixteen sub-blocks of 16. A half of 128 elements is four runs of 32 elements: the low two bits
// of run s are bits 2s, 2s + 1 of the half's 32 bytes.
//
//   Q2_K  84 bytes, 4-byte aligned:  16 bytes {scale, min as nibbles}, 64 bytes of codes, d, dmin
//   Q3_K  110 bytes, 2-byte aligned: 32 bytes of third bits (bit i for run i of 8), 64 bytes of codes, 12 bytes of 6-bit scales, d
struct Raw {
    uint q[8]; // Q2_K: the wanted bits at the bottom of each byte; Q3_K: nothing else in the byte
    vec2 scale; // of elements 0..15 and 16..31
#if SMT_TYPE == T_Q2_K
    vec2 low;
#endif
};

#if SMT_TYPE == T_Q2_K
Raw raw_load(uint win, uint row_byte, uint chunk) {
    Raw r;
    uint s = chunk & 7u, block = (row_byte >> 2) + (chunk >> 3) * 21u, at = block + 4u + 8u * (s >> 2), shift = 2u * (s & 3u);
    [[unroll]] for (uint i = 0; i < 8; i++) r.q[i] = W[win].w[at + i] >> shift;
    uint both = W[win].w[block + (s >> 1)] >> (16u * (s & 1u)), head = W[win].w[block + 20u];
    precise vec2 scale = half_exact(head & 0xffffu) * vec2(both & 15u, (both >> 8) & 15u);
    precise vec2 low = half_exact(head >> 16) * vec2((both >> 4) & 15u, (both >> 12) & 15u);
    r.scale = scale;
    r.low = low;
    return r;
}

vec4 raw_w(Raw r, uint j) {
    uint q = r.q[j];
    precise vec4 w = r.scale[j >> 2] * vec4(q & 3u, (q >> 8) & 3u, (q >> 16) & 3u, (q >> 24) & 3u) - r.low[j >> 2];
    return w;
}

#else
Raw raw_load(uint win, uint row_byte, uint chunk) {
    Raw r;
    uint block = row_byte + (chunk >> 3) * 110u, s = chunk & 7u, shift = 8u * (block & 2u);
    uint high_at = block >> 2, at = high_at + 8u + 8u * (s >> 2), high = W[win].w[high_at], code = W[win].w[at];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint next_high = W[win].w[high_at + 1u + i], next_code = W[win].w[at + 1u + i];
        r.q[i] = ((funnel(code, next_code, shift) >> (2u * (s & 3u))) & 0x03030303u) |
                 (((funnel(high, next_high, shift) >> s) & 0x01010101u) << 2);
        high = next_high;
        code = next_code;
    }
    // Scales 2s and 2s + 1: nibbles of two of the first eight bytes, pairs of bits of two of the last four.
    uint low4 = load_u16(win, block + 96u + 2u * (s & 3u)) >> (4u * (s >> 2)), high2 = load_u16(win, block + 104u + 2u * (s & 1u)) >> (2u * (s >> 1));
    uint both = (low4 & 0x0f0fu) | ((high2 & 0x0303u) << 4);
    precise vec2 scale = half_exact(load_u16(win, block + 108u)) * vec2(ivec2(both & 63u, both >> 8) - 32);
    r.scale = scale;
    return r;
}

vec4 raw_w(Raw r, uint j) {
    uint q = r.q[j];
    precise vec4 w = r.scale[j >> 2] * vec4(ivec4(q & 7u, (q >> 8) & 7u, (q >> 16) & 7u, (q >> 24) & 7u) - 4);
    return w;
}
#endif
