/* draw.h: how one token is drawn from its best candidates: chance, weights, cuts. The one definition, included by the host (src/sample)
 * and by sample_draw.comp, so that both draw the same token from the same logits.
 *
 * Weights are whole numbers, DRAW_UNIT for the best candidate: their sums are exact in any order, and 256 of them fit 32 bits. A candidate
 * less than 1 / DRAW_UNIT as likely as the best weighs nothing. Shares are fractions of 2^32.
 *
 * The includer provides smt_exp (prelude.glsl, base.h), the same to the bit; for smt_draw_pick also DRAW_WEIGHT(i), the weight of
 * candidate i, best first, and DRAW_LIST, the parameter that it reads. */
#ifndef SMT_DRAW_H
#define SMT_DRAW_H

#define DRAW_MOST 256u     /* candidates */
#define DRAW_UNIT 8388608u /* 2^23 */
#define DRAW_NONE 0xffffffffu

#ifdef VULKAN
#define DRAW_FUNCTION
#define DRAW_EXACT    precise
#define DRAW_WHOLE(x) u32(x)
u32 smt_draw_share(u32 a, u32 b) { /* floor(a * b / 2^32) */
    u32 high, low;
    umulExtended(a, b, high, low);
    return high;
}
#else
#define DRAW_FUNCTION static inline
#define DRAW_EXACT
#define DRAW_WHOLE(x) ((u32)(x))
static inline u32 smt_draw_share(u32 a, u32 b) { return (u32)((uint64_t)a * b >> 32); }
#endif

/* What chance gives for a seed and a position: the published generator PCG3D, three words mixed with each other. */
DRAW_FUNCTION u32 smt_draw_chance(u32 seed_low, u32 seed_high, u32 position) {
    u32 x = seed_low * 1664525u + 1013904223u, y = seed_high * 1664525u + 1013904223u, z = position * 1664525u + 1013904223u;
    x += y * z;
    y += z * x;
    z += x * y;
    x ^= x >> 16;
    y ^= y >> 16;
    z ^= z >> 16;
    x += y * z;
    y += z * x;
    z += x * y;
    return z;
}

/* exp((logit - greatest) / temperature) in units. `inverse` of the temperature is computed once, on the host: drivers may divide less
 * exactly. */
DRAW_FUNCTION u32 smt_draw_weight(f32 logit, f32 greatest, f32 inverse) {
    DRAW_EXACT f32 distance = logit - greatest;
    DRAW_EXACT f32 scaled = distance * inverse;
    DRAW_EXACT f32 weight = smt_exp(scaled) * 8388608.0f;
    return DRAW_WHOLE(weight);
}

/* The candidate that `chance` falls on, after the cuts. top_p: fewest best that weigh at least this share of all; 0: no such cut. min_p: in
 * units; lighter ones are cut, the best never. */
#ifdef DRAW_WEIGHT
DRAW_FUNCTION u32 smt_draw_pick(DRAW_LIST u32 n, u32 top_p, u32 min_p, u32 chance) {
    u32 total = 0u, kept = 0u, rest;
    for (u32 i = 0u; i < n; i++) total += DRAW_WEIGHT(i);
    u32 enough = top_p != 0u ? smt_draw_share(top_p, total) : DRAW_NONE;
    for (u32 i = 0u; i < n && kept < enough && (i == 0u || DRAW_WEIGHT(i) >= min_p); i++) kept += DRAW_WEIGHT(i);
    rest = smt_draw_share(chance, kept);
    for (u32 i = 0u; i < n; i++) {
        if (rest < DRAW_WEIGHT(i)) return i;
        rest -= DRAW_WEIGHT(i);
    }
    return 0u;
}
#endif

#endif
