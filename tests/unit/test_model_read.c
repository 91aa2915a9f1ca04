/* test_model_read.c: the golden files, a downloaded model and the tiny models open with the numbers that they are known to
 * have, and both file generations of latent attention give the same matrices. */
#include "gguf_write.h"
#include "model_support.h"
#include "quant/quant.h"

#include <math.h>

static bool assumes(const smt_model *model, const char *line) {
    for (uint32_t i = 0; i < model->n_assumed; i++)
        if (strcmp(model->assumed[i], line) == 0) return true;
    return false;
}

static void check_golden_v2(const smt_model *m) {
    assert_string_equal(m->architecture, "deepseek2");
    assert_string_equal(m->name, "g-v2");
    assert_true(m->mla);
    assert_int_equal(m->n_layers, 4);
    assert_int_equal(m->n_embd, 128);
    assert_int_equal(m->n_vocab, 512);
    assert_int_equal(m->n_heads, 4);
    assert_int_equal(m->n_kv_heads, 1);
    assert_int_equal(m->n_ctx_train, 163840);
    assert_int_equal(m->q_rank, 48);
    assert_int_equal(m->kv_rank, 64);
    assert_int_equal(m->nope_dim, 32);
    assert_int_equal(m->rope_dim, 16);
    assert_int_equal(m->value_dim, 24);
    assert_int_equal(m->n_dense_layers, 1);
    assert_int_equal(m->n_ff, 176);
    assert_int_equal(m->n_ff_expert, 48);
    assert_int_equal(m->n_ff_shared, 96);
    assert_int_equal(m->n_experts, 16);
    assert_int_equal(m->n_used, 4);
    assert_int_equal(m->n_shared, 2);
    assert_int_equal(m->n_groups, 4);
    assert_int_equal(m->n_groups_used, 2);
    assert_int_equal(m->gate, SMT_GATE_SOFTMAX);
    assert_int_equal(m->group_rule, SMT_GROUP_BEST);
    assert_false(m->norm_weights);
    assert_true(m->weight_scale == 16);
    assert_true(m->norm_eps == 1e-6f);
    double scale = pow(1 + (double)0.0707f * log(40), 2) / sqrt(48);
    assert_true(fabs((double)m->attn_scale - scale) < 1e-8); /* half a unit of float */
    assert_true(m->rope_magnitude == 1);
    assert_true(m->rope_freq[0] == 1);
    assert_int_equal(smt_model_cache_row(m), 80);
    assert_int_equal(smt_model_moe_layers(m), 3);
    assert_int_equal(m->cache_values_per_token, 320);
    assert_false(m->layers[0].moe);
    assert_true(m->layers[3].moe);
    assert_int_equal(m->layers[1].down_exps.n_planes, 16);
    assert_int_equal(m->layers[1].down_exps.k, 48);
    assert_int_equal(m->layers[1].down_exps.rows, 128);
    assert_null(m->layers[1].router_bias.tensor);
    assert_null(m->layers[1].q.tensor);
    /* embedding and head, norms, then per layer attention 40032, dense 67584 + norm, MoE 16 * 18432 + 36864 + 2048 */
    assert_int_equal(m->n_params, 1410624);
    assert_int_equal(m->n_params_active, 1410624 - 65536 - 3 * 12 * 18432);
}

static void test_golden_v2(void **state) {
    (void)state;
    smt_error err = {0};
    smt_test_model o = smt_test_model_open(smt_test_data("g-v2.f16.gguf"));
    check_golden_v2(o.model);
    assert_false(assumes(o.model, "expert_gating_func: softmax"));
    SMT_ASSERT_OK(smt_model_check_types(o.model, &err), &err);
    smt_test_model_close(&o);
}

