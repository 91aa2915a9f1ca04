// moe_join.comp: the end of a feed-forward layer whose experts several devices share: the parts of all ranges of expert ids (moe_parts.comp), in
// ascending order, then the shared expert, then the residual. The bits are those of moe_combine.comp: a range without a chosen expert
// adds +0, and a sum that began with +0 is never -0. One workgroup per row and block of the hidden size.
#include "lib/prelude.glsl"

layout(push_constant) uniform Push { parts_params p; };
layout(std430, binding = 1) readonly buffer Parts { float parts[]; };
layout(std430, binding = 2) readonly buffer Shared { float shared_y[]; };
layout(std430, binding = 3) readonly buffer Residual { float residual[]; };
layout(std430, binding = 4) writeonly buffer Out { float result[]; };
#define STEP_BINDING 5
#include "lib/step.glsl"

void main() {
    uint row = gl_WorkGroupID.y, d = gl_WorkGroupID.x * SMT_GROUP_X + gl_LocalInvocationID.x;
    if (row >= step_rows() || d >= p.n_embd) return;
    precise float total = 0.0;
    for (uint range = 0; range < p.n_ranges; range++) total += parts[(range * p.part_rows + row) * p.part_stride + d];
    if (p.has_shared != 0u) total += shared_y[row * p.shared_stride + d];
    total += residual[row * p.res_stride + d];
    result[row * p.out_stride + d] = total;
}
