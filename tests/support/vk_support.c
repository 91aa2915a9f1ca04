/* vk_support.c: see vk_support.h. */
#include "vk_support.h"
#include "os/os.h"

#include <dirent.h>
#include <unistd.h>

#define SKIPPED 77

/* Read by LeakSanitizer where it is built in. The validation layer keeps some C++ objects of every command buffer (without the
 * layer the same tests leak nothing), and it is unloaded by the time of the report, so its name cannot be matched. Our own
 * allocations never pass through operator new. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:operator new\n"; }

static void show_message(void *user, smt_log_level level, const char *text) {
    (void)user;
    if (level == SMT_LOG_VALIDATION)
        fprintf(stderr, "validation: %s\n", text);
    else if (level <= SMT_LOG_WARN)
        fprintf(stderr, "%s\n", text);
}

smt_vk *smt_vk_test_open(void) {
    smt_vk_options options = {.validation = true, .callbacks = {.log = show_message}};
    smt_vk *vk;
    smt_error err;
    smt_status status = smt_vk_open(&options, &vk, &err);
    if (status == SMT_OK && smt_vk_count(vk) > 0) return vk;
    fprintf(stderr, "skipped: %s\n", status == SMT_OK ? "no Vulkan device" : err.message);
    if (status == SMT_OK || status == SMT_NO_VULKAN) exit(SKIPPED);
    exit(1);
}

void smt_vk_test_folder(char *path, size_t capacity) {
    static unsigned n;
    snprintf(path, capacity, "%s/vk-test-%ld-%u", SMT_TEST_WORK, (long)getpid(), n++);
    smt_vk_test_remove(path); /* of a process that had this number before */
}

void smt_vk_test_write(const char *folder, const char *name, const char *text) {
    char path[1024];
    smt_error err;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    SMT_ASSERT_OK(smt_os_write_atomic(path, text, strlen(text), &err), &err);
}

void smt_vk_test_remove(const char *path) {
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        char file[1024];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.') continue;
        if (unlink(file) == 0) continue;
        smt_vk_test_remove(file); /* a folder */
    }
    if (folder) closedir(folder);
    rmdir(path);
}

int smt_vk_test_setup(void **state) {
    static smt_vk_fixture fixture; /* one per program */
    fixture.vk = smt_vk_test_open();
    smt_vk_test_folder(fixture.folder, sizeof fixture.folder);
    smt_vk_device_options options = {.shader_dir = fixture.folder};
    smt_error err;
    if (smt_vk_device_create(fixture.vk, 0, &options, &fixture.device, &err) != SMT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    fixture.caps = smt_vk_device_caps(fixture.device);
    fixture.host_type = smt_caps_find_memory(fixture.caps, SMT_MEM_HOST, 0);
    *state = &fixture;
    return 0;
}

int smt_vk_test_teardown(void **state) {
    smt_vk_fixture *fixture = *state;
    smt_vk_device_destroy(fixture->device);
    uint32_t messages = smt_vk_message_count(fixture->vk);
    smt_vk_close(fixture->vk);
    smt_vk_test_remove(fixture->folder);
    if (messages == 0) return 0;
    fprintf(stderr, "%u validation messages\n", messages);
    exit(1); /* cmocka does not count a failing group teardown as a failure */
}

void smt_vk_test_shader(const smt_vk_fixture *fixture, const char *name, const char *text) {
    smt_vk_test_write(fixture->folder, name, text);
}

smt_vk_buffer *smt_vk_test_buffer(const smt_vk_fixture *fixture, uint64_t bytes, const char *name) {
    smt_vk_buffer *buffer;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_buffer_create(fixture->device, fixture->host_type, bytes, name, &buffer, &err), &err);
    assert_non_null(smt_vk_buffer_map(buffer));
    memset(smt_vk_buffer_map(buffer), 0, bytes);
    SMT_ASSERT_OK(smt_vk_buffer_flush(fixture->device, buffer, 0, bytes, &err), &err);
    return buffer;
}

smt_vk_kernel *smt_vk_test_kernel(const smt_vk_fixture *fixture, const char *source, uint32_t n_windows, uint32_t push_bytes) {
    smt_vk_kernel_desc desc = {
        .source = source, .label = source, .n_windows = n_windows, .group_size = {64, 1, 1}, .push_bytes = push_bytes};
    smt_vk_kernel *kernel;
    smt_error err;
    SMT_ASSERT_OK(smt_vk_kernel_create(fixture->device, &desc, false, &kernel, &err), &err);
    return kernel;
}

smt_vk_range smt_vk_test_whole(smt_vk_buffer *buffer) { return (smt_vk_range){buffer, 0, smt_vk_buffer_bytes(buffer)}; }

void smt_vk_test_run(const smt_vk_fixture *fixture, smt_vk_recording *recording) {
    smt_error err;
    uint64_t value;
    SMT_ASSERT_OK(smt_vk_recording_end(recording, &err), &err);
    SMT_ASSERT_OK(smt_vk_submit(fixture->device, recording, &value, &err), &err);
    SMT_ASSERT_OK(smt_vk_wait(fixture->device, value, UINT64_C(60000000000), &err), &err);
    smt_vk_recording_destroy(fixture->device, recording);
}
