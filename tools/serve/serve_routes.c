/* serve_routes.c: the table of routes, and the routes that need little more than the library's calls. */
#include "serve_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- routes that generate ---- */

static json_t *generate(serve_call *call, serve_request *request, struct MHD_Response **out_stream, serve_error *error) {
    if (!request) return NULL;
    if (!request->params.stream) return serve_collect(request, call->client->socket, error);
    *out_stream = serve_stream(request, call->client->socket, error);
    return NULL;
}

static json_t *complete_native(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    return generate(call, serve_read_completion(call->server, body, SERVE_NATIVE, error), out_stream, error);
}

static json_t *complete(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    return generate(call, serve_read_completion(call->server, body, SERVE_COMPLETION, error), out_stream, error);
}

static json_t *chat(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    return generate(call, serve_read_chat(call->server, body, error), out_stream, error);
}

static json_t *infill(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    return generate(call, serve_read_infill(call->server, body, error), out_stream, error);
}

static json_t *embed(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    const json_t *format = json_object_get(body, "encoding_format");
    const char *name = json_is_string(format) ? json_string_value(format) : "float";
    bool base64 = !strcmp(name, "base64");
    (void)out_stream;
    if (!base64 && strcmp(name, "float")) {
        serve_fail(error, 400, "\"encoding_format\" %.40s is not supported; there are float and base64", name);
        return NULL;
    }
    serve_request *request = serve_read_embed(call->server, body, error);
    serve_embed_form form = base64 ? SERVE_EMBED_BASE64 : SERVE_EMBED_FLOATS;
    return request ? serve_collect_embeddings(request, call->client->socket, form, error) : NULL;
}

static json_t *embed_native(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    (void)out_stream;
    serve_request *request = serve_read_embed(call->server, body, error);
    return request ? serve_collect_embeddings(request, call->client->socket, SERVE_EMBED_NATIVE, error) : NULL;
}

/* ---- texts and tokens ---- */

/* The bytes of a token: a string, or where they are no whole characters a list of numbers. */
static json_t *piece_json(const serve_server *server, int32_t token) {
    char *text;
    size_t count;
    if (smt_token_text(server->tokenizer, token, &text, &count, NULL) != SMT_OK) return NULL;
    json_t *piece = json_stringn(text, count);
    if (!piece) {
        piece = json_array();
        for (size_t i = 0; i < count; i++) json_array_append_new(piece, json_integer((unsigned char)text[i]));
    }
    smt_free(text);
    return json_pack("{s:i, s:o}", "id", (int)token, "piece", piece);
}

static json_t *tokenize(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    const serve_server *server = call->server;
    const char *text = NULL;
    size_t bytes = 0, count;
    bool add = false, parse = true, pieces = false;
    (void)out_stream;
    if (!serve_get_text(body, "content", &text, &bytes, error) || !serve_get_bool(body, "add_special", &add, error) ||
        !serve_get_bool(body, "parse_special", &parse, error) || !serve_get_bool(body, "with_pieces", &pieces, error))
        return NULL;
    if (!text) return serve_fail(error, 400, "\"content\" is missing"), NULL;
    int32_t *tokens;
    smt_error err = {0};
    uint32_t flags = (add ? SMT_TOKENIZE_BOS : 0u) | (parse ? SMT_TOKENIZE_SPECIAL : 0u);
    smt_status status = smt_tokenize(server->tokenizer, text, bytes, flags, &tokens, &count, &err);
    if (status != SMT_OK) return serve_fail_library(error, status, &err), NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, pieces ? piece_json(server, tokens[i]) : json_integer(tokens[i]));
    smt_free(tokens);
    return json_pack("{s:o}", "tokens", list);
}

