// quant_float.glsl: F32, F16, BF16 rows in the layout PAD32 (rows are whole chunks of 32 elements, 16-byte aligned).
// Chunks share nothing.
#define Head uint
Head head_load(uint win, Row row, uint super) { return 0u; }

#if SMT_TYPE == 0
struct Raw {
    uvec4 v[8];
};
Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    [[unroll]] for (uint i = 0; i < 8; i++) r.v[i] = row_vec(win, row, chunk * 8u, i);
    return r;
}
vec4 raw_w(Raw r, uint j) { return uintBitsToFloat(r.v[j]); }
#else
struct Raw {
    uvec4 v[4];
};
Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    [[unroll]] for (uint i = 0; i < 4; i++) r.v[i] = row_vec(win, row, chunk * 4u, i);
    return r;
}
vec4 raw_w(Raw r, uint j) {
    uint a = r.v[j >> 1][(j & 1u) * 2u], b = r.v[j >> 1][(j & 1u) * 2u + 1u];
#if SMT_TYPE == 1
    return vec4(unpackHalf2x16(a), unpackHalf2x16(b));
#else
    return uintBitsToFloat(uvec4(a << 16, a & 0xffff0000u, b << 16, b & 0xffff0000u));
#endif
}
#endif
