/* serve_step.c: one job in its slot: begin, draw after each evaluation, end.
 *
 *   tokens:  | prompt                  | answer                 |
 *   session: | held from before | evaluated in rounds ... but the last
 *
 * The token drawn last is part of the answer and not yet of the session. End tokens end the answer and are not part of it. Text goes
 * out as soon as it is certain: whole characters, and nothing that may turn out to be the beginning of a stop string.
 *
 * Stop strings end texts, not calls of functions: what triggers a call is one more of them, and behind it there are none. */
#include "serve_tools.h"

#include <stdlib.h>
#include <string.h>

static bool reserve(serve_slot *slot, size_t count) {
    if (count <= slot->capacity) return true;
    size_t wanted = count + count / 2 + 64;
    int32_t *grown = realloc(slot->tokens, wanted * sizeof *grown);
    if (!grown) return false;
    slot->tokens = grown;
    slot->capacity = wanted;
    return true;
}

/* The session goes back to where it and the prompt part; at least one token is evaluated, as its logits are needed. */
static smt_status take_prompt(serve_slot *slot, serve_job *job, smt_error *err) {
    size_t held = smt_session_length(slot->session), same = 0;
    if (job->request->params.reuse) same = serve_common(slot->tokens, held, job->prompt, job->n_prompt - 1);
    smt_status status = smt_session_rewind(slot->session, (uint32_t)same, err);
    if (status != SMT_OK) return status;
    slot->n_tokens = same;
    job->result.n_reused = same;
    if (!reserve(slot, job->n_prompt + 1)) return SMT_MEMORY;
    memcpy(slot->tokens, job->prompt, job->n_prompt * sizeof *job->prompt);
    slot->n_tokens = job->n_prompt;
    return SMT_OK;
}

/* The stream must know what stands before: only the first word of a whole text loses the blank in front of it. */
static smt_status open_stream(const serve_server *server, const serve_slot *slot, smt_text_stream **out, smt_error *err) {
    const char *ignored;
    size_t bytes;
    smt_status status = smt_text_stream_create(server->tokenizer, out, err);
    for (size_t i = 0; status == SMT_OK && i < slot->n_tokens; i++)
        status = smt_text_stream_push(*out, slot->tokens[i], &ignored, &bytes, err);
    if (status == SMT_OK) smt_text_stream_flush(*out, &ignored, &bytes);
    return status;
}

static smt_status open_streams(const serve_server *server, serve_slot *slot, const serve_params *params, smt_error *err) {
    const char **stops = malloc((params->n_stops + 1) * sizeof *stops);
    uint32_t n = params->n_stops;
    slot->n_held = 0;
    if (!stops) return SMT_MEMORY;
    for (uint32_t i = 0; i < n; i++) stops[i] = params->stops[i];
    if (params->calls) stops[n++] = params->calls->trigger;
    smt_status status = open_stream(server, slot, &slot->stream, err);
    if (status == SMT_OK) status = smt_text_stream_set_stops(slot->stream, stops, n, err);
    if (status == SMT_OK && params->calls) status = open_stream(server, slot, &slot->whole, err);
    free(stops);
    return status;
}

static smt_status open_grammar(const serve_server *server, serve_slot *slot, smt_grammar *grammar, smt_error *err) {
    if (!grammar) return SMT_OK;
    slot->mask = calloc(server->model.n_vocab / 32 + 1, sizeof *slot->mask);
    return slot->mask ? smt_grammar_state_create(grammar, &slot->grammar, err) : SMT_MEMORY;
}

static smt_status open_embedding(const serve_server *server, serve_slot *slot) {
    size_t width = server->model.n_embd;
    slot->job->embedding = calloc(width, sizeof(float));
    slot->hidden = malloc((server->model.n_layers + 2) * SERVE_EMBED_ROWS * width * sizeof(float));
    return slot->job->embedding && slot->hidden ? SMT_OK : SMT_MEMORY;
}

