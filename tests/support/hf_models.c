/* hf_models.c: the configurations are those of the published config.json files, with the sizes of tiny_model.c. */
#include "hf_models.h"
#include "tiny_model.h"

static void open_tiny(smt_hf_folder *folder, const char *name, bool v3, smt_gguf **out_original) {
    smt_error err = {0};
    char path[700];
    smt_hf_begin(folder, name);
    snprintf(path, sizeof path, "%s.tiny.gguf", folder->path);
    smt_tiny_options options = {.n_layers = 2, .q_lora = v3, .sigmoid = v3, .gqa = !v3};
    SMT_ASSERT_OK(v3 ? smt_tiny_deepseek2(path, &options, &err) : smt_tiny_llama(path, &options, &err), &err);
    SMT_ASSERT_OK(smt_gguf_open(path, out_original, &err), &err);
    remove(path);
    smt_hf_from_gguf(folder, *out_original, "F32");
    smt_hf_tokenizer(folder, *out_original, smt_hf_pre_deepseek_llm, false);
}

/* Takes the reference to `more`. */
static void merge(json_t *config, json_t *more) {
    assert_true(more && json_object_update(config, more) == 0);
    json_decref(more);
}

static json_int_t vocabulary_of(smt_hf_folder *folder) {
    return (json_int_t)smt_hf_find(folder, "model.embed_tokens.weight")->dims[0];
}

json_t *smt_hf_tiny_v3(smt_hf_folder *folder, const char *name, smt_gguf **out_original) {
    open_tiny(folder, name, true, out_original);
    json_t *config =
        json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:i, s:s, s:b}", "architectures", "DeepseekV3ForCausalLM",
                  "model_type", "deepseek_v3", "hidden_size", 256, "num_hidden_layers", 2, "num_attention_heads", 8,
                  "num_key_value_heads", 8, "intermediate_size", 512, "max_position_embeddings", 4096, "rope_theta", 10000,
                  "rms_norm_eps", 1e-6, "num_nextn_predict_layers", 1, "hidden_act", "silu", "tie_word_embeddings", 0);
    json_object_set_new(config, "vocab_size", json_integer(vocabulary_of(folder)));
    merge(config, json_pack("{s:i, s:i, s:i, s:i, s:i}", "q_lora_rank", 256, "kv_lora_rank", 256, "qk_nope_head_dim", 32,
                            "qk_rope_head_dim", 16, "v_head_dim", 32));
    merge(config, json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:b, s:f}", "n_routed_experts", 8,
                            "n_shared_experts", 2, "num_experts_per_tok", 3, "moe_intermediate_size", 96, "first_k_dense_replace",
                            1, "moe_layer_freq", 1, "n_group", 4, "topk_group", 2, "topk_method", "noaux_tc", "scoring_func",
                            "sigmoid", "norm_topk_prob", 1, "routed_scaling_factor", 2.5));
    json_object_set_new(config, "rope_scaling",
                        json_pack("{s:s, s:i, s:i, s:i, s:i, s:f, s:f}", "type", "yarn", "factor", 4,
                                  "original_max_position_embeddings", 1024, "beta_fast", 32, "beta_slow", 1, "mscale", 0.707,
                                  "mscale_all_dim", 0.707));
    return config;
}

json_t *smt_hf_tiny_llama(smt_hf_folder *folder, const char *name, smt_gguf **out_original) {
    open_tiny(folder, name, false, out_original);
    return json_pack("{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:s, s:n, s:I}", "architectures", "LlamaForCausalLM",
                     "model_type", "llama", "hidden_size", 256, "num_hidden_layers", 2, "num_attention_heads", 8,
                     "num_key_value_heads", 2, "intermediate_size", 512, "max_position_embeddings", 4096, "rms_norm_eps", 1e-6,
                     "hidden_act", "silu", "rope_scaling", "vocab_size", vocabulary_of(folder));
}

json_t *smt_hf_tiny_moe(smt_hf_folder *folder, const char *name, smt_gguf **out_original) {
    enum { WIDTH = 256, EXPERT = 64, N_EXPERTS = 4 };
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    static float values[EXPERT * 2 * WIDTH];
    smt_test_random random = {7};
    json_t *config = smt_hf_tiny_llama(folder, name, out_original);
    for (size_t i = 0; i < folder->n_matrices; i++) /* the second layer's dense part makes room */
        if (strstr(folder->matrices[i].name, "model.layers.1.mlp.")) {
            smt_free(folder->matrices[i].bytes);
            folder->matrices[i--] = folder->matrices[--folder->n_matrices];
        }
    for (int e = -2; e < N_EXPERTS; e++)
        for (size_t p = 0; p < SMT_COUNT(parts); p++) { /* -2: the router, once; -1: the shared experts, two wide */
            char matrix[160] = "model.layers.1.mlp.gate.weight";
            uint64_t width = e == -2 ? N_EXPERTS : e == -1 ? 2 * EXPERT : EXPERT;
            if (e == -1) snprintf(matrix, sizeof matrix, "model.layers.1.mlp.shared_experts.%s.weight", parts[p]);
            if (e >= 0) snprintf(matrix, sizeof matrix, "model.layers.1.mlp.experts.%d.%s.weight", e, parts[p]);
            for (uint64_t i = 0; i < width * WIDTH; i++) values[i] = smt_test_normal(&random);
            smt_hf_add(folder, matrix, "F32", e != -2 && p == 2 ? WIDTH : width, e != -2 && p == 2 ? width : WIDTH, values);
            if (e == -2) break;
        }
    json_object_set_new(config, "architectures", json_pack("[s]", "DeepseekForCausalLM"));
    json_object_set_new(config, "num_key_value_heads", json_integer(2));
    merge(config, json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:b}", "n_routed_experts", N_EXPERTS, "n_shared_experts", 2,
                            "num_experts_per_tok", 2, "moe_intermediate_size", EXPERT, "first_k_dense_replace", 1,
                            "moe_layer_freq", 1, "scoring_func", "softmax", "norm_topk_prob", 0));
    return config;
}

static smt_status convert(smt_hf_folder *folder, json_t *config, uint32_t n_shards, const char *type, char path[700],
                          smt_error *err) {
    smt_hf_json(folder, "config.json", config);
    smt_hf_write(folder, n_shards);
    snprintf(path, 700, "%s.gguf", folder->path);
    smt_convert_options options = {.struct_size = sizeof options, .folder = folder->path, .path = path, .type = type};
    return smt_convert(&options, err);
}

void smt_hf_convert(smt_hf_folder *folder, json_t *config, uint32_t n_shards, const char *type, smt_gguf **out) {
    smt_error err = {0};
    char path[700];
    SMT_ASSERT_OK(convert(folder, config, n_shards, type, path, &err), &err);
    SMT_ASSERT_OK(smt_gguf_open(path, out, &err), &err);
    remove(path);
}

void smt_hf_refuse(smt_hf_folder *folder, json_t *config, smt_status status, const char *words) {
    smt_error err = {0};
    char path[700];
    smt_status got = convert(folder, config, 1, NULL, path, &err);
    if (got != status || !strstr(err.message, words))
        fail_msg("%s: \"%s\", not %s with \"%s\"", smt_status_name(got), err.message, smt_status_name(status), words);
    assert_int_equal(remove(path), -1); /* nothing was left there */
}
