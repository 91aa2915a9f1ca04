/* test_convert_imatrix.c: importance matrices in both forms: what they say, and every way in which they may be damaged. */
#include "convert/quantize_internal.h"
#include "gguf_write.h"
#include "support.h"

#include <math.h>

/* Two matrices: three columns of one plane; two columns of two planes, the second of which saw nothing. */
static void gguf_form(uint8_t **bytes, size_t *n) {
    smt_error err = {0};
    smt_gguf_writer w = {0};
    smt_gguf_write_text(&w, "general.type", "imatrix");
    smt_gguf_write_u32(&w, "imatrix.chunk_count", 7);
    smt_gguf_write_tensor(&w, "b.weight.in_sum2", SMT_DTYPE_F32, (uint64_t[]){3, 1, 1, 1}, (float[]){2, 4, 0});
    smt_gguf_write_tensor(&w, "b.weight.counts", SMT_DTYPE_F32, (uint64_t[]){1, 1, 1, 1}, (float[]){2});
    smt_gguf_write_tensor(&w, "a.weight.in_sum2", SMT_DTYPE_F32, (uint64_t[]){2, 2, 1, 1}, (float[]){3, 6, 0, 0});
    smt_gguf_write_tensor(&w, "a.weight.counts", SMT_DTYPE_F32, (uint64_t[]){1, 2, 1, 1}, (float[]){3, 0});
    SMT_ASSERT_OK(smt_gguf_write_memory(&w, bytes, n, &err), &err);
    smt_gguf_write_free(&w);
}

static void put(smt_str *to, const void *bytes, size_t n) {
    smt_error err = {0};
    SMT_ASSERT_OK(smt_str_append(to, bytes, n, &err), &err);
}

static void put_i32(smt_str *to, int32_t value) { put(to, &value, sizeof value); }

static void put_entry(smt_str *to, const char *name, int32_t calls, int32_t n, const float *values) {
    put_i32(to, (int32_t)strlen(name));
    put(to, name, strlen(name));
    put_i32(to, calls);
    put_i32(to, n);
    put(to, values, (size_t)n * sizeof *values);
}

/* The same numbers in the older form. */
static void dat_form(uint8_t **bytes, size_t *n) {
    smt_str out = {0};
    put_i32(&out, 2);
    put_entry(&out, "b.weight", 2, 3, (float[]){2, 4, 0});
    put_entry(&out, "a.weight", 3, 4, (float[]){3, 6, 3, 3});
    put_i32(&out, 7);
    put_i32(&out, 4);
    put(&out, "text", 4);
    *bytes = (uint8_t *)out.text;
    *n = out.bytes;
}

static void check(const uint8_t *bytes, size_t n) {
    smt_error err = {0};
    smt_imatrix *imatrix;
    SMT_ASSERT_OK(smt_imatrix_parse(bytes, n, "matrix", &imatrix, &err), &err);
    assert_int_equal(smt_imatrix_count(imatrix), 2);
    assert_int_equal(smt_imatrix_chunks(imatrix), 7);
    const smt_imatrix_entry *a = smt_imatrix_find(imatrix, "a.weight"), *b = smt_imatrix_find(imatrix, "b.weight");
    assert_int_equal(a->n, 4);
    assert_memory_equal(a->values, ((float[]){1, 2, 1, 1}), 16);
    assert_int_equal(b->n, 3);
    assert_memory_equal(b->values, ((float[]){1, 2, 0}), 12);
    assert_null(smt_imatrix_find(imatrix, "c.weight"));
    smt_imatrix_free(imatrix);
}

static void test_both_forms(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t n;
    gguf_form(&bytes, &n);
    check(bytes, n);
    smt_free(bytes);
    dat_form(&bytes, &n);
    check(bytes, n);
    check(bytes, n - 8); /* without the text's name; the chunks are optional too */
    smt_free(bytes);
}

/* Parses an exact copy, so that the address sanitizer sees the first byte read too many; reads all that comes of it. */
static smt_status parse_copy(const uint8_t *bytes, size_t n) {
    smt_error err = {0};
    smt_imatrix *imatrix;
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    smt_status status = smt_imatrix_parse(copy, n, "matrix", &imatrix, &err);
    free(copy);
    if (status == SMT_OK) {
        const smt_imatrix_entry *entry = smt_imatrix_find(imatrix, "a.weight");
        for (uint64_t i = 0; entry && i < entry->n; i++) assert_true(isfinite(entry->values[i]) && entry->values[i] >= 0);
        smt_imatrix_free(imatrix);
    } else {
        assert_null(imatrix);
        assert_int_equal(err.code, status);
        assert_true(strlen(err.message) > 10);
    }
    return status;
}

