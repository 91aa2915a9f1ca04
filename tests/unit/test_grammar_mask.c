/* test_grammar_mask.c: the mask of a state against asking for every token by itself, along random texts; copies, trimming, the
 * end; and the failing of each allocation. */
#include "test_grammar_fixture.h"

#include "grammar/grammar_internal.h"

static const char json[] =
    "root ::= object\n"
    "value ::= object | array | string | number | \"true\" | \"false\" | \"null\"\n"
    "object ::= \"{\" ws ( string \":\" ws value ws (\",\" ws string \":\" ws value ws)* )? \"}\"\n"
    "array ::= \"[\" ws ( value ws (\",\" ws value ws)* )? \"]\"\n"
    "string ::= \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" [0-9a-fA-F]{4}) )* \"\\\"\"\n"
    "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,15}) (\".\" [0-9]+)? ([eE] [-+]? [0-9]{1,3})?\n"
    "ws ::= [ \\n]{0,2}\n";

enum { MOST_TOKENS = 512 };

/* Every token by itself, with a copy of the cursor. */
static void assert_mask(smt_cursor *cursor, const uint32_t *mask, uint32_t n_tokens) {
    for (uint32_t t = 0; t < n_tokens; t++) {
        smt_error err = {0};
        smt_cursor copy;
        smt_cursor_copy(cursor, &copy);
        smt_status status = smt_cursor_accept(&copy, (int32_t)t, &err);
        bool allowed = mask[t / 32] >> t % 32 & 1;
        if (status != (allowed ? SMT_OK : SMT_INVALID))
            fail_msg("token %u: mask %d, accept %s: %s", t, allowed, smt_status_name(status), err.message);
        smt_cursor_close(&copy);
    }
}

/* A random text of at most `most` tokens, drawn under the mask; returns whether it was ended. */
static bool wander(grammar_fixture *f, smt_test_random *random, int most, bool check, smt_str *text) {
    smt_error err = {0};
    uint32_t mask[MOST_TOKENS / 32], n = smt_vocab_size(f->vocab);
    smt_cursor cursor;
    smt_cursor_open(f->matcher, &cursor);
    bool ended = false;
    for (int i = 0; i < most && !ended; i++) {
        int32_t allowed[MOST_TOKENS];
        uint32_t n_allowed = 0;
        SMT_ASSERT_OK(smt_cursor_mask(&cursor, mask, n, &err), &err);
        if (check) assert_mask(&cursor, mask, n);
        for (uint32_t t = 0; t < n; t++)
            if (mask[t / 32] >> t % 32 & 1) allowed[n_allowed++] = (int32_t)t;
        assert_true(n_allowed > 0);
        int32_t token = allowed[smt_test_next(random) % n_allowed];
        ended = smt_vocab_is_end(f->vocab, token);
        assert_true(!ended || smt_cursor_may_end(&cursor));
        SMT_ASSERT_OK(smt_cursor_accept(&cursor, token, &err), &err);
        if (!ended) SMT_ASSERT_OK(smt_token_bytes(f->vocab, token, false, text, &err), &err);
    }
    smt_cursor_close(&cursor);
    return ended;
}

static void check_vocabulary(smt_vocab *vocab, const char *grammar) {
    grammar_fixture f;
    smt_error err = {0};
    smt_test_random random = {5};
    open_words(&f, vocab);
    assert_true(smt_vocab_size(vocab) <= MOST_TOKENS);
    SMT_ASSERT_OK(open_matcher(&f, grammar, strlen(grammar), &err), &err);
    int n_ended = 0;
    for (int round = 0; round < 40; round++) {
        smt_str text = {0};
        if (wander(&f, &random, 60, round < 8, &text)) {
            n_ended++;
            assert_true(matches(&f, text.text ? text.text : "", text.bytes));
        }
        smt_str_free(&text);
    }
    assert_true(n_ended > 0);
    close_fixture(&f);
}

static smt_vocab *vocab_with_more(bool spm) {
    static const char *const more[] = {"{\"", "\":", "true", "tru",  "[[",           "]]",      "}}",
                                       "\\u", "\\",  "null", "ab\"", "\xe4\xb8\xad", "abcdefgh"};
    token_spec spec;
    if (spm)
        spec_spm(&spec);
    else
        spec_bpe(&spec);
    for (size_t i = 0; i < SMT_COUNT(more); i++) spec_add(&spec, more[i], 4, 0);
    spec_add(&spec, "ab\"", 4, 0); /* the same text twice */
    if (spm) spec.n_scores = spec.n_tokens;
    return spec_vocab(&spec);
}

