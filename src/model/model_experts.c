/* model_experts.c: the feed-forward half of a layer, which all families share: dense, or a router, routed and shared experts.
 *
 * Two published routing rules exist, and files do not name them: they are told apart by the gate. Softmax goes with groups that count
 * as their best expert (V2), sigmoid with groups that count as the sum of their two best (V3). The selection bias is a tensor, there or
 * not. What files before mid-2025 leave out takes the published value of the model it can only be, and is noted.
 *
 * Gate and up rows of an expert come as two tensors, or as one (ffn_gate_up_exps) of which they are views:
 *
 *         ffn_gate_up_exps, expert e:   | n_ff_expert rows: gate | n_ff_expert rows: up |          */
#include "model_internal.h"

#include <stdio.h>

/* Gating functions as files number them. */
enum { GATING_ABSENT = 0, GATING_SOFTMAX = 1, GATING_SIGMOID = 2 };

/* ---- numbers ---- */

/* Files before mid-2025 do not say how experts are grouped; the two released grouped models are known by their router. */
static smt_status assume_groups(smt_model_reader *r) {
    smt_model *model = r->model;
    if (model->n_experts == 160 && model->gate == SMT_GATE_SOFTMAX) {
        model->n_groups = 8;
        model->n_groups_used = 3;
    } else if (model->n_experts == 256 && model->gate == SMT_GATE_SIGMOID) {
        model->n_groups = 8;
        model->n_groups_used = 4;
    }
    SMT_TRY(smt_model_assume(r, "expert_group_count: %u", model->n_groups));
    return smt_model_assume(r, "expert_group_used_count: %u", model->n_groups_used);
}

static smt_status check_groups(smt_model_reader *r) {
    const smt_model *model = r->model;
    uint32_t groups = model->n_groups, used = model->n_groups_used, experts = model->n_experts;
    if (experts % groups) return SMT_FAIL(r->err, SMT_FORMAT, "%u experts do not divide into %u groups", experts, groups);
    uint32_t each = experts / groups;
    if ((uint64_t)used * each < model->n_used)
        return SMT_FAIL(r->err, SMT_FORMAT, "%u experts are used per token, but %u groups of %u hold fewer", model->n_used, used,
                        each);
    if (groups > 1 && model->group_rule == SMT_GROUP_TOP2 && each < 2)
        return SMT_FAIL(r->err, SMT_FORMAT, "%u groups of %u expert: the sum of a group's two best needs two", groups, each);
    return SMT_OK;
}

static smt_status read_groups(smt_model_reader *r) {
    smt_model *model = r->model;
    bool count = smt_model_has_key(r, "expert_group_count"), used = smt_model_has_key(r, "expert_group_used_count");
    model->group_rule = model->gate == SMT_GATE_SIGMOID ? SMT_GROUP_TOP2 : SMT_GROUP_BEST;
    if (count != used)
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s.%s is missing beside its companion", model->architecture,
                        count ? "expert_group_used_count" : "expert_group_count");
    if (!count) {
        SMT_TRY(assume_groups(r));
        return check_groups(r);
    }
    SMT_TRY(smt_model_get_u32(r, "expert_group_count", 0, model->n_experts, &model->n_groups, NULL));
    model->n_groups = smt_max_u32(model->n_groups, 1); /* 0 is how some configurations say "no groups" */
    SMT_TRY(smt_model_get_u32(r, "expert_group_used_count", 0, model->n_groups, &model->n_groups_used, NULL));
    if (model->n_groups_used == 0) model->n_groups_used = model->n_groups;
    return check_groups(r);
}

static smt_status read_gate(smt_model_reader *r) {
    smt_model *model = r->model;
    uint32_t gating = GATING_ABSENT;
    double scale = 0;
    bool found;
    char key[64];
    SMT_TRY(smt_model_get_u32(r, "expert_gating_func", 0, UINT32_MAX, &gating, NULL));
    if (gating > GATING_SIGMOID)
        return SMT_FAIL(r->err, SMT_UNSUPPORTED, "key %s.expert_gating_func is %u; 1 (softmax) and 2 (sigmoid) are supported",
                        model->architecture, gating);
    if (gating == GATING_ABSENT) SMT_TRY(smt_model_assume(r, "expert_gating_func: softmax"));
    model->gate = gating == GATING_SIGMOID ? SMT_GATE_SIGMOID : SMT_GATE_SOFTMAX;

    SMT_TRY(smt_model_get_f32(r, "expert_weights_scale", 0, 1e6, &scale, &found));
    if (!found) SMT_TRY(smt_model_assume(r, "expert_weights_scale: 1"));
    model->weight_scale = scale == 0 ? 1 : (float)scale; /* a written 0 means 1 too */
    snprintf(key, sizeof key, "%s.expert_weights_norm", model->architecture);
    SMT_TRY(smt_gguf_bool(r->file, key, &model->norm_weights, &found, r->err));
    return found ? SMT_OK : smt_model_assume(r, "expert_weights_norm: false");
}

