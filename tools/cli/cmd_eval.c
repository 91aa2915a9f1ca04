/* cmd_eval.c: `eval`: one forward pass over given token ids, whatever the caller wants of it written to files. No sampling. This
 * is the command that tests hold against reference outputs.
 *
 *   --logits   raw float32 [n_tokens, n_vocab]             --hidden  raw float32 [n_layers + 2, n_tokens, n_embd]
 *   --routing  JSON, one row per MoE layer: {"layer": block number, "experts": [[ids] per token], "weights": [[...]]}
 *
 * With none of them it prints the likeliest next token. */
#include "cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the output files are little-endian");

#define CONTEXT_STEP 64

typedef struct numbers { /* a list of token ids or positions */
    int32_t *at;         /* owned */
    size_t count;
} numbers;

/* All arrays of one evaluation; freed together. */
typedef struct pass {
    numbers tokens, positions;
    smt_model_info model;
    size_t n_tokens, n_moe;
    float *logits, *hidden, *weights;
    int32_t *experts;
    double seconds;
} pass;

static void free_pass(pass *p) {
    free(p->tokens.at);
    free(p->positions.at);
    free(p->logits);
    free(p->hidden);
    free(p->weights);
    free(p->experts);
}

static bool is_separator(char c) { return c == ',' || isspace((unsigned char)c); }

/* Numbers from 0 to 2^31 - 1, separated by commas or white space. CLI_DONE, or `status` with a message that names the word. */
static int parse_numbers(const char *text, size_t bytes, const char *what, int status, numbers *out) {
    if (strlen(text) != bytes) return cli_fail(status, "%s: a zero byte after %zu bytes", what, strlen(text));
    size_t most = bytes / 2 + 1;
    out->at = malloc(most * sizeof *out->at);
    if (!out->at) return cli_fail(CLI_FAILED, "out of memory for %zu numbers", most);
    for (const char *at = text;;) {
        while (is_separator(*at)) at++;
        if (!*at) break;
        size_t length = 0;
        while (at[length] && !is_separator(at[length])) length++;
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        if (!isdigit((unsigned char)*at) || end != at + length || errno || value > INT32_MAX)
            return cli_fail(status, "%s: \"%.*s\" is not a number from 0 to %d", what, length < 32 ? (int)length : 32, at,
                            INT32_MAX);
        out->at[out->count++] = (int32_t)value;
        at = end;
    }
    if (out->count == 0) return cli_fail(status, "%s: no numbers in it", what);
    return CLI_DONE;
}

static int read_tokens(const cli_args *args, numbers *out) {
    cli_option which;
    if (!cli_either(args, OPT_TOKENS, OPT_TOKENS_FILE, &which)) return CLI_WRONG;
    if (which == OPT_COUNT) return cli_fail(CLI_WRONG, "tokens are needed: --tokens LIST or --tokens-file FILE");
    const char *text = cli_text(args, which);
    if (which == OPT_TOKENS) return parse_numbers(text, strlen(text), "--tokens", CLI_WRONG, out);
    char *content;
    size_t bytes;
    if (!cli_read_file(text, &content, &bytes)) return CLI_FAILED;
    int status = parse_numbers(content, bytes, text, CLI_FAILED, out);
    free(content);
    return status;
}

/* One position for each token: given, or counted up from the one given. None given: an empty list. */
static int read_positions(const cli_args *args, size_t n_tokens, numbers *out) {
    if (!cli_given(args, OPT_POSITIONS)) return CLI_DONE;
    const char *text = cli_text(args, OPT_POSITIONS);
    int status = parse_numbers(text, strlen(text), "--positions", CLI_WRONG, out);
    if (status != CLI_DONE || out->count == n_tokens) return status;
    if (out->count != 1) return cli_fail(CLI_WRONG, "--positions: %zu of them for %zu tokens", out->count, n_tokens);
    int32_t first = out->at[0];
    if ((uint64_t)first + n_tokens > INT32_MAX)
        return cli_fail(CLI_WRONG, "--positions %d: too large for %zu tokens", first, n_tokens);
    int32_t *all = realloc(out->at, n_tokens * sizeof *all);
    if (!all) return cli_fail(CLI_FAILED, "out of memory for %zu positions", n_tokens);
    for (size_t i = 0; i < n_tokens; i++) all[i] = first + (int32_t)i;
    out->at = all;
    out->count = n_tokens;
    return CLI_DONE;
}

