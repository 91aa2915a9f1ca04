/* cmd_bench.c: `bench`: how fast a model runs here, as medians of repetitions, beside what the device could do at best.
 *
 * Each prompt length and each number of generated tokens is a test of its own, made at each depth. A test runs once untimed (what it
 * compiles is its warm-up time), then the repetitions, then once more layer by layer for the profile. The tokens of a prompt are the same
 * arbitrary ids every time, and its logits end in host memory. An answer is drawn greedily, as `run --temp 0` draws it, from such a token on:
 * on the device with steps running ahead, unless --draw-on-host. Nothing ends it early, so it is the same in every repetition. */
#include "bench.h"
#include "system.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CONTEXT_STEP 256
#define MOST_LISTED  16

typedef struct number_list {
    uint32_t at[MOST_LISTED];
    uint32_t n;
} number_list;

typedef struct bench {
    const cli_args *args;
    number_list prompts, gens, depths;
    bench_format format;
    cli_engine engine; /* this and what follows: owned */
    bench_setup setup;
    smt_model_info model;
    smt_runner_options runner;
    int32_t *tokens; /* [n_tokens]: what stands at each place of the context */
    uint32_t n_tokens;
    float *logits; /* [n_vocab] */
    smt_sampler *greedy;
    bench_test *tests;
    size_t n_tests, tests_capacity;
} bench;

/* ---- the command line ---- */

static int read_list(const cli_args *args, cli_option option, const char *name, uint32_t standard, number_list *out) {
    *out = (number_list){.at = {standard}, .n = 1};
    if (!cli_given(args, option)) return CLI_DONE;
    const char *text = cli_text(args, option);
    out->n = 0;
    for (const char *at = text;; at++) {
        char *end;
        errno = 0;
        unsigned long value = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || (*end && *end != ',') || errno || value > INT32_MAX)
            return cli_fail(CLI_WRONG, "--%s \"%s\" is not a list of whole numbers", name, text);
        if (out->n == MOST_LISTED) return cli_fail(CLI_WRONG, "--%s has more than %d numbers", name, MOST_LISTED);
        out->at[out->n++] = (uint32_t)value;
        if (!*end) return CLI_DONE;
        at = end;
    }
}

static int read_format(const cli_args *args, bench_format *out) {
    static const char *const names[] = {[BENCH_MD] = "md", [BENCH_CSV] = "csv", [BENCH_JSON] = "json"};
    *out = cli_flag(args, OPT_JSON) ? BENCH_JSON : BENCH_MD;
    const char *text = cli_text(args, OPT_OUTPUT);
    if (!cli_given(args, OPT_OUTPUT)) return CLI_DONE;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(text, names[i])) {
            if (cli_flag(args, OPT_JSON) && i != BENCH_JSON)
                return cli_fail(CLI_WRONG, "--json and --output %s exclude each other", text);
            *out = (bench_format)i;
            return CLI_DONE;
        }
    return cli_fail(CLI_WRONG, "--output %s: there are md, csv and json", text);
}

static uint32_t most(const number_list *list) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < list->n; i++)
        if (list->at[i] > value) value = list->at[i];
    return value;
}

