/* test_gguf_read.c: what a good file gives, key by key and tensor by tensor, and what each broken rule says. */
#include "gguf_write.h"
#include "support.h"

static const uint64_t shape_8x4[] = {8, 4, 1, 1}, shape_64[] = {64, 1, 1, 1};

/* Finishes the writer and parses the result; `bytes` must be freed after the file. */
static smt_status parse_written(smt_gguf_writer *w, smt_gguf **gguf, uint8_t **bytes, smt_error *err) {
    size_t n;
    SMT_ASSERT_OK(smt_gguf_write_memory(w, bytes, &n, err), err);
    smt_gguf_write_free(w);
    return smt_gguf_parse(*bytes, n, "test.gguf", gguf, err);
}

/* The written file must be refused with `code` and a message that holds `words`. */
static void expect_refused(smt_gguf_writer *w, smt_status code, const char *words) {
    smt_error err = {0};
    smt_gguf *gguf;
    uint8_t *bytes;
    smt_status status = parse_written(w, &gguf, &bytes, &err);
    assert_null(gguf);
    if (status != code || !strstr(err.message, words) || !strstr(err.message, "test.gguf"))
        fail_msg("wanted %s with \"%s\", got %s: %s", smt_status_name(code), words, smt_status_name(status), err.message);
    smt_free(bytes);
}

static void write_all_kinds(smt_gguf_writer *w) {
    static const char *const texts[] = {"one", "", "drei"};
    smt_gguf_write_key(w, "k.u8", SMT_GGUF_U8, &(uint8_t){200}, 1);
    smt_gguf_write_key(w, "k.i8", SMT_GGUF_I8, &(int8_t){-7}, 1);
    smt_gguf_write_key(w, "k.u16", SMT_GGUF_U16, &(uint16_t){60000}, 2);
    smt_gguf_write_key(w, "k.i16", SMT_GGUF_I16, &(int16_t){-3}, 2);
    smt_gguf_write_u32(w, "k.u32", 4000000000u);
    smt_gguf_write_key(w, "k.i32", SMT_GGUF_I32, &(int32_t){77}, 4);
    smt_gguf_write_f32(w, "k.f32", 1.5f);
    smt_gguf_write_bool(w, "k.bool", true);
    smt_gguf_write_text(w, "k.text", "h\xc3\xa9");
    smt_gguf_write_key(w, "k.u64", SMT_GGUF_U64, &(uint64_t){5}, 8);
    smt_gguf_write_key(w, "k.big", SMT_GGUF_U64, &(uint64_t){UINT64_MAX}, 8);
    smt_gguf_write_key(w, "k.i64", SMT_GGUF_I64, &(int64_t){-1}, 8);
    smt_gguf_write_key(w, "k.f64", SMT_GGUF_F64, &(double){0.25}, 8);
    smt_gguf_write_texts(w, "k.texts", texts, 3);
    smt_gguf_write_array(w, "k.ints", SMT_GGUF_I32, 3, (int32_t[]){-1, 2, 3}, 12);
    smt_gguf_write_array(w, "k.floats", SMT_GGUF_F32, 2, (float[]){0.5f, -2}, 8);
    smt_gguf_write_array(w, "k.none", SMT_GGUF_F32, 0, NULL, 0);
}

static void test_keys(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf *gguf;
    uint8_t *bytes;
    write_all_kinds(&w);
    SMT_ASSERT_OK(parse_written(&w, &gguf, &bytes, &err), &err);
    assert_int_equal(smt_gguf_key_count(gguf), 17);
    assert_string_equal(smt_gguf_key_at(gguf, 0)->name, "k.u8");
    assert_null(smt_gguf_key_at(gguf, 17));
    assert_null(smt_gguf_find(gguf, "k"));

    static const struct {
        const char *name;
        uint32_t value;
    } integers[] = {{"k.u8", 200}, {"k.u16", 60000}, {"k.u32", 4000000000u}, {"k.i32", 77}, {"k.u64", 5}};
    for (size_t i = 0; i < SMT_COUNT(integers); i++) {
        uint32_t value = 0;
        bool found = false;
        SMT_ASSERT_OK(smt_gguf_u32(gguf, integers[i].name, &value, &found, &err), &err);
        assert_true(found);
        assert_int_equal(value, integers[i].value);
    }
    float f = 0;
    SMT_ASSERT_OK(smt_gguf_f32(gguf, "k.f32", &f, NULL, &err), &err);
    assert_true(f == 1.5f);
    SMT_ASSERT_OK(smt_gguf_f32(gguf, "k.f64", &f, NULL, &err), &err);
    assert_true(f == 0.25f);
    bool flag = false;
    SMT_ASSERT_OK(smt_gguf_bool(gguf, "k.bool", &flag, NULL, &err), &err);
    assert_true(flag);
    smt_gguf_string text = {0};
    SMT_ASSERT_OK(smt_gguf_text(gguf, "k.text", &text, NULL, &err), &err);
    assert_int_equal(text.bytes, 3);
    assert_memory_equal(text.text, "h\xc3\xa9", 3);
    smt_gguf_free(gguf);
    smt_free(bytes);
}

