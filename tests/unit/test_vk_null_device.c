/* test_vk_null_device.c: AMD's compiler without AMD's hardware: a device with zero memory heaps can be listed, made, and asked to
 * compile kernels and tell their statistics; it refuses everything that needs memory. Skipped where RADV is not installed. */
#include "vk_support.h"

#include <unistd.h>

static const char text[] = "layout(local_size_x = SMT_GROUP_X) in;\n"
                           "layout(set = 0, binding = 0) readonly buffer Window { uvec4 v[]; } W[SMT_WINDOWS];\n"
                           "layout(set = 0, binding = 1) buffer Out { uint out_[]; };\n"
                           "layout(push_constant) uniform Push { uint n; };\n"
                           "shared uint part[64];\n"
                           "void main() {\n"
                           "    uint i = gl_GlobalInvocationID.x;\n"
                           "    part[i % 64] = W[n].v[i].x;\n"
                           "    barrier();\n"
                           "    out_[i] = part[(i + 1) % 64] + SMT_SUBGROUP;\n"
                           "}\n";

static bool have_driver(void) {
    const char *const manifests[] = {"/usr/share/vulkan/icd.d/radeon_icd.x86_64.json", "/usr/share/vulkan/icd.d/radeon_icd.json"};
    for (size_t i = 0; i < SMT_COUNT(manifests); i++) {
        if (access(manifests[i], R_OK) != 0) continue;
        setenv("VK_ICD_FILENAMES", manifests[i], 1);
        setenv("VK_DRIVER_FILES", manifests[i], 1);
        setenv("RADV_FORCE_FAMILY", "navi21", 1);
        setenv("MESA_SHADER_CACHE_DISABLE", "true", 1); /* statistics come from compiling */
        return true;
    }
    return false;
}

static void check_kernel(const smt_vk_fixture *f) {
    smt_vk_kernel_desc desc = {
        .source = "null.comp", .label = "null x16", .n_windows = 16, .group_size = {64, 1, 1}, .push_bytes = 4};
    smt_vk_kernel *kernel;
    smt_vk_kernel_stats stats;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_kernel_create(f->device, &desc, true, &kernel, &err), &err);
    smt_vk_kernel_get_stats(kernel, &stats);
    assert_true(stats.vgprs > 0 && stats.spills == 0 && stats.lds >= 256 && stats.occupancy > 0);
    assert_true(stats.inverse_throughput > 0);
    smt_vk_kernel_destroy(f->device, kernel);
    SMT_ASSERT_OK(smt_vk_kernel_create(f->device, &desc, false, &kernel, &err), &err);
    smt_vk_kernel_get_stats(kernel, &stats);
    assert_true(stats.vgprs < 0 && stats.compile_ms > 0); /* not asked for: unknown */
    smt_vk_kernel_destroy(f->device, kernel);
}

static void test_compiles(void **state) {
    (void)state;
    smt_vk_fixture f = {0};
    if (!have_driver()) skip();
    f.vk = smt_vk_test_open();
    f.caps = smt_vk_caps(f.vk, 0);
    assert_int_equal(f.caps->n_heaps, 0);
    char lacks[200];
    assert_non_null(smt_caps_lacks(f.caps, lacks, sizeof lacks));
    assert_non_null(strstr(lacks, "heaps"));
    smt_vk_test_folder(f.folder, sizeof f.folder);
    smt_vk_test_shader(&f, "null.comp", text);
    smt_vk_device_options options = {.shader_dir = f.folder};
    smt_error err;
    SMT_ASSERT_OK(smt_vk_device_create(f.vk, 0, &options, &f.device, &err), &err);
    check_kernel(&f);
    smt_vk_buffer *buffer;
    smt_vk_recording *recording;
    assert_int_equal(smt_vk_buffer_create(f.device, 0, 16, "none", &buffer, &err), SMT_INVALID);
    assert_int_equal(smt_vk_recording_begin(f.device, "none", &recording, &err), SMT_UNSUPPORTED);
    assert_int_equal(smt_vk_reached(f.device), 0);
    smt_vk_device_destroy(f.device);
    assert_int_equal(smt_vk_message_count(f.vk), 0);
    smt_vk_close(f.vk);
    smt_vk_test_remove(f.folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_compiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
