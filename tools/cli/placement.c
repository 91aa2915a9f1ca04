/* placement.c: what the options say about where weights go: -sm, -ts, --budget, --profile, --expert-cache, -ngl, -ncmoe. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "12884901888", "12G", "11.5GiB". */
static bool parse_bytes(const char *text, uint64_t *out) {
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || !(*text >= '0' && *text <= '9')) return false;
    const char *unit = *end ? strchr(units, *end & ~0x20) : NULL;
    if (unit) {
        for (const char *at = units; at <= unit; at++) value *= 1024;
        end++;
        if (!strcmp(end, "iB") || !strcmp(end, "B")) end += strlen(end);
    }
    *out = (uint64_t)value;
    return *end == 0 && value < 1e18;
}

/* DEV:HEAP=BYTES; the text is cut into its words. */
static bool parse_budget(char *text, smt_heap_budget *out) {
    char *equals = strrchr(text, '='), *end;
    if (!equals) return false;
    *equals = 0;
    char *colon = strrchr(text, ':');
    if (!colon || colon == text || colon[1] < '0' || colon[1] > '9') return false;
    *colon = 0;
    out->device = text;
    unsigned long heap = strtoul(colon + 1, &end, 10);
    out->heap = (uint32_t)heap;
    return *end == 0 && heap < 64 && parse_bytes(equals + 1, &out->bytes);
}

static int read_budgets(const cli_args *args, cli_placement *out) {
    const cli_value *given = &args->values[OPT_BUDGET];
    out->budgets = calloc(given->n_list + 1, sizeof *out->budgets);
    out->texts = calloc(given->n_list + 1, sizeof *out->texts);
    if (!out->budgets || !out->texts) return cli_no_memory();
    for (uint32_t i = 0; i < given->n_list; i++) {
        out->texts[i] = strdup(given->list[i]);
        if (!out->texts[i]) return cli_no_memory();
        if (!parse_budget(out->texts[i], &out->budgets[i]))
            return cli_fail(CLI_WRONG, "--budget \"%s\": not DEVICE:HEAP=BYTES, such as vk0:0=8G", given->list[i]);
    }
    out->options.budgets = out->budgets;
    out->options.n_budgets = given->n_list;
    return CLI_DONE;
}

