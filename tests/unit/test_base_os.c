/* test_base_os.c: files, mappings, threads, the clock. Everything is written below the build folder. */
#include "os/os.h"
#include "support.h"

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

static void test_map(void **state) {
    (void)state;
    smt_error err = {0};
    smt_os_map map;
    const char *path = smt_test_work("test_base_os/mapped");
    SMT_ASSERT_OK(smt_os_write_atomic(path, "0123456789", 10, &err), &err);
    SMT_ASSERT_OK(smt_os_map_file(path, &map, &err), &err);
    assert_int_equal(map.n_bytes, 10);
    assert_memory_equal(map.bytes, "0123456789", 10);
    remove(path); /* the mapping holds the file */
    assert_int_equal(map.bytes[9], '9');
    smt_os_unmap(&map);
    assert_null(map.bytes);
    smt_os_unmap(&map);
}

static void test_missing_files(void **state) {
    (void)state;
    smt_error err = {0};
    smt_os_map map;
    char *text = (char *)1;
    size_t bytes;
    const char *missing = smt_test_work("test_base_os/missing"), *empty = smt_test_work("test_base_os/empty");
    assert_int_equal(smt_os_map_file(missing, &map, &err), SMT_IO);
    assert_non_null(strstr(err.message, "test_base_os/missing"));
    assert_null(map.bytes);
    assert_int_equal(smt_os_read_file(missing, &text, &bytes, &err), SMT_IO);
    assert_null(text);
    assert_int_equal(smt_os_map_file(smt_test_data(""), &map, &err), SMT_IO); /* a folder */
    SMT_ASSERT_OK(smt_os_write_atomic(empty, "", 0, &err), &err);
    assert_int_equal(smt_os_map_file(empty, &map, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "empty"));
    remove(empty);
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
        cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_write_failures), cmocka_unit_test(test_map),
        cmocka_unit_test(test_missing_files),  cmocka_unit_test(test_threads),        cmocka_unit_test(test_clock_and_libraries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
