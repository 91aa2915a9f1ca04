/* api_runner.c: runners and sessions. */
#include "api/api_engine.h"

#include <string.h>

/* One precision for all devices: a token's arithmetic is the same wherever its layers lie. */
static smt_status choose_precision(smt_precision wanted, const smt_caps *const *caps, uint32_t n_caps, bool *out_fast,
                                   smt_error *err) {
    bool accelerated = true;
    const smt_caps *unable = NULL;
    for (uint32_t i = 0; i < n_caps; i++) {
        if (caps[i]->family != SMT_FAMILY_WAVE) unable = caps[i];
        accelerated = accelerated && caps[i]->int_dot_accelerated;
    }
    *out_fast = wanted == SMT_PRECISION_FAST || (wanted == SMT_PRECISION_AUTO && !unable && accelerated);
    if (wanted != SMT_PRECISION_AUTO && wanted != SMT_PRECISION_EXACT && wanted != SMT_PRECISION_FAST)
        return SMT_FAIL(err, SMT_INVALID, "smt_runner_options.precision %d is unknown", (int)wanted);
    if (*out_fast && unable)
        return SMT_FAIL(err, SMT_UNSUPPORTED,
                        "fast precision needs the matrix kernels for GPUs (\"wave\"); %s runs those for processors (\"rows\")",
                        unable->name);
    return SMT_OK;
}

smt_status smt_api_runner_options(const smt_runner_options *options, const smt_caps *const *caps, uint32_t n_caps,
                                  smt_run_options *out, smt_error *err) {
    smt_runner_options o;
    SMT_TRY(smt_api_copy_options(&o, sizeof o, options, "smt_runner_options", err));
    if (o.cache_type != SMT_CACHE_F16 && o.cache_type != SMT_CACHE_F32)
        return SMT_FAIL(err, SMT_INVALID, "smt_runner_options.cache_type %d is unknown", (int)o.cache_type);
    *out = (smt_run_options){.n_ctx = o.n_ctx,
                             .n_batch = o.n_batch,
                             .n_sessions = o.n_sessions,
                             .cache_f16 = o.cache_type == SMT_CACHE_F16,
                             .submission_ms = o.submission_ms};
    SMT_TRY(choose_precision(o.precision, caps, n_caps, &out->fast, err));
    out->coop = out->fast && !o.no_coop_matrix;
    for (uint32_t i = 0; i < n_caps; i++) out->coop = out->coop && caps[i]->coop.m;
    return SMT_OK;
}

smt_status smt_runner_create(smt_engine *engine, const smt_runner_options *options, smt_runner **out_runner, smt_error *err) {
    *out_runner = NULL;
    smt_run_options run_options;
    const smt_caps *caps[SMT_GRAPH_DEVICES];
    for (uint32_t i = 0; i < engine->n_devices; i++) caps[i] = smt_vk_device_caps(engine->devices[i]);
    SMT_TRY(smt_api_runner_options(options, caps, engine->n_devices, &run_options, err));
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
                                        .cache_type = o->cache_f16 ? SMT_CACHE_F16 : SMT_CACHE_F32,
                                        .submission_ms = o->submission_ms,
                                        .precision = o->fast ? SMT_PRECISION_FAST : SMT_PRECISION_EXACT,
                                        .no_coop_matrix = !o->coop};
}

void smt_runner_get_stats(const smt_runner *runner, smt_runner_stats *out_stats) {
    const smt_run_stats *s = &runner->run->stats;
    *out_stats = (smt_runner_stats){.struct_size = sizeof *out_stats,
                                    .n_steps = s->n_steps,
                                    .n_dropped = s->n_dropped,
                                    .n_submissions = s->n_submissions,
                                    .n_dispatches = s->n_dispatches,
                                    .longest_submission_s = s->longest_s,
                                    .n_expert_hits = s->expert_hits,
                                    .n_expert_misses = s->expert_misses,
                                    .expert_link_bytes = s->expert_link_bytes,
                                    .expert_copied_bytes = s->expert_copied_bytes};
}

smt_status smt_session_create(smt_runner *runner, smt_session **out_session, smt_error *err) {
    *out_session = NULL;
    smt_session *session = smt_alloc(1, sizeof *session);
    if (!session) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a session");
    session->runner = runner;
    session->tokens = smt_alloc(runner->run->options.n_ctx, sizeof *session->tokens);
    smt_status status = session->tokens ? smt_kv_take_slot(&runner->run->kv, &session->slot, err)
                                        : SMT_FAIL(err, SMT_MEMORY, "out of memory for the tokens of a session");
    if (status == SMT_OK) {
        *out_session = session;
        return SMT_OK;
    }
    smt_free(session->tokens);
    smt_free(session);
    return status;
}

void smt_session_free(smt_session *session) {
    if (!session) return;
    smt_kv_release_slot(&session->runner->run->kv, session->slot);
    smt_free(session->tokens);
    smt_free(session);
}

uint32_t smt_session_length(const smt_session *session) { return session->length; }
const int32_t *smt_session_tokens(const smt_session *session) { return session->tokens; }

smt_status smt_session_rewind(smt_session *session, uint32_t length, smt_error *err) {
    if (length > session->length)
        return SMT_FAIL(err, SMT_INVALID, "cannot rewind to %u: the session holds %u tokens", length, session->length);
    SMT_TRY(smt_kv_resize(&session->runner->run->kv, session->slot, length, err));
    session->length = length;
    return SMT_OK;
}

smt_status smt_session_fork(const smt_session *session, uint32_t length, smt_session **out_session, smt_error *err) {
    *out_session = NULL;
    if (length > session->length)
        return SMT_FAIL(err, SMT_INVALID, "cannot fork at %u: the session holds %u tokens", length, session->length);
    SMT_TRY(smt_session_create(session->runner, out_session, err));
    smt_session *fork = *out_session;
    smt_kv_share(&session->runner->run->kv, fork->slot, session->slot, length);
    memcpy(fork->tokens, session->tokens, length * sizeof *fork->tokens);
    fork->length = length;
    return SMT_OK;
}
