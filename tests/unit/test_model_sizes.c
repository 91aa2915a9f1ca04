/* test_model_sizes.c: the released models in full size, as files whose tensors are holes: parameters, active parameters, cache
 * and assumed groups agree with the published figures to the last digit. Skipped where a file cannot have holes. */
#include "gguf_write.h"
#include "model/model.h"
#include "support.h"

#include <math.h>

enum { LATENT = 512, NOPE = 128, ROPE = 64, VALUE = 128 };

typedef struct shape {
    uint32_t n_embd, n_layers, n_heads, q_rank, n_ff, n_dense, n_experts, n_used, n_shared, n_ff_expert, n_vocab;
    bool v3;
} shape;

/* The smallest types that hold the row, so that even 671 billion parameters stay within the limits of file systems. */
static void add(smt_gguf_writer *w, int layer, const char *name, uint64_t k, uint64_t rows, uint64_t planes) {
    char text[64];
    if (layer < 0)
        snprintf(text, sizeof text, "%s", name);
    else
        snprintf(text, sizeof text, "blk.%d.%s", layer, name);
    smt_dtype type = rows == 1 ? SMT_DTYPE_F32 : k % 256 ? SMT_DTYPE_Q4_0 : SMT_DTYPE_IQ1_S;
    smt_gguf_write_tensor(w, text, (uint32_t)type, (uint64_t[]){k, rows, planes, 1}, NULL);
}

static void add_keys(smt_gguf_writer *w, const shape *s) {
    const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"block_count", s->n_layers},
                   {"context_length", 163840},
                   {"embedding_length", s->n_embd},
                   {"feed_forward_length", s->n_ff},
                   {"attention.head_count", s->n_heads},
                   {"attention.head_count_kv", s->n_heads},
                   {"attention.key_length", NOPE + ROPE},
                   {"attention.value_length", VALUE},
                   {"attention.kv_lora_rank", LATENT},
                   {"rope.dimension_count", ROPE},
                   {"rope.scaling.original_context_length", 4096},
                   {"leading_dense_block_count", s->n_dense},
                   {"expert_count", s->n_experts},
                   {"expert_used_count", s->n_used},
                   {"expert_shared_count", s->n_shared},
                   {"expert_feed_forward_length", s->n_ff_expert}};
    char name[96];
    smt_gguf_write_text(w, "general.architecture", "deepseek2");
    for (size_t i = 0; i < SMT_COUNT(numbers); i++) {
        snprintf(name, sizeof name, "deepseek2.%s", numbers[i].key);
        smt_gguf_write_u32(w, name, numbers[i].value);
    }
    if (s->q_rank) smt_gguf_write_u32(w, "deepseek2.attention.q_lora_rank", s->q_rank);
    if (s->v3) smt_gguf_write_u32(w, "deepseek2.expert_gating_func", 2);
    smt_gguf_write_f32(w, "deepseek2.attention.layer_norm_rms_epsilon", 1e-6f);
    smt_gguf_write_text(w, "deepseek2.rope.scaling.type", "yarn");
    smt_gguf_write_f32(w, "deepseek2.rope.scaling.factor", 40);
    smt_gguf_write_f32(w, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1f);
}

