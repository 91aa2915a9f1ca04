/* test_kernel_swiglu.c: silu(gate) * up, for dense rows and for the entries of experts. */
#include "kernel_support.h"

#include "ref/ref.h"

static void check_swiglu(smt_lab *lab, uint32_t n, uint32_t n_rows, uint32_t per_entry) {
    smt_test_random random = {.state = n};
    uint32_t stride = (uint32_t)smt_align_up(n, 4) + 4, rows = n_rows * per_entry, words = stride * (rows + per_entry);
    const struct swiglu_params p = {.n = n, .stride = stride, .per_entry = per_entry};
    smt_lab_begin(lab, SMT_LAB_FULL, &(smt_kernel_key){.kernel = SMT_KERNEL_SWIGLU, .windows = 1});
    float *gate = smt_lab_buffer(lab, 1, 4ull * words), *up = smt_lab_buffer(lab, 2, 4ull * words);
    float *y = smt_lab_output(lab, 3, words), *expected = smt_lab_image(words);
    smt_lab_fill(&random, gate, rows, stride, n);
    smt_lab_fill(&random, up, rows, stride, n);
    smt_lab_step(lab, 4, n_rows, 0, n_rows + 1);
    smt_lab_run(lab, &p, smt_div_up(n, 64), rows + per_entry, 1);
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t i = r * stride; i < r * stride + n; i++) expected[i] = smt_ref_silu(gate[i]) * up[i];
    smt_lab_same("swiglu", y, expected, words);
    smt_free(expected);
}

static void test_swiglu(void **state) {
    check_swiglu(*state, 1, 1, 1);
    check_swiglu(*state, 65, 3, 1);
    check_swiglu(*state, 172, 4, 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_swiglu)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
