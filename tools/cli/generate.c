/* generate.c: the loop that run and chat share: prompt, sample, stream, stop.
 *
 *   tokens:  | prompt                  | answer                 |
 *   session: | held from before | evaluated now  ...  but the last
 *
 * The token drawn last is part of the answer and not yet of the session: it is evaluated when the next one is wanted. A new prompt
 * that begins as the session does goes on from there; at least one token is evaluated, as its logits are needed. End tokens stop
 * the answer and are not part of it. Text goes out as soon as it is certain: whole characters, and nothing that may turn out to be
 * the beginning of a stop string. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool add_stop(cli_generator *g, const char *text) {
    const char **grown = realloc(g->stops, (g->n_stops + 1) * sizeof *grown);
    if (!grown) return false;
    g->stops = grown;
    g->stops[g->n_stops++] = text;
    return true;
}

static int read_stops(cli_generator *g) {
    const cli_value *given = &g->args->values[OPT_STOP];
    for (uint32_t i = 0; i < given->n_list; i++) {
        if (!*given->list[i]) return cli_fail(CLI_WRONG, "--stop: an empty text");
        if (!add_stop(g, given->list[i])) return cli_no_memory();
    }
    return CLI_DONE;
}

int cli_generator_load(const cli_args *args, size_t n_prompt, cli_generator *g) {
    double start = cli_seconds();
    *g = (cli_generator){.args = args};
    int status = read_stops(g);
    if (status == CLI_DONE) status = cli_read_biases(args, &g->biases);
    if (status == CLI_DONE) status = cli_engine_load(args, n_prompt, &g->engine);
    if (status != CLI_DONE) return status;
    smt_engine_model(g->engine.engine, &g->model);
    smt_error err = {0};
    smt_status made = smt_tokenizer_create(smt_engine_file(g->engine.engine), &g->tokenizer, &err);
    if (made != SMT_OK) return cli_fail_library(made, &err);
    cli_notice_vocabulary(smt_engine_file(g->engine.engine));
    g->logits = malloc(g->model.n_vocab * sizeof *g->logits);
    if (!g->logits) return cli_no_memory();
    if (cli_flag(args, OPT_EXPERT_USE) && !cli_expert_use_begin(&g->model, &g->expert_use)) return cli_no_memory();
    status = cli_grammar_load(args, g->tokenizer, g->model.n_vocab, &g->grammar);
    g->load_s = cli_seconds() - start;
    return status == CLI_DONE ? cli_make_sampler(args, g->tokenizer, g->model.n_vocab, &g->biases, &g->sampler) : status;
}

int cli_generator_start(cli_generator *g, uint32_t n_ctx) {
    double start = cli_seconds();
    int status = cli_engine_start(g->args, &g->engine, n_ctx);
    if (status != CLI_DONE) return status;
    smt_runner_options options;
    smt_runner_get_options(g->engine.runner, &options);
    g->n_ctx = options.n_ctx;
    g->load_s += cli_seconds() - start;
    return CLI_DONE;
}

int cli_generator_set_chat(cli_generator *g, const smt_chat_template *chat) {
    g->chat = chat;
    for (uint32_t i = 0; smt_chat_template_stop(chat, i); i++)
        if (!add_stop(g, smt_chat_template_stop(chat, i))) return cli_no_memory();
    return CLI_DONE;
}

void cli_generator_close(cli_generator *g) {
    cli_engine_close(&g->engine);
    smt_sampler_free(g->sampler);
    cli_grammar_close(&g->grammar);
    smt_tokenizer_free(g->tokenizer);
    json_decref(g->logprobs);
    cli_expert_use_end(&g->expert_use);
    free(g->biases.at);
    free(g->logits);
    free(g->tokens);
    free(g->stops);
    free(g->text);
    *g = (cli_generator){0};
}

/* ---- prompt ---- */

