/* serve_step.c: one job in its slot: begin, draw after each evaluation, end.
 *
 *   tokens:  | prompt                  | answer                 |
 *   session: | held from before | evaluated in rounds ... but the last
 *
 * The token drawn last is part of the answer and not yet of the session. End tokens end the answer and are not part of it. Text goes
 * out as soon as it is certain: whole characters, and nothing that may turn out to be the beginning of a stop string. */
#include "serve_internal.h"

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
static smt_status open_stream(const serve_server *server, serve_slot *slot, const serve_params *params, smt_error *err) {
    const char *ignored;
    size_t bytes;
    smt_status status = smt_text_stream_create(server->tokenizer, &slot->stream, err);
    for (size_t i = 0; status == SMT_OK && i < slot->n_tokens; i++)
        status = smt_text_stream_push(slot->stream, slot->tokens[i], &ignored, &bytes, err);
    if (status != SMT_OK) return status;
    smt_text_stream_flush(slot->stream, &ignored, &bytes);
    return smt_text_stream_set_stops(slot->stream, (const char *const *)params->stops, params->n_stops, err);
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
        if (status == SMT_OK) status = open_stream(server, slot, params, &err);
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

static smt_status take_token(serve_slot *slot, int32_t token, float logprob) {
    const serve_params *params = &slot->job->request->params;
    const char *text;
    size_t bytes;
    if (!reserve(slot, slot->n_tokens + 1)) return SMT_MEMORY;
    slot->tokens[slot->n_tokens++] = token;
    smt_status status = smt_text_stream_push(slot->stream, token, &text, &bytes, &slot->error);
    if (status != SMT_OK) return status;
    trim(slot, &text, &bytes);
    uint32_t n_top = params->logprobs ? params->n_top : 0;
    slot->job->result.n_predicted++;
    serve_piece *piece = serve_piece_create(slot->job, text, bytes, n_top);
    if (!piece) return SMT_MEMORY;
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

/* What the session holds stays, for the next prompt that begins so. */
static serve_job *let_go(serve_slot *slot) {
    serve_job *job = slot->job;
    smt_sampler_free(slot->sampler);
    smt_text_stream_free(slot->stream);
    slot->sampler = NULL;
    slot->stream = NULL;
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
    if (result->n_predicted) result->predict_s = serve_seconds() - slot->first_s;
    slot->used = server->round;
    serve_job_end(let_go(slot), piece);
}

void serve_slot_drop(serve_server *server, serve_slot *slot) {
    slot->used = server->round;
    serve_job_end(let_go(slot), NULL);
}
