// norm_funcs.glsl: the factor of the root-mean-square norm, for a kernel of its own and for those that normalise what they wrote or cache. The sum of
// squares runs in one order whatever the size of the workgroup: 64 chains of vec4s, chain i over vec4s i, i + 64, .., then eight chains at a time,
// then the eighths, then the components. Every invocation of the workgroup takes part, once.
// On CPU drivers, and with NORM_FLOATS, an invocation takes a component of a chain, elsewhere a vec4: the same sums, but each place that touches
// memory is four of them where it takes a vec4, and they are most of what there is to compile (lavapipe 25.0, 16 lanes: rmsnorm.comp
// 0.81 -> 0.27 s).
// The includer defines NORM_X(at): part `at` of the row, zero beyond it.
#ifndef NORM_FUNCS_GLSL
#define NORM_FUNCS_GLSL

#include "lib/turns.glsl"
#ifdef SMT_ROLL
#define NORM_FLOATS
#endif
#ifdef NORM_FLOATS
#define NORM_PART float
#define NORM_PARTS 4u // of a vec4
#else
#define NORM_PART vec4
#define NORM_PARTS 1u
#endif
#define NORM_VALUES (4u / NORM_PARTS) // of a part

#define NORM_CHAINS (64u * NORM_PARTS)
shared NORM_PART norm_chains[NORM_CHAINS], norm_eighths[8u * NORM_PARTS];

vec4 norm_eighth(uint i) {
#ifdef NORM_FLOATS
    return vec4(norm_eighths[4u * i], norm_eighths[4u * i + 1u], norm_eighths[4u * i + 2u], norm_eighths[4u * i + 3u]);
#else
    return norm_eighths[i];
#endif
}

// 1 / sqrt(mean(x^2) + eps) of a row of k values.
float norm_factor(uint k, float eps) {
    for (uint i = gl_LocalInvocationID.x; i < NORM_CHAINS; i += SMT_GROUP_X) {
        precise NORM_PART sum = NORM_PART(0);
        for (uint at = i; at * NORM_VALUES < k; at += NORM_CHAINS) {
            NORM_PART v = NORM_X(at);
            sum = fma(v, v, sum);
        }
        norm_chains[i] = sum;
    }
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < 8u * NORM_PARTS; i += SMT_GROUP_X) {
        uint first = i / NORM_PARTS * (8u * NORM_PARTS) + i % NORM_PARTS;
        precise NORM_PART sum = norm_chains[first];
        FIXED_TURNS for (uint j = 1; j < 8; j++) sum += norm_chains[first + NORM_PARTS * j];
        norm_eighths[i] = sum;
    }
    barrier();
    precise vec4 sum = norm_eighth(0u);
    FIXED_TURNS for (uint j = 1; j < 8; j++) sum += norm_eighth(j);
    precise float factor = 1.0 / sqrt(((sum.x + sum.y) + (sum.z + sum.w)) / float(k) + eps);
    return factor;
}

#endif
