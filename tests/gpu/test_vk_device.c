/* test_vk_device.c: buffers, copies, fills, dispatches, barriers, indirect grids, timestamps and refusals on a real driver. */
#include "vk_support.h"

#define COUNT 4096

/* out[i] = in[i] * factor + i */
static const char scale_text[] = "layout(local_size_x = SMT_GROUP_X) in;\n"
                                 "layout(set = 0, binding = 1) readonly buffer In { uint in_[]; };\n"
                                 "layout(set = 0, binding = 2) writeonly buffer Out { uint out_[]; };\n"
                                 "layout(push_constant) uniform Push { uint n, factor; };\n"
                                 "void main() {\n"
                                 "    uint i = gl_GlobalInvocationID.x;\n"
                                 "    if (i < n) out_[i] = in_[i] * factor + i;\n"
                                 "}\n";
/* Writes a grid for the dispatch behind it: one workgroup per 64 of n. */
static const char grid_text[] = "layout(local_size_x = SMT_GROUP_X) in;\n"
                                "layout(set = 0, binding = 1) writeonly buffer Grid { uint grid[]; };\n"
                                "layout(push_constant) uniform Push { uint n; };\n"
                                "void main() {\n"
                                "    if (gl_GlobalInvocationID.x == 0) { grid[0] = (n + 63) / 64; grid[1] = 1; grid[2] = 1; }\n"
                                "}\n";

static smt_vk_dispatch scale(const smt_vk_kernel *kernel, const smt_vk_range buffers[2], const uint32_t push[2]) {
    return (smt_vk_dispatch){.kernel = kernel,
                             .buffers = buffers,
                             .n_buffers = 2,
                             .push = push,
                             .push_bytes = 8,
                             .groups = {(push[0] + 63) / 64, 1, 1}};
}

static void test_caps(void **state) {
    const smt_vk_fixture *f = *state;
    assert_string_equal(f->caps->id, "vk0");
    assert_true(f->caps->name[0] && f->caps->driver_name[0]);
    assert_int_equal(strlen(f->caps->uuid_text), 32);
    assert_true(f->caps->n_heaps > 0 && f->caps->heaps[0].bytes > 0 && f->caps->max_allocation > 0);
    assert_true(f->caps->timeline && f->caps->subgroup_size > 0);
    char text[200];
    assert_null(smt_caps_lacks(f->caps, text, sizeof text));
    assert_null(smt_vk_caps(f->vk, smt_vk_count(f->vk)));
}

static void test_copy_and_fill(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_buffer *a = smt_vk_test_buffer(f, COUNT * 4, "a"), *b = smt_vk_test_buffer(f, COUNT * 4, "b");
    uint32_t *words = smt_vk_buffer_map(a), *result = smt_vk_buffer_map(b);
    for (uint32_t i = 0; i < COUNT; i++) words[i] = i * 3;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_buffer_flush(f->device, a, 0, COUNT * 4, &err), &err);
    smt_vk_recording *recording;
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "copy", &recording, &err), &err);
    smt_vk_record_fill(recording, &(smt_vk_range){b, 0, COUNT * 4}, 0xabcdef01);
    smt_vk_record_barrier(recording);
    smt_vk_record_copy(recording, &(smt_vk_range){a, 400, 800}, &(smt_vk_range){b, 1200, 0});
    smt_vk_test_run(f, recording);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, b, 0, COUNT * 4, &err), &err);
    for (uint32_t i = 0; i < COUNT; i++) assert_int_equal(result[i], i >= 300 && i < 500 ? (i - 200) * 3 : 0xabcdef01);
    smt_vk_buffer_destroy(f->device, a);
    smt_vk_buffer_destroy(f->device, b);
}

