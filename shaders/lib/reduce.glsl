// reduce.glsl: sums and maxima over a workgroup through shared memory, in one fixed order: every invocation gets the result.
// Two levels of eight instead of a binary tree: barriers are what costs on CPU drivers, which switch between the subgroups of a workgroup at
// each. Four values go at once for the same reason. SMT_GROUP_X is a multiple of 8, at most 64.
#ifndef REDUCE_GLSL
#define REDUCE_GLSL

#include "lib/turns.glsl"

shared vec4 reduce_first[SMT_GROUP_X], reduce_second[SMT_GROUP_X / 8];

vec4 reduce_sum(vec4 mine) {
    uint lane = gl_LocalInvocationID.x;
    barrier();
    reduce_first[lane] = mine;
    barrier();
    if (lane < SMT_GROUP_X / 8) {
        precise vec4 sum = reduce_first[lane * 8u];
        FIXED_TURNS for (uint i = 1; i < 8; i++) sum += reduce_first[lane * 8u + i];
        reduce_second[lane] = sum;
    }
    barrier();
    precise vec4 sum = reduce_second[0];
    FIXED_TURNS for (uint i = 1; i < SMT_GROUP_X / 8; i++) sum += reduce_second[i];
    return sum;
}

vec4 reduce_max(vec4 mine) {
    uint lane = gl_LocalInvocationID.x;
    barrier();
    reduce_first[lane] = mine;
    barrier();
    if (lane < SMT_GROUP_X / 8) {
        vec4 most = reduce_first[lane * 8u];
        FIXED_TURNS for (uint i = 1; i < 8; i++) most = max(most, reduce_first[lane * 8u + i]);
        reduce_second[lane] = most;
    }
    barrier();
    vec4 most = reduce_second[0];
    FIXED_TURNS for (uint i = 1; i < SMT_GROUP_X / 8; i++) most = max(most, reduce_second[i]);
    return most;
}

float reduce_sum(float mine) { return reduce_sum(vec4(mine, 0, 0, 0)).x; }
float reduce_max(float mine) { return reduce_max(vec4(mine)).x; }

#endif
