/* placement.c: what the options say about where weights go: --budget, -ngl, -ncmoe. */
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

int cli_placement_read(const cli_args *args, cli_placement *out) {
    *out = (cli_placement){.options.struct_size = sizeof out->options};
    int status = read_budgets(args, out);
    return status == CLI_DONE ? read_layers(args, out) : status;
}

void cli_placement_free(cli_placement *placement) {
    for (size_t i = 0; placement->texts && placement->texts[i]; i++) free(placement->texts[i]);
    free(placement->texts);
    free(placement->budgets);
    *placement = (cli_placement){0};
}
