// quant_block32.glsl: Q4_0, Q5_0, Q8_0: blocks of 32 elements of an even number of bytes: a half-float scale, then codes.
// A block may start at an odd half-word. Either way the same WORDS words cover it: the scale is a half of the first, and the codes are the rest,
// shifted by a half-word when the block starts at a whole word.
#if SMT_TYPE == 2
#define BLOCK_BYTES 18u
#define WORDS 4
#elif SMT_TYPE == 6
#define BLOCK_BYTES 22u
#define WORDS 5
#else
#define BLOCK_BYTES 34u
#define WORDS 8
#endif

struct Raw {
    uint q[WORDS];
    float d;
};

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

#if SMT_TYPE == 8
vec4 raw_w(Raw r, uint j) {
    int q = int(r.q[j]);
    precise vec4 w = r.d * vec4(bitfieldExtract(q, 0, 8), bitfieldExtract(q, 8, 8), bitfieldExtract(q, 16, 8), q >> 24);
    return w;
}
#else
// Elements 0..15 are low nibbles, 16..31 high ones; word j & 3 of the codes holds elements 4j .. 4j + 3.
ivec4 nibbles(uint word, uint j) {
    uint q = word >> (j >= 4u ? 4u : 0u);
    return ivec4(q & 15u, (q >> 8) & 15u, (q >> 16) & 15u, (q >> 24) & 15u);
}
vec4 raw_w(Raw r, uint j) {
#if SMT_TYPE == 2
    ivec4 q = nibbles(r.q[j & 3u], j) - 8;
#else
    uint high = r.q[0] >> (4u * j);
    ivec4 fifth = ivec4((high & 1u) << 4, (high & 2u) << 3, (high & 4u) << 2, (high & 8u) << 1);
    ivec4 q = (nibbles(r.q[1u + (j & 3u)], j) | fifth) - 16;
#endif
    precise vec4 w = r.d * vec4(q);
    return w;
}
#endif
