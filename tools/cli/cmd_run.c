/* cmd_run.c: `run`: continues a text. Only generated text goes to stdout, as soon as its characters are complete; with --json one
 * document at the end. End tokens stop the generation and are not part of it.
 *
 * -n 128, --temp 0.8, --top-k 40, --top-p 0.95 and --min-p 0.05 are the defaults, and the seed is a new one each time. Choices
 * depend on seed, position and logits alone, so the same seed gives the same text on the same device. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONTEXT_STEP    256
#define CONTEXT_DEFAULT 4096 /* the library's own default, see smt_runner_options */

typedef enum stop_reason { STOP_EOS, STOP_LENGTH } stop_reason;

typedef struct timings {
    double load_s, first_token_s, prefill_s, decode_s;
} timings;

/* One generation; everything owned, freed by end_generation. */
typedef struct generation {
    cli_engine engine;
    smt_model_info model;
    smt_tokenizer *tokenizer;
    smt_text_stream *stream;
    smt_sampler *sampler;
    bool *masked;    /* [n_vocab]: never to be chosen (--ignore-eos); NULL: none */
    float *logits;   /* [n_vocab] */
    int32_t *tokens; /* prompt, then what was generated */
    size_t n_prompt, n_tokens, capacity;
    char *text; /* generated so far */
    size_t text_bytes, text_capacity;
    uint32_t n_ctx;
    stop_reason stop;
    timings time;
} generation;

static void end_generation(generation *g) {
    cli_engine_close(&g->engine);
    smt_sampler_free(g->sampler);
    smt_text_stream_free(g->stream);
    smt_tokenizer_free(g->tokenizer);
    free(g->masked);
    free(g->logits);
    free(g->tokens);
    free(g->text);
}

static int no_memory(void) { return cli_fail(CLI_FAILED, "out of memory"); }

/* Room for `need` elements in a growing array. */
static bool reserve(void **array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return true;
    size_t wanted = need * 2 < 64 ? 64 : need * 2;
    void *grown = realloc(*array, wanted * size);
    if (!grown) return false;
    *array = grown;
    *capacity = wanted;
    return true;
}

/* ---- preparation ---- */

static int read_prompt(const cli_args *args, char **out, size_t *out_bytes) {
    cli_option which;
    *out = NULL;
    if (!cli_either(args, OPT_PROMPT, OPT_FILE, &which)) return CLI_WRONG;
    if (which == OPT_COUNT) return cli_fail(CLI_WRONG, "a text is needed: -p TEXT or -f FILE");
    if (which == OPT_FILE) return cli_read_file(cli_text(args, OPT_FILE), out, out_bytes) ? CLI_DONE : CLI_FAILED;
    *out_bytes = strlen(cli_text(args, OPT_PROMPT));
    *out = malloc(*out_bytes + 1);
    if (!*out) return no_memory();
    memcpy(*out, cli_text(args, OPT_PROMPT), *out_bytes + 1);
    return CLI_DONE;
}

/* The stream must know what stands before: only the first word of a whole text loses the blank in front of it. */
static int pass_prompt(generation *g) {
    const char *ignored;
    size_t bytes;
    smt_error err = {0};
    for (size_t i = 0; i < g->n_prompt; i++) {
        smt_status status = smt_text_stream_push(g->stream, g->tokens[i], &ignored, &bytes, &err);
        if (status != SMT_OK) return cli_fail_library(status, &err);
    }
    smt_text_stream_flush(g->stream, &ignored, &bytes);
    return CLI_DONE;
}

