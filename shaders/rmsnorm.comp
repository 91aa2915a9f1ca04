// rmsnorm.comp: y = (x / sqrt(mean(x^2) + eps)) * weight, one workgroup per row; with use_list, row r reads the r-th wanted output row.
#include "lib/prelude.glsl"
#include "lib/windows.glsl"
#include "lib/reduce.glsl"

layout(push_constant) uniform Push { norm_params p; };
layout(std430, binding = 1) readonly buffer X { float x[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#define STEP_BINDING 3
#include "lib/step.glsl"

void main() {
    uint row = gl_WorkGroupID.x;
    if (row >= step_words[p.count_word]) return;
    uint from = (p.use_list != 0u ? step_get(STEP_ARRAY_OUT, row) : row) * p.x_stride;
    precise float sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < p.k; i += SMT_GROUP_X) sum = fma(x[from + i], x[from + i], sum);
    precise float scale = 1.0 / sqrt(reduce_sum(sum) / float(p.k) + p.eps);
    for (uint i = gl_LocalInvocationID.x; i < p.k; i += SMT_GROUP_X) {
        precise float v = (x[from + i] * scale) * load_f32(0u, p.w_off16, i);
        y[row * p.y_stride + i] = v;
    }
}
