/* test_convert_tensors.c: what becomes of matrices: F8 with block scales, experts as planes, rows in pairs, layers left out; and
 * what is refused, by name and with the numbers. */
#include "hf_models.h"
#include "model/model.h"
#include "quant/quant.h"

#include <math.h>

static float *values_of(const smt_gguf *file, const char *name) {
    const smt_gguf_tensor *tensor = smt_gguf_find_tensor(file, name);
    if (!tensor) fail_msg("tensor %s is missing", name);
    return smt_hf_tensor_values(tensor);
}

static void opens(const smt_gguf *file) {
    smt_error err = {0};
    smt_model *model;
    SMT_ASSERT_OK(smt_model_create(file, &model, &err), &err);
    smt_model_free(model);
}

/* ---- DeepSeek V3 ---- */

static void test_v3(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original, *made;
    json_t *config = smt_hf_tiny_v3(&folder, "convert_v3", &original);
    const float further[4] = {1, 2, 3, 4};
    smt_hf_add(&folder, "model.layers.2.eh_proj.weight", "F32", 2, 2, further); /* the layer that predicts a further token */
    smt_hf_add(&folder, "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 0, 4, further);
    smt_hf_add_bytes(&folder, "model.position_ids", "I64", 1, 2, further, 16);
    smt_hf_convert(&folder, config, 4, NULL, &made);
    smt_hf_same_tensors(original, made);
    opens(made);
    static const char *const same[] = {"expert_gating_func",      "expert_group_count",       "expert_group_used_count",
                                       "expert_used_count",       "expert_shared_count",      "leading_dense_block_count",
                                       "attention.key_length",    "attention.key_length_mla", "attention.value_length_mla",
                                       "attention.head_count_kv", "attention.q_lora_rank",    "rope.dimension_count"};
    for (size_t i = 0; i < SMT_COUNT(same); i++) {
        char name[96];
        uint32_t a = 0, b = 1;
        snprintf(name, sizeof name, "deepseek2.%s", same[i]);
        smt_gguf_u32(original, name, &a, NULL, NULL);
        smt_gguf_u32(made, name, &b, NULL, NULL);
        if (a != b) fail_msg("%s is %u, not %u", name, b, a);
    }
    float scale = 0, multiplier = 0;
    bool norm = false;
    smt_gguf_f32(made, "deepseek2.expert_weights_scale", &scale, NULL, NULL);
    smt_gguf_f32(made, "deepseek2.rope.scaling.yarn_log_multiplier", &multiplier, NULL, NULL);
    smt_gguf_bool(made, "deepseek2.expert_weights_norm", &norm, NULL, NULL);
    assert_true(scale == 2.5f && norm && fabsf(multiplier - 0.0707f) < 1e-7f);
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

/* One sign, four bits of exponent with bias 7, three of mantissa. */
static double f8(unsigned bits) {
    double exponent = bits >> 3 & 15, mantissa = (bits & 7) / 8.0;
    double size = exponent > 0 ? (1 + mantissa) * pow(2, exponent - 7) : mantissa * pow(2, -6);
    return bits & 128 ? -size : size;
}

/* Makes a matrix F8 with scales of `block`, and the same numbers as F32 in `plain`. */
static void make_f8(smt_hf_folder *folder, smt_hf_matrix *matrix, float *plain, smt_test_random *random, uint64_t block) {
    uint64_t rows = matrix->dims[0], k = matrix->dims[1], across = (k + block - 1) / block, down = (rows + block - 1) / block;
    uint8_t *codes = smt_alloc(rows * k, 1);
    float *scales = smt_alloc(across * down, sizeof *scales);
    char name[192];
    for (uint64_t i = 0; i < across * down; i++) scales[i] = smt_test_uniform(random, 1e-3f, 2e-2f);
    for (uint64_t i = 0; i < rows * k; i++) {
        codes[i] = (uint8_t)(smt_test_next(random) >> 56);
        if ((codes[i] & 127) == 127) codes[i] = 0; /* not a number */
        plain[i] = (float)f8(codes[i]) * scales[i / k / block * across + i % k / block];
    }
    smt_free(matrix->bytes);
    matrix->bytes = codes;
    matrix->n_bytes = rows * k;
    matrix->dtype = "F8_E4M3";
    snprintf(name, sizeof name, "%s_scale_inv", matrix->name);
    smt_hf_add(folder, name, "F32", down, across, scales);
    smt_free(scales);
}

static void test_f8(void **state) {
    (void)state;
    smt_hf_folder folder, plain;
    smt_gguf *original, *same_original, *made, *made_plain;
    smt_test_random random = {3};
    json_t *config = smt_hf_tiny_v3(&folder, "convert_f8", &original), *plain_config;
    plain_config = smt_hf_tiny_v3(&plain, "convert_f8_plain", &same_original);
    for (size_t i = 0, n = folder.n_matrices; i < n; i++) {
        if (folder.matrices[i].n_dims != 2 || !strstr(folder.matrices[i].name, "_proj")) continue;
        make_f8(&folder, &folder.matrices[i], smt_hf_find(&plain, folder.matrices[i].name)->bytes, &random, 128);
    }
    json_t *without = json_deep_copy(config);
    json_object_set_new(config, "quantization_config",
                        json_pack("{s:s, s:s, s:[i, i]}", "quant_method", "fp8", "fmt", "e4m3", "weight_block_size", 128, 128));
    smt_hf_convert(&folder, config, 2, "f32", &made);
    smt_hf_convert(&plain, plain_config, 1, "f32", &made_plain);
    smt_hf_same_tensors(made_plain, made);
    smt_gguf_free(made);
    smt_gguf_free(made_plain);
    remove(smt_hf_path(&folder, "model.safetensors.index.json"));
    smt_hf_refuse(&folder, without, SMT_UNSUPPORTED, "declares no block scales");
    smt_gguf_free(original);
    smt_gguf_free(same_original);
    smt_hf_end(&folder);
    smt_hf_end(&plain);
}

/* ---- rotation ---- */

/* Scores of a query and a key of one head at two positions: halves against each other, as the published code rotates, and side
 * by side, as the engine does. */
static double score(const float *q, const float *k, uint32_t d, bool halves) {
    double sum = 0;
    for (uint32_t i = 0; i < d / 2; i++) {
        uint32_t a = halves ? i : 2 * i, b = halves ? i + d / 2 : 2 * i + 1;
        double angle = 11 * pow(10000, -2.0 * i / d), other = 3 * pow(10000, -2.0 * i / d);
        double q0 = q[a] * cos(angle) - q[b] * sin(angle), q1 = q[b] * cos(angle) + q[a] * sin(angle);
        double k0 = k[a] * cos(other) - k[b] * sin(other), k1 = k[b] * cos(other) + k[a] * sin(other);
        sum += q0 * k0 + q1 * k1;
    }
    return sum;
}

static void multiply(const float *matrix, uint64_t rows, uint64_t k, const float *x, float *y) {
    for (uint64_t r = 0; r < rows; r++) {
        y[r] = 0;
        for (uint64_t c = 0; c < k; c++) y[r] += matrix[r * k + c] * x[c];
    }
}

static void test_rotation(void **state) {
    enum { D = 32, WIDTH = 256 };
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original, *made;
    float x[WIDTH], y[WIDTH], q[WIDTH], k[2 * D], hf_q[WIDTH], hf_k[2 * D];
    smt_test_random random = {5};
    for (int i = 0; i < WIDTH; i++) x[i] = smt_test_normal(&random), y[i] = smt_test_normal(&random);
    smt_hf_convert(&folder, smt_hf_tiny_llama(&folder, "convert_rotation", &original), 1, NULL, &made);
    float *q_matrix = values_of(made, "blk.1.attn_q.weight"), *k_matrix = values_of(made, "blk.1.attn_k.weight");
    multiply(q_matrix, WIDTH, WIDTH, x, q);
    multiply(k_matrix, 2 * D, WIDTH, y, k);
    multiply(smt_hf_find(&folder, "model.layers.1.self_attn.q_proj.weight")->bytes, WIDTH, WIDTH, x, hf_q);
    multiply(smt_hf_find(&folder, "model.layers.1.self_attn.k_proj.weight")->bytes, 2 * D, WIDTH, y, hf_k);
    for (int h = 0; h < 8; h++) {
        double want = score(hf_q + h * D, hf_k + h / 4 * D, D, true), got = score(q + h * D, k + h / 4 * D, D, false);
        assert_true(fabs(want) > 1e-3 && fabs(got - want) < 1e-3);
    }
    smt_hf_same_tensors(original, made);
    smt_free(q_matrix);
    smt_free(k_matrix);
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

/* Llama 3.1: the divisors against values computed from the published description. */
static void test_llama3_scaling(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original, *made;
    json_t *config = smt_hf_tiny_llama(&folder, "convert_llama3", &original);
    json_object_set_new(config, "rope_theta", json_real(500000));
    json_object_set_new(config, "rope_scaling",
                        json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor", 8.0, "low_freq_factor", 1.0,
                                  "high_freq_factor", 4.0, "original_max_position_embeddings", 8192));
    smt_hf_convert(&folder, config, 1, NULL, &made);
    float *divisors = values_of(made, "rope_freqs.weight");
    int n_kept = 0, n_blended = 0, n_divided = 0;
    for (int i = 0; i < 16; i++) {
        double length = 2 * M_PI * pow(500000, 2.0 * i / 32), want = 8;
        if (length < 8192 / 4.0) {
            want = 1;
            n_kept++;
        } else if (length <= 8192) {
            double smooth = (8192 / length - 1) / 3;
            want = 1 / ((1 - smooth) / 8 + smooth);
            n_blended++;
        } else
            n_divided++;
        assert_true(fabs(divisors[i] - want) < 1e-5 * want);
    }
    assert_true(n_kept > 2 && n_blended > 0 && n_divided > 2);
    opens(made);
    smt_free(divisors);
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

/* ---- deepseek-moe ---- */

static void test_moe(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original, *made;
    smt_hf_convert(&folder, smt_hf_tiny_moe(&folder, "convert_moe", &original), 2, "F32", &made);
    static const char *const parts[][2] = {{"gate", "gate_proj"}, {"up", "up_proj"}, {"down", "down_proj"}};
    for (size_t p = 0; p < SMT_COUNT(parts); p++) {
        char name[96];
        snprintf(name, sizeof name, "blk.1.ffn_%s_exps.weight", parts[p][0]);
        const smt_gguf_tensor *planes = smt_gguf_find_tensor(made, name);
        assert_non_null(planes);
        assert_int_equal(planes->ne[2], 4);
        uint8_t *bytes = smt_hf_tensor_bytes(planes);
        for (unsigned e = 0; e < 4; e++) {
            snprintf(name, sizeof name, "model.layers.1.mlp.experts.%u.%s.weight", e, parts[p][1]);
            const smt_hf_matrix *expert = smt_hf_find(&folder, name);
            assert_int_equal(planes->ne[0], expert->dims[1]);
            assert_int_equal(planes->ne[1], expert->dims[0]);
            assert_memory_equal(bytes + e * expert->n_bytes, expert->bytes, expert->n_bytes);
        }
        smt_free(bytes);
    }
    smt_gguf_string architecture = {0};
    uint32_t experts = 0, kv_heads = 0;
    smt_gguf_text(made, "general.architecture", &architecture, NULL, NULL);
    smt_gguf_u32(made, "deepseek.expert_count", &experts, NULL, NULL);
    smt_gguf_u32(made, "deepseek.attention.head_count_kv", &kv_heads, NULL, NULL);
    assert_true(architecture.bytes == 8 && !memcmp(architecture.text, "deepseek", 8) && experts == 4 && kv_heads == 2);
    float *q = values_of(made, "blk.1.attn_q.weight"), *want = values_of(original, "blk.1.attn_q.weight");
    assert_memory_equal(q, want, 256 * 256 * sizeof *q); /* in pairs again */
    smt_free(q);
    smt_free(want);
    opens(made);
    smt_gguf_free(made);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

/* ---- types ---- */

static void test_types(void **state) {
    static const struct {
        const char *name;
        smt_dtype matrix, output;
    } types[] = {{"bf16", SMT_DTYPE_BF16, SMT_DTYPE_BF16},
                 {"F16", SMT_DTYPE_F16, SMT_DTYPE_F16},
                 {"q8_0", SMT_DTYPE_Q8_0, SMT_DTYPE_Q8_0},
                 {"q6_k", SMT_DTYPE_Q6_K, SMT_DTYPE_Q6_K}};
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(types); i++) {
        smt_hf_folder folder;
        smt_gguf *original, *made;
        smt_hf_convert(&folder, smt_hf_tiny_llama(&folder, "convert_types", &original), 1, types[i].name, &made);
        assert_int_equal(smt_gguf_find_tensor(made, "blk.0.ffn_gate.weight")->type, types[i].matrix);
        assert_int_equal(smt_gguf_find_tensor(made, "output.weight")->type, types[i].output);
        assert_int_equal(smt_gguf_find_tensor(made, "blk.0.attn_norm.weight")->type, SMT_DTYPE_F32);
        float *want = values_of(original, "blk.0.attn_q.weight"), *got = values_of(made, "blk.0.attn_q.weight");
        for (int k = 0; k < 256 * 256; k++) assert_true(fabsf(got[k] - want[k]) < 0.03f); /* deviation 1/16 */
        smt_free(want);
        smt_free(got);
        smt_gguf_free(made);
        smt_gguf_free(original);
        smt_hf_end(&folder);
    }
}

/* ---- refusals ---- */

static void refuse_change(void (*change)(smt_hf_folder *, json_t *), smt_status status, const char *words) {
    smt_hf_folder folder;
    smt_gguf *original;
    json_t *config = smt_hf_tiny_llama(&folder, "convert_refused", &original);
    change(&folder, config);
    smt_hf_refuse(&folder, config, status, words);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

static void rename_one(smt_hf_folder *folder, json_t *config) {
    (void)config;
    strcpy(smt_hf_find(folder, "model.layers.1.mlp.up_proj.weight")->name, "model.layers.1.mlp.fc.weight");
}

static void add_bias(smt_hf_folder *folder, json_t *config) {
    const float bias[2] = {1, 2};
    (void)config;
    smt_hf_add(folder, "model.layers.0.self_attn.q_proj.bias", "F32", 0, 2, bias);
}

static void add_layer(smt_hf_folder *folder, json_t *config) {
    const float values[2] = {1, 2};
    (void)config;
    smt_hf_add(folder, "model.layers.2.input_layernorm.weight", "F32", 0, 2, values);
}

static void widen(smt_hf_folder *folder, json_t *config) {
    (void)folder;
    json_object_set_new(config, "intermediate_size", json_integer(513));
}

static void spoil(smt_hf_folder *folder, json_t *config) {
    (void)config;
    ((float *)smt_hf_find(folder, "model.layers.1.self_attn.k_proj.weight")->bytes)[256 * 3 + 7] = NAN;
}

static void retype(smt_hf_folder *folder, json_t *config) {
    (void)config;
    smt_hf_matrix *norm = smt_hf_find(folder, "model.norm.weight");
    norm->dtype = "I32";
}

static void set_bias(smt_hf_folder *folder, json_t *config) {
    (void)folder;
    json_object_set_new(config, "attention_bias", json_true());
}

static void set_architecture(smt_hf_folder *folder, json_t *config) {
    (void)folder;
    json_object_set_new(config, "architectures", json_pack("[s]", "MambaForCausalLM"));
}

static void set_scaling(smt_hf_folder *folder, json_t *config) {
    (void)folder;
    json_object_set_new(config, "rope_scaling", json_pack("{s:s, s:f}", "type", "dynamic", "factor", 2.0));
}

static void set_heads(smt_hf_folder *folder, json_t *config) {
    (void)folder;
    json_object_set_new(config, "num_attention_heads", json_string("eight"));
}

static void set_more_rows(smt_hf_folder *folder, json_t *config) {
    (void)folder;
    json_object_set_new(config, "vocab_size", json_integer(3));
}

static void test_refusals(void **state) {
    (void)state;
    refuse_change(rename_one, SMT_FORMAT, "model.layers.1.mlp.up_proj.weight is missing");
    refuse_change(add_bias, SMT_UNSUPPORTED, "self_attn.q_proj.bias has no place");
    refuse_change(add_layer, SMT_UNSUPPORTED, "model.layers.2.input_layernorm.weight has no place");
    refuse_change(widen, SMT_FORMAT, "[512, 256], config.json asks for [513, 256]");
    refuse_change(spoil, SMT_FORMAT, "k_proj.weight: row 3, column 7 is not a number");
    refuse_change(retype, SMT_UNSUPPORTED, "model.norm.weight is of type I32");
    refuse_change(set_bias, SMT_UNSUPPORTED, "attention_bias");
    refuse_change(set_architecture, SMT_UNSUPPORTED, "MambaForCausalLM");
    refuse_change(set_scaling, SMT_UNSUPPORTED, "dynamic");
    refuse_change(set_heads, SMT_FORMAT, "num_attention_heads");
    refuse_change(set_more_rows, SMT_FORMAT, "3 rows");
}

/* A value that the type asked for cannot hold. */
static void test_overflow(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_gguf *original;
    smt_error err = {0};
    json_t *config = smt_hf_tiny_llama(&folder, "convert_overflow", &original);
    ((float *)smt_hf_find(&folder, "lm_head.weight")->bytes)[5] = 1e5f;
    smt_hf_json(&folder, "config.json", config);
    smt_hf_write(&folder, 1);
    const char *path = smt_hf_path(&folder, "out.gguf");
    smt_convert_options options = {.struct_size = sizeof options, .folder = folder.path, .path = path, .type = "F16"};
    assert_int_equal(smt_convert(&options, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "output.weight: 100000"));
    options.type = "bf16";
    SMT_ASSERT_OK(smt_convert(&options, &err), &err);
    remove(path);
    options.type = "Q9";
    assert_int_equal(smt_convert(&options, &err), SMT_INVALID);
    options.type = NULL;
    options.path = smt_hf_path(&folder, "model.safetensors"); /* would replace its own source */
    assert_int_equal(smt_convert(&options, &err), SMT_INVALID);
    smt_gguf_free(original);
    smt_hf_end(&folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v3),       cmocka_unit_test(test_f8),
        cmocka_unit_test(test_rotation), cmocka_unit_test(test_llama3_scaling),
        cmocka_unit_test(test_moe),      cmocka_unit_test(test_types),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
