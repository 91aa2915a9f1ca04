/* model_deepseek2.c: DeepSeek V2, V2-Lite, V2.5, V3 and their like: latent attention, routed and shared experts.
 *
 * Two generations of files exist and are told apart by what is in them, never by counts of layers:
 *   - head sizes: attention.key_length_mla where present, else attention.key_length;
 *   - the expansion of the latent: attn_k_b and attn_v_b, else attn_kv_b, whose rows are for each head the key rows, then the
 *     value rows. k_b of such a file is a transposed view, v_b a plain one with a gap between planes:
 *
 *         attn_kv_b, head h:   | nope rows: k, [kv_rank] each | value rows: v, [kv_rank] each |
 *                                \__ k_b plane h, transposed     \__ v_b plane h
 *
 *   - one query matrix (the "lite" models) or a pair with a norm between: q_lora_rank. */
#include "model_internal.h"

#include <stdio.h>

/* Gating functions as files number them. */
enum { GATING_ABSENT = 0, GATING_SOFTMAX = 1, GATING_SIGMOID = 2 };

/* ---- numbers ---- */

static smt_status read_attention(smt_model_reader *r) {
    smt_model *model = r->model;
    const uint32_t limit = SMT_MODEL_MAX_DIM - 1;
    bool mla_keys = smt_model_has_key(r, "attention.key_length_mla");
    uint32_t key = 0;
    model->mla = true;
    model->n_kv_heads = 1;
    SMT_TRY(smt_model_get_u32(r, "attention.q_lora_rank", 0, limit, &model->q_rank, NULL));
    SMT_TRY(smt_model_need_u32(r, "attention.kv_lora_rank", 1, limit, &model->kv_rank));
    SMT_TRY(smt_model_need_u32(r, "rope.dimension_count", 2, limit, &model->rope_dim));
    SMT_TRY(smt_model_need_u32(r, mla_keys ? "attention.key_length_mla" : "attention.key_length", 1, limit, &key));
    SMT_TRY(
        smt_model_need_u32(r, mla_keys ? "attention.value_length_mla" : "attention.value_length", 1, limit, &model->value_dim));
    if (key <= model->rope_dim)
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s.attention.%s is %u, it must exceed rope.dimension_count, which is %u",
                        model->architecture, mla_keys ? "key_length_mla" : "key_length", key, model->rope_dim);
    model->nope_dim = key - model->rope_dim;
    return smt_model_read_rope(r);
}

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

static smt_status read_experts(smt_model_reader *r) {
    smt_model *model = r->model;
    const uint32_t limit = SMT_MODEL_MAX_DIM - 1;
    model->weight_scale = 1;
    model->n_groups = model->n_groups_used = 1;
    SMT_TRY(smt_model_get_u32(r, "expert_count", 0, SMT_MODEL_MAX_EXPERTS, &model->n_experts, NULL));
    if (model->n_experts == 0) {
        model->n_dense_layers = model->n_layers;
        return SMT_OK;
    }
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

/* ---- tensors ---- */

static smt_status bind_query(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    const smt_model *model = r->model;
    uint64_t rows = (uint64_t)model->n_heads * (model->nope_dim + model->rope_dim);
    if (model->q_rank == 0)
        return smt_model_bind(r, (smt_model_want){i, "attn_q.weight", rows, model->n_embd, 1, false}, &layer->q);
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "attn_q_a.weight", model->q_rank, model->n_embd, 1, false}, &layer->q_a));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "attn_q_a_norm.weight", 1, model->q_rank, 1, false}, &layer->q_a_norm));
    return smt_model_bind(r, (smt_model_want){i, "attn_q_b.weight", rows, model->q_rank, 1, false}, &layer->q_b);
}

/* The latent's expansion as one tensor: k_b and v_b become views of it. */
static smt_status bind_joint_expansion(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    const smt_model *model = r->model;
    uint32_t head_rows = model->nope_dim + model->value_dim;
    smt_matrix joint;
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "attn_kv_b.weight", head_rows, model->kv_rank, model->n_heads, false}, &joint));
    layer->k_b = layer->v_b = joint; /* planes are head_rows apart in both */
    layer->k_b.k = model->nope_dim;
    layer->k_b.rows = model->kv_rank;
    layer->k_b.transposed = true;
    layer->v_b.rows = model->value_dim;
    layer->v_b.row = model->nope_dim;
    return SMT_OK;
}

