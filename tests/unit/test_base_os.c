/* test_base_os.c: files, threads, the clock. Everything is written below the build folder. */
#include "os/os.h"
#include "support.h"

#include <unistd.h>

static void test_write_and_read(void **state) {
    (void)state;
    smt_error err = {0};
    const char *path = smt_test_work("test_base_os/a/b/file.bin");
    char *text;
    size_t bytes;
    SMT_ASSERT_OK(smt_os_write_atomic(path, "first", 5, &err), &err); /* makes the folders */
    SMT_ASSERT_OK(smt_os_write_atomic(path, "se\0cond", 7, &err), &err);
    SMT_ASSERT_OK(smt_os_read_file(path, &text, &bytes, &err), &err);
    assert_int_equal(bytes, 7);
    assert_memory_equal(text, "se\0cond", 8); /* terminated besides */
    smt_free(text);
    SMT_ASSERT_OK(smt_os_write_atomic(path, NULL, 0, &err), &err);
    SMT_ASSERT_OK(smt_os_read_file(path, &text, &bytes, &err), &err);
    assert_int_equal(bytes, 0);
    assert_string_equal(text, "");
    smt_free(text);
    remove(path);
}

/* Folders and a file of 100 letters each, all of them beyond ASCII: longer than Windows takes without ado. */
static void test_long_names(void **state) {
    (void)state;
    smt_error err = {0};
    char part[201] = "", path[1024];
    for (int i = 0; i < 100; i++) strcat(part, "\xc3\xa4");
    snprintf(path, sizeof path, "%s/%s/%s/%s", smt_test_work("test_base_os"), part, part, part);
    char *text;
    size_t bytes;
    SMT_ASSERT_OK(smt_os_write_atomic(path, "deep", 4, &err), &err);
    SMT_ASSERT_OK(smt_os_read_file(path, &text, &bytes, &err), &err);
    assert_string_equal(text, "deep");
    assert_true(smt_os_same_file(path, path));
    smt_free(text);
}

static void test_write_failures(void **state) {
    (void)state;
    smt_error err = {0};
    const char *file = smt_test_work("test_base_os/plain"), *below = smt_test_work("test_base_os/plain/below");
    SMT_ASSERT_OK(smt_os_write_atomic(file, "x", 1, &err), &err);
    assert_int_equal(smt_os_write_atomic(below, "x", 1, &err), SMT_IO); /* a file where a folder is wanted */
    assert_non_null(strstr(err.message, "test_base_os/plain"));
    assert_int_equal(smt_os_write_atomic(smt_test_work("test_base_os"), "x", 1, &err), SMT_IO); /* a folder is there */
    remove(file);
}

static void test_file(void **state) {
    (void)state;
    smt_error err = {0};
    smt_os_file file, again;
    char text[16] = {0};
    const char *path = smt_test_work("test_base_os/file"), *away = smt_test_work("test_base_os/away");
    SMT_ASSERT_OK(smt_os_write_atomic(path, "0123456789", 10, &err), &err);
    SMT_ASSERT_OK(smt_os_file_open(path, &file, &err), &err);
    assert_int_equal(file.n_bytes, 10);
    smt_os_file_expect(&file, 0, 10);
    SMT_ASSERT_OK(smt_os_file_read(&file, path, 3, text, 4, &err), &err);
    assert_string_equal(text, "3456");
    SMT_ASSERT_OK(smt_os_file_open(path, &again, &err), &err);
    assert_true(smt_os_file_same(&file, &again));
    smt_os_file_close(&again);
    assert_int_equal(rename(path, away), 0); /* the descriptor holds the file */
    SMT_ASSERT_OK(smt_os_file_read(&file, path, 9, text, 1, &err), &err);
    assert_int_equal(text[0], '9');
    assert_int_equal(smt_os_file_read(&file, path, 9, text, 2, &err), SMT_IO);
    SMT_ASSERT_OK(smt_os_write_atomic(path, "0123456789", 10, &err), &err);
    SMT_ASSERT_OK(smt_os_file_open(path, &again, &err), &err);
    assert_false(smt_os_file_same(&file, &again)); /* another file of that name */
    smt_os_file_close(&again);
    smt_os_file_close(&again);
    smt_os_file_close(&file);
    remove(path);
    remove(away);
}

