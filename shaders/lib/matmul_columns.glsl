// matmul_columns.glsl: the columns a workgroup of matmul.comp works on: where their activations begin, how one vec4 is read, where results go.
#ifndef MATMUL_COLUMNS_GLSL
#define MATMUL_COLUMNS_GLSL

layout(std430, binding = 1) readonly buffer X { vec4 x[]; };

uint x_at[SMT_COLUMNS]; // vec4 index of each column's first element

// The vec4 of elements 4 * at .. of column c, zero beyond the row.
vec4 x_load(uint c, uint at) {
    vec4 v = vec4(0);
    uint left = p.k - min(p.k, at * 4u);
    if (left >= 4u) v = x[x_at[c] + at];
    else if (left > 0u) {
        v = x[x_at[c] + at];
        v = vec4(v.x, left > 1u ? v.y : 0.0, left > 2u ? v.z : 0.0, 0.0);
    }
    return v;
}

#endif
