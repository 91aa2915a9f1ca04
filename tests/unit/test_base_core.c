/* test_base_core.c: errors, allocation hooks, growing arrays, arenas, strings, the table of tensor types, device snapshots. */
#include "base/caps.h"
#include "base/dtype.h"
#include "support.h"

static smt_status fail_here(smt_error *err, int number) {
    return SMT_FAIL(err, SMT_NOT_FOUND, "thing %d of %s", number, "seven");
}

static void test_errors(void **state) {
    (void)state;
    smt_error err = {0};
    assert_int_equal(fail_here(&err, 5), SMT_NOT_FOUND);
    assert_int_equal(err.code, SMT_NOT_FOUND);
    assert_string_equal(err.message, "thing 5 of seven");
    assert_non_null(strstr(err.file, "test_base_core.c"));
    assert_true(err.line > 0);
    assert_int_equal(fail_here(NULL, 5), SMT_NOT_FOUND);
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    (void)SMT_FAIL(&err, SMT_IO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

static void test_status_names(void **state) {
    (void)state;
    assert_string_equal(smt_status_name(SMT_OK), "SMT_OK");
    assert_string_equal(smt_status_name(SMT_INTERNAL), "SMT_INTERNAL");
    for (int i = -1; i <= SMT_STATUS_COUNT; i++) {
        assert_non_null(smt_status_name((smt_status)i));
        assert_non_null(smt_status_text((smt_status)i));
    }
    assert_string_equal(smt_status_text(SMT_STATUS_COUNT), "unknown status");
    assert_int_equal(smt_version(), SMT_VERSION_MAJOR * 10000 + SMT_VERSION_MINOR * 100 + SMT_VERSION_PATCH);
}

static void test_memory(void **state) {
    (void)state;
    unsigned char *bytes = smt_alloc(100, 3);
    assert_non_null(bytes);
    for (int i = 0; i < 300; i++) assert_int_equal(bytes[i], 0);
#if !defined(__SANITIZE_ADDRESS__) /* the sanitizer ends the program where calloc would return NULL */
    assert_null(smt_alloc(SIZE_MAX / 2, 3));
#endif
    assert_null(smt_realloc(bytes, SIZE_MAX / 2, 3));
    bytes = smt_realloc(bytes, 1000, 1);
    assert_non_null(bytes);
    smt_free(bytes);
    smt_free(NULL);
    char *copy = smt_strndup("abcdef", 3);
    assert_string_equal(copy, "abc");
    smt_free(copy);

    smt_mem_fail_after(2);
    void *first = smt_alloc(1, 1), *second = smt_alloc(1, 1), *third = smt_alloc(1, 1);
    smt_mem_fail_after(0);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third); /* the hook fires once */
    smt_free(first);
    smt_free(third);
}

static void test_grow(void **state) {
    (void)state;
    smt_error err = {0};
    uint64_t *numbers = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < 1000; i++) {
        SMT_ASSERT_OK(smt_grow((void **)&numbers, &capacity, i + 1, sizeof *numbers, &err), &err);
        assert_true(capacity > i);
        numbers[i] = i;
    }
    for (size_t i = 0; i < 1000; i++) assert_int_equal(numbers[i], i);
    size_t before = capacity;
    assert_int_equal(smt_grow((void **)&numbers, &capacity, SIZE_MAX / 4, sizeof *numbers, &err), SMT_MEMORY);
    assert_int_equal(capacity, before);
    assert_int_equal(numbers[999], 999);
    smt_free(numbers);
}

static void test_arena(void **state) {
    (void)state;
    smt_arena arena = {0};
    unsigned char *blocks[500];
    for (size_t i = 0; i < SMT_COUNT(blocks); i++) {
        size_t bytes = i * 37 % 9000;
        blocks[i] = smt_arena_alloc(&arena, bytes, 1);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t j = 0; j < bytes; j++) assert_int_equal(blocks[i][j], 0);
        memset(blocks[i], (int)(i % 251), bytes);
    }
    for (size_t i = 0; i < SMT_COUNT(blocks); i++)
        for (size_t j = 0; j < i * 37 % 9000; j++) assert_int_equal(blocks[i][j], i % 251);
    assert_null(smt_arena_alloc(&arena, SIZE_MAX / 2, 3));
    assert_string_equal(smt_arena_strndup(&arena, "seamount", 3), "sea");
    smt_arena_free(&arena);
    assert_non_null(smt_arena_alloc(&arena, 10, 10)); /* usable again */
    smt_arena_free(&arena);
}

static void test_strings(void **state) {
    (void)state;
    smt_error err = {0};
    smt_str str = {0};
    SMT_ASSERT_OK(smt_str_append(&str, "a\0b", 3, &err), &err);
    SMT_ASSERT_OK(smt_str_printf(&str, &err, "<%d %s>", 42, "x"), &err);
    assert_int_equal(str.bytes, 9);
    assert_memory_equal(str.text, "a\0b<42 x>", 10);
    for (int i = 0; i < 100; i++) SMT_ASSERT_OK(smt_str_printf(&str, &err, "%0100d", i), &err);
    assert_int_equal(str.bytes, 9 + 100 * 100);
    assert_int_equal(str.text[str.bytes], 0);
    smt_str_free(&str);
    assert_null(str.text);
}

/* Every pattern of up to five letters out of two (one of them NUL) in every text of up to nine, beside a search that compares at every
 * place. */
