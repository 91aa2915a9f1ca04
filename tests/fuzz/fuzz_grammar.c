/* fuzz_grammar.c: any bytes as a grammar, and as a JSON schema; what is one is followed for a while along the bytes it allows,
 * chosen by those of its own text, and again by those of a text of JSON. Nothing may crash, hang or be lost, and no text may lead
 * into a dead end. */
#include "grammar/grammar_internal.h"
#include "corpus.h"

#include <stdlib.h>

/* A vocabulary of single bytes, without a file: token b is byte b, and so is its node. */
typedef struct byte_vocab {
    smt_words words;
    smt_words_node nodes[256];
    uint32_t start[257], ends[9];
    char text[256];
} byte_vocab;

static void fill(byte_vocab *v) {
    *v = (byte_vocab){.words = {.n_tokens = 256, .n_nodes = 256, .longest = 1}};
    for (uint32_t b = 0; b < 256; b++) {
        v->nodes[b] = (smt_words_node){.end = b + 1, .token = b, .byte = (uint8_t)b};
        v->start[b + 1] = b + 1;
        v->text[b] = (char)b;
    }
    v->words.nodes = v->nodes;
    v->words.text = v->text;
    v->words.start = v->start;
    v->words.ends = v->ends;
}

static void follow(smt_matcher *matcher, const uint8_t *data, size_t size) {
    smt_cursor cursor;
    smt_cursor_open(matcher, &cursor);
    for (size_t i = 0; i < size && i < 200; i++) {
        uint32_t mask[8] = {0};
        if (smt_cursor_mask(&cursor, mask, 256, NULL) != SMT_OK) break;
        uint32_t token = data[i];
        for (int tries = 0; tries < 256 && !(mask[token / 32] >> token % 32 & 1); tries++) token = (token + 1) % 256;
        bool allowed = mask[token / 32] >> token % 32 & 1;
        if (!allowed && !smt_cursor_must_end(&cursor)) abort(); /* a dead end */
        smt_status status = smt_cursor_accept(&cursor, (int32_t)token, NULL);
        if (allowed && status != SMT_OK && status != SMT_UNSUPPORTED) abort();
        if (status != SMT_OK) break;
    }
    smt_cursor_close(&cursor);
}

static void use(const smt_words *words, const char *grammar, size_t bytes, const uint8_t *data, size_t size) {
    static const char json[] = "{\"aZ0\": [1e-5, true, \"\xc3\xa9\\n\"]}\n";
    smt_error err = {0};
    smt_automaton *automaton;
    smt_matcher *matcher;
    if (smt_automaton_create(grammar, bytes, &automaton, &err) != SMT_OK) return;
    if (smt_matcher_create(automaton, words, &matcher, &err) != SMT_OK) return;
    follow(matcher, data, size);
    follow(matcher, (const uint8_t *)json, sizeof json - 1);
    smt_matcher_free(matcher);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    byte_vocab v;
    char *grammar;
    size_t bytes;
    fill(&v);
    use(&v.words, (const char *)data, size, data, size);
    if (smt_schema_grammar((const char *)data, size, "root", &grammar, &bytes, NULL) == SMT_OK)
        use(&v.words, grammar, bytes, data, size);
    smt_free(grammar);
    return 0;
}
