// norm_funcs.glsl: the factor of the root-mean-square norm, for a kernel of its own and for products that normalise what they wrote. The sum of squares
// runs in one order whatever the size of the workgroup: NORM_CHAINS chains of vec4s, chain i over vec4s i, i + NORM_CHAINS, .., then eight
// chains at a time, then the eighths, then the components. Every invocation of the workgroup takes part, once.
// The includer defines NORM_X(at): vec4 `at` of the row, zero beyond it.
#ifndef NORM_FUNCS_GLSL
#define NORM_FUNCS_GLSL

#define NORM_CHAINS 64u
shared vec4 norm_chains[NORM_CHAINS], norm_eighths[8];

// 1 / sqrt(mean(x^2) + eps) of a row of k values.
float norm_factor(uint k, float eps) {
    for (uint i = gl_LocalInvocationID.x; i < NORM_CHAINS; i += SMT_GROUP_X) {
        precise vec4 sum = vec4(0);
        for (uint at = i; at * 4u < k; at += NORM_CHAINS) {
            vec4 v = NORM_X(at);
            sum = fma(v, v, sum);
        }
        norm_chains[i] = sum;
    }
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < 8u; i += SMT_GROUP_X) {
        precise vec4 sum = norm_chains[8u * i];
        [[unroll]] for (uint j = 1; j < 8; j++) sum += norm_chains[8u * i + j];
        norm_eighths[i] = sum;
    }
    barrier();
    precise vec4 sum = norm_eighths[0];
    [[unroll]] for (uint j = 1; j < 8; j++) sum += norm_eighths[j];
    precise float factor = 1.0 / sqrt(((sum.x + sum.y) + (sum.z + sum.w)) / float(k) + eps);
    return factor;
}

#endif
