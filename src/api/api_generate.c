/* api_generate.c: smt_session_generate: an answer drawn on the device, with steps running ahead, or on the host, where somebody wants more
 * of each token than its id. Both give the same tokens.
 *
 *   session:  | held before | tokens given | answer ... but its last |
 *
 * A token that the callback has seen is part of the answer whatever happens later, so the length is set from their number at every end. */
#include "api/api_engine.h"

#include <string.h>

#define AHEAD_DEFAULT 2

typedef struct generation {
    smt_session *session;
    smt_sampler *sampler;
    smt_generate request;
    uint32_t start, most; /* length of the session before; tokens of the answer at most */
    uint32_t n;           /* tokens that the callback has seen */
    bool ended;           /* by the callback */
} generation;

static void hand_over(generation *g, const smt_generated *token) {
    uint32_t at = g->start + g->request.n_tokens + g->n++;
    if (at < g->session->runner->run->options.n_ctx) g->session->tokens[at] = token->token;
    g->ended = !g->request.on_token(g->request.user, token);
}

static smt_status eval(const generation *g, const smt_eval *eval, smt_error *err) {
    return smt_api_eval(g->session->runner, &(smt_batch_entry){.session = g->session, .eval = eval}, 1, err);
}

static smt_eval eval_of(const generation *g, uint32_t n_tokens) {
    return (smt_eval){.struct_size = sizeof(smt_eval), .tokens = g->request.tokens, .n_tokens = n_tokens};
}

/* ---- on the device ---- */

/* The last step of the tokens given, which draws the first of the answer; those before it are done here. */
static smt_status begin(const generation *g, const smt_sample_rule *rule, smt_run_decode *decode, smt_error *err) {
    const smt_session *session = g->session;
    smt_run *run = session->runner->run;
    uint32_t limit = smt_run_rows_most(run), before = (g->request.n_tokens - 1) / limit * limit, n = g->request.n_tokens - before;
    const smt_eval first = eval_of(g, before);
    if (before) SMT_TRY(eval(g, &first, err));
    SMT_TRY(smt_run_extend(run, session->slot, session->length, n, err));
    memcpy(session->tokens + g->start, g->request.tokens, g->request.n_tokens * sizeof *session->tokens);
    smt_run_row *rows = smt_alloc(n, sizeof *rows);
    if (!rows) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a step of %u rows", n);
    for (uint32_t i = 0, index = g->start + before; i < n; i++, index++)
        rows[i] = (smt_run_row){.token = g->request.tokens[before + i],
                                .position = (int32_t)index,
                                .slot = session->slot,
                                .index = index,
                                .out = i + 1 == n};
    uint32_t ahead = g->request.steps_ahead ? g->request.steps_ahead : AHEAD_DEFAULT;
    smt_status status = smt_run_decode_begin(run, rows, n, &(smt_run_answer){rule, ahead, g->most}, decode, err);
    smt_free(rows);
    return status;
}

/* Tells of the prompt's end as an eval would. */
static smt_status progress(const generation *g, smt_error *err) {
    const smt_callbacks *c = &g->session->runner->run->model->callbacks;
    uint32_t n = g->request.n_tokens;
    if (!c->progress || c->progress(c->user, SMT_STAGE_EVAL, n, n)) return SMT_OK;
    return SMT_FAIL(err, SMT_CANCELLED, "cancelled after %u of %u tokens", n, n);
}

static smt_status answer(generation *g, smt_run_decode *decode, smt_error *err) {
    for (bool any = true; !g->ended;) {
        smt_generated token = {.n_evaluated = g->n ? 1 : g->request.n_tokens};
        SMT_TRY(smt_run_decode_next(decode, &any, &token.token, err));
        if (!any) return SMT_OK;
        if (g->n == 0) SMT_TRY(progress(g, err));
        hand_over(g, &token);
    }
    return SMT_OK;
}

static smt_status on_device(generation *g, const smt_sample_rule *rule, smt_error *err) {
    smt_run_decode decode;
    SMT_TRY(begin(g, rule, &decode, err));
    smt_status status = answer(g, &decode, err);
    smt_status ended = smt_run_decode_end(&decode, status == SMT_OK ? err : NULL);
    return status == SMT_OK ? ended : status;
}

/* ---- on the host ---- */

typedef struct host_state {
    float *logits;          /* [n_vocab] */
    int32_t *history;       /* [n_history]: what is evaluated is at its end */
    int32_t *experts;       /* [n_moe_layers * n_tokens * n_experts_used] */
    smt_token_logprob *top; /* [n_top] */
    uint32_t *mask;         /* of the grammar: [n_vocab / 32 + 1] */
    size_t n_history, capacity;
} host_state;

static smt_status host_open(const generation *g, host_state *h, smt_error *err) {
    const smt_model *model = g->session->runner->engine->file->model;
    const smt_generate *r = &g->request;
    h->capacity = r->n_history + r->n_tokens + 64;
    h->logits = smt_alloc(model->n_vocab, sizeof *h->logits);
    h->history = smt_alloc(h->capacity, sizeof *h->history);
    h->top = smt_alloc(r->n_top, sizeof *h->top);
    h->mask = smt_alloc(model->n_vocab / 32 + 1, sizeof *h->mask);
    size_t experts = r->experts ? (size_t)smt_model_moe_layers(model) * model->n_used * r->n_tokens : 0;
    h->experts = smt_alloc(experts, sizeof *h->experts);
    if (!h->logits || !h->history || !h->top || !h->experts || !h->mask)
        return SMT_FAIL(err, SMT_MEMORY, "out of memory for an answer to %u tokens", r->n_tokens);
    if (r->n_history) memcpy(h->history, r->history, r->n_history * sizeof *h->history);
    memcpy(h->history + r->n_history, r->tokens, r->n_tokens * sizeof *h->history);
    h->n_history = r->n_history + r->n_tokens;
    return SMT_OK;
}