static int tokenize_prompt(const cli_args *args, const char *prompt, size_t bytes, generation *g) {
    smt_error err = {0};
    uint32_t flags = SMT_TOKENIZE_BOS | (cli_flag(args, OPT_SPECIAL) ? SMT_TOKENIZE_SPECIAL : 0u);
    smt_status status = smt_tokenizer_create(smt_engine_file(g->engine.engine), &g->tokenizer, &err);
    if (status == SMT_OK) status = smt_text_stream_create(g->tokenizer, &g->stream, &err);
    int32_t *tokens = NULL;
    if (status == SMT_OK) status = smt_tokenize(g->tokenizer, prompt, bytes, flags, &tokens, &g->n_prompt, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    bool room = reserve((void **)&g->tokens, &g->capacity, g->n_prompt + 1, sizeof *g->tokens);
    if (room && g->n_prompt) memcpy(g->tokens, tokens, g->n_prompt * sizeof *tokens);
    smt_free(tokens);
    if (!room) return no_memory();
    g->n_tokens = g->n_prompt;
    if (g->n_prompt == 0) return cli_fail(CLI_FAILED, "the text is empty and this model has no token to begin with");
    return pass_prompt(g);
}

/* -c, or what prompt and answer need where that is more than the default, within what the model was trained for. */
static uint32_t choose_context(const cli_args *args, const generation *g) {
    if (cli_int(args, OPT_CTX_SIZE)) return (uint32_t)cli_int(args, OPT_CTX_SIZE);
    int64_t n = cli_int(args, OPT_PREDICT);
    uint64_t needed = g->n_prompt + (n < 0 ? CONTEXT_DEFAULT / 2 : (uint64_t)n);
    if (needed <= CONTEXT_DEFAULT) return 0;
    needed = (needed + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP;
    if (g->model.n_ctx_train && needed > g->model.n_ctx_train) needed = g->model.n_ctx_train;
    return needed < INT32_MAX ? (uint32_t)needed : INT32_MAX;
}

static uint64_t choose_seed(const cli_args *args) {
    if (cli_int(args, OPT_SEED) != -1) return (uint64_t)cli_int(args, OPT_SEED);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec) & INT64_MAX;
}

static int make_sampler(const cli_args *args, generation *g) {
    smt_sampler_options options = {.struct_size = sizeof options,
                                   .temperature = (float)cli_real(args, OPT_TEMP),
                                   .top_k = (uint32_t)cli_int(args, OPT_TOP_K),
                                   .top_p = (float)cli_real(args, OPT_TOP_P),
                                   .min_p = (float)cli_real(args, OPT_MIN_P),
                                   .repeat_penalty = (float)cli_real(args, OPT_REPEAT_PENALTY),
                                   .seed = choose_seed(args)};
    if (cli_flag(args, OPT_VERBOSE) && options.temperature > 0) fprintf(stderr, "seed: %llu\n", (unsigned long long)options.seed);
    smt_error err = {0};
    smt_status status = smt_sampler_create(&options, &g->sampler, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    g->logits = malloc(g->model.n_vocab * sizeof *g->logits);
    if (!g->logits) return no_memory();
    if (!cli_flag(args, OPT_IGNORE_EOS)) return CLI_DONE;
    g->masked = calloc(g->model.n_vocab, sizeof *g->masked);
    if (!g->masked) return no_memory();
    uint32_t n_texts = smt_tokenizer_size(g->tokenizer);
    for (uint32_t i = 0; i < g->model.n_vocab && i < n_texts; i++) g->masked[i] = smt_tokenizer_is_end(g->tokenizer, (int32_t)i);
    return CLI_DONE;
}

static int prepare(const cli_args *args, const char *prompt, size_t bytes, generation *g) {
    double start = cli_seconds();
    int status = cli_engine_load(args, &g->engine);
    if (status != CLI_DONE) return status;
    smt_engine_model(g->engine.engine, &g->model);
    status = tokenize_prompt(args, prompt, bytes, g);
    if (status == CLI_DONE) status = make_sampler(args, g);
    if (status == CLI_DONE) status = cli_engine_start(args, &g->engine, choose_context(args, g));
    if (status != CLI_DONE) return status;
    smt_runner_options options;
    smt_runner_get_options(g->engine.runner, &options);
    g->n_ctx = options.n_ctx;
    g->time.load_s = cli_seconds() - start;
    return CLI_DONE;
}

/* ---- generation ---- */

static int evaluate(generation *g, size_t first) {
    smt_eval eval = {.struct_size = sizeof eval,
                     .tokens = g->tokens + first,
                     .n_tokens = (uint32_t)(g->n_tokens - first),
                     .logits = g->logits};
    smt_error err = {0};
    smt_status status = smt_session_eval(g->engine.session, &eval, &err);
    cli_progress_clear();
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

static int draw(generation *g, int32_t *out_token) {
    for (uint32_t i = 0; g->masked && i < g->model.n_vocab; i++)
        if (g->masked[i]) g->logits[i] = -INFINITY;
    smt_error err = {0};
    smt_status status =
        smt_sampler_draw(g->sampler, g->logits, g->model.n_vocab, g->tokens, g->n_tokens, g->n_tokens, out_token, &err);
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

/* Text goes out as it comes, or is kept for the JSON document. */
static int emit(const cli_args *args, generation *g, const char *text, size_t bytes) {
    if (bytes == 0) return CLI_DONE;
    if (!cli_flag(args, OPT_JSON)) return cli_write(text, bytes) && cli_flush() ? CLI_DONE : CLI_FAILED;
    if (!reserve((void **)&g->text, &g->text_capacity, g->text_bytes + bytes, 1)) return no_memory();
    memcpy(g->text + g->text_bytes, text, bytes);
    g->text_bytes += bytes;
    return CLI_DONE;
}

static int accept(const cli_args *args, generation *g, int32_t token) {
    if (!reserve((void **)&g->tokens, &g->capacity, g->n_tokens + 1, sizeof *g->tokens)) return no_memory();
    g->tokens[g->n_tokens++] = token;
    const char *text;
    size_t bytes;
    smt_error err = {0};
    smt_status status = smt_text_stream_push(g->stream, token, &text, &bytes, &err);
    return status == SMT_OK ? emit(args, g, text, bytes) : cli_fail_library(status, &err);
}

/* The loop after the prompt; g->stop says why it ended. */
static int continue_text(const cli_args *args, generation *g, double start) {
    int64_t most = cli_int(args, OPT_PREDICT);
    g->stop = STOP_LENGTH;
    for (int64_t done = 0; most < 0 || done < most; done++) {
        int32_t token;
        if (cli_interrupted()) return cli_fail(CLI_FAILED, "interrupted");
        int status = draw(g, &token);
        if (done == 0) g->time.first_token_s = cli_seconds() - start;
        if (status != CLI_DONE) return status;
        if (smt_tokenizer_is_end(g->tokenizer, token)) {
            g->stop = STOP_EOS;
            return CLI_DONE;
        }
        status = accept(args, g, token);
        if (status != CLI_DONE) return status;
        if (done + 1 == most || g->n_tokens > g->n_ctx) return CLI_DONE;
        double before = cli_seconds();
        status = evaluate(g, g->n_tokens - 1);
        if (status != CLI_DONE) return status;
        g->time.decode_s += cli_seconds() - before;
    }
    return CLI_DONE;
}

static int generate(const cli_args *args, generation *g) {
    double start = cli_seconds();
    int status = evaluate(g, 0);
    g->time.prefill_s = cli_seconds() - start;
    if (status == CLI_DONE) status = continue_text(args, g, start);
    const char *text;
    size_t bytes;
    smt_text_stream_flush(g->stream, &text, &bytes);
    int emitted = emit(args, g, text, bytes);
    if (!cli_flag(args, OPT_JSON) && isatty(STDOUT_FILENO)) cli_write("\n", 1); /* for whatever the terminal shows next */
    return status == CLI_DONE ? emitted : status;
}

/* ---- results ---- */

static double per_second(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }
static double prefill_speed(const generation *g) { return per_second((double)g->n_prompt, g->time.prefill_s); }

/* The first generated token comes from the prompt's logits: n tokens take n - 1 steps. */
static double decode_speed(const generation *g) {
    size_t n = g->n_tokens - g->n_prompt;
    return per_second(n > 0 ? (double)(n - 1) : 0, g->time.decode_s);
}

static int print_json(const generation *g) {
    json_t *tokens = json_array(), *devices = json_array();
    for (size_t i = g->n_prompt; i < g->n_tokens; i++) json_array_append_new(tokens, json_integer(g->tokens[i]));
    for (uint32_t i = 0; i < smt_engine_device_count(g->engine.engine); i++)
        json_array_append_new(devices, cli_json_text(smt_engine_device_name(g->engine.engine, i)));
    json_t *times = json_pack("{s:f, s:f, s:f, s:f}", "load_s", g->time.load_s, "first_token_s", g->time.first_token_s,
                              "prefill_tok_s", prefill_speed(g), "decode_tok_s", decode_speed(g));
    json_t *document = json_pack("{s:I, s:o, s:o, s:s, s:o, s:o}", "prompt_tokens", (json_int_t)g->n_prompt, "tokens", tokens,
                                 "text", json_stringn(g->text ? g->text : "", g->text_bytes), "stop",
                                 g->stop == STOP_EOS ? "eos" : "length", "timings", times, "device", devices);
    return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
}

static void print_timings(const generation *g) {
    fprintf(stderr, "device: %s\n", smt_engine_device_name(g->engine.engine, 0));
    fprintf(stderr,
            "load: %.2f s; first token after %.3f s; prompt: %zu tokens, %.1f tokens/s; answer: %zu tokens, %.1f tokens/s\n",
            g->time.load_s, g->time.first_token_s, g->n_prompt, prefill_speed(g), g->n_tokens - g->n_prompt, decode_speed(g));
}

int cmd_run(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    char *prompt;
    size_t bytes;
    int status = read_prompt(args, &prompt, &bytes);
    if (status != CLI_DONE) return status;
    generation g = {0};
    status = prepare(args, prompt, bytes, &g);
    free(prompt);
    if (status == CLI_DONE) status = generate(args, &g);
    if (status == CLI_DONE && cli_flag(args, OPT_JSON)) status = print_json(&g);
    if (status == CLI_DONE && cli_flag(args, OPT_VERBOSE)) print_timings(&g);
    end_generation(&g);
    return status;
}
