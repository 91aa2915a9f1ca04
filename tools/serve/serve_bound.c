/* serve_bound.c: an answer that follows a grammar: which tokens may come next.
 *
 * A grammar says what an answer looks like, and so it begins behind the thought. In a thought any token may come; end tokens only where the
 * grammar lets an answer be empty. The token that ends the thought may bring the answer's first bytes along: those have to fit, else another
 * token is drawn.
 *
 * Where a model may think and is not made to, the grammar holds from the first token, which may be the mark of a thought besides (as one
 * token of the vocabulary: spelled in several ones it could be the beginning of what the grammar wants). */
#include "serve_internal.h"

#include <stdlib.h>
#include <string.h>

static size_t words_of(const serve_server *server) { return server->model.n_vocab / 32 + 1; }

smt_status serve_bound_begin(const serve_server *server, serve_slot *slot, smt_grammar *grammar, smt_error *err) {
    if (!grammar) return SMT_OK;
    size_t n = words_of(server);
    slot->mask = calloc(2 * n, sizeof *slot->mask);
    smt_status status = slot->mask ? smt_grammar_state_create(grammar, &slot->grammar, err) : SMT_MEMORY;
    if (status != SMT_OK) return status;
    uint32_t *thinking = slot->mask + n;
    memset(thinking, 0xFF, n * sizeof *thinking);
    bool ends = smt_grammar_may_end(slot->grammar);
    for (uint32_t t = 0; t < server->model.n_vocab; t++)
        if (!ends && serve_is_end(server, &slot->job->request->params, (int32_t)t)) thinking[t / 32] &= ~(1u << t % 32);
    slot->bound = slot->thoughts.place != SERVE_THINKS;
    return SMT_OK;
}

void serve_bound_end(serve_slot *slot) {
    smt_grammar_state_free(slot->grammar);
    free(slot->mask);
    slot->grammar = NULL;
    slot->mask = NULL;
    slot->bound = false;
}

/* Whether the next token may be the one that begins a thought. */
static bool may_think(const serve_server *server, const serve_slot *slot) {
    return slot->thoughts.place == SERVE_MAY_THINK && slot->n_tokens == slot->job->n_prompt && server->think >= 0;
}

smt_status serve_bound_mask(const serve_server *server, serve_slot *slot) {
    if (!slot->grammar) return SMT_OK;
    size_t n = words_of(server);
    if (!slot->bound) return memcpy(slot->mask, slot->mask + n, n * sizeof *slot->mask), SMT_OK;
    smt_status status = smt_grammar_mask(slot->grammar, slot->mask, server->model.n_vocab, &slot->error);
    if (status == SMT_OK && may_think(server, slot)) slot->mask[server->think / 32] |= 1u << server->think % 32;
    return status;
}

/* ---- a token was drawn ---- */

static bool keep_answer(void *user, bool thought, const char *bytes, size_t count) {
    return thought || serve_append(user, bytes, count);
}

/* The token of a thought, and what it has of the answer behind. */
static smt_status take_thinking(const serve_server *server, serve_slot *slot, int32_t token, bool *out_fits) {
    serve_thoughts ahead = slot->thoughts;
    serve_text begun = {0};
    char *text;
    size_t bytes;
    smt_status status = smt_token_text(server->tokenizer, token, &text, &bytes, &slot->error);
    if (status != SMT_OK) return status;
    if (!serve_thoughts_feed(&ahead, text, bytes, keep_answer, &begun)) status = SMT_MEMORY;
    if (status == SMT_OK && begun.bytes) status = smt_grammar_accept_text(slot->grammar, begun.at, begun.bytes, &slot->error);
    free(begun.at);
    smt_free(text);
    *out_fits = status != SMT_INVALID;
    if (status == SMT_OK) slot->bound = ahead.place != SERVE_THINKS;
    if (*out_fits) return status;
    slot->mask[token / 32] &= ~(1u << token % 32);
    return SMT_OK;
}

smt_status serve_bound_take(const serve_server *server, serve_slot *slot, int32_t token, bool *out_fits) {
    *out_fits = true;
    if (!slot->grammar) return SMT_OK;
    if (!slot->bound) return take_thinking(server, slot, token, out_fits);
    bool thinks = may_think(server, slot) && token == server->think;
    /* To a grammar of calls a mark is text like any other; one that a client wrote may have thoughts of its own. */
    smt_status status =
        thinks && slot->job->request->params.calls ? SMT_INVALID : smt_grammar_accept(slot->grammar, token, &slot->error);
    if (!thinks || status != SMT_INVALID) return status;
    slot->bound = false;
    return SMT_OK;
}
