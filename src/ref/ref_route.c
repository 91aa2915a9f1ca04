/* ref_route.c: which experts a token goes to, and with what weights.
 *
 * Scores are a softmax over all experts or a sigmoid each. The choice goes by the score plus the selection bias (V3), the
 * weights by the score alone. With groups, the best n_groups_used groups are kept first, a group counting as its best expert
 * (V2) or the sum of its two best (V3); experts of other groups cannot be chosen, whatever the scores. On a tie the lower id
 * wins. The ids are distinct and in range for any input, NaN included: a comparison with NaN never moves a choice. */
#include "ref.h"

#include <assert.h>
#include <math.h>

static void score(const smt_model *model, const float *logits, float *scores) {
    uint32_t n = model->n_experts;
    if (model->gate == SMT_GATE_SIGMOID) {
        for (uint32_t e = 0; e < n; e++) scores[e] = 1.0f / (1.0f + smt_ref_exp(-logits[e]));
        return;
    }
    float max = -INFINITY, sum = 0;
    for (uint32_t e = 0; e < n; e++)
        if (logits[e] > max) max = logits[e];
    for (uint32_t e = 0; e < n; e++) sum += scores[e] = smt_ref_exp(logits[e] - max);
    for (uint32_t e = 0; e < n; e++) scores[e] /= sum;
}

/* The open index of greatest value, the lowest on a tie; it is closed by the way. There is an open one. */
static uint32_t take_best(const float *values, bool *open, uint32_t n) {
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++)
        if (open[i] && (best == n || values[i] > values[best])) best = i;
    assert(best < n);
    open[best] = false;
    return best;
}

static float group_score(const float *selection, uint32_t size, smt_group_rule rule) {
    float first = -INFINITY, second = -INFINITY;
    for (uint32_t i = 0; i < size; i++) {
        if (selection[i] > first) {
            second = first;
            first = selection[i];
        } else if (selection[i] > second) {
            second = selection[i];
        }
    }
    return rule == SMT_GROUP_TOP2 && size > 1 ? first + second : first;
}

/* Opens the experts of the groups that are kept. */
static void open_groups(const smt_model *model, const float *selection, bool *open) {
    float scores[SMT_MODEL_MAX_EXPERTS];
    bool open_group[SMT_MODEL_MAX_EXPERTS];
    uint32_t size = model->n_experts / model->n_groups;
    for (uint32_t g = 0; g < model->n_groups; g++) {
        scores[g] = group_score(selection + g * size, size, model->group_rule);
        open_group[g] = true;
    }
    for (uint32_t e = 0; e < model->n_experts; e++) open[e] = false;
    for (uint32_t i = 0; i < model->n_groups_used; i++) {
        uint32_t g = take_best(scores, open_group, model->n_groups);
        for (uint32_t e = g * size; e < (g + 1) * size; e++) open[e] = true;
    }
}

void smt_ref_route(const smt_model *model, const float *bias, const float *logits, int32_t *ids, float *weights) {
    float scores[SMT_MODEL_MAX_EXPERTS], selection[SMT_MODEL_MAX_EXPERTS];
    bool open[SMT_MODEL_MAX_EXPERTS];
    score(model, logits, scores);
    for (uint32_t e = 0; e < model->n_experts; e++) {
        selection[e] = bias ? scores[e] + bias[e] : scores[e];
        open[e] = true;
    }
    if (model->n_groups > 1) open_groups(model, selection, open);

    float sum = 0;
    for (uint32_t i = 0; i < model->n_used; i++) {
        uint32_t e = take_best(selection, open, model->n_experts);
        ids[i] = (int32_t)e;
        weights[i] = scores[e];
        sum += scores[e];
    }
    for (uint32_t i = 0; i < model->n_used; i++) {
        if (model->norm_weights) weights[i] /= sum + 1e-20f;
        weights[i] *= model->weight_scale;
    }
}

uint32_t smt_ref_range_size(const smt_model *model) {
    return model->n_groups > 1 ? model->n_experts / model->n_groups : smt_div_up(model->n_experts, 8);
}
