/* model_llama.c: dense models of Llama's shape (Llama 2 and 3, DeepSeek-LLM, DeepSeek-Coder): plain or grouped-query
 * attention, one SwiGLU per layer, perhaps a tied output head.
 *
 * Rows of q and k are in pair order in such files, so rotation goes by pairs (2i, 2i+1) as everywhere else. */
#include "model_internal.h"

/* ---- numbers ---- */

static smt_status read_heads(smt_model_reader *r) {
    smt_model *model = r->model;
    const uint32_t limit = SMT_MODEL_MAX_DIM - 1;
    bool found;
    model->n_kv_heads = model->n_heads;
    SMT_TRY(smt_model_get_u32(r, "attention.head_count_kv", 1, model->n_heads, &model->n_kv_heads, &found));
    if (!found) SMT_TRY(smt_model_assume(r, "attention.head_count_kv: %u (head_count)", model->n_kv_heads));
    if (model->n_heads % model->n_kv_heads)
        return SMT_FAIL(r->err, SMT_FORMAT, "%u heads cannot share %u key-value heads evenly", model->n_heads, model->n_kv_heads);

    uint32_t head = 0;
    SMT_TRY(smt_model_get_u32(r, "attention.key_length", 1, limit, &head, &found));
    if (!found) {
        if (model->n_embd % model->n_heads)
            return SMT_FAIL(r->err, SMT_FORMAT, "key %s.attention.key_length is missing, and %u heads do not divide the width %u",
                            model->architecture, model->n_heads, model->n_embd);
        head = model->n_embd / model->n_heads;
        SMT_TRY(smt_model_assume(r, "attention.key_length: %u (embedding_length / head_count)", head));
    }
    model->value_dim = head;
    SMT_TRY(smt_model_get_u32(r, "attention.value_length", 1, limit, &model->value_dim, NULL));
    if (model->value_dim != head)
        return SMT_FAIL(r->err, SMT_UNSUPPORTED,
                        "attention.value_length %u differs from attention.key_length %u, which is not supported",
                        model->value_dim, head);

    model->rope_dim = head;
    SMT_TRY(smt_model_get_u32(r, "rope.dimension_count", 1, head, &model->rope_dim, &found));
    if (!found) SMT_TRY(smt_model_assume(r, "rope.dimension_count: %u (head size)", head));
    model->nope_dim = head - model->rope_dim;
    return smt_model_read_rope(r);
}

static smt_status read_feed_forward(smt_model_reader *r) {
    smt_model *model = r->model;
    uint32_t n_experts = 0;
    SMT_TRY(smt_model_get_u32(r, "expert_count", 0, UINT32_MAX, &n_experts, NULL));
    if (n_experts > 0)
        return SMT_FAIL(r->err, SMT_UNSUPPORTED, "key llama.expert_count is %u: llama models with experts are not supported",
                        n_experts);
    model->n_dense_layers = model->n_layers;
    return smt_model_need_u32(r, "feed_forward_length", 1, SMT_MODEL_MAX_DIM - 1, &model->n_ff);
}

/* ---- tensors ---- */

static smt_status bind_layer(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    const smt_model *model = r->model;
    uint32_t head = model->nope_dim + model->rope_dim, n_embd = model->n_embd, n_ff = model->n_ff;
    uint64_t q_rows = (uint64_t)model->n_heads * head, kv_rows = (uint64_t)model->n_kv_heads * head;
    const struct {
        smt_model_want want;
        smt_matrix *out;
    } tensors[] = {
        {{i, "attn_norm.weight", 1, n_embd, 1, false}, &layer->attn_norm},
        {{i, "attn_q.weight", q_rows, n_embd, 1, false}, &layer->q},
        {{i, "attn_k.weight", kv_rows, n_embd, 1, false}, &layer->k},
        {{i, "attn_v.weight", kv_rows, n_embd, 1, false}, &layer->v},
        {{i, "attn_output.weight", n_embd, q_rows, 1, false}, &layer->output},
        {{i, "ffn_norm.weight", 1, n_embd, 1, false}, &layer->ffn_norm},
        {{i, "ffn_gate.weight", n_ff, n_embd, 1, false}, &layer->gate},
        {{i, "ffn_up.weight", n_ff, n_embd, 1, false}, &layer->up},
        {{i, "ffn_down.weight", n_embd, n_ff, 1, false}, &layer->down},
    };
    for (size_t j = 0; j < SMT_COUNT(tensors); j++) SMT_TRY(smt_model_bind(r, tensors[j].want, tensors[j].out));
    return SMT_OK;
}

smt_status smt_model_read_llama(smt_model_reader *r) {
    smt_model *model = r->model;
    SMT_TRY(smt_model_read_common(r));
    SMT_TRY(read_heads(r));
    SMT_TRY(read_feed_forward(r));
    model->weight_scale = 1;
    model->n_groups = model->n_groups_used = 1;
    SMT_TRY(smt_model_refuse_extras(r));
    SMT_TRY(smt_model_bind_ends(r));
    model->layers = smt_arena_alloc(&model->arena, model->n_layers, sizeof *model->layers);
    if (!model->layers) return SMT_FAIL(r->err, SMT_MEMORY, "out of memory for %u layers", model->n_layers);
    for (uint32_t i = 0; i < model->n_layers; i++) SMT_TRY(bind_layer(r, i, &model->layers[i]));
    return SMT_OK;
}
