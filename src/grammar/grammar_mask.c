/* grammar_mask.c: cursors in a text, and the tokens that may follow one.
 *
 * A mask is one walk over the trie of the vocabulary, with the automaton's state at each depth: a look-up for each node, and a
 * jump over the subtree where the state is dead. The masks of SMT_GRAMMAR_MASKS states are kept, replaced in turn. End tokens are
 * allowed exactly where the text may end. */
#include "grammar_internal.h"

#include <string.h>

/* ---- cursors ---- */

void smt_cursor_open(smt_matcher *matcher, smt_cursor *cursor) {
    *cursor = (smt_cursor){.matcher = matcher, .state = matcher->start, .next = matcher->cursors};
    if (cursor->next) cursor->next->prev = cursor;
    matcher->cursors = cursor;
}

void smt_cursor_copy(const smt_cursor *from, smt_cursor *to) {
    smt_cursor_open(from->matcher, to);
    to->state = from->state;
}

void smt_cursor_close(smt_cursor *cursor) {
    if (!cursor->matcher) return;
    if (cursor->next) cursor->next->prev = cursor->prev;
    if (cursor->prev)
        cursor->prev->next = cursor->next;
    else
        cursor->matcher->cursors = cursor->next;
    *cursor = (smt_cursor){0};
}

/* *out_taken: how many bytes the grammar allows. */
static smt_status run(smt_cursor *cursor, const char *text, size_t bytes, size_t *out_taken, smt_error *err) {
    smt_matcher *m = cursor->matcher;
    SMT_TRY(smt_matcher_trim(m, err));
    uint32_t state = cursor->state;
    for (*out_taken = 0; *out_taken < bytes; (*out_taken)++) {
        SMT_TRY(smt_matcher_next(m, state, m->automaton->class_of[(uint8_t)text[*out_taken]], &state, err));
        if (state == SMT_MATCH_DEAD) return SMT_OK;
    }
    cursor->state = state;
    return SMT_OK;
}

smt_status smt_cursor_accept_text(smt_cursor *cursor, const char *text, size_t bytes, smt_error *err) {
    size_t taken;
    SMT_TRY(run(cursor, text, bytes, &taken, err));
    if (taken == bytes) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "the grammar does not allow byte 0x%02X, number %zu of the %zu of the text",
                    (uint8_t)text[taken], taken + 1, bytes);
}

smt_status smt_cursor_accept(smt_cursor *cursor, int32_t token, smt_error *err) {
    const smt_words *words = cursor->matcher->words;
    if (token < 0 || (uint32_t)token >= words->n_tokens)
        return SMT_FAIL(err, SMT_INVALID, "token %d is out of range: the vocabulary has %u", token, words->n_tokens);
    if (words->ends[token / 32] >> token % 32 & 1) {
        if (smt_cursor_may_end(cursor)) return SMT_OK;
        return SMT_FAIL(err, SMT_INVALID, "the grammar does not allow the text to end here (token %d)", token);
    }
    size_t bytes = words->start[token + 1] - words->start[token], taken = 0;
    const char *text = words->text + words->start[token];
    if (bytes) SMT_TRY(run(cursor, text, bytes, &taken, err));
    if (bytes && taken == bytes) return SMT_OK;
    return SMT_FAIL(err, SMT_INVALID, "the grammar does not allow token %d (\"%.*s\") here", token, (int)smt_min_u64(bytes, 60),
                    bytes ? text : "");
}

bool smt_cursor_may_end(const smt_cursor *cursor) { return smt_match_may_end(cursor->matcher, cursor->state); }

bool smt_cursor_must_end(const smt_cursor *cursor) {
    return smt_cursor_may_end(cursor) && cursor->matcher->states[cursor->state].n == 1;
}

/* ---- masks ---- */

static uint32_t get(const uint32_t *bits, uint32_t token) { return bits[token / 32] >> token % 32 & 1; }

/* What the walk leaves out: twins of tokens in the trie, the end tokens; and the bit of nodes where no token ends, which it sets.
 * */