/* The context that the call needs, or the one that the user wants if it is enough. */
static int choose_context(const cli_args *args, const pass *p, uint32_t *out) {
    *out = 0;
    uint64_t needed = p->n_tokens;
    for (size_t i = 0; i < p->positions.count; i++)
        if ((uint64_t)p->positions.at[i] + 1 > needed) needed = (uint64_t)p->positions.at[i] + 1;
    uint64_t given = (uint64_t)cli_int(args, OPT_CTX_SIZE);
    if (given && given < needed)
        return cli_fail(CLI_WRONG, "-c %llu is too small: %zu tokens with positions up to %llu", (unsigned long long)given,
                        p->n_tokens, (unsigned long long)needed - 1);
    *out = (uint32_t)(given ? given : (needed + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP);
    return CLI_DONE;
}

/* NULL when the count overflows or memory is short; a message then says how much was wanted. */
static void *allocate(const char *what, size_t a, size_t b, size_t c, size_t size) {
    size_t count, bytes;
    void *memory = NULL;
    if (!__builtin_mul_overflow(a, b, &count) && !__builtin_mul_overflow(count, c, &count) &&
        !__builtin_mul_overflow(count, size, &bytes))
        memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) cli_fail(CLI_FAILED, "out of memory for the %s: %zu x %zu x %zu values of %zu bytes", what, a, b, c, size);
    return memory;
}

static bool allocate_outputs(const cli_args *args, pass *p) {
    const smt_model_info *m = &p->model;
    p->n_moe = m->n_experts ? m->n_layers - m->n_dense_layers : 0;
    p->logits = allocate("logits", cli_given(args, OPT_LOGITS) ? p->n_tokens : 1, m->n_vocab, 1, sizeof(float));
    if (!p->logits) return false;
    if (cli_given(args, OPT_HIDDEN)) {
        p->hidden = allocate("hidden states", m->n_layers + 2, p->n_tokens, m->n_embd, sizeof(float));
        if (!p->hidden) return false;
    }
    if (cli_given(args, OPT_ROUTING) && p->n_moe) {
        p->experts = allocate("routing", p->n_moe, p->n_tokens, m->n_experts_used, sizeof(int32_t));
        p->weights = allocate("routing", p->n_moe, p->n_tokens, m->n_experts_used, sizeof(float));
        return p->experts && p->weights;
    }
    return true;
}

