/* view_replay.c: a trace file as the source: every token it holds, read at once. Damage is shown, not fatal: what is whole is replayed. */
#include "view_app.h"

#include <stdio.h>

static bool read_tokens(smt_trace *trace, view_model *model) {
    for (uint64_t i = 0; i < smt_trace_count(trace); i++) {
        const smt_trace_token *token;
        if (smt_trace_get(trace, i, &token, NULL) == SMT_OK && !view_model_add(model, token)) return false;
    }
    return true;
}

bool view_replay_open(view_source *source, const char *path, view_model *model, char *message, size_t capacity) {
    smt_trace *trace;
    smt_error err = {0};
    *source = (view_source){.ended = true};
    smt_status status = smt_trace_open(path, &trace, &err);
    if (status != SMT_OK) {
        snprintf(message, capacity, "%s", err.message[0] ? err.message : smt_status_text(status));
        return false;
    }
    source->own = trace;
    source->shape = smt_trace_get_model(trace);
    snprintf(message, capacity, "out of memory for the tokens of %s", path);
    if (!view_model_init(model, source->shape) || !read_tokens(trace, model)) return false;
    model->dropped = smt_trace_dropped(trace);
    model->damage = smt_trace_damage(trace);
    snprintf(message, capacity, "%s holds no tokens", path);
    return model->n_tokens > 0;
}

void view_replay_close(view_source *source) {
    smt_trace_free(source->own);
    *source = (view_source){0};
}
