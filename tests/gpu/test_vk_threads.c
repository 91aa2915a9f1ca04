/* test_vk_threads.c: kernels are made, warmed and dispatched on several threads of one device at once: no validation message, and the
 * dispatches count right. */
#include "vk_support.h"

#include "os/os.h"

#include <stdatomic.h>

enum { THREADS = 4, KERNELS = 6 };

static const char text[] = "layout(local_size_x = SMT_GROUP_X) in;\n"
                           "layout(set = 0, binding = 0) readonly buffer Window { uint v[]; } W[SMT_WINDOWS];\n"
                           "layout(set = 0, binding = 1) buffer Out { uint out_[]; };\n"
                           "layout(push_constant) uniform Push { uint slot; };\n"
                           "void main() { atomicAdd(out_[slot], W[0].v[0] + NUMBER); }\n";

typedef struct worker {
    const smt_vk_fixture *f;
    smt_vk_buffer *any, *sums;
    uint32_t number;
    atomic_uint *failures;
} worker;

static smt_status dispatch_once(const worker *w, const smt_vk_kernel *kernel, smt_error *err) {
    const smt_vk_range window = {w->any, 0, 4096}, out = {w->sums, 0, 4096};
    const smt_vk_dispatch dispatch = {.kernel = kernel,
                                      .windows = &window,
                                      .n_windows = 1,
                                      .buffers = &out,
                                      .n_buffers = 1,
                                      .push = &w->number,
                                      .push_bytes = 4,
                                      .groups = {1, 1, 1}};
    smt_vk_recording *recording;
    uint64_t value;
    SMT_TRY(smt_vk_recording_begin(w->f->device, "threads", &recording, err));
    smt_status status = smt_vk_record_dispatch(recording, &dispatch, err);
    if (status == SMT_OK) status = smt_vk_recording_end(recording, err);
    if (status == SMT_OK) status = smt_vk_submit(w->f->device, recording, &value, err);
    if (status == SMT_OK) status = smt_vk_wait(w->f->device, value, 60000000000u, err);
    smt_vk_recording_destroy(w->f->device, recording);
    return status;
}

static smt_status one_kernel(const worker *w, uint32_t number, smt_error *err) {
    char value[12];
    snprintf(value, sizeof value, "%u", number);
    const smt_vk_define define = {"NUMBER", value};
    const smt_vk_kernel_desc desc = {.source = "threads.comp",
                                     .label = "threads",
                                     .defines = &define,
                                     .n_defines = 1,
                                     .n_windows = 4,
                                     .group_size = {1, 1, 1},
                                     .push_bytes = 4};
    smt_vk_kernel *kernel;
    SMT_TRY(smt_vk_kernel_create(w->f->device, &desc, false, &kernel, err));
    smt_status status = smt_vk_kernel_warm(w->f->device, kernel, w->any, 60000000000u, err);
    if (status == SMT_OK) status = dispatch_once(w, kernel, err);
    smt_vk_kernel_destroy(w->f->device, kernel);
    return status;
}

static void work(void *argument) {
    const worker *w = argument;
    smt_error err;
    for (uint32_t i = 1; i <= KERNELS; i++)
        if (one_kernel(w, i, &err) != SMT_OK) {
            fprintf(stderr, "thread %u: %s\n", w->number, err.message);
            atomic_fetch_add(w->failures, 1);
        }
}

static smt_vk_buffer *make_buffer(const smt_vk_fixture *f) {
    smt_vk_buffer *buffer;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_buffer_create(f->device, f->host_type, 4096, "threads", &buffer, &err), &err);
    memset(smt_vk_buffer_map(buffer), 0, 4096);
    SMT_ASSERT_OK(smt_vk_buffer_flush(f->device, buffer, 0, 4096, &err), &err);
    return buffer;
}

static void test_together(void **state) {
    smt_vk_fixture *f = *state;
    smt_vk_buffer *any = make_buffer(f), *sums = make_buffer(f);
    smt_os_thread *threads[THREADS];
    worker workers[THREADS];
    atomic_uint failures = 0;
    smt_error err;
    smt_vk_test_shader(f, "threads.comp", text);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (worker){f, any, sums, i, &failures};
        SMT_ASSERT_OK(smt_os_thread_start(work, &workers[i], &threads[i], &err), &err);
    }
    for (uint32_t i = 0; i < THREADS; i++) smt_os_thread_join(threads[i]);
    assert_int_equal(failures, 0);
    SMT_ASSERT_OK(smt_vk_buffer_invalidate(f->device, sums, 0, 4096, &err), &err);
    const uint32_t *words = smt_vk_buffer_map(sums);
    for (uint32_t i = 0; i < THREADS; i++) assert_int_equal(words[i], KERNELS * (KERNELS + 1) / 2); /* warming added nothing */
    smt_vk_buffer_destroy(f->device, any);
    smt_vk_buffer_destroy(f->device, sums);
    assert_int_equal(smt_vk_message_count(f->vk), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_together)};
    return cmocka_run_group_tests(tests, smt_vk_test_setup, smt_vk_test_teardown);
}