static void host_close(host_state *h) {
    smt_free(h->logits);
    smt_free(h->history);
    smt_free(h->experts);
    smt_free(h->top);
    smt_free(h->mask);
}

/* Evaluates the last n of the history and draws the next token. */
static smt_status host_step(generation *g, host_state *h, uint32_t n, smt_generated *out, smt_error *err) {
    const smt_model *model = g->session->runner->engine->file->model;
    bool experts = g->request.experts && smt_model_moe_layers(model);
    const smt_eval step = {.struct_size = sizeof step,
                           .tokens = h->history + (h->n_history - n),
                           .n_tokens = n,
                           .logits = h->logits,
                           .expert_ids = experts ? h->experts : NULL};
    SMT_TRY(eval(g, &step, err));
    if (g->request.grammar) SMT_TRY(smt_grammar_mask(g->request.grammar, h->mask, model->n_vocab, err));
    *out = (smt_generated){.n_top = g->request.n_top, .top = h->top, .n_evaluated = n, .expert_ids = experts ? h->experts : NULL};
    const smt_draw draw = {.struct_size = sizeof draw,
                           .logits = h->logits,
                           .n_vocab = model->n_vocab,
                           .history = h->history,
                           .n_history = h->n_history,
                           .position = g->session->length,
                           .logprob = g->request.logprobs ? &out->logprob : NULL,
                           .n_top = out->n_top,
                           .top = h->top,
                           .mask = g->request.grammar ? h->mask : NULL};
    SMT_TRY(smt_sampler_draw(g->sampler, &draw, &out->token, err));
    return g->request.grammar ? smt_grammar_accept(g->request.grammar, out->token, err) : SMT_OK;
}

static smt_status on_host(generation *g, smt_error *err) {
    host_state h = {0};
    uint32_t n = g->request.n_tokens, n_ctx = g->session->runner->run->options.n_ctx;
    smt_status status = host_open(g, &h, err);
    while (status == SMT_OK && g->n < g->most && !g->ended && n <= n_ctx - g->session->length) {
        smt_generated token;
        status = host_step(g, &h, n, &token, err);
        if (status == SMT_FULL && g->n) { /* an answer that fills the cache is complete */
            status = SMT_OK;
            break;
        }
        if (status != SMT_OK) break;
        hand_over(g, &token);
        n = 1;
        status = smt_grow((void **)&h.history, &h.capacity, h.n_history + 1, sizeof *h.history, err);
        if (status == SMT_OK) h.history[h.n_history++] = token.token;
    }
    host_close(&h);
    return status;
}

/* ---- both ---- */

static smt_status check_request(const smt_generate *r, smt_error *err) {
    if (!r->on_token) return SMT_FAIL(err, SMT_INVALID, "smt_generate.on_token is NULL");
    if (r->n_history && !r->history)
        return SMT_FAIL(err, SMT_INVALID, "smt_generate.history is NULL, n_history %zu", r->n_history);
    if (r->steps_ahead > SMT_RUN_AHEAD_MOST)
        return SMT_FAIL(err, SMT_INVALID, "steps_ahead is %u, at most %d are possible", r->steps_ahead, SMT_RUN_AHEAD_MOST);
    return SMT_OK;
}

smt_status smt_session_generate(smt_session *session, smt_sampler *sampler, const smt_generate *request, smt_end *out_end,
                                smt_error *err) {
    *out_end = SMT_END_CALLBACK;
    generation g = {.session = session, .sampler = sampler, .start = session->length};
    SMT_TRY(smt_api_copy_options(&g.request, sizeof g.request, request, "smt_generate", err));
    SMT_TRY(check_request(&g.request, err));
    const smt_eval given = eval_of(&g, g.request.n_tokens);
    SMT_TRY(smt_api_check_eval(session, &given, err));
    g.most = g.request.max_tokens ? g.request.max_tokens : UINT32_MAX;
    atomic_store(&session->runner->run->cancel, false);
    smt_sample_rule rule;
    bool host = g.request.logprobs || g.request.n_top || g.request.experts || g.request.draw_on_host || g.request.grammar;
    const smt_run *run = session->runner->run;
    bool between = run->model->slots || (run->observer && run->n_parts > 1); /* the host needs what a step captures */
    bool device = smt_sample_only_rule(&sampler->options, &rule) && !host && !between;
    smt_status status = device ? on_device(&g, &rule, err) : on_host(&g, err);
    session->length = g.start + (g.n ? g.request.n_tokens + g.n - 1 : 0);
    smt_kv_resize(&session->runner->run->kv, session->slot, session->length, NULL); /* shrinking cannot fail */
    if (status == SMT_OK && !g.ended) *out_end = g.n == g.most ? SMT_END_LENGTH : SMT_END_FULL;
    return status;
}
