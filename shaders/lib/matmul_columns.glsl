// matmul_columns.glsl: the columns a workgroup of a product works on: where their activations begin, and how one vec4 is read.
// A product family in which an invocation reads only some columns says so before it includes this: MATMUL_LOADS of them, load_column(i) the i-th.
//
// With SMT_MERGE n, a single column is made of the chunks of a split attention, joined as attend_merge.comp does: those of plane
// gl_WorkGroupID.z, of rows of n vec4s. columns_prepare() does it, once for the workgroup.
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

#if SMT_MERGE
layout(std430, binding = 5) readonly buffer Sums { vec2 chunk_sums[]; };
#include "lib/attend_funcs.glsl"
#define COLUMN_OWN ((SMT_MERGE + SMT_GROUP_X - 1) / SMT_GROUP_X)
shared vec4 column_merged[SMT_MERGE];

// The chunks lie where attend.comp put those of row 0 and this head: p.max_chunks apart, of which those up to the row's position count.
void columns_prepare() {
    uint index = step_words[STEP_HEAD + STEP_ARRAY_INDEX * step_words[STEP_MAX_ROWS]];
    uint first = gl_WorkGroupID.z * p.max_chunks, chunks = index / SMT_BLOCK + 1u;
    vec2 stat = vec2(ATTEND_NONE, 0.0);
    vec4 total[COLUMN_OWN];
    [[unroll]] for (uint g = 0; g < COLUMN_OWN; g++) total[g] = vec4(0);
    for (uint c = 0; c < chunks; c++) {
        vec2 more = chunk_sums[first + c], f = attend_factors(stat.x, more.x);
        stat.y = attend_join(stat.y, more.y, f);
        [[unroll]] for (uint g = 0; g < COLUMN_OWN; g++) {
            uint own = min(gl_LocalInvocationID.x + g * SMT_GROUP_X, SMT_MERGE - 1u);
            total[g] = attend_join(total[g], X_VEC((first + c) * SMT_MERGE + own), f);
        }
    }
    [[unroll]] for (uint g = 0; g < COLUMN_OWN; g++) {
        uint own = gl_LocalInvocationID.x + g * SMT_GROUP_X;
        if (own < SMT_MERGE) column_merged[own] = total[g] / stat.y;
    }
    barrier();
}

vec4 x_load(uint c, uint at) { return at < SMT_MERGE ? column_merged[at] : vec4(0); }

#else
void columns_prepare() {}

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

#endif
