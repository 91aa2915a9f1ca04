/* test_convert_safetensors.c: headers, shards and index files that lie. Each is refused with a message that names the place. */
#include "convert/convert_internal.h"
#include "hf_models.h"

#define HEADER(name, dtype, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

/* One shard with this header, in a file of so many bytes. */
static smt_status add(const char *header, uint64_t data_bytes, smt_error *err) {
    smt_st st = {0};
    smt_status status = smt_st_add(&st, "shard", header, strlen(header), 8 + strlen(header) + data_bytes, err);
    if (status == SMT_OK) status = smt_st_finish(&st, err);
    smt_st_close(&st);
    return status;
}

static void refused(const char *header, uint64_t data_bytes, smt_status status, const char *words) {
    smt_error err = {0};
    smt_status got = add(header, data_bytes, &err);
    if (got != status || !strstr(err.message, words))
        fail_msg("%s: %s: \"%s\", not \"%s\"", header, smt_status_name(got), err.message, words);
}

static void test_headers(void **state) {
    (void)state;
    smt_error err = {0};
    SMT_ASSERT_OK(add("{\"__metadata__\":{\"a\":\"b\"}," HEADER("w", "F16", "[2,3]", "4", "16") "," HEADER(
                          "e", "F32", "[0]", "4", "4") "," HEADER("s", "F32", "[]", "0", "4") "}   ",
                      16, &err),
                  &err);
    refused("{", 0, SMT_FORMAT, "shard: line 1");
    refused("[]", 0, SMT_FORMAT, "an object is wanted");
    refused("{\"w\":3}", 0, SMT_FORMAT, "tensor w");
    refused("{" HEADER("w", "F17", "[2]", "0", "4") "}", 4, SMT_UNSUPPORTED, "unknown dtype \"F17\"");
    refused("{" HEADER("w", "F16", "[2,3]", "0", "10") "}", 99, SMT_FORMAT, "has 10 bytes, its shape and dtype F16 take 12");
    refused("{" HEADER("w", "F16", "[2,3]", "0", "12") "}", 11, SMT_FORMAT, "cut off");
    refused("{" HEADER("w", "F16", "[2]", "12", "8") "}", 99, SMT_FORMAT, "not a range");
    refused("{" HEADER("w", "F16", "[2]", "-4", "0") "}", 99, SMT_FORMAT, "not a range");
    refused("{" HEADER("w", "F16", "[2]", "0.5", "4.5") "}", 99, SMT_FORMAT, "not a range");
    refused("{" HEADER("w", "F16", "[4294967296,4294967296]", "0", "0") "}", 99, SMT_FORMAT, "no size");
    refused("{" HEADER("w", "F16", "[9007199254740992,2048]", "0", "0") "}", 99, SMT_FORMAT, "no size");
    refused("{" HEADER("w", "F16", "[-1]", "0", "0") "}", 99, SMT_FORMAT, "no size");
    refused("{" HEADER("w", "F16", "[1,1,1,1,1,1,1,1,1]", "0", "2") "}", 99, SMT_FORMAT, "at most 8");
    refused("{" HEADER("w", "F16", "[2]", "0", "18446744073709551616") "}", 99, SMT_FORMAT, "not a range");
    refused("{" HEADER("a", "F16", "[2]", "0", "4") "," HEADER("b", "F16", "[2]", "2", "6") "}", 99, SMT_FORMAT,
            "a and b overlap");
    refused("{" HEADER("a", "F16", "[2]", "0", "4") "," HEADER("a", "F16", "[2]", "4", "8") "}", 99, SMT_FORMAT, "duplicate");
}

static void test_nesting(void **state) {
    (void)state;
    char deep[400] = "{\"a\":";
    memset(deep + 5, '[', 200);
    memset(deep + 205, ']', 180);
    refused(deep, 0, SMT_FORMAT, "more than 64 deep");
}

static void test_lengths(void **state) {
    (void)state;
    static const uint8_t huge[8] = {0, 0, 0, 0, 0, 0, 0, 128}, ten[8] = {10};
    smt_error err = {0};
    uint64_t bytes;
    assert_int_equal(smt_st_header_bytes("shard", huge, 100, &bytes, &err), SMT_FORMAT);
    assert_int_equal(smt_st_header_bytes("shard", ten, 17, &bytes, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "said to have 10 bytes, the file has 17"));
    SMT_ASSERT_OK(smt_st_header_bytes("shard", ten, 18, &bytes, &err), &err);
    assert_int_equal(bytes, 10);
}

/* ---- whole folders ---- */

