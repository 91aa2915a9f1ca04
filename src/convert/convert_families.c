/* convert_families.c: which matrix of a checkpoint becomes which tensor, family by family.
 *
 * Each line of these lists is one tensor: where it goes, where it comes from, and its rows and row length, which the numbers of
 * config.json demand. Names inside a layer leave out "blk.N." and "model.layers.N.". */
#include "convert_internal.h"

static smt_status put_ends(smt_convert_list *list) {
    const smt_hf_config *c = list->config;
    SMT_TRY(smt_convert_put(list, SMT_CONVERT_MODEL, "token_embd.weight", "model.embed_tokens.weight", c->n_vocab, c->n_embd));
    SMT_TRY(smt_convert_put_f32(list, SMT_CONVERT_MODEL, "output_norm.weight", "model.norm.weight", 0, c->n_embd));
    return c->tied ? SMT_OK : smt_convert_put(list, SMT_CONVERT_MODEL, "output.weight", "lm_head.weight", c->n_vocab, c->n_embd);
}

/* ---- attention ---- */

/* Queries and keys of these checkpoints rotate their halves against each other; GGUF files have pairs side by side. */
static smt_status put_attention(smt_convert_list *list, uint32_t layer) {
    const smt_hf_config *c = list->config;
    uint64_t width = (uint64_t)c->n_heads * c->head_dim, kv_width = (uint64_t)c->n_kv_heads * c->head_dim;
    SMT_TRY(smt_convert_put_pairs(list, layer, "attn_q.weight", "self_attn.q_proj.weight", c->n_heads, c->head_dim, c->n_embd));
    SMT_TRY(
        smt_convert_put_pairs(list, layer, "attn_k.weight", "self_attn.k_proj.weight", c->n_kv_heads, c->head_dim, c->n_embd));
    SMT_TRY(smt_convert_put(list, layer, "attn_v.weight", "self_attn.v_proj.weight", kv_width, c->n_embd));
    return smt_convert_put(list, layer, "attn_output.weight", "self_attn.o_proj.weight", c->n_embd, width);
}

static smt_status put_latent_query(smt_convert_list *list, uint32_t layer) {
    const smt_hf_config *c = list->config;
    uint64_t width = (uint64_t)c->n_heads * (c->nope_dim + c->rope_dim);
    if (c->q_rank == 0) return smt_convert_put(list, layer, "attn_q.weight", "self_attn.q_proj.weight", width, c->n_embd);
    SMT_TRY(smt_convert_put(list, layer, "attn_q_a.weight", "self_attn.q_a_proj.weight", c->q_rank, c->n_embd));
    SMT_TRY(smt_convert_put_f32(list, layer, "attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight", 0, c->q_rank));
    return smt_convert_put(list, layer, "attn_q_b.weight", "self_attn.q_b_proj.weight", width, c->q_rank);
}

/* These rotate by pairs already. kv_b_proj holds for each head the key rows, then the value rows; the former are transposed, so
 * that a query multiplies with rows of k_b. */
static smt_status put_latent_attention(smt_convert_list *list, uint32_t layer) {
    const smt_hf_config *c = list->config;
    const char *kv_b = "self_attn.kv_b_proj.weight";
    uint32_t step = c->nope_dim + c->value_dim;
    const smt_convert_planes key = {"attn_k_b.weight", kv_b, c->n_heads, step, 0, c->nope_dim, c->kv_rank, true};
    const smt_convert_planes value = {"attn_v_b.weight", kv_b, c->n_heads, step, c->nope_dim, c->value_dim, c->kv_rank, false};
    SMT_TRY(put_latent_query(list, layer));
    SMT_TRY(smt_convert_put(list, layer, "attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight",
                            (uint64_t)c->kv_rank + c->rope_dim, c->n_embd));
    SMT_TRY(smt_convert_put_f32(list, layer, "attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight", 0, c->kv_rank));
    SMT_TRY(smt_convert_put_planes(list, layer, &key));
    SMT_TRY(smt_convert_put_planes(list, layer, &value));
    return smt_convert_put(list, layer, "attn_output.weight", "self_attn.o_proj.weight", c->n_embd,
                           (uint64_t)c->n_heads * c->value_dim);
}

