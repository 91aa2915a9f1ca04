/* convert_config.c: config.json as numbers: which family, its sizes, its experts.
 *
 * A configuration that GGUF cannot express, or that would need arithmetic the engine lacks (biases, another activation, experts
 * in every second layer), is refused here by the name of its key: later files trust the numbers. Absent keys take the defaults
 * of the published configuration classes. */
#include "convert_internal.h"
#include "model/model.h"

#include <string.h>

#define LABEL     "config.json"
#define MAX_DIM   ((1u << 24) - 1)
#define MAX_VOCAB (1u << 20) /* four times that of any known model: each row takes memory before any weight is looked at */

static const struct {
    const char *class_name, *model_type;
    smt_hf_family family;
    const char *architecture;
    bool v3; /* the configuration class of V3 has the sigmoid router as its default */
} families[] = {
    {"DeepseekV3ForCausalLM", "deepseek_v3", SMT_HF_DEEPSEEK2, "deepseek2", true},
    {"DeepseekV2ForCausalLM", "deepseek_v2", SMT_HF_DEEPSEEK2, "deepseek2", false},
    {"DeepseekForCausalLM", "deepseek", SMT_HF_DEEPSEEK, "deepseek", false},
    {"LlamaForCausalLM", "llama", SMT_HF_LLAMA, "llama", false},
};

/* "architectures" says which code computes the model; "model_type" stands in where it is absent. */
static smt_status find_family(const json_t *config, size_t *out, smt_error *err) {
    const char *class_name = json_string_value(json_array_get(smt_convert_value(config, "architectures"), 0));
    const char *model_type = json_string_value(smt_convert_value(config, "model_type"));
    for (size_t i = 0; i < SMT_COUNT(families); i++) {
        *out = i;
        if (smt_convert_is(class_name ? class_name : model_type, class_name ? families[i].class_name : families[i].model_type))
            return SMT_OK;
    }
    return SMT_FAIL(err, SMT_UNSUPPORTED,
                    LABEL ": architecture \"%.60s\", model_type \"%.60s\": DeepseekV3, DeepseekV2, Deepseek and Llama"
                          "ForCausalLM can be converted",
                    class_name ? class_name : "", model_type ? model_type : "");
}

static smt_status need(const json_t *config, const char *key, uint32_t high, uint32_t *out, smt_error *err) {
    return smt_convert_u32(LABEL, config, key, 1, high, true, out, err);
}

static smt_status take(const json_t *config, const char *key, uint32_t low, uint32_t high, uint32_t *out, smt_error *err) {
    return smt_convert_u32(LABEL, config, key, low, high, false, out, err);
}

/* Switches that add tensors or arithmetic we have no place for. */
static smt_status refuse_switches(const json_t *config, smt_error *err) {
    static const char *const off[] = {"attention_bias", "mlp_bias"};
    for (size_t i = 0; i < SMT_COUNT(off); i++) {
        bool on = false;
        SMT_TRY(smt_convert_bool(LABEL, config, off[i], &on, NULL, err));
        if (on) return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"%s\" is true: biases are not supported", off[i]);
    }
    const char *activation = "silu";
    SMT_TRY(smt_convert_text(LABEL, config, "hidden_act", &activation, err));
    if (smt_convert_is(activation, "silu")) return SMT_OK;
    return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"hidden_act\" is \"%.40s\"; silu is supported", activation);
}

static smt_status read_common(const json_t *config, smt_hf_config *out, smt_error *err) {
    SMT_TRY(refuse_switches(config, err));
    SMT_TRY(need(config, "num_hidden_layers", SMT_MODEL_MAX_LAYERS, &out->n_layers, err));
    SMT_TRY(need(config, "hidden_size", MAX_DIM, &out->n_embd, err));
    SMT_TRY(need(config, "vocab_size", MAX_VOCAB, &out->n_vocab, err));
    SMT_TRY(need(config, "num_attention_heads", MAX_DIM, &out->n_heads, err));
    SMT_TRY(need(config, "intermediate_size", MAX_DIM, &out->n_ff, err));
    SMT_TRY(need(config, "max_position_embeddings", INT32_MAX, &out->n_ctx, err));
    SMT_TRY(smt_convert_f64(LABEL, config, "rms_norm_eps", 1e-12, 1, true, &out->norm_eps, err));
    out->n_kv_heads = out->n_heads;
    SMT_TRY(take(config, "num_key_value_heads", 1, out->n_heads, &out->n_kv_heads, err));
    SMT_TRY(smt_convert_bool(LABEL, config, "tie_word_embeddings", &out->tied, NULL, err));
    return take(config, "num_nextn_predict_layers", 0, SMT_MODEL_MAX_LAYERS, &out->n_nextn, err);
}

