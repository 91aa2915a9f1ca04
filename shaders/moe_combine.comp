// moe_combine.comp: weighted sum of a row's experts, in the model's own order: ascending expert id inside each of n_ranges fixed id
// ranges, then over the ranges, then the shared expert, then the residual. One workgroup per row and block of the hidden size.
#include "lib/prelude.glsl"

layout(push_constant) uniform Push { combine_params p; };
layout(std430, binding = 1) readonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Shared { float shared_y[]; };
layout(std430, binding = 3) readonly buffer Residual { float residual[]; };
layout(std430, binding = 4) writeonly buffer Out { float result[]; };
layout(std430, binding = 5) readonly buffer Ids { uint ids[]; };
layout(std430, binding = 6) readonly buffer Weights { float weights[]; };
#define STEP_BINDING 7
#include "lib/step.glsl"
#include "lib/moe_order.glsl"
#include "lib/turns.glsl"

void main() {
    uint row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
    if (row >= step_rows()) return;
    order_experts(row, p.n_used, (p.n_experts + p.n_ranges - 1u) / p.n_ranges);
    uint d = gl_WorkGroupID.x * SMT_GROUP_X + lane;
    if (d >= p.n_embd) return;
    precise float total = 0.0, part = 0.0;
    FEW_TURNS for (uint i = 0; i < p.n_used; i++) {
        if (i > 0u && range_of[i] != range_of[i - 1u]) {
            total += part;
            part = 0.0;
        }
        part = fma(factor[i], y[(row * p.n_used + order[i]) * p.y_stride + d], part);
    }
    total += part;
    if (p.has_shared != 0u) total += shared_y[row * p.shared_stride + d];
    total += residual[row * p.res_stride + d];
    result[row * p.out_stride + d] = total;
}