/* The file of 2024's layout: same numbers, and k_b and v_b as views equal the tensors of the new layout. */
static void test_golden_old_layout(void **state) {
    (void)state;
    const char *path = smt_test_shared("golden/g-v2.f16-kvb.gguf");
    if (!path) skip();
    smt_test_model old = smt_test_model_open(path), new = smt_test_model_open(smt_test_data("g-v2.f16.gguf"));
    check_golden_v2(old.model);
    assert_true(assumes(old.model, "expert_gating_func: softmax"));
    assert_true(assumes(old.model, "rope.scaling.yarn_beta_fast: 32"));
    float a[64], b[64];
    for (uint32_t layer = 0; layer < 4; layer++) {
        const smt_matrix *pairs[2][2] = {{&old.model->layers[layer].k_b, &new.model->layers[layer].k_b},
                                         {&old.model->layers[layer].v_b, &new.model->layers[layer].v_b}};
        assert_true(pairs[0][0]->transposed);
        assert_false(pairs[1][0]->transposed);
        assert_int_equal(smt_matrix_dtype(pairs[0][0]), SMT_DTYPE_F16);
        for (int p = 0; p < 2; p++) {
            assert_int_equal(pairs[p][0]->k, pairs[p][1]->k);
            assert_int_equal(pairs[p][0]->rows, pairs[p][1]->rows);
            for (uint32_t plane = 0; plane < 4; plane++)
                for (uint32_t row = 0; row < pairs[p][0]->rows; row++) {
                    assert_true(smt_matrix_row(pairs[p][0], plane, row, a));
                    assert_true(smt_matrix_row(pairs[p][1], plane, row, b));
                    assert_memory_equal(a, b, pairs[p][0]->k * sizeof *a);
                }
        }
        assert_false(smt_matrix_row(pairs[0][0], 4, 0, a));
        assert_false(smt_matrix_row(pairs[0][0], 0, 64, a));
    }
    smt_test_model_close(&old);
    smt_test_model_close(&new);
}

/* A transposed view of block-quantised rows: element j of device row r is element r of the head's file row j. */
static void test_transposed_blocks(void **state) {
    (void)state;
    smt_error err = {0};
    const char *path = smt_test_work("test_model_read_blocks.gguf");
    smt_tiny_options options = {.type = SMT_DTYPE_Q8_0, .old_layout = true, .n_layers = 1};
    SMT_ASSERT_OK(smt_tiny_deepseek2(path, &options, &err), &err);
    smt_test_model o = smt_test_model_open(path);
    remove(path);
    const smt_matrix *k_b = &o.model->layers[0].k_b;
    const smt_gguf_tensor *joint = smt_gguf_find_tensor(o.file, "blk.0.attn_kv_b.weight");
    uint64_t row_bytes = smt_dtype_row_bytes(joint->type, joint->ne[0]);
    float file_row[512], device_row[64];
    uint8_t coded[4096];
    assert_in_range(k_b->rows, 33, SMT_COUNT(file_row)); /* several blocks in a row */
    assert_in_range(k_b->k, 1, SMT_COUNT(device_row));
    assert_in_range(row_bytes, 1, sizeof coded);
    for (uint32_t head = 0; head < o.model->n_heads; head += o.model->n_heads - 1)
        for (uint32_t j = 0; j < k_b->k; j += 7) {
            uint64_t at = head * (uint64_t)(o.model->nope_dim + o.model->value_dim) + j;
            SMT_ASSERT_OK(smt_gguf_tensor_read(joint, at * row_bytes, coded, row_bytes, &err), &err);
            assert_true(smt_quant_decode(joint->type, coded, file_row, joint->ne[0]));
            for (uint32_t r = 0; r < k_b->rows; r += 5) {
                assert_true(smt_matrix_row(k_b, head, r, device_row));
                assert_true(device_row[j] == file_row[r]);
            }
        }
    smt_test_model_close(&o);
}

