// embed.comp: token ids to float rows, for one part (a range of token ids) of the embedding table. One workgroup per row.
#include "lib/prelude.glsl"
layout(push_constant) uniform Push { embed_params p; };
#include "lib/quant_funcs.glsl"
layout(std430, binding = 1) writeonly buffer Y { vec4 y[]; };
#define STEP_BINDING 2
#include "lib/step.glsl"

void main() {
    uint row = gl_WorkGroupID.x;
    if (row >= step_rows()) return;
    uint token = step_get(STEP_ARRAY_TOKEN, row);
    if (token < p.row0 || token >= p.row0 + p.rows) return;
    Row from = row_at(p.w_off16, token - p.row0, p.row_bytes, p.rows);
    for (uint chunk = gl_LocalInvocationID.x; chunk * 32u < p.k; chunk += SMT_GROUP_X) {
        Raw r = raw_load(0u, from, chunk);
        [[unroll]] for (uint j = 0; j < 8; j++) {
            uint at = chunk * 8u + j;
            if (at * 4u < p.k) y[(row * p.y_stride >> 2) + at] = raw_w(r, j);
        }
    }
}
