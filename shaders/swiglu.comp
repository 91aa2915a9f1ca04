// swiglu.comp: y = silu(gate) * up, for files whose gate and up matrices differ in type (otherwise matmul does it in one).
#include "lib/prelude.glsl"

layout(push_constant) uniform Push { swiglu_params p; };
layout(std430, binding = 1) readonly buffer Gate { float gate[]; };
layout(std430, binding = 2) readonly buffer Up { float up[]; };
layout(std430, binding = 3) writeonly buffer Y { float y[]; };
#define STEP_BINDING 4
#include "lib/step.glsl"

void main() {
    uint row = gl_WorkGroupID.y, i = gl_WorkGroupID.x * SMT_GROUP_X + gl_LocalInvocationID.x;
    if (row >= step_rows() * p.per_entry || i >= p.n) return;
    precise float v = smt_silu(gate[row * p.stride + i]) * up[row * p.stride + i];
    y[row * p.stride + i] = v;
}