static void complete(const smt_matcher *m, uint32_t state, uint32_t *bits) {
    const smt_words *words = m->words;
    for (uint32_t i = 0; i < words->n_twins; i++) {
        uint32_t token = words->twins[i].token;
        bits[token / 32] |= get(bits, words->twins[i].same) << token % 32;
    }
    if (smt_match_may_end(m, state))
        for (uint32_t w = 0; w < m->n_words; w++) bits[w] |= words->ends[w];
    bits[words->n_tokens / 32] &= ~((uint32_t)1 << words->n_tokens % 32);
}

static smt_status walk(smt_matcher *m, uint32_t state, uint32_t *bits, smt_error *err) {
    const smt_words_node *nodes = m->words->nodes;
    const uint8_t *class_of = m->automaton->class_of;
    const uint32_t n_nodes = m->words->n_nodes, n_classes = m->automaton->n_classes;
    size_t *path = m->path;
    path[0] = (size_t)state * n_classes;
    for (uint32_t i = 0; i < n_nodes;) {
        const smt_words_node *node = &nodes[i];
        size_t from = path[node->depth];
        uint32_t class_idx = class_of[node->byte], to = m->next[from + class_idx];
        if (to == SMT_MATCH_UNKNOWN) SMT_TRY(smt_matcher_next(m, (uint32_t)(from / n_classes), class_idx, &to, err));
        if (to == SMT_MATCH_DEAD) {
            i = node->end;
            continue;
        }
        path[node->depth + 1] = (size_t)to * n_classes;
        bits[node->token / 32] |= (uint32_t)1 << node->token % 32;
        i++;
    }
    complete(m, state, bits);
    return SMT_OK;
}

static smt_status make_room(smt_matcher *m, smt_error *err) {
    if (m->masks) return SMT_OK;
    uint32_t *masks = smt_alloc((size_t)SMT_GRAMMAR_MASKS * m->n_words, sizeof *masks);
    m->mask_state = m->mask_state ? m->mask_state : smt_alloc(SMT_GRAMMAR_MASKS, sizeof *m->mask_state);
    if (!masks || !m->mask_state) {
        smt_free(masks);
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for masks of %u tokens", m->words->n_tokens);
    }
    m->masks = masks;
    return SMT_OK;
}

/* The state's mask, computed into a slot where it has none. */
static smt_status find_mask(smt_matcher *m, uint32_t state, const uint32_t **out, smt_error *err) {
    SMT_TRY(make_room(m, err));
    uint32_t kept = m->states[state].mask;
    if (kept) {
        *out = m->masks + (size_t)(kept - 1) * m->n_words;
        return SMT_OK;
    }
    uint32_t slot = m->next_mask, *bits = m->masks + (size_t)slot * m->n_words;
    if (m->mask_state[slot]) m->states[m->mask_state[slot]].mask = 0;
    m->mask_state[slot] = 0;
    memset(bits, 0, m->n_words * sizeof *bits);
    SMT_TRY(walk(m, state, bits, err));
    m->mask_state[slot] = state;
    m->states[state].mask = slot + 1;
    m->next_mask = (slot + 1) % SMT_GRAMMAR_MASKS;
    *out = bits;
    return SMT_OK;
}

smt_status smt_cursor_mask(smt_cursor *cursor, uint32_t *bits, size_t n_bits, smt_error *err) {
    const uint32_t *mask;
    size_t n_words = n_bits / 32 + (n_bits % 32 != 0);
    memset(bits, 0, n_words * sizeof *bits);
    SMT_TRY(smt_matcher_trim(cursor->matcher, err));
    SMT_TRY(find_mask(cursor->matcher, cursor->state, &mask, err));
    memcpy(bits, mask, smt_min_u64(n_words, cursor->matcher->n_words) * sizeof *bits);
    if (n_bits % 32 && n_words) bits[n_words - 1] &= ((uint32_t)1 << n_bits % 32) - 1;
    return SMT_OK;
}
