/* serve_step.c: one job in its slot: begin, draw after each evaluation, end.
 *
 *   tokens:  | prompt                  | answer                 |
 *   session: | held from before | evaluated in rounds ... but the last
 *
 * The token drawn last is part of the answer and not yet of the session. End tokens end the answer and are not part of it. */
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
    job->result.timing.n_reused = same;
    if (!reserve(slot, job->n_prompt + 1)) return SMT_MEMORY;
    memcpy(slot->tokens, job->prompt, job->n_prompt * sizeof *job->prompt);
    slot->n_tokens = job->n_prompt;
    return SMT_OK;
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
        if (status == SMT_OK) status = serve_say_begin(server, slot, &err);
        if (status == SMT_OK) status = serve_bound_begin(server, slot, params->grammar, &err);
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
    bool fits = true;
    smt_status status = serve_bound_mask(server, slot);
    do {
        if (status == SMT_OK) status = smt_sampler_draw(slot->sampler, &options, token, &slot->error);
        if (status == SMT_OK) status = serve_bound_take(server, slot, *token, &fits);
    } while (status == SMT_OK && !fits);
    return status;
}

bool serve_is_end(const serve_server *server, const serve_params *params, int32_t token) {
    return params->format == SERVE_CHAT ? smt_chat_template_is_end(server->chat, token)
                                        : smt_tokenizer_is_end(server->tokenizer, token);
}

static smt_status take_token(serve_slot *slot, int32_t token, float logprob) {
    const serve_params *params = &slot->job->request->params;
    serve_result *result = &slot->job->result;
    uint32_t n_top = params->logprobs ? params->n_top : 0;
    serve_said said = {0};
    if (!reserve(slot, slot->n_tokens + 1)) return SMT_MEMORY;
    slot->tokens[slot->n_tokens++] = token;
    smt_status status = serve_say(slot, token, &said);
    serve_piece *piece = NULL;
    if (status == SMT_OK) {
        result->timing.n_predicted++;
        result->timing.predict_s = serve_seconds() - slot->first_s;
        if (slot->thoughts.place >= SERVE_THINKS) result->n_thought = result->timing.n_predicted;
        piece = serve_piece_create(slot->job, said.text.at, said.text.bytes, said.n_thought, n_top);
    }
    free(said.text.at);
    if (!piece) return status == SMT_OK ? SMT_MEMORY : status;
    piece->token = token;
    piece->thinks = params->thoughts && slot->thoughts.place != SERVE_ANSWERS;
    piece->logprob = logprob;
    if (n_top) memcpy(piece->top, slot->top, n_top * sizeof *piece->top);
    serve_job_push(slot->job, piece);
    return SMT_OK;
}

static serve_end end_of(const serve_server *server, serve_slot *slot) {
    const serve_params *params = &slot->job->request->params;
    serve_result *result = &slot->job->result;
    result->stop = serve_say_stop(slot);
    if (result->stop >= 0) return SERVE_END_WORD;
    if (slot->bound && smt_grammar_must_end(slot->grammar)) return SERVE_END_EOS; /* all that could follow */
    bool enough = params->n_predict >= 0 && result->timing.n_predicted >= (uint64_t)params->n_predict;
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
    if (serve_is_end(server, &slot->job->request->params, token)) return SMT_OK;
    status = take_token(slot, token, logprob);
    if (status == SMT_OK) *out_end = end_of(server, slot);
    return status;
}

void serve_slot_advance(serve_server *server, serve_slot *slot) {
    serve_result *result = &slot->job->result;
    if (smt_session_length(slot->session) < slot->n_tokens) return; /* the prompt is not whole */
    if (slot->n_tokens == slot->job->n_prompt) {
        slot->first_s = serve_seconds();
        result->timing.prompt_s = slot->first_s - slot->begun_s;
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
    if (result->timing.prompt_s == 0) result->timing.prompt_s = now - slot->begun_s;
    if (result->timing.n_predicted) result->timing.predict_s = now - slot->first_s;
}

/* What the session holds stays, for the next prompt that begins so. */
static serve_job *let_go(serve_slot *slot) {
    serve_job *job = slot->job;
    smt_sampler_free(slot->sampler);
    slot->sampler = NULL;
    serve_say_end(slot);
    serve_bound_end(slot);
    free(slot->hidden);
    slot->hidden = NULL;
    slot->job = NULL;
    slot->error = (smt_error){0};
    slot->n_tokens = smt_session_length(slot->session);
    return job;
}

void serve_slot_end(serve_server *server, serve_slot *slot, serve_end end, const serve_error *error) {
    serve_result *result = &slot->job->result;
    serve_said said = {0};
    note_time(slot); /* which the piece takes along */
    smt_status said_all = slot->spoken ? serve_say_rest(slot, &said) : SMT_OK;
    serve_piece *piece =
        said_all == SMT_OK ? serve_piece_create(slot->job, said.text.at, said.text.bytes, said.n_thought, 0) : NULL;
    free(said.text.at);
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
    note_time(slot);
    serve_job_end(let_go(slot), NULL);
}
