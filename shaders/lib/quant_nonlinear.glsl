// quant_nonlinear.glsl: IQ4_NL, IQ4_XS, MXFP4: four-bit codes for unevenly spaced numbers, 32 elements in 16 bytes.
//
//   IQ4_NL  18 bytes, 2-byte aligned:  d, codes
//   IQ4_XS  136 bytes, 4-byte aligned: d, 8 x 2 high bits of scales, 8 x 4 low bits, then 8 sub-blocks of 16 bytes
//   MXFP4   17 bytes, any alignment:   an exponent, codes
//
// The numbers of a code are computed: a table indexed by code is copied by every invocation on some drivers.
struct Raw {
    uint q[4];
    float scale;
};

Raw raw_load(uint win, uint row_byte, uint chunk) {
    Raw r;
#if SMT_TYPE == T_IQ4_NL
    uint block = row_byte + chunk * 18u, codes = block + 2u;
    r.scale = half_exact(load_u16(win, block));
#elif SMT_TYPE == T_IQ4_XS
    uint block = row_byte + (chunk >> 3) * 136u, s = chunk & 7u, codes = block + 8u + 16u * s, head = W[win].w[block >> 2];
    uint six = ((W[win].w[(block >> 2) + 1u] >> (4u * s)) & 15u) | (((head >> (16u + 2u * s)) & 3u) << 4);
    precise float scale = half_exact(head & 0xffffu) * float(int(six) - 32);
    r.scale = scale;
#else
    uint block = row_byte + chunk * 17u, codes = block + 1u, e = load_u8(win, block);
    r.scale = uintBitsToFloat(e < 2u ? 0x200000u << e : (e - 1u) << 23); // 2^(e - 128); the first two are subnormal
#endif
    uint at = codes >> 2, shift = 8u * (codes & 3u), prev = W[win].w[at];
    [[unroll]] for (uint i = 0; i < 4; i++) {
        uint next = W[win].w[at + 1u + i];
        r.q[i] = funnel(prev, next, shift);
        prev = next;
    }
    return r;
}

#if SMT_TYPE == T_MXFP4
// Twice the number: 0 1 2 3 4 6 8 12, and with bit 3 their negatives.
ivec4 values(uvec4 q) {
    ivec4 size = ivec4((uvec4(0xc8643210u) >> (4u * (q & 7u))) & 15u), sign = -ivec4(q >> 3);
    return (size ^ sign) - sign;
}
#else
// -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113: steps of 16 from -127, and what is above that line, for the upper
// half from -139.
ivec4 values(uvec4 q) {
    bvec4 upper = greaterThanEqual(q, uvec4(8u));
    uvec4 above = (mix(uvec4(0x59ceec70u), uvec4(0xc400148cu), upper) >> (4u * (q & 7u))) & 15u;
    return ivec4(16u * q + above) - mix(ivec4(127), ivec4(139), upper);
}
#endif

vec4 raw_w(Raw r, uint j) {
    precise vec4 w = r.scale * vec4(values(nibbles(r.q[j & 3u], j)));
    return w;
}
