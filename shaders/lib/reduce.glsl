// reduce.glsl: a maximum over a workgroup through shared memory: every invocation gets it.
// Two levels of eight instead of a binary tree: barriers are what costs on CPU drivers, which switch between the subgroups of a workgroup at
// each. SMT_GROUP_X is a multiple of 8, at most 64.
#ifndef REDUCE_GLSL
#define REDUCE_GLSL

#include "lib/turns.glsl"

shared float reduce_first[SMT_GROUP_X], reduce_second[SMT_GROUP_X / 8];

float reduce_max(float mine) {
    uint lane = gl_LocalInvocationID.x;
    barrier();
    reduce_first[lane] = mine;
    barrier();
    if (lane < SMT_GROUP_X / 8) {
        float most = reduce_first[lane * 8u];
        FIXED_TURNS for (uint i = 1; i < 8; i++) most = max(most, reduce_first[lane * 8u + i]);
        reduce_second[lane] = most;
    }
    barrier();
    float most = reduce_second[0];
    FIXED_TURNS for (uint i = 1; i < SMT_GROUP_X / 8; i++) most = max(most, reduce_second[i]);
    return most;
}

#endif
