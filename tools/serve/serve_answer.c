/* serve_answer.c: pieces to one document, and the parts that documents and events share.
 *
 * The forms are those that clients of OpenAI's interface and of llama.cpp's server read: a field that may be null is there. */
#include "serve_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_S 3600.0 /* serve_request_next comes back on news */

/* ---- parts ---- */

json_t *serve_head(const serve_request *request, const char *object) {
    char fingerprint[40];
    snprintf(fingerprint, sizeof fingerprint, "seamount-%u.%u.%u", smt_version() / 10000, smt_version() / 100 % 100,
             smt_version() % 100);
    return json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", request->params.id, "object", object, "created",
                     (json_int_t)request->params.created, "model", request->server->options.alias, "system_fingerprint",
                     fingerprint);
}

const char *serve_finish_reason(const serve_job *job, bool calls) {
    return job->result.end == SERVE_END_LENGTH ? "length" : calls ? "tool_calls" : "stop";
}

json_t *serve_choice(const serve_job *job, const char *key, json_t *content, json_t *logprobs, const char *reason) {
    return json_pack("{s:i, s:o, s:o, s:s?}", "index", (int)job->index, key, content, "logprobs",
                     logprobs ? logprobs : json_null(), "finish_reason", reason);
}

bool serve_draw_id(const char *prefix, char *id, size_t capacity) {
    uint64_t first, second;
    if (!system_random(&first) || !system_random(&second)) return false;
    snprintf(id, capacity, "%s%016llx%08x", prefix, (unsigned long long)first, (unsigned)second);
    return true;
}

json_t *serve_call_json(const char *name, size_t bytes, json_t *arguments) {
    char id[40];
    if (!serve_draw_id("call_", id, sizeof id)) {
        json_decref(arguments);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:{s:o, s:o}}", "id", id, "type", "function", "function", "name", json_stringn(name, bytes),
                     "arguments", arguments);
}

/* A prompt counts once, however many answers there are to it. */
json_t *serve_usage(const serve_request *request) {
    size_t n_prompt = 0, n_cached = 0, n_predicted = 0, n_thought = 0;
    for (uint32_t i = 0; i < request->n_jobs; i++) {
        const serve_job *job = &request->jobs[i];
        n_predicted += job->result.timing.n_predicted;
        n_thought += job->result.n_thought;
        if (i % request->params.n_choices) continue;
        n_prompt += job->n_prompt;
        n_cached += job->result.timing.n_reused;
    }
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:{s:I}}", "prompt_tokens", (json_int_t)n_prompt, "completion_tokens",
                     (json_int_t)n_predicted, "total_tokens", (json_int_t)(n_prompt + n_predicted), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)n_cached, "completion_tokens_details", "reasoning_tokens",
                     (json_int_t)n_thought);
}

static double per_second(size_t count, double seconds) { return seconds > 0 ? (double)count / seconds : 0; }

json_t *serve_timings(const serve_job *job, const serve_timing *t) {
    size_t n_prompt = job->n_prompt - t->n_reused;
    return json_pack("{s:I, s:I, s:f, s:f, s:I, s:f, s:f}", "cache_n", (json_int_t)t->n_reused, "prompt_n", (json_int_t)n_prompt,
                     "prompt_ms", t->prompt_s * 1000, "prompt_per_second", per_second(n_prompt, t->prompt_s), "predicted_n",
                     (json_int_t)t->n_predicted, "predicted_ms", t->predict_s * 1000, "predicted_per_second",
                     per_second(t->n_predicted, t->predict_s));
}

json_t *serve_native_head(const serve_job *job, uint32_t slot, size_t n_predicted, json_t *content, json_t *tokens) {
    return json_pack("{s:i, s:o, s:o, s:b, s:i, s:I, s:I}", "index", (int)job->index, "content", content, "tokens", tokens,
                     "stop", false, "id_slot", (int)slot, "tokens_predicted", (json_int_t)n_predicted, "tokens_evaluated",
                     (json_int_t)job->n_prompt);
}

void serve_native_end(const serve_job *job, json_t *document) {
    static const char *const types[] = {
        [SERVE_END_NONE] = "none", [SERVE_END_EOS] = "eos", [SERVE_END_LENGTH] = "limit", [SERVE_END_WORD] = "word"};
    const serve_params *params = &job->request->params;
    const serve_result *r = &job->result;
    json_object_set_new(document, "stop", json_true());
    json_object_set_new(document, "model", json_string(job->request->server->options.alias));
    json_object_set_new(document, "generation_settings", serve_settings(params));
    json_object_set_new(document, "truncated", json_false());
    json_object_set_new(document, "stop_type", json_string(types[r->end]));
    json_object_set_new(document, "stopping_word", json_string(r->stop >= 0 ? params->stops[r->stop] : ""));
    json_object_set_new(document, "tokens_cached", json_integer((json_int_t)r->timing.n_reused));
    json_object_set_new(document, "timings", serve_timings(job, &r->timing));
}

/* ---- log-probabilities ---- */

