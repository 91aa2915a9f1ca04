/* test_vk_open.c: systems without Vulkan, and the names of results. */
#include "support.h"

#include "vk/vk_internal.h"

static void test_no_loader(void **state) {
    (void)state;
    smt_vk_options options = {0};
    smt_vk *vk = (smt_vk *)&options;
    smt_error err;
    assert_int_equal(smt_vk_open_library("libvulkan-is-not-here.so.1", &options, &vk, &err), SMT_NO_VULKAN);
    assert_null(vk);
    assert_string_equal(err.message, "the Vulkan loader (libvulkan-is-not-here.so.1) is not installed");
    assert_int_equal(smt_vk_open_library("libvulkan-is-not-here.so.1", NULL, &vk, NULL), SMT_NO_VULKAN);
}

static void test_another_library(void **state) {
    (void)state;
    smt_vk *vk;
    smt_error err;
    smt_status status = smt_vk_open_library("libm.so.6", NULL, &vk, &err);
    assert_int_equal(status, SMT_NO_VULKAN);
    assert_non_null(strstr(err.message, "the Vulkan loader"));
    assert_null(vk);
}

static void test_no_driver(void **state) {
    (void)state;
    setenv("VK_ICD_FILENAMES", "/nowhere/at/all.json", 1);
    setenv("VK_DRIVER_FILES", "/nowhere/at/all.json", 1);
    smt_vk *vk;
    smt_error err;
    smt_status status = smt_vk_open(NULL, &vk, &err);
    if (status == SMT_OK) { /* some loaders make an instance without a driver */
        assert_int_equal(smt_vk_count(vk), 0);
        smt_vk_close(vk);
        return;
    }
    assert_int_equal(status, SMT_NO_VULKAN);
    assert_null(vk);
    assert_non_null(strstr(err.message, "Vulkan"));
}

static void test_results(void **state) {
    (void)state;
    const struct {
        int result;
        smt_status status;
        const char *words;
    } rows[] = {{-1, SMT_MEMORY, "vkThing of 3: VK_ERROR_OUT_OF_HOST_MEMORY (-1)"},
                {-2, SMT_DEVICE_MEMORY, "vkThing of 3: VK_ERROR_OUT_OF_DEVICE_MEMORY (-2)"},
                {-4, SMT_DEVICE_LOST, "vkThing of 3: VK_ERROR_DEVICE_LOST (-4)"},
                {-9, SMT_NO_VULKAN, "vkThing of 3: VK_ERROR_INCOMPATIBLE_DRIVER (-9)"},
                {-12345, SMT_VULKAN, "vkThing of 3: an unknown VkResult (-12345)"}};
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        smt_error err;
        assert_int_equal(SMT_VK_FAIL(NULL, &err, rows[i].result, "vkThing of %d", 3), rows[i].status);
        assert_int_equal(err.code, rows[i].status);
        assert_string_equal(err.message, rows[i].words);
    }
    smt_vk_close(NULL);
    smt_vk_device_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_loader),
        cmocka_unit_test(test_another_library),
        cmocka_unit_test(test_no_driver),
        cmocka_unit_test(test_results),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
