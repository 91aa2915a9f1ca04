/* cmd_perplexity.c: `perplexity`: how well a model predicts a text: exp of the mean of -log p over the tokens counted.
 *
 *   text:      [bos] t1 t2 t3 t4 t5 t6 t7 ...        ids of the whole text, the beginning token in front if the model wants it
 *   window 1:  bos  t1 t2 t3 t4                      N = -c places; place 0 is context only, places 1 .. N-1 are predicted, each
 *   window 2:               bos t5 t6 t7 t8          from the places before it
 *
 * A window begins every S = --stride tokens, by default N - 1. Its place 0 holds the beginning token instead of the token that
 * stands there, if the model wants one. Counted is what no window before has counted, so every token of the text but the first
 * counts exactly once, the shorter last window included; a smaller stride gives each of them more context and takes longer.
 *
 * --second-half is the rule of llama.cpp's tool, for figures to compare: windows begin every N tokens, only whole ones, and only
 * their places from N/2 + 1 on count.
 *
 * by_position[i] is the perplexity over the tokens at place i + 1: those predicted from i + 1 tokens. The bits per byte do not
 * depend on the vocabulary: all -log2 p over the bytes of the tokens counted. */
#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_DEFAULT 512
#define LOGITS_BYTES   ((size_t)64 << 20) /* of logits at a time, about */

typedef struct place_sum {
    double sum;
    uint64_t count;
} place_sum;

typedef struct measure {
    const cli_args *args;
    cli_engine engine;
    smt_model_info model;
    smt_tokenizer *tokenizer;
    int32_t *tokens; /* [n_tokens], the library's */
    size_t n_tokens;
    uint32_t window, stride, n_rows; /* tokens of a window, from one to the next, evaluated at a time */
    bool bos, half;
    int32_t *row;      /* [window]: the tokens of one window */
    float *logits;     /* [n_rows, n_vocab] */
    place_sum *places; /* [window] */
    double sum, squares;
    uint64_t count, bytes;
} measure;

static void free_measure(measure *m) {
    cli_engine_close(&m->engine);
    smt_tokenizer_free(m->tokenizer);
    smt_free(m->tokens);
    free(m->row);
    free(m->logits);
    free(m->places);
}

/* ---- preparation ---- */

static int choose_windows(measure *m) {
    const cli_args *args = m->args;
    uint32_t trained = m->model.n_ctx_train, standard = trained && trained < WINDOW_DEFAULT ? trained : WINDOW_DEFAULT;
    m->window = cli_int(args, OPT_CTX_SIZE) ? (uint32_t)cli_int(args, OPT_CTX_SIZE) : standard;
    m->half = cli_flag(args, OPT_SECOND_HALF);
    if (m->window < 2) return cli_fail(CLI_WRONG, "-c %u: a window needs 2 tokens at least", m->window);
    if (m->half && cli_int(args, OPT_STRIDE))
        return cli_fail(CLI_WRONG, "--second-half has a stride of its own: --stride excludes it");
    m->stride = m->half ? m->window : m->window - 1;
    if (cli_int(args, OPT_STRIDE) > (int64_t)m->stride)
        return cli_fail(CLI_WRONG, "--stride %lld leaves gaps: a window of %u predicts %u tokens",
                        (long long)cli_int(args, OPT_STRIDE), m->window, m->stride);
    if (cli_int(args, OPT_STRIDE)) m->stride = (uint32_t)cli_int(args, OPT_STRIDE);
    return CLI_DONE;
}

