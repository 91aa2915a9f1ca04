// sample_top.comp: the best logit of each group, as {key, id}; the lowest id among equals. An invocation owns a group, and neighbours own
// neighbouring logits: no invocation waits for another, and loads are contiguous. What the groups are for is said in sample_draw.comp.
#include "lib/prelude.glsl"
#include "lib/sample_funcs.glsl"

layout(push_constant) uniform Push { sample_params p; };
layout(std430, binding = 1) readonly buffer Logits { uint logits[]; };
layout(std430, binding = 2) writeonly buffer Best { uvec2 best[]; };

void main() {
    uint group = gl_GlobalInvocationID.x;
    if (group >= p.n_groups) return;
    uvec2 mine = uvec2(0u, sample_id(group, 0u, p.per_group));
    for (uint i = 0; i < p.per_group; i++) {
        uint id = sample_id(group, i, p.per_group);
        if (id >= p.n_vocab) break;
        uint key = sample_key(logits[id]);
        if (key > mine.x) mine = uvec2(key, id);
    }
    best[group] = mine;
}