/* Files of one fork hold attn_k_b and attn_v_b in two dimensions, beside an attn_kv_b that is not needed: same bytes, same matrices. */
static void write_fork_layout(const smt_gguf *from, const smt_model *m, const char *path) {
    smt_error err = {0};
    smt_gguf_writer w = {.alignment = 65536};
    char name[64];
    for (uint64_t i = 0; i < smt_gguf_key_count(from); i++) smt_gguf_write_copy(&w, smt_gguf_key_at(from, i));
    for (uint64_t i = 0; i < smt_gguf_tensor_count(from); i++) {
        const smt_gguf_tensor *t = smt_gguf_tensor_at(from, i);
        bool k_b = strstr(t->name, "attn_k_b") != NULL, flat = k_b || strstr(t->name, "attn_v_b");
        uint64_t ne[4] = {t->ne[0], flat ? t->ne[1] * t->ne[2] : t->ne[1], flat ? 1 : t->ne[2], 1};
        void *data = smt_alloc(t->bytes, 1);
        assert_non_null(data);
        SMT_ASSERT_OK(smt_gguf_tensor_read(t, 0, data, t->bytes, &err), &err);
        smt_gguf_write_tensor(&w, t->name, (uint32_t)t->type, ne, data);
        smt_free(data);
        if (!k_b) continue;
        snprintf(name, sizeof name, "%.*s.attn_kv_b.weight", (int)(strstr(t->name, ".attn_k_b") - t->name), t->name);
        smt_gguf_write_tensor(&w, name, SMT_DTYPE_F16, (uint64_t[]){m->kv_rank, m->n_heads * (m->nope_dim + m->value_dim), 1, 1},
                              NULL);
    }
    SMT_ASSERT_OK(smt_gguf_write_file(&w, path, &err), &err);
    smt_gguf_write_free(&w);
}

static void test_fork_layout(void **state) {
    (void)state;
    const char *path = smt_test_work("test_model_read_fork.gguf");
    smt_test_model plain = smt_test_model_open(smt_test_data("g-v2.f16.gguf"));
    write_fork_layout(plain.file, plain.model, path);
    smt_test_model fork = smt_test_model_open(path);
    float a[64], b[64];
    assert_int_equal(smt_gguf_tensor_count(fork.file), smt_gguf_tensor_count(plain.file) + 4);
    assert_int_equal(smt_gguf_find_tensor(fork.file, "blk.1.attn_k_b.weight")->n_dims, 2);
    for (uint32_t layer = 0; layer < 4; layer++) {
        const smt_matrix *pairs[2][2] = {{&plain.model->layers[layer].k_b, &fork.model->layers[layer].k_b},
                                         {&plain.model->layers[layer].v_b, &fork.model->layers[layer].v_b}};
        for (int p = 0; p < 2; p++) {
            assert_false(pairs[p][1]->transposed);
            for (uint32_t plane = 0; plane < 4; plane++)
                for (uint32_t row = 0; row < pairs[p][0]->rows; row += 5) {
                    assert_true(smt_matrix_row(pairs[p][0], plane, row, a));
                    assert_true(smt_matrix_row(pairs[p][1], plane, row, b));
                    assert_memory_equal(a, b, pairs[p][0]->k * sizeof *a);
                }
        }
    }
    smt_test_model_close(&plain);
    smt_test_model_close(&fork);
    remove(path);
}

static void test_golden_lite(void **state) {
    (void)state;
    const char *path = smt_test_shared("golden/g-v2lite.f32.gguf");
    if (!path) skip();
    smt_test_model o = smt_test_model_open(path);
    assert_int_equal(o.model->q_rank, 0);
    assert_non_null(o.model->layers[0].q.tensor);
    assert_null(o.model->layers[0].q_a.tensor);
    assert_int_equal(o.model->n_groups, 1);
    assert_int_equal(o.model->n_params, 5003776);
    assert_true(o.model->weight_scale == 1);
    smt_test_model_close(&o);
}

