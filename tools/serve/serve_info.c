/* serve_info.c: what the server says of itself: health, model, settings, slots, counters; and the page at /. */
#include "serve_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *serve_health(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    (void)body;
    (void)out_stream;
    return serve_is_ready(call->server, error) ? json_pack("{s:s}", "status", "ok") : NULL;
}

extern const unsigned char serve_page_html[]; /* page.html */
extern const size_t serve_page_html_bytes;

json_t *serve_page(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    (void)call;
    (void)body;
    (void)out_stream;
    (void)error;
    return json_stringn((const char *)serve_page_html, serve_page_html_bytes);
}

/* Element `element` of a key of the model's file as text; "" where it has none. */
static json_t *file_text(const serve_server *server, const char *name, uint64_t element) {
    const smt_file *file = smt_engine_file(server->engine);
    smt_key_info info;
    for (uint64_t i = 0; smt_file_key(file, i, &info) == SMT_OK; i++) {
        if (strcmp(info.name, name)) continue;
        size_t bytes = smt_file_key_text(file, i, element, NULL, 0);
        char *text = malloc(bytes + 1);
        if (!text) return NULL;
        smt_file_key_text(file, i, element, text, bytes + 1);
        json_t *value = json_stringn(text, bytes);
        free(text);
        return value;
    }
    return json_string("");
}

/* ---- models ---- */

static json_t *model_json(const serve_server *server) {
    const smt_model_info *m = &server->model;
    /* llama.cpp's numbers: pieces with scores, merged bytes */
    json_t *kind = file_text(server, "tokenizer.ggml.model", 0);
    int vocab = kind && !strcmp(json_string_value(kind), "llama") ? 1 : 2;
    json_decref(kind);
    json_t *meta = json_pack("{s:i, s:I, s:I, s:I, s:I, s:I}", "vocab_type", vocab, "n_vocab", (json_int_t)m->n_vocab,
                             "n_ctx_train", (json_int_t)m->n_ctx_train, "n_embd", (json_int_t)m->n_embd, "n_params",
                             (json_int_t)m->n_params, "size", (json_int_t)m->tensor_bytes);
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", server->options.alias, "object", "model", "created",
                     (json_int_t)server->loaded, "owned_by", "seamount", "meta", meta);
}

json_t *serve_models(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    (void)body;
    (void)out_stream;
    (void)error;
    return json_pack("{s:s, s:[o]}", "object", "list", "data", model_json(call->server));
}

json_t *serve_model(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    char *name = strdup(strrchr(call->path, '/') + 1); /* a slash in it is %2F */
    (void)body;
    (void)out_stream;
    if (!name) return serve_fail_memory(error), NULL;
    MHD_http_unescape(name);
    bool known = !strcmp(name, call->server->options.alias);
    if (!known) serve_fail(error, 404, "there is no model \"%.100s\"", name);
    free(name);
    return known ? model_json(call->server) : NULL;
}

/* ---- props ---- */

/* The text of the token whose id stands under this key. */
static json_t *token_text(const serve_server *server, const char *key) {
    json_t *id = file_text(server, key, 0);
    bool there = id && json_string_length(id);
    json_t *text =
        there ? file_text(server, "tokenizer.ggml.tokens", strtoull(json_string_value(id), NULL, 10)) : json_string("");
    json_decref(id);
    return text;
}

json_t *serve_props(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    const serve_server *server = call->server;
    const serve_options *options = &server->options;
    serve_params defaults = {.n_predict = options->n_predict,
                             .seed = -1,
                             .thoughts = serve_tells_thoughts(server, options->reasoning),
                             .sampling = options->sampling};
    char build[40];
    (void)body;
    (void)out_stream;
    (void)error;
    snprintf(build, sizeof build, "seamount %u.%u.%u", smt_version() / 10000, smt_version() / 100 % 100, smt_version() % 100);
    json_t *bos = server->bos < 0 ? json_string("") : file_text(server, "tokenizer.ggml.tokens", (uint64_t)server->bos);
    json_t *settings = json_pack("{s:I, s:o}", "n_ctx", (json_int_t)server->n_ctx, "params", serve_settings(&defaults));
    json_t *chat = options->chat_template ? json_string(options->chat_template) : file_text(server, "tokenizer.chat_template", 0);
    json_t *props =
        json_pack("{s:o, s:i, s:s, s:s, s:o, s:o, s:o, s:s}", "default_generation_settings", settings, "total_slots",
                  (int)server->n_slots, "model_alias", options->alias, "model_path", options->model_path, "bos_token", bos,
                  "eos_token", token_text(server, "tokenizer.ggml.eos_token_id"), "chat_template", chat, "build_info", build);
    json_object_set_new(props, "chat_template_caps",
                        json_pack("{s:b, s:b}", "supports_tools", server->habits.lists_tools, "supports_tool_calls",
                                  server->habits.writes_calls));
    json_object_set_new(props, "modalities", json_pack("{s:b, s:b}", "vision", false, "audio", false));
    return props;
}