/* The context that the tests need; -c may ask for more. */
static int choose_context(const bench *b, uint32_t *out) {
    uint64_t longest = most(&b->prompts) > most(&b->gens) ? most(&b->prompts) : most(&b->gens);
    uint64_t needed = (uint64_t)most(&b->depths) + longest, given = (uint64_t)cli_int(b->args, OPT_CTX_SIZE);
    if (longest == 0) return cli_fail(CLI_WRONG, "nothing to measure: -p and -n are 0");
    if (given && given < needed)
        return cli_fail(CLI_WRONG, "-c %" PRIu64 " holds fewer positions than the tests need, %" PRIu64, given, needed);
    if (!given) given = (needed + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP;
    if (given > INT32_MAX) return cli_fail(CLI_WRONG, "the tests need a context of %" PRIu64 " positions", needed);
    *out = (uint32_t)given;
    return CLI_DONE;
}

/* ---- making ready ---- */

/* Adds a device's driver to those of the devices before it. */
static void name_driver(bench *b, const smt_device_info *info) {
    char *text = b->setup.driver;
    size_t used = strlen(text);
    snprintf(text + used, sizeof b->setup.driver - used, "%s%s%s%s", used ? ", " : "", info->driver,
             *info->driver_info ? " " : "", info->driver_info);
}

/* How fast a device reads its memory. Several have one speed where they are the same. */
static void measure_bandwidth(bench *b, const smt_device_list *list, uint32_t first, uint32_t n) {
    smt_device_info info, other;
    smt_error err = {0};
    smt_device_list_get(list, first, &info);
    for (uint32_t i = first + 1; i < first + n; i++)
        if (smt_device_list_get(list, i, &other) != SMT_OK || strcmp(other.id, info.id) != 0) return;
    if (smt_device_bandwidth(list, first, &b->setup.read_bytes_s, &err) != SMT_OK)
        fprintf(stderr, "notice: the bandwidth of %s is not measured: %s\n", info.name, err.message);
}

/* Drivers and bandwidth: before the model takes the devices. Without -dev those of the device that one model fits on. */
static int measure_devices(bench *b) {
    smt_device_options options;
    smt_device_list *list;
    smt_device_info info;
    uint32_t first = 0, n;
    smt_error err = {0};
    cli_device_options(b->args, &options);
    smt_status status = smt_device_list_create(&options, &list, &err);
    if (status != SMT_OK) return cli_fail_device(b->args, status, &err);
    n = smt_device_list_count(list);
    if (!options.devices || !*options.devices) {
        status = smt_device_list_chosen(list, &first, &err);
        n = 1;
    }
    for (uint32_t i = first; i < first + n && status == SMT_OK; i++) {
        status = smt_device_list_get(list, i, &info);
        if (status == SMT_OK) name_driver(b, &info);
    }
    if (status == SMT_OK) measure_bandwidth(b, list, first, n);
    smt_device_list_free(list);
    return status == SMT_OK ? CLI_DONE : cli_fail_device(b->args, status, &err);
}

static int load(bench *b, uint32_t n_ctx) {
    double start = cli_seconds();
    int status =
        cli_engine_load(b->args, most(&b->prompts) > most(&b->depths) ? most(&b->prompts) : most(&b->depths), &b->engine);
    if (status != CLI_DONE) return status;
    status = cli_engine_start(b->args, &b->engine, n_ctx);
    if (status != CLI_DONE) return status;
    b->setup.load_s = cli_seconds() - start;
    smt_engine_model(b->engine.engine, &b->model);
    smt_runner_get_options(b->engine.runner, &b->runner);
    b->setup.model = *b->model.name ? b->model.name : system_base_name(cli_model(b->args));
    cli_device_names(b->engine.engine, b->setup.device, sizeof b->setup.device);
    b->setup.precision = b->runner.precision != SMT_PRECISION_FAST ? "exact" : b->runner.no_coop_matrix ? "fast" : "fast coopmat";
    b->setup.cache_type = b->runner.cache_type == SMT_CACHE_F32 ? "f32" : "f16";
    b->setup.n_layers = b->model.n_layers;
    b->setup.n_dense_layers = b->model.n_experts ? b->model.n_dense_layers : b->model.n_layers;
    b->setup.repetitions = (uint32_t)cli_int(b->args, OPT_REPETITIONS);
    b->n_tokens = n_ctx;
    b->tokens = malloc(n_ctx * sizeof *b->tokens);
    b->logits = malloc(b->model.n_vocab * sizeof *b->logits);
    if (!b->tokens || !b->logits) return cli_no_memory();
    smt_error err = {0};
    const smt_sampler_options greedy = {.struct_size = sizeof greedy};
    smt_status made = smt_sampler_create(&greedy, &b->greedy, &err);
    if (made != SMT_OK) return cli_fail_library(made, &err);
    uint64_t random = 1;
    for (uint32_t i = 0; i < n_ctx; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        b->tokens[i] = (int32_t)((random >> 33) % b->model.n_vocab);
    }
    return CLI_DONE;
}

/* ---- measuring ---- */

/* A prompt of n tokens, from where the session is. */
static smt_status evaluate(bench *b, uint32_t n, smt_error *err) {
    const smt_eval eval = {.struct_size = sizeof eval,
                           .tokens = b->tokens + smt_session_length(b->engine.session),
                           .n_tokens = n,
                           .logits = b->logits};
    return smt_session_eval(b->engine.session, &eval, err);
}

static bool go_on(void *user, const smt_generated *token) {
    (void)user;
    (void)token;
    return true;
}

/* An answer of n tokens: as many steps of one token. */
static smt_status answer(bench *b, uint32_t n, smt_error *err) {
    const smt_generate request = {.struct_size = sizeof request,
                                  .tokens = b->tokens + smt_session_length(b->engine.session),
                                  .n_tokens = 1,
                                  .max_tokens = n,
                                  .on_token = go_on,
                                  .draw_on_host = cli_flag(b->args, OPT_DRAW_ON_HOST)};
    smt_end end;
    return smt_session_generate(b->engine.session, b->greedy, &request, &end, err);
}

static smt_status timed(bench *b, const bench_test *t, double *out_s, smt_error *err) {
    double start = cli_seconds();
    smt_status status = t->n_prompt ? evaluate(b, t->n_prompt, err) : answer(b, t->n_gen, err);
    *out_s = cli_seconds() - start;
    return status == SMT_OK ? smt_session_rewind(b->engine.session, t->depth, err) : status;
}

static smt_status warm_up(bench *b, bench_test *t, smt_error *err) {
    double start = cli_seconds();
    smt_status status = t->n_prompt ? evaluate(b, t->n_prompt, err) : answer(b, 1, err);
    t->warmup_s = cli_seconds() - start;
    return status == SMT_OK ? smt_session_rewind(b->engine.session, t->depth, err) : status;
}

static smt_status profile(bench *b, bench_test *t, smt_error *err) {
    t->step_tokens = t->n_prompt ? t->n_prompt : 1;
    if (t->step_tokens > b->runner.n_batch) t->step_tokens = b->runner.n_batch;
    t->profile.struct_size = sizeof t->profile;
    smt_status status = smt_session_profile(b->engine.session, b->tokens + t->depth, t->step_tokens, &t->profile, err);
    return status == SMT_OK ? smt_session_rewind(b->engine.session, t->depth, err) : status;
}

static int ascending(const void *a, const void *b) {
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void summarise(bench_test *t, uint32_t n, double *sorted) {
    memcpy(sorted, t->samples, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    t->median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    t->spread = sorted[n - 1] - sorted[0];
}

static smt_status run_test(bench *b, bench_test *t, smt_error *err) {
    uint32_t n = b->setup.repetitions;
    double sorted[1000], seconds; /* -r is at most that */
    smt_runner_stats before, after;
    cli_progress_note("%s: warming up", t->name);
    smt_status status = warm_up(b, t, err);
    smt_runner_get_stats(b->engine.runner, &before);
    for (uint32_t i = 0; i < n && status == SMT_OK; i++) {
        cli_progress_note("%s: %u of %u", t->name, i + 1, n);
        status = timed(b, t, &seconds, err);
        t->samples[i] = (t->n_prompt ? t->n_prompt : t->n_gen) / seconds;
    }
    smt_runner_get_stats(b->engine.runner, &after);
    double tokens = (double)n * (t->n_prompt ? t->n_prompt : t->n_gen);
    t->dispatches = (double)(after.n_dispatches - before.n_dispatches) / tokens;
    t->submissions = (double)(after.n_submissions - before.n_submissions) / tokens;
    t->expert_hits = (double)(after.n_expert_hits - before.n_expert_hits) / tokens;
    t->expert_misses = (double)(after.n_expert_misses - before.n_expert_misses) / tokens;
    t->link_bytes = (double)(after.expert_link_bytes - before.expert_link_bytes) / tokens;
    t->copied_bytes = (double)(after.expert_copied_bytes - before.expert_copied_bytes) / tokens;
    if (status == SMT_OK) status = profile(b, t, err);
    if (status == SMT_OK) summarise(t, n, sorted);
    return status;
}

static int add_test(bench *b, uint32_t n_prompt, uint32_t n_gen, uint32_t depth) {
    if (!cli_reserve((void **)&b->tests, &b->tests_capacity, b->n_tests + 1, sizeof *b->tests)) return CLI_FAILED;
    bench_test *t = &b->tests[b->n_tests++];
    *t = (bench_test){.n_prompt = n_prompt, .n_gen = n_gen, .depth = depth};
    int used = snprintf(t->name, sizeof t->name, "%s%u", n_prompt ? "pp" : "tg", n_prompt ? n_prompt : n_gen);
    if (depth) snprintf(t->name + used, sizeof t->name - (size_t)used, " @ d%u", depth);
    t->samples = calloc(b->setup.repetitions, sizeof *t->samples);
    t->profile.layer_s = calloc(b->setup.n_layers, sizeof *t->profile.layer_s);
    if (!t->samples || !t->profile.layer_s) return cli_no_memory();
    smt_error err = {0};
    smt_status status = run_test(b, t, &err);
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

/* Every test at one depth, which the session is brought to first. */
static int measure_at(bench *b, uint32_t depth) {
    smt_error err = {0};
    smt_status status = smt_session_rewind(b->engine.session, 0, &err);
    cli_progress_note("filling the context with %u tokens", depth);
    if (status == SMT_OK && depth) status = evaluate(b, depth, &err);
    if (status != SMT_OK) return cli_fail_library(status, &err);
    int result = CLI_DONE;
    for (uint32_t i = 0; i < b->prompts.n && result == CLI_DONE; i++)
        if (b->prompts.at[i]) result = add_test(b, b->prompts.at[i], 0, depth);
    for (uint32_t i = 0; i < b->gens.n && result == CLI_DONE; i++)
        if (b->gens.at[i]) result = add_test(b, 0, b->gens.at[i], depth);
    return result;
}

static void close_bench(bench *b) {
    for (size_t i = 0; i < b->n_tests; i++) {
        free(b->tests[i].samples);
        free(b->tests[i].profile.layer_s);
    }
    free(b->tests);
    free(b->tokens);
    free(b->logits);
    smt_sampler_free(b->greedy);
    cli_engine_close(&b->engine);
}

int cmd_bench(const cli_args *args) {
    bench b = {.args = args};
    uint32_t n_ctx = 0;
    if (!cli_need_model(args)) return CLI_WRONG;
    int status = read_list(args, OPT_N_PROMPT, "n-prompt", 512, &b.prompts);
    if (status == CLI_DONE) status = read_list(args, OPT_N_GEN, "n-gen", 32, &b.gens);
    if (status == CLI_DONE) status = read_list(args, OPT_N_DEPTH, "n-depth", 0, &b.depths);
    if (status == CLI_DONE) status = read_format(args, &b.format);
    if (status == CLI_DONE) status = choose_context(&b, &n_ctx);
    if (status != CLI_DONE) return status;
    status = measure_devices(&b);
    if (status == CLI_DONE) status = load(&b, n_ctx);
    for (uint32_t i = 0; i < b.depths.n && status == CLI_DONE; i++) status = measure_at(&b, b.depths.at[i]);
    cli_progress_clear();
    if (status == CLI_DONE) status = bench_report(&b.setup, b.tests, b.n_tests, b.format);
    close_bench(&b);
    return status;
}
