/* serve_say.c: from the tokens of a job to what its client is told.
 *
 *   token -> spoken: whole characters -> thoughts: the thought | the answer -> stream: the answer, up to a stop string
 *
 * Text goes out as soon as it is certain: nothing that may turn out to be a mark around a thought, or the beginning of a stop string. Stop
 * strings end answers, not thoughts and not calls of functions: what triggers a call is one more of them, and behind it there are none.
 * Where thoughts are not told apart, all is answer; where the thought ends is looked at all the same, for the grammar and the count. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

/* The stream must know what stands before: only the first word of a whole text loses the blank in front of it. */
static smt_status open_spoken(const serve_server *server, serve_slot *slot, smt_error *err) {
    const char *ignored;
    size_t bytes;
    smt_status status = smt_text_stream_create(server->tokenizer, &slot->spoken, err);
    for (size_t i = 0; status == SMT_OK && i < slot->n_tokens; i++)
        status = smt_text_stream_push(slot->spoken, slot->tokens[i], &ignored, &bytes, err);
    if (status == SMT_OK) smt_text_stream_flush(slot->spoken, &ignored, &bytes);
    return status;
}

smt_status serve_say_begin(const serve_server *server, serve_slot *slot, smt_error *err) {
    const serve_params *params = &slot->job->request->params;
    const char **stops = malloc((params->n_stops + 1) * sizeof *stops);
    uint32_t n = params->n_stops;
    slot->n_held = 0;
    slot->thoughts = (serve_thoughts){.place = params->thinking};
    if (!stops) return SMT_MEMORY;
    for (uint32_t i = 0; i < n; i++) stops[i] = params->stops[i];
    if (params->calls) stops[n++] = params->calls->trigger;
    smt_status status = open_spoken(server, slot, err);
    if (status == SMT_OK) status = smt_text_stream_create(server->tokenizer, &slot->stream, err);
    if (status == SMT_OK) status = smt_text_stream_set_stops(slot->stream, stops, n, err);
    free(stops);
    return status;
}

void serve_say_end(serve_slot *slot) {
    smt_text_stream_free(slot->spoken);
    smt_text_stream_free(slot->stream);
    slot->spoken = slot->stream = NULL;
}

int32_t serve_say_stop(const serve_slot *slot) { return slot->stream ? smt_text_stream_stop(slot->stream) : -1; }

/* ---- the answer ---- */

/* A part of what is said, on its way out. */
typedef struct saying {
    serve_slot *slot;
    serve_said *said;
    smt_status status;
} saying;

/* A chat's answer has no blanks in front. */
static bool put_answer(const saying *s, const char *text, size_t bytes) {
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
    return put_answer(s, trigger, strlen(trigger)) && put_answer(s, rest, n_rest);
}

static smt_status answer(const saying *s, const char *text, size_t bytes) {
    serve_slot *slot = s->slot;
    const serve_params *params = &slot->job->request->params;
    if (!slot->stream) return put_answer(s, text, bytes) ? SMT_OK : SMT_MEMORY;
    const char *given;
    size_t n_given;
    smt_status status = smt_text_stream_push_text(slot->stream, text, bytes, &given, &n_given, &slot->error);
    if (status != SMT_OK) return status;
    if (!put_answer(s, given, n_given)) return SMT_MEMORY;
    slot->n_held += bytes - n_given;
    if (!params->calls || serve_say_stop(slot) != (int32_t)params->n_stops) return SMT_OK;
    size_t n_rest = slot->n_held - strlen(params->calls->trigger);
    return begin_call(s, text + bytes - n_rest, n_rest) ? SMT_OK : SMT_MEMORY;
}

static bool tell(void *user, bool thought, const char *bytes, size_t count) {
    saying *s = user;
    if (!thought)
        s->status = answer(s, bytes, count);
    else if (serve_append(&s->said->text, bytes, count))
        s->said->n_thought += count;
    else
        s->status = SMT_MEMORY;
    return s->status == SMT_OK;
}

static bool ignore(void *user, bool thought, const char *bytes, size_t count) {
    (void)user, (void)thought, (void)bytes, (void)count;
    return true;
}

/* ---- what is said ---- */

static smt_status take(saying *s, const char *text, size_t bytes) {
    serve_slot *slot = s->slot;
    bool apart = slot->job->request->params.thoughts;
    if (!apart) s->status = answer(s, text, bytes);
    if (s->status == SMT_OK) serve_thoughts_feed(&slot->thoughts, text, bytes, apart ? tell : ignore, s);
    return s->status;
}

smt_status serve_say(serve_slot *slot, int32_t token, serve_said *said) {
    saying s = {slot, said, SMT_OK};
    const char *text;
    size_t bytes;
    smt_status status = smt_text_stream_push(slot->spoken, token, &text, &bytes, &slot->error);
    return status == SMT_OK ? take(&s, text, bytes) : status;
}

smt_status serve_say_rest(serve_slot *slot, serve_said *said) {
    saying s = {slot, said, SMT_OK};
    const char *text;
    size_t bytes;
    smt_text_stream_flush(slot->spoken, &text, &bytes);
    smt_status status = take(&s, text, bytes);
    if (status == SMT_OK && slot->job->request->params.thoughts && !serve_thoughts_end(&slot->thoughts, tell, &s))
        status = s.status;
    if (status != SMT_OK || !slot->stream) return status;
    smt_text_stream_flush(slot->stream, &text, &bytes);
    return put_answer(&s, text, bytes) ? SMT_OK : SMT_MEMORY;
}
