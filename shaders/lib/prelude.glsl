// prelude.glsl: extensions, group size, the weight windows and the small functions every kernel may use.
// Defines from the host: SMT_WINDOWS, SMT_GROUP_X, SMT_SUBGROUP (0: no subgroup operations).
#ifndef PRELUDE_GLSL
#define PRELUDE_GLSL

#extension GL_GOOGLE_include_directive : enable
#extension GL_EXT_control_flow_attributes : enable
#if SMT_SUBGROUP > 0 || (defined(SMT_COOP) && SMT_COOP == 1)
#extension GL_KHR_shader_subgroup_basic : require
#endif
#if SMT_SUBGROUP > 0
#extension GL_KHR_shader_subgroup_ballot : require
#endif

#if defined(SMT_DOT) && SMT_DOT
#extension GL_EXT_spirv_intrinsics : require
#endif

#if defined(SMT_COOP) && SMT_COOP == 1
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif

#include "shared/params.h"

layout(local_size_x = SMT_GROUP_X, local_size_y = 1, local_size_z = 1) in;

// exp with a fixed sequence of operations, the same as smt_exp of src/base to the bit. Plain products and sums: drivers may round once or
// twice in fma, but not in these. Within 1 ulp; 0 below -87.3, exp(88.7) above 88.7.
float smt_exp(float x) {
    precise float y = min(x, 88.7);
    precise float n = floor(y * 1.44269502 + 0.5);
    precise float r = (y - n * 0.693115234375) - n * 3.19461833e-05;
    precise float p = 0.00138210389 * r + 0.00836867373;
    p = p * r + 0.0416682623;
    p = p * r + 0.166665211;
    p = p * r + 0.49999994;
    p = (p * r) * r + r;
    p = p + 1.0;
    return x < -87.3 ? 0.0 : intBitsToFloat(floatBitsToInt(p) + (int(n) << 23));
}

float smt_silu(float x) {
    precise float y = x / (1.0 + smt_exp(-x));
    return y;
}

// The vec4 of elements 4 * at .. of a row of k, with zeros for what lies beyond it.
vec4 within(vec4 v, uint k, uint at) {
    uint left = k - min(k, at * 4u);
    if (left < 4u) v = vec4(left > 0u ? v.x : 0.0, left > 1u ? v.y : 0.0, left > 2u ? v.z : 0.0, 0.0);
    return v;
}

// binary16 to float, subnormals included (unpackHalf2x16 may flush them): their bits behind the exponent of 2^-14, less 2^-14.
float half_exact(uint h) {
    uint size = (h & 0x7fffu) << 13;
    precise float small = uintBitsToFloat(size + (113u << 23)) - 6.103515625e-5;
    uint bits = (h & 0x7c00u) == 0u ? floatBitsToUint(small) : size + (112u << 23);
    return uintBitsToFloat(bits | ((h & 0x8000u) << 16));
}

#endif
