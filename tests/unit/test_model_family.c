/* test_model_family.c: what files of the whole family leave out, name otherwise or add: the documented default is taken and said, the
 * other form is read as the same model, and layers that predict ahead are passed over. */
#include "gguf_edit.h"
#include "quant/quant.h"
#include "support.h"

#include <math.h>

static const char *const v2 = "g-v2.f16.gguf", *const llama2 = "g-llama2.f16.gguf", *const v3 = "t-v3.f16.gguf",
                         *const moe = "t-moe.f16.gguf", *const llama3 = "t-llama3.f16.gguf";

static smt_edited open_edited(const char *base, smt_gguf_edit edit) {
    smt_error err = {0};
    smt_edited edited;
    SMT_ASSERT_OK(smt_edited_open(smt_test_data(base), &edit, &edited, &err), &err);
    return edited;
}

static bool assumes(const smt_model *model, const char *line) {
    for (uint32_t i = 0; i < model->n_assumed; i++)
        if (strcmp(model->assumed[i], line) == 0) return true;
    return false;
}

/* ---- defaults ---- */

/* The default is noted where the key is absent, and not where it is there. */
static void test_defaults(void **state) {
    (void)state;
    static const struct {
        const char *base;
        smt_gguf_edit edit;
        const char *line;
    } cases[] = {
        {"g-v2.f16.gguf", {.drop = "deepseek2.attention.q_lora_rank"}, "attention.q_lora_rank: 48 (rows of blk.0.attn_q_a)"},
        {"g-v2.f16.gguf", {.drop = "deepseek2.expert_gating_func"}, "expert_gating_func: softmax"},
        {"t-v3.f16.gguf", {.drop = "deepseek2.expert_weights_norm"}, "expert_weights_norm: false"},
        {"g-v2.f16.gguf", {.drop = "deepseek2.expert_weights_scale"}, "expert_weights_scale: 1"},
        {"g-v2.f16.gguf",
         {.drop = "deepseek2.expert_group_count", .drop_too = "deepseek2.expert_group_used_count"},
         "expert_group_count: 1"},
        {"g-v2.f16.gguf", {.drop = "deepseek2.rope.scaling.yarn_log_multiplier"}, "rope.scaling.yarn_log_multiplier: 0"},
        {"g-v2.f16.gguf", {.drop = "deepseek2.rope.freq_base"}, "rope.freq_base: 10000"},
        {"g-v2.f16.gguf", {.drop = "output.weight"}, "output.weight: the embedding table (tied)"},
        {"t-moe.f16.gguf", {.drop = "deepseek.attention.head_count_kv"}, "attention.head_count_kv: 4 (head_count)"},
        {"t-moe.f16.gguf", {.drop = "deepseek.rope.dimension_count"}, "rope.dimension_count: 12 (head size)"},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_edited with = open_edited(cases[i].base, (smt_gguf_edit){0}), without = open_edited(cases[i].base, cases[i].edit);
        if (assumes(with.model, cases[i].line)) fail_msg("assumed all the same: %s", cases[i].line);
        if (!assumes(without.model, cases[i].line)) fail_msg("not assumed: %s", cases[i].line);
        smt_edited_close(&with);
        smt_edited_close(&without);
    }
}

/* The tiny deepseek file says neither gate nor groups, as real ones. */
static void test_deepseek(void **state) {
    (void)state;
    smt_edited e = open_edited(moe, (smt_gguf_edit){0});
    const smt_model *m = e.model;
    assert_string_equal(m->architecture, "deepseek");
    assert_false(m->mla);
    assert_int_equal(m->gate, SMT_GATE_SOFTMAX);
    assert_int_equal(m->n_groups, 1);
    assert_int_equal(m->n_dense_layers, 1);
    assert_int_equal(smt_model_moe_layers(m), 2);
    assert_int_equal(m->n_experts, 12);
    assert_int_equal(m->n_used, 4);
    assert_int_equal(m->cache_values_per_token, 3 * 2 * 48);
    assert_non_null(m->layers[2].k.tensor);
    assert_non_null(m->layers[2].up_exps.tensor);
    assert_non_null(m->layers[2].up_shexp.tensor);
    assert_true(m->rope_scaling == SMT_ROPE_PLAIN && m->rope_magnitude == 1);
    smt_edited_close(&e);
}

