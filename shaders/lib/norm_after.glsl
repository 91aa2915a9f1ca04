// norm_after.glsl: the norm of a single row that a product has just written, made by whichever workgroup finishes last: no dispatch and no stage
// of its own, and no work done twice. To the bit what rmsnorm.comp makes of the row.
//
// Workgroups count themselves in `finished`, over all dispatches that write the row (p.norm_groups of them); it is 0 before and after. The
// result is coherent: what a workgroup wrote before it counted itself, the last one sees. Folding the norm into the products that read it, with
// the sum of squares in each of their workgroups, was tried: 27 to 50 % slower products on lavapipe, against 35 us that a dispatch takes.
// The includer has declared `coherent buffer Y { float y[]; }` and the push constants `matmul_params p`.
#ifndef NORM_AFTER_GLSL
#define NORM_AFTER_GLSL

layout(std430, binding = 9) readonly buffer NormWeight { float norm_weight[]; };
layout(std430, binding = 10) writeonly buffer Normed { float normed[]; };
layout(std430, binding = 11) coherent buffer Counter { uint finished; };

#ifdef SMT_ROLL
#define NORM_X(at) y[at]
#else
vec4 written_x(uint at) {
    vec4 v = vec4(0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        if (at * 4u + i < p.norm_k) v[i] = y[at * 4u + i];
    return v;
}
#define NORM_X(at) written_x(at)
#endif
#include "lib/norm_funcs.glsl"

shared uint finished_before;

// Every invocation of every workgroup calls it, after its last store.
void norm_after() {
    memoryBarrierBuffer();
    barrier();
    if (gl_LocalInvocationID.x == 0u) finished_before = atomicAdd(finished, 1u);
    barrier();
    if (finished_before + 1u != p.norm_groups) return;
    memoryBarrierBuffer();
    float factor = norm_factor(p.norm_k, p.eps);
    for (uint i = gl_LocalInvocationID.x; i < p.norm_k; i += SMT_GROUP_X) {
        precise float v = (y[i] * factor) * norm_weight[i];
        normed[i] = v;
    }
    if (gl_LocalInvocationID.x == 0u) finished = 0u;
}

#endif
