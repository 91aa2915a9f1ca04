/* test_token_stop.c: stop strings in a text that comes in pieces: against a search that is given the whole text, for every way to
 * cut small texts, and through the public text stream with characters spread over tokens. */
#include "support.h"
#include "token/token.h"

#define ASSERT_STOPS(texts, text, want, index) assert_stops((texts), SMT_COUNT(texts), (text), (want), (index))

/* Feeds `text` in pieces that end where `cuts` has a bit; what comes out goes to out. Returns the stop string. */
static int32_t run(const char *const *stops, uint32_t n, const char *text, uint32_t cuts, smt_str *out) {
    smt_error err = {0};
    smt_token_stops matcher = {.hit = -1};
    size_t length = strlen(text), from = 0;
    SMT_ASSERT_OK(smt_token_stops_set(&matcher, stops, n, &err), &err);
    for (size_t i = 1; i <= length; i++) {
        if (i < length && !(cuts >> (i - 1) & 1)) continue;
        SMT_ASSERT_OK(smt_token_stops_feed(&matcher, text + from, i - from, &err), &err);
        assert_int_equal(smt_str_append(out, matcher.text.text, matcher.n_given, NULL), SMT_OK);
        from = i;
    }
    SMT_ASSERT_OK(smt_token_stops_feed(&matcher, "", 0, &err), &err);
    smt_token_stops_end(&matcher);
    assert_int_equal(smt_str_append(out, matcher.text.text, matcher.n_given, NULL), SMT_OK);
    int32_t hit = matcher.hit;
    smt_token_stops_free(&matcher);
    return hit;
}

/* The same by looking at the whole text: the first end of any stop string, the longest there. */
static int32_t search(const char *const *stops, uint32_t n, const char *text, size_t *out_bytes) {
    for (size_t end = 1; end <= strlen(text); end++) {
        int32_t hit = -1;
        for (uint32_t s = 0; s < n; s++) {
            size_t bytes = strlen(stops[s]);
            if (bytes <= end && !memcmp(text + end - bytes, stops[s], bytes) && (hit < 0 || bytes > strlen(stops[hit])))
                hit = (int32_t)s;
        }
        if (hit < 0) continue;
        *out_bytes = end - strlen(stops[hit]);
        return hit;
    }
    *out_bytes = strlen(text);
    return -1;
}

static void assert_stops(const char *const *stops, uint32_t n, const char *text, const char *want, int32_t index) {
    size_t length = strlen(text);
    for (uint32_t cuts = 0; cuts < 1u << (length - 1); cuts++) {
        smt_str out = {0};
        assert_int_equal(run(stops, n, text, cuts, &out), index);
        assert_int_equal(out.bytes, strlen(want));
        assert_memory_equal(out.text, want, out.bytes);
        smt_str_free(&out);
    }
}

static void test_every_cut(void **state) {
    (void)state;
    const char *user[] = {"\nUser:"}, *several[] = {"abcd", "bc"}, *nested[] = {"c", "abc", "bc"};
    const char *repeating[] = {"aab"}, *periodic[] = {"abab\n"}, *euro[] = {"\xe2\x82\xac", "\xe2\x82\xad"};
    ASSERT_STOPS(user, "Hi.\nUser: x", "Hi.", 0);
    ASSERT_STOPS(user, "Hi.\nUs\nUse", "Hi.\nUs\nUse", -1);
    ASSERT_STOPS(several, "xabcde", "xa", 1); /* complete before "abcd" is */
    ASSERT_STOPS(nested, "xabcde", "x", 1);
    ASSERT_STOPS(repeating, "aaaaab", "aaa", 0);
    ASSERT_STOPS(periodic, "abababab\n", "abab", 0);
    ASSERT_STOPS(euro, "a\xe2\x82\xae\xe2\x82\xad.", "a\xe2\x82\xae", 1);
}