static smt_status bind_expansion(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    const smt_model *model = r->model;
    smt_model_want want = {i, "attn_k_b.weight", model->kv_rank, model->nope_dim, model->n_heads, true};
    SMT_TRY(smt_model_bind(r, want, &layer->k_b));
    if (!layer->k_b.tensor) return bind_joint_expansion(r, i, layer);
    want = (smt_model_want){i, "attn_v_b.weight", model->value_dim, model->kv_rank, model->n_heads, false};
    return smt_model_bind(r, want, &layer->v_b);
}

static smt_status bind_attention(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    const smt_model *model = r->model;
    uint64_t values = (uint64_t)model->n_heads * model->value_dim;
    uint32_t latent = model->kv_rank + model->rope_dim;
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "attn_norm.weight", 1, model->n_embd, 1, false}, &layer->attn_norm));
    SMT_TRY(bind_query(r, i, layer));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "attn_kv_a_mqa.weight", latent, model->n_embd, 1, false}, &layer->kv_a));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "attn_kv_a_norm.weight", 1, model->kv_rank, 1, false}, &layer->kv_a_norm));
    SMT_TRY(bind_expansion(r, i, layer));
    return smt_model_bind(r, (smt_model_want){i, "attn_output.weight", model->n_embd, values, 1, false}, &layer->output);
}

/* A SwiGLU of `width`: rows `gate` and `up` read the residual stream, `down` writes it. */
static smt_status bind_swiglu(smt_model_reader *r, uint32_t i, const char *const names[3], uint32_t width, uint32_t n_planes,
                              smt_matrix *const out[3]) {
    uint32_t n_embd = r->model->n_embd;
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, names[0], width, n_embd, n_planes, false}, out[0]));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, names[1], width, n_embd, n_planes, false}, out[1]));
    return smt_model_bind(r, (smt_model_want){i, names[2], n_embd, width, n_planes, false}, out[2]);
}

static smt_status bind_feed_forward(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    static const char *const dense[] = {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"};
    static const char *const routed[] = {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"};
    static const char *const shared[] = {"ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight"};
    const smt_model *model = r->model;
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "ffn_norm.weight", 1, model->n_embd, 1, false}, &layer->ffn_norm));
    layer->moe = i >= model->n_dense_layers;
    if (!layer->moe) return bind_swiglu(r, i, dense, model->n_ff, 1, (smt_matrix *[]){&layer->gate, &layer->up, &layer->down});
    SMT_TRY(
        smt_model_bind(r, (smt_model_want){i, "ffn_gate_inp.weight", model->n_experts, model->n_embd, 1, false}, &layer->router));
    SMT_TRY(smt_model_bind(r, (smt_model_want){i, "exp_probs_b.bias", 1, model->n_experts, 1, true}, &layer->router_bias));
    SMT_TRY(bind_swiglu(r, i, routed, model->n_ff_expert, model->n_experts,
                        (smt_matrix *[]){&layer->gate_exps, &layer->up_exps, &layer->down_exps}));
    if (model->n_shared == 0) return SMT_OK;
    return bind_swiglu(r, i, shared, model->n_ff_shared, 1,
                       (smt_matrix *[]){&layer->gate_shexp, &layer->up_shexp, &layer->down_shexp});
}

smt_status smt_model_read_deepseek2(smt_model_reader *r) {
    smt_model *model = r->model;
    SMT_TRY(smt_model_read_common(r));
    SMT_TRY(read_attention(r));
    SMT_TRY(read_experts(r));
    if (model->n_dense_layers > 0) SMT_TRY(smt_model_need_u32(r, "feed_forward_length", 1, SMT_MODEL_MAX_DIM - 1, &model->n_ff));
    SMT_TRY(smt_model_refuse_extras(r));
    SMT_TRY(smt_model_bind_ends(r));
    model->layers = smt_arena_alloc(&model->arena, model->n_layers, sizeof *model->layers);
    if (!model->layers) return SMT_FAIL(r->err, SMT_MEMORY, "out of memory for %u layers", model->n_layers);
    for (uint32_t i = 0; i < model->n_layers; i++) {
        SMT_TRY(bind_attention(r, i, &model->layers[i]));
        SMT_TRY(bind_feed_forward(r, i, &model->layers[i]));
    }
    return SMT_OK;
}
