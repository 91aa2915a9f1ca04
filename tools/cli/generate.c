/* generate.c: what run and chat share: the prompt, the answer token by token as smt_session_generate hands it over, where it
 * stops.
 *
 *   tokens:  | prompt                  | answer                 |
 *   session: | held from before | evaluated now  ...  but the last
 *
 * The token drawn last is part of the answer and not yet of the session. A new prompt that begins as the session does goes on
 * from there; at least one token is evaluated, as its logits are needed. End tokens stop the answer and are not part of it. How its
 * tokens become text is in speech.c. */
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
    if (cli_flag(args, OPT_EXPERT_USE) && !cli_expert_use_begin(&g->model, &g->expert_use)) return cli_no_memory();
    status = cli_grammar_load(args, g->tokenizer, &g->grammar);
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
    free(g->tokens);
    free(g->stops);
    free(g->text);
    free(g->thought);
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

/* ---- tokens ---- */

static bool is_end(const cli_generator *g, int32_t token) {
    return g->chat ? smt_chat_template_is_end(g->chat, token) : smt_tokenizer_is_end(g->tokenizer, token);
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

/* ---- the answer ---- */

typedef struct answer {
    cli_generator *g;
    cli_speech speech;
    double start, last; /* when the prompt was handed over, and when the last token came */
    int status;
} answer;

static int accept(answer *a, int32_t token) {
    cli_generator *g = a->g;
    if (!cli_reserve((void **)&g->tokens, &g->capacity, g->n_tokens + 1, sizeof *g->tokens)) return CLI_FAILED;
    g->tokens[g->n_tokens++] = token;
    return cli_speech_take(&a->speech, token);
}

/* Whether the answer goes on behind the token; a failure is noted. */
static bool take_token(answer *a, const smt_generated *token) {
    cli_generator *g = a->g;
    g->stop = CLI_STOP_INTERRUPT;
    if (cli_interrupted()) return false;
    g->stop = CLI_STOP_EOS;
    if (is_end(g, token->token)) return false;
    if (cli_given(g->args, OPT_LOGPROBS)) a->status = note_logprobs(g, token->token, token->logprob, token->top, token->n_top);
    if (a->status == CLI_DONE) a->status = accept(a, token->token);
    g->stop = CLI_STOP_TEXT;
    if (a->status != CLI_DONE || smt_text_stream_stop(a->speech.stream) >= 0) return false;
    g->stop = CLI_STOP_EOS; /* where the end token is all that could come */
    return !cli_grammar_complete(&g->grammar);
}

static bool on_token(void *user, const smt_generated *token) {
    answer *a = user;
    cli_generator *g = a->g;
    double now = cli_seconds();
    cli_progress_clear();
    if (g->n_steps++ == 0)
        g->first_token_s = now - a->start;
    else
        g->decode_s += now - a->last;
    a->last = now;
    cli_expert_use_add(&g->expert_use, token->expert_ids, token->n_evaluated);
    if (g->recorder) a->status = cli_recorder_take(g->recorder);
    return a->status == CLI_DONE && take_token(a, token);
}

/* The prompt alone: no answer is wanted. */
static int evaluate(cli_generator *g) {
    size_t first = smt_session_length(g->engine.session);
    const smt_eval eval = {.struct_size = sizeof eval, .tokens = g->tokens + first, .n_tokens = (uint32_t)(g->n_tokens - first)};
    smt_error err = {0};
    double start = cli_seconds();
    smt_status status = smt_session_eval(g->engine.session, &eval, &err);
    g->first_token_s = cli_seconds() - start;
    cli_progress_clear();
    if (status == SMT_CANCELLED && cli_interrupted()) return CLI_DONE;
    if (status != SMT_OK) return cli_fail_library(status, &err);
    return g->recorder ? cli_recorder_take(g->recorder) : CLI_DONE;
}

static int generate(answer *a, uint32_t most) {
    cli_generator *g = a->g;
    uint32_t held = smt_session_length(g->engine.session);
    a->start = cli_seconds();
    const smt_generate request = {.struct_size = sizeof request,
                                  .tokens = g->tokens + held,
                                  .n_tokens = (uint32_t)(g->n_tokens - held),
                                  .max_tokens = most,
                                  .on_token = on_token,
                                  .user = a,
                                  .history = g->tokens,
                                  .n_history = held,
                                  .logprobs = cli_given(g->args, OPT_LOGPROBS),
                                  .n_top = cli_given(g->args, OPT_LOGPROBS) ? (uint32_t)cli_int(g->args, OPT_LOGPROBS) : 0,
                                  .experts = cli_flag(g->args, OPT_EXPERT_USE),
                                  .draw_on_host = cli_flag(g->args, OPT_DRAW_ON_HOST),
                                  .grammar = g->grammar.state};
    smt_end end;
    smt_error err = {0};
    smt_status status = smt_session_generate(g->engine.session, g->sampler, &request, &end, &err);
    cli_progress_clear();
    if (status == SMT_CANCELLED && cli_interrupted()) {
        g->stop = CLI_STOP_INTERRUPT;
        return a->status;
    }
    if (status != SMT_OK) return cli_fail_library(status, &err);
    if (end != SMT_END_CALLBACK) g->stop = CLI_STOP_LENGTH;
    return a->status;
}

static int read_and_answer(answer *a, int64_t most) {
    a->g->stop = CLI_STOP_LENGTH;
    int status = most == 0 ? evaluate(a->g) : generate(a, most < 0 ? 0 : (uint32_t)most);
    int said = cli_speech_rest(&a->speech);
    return status == CLI_DONE ? said : status;
}

int cli_generate(cli_generator *g, const int32_t *prompt, size_t n_prompt, int64_t most) {
    if (n_prompt == 0) return cli_fail(CLI_FAILED, "the text is empty and this model has no token to begin with");
    g->n_steps = 0;
    g->first_token_s = g->decode_s = 0;
    json_array_clear(g->logprobs);
    int status = take_prompt(g, prompt, n_prompt);
    if (status == CLI_DONE) status = cli_grammar_begin(&g->grammar);
    if (status != CLI_DONE) return status;
    answer a = {.g = g};
    status = cli_speech_begin(g, &a.speech);
    if (status == CLI_DONE) status = read_and_answer(&a, most);
    cli_speech_end(&a.speech);
    return status;
}

static double per_second(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

double cli_prefill_speed(const cli_generator *g) { return per_second((double)(g->n_prompt - g->n_reused), g->first_token_s); }

/* The first token of the answer comes from the prompt's step. */
double cli_decode_speed(const cli_generator *g) { return per_second(g->n_steps > 0 ? (double)(g->n_steps - 1) : 0, g->decode_s); }

void cli_print_timings(const cli_generator *g) {
    smt_runner_stats stats;
    char names[1024];
    smt_runner_get_stats(g->engine.runner, &stats);
    fprintf(stderr, "device: %s\n", cli_device_names(g->engine.engine, names, sizeof names));
    fprintf(stderr,
            "load: %.2f s; first token after %.3f s; prompt: %zu tokens, %.1f tokens/s; answer: %zu tokens, %.1f tokens/s\n",
            g->load_s, g->first_token_s, g->n_prompt, cli_prefill_speed(g), g->n_tokens - g->n_prompt, cli_decode_speed(g));
    fprintf(stderr, "steps: %llu, %llu of them dropped; submissions: %llu, the longest %.1f ms\n",
            (unsigned long long)stats.n_steps, (unsigned long long)stats.n_dropped, (unsigned long long)stats.n_submissions,
            stats.longest_submission_s * 1e3);
    if (stats.n_expert_hits + stats.n_expert_misses)
        fprintf(stderr, "experts: %llu found in slots, %llu not; %.1f MB read in place, %.1f MB copied\n",
                (unsigned long long)stats.n_expert_hits, (unsigned long long)stats.n_expert_misses,
                (double)stats.expert_link_bytes / 1e6, (double)stats.expert_copied_bytes / 1e6);
}