/* A chain of dispatches in one recording, each reading what the one before wrote; enough of them for several pools. */
static void test_producer_consumer(void **state) {
    const smt_vk_fixture *f = *state;
    enum { STEPS = 201 };
    smt_vk_test_shader(f, "scale.comp", scale_text);
    smt_vk_kernel *kernel = smt_vk_test_kernel(f, "scale.comp", 1, 8);
    smt_vk_buffer *buffers[2] = {smt_vk_test_buffer(f, COUNT * 4, "ping"), smt_vk_test_buffer(f, COUNT * 4, "pong")};
    smt_vk_recording *recording;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "chain", &recording, &err), &err);
    uint32_t push[2] = {COUNT, 3};
    for (int step = 0; step < STEPS; step++) {
        smt_vk_range ranges[2] = {smt_vk_test_whole(buffers[step % 2]), smt_vk_test_whole(buffers[1 - step % 2])};
        smt_vk_dispatch dispatch = scale(kernel, ranges, push);
        SMT_ASSERT_OK(smt_vk_record_dispatch(recording, &dispatch, &err), &err);
        smt_vk_record_barrier(recording);
    }
    SMT_ASSERT_OK(smt_vk_recording_end(recording, &err), &err);
    uint64_t value, again;
    SMT_ASSERT_OK(smt_vk_submit(f->device, recording, &value, &err), &err);
    SMT_ASSERT_OK(smt_vk_wait(f->device, value, UINT64_C(60000000000), &err), &err);
    assert_true(smt_vk_reached(f->device) >= value);
    const uint32_t *result = smt_vk_buffer_map(buffers[STEPS % 2]);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, buffers[STEPS % 2], 0, COUNT * 4, &err), &err);
    for (uint32_t i = 0; i < COUNT; i += 7) {
        uint32_t want = 0;
        for (int step = 0; step < STEPS; step++) want = want * 3 + i;
        assert_int_equal(result[i], want);
    }
    /* The same recording once more, twice without a wait between: in order, one value each. */
    SMT_ASSERT_OK(smt_vk_submit(f->device, recording, &again, &err), &err);
    assert_int_equal(again, value + 1);
    SMT_ASSERT_OK(smt_vk_submit(f->device, recording, &again, &err), &err);
    SMT_ASSERT_OK(smt_vk_wait(f->device, again, UINT64_C(60000000000), &err), &err);
    smt_vk_recording_destroy(f->device, recording);
    smt_vk_kernel_destroy(f->device, kernel);
    for (int i = 0; i < 2; i++) smt_vk_buffer_destroy(f->device, buffers[i]);
}

static void test_indirect(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_test_shader(f, "scale.comp", scale_text);
    smt_vk_test_shader(f, "grid.comp", grid_text);
    smt_vk_kernel *kernel = smt_vk_test_kernel(f, "scale.comp", 1, 8), *grid = smt_vk_test_kernel(f, "grid.comp", 1, 4);
    smt_vk_buffer *in = smt_vk_test_buffer(f, COUNT * 4, "in"), *out = smt_vk_test_buffer(f, COUNT * 4, "out"),
                  *args = smt_vk_test_buffer(f, 1024, "grid");
    smt_vk_recording *recording;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "indirect", &recording, &err), &err);
    uint32_t n = 640, push[2] = {COUNT, 1};
    uint64_t offset = f->caps->storage_align;
    smt_vk_range grid_range = {args, offset, 12};
    SMT_ASSERT_OK(
        smt_vk_record_dispatch(
            recording,
            &(smt_vk_dispatch){
                .kernel = grid, .buffers = &grid_range, .n_buffers = 1, .push = &n, .push_bytes = 4, .groups = {1, 1, 1}},
            &err),
        &err);
    smt_vk_record_barrier(recording);
    smt_vk_range ranges[2] = {smt_vk_test_whole(in), smt_vk_test_whole(out)};
    smt_vk_dispatch dispatch = scale(kernel, ranges, push);
    dispatch.indirect = grid_range;
    SMT_ASSERT_OK(smt_vk_record_dispatch(recording, &dispatch, &err), &err);
    smt_vk_test_run(f, recording);
    const uint32_t *result = smt_vk_buffer_map(out);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, out, 0, COUNT * 4, &err), &err);
    for (uint32_t i = 0; i < COUNT; i++) assert_int_equal(result[i], i < n ? i : 0);
    smt_vk_kernel_destroy(f->device, kernel);
    smt_vk_kernel_destroy(f->device, grid);
    smt_vk_buffer_destroy(f->device, in);
    smt_vk_buffer_destroy(f->device, out);
    smt_vk_buffer_destroy(f->device, args);
}

static void test_timestamps(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_buffer *buffer = smt_vk_test_buffer(f, 1 << 20, "timed");
    smt_vk_recording *recording;
    smt_error err;
    double ns[2] = {0, 0};
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "timed", &recording, &err), &err);
    smt_vk_record_timestamp(recording, 0);
    smt_vk_record_fill(recording, &(smt_vk_range){buffer, 0, 1 << 20}, 7);
    smt_vk_record_barrier(recording);
    smt_vk_record_timestamp(recording, 1);
    SMT_ASSERT_OK(smt_vk_recording_end(recording, &err), &err);
    uint64_t value;
    SMT_ASSERT_OK(smt_vk_submit(f->device, recording, &value, &err), &err);
    SMT_ASSERT_OK(smt_vk_wait(f->device, value, UINT64_C(60000000000), &err), &err);
    if (f->caps->timestamp_ns > 0) {
        SMT_ASSERT_OK(smt_vk_recording_stamps(recording, 2, ns, &err), &err);
        assert_true(ns[1] >= ns[0] && ns[1] - ns[0] < 60e9);
        double three[3];
        assert_int_equal(smt_vk_recording_stamps(recording, 3, three, &err), SMT_INVALID); /* never written */
    } else {
        assert_int_equal(smt_vk_recording_stamps(recording, 2, ns, &err), SMT_UNSUPPORTED);
    }
    smt_vk_recording_destroy(f->device, recording);
    smt_vk_buffer_destroy(f->device, buffer);
}

