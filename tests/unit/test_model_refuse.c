/* test_model_refuse.c: a good file with one thing wrong at a time: a key missing or out of range, a tensor missing, misshapen or
 * of a kind that we cannot compute with. Each must be refused with words that name the thing and the numbers. */
#include "gguf_edit.h"
#include "support.h"

/* Creates the model of the edited copy of test data file `base`, checks its types too, and returns the status. */
static smt_status create_edited(const char *base, const smt_gguf_edit *e, smt_error *err) {
    smt_edited edited;
    smt_status status = smt_edited_open(smt_test_data(base), e, &edited, err);
    if (status == SMT_OK) status = smt_model_check_types(edited.model, err);
    smt_edited_close(&edited);
    return status;
}

static const char *const latent = "g-v2.f16.gguf", *const dense = "g-llama2.f16.gguf";

static void expect(const char *base, smt_gguf_edit e, smt_status wanted, const char *words) {
    smt_error err = {0};
    smt_status status = create_edited(base, &e, &err);
    if (status != wanted || (wanted != SMT_OK && !strstr(err.message, words)))
        fail_msg("wanted %s with \"%s\", got %s: %s", smt_status_name(wanted), words, smt_status_name(status), err.message);
}

static void test_unchanged(void **state) {
    (void)state;
    expect(latent, (smt_gguf_edit){0}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){0}, SMT_OK, "");
}

static void test_missing_keys(void **state) {
    (void)state;
    static const char *const latent_keys[] = {"block_count",
                                              "context_length",
                                              "embedding_length",
                                              "feed_forward_length",
                                              "attention.head_count",
                                              "attention.layer_norm_rms_epsilon",
                                              "attention.kv_lora_rank",
                                              "attention.value_length_mla",
                                              "leading_dense_block_count",
                                              "expert_used_count",
                                              "expert_shared_count",
                                              "expert_feed_forward_length",
                                              "expert_group_count",
                                              "expert_group_used_count"};
    char name[96], words[128];
    for (size_t i = 0; i < SMT_COUNT(latent_keys); i++) {
        snprintf(name, sizeof name, "deepseek2.%s", latent_keys[i]);
        snprintf(words, sizeof words, "key %s is missing", name);
        expect(latent, (smt_gguf_edit){.drop = name}, SMT_FORMAT, words);
    }
    expect(dense, (smt_gguf_edit){.drop = "llama.feed_forward_length"}, SMT_FORMAT, "key llama.feed_forward_length is missing");
    expect(dense, (smt_gguf_edit){.drop = "general.architecture"}, SMT_FORMAT, "key general.architecture is missing");
}

static void test_optional_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"deepseek2.rope.freq_base",
                                       "deepseek2.expert_gating_func",
                                       "deepseek2.expert_weights_scale",
                                       "deepseek2.rope.scaling.yarn_log_multiplier",
                                       "deepseek2.rope.scaling.original_context_length",
                                       "deepseek2.rope.scaling.type",
                                       "deepseek2.attention.q_lora_rank",
                                       "deepseek2.expert_weights_norm",
                                       "general.name",
                                       "tokenizer.ggml.tokens"};
    for (size_t i = 0; i < SMT_COUNT(keys); i++) expect(latent, (smt_gguf_edit){.drop = keys[i]}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.drop = "llama.attention.head_count_kv"}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.drop = "llama.rope.dimension_count"}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.drop = "output.weight"}, SMT_OK, "");
}

