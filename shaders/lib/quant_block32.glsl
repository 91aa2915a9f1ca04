// quant_block32.glsl: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: blocks of 32 elements: one or two half floats, then codes.
// Where there is one, the block may start at an odd half-word. Either way the same WORDS words cover it: the scale is a half of the first, and
// the codes are the rest, shifted by a half-word when the block starts at a whole word.
#if SMT_TYPE == T_Q4_0
#define BLOCK_BYTES 18u
#define WORDS 4
#elif SMT_TYPE == T_Q4_1
#define BLOCK_BYTES 20u
#define WORDS 4
#elif SMT_TYPE == T_Q5_0
#define BLOCK_BYTES 22u
#define WORDS 5
#elif SMT_TYPE == T_Q5_1
#define BLOCK_BYTES 24u
#define WORDS 5
#else
#define BLOCK_BYTES 34u
#define WORDS 8
#endif

struct Raw {
    uint q[WORDS];
    float d;
#if SMT_TYPE == T_Q4_1 || SMT_TYPE == T_Q5_1
    float m;
#endif
};

#if SMT_TYPE == T_Q4_1 || SMT_TYPE == T_Q5_1
Raw raw_load(uint win, uint row_byte, uint chunk) {
    Raw r;
    uint at = (row_byte + chunk * BLOCK_BYTES) >> 2, head = W[win].w[at];
    r.d = half_exact(head & 0xffffu);
    r.m = half_exact(head >> 16);
    [[unroll]] for (uint i = 0; i < WORDS; i++) r.q[i] = W[win].w[at + 1u + i];
    return r;
}
#else
Raw raw_load(uint win, uint row_byte, uint chunk) {
    Raw r;
    uint byte = row_byte + chunk * BLOCK_BYTES, at = byte >> 2;
    bool odd = (byte & 2u) != 0u;
    uint prev = W[win].w[at];
    r.d = half_exact(odd ? prev >> 16 : prev & 0xffffu);
    [[unroll]] for (uint i = 0; i < WORDS; i++) {
        uint next = W[win].w[at + 1u + i];
        r.q[i] = odd ? next : (prev >> 16) | (next << 16);
        prev = next;
    }
    return r;
}
#endif

#if SMT_TYPE == T_Q8_0
vec4 raw_w(Raw r, uint j) {
    int q = int(r.q[j]);
    precise vec4 w = r.d * vec4(bitfieldExtract(q, 0, 8), bitfieldExtract(q, 8, 8), bitfieldExtract(q, 16, 8), q >> 24);
    return w;
}
#else
vec4 raw_w(Raw r, uint j) {
#if WORDS == 5
    uint high = r.q[0] >> (4u * j);
    uvec4 q = nibbles(r.q[1u + (j & 3u)], j) | uvec4((high & 1u) << 4, (high & 2u) << 3, (high & 4u) << 2, (high & 8u) << 1);
#else
    uvec4 q = nibbles(r.q[j & 3u], j);
#endif
#if SMT_TYPE == T_Q4_1 || SMT_TYPE == T_Q5_1
    precise vec4 w = r.d * vec4(q) + r.m;
#else
    precise vec4 w = r.d * vec4(ivec4(q) - (WORDS == 5 ? 16 : 8));
#endif
    return w;
}
#endif
