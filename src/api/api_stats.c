/* api_stats.c: what a step costs and where its time goes, as numbers for programs that compare (`bench` among them). */
#include "api/api_engine.h"

#include <string.h>

/* The counts of the step that was measured. */
static void describe(const smt_session *session, uint32_t n_tokens, const smt_run_profile *measured, smt_profile *out) {
    const smt_run *run = session->runner->run;
    const smt_model *model = run->model->model;
    smt_graph_effort step = smt_graph_stages(measured->graph), layer = {0};
    for (uint32_t i = 0; i < model->n_layers; i++) {
        if (model->n_experts && !model->layers[i].moe) continue;
        smt_graph_effort one = smt_graph_layer_stages(measured->graph, i);
        layer.dispatches = smt_max_u32(layer.dispatches, one.dispatches);
        layer.stages = smt_max_u32(layer.stages, one.stages);
    }
    out->rows = measured->graph->shape.rows;
    out->n_submissions = 0;
    for (size_t i = 0; i < measured->graph->n_segments; i++) out->n_submissions += !measured->graph->segments[i].host;
    out->n_dispatches = step.dispatches;
    out->n_stages = step.stages;
    out->layer_dispatches = layer.dispatches;
    out->layer_stages = layer.stages;
    out->weight_bytes = 0;
    for (uint32_t i = 0; i < run->n_parts; i++)
        out->weight_bytes += smt_graph_weight_bytes(model, &run->parts[i].on->items, n_tokens);
    out->cache_bytes = smt_graph_cache_bytes(model, run->options.cache_f16, session->length, n_tokens);
    out->embed_s = measured->embed_s;
    out->head_s = measured->head_s;
    out->longest_submission_s = measured->longest_s;
    out->hop_s = measured->hop_s;
}

/* Room for the call's own arrays: a time for each layer, a row for each token. */
typedef struct room {
    double *layer_s;
    smt_run_row *rows;
} room;

/* The clock of a software device is the host's, and some of them stop it at the end of the submission only. */
static bool have_clocks(const smt_run *run) {
    for (uint32_t i = 0; i < run->n_parts; i++) {
        const smt_caps *caps = smt_vk_device_caps(run->parts[i].on->vk);
        if (caps->timestamp_ns <= 0 || caps->kind == SMT_KIND_CPU) return false;
    }
    return true;
}

static smt_status measure(smt_session *session, const smt_eval *eval, const room *own, smt_profile *out, smt_error *err) {
    smt_run *run = session->runner->run;
    uint32_t n = eval->n_tokens;
    for (uint32_t i = 0; i < n; i++)
        own->rows[i] = (smt_run_row){.token = eval->tokens[i],
                                     .position = (int32_t)(session->length + i),
                                     .slot = session->slot,
                                     .index = session->length + i,
                                     .out = i + 1 == n};
    smt_run_profile measured = {.layer_s = own->layer_s};
    out->device_clock = !out->host_clock && have_clocks(run);
    atomic_store(&run->cancel, false);
    SMT_TRY(smt_run_extend(run, session->slot, session->length, n, err));
    smt_status status = smt_run_profile_step(run, own->rows, n, out->device_clock, &measured, err);
    if (status != SMT_OK) {
        smt_kv_resize(&run->kv, session->slot, session->length, NULL); /* shrinking cannot fail */
        return status;
    }
    describe(session, n, &measured, out);
    smt_api_append(session, eval->tokens, n);
    return SMT_OK;
}

smt_status smt_session_profile(smt_session *session, const int32_t *tokens, uint32_t n_tokens, smt_profile *profile,
                               smt_error *err) {
    smt_profile p;
    const smt_eval eval = {.struct_size = sizeof eval, .tokens = tokens, .n_tokens = n_tokens};
    uint32_t n_layers = session->runner->engine->file->model->n_layers;
    SMT_TRY(smt_api_copy_options(&p, sizeof p, profile, "smt_profile", err));
    SMT_TRY(smt_api_check_eval(session, &eval, err));
    const smt_run *run = session->runner->run;
    uint32_t limit = smt_run_rows_most(run);
    if (n_tokens > limit) return SMT_FAIL(err, SMT_INVALID, "%u tokens to be measured, one step takes %u", n_tokens, limit);
    room own = {.layer_s = smt_alloc(n_layers, sizeof(double)), .rows = smt_alloc(n_tokens, sizeof(smt_run_row))};
    smt_status status = own.layer_s && own.rows ? measure(session, &eval, &own, &p, err)
                                                : SMT_FAIL(err, SMT_MEMORY, "out of memory for a profile of %u tokens", n_tokens);
    if (status == SMT_OK && p.layer_s) memcpy(p.layer_s, own.layer_s, n_layers * sizeof *p.layer_s);
    if (status == SMT_OK) memcpy(profile, &p, smt_min_u64(p.struct_size, sizeof p));
    smt_free(own.layer_s);
    smt_free(own.rows);
    return status;
}