static void test_numbers_out_of_range(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        smt_status status;
        const char *words;
    } cases[] = {
        {"block_count", 0, SMT_FORMAT, "block_count is 0, 1 to 512 is allowed"},
        {"block_count", 513, SMT_FORMAT, "block_count is 513"},
        {"block_count", 5, SMT_FORMAT, "tensor blk.4.attn_norm.weight is missing"},
        {"nextn_predict_layers", 4, SMT_FORMAT, "nextn_predict_layers is 4"},
        {"nextn_predict_layers", 1, SMT_OK, ""},
        {"embedding_length", 1u << 24, SMT_FORMAT, "embedding_length is 16777216"},
        {"embedding_length", 256, SMT_FORMAT, "tensor token_embd.weight has the shape [128, 512, 1, 1]"},
        {"attention.head_count", 0, SMT_FORMAT, "head_count is 0"},
        {"attention.head_count", 16777215, SMT_FORMAT, "attn_q_b.weight has the shape"},
        {"attention.key_length_mla", 16, SMT_FORMAT, "key_length_mla is 16, it must exceed rope.dimension_count, which is 16"},
        {"rope.dimension_count", 15, SMT_FORMAT, "15 rotated values; an even number"},
        {"attention.q_lora_rank", 0, SMT_FORMAT, "attn_q.weight is missing"},
        {"leading_dense_block_count", 5, SMT_FORMAT, "leading_dense_block_count is 5"},
        {"expert_count", 513, SMT_FORMAT, "expert_count is 513"},
        {"expert_count", 8, SMT_FORMAT, "ffn_gate_inp.weight has the shape [128, 16, 1, 1], the metadata ask for [128, 8]"},
        {"expert_used_count", 0, SMT_FORMAT, "expert_used_count is 0"},
        {"expert_used_count", 17, SMT_FORMAT, "expert_used_count is 17, 1 to 16"},
        {"expert_used_count", 9, SMT_FORMAT, "9 experts are used per token, but 2 groups of 4"},
        {"expert_shared_count", 3, SMT_FORMAT, "ffn_gate_shexp.weight has the shape"},
        {"expert_feed_forward_length", 1u << 23, SMT_FORMAT, "2 shared experts of width 8388608 are 16777216 wide"},
        {"expert_group_count", 3, SMT_FORMAT, "16 experts do not divide into 3 groups"},
        {"expert_group_used_count", 5, SMT_FORMAT, "expert_group_used_count is 5"},
        {"expert_gating_func", 3, SMT_UNSUPPORTED, "expert_gating_func is 3"},
        {"expert_gating_func", 2, SMT_OK, ""},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        char name[96];
        snprintf(name, sizeof name, "deepseek2.%s", cases[i].key);
        expect(latent, (smt_gguf_edit){.u32_key = name, .u32 = cases[i].value}, cases[i].status, cases[i].words);
    }
    expect(dense, (smt_gguf_edit){.u32_key = "llama.attention.head_count_kv", .u32 = 3}, SMT_FORMAT, "4 heads cannot share 3");
    expect(dense, (smt_gguf_edit){.u32_key = "llama.attention.value_length", .u32 = 16}, SMT_UNSUPPORTED,
           "value_length 16 differs");
    expect(dense, (smt_gguf_edit){.u32_key = "llama.rope.dimension_count", .u32 = 64}, SMT_FORMAT, "dimension_count is 64");
    expect(dense, (smt_gguf_edit){.u32_key = "llama.rope.dimension_count", .u32 = 16}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.u32_key = "llama.expert_count", .u32 = 8}, SMT_UNSUPPORTED, "llama.expert_count is 8");
}

static void test_fractions(void **state) {
    (void)state;
    static const struct {
        const char *key;
        float value;
        smt_status status;
        const char *words;
    } cases[] = {
        {"deepseek2.attention.layer_norm_rms_epsilon", -1, SMT_FORMAT, "layer_norm_rms_epsilon is -1"},
        {"deepseek2.rope.freq_base", 1, SMT_FORMAT, "freq_base is 1,"},
        {"deepseek2.rope.scaling.factor", -2, SMT_FORMAT, "factor is -2"},
        {"deepseek2.rope.scaling.factor", 0, SMT_OK, ""},
        {"deepseek2.rope.scaling.yarn_beta_fast", 0, SMT_FORMAT, "yarn_beta_fast is 0"},
        {"deepseek2.rope.scaling.yarn_ext_factor", 0.5f, SMT_OK, ""},
        {"deepseek2.rope.scaling.yarn_ext_factor", -1, SMT_FORMAT, "yarn_ext_factor is -1, 0 to 1"},
        {"deepseek2.rope.scaling.yarn_attn_factor", 0.5f, SMT_UNSUPPORTED, "yarn_attn_factor is 0.5; only 1"},
        {"deepseek2.expert_weights_scale", -1, SMT_FORMAT, "expert_weights_scale is -1"},
        {"deepseek2.block_count", 4, SMT_FORMAT, "block_count is of type f32, an integer is wanted"},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++)
        expect(latent, (smt_gguf_edit){.f32_key = cases[i].key, .f32 = cases[i].value}, cases[i].status, cases[i].words);
    float nan;
    memcpy(&nan, &(uint32_t){0x7fc00000}, 4);
    expect(latent, (smt_gguf_edit){.f32_key = "deepseek2.expert_weights_scale", .f32 = nan}, SMT_FORMAT,
           "expert_weights_scale is");
}

