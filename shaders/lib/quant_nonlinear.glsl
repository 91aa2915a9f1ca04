// quant_nonlinear.glsl: IQ4_NL, IQ4_XS, MXFP4: four-bit codes for unevenly spaced numbers, 32 elements in 16 bytes.
//
// As planes (src/quant/quant_layout.c): a vector of codes for each 32 elements, then
//   IQ4_NL  d, eight to a vector
//   IQ4_XS  per 256 elements d, 8 x 2 high bits of scales, 8 x 4 low bits: two to a vector
//   MXFP4   exponents, sixteen to a vector
//
// The numbers of a code are computed: a table indexed by code is copied by every invocation on some drivers.
struct Raw {
    uvec4 q;
    float scale;
};

#define Head uvec4
Head head_load(uint win, Row row, uint super) {
    uint small = p.k >> 5;
#if SMT_TYPE == T_IQ4_NL
    return row_vec(win, row, small + super);
#else
    uvec4 two = row_vec(win, row, small + (super >> 1));
    return (super & 1u) != 0u ? two.zwzw : two;
#endif
}

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    r.q = row_vec(win, row, chunk);
#if SMT_TYPE == T_IQ4_NL
    r.scale = half_of(head, chunk);
#elif SMT_TYPE == T_IQ4_XS
    uint s = chunk & 7u, six = ((head.y >> (4u * s)) & 15u) | (((head.x >> (16u + 2u * s)) & 3u) << 4);
    precise float scale = half_exact(head.x & 0xffffu) * float(int(six) - 32);
    r.scale = scale;
#else
    uint e = (head[(chunk >> 2) & 1u] >> (8u * (chunk & 3u))) & 0xffu;
    r.scale = uintBitsToFloat(e < 2u ? 0x200000u << e : (e - 1u) << 23); // 2^(e - 128); the first two are subnormal
#endif
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