static int read_tokens(measure *m) {
    char *text;
    size_t bytes;
    if (!cli_read_file(cli_text(m->args, OPT_FILE), &text, &bytes)) return CLI_FAILED;
    smt_error err = {0};
    smt_status status = smt_tokenizer_create(smt_engine_file(m->engine.engine), &m->tokenizer, &err);
    if (status == SMT_OK) status = smt_tokenize(m->tokenizer, text, bytes, SMT_TOKENIZE_BOS, &m->tokens, &m->n_tokens, &err);
    free(text);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    m->bos = smt_tokenizer_adds_bos(m->tokenizer);
    size_t needed = m->half ? m->window : 2;
    if (m->n_tokens >= needed) return CLI_DONE;
    return cli_fail(CLI_FAILED, "%s: %zu tokens; %zu are needed", cli_text(m->args, OPT_FILE), m->n_tokens, needed);
}

static int allocate(measure *m) {
    size_t rows = LOGITS_BYTES / sizeof(float) / m->model.n_vocab;
    m->n_rows = rows < 1 ? 1 : rows > m->window ? m->window : (uint32_t)rows;
    m->row = malloc(m->window * sizeof *m->row);
    m->places = calloc(m->window, sizeof *m->places);
    m->logits = malloc((size_t)m->n_rows * m->model.n_vocab * sizeof *m->logits);
    return m->row && m->places && m->logits ? CLI_DONE : cli_no_memory();
}

static int prepare(measure *m) {
    int status = cli_engine_load(m->args, 0, &m->engine);
    if (status != CLI_DONE) return status;
    smt_engine_model(m->engine.engine, &m->model);
    status = choose_windows(m);
    if (status == CLI_DONE) status = read_tokens(m);
    if (status == CLI_DONE) status = allocate(m);
    return status == CLI_DONE ? cli_engine_start(m->args, &m->engine, m->window) : status;
}

/* ---- counting ---- */

/* -log p(target) of a softmax over a row. */
static double surprise(const float *logits, uint32_t n, int32_t target) {
    double greatest = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        if (logits[i] > greatest) greatest = logits[i];
    for (uint32_t i = 0; i < n; i++) sum += exp(logits[i] - greatest);
    return log(sum) + greatest - logits[target];
}

