/* cmd_quantize.c: `quantize`: a GGUF file with other tensor types, and what became of each tensor.
 *
 * The table on stdout (or the JSON document) is made from the library's reports, one per tensor in the order of the file; in
 * text it appears while the work goes on. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct summary {
    bool json;
    json_t *tensors; /* owned */
    uint64_t n_tensors, n_fallback, n_weighted, elements, bytes_before, bytes_after;
} summary;

/* ---- reports ---- */

static void add_json(summary *s, const smt_quantize_tensor *tensor) {
    json_t *shape = json_array();
    for (uint32_t d = 0; d < tensor->n_dims; d++) json_array_append_new(shape, cli_json_count(tensor->ne[d]));
    json_array_append_new(s->tensors,
                          json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:o}", "name", cli_json_text(tensor->name), "from",
                                    tensor->from, "to", tensor->to, "shape", shape, "bytes_before",
                                    cli_json_count(tensor->bytes_before), "bytes", cli_json_count(tensor->bytes_after),
                                    "fallback", tensor->fallback, "weighted", tensor->weighted, "error",
                                    tensor->error < 0 ? json_null() : json_real(tensor->error)));
}

static void print_line(const smt_quantize_tensor *tensor) {
    char shape[96], error[24] = "";
    int used = 0;
    for (uint32_t d = 0; d < tensor->n_dims && used < (int)sizeof shape; d++)
        used += snprintf(shape + used, sizeof shape - (size_t)used, d ? " x %" PRIu64 : "%" PRIu64, tensor->ne[d]);
    if (tensor->error > 0) snprintf(error, sizeof error, "error %.5f", tensor->error);
    cli_progress_clear();
    cli_print("%-6s -> %-6s %-22s %14" PRIu64 " bytes  %-13s  ", tensor->from, tensor->to, shape, tensor->bytes_after, error);
    cli_print_safe(tensor->name, strlen(tensor->name));
    cli_print("%s%s\n", tensor->fallback ? "  (stand-in: rows do not fit)" : "", tensor->weighted ? "  (weighted)" : "");
}

static void on_tensor(void *user, const smt_quantize_tensor *tensor) {
    summary *s = user;
    uint64_t elements = 1;
    for (int d = 0; d < 4; d++) elements *= tensor->ne[d];
    s->n_tensors++;
    s->n_fallback += tensor->fallback;
    s->n_weighted += tensor->weighted;
    s->elements += elements;
    s->bytes_before += tensor->bytes_before;
    s->bytes_after += tensor->bytes_after;
    if (s->json)
        add_json(s, tensor);
    else
        print_line(tensor);
}

static double bits_per_weight(const summary *s) { return s->elements ? (double)s->bytes_after * 8 / (double)s->elements : 0; }

static int print_summary(const cli_args *args, summary *s) {
    if (s->json) {
        json_t *document =
            json_pack("{s:o, s:o, s:s, s:b, s:o, s:o, s:o, s:f}", "input", cli_json_text(args->positional[0]), "output",
                      cli_json_text(args->positional[1]), "type", args->positional[2], "dry_run", cli_flag(args, OPT_DRY_RUN),
                      "tensors", json_incref(s->tensors), "bytes_before", cli_json_count(s->bytes_before), "bytes",
                      cli_json_count(s->bytes_after), "bits_per_weight", bits_per_weight(s));
        return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
    }
    cli_print("\n%" PRIu64 " tensors, %.2f MiB -> %.2f MiB, %.3f bits per weight\n", s->n_tensors,
              (double)s->bytes_before / (1 << 20), (double)s->bytes_after / (1 << 20), bits_per_weight(s));
    if (s->n_fallback) cli_print("%" PRIu64 " tensors have rows that their type does not fit and took another\n", s->n_fallback);
    if (cli_given(args, OPT_IMATRIX)) cli_print("%" PRIu64 " tensors were weighted\n", s->n_weighted);
    return CLI_DONE;
}

/* ---- the command ---- */

/* "PATTERN=TYPE" taken apart at the last '='; the text of *out is owned by the caller. False with a message. */
static bool split_override(const char *word, char **out_text, smt_quantize_override *out) {
    const char *equals = strrchr(word, '=');
    *out_text = equals && equals > word && equals[1] ? strdup(word) : NULL;
    if (!*out_text) {
        cli_fail(CLI_WRONG, "--tensor-type \"%s\" is not of the form PATTERN=TYPE", word);
        return false;
    }
    (*out_text)[equals - word] = 0;
    *out = (smt_quantize_override){*out_text, *out_text + (equals - word) + 1};
    return true;
}

static int quantize(const cli_args *args, const smt_quantize_override *overrides, summary *s) {
    smt_quantize_options options = {
        .struct_size = sizeof options,
        .in_path = args->positional[0],
        .out_path = args->positional[1],
        .type = args->positional[2],
        .overrides = overrides,
        .n_overrides = args->values[OPT_TENSOR_TYPE].n_list,
        .output_type = cli_text(args, OPT_OUTPUT_TENSOR_TYPE),
        .embedding_type = cli_text(args, OPT_TOKEN_EMBEDDING_TYPE),
        .imatrix_path = cli_text(args, OPT_IMATRIX),
        .pure = cli_flag(args, OPT_PURE),
        .allow_requantize = cli_flag(args, OPT_ALLOW_REQUANTIZE),
        .dry_run = cli_flag(args, OPT_DRY_RUN),
        .n_threads = (uint32_t)cli_int(args, OPT_THREADS),
        .callbacks = {.user = s, .progress = cli_progress},
        .report = on_tensor,
    };
    smt_error err = {0};
    cli_watch_interrupts(NULL);
    smt_status status = smt_quantize(&options, &err);
    if (status == SMT_OK) return print_summary(args, s);
    cli_fail_library(status, &err);
    return status == SMT_INVALID ? CLI_WRONG : CLI_FAILED;
}

int cmd_quantize(const cli_args *args) {
    if (!args->positional[2])
        return cli_fail(CLI_WRONG, "an input file, an output file and a type are needed: seamount quantize IN OUT TYPE");
    const cli_value *given = &args->values[OPT_TENSOR_TYPE];
    smt_quantize_override *overrides = calloc(given->n_list + 1, sizeof *overrides);
    char **texts = calloc(given->n_list + 1, sizeof *texts);
    int result = overrides && texts ? CLI_DONE : cli_no_memory();
    for (uint32_t i = 0; i < given->n_list && result == CLI_DONE; i++)
        if (!split_override(given->list[i], &texts[i], &overrides[i])) result = CLI_WRONG;
    summary s = {.json = cli_flag(args, OPT_JSON), .tensors = json_array()};
    if (result == CLI_DONE) result = quantize(args, overrides, &s);
    json_decref(s.tensors);
    for (uint32_t i = 0; texts && i < given->n_list; i++) free(texts[i]);
    free(texts);
    free(overrides);
    return result;
}
