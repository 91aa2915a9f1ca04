/* test_token_stream.c: encoding and decoding rules on spelled-out vocabularies: specials, bad bytes, streaming, long texts. */
#include "test_token_fixture.h"
#include "token/token_internal.h"

#include <time.h>

/* Marks of calls of functions are seen in answers, and can still not be written by users. */
static void marks_of_calls_have_a_text(void **state) {
    static const char mark[] = "<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>";
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    int tool = spec_add(&spec, mark, 3, 0), other = spec_add(&spec, "<\xef\xbd\x9cUser\xef\xbd\x9c>", 3, 0);
    smt_vocab *vocab = spec_vocab(&spec);
    const int32_t both[] = {97, tool, other};
    assert_text(vocab, both, 3, "a<\xef\xbd\x9ctool\xe2\x96\x81sep\xef\xbd\x9c>", 1 + sizeof mark - 1);
    assert_true(smt_token_has_text(vocab, tool));
    assert_false(smt_token_has_text(vocab, other));
    assert_ids(vocab, mark, sizeof mark - 1, SMT_TOKENIZE_SPECIAL, &both[1], 1);
    int32_t *ids;
    size_t count;
    smt_error err = {0};
    SMT_ASSERT_OK(smt_token_encode(vocab, mark, sizeof mark - 1, 0, &ids, &count, &err), &err);
    assert_true(count > 1);
    smt_free(ids);
    smt_vocab_free(vocab);
}

static void bpe_rules(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    smt_vocab *vocab = spec_vocab(&spec);
    assert_int_equal(smt_vocab_size(vocab), 262);
    assert_int_equal(smt_vocab_bos(vocab), 259);
    assert_true(smt_vocab_adds_bos(vocab));
    assert_true(smt_vocab_is_end(vocab, 260));
    assert_false(smt_vocab_is_end(vocab, 259));
    assert_false(smt_vocab_is_end(vocab, -1));
    assert_false(smt_vocab_is_end(vocab, 262));
    ASSERT_IDS(vocab, "abc ab", 0, 257, 32, 256); /* " a" comes after "a b" in rank */
    ASSERT_IDS(vocab, " a", 0, 258);
    ASSERT_IDS(vocab, "a\0b", 0, 97, 0, 98);
    ASSERT_IDS(vocab, "a", SMT_TOKENIZE_BOS, 259, 97);
    ASSERT_IDS(vocab, "<end>", SMT_TOKENIZE_SPECIAL, 260);
    ASSERT_IDS(vocab, "a<end><begin>", SMT_TOKENIZE_SPECIAL | SMT_TOKENIZE_BOS, 259, 97, 260, 259);
    ASSERT_IDS(vocab, "<end>", 0, '<', 'e', 'n', 'd', '>');
    ASSERT_IDS(vocab,
               "a\xc3\xbc"
               "b",
               0, 97, 261, 98); /* user-defined: always */
    ASSERT_IDS(vocab, "\xc3\xa9", 0, 0xc3, 0xa9);
    ASSERT_IDS(vocab, "a\xff", 0, 97, 0xef, 0xbf, 0xbd);
    ASSERT_IDS(vocab, "\xe4\xbd", 0, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd);
    ASSERT_IDS(vocab, "\xed\xa0\x80", 0, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd);
    assert_ids(vocab, "", 0, 0, (const int32_t[]){0}, 0);
    assert_ids(vocab, NULL, 0, SMT_TOKENIZE_SPECIAL, (const int32_t[]){0}, 0);
    smt_vocab_free(vocab);
}

static void spm_rules(void **state) {
    (void)state;
    token_spec spec;
    spec_spm(&spec);
    smt_vocab *vocab = spec_vocab(&spec);
    enum { SPACE = 259, A, B, AB, SPACE_A, TOOL };
    ASSERT_IDS(vocab, "ab", 0, SPACE, AB);  /* "ab" has the better score than "▁a" */
    ASSERT_IDS(vocab, "aa", 0, SPACE_A, A); /* equal pairs would go left first */
    ASSERT_IDS(vocab, "b", SMT_TOKENIZE_BOS, 1, SPACE, B);
    ASSERT_IDS(vocab, "a<tool>b", 0, SPACE_A, TOOL, SPACE, B);
    ASSERT_IDS(vocab, "<s>b", SMT_TOKENIZE_SPECIAL, 1, SPACE, B);
    ASSERT_IDS(vocab, "<s>", 0, SPACE, 3 + '<', 3 + 's', 3 + '>');
    ASSERT_IDS(vocab, "<0x41>", SMT_TOKENIZE_SPECIAL, SPACE, 3 + '<', 3 + '0', 3 + 'x', 3 + '4', 3 + '1', 3 + '>');
    ASSERT_IDS(vocab, "\xc3\xa9", 0, SPACE, 3 + 0xc3, 3 + 0xa9);
    assert_ids(vocab, "", 0, 0, (const int32_t[]){0}, 0);
    static const int32_t prefix[] = {SPACE_A, SPACE, B}, after_bos[] = {1, SPACE, SPACE, B},
                         byte[] = {3 + 0xe4, 3 + 0xbd, 3 + 0xa0};
    assert_text(vocab, prefix, 3, "a b", 3);
    assert_text(vocab, after_bos, 4, " b", 2);
    assert_text(vocab, byte, 3, "\xe4\xbd\xa0", 3);
    smt_vocab_free(vocab);
}

