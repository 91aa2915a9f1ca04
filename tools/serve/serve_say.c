/* serve_say.c: from the tokens of a job to what its client is told.
 *
 *   token -> spoken: whole characters -> thoughts: the thought | the answer -> stream: the answer, up to a stop string
 *
 * Text goes out as soon as it is certain: nothing that may turn out to be a mark around a thought, or the beginning of a stop string. Stop
 * strings end answers, not thoughts and not calls of functions: what triggers a call is one more of them, and behind it there are none.
 * Where thoughts are not told apart, stop strings are about them too, as all is content to the client; a call still cannot begin in one,
 * and what is said keeps the two apart up to where documents and events are written. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

/* What ends the text: trigger, where it is not NULL, behind the client's. */
static smt_status set_stops(serve_slot *slot, const char *trigger, smt_error *err) {
    const serve_params *params = &slot->job->request->params;
    const char **stops = malloc((params->n_stops + 1) * sizeof *stops);
    uint32_t n = params->n_stops;
    if (!stops) return SMT_MEMORY;
    for (uint32_t i = 0; i < n; i++) stops[i] = params->stops[i];
    if (trigger) stops[n++] = trigger;
    smt_status status = smt_text_stream_set_stops(slot->stream, stops, n, err);
    free(stops);
    return status;
}

smt_status serve_say_begin(const serve_server *server, serve_slot *slot, smt_error *err) {
    const serve_params *params = &slot->job->request->params;
    slot->n_held = 0;
    slot->answers = false;
    slot->thoughts = (serve_thoughts){.place = params->thinking, .raw = !params->thoughts};
    smt_status status = serve_open_spoken(server->tokenizer, slot->tokens, slot->n_tokens, &slot->spoken, err);
    if (status == SMT_OK) status = smt_text_stream_create(server->tokenizer, &slot->stream, err);
    return status == SMT_OK ? set_stops(slot, NULL, err) : status;
}

void serve_say_end(serve_slot *slot) {
    smt_text_stream_free(slot->spoken);
    smt_text_stream_free(slot->stream);
    slot->spoken = slot->stream = NULL;
}

int32_t serve_say_stop(const serve_slot *slot) { return slot->stream ? smt_text_stream_stop(slot->stream) : -1; }

/* ---- thought and answer ---- */

/* A part of what is said, on its way out. */
typedef struct saying {
    serve_slot *slot;
    serve_said *said;
    smt_status status;
} saying;

/* A chat's text has no blanks in front. */
static bool put_text(const saying *s, const char *text, size_t bytes) {
    bool chat = s->slot->job->request->params.format == SERVE_CHAT;
    for (; chat && !s->slot->wrote && bytes && *text == ' '; text++) bytes--;
    if (bytes) s->slot->wrote = true;
    if (memchr(text, '\n', bytes)) s->slot->line = true;
    return serve_append(&s->said->text, text, bytes);
}

/* A call begins behind the text: the trigger, which the stream did not give, and what stands behind it. */
static bool begin_call(const saying *s, const char *rest, size_t n_rest) {
    const char *trigger = s->slot->job->request->params.calls->trigger;
    smt_text_stream_free(s->slot->stream);
    s->slot->stream = NULL;
    return put_text(s, trigger, strlen(trigger)) && put_text(s, rest, n_rest);
}

/* A text up to a stop string. */
static smt_status put_stopped(const saying *s, const char *text, size_t bytes) {
    const char *given;
    size_t n_given;
    smt_status status = smt_text_stream_push_text(s->slot->stream, text, bytes, &given, &n_given, &s->slot->error);
    if (status != SMT_OK) return status;
    s->slot->n_held += bytes - n_given;
    return put_text(s, given, n_given) ? SMT_OK : SMT_MEMORY;
}

/* What the stream still has. */
static smt_status put_held(const saying *s) {
    const char *text;
    size_t bytes;
    smt_text_stream_flush(s->slot->stream, &text, &bytes);
    s->slot->n_held = 0;
    return put_text(s, text, bytes) ? SMT_OK : SMT_MEMORY;
}

/* All that was said is of the thought, and a call may follow. */
static smt_status begin_answer(const saying *s) {
    const serve_params *params = &s->slot->job->request->params;
    s->slot->answers = true;
    if (!params->calls) return SMT_OK;
    smt_status status = put_held(s);
    s->said->n_thought = s->said->text.bytes;
    return status == SMT_OK ? set_stops(s->slot, params->calls->trigger, &s->slot->error) : status;
}

static smt_status answer(const saying *s, const char *text, size_t bytes) {
    serve_slot *slot = s->slot;
    const serve_params *params = &slot->job->request->params;
    if (!slot->stream) return put_text(s, text, bytes) ? SMT_OK : SMT_MEMORY;
    if (serve_say_stop(slot) >= 0) return SMT_OK;
    smt_status status = slot->answers ? SMT_OK : begin_answer(s);
    if (status == SMT_OK) status = put_stopped(s, text, bytes);
    if (status != SMT_OK) return status;
    if (!params->calls || serve_say_stop(slot) != (int32_t)params->n_stops) return SMT_OK;
    size_t n_rest = slot->n_held - strlen(params->calls->trigger);
    return begin_call(s, text + bytes - n_rest, n_rest) ? SMT_OK : SMT_MEMORY;
}

static smt_status think(const saying *s, const char *text, size_t bytes) {
    bool apart = s->slot->job->request->params.thoughts;
    smt_status status = SMT_OK;
    if (!apart)
        status = put_stopped(s, text, bytes);
    else if (!serve_append(&s->said->text, text, bytes))
        status = SMT_MEMORY;
    s->said->n_thought = s->said->text.bytes;
    return status;
}

static bool tell(void *user, bool thought, const char *bytes, size_t count) {
    saying *s = user;
    s->status = thought ? think(s, bytes, count) : answer(s, bytes, count);
    return s->status == SMT_OK;
}

/* ---- what is said ---- */

smt_status serve_say(serve_slot *slot, int32_t token, serve_said *said) {
    saying s = {slot, said, SMT_OK};
    const char *text;
    size_t bytes;
    smt_status status = smt_text_stream_push(slot->spoken, token, &text, &bytes, &slot->error);
    if (status != SMT_OK) return status;
    serve_thoughts_feed(&slot->thoughts, text, bytes, tell, &s);
    return s.status;
}

smt_status serve_say_rest(serve_slot *slot, serve_said *said) {
    saying s = {slot, said, SMT_OK};
    const char *text;
    size_t bytes;
    smt_text_stream_flush(slot->spoken, &text, &bytes);
    if (serve_thoughts_feed(&slot->thoughts, text, bytes, tell, &s)) serve_thoughts_end(&slot->thoughts, tell, &s);
    if (s.status != SMT_OK || !slot->stream) return s.status;
    smt_status status = put_held(&s);
    if (!slot->answers) said->n_thought = said->text.bytes;
    return status;
}