/* ---- other names ---- */

/* A factor means linear scaling, whatever the file calls it and whether or not it says the type. */
static void test_linear_scaling(void **state) {
    (void)state;
    static const smt_gguf_edit edits[] = {
        {.text_key = "llama.rope.scaling.type", .text = "linear", .f32_key = "llama.rope.scaling.factor", .f32 = 4},
        {.f32_key = "llama.rope.scaling.factor", .f32 = 4},
        {.f32_key = "llama.rope.scale_linear", .f32 = 4},
    };
    for (size_t i = 0; i < SMT_COUNT(edits); i++) {
        smt_edited e = open_edited(llama2, edits[i]);
        assert_int_equal(e.model->rope_scaling, SMT_ROPE_LINEAR);
        assert_true(e.model->rope_factor == 4);
        assert_int_equal(assumes(e.model, "rope.scaling.type: linear"), i > 0);
        for (uint32_t p = 0; p < 16; p++) assert_true(fabs(e.model->rope_freq[p] * 4 * pow(10000, p / 16.0) - 1) < 1e-12);
        smt_edited_close(&e);
    }
    smt_edited none = open_edited(
        llama2,
        (smt_gguf_edit){.text_key = "llama.rope.scaling.type", .text = "none", .f32_key = "llama.rope.scaling.factor", .f32 = 4});
    assert_int_equal(none.model->rope_scaling, SMT_ROPE_PLAIN);
    assert_true(none.model->rope_freq[0] == 1);
    smt_edited_close(&none);
}

/* Plain attention under YaRN turns with a magnitude; without any share of YaRN it does not. */
static void test_plain_yarn(void **state) {
    (void)state;
    smt_gguf_edit edit = {
        .text_key = "llama.rope.scaling.type", .text = "yarn", .f32_key = "llama.rope.scaling.factor", .f32 = 4};
    smt_edited e = open_edited(llama2, edit);
    assert_int_equal(e.model->rope_scaling, SMT_ROPE_YARN);
    assert_true(fabs(e.model->rope_magnitude - (1 + 0.1 * log(4))) < 1e-12);
    assert_true(fabs((double)e.model->attn_scale - 1 / sqrt(32)) < 1e-8);
    assert_true(assumes(e.model, "rope.scaling.original_context_length: 4096 (context_length)"));
    smt_edited_close(&e);
    edit = (smt_gguf_edit){.f32_key = "deepseek2.rope.scaling.yarn_ext_factor", .f32 = 0};
    e = open_edited(v2, edit);
    assert_true(e.model->rope_magnitude == 1);
    assert_true(fabs(e.model->rope_freq[0] * 40 - 1) < 1e-12);
    smt_edited_close(&e);
}

/* One value per layer is one value, while layers do not differ. */
static void test_arrays(void **state) {
    (void)state;
    static const char *const keys[] = {"llama.attention.head_count", "llama.attention.head_count_kv",
                                       "llama.feed_forward_length"};
    static const uint32_t values[] = {4, 4, 344};
    for (size_t i = 0; i < SMT_COUNT(keys); i++) {
        smt_gguf_edit edit = {.array_key = keys[i], .array = {values[i], values[i], values[i]}, .array_length = 3};
        smt_edited e = open_edited(llama2, edit);
        assert_int_equal(e.model->n_heads, 4);
        assert_int_equal(e.model->n_ff, 344);
        smt_edited_close(&e);
        smt_error err = {0};
        edit.array[2] = values[i] / 2;
        assert_int_equal(smt_edited_open(smt_test_data(llama2), &edit, &e, &err), SMT_UNSUPPORTED);
        assert_non_null(strstr(err.message, keys[i]));
        assert_non_null(strstr(err.message, "in layer 2"));
        smt_edited_close(&e);
    }
}

/* ---- other tensors ---- */

