/* serve_stream.c: pieces to server-sent events.
 *
 *   data: {...}\n\n ... data: [DONE]\n\n      (native routes end without the last)
 *
 * In a chat the first event of a choice names the role, and every event but its last says "finish_reason": null. Where thoughts are told
 * apart, events of the thought and of the answer have both members, one of them null, as DeepSeek's own have. A call of a function begins
 * with an event that has its index, id and name; the following ones have its index and a part of its arguments. With
 * stream_options.include_usage one more event without choices has the usage. While nothing happens (a queue, a long prompt) a comment
 * goes out now and then, so that nobody in between closes the connection, and a client that left is noticed. A failure after the
 * stream has begun is an event with "error", the last one. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

/* A choice. */
typedef struct voice {
    bool begun; /* the role was named */
    serve_reader reader;
} voice;

typedef struct stream {
    serve_request *request; /* owned */
    uint32_t n_jobs;
    serve_text out;
    size_t taken;  /* of out, by libmicrohttpd */
    voice *voices; /* owned, [n_jobs] */
    bool ended;    /* nothing follows what is in out */
} stream;

/* ---- events ---- */

/* Takes the reference. */
static bool write_event(stream *s, json_t *event) {
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    bool written = text && serve_append(&s->out, "data: ", 6) && serve_append(&s->out, text, strlen(text)) &&
                   serve_append(&s->out, "\n\n", 2);
    free(text);
    return written;
}

static bool write_words(stream *s, const char *words) { return serve_append(&s->out, words, strlen(words)); }

/* Takes the reference. */
static json_t *chunk(const serve_request *request, json_t *choice) {
    json_t *event = serve_head(request, request->params.format == SERVE_CHAT ? "chat.completion.chunk" : "text_completion");
    json_object_set_new(event, "choices", choice ? json_pack("[o]", choice) : json_array());
    if (request->params.include_usage) json_object_set_new(event, "usage", choice ? json_null() : serve_usage(request));
    return event;
}

/* reason: NULL in all events but a choice's last. */
static bool write_choice(stream *s, const serve_piece *piece, json_t *content, json_t *logprobs, const char *reason) {
    const serve_job *job = &s->request->jobs[piece->job];
    bool chat = s->request->params.format == SERVE_CHAT;
    json_t *event = chunk(s->request, serve_choice(job, chat ? "delta" : "text", content, logprobs, reason));
    if (s->request->params.timings || (reason && s->request->n_jobs == 1))
        json_object_set_new(event, "timings", serve_timings(job, &piece->timing));
    return write_event(s, event);
}

static json_t *content_of(const stream *s, const char *text, size_t bytes) {
    const serve_params *params = &s->request->params;
    json_t *content = json_stringn(text, bytes);
    if (params->format != SERVE_CHAT) return content;
    if (!params->thoughts) return json_pack("{s:o}", "content", content);
    return json_pack("{s:o, s:n}", "content", content, "reasoning_content");
}

/* A piece on its way out. */
typedef struct telling {
    stream *stream;
    const serve_piece *piece;
    json_t *logprobs; /* owned: those of the piece, which go with its first event */
} telling;

static json_t *delta_of(const stream *s, const serve_heard *heard) {
    bool thought = heard->kind == SERVE_HEARD_THOUGHT, apart = s->request->params.thoughts;
    if (heard->kind == SERVE_HEARD_TEXT || (thought && !apart)) return content_of(s, heard->bytes, heard->count);
    if (thought) return json_pack("{s:n, s:o}", "content", "reasoning_content", json_stringn(heard->bytes, heard->count));
    json_t *part, *arguments = json_stringn(heard->bytes, heard->kind == SERVE_HEARD_NAME ? 0 : heard->count);
    if (heard->kind == SERVE_HEARD_NAME)
        part = serve_call_json(heard->bytes, heard->count, arguments);
    else
        part = json_pack("{s:{s:o}}", "function", "arguments", arguments);
    json_object_set_new(part, "index", json_integer(heard->call));
    return json_pack("{s:[o]}", "tool_calls", part);
}

static bool tell(void *user, const serve_heard *heard) {
    telling *t = user;
    json_t *logprobs = t->logprobs;
    t->logprobs = NULL;
    return write_choice(t->stream, t->piece, delta_of(t->stream, heard), logprobs, NULL);
}

static bool write_role(stream *s, const serve_piece *piece) {
    const char *nothing = s->request->params.calls ? NULL : "";
    json_t *delta = json_pack("{s:s, s:s?}", "role", "assistant", "content", nothing);
    if (s->request->params.thoughts) json_object_set_new(delta, "reasoning_content", json_null());
    return write_choice(s, piece, delta, NULL, NULL);
}