/* Bytes that are no whole characters become U+FFFD, as they do in answers. */
static json_t *text_of(const serve_server *server, const int32_t *tokens, size_t count, serve_error *error) {
    smt_text_stream *stream;
    serve_text all = {0};
    smt_error err = {0};
    const char *text;
    size_t bytes;
    smt_status status = smt_text_stream_create(server->tokenizer, &stream, &err);
    for (size_t i = 0; i < count && status == SMT_OK; i++) {
        status = smt_text_stream_push(stream, tokens[i], &text, &bytes, &err);
        if (status == SMT_OK && !serve_append(&all, text, bytes)) status = SMT_MEMORY;
    }
    if (status == SMT_OK) {
        smt_text_stream_flush(stream, &text, &bytes);
        if (!serve_append(&all, text, bytes)) status = SMT_MEMORY;
    }
    smt_text_stream_free(stream);
    json_t *content = NULL;
    if (status == SMT_OK)
        content = json_stringn(all.at, all.bytes);
    else
        serve_fail_library(error, status, &err);
    free(all.at);
    return content;
}

static json_t *detokenize(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    const json_t *list = json_object_get(body, "tokens");
    size_t count = json_array_size(list);
    (void)out_stream;
    if (!json_is_array(list)) return serve_fail(error, 400, "\"tokens\" is not a list"), NULL;
    int32_t *tokens = malloc((count + 1) * sizeof *tokens);
    if (!tokens) return serve_fail_memory(error), NULL;
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= call->server->model.n_vocab) {
            free(tokens);
            return serve_fail(error, 400, "\"tokens\": entry %zu is no token of the vocabulary of %u", i,
                              call->server->model.n_vocab),
                   NULL;
        }
        tokens[i] = (int32_t)json_integer_value(id);
    }
    json_t *content = text_of(call->server, tokens, count, error);
    free(tokens);
    return content ? json_pack("{s:o}", "content", content) : NULL;
}

static json_t *apply_template(serve_call *call, const json_t *body, struct MHD_Response **out_stream, serve_error *error) {
    char *text;
    size_t bytes;
    (void)out_stream;
    if (!serve_render(call->server, body, &text, &bytes, error)) return NULL;
    json_t *prompt = json_stringn(text, bytes);
    smt_free(text);
    return json_pack("{s:o}", "prompt", prompt);
}

/* ---- the table ---- */

/* A path that ends with a slash, but the first, stands for all that go on from there. */
static const serve_route routes[] = {
    {"GET", "/health", serve_health, true, NULL},
    {"GET", "/v1/health", serve_health, true, NULL},
    {"GET", "/v1/models", serve_models, false, NULL},
    {"GET", "/models", serve_models, false, NULL},
    {"GET", "/v1/models/", serve_model, false, NULL},
    {"GET", "/props", serve_props, false, NULL},
    {"GET", "/slots", serve_show_slots, false, NULL},
    {"GET", "/", serve_page, true, "text/html; charset=utf-8"},
    {"GET", "/experts", serve_experts, false, NULL},
    {"GET", "/metrics", serve_metrics, false, "text/plain; version=0.0.4; charset=utf-8"},
    {"POST", "/tokenize", tokenize, false, NULL},
    {"POST", "/detokenize", detokenize, false, NULL},
    {"POST", "/apply-template", apply_template, false, NULL},
    {"POST", "/completion", complete_native, false, NULL},
    {"POST", "/completions", complete_native, false, NULL},
    {"POST", "/infill", infill, false, NULL},
    {"POST", "/embedding", embed_native, false, NULL},
    {"POST", "/v1/embeddings", embed, false, NULL},
    {"POST", "/embeddings", embed, false, NULL},
    {"POST", "/v1/completions", complete, false, NULL},
    {"POST", "/v1/chat/completions", chat, false, NULL},
    {"POST", "/chat/completions", chat, false, NULL},
};

static bool leads_to(const char *route, const char *path) {
    size_t length = strlen(route);
    bool open = length > 1 && route[length - 1] == '/';
    return open ? !strncmp(route, path, length) && path[length] : !strcmp(route, path);
}

const serve_route *serve_find_route(const char *method, const char *path, serve_error *error) {
    bool exists = false;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        if (!leads_to(routes[i].path, path)) continue;
        if (!strcmp(routes[i].method, method)) return &routes[i];
        exists = true;
    }
    if (exists)
        serve_fail(error, 405, "%.20s is not a method of %.100s", method, path);
    else
        serve_fail(error, 404, "there is nothing at %.100s", path);
    return NULL;
}
