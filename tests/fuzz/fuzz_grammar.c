/* fuzz_grammar.c: any bytes as a grammar; what is one is followed for a while, along the bytes it allows, and again along the bytes of its
 * own text. Nothing may crash, hang or be lost. */
#include "grammar/grammar_internal.h"
#include "corpus.h"

#include <stdlib.h>

/* A vocabulary of single bytes, without a file: token b is byte b, in the trie's preorder as well. */
static void byte_words(smt_words *words, smt_words_node nodes[257], int32_t order[256], uint32_t start[257], char text[256]) {
    static uint32_t ends[9];
    for (uint32_t b = 0; b < 257; b++) {
        nodes[b] = (smt_words_node){.end = b + 1, .first = b, .byte = (uint8_t)b};
        start[b] = b;
        if (b == 256) break;
        order[b] = (int32_t)b;
        text[b] = (char)b;
    }
    *words = (smt_words){.n_tokens = 256,
                         .n_nodes = 256,
                         .longest = 1,
                         .nodes = nodes,
                         .order = order,
                         .text = text,
                         .start = start,
                         .ends = ends};
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_words words;
    smt_words_node nodes[257];
    int32_t order[256];
    uint32_t start[257];
    char text[256];
    smt_error err = {0};
    smt_automaton *automaton;
    smt_matcher *matcher;
    byte_words(&words, nodes, order, start, text);
    if (smt_automaton_create((const char *)data, size, &automaton, &err) != SMT_OK) return 0;
    if (smt_matcher_create(automaton, &words, &matcher, &err) != SMT_OK) return 0;
    follow(matcher, data, size);
    follow(matcher, (const uint8_t *)"aZ0\"{[,:]} \n\xc3\xa9 1e-5", 22);
    smt_matcher_free(matcher);
    return 0;
}