static void test_texts(void **state) {
    (void)state;
    expect(dense, (smt_gguf_edit){.text_key = "general.architecture", .text = "mamba\n"}, SMT_UNSUPPORTED,
           "architecture \"mamba?\"");
    expect(dense, (smt_gguf_edit){.text_key = "general.type", .text = "adapter"}, SMT_UNSUPPORTED, "general.type is \"adapter\"");
    expect(dense, (smt_gguf_edit){.text_key = "general.type", .text = "model"}, SMT_OK, "");
    expect(latent, (smt_gguf_edit){.text_key = "deepseek2.rope.scaling.type", .text = "longrope"}, SMT_UNSUPPORTED,
           "is \"longrope\"");
    expect(latent, (smt_gguf_edit){.text_key = "deepseek2.rope.scaling.type", .text = "none"}, SMT_OK, "");
    expect(latent, (smt_gguf_edit){.text_key = "deepseek2.expert_weights_norm", .text = "yes"}, SMT_FORMAT,
           "a boolean is wanted");
}

static void test_missing_tensors(void **state) {
    (void)state;
    static const char *const names[] = {
        "token_embd.weight",          "output_norm.weight",         "blk.0.attn_norm.weight",     "blk.0.attn_q_a.weight",
        "blk.3.attn_q_a_norm.weight", "blk.2.attn_q_b.weight",      "blk.1.attn_kv_a_mqa.weight", "blk.1.attn_kv_a_norm.weight",
        "blk.1.attn_v_b.weight",      "blk.1.attn_output.weight",   "blk.0.ffn_gate.weight",      "blk.0.ffn_up.weight",
        "blk.0.ffn_down.weight",      "blk.3.ffn_gate_inp.weight",  "blk.3.ffn_gate_exps.weight", "blk.3.ffn_up_exps.weight",
        "blk.3.ffn_down_exps.weight", "blk.3.ffn_down_shexp.weight"};
    for (size_t i = 0; i < SMT_COUNT(names); i++) {
        char words[96];
        snprintf(words, sizeof words, "tensor %s is missing", names[i]);
        expect(latent, (smt_gguf_edit){.drop = names[i]}, SMT_FORMAT, words);
    }
    expect(latent, (smt_gguf_edit){.drop = "deepseek2.rope.dimension_count"}, SMT_FORMAT, "key_length_mla is 48, it must exceed");
    expect(latent, (smt_gguf_edit){.drop = "blk.1.attn_k_b.weight"}, SMT_FORMAT, "tensor blk.1.attn_kv_b.weight is missing");
    expect(dense, (smt_gguf_edit){.drop = "blk.2.attn_k.weight"}, SMT_FORMAT, "tensor blk.2.attn_k.weight is missing");
}

static void test_shapes(void **state) {
    (void)state;
    expect(latent, (smt_gguf_edit){.reshape = "blk.1.ffn_down_exps.weight", .dim = 2, .size = 15}, SMT_FORMAT,
           "tensor blk.1.ffn_down_exps.weight has the shape [48, 128, 15, 1], the metadata ask for [48, 128, 16]");
    expect(latent, (smt_gguf_edit){.reshape = "blk.0.attn_norm.weight", .dim = 0, .size = 129}, SMT_FORMAT,
           "blk.0.attn_norm.weight has the shape");
    expect(latent, (smt_gguf_edit){.reshape = "blk.0.attn_norm.weight", .dim = 3, .size = 2}, SMT_FORMAT,
           "blk.0.attn_norm.weight has the shape");
    expect(latent, (smt_gguf_edit){.reshape = "token_embd.weight", .dim = 1, .size = 511}, SMT_FORMAT,
           "has 511 rows, tokenizer.ggml.tokens has 512");
    expect(latent, (smt_gguf_edit){.reshape = "output.weight", .dim = 1, .size = 513}, SMT_FORMAT,
           "tensor output.weight has the shape");
    expect(dense, (smt_gguf_edit){.reshape = "blk.0.attn_v.weight", .dim = 1, .size = 64}, SMT_FORMAT,
           "tensor blk.0.attn_v.weight");
}