/* Gate and up of the fused tensor: the first and the second half of each expert's rows. */
static void test_fused_experts(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf *file;
    smt_model *m;
    SMT_ASSERT_OK(smt_gguf_open(smt_test_data(v3), &file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(file, &m, &err), &err);
    const smt_model_layer *layer = &m->layers[2];
    const smt_gguf_tensor *fused = layer->gate_exps.tensor;
    assert_string_equal(fused->name, "blk.2.ffn_gate_up_exps.weight");
    assert_ptr_equal(layer->up_exps.tensor, fused);
    assert_int_equal(layer->gate_exps.rows, 16);
    uint8_t coded[96];
    float got[48], want[48];
    for (uint32_t e = 0; e < 12; e++)
        for (uint32_t row = 0; row < 32; row++) {
            const smt_matrix *matrix = row < 16 ? &layer->gate_exps : &layer->up_exps;
            assert_true(smt_matrix_row(matrix, e, row % 16, got));
            SMT_ASSERT_OK(smt_gguf_tensor_read(fused, (e * 32 + row) * sizeof coded, coded, sizeof coded, &err), &err);
            assert_true(smt_quant_decode(fused->type, coded, want, 48));
            assert_memory_equal(got, want, sizeof want);
        }
    uint64_t values = 0;
    for (uint64_t i = 0; i < smt_gguf_tensor_count(file); i++) {
        const smt_gguf_tensor *t = smt_gguf_tensor_at(file, i);
        if (strncmp(t->name, "blk.3.", 6) != 0) values += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
    }
    assert_int_equal(m->n_params, values); /* each row counts once */
    smt_model_free(m);
    smt_gguf_free(file);
}

static void test_llama3(void **state) {
    (void)state;
    smt_edited e =
        open_edited(llama3, (smt_gguf_edit){.reshape = "rope_freqs.weight", .dim = 0, .size = 6, .drop = "rope_freqs.weight"});
    assert_false(e.model->rope_divided);
    smt_edited_close(&e);
    smt_error err = {0};
    smt_gguf *file;
    smt_model *m;
    SMT_ASSERT_OK(smt_gguf_open(smt_test_data(llama3), &file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(file, &m, &err), &err);
    assert_true(m->rope_divided);
    assert_true(m->rope_base == 500000);
    assert_true(fabs(m->rope_freq[5] * 8 * 4 * pow(500000, 5.0 / 6) - 1) < 1e-6); /* divisor 8, linear factor 4 */
    assert_int_equal(m->n_kv_heads, 2);
    assert_int_equal(m->layers[1].k_bias.k, 24);
    assert_int_equal(m->layers[1].down_bias.k, 48);
    smt_model_free(m);
    smt_gguf_free(file);
}

/* ---- layers that predict ahead ---- */

/* Counted with a key; counted without one; not counted at all; a key, and no such tensors. */
static void test_layers_ahead(void **state) {
    (void)state;
    static const smt_gguf_edit edits[] = {
        {0},
        {.drop = "deepseek2.nextn_predict_layers"},
        {.drop = "deepseek2.nextn_predict_layers", .u32_key = "deepseek2.block_count", .u32 = 3},
        {.u32_key = "deepseek2.block_count", .u32 = 3},
    };
    for (size_t i = 0; i < SMT_COUNT(edits); i++) {
        smt_edited e = open_edited(v3, edits[i]);
        assert_int_equal(e.model->n_layers, 3);
        assert_int_equal(e.model->n_layers_skipped, 1);
        assert_int_equal(e.model->n_tensors_skipped, 4);
        smt_edited_close(&e);
    }
    smt_edited e = open_edited(v2, (smt_gguf_edit){.u32_key = "deepseek2.nextn_predict_layers", .u32 = 1});
    assert_int_equal(e.model->n_layers, 3);
    assert_int_equal(e.model->n_layers_skipped, 1); /* the file's fourth layer */
    smt_edited_close(&e);
    e = open_edited(v2, (smt_gguf_edit){.add = "blk.5.whatever", .add_ne = 8});
    assert_int_equal(e.model->n_layers, 4);
    assert_int_equal(e.model->n_layers_skipped, 2);
    smt_edited_close(&e);
    smt_error err = {0};
    smt_gguf_edit edit = {.add = "blk.0.nextn.enorm.weight", .add_ne = 8};
    assert_int_equal(smt_edited_open(smt_test_data(v2), &edit, &e, &err), SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "blk.0.nextn"));
    smt_edited_close(&e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),   cmocka_unit_test(test_deepseek),     cmocka_unit_test(test_linear_scaling),
        cmocka_unit_test(test_plain_yarn), cmocka_unit_test(test_arrays),       cmocka_unit_test(test_fused_experts),
        cmocka_unit_test(test_llama3),     cmocka_unit_test(test_layers_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
