/* test_token_vectors.c: ids and decoded bytes against published vectors: two small vocabularies in tests/data, and the real
 * vocabularies of deepseek-llm, deepseek-coder and Llama 2 where the shared folder is available. */
#include "test_token_fixture.h"

#include <jansson.h>

static int32_t *ids_of(const json_t *list, size_t *out_count) {
    *out_count = json_array_size(list);
    int32_t *ids = calloc(*out_count + 1, sizeof *ids);
    for (size_t i = 0; i < *out_count; i++) ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

static json_t *load_json(const char *path) {
    json_error_t problem;
    json_t *document = json_load_file(path, 0, &problem);
    if (!document) fail_msg("%s:%d: %s", path, problem.line, problem.text);
    return document;
}

/* ---- tests/data ---- */

static void check_list(const smt_vocab *vocab, const json_t *row, const char *key, uint32_t flags) {
    const json_t *text = json_object_get(row, "text");
    size_t n_want;
    int32_t *want = ids_of(json_object_get(row, key), &n_want);
    assert_ids(vocab, json_string_value(text), json_string_length(text), flags, want, n_want);
    free(want);
}

static void check_small(const char *model, const char *vectors) {
    smt_vocab *vocab = vocab_of_file(smt_test_data(model));
    json_t *document = load_json(smt_test_data(vectors));
    const json_t *cases = json_object_get(document, "cases");
    assert_true(json_array_size(cases) >= 20);
    size_t i, n_ambiguous = 0;
    json_t *row;
    json_array_foreach(cases, i, row) {
        check_list(vocab, row, "ids", 0);
        check_list(vocab, row, "ids_with_bos", SMT_TOKENIZE_BOS);
        check_list(vocab, row, "ids_parse_special", SMT_TOKENIZE_SPECIAL);
        size_t count;
        int32_t *ids = ids_of(json_object_get(row, "ids"), &count);
        const char *text = json_string_value(json_object_get(row, "text"));
        if (strstr(text, "\xe2\x96\x81") == NULL)
            assert_text(vocab, ids, count, text, strlen(text)); /* SPM: U+2581 is a space */
        else
            n_ambiguous++;
        free(ids);
    }
    assert_true(n_ambiguous <= 2);
    json_decref(document);
    smt_vocab_free(vocab);
}

static void small_bpe(void **state) {
    (void)state;
    check_small("g-v2.f16.gguf", "tokens-bpe.json");
}

static void small_spm(void **state) {
    (void)state;
    check_small("g-llama2.f16.gguf", "tokens-spm.json");
}

/* ---- the real vocabularies ---- */

static size_t unhex(const json_t *hex, uint8_t *out) {
    const char *text = json_string_value(hex);
    size_t bytes = json_string_length(hex) / 2;
    for (size_t i = 0; i < bytes; i++) {
        unsigned value = 0;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &value), 1);
        out[i] = (uint8_t)value;
    }
    return bytes;
}

static void check_vector(const smt_vocab *vocab, const json_t *row) {
    static const struct {
        const char *key;
        uint32_t flags;
    } lists[] = {
        {"ids_plain", 0}, {"ids_special", SMT_TOKENIZE_SPECIAL}, {"ids_special_bos", SMT_TOKENIZE_SPECIAL | SMT_TOKENIZE_BOS}};
    uint8_t bytes[4096];
    size_t n_bytes = unhex(json_object_get(row, "hex"), bytes);
    for (size_t i = 0; i < SMT_COUNT(lists); i++) {
        size_t n_want;
        int32_t *want = ids_of(json_object_get(row, lists[i].key), &n_want);
        assert_ids(vocab, (const char *)bytes, n_bytes, lists[i].flags, want, n_want);
        free(want);
    }
    size_t count;
    int32_t *plain = ids_of(json_object_get(row, "ids_plain"), &count);
    n_bytes = unhex(json_object_get(row, "decoded_hex_plain"), bytes);
    assert_text(vocab, plain, count, bytes, n_bytes);
    free(plain);
}

/* A vocabulary of SPM has tokens for bad bytes, so those vectors of it pass them through; here they are U+FFFD everywhere. */
static bool is_ours(const json_t *row, const smt_vocab *vocab) {
    bool invalid = strncmp(json_string_value(json_object_get(row, "category")), "invalid", 7) == 0;
    return !invalid || smt_vocab_size(vocab) != 32000;
}

static void check_vectors(const smt_vocab *vocab, const char *path) {
    json_t *document = load_json(path), *rows = json_object_get(document, "vectors"), *row;
    assert_int_equal(json_array_size(rows), 18);
    size_t i;
    json_array_foreach(rows, i, row) if (is_ours(row, vocab)) check_vector(vocab, row);
    json_decref(document);
}

/* Texts with a separator line between them, and one line of ids for each. */
static void check_inp_out(const smt_vocab *vocab, const char *inp_path, const char *out_path) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    static char texts[1 << 16], line[1 << 14];
    FILE *inp = fopen(inp_path, "rb"), *out = fopen(out_path, "rb");
    assert_non_null(inp);
    assert_non_null(out);
    texts[fread(texts, 1, sizeof texts - 1, inp)] = 0;
    int n = 0;
    for (char *text = texts, *next; text && fgets(line, sizeof line, out); text = next, n++) {
        next = strstr(text, separator);
        if (next) {
            *next = 0;
            next += sizeof separator - 1;
        }
        int32_t want[2048];
        size_t n_want = 0;
        int used;
        for (char *at = line; sscanf(at, "%d%n", &want[n_want], &used) == 1; at += used) n_want++;
        assert_ids(vocab, text, strlen(text), 0, want, n_want);
    }
    assert_int_equal(n, 46);
    fclose(inp);
    fclose(out);
}

static void check_real(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "reference/vocab/ggml-vocab-%s.gguf", name);
    const char *model = smt_test_shared(path);
    if (!model) skip();
    smt_vocab *vocab = vocab_of_file(model);
    snprintf(path, sizeof path, "reference/vocab/vectors-%s.json", name);
    check_vectors(vocab, smt_test_shared(path));
    snprintf(path, sizeof path, "reference/vocab/ggml-vocab-%s.gguf.inp", name);
    const char *inp = smt_test_shared(path);
    snprintf(path, sizeof path, "reference/vocab/ggml-vocab-%s.gguf.out", name);
    check_inp_out(vocab, inp, smt_test_shared(path));
    smt_vocab_free(vocab);
}

static void real_deepseek_llm(void **state) {
    (void)state;
    check_real("deepseek-llm");
}

static void real_deepseek_coder(void **state) {
    (void)state;
    check_real("deepseek-coder");
}

static void real_llama_spm(void **state) {
    (void)state;
    check_real("llama-spm");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_bpe),           cmocka_unit_test(small_spm),      cmocka_unit_test(real_deepseek_llm),
        cmocka_unit_test(real_deepseek_coder), cmocka_unit_test(real_llama_spm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