static void add_layer(smt_gguf_writer *w, const shape *s, int i) {
    const uint32_t d = s->n_embd, m = s->n_ff_expert, shared = s->n_shared * m;
    add(w, i, "attn_norm.weight", d, 1, 1);
    add(w, i, "ffn_norm.weight", d, 1, 1);
    if (s->q_rank) {
        add(w, i, "attn_q_a.weight", d, s->q_rank, 1);
        add(w, i, "attn_q_a_norm.weight", s->q_rank, 1, 1);
        add(w, i, "attn_q_b.weight", s->q_rank, s->n_heads * (NOPE + ROPE), 1);
    } else
        add(w, i, "attn_q.weight", d, s->n_heads * (NOPE + ROPE), 1);
    add(w, i, "attn_kv_a_mqa.weight", d, LATENT + ROPE, 1);
    add(w, i, "attn_kv_a_norm.weight", LATENT, 1, 1);
    add(w, i, "attn_kv_b.weight", LATENT, s->n_heads * (NOPE + VALUE), 1);
    add(w, i, "attn_output.weight", s->n_heads * VALUE, d, 1);
    if (i < (int)s->n_dense) {
        add(w, i, "ffn_gate.weight", d, s->n_ff, 1);
        add(w, i, "ffn_up.weight", d, s->n_ff, 1);
        add(w, i, "ffn_down.weight", s->n_ff, d, 1);
        return;
    }
    add(w, i, "ffn_gate_inp.weight", d, s->n_experts, 1);
    if (s->v3) add(w, i, "exp_probs_b.bias", s->n_experts, 1, 1);
    add(w, i, "ffn_gate_exps.weight", d, m, s->n_experts);
    add(w, i, "ffn_up_exps.weight", d, m, s->n_experts);
    add(w, i, "ffn_down_exps.weight", m, d, s->n_experts);
    add(w, i, "ffn_gate_shexp.weight", d, shared, 1);
    add(w, i, "ffn_up_shexp.weight", d, shared, 1);
    add(w, i, "ffn_down_shexp.weight", shared, d, 1);
}

typedef struct expected {
    uint64_t n_tensors, n_params;
    double active_billions; /* two decimals */
    uint64_t cache_values;
    uint32_t n_groups, n_groups_used;
    smt_group_rule rule;
} expected;

static void check(const shape *s, const expected *e) {
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf *gguf = NULL;
    smt_model *model;
    const char *path = smt_test_work("test_model_sizes.gguf");
    add_keys(&w, s);
    add(&w, -1, "token_embd.weight", s->n_embd, s->n_vocab, 1);
    add(&w, -1, "output.weight", s->n_embd, s->n_vocab, 1);
    add(&w, -1, "output_norm.weight", s->n_embd, 1, 1);
    for (uint32_t i = 0; i < s->n_layers; i++) add_layer(&w, s, (int)i);
    smt_status status = smt_gguf_write_file(&w, path, &err);
    smt_gguf_write_free(&w);
    if (status != SMT_OK || smt_gguf_open(path, &gguf, &err) != SMT_OK) {
        remove(path);
        skip();
    }
    remove(path); /* the mapping keeps the file */
    SMT_ASSERT_OK(smt_model_create(gguf, &model, &err), &err);
    assert_int_equal(smt_gguf_tensor_count(gguf), e->n_tensors);
    assert_int_equal(model->n_params, e->n_params);
    assert_true(fabs((double)model->n_params_active / 1e9 - e->active_billions) < 0.005);
    assert_int_equal(model->cache_values_per_token, e->cache_values);
    assert_int_equal(model->n_groups, e->n_groups);
    assert_int_equal(model->n_groups_used, e->n_groups_used);
    assert_int_equal(model->group_rule, e->rule);
    assert_int_equal(smt_model_check_types(model, &err), SMT_UNSUPPORTED); /* IQ1_S: may be looked at, not run */
    assert_non_null(strstr(err.message, "IQ1_S"));
    smt_model_free(model);
    smt_gguf_free(gguf);
}

static void test_v2_lite(void **state) {
    (void)state;
    const shape s = {2048, 27, 16, 0, 10944, 1, 64, 6, 2, 1408, 102400, false};
    check(&s, &(expected){377, 15706484224, 2.45, 15552, 1, 1, SMT_GROUP_BEST});
}

static void test_v2(void **state) {
    (void)state;
    const shape s = {5120, 60, 128, 1536, 12288, 1, 160, 6, 2, 1536, 102400, false};
    check(&s, &(expected){959, 235741434880, 20.85, 34560, 8, 3, SMT_GROUP_BEST});
}

static void test_v3(void **state) {
    (void)state;
    const shape s = {7168, 61, 128, 1536, 18432, 3, 256, 8, 1, 2048, 129280, true};
    check(&s, &(expected){1025, 671026419200, 36.63, 35136, 8, 4, SMT_GROUP_TOP2});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_v2_lite), cmocka_unit_test(test_v2), cmocka_unit_test(test_v3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