/* {"id", "token", "bytes", "logprob"}; a token that is no whole text is shown as what of it is ASCII. */
static json_t *describe(const serve_server *server, int32_t token, float logprob) {
    char *text;
    size_t count;
    if (smt_token_text(server->tokenizer, token, &text, &count, NULL) != SMT_OK) return NULL;
    json_t *bytes = json_array(), *words = json_stringn(text, count);
    for (size_t i = 0; i < count; i++) json_array_append_new(bytes, json_integer((unsigned char)text[i]));
    for (size_t i = 0; !words && i < count; i++) text[i] = text[i] & (char)0x80 ? '?' : text[i];
    if (!words) words = json_stringn(text, count);
    smt_free(text);
    return json_pack("{s:i, s:o, s:o, s:f}", "id", (int)token, "token", words, "bytes", bytes, "logprob", (double)logprob);
}

json_t *serve_logprob(const serve_server *server, const serve_piece *piece) {
    json_t *entry = describe(server, piece->token, piece->logprob), *top = json_array();
    for (uint32_t i = 0; i < piece->n_top && piece->top[i].token >= 0; i++)
        json_array_append_new(top, describe(server, piece->top[i].token, piece->top[i].logprob));
    json_object_set_new(entry, "top_logprobs", top);
    return entry;
}

/* The columns of /v1/completions. */
static json_t *columns(const json_t *list) {
    json_t *tokens = json_array(), *values = json_array(), *tops = json_array(), *offsets = json_array(), *entry, *one;
    size_t i, k, offset = 0;
    json_array_foreach(list, i, entry) {
        json_t *top = json_object();
        json_array_append(tokens, json_object_get(entry, "token"));
        json_array_append(values, json_object_get(entry, "logprob"));
        json_array_append_new(offsets, json_integer((json_int_t)offset));
        json_array_foreach(json_object_get(entry, "top_logprobs"), k, one)
            json_object_set(top, json_string_value(json_object_get(one, "token")), json_object_get(one, "logprob"));
        json_array_append_new(tops, top);
        offset += json_array_size(json_object_get(entry, "bytes"));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs", tops, "text_offset",
                     offsets);
}

json_t *serve_logprobs(serve_format format, json_t *list) {
    if (!list || format == SERVE_NATIVE) return list;
    if (format == SERVE_CHAT) return json_pack("{s:o}", "content", list);
    json_t *table = columns(list);
    json_decref(list);
    return table;
}

/* ---- documents ---- */

/* What the pieces of a job add up to. */
typedef struct gathered {
    serve_reader reader;
    serve_text thought, text, arguments; /* owned; arguments: of the last call */
    json_t *tokens, *logprobs, *calls;   /* owned */
} gathered;

/* What the pieces of all jobs of a request add up to. */
typedef struct gathering {
    const serve_request *request;
    gathered *parts; /* owned, [n_jobs] */
    size_t n_probs;
} gathering;

/* The last call is whole, or as whole as it will be. */
static bool close_call(gathered *g) {
    size_t n = json_array_size(g->calls);
    if (n == 0) return true;
    json_t *function = json_object_get(json_array_get(g->calls, n - 1), "function");
    json_t *arguments = json_stringn(g->arguments.bytes ? g->arguments.at : "", g->arguments.bytes);
    g->arguments.bytes = 0;
    return json_object_set_new(function, "arguments", arguments) == 0;
}

static bool hear(void *user, const serve_heard *heard) {
    gathered *g = user;
    if (heard->kind == SERVE_HEARD_TEXT) return serve_append(&g->text, heard->bytes, heard->count);
    if (heard->kind == SERVE_HEARD_ARGUMENTS) return serve_append(&g->arguments, heard->bytes, heard->count);
    return close_call(g) && json_array_append_new(g->calls, serve_call_json(heard->bytes, heard->count, json_string(""))) == 0;
}

static bool gather(void *user, const serve_piece *piece, serve_error *error) {
    gathering *g = user;
    gathered *to = &g->parts[piece->job];
    serve_text *thought = g->request->params.thoughts ? &to->thought : &to->text;
    bool heard = serve_append(thought, piece->text, piece->n_thought) &&
                 serve_reader_feed(&to->reader, piece->text + piece->n_thought, piece->bytes - piece->n_thought, hear, to);
    if (heard && piece->last) heard = serve_reader_end(&to->reader, hear, to) && close_call(to);
    if (!heard) return serve_fail_memory(error);
    if (piece->token < 0) return true;
    g->n_probs += g->request->params.logprobs ? piece->n_top + 1 : 0;
    if (g->n_probs > SERVE_MAX_PROBS)
        return serve_fail(error, 400, "the answer has more than %d log-probabilities; a stream may have so many",
                          SERVE_MAX_PROBS);
    if (g->request->params.logprobs) json_array_append_new(to->logprobs, serve_logprob(g->request->server, piece));
    return json_array_append_new(to->tokens, json_integer(piece->token)) == 0 || serve_fail_memory(error);
}