static void test_golden_llama(void **state) {
    (void)state;
    smt_error err = {0};
    smt_test_model o = smt_test_model_open(smt_test_data("g-llama2.f16.gguf"));
    const smt_model *m = o.model;
    assert_string_equal(m->architecture, "llama");
    assert_false(m->mla);
    assert_int_equal(m->n_layers, 3);
    assert_int_equal(m->n_kv_heads, 4);
    assert_int_equal(m->nope_dim, 0);
    assert_int_equal(m->rope_dim, 32);
    assert_int_equal(m->value_dim, 32);
    assert_int_equal(m->n_ff, 344);
    assert_int_equal(m->n_experts, 0);
    assert_int_equal(m->n_dense_layers, 3);
    assert_true(m->norm_eps == 1e-5f);
    assert_true(fabs((double)m->attn_scale - 1 / sqrt(32)) < 1e-8);
    assert_int_equal(m->cache_values_per_token, 3 * 2 * 128);
    assert_int_equal(smt_model_moe_layers(m), 0);
    assert_int_equal(m->n_params, 724864);
    assert_int_equal(m->n_params_active, 724864 - 65536);
    assert_ptr_not_equal(m->output.tensor, m->token_embd.tensor);
    SMT_ASSERT_OK(smt_model_check_types(m, &err), &err);
    smt_test_model_close(&o);
}

static void test_stories(void **state) {
    (void)state;
    const char *path = smt_test_shared("models/stories260K.gguf");
    if (!path) skip();
    smt_test_model o = smt_test_model_open(path);
    assert_string_equal(o.model->name, "stories260K");
    assert_int_equal(o.model->n_heads, 8);
    assert_int_equal(o.model->n_kv_heads, 4);
    assert_int_equal(o.model->rope_dim, 8);
    assert_int_equal(o.model->cache_values_per_token, 5 * 4 * 16);
    assert_true(assumes(o.model, "rope.freq_base: 10000"));
    assert_true(assumes(o.model, "attention.key_length: 8 (embedding_length / head_count)"));
    smt_test_model_close(&o);
}

/* Every option of the tiny models gives a file that opens, with types that run. */
static void test_tiny(void **state) {
    (void)state;
    const smt_tiny_options options[] = {
        {.type = SMT_DTYPE_F32},
        {.type = SMT_DTYPE_Q4_K, .q_lora = true},
        {.type = SMT_DTYPE_Q8_0, .old_layout = true, .n_layers = 2},
        {.type = SMT_DTYPE_F16, .sigmoid = true, .tied = true},
        {.type = SMT_DTYPE_Q6_K, .n_experts = 2, .gqa = true},
    };
    for (size_t i = 0; i < SMT_COUNT(options); i++) {
        smt_error err = {0};
        smt_test_model o = smt_test_model_tiny(smt_tiny_deepseek2, &options[i]);
        SMT_ASSERT_OK(smt_model_check_types(o.model, &err), &err);
        assert_int_equal(o.model->n_layers, options[i].n_layers ? options[i].n_layers : 3);
        assert_int_equal(o.model->q_rank != 0, options[i].q_lora);
        assert_int_equal(o.model->layers[0].k_b.transposed, options[i].old_layout);
        assert_int_equal(o.model->output.tensor == o.model->token_embd.tensor, options[i].tied);
        assert_int_equal(assumes(o.model, "output.weight: the embedding table (tied)"), options[i].tied);
        assert_int_equal(o.model->group_rule, options[i].sigmoid ? SMT_GROUP_TOP2 : SMT_GROUP_BEST);
        assert_int_equal(o.model->layers[1].router_bias.tensor != NULL, options[i].sigmoid);
        assert_int_equal(o.model->norm_weights, options[i].sigmoid);
        assert_int_equal(o.model->n_groups, options[i].sigmoid ? 4 : 1);
        smt_test_model_close(&o);
        o = smt_test_model_tiny(smt_tiny_llama, &options[i]);
        SMT_ASSERT_OK(smt_model_check_types(o.model, &err), &err);
        assert_int_equal(o.model->n_kv_heads, options[i].gqa ? 2 : 8);
        smt_test_model_close(&o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_v2),         cmocka_unit_test(test_golden_old_layout), cmocka_unit_test(test_golden_lite),
        cmocka_unit_test(test_golden_llama),      cmocka_unit_test(test_stories),           cmocka_unit_test(test_tiny),
        cmocka_unit_test(test_transposed_blocks), cmocka_unit_test(test_fork_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