static void test_arrays(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf *gguf;
    uint8_t *bytes;
    write_all_kinds(&w);
    SMT_ASSERT_OK(parse_written(&w, &gguf, &bytes, &err), &err);
    const smt_gguf_key *texts = smt_gguf_find(gguf, "k.texts"), *ints = smt_gguf_find(gguf, "k.ints");
    assert_int_equal(texts->kind, SMT_GGUF_ARRAY);
    assert_int_equal(texts->element_kind, SMT_GGUF_STRING);
    assert_int_equal(texts->count, 3);
    assert_int_equal(texts->strings[1].bytes, 0);
    assert_memory_equal(texts->strings[2].text, "drei", 4);
    assert_int_equal(smt_gguf_array_int(ints, 0), -1);
    assert_int_equal(smt_gguf_array_int(ints, 2), 3);
    assert_true(smt_gguf_array_f32(smt_gguf_find(gguf, "k.floats"), 1) == -2);
    assert_int_equal(smt_gguf_find(gguf, "k.none")->count, 0);
    smt_gguf_free(gguf);
    smt_free(bytes);
}

static void test_typed_reads_refuse(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf *gguf;
    uint8_t *bytes;
    write_all_kinds(&w);
    SMT_ASSERT_OK(parse_written(&w, &gguf, &bytes, &err), &err);
    uint32_t value = 9;
    bool found = true, flag = false;
    float f = 3;
    smt_gguf_string text = {0};
    static const char *const not_u32[] = {"k.i8", "k.i16", "k.i64", "k.big", "k.f32", "k.bool", "k.text", "k.ints"};
    for (size_t i = 0; i < SMT_COUNT(not_u32); i++) {
        assert_int_equal(smt_gguf_u32(gguf, not_u32[i], &value, NULL, &err), SMT_FORMAT);
        assert_non_null(strstr(err.message, not_u32[i]));
    }
    assert_int_equal(smt_gguf_f32(gguf, "k.u32", &f, NULL, &err), SMT_FORMAT);
    assert_int_equal(smt_gguf_bool(gguf, "k.u8", &flag, NULL, &err), SMT_FORMAT);
    assert_int_equal(smt_gguf_text(gguf, "k.texts", &text, NULL, &err), SMT_FORMAT);
    SMT_ASSERT_OK(smt_gguf_u32(gguf, "absent", &value, &found, &err), &err);
    assert_false(found);
    assert_int_equal(value, 9);
    smt_gguf_free(gguf);
    smt_free(bytes);
}

