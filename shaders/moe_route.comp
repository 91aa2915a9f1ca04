// moe_route.comp: router logits of one row to its experts and their weights, by the published rules of the family.
// softmax over all experts or sigmoid; a bias steers the choice only; groups are scored by their best expert (V2) or the sum of
// their two best (V3), and experts outside the kept groups cannot be chosen. Ties go to the lower index. One workgroup per row.
// With SMT_LIST the step has a single row, and its work list is made here too: a tile for each expert, in ascending id.
// Defines: SMT_SIGMOID, SMT_TOP2, SMT_LIST, SMT_EXPERTS (an upper bound, for shared memory).
#include "lib/prelude.glsl"
#include "lib/windows.glsl"
#include "lib/reduce.glsl"

layout(push_constant) uniform Push { route_params p; };
layout(std430, binding = 1) readonly buffer Logits { float logits[]; };
layout(std430, binding = 2) writeonly buffer Ids { uint ids[]; };
layout(std430, binding = 3) writeonly buffer Weights { float weights[]; };
#define STEP_BINDING 4
#include "lib/step.glsl"
#if SMT_LIST
layout(std430, binding = 5) writeonly buffer Work { uint work[]; };
#endif

#define NEVER -3.0e38
shared float score[SMT_EXPERTS], choice[SMT_EXPERTS], group_score[SMT_EXPERTS];
shared float chosen[SMT_MAX_USED]; // scores and ids, the greatest choice first
shared uint chosen_id[SMT_MAX_USED];

void score_experts(uint row) {
    uint lane = gl_LocalInvocationID.x;
    uint from = row * p.logit_stride;
#if SMT_SIGMOID
    for (uint e = lane; e < p.n_experts; e += SMT_GROUP_X) {
        precise float s = 1.0 / (1.0 + smt_exp(-logits[from + e]));
        score[e] = s;
    }
    barrier();
#else
    float top = NEVER;
    for (uint e = lane; e < p.n_experts; e += SMT_GROUP_X) top = max(top, logits[from + e]);
    top = reduce_max(top);
    for (uint e = lane; e < p.n_experts; e += SMT_GROUP_X) score[e] = smt_exp(logits[from + e] - top);
    barrier();
    precise float sum = 0.0; // ascending, as the reference: every invocation walks the same few numbers
    for (uint e = 0; e < p.n_experts; e++) sum += score[e];
    barrier();
    for (uint e = lane; e < p.n_experts; e += SMT_GROUP_X) {
        precise float s = score[e] / sum;
        score[e] = s;
    }
    barrier();
#endif
}

void mask_groups() {
    uint lane = gl_LocalInvocationID.x, size = p.n_experts / p.n_groups;
    for (uint g = lane; g < p.n_groups; g += SMT_GROUP_X) {
        float first = NEVER, second = NEVER;
        for (uint e = g * size; e < (g + 1u) * size; e++) {
            float c = choice[e];
            second = max(second, min(first, c));
            first = max(first, c);
        }
#if SMT_TOP2
        precise float both = size > 1u ? first + second : first;
        group_score[g] = both;
#else
        group_score[g] = first;
#endif
    }
    barrier();
    // keep the n_groups_used best: a group is out when that many others come before it
    for (uint e = lane; e < p.n_experts; e += SMT_GROUP_X) {
        uint g = e / size, before = 0u;
        for (uint other = 0u; other < p.n_groups; other++)
            before += uint(group_score[other] > group_score[g] || (group_score[other] == group_score[g] && other < g));
        if (before >= p.n_groups_used) choice[e] = NEVER;
    }
    barrier();
}

// An expert's place is the number of those that come before it: no rounds, one barrier.
void choose() {
    for (uint e = gl_LocalInvocationID.x; e < p.n_experts; e += SMT_GROUP_X) {
        float mine = choice[e];
        uint before = 0u;
        for (uint other = 0u; other < p.n_experts; other++) {
            float c = choice[other];
            before += uint(c > mine || (c == mine && other < e));
        }
        if (before < p.n_used) {
            chosen[before] = score[e];
            chosen_id[before] = e;
        }
    }
    barrier();
}

#if SMT_LIST
void write_list() {
    uint slot = gl_LocalInvocationID.x, place = 0u;
    if (slot == 0u) work[WORK_TILES] = p.n_used;
    if (slot >= p.n_used) return;
    FEW_TURNS for (uint s = 0; s < p.n_used; s++) place += uint(chosen_id[s] < chosen_id[slot]);
    uint tile = WORK_HEAD + place * WORK_TILE_WORDS;
    work[tile] = chosen_id[slot];
    work[tile + 1u] = place;
    work[tile + 2u] = 1u;
    work[p.entries_word + place] = slot;
}
#endif

void main() {
    uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
#if SMT_LIST
    if (step_rows() == 0u && lane == 0u) work[WORK_TILES] = 0u;
#endif
    if (row >= step_rows()) return;
    score_experts(row);
    for (uint e = lane; e < p.n_experts; e += SMT_GROUP_X)
        choice[e] = score[e] + (p.has_bias != 0u ? load_f32(0u, p.bias_off16, e) : 0.0);
    if (lane < p.n_used) {
        chosen_id[lane] = lane; // NaNs may leave places empty: no other id may stand there
        chosen[lane] = 0.0;
    }
    barrier();
    if (p.n_groups > 1u) mask_groups();
    choose();
    if (lane < p.n_used) {
        precise float w = chosen[lane];
        if (p.norm_weights != 0u) {
            precise float sum = 0.0;
            FEW_TURNS for (uint s = 0; s < p.n_used; s++) sum += chosen[s];
            w = w / (sum + 1e-20);
        }
        w = w * p.weight_scale;
        weights[row * p.n_used + lane] = w;
        ids[row * p.n_used + lane] = chosen_id[lane];
    }
#if SMT_LIST
    write_list();
#endif
}