void serve_slot_begin(serve_server *server, serve_slot *slot, serve_job *job) {
    const serve_params *params = &job->request->params;
    smt_sampler_options sampling = params->sampling;
    smt_error err = {0};
    sampling.seed = job->seed;
    slot->job = job;
    slot->wrote = slot->line = false;
    slot->begun_s = serve_seconds();
    slot->used = server->round;
    job->result.slot = slot->index;
    smt_status status = take_prompt(slot, job, &err);
    if (status == SMT_OK && params->format == SERVE_EMBED) {
        status = open_embedding(server, slot);
    } else if (status == SMT_OK) {
        status = smt_sampler_create(&sampling, &slot->sampler, &err);
        if (status == SMT_OK) status = open_streams(server, slot, params, &err);
        if (status == SMT_OK) status = open_grammar(server, slot, params->grammar, &err);
    }
    if (status == SMT_OK) return;
    serve_error error;
    serve_fail_library(&error, status, &err);
    serve_slot_end(server, slot, SERVE_END_ERROR, &error);
}

/* ---- drawing ---- */

/* The one place where the next token of an answer is chosen; the grammar follows it. */
static smt_status draw(const serve_server *server, serve_slot *slot, int32_t *token, float *logprob) {
    const serve_params *params = &slot->job->request->params;
    smt_draw options = {.struct_size = sizeof options,
                        .logits = slot->logits,
                        .n_vocab = server->model.n_vocab,
                        .history = slot->tokens,
                        .n_history = slot->n_tokens,
                        .position = slot->n_tokens,
                        .logprob = params->logprobs ? logprob : NULL,
                        .n_top = params->logprobs ? params->n_top : 0,
                        .top = slot->top,
                        .mask = slot->mask};
    smt_status status = SMT_OK;
    if (slot->grammar) status = smt_grammar_mask(slot->grammar, slot->mask, server->model.n_vocab, &slot->error);
    if (status == SMT_OK) status = smt_sampler_draw(slot->sampler, &options, token, &slot->error);
    if (status == SMT_OK && slot->grammar) status = smt_grammar_accept(slot->grammar, *token, &slot->error);
    return status;
}

static bool is_end(const serve_server *server, const serve_params *params, int32_t token) {
    return params->format == SERVE_CHAT ? smt_chat_template_is_end(server->chat, token)
                                        : smt_tokenizer_is_end(server->tokenizer, token);
}

/* A chat's answer has no blanks in front. */
static void trim(serve_slot *slot, const char **text, size_t *bytes) {
    bool chat = slot->job->request->params.format == SERVE_CHAT;
    for (; chat && !slot->wrote && *bytes && **text == ' '; ++*text) --*bytes;
    if (*bytes) slot->wrote = true;
    if (memchr(*text, '\n', *bytes)) slot->line = true;
}

/* A call begins behind the text: the trigger, which the stream did not give, and `rest` bytes that the token has behind it. */
static smt_status begin_call(serve_slot *slot, const char *rest, size_t n_rest, serve_text *said) {
    const char *trigger = slot->job->request->params.calls->trigger;
    if (!serve_append(said, trigger, strlen(trigger)) || !serve_append(said, rest, n_rest)) return SMT_MEMORY;
    smt_text_stream_free(slot->stream);
    slot->stream = slot->whole;
    slot->whole = NULL;
    return SMT_OK;
}

/* The text that becomes certain with a token. */
static smt_status take_text(serve_slot *slot, int32_t token, serve_text *said) {
    const serve_params *params = &slot->job->request->params;
    const char *text;
    size_t bytes, n_given;
    smt_status status = smt_text_stream_push(slot->stream, token, &text, &n_given, &slot->error);
    if (status != SMT_OK) return status;
    if (!serve_append(said, text, n_given)) return SMT_MEMORY;
    if (!slot->whole) return SMT_OK;
    status = smt_text_stream_push(slot->whole, token, &text, &bytes, &slot->error);
    if (status != SMT_OK) return status;
    slot->n_held += bytes - n_given;
    if (smt_text_stream_stop(slot->stream) != (int32_t)params->n_stops) return SMT_OK;
    size_t n_rest = slot->n_held - strlen(params->calls->trigger);
    return begin_call(slot, text + bytes - n_rest, n_rest, said);
}

static smt_status take_token(serve_slot *slot, int32_t token, float logprob) {
    const serve_params *params = &slot->job->request->params;
    uint32_t n_top = params->logprobs ? params->n_top : 0;
    serve_text said = {0};
    if (!reserve(slot, slot->n_tokens + 1)) return SMT_MEMORY;
    slot->tokens[slot->n_tokens++] = token;
    smt_status status = take_text(slot, token, &said);
    serve_piece *piece = NULL;
    if (status == SMT_OK) {
        const char *text = said.at;
        trim(slot, &text, &said.bytes);
        slot->job->result.n_predicted++;
        piece = serve_piece_create(slot->job, text, said.bytes, n_top);
    }
    free(said.at);
    if (!piece) return status == SMT_OK ? SMT_MEMORY : status;
    piece->token = token;
    piece->logprob = logprob;
    if (n_top) memcpy(piece->top, slot->top, n_top * sizeof *piece->top);
    serve_job_push(slot->job, piece);
    return SMT_OK;
}

