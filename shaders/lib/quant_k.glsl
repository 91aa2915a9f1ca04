// quant_k.glsl: Q4_K and Q6_K: super-blocks of 256 elements.
//
// Q4_K stays in place. Planes with the scales and mins of each sub-block precomputed as float32 pairs (192 bytes a block instead of 144, equal
// bits) measured 1.01x at one column and 1.04x at eight on lavapipe 25, 0.98x and 0.99x on lavapipe 22, 1.13x and 1.24x on SwiftShader, and
// save 10 to 13 % of RADV's static cost at one column, 3 % at eight: not worth a third more memory traffic. Float16 pairs change the results.

#if SMT_TYPE == 12
// 144 bytes, 16-byte aligned: {d, dmin, 12 bytes of 6-bit scales and mins}, then 4 x 32 bytes of which each holds two sub-blocks of 32.
#define STEP 64
struct Raw {
    uint q[8];
    vec2 scale, low; // of the two sub-blocks: w = scale * q - low
};

uvec2 scale_min(uvec4 head, uint s) {
    uint t = 8u * (s & 3u);
    uint y = head.y >> t, z = head.z >> t, w = head.w >> t;
    return s < 4u ? uvec2(y & 63u, z & 63u)
                  : uvec2((w & 15u) | ((y >> 2) & 48u), ((w >> 4) & 15u) | ((z >> 2) & 48u));
}

Raw raw_load(uint win, uint row_byte, uint step_idx) {
    Raw r;
    uint at = (row_byte >> 4) + (step_idx >> 2) * 9u, c = step_idx & 3u;
    uvec4 head = WV[win].v[at], a = WV[win].v[at + 1u + 2u * c], b = WV[win].v[at + 2u + 2u * c];
    r.q = uint[8](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
    uvec2 first = scale_min(head, 2u * c), second = scale_min(head, 2u * c + 1u);
    precise vec2 scale = half_exact(head.x & 0xffffu) * vec2(first.x, second.x);
    precise vec2 low = half_exact(head.x >> 16) * vec2(first.y, second.y);
    r.scale = scale;
    r.low = low;
    return r;
}

vec4 raw_w(Raw r, uint sub, uint j) {
    uint q = r.q[j] >> (4u * sub);
    precise vec4 w = r.scale[sub] * vec4(q & 15u, (q >> 8) & 15u, (q >> 16) & 15u, (q >> 24) & 15u) - r.low[sub];
    return w;
}

#else
// Q6_K, 210 bytes at 2-byte alignment: low nibbles, pairs of high bits, 16 signed scales, d. A step is one half of 128 elements.
#define STEP 128
struct Raw {
    uint low[16], high[8], scale[2];
    float d;
};

Raw raw_load(uint win, uint row_byte, uint step_idx) {
    Raw r;
    uint block = row_byte + (step_idx >> 1) * 210u, n = step_idx & 1u;
    // A block at an odd half-word: each word is the upper half of one and the lower half of the next. Plain arithmetic, no choice: with
    // ?: here, SwiftShader takes minutes to compile.
    uint shift = 8u * (block & 2u), mask = (block & 2u) != 0u ? 0xffffffffu : 0u;
    uint at = (block >> 2) + 16u * n, prev = W[win].w[at];
    [[unroll]] for (uint i = 0; i < 16; i++) {
        uint next = W[win].w[at + 1u + i];
        r.low[i] = (prev >> shift) | ((next << 16) & mask);
        prev = next;
    }
    at = (block >> 2) + 32u + 8u * n;
    prev = W[win].w[at];
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint next = W[win].w[at + 1u + i];
        r.high[i] = (prev >> shift) | ((next << 16) & mask);
        prev = next;
    }
    r.scale[0] = load_u32_at2(win, block + 192u + 8u * n);
    r.scale[1] = load_u32_at2(win, block + 196u + 8u * n);
    r.d = half_exact(load_u16(win, block + 208u));
    return r;
}

vec4 raw_w(Raw r, uint sub, uint j) {
    uint low = r.low[(sub & 1u) * 8u + j] >> (4u * (sub >> 1)), high = r.high[j] >> (2u * sub);
    uvec4 q = uvec4((low & 15u) | ((high & 3u) << 4), ((low >> 8) & 15u) | ((high >> 4) & 48u),
                    ((low >> 16) & 15u) | ((high >> 12) & 48u), ((low >> 24) & 15u) | ((high >> 20) & 48u));
    uint s = 2u * sub + (j >> 2);
    precise float scale = r.d * float(bitfieldExtract(int(r.scale[s >> 2]), int(8u * (s & 3u)), 8));
    precise vec4 w = scale * vec4(ivec4(q) - 32);
    return w;
}
#endif
