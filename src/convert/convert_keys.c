/* convert_keys.c: the keys below the architecture's name, from the numbers of config.json.
 *
 * deepseek2 is written in the layout of 2025: attention as the cache sees it (one key head of kv_rank + rope values), the real
 * sizes of heads in key_length_mla and value_length_mla, the rank's expansion as attn_k_b and attn_v_b. */
#include "convert_internal.h"

#include <stdio.h>

/* expert_gating_func as files number it. */
enum { GATING_SOFTMAX = 1, GATING_SIGMOID = 2 };

typedef struct writer { /* the first failure sticks: later calls do nothing */
    const char *architecture;
    smt_gguf_output *output;
    smt_error *err;
    smt_status status;
} writer;

static const char *full_name(const writer *w, const char *key, char text[128]) {
    snprintf(text, 128, "%s.%s", w->architecture, key);
    return text;
}

static void put_u32(writer *w, const char *key, uint32_t value) {
    char name[128];
    if (w->status == SMT_OK) w->status = smt_gguf_output_u32(w->output, full_name(w, key, name), value, w->err);
}

static void put_f32(writer *w, const char *key, double value) {
    char name[128];
    if (w->status == SMT_OK) w->status = smt_gguf_output_f32(w->output, full_name(w, key, name), (float)value, w->err);
}

static void put_bool(writer *w, const char *key, bool value) {
    char name[128];
    if (w->status == SMT_OK) w->status = smt_gguf_output_bool(w->output, full_name(w, key, name), value, w->err);
}

static void put_text(writer *w, const char *key, const char *value) {
    char name[128];
    if (w->status == SMT_OK) w->status = smt_gguf_output_text(w->output, full_name(w, key, name), value, w->err);
}

static void put_attention(writer *w, const smt_hf_config *c) {
    put_u32(w, "attention.head_count", c->n_heads);
    put_u32(w, "attention.head_count_kv", c->family == SMT_HF_DEEPSEEK2 ? 1 : c->n_kv_heads);
    put_f32(w, "attention.layer_norm_rms_epsilon", c->norm_eps);
    if (c->family != SMT_HF_DEEPSEEK2) {
        put_u32(w, "attention.key_length", c->head_dim);
        put_u32(w, "attention.value_length", c->head_dim);
        return;
    }
    if (c->q_rank) put_u32(w, "attention.q_lora_rank", c->q_rank);
    put_u32(w, "attention.kv_lora_rank", c->kv_rank);
    put_u32(w, "attention.key_length", c->kv_rank + c->rope_dim);
    put_u32(w, "attention.value_length", c->kv_rank);
    put_u32(w, "attention.key_length_mla", c->nope_dim + c->rope_dim);
    put_u32(w, "attention.value_length_mla", c->value_dim);
}

static void put_rope(writer *w, const smt_hf_config *c) {
    const smt_hf_rope *rope = &c->rope;
    put_u32(w, "rope.dimension_count", c->rope_dim);
    put_f32(w, "rope.freq_base", rope->base);
    if (rope->scaling == SMT_HF_LINEAR || rope->scaling == SMT_HF_YARN) {
        put_text(w, "rope.scaling.type", rope->scaling == SMT_HF_YARN ? "yarn" : "linear");
        put_f32(w, "rope.scaling.factor", rope->factor);
    }
    if (rope->scaling != SMT_HF_YARN) return; /* Llama 3's scaling is a tensor */
    put_u32(w, "rope.scaling.original_context_length", rope->original_ctx);
    put_f32(w, "rope.scaling.yarn_beta_fast", rope->beta_fast);
    put_f32(w, "rope.scaling.yarn_beta_slow", rope->beta_slow);
    if (c->family == SMT_HF_DEEPSEEK2) put_f32(w, "rope.scaling.yarn_log_multiplier", 0.1 * rope->mscale_all_dim);
}

static void put_experts(writer *w, const smt_hf_config *c) {
    put_u32(w, "leading_dense_block_count", c->n_dense_layers);
    put_u32(w, "expert_count", c->n_experts);
    put_u32(w, "expert_used_count", c->n_used);
    put_u32(w, "expert_shared_count", c->n_shared);
    put_u32(w, "expert_feed_forward_length", c->n_ff_expert);
    put_f32(w, "expert_weights_scale", c->weight_scale);
    if (c->family != SMT_HF_DEEPSEEK2) return;
    put_bool(w, "expert_weights_norm", c->norm_weights);
    put_u32(w, "expert_gating_func", c->sigmoid ? GATING_SIGMOID : GATING_SOFTMAX);
    put_u32(w, "expert_group_count", c->n_groups);
    put_u32(w, "expert_group_used_count", c->n_groups_used);
}

smt_status smt_convert_config_keys(const smt_hf_config *config, smt_gguf_output *output, smt_error *err) {
    writer w = {config->architecture, output, err, SMT_OK};
    put_u32(&w, "block_count", config->n_layers);
    put_u32(&w, "context_length", config->n_ctx);
    put_u32(&w, "embedding_length", config->n_embd);
    put_u32(&w, "feed_forward_length", config->n_ff);
    put_u32(&w, "vocab_size", config->n_vocab);
    put_attention(&w, config);
    put_rope(&w, config);
    if (config->n_experts) put_experts(&w, config);
    return w.status;
}
