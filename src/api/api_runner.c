/* api_runner.c: runners and sessions, and the cutting of an eval into steps. */
#include "api/api_engine.h"

smt_status smt_api_runner_options(const smt_runner_options *options, smt_run_options *out, smt_error *err) {
    smt_runner_options o;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_runner_options", err));
    if (o.cache_type != SMT_CACHE_F16 && o.cache_type != SMT_CACHE_F32)
        return SMT_FAIL(err, SMT_INVALID, "smt_runner_options.cache_type %d is unknown", (int)o.cache_type);
    *out = (smt_run_options){
        .n_ctx = o.n_ctx, .n_batch = o.n_batch, .n_sessions = o.n_sessions, .cache_f16 = o.cache_type == SMT_CACHE_F16};
    return SMT_OK;
}

smt_status smt_runner_create(smt_engine *engine, const smt_runner_options *options, smt_runner **out_runner, smt_error *err) {
    *out_runner = NULL;
    smt_run_options run_options;
    SMT_TRY(smt_api_runner_options(options, &run_options, err));
    smt_runner *runner = smt_alloc(1, sizeof *runner);
    if (!runner) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a runner");
    runner->engine = engine;
    smt_status status = smt_run_create(engine->model, &run_options, &runner->run, err);
    if (status != SMT_OK)
        smt_free(runner);
    else
        *out_runner = runner;
    return status;
}

void smt_runner_free(smt_runner *runner) {
    if (!runner) return;
    smt_run_free(runner->run);
    smt_free(runner);
}

void smt_runner_cancel(smt_runner *runner) { atomic_store(&runner->run->cancel, true); }

void smt_runner_get_options(const smt_runner *runner, smt_runner_options *out_options) {
    const smt_run_options *o = &runner->run->options;
    *out_options = (smt_runner_options){.struct_size = sizeof *out_options,
                                        .n_ctx = o->n_ctx,
                                        .n_batch = o->n_batch,
                                        .n_sessions = o->n_sessions,
                                        .cache_type = o->cache_f16 ? SMT_CACHE_F16 : SMT_CACHE_F32};
}

smt_status smt_session_create(smt_runner *runner, smt_session **out_session, smt_error *err) {
    *out_session = NULL;
    smt_session *session = smt_alloc(1, sizeof *session);
    if (!session) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a session");
    session->runner = runner;
    smt_status status = smt_kv_take_slot(&runner->run->kv, &session->slot, err);
    if (status != SMT_OK)
        smt_free(session);
    else
        *out_session = session;
    return status;
}

void smt_session_free(smt_session *session) {
    if (!session) return;
    smt_kv_release_slot(&session->runner->run->kv, session->slot);
    smt_free(session);
}

uint32_t smt_session_length(const smt_session *session) { return session->length; }

smt_status smt_session_rewind(smt_session *session, uint32_t length, smt_error *err) {
    if (length > session->length)
        return SMT_FAIL(err, SMT_INVALID, "cannot rewind to %u: the session holds %u tokens", length, session->length);
    SMT_TRY(smt_kv_resize(&session->runner->run->kv, session->slot, length, err));
    session->length = length;
    return SMT_OK;
}

smt_status smt_api_check_eval(const smt_session *session, const smt_eval *eval, smt_error *err) {
    const smt_model *model = session->runner->engine->file->model;
    const smt_run_options *o = &session->runner->run->options;
    if (!eval->tokens || eval->n_tokens == 0) return SMT_FAIL(err, SMT_INVALID, "smt_eval has no tokens");
    if (eval->n_tokens > o->n_ctx - session->length)
        return SMT_FAIL(err, SMT_FULL, "%u tokens after %u exceed the context of %u", eval->n_tokens, session->length, o->n_ctx);
    for (uint32_t i = 0; i < eval->n_tokens; i++) {
        if (eval->tokens[i] < 0 || (uint32_t)eval->tokens[i] >= model->n_vocab)
            return SMT_FAIL(err, SMT_INVALID, "token %d at index %u is outside the vocabulary of %u", eval->tokens[i], i,
                            model->n_vocab);
        if (eval->positions && (eval->positions[i] < 0 || (uint32_t)eval->positions[i] >= o->n_ctx))
            return SMT_FAIL(err, SMT_INVALID, "position %d at index %u is outside the context of %u", eval->positions[i], i,
                            o->n_ctx);
    }
    return SMT_OK;
}

/* One step's worth of an eval: rows [at, at + n). */
static smt_status eval_rows(smt_session *session, const smt_eval *eval, const int32_t *positions, uint32_t at, uint32_t n,
                            smt_error *err) {
    const smt_model *model = session->runner->engine->file->model;
    bool last = at + n == eval->n_tokens;
    smt_run_rows rows = {.n = n,
                         .tokens = eval->tokens + at,
                         .positions = positions + at,
                         .slot = session->slot,
                         .index = session->length + at,
                         .hidden = eval->hidden,
                         .ids = eval->expert_ids,
                         .weights = eval->expert_weights,
                         .total = eval->n_tokens,
                         .at = at};
    if (eval->logits && (eval->all_logits || last)) {
        rows.n_out = eval->all_logits ? n : 1;
        rows.logits = eval->logits + (eval->all_logits ? (size_t)at * model->n_vocab : 0);
    }
    return smt_run_step(session->runner->run, &rows, err);
}

static smt_status eval_steps(smt_session *session, const smt_eval *eval, const int32_t *positions, smt_error *err) {
    smt_run *run = session->runner->run;
    const smt_callbacks *c = &run->model->callbacks;
    bool capture = eval->hidden || eval->expert_ids || eval->expert_weights;
    uint32_t limit = smt_run_rows_limit(run, eval->logits && eval->all_logits, capture);
    for (uint32_t at = 0; at < eval->n_tokens; at += limit) {
        uint32_t n = smt_min_u32(limit, eval->n_tokens - at);
        SMT_TRY(eval_rows(session, eval, positions, at, n, err));
        if (c->progress && !c->progress(c->user, SMT_STAGE_EVAL, at + n, eval->n_tokens))
            return SMT_FAIL(err, SMT_CANCELLED, "cancelled after %u of %u tokens", at + n, eval->n_tokens);
    }
    return SMT_OK;
}

smt_status smt_session_eval(smt_session *session, const smt_eval *eval, smt_error *err) {
    smt_eval e;
    SMT_TRY(smt_api_copy_options(&e, sizeof e, eval, "smt_eval", err));
    SMT_TRY(smt_api_check_eval(session, &e, err));
    int32_t *own = NULL;
    if (!e.positions) {
        own = smt_alloc(e.n_tokens, sizeof *own);
        if (!own) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %u positions", e.n_tokens);
        for (uint32_t i = 0; i < e.n_tokens; i++) own[i] = (int32_t)(session->length + i);
    }
    smt_run *run = session->runner->run;
    atomic_store(&run->cancel, false);
    smt_status status = smt_kv_resize(&run->kv, session->slot, session->length + e.n_tokens, err);
    if (status == SMT_OK) status = eval_steps(session, &e, own ? own : e.positions, err);
    if (status == SMT_OK)
        session->length += e.n_tokens;
    else
        smt_kv_resize(&run->kv, session->slot, session->length, NULL); /* shrinking cannot fail */
    smt_free(own);
    return status;
}