static int evaluate(const cli_args *args, cli_engine *engine, pass *p) {
    smt_eval eval = {.struct_size = sizeof eval,
                     .tokens = p->tokens.at,
                     .n_tokens = (uint32_t)p->n_tokens,
                     .positions = p->positions.at,
                     .all_logits = cli_given(args, OPT_LOGITS),
                     .logits = p->logits,
                     .hidden = p->hidden,
                     .expert_ids = p->experts,
                     .expert_weights = p->weights};
    smt_error err = {0};
    double start = cli_seconds();
    smt_status status = smt_session_eval(engine->session, &eval, &err);
    p->seconds = cli_seconds() - start;
    cli_progress_clear();
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

/* ---- outputs ---- */

static json_t *json_row(const pass *p, size_t m, bool weights) {
    json_t *rows = json_array();
    uint32_t used = p->model.n_experts_used;
    for (size_t t = 0; t < p->n_tokens; t++) {
        size_t first = (m * p->n_tokens + t) * used;
        json_t *row = json_array();
        for (size_t k = first; k < first + used; k++) {
            double weight = (double)p->weights[k];
            json_array_append_new(row, !weights           ? json_integer(p->experts[k])
                                       : isfinite(weight) ? json_real(weight)
                                                          : json_null());
        }
        json_array_append_new(rows, row);
    }
    return rows;
}

static int write_routing(const char *path, const pass *p) {
    json_t *layers = json_array();
    for (size_t m = 0; m < p->n_moe; m++)
        json_array_append_new(layers, json_pack("{s:I, s:o, s:o}", "layer", (json_int_t)(p->model.n_dense_layers + m), "experts",
                                                json_row(p, m, false), "weights", json_row(p, m, true)));
    char *text = json_dumps(layers, JSON_COMPACT | JSON_REAL_PRECISION(9)); /* 9 digits bring back a float32 */
    json_decref(layers);
    if (!text) return cli_fail(CLI_FAILED, "out of memory for the routing of %zu tokens", p->n_tokens);
    bool written = cli_write_file(path, text, strlen(text));
    free(text);
    return written ? CLI_DONE : CLI_FAILED;
}

static size_t likeliest(const pass *p, bool all) {
    const float *row = p->logits + (all ? (p->n_tokens - 1) * p->model.n_vocab : 0);
    size_t best = 0;
    for (size_t i = 1; i < p->model.n_vocab; i++)
        if (row[i] > row[best]) best = i;
    return best;
}

static int write_outputs(const cli_args *args, const pass *p) {
    const smt_model_info *m = &p->model;
    bool logits = cli_given(args, OPT_LOGITS), hidden = cli_given(args, OPT_HIDDEN), routing = cli_given(args, OPT_ROUTING);
    if (logits && !cli_write_file(cli_text(args, OPT_LOGITS), p->logits, p->n_tokens * m->n_vocab * sizeof(float)))
        return CLI_FAILED;
    if (hidden &&
        !cli_write_file(cli_text(args, OPT_HIDDEN), p->hidden, (m->n_layers + 2) * p->n_tokens * m->n_embd * sizeof(float)))
        return CLI_FAILED;
    if (routing && write_routing(cli_text(args, OPT_ROUTING), p) != CLI_DONE) return CLI_FAILED;
    size_t next = likeliest(p, logits);
    if (cli_flag(args, OPT_JSON)) {
        json_t *document = json_pack("{s:I, s:I, s:I, s:f}", "tokens", (json_int_t)p->n_tokens, "n_vocab", (json_int_t)m->n_vocab,
                                     "next", (json_int_t)next, "eval_s", p->seconds);
        return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
    }
    if (!logits && !hidden && !routing) cli_print("%zu tokens; the likeliest next one is %zu\n", p->n_tokens, next);
    if (cli_flag(args, OPT_VERBOSE))
        fprintf(stderr, "%zu tokens in %.3f s (%.1f tokens/s)\n", p->n_tokens, p->seconds, (double)p->n_tokens / p->seconds);
    return CLI_DONE;
}

/* ---- the command ---- */

static int load_and_evaluate(const cli_args *args, pass *p) {
    uint32_t n_ctx;
    int status = choose_context(args, p, &n_ctx);
    if (status != CLI_DONE) return status;
    cli_engine engine;
    char names[1024];
    status = cli_engine_load(args, p->n_tokens, &engine);
    if (status == CLI_DONE) {
        smt_engine_model(engine.engine, &p->model);
        if (cli_flag(args, OPT_VERBOSE)) fprintf(stderr, "device: %s\n", cli_device_names(engine.engine, names, sizeof names));
        status = cli_engine_start(args, &engine, n_ctx);
    }
    if (status == CLI_DONE) status = allocate_outputs(args, p) ? evaluate(args, &engine, p) : CLI_FAILED;
    cli_engine_close(&engine);
    return status;
}

int cmd_eval(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    pass p = {0};
    int status = read_tokens(args, &p.tokens);
    p.n_tokens = p.tokens.count;
    if (status == CLI_DONE) status = read_positions(args, p.n_tokens, &p.positions);
    if (status == CLI_DONE) status = load_and_evaluate(args, &p);
    if (status == CLI_DONE) status = write_outputs(args, &p);
    free_pass(&p);
    return status;
}
