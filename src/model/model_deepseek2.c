/* model_deepseek2.c: DeepSeek V2, V2-Lite, V2.5, V3 and their like: latent attention; experts are read in model_experts.c.
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

/* ---- numbers ---- */

/* Files of "lite" models lack the key. Where it is absent and the first layer has the pair all the same, its shape tells. */
static smt_status read_query_rank(smt_model_reader *r) {
    smt_model *model = r->model;
    bool found;
    SMT_TRY(smt_model_get_u32(r, "attention.q_lora_rank", 0, SMT_MODEL_MAX_DIM - 1, &model->q_rank, &found));
    if (found) return SMT_OK;
    const smt_gguf_tensor *pair = smt_gguf_find_tensor(r->file, "blk.0.attn_q_a.weight");
    if (!pair) return smt_model_assume(r, "attention.q_lora_rank: none (one query matrix)");
    if (pair->ne[1] >= SMT_MODEL_MAX_DIM)
        return SMT_FAIL(r->err, SMT_FORMAT, "tensor %s has %llu rows, at most %u are allowed", pair->name,
                        (unsigned long long)pair->ne[1], SMT_MODEL_MAX_DIM - 1);
    model->q_rank = (uint32_t)pair->ne[1];
    return smt_model_assume(r, "attention.q_lora_rank: %u (rows of blk.0.attn_q_a)", model->q_rank);
}

static smt_status read_rotated(smt_model_reader *r) {
    smt_model *model = r->model;
    bool found;
    model->rope_dim = 64; /* of every released model */
    SMT_TRY(smt_model_get_u32(r, "rope.dimension_count", 2, SMT_MODEL_MAX_DIM - 1, &model->rope_dim, &found));
    return found ? SMT_OK : smt_model_assume(r, "rope.dimension_count: %u", model->rope_dim);
}

static smt_status read_attention(smt_model_reader *r) {
    smt_model *model = r->model;
    const uint32_t limit = SMT_MODEL_MAX_DIM - 1;
    bool mla_keys = smt_model_has_key(r, "attention.key_length_mla");
    uint32_t key = 0;
    model->mla = true;
    model->n_kv_heads = 1;
    SMT_TRY(read_query_rank(r));
    SMT_TRY(smt_model_need_u32(r, "attention.kv_lora_rank", 1, limit, &model->kv_rank));
    SMT_TRY(read_rotated(r));
    SMT_TRY(smt_model_need_u32(r, mla_keys ? "attention.key_length_mla" : "attention.key_length", 1, limit, &key));
    SMT_TRY(
        smt_model_need_u32(r, mla_keys ? "attention.value_length_mla" : "attention.value_length", 1, limit, &model->value_dim));
    if (key <= model->rope_dim)
        return SMT_FAIL(r->err, SMT_FORMAT, "key %s.attention.%s is %u, it must exceed rope.dimension_count, which is %u",
                        model->architecture, mla_keys ? "key_length_mla" : "key_length", key, model->rope_dim);
    model->nope_dim = key - model->rope_dim;
    return smt_model_read_rope(r);
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

smt_status smt_model_read_deepseek2(smt_model_reader *r) {
    smt_model *model = r->model;
    SMT_TRY(smt_model_read_common(r));
    SMT_TRY(read_attention(r));
    SMT_TRY(smt_model_read_experts(r));
    SMT_TRY(smt_model_bind_ends(r));
    for (uint32_t i = 0; i < model->n_layers; i++) {
        SMT_TRY(bind_attention(r, i, &model->layers[i]));
        SMT_TRY(smt_model_bind_feed_forward(r, i, &model->layers[i]));
    }
    return SMT_OK;
}
