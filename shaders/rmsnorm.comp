// rmsnorm.comp: y = (x / sqrt(mean(x^2) + eps)) * weight, one workgroup per row; with use_list, row r reads the r-th wanted output row.
// Products that write a single row make the same of it (lib/norm_after.glsl), to the bit.
#include "lib/prelude.glsl"
#include "lib/windows.glsl"

layout(push_constant) uniform Push { norm_params p; };
#ifdef SMT_ROLL
layout(std430, binding = 1) readonly buffer X { float x[]; };
#else
layout(std430, binding = 1) readonly buffer X { vec4 x[]; };
#endif
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#define STEP_BINDING 3
#include "lib/step.glsl"

uint from; // part of x where the row begins

#ifdef SMT_ROLL
float row_x(uint at) { return x[from + at]; }
#else
vec4 row_x(uint at) { return within(x[from + at], p.k, at); }
#endif
#define NORM_X(at) row_x(at)
#include "lib/norm_funcs.glsl"

void put(uint row, uint i, float v, float factor) {
    precise float normed = (v * factor) * load_f32(0u, p.w_off16, i);
    y[row * p.y_stride + i] = normed;
}

void main() {
    uint row = gl_WorkGroupID.x;
    if (row >= step_words[p.count_word]) return;
    from = (p.use_list != 0u ? step_get(STEP_ARRAY_OUT, row) : row) * (p.x_stride / NORM_VALUES);
    float factor = norm_factor(p.k, p.eps);
    for (uint at = gl_LocalInvocationID.x; at * NORM_VALUES < p.k; at += SMT_GROUP_X) {
        NORM_PART v = row_x(at);
#ifdef SMT_ROLL
        put(row, at, v, factor);
#else
        [[unroll]] for (uint i = 0; i < 4; i++)
            if (at * 4u + i < p.k) put(row, at * 4u + i, v[i], factor);
#endif
    }
}