/* Puts the prompt into g->tokens and takes back the session to where the two part. */
static int take_prompt(cli_generator *g, const int32_t *prompt, size_t n_prompt) {
    size_t held = smt_session_length(g->engine.session), same = 0;
    while (same < held && same + 1 < n_prompt && g->tokens[same] == prompt[same]) same++;
    smt_error err = {0};
    smt_status status = smt_session_rewind(g->engine.session, (uint32_t)same, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    if (!cli_reserve((void **)&g->tokens, &g->capacity, n_prompt + 1, sizeof *g->tokens)) return CLI_FAILED;
    memcpy(g->tokens, prompt, n_prompt * sizeof *prompt);
    g->n_tokens = g->n_prompt = n_prompt;
    g->n_reused = same;
    return CLI_DONE;
}

/* The stream must know what stands before: only the first word of a whole text loses the blank in front of it. */
static smt_status open_stream(const cli_generator *g, smt_text_stream **out, smt_error *err) {
    const char *ignored;
    size_t bytes;
    smt_status status = smt_text_stream_create(g->tokenizer, out, err);
    for (size_t i = 0; status == SMT_OK && i < g->n_prompt; i++)
        status = smt_text_stream_push(*out, g->tokens[i], &ignored, &bytes, err);
    if (status == SMT_OK) smt_text_stream_flush(*out, &ignored, &bytes);
    return status == SMT_OK ? smt_text_stream_set_stops(*out, g->stops, g->n_stops, err) : status;
}

/* ---- steps ---- */

static bool is_end(const cli_generator *g, int32_t token) {
    return g->chat ? smt_chat_template_is_end(g->chat, token) : smt_tokenizer_is_end(g->tokenizer, token);
}

/* What the session lacks of g->tokens. */
static int evaluate(cli_generator *g) {
    size_t first = smt_session_length(g->engine.session);
    size_t n = g->n_tokens - first;
    smt_eval eval = {.struct_size = sizeof eval,
                     .tokens = g->tokens + first,
                     .n_tokens = (uint32_t)n,
                     .logits = g->logits,
                     .expert_ids = cli_expert_use_room(&g->expert_use, n)};
    smt_error err = {0};
    smt_status status = smt_session_eval(g->engine.session, &eval, &err);
    cli_progress_clear();
    if (status == SMT_CANCELLED && cli_interrupted()) return CLI_DONE; /* the loop sees it too */
    if (status != SMT_OK) return cli_fail_library(status, &err);
    cli_expert_use_add(&g->expert_use, n);
    return g->recorder ? cli_recorder_take(g->recorder) : CLI_DONE;
}

/* {"id", "text", "logprob"}: bytes that are no whole character become U+FFFD. */
static json_t *describe(const cli_generator *g, int32_t token, float logprob) {
    char *text;
    size_t bytes;
    if (smt_token_text(g->tokenizer, token, &text, &bytes, NULL) != SMT_OK) return NULL;
    json_t *words = cli_json_text(text);
    smt_free(text);
    return json_pack("{s:i, s:o, s:f}", "id", (int)token, "text", words, "logprob", (double)logprob);
}

static int note_logprobs(cli_generator *g, int32_t token, float logprob, const smt_token_logprob *top, uint32_t n_top) {
    json_t *entry = describe(g, token, logprob), *list = json_array();
    for (uint32_t i = 0; i < n_top && top[i].token >= 0; i++)
        json_array_append_new(list, describe(g, top[i].token, top[i].logprob));
    if (!g->logprobs) g->logprobs = json_array();
    bool noted = json_object_set_new(entry, "top", list) == 0 && json_array_append_new(g->logprobs, entry) == 0;
    return noted ? CLI_DONE : cli_no_memory();
}

static int draw(cli_generator *g, int32_t *out_token) {
    float logprob;
    bool wants = cli_given(g->args, OPT_LOGPROBS);
    smt_draw options = {.struct_size = sizeof options,
                        .logits = g->logits,
                        .n_vocab = g->model.n_vocab,
                        .history = g->tokens,
                        .n_history = g->n_tokens,
                        .position = g->n_tokens,
                        .logprob = wants ? &logprob : NULL,
                        .n_top = wants ? (uint32_t)cli_int(g->args, OPT_LOGPROBS) : 0};
    int ready = cli_grammar_mask(&g->grammar, &options.mask);
    if (ready != CLI_DONE) return ready;
    options.top = malloc((options.n_top + 1) * sizeof *options.top);
    if (!options.top) return cli_no_memory();
    smt_error err = {0};
    smt_status drawn = smt_sampler_draw(g->sampler, &options, out_token, &err);
    int status = drawn == SMT_OK ? CLI_DONE : cli_fail_library(drawn, &err);
    if (status == CLI_DONE && wants && !is_end(g, *out_token))
        status = note_logprobs(g, *out_token, logprob, options.top, options.n_top);
    free(options.top);
    return status;
}

static int emit(cli_generator *g, const char *text, size_t bytes) {
    for (; g->chat && g->text_bytes == 0 && bytes && *text == ' '; text++) bytes--;
    if (bytes == 0) return CLI_DONE;
    if (!cli_reserve((void **)&g->text, &g->text_capacity, g->text_bytes + bytes, 1)) return CLI_FAILED;
    memcpy(g->text + g->text_bytes, text, bytes);
    g->text_bytes += bytes;
    if (cli_flag(g->args, OPT_JSON)) return CLI_DONE;
    return cli_write(text, bytes) && cli_flush() ? CLI_DONE : CLI_FAILED;
}

static int accept(cli_generator *g, smt_text_stream *stream, int32_t token) {
    if (!cli_reserve((void **)&g->tokens, &g->capacity, g->n_tokens + 1, sizeof *g->tokens)) return CLI_FAILED;
    g->tokens[g->n_tokens++] = token;
    const char *text;
    size_t bytes;
    smt_error err = {0};
    smt_status status = smt_text_stream_push(stream, token, &text, &bytes, &err);
    return status == SMT_OK ? emit(g, text, bytes) : cli_fail_library(status, &err);
}

/* ---- the loop ---- */

static int finish(cli_generator *g, cli_stop stop) {
    g->stop = stop;
    return CLI_DONE;
}

static int answer(cli_generator *g, smt_text_stream *stream, int64_t most, double start) {
    for (int64_t done = 0; most < 0 || done < most; done++) {
        int32_t token;
        if (cli_interrupted()) return finish(g, CLI_STOP_INTERRUPT);
        int status = draw(g, &token);
        if (status != CLI_DONE) return status;
        if (done == 0) g->first_token_s = cli_seconds() - start;
        if (is_end(g, token)) return finish(g, CLI_STOP_EOS);
        status = accept(g, stream, token);
        if (status != CLI_DONE) return status;
        if (smt_text_stream_stop(stream) >= 0) return finish(g, CLI_STOP_TEXT);
        bool complete;
        status = cli_grammar_accept(&g->grammar, token, &complete);
        if (status != CLI_DONE) return status;
        if (complete) return finish(g, CLI_STOP_EOS); /* the end token is all that could come */
        if (done + 1 == most || g->n_tokens > g->n_ctx) break;
        double before = cli_seconds();
        status = evaluate(g);
        if (status != CLI_DONE) return status;
        g->decode_s += cli_seconds() - before;
    }
    return finish(g, CLI_STOP_LENGTH);
}

static int read_and_answer(cli_generator *g, smt_text_stream *stream, int64_t most) {
    double start = cli_seconds();
    int status = evaluate(g);
    g->prefill_s = cli_seconds() - start;
    if (status == CLI_DONE) status = answer(g, stream, most, start);
    const char *text;
    size_t bytes;
    smt_text_stream_flush(stream, &text, &bytes);
    int emitted = emit(g, text, bytes);
    return status == CLI_DONE ? emitted : status;
}

int cli_generate(cli_generator *g, const int32_t *prompt, size_t n_prompt, int64_t most) {
    if (n_prompt == 0) return cli_fail(CLI_FAILED, "the text is empty and this model has no token to begin with");
    g->text_bytes = 0;
    g->first_token_s = g->prefill_s = g->decode_s = 0;
    json_array_clear(g->logprobs);
    int status = take_prompt(g, prompt, n_prompt);
    if (status == CLI_DONE) status = cli_grammar_begin(&g->grammar);
    if (status != CLI_DONE) return status;
    smt_text_stream *stream = NULL;
    smt_error err = {0};
    smt_status opened = open_stream(g, &stream, &err);
    status = opened == SMT_OK ? read_and_answer(g, stream, most) : cli_fail_library(opened, &err);
    smt_text_stream_free(stream);
    return status;
}

static double per_second(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

double cli_prefill_speed(const cli_generator *g) { return per_second((double)(g->n_prompt - g->n_reused), g->prefill_s); }

/* The first token of the answer comes from the prompt's logits: n tokens take n - 1 steps. */
double cli_decode_speed(const cli_generator *g) {
    size_t n = g->n_tokens - g->n_prompt;
    return per_second(n > 0 ? (double)(n - 1) : 0, g->decode_s);
}
