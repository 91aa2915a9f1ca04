/* test_kernel_catalogue.c: every row of the catalogue compiles on the driver under test, with and without its optional features,
 * and the catalogue holds no row twice. By default a few matmuls are compiled, spread over types, columns and forms. */
#include "kernel_support.h"

#include "run/run.h"

/* One matmul in `sparse`, a number prime to the lengths of the catalogue. */
static void compile_all(smt_lab *lab, smt_lab_mode mode, uint32_t sparse) {
    smt_vk_device *device = lab->devices[mode];
    smt_kernel_key key;
    uint32_t n = 0, compiled = 0;
    for (; smt_kernel_catalogue(n, &key); n++) {
        if (!lab->thorough && key.kernel == SMT_KERNEL_MATMUL && n % sparse) continue;
        smt_kernel_spec spec;
        smt_vk_kernel *kernel;
        smt_error err;
        smt_kernel_describe(smt_vk_device_caps(device), &key, &spec);
        SMT_ASSERT_OK(smt_run_kernel_compile(device, &spec, false, &kernel, &err), &err);
        smt_vk_kernel_destroy(device, kernel);
        compiled++;
    }
    assert_true(n > 200 && compiled > 30);
}

static void test_full(void **state) { compile_all(*state, SMT_LAB_FULL, 13); }
static void test_minimum(void **state) { compile_all(*state, SMT_LAB_MINIMUM, 37); }

static void test_distinct(void **state) {
    (void)state;
    smt_kernel_key a, b;
    bool seen[SMT_KERNEL_COUNT] = {false};
    for (uint32_t i = 0; smt_kernel_catalogue(i, &a); i++) {
        seen[a.kernel] = true;
        for (uint32_t j = 0; j < i && smt_kernel_catalogue(j, &b); j++) assert_false(smt_kernel_equal(&a, &b));
    }
    for (uint32_t k = 0; k < SMT_KERNEL_COUNT; k++)
        if (!seen[k]) fail_msg("the catalogue has no row of kernel %s", smt_kernel_name(k));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distinct), cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_minimum)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