/* ---- feed-forward ---- */

static smt_status put_dense(smt_convert_list *list, uint32_t layer) {
    const smt_hf_config *c = list->config;
    SMT_TRY(smt_convert_put(list, layer, "ffn_gate.weight", "mlp.gate_proj.weight", c->n_ff, c->n_embd));
    SMT_TRY(smt_convert_put(list, layer, "ffn_up.weight", "mlp.up_proj.weight", c->n_ff, c->n_embd));
    return smt_convert_put(list, layer, "ffn_down.weight", "mlp.down_proj.weight", c->n_embd, c->n_ff);
}

static smt_status put_experts(smt_convert_list *list, uint32_t layer) {
    const smt_hf_config *c = list->config;
    uint64_t shared = (uint64_t)c->n_shared * c->n_ff_expert;
    SMT_TRY(smt_convert_put_f32(list, layer, "ffn_gate_inp.weight", "mlp.gate.weight", c->n_experts, c->n_embd));
    if (c->selection_bias)
        SMT_TRY(smt_convert_put_f32(list, layer, "exp_probs_b.bias", "mlp.gate.e_score_correction_bias", 0, c->n_experts));
    SMT_TRY(smt_convert_put_experts(list, layer, "ffn_gate_exps.weight", "gate_proj.weight", c->n_ff_expert, c->n_embd));
    SMT_TRY(smt_convert_put_experts(list, layer, "ffn_up_exps.weight", "up_proj.weight", c->n_ff_expert, c->n_embd));
    SMT_TRY(smt_convert_put_experts(list, layer, "ffn_down_exps.weight", "down_proj.weight", c->n_embd, c->n_ff_expert));
    if (c->n_shared == 0) return SMT_OK;
    SMT_TRY(smt_convert_put(list, layer, "ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight", shared, c->n_embd));
    SMT_TRY(smt_convert_put(list, layer, "ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight", shared, c->n_embd));
    return smt_convert_put(list, layer, "ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight", c->n_embd, shared);
}

static smt_status put_layer(smt_convert_list *list, uint32_t layer) {
    const smt_hf_config *c = list->config;
    bool dense = c->n_experts == 0 || layer < c->n_dense_layers;
    SMT_TRY(smt_convert_put_f32(list, layer, "attn_norm.weight", "input_layernorm.weight", 0, c->n_embd));
    SMT_TRY(c->family == SMT_HF_DEEPSEEK2 ? put_latent_attention(list, layer) : put_attention(list, layer));
    SMT_TRY(smt_convert_put_f32(list, layer, "ffn_norm.weight", "post_attention_layernorm.weight", 0, c->n_embd));
    return dense ? put_dense(list, layer) : put_experts(list, layer);
}

/* ---- the whole ---- */

static smt_status put_divisors(smt_convert_list *list) {
    const smt_hf_config *c = list->config;
    float *divisors = smt_arena_alloc(&list->arena, c->rope_dim / 2, sizeof *divisors);
    if (!divisors) return SMT_FAIL(list->err, SMT_MEMORY, "out of memory for %u rotary divisors", c->rope_dim / 2);
    smt_hf_rope_divisors(&c->rope, c->rope_dim, divisors);
    return smt_convert_put_values(list, "rope_freqs.weight", divisors, c->rope_dim / 2);
}

smt_status smt_convert_family_tensors(smt_convert_list *list) {
    SMT_TRY(put_ends(list));
    if (list->config->rope.scaling == SMT_HF_LLAMA3) SMT_TRY(put_divisors(list));
    for (uint32_t i = 0; i < list->config->n_layers; i++) SMT_TRY(put_layer(list, i));
    return SMT_OK;
}
