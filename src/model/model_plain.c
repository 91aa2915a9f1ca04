/* model_plain.c: plain attention: every head has keys and values of its own, or several heads share one pair (grouped queries).
 *
 * Rows of q and k are in pair order in such files, so rotation goes by pairs (2i, 2i+1) as everywhere else. Biases of the four
 * projections are rare, and bound where they are. */
#include "model_internal.h"

smt_status smt_model_read_plain(smt_model_reader *r) {
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

smt_status smt_model_bind_plain(smt_model_reader *r, uint32_t i, smt_model_layer *layer) {
    const smt_model *model = r->model;
    uint32_t head = model->nope_dim + model->rope_dim, n_embd = model->n_embd;
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
        {{i, "attn_q.bias", 1, q_rows, 1, true}, &layer->q_bias},
        {{i, "attn_k.bias", 1, kv_rows, 1, true}, &layer->k_bias},
        {{i, "attn_v.bias", 1, kv_rows, 1, true}, &layer->v_bias},
        {{i, "attn_output.bias", 1, n_embd, 1, true}, &layer->output_bias},
    };
    for (size_t j = 0; j < SMT_COUNT(tensors); j++) SMT_TRY(smt_model_bind(r, tensors[j].want, tensors[j].out));
    return SMT_OK;
}