/* Marks that a file types as user-defined must not be reachable from user text. */
static void marks_are_control(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    int by_text = spec_add(&spec,
                           "<\xef\xbd\x9c"
                           "fim\xe2\x96\x81hole\xef\xbd\x9c>",
                           4, 0);
    int by_key = spec_add(&spec, "<PRE>", 4, 0), eot = spec_add(&spec, "<|EOT|>", 4, 0);
    spec.fim_pre = by_key;
    smt_vocab *vocab = spec_vocab(&spec);
    ASSERT_IDS(vocab, "<PRE>", 0, '<', 'P', 'R', 'E', '>');
    ASSERT_IDS(vocab,
               "<\xef\xbd\x9c"
               "fim\xe2\x96\x81hole\xef\xbd\x9c><PRE><|EOT|>",
               SMT_TOKENIZE_SPECIAL, 262, 263, 264);
    assert_int_equal(by_text, 262);
    assert_true(smt_vocab_is_end(vocab, eot));
    assert_false(smt_vocab_is_end(vocab, by_key));
    assert_text(vocab, &by_key, 1, "", 0);
    smt_vocab_free(vocab);
}

/* The longest special wins, wherever it starts; among equal lengths the leftmost. */
static void longest_special_first(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    spec_add(&spec, "xy", 4, 0);
    spec_add(&spec, "yzw", 4, 0);
    spec_add(&spec, "yz", 4, 0);
    smt_vocab *vocab = spec_vocab(&spec);
    ASSERT_IDS(vocab, "xyzw", 0, 'x', 263);
    ASSERT_IDS(vocab, "xyz", 0, 262, 'z');
    ASSERT_IDS(vocab, "xyxyyz", 0, 262, 262, 264);
    smt_vocab_free(vocab);
}

/* llama-bpe takes a fragment that is a token whole, although no merge leads there. */
static void whole_fragments(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    int id = spec_add(&spec, "\xc4\xa0zq", 1, 0);
    spec.pre = "llama-bpe";
    smt_vocab *vocab = spec_vocab(&spec);
    assert_ids(vocab, " zq", 3, 0, &id, 1);
    smt_vocab_free(vocab);
    spec.pre = "deepseek-llm";
    vocab = spec_vocab(&spec);
    ASSERT_IDS(vocab, " zq", 0, 32, 'z', 'q');
    smt_vocab_free(vocab);
}

static void utf8_lengths(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t bytes;
        int want;
    } cases[] = {
        {"", 0, 0},
        {"a", 1, 1},
        {"\x80", 1, -1},
        {"\xc0\x80", 2, -1},
        {"\xc1\xbf", 2, -1},
        {"\xc2\x80", 2, 2},
        {"\xc2", 1, 0},
        {"\xc2\x41", 2, -1},
        {"\xe0\x80\x80", 3, -1},
        {"\xe0\xa0", 2, 0},
        {"\xe0\x9f", 2, -1},
        {"\xed\x9f\xbf", 3, 3},
        {"\xed\xa0\x80", 3, -1},
        {"\xf0\x8f\xbf\xbf", 4, -1},
        {"\xf0\x90\x80\x80", 4, 4},
        {"\xf0\x90\x80", 3, 0},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"\xf4\x90\x80\x80", 4, -1},
        {"\xf5\x80", 2, -1},
        {"\xff", 1, -1},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) assert_int_equal(smt_token_utf8(cases[i].text, cases[i].bytes), cases[i].want);
}

/* Whatever ids come, and in whatever portions: the stream gives the cleaned bytes of the whole, complete at every step. */
static void stream_is_whole(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    smt_vocab *vocab = spec_vocab(&spec);
    static const int32_t pool[] = {'a', 256, 0xe4, 0xbd, 0xa0, 0xf0, 0x9f, 0x98, 0x80, 0xc3, 0xa9, 0xff, 0xc0, 0xed, 259, 261};
    smt_test_random random = {3};
    for (int round = 0; round < 2000; round++) {
        smt_error err = {0};
        int32_t ids[24];
        size_t n = smt_test_next(&random) % 24, rest;
        for (size_t i = 0; i < n; i++) ids[i] = pool[smt_test_next(&random) % SMT_COUNT(pool)];
        smt_str whole = {0}, clean = {0}, again = {0}, streamed = stream_all(vocab, ids, n);
        SMT_ASSERT_OK(smt_token_decode(vocab, ids, n, &whole, &err), &err);
        SMT_ASSERT_OK(smt_token_clean(whole.text, whole.bytes, &clean, NULL, &err), &err);
        assert_int_equal(streamed.bytes, clean.bytes);
        assert_memory_equal(streamed.text, clean.text, clean.bytes);
        SMT_ASSERT_OK(smt_token_clean(clean.text, clean.bytes, &again, &rest, &err), &err);
        assert_int_equal(rest, 0);
        assert_string_equal(again.text, clean.text);
        smt_str_free(&whole);
        smt_str_free(&clean);
        smt_str_free(&again);
        smt_str_free(&streamed);
    }
    smt_vocab_free(vocab);
}