static void test_masks(void **state) {
    (void)state;
    check_vocabulary(vocab_with_more(false), json);
    check_vocabulary(vocab_with_more(true), json);
    check_vocabulary(vocab_with_more(false), "root ::= [^a]{0,7} \"ab\"? (\"\xe4\xb8\xad\" | \"\xe4\xb8\xae\")*");
}

static void test_ends(void **state) {
    (void)state;
    grammar_fixture f;
    smt_error err = {0};
    smt_cursor cursor, copy;
    uint32_t mask[MOST_TOKENS / 32];
    open_words(&f, bpe_vocab());
    uint32_t n = smt_vocab_size(f.vocab);
    int32_t end = smt_vocab_eos(f.vocab);
    SMT_ASSERT_OK(open_matcher(&f, "root ::= \"a\" \"b\"?", 17, &err), &err);
    smt_cursor_open(f.matcher, &cursor);
    assert_false(smt_cursor_may_end(&cursor));
    assert_int_equal(smt_cursor_accept(&cursor, end, &err), SMT_INVALID);
    assert_int_equal(smt_cursor_accept(&cursor, 'b', &err), SMT_INVALID);
    assert_int_equal(smt_cursor_accept(&cursor, (int32_t)n, &err), SMT_INVALID);
    assert_int_equal(smt_cursor_accept(&cursor, -1, &err), SMT_INVALID);
    SMT_ASSERT_OK(smt_cursor_accept(&cursor, 'a', &err), &err);
    assert_true(smt_cursor_may_end(&cursor));
    assert_false(smt_cursor_must_end(&cursor));
    smt_cursor_copy(&cursor, &copy);
    SMT_ASSERT_OK(smt_cursor_accept(&cursor, 'b', &err), &err);
    assert_true(smt_cursor_must_end(&cursor));
    SMT_ASSERT_OK(smt_cursor_mask(&cursor, mask, n, &err), &err);
    for (uint32_t t = 0; t < n; t++) assert_int_equal(mask[t / 32] >> t % 32 & 1, smt_vocab_is_end(f.vocab, (int32_t)t));
    SMT_ASSERT_OK(smt_cursor_accept(&cursor, end, &err), &err);
    smt_cursor_close(&cursor);
    assert_false(smt_cursor_must_end(&copy)); /* the copy stayed */
    SMT_ASSERT_OK(smt_cursor_accept_text(&copy, "b", 1, &err), &err);
    assert_int_equal(smt_cursor_accept_text(&copy, "b", 1, &err), SMT_INVALID);
    assert_true(smt_cursor_must_end(&copy));
    /* A list of logits shorter or longer than the vocabulary. */
    memset(mask, 255, sizeof mask);
    SMT_ASSERT_OK(smt_cursor_mask(&copy, mask, 33, &err), &err);
    assert_int_equal(mask[0] | mask[1], 0);
    assert_int_equal(mask[2], UINT32_MAX);
    SMT_ASSERT_OK(smt_cursor_mask(&copy, mask, MOST_TOKENS, &err), &err);
    assert_int_equal(mask[MOST_TOKENS / 32 - 1], 0);
    smt_cursor_close(&copy);
    close_fixture(&f);
}

/* Though files type them as control tokens, grammars can ask for them. */
static void test_marks(void **state) {
    static const char *const marks[] = {"<｜tool▁sep｜>", "<think>", "</think>"};
    (void)state;
    for (size_t i = 0; i < SMT_COUNT(marks); i++) {
        token_spec spec;
        spec_bpe(&spec);
        int32_t token = spec_add(&spec, marks[i], 3, 0);
        grammar_fixture f;
        smt_error err = {0};
        smt_cursor cursor;
        uint32_t mask[MOST_TOKENS / 32];
        char grammar[64];
        open_words(&f, spec_vocab(&spec));
        snprintf(grammar, sizeof grammar, "root ::= \"%s\"", marks[i]);
        SMT_ASSERT_OK(open_matcher(&f, grammar, strlen(grammar), &err), &err);
        smt_cursor_open(f.matcher, &cursor);
        SMT_ASSERT_OK(smt_cursor_mask(&cursor, mask, smt_vocab_size(f.vocab), &err), &err);
        assert_true(mask[token / 32] >> token % 32 & 1);
        assert_mask(&cursor, mask, smt_vocab_size(f.vocab));
        SMT_ASSERT_OK(smt_cursor_accept(&cursor, token, &err), &err);
        assert_true(smt_cursor_must_end(&cursor));
        smt_cursor_close(&cursor);
        close_fixture(&f);
    }
}

