/* test_ref_fault.c: the reference when memory runs out or the caller asks for the impossible, and that decoding weights
 * beforehand changes no bit. */
#include "support.h"

#include "ref/ref.h"

static smt_gguf *file;
static smt_model *model;

static int open_model(void **state) {
    (void)state;
    smt_error err;
    SMT_ASSERT_OK(smt_gguf_open(smt_test_data("g-v2.f16.gguf"), &file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(file, &model, &err), &err);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    smt_model_free(model);
    smt_gguf_free(file);
    return 0;
}

/* Every allocation of creation and of a step fails once; the sanitizer sees what leaks. */
static void test_no_memory(void **state) {
    (void)state;
    smt_error err;
    smt_ref *ref = NULL;
    uint64_t n = 0;
    for (smt_status status = SMT_MEMORY; status; assert_true(n < 1000)) {
        smt_mem_fail_after(++n);
        status = smt_ref_create(model, 4, &ref, &err);
        smt_mem_fail_after(0);
        assert_true(status == SMT_OK || status == SMT_MEMORY);
        assert_true((status == SMT_OK) == (ref != NULL));
    }
    assert_true(n > 20);
    smt_ref_free(ref);
    SMT_ASSERT_OK(smt_ref_create_within(model, 4, 0, &ref, &err), &err);
    smt_mem_fail_after(5);
    assert_int_equal(smt_ref_step(ref, 1, 0, NULL, NULL, NULL, NULL, &err), SMT_MEMORY);
    smt_mem_fail_after(0);
    SMT_ASSERT_OK(smt_ref_step(ref, 1, 0, NULL, NULL, NULL, NULL, &err), &err);
    smt_ref_free(ref);
    smt_ref_free(NULL);
}

static void test_limits(void **state) {
    (void)state;
    smt_error err;
    smt_ref *ref;
    SMT_ASSERT_OK(smt_ref_create(model, 1, &ref, &err), &err);
    assert_int_equal(smt_ref_step(ref, -1, 0, NULL, NULL, NULL, NULL, &err), SMT_INVALID);
    assert_int_equal(smt_ref_step(ref, (int32_t)model->n_vocab, 0, NULL, NULL, NULL, NULL, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "512"));
    SMT_ASSERT_OK(smt_ref_step(ref, 1, 0, NULL, NULL, NULL, NULL, &err), &err);
    assert_int_equal(smt_ref_step(ref, 1, 1, NULL, NULL, NULL, NULL, &err), SMT_FULL);
    smt_ref_free(ref);
}

/* With biases, too: they are read where norms are. */
static void check_row_by_row(const smt_model *m) {
    enum { STEPS = 3 };
    smt_error err;
    smt_ref *whole, *rows;
    float *a = smt_alloc(m->n_vocab, sizeof *a), *b = smt_alloc(m->n_vocab, sizeof *b);
    SMT_ASSERT_OK(smt_ref_create(m, STEPS, &whole, &err), &err);
    SMT_ASSERT_OK(smt_ref_create_within(m, STEPS, 0, &rows, &err), &err);
    for (int32_t t = 0; t < STEPS; t++) {
        SMT_ASSERT_OK(smt_ref_step(whole, 7 * t + 3, t, a, NULL, NULL, NULL, &err), &err);
        SMT_ASSERT_OK(smt_ref_step(rows, 7 * t + 3, t, b, NULL, NULL, NULL, &err), &err);
        assert_memory_equal(a, b, m->n_vocab * sizeof *a);
    }
    smt_ref_free(whole);
    smt_ref_free(rows);
    smt_free(a);
    smt_free(b);
}

static void test_row_by_row(void **state) {
    (void)state;
    smt_error err;
    smt_gguf *biased_file;
    smt_model *biased;
    check_row_by_row(model);
    SMT_ASSERT_OK(smt_gguf_open(smt_test_data("t-llama3.f16.gguf"), &biased_file, &err), &err);
    SMT_ASSERT_OK(smt_model_create(biased_file, &biased, &err), &err);
    check_row_by_row(biased);
    smt_model_free(biased);
    smt_gguf_free(biased_file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_row_by_row),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
