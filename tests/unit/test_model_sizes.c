/* test_model_sizes.c: every released model in full size, as a file whose tensors are holes: what `inspect` says of it (tensors,
 * parameters, active parameters, cache, rules) agrees with the published figures to the last digit that they have. Skipped where
 * a file cannot have holes. */
#include "big_model.h"
#include "support.h"

#include <math.h>
#include <unistd.h>

typedef struct expected {
    const char *name;
    uint32_t n_tensors;
    uint64_t n_params;
    double active; /* billions, to two digits behind the point; 0: not published so */
    uint32_t cache_values;
    const char *gate, *group_rule;
    uint32_t n_groups, n_groups_used;
} expected;

static const expected models[] = {
    {"V2-Lite", 377, 15706484224, 2.45, 15552, "softmax", "", 1, 1},
    {"V2", 959, 235741434880, 20.85, 34560, "softmax", "best", 8, 3},
    {"V3", 1025, 671026419200, 36.63, 35136, "sigmoid", "top2", 8, 4},
    {"VL2-base", 0, 27030000000, 0, 17280, "sigmoid", "", 1, 1},
    {"VL2-tiny", 0, 2930000000, 0, 30720, "softmax", "", 1, 1},
    {"deepseek-moe-16b", 363, 16375728128, 0, 114688, "softmax", "", 1, 1},
    {"DeepSeek-LLM-7B", 273, 6910365696, 0, 245760, "", "", 1, 1},
    {"DeepSeek-LLM-67B", 858, 67425001472, 0, 194560, "", "", 1, 1},
    {"DeepSeek-Coder-6.7B", 291, 6740512768, 0, 262144, "", "", 1, 1},
    {"DeepSeek-Coder-33B", 561, 33342991360, 0, 126976, "", "", 1, 1},
    {"Llama-2-7B", 291, 6738415616, 0, 262144, "", "", 1, 1},
    {"Llama-2-13B", 363, 13015864320, 0, 409600, "", "", 1, 1},
    {"Llama-2-70B", 723, 68976648192, 0, 163840, "", "", 1, 1},
    {"Llama-3-70B", 723, 70553706496, 0, 163840, "", "", 1, 1},
};

static const expected *find(const char *name) {
    for (size_t i = 0; i < SMT_COUNT(models); i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    fail_msg("nothing is known of %s", name);
    return NULL;
}

static void check(const smt_big_shape *shape, const expected *e, const smt_model_info *m) {
    bool rounded = e->n_params % 10000000 == 0; /* published to two digits of a billion */
    uint64_t off = m->n_params > e->n_params ? m->n_params - e->n_params : e->n_params - m->n_params;
    if (off > (rounded ? 5000000u : 0u)) fail_msg("%s: %llu parameters", e->name, (unsigned long long)m->n_params);
    if (e->active > 0 && fabs((double)m->n_params_active / 1e9 - e->active) >= 0.005)
        fail_msg("%s: %llu active parameters", e->name, (unsigned long long)m->n_params_active);
    if (!shape->n_experts) assert_int_equal(m->n_params_active, m->n_params - (uint64_t)m->n_embd * m->n_vocab);
    assert_int_equal(m->cache_values_per_token, e->cache_values);
    assert_int_equal(m->n_groups, e->n_groups);
    assert_int_equal(m->n_groups_used, e->n_groups_used);
    assert_string_equal(m->gate, e->gate);
    assert_string_equal(m->group_rule, e->group_rule);
    assert_int_equal(m->selection_bias, shape->v3);
    assert_int_equal(m->q_lora_rank, shape->q_rank);
    assert_string_equal(m->rope_scaling, shape->linear > 0 ? "linear" : shape->n_ctx > 16384 ? "yarn" : "none");
    assert_true(shape->latent || (float)m->rope_base == shape->theta);
    assert_int_equal(m->n_layers_skipped, 0);
}

/* False: no such file here. */
static bool inspect(smt_big_shape shape, const expected *e, uint32_t n_tensors) {
    char path[1024];
    smt_error err = {0};
    smt_file *file;
    smt_model_info model;
    shape.type = SMT_DTYPE_IQ1_S; /* the smallest there is: even 671 billion stay within the limits of file systems */
    snprintf(path, sizeof path, "%s/test_model_sizes-%ld.gguf", SMT_TEST_WORK, (long)getpid());
    bool made = smt_big_write(&shape, path);
    if (made) {
        SMT_ASSERT_OK(smt_file_open(path, &file, &err), &err);
        SMT_ASSERT_OK(smt_file_model(file, &model, &err), &err);
        if (n_tensors) assert_int_equal(smt_file_tensor_count(file), n_tensors);
        check(&shape, e, &model);
        /* of all of them, the one of 236 billion was not trained to fill in */
        assert_int_equal(smt_fim_notice(file) != NULL, !strcmp(shape.name, "V2"));
        smt_file_free(file);
    }
    remove(path);
    return made;
}

static void test_models(void **state) {
    (void)state;
    size_t n = 0;
    for (; smt_big_models[n].name; n++) {
        const expected *e = find(smt_big_models[n].name);
        if (!inspect(smt_big_models[n], e, e->n_tensors)) skip();
    }
    assert_int_equal(n, SMT_COUNT(models));
}

/* Files from 2025 on have one tensor more a layer, and the same numbers. */
static void test_split_expansion(void **state) {
    (void)state;
    const struct {
        const smt_big_shape *shape;
        uint32_t n_tensors;
    } cases[] = {{&smt_big_v2_lite, 404}, {&smt_big_v2, 1019}, {&smt_big_v3, 1086}};
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_big_shape shape = *cases[i].shape;
        shape.split = true;
        if (!inspect(shape, find(shape.name), cases[i].n_tensors)) skip();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models), cmocka_unit_test(test_split_expansion)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