static void test_against_search(void **state) {
    (void)state;
    smt_test_random random = {.state = 11};
    int hits = 0;
    for (int round = 0; round < 20000; round++) {
        char text[25] = {0}, strings[3][6] = {{0}};
        const char *stops[3] = {strings[0], strings[1], strings[2]};
        uint32_t n = 1 + (uint32_t)(smt_test_next(&random) % 3);
        for (int i = 0; i < 24; i++) text[i] = (char)('a' + smt_test_next(&random) % 2);
        for (uint32_t s = 0; s < n; s++)
            for (uint64_t i = 0, length = 2 + smt_test_next(&random) % 4; i < length; i++)
                strings[s][i] = (char)('a' + smt_test_next(&random) % 2);
        size_t bytes;
        smt_str out = {0};
        int32_t want = search(stops, n, text, &bytes), got = run(stops, n, text, (uint32_t)smt_test_next(&random), &out);
        assert_int_equal(got < 0 ? -1 : (int)strlen(stops[got]), want < 0 ? -1 : (int)strlen(stops[want]));
        assert_int_equal(out.bytes, bytes);
        if (bytes) assert_memory_equal(out.text, text, bytes);
        smt_str_free(&out);
        hits += want >= 0;
    }
    assert_in_range(hits, 1000, 19999);
}

/* Nothing that can go out waits, nothing that might be a stop string goes. */
static void test_held_back(void **state) {
    (void)state;
    const char *stops[] = {"END", "\n\n"};
    const struct {
        const char *piece, *want;
    } rows[] = {{"one", "one"}, {" E", " "}, {"N", ""},  {"ED", "ENED"}, {"\n", ""},
                {"E", "\n"},    {"E", "E"},  {"ND", ""}, {"more", ""}};
    smt_error err = {0};
    smt_token_stops matcher = {.hit = -1};
    SMT_ASSERT_OK(smt_token_stops_set(&matcher, stops, 2, &err), &err);
    for (size_t i = 0; i < SMT_COUNT(rows); i++) {
        SMT_ASSERT_OK(smt_token_stops_feed(&matcher, rows[i].piece, strlen(rows[i].piece), &err), &err);
        assert_int_equal(matcher.n_given, strlen(rows[i].want));
        assert_memory_equal(matcher.text.text, rows[i].want, matcher.n_given);
        assert_int_equal(matcher.hit, i < 7 ? -1 : 0);
    }
    SMT_ASSERT_OK(smt_token_stops_set(&matcher, stops, 1, &err), &err); /* a new text */
    assert_int_equal(matcher.hit, -1);
    SMT_ASSERT_OK(smt_token_stops_feed(&matcher, "EN", 2, &err), &err);
    smt_token_stops_end(&matcher);
    assert_int_equal(matcher.n_given, 2);
    SMT_ASSERT_OK(smt_token_stops_feed(&matcher, "D", 1, &err), &err); /* does not continue the text that has ended */
    assert_int_equal(matcher.n_given, 1);
    smt_token_stops_free(&matcher);
}

static void test_refused(void **state) {
    (void)state;
    smt_error err = {0};
    smt_token_stops matcher = {.hit = -1};
    const char *empty[] = {"a", ""}, *cut[] = {"\xe2\x82"}, *good[] = {"a", "bb"};
    assert_int_equal(smt_token_stops_set(&matcher, empty, 2, &err), SMT_INVALID);
    assert_non_null(strstr(err.message, "stop string 1"));
    assert_int_equal(matcher.n, 0);
    assert_int_equal(smt_token_stops_set(&matcher, cut, 1, &err), SMT_INVALID);
    smt_status status = SMT_MEMORY;
    for (uint64_t n = 1; status != SMT_OK; n++) {
        assert_true(n < 10);
        smt_mem_fail_after(n);
        status = smt_token_stops_set(&matcher, good, 2, &err);
        smt_mem_fail_after(0);
        assert_int_equal(matcher.n, status == SMT_OK ? 2 : 0);
    }
    smt_mem_fail_after(1);
    assert_int_equal(smt_token_stops_feed(&matcher, "xa", 2, &err), SMT_MEMORY);
    smt_mem_fail_after(0);
    SMT_ASSERT_OK(smt_token_stops_feed(&matcher, "xa", 2, &err), &err);
    assert_int_equal(matcher.hit, 0);
    smt_token_stops_free(&matcher);
}