/* The size of a head where queries, keys and values have the same. */
static smt_status read_head(const json_t *config, smt_hf_config *out, smt_error *err) {
    if (out->n_heads % out->n_kv_heads)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": %u heads cannot share %u key-value heads evenly", out->n_heads,
                        out->n_kv_heads);
    bool divides = out->n_embd % out->n_heads == 0;
    out->head_dim = divides ? out->n_embd / out->n_heads : 0;
    SMT_TRY(smt_convert_u32(LABEL, config, "head_dim", 2, MAX_DIM, !divides, &out->head_dim, err));
    if (out->head_dim % 2) return SMT_FAIL(err, SMT_FORMAT, LABEL ": heads of %u values do not rotate by pairs", out->head_dim);
    out->rope_dim = out->head_dim;
    return SMT_OK;
}

static smt_status read_latent(const json_t *config, smt_hf_config *out, smt_error *err) {
    bool use_mla = true;
    SMT_TRY(smt_convert_bool(LABEL, config, "use_mla", &use_mla, NULL, err));
    if (!use_mla) return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"use_mla\" is false: plain attention is not supported here");
    SMT_TRY(take(config, "q_lora_rank", 0, MAX_DIM, &out->q_rank, err));
    SMT_TRY(need(config, "kv_lora_rank", MAX_DIM, &out->kv_rank, err));
    SMT_TRY(need(config, "qk_nope_head_dim", MAX_DIM, &out->nope_dim, err));
    SMT_TRY(need(config, "qk_rope_head_dim", MAX_DIM, &out->rope_dim, err));
    SMT_TRY(need(config, "v_head_dim", MAX_DIM, &out->value_dim, err));
    if (out->rope_dim % 2)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": \"qk_rope_head_dim\" is %u, pairs rotate: an even number is wanted",
                        out->rope_dim);
    return SMT_OK;
}

/* GGUF names the gate alone; the way of choosing follows from it: softmax with groups by their best expert, sigmoid with a
 * selection bias and groups by their two best. */
static smt_status read_choice(const json_t *config, bool v3, smt_hf_config *out, smt_error *err) {
    const char *scoring = v3 ? "sigmoid" : "softmax", *method = v3 ? "noaux_tc" : "greedy";
    SMT_TRY(smt_convert_text(LABEL, config, "scoring_func", &scoring, err));
    SMT_TRY(smt_convert_text(LABEL, config, "topk_method", &method, err));
    bool greedy = smt_convert_is(method, "greedy") || smt_convert_is(method, "gready"), bias = smt_convert_is(method, "noaux_tc");
    out->sigmoid = smt_convert_is(scoring, "sigmoid");
    out->selection_bias = bias;
    bool known = (out->sigmoid || smt_convert_is(scoring, "softmax")) &&
                 (greedy || bias || (smt_convert_is(method, "group_limited_greedy") && !out->sigmoid));
    if (!known || (bias && !out->sigmoid))
        return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": experts by \"%.40s\" of \"%.40s\" scores: not supported", method, scoring);
    out->n_groups = out->n_groups_used = 1;
    if (greedy) return SMT_OK;
    SMT_TRY(take(config, "n_group", 1, out->n_experts, &out->n_groups, err));
    SMT_TRY(take(config, "topk_group", 1, out->n_groups, &out->n_groups_used, err));
    if (out->n_experts % out->n_groups || (uint64_t)out->n_experts / out->n_groups * out->n_groups_used < out->n_used)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": %u experts in %u groups of which %u are kept, %u experts used: this cannot be",
                        out->n_experts, out->n_groups, out->n_groups_used, out->n_used);
    return SMT_OK;
}

