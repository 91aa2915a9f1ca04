// moe_parts.comp: what one device adds to the sum of a row's experts where several devices share the experts of a layer. For each range of
// expert ids that the device owns: the weighted sum of the row's experts in it, in ascending id from 0, as moe_combine.comp makes it on the
// way; 0 where none was chosen. moe_join.comp adds the parts of all devices up. One workgroup per block of the hidden size, row and range.
#include "lib/prelude.glsl"

layout(push_constant) uniform Push { parts_params p; };
layout(std430, binding = 1) readonly buffer Y { float y[]; };
layout(std430, binding = 2) writeonly buffer Parts { float parts[]; };
layout(std430, binding = 3) readonly buffer Ids { uint ids[]; };
layout(std430, binding = 4) readonly buffer Weights { float weights[]; };
#define STEP_BINDING 5
#include "lib/step.glsl"
#include "lib/moe_order.glsl"

void main() {
    uint row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x, range = p.first_range + gl_WorkGroupID.z;
    if (row >= step_rows()) return;
    order_experts(row, p.n_used, p.range_size);
    uint d = gl_WorkGroupID.x * SMT_GROUP_X + lane;
    if (d >= p.n_embd) return;
    precise float part = 0.0;
    for (uint i = 0; i < p.n_used; i++)
        if (range_of[i] == range) part = fma(factor[i], y[(row * p.n_used + order[i]) * p.y_stride + d], part);
    parts[(gl_WorkGroupID.z * p.part_rows + row) * p.part_stride + d] = part;
}
