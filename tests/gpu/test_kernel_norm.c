/* test_kernel_norm.c: the root-mean-square norm, over all rows of a step or over the list of wanted ones. The sum of squares runs
 * in another order than the reference's, hence a bound and not bits. */
#include "kernel_support.h"

#include "ref/ref.h"

static void check_norm(smt_lab *lab, uint32_t k, bool list) {
    enum { N_ROWS = 5, N_OUT = 3 };
    static const uint32_t wanted[N_OUT] = {4, 0, 2};
    smt_test_random random = {.state = k};
    uint32_t n = list ? N_OUT : N_ROWS, x_stride = (uint32_t)smt_align_up(k, 4) + 4, y_stride = x_stride + 4,
             words = y_stride * (n + 2);
    const struct norm_params p = {.w_off16 = 1,
                                  .k = k,
                                  .x_stride = x_stride,
                                  .y_stride = y_stride,
                                  .use_list = list,
                                  .count_word = list ? STEP_N_OUT : STEP_N_ROWS,
                                  .eps = 1e-2f}; /* great enough to be seen */
    smt_lab_begin(lab, SMT_LAB_FULL, &(smt_kernel_key){.kernel = SMT_KERNEL_NORM, .windows = 1});
    float *weight = (float *)smt_lab_window(lab, 16 + 4 * (size_t)k) + 4, *x = smt_lab_buffer(lab, 1, 4ull * x_stride * N_ROWS);
    float *y = smt_lab_output(lab, 2, words), *expected = smt_lab_image(words);
    smt_lab_fill(&random, weight, 1, k, k);
    smt_lab_fill(&random, x, N_ROWS, x_stride, k);
    uint32_t *step = smt_lab_step(lab, 3, N_ROWS, N_OUT, N_ROWS + 2);
    for (uint32_t r = 0; r < N_OUT; r++) smt_lab_step_set(step, STEP_ARRAY_OUT, r, wanted[r]);
    smt_lab_run(lab, &p, n + 2, 1, 1);
    for (uint32_t r = 0; r < n; r++)
        smt_ref_rmsnorm(x + (list ? wanted[r] : r) * x_stride, weight, p.eps, expected + r * y_stride, k);
    smt_lab_close("norm", y, expected, words, 1e-6);
    smt_free(expected);
}

static const uint32_t lengths[] = {1, 63, 64, 172, 2048};

static void test_rows(void **state) {
    for (size_t i = 0; i < SMT_COUNT(lengths); i++) check_norm(*state, lengths[i], false);
}

static void test_list(void **state) {
    for (size_t i = 0; i < SMT_COUNT(lengths); i++) check_norm(*state, lengths[i], true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_list)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
