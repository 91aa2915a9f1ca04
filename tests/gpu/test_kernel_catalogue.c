/* test_kernel_catalogue.c: every row of the catalogue compiles on the driver under test, with and without its optional features,
 * and the catalogue holds no row twice. By default a few matmuls and embeds are compiled, spread over types, columns and forms. */
#include "kernel_support.h"

#include "run/run.h"

/* One kernel of a type in `sparse`, a number prime to the lengths of the catalogue. */
static void compile_all(smt_lab *lab, smt_lab_mode mode, uint32_t sparse) {
    smt_vk_device *device = lab->devices[mode];
    smt_kernel_key key;
    uint32_t n = 0, compiled = 0;
    for (; smt_kernel_catalogue(smt_vk_device_caps(device), n, &key); n++) {
        if (!lab->thorough && smt_kernel_decodes(key.kernel) && n % sparse) continue;
        smt_kernel_spec spec;
        smt_vk_kernel *kernel;
        smt_error err;
        smt_kernel_describe(smt_vk_device_caps(device), &key, &spec);
        SMT_ASSERT_OK(smt_run_kernel_compile(device, &spec, false, &kernel, &err), &err);
        smt_vk_kernel_destroy(device, kernel);
        compiled++;
    }
    assert_true(n > 700 && compiled > 25);
}

static void test_full(void **state) { compile_all(*state, SMT_LAB_FULL, 37); }
static void test_minimum(void **state) { compile_all(*state, SMT_LAB_MINIMUM, 73); }

static void test_distinct(void **state) {
    const smt_lab *lab = *state;
    const smt_caps *caps = smt_vk_device_caps(lab->devices[SMT_LAB_OTHER]);
    smt_kernel_key a, b;
    bool seen[SMT_KERNEL_COUNT] = {false};
    uint32_t typed[SMT_DTYPE_LIMIT] = {0};
    for (uint32_t i = 0; smt_kernel_catalogue(caps, i, &a); i++) {
        seen[a.kernel] = true;
        typed[a.type] += smt_kernel_decodes(a.kernel);
        for (uint32_t j = 0; j < i && smt_kernel_catalogue(caps, j, &b); j++) assert_false(smt_kernel_equal(&a, &b));
    }
    /* a type that runs has all its kernels there: embed, 5 for a single row, 8 of matmul for each number of columns, 4 or 6; those of the
     * GPU family with integer products once more, but for embed and 3 of the 5 */
    uint32_t least = caps->family == SMT_FAMILY_WAVE ? 54 : 38;
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++)
        if (smt_dtype_get(id) && smt_dtype_get(id)->runs)
            assert_in_range(typed[id], least + (smt_kernel_fast(caps, (smt_dtype)id) ? 50 : 0), 110);
        else
            assert_int_equal(typed[id], 0);
    for (uint32_t k = 0; k < SMT_KERNEL_COUNT; k++)
        if (!seen[k]) fail_msg("the catalogue has no row of kernel %s", smt_kernel_name(k));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_distinct), cmocka_unit_test(test_full),
                                       cmocka_unit_test(test_minimum)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
