/* test_convert_golden.c: models taken apart into published checkpoints and converted again: the same tensors to the byte, the same
 * keys, the same token ids, and the logits that the published code computed.
 *
 * The golden files come from other hands, and their index holds the hyperparameters under the names of config.json, so neither
 * the names nor the layouts (transposed halves of kv_b, rows in pairs, planes of experts) are taken from the converter. */
#include "golden.h"
#include "hf_folder.h"
#include "ref/ref.h"
#include "token/token.h"

#include <math.h>
#include <unistd.h>

static json_t *golden_config(const char *name, const char *class_name) {
    char file[64];
    snprintf(file, sizeof file, "%s.golden.json", name);
    json_t *index = json_load_file(smt_test_data(file), 0, NULL);
    json_t *config = json_deep_copy(json_object_get(index, "config"));
    json_object_set_new(config, "architectures", json_pack("[s]", class_name));
    json_object_set_new(config, "hidden_act", json_string("silu"));
    json_decref(index);
    return config;
}

/* The checkpoint of tests/data/NAME.f16.gguf, converted; *out_original and *out are opened, the folder is gone again. */
static void convert_golden(const char *name, json_t *config, const char *pre, uint32_t n_shards, smt_gguf **out_original,
                           smt_gguf **out) {
    smt_error err = {0};
    smt_hf_folder folder;
    char file[64], path[700];
    snprintf(file, sizeof file, "%s.f16.gguf", name);
    SMT_ASSERT_OK(smt_gguf_open(smt_test_data(file), out_original, &err), &err);
    smt_hf_begin(&folder, name);
    smt_hf_from_gguf(&folder, *out_original, "F16");
    smt_hf_write(&folder, n_shards);
    smt_hf_tokenizer(&folder, *out_original, pre, n_shards > 1);
    smt_hf_json(&folder, "config.json", config);
    snprintf(path, sizeof path, "%s.gguf", folder.path);
    smt_convert_options options = {.struct_size = sizeof options, .folder = folder.path, .path = path};
    SMT_ASSERT_OK(smt_convert(&options, &err), &err);
    SMT_ASSERT_OK(smt_gguf_open(path, out, &err), &err);
    remove(path);
    smt_hf_end(&folder);
}

static void check_key(const smt_gguf_key *want, const smt_gguf_key *got) {
    if (!got) fail_msg("key %s is missing", want->name);
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->count, want->count);
    if (want->kind == SMT_GGUF_STRING || (want->kind == SMT_GGUF_ARRAY && want->element_kind == SMT_GGUF_STRING)) {
        for (uint64_t i = 0; i < want->count; i++)
            if (got->strings[i].bytes != want->strings[i].bytes ||
                memcmp(got->strings[i].text, want->strings[i].text, want->strings[i].bytes) != 0)
                fail_msg("key %s: element %u is \"%.*s\", not \"%.*s\"", want->name, (unsigned)i, (int)got->strings[i].bytes,
                         got->strings[i].text, (int)want->strings[i].bytes, want->strings[i].text);
    } else if (want->kind == SMT_GGUF_F32) {
        float a = smt_gguf_array_f32(want, 0), b = smt_gguf_array_f32(got, 0);
        if (fabsf(a - b) > 1e-6f * fabsf(a)) fail_msg("key %s is %g, not %g", want->name, (double)b, (double)a);
    } else {
        for (uint64_t i = 0; i < want->count; i++)
            if (want->element_kind != SMT_GGUF_F32 && smt_gguf_array_int(want, i) != smt_gguf_array_int(got, i))
                fail_msg("key %s: element %u differs", want->name, (unsigned)i);
    }
}

static void check_keys(const smt_gguf *original, const smt_gguf *made) {
    for (uint64_t i = 0; i < smt_gguf_key_count(original); i++) {
        const smt_gguf_key *want = smt_gguf_key_at(original, i);
        bool own = !strcmp(want->name, "general.name") || !strcmp(want->name, "tokenizer.ggml.scores");
        if (!own) check_key(want, smt_gguf_find(made, want->name));
    }
    for (uint64_t i = 0; i < smt_gguf_key_count(made); i++) { /* nor does the new file claim anything beyond */
        const char *name = smt_gguf_key_at(made, i)->name;
        bool known = smt_gguf_find(original, name) || !strcmp(name, "general.type") ||
                     !strcmp(name, "general.quantization_version") || !strcmp(name, "deepseek2.expert_weights_norm");
        if (!known) fail_msg("key %s is not in the original", name);
    }
}

/* tests/data/tokens-*.json: ids that another program gives. */
static void check_tokens(const smt_gguf *made, const char *cases_name) {
    smt_error err = {0};
    smt_vocab *vocab;
    json_t *document = json_load_file(smt_test_data(cases_name), 0, NULL), *entry;
    size_t i, n_cases = 0;
    SMT_ASSERT_OK(smt_vocab_create(made, &vocab, &err), &err);
    json_array_foreach(json_object_get(document, "cases"), i, entry) {
        const json_t *text = json_object_get(entry, "text"), *want = json_object_get(entry, "ids_with_bos");
        int32_t *ids;
        size_t count;
        SMT_ASSERT_OK(
            smt_token_encode(vocab, json_string_value(text), json_string_length(text), SMT_TOKENIZE_BOS, &ids, &count, &err),
            &err);
        assert_int_equal(count, json_array_size(want));
        for (size_t k = 0; k < count; k++) assert_int_equal(ids[k], json_integer_value(json_array_get(want, k)));
        smt_free(ids);
        n_cases++;
    }
    assert_true(n_cases > 5);
    smt_vocab_free(vocab);
    json_decref(document);
}

