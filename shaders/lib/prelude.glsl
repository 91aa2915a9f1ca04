// prelude.glsl: extensions, group size, the weight windows and the small functions every kernel may use.
// Defines from the host: SMT_WINDOWS, SMT_GROUP_X, SMT_SUBGROUP (0: no subgroup operations).
#ifndef PRELUDE_GLSL
#define PRELUDE_GLSL

#extension GL_GOOGLE_include_directive : enable
#extension GL_EXT_control_flow_attributes : enable
#if SMT_SUBGROUP > 0
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#endif

#include "shared/params.h"

layout(local_size_x = SMT_GROUP_X, local_size_y = 1, local_size_z = 1) in;

// exp with a fixed sequence of operations: equal to the bit wherever fma is fused, and the same as smt_ref_exp.
float smt_exp(float x) {
    precise float n = roundEven(clamp(x, -87.3, 88.7) * 1.44269504);
    precise float r = fma(n, -0.693359375, clamp(x, -87.3, 88.7));
    r = fma(n, 2.12194440e-4, r);
    precise float p = 1.9875691500e-4;
    p = fma(p, r, 1.3981999507e-3);
    p = fma(p, r, 8.3334519073e-3);
    p = fma(p, r, 4.1665795894e-2);
    p = fma(p, r, 1.6666665459e-1);
    p = fma(p, r, 5.0000001201e-1);
    p = fma(p * r, r, r) + 1.0;
    return x < -87.3 ? 0.0 : intBitsToFloat(floatBitsToInt(p) + (int(n) << 23));
}

float smt_silu(float x) {
    precise float y = x / (1.0 + smt_exp(-x));
    return y;
}

// binary16 to float by integer arithmetic, subnormals included (unpackHalf2x16 may flush them).
float half_exact(uint h) {
    uint e = (h >> 10) & 31u, m = h & 1023u, sign = (h & 0x8000u) << 16;
    float normal = uintBitsToFloat(sign | ((e + 112u) << 23) | (m << 13));
    float small = uintBitsToFloat(floatBitsToUint(float(m) * 5.9604644775390625e-8) | sign);
    return e == 0u ? small : normal;
}

#endif