/* A file that another process cuts short is an error of the read, and good up to where it ends. */
static void test_shrinking_file(void **state) {
    (void)state;
    smt_error err = {0};
    smt_os_file file;
    char text[10];
    const char *path = smt_test_work("test_base_os/shrinking");
    SMT_ASSERT_OK(smt_os_write_atomic(path, "0123456789", 10, &err), &err);
    SMT_ASSERT_OK(smt_os_file_open(path, &file, &err), &err);
    assert_int_equal(truncate(path, 4), 0);
    SMT_ASSERT_OK(smt_os_file_read(&file, path, 0, text, 4, &err), &err);
    assert_int_equal(smt_os_file_read(&file, path, 0, text, 10, &err), SMT_IO);
    assert_non_null(strstr(err.message, "test_base_os/shrinking ends at byte 4, but it had 10"));
    smt_os_file_close(&file);
    remove(path);
}

static void test_missing_files(void **state) {
    (void)state;
    smt_error err = {0};
    smt_os_file file;
    char *text = (char *)1;
    size_t bytes;
    const char *missing = smt_test_work("test_base_os/missing");
    assert_int_equal(smt_os_file_open(missing, &file, &err), SMT_IO);
    assert_non_null(strstr(err.message, "test_base_os/missing"));
    assert_false(file.open);
    assert_int_equal(smt_os_read_file(missing, &text, &bytes, &err), SMT_IO);
    assert_null(text);
    assert_int_equal(smt_os_file_open(smt_test_data(""), &file, &err), SMT_IO); /* a folder */
}

static void test_names(void **state) {
    (void)state;
    const char *path = "some/folder/";
    assert_string_equal(smt_os_base_name("some/folder/name.bin"), "name.bin");
    assert_string_equal(smt_os_base_name("name.bin"), "name.bin");
    assert_ptr_equal(smt_os_base_name(path), path + strlen(path));
}

typedef struct counter {
    smt_os_mutex *mutex;
    uint32_t value;
} counter;

static void count_up(void *argument) {
    counter *c = argument;
    for (int i = 0; i < 10000; i++) {
        smt_os_mutex_lock(c->mutex);
        c->value++;
        smt_os_mutex_unlock(c->mutex);
    }
}

static void test_threads(void **state) {
    (void)state;
    smt_error err = {0};
    counter c = {.mutex = smt_os_mutex_create()};
    smt_os_thread *threads[4];
    assert_non_null(c.mutex);
    for (size_t i = 0; i < SMT_COUNT(threads); i++) SMT_ASSERT_OK(smt_os_thread_start(count_up, &c, &threads[i], &err), &err);
    for (size_t i = 0; i < SMT_COUNT(threads); i++) smt_os_thread_join(threads[i]);
    assert_int_equal(c.value, 40000);
    smt_os_mutex_free(c.mutex);
    smt_os_mutex_free(NULL);
    smt_os_thread_join(NULL);
    assert_true(smt_os_cores() >= 1);
}

static void test_clock_and_libraries(void **state) {
    (void)state;
    double start = smt_os_seconds(), now = start;
    for (int i = 0; i < 100000000 && now == start; i++) now = smt_os_seconds();
    assert_true(now > start && now - start < 1);
    assert_null(smt_os_library_open("libno-such-library.so.42"));
    smt_os_library_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_write_failures), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_file),           cmocka_unit_test(test_shrinking_file), cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_threads),        cmocka_unit_test(test_names),          cmocka_unit_test(test_clock_and_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
