/* test_grammar_fixture.h: a grammar over a small vocabulary whose single bytes are all tokens, opened, asked and closed. */
#ifndef SMT_TEST_GRAMMAR_FIXTURE_H
#define SMT_TEST_GRAMMAR_FIXTURE_H

#include "test_token_fixture.h"

#include "grammar/grammar.h"

typedef struct grammar_fixture {
    smt_vocab *vocab;
    smt_words *words;
    smt_matcher *matcher;
} grammar_fixture;

/* The vocabulary belongs to the fixture from here on. */
static inline void open_words(grammar_fixture *f, smt_vocab *vocab) {
    smt_error err = {0};
    *f = (grammar_fixture){.vocab = vocab};
    SMT_ASSERT_OK(smt_words_create(vocab, &f->words, &err), &err);
}

static inline smt_status open_matcher(grammar_fixture *f, const char *text, size_t bytes, smt_error *err) {
    smt_automaton *automaton;
    SMT_TRY(smt_automaton_create(text, bytes, &automaton, err));
    return smt_matcher_create(automaton, f->words, &f->matcher, err);
}

static inline void close_matcher(grammar_fixture *f) {
    smt_matcher_free(f->matcher);
    f->matcher = NULL;
}

static inline void close_fixture(grammar_fixture *f) {
    close_matcher(f);
    smt_words_free(f->words);
    smt_vocab_free(f->vocab);
}

static inline smt_vocab *bpe_vocab(void) {
    token_spec spec;
    spec_bpe(&spec);
    return spec_vocab(&spec);
}

/* Whether the whole text is one of the grammar. */
static inline bool matches(const grammar_fixture *f, const char *text, size_t bytes) {
    smt_error err = {0};
    smt_cursor cursor;
    smt_cursor_open(f->matcher, &cursor);
    smt_status status = smt_cursor_accept_text(&cursor, text, bytes, &err);
    if (status != SMT_OK && status != SMT_INVALID) fail_msg("%s: %s", smt_status_name(status), err.message);
    bool whole = status == SMT_OK && smt_cursor_may_end(&cursor);
    smt_cursor_close(&cursor);
    return whole;
}

#endif
