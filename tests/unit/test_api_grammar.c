/* test_api_grammar.c: grammars through seamount.h: a text drawn token by token under a schema, a state to rewind to, the rules of
 * several schemas in one grammar, and threads that are the first to want a tokenizer's words at the same time. */
#include "support.h"

#include <jansson.h>
#include <pthread.h>

enum { MOST = 1024 }; /* tokens of the vocabulary */

static smt_tokenizer *open_tokenizer(void) {
    smt_error err = {0};
    smt_file *file;
    smt_tokenizer *tokenizer;
    SMT_ASSERT_OK(smt_file_open(smt_test_data("g-v2.f16.gguf"), &file, &err), &err);
    SMT_ASSERT_OK(smt_tokenizer_create(file, &tokenizer, &err), &err);
    smt_file_free(file);
    assert_true(smt_tokenizer_size(tokenizer) <= MOST);
    return tokenizer;
}

static smt_grammar *open_grammar(const smt_tokenizer *tokenizer, const char *text) {
    smt_error err = {0};
    smt_grammar *grammar;
    SMT_ASSERT_OK(smt_grammar_create(tokenizer, text, strlen(text), &grammar, &err), &err);
    return grammar;
}

/* Draws from random logits until an end token. */
static void draw_answer(const smt_tokenizer *tokenizer, smt_grammar *grammar, uint64_t seed, smt_str *answer) {
    const smt_sampler_options options = {.struct_size = sizeof options, .temperature = 1, .seed = seed};
    smt_test_random random = {seed};
    smt_error err = {0};
    smt_sampler *sampler;
    smt_grammar_state *state;
    float logits[MOST];
    uint32_t mask[MOST / 32], n = smt_tokenizer_size(tokenizer);
    SMT_ASSERT_OK(smt_sampler_create(&options, &sampler, &err), &err);
    SMT_ASSERT_OK(smt_grammar_state_create(grammar, &state, &err), &err);
    for (uint64_t position = 0;; position++) {
        int32_t token;
        char *text;
        size_t bytes;
        assert_true(position < 1000);
        for (uint32_t t = 0; t < n; t++) logits[t] = smt_test_normal(&random) * 3;
        SMT_ASSERT_OK(smt_grammar_mask(state, mask, n, &err), &err);
        const smt_draw draw = {.struct_size = sizeof draw, .logits = logits, .n_vocab = n, .position = position, .mask = mask};
        SMT_ASSERT_OK(smt_sampler_draw(sampler, &draw, &token, &err), &err);
        SMT_ASSERT_OK(smt_grammar_accept(state, token, &err), &err);
        if (smt_tokenizer_is_end(tokenizer, token)) break;
        SMT_ASSERT_OK(smt_token_text(tokenizer, token, &text, &bytes, &err), &err);
        SMT_ASSERT_OK(smt_str_append(answer, text, bytes, &err), &err);
        smt_free(text);
    }
    assert_true(smt_grammar_may_end(state));
    smt_grammar_state_free(state);
    smt_sampler_free(sampler);
}

static void test_schema(void **state) {
    (void)state;
    static const char schema[] = "{\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"integer\", \"minimum\": 10, "
                                 "\"maximum\": 20}, \"word\": {\"type\": \"string\", \"maxLength\": 6}}, "
                                 "\"required\": [\"id\", \"word\"]}";
    smt_error err = {0};
    smt_tokenizer *tokenizer = open_tokenizer();
    char *text;
    size_t bytes;
    SMT_ASSERT_OK(smt_schema_to_grammar(schema, sizeof schema - 1, NULL, &text, &bytes, &err), &err);
    assert_int_equal(strlen(text), bytes);
    smt_grammar *grammar = open_grammar(tokenizer, text);
    for (uint64_t seed = 1; seed < 12; seed++) {
        smt_str answer = {0};
        draw_answer(tokenizer, grammar, seed, &answer);
        json_t *value = json_loadb(answer.text, answer.bytes, 0, NULL);
        if (!value) fail_msg("%s", answer.text);
        assert_in_range(json_integer_value(json_object_get(value, "id")), 10, 20);
        assert_non_null(json_string_value(json_object_get(value, "word")));
        assert_int_equal(json_object_size(value), 2);
        json_decref(value);
        smt_str_free(&answer);
    }
    smt_grammar_free(grammar);
    smt_free(text);
    smt_tokenizer_free(tokenizer);
}