/* ---- through the public header ---- */

static void push(smt_text_stream *stream, int32_t token, smt_str *out) {
    smt_error err = {0};
    const char *text;
    size_t bytes;
    SMT_ASSERT_OK(smt_text_stream_push(stream, token, &text, &bytes, &err), &err);
    assert_int_equal(smt_str_append(out, text, bytes, NULL), SMT_OK);
}

static void test_stream(void **state) {
    (void)state;
    static const char text[] = "the price is 12 \xe2\x82\xac\xe2\x82\xac today";
    const char *stops[] = {"never", "\xe2\x82\xac\xe2\x82\xac t"}, *empty[] = {""};
    smt_error err = {0};
    smt_file *file;
    smt_tokenizer *tokenizer;
    smt_text_stream *stream;
    int32_t *tokens;
    size_t count, bytes;
    const char *rest;
    SMT_ASSERT_OK(smt_file_open(smt_test_data("g-v2.f16.gguf"), &file, &err), &err);
    SMT_ASSERT_OK(smt_tokenizer_create(file, &tokenizer, &err), &err);
    SMT_ASSERT_OK(smt_tokenize(tokenizer, text, sizeof text - 1, 0, &tokens, &count, &err), &err);
    SMT_ASSERT_OK(smt_text_stream_create(tokenizer, &stream, &err), &err);
    assert_int_equal(smt_text_stream_stop(stream), -1);
    assert_int_equal(smt_text_stream_set_stops(stream, empty, 1, &err), SMT_INVALID);
    assert_int_equal(smt_text_stream_set_stops(stream, NULL, 1, &err), SMT_INVALID);
    for (int round = 0; round < 3; round++) { /* with stops; again, the text being a new one; without */
        smt_str out = {0};
        SMT_ASSERT_OK(smt_text_stream_set_stops(stream, stops, round < 2 ? 2 : 0, &err), &err);
        for (size_t i = 0; i < count; i++) push(stream, tokens[i], &out);
        smt_text_stream_flush(stream, &rest, &bytes);
        assert_int_equal(bytes, 0);
        assert_int_equal(smt_text_stream_stop(stream), round < 2 ? 1 : -1);
        assert_string_equal(out.text, round < 2 ? "the price is 12 " : text);
        smt_str_free(&out);
    }
    SMT_ASSERT_OK(smt_text_stream_set_stops(stream, (const char *const[]){"today!"}, 1, &err), &err);
    smt_str out = {0}; /* an end that could have gone on */
    for (size_t i = 0; i < count; i++) push(stream, tokens[i], &out);
    smt_text_stream_flush(stream, &rest, &bytes);
    assert_int_equal(bytes, 5);
    assert_memory_equal(rest, "today", 5);
    smt_str_free(&out);
    SMT_ASSERT_OK(smt_text_stream_push_text(stream, "or tod", 6, &rest, &bytes, &err), &err); /* what no token brought */
    assert_int_equal(bytes, 3);
    SMT_ASSERT_OK(smt_text_stream_push_text(stream, "ay!x", 4, &rest, &bytes, &err), &err);
    assert_int_equal(bytes, 0);
    assert_int_equal(smt_text_stream_stop(stream), 0);
    smt_text_stream_free(stream);
    smt_free(tokens);
    smt_tokenizer_free(tokenizer);
    smt_file_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut), cmocka_unit_test(test_against_search), cmocka_unit_test(test_held_back),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