static smt_status read_routed(smt_model_reader *r) {
    smt_model *model = r->model;
    const uint32_t limit = SMT_MODEL_MAX_DIM - 1;
    SMT_TRY(smt_model_need_u32(r, "leading_dense_block_count", 0, model->n_layers, &model->n_dense_layers));
    SMT_TRY(smt_model_need_u32(r, "expert_used_count", 1, smt_min_u32(model->n_experts, SMT_MODEL_MAX_USED), &model->n_used));
    SMT_TRY(smt_model_need_u32(r, "expert_shared_count", 0, SMT_MODEL_MAX_EXPERTS, &model->n_shared));
    SMT_TRY(smt_model_need_u32(r, "expert_feed_forward_length", 1, limit, &model->n_ff_expert));
    uint64_t shared = (uint64_t)model->n_shared * model->n_ff_expert;
    if (shared > limit)
        return SMT_FAIL(r->err, SMT_FORMAT, "%u shared experts of width %u are %llu wide, at most %u is allowed", model->n_shared,
                        model->n_ff_expert, (unsigned long long)shared, limit);
    model->n_ff_shared = (uint32_t)shared;
    SMT_TRY(read_gate(r));
    return read_groups(r);
}

smt_status smt_model_read_experts(smt_model_reader *r) {
    smt_model *model = r->model;
    model->weight_scale = 1;
    model->n_groups = model->n_groups_used = 1;
    model->n_dense_layers = model->n_layers;
    SMT_TRY(smt_model_get_u32(r, "expert_count", 0, SMT_MODEL_MAX_EXPERTS, &model->n_experts, NULL));
    if (model->n_experts > 0) SMT_TRY(read_routed(r));
    if (model->n_dense_layers == 0) return SMT_OK;
    return smt_model_need_u32(r, "feed_forward_length", 1, SMT_MODEL_MAX_DIM - 1, &model->n_ff);
}

/* ---- tensors ---- */

/* A SwiGLU of `width`: rows of `gate` and `up` read the residual stream, `down` writes it. */
static smt_status bind_swiglu(smt_model_reader *r, uint32_t i, const char *const names[3], uint32_t width, uint32_t n_planes,
                              smt_matrix *const out[3]) {
    uint32_t n_embd = r->model->n_embd;
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, names[0], width, n_embd, n_planes, false}, out[0]));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, names[1], width, n_embd, n_planes, false}, out[1]));
    return smt_model_bind(r, (smt_model_want){i, names[2], n_embd, width, n_planes, false}, out[2]);
}

static smt_status bind_dense(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    static const char *const names[] = {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"};
    const smt_model *model = r->model;
    SMT_TRY(bind_swiglu(r, i, names, model->n_ff, 1, (smt_matrix *[]){&layer->gate, &layer->up, &layer->down}));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "ffn_gate.bias", 1, model->n_ff, 1, true}, &layer->gate_bias));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "ffn_up.bias", 1, model->n_ff, 1, true}, &layer->up_bias));
    return smt_model_bind(r, (smt_model_want){i, "ffn_down.bias", 1, model->n_embd, 1, true}, &layer->down_bias);
}

static smt_status bind_routed(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    static const char *const names[] = {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"};
    const smt_model *model = r->model;
    uint32_t width = model->n_ff_expert, n = model->n_experts;
    smt_matrix both;
    SMT_TRY(
        smt_model_bind(r, (smt_model_want){i, "ffn_gate_up_exps.weight", 2 * (uint64_t)width, model->n_embd, n, true}, &both));
    if (!both.tensor)
        return bind_swiglu(r, i, names, width, n, (smt_matrix *[]){&layer->gate_exps, &layer->up_exps, &layer->down_exps});
    both.rows = width; /* planes stay 2 * width rows apart */
    layer->gate_exps = layer->up_exps = both;
    layer->up_exps.row = width;
    return smt_model_bind(r, (smt_model_want){i, names[2], model->n_embd, width, n, false}, &layer->down_exps);
}

smt_status smt_model_bind_feed_forward(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    static const char *const shared[] = {"ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight"};
    const smt_model *model = r->model;
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "ffn_norm.weight", 1, model->n_embd, 1, false}, &layer->ffn_norm));
    layer->moe = i >= model->n_dense_layers;
    if (!layer->moe) return bind_dense(r, i, layer);
    SMT_TRY(
        smt_model_bind(r, (smt_model_want){i, "ffn_gate_inp.weight", model->n_experts, model->n_embd, 1, false}, &layer->router));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "exp_probs_b.bias", 1, model->n_experts, 1, true}, &layer->router_bias));
    SMT_TRY(bind_routed(r, i, layer));
    if (model->n_shared == 0) return SMT_OK;
    return bind_swiglu(r, i, shared, model->n_ff_shared, 1,
                       (smt_matrix *[]){&layer->gate_shexp, &layer->up_shexp, &layer->down_shexp});
}