static smt_status read_experts(const json_t *config, bool v3, smt_hf_config *out, smt_error *err) {
    uint32_t every = 1;
    out->weight_scale = 1;
    SMT_TRY(take(config, "n_routed_experts", 0, SMT_MODEL_MAX_EXPERTS, &out->n_experts, err));
    if (out->n_experts == 0) {
        out->n_dense_layers = out->n_layers;
        return SMT_OK;
    }
    SMT_TRY(need(config, "num_experts_per_tok", smt_min_u32(out->n_experts, SMT_MODEL_MAX_USED), &out->n_used, err));
    SMT_TRY(need(config, "moe_intermediate_size", MAX_DIM, &out->n_ff_expert, err));
    SMT_TRY(take(config, "n_shared_experts", 0, SMT_MODEL_MAX_EXPERTS, &out->n_shared, err));
    SMT_TRY(take(config, "first_k_dense_replace", 0, out->n_layers, &out->n_dense_layers, err));
    SMT_TRY(take(config, "moe_layer_freq", 1, MAX_DIM, &every, err));
    if (every != 1) return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"moe_layer_freq\" is %u; 1 is supported", every);
    SMT_TRY(smt_convert_bool(LABEL, config, "norm_topk_prob", &out->norm_weights, NULL, err));
    SMT_TRY(smt_convert_f64(LABEL, config, "routed_scaling_factor", 1e-6, 1e6, false, &out->weight_scale, err));
    if ((uint64_t)out->n_shared * out->n_ff_expert > MAX_DIM)
        return SMT_FAIL(err, SMT_FORMAT, LABEL ": %u shared experts of width %u are too wide", out->n_shared, out->n_ff_expert);
    SMT_TRY(read_choice(config, v3, out, err));
    bool plain = !out->sigmoid && !out->norm_weights && out->n_groups == 1 && out->weight_scale == 1;
    if (out->family == SMT_HF_DEEPSEEK && !plain)
        return SMT_FAIL(err, SMT_UNSUPPORTED,
                        LABEL ": GGUF's \"deepseek\" has softmax scores, no groups, norm_topk_prob false and scale 1 only");
    return SMT_OK;
}

/* Scales of F8 weights. Any other kind of quantised checkpoint has tensors that we could not read. */
static smt_status read_quantisation(const json_t *config, smt_hf_config *out, smt_error *err) {
    const json_t *quantisation = smt_convert_value(config, "quantization_config");
    if (!quantisation) return SMT_OK;
    const char *method = "";
    SMT_TRY(smt_convert_text(LABEL, quantisation, "quant_method", &method, err));
    if (!smt_convert_is(method, "fp8"))
        return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"quant_method\" is \"%.40s\"; fp8 with block scales can be read", method);
    const json_t *block = smt_convert_value(quantisation, "weight_block_size");
    uint64_t rows = 0, columns = 0;
    if (json_array_size(block) != 2 || !smt_convert_u64_of(json_array_get(block, 0), &rows) ||
        !smt_convert_u64_of(json_array_get(block, 1), &columns) || rows < 1 || rows > MAX_DIM || columns < 1 || columns > MAX_DIM)
        return SMT_FAIL(err, SMT_UNSUPPORTED, LABEL ": \"weight_block_size\" is not a pair of sizes: fp8 without block scales");
    out->block_rows = (uint32_t)rows;
    out->block_columns = (uint32_t)columns;
    return SMT_OK;
}

smt_status smt_hf_config_read(const json_t *config, smt_hf_config *out, smt_error *err) {
    size_t row;
    *out = (smt_hf_config){0};
    SMT_TRY(find_family(config, &row, err));
    out->family = families[row].family;
    out->architecture = families[row].architecture;
    SMT_TRY(read_common(config, out, err));
    SMT_TRY(out->family == SMT_HF_DEEPSEEK2 ? read_latent(config, out, err) : read_head(config, out, err));
    if (out->family != SMT_HF_LLAMA) SMT_TRY(read_experts(config, families[row].v3, out, err));
    SMT_TRY(read_quantisation(config, out, err));
    return smt_hf_rope_read(config, out, err);
}
