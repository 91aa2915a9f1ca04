/* api_grammar.c: smt_grammar_* and smt_schema_to_grammar over src/grammar.
 *
 * The byte trie of a vocabulary is made with the first grammar of a tokenizer, by whichever thread comes first, and shared by all
 * of them: a tokenizer stays read-only for everybody else. Grammars and their states change with use: one thread at a time. */
#include "api_internal.h"

struct smt_grammar {
    smt_matcher *matcher; /* owned; borrows the tokenizer's words */
};

struct smt_grammar_state {
    smt_cursor cursor;
};

/* Two threads may both make the trie; the one that comes second drops its own. */
static smt_status get_words(const smt_tokenizer *tokenizer, const smt_words **out, smt_error *err) {
    smt_words *made, *known = atomic_load(&tokenizer->lazy->words);
    *out = known;
    if (known) return SMT_OK;
    SMT_TRY(smt_words_create(tokenizer->vocab, &made, err));
    if (atomic_compare_exchange_strong(&tokenizer->lazy->words, &known, made)) {
        *out = made;
    } else {
        smt_words_free(made);
        *out = known;
    }
    return SMT_OK;
}

smt_status smt_grammar_create(const smt_tokenizer *tokenizer, const char *text, size_t text_bytes, smt_grammar **out_grammar,
                              smt_error *err) {
    const smt_words *words;
    smt_automaton *automaton;
    *out_grammar = NULL;
    SMT_TRY(get_words(tokenizer, &words, err));
    SMT_TRY(smt_automaton_create(text, text_bytes, &automaton, err));
    smt_matcher *matcher;
    SMT_TRY(smt_matcher_create(automaton, words, &matcher, err));
    smt_grammar *grammar = smt_alloc(1, sizeof *grammar);
    if (!grammar) {
        smt_matcher_free(matcher);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory making a grammar");
    }
    grammar->matcher = matcher;
    *out_grammar = grammar;
    return SMT_OK;
}

smt_status smt_schema_to_grammar(const char *schema, size_t schema_bytes, const char *root, char **out_text, size_t *out_bytes,
                                 smt_error *err) {
    return smt_schema_grammar(schema, schema_bytes, root ? root : "root", out_text, out_bytes, err);
}

void smt_grammar_free(smt_grammar *grammar) {
    if (!grammar) return;
    smt_matcher_free(grammar->matcher);
    smt_free(grammar);
}

/* ---- states ---- */

static smt_status new_state(smt_grammar_state **out, smt_error *err) {
    *out = smt_alloc(1, sizeof **out);
    return *out ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory making the state of a grammar");
}

smt_status smt_grammar_state_create(smt_grammar *grammar, smt_grammar_state **out_state, smt_error *err) {
    SMT_TRY(new_state(out_state, err));
    smt_cursor_open(grammar->matcher, &(*out_state)->cursor);
    return SMT_OK;
}

smt_status smt_grammar_state_copy(const smt_grammar_state *state, smt_grammar_state **out_state, smt_error *err) {
    SMT_TRY(new_state(out_state, err));
    smt_cursor_copy(&state->cursor, &(*out_state)->cursor);
    return SMT_OK;
}

void smt_grammar_state_free(smt_grammar_state *state) {
    if (!state) return;
    smt_cursor_close(&state->cursor);
    smt_free(state);
}

smt_status smt_grammar_accept(smt_grammar_state *state, int32_t token, smt_error *err) {
    return smt_cursor_accept(&state->cursor, token, err);
}

smt_status smt_grammar_accept_text(smt_grammar_state *state, const char *text, size_t text_bytes, smt_error *err) {
    return smt_cursor_accept_text(&state->cursor, text, text_bytes, err);
}

smt_status smt_grammar_mask(smt_grammar_state *state, uint32_t *mask, uint32_t n_vocab, smt_error *err) {
    return smt_cursor_mask(&state->cursor, mask, n_vocab, err);
}

bool smt_grammar_may_end(const smt_grammar_state *state) { return smt_cursor_may_end(&state->cursor); }

bool smt_grammar_must_end(const smt_grammar_state *state) { return smt_cursor_must_end(&state->cursor); }