/* What the piece says of thought and answer; in one event at least, if it has log-probabilities. */
static bool tell_piece(telling *t, serve_reader *reader) {
    const serve_piece *piece = t->piece;
    const serve_heard thought = {.kind = SERVE_HEARD_THOUGHT, .bytes = piece->text, .count = piece->n_thought};
    bool good = piece->n_thought == 0 || tell(t, &thought);
    good = good && serve_reader_feed(reader, piece->text + piece->n_thought, piece->bytes - piece->n_thought, tell, t);
    if (good && piece->last) good = serve_reader_end(reader, tell, t);
    if (good && t->logprobs)
        good = tell(t, &(serve_heard){.kind = piece->thinks ? SERVE_HEARD_THOUGHT : SERVE_HEARD_TEXT, .bytes = ""});
    return good;
}

static bool write_open_piece(stream *s, const serve_piece *piece) {
    const serve_params *params = &s->request->params;
    const serve_job *job = &s->request->jobs[piece->job];
    voice *v = &s->voices[piece->job];
    telling t = {s, piece, NULL};
    bool chat = params->format == SERVE_CHAT, good = !chat || v->begun || write_role(s, piece);
    v->begun = true;
    if (params->logprobs && piece->token >= 0)
        t.logprobs = serve_logprobs(params->format, json_pack("[o]", serve_logprob(s->request->server, piece)));
    good = good && tell_piece(&t, &v->reader);
    json_decref(t.logprobs);
    if (!good || !piece->last) return good;
    json_t *nothing = chat && !params->thoughts ? json_object() : content_of(s, "", 0);
    return write_choice(s, piece, nothing, NULL, serve_finish_reason(job, serve_reader_has_called(&v->reader)));
}

static bool write_native_piece(stream *s, const serve_piece *piece) {
    const serve_params *params = &s->request->params;
    const serve_job *job = &s->request->jobs[piece->job];
    if (!piece->last && !piece->bytes && !params->logprobs && !params->return_tokens) return true;
    json_t *tokens = piece->token >= 0 ? json_pack("[i]", (int)piece->token) : json_array();
    json_t *event =
        serve_native_head(job, piece->slot, piece->timing.n_predicted, json_stringn(piece->text, piece->bytes), tokens);
    if (params->logprobs && piece->token >= 0)
        json_object_set_new(event, "completion_probabilities", json_pack("[o]", serve_logprob(s->request->server, piece)));
    if (params->timings) json_object_set_new(event, "timings", serve_timings(job, &piece->timing));
    if (piece->last) serve_native_end(job, event);
    return write_event(s, event);
}

static bool write_piece(stream *s, const serve_piece *piece) {
    const serve_job *job = &s->request->jobs[piece->job];
    if (piece->last && job->result.end == SERVE_END_ERROR) {
        s->ended = true;
        return write_event(s, serve_error_json(&job->result.error));
    }
    return s->request->params.format == SERVE_NATIVE ? write_native_piece(s, piece) : write_open_piece(s, piece);
}

static bool write_end(stream *s) {
    s->ended = true;
    if (s->request->params.format == SERVE_NATIVE) return true;
    if (s->request->params.include_usage && !write_event(s, chunk(s->request, NULL))) return false;
    return write_words(s, "data: [DONE]\n\n");
}

/* ---- the response ---- */

/* Waits for what comes next. False: the client is gone, or there is no memory. */
static bool fill(stream *s) {
    bool ended;
    s->out.bytes = s->taken = 0;
    serve_piece *piece = serve_request_next(s->request, s->request->server->options.keep_alive_s, &ended);
    if (!piece && !ended) return write_words(s, ": working\n\n");
    if (!piece) return !s->request->gone && write_end(s);
    bool written = write_piece(s, piece);
    free(piece);
    return written;
}

static ssize_t read_stream(void *user, uint64_t position, char *buffer, size_t room) {
    stream *s = user;
    (void)position;
    while (s->taken == s->out.bytes) {
        if (s->ended) return MHD_CONTENT_READER_END_OF_STREAM;
        if (!fill(s)) return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    size_t count = s->out.bytes - s->taken < room ? s->out.bytes - s->taken : room;
    memcpy(buffer, s->out.at + s->taken, count);
    s->taken += count;
    return (ssize_t)count;
}

static void end_stream(void *user) {
    stream *s = user;
    if (s->request) serve_request_leave(s->request);
    for (uint32_t i = 0; s->voices && i < s->n_jobs; i++) serve_reader_free(&s->voices[i].reader);
    free(s->out.at);
    free(s->voices);
    free(s);
}

#define BLOCK 4096 /* bytes that libmicrohttpd asks for at once */

struct MHD_Response *serve_stream(serve_request *request, MHD_socket client, serve_error *error) {
    stream *s = calloc(1, sizeof *s);
    struct MHD_Response *response = NULL;
    if (s) s->voices = calloc(request->n_jobs, sizeof *s->voices);
    if (s && s->voices) s->n_jobs = request->n_jobs;
    for (uint32_t i = 0; s && i < s->n_jobs; i++) s->voices[i].reader.dialect = request->params.calls;
    if (s && s->voices) response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, s, end_stream);
    if (!response) {
        if (s) end_stream(s);
        serve_fail_memory(error);
    } else if (serve_request_submit(request, client, error)) {
        s->request = request;
        return response;
    } else {
        MHD_destroy_response(response);
    }
    serve_request_free(request);
    return NULL;
}
