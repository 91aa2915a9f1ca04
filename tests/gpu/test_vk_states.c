/* test_vk_states.c: a device forced down to the minimum, a lost device, validation that is awake, and host memory that runs
 * out at any point of opening, compiling and recording. */
#include "vk_support.h"

#include "vk/vk_internal.h"

static const char subgroup_text[] = "#if SMT_SUBGROUP\n"
                                    "#extension GL_KHR_shader_subgroup_ballot : require\n"
                                    "#endif\n"
                                    "layout(local_size_x = SMT_GROUP_X) in;\n"
                                    "layout(set = 0, binding = 1) writeonly buffer Out { uint out_[]; };\n"
                                    "void main() {\n"
                                    "#if SMT_SUBGROUP\n"
                                    "    out_[gl_GlobalInvocationID.x] = gl_SubgroupSize;\n"
                                    "#else\n"
                                    "    out_[gl_GlobalInvocationID.x] = 1000;\n"
                                    "#endif\n"
                                    "}\n";

static uint32_t run_subgroup(const smt_vk_fixture *f) {
    smt_vk_test_shader(f, "subgroup.comp", subgroup_text);
    smt_vk_kernel *kernel = smt_vk_test_kernel(f, "subgroup.comp", 1, 0);
    smt_vk_buffer *buffer = smt_vk_test_buffer(f, 256, "sizes");
    smt_vk_range range = smt_vk_test_whole(buffer);
    smt_vk_recording *recording;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "sizes", &recording, &err), &err);
    smt_vk_dispatch dispatch = {.kernel = kernel, .buffers = &range, .n_buffers = 1, .groups = {1, 1, 1}};
    SMT_ASSERT_OK(smt_vk_record_dispatch(recording, &dispatch, &err), &err);
    smt_vk_test_run(f, recording);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, buffer, 0, 256, &err), &err);
    uint32_t size = ((const uint32_t *)smt_vk_buffer_map(buffer))[63];
    smt_vk_kernel_destroy(f->device, kernel);
    smt_vk_buffer_destroy(f->device, buffer);
    return size;
}

/* What a shader is told of its subgroup is what it runs with. */
static void test_subgroup_size(void **state) {
    const smt_vk_fixture *f = *state;
    assert_int_equal(run_subgroup(f), f->caps->subgroup_ballot ? f->caps->subgroup_min : 1000);
}

static void test_minimum(void **state) {
    smt_vk_fixture f = *(const smt_vk_fixture *)*state;
    smt_vk_device_options options = {.minimum = true, .shader_dir = f.folder};
    smt_error err;
    SMT_ASSERT_OK(smt_vk_device_create(f.vk, 0, &options, &f.device, &err), &err);
    f.caps = smt_vk_device_caps(f.device);
    assert_false(f.caps->subgroup_ballot || f.caps->fp16 || f.caps->storage16 || f.caps->int64);
    assert_int_equal(run_subgroup(&f), 1000);
    smt_vk_device_destroy(f.device);
}

static void test_loss_is_sticky(void **state) {
    smt_vk_fixture f = *(const smt_vk_fixture *)*state;
    smt_vk_device_options options = {.shader_dir = f.folder};
    smt_error err;
    SMT_ASSERT_OK(smt_vk_device_create(f.vk, 0, &options, &f.device, &err), &err);
    smt_vk_recording *recording, *other;
    SMT_ASSERT_OK(smt_vk_recording_begin(f.device, "before", &recording, &err), &err);
    SMT_ASSERT_OK(smt_vk_recording_end(recording, &err), &err);
    const int lost = -4; /* VK_ERROR_DEVICE_LOST */
    assert_int_equal(SMT_VK_FAIL(f.device, &err, lost, "step %d", 7), SMT_DEVICE_LOST);
    assert_int_equal(SMT_VK_FAIL(f.device, &err, lost, "step %d", 8), SMT_DEVICE_LOST);
    uint64_t value;
    assert_int_equal(smt_vk_submit(f.device, recording, &value, &err), SMT_DEVICE_LOST);
    assert_string_equal(err.message, "step 7: VK_ERROR_DEVICE_LOST (-4); nothing was submitted to vk0"); /* the first cause */
    assert_int_equal(smt_vk_wait(f.device, 0, 0, &err), SMT_DEVICE_LOST);
    assert_int_equal(smt_vk_recording_begin(f.device, "after", &other, &err), SMT_DEVICE_LOST);
    smt_vk_kernel_desc desc = {.source = "subgroup.comp", .label = "late", .n_windows = 1, .group_size = {64, 1, 1}};
    smt_vk_kernel *kernel;
    assert_int_equal(smt_vk_kernel_create(f.device, &desc, false, &kernel, &err), SMT_DEVICE_LOST);
    smt_vk_recording_destroy(f.device, recording);
    smt_vk_device_destroy(f.device);
}

/* ---- validation ---- */

static void note_layer(void *user, smt_log_level level, const char *text) {
    bool *absent = user;
    if (level == SMT_LOG_WARN && strstr(text, "not installed")) *absent = true;
}