static void test_tensors(void **state) {
    (void)state;
    static const uint32_t alignments[] = {0, 1, 64, 4096, 65536};
    float values[32];
    for (int i = 0; i < 32; i++) values[i] = (float)i;
    for (size_t a = 0; a < SMT_COUNT(alignments); a++) {
        smt_error err = {0};
        smt_gguf_writer w = {.version = a % 2 ? 2 : 3, .alignment = alignments[a]};
        smt_gguf *gguf;
        uint8_t *bytes;
        smt_gguf_write_text(&w, "k", "v");
        smt_gguf_write_tensor(&w, "first", SMT_DTYPE_F32, shape_8x4, values);
        smt_gguf_write_tensor(&w, "second", SMT_DTYPE_Q8_0, shape_64, NULL);
        SMT_ASSERT_OK(parse_written(&w, &gguf, &bytes, &err), &err);
        assert_int_equal(smt_gguf_tensor_count(gguf), 2);
        const smt_gguf_tensor *first = smt_gguf_find_tensor(gguf, "first"), *second = smt_gguf_tensor_at(gguf, 1);
        assert_int_equal(first->n_dims, 2);
        assert_int_equal(first->ne[0], 8);
        assert_int_equal(first->ne[3], 1);
        assert_int_equal(first->bytes, 128);
        uint8_t data[128];
        SMT_ASSERT_OK(smt_gguf_tensor_read(first, 0, data, 128, &err), &err);
        assert_memory_equal(data, values, 128);
        assert_memory_equal(bytes + first->offset, values, 128);
        SMT_ASSERT_OK(smt_gguf_tensor_read(first, 100, data, 28, &err), &err);
        assert_memory_equal(data, (char *)values + 100, 28);
        assert_int_equal(smt_gguf_tensor_read(first, 100, data, 29, &err), SMT_INTERNAL);
        assert_int_equal(smt_gguf_tensor_read(first, UINT64_MAX, data, 2, &err), SMT_INTERNAL);
        assert_int_equal(second->bytes, 68);
        assert_int_equal(second->offset % (alignments[a] ? alignments[a] : 32), 0);
        assert_null(smt_gguf_find_tensor(gguf, "third"));
        smt_gguf_free(gguf);
        smt_free(bytes);
    }
}

static void test_bad_keys(void **state) {
    (void)state;
    smt_gguf_writer w = {0};
    smt_gguf_write_u32(&w, "same", 1);
    smt_gguf_write_u32(&w, "other", 1);
    smt_gguf_write_u32(&w, "same", 2);
    expect_refused(&w, SMT_FORMAT, "key \"same\" occurs twice (numbers 0 and 2)");
    smt_gguf_write_u32(&w, "", 1);
    expect_refused(&w, SMT_FORMAT, "key 0 is 0 bytes long");
    smt_gguf_write_u32(&w, "bell\a", 1);
    expect_refused(&w, SMT_FORMAT, "byte 0x07");
    smt_gguf_write_key(&w, "flag", SMT_GGUF_BOOL, &(uint8_t){2}, 1);
    expect_refused(&w, SMT_FORMAT, "key flag: boolean 0 has the value 2");
    smt_gguf_write_key(&w, "odd", (smt_gguf_kind)13, "", 1);
    expect_refused(&w, SMT_FORMAT, "key odd has value type 13");
    smt_gguf_write_array(&w, "nested", SMT_GGUF_ARRAY, 1, "0123456789abcdef", 16);
    expect_refused(&w, SMT_FORMAT, "array of type 9");
    smt_gguf_write_array(&w, "many", SMT_GGUF_U64, (1ull << 30) + 1, NULL, 0);
    expect_refused(&w, SMT_FORMAT, "1073741825 elements");
    smt_gguf_write_array(&w, "long", SMT_GGUF_F32, 5, "0123456789abcdef", 16);
    expect_refused(&w, SMT_FORMAT, "key long: 5 elements of 4 bytes exceed the 16 bytes left");
    smt_gguf_write_array(&w, "texts", SMT_GGUF_STRING, 3, "0123456789abcdef", 16);
    expect_refused(&w, SMT_FORMAT, "key texts: 3 strings");
    smt_gguf_write_u32(&w, "general.alignment", 48);
    expect_refused(&w, SMT_FORMAT, "general.alignment is 48");
    smt_gguf_write_u32(&w, "general.alignment", 0);
    expect_refused(&w, SMT_FORMAT, "general.alignment is 0");
    smt_gguf_write_key(&w, "general.alignment", SMT_GGUF_U64, &(uint64_t){32}, 8);
    expect_refused(&w, SMT_FORMAT, "of type u64");
}

static void test_bad_versions(void **state) {
    (void)state;
    smt_gguf_writer w = {.version = 1};
    expect_refused(&w, SMT_UNSUPPORTED, "version 1");
    w.version = 4;
    expect_refused(&w, SMT_UNSUPPORTED, "version 4");
    w.version = 3u << 24;
    expect_refused(&w, SMT_UNSUPPORTED, "big-endian");
    smt_error err = {0};
    smt_gguf *gguf;
    assert_int_equal(smt_gguf_parse("GGML\3\0\0\0", 8, "x", &gguf, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "not a GGUF file"));
}

