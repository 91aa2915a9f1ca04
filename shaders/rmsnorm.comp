// rmsnorm.comp: y = (x / sqrt(mean(x^2) + eps)) * weight, one workgroup per row; with use_list, row r reads the r-th wanted output row.
// Products that write a single row make the same of it (lib/norm_after.glsl), to the bit.
#include "lib/prelude.glsl"
#include "lib/windows.glsl"
#include "lib/turns.glsl"

layout(push_constant) uniform Push { norm_params p; };
layout(std430, binding = 1) readonly buffer X { vec4 x[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#define STEP_BINDING 3
#include "lib/step.glsl"

uint from; // vec4 index of the row

vec4 row_x(uint at) { return within(x[from + at], p.k, at); }
#define NORM_X(at) row_x(at)
#include "lib/norm_funcs.glsl"

void main() {
    uint row = gl_WorkGroupID.x;
    if (row >= step_words[p.count_word]) return;
    from = (p.use_list != 0u ? step_get(STEP_ARRAY_OUT, row) : row) * (p.x_stride >> 2);
    float factor = norm_factor(p.k, p.eps);
    for (uint at = gl_LocalInvocationID.x; at * 4u < p.k; at += SMT_GROUP_X) {
        vec4 v = row_x(at);
        FIXED_TURNS for (uint i = 0; i < 4; i++) {
            if (at * 4u + i >= p.k) break;
            precise float normed = (v[i] * factor) * load_f32(0u, p.w_off16, at * 4u + i);
            y[row * p.y_stride + at * 4u + i] = normed;
        }
    }
}