/* The members that the client named, inner ones under their whole path; those that are not there are left out. */
static json_t *select_fields(json_t *document, const json_t *fields) {
    json_t *chosen = json_object(), *name;
    size_t i;
    json_array_foreach(fields, i, name) {
        json_t *at = document;
        char *path = strdup(json_string_value(name)), *rest = NULL;
        for (char *step = path ? strtok_r(path, "/", &rest) : NULL; step && at; step = strtok_r(NULL, "/", &rest))
            at = json_object_get(at, step);
        if (at) json_object_set(chosen, json_string_value(name), at);
        free(path);
    }
    json_decref(document);
    return chosen;
}

static json_t *native_document(const serve_job *job, gathered *g) {
    const serve_params *params = &job->request->params;
    json_t *tokens = params->return_tokens ? json_incref(g->tokens) : json_array();
    json_t *text = json_stringn(g->text.at, g->text.bytes);
    json_t *document = serve_native_head(job, job->result.slot, job->result.timing.n_predicted, text, tokens);
    serve_native_end(job, document);
    if (params->logprobs) json_object_set(document, "completion_probabilities", g->logprobs);
    return params->fields ? select_fields(document, params->fields) : document;
}

static json_t *open_choice(const serve_job *job, gathered *g) {
    const serve_params *params = &job->request->params;
    json_t *text = json_stringn(g->text.at, g->text.bytes);
    json_t *logprobs = params->logprobs ? serve_logprobs(params->format, json_incref(g->logprobs)) : NULL;
    bool calls = json_array_size(g->calls) > 0;
    const char *reason = serve_finish_reason(job, serve_reader_has_called(&g->reader));
    if (params->format == SERVE_COMPLETION) return serve_choice(job, "text", text, logprobs, reason);
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", text);
    if (calls && g->text.bytes == 0) json_object_set_new(message, "content", json_null());
    if (calls) json_object_set(message, "tool_calls", g->calls);
    if (params->thoughts)
        json_object_set_new(message, "reasoning_content",
                            g->thought.bytes ? json_stringn(g->thought.at, g->thought.bytes) : json_null());
    return serve_choice(job, "message", message, logprobs, reason);
}

static json_t *document_of(const serve_request *request, gathered *parts) {
    json_t *list = json_array();
    bool native = request->params.format == SERVE_NATIVE;
    for (uint32_t i = 0; i < request->n_jobs; i++) {
        const serve_job *job = &request->jobs[i];
        json_array_append_new(list, native ? native_document(job, &parts[i]) : open_choice(job, &parts[i]));
    }
    if (native && request->n_jobs > 1) return list;
    json_t *document;
    if (native) {
        document = json_incref(json_array_get(list, 0));
        json_decref(list);
        return document;
    }
    document = serve_head(request, request->params.format == SERVE_CHAT ? "chat.completion" : "text_completion");
    json_object_set_new(document, "choices", list);
    json_object_set_new(document, "usage", serve_usage(request));
    if (request->n_jobs == 1)
        json_object_set_new(document, "timings", serve_timings(&request->jobs[0], &request->jobs[0].result.timing));
    return document;
}

bool serve_take_pieces(serve_request *request, serve_take_fn take, void *user, serve_error *error) {
    uint32_t n_done = 0;
    bool ended = false, good = true;
    while (!ended && good) {
        serve_piece *piece = serve_request_next(request, WAIT_S, &ended);
        if (!piece) continue;
        const serve_job *job = &request->jobs[piece->job];
        if (take) good = take(user, piece, error);
        if (good && piece->last && job->result.end == SERVE_END_ERROR) {
            *error = job->result.error;
            good = false;
        }
        n_done += piece->last;
        free(piece);
    }
    return good && n_done == request->n_jobs;
}

static bool open_gathering(const serve_request *request, gathering *g) {
    *g = (gathering){request, calloc(request->n_jobs, sizeof *g->parts), 0};
    bool good = g->parts != NULL;
    for (uint32_t i = 0; good && i < request->n_jobs; i++) {
        g->parts[i].tokens = json_array();
        g->parts[i].logprobs = json_array();
        g->parts[i].calls = json_array();
        g->parts[i].reader.dialect = request->params.calls;
        good = serve_append(&g->parts[i].text, "", 0) && g->parts[i].tokens && g->parts[i].logprobs && g->parts[i].calls;
    }
    return good;
}

static void end_gathering(gathering *g) {
    for (uint32_t i = 0; g->parts && i < g->request->n_jobs; i++) {
        serve_reader_free(&g->parts[i].reader);
        free(g->parts[i].thought.at);
        free(g->parts[i].text.at);
        free(g->parts[i].arguments.at);
        json_decref(g->parts[i].calls);
        json_decref(g->parts[i].tokens);
        json_decref(g->parts[i].logprobs);
    }
    free(g->parts);
}

json_t *serve_collect(serve_request *request, MHD_socket client, serve_error *error) {
    if (!serve_request_submit(request, client, error)) return serve_request_free(request), NULL;
    gathering g;
    json_t *document = NULL;
    if (!open_gathering(request, &g))
        serve_fail_memory(error);
    else if (serve_take_pieces(request, gather, &g, error))
        document = document_of(request, g.parts);
    end_gathering(&g);
    serve_request_leave(request);
    return document;
}