static serve_end end_of(const serve_server *server, serve_slot *slot) {
    const serve_params *params = &slot->job->request->params;
    serve_result *result = &slot->job->result;
    result->stop = smt_text_stream_stop(slot->stream);
    if (result->stop >= 0) return SERVE_END_WORD;
    if (slot->grammar && smt_grammar_must_end(slot->grammar)) return SERVE_END_EOS; /* all that could follow */
    bool enough = params->n_predict >= 0 && result->n_predicted >= (uint64_t)params->n_predict;
    bool late = params->predict_s > 0 && slot->line && serve_seconds() - slot->first_s > params->predict_s;
    return enough || late || slot->n_tokens > server->n_ctx ? SERVE_END_LENGTH : SERVE_END_NONE;
}

/* Draws the next token and says whether the answer ends with it, or before it. */
static smt_status go_on(serve_server *server, serve_slot *slot, serve_end *out_end) {
    int32_t token;
    float logprob = 0;
    smt_status status = draw(server, slot, &token, &logprob);
    if (status != SMT_OK) return status;
    *out_end = SERVE_END_EOS;
    if (is_end(server, &slot->job->request->params, token)) return SMT_OK;
    status = take_token(slot, token, logprob);
    if (status == SMT_OK) *out_end = end_of(server, slot);
    return status;
}

void serve_slot_advance(serve_server *server, serve_slot *slot) {
    serve_result *result = &slot->job->result;
    if (smt_session_length(slot->session) < slot->n_tokens) return; /* the prompt is not whole */
    if (slot->n_tokens == slot->job->n_prompt) {
        slot->first_s = serve_seconds();
        result->prompt_s = slot->first_s - slot->begun_s;
    }
    serve_end end = SERVE_END_LENGTH;
    smt_status status = slot->job->request->params.n_predict == 0 ? SMT_OK : go_on(server, slot, &end);
    if (status != SMT_OK) {
        serve_error error;
        serve_fail_library(&error, status, &slot->error);
        serve_slot_end(server, slot, SERVE_END_ERROR, &error);
    } else if (end != SERVE_END_NONE) {
        serve_slot_end(server, slot, end, NULL);
    }
}

/* ---- the end ---- */

/* How long a job took is told of those too whose prompt or answer is not whole. */
static void note_time(const serve_slot *slot) {
    serve_result *result = &slot->job->result;
    double now = serve_seconds();
    if (result->prompt_s == 0) result->prompt_s = now - slot->begun_s;
    if (result->n_predicted) result->predict_s = now - slot->first_s;
}

/* What the session holds stays, for the next prompt that begins so. */
static serve_job *let_go(serve_slot *slot) {
    serve_job *job = slot->job;
    note_time(slot);
    smt_sampler_free(slot->sampler);
    smt_text_stream_free(slot->stream);
    smt_text_stream_free(slot->whole);
    slot->sampler = NULL;
    slot->stream = slot->whole = NULL;
    smt_grammar_state_free(slot->grammar);
    free(slot->mask);
    slot->grammar = NULL;
    slot->mask = NULL;
    free(slot->hidden);
    slot->hidden = NULL;
    slot->job = NULL;
    slot->error = (smt_error){0};
    slot->n_tokens = smt_session_length(slot->session);
    return job;
}

void serve_slot_end(serve_server *server, serve_slot *slot, serve_end end, const serve_error *error) {
    serve_result *result = &slot->job->result;
    const char *text = "";
    size_t bytes = 0;
    if (slot->stream) smt_text_stream_flush(slot->stream, &text, &bytes);
    trim(slot, &text, &bytes);
    serve_piece *piece = serve_piece_create(slot->job, text, bytes, 0);
    result->end = end;
    if (error) result->error = *error;
    if (!piece) {
        result->end = SERVE_END_ERROR;
        serve_fail_memory(&result->error);
    }
    slot->used = server->round;
    serve_job_end(let_go(slot), piece);
}

void serve_slot_drop(serve_server *server, serve_slot *slot) {
    slot->used = server->round;
    serve_job_end(let_go(slot), NULL);
}
