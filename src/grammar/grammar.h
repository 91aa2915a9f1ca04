/* grammar.h: texts that a grammar allows, token by token: what constrained sampling needs.
 *
 *   JSON schema --grammar_schema*.c--> GBNF text --grammar_parse.c--> syntax tree --grammar_build.c--> automaton
 *   vocabulary  --grammar_words.c--> byte trie                                                           |
 *                                        \__ grammar_mask.c: the tokens that may follow  <-- grammar_match.c: states
 *
 * The automaton works on bytes (characters are spelled out in UTF-8), so a token may end anywhere in a character. It is a set of
 * rules that call each other; where a text stands in it is a set of (place, stack of return places), since several readings may
 * be open. Equal sets are one state with one number: the byte-by-byte transitions between states are computed when first needed
 * and kept, as are the masks, so that a grammar which repeats itself soon costs a table look-up for each byte.
 *
 * Invariants
 *   1. An automaton is read-only once built, has no left recursion, and every place in it can be left for the end of its rule.
 *   2. A matcher changes whenever it is asked: one thread at a time, with all its cursors.
 *   3. What a hostile grammar may cost is bounded: SMT_GRAMMAR_MAX_* below; beyond them is SMT_UNSUPPORTED. */
#ifndef SMT_GRAMMAR_H
#define SMT_GRAMMAR_H

#include "token/token.h"

#define SMT_GRAMMAR_MAX_TEXT  ((size_t)4 << 20)   /* bytes of a grammar */
#define SMT_GRAMMAR_MAX_NODES ((uint32_t)1 << 19) /* places of an automaton */
#define SMT_GRAMMAR_MAX_DEPTH 200                 /* nesting of parentheses and repetitions */
#define SMT_GRAMMAR_MAX_WAYS  ((uint32_t)1 << 13) /* readings open at once, those that consume nothing included */
#define SMT_GRAMMAR_KEPT      ((size_t)32 << 20)  /* bytes of states at which those that no cursor stands on are dropped */
#define SMT_GRAMMAR_MOST      ((size_t)128 << 20) /* and that none may exceed */
#define SMT_GRAMMAR_MASKS     256                 /* masks kept */

/* ---- grammar text (grammar_parse.c, grammar_build.c) ---- */

typedef struct smt_automaton smt_automaton;
/* GBNF with a rule `root`. SMT_FORMAT and SMT_UNSUPPORTED name line and column. */
smt_status smt_automaton_create(const char *text, size_t bytes, smt_automaton **out, smt_error *err);
void smt_automaton_free(smt_automaton *automaton);

/* ---- JSON schemas (grammar_schema*.c) ---- */

/* The grammar of the JSON texts that a schema allows, as smt_schema_to_grammar has it; `root` is not NULL. */
smt_status smt_schema_grammar(const char *schema, size_t bytes, const char *root, char **out_text, size_t *out_bytes,
                              smt_error *err);

/* ---- vocabulary (grammar_words.c) ---- */

/* The texts of a vocabulary as a byte trie. A copy: the vocabulary may go. Read-only once made. */
typedef struct smt_words smt_words;
smt_status smt_words_create(const smt_vocab *vocab, smt_words **out, smt_error *err);
void smt_words_free(smt_words *words);

/* ---- matching (grammar_match.c, grammar_mask.c) ---- */

typedef struct smt_matcher smt_matcher;
/* A place in a text. Linked into its matcher, which renumbers states: it must not be moved in memory. */
typedef struct smt_cursor {
    smt_matcher *matcher; /* borrowed; NULL: closed */
    uint32_t state;
    struct smt_cursor *prev, *next;
} smt_cursor;

/* Takes the automaton over, on failure too; `words` must outlive the matcher. */
smt_status smt_matcher_create(smt_automaton *automaton, const smt_words *words, smt_matcher **out, smt_error *err);
/* Every cursor must be closed. */
void smt_matcher_free(smt_matcher *matcher);

void smt_cursor_open(smt_matcher *matcher, smt_cursor *cursor); /* at the beginning of a text */
void smt_cursor_copy(const smt_cursor *from, smt_cursor *to);
void smt_cursor_close(smt_cursor *cursor);
/* SMT_INVALID: the grammar does not allow it; then, and on every failure, the cursor stays where it was. */
smt_status smt_cursor_accept(smt_cursor *cursor, int32_t token, smt_error *err);
smt_status smt_cursor_accept_text(smt_cursor *cursor, const char *text, size_t bytes, smt_error *err);
/* One bit for each token, token t in bits[t / 32] at 1 << t % 32; bits beyond the vocabulary are 0. */
smt_status smt_cursor_mask(smt_cursor *cursor, uint32_t *bits, size_t n_bits, smt_error *err);
bool smt_cursor_may_end(const smt_cursor *cursor);
bool smt_cursor_must_end(const smt_cursor *cursor); /* may end, and no byte may follow */

#endif
