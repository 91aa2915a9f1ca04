/* test_model_sizes.c: the released models in full size, as files whose tensors are holes: parameters, active parameters, cache
 * and assumed groups agree with the published figures to the last digit. Skipped where a file cannot have holes. */
#include "big_model.h"
#include "support.h"

#include <math.h>

typedef struct expected {
    uint64_t n_tensors, n_params;
    double active_billions; /* two decimals */
    uint64_t cache_values;
    uint32_t n_groups, n_groups_used;
    smt_group_rule rule;
} expected;

static void check(const smt_big_shape *shape, const expected *e) {
    smt_error err = {0};
    smt_gguf *gguf;
    smt_model *model;
    /* the smallest type there is, so that even 671 billion parameters stay within the limits of file systems */
    smt_big_shape small = *shape;
    small.type = SMT_DTYPE_IQ1_S;
    if (!smt_big_open(&small, &gguf)) skip();
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
    check(&smt_big_v2_lite, &(expected){377, 15706484224, 2.45, 15552, 1, 1, SMT_GROUP_BEST});
}

static void test_v2(void **state) {
    (void)state;
    check(&smt_big_v2, &(expected){959, 235741434880, 20.85, 34560, 8, 3, SMT_GROUP_BEST});
}

static void test_v3(void **state) {
    (void)state;
    check(&smt_big_v3, &(expected){1025, 671026419200, 36.63, 35136, 8, 4, SMT_GROUP_TOP2});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_v2_lite), cmocka_unit_test(test_v2), cmocka_unit_test(test_v3)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