static void stream_borders(void **state) {
    (void)state;
    token_spec spec;
    spec_bpe(&spec);
    smt_vocab *vocab = spec_vocab(&spec);
    static const struct {
        int32_t token;
        const char *out;
        uint32_t held;
    } steps[] = {
        {'a', "a", 0},
        {0xf0, "", 1},
        {0x9f, "", 2},
        {0x98, "", 3},
        {0x80, "\xf0\x9f\x98\x80", 0},
        {0xe4, "", 1},
        {'b',
         "\xef\xbf\xbd"
         "b",
         0}, /* what cannot be completed any more is given up at once */
        {0xe4, "", 1},
        {0xbd, "", 2},
        {260, "", 2}, /* a control token changes nothing */
        {0xe4, "\xef\xbf\xbd\xef\xbf\xbd", 1},
    };
    smt_error err = {0};
    smt_token_stream stream;
    smt_token_stream_init(&stream, vocab);
    for (size_t i = 0; i < SMT_COUNT(steps); i++) {
        SMT_ASSERT_OK(smt_token_stream_push(&stream, steps[i].token, &err), &err);
        assert_string_equal(stream.out.text, steps[i].out);
        assert_int_equal(stream.tail_bytes, steps[i].held);
    }
    assert_int_equal(smt_token_stream_push(&stream, 262, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "262"));
    assert_int_equal(smt_token_stream_push(&stream, -1, &err), SMT_INVALID);
    assert_int_equal(stream.tail_bytes, 1); /* a refused token leaves what was held back */
    SMT_ASSERT_OK(smt_token_stream_flush(&stream, &err), &err);
    assert_string_equal(stream.out.text, "\xef\xbf\xbd");
    SMT_ASSERT_OK(smt_token_stream_flush(&stream, &err), &err);
    assert_int_equal(stream.out.bytes, 0);
    smt_token_stream_free(&stream);
    smt_vocab_free(vocab);
}

/* A stream that continues a text keeps the first space. */
static void stream_continues(void **state) {
    (void)state;
    token_spec spec;
    spec_spm(&spec);
    smt_vocab *vocab = spec_vocab(&spec);
    smt_error err = {0};
    for (int continues = 0; continues < 2; continues++) {
        smt_token_stream stream;
        smt_token_stream_init(&stream, vocab);
        stream.started = continues;
        SMT_ASSERT_OK(smt_token_stream_push(&stream, 1, &err), &err);
        SMT_ASSERT_OK(smt_token_stream_push(&stream, 263, &err), &err);
        assert_string_equal(stream.out.text, continues ? " a" : "a");
        smt_token_stream_free(&stream);
    }
    smt_vocab_free(vocab);
}

static void check_long(const char *model, const char *pattern) {
    enum { N = 99996 }; /* a multiple of every non-ASCII pattern's length */
    smt_vocab *vocab = vocab_of_file(smt_test_data(model));
    char *text = smt_alloc(N, 1);
    for (size_t i = 0, n = strlen(pattern); i < N; i++) text[i] = pattern[i % n];
    smt_error err = {0};
    int32_t *ids;
    size_t count;
    clock_t start = clock();
    SMT_ASSERT_OK(smt_token_encode(vocab, text, N, SMT_TOKENIZE_SPECIAL, &ids, &count, &err), &err);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (seconds > 2) fail_msg("%s: %d characters of \"%s\" took %.1f s", model, N, pattern, seconds);
    assert_text(vocab, ids, count, text, N);
    smt_free(ids);
    smt_free(text);
    smt_vocab_free(vocab);
}

static void long_texts(void **state) {
    (void)state;
    static const char *const patterns[] = {"x",  "the",        "QmFzZTY0IGlzIG5vdCBhIHdvcmQ", " ", "<",
                                           "\n", "1234567890", "\xe4\xbd\xa0\xe5\xa5\xbd"};
    for (size_t i = 0; i < SMT_COUNT(patterns); i++) {
        check_long("g-v2.f16.gguf", patterns[i]);
        check_long("g-llama2.f16.gguf", patterns[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_rules),
        cmocka_unit_test(spm_rules),
        cmocka_unit_test(marks_are_control),
        cmocka_unit_test(marks_of_calls_have_a_text),
        cmocka_unit_test(longest_special_first),
        cmocka_unit_test(whole_fragments),
        cmocka_unit_test(utf8_lengths),
        cmocka_unit_test(stream_is_whole),
        cmocka_unit_test(stream_borders),
        cmocka_unit_test(stream_continues),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
