// moe_route.comp: router logits of one row to its experts and their weights, by the published rules of the family.
// softmax over all experts or sigmoid; a bias steers the choice only; groups are scored by their best expert (V2) or the sum of
// their two best (V3), and experts outside the kept groups cannot be chosen. Ties go to the lower index. One workgroup per row.
// Defines: SMT_SIGMOID, SMT_TOP2, SMT_EXPERTS (an upper bound, for shared memory).
#include "lib/prelude.glsl"
#include "lib/windows.glsl"
#include "lib/reduce.glsl"

layout(push_constant) uniform Push { route_params p; };
layout(std430, binding = 1) readonly buffer Logits { float logits[]; };
layout(std430, binding = 2) writeonly buffer Ids { uint ids[]; };
layout(std430, binding = 3) writeonly buffer Weights { float weights[]; };
#define STEP_BINDING 4
#include "lib/step.glsl"

#define NEVER -3.0e38
shared float score[SMT_EXPERTS], choice[SMT_EXPERTS], group_score[SMT_EXPERTS];
shared float best_value[SMT_GROUP_X];
shared uint best_at[SMT_GROUP_X];
shared float chosen[SMT_MAX_USED];

// Index of the greatest of choice[0 .. n), the lowest on a tie; every invocation gets it.
uint argmax(uint n) {
    uint lane = gl_LocalInvocationID.x, at = 0xffffffffu;
    float value = NEVER;
    for (uint i = lane; i < n; i += SMT_GROUP_X)
        if (at == 0xffffffffu || choice[i] > value) {
            value = choice[i];
            at = i;
        }
    barrier();
    best_value[lane] = value;
    best_at[lane] = at;
    barrier();
    for (uint step = SMT_GROUP_X / 2u; step > 0u; step >>= 1) {
        if (lane < step) {
            uint other = best_at[lane + step];
            bool better = best_value[lane + step] > best_value[lane] ||
                          (best_value[lane + step] == best_value[lane] && other < best_at[lane]);
            if (other != 0xffffffffu && better) {
                best_value[lane] = best_value[lane + step];
                best_at[lane] = other;
            }
        }
        barrier();
    }
    return min(best_at[0], n - 1u);
}

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
            float c = score[e] + (p.has_bias != 0u ? load_f32(0u, p.bias_off16, e) : 0.0);
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

void main() {
    uint row = gl_WorkGroupID.x, lane = gl_LocalInvocationID.x;
    if (row >= step_rows()) return;
    score_experts(row);
    for (uint e = lane; e < p.n_experts; e += SMT_GROUP_X)
        choice[e] = score[e] + (p.has_bias != 0u ? load_f32(0u, p.bias_off16, e) : 0.0);
    barrier();
    if (p.n_groups > 1u) mask_groups();
    for (uint s = 0; s < p.n_used; s++) {
        uint e = argmax(p.n_experts);
        if (lane == 0u) {
            ids[row * p.n_used + s] = e;
            chosen[s] = score[e];
            choice[e] = -3.4e38; // below every masked expert: never twice
        }
        barrier();
    }
    if (lane < p.n_used) {
        precise float w = chosen[lane];
        if (p.norm_weights != 0u) {
            precise float sum = 0.0;
            for (uint s = 0; s < p.n_used; s++) sum += chosen[s];
            w = w / (sum + 1e-20);
        }
        w = w * p.weight_scale;
        weights[row * p.n_used + lane] = w;
    }
}