/* -ngl counts layers on the device; the library wants those that are not. */
static int read_layers(const cli_args *args, cli_placement *out) {
    smt_file *file;
    smt_model_info model;
    smt_error err = {0};
    if (cli_given(args, OPT_CPU_MOE)) out->options.host_expert_layers = (uint32_t)cli_int(args, OPT_CPU_MOE);
    if (!cli_given(args, OPT_GPU_LAYERS) || cli_int(args, OPT_GPU_LAYERS) < 0) return CLI_DONE;
    smt_status status = smt_file_open(cli_model(args), &file, &err);
    if (status == SMT_OK) status = smt_file_model(file, &model, &err);
    if (status == SMT_OK && cli_int(args, OPT_GPU_LAYERS) < model.n_layers)
        out->options.host_layers = model.n_layers - (uint32_t)cli_int(args, OPT_GPU_LAYERS);
    smt_file_free(file);
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

static smt_status count_tokens(smt_trace *trace, smt_routing_stats *stats, smt_error *err) {
    for (uint64_t i = 0; i < smt_trace_count(trace); i++) {
        const smt_trace_token *token;
        smt_status status = smt_trace_get(trace, i, &token, err);
        if (status == SMT_OK) status = smt_routing_stats_add(stats, token, err);
        if (status != SMT_OK && status != SMT_FORMAT) return status; /* damaged parts say nothing of the others */
    }
    return SMT_OK;
}

static bool copy_counts(smt_routing_stats *stats, const smt_trace_model *model, cli_placement *out) {
    out->options.n_expert_weights = (size_t)model->n_moe * model->n_experts;
    out->expert_weights = malloc((out->options.n_expert_weights + 1) * sizeof *out->expert_weights);
    if (!out->expert_weights) return false;
    for (uint32_t l = 0; l < model->n_moe; l++)
        for (uint32_t e = 0; e < model->n_experts; e++)
            out->expert_weights[(size_t)l * model->n_experts + e] = (float)smt_routing_stats_layer(stats, l)->counts[e];
    out->options.expert_weights = out->expert_weights;
    return true;
}

/* --profile: how often each expert was chosen. That the shape is this model's, the library checks. */
static int read_profile(const cli_args *args, cli_placement *out) {
    const char *path = cli_text(args, OPT_PROFILE);
    smt_trace *trace = NULL;
    smt_routing_stats *stats = NULL;
    smt_error err = {0};
    if (!path || !*path) return CLI_DONE;
    smt_status status = smt_trace_open(path, &trace, &err);
    if (status == SMT_OK) status = smt_routing_stats_create(smt_trace_get_model(trace), false, &stats, &err);
    if (status == SMT_OK) status = count_tokens(trace, stats, &err);
    int result = status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
    if (result == CLI_DONE && !copy_counts(stats, smt_trace_get_model(trace), out)) result = cli_no_memory();
    smt_routing_stats_free(stats);
    smt_trace_free(trace);
    return result;
}

/* Experts of the tokens of one step, which follow each other in a trace. */
typedef struct step {
    uint16_t *experts; /* owned, [n] */
    size_t n, capacity;
    uint32_t number;
} step;

static smt_status replay_step(step *s, smt_placement *placement, smt_error *err) {
    smt_status status = s->n ? smt_placement_replay(placement, s->experts, s->n, err) : SMT_OK;
    s->n = 0;
    return status;
}

static bool add_token(step *s, const smt_trace_token *token, size_t n) {
    if (s->n + n > s->capacity) {
        uint16_t *experts = realloc(s->experts, 2 * (s->n + n) * sizeof *experts);
        if (!experts) return false;
        s->experts = experts;
        s->capacity = 2 * (s->n + n);
    }
    memcpy(s->experts + s->n, token->experts, n * sizeof *s->experts);
    s->n += n;
    s->number = token->step;
    return true;
}

static int replay(smt_trace *trace, smt_placement *placement) {
    const smt_trace_model *model = smt_trace_get_model(trace);
    size_t n = (size_t)model->n_moe * model->n_used;
    step s = {0};
    smt_error err = {0};
    smt_status status = SMT_OK;
    bool memory = true;
    for (uint64_t i = 0; n && memory && status == SMT_OK && i < smt_trace_count(trace); i++) {
        const smt_trace_token *token;
        status = smt_trace_get(trace, i, &token, &err);
        if (status == SMT_OK && token->step != s.number) status = replay_step(&s, placement, &err);
        if (status == SMT_OK) memory = add_token(&s, token, n);
        if (status == SMT_FORMAT) status = SMT_OK; /* damaged parts say nothing of the others */
    }
    if (status == SMT_OK) status = replay_step(&s, placement, &err);
    free(s.experts);
    return !memory ? cli_no_memory() : status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

int cli_placement_replay(const cli_args *args, smt_placement *placement) {
    const char *path = cli_text(args, OPT_PROFILE);
    smt_trace *trace = NULL;
    smt_error err = {0};
    if (!path || !*path) return CLI_DONE;
    smt_status status = smt_trace_open(path, &trace, &err);
    int result = status == SMT_OK ? replay(trace, placement) : cli_fail_library(status, &err);
    smt_trace_free(trace);
    return result;
}

/* -ts: numbers separated by commas or slashes. How many there have to be, the library knows. */
static int read_shares(const cli_args *args, cli_placement *out) {
    const char *text = cli_text(args, OPT_TENSOR_SPLIT);
    const uint32_t most = sizeof out->shares / sizeof *out->shares;
    char *end;
    if (!text || !*text) return CLI_DONE;
    if (!cli_given(args, OPT_DEVICE))
        return cli_fail(CLI_WRONG, "-ts \"%s\" is for the devices of -dev, which is not there", text);
    for (const char *at = text;; at = end + 1) {
        if (out->n_shares == most) return cli_fail(CLI_WRONG, "-ts \"%s\": more than %u shares", text, most);
        double share = strtod(at, &end);
        if (end == at || !(share >= 0) || !strchr(",/", *end))
            return cli_fail(CLI_WRONG, "-ts \"%s\": not a list of shares, such as 3,1", text);
        out->shares[out->n_shares++] = share;
        if (!*end) return CLI_DONE;
    }
}

int cli_placement_read(const cli_args *args, cli_placement *out) {
    *out = (cli_placement){.options.struct_size = sizeof out->options};
    out->runner = cli_runner_options(args, (uint32_t)cli_int(args, OPT_CTX_SIZE));
    out->options.runner = &out->runner;
    out->options.split = (smt_split_mode)cli_int(args, OPT_SPLIT_MODE);
    const char *cache = cli_text(args, OPT_EXPERT_CACHE);
    if (cache && *cache && !parse_bytes(cache, &out->options.expert_cache_bytes))
        return cli_fail(CLI_WRONG, "--expert-cache \"%s\": not a number of bytes, such as 2G", cache);
    int status = read_shares(args, out);
    if (status == CLI_DONE) status = read_budgets(args, out);
    if (status == CLI_DONE) status = read_profile(args, out);
    return status == CLI_DONE ? read_layers(args, out) : status;
}

void cli_placement_free(cli_placement *placement) {
    for (size_t i = 0; placement->texts && placement->texts[i]; i++) free(placement->texts[i]);
    free(placement->texts);
    free(placement->budgets);
    free(placement->expert_weights);
    *placement = (cli_placement){0};
}