/* Two fills of one range without a barrier between: a silent layer would make every other test's silence worthless. */
static void test_validation_is_awake(void **state) {
    smt_vk_fixture f = *(const smt_vk_fixture *)*state;
    bool absent = false;
    smt_vk_options options = {.validation = true, .callbacks = {.user = &absent, .log = note_layer}};
    smt_error err;
    SMT_ASSERT_OK(smt_vk_open(&options, &f.vk, &err), &err);
    SMT_ASSERT_OK(smt_vk_device_create(f.vk, 0, NULL, &f.device, &err), &err);
    smt_vk_buffer *buffer = smt_vk_test_buffer(&f, 256, "raced");
    smt_vk_range range = smt_vk_test_whole(buffer);
    smt_vk_recording *recording;
    SMT_ASSERT_OK(smt_vk_recording_begin(f.device, "raced", &recording, &err), &err);
    smt_vk_record_fill(recording, &range, 1);
    smt_vk_record_barrier(recording);
    smt_vk_record_fill(recording, &range, 2);
    assert_int_equal(smt_vk_message_count(f.vk), 0);
    smt_vk_record_fill(recording, &range, 3);
    if (!absent) assert_true(smt_vk_message_count(f.vk) > 0);
    SMT_ASSERT_OK(smt_vk_recording_end(recording, &err), &err);
    smt_vk_recording_destroy(f.device, recording);
    smt_vk_buffer_destroy(f.device, buffer);
    smt_vk_device_destroy(f.device);
    smt_vk_close(f.vk);
    if (absent) skip();
}

/* ---- running out of host memory ---- */

static smt_status use_device(smt_vk_device *device, const smt_caps *caps, smt_error *err) {
    smt_vk_kernel_desc desc = {.source = "subgroup.comp", .label = "fault", .n_windows = 1, .group_size = {64, 1, 1}};
    smt_vk_kernel *kernel = NULL;
    smt_vk_buffer *buffer = NULL;
    smt_vk_recording *recording = NULL;
    uint64_t value;
    smt_status status = smt_vk_kernel_create(device, &desc, false, &kernel, err);
    if (status == SMT_OK)
        status = smt_vk_buffer_create(device, smt_caps_find_memory(caps, SMT_MEM_HOST, 0), 256, "fault", &buffer, err);
    if (status == SMT_OK) status = smt_vk_recording_begin(device, "fault", &recording, err);
    smt_vk_range range = {buffer, 0, 256};
    smt_vk_dispatch dispatch = {.kernel = kernel, .buffers = &range, .n_buffers = 1, .groups = {1, 1, 1}};
    if (status == SMT_OK) status = smt_vk_record_dispatch(recording, &dispatch, err);
    if (status == SMT_OK) status = smt_vk_recording_end(recording, err);
    if (status == SMT_OK) status = smt_vk_submit(device, recording, &value, err);
    if (status == SMT_OK) status = smt_vk_wait(device, value, UINT64_C(60000000000), err);
    smt_vk_recording_destroy(device, recording);
    smt_vk_buffer_destroy(device, buffer);
    smt_vk_kernel_destroy(device, kernel);
    return status;
}

static smt_status open_and_use(const smt_vk_device_options *options, smt_error *err) {
    smt_vk *vk = NULL;
    smt_vk_device *device = NULL;
    smt_status status = smt_vk_open(NULL, &vk, err);
    if (status == SMT_OK) status = smt_vk_device_create(vk, 0, options, &device, err);
    if (status == SMT_OK) status = use_device(device, smt_vk_device_caps(device), err);
    smt_vk_device_destroy(device);
    smt_vk_close(vk);
    return status;
}

static void test_every_allocation(void **state) {
    const smt_vk_fixture *f = *state;
    char cache[256];
    smt_vk_test_folder(cache, sizeof cache);
    smt_vk_test_shader(f, "subgroup.comp", subgroup_text);
    smt_vk_device_options options = {.shader_dir = f->folder, .cache_dir = cache};
    int failures = 0, successes = 0; /* in a row; a failure to read or write the cache is no failure of the call */
    for (uint64_t n = 1; successes < 12; n++) {
        smt_error err = {0};
        smt_mem_fail_after(n);
        smt_status status = open_and_use(&options, &err);
        smt_mem_fail_after(0);
        if (status != SMT_OK && status != SMT_MEMORY) fail_msg("allocation %d: %s", (int)n, err.message);
        if (status != SMT_OK) assert_true(err.message[0] != 0);
        failures += status != SMT_OK;
        successes = status == SMT_OK ? successes + 1 : 0;
    }
    assert_true(failures > 15);
    smt_vk_test_remove(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_subgroup_size),    cmocka_unit_test(test_minimum),
        cmocka_unit_test(test_loss_is_sticky),   cmocka_unit_test(test_validation_is_awake),
        cmocka_unit_test(test_every_allocation),
    };
    return cmocka_run_group_tests(tests, smt_vk_test_setup, smt_vk_test_teardown);
}