static void test_bad_tensors(void **state) {
    (void)state;
    const uint64_t one[] = {1, 1, 1, 1}, odd[] = {40, 1, 1, 1}, empty[] = {8, 0, 2, 1}, huge[] = {1ull << 40, 1ull << 40, 1, 1};
    smt_gguf_writer w = {0};
    smt_gguf_write_tensor(&w, "same", SMT_DTYPE_F32, one, NULL);
    smt_gguf_write_tensor(&w, "same", SMT_DTYPE_F32, one, NULL);
    expect_refused(&w, SMT_FORMAT, "tensor \"same\" occurs twice (numbers 0 and 1)");
    smt_gguf_write_tensor(&w, "a-name-that-is-longer-than-the-sixty-three-bytes-that-are-allowed", SMT_DTYPE_F32, one, NULL);
    expect_refused(&w, SMT_FORMAT, "tensor name 0 is 65 bytes long");
    smt_gguf_write_tensor(&w, "fork", 144, one, NULL);
    expect_refused(&w, SMT_UNSUPPORTED, "tensor fork is of type 144 of a fork");
    smt_gguf_write_tensor(&w, "gone", 31, one, NULL);
    expect_refused(&w, SMT_UNSUPPORTED, "tensor gone is of removed type 31");
    smt_gguf_write_tensor(&w, "odd", SMT_DTYPE_Q8_0, odd, NULL);
    expect_refused(&w, SMT_FORMAT, "tensor odd: rows of 40 elements are no whole number of Q8_0 blocks");
    smt_gguf_write_tensor(&w, "empty", SMT_DTYPE_F32, empty, NULL);
    expect_refused(&w, SMT_FORMAT, "tensor empty: dimension 1 is 0");
    smt_gguf_write_tensor(&w, "huge", 144, huge, NULL);
    expect_refused(&w, SMT_FORMAT, "tensor huge: the product of its dimensions");
}

/* Where the info of tensor `name` keeps its dimension count: right behind the name. */
static size_t info_at(const uint8_t *bytes, size_t n, const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i + length <= n; i++)
        if (memcmp(bytes + i, name, length) == 0) return i + length;
    fail_msg("no tensor %s in the test's own file", name);
    return 0;
}

static void test_bad_offsets(void **state) {
    (void)state;
    static const struct {
        uint64_t offset;
        const char *words; /* NULL: accepted */
    } cases[] = {
        {128, NULL},
        {16, "tensor right: offset 16 is no multiple of the alignment 32"},
        {96, "tensors left and right overlap"},
        {0, "overlap"},
        {160, "tensor right: 128 bytes at"},
        {UINT64_MAX - 31, "beyond the file"},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        smt_error err = {0};
        smt_gguf_writer w = {0};
        smt_gguf *gguf;
        uint8_t *bytes;
        size_t n;
        smt_gguf_write_tensor(&w, "left", SMT_DTYPE_F32, shape_8x4, NULL);
        smt_gguf_write_tensor(&w, "right", SMT_DTYPE_F32, shape_8x4, NULL);
        SMT_ASSERT_OK(smt_gguf_write_memory(&w, &bytes, &n, &err), &err);
        memcpy(bytes + info_at(bytes, n, "right") + 4 + 16 + 4, &cases[i].offset, 8);
        smt_status status = smt_gguf_parse(bytes, n, "t", &gguf, &err);
        assert_int_equal(status, cases[i].words ? SMT_FORMAT : SMT_OK);
        if (cases[i].words && !strstr(err.message, cases[i].words)) fail_msg("offset %d: %s", (int)i, err.message);
        smt_gguf_free(gguf);
        smt_gguf_write_free(&w);
        smt_free(bytes);
    }
}