static void test_buffer_refusals(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_buffer *buffer;
    smt_error err;
    assert_int_equal(smt_vk_buffer_create(f->device, f->host_type, 0, "zero", &buffer, &err), SMT_INVALID);
    assert_int_equal(smt_vk_buffer_create(f->device, 99, 16, "type", &buffer, &err), SMT_INVALID);
    assert_int_equal(smt_vk_buffer_create(f->device, f->host_type, UINT64_C(1) << 60, "huge", &buffer, &err), SMT_DEVICE_MEMORY);
    assert_null(buffer);
    assert_non_null(strstr(err.message, "1152921504606846976"));
    assert_non_null(strstr(err.message, "huge"));
    assert_non_null(strstr(err.message, "heap"));
}

static void refuse(const smt_vk_fixture *f, smt_vk_dispatch dispatch, const char *words) {
    smt_vk_recording *recording;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "refused", &recording, &err), &err);
    assert_int_equal(smt_vk_record_dispatch(recording, &dispatch, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, words));
    SMT_ASSERT_OK(smt_vk_recording_end(recording, &err), &err);
    smt_vk_recording_destroy(f->device, recording);
}

static void test_dispatch_refusals(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_test_shader(f, "scale.comp", scale_text);
    smt_vk_kernel *kernel = smt_vk_test_kernel(f, "scale.comp", 1, 8);
    smt_vk_buffer *buffer = smt_vk_test_buffer(f, 4096, "small");
    uint32_t push[2] = {64, 1};
    smt_vk_range good[2] = {smt_vk_test_whole(buffer), smt_vk_test_whole(buffer)}, bad[2] = {good[0], good[1]};
    smt_vk_dispatch dispatch = scale(kernel, good, push);
    dispatch.push_bytes = 4;
    refuse(f, dispatch, "push constants");
    dispatch = scale(kernel, good, push);
    dispatch.groups[1] = 0;
    refuse(f, dispatch, "workgroups");
    bad[1].bytes = 4100;
    refuse(f, scale(kernel, bad, push), "buffer 1 is 4100 bytes at 0 of a buffer of 4096");
    bad[1] = (smt_vk_range){buffer, 4, 16};
    if (f->caps->storage_align > 4) refuse(f, scale(kernel, bad, push), "alignment");
    dispatch = scale(kernel, good, push);
    dispatch.indirect = (smt_vk_range){buffer, 4088, 12};
    refuse(f, dispatch, "indirect");
    dispatch = scale(kernel, good, push);
    dispatch.windows = good;
    dispatch.n_windows = 2;
    refuse(f, dispatch, "windows");

    smt_vk_recording *recording; /* a call that returns nothing fails at the end */
    smt_error err;
    SMT_ASSERT_OK(smt_vk_recording_begin(f->device, "bad copy", &recording, &err), &err);
    smt_vk_record_copy(recording, &(smt_vk_range){buffer, 0, 4096}, &(smt_vk_range){buffer, 4, 0});
    assert_int_equal(smt_vk_recording_end(recording, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "bad copy"));
    uint64_t value;
    assert_int_equal(smt_vk_submit(f->device, recording, &value, &err), SMT_INVALID);
    assert_int_equal(smt_vk_wait(f->device, UINT64_MAX, 1, &err), SMT_INVALID);
    smt_vk_recording_destroy(f->device, recording);
    smt_vk_kernel_destroy(f->device, kernel);
    smt_vk_buffer_destroy(f->device, buffer);
}

static void test_kernel_refusals(void **state) {
    const smt_vk_fixture *f = *state;
    smt_vk_test_shader(f, "scale.comp", scale_text);
    smt_vk_kernel_desc desc = {.source = "scale.comp", .label = "odd", .n_windows = 2, .group_size = {64, 1, 1}, .push_bytes = 8};
    smt_vk_kernel *kernel;
    smt_error err;
    assert_int_equal(smt_vk_kernel_create(f->device, &desc, false, &kernel, &err), SMT_INVALID);
    desc.n_windows = 1;
    desc.group_size[0] = f->caps->max_invocations + 1;
    assert_int_equal(smt_vk_kernel_create(f->device, &desc, false, &kernel, &err), SMT_UNSUPPORTED);
    desc.group_size[0] = 64;
    desc.push_bytes = 132;
    assert_int_equal(smt_vk_kernel_create(f->device, &desc, false, &kernel, &err), SMT_INVALID);
    desc.push_bytes = 8;
    smt_vk_define twice[2] = {{"A", "1"}, {"A", "2"}};
    desc.defines = twice;
    desc.n_defines = 2;
    assert_int_equal(smt_vk_kernel_create(f->device, &desc, false, &kernel, &err), SMT_INVALID);
    assert_null(kernel);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_copy_and_fill),
        cmocka_unit_test(test_producer_consumer),
        cmocka_unit_test(test_indirect),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_buffer_refusals),
        cmocka_unit_test(test_dispatch_refusals),
        cmocka_unit_test(test_kernel_refusals),
    };
    return cmocka_run_group_tests(tests, smt_vk_test_setup, smt_vk_test_teardown);
}