/* The first tokens of a sequence through the reference engine. */
static void check_logits(const smt_gguf *made, const char *name, const char *sequence) {
    enum { N = 10 };
    smt_error err = {0};
    smt_model *model;
    smt_ref *ref;
    char file[64];
    snprintf(file, sizeof file, "%s.golden.json", name);
    smt_golden *golden = smt_golden_open(smt_test_data(file));
    smt_golden_array tokens = smt_golden_i32(golden, sequence, "tokens"), at = smt_golden_i32(golden, sequence, "logits_at"),
                     want = smt_golden_f32(golden, sequence, "logits");
    size_t n_checked = 0;
    SMT_ASSERT_OK(smt_model_create(made, &model, &err), &err);
    SMT_ASSERT_OK(smt_ref_create(model, N, &ref, &err), &err);
    float *logits = smt_alloc(model->n_vocab, sizeof *logits);
    for (int32_t t = 0; t < N; t++) {
        SMT_ASSERT_OK(smt_ref_step(ref, tokens.i32[t], t, logits, NULL, NULL, NULL, &err), &err);
        for (size_t p = 0; p < at.dims[0]; p++) {
            if (at.i32[p] != t) continue;
            n_checked++;
            for (uint32_t i = 0; i < model->n_vocab; i++)
                if (!(fabsf(logits[i] - want.f32[p * model->n_vocab + i]) <= 5e-4f))
                    fail_msg("%s token %d: logit %u is %g, golden %g", name, t, i, (double)logits[i],
                             (double)want.f32[p * model->n_vocab + i]);
        }
    }
    assert_true(n_checked > 1);
    smt_free(logits);
    smt_ref_free(ref);
    smt_model_free(model);
    smt_golden_free(golden);
}

static void test_deepseek2(void **state) {
    smt_gguf *original, *made;
    (void)state;
    convert_golden("g-v2", golden_config("g-v2", "DeepseekV2ForCausalLM"), smt_hf_pre_deepseek_llm, 3, &original, &made);
    smt_hf_same_tensors(original, made);
    check_keys(original, made);
    check_tokens(made, "tokens-bpe.json");
    check_logits(made, "g-v2", "s37");
    smt_gguf_free(original);
    smt_gguf_free(made);
}

static void test_llama(void **state) {
    smt_gguf *original, *made;
    (void)state;
    convert_golden("g-llama2", golden_config("g-llama2", "LlamaForCausalLM"), NULL, 1, &original, &made);
    smt_hf_same_tensors(original, made);
    check_keys(original, made);
    check_tokens(made, "tokens-spm.json");
    check_logits(made, "g-llama2", "s37");
    smt_gguf_free(original);
    smt_gguf_free(made);
}

/* The two kinds of which the golden's index has no configuration: it is that of the published files, with the golden's sizes. */
static json_t *small_config(const char *class_name) {
    json_t *config =
        json_pack("{s:[s], s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:i, s:s}", "architectures", class_name, "hidden_size", 48,
                  "num_hidden_layers", 3, "num_attention_heads", 4, "intermediate_size", 80, "max_position_embeddings", 4096,
                  "rms_norm_eps", 1e-6, "rope_theta", 10000.0, "vocab_size", 262, "hidden_act", "silu");
    json_t *experts = json_pack("{s:i, s:i, s:i, s:i, s:i}", "n_routed_experts", 12, "num_experts_per_tok", 4, "n_shared_experts",
                                2, "moe_intermediate_size", 16, "first_k_dense_replace", 1);
    assert_true(config && experts && json_object_update(config, experts) == 0);
    json_decref(experts);
    return config;
}

/* Sigmoid scores, selection bias, four groups of three; the layer that predicts further tokens is left out. */
static void test_v3(void **state) {
    smt_gguf *original, *made;
    (void)state;
    json_t *config = small_config("DeepseekV3ForCausalLM");
    json_t *more = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:f, s:i}", "q_lora_rank", 20, "kv_lora_rank", 24,
                             "qk_nope_head_dim", 16, "qk_rope_head_dim", 8, "v_head_dim", 12, "n_group", 4, "topk_group", 2,
                             "norm_topk_prob", 1, "routed_scaling_factor", 2.5, "num_nextn_predict_layers", 1);
    json_object_set_new(more, "rope_scaling",
                        json_pack("{s:s, s:f, s:i, s:f, s:f}", "type", "yarn", "factor", 40.0, "original_max_position_embeddings",
                                  4096, "mscale", 1.0, "mscale_all_dim", 1.0));
    assert_int_equal(json_object_update(config, more), 0);
    json_decref(more);
    convert_golden("t-v3", config, smt_hf_pre_deepseek_llm, 2, &original, &made);
    assert_true(smt_gguf_tensor_count(made) < smt_gguf_tensor_count(original));
    check_logits(made, "t-v3", "s24");
    smt_gguf_free(original);
    smt_gguf_free(made);
}

static void test_moe(void **state) {
    smt_gguf *original, *made;
    (void)state;
    convert_golden("t-moe", small_config("DeepseekForCausalLM"), smt_hf_pre_deepseek_llm, 1, &original, &made);
    smt_hf_same_tensors(original, made);
    check_logits(made, "t-moe", "s24");
    smt_gguf_free(original);
    smt_gguf_free(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_deepseek2), cmocka_unit_test(test_llama), cmocka_unit_test(test_v3),
                                       cmocka_unit_test(test_moe)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