static void test_find(void **state) {
    (void)state;
    for (unsigned n = 0; n <= 9; n++)
        for (unsigned m = 0; m <= 5; m++)
            for (unsigned bits = 0; bits < 1u << (n + m); bits++) {
                char all[14] = {0}, *what = all + n;
                const char *first = NULL;
                for (unsigned i = 0; i < n + m; i++) all[i] = bits >> i & 1 ? 'a' : 0;
                for (unsigned at = 0; !first && at + m <= n; at++)
                    if (memcmp(all + at, what, m) == 0) first = all + at;
                assert_ptr_equal(smt_mem_find(all, n, what, m), first);
            }
}

/* In a text of one letter, whose windows are all but what is looked for: comparing at every place would read 256 GiB. */
static void test_find_in_long_texts(void **state) {
    (void)state;
    const size_t n = 1 << 20, m = n / 2;
    char *text = smt_alloc(n, 1), *what = smt_alloc(m, 1);
    assert_true(text && what);
    memset(text, 'a', n);
    memset(what, 'a', m);
    assert_ptr_equal(smt_mem_find(text, n, what, m), text);
    what[m - 1] = 'b';
    assert_null(smt_mem_find(text, n, what, m));
    text[n - 1] = 'b';
    assert_ptr_equal(smt_mem_find(text, n, what, m), text + m);
    smt_free(text);
    smt_free(what);
}

static void test_arithmetic(void **state) {
    (void)state;
    uint64_t product;
    assert_int_equal(smt_align_up(0, 32), 0);
    assert_int_equal(smt_align_up(33, 32), 64);
    assert_int_equal(smt_div_up(65, 64), 2);
    assert_int_equal(smt_div_up(UINT32_MAX, 2), 1u << 31);
    assert_true(smt_mul_u64(1ull << 31, 1ull << 32, &product));
    assert_int_equal(product, 1ull << 63);
    assert_false(smt_mul_u64(1ull << 32, 1ull << 32, &product));
}

static void test_types(void **state) {
    (void)state;
    char text[64];
    assert_int_equal(smt_dtype_row_bytes(SMT_DTYPE_Q4_K, 512), 288);
    assert_int_equal(smt_dtype_row_bytes(SMT_DTYPE_Q4_K, 500), 0);
    assert_int_equal(smt_dtype_row_bytes(SMT_DTYPE_F64, UINT64_MAX), 0);
    assert_null(smt_dtype_get(4));
    assert_null(smt_dtype_get(SMT_DTYPE_LIMIT));
    assert_null(smt_dtype_get(UINT32_MAX));
    assert_string_equal(smt_dtype_words(SMT_DTYPE_Q6_K, text, sizeof text), "Q6_K");
    assert_string_equal(smt_dtype_words(31, text, sizeof text), "removed type 31");
    assert_string_equal(smt_dtype_words(144, text, sizeof text), "type 144 of a fork");
    assert_string_equal(smt_dtype_words(UINT32_MAX, text, sizeof text), "unknown type 4294967295");
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) {
        const smt_dtype_info *info = smt_dtype_get(id);
        if (info) assert_true(info->elems > 0 && info->bytes > 0);
    }
}

static void test_caps(void **state) {
    (void)state;
    char text[200];
    smt_caps caps = {.api_version = 1u << 22 | 2u << 12,
                     .timeline = true,
                     .buffer_array_dynamic = true,
                     .max_push_bytes = 128,
                     .max_invocations = 256,
                     .max_shared_bytes = 32768,
                     .max_stage_buffers = 30,
                     .max_storage_range = 1u << 27,
                     .n_heaps = 1,
                     .subgroup_arithmetic = true,
                     .fp16 = true,
                     .n_types = 2,
                     .types = {{.device_local = true}, {.device_local = true, .host_visible = true, .host_cached = true}}};
    assert_null(smt_caps_lacks(&caps, text, sizeof text));
    caps.max_push_bytes = 64;
    assert_non_null(strstr(smt_caps_lacks(&caps, text, sizeof text), "maxPushConstantsSize is 64"));
    assert_true(smt_caps_family(SMT_KIND_CPU, NULL, &caps.family) && caps.family == SMT_FAMILY_ROWS);
    assert_true(smt_caps_family(SMT_KIND_OTHER, "", &caps.family) && caps.family == SMT_FAMILY_WAVE);
    assert_true(smt_caps_family(SMT_KIND_DISCRETE, "rows", &caps.family) && caps.family == SMT_FAMILY_ROWS);
    assert_true(smt_caps_family(SMT_KIND_CPU, "wave", &caps.family) && caps.family == SMT_FAMILY_WAVE);
    assert_false(smt_caps_family(SMT_KIND_CPU, "waves", &caps.family));
    smt_caps_reduce(&caps);
    assert_false(caps.fp16);
    assert_false(caps.subgroup_arithmetic);
    assert_true(caps.timeline);
    assert_int_equal(smt_caps_find_memory(&caps, SMT_MEM_DEVICE, 0), 0);
    assert_int_equal(smt_caps_find_memory(&caps, SMT_MEM_HOST, 0), 1);
    assert_int_equal(smt_caps_find_memory(&caps, SMT_MEM_HOST, SMT_MEM_DEVICE), UINT32_MAX);
    assert_string_equal(smt_caps_kind_name((smt_device_kind)99), "other");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),     cmocka_unit_test(test_status_names),
        cmocka_unit_test(test_memory),     cmocka_unit_test(test_grow),
        cmocka_unit_test(test_arena),      cmocka_unit_test(test_strings),
        cmocka_unit_test(test_find),       cmocka_unit_test(test_find_in_long_texts),
        cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_types),
        cmocka_unit_test(test_caps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