/* ---- slots ---- */

json_t *serve_show_slots(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    serve_server *server = call->server;
    (void)body;
    (void)out_stream;
    if (server->options.hide_slots) return serve_fail(error, 501, "this server does not show its slots"), NULL;
    json_t *list = json_array();
    uint32_t n_busy = 0;
    pthread_mutex_lock(&server->lock);
    for (uint32_t i = 0; i < server->n_slots; i++) {
        const serve_view *view = &server->slots[i].view;
        n_busy += view->busy;
        json_t *next = json_pack("{s:I}", "n_decoded", (json_int_t)view->n_predicted);
        json_array_append_new(
            list, json_pack("{s:i, s:I, s:b, s:I, s:I, s:I, s:o}", "id", (int)i, "n_ctx", (json_int_t)server->n_ctx,
                            "is_processing", view->busy, "id_task", view->job ? (json_int_t)view->job : -1, "n_prompt_tokens",
                            (json_int_t)view->n_prompt, "n_held", (json_int_t)view->n_held, "next_token", next));
    }
    pthread_mutex_unlock(&server->lock);
    /* Those who distribute requests over servers ask so. */
    if (n_busy < server->n_slots || !MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, "fail_on_no_slot"))
        return list;
    json_decref(list);
    serve_fail(error, 503, "all %u slots are busy", n_busy);
    return NULL;
}

/* ---- metrics: the text form of Prometheus ---- */

SYSTEM_PRINTF(5, 6)
static void metric(serve_text *out, const char *name, const char *type, const char *help, const char *format, ...) {
    char line[400], value[64];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    int count = snprintf(line, sizeof line, "# HELP seamount:%s %s\n# TYPE seamount:%s %s\nseamount:%s %s\n", name, help, name,
                         type, name, value);
    serve_append(out, line, (size_t)count);
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

json_t *serve_metrics(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    serve_server *server = call->server;
    uint32_t n_busy = 0;
    size_t n_held = 0;
    (void)body;
    (void)out_stream;
    if (server->options.hide_metrics) return serve_fail(error, 501, "this server does not show its counters"), NULL;
    pthread_mutex_lock(&server->lock);
    serve_counters c = server->counters;
    uint32_t n_waiting = server->n_waiting;
    for (uint32_t i = 0; i < server->n_slots; i++) {
        n_busy += server->slots[i].view.busy;
        n_held += server->slots[i].view.n_held;
    }
    pthread_mutex_unlock(&server->lock);
    serve_text out = {0};
#define COUNT(name, help, value) metric(&out, name, "counter", help, "%llu", (unsigned long long)(value))
#define GAUGE(name, help, value) metric(&out, name, "gauge", help, "%g", (double)(value))
    COUNT("requests_total", "Requests for texts that were taken.", c.requests);
    COUNT("prompt_tokens_total", "Prompt tokens evaluated.", c.prompt_tokens);
    COUNT("prompt_tokens_cached_total", "Prompt tokens that a slot still held.", c.reused_tokens);
    metric(&out, "prompt_seconds_total", "counter", "Seconds from the beginning of prompts to their first token.", "%.3f",
           c.prompt_s);
    COUNT("tokens_predicted_total", "Tokens generated.", c.predicted_tokens);
    metric(&out, "tokens_predicted_seconds_total", "counter", "Seconds of generation, summed over answers.", "%.3f", c.predict_s);
    GAUGE("prompt_tokens_seconds", "Prompt tokens a second.", ratio((double)c.prompt_tokens, c.prompt_s));
    GAUGE("predicted_tokens_seconds", "Generated tokens a second, of one answer.",
          ratio((double)c.predicted_tokens, c.predict_s));
    GAUGE("requests_processing", "Texts being generated.", n_busy);
    GAUGE("requests_deferred", "Texts waiting for a slot.", n_waiting);
    COUNT("n_decode_total", "Rounds of the engine.", c.rounds);
    GAUGE("n_busy_slots_per_decode", "Slots that take part in a round, on average.",
          ratio((double)c.busy_slots, (double)c.rounds));
    GAUGE("kv_cache_usage_ratio", "Cache positions in use.", ratio((double)n_held, (double)server->n_ctx * server->n_slots));
#undef COUNT
#undef GAUGE
    json_t *text = json_stringn(out.at, out.bytes);
    free(out.at);
    return text;
}