/* Infos in one order, data in another with gaps between, far apart as large alignments put them. */
static void test_any_order(void **state) {
    (void)state;
    enum { ALIGNMENT = 65536 };
    static const char *const names[] = {"left", "middle", "right"};
    static const uint64_t places[] = {2 * ALIGNMENT, 0, 4 * ALIGNMENT};
    smt_error err = {0};
    smt_gguf_writer w = {.alignment = ALIGNMENT};
    smt_gguf *gguf;
    uint8_t *bytes, found;
    size_t n;
    for (size_t i = 0; i < 3; i++) smt_gguf_write_tensor(&w, names[i], SMT_DTYPE_F32, shape_8x4, NULL);
    smt_gguf_write_tensor(&w, "room", SMT_DTYPE_F32, (uint64_t[]){8, 2 * ALIGNMENT, 1, 1}, NULL);
    SMT_ASSERT_OK(smt_gguf_write_memory(&w, &bytes, &n, &err), &err);
    size_t start = n - (size_t)w.data_bytes;
    assert_int_equal(start % ALIGNMENT, 0);
    for (size_t i = 0; i < 3; i++) {
        memcpy(bytes + info_at(bytes, n, names[i]) + 4 + 16 + 4, &places[i], 8);
        bytes[start + places[i] + 127] = (uint8_t)(i + 1);
    }
    memcpy(bytes + info_at(bytes, n, "room") + 4 + 8, &(uint64_t){1}, 8); /* it made the file long enough; now one row behind */
    memcpy(bytes + info_at(bytes, n, "room") + 4 + 16 + 4, &(uint64_t){5 * ALIGNMENT}, 8);
    SMT_ASSERT_OK(smt_gguf_parse(bytes, n, "t", &gguf, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        const smt_gguf_tensor *tensor = smt_gguf_find_tensor(gguf, names[i]);
        assert_int_equal(tensor->offset, start + places[i]);
        SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, 127, &found, 1, &err), &err);
        assert_int_equal(found, i + 1);
    }
    smt_gguf_free(gguf);
    smt_gguf_write_free(&w);
    smt_free(bytes);
}

static void test_five_dimensions(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf *gguf;
    uint8_t *bytes;
    size_t n;
    smt_gguf_write_tensor(&w, "wide", SMT_DTYPE_F32, shape_8x4, NULL);
    SMT_ASSERT_OK(smt_gguf_write_memory(&w, &bytes, &n, &err), &err);
    memcpy(bytes + info_at(bytes, n, "wide"), &(uint32_t){5}, 4);
    assert_int_equal(smt_gguf_parse(bytes, n, "t", &gguf, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "tensor wide has 5 dimensions"));
    smt_gguf_write_free(&w);
    smt_free(bytes);
}

/* 100,000 keys: found and checked for duplicates well within the time of a test. */
static void test_many_keys(void **state) {
    (void)state;
    enum { MANY = 100000 };
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf *gguf;
    uint8_t *bytes;
    char name[32];
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "some.key.%u", i * 7919 % MANY);
        smt_gguf_write_u32(&w, name, i * 7919 % MANY);
    }
    SMT_ASSERT_OK(parse_written(&w, &gguf, &bytes, &err), &err);
    for (uint32_t i = 0; i < MANY; i += 97) {
        uint32_t value = UINT32_MAX;
        snprintf(name, sizeof name, "some.key.%u", i);
        SMT_ASSERT_OK(smt_gguf_u32(gguf, name, &value, NULL, &err), &err);
        assert_int_equal(value, i);
    }
    smt_gguf_free(gguf);
    smt_free(bytes);
}

static void test_files(void **state) {
    (void)state;
    smt_error err = {0};
    smt_gguf *gguf;
    const char *path = smt_test_data("g-v2.f16.gguf");
    SMT_ASSERT_OK(smt_gguf_open(path, &gguf, &err), &err);
    assert_int_equal(smt_gguf_part_count(gguf), 1);
    assert_string_equal(smt_gguf_part_path(gguf, 0), path);
    assert_null(smt_gguf_part_path(gguf, 1));
    assert_int_equal(smt_gguf_key_count(gguf), 43);
    assert_int_equal(smt_gguf_tensor_count(gguf), 67);
    assert_int_equal(smt_gguf_part_bytes(gguf, 0), 2854112);
    assert_int_equal(smt_gguf_find(gguf, "tokenizer.ggml.tokens")->count, 512);
    smt_gguf_free(gguf);
    assert_int_equal(smt_gguf_open(smt_test_data("no-such-file.gguf"), &gguf, &err), SMT_IO);
    assert_non_null(strstr(err.message, "no-such-file.gguf"));
    smt_gguf_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),        cmocka_unit_test(test_arrays),      cmocka_unit_test(test_typed_reads_refuse),
        cmocka_unit_test(test_tensors),     cmocka_unit_test(test_bad_keys),    cmocka_unit_test(test_bad_versions),
        cmocka_unit_test(test_bad_tensors), cmocka_unit_test(test_bad_offsets), cmocka_unit_test(test_five_dimensions),
        cmocka_unit_test(test_any_order),   cmocka_unit_test(test_many_keys),   cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
