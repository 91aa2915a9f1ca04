/* view_filter.c: the tokens of one session only, where a runner has several.
 *
 *   all sessions    the source fills app->model
 *   one of them     it fills app->whole; app->model has copies of that session's tokens, and takes the new ones every frame
 *
 * So whatever draws, counts or plays knows nothing of sessions. Steps keep their times: they are those of all sessions together. */
#include "view_app.h"

view_model *view_filter_filled(view_app *app) { return app->session == NOTHING ? &app->model : &app->whole; }

static bool copy_token(view_model *to, const view_model *from, uint32_t token) {
    const view_token *t = &from->tokens[token];
    size_t device = view_device_at(from, token, 0);
    smt_trace_token copy = {.struct_size = sizeof copy,
                            .number = t->number,
                            .id = t->id,
                            .session = t->session,
                            .index = t->index,
                            .step = t->step,
                            .step_tokens = t->step_tokens,
                            .end_s = t->end_s,
                            .device_s = from->device_s + device,
                            .hop_s = from->hop_s + device,
                            .hop_bytes = from->hop_bytes + device,
                            .text = from->text + t->text_at,
                            .text_bytes = t->text_bytes,
                            .experts = view_experts_of(from, token, 0),
                            .weights = view_weights_of(from, token, 0)};
    for (int i = 0; i < SMT_PHASE_COUNT; i++) copy.phase_s[i] = t->phase_s[i];
    return view_model_add(to, &copy);
}

bool view_filter_follow(view_app *app) {
    if (app->session == NOTHING) return true;
    for (; app->n_sifted < app->whole.n_tokens; app->n_sifted++)
        if (app->whole.tokens[app->n_sifted].session == app->session && !copy_token(&app->model, &app->whole, app->n_sifted))
            return false;
    app->model.dropped = app->whole.dropped;
    return true;
}

/* The session with the next higher number; NOTHING behind the last. */
static uint32_t session_after(const view_model *whole, uint32_t session) {
    uint32_t next = NOTHING;
    for (uint32_t t = 0; t < whole->n_tokens; t++) {
        uint32_t its = whole->tokens[t].session;
        if ((session == NOTHING || its > session) && its < next) next = its;
    }
    return next;
}

bool view_filter_set(view_app *app, uint32_t session) {
    uint64_t number = app->model.n_tokens ? app->model.tokens[view_current(app)].number : 0;
    view_model whole = *view_filter_filled(app);
    if (app->session != NOTHING) view_model_free(&app->model);
    app->model = whole;
    app->whole = (view_model){0};
    app->session = session;
    app->n_sifted = 0;
    app->token = NOTHING;
    view_counts_free(&app->counts);
    view_flow_free(&app->flow);
    if (session != NOTHING) {
        app->whole = whole;
        if (!view_model_init(&app->model, whole.shape)) return false;
        app->model.damage = whole.damage;
    }
    if (!view_filter_follow(app)) return false;
    uint32_t at = 0; /* where it stood, or the next one after that */
    while (at + 1 < app->model.n_tokens && app->model.tokens[at].number < number) at++;
    app->playing.at = at;
    return true;
}

bool view_filter_next(view_app *app) {
    const view_model *whole = view_filter_filled(app);
    if (app->comparing || (app->session == NOTHING && session_after(whole, session_after(whole, NOTHING)) == NOTHING)) {
        view_say(app, app->comparing ? "two traces are compared whole" : "there is one session only");
        return true;
    }
    uint32_t session = session_after(whole, app->session);
    if (!view_filter_set(app, session)) return false;
    if (session == NOTHING)
        view_say(app, "tokens of all sessions");
    else
        view_say(app, "tokens of session %u only", session);
    view_app_relayout(app);
    return true;
}
