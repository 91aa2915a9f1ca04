/* test_gguf_corrupt.c: a small file cut at every byte, with every bit of its header flipped, and with absurd numbers. Each
 * variant lies in a block of exactly its size, so that the address sanitizer sees the first byte read too many. */
#include "gguf_write.h"
#include "support.h"

static void make_file(uint8_t **bytes, size_t *n) {
    static const char *const texts[] = {"alpha", "be"};
    smt_error err = {0};
    smt_gguf_writer w = {.alignment = 32};
    smt_gguf_write_text(&w, "general.architecture", "llama");
    smt_gguf_write_bool(&w, "flag", true);
    smt_gguf_write_texts(&w, "texts", texts, 2);
    smt_gguf_write_array(&w, "floats", SMT_GGUF_F32, 3, (float[]){1, 2, 3}, 12);
    smt_gguf_write_tensor(&w, "a", SMT_DTYPE_F32, (uint64_t[]){8, 2, 1, 1}, NULL);
    smt_gguf_write_tensor(&w, "b", SMT_DTYPE_Q4_0, (uint64_t[]){32, 2, 2, 1}, NULL);
    SMT_ASSERT_OK(smt_gguf_write_memory(&w, bytes, n, &err), &err);
    smt_gguf_write_free(&w);
}

/* Parses an exact copy; on success reads every byte that the result points to. Returns the status. */
static smt_status parse_copy(const uint8_t *bytes, size_t n) {
    smt_error err = {0};
    smt_gguf *gguf;
    uint8_t *copy = malloc(n ? n : 1);
    unsigned sum = 0;
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    smt_status status = smt_gguf_parse(copy, n, "corrupt", &gguf, &err);
    if (status != SMT_OK) {
        assert_null(gguf);
        assert_int_equal(err.code, status);
        assert_true(strlen(err.message) > 10);
    } else {
        for (uint64_t i = 0; i < smt_gguf_key_count(gguf); i++) {
            const smt_gguf_key *key = smt_gguf_key_at(gguf, i);
            for (uint64_t e = 0; e < key->count; e++)
                if (!key->strings)
                    sum += (unsigned)smt_gguf_array_int(key, e) + (smt_gguf_array_f32(key, e) > 0);
                else if (key->strings[e].bytes)
                    sum += (uint8_t)key->strings[e].text[key->strings[e].bytes - 1];
        }
        for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
            const smt_gguf_tensor *tensor = smt_gguf_tensor_at(gguf, i);
            uint8_t ends[2];
            SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, 0, &ends[0], 1, &err), &err);
            SMT_ASSERT_OK(smt_gguf_tensor_read(tensor, tensor->bytes - 1, &ends[1], 1, &err), &err);
            sum += ends[0] + ends[1];
        }
    }
    assert_true(sum < UINT32_MAX); /* keeps the reads alive */
    smt_gguf_free(gguf);
    free(copy);
    return status;
}

static void test_truncation(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t n;
    make_file(&bytes, &n);
    assert_int_equal(parse_copy(bytes, n), SMT_OK);
    size_t needed = n - 24; /* tensor b ends 24 bytes before its padding does: 72 of 96 */
    assert_int_equal(parse_copy(bytes, needed), SMT_OK);
    for (size_t i = 0; i < needed; i++) assert_int_equal(parse_copy(bytes, i), SMT_FORMAT);
    smt_free(bytes);
}

static void test_bit_flips(void **state) {
    (void)state;
    uint8_t *bytes;
    size_t n, refused = 0;
    make_file(&bytes, &n);
    size_t header = n - 64 - 96;
    for (size_t i = 0; i < header * 8; i++) {
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
        refused += parse_copy(bytes, n) != SMT_OK;
        bytes[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    /* Flips in texts, numbers and padding go unseen; those in counts, lengths, types and offsets, most of the file, do not. */
    assert_true(refused > header * 8 / 2);
    smt_free(bytes);
}

static void test_absurd_words(void **state) {
    (void)state;
    static const uint64_t words[] = {UINT64_MAX, UINT64_MAX - 7, 1ull << 63, 1ull << 62, 1ull << 60, UINT32_MAX, 1u << 30};
    uint8_t *bytes, kept[8];
    size_t n;
    make_file(&bytes, &n);
    /* 64-bit words of the header stand at any byte: put each absurd value at each place. */
    for (size_t at = 8; at + 8 <= n - 64 - 96; at++)
        for (size_t i = 0; i < SMT_COUNT(words); i++) {
            memcpy(kept, bytes + at, 8);
            memcpy(bytes + at, &words[i], 8);
            smt_status status = parse_copy(bytes, n);
            if (at == 8 || at == 16) assert_int_equal(status, SMT_FORMAT); /* the counts of tensors and keys */
            memcpy(bytes + at, kept, 8);
        }
    assert_int_equal(parse_copy(bytes, n), SMT_OK);
    smt_free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_absurd_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
