// matmul_columns.glsl: the columns a workgroup of matmul.comp works on: where their activations begin, how one vec4 is read, where results go.
#ifndef MATMUL_COLUMNS_GLSL
#define MATMUL_COLUMNS_GLSL

#if SMT_TEXELS
layout(binding = TEXEL_BINDING + 1) uniform samplerBuffer XT;
#define X_VEC(at) texelFetch(XT, int(at))
#else
layout(std430, binding = 1) readonly buffer X { vec4 x[]; };
#define X_VEC(at) x[at]
#endif

uint x_at[SMT_COLUMNS]; // vec4 index of each column's first element

// The vec4 of elements 4 * at .. of column c, zero beyond the row. Only rows of single values can end inside a chunk of 32.
vec4 x_load(uint c, uint at) {
#if SMT_TYPE == T_F32 || SMT_TYPE == T_F16 || SMT_TYPE == T_BF16
    uint left = p.k - min(p.k, at * 4u);
    vec4 v = X_VEC(x_at[c] + (left > 0u ? at : 0u));
    return vec4(left > 0u ? v.x : 0.0, left > 1u ? v.y : 0.0, left > 2u ? v.z : 0.0, left > 3u ? v.w : 0.0);
#else
    return X_VEC(x_at[c] + at);
#endif
}

#endif