/* Deep texts fill the tables; trimming keeps what cursors stand on, and answers stay the same. */
static void test_trim(void **state) {
    (void)state;
    grammar_fixture f;
    smt_error err = {0};
    smt_cursor early, late;
    open_words(&f, bpe_vocab());
    SMT_ASSERT_OK(open_matcher(&f, "root ::= \"a\" root \"b\" root \"c\" | \"\"", 35, &err), &err);
    smt_cursor_open(f.matcher, &early);
    SMT_ASSERT_OK(smt_cursor_accept_text(&early, "aab", 3, &err), &err);
    smt_cursor_copy(&early, &late);
    size_t depth = 1, greatest = 0;
    for (bool trimmed = false; !trimmed; depth++) {
        size_t before = smt_matcher_bytes(f.matcher);
        SMT_ASSERT_OK(smt_cursor_accept_text(&late, "a", 1, &err), &err);
        trimmed = smt_matcher_bytes(f.matcher) < before;
        greatest = before > greatest ? before : greatest;
        assert_true(depth < 1000000);
    }
    assert_true(greatest <= SMT_GRAMMAR_KEPT + 4096);
    SMT_ASSERT_OK(smt_cursor_accept_text(&early, "cbc", 3, &err), &err);
    assert_true(smt_cursor_must_end(&early));
    for (; depth > 1; depth--) SMT_ASSERT_OK(smt_cursor_accept_text(&late, "bc", 2, &err), &err);
    assert_false(smt_cursor_may_end(&late));
    SMT_ASSERT_OK(smt_cursor_accept_text(&late, "cbc", 3, &err), &err);
    assert_true(smt_cursor_must_end(&late));
    smt_cursor_close(&early);
    smt_cursor_close(&late);
    close_fixture(&f);
}

/* What has very many readings is refused, and the cursor stays where it was. */
static void test_ambiguous(void **state) {
    (void)state;
    grammar_fixture f;
    smt_error err = {0};
    smt_cursor cursor;
    open_words(&f, bpe_vocab());
    static const char text[] = "root ::= s s s s s s \"!\"\ns ::= \"a\" | \"a\" s \"b\"? s | \"a\" s s s";
    SMT_ASSERT_OK(open_matcher(&f, text, sizeof text - 1, &err), &err);
    smt_cursor_open(f.matcher, &cursor);
    smt_status status = SMT_OK;
    int n = 0;
    for (; status == SMT_OK && n < 1000; n++) status = smt_cursor_accept_text(&cursor, "a", 1, &err);
    assert_int_equal(status, SMT_UNSUPPORTED);
    assert_non_null(strstr(err.message, "too ambiguous"));
    assert_int_equal(smt_cursor_accept_text(&cursor, "?", 1, &err), SMT_INVALID);
    smt_cursor_close(&cursor);
    close_fixture(&f);
}

static smt_status make_and_use(const smt_vocab *vocab, uint32_t *mask, smt_error *err) {
    grammar_fixture f = {0};
    smt_cursor cursor = {0};
    smt_status status = smt_words_create(vocab, &f.words, err);
    if (status == SMT_OK) status = open_matcher(&f, json, sizeof json - 1, err);
    if (status == SMT_OK) {
        smt_cursor_open(f.matcher, &cursor);
        status = smt_cursor_accept_text(&cursor, "{\"ab\": [12", 10, err);
    }
    if (status == SMT_OK) status = smt_cursor_mask(&cursor, mask, MOST_TOKENS, err);
    smt_cursor_close(&cursor);
    close_fixture(&f);
    return status;
}

static void test_each_allocation_fails(void **state) {
    (void)state;
    smt_vocab *vocab = bpe_vocab();
    smt_error err = {0};
    uint32_t wanted[MOST_TOKENS / 32], mask[MOST_TOKENS / 32];
    SMT_ASSERT_OK(make_and_use(vocab, wanted, &err), &err);
    uint64_t n = 0, failures = 0;
    for (bool waits = false; !waits;) {
        assert_true(++n < 5000);
        smt_mem_fail_after(n);
        smt_status status = make_and_use(vocab, mask, &err);
        waits = smt_test_hook_waits(n);
        if (status != SMT_OK) assert_int_equal(status, SMT_MEMORY);
        if (status == SMT_OK) assert_memory_equal(mask, wanted, sizeof mask);
        failures += status == SMT_MEMORY;
    }
    assert_true(failures > 30);
    smt_vocab_free(vocab);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_masks),     cmocka_unit_test(test_ends),
                                       cmocka_unit_test(test_marks),     cmocka_unit_test(test_trim),
                                       cmocka_unit_test(test_ambiguous), cmocka_unit_test(test_each_allocation_fails)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