/* Bytes that a token of the text stands for; SPM's first word has no blank in front. */
static int add_bytes(measure *m, size_t index) {
    char *text;
    size_t bytes;
    smt_error err = {0};
    smt_status status = index == (m->bos ? 1 : 0) ? smt_detokenize(m->tokenizer, m->tokens + index, 1, &text, &bytes, &err)
                                                  : smt_token_text(m->tokenizer, m->tokens[index], &text, &bytes, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    smt_free(text);
    m->bytes += bytes;
    return CLI_DONE;
}

/* The token at `index` of the text, which stands at `place` of its window. */
static int count(measure *m, const float *logits, size_t index, uint32_t place) {
    double nats = surprise(logits, m->model.n_vocab, m->tokens[index]);
    if (!isfinite(nats)) return cli_fail(CLI_FAILED, "token %zu of the text: the logits before it are not finite", index);
    m->sum += nats;
    m->squares += nats * nats;
    m->count++;
    m->places[place].sum += nats;
    m->places[place].count++;
    return add_bytes(m, index);
}

static double mean(const measure *m) { return m->sum / (double)m->count; }

/* Of the perplexity: the standard error of the mean, carried through exp. */
static double standard_error(const measure *m) {
    double n = (double)m->count, variance = m->count > 1 ? (m->squares - m->sum * m->sum / n) / (n - 1) : 0;
    return exp(mean(m)) * sqrt(fmax(variance, 0) / n);
}

/* Tokens [begin, begin + n) of the text as one window; counts its places from `from` on. The last token is only predicted. */
static int measure_window(measure *m, size_t begin, uint32_t n, uint32_t from) {
    smt_error err = {0};
    memcpy(m->row, m->tokens + begin, n * sizeof *m->row);
    if (m->bos) m->row[0] = m->tokens[0];
    smt_status status = smt_session_rewind(m->engine.session, 0, &err);
    for (uint32_t at = 0, rows; status == SMT_OK && at + 1 < n; at += rows) {
        rows = n - 1 - at < m->n_rows ? n - 1 - at : m->n_rows;
        bool counts = at + rows >= from;
        smt_eval eval = {.struct_size = sizeof eval,
                         .tokens = m->row + at,
                         .n_tokens = rows,
                         .all_logits = true,
                         .logits = counts ? m->logits : NULL};
        status = smt_session_eval(m->engine.session, &eval, &err);
        for (uint32_t r = 0; status == SMT_OK && counts && r < rows; r++) {
            uint32_t place = at + r + 1;
            if (place >= from && count(m, m->logits + (size_t)r * m->model.n_vocab, begin + place, place) != CLI_DONE)
                return CLI_FAILED;
        }
        if (m->count) cli_progress_note("token %zu of %zu: perplexity %.4f", begin + at + rows, m->n_tokens - 1, exp(mean(m)));
    }
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

static int measure_text(measure *m) {
    for (size_t begin = 0, counted = 1; counted < m->n_tokens; begin += m->stride) {
        size_t rest = m->n_tokens - begin;
        if (m->half && rest < m->window) break;
        uint32_t n = rest < m->window ? (uint32_t)rest : m->window;
        uint32_t from = m->half ? m->window / 2 + 1 : (uint32_t)(counted - begin);
        int status = measure_window(m, begin, n, from);
        if (status != CLI_DONE) return status;
        counted = begin + n;
    }
    cli_progress_clear();
    return CLI_DONE;
}

/* ---- results ---- */

static double bits_per_byte(const measure *m) { return m->bytes ? m->sum / log(2) / (double)m->bytes : NAN; }

static json_t *number_or_null(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static int print_json(const measure *m) {
    json_t *places = json_array(), *counts = json_array();
    for (uint32_t p = 1; p < m->window; p++) {
        const place_sum *place = &m->places[p];
        json_array_append_new(places, number_or_null(place->count ? exp(place->sum / (double)place->count) : NAN));
        json_array_append_new(counts, cli_json_count(place->count));
    }
    json_t *document =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:b, s:o, s:o}", "ppl", number_or_null(exp(mean(m))), "ppl_error",
                  number_or_null(standard_error(m)), "tokens", cli_json_count(m->count), "bytes", cli_json_count(m->bytes),
                  "bits_per_byte", number_or_null(bits_per_byte(m)), "window", (json_int_t)m->window, "stride",
                  (json_int_t)m->stride, "second_half", (int)m->half, "by_position", places, "position_tokens", counts);
    return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
}

/* Places 1, 2-3, 4-7 ...: a model whose positions are wrong shows it in the later lines. */
static void print_places(const measure *m) {
    for (uint32_t low = 1; low < m->window; low *= 2) {
        place_sum all = {0};
        uint32_t high = low * 2 < m->window ? low * 2 : m->window;
        for (uint32_t p = low; p < high; p++) {
            all.sum += m->places[p].sum;
            all.count += m->places[p].count;
        }
        if (all.count)
            cli_print("  after %6u to %6u tokens: %12.4f over %llu\n", low, high - 1, exp(all.sum / (double)all.count),
                      (unsigned long long)all.count);
    }
}

static int print_text(const measure *m) {
    cli_print("perplexity %.4f +/- %.4f over %llu tokens, %.4f bits per byte; windows of %u\n", exp(mean(m)), standard_error(m),
              (unsigned long long)m->count, bits_per_byte(m), m->window);
    print_places(m);
    return CLI_DONE;
}

int cmd_perplexity(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    if (!cli_given(args, OPT_FILE)) return cli_fail(CLI_WRONG, "a text is needed: -f FILE");
    measure m = {.args = args};
    int status = prepare(&m);
    if (status == CLI_DONE) status = measure_text(&m);
    if (status == CLI_DONE) status = cli_flag(args, OPT_JSON) ? print_json(&m) : print_text(&m);
    free_measure(&m);
    return status;
}
