// matmul_columns.glsl: the columns a workgroup of matmul.comp works on: where their activations begin, how one vec4 is read.
// A product family in which an invocation reads only some columns says so before it includes this: MATMUL_LOADS of them, load_column(i) the i-th.
#ifndef MATMUL_COLUMNS_GLSL
#define MATMUL_COLUMNS_GLSL

#if SMT_TEXELS
layout(binding = TEXEL_BINDING + 1) uniform samplerBuffer XT;
#define X_VEC(at) texelFetch(XT, int(at))
#else
layout(std430, binding = 1) readonly buffer X { vec4 x[]; };
#define X_VEC(at) x[at]
#endif

#ifndef MATMUL_LOADS
#define MATMUL_LOADS SMT_COLUMNS
uint load_column(uint i) { return i; }
#endif

uint x_at[MATMUL_LOADS]; // vec4 index of each column's first element

// The vec4 of elements 4 * at .. of column load_column(c), zero beyond the row. Only rows of single values can end inside a chunk of 32.
vec4 x_load(uint c, uint at) {
#if SMT_TYPE == T_F32 || SMT_TYPE == T_F16 || SMT_TYPE == T_BF16
    vec4 v = X_VEC(x_at[c] + min(at, (p.k - 1u) >> 2));
    // masks, no choice: SwiftShader compiles choices here for minutes
    return uintBitsToFloat(floatBitsToUint(v) & -uvec4(greaterThan(uvec4(p.k), uvec4(at * 4u) + uvec4(0, 1, 2, 3))));
#else
    return X_VEC(x_at[c] + at);
#endif
}

#endif