static void test_damage(void **state) {
    (void)state;
    for (int form = 0; form < 2; form++) {
        uint8_t *bytes;
        size_t n, refused = 0;
        (form ? dat_form : gguf_form)(&bytes, &n);
        size_t needed = form ? n - 12 : n - 24; /* beyond: chunks and text; the padding of the last tensor */
        for (size_t cut = 0; cut < n; cut++)
            if (cut < needed) assert_int_equal(parse_copy(bytes, cut), SMT_FORMAT);
        for (size_t bit = 0; bit < n * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            refused += parse_copy(bytes, n) != SMT_OK;
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_true(refused > n); /* an eighth of all bits, at least */
        static const uint64_t words[] = {UINT64_MAX, 1ull << 63, 1ull << 62, UINT32_MAX, 1u << 31, 1u << 30};
        for (size_t at = 0; at + 8 <= n; at++)
            for (size_t w = 0; w < SMT_COUNT(words); w++) {
                uint8_t kept[8];
                memcpy(kept, bytes + at, 8);
                memcpy(bytes + at, &words[w], 8);
                parse_copy(bytes, n);
                memcpy(bytes + at, kept, 8);
            }
        assert_int_equal(parse_copy(bytes, n), SMT_OK);
        smt_free(bytes);
    }
}

static void refused(const smt_str *file, const char *words) {
    smt_error err = {0};
    smt_imatrix *imatrix;
    assert_int_equal(smt_imatrix_parse(file->text, file->bytes, "matrix", &imatrix, &err), SMT_FORMAT);
    if (!strstr(err.message, words)) fail_msg("\"%s\" does not say \"%s\"", err.message, words);
}

static void test_refusals(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -1};
    for (size_t i = 0; i < SMT_COUNT(bad); i++) {
        smt_str file = {0};
        put_i32(&file, 1);
        put_entry(&file, "a.weight", 1, 2, (float[]){1, bad[i]});
        refused(&file, "importance 1 of a.weight");
        smt_str_free(&file);
    }
    smt_str file = {0};
    put_i32(&file, 2);
    put_entry(&file, "a.weight", 1, 1, (float[]){1});
    put_entry(&file, "a.weight", 1, 1, (float[]){1});
    refused(&file, "occurs twice");
    smt_str_free(&file);

    smt_error err = {0};
    smt_imatrix *imatrix;
    uint8_t *bytes;
    size_t n;
    smt_gguf_writer w = {0}, lonely = {0};
    smt_gguf_write_tensor(&w, "a", SMT_DTYPE_F32, (uint64_t[]){4, 1, 1, 1}, NULL);
    SMT_ASSERT_OK(smt_gguf_write_memory(&w, &bytes, &n, &err), &err);
    assert_int_equal(smt_imatrix_parse(bytes, n, "matrix", &imatrix, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "holds no importances"));
    smt_free(bytes);
    smt_gguf_write_free(&w);
    smt_gguf_write_tensor(&lonely, "a.in_sum2", SMT_DTYPE_F32, (uint64_t[]){4, 1, 1, 1}, NULL);
    SMT_ASSERT_OK(smt_gguf_write_memory(&lonely, &bytes, &n, &err), &err);
    assert_int_equal(smt_imatrix_parse(bytes, n, "matrix", &imatrix, &err), SMT_FORMAT);
    assert_non_null(strstr(err.message, "a.in_sum2 has no a.counts"));
    smt_free(bytes);
    smt_gguf_write_free(&lonely);
    assert_int_equal(smt_imatrix_open(smt_test_work("no-such-file"), &imatrix, &err), SMT_IO);
}

static void test_allocation_failures(void **state) {
    (void)state;
    for (int form = 0; form < 2; form++) {
        uint8_t *bytes;
        size_t n;
        (form ? dat_form : gguf_form)(&bytes, &n);
        for (uint64_t fail = 1;; fail++) {
            smt_error err = {0};
            smt_imatrix *imatrix;
            smt_mem_fail_after(fail);
            smt_status status = smt_imatrix_parse(bytes, n, "matrix", &imatrix, &err);
            smt_mem_fail_after(0);
            smt_imatrix_free(imatrix);
            if (status == SMT_OK) {
                assert_true(fail > 4);
                break;
            }
            assert_int_equal(status, SMT_MEMORY);
            assert_int_equal(err.code, SMT_MEMORY);
        }
        smt_free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_forms),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
