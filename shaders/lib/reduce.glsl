// reduce.glsl: sums and maxima over a workgroup through shared memory, in one fixed order: every invocation gets the result.
// SMT_GROUP_X is a power of two.
#ifndef REDUCE_GLSL
#define REDUCE_GLSL

shared float reduce_shared[SMT_GROUP_X];

float reduce_sum(float mine) {
    uint lane = gl_LocalInvocationID.x;
    barrier();
    reduce_shared[lane] = mine;
    barrier();
    for (uint half_size = SMT_GROUP_X / 2u; half_size > 0u; half_size >>= 1) {
        if (lane < half_size) {
            precise float sum = reduce_shared[lane] + reduce_shared[lane + half_size];
            reduce_shared[lane] = sum;
        }
        barrier();
    }
    return reduce_shared[0];
}

float reduce_max(float mine) {
    uint lane = gl_LocalInvocationID.x;
    barrier();
    reduce_shared[lane] = mine;
    barrier();
    for (uint half_size = SMT_GROUP_X / 2u; half_size > 0u; half_size >>= 1) {
        if (lane < half_size) reduce_shared[lane] = max(reduce_shared[lane], reduce_shared[lane + half_size]);
        barrier();
    }
    return reduce_shared[0];
}

#endif
