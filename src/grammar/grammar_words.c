/* grammar_words.c: the texts of a vocabulary as a byte trie, laid out for one walk over all of it.
 *
 * Tokens are sorted by their bytes; each byte of a text that its predecessor does not share is a new node. Nodes lie in preorder,
 * so walking the trie is reading an array from front to back, and leaving a subtree out is one jump. Equal texts are one node.
 * Tokens without text (control tokens and their like) and tokens that end a text are not in it. */
#include "grammar_internal.h"

#include <stdlib.h>
#include <string.h>

#define LONGEST 4096 /* bytes; a longer text takes no part: no vocabulary has one */

typedef struct sort_key {
    const char *text;
    uint32_t bytes;
    int32_t token;
} sort_key;

static int by_text(const void *a, const void *b) {
    const sort_key *x = a, *y = b;
    int order = memcmp(x->text, y->text, smt_min_u32(x->bytes, y->bytes));
    if (order) return order;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

static smt_status no_memory(const smt_words *words, smt_error *err) {
    return SMT_FAIL(err, SMT_MEMORY, "out of memory for the texts of %u tokens", words->n_tokens);
}

/* Fills text, start and ends. */
static smt_status copy_texts(smt_words *words, const smt_vocab *vocab, smt_error *err) {
    smt_str text = {0};
    smt_status status = SMT_OK;
    words->start = smt_alloc((size_t)words->n_tokens + 1, sizeof *words->start);
    words->ends = smt_alloc(words->n_tokens / 32 + 1, sizeof *words->ends);
    if (!words->start || !words->ends) return no_memory(words, err);
    for (uint32_t t = 0; t < words->n_tokens && status == SMT_OK; t++) {
        words->start[t] = (uint32_t)text.bytes;
        bool ends = smt_vocab_is_end(vocab, (int32_t)t);
        if (ends) words->ends[t / 32] |= (uint32_t)1 << t % 32;
        if (!ends && smt_token_has_text(vocab, (int32_t)t)) status = smt_token_bytes(vocab, (int32_t)t, false, &text, err);
        if (text.bytes - words->start[t] > LONGEST) text.bytes = words->start[t];
        if (text.bytes > UINT32_MAX / 2) status = SMT_FAIL(err, SMT_UNSUPPORTED, "the vocabulary's texts exceed 2 GiB");
    }
    words->start[words->n_tokens] = (uint32_t)text.bytes;
    words->text = text.text;
    return status;
}

static uint32_t shared(const sort_key *a, const sort_key *b) {
    uint32_t n = smt_min_u32(a->bytes, b->bytes), i = 0;
    while (i < n && a->text[i] == b->text[i]) i++;
    return i;
}

/* `open` [longest]: the node at each depth of the branch that is being built. */
static void put_nodes(smt_words *words, const sort_key *keys, uint32_t n_keys, uint32_t *open) {
    uint32_t depth = 0;
    for (uint32_t k = 0; k < n_keys; k++) {
        uint32_t common = k ? shared(&keys[k - 1], &keys[k]) : 0;
        if (k && common == keys[k].bytes) { /* sorted, so the texts are equal */
            uint32_t same = words->nodes[open[depth - 1]].token;
            words->twins[words->n_twins++] = (smt_words_twin){(uint32_t)keys[k].token, same};
            continue;
        }
        while (depth > common) words->nodes[open[--depth]].end = words->n_nodes;
        for (; depth < keys[k].bytes; depth++) {
            open[depth] = words->n_nodes;
            words->nodes[words->n_nodes++] =
                (smt_words_node){.token = words->n_tokens, .depth = depth & 0xffffff, .byte = (uint8_t)keys[k].text[depth]};
        }
        words->nodes[words->n_nodes - 1].token = (uint32_t)keys[k].token;
    }
    while (depth > 0) words->nodes[open[--depth]].end = words->n_nodes;
}

static smt_status build(smt_words *words, const sort_key *keys, uint32_t n_keys, smt_error *err) {
    size_t n_nodes = 0, n_twins = 0;
    for (uint32_t k = 0; k < n_keys; k++) {
        uint32_t common = k ? shared(&keys[k - 1], &keys[k]) : 0;
        n_nodes += keys[k].bytes - common;
        n_twins += common == keys[k].bytes;
        words->longest = smt_max_u32(words->longest, keys[k].bytes);
    }
    uint32_t *open = smt_alloc(words->longest, sizeof *open);
    words->nodes = smt_alloc(n_nodes, sizeof *words->nodes);
    words->twins = smt_alloc(n_twins, sizeof *words->twins);
    bool made = open && words->nodes && words->twins;
    if (made) put_nodes(words, keys, n_keys, open);
    smt_free(open);
    return made ? SMT_OK : no_memory(words, err);
}

static smt_status sort_and_build(smt_words *words, smt_error *err) {
    sort_key *keys = smt_alloc(words->n_tokens, sizeof *keys);
    if (!keys) return no_memory(words, err);
    uint32_t n = 0;
    for (uint32_t t = 0; t < words->n_tokens; t++) {
        uint32_t bytes = words->start[t + 1] - words->start[t];
        if (bytes) keys[n++] = (sort_key){words->text + words->start[t], bytes, (int32_t)t};
    }
    if (n > 1) qsort(keys, n, sizeof *keys, by_text);
    smt_status status = build(words, keys, n, err);
    smt_free(keys);
    return status;
}

smt_status smt_words_create(const smt_vocab *vocab, smt_words **out, smt_error *err) {
    *out = NULL;
    smt_words *words = smt_alloc(1, sizeof *words);
    if (!words) return SMT_FAIL(err, SMT_MEMORY, "out of memory for the texts of a vocabulary");
    words->n_tokens = smt_vocab_size(vocab);
    smt_status status = copy_texts(words, vocab, err);
    if (status == SMT_OK) status = sort_and_build(words, err);
    if (status == SMT_OK)
        *out = words;
    else
        smt_words_free(words);
    return status;
}

void smt_words_free(smt_words *words) {
    if (!words) return;
    smt_free(words->nodes);
    smt_free(words->twins);
    smt_free(words->text);
    smt_free(words->start);
    smt_free(words->ends);
    smt_free(words);
}