static void set_index(smt_hf_folder *folder, const char *tensor, const char *shard) {
    json_error_t error;
    json_t *index = json_load_file(smt_hf_path(folder, SMT_ST_INDEX), 0, &error);
    assert_non_null(index);
    json_object_set_new(json_object_get(index, "weight_map"), tensor, json_string(shard));
    smt_hf_json(folder, SMT_ST_INDEX, index);
}

static void open_refused(const smt_hf_folder *folder, smt_status status, const char *words) {
    smt_error err = {0};
    smt_st st;
    smt_status got = smt_st_open(&st, folder->path, &err);
    if (got != status || !strstr(err.message, words))
        fail_msg("%s: \"%s\", not \"%s\"", smt_status_name(got), err.message, words);
    smt_st_close(&st);
}

static void begin_shards(smt_hf_folder *folder) {
    const float values[6] = {1, 2, 3, 4, 5, 6};
    smt_hf_begin(folder, "convert_shards");
    smt_hf_add(folder, "a", "F32", 2, 3, values);
    smt_hf_add(folder, "b", "BF16", 0, 4, values);
    smt_hf_add(folder, "c", "F16", 0, 2, values);
    smt_hf_write(folder, 3);
}

static void test_shards(void **state) {
    (void)state;
    smt_hf_folder folder;
    smt_error err = {0};
    smt_st st;
    uint16_t bits[2];
    begin_shards(&folder);
    SMT_ASSERT_OK(smt_st_open(&st, folder.path, &err), &err);
    assert_int_equal(st.n_tensors, 3);
    SMT_ASSERT_OK(smt_st_read(&st, smt_st_find(&st, "c"), 0, bits, 4, &err), &err);
    assert_true(smt_half_to_float(bits[1]) == 2);
    SMT_ASSERT_OK(smt_st_read(&st, smt_st_find(&st, "b"), 4, bits, 4, &err), &err);
    assert_true(smt_bf16_to_float(bits[1]) == 4);
    assert_null(smt_st_find(&st, "d"));
    smt_st_close(&st);
    smt_hf_end(&folder);
}

static void test_index(void **state) {
    static const char *const names[] = {"../model.safetensors",
                                        "/etc/passwd.safetensors",
                                        "a/b.safetensors",
                                        "a\\b.safetensors",
                                        "..safetensors.safetensors",
                                        ".safetensors",
                                        "model.bin",
                                        ""};
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(names); i++) {
        smt_hf_folder folder;
        begin_shards(&folder);
        set_index(&folder, "d", names[i]);
        open_refused(&folder, SMT_FORMAT, "not the name of a safetensors file");
        smt_hf_end(&folder);
    }
    smt_hf_folder folder;
    begin_shards(&folder);
    set_index(&folder, "b", "model-00001-of-00003.safetensors");
    open_refused(&folder, SMT_FORMAT, "puts tensor b into model-00001-of-00003.safetensors, it is in no shard");
    set_index(&folder, "b", "model-00002-of-00003.safetensors");
    set_index(&folder, "a", "model-00002-of-00003.safetensors");
    set_index(&folder, "d", "model-00001-of-00003.safetensors");
    open_refused(&folder, SMT_FORMAT, "it is in");
    smt_hf_end(&folder);
}

static void test_missing(void **state) {
    (void)state;
    smt_hf_folder folder;
    begin_shards(&folder);
    remove(smt_hf_path(&folder, "model-00002-of-00003.safetensors"));
    open_refused(&folder, SMT_IO, "1 of the 3 shards");
    open_refused(&folder, SMT_IO, "the first is model-00002-of-00003.safetensors");
    smt_hf_file(&folder, "model-00002-of-00003.safetensors", "\1\0\0", 3);
    open_refused(&folder, SMT_FORMAT, "has 3 bytes");
    remove(smt_hf_path(&folder, SMT_ST_INDEX));
    open_refused(&folder, SMT_NOT_FOUND, "neither");
    smt_hf_end(&folder);
}

/* The same tensor in two shards. */
static void test_twice(void **state) {
    (void)state;
    static const char header[] = "{" HEADER("w", "F16", "[1]", "0", "2") "}";
    smt_error err = {0};
    smt_st st = {0};
    SMT_ASSERT_OK(smt_st_add(&st, "one", header, strlen(header), 1000, &err), &err);
    SMT_ASSERT_OK(smt_st_add(&st, "two", header, strlen(header), 1000, &err), &err);
    assert_int_equal(smt_st_finish(&st, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "tensor w is in one and again in two"));
    smt_st_close(&st);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers), cmocka_unit_test(test_nesting), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_shards),  cmocka_unit_test(test_index),   cmocka_unit_test(test_missing),
        cmocka_unit_test(test_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
