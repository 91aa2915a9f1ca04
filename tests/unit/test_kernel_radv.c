/* test_kernel_radv.c: the catalogue through AMD's compiler without AMD's hardware: every row compiles, and none spills registers.
 * Skipped where RADV is not installed. By default one matmul in 37 (prime to the lengths of the catalogue); with SMT_TEST_FULL each on one
 * of three families, so that each type and each number of columns is seen on all of them. Under a sanitizer, which does not look into the
 * compilers, one family. */
#include "kernel_support.h"

#include "kernel/kernel.h"
#include "run/run.h"

#include <unistd.h>

static bool choose_family(const char *family) {
    const char *const manifests[] = {"/usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "/usr/share/vulkan/icd.d/radeon_icd.json"};
    for (size_t i = 0; i < SMT_COUNT(manifests); i++) {
        if (access(manifests[i], R_OK) != 0) continue;
        setenv("VK_ICD_FILENAMES", manifests[i], 1);
        setenv("VK_DRIVER_FILES", manifests[i], 1);
        setenv("RADV_FORCE_FAMILY", family, 1);
        setenv("MESA_SHADER_CACHE_DISABLE", "true", 1); /* statistics come from compiling */
        return true;
    }
    return false;
}

static bool thorough(void) {
    const char *text = getenv("SMT_TEST_FULL");
    return text && *text && strcmp(text, "0") != 0;
}

static void check_row(smt_vk_device *device, const smt_kernel_key *key, const char *family) {
    smt_kernel_spec spec;
    smt_vk_kernel_stats stats;
    smt_test_kernel_stats(device, key, &spec, &stats);
    if (stats.spills != 0) fail_msg("%s on %s: %g registers spilled of %g", spec.label, family, stats.spills, stats.vgprs);
}

/* Whether it is the turn of a row that decodes in family number 0, 1 or 2; the widest tiles are in the first one's catalogue only. */
static bool has_turn(const smt_kernel_key *key, uint32_t index, uint32_t family) {
    if (!thorough()) return index % 37 == 0;
    if (key->columns == 64) return true;
    return (key->type + key->columns + key->windows + key->gated + key->fast) % 3 == family;
}

static void check_family(uint32_t number, const char *family) {
    if ((SMT_TEST_SANITIZED && number > 0) || !choose_family(family)) skip();
    smt_vk *vk = smt_vk_test_open();
    smt_vk_device *device;
    smt_vk_device_options options = {0};
    smt_error err;
    SMT_ASSERT_OK(smt_vk_device_create(vk, 0, &options, &device, &err), &err);
    smt_kernel_key key;
    for (uint32_t i = 0; smt_kernel_catalogue(smt_vk_device_caps(device), i, &key); i++)
        if (!smt_kernel_decodes(key.kernel) || has_turn(&key, i, number)) check_row(device, &key, family);
    smt_vk_device_destroy(device);
    assert_int_equal(smt_vk_message_count(vk), 0);
    smt_vk_close(vk);
}

static void test_navi21(void **state) {
    (void)state;
    check_family(0, "navi21");
}

static void test_vega10(void **state) {
    (void)state;
    check_family(1, "vega10");
}

static void test_polaris10(void **state) {
    (void)state;
    check_family(2, "polaris10");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_navi21), cmocka_unit_test(test_vega10),
                                       cmocka_unit_test(test_polaris10)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
