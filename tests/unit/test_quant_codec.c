/* test_quant_codec.c: decoders against blocks and values computed by an independent program (tests/data/quant-vectors.json:
 * random block bytes and float32 bit patterns, compared bit for bit), and the codebooks against their lists. */
#include "support.h"

#include "quant/quant.h"

#include <jansson.h>
#include <math.h>

static uint32_t hex(const char *text, int digits) {
    char part[9] = {0};
    memcpy(part, text, (size_t)digits);
    return (uint32_t)strtoul(part, NULL, 16);
}

static void decode_one(const char *name, json_t *entry) {
    smt_dtype type = (smt_dtype)json_integer_value(json_object_get(entry, "type_id"));
    const char *data = json_string_value(json_object_get(entry, "data"));
    const char *values = json_string_value(json_object_get(entry, "f32"));
    size_t n_bytes = strlen(data) / 2, n = strlen(values) / 8;
    assert_int_equal(n_bytes, smt_dtype_row_bytes(type, n));

    uint8_t *bytes = smt_alloc(n_bytes + 1, 1);
    float *out = smt_alloc(n, sizeof *out);
    for (size_t i = 0; i < n_bytes; i++) bytes[i + 1] = (uint8_t)hex(data + 2 * i, 2); /* + 1: no alignment to lean on */
    assert_true(smt_quant_decode(type, bytes + 1, out, n));
    for (size_t i = 0; i < n; i++) {
        uint32_t bits, expected = hex(values + 8 * i, 8);
        memcpy(&bits, &out[i], sizeof bits);
        if (isnan(out[i]) && (expected & 0x7fffffff) > 0x7f800000) continue; /* which NaN is nobody's business */
        if (bits != expected) fail_msg("%s element %zu: %08x, expected %08x", name, i, bits, expected);
    }
    smt_free(bytes);
    smt_free(out);
}

static void test_decode_vectors(void **state) {
    (void)state;
    json_t *root = json_load_file(smt_test_data("quant-vectors.json"), 0, NULL);
    assert_non_null(root);
    json_t *types = json_object_get(root, "types"), *entry;
    const char *name;
    json_object_foreach(types, name, entry) decode_one(name, entry);
    for (uint32_t id = 1; id < SMT_DTYPE_LIMIT; id++) /* every type with a decoder is there, but F32, which needs none */
        if (smt_quant_decode((smt_dtype)id, NULL, NULL, 0)) assert_non_null(json_object_get(types, smt_dtype_get(id)->name));
    json_decref(root);
}

static const struct {
    const char *file; /* reference/iq/FILE.csv of the shared data */
    uint32_t base, count;
    int low, second, third; /* the values of two bits; 0 0 0: entries are bytes */
} codebooks[] = {
    {"iq2_xxs_grid", CODEBOOK_IQ2_XXS, 256, 8, 25, 43}, {"iq2_xs_grid", CODEBOOK_IQ2_XS, 512, 8, 25, 43},
    {"iq2_s_grid", CODEBOOK_IQ2_S, 1024, 8, 25, 43},    {"iq1_s_grid", CODEBOOK_IQ1, 2048, -1, 0, 1},
    {"iq3_xxs_grid", CODEBOOK_IQ3_XXS, 256, 0, 0, 0},   {"iq3_s_grid", CODEBOOK_IQ3_S, 512, 0, 0, 0},
};

static bool of_bytes(size_t c) { return codebooks[c].low == 0; }

static uint32_t codebook_entry(size_t c, uint32_t i) {
    const uint32_t *words = smt_quant_codebooks + codebooks[c].base;
    return of_bytes(c) ? words[i] : words[i / 2] >> (16 * (i % 2)) & 0xffff;
}

static int codebook_value(size_t c, uint32_t i, uint32_t j) {
    uint32_t e = codebook_entry(c, i);
    if (of_bytes(c)) return (int)(e >> (8 * j) & 255);
    const int values[4] = {codebooks[c].low, codebooks[c].second, codebooks[c].third, 99};
    return values[e >> (2 * j) & 3];
}

/* What holds of the published lists without looking at them: they lie end to end and ascend, and every code has a value. */
static void test_codebook_order(void **state) {
    (void)state;
    uint32_t end = 0;
    for (size_t c = 0; c < SMT_COUNT(codebooks); c++) {
        assert_int_equal(codebooks[c].base, end);
        end += of_bytes(c) ? codebooks[c].count : codebooks[c].count / 2;
        for (uint32_t i = 0; i < codebooks[c].count; i++) {
            bool ascends = i == 0 || codebook_entry(c, i) > codebook_entry(c, i - 1), valued = true;
            for (uint32_t j = 0; j < (of_bytes(c) ? 4 : 8); j++) valued &= codebook_value(c, i, j) < 63;
            if (!ascends || !valued) fail_msg("%s entry %u: %08x", codebooks[c].file, i, codebook_entry(c, i));
        }
    }
    assert_int_equal(end, CODEBOOK_WORDS);
}

static void test_codebook_lists(void **state) {
    (void)state;
    for (size_t c = 0; c < SMT_COUNT(codebooks); c++) {
        char name[64], line[128];
        snprintf(name, sizeof name, "reference/iq/%s.csv", codebooks[c].file);
        const char *path = smt_test_shared(name);
        if (!path) skip();
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_non_null(fgets(line, sizeof line, file)); /* the heading */
        for (uint32_t i = 0; i < codebooks[c].count; i++) {
            assert_non_null(fgets(line, sizeof line, file));
            char *at = line;
            assert_int_equal(strtol(at, &at, 10), i);
            for (uint32_t j = 0; j < (of_bytes(c) ? 4 : 8); j++)
                assert_int_equal(strtol(at + 1, &at, 10), codebook_value(c, i, j));
        }
        fclose(file);
    }
}

static void test_refusals(void **state) {
    (void)state;
    float x[256] = {0};
    uint8_t bytes[1024] = {0};
    assert_false(smt_quant_decode(SMT_DTYPE_Q8_K, bytes, x, 256));
    assert_false(smt_quant_encode(SMT_DTYPE_TQ1_0, x, bytes, 256));
    assert_false(smt_quant_decode((smt_dtype)4, bytes, x, 32));
    assert_false(smt_quant_decode((smt_dtype)9999, bytes, x, 32));
    assert_false(smt_quant_decode(SMT_DTYPE_Q4_0, bytes, x, 33));
    assert_false(smt_quant_encode(SMT_DTYPE_Q6_K, x, bytes, 128));
    assert_true(smt_quant_decode(SMT_DTYPE_Q6_K, bytes, x, 0));
    for (uint32_t id = 0; id < SMT_DTYPE_LIMIT; id++) { /* what the engine runs, it can decode */
        const smt_dtype_info *info = smt_dtype_get(id);
        if (info && info->runs) assert_true(smt_quant_decode((smt_dtype)id, bytes, x, 0));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_vectors),
        cmocka_unit_test(test_codebook_order),
        cmocka_unit_test(test_codebook_lists),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
