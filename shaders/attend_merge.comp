// attend_merge.comp: joins the chunks of one row and head, ascending; the second half of the split attention.
// Defines: SMT_VALUE4.
#include "lib/prelude.glsl"
#include "lib/attend_funcs.glsl"

layout(push_constant) uniform Push { attend_params p; };
layout(std430, binding = 1) readonly buffer Partial { vec4 partial[]; };
layout(std430, binding = 2) readonly buffer Sums { vec2 sums[]; };
layout(std430, binding = 3) writeonly buffer O { vec4 o[]; };
#define STEP_BINDING 4
#include "lib/step.glsl"

void main() {
    uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y;
    if (row >= step_rows()) return;
    uint chunks = step_get(STEP_ARRAY_INDEX, row) / SMT_BLOCK + 1u, first = (row * p.n_heads + head) * p.max_chunks;
    for (uint own = gl_LocalInvocationID.x; own < SMT_VALUE4; own += SMT_GROUP_X) {
        vec2 stat = vec2(ATTEND_NONE, 0.0);
        vec4 total = vec4(0);
        for (uint c = 0; c < chunks; c++) {
            vec2 new = sums[first + c];
            vec2 f = attend_factors(stat.x, new.x);
            stat.y = attend_join(stat.y, new.y, f);
            total = attend_join(total, partial[(first + c) * SMT_VALUE4 + own], f);
        }
        o[(row * p.o_stride >> 2) + head * SMT_VALUE4 + own] = total / stat.y;
    }
}
