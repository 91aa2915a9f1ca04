/* test_gguf_fault.c: the Nth allocation of opening a file and describing its model fails, for every N: SMT_MEMORY each time,
 * nothing left behind (the sanitizer build sees leaks), and success at the first N beyond the last allocation. */
#include "model/model.h"
#include "support.h"

static smt_status open_and_describe(const char *path, smt_error *err) {
    smt_gguf *gguf;
    smt_model *model;
    SMT_TRY(smt_gguf_open(path, &gguf, err));
    smt_status status = smt_model_create(gguf, &model, err);
    assert_true((status == SMT_OK) == (model != NULL));
    smt_model_free(model);
    smt_gguf_free(gguf);
    return status;
}

static void fail_every_allocation(const char *path) {
    for (uint64_t n = 1;; n++) {
        smt_error err = {0};
        assert_true(n < 10000);
        smt_mem_fail_after(n);
        smt_status status = open_and_describe(path, &err);
        smt_mem_fail_after(0);
        if (status == SMT_OK) {
            assert_true(n > 10); /* several allocations did fail before */
            return;
        }
        assert_int_equal(status, SMT_MEMORY);
        assert_int_equal(err.code, SMT_MEMORY);
        assert_true(err.message[0] != 0);
    }
}

static void test_deepseek2(void **state) {
    (void)state;
    fail_every_allocation(smt_test_data("g-v2.f16.gguf"));
}

static void test_llama(void **state) {
    (void)state;
    fail_every_allocation(smt_test_data("g-llama2.f16.gguf"));
}

/* Experts beside plain attention; divisors and biases. */
static void test_family(void **state) {
    (void)state;
    fail_every_allocation(smt_test_data("t-moe.f16.gguf"));
    fail_every_allocation(smt_test_data("t-llama3.f16.gguf"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_deepseek2), cmocka_unit_test(test_llama),
                                       cmocka_unit_test(test_family)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