static void test_extras(void **state) {
    (void)state;
    static const char *const refused[] = {"blk.1.attn_qkv.weight", "blk.2.attn_q_norm.weight",
                                          "blk.1.attn_norm.bias",  "blk.1.ffn_up.scale",
                                          "output.bias",           "blk.0.exp_probs_b.bias"};
    for (size_t i = 0; i < SMT_COUNT(refused); i++)
        expect(dense, (smt_gguf_edit){.add = refused[i], .add_ne = 128}, SMT_UNSUPPORTED, refused[i]);
    expect(dense, (smt_gguf_edit){.add = "blk.1.attn_q.bias", .add_ne = 128}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.add = "blk.1.ffn_up.bias", .add_ne = 344}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.add = "blk.1.attn_output.bias", .add_ne = 64}, SMT_FORMAT,
           "blk.1.attn_output.bias has the shape");
    expect(latent, (smt_gguf_edit){.add = "blk.1.attn_output.bias", .add_ne = 128}, SMT_UNSUPPORTED, "blk.1.attn_output.bias");
    expect(latent, (smt_gguf_edit){.add = "blk.0.ffn_up.bias", .add_ne = 176}, SMT_OK, "");
    expect(latent, (smt_gguf_edit){.add = "blk.1.ffn_up.bias", .add_ne = 176}, SMT_UNSUPPORTED, "blk.1.ffn_up.bias");
    expect(latent, (smt_gguf_edit){.add = "blk.1.ffn_gate_up_exps.weight", .add_ne = 128}, SMT_FORMAT,
           "tensor blk.1.ffn_gate_up_exps.weight has the shape [128, 1, 1, 1], the metadata ask for [128, 96, 16]");
    expect(latent, (smt_gguf_edit){.add = "blk.0.ffn_gate_up_exps.weight", .add_ne = 128}, SMT_UNSUPPORTED,
           "blk.0.ffn_gate_up_exps");
    expect(latent, (smt_gguf_edit){.add = "blk.1.exp_probs_b.bias", .add_ne = 16}, SMT_OK, "");
    expect(latent, (smt_gguf_edit){.add = "blk.1.exp_probs_b.bias", .add_ne = 8}, SMT_FORMAT,
           "tensor blk.1.exp_probs_b.bias has the shape");
    expect(latent, (smt_gguf_edit){.add = "blk.4.eh_proj.bias", .add_ne = 8}, SMT_OK, ""); /* a layer beyond the model's */
    expect(dense, (smt_gguf_edit){.add = "blk.0.attn_rot_embd.weight", .add_ne = 16}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.add = "rope.freqs", .add_ne = 16}, SMT_OK, "");
    expect(dense, (smt_gguf_edit){.add = "rope_freqs.weight", .add_ne = 16}, SMT_FORMAT, "rope_freqs.weight: value 0 is 0");
    expect(dense, (smt_gguf_edit){.add = "rope_freqs.weight", .add_ne = 8}, SMT_FORMAT,
           "tensor rope_freqs.weight has the shape [8, 1, 1, 1]");
}

static void test_types(void **state) {
    (void)state;
    expect(latent, (smt_gguf_edit){.retype = "blk.2.ffn_up.weight", .type = SMT_DTYPE_I8}, SMT_OK,
           ""); /* no such tensor: layer 2 has experts */
    expect(latent, (smt_gguf_edit){.retype = "blk.0.ffn_up.weight", .type = SMT_DTYPE_I8}, SMT_UNSUPPORTED,
           "tensor blk.0.ffn_up.weight is of type I8, which is not supported yet");
    expect(latent, (smt_gguf_edit){.retype = "token_embd.weight", .type = SMT_DTYPE_Q8_1}, SMT_UNSUPPORTED,
           "token_embd.weight is of type Q8_1");
    expect(latent, (smt_gguf_edit){.retype = "blk.1.ffn_gate_inp.weight", .type = SMT_DTYPE_F16}, SMT_UNSUPPORTED,
           "tensor blk.1.ffn_gate_inp.weight is of type F16, only F32 is supported for it");
    expect(latent, (smt_gguf_edit){.retype = "blk.1.attn_norm.weight", .type = SMT_DTYPE_BF16}, SMT_UNSUPPORTED,
           "of type BF16, only F32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unchanged),       cmocka_unit_test(test_missing_keys),
        cmocka_unit_test(test_optional_keys),   cmocka_unit_test(test_numbers_out_of_range),
        cmocka_unit_test(test_fractions),       cmocka_unit_test(test_texts),
        cmocka_unit_test(test_missing_tensors), cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_extras),          cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