static void test_states(void **state) {
    (void)state;
    smt_error err = {0};
    smt_tokenizer *tokenizer = open_tokenizer();
    smt_grammar *grammar = open_grammar(tokenizer, "root ::= \"ab\" [cd]*"), *other;
    smt_grammar_state *here, *back;
    SMT_ASSERT_OK(smt_grammar_state_create(grammar, &here, &err), &err);
    assert_false(smt_grammar_may_end(here));
    SMT_ASSERT_OK(smt_grammar_accept_text(here, "ab", 2, &err), &err);
    SMT_ASSERT_OK(smt_grammar_state_copy(here, &back, &err), &err);
    SMT_ASSERT_OK(smt_grammar_accept_text(here, "cd", 2, &err), &err);
    assert_int_equal(smt_grammar_accept_text(here, "x", 1, &err), SMT_INVALID);
    assert_true(smt_grammar_may_end(here) && smt_grammar_may_end(back) && !smt_grammar_must_end(back));
    smt_grammar_state_free(here);
    SMT_ASSERT_OK(smt_grammar_accept_text(back, "d", 1, &err), &err);
    smt_grammar_state_free(back);
    smt_grammar_state_free(NULL);
    smt_grammar_free(grammar);
    smt_grammar_free(NULL);
    assert_int_equal(smt_grammar_create(tokenizer, "root ::= (", 10, &other, &err), SMT_FORMAT);
    assert_null(other);
    smt_tokenizer_free(tokenizer);
}

/* How a server would say "a call of one of two functions". */
static void test_together(void **state) {
    (void)state;
    smt_error err = {0};
    smt_tokenizer *tokenizer = open_tokenizer();
    smt_str text = {0};
    static const char *const schemas[] = {"{\"properties\": {\"x\": {\"const\": 1}}, \"required\": [\"x\"]}",
                                          "{\"type\": \"object\"}"};
    for (size_t i = 0; i < SMT_COUNT(schemas); i++) {
        char name[8], *part;
        size_t bytes;
        snprintf(name, sizeof name, "call%c", (char)('a' + i));
        SMT_ASSERT_OK(smt_schema_to_grammar(schemas[i], strlen(schemas[i]), name, &part, &bytes, &err), &err);
        SMT_ASSERT_OK(smt_str_append(&text, part, bytes, &err), &err);
        smt_free(part);
    }
    SMT_ASSERT_OK(smt_str_printf(&text, &err, "root ::= \"f(\" calla \")\" | \"g(\" callb \")\"\n"), &err);
    smt_grammar *grammar = open_grammar(tokenizer, text.text);
    static const char *const yes[] = {"f({\"x\":1})", "g({\"y\": [2]})"};
    for (size_t i = 0; i < SMT_COUNT(yes); i++) {
        smt_grammar_state *at;
        SMT_ASSERT_OK(smt_grammar_state_create(grammar, &at, &err), &err);
        SMT_ASSERT_OK(smt_grammar_accept_text(at, yes[i], strlen(yes[i]), &err), &err);
        assert_true(smt_grammar_must_end(at));
        smt_grammar_state_free(at);
    }
    smt_grammar_free(grammar);
    smt_str_free(&text);
    smt_tokenizer_free(tokenizer);
}

static void *make_grammar(void *tokenizer) {
    smt_grammar *grammar;
    if (smt_grammar_create(tokenizer, "root ::= .*", 11, &grammar, NULL) != SMT_OK) return NULL;
    smt_grammar_free(grammar);
    return tokenizer;
}

static void test_threads(void **state) {
    (void)state;
    enum { THREADS = 4 };
    for (int round = 0; round < 20; round++) {
        smt_tokenizer *tokenizer = open_tokenizer();
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, make_grammar, tokenizer), 0);
        for (int i = 0; i < THREADS; i++) {
            void *made;
            assert_int_equal(pthread_join(threads[i], &made), 0);
            assert_ptr_equal(made, tokenizer);
        }
        smt_tokenizer_free(tokenizer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schema), cmocka_unit_test(test_states),
                                       cmocka_unit_test(test_together), cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
