// quant_block32.glsl: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0: blocks of 32 elements, as planes (src/quant/quant_layout.c): the codes of all blocks, then
// their scales, eight to a vector (Q4_1 and Q5_1: four pairs of scale and min), then fifth bits, four words to a vector.
#define PAIRS (SMT_TYPE == T_Q4_1 || SMT_TYPE == T_Q5_1)
#define FIFTH (SMT_TYPE == T_Q5_0 || SMT_TYPE == T_Q5_1)
#define VECTORS (SMT_TYPE == T_Q8_0 ? 2u : 1u)

struct Raw {
    uvec4 q;
#if SMT_TYPE == T_Q8_0
    uvec4 q2;
#elif FIFTH
    uint high;
#endif
    float d;
#if PAIRS
    float m;
#endif
};

struct Head {
    uvec4 scales;
#if PAIRS
    uvec4 scales2;
#endif
#if FIFTH
    uvec4 high, high2;
#endif
};

// In a short row the second of two vectors may lie beyond the plane; no chunk asks for what it holds.
Head head_load(uint win, Row row, uint super) {
    Head h;
    uint blocks = p.k >> 5, small = blocks * VECTORS;
#if PAIRS
    h.scales = row_vec(win, row, small + 2u * super);
    h.scales2 = row_vec(win, row, small + 2u * super + 1u);
#else
    h.scales = row_vec(win, row, small + super);
#endif
#if FIFTH
    small += PAIRS ? (blocks + 3u) >> 2 : (blocks + 7u) >> 3;
    h.high = row_vec(win, row, small + 2u * super);
    h.high2 = row_vec(win, row, small + 2u * super + 1u);
#endif
    return h;
}

Raw raw_load(uint win, Row row, uint chunk, Head head) {
    Raw r;
    uint at = chunk * VECTORS;
    r.q = row_vec(win, row, at);
#if SMT_TYPE == T_Q8_0
    r.q2 = row_vec(win, row, at + 1u);
#endif
#if PAIRS
    uint both = ((chunk & 4u) != 0u ? head.scales2 : head.scales)[chunk & 3u];
    r.d = half_exact(both & 0xffffu);
    r.m = half_exact(both >> 16);
#else
    r.d = half_of(head.scales, chunk);
#endif
#if FIFTH
    r.high = ((chunk & 4u) != 0u ? head.high2 : head.high)[chunk & 3u];
#endif
    return r;
}

#define CODE_SIGNED (SMT_TYPE == T_Q8_0)
#define CODE_OFFSET (SMT_TYPE == T_Q4_0 ? 8 : SMT_TYPE == T_Q5_0 ? 16 : 0)
#define CODE_MIN PAIRS
#define CODE_HALVES 0

uint raw_q(Raw r, uint j) {
#if SMT_TYPE == T_Q8_0
    return j < 4u ? r.q[j] : r.q2[j & 3u];
#else
    uint q = (r.q[j & 3u] >> (j >= 4u ? 4u : 0u)) & 0x0f0f0f0fu;
#if FIFTH
    q |= ((((r.high >> (4u * j)) & 15u) * 0x00204081u) & 0x01010101u) << 4; // a bit to each byte
#endif
    return q;
#endif
}

vec2 raw_scales(Raw r) {
#if PAIRS
    return vec2(r.d, r.m);
#else
    return vec2(r.d, 0.0);
#endif
}
