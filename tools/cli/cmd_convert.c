/* cmd_convert.c: `convert`: a published checkpoint (config.json, tokenizer.json, safetensors) becomes a GGUF file.
 *
 * While it runs, the bar says which tensor is at work and how fast bytes are written; notices (what is left out) go to stderr.
 * At the end stdout has a summary, or with --json a document with every tensor. -v and --dry-run list the tensors in text too. */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

#define MIB 1048576.0

typedef struct conversion {
    bool json, list;
    json_t *tensors; /* owned */
    double started;
    char tensor[64], words[160]; /* the tensor at work; what stands behind the bar */
} conversion;

static void on_log(void *user, smt_log_level level, const char *text) {
    (void)user;
    if (level > SMT_LOG_WARN) return;
    cli_progress_clear();
    fprintf(stderr, "notice: %s\n", text);
}

static bool on_progress(void *user, smt_stage stage, uint64_t done, uint64_t total) {
    conversion *c = user;
    double seconds = cli_seconds() - c->started;
    snprintf(c->words, sizeof c->words, "%.1f of %.1f MiB  %.0f MiB/s  %s", (double)done / MIB, (double)total / MIB,
             seconds > 0 ? (double)done / MIB / seconds : 0.0, c->tensor);
    cli_progress_label(c->words);
    return cli_progress(NULL, stage, done, total);
}

static void shape_words(const smt_tensor_info *tensor, char *text, size_t capacity) {
    size_t used = 0;
    for (uint32_t d = 0; d < tensor->n_dims && used < capacity; d++)
        used += (size_t)snprintf(text + used, capacity - used, d ? " x %" PRIu64 : "%" PRIu64, tensor->ne[d]);
}

static void on_tensor(void *user, const smt_tensor_info *tensor) {
    conversion *c = user;
    snprintf(c->tensor, sizeof c->tensor, "%s", tensor->name);
    if (c->json) {
        json_t *shape = json_array();
        for (uint32_t d = 0; d < tensor->n_dims; d++) json_array_append_new(shape, cli_json_count(tensor->ne[d]));
        json_array_append_new(c->tensors, json_pack("{s:o, s:s, s:o, s:o}", "name", cli_json_text(tensor->name), "type",
                                                    tensor->type, "shape", shape, "bytes", cli_json_count(tensor->bytes)));
    } else if (c->list) {
        char shape[96];
        shape_words(tensor, shape, sizeof shape);
        cli_progress_clear();
        cli_print("  %-8s %-24s %12" PRIu64 " bytes  %s\n", tensor->type, shape, tensor->bytes, tensor->name);
    }
}

static json_t *document(const cli_args *args, conversion *c, const smt_convert_summary *s) {
    json_t *result =
        json_pack("{s:o, s:o, s:b, s:s, s:s, s:s, s:s?, s:i, s:i, s:i}", "input", cli_json_text(args->positional[0]), "output",
                  args->positional[1] ? cli_json_text(args->positional[1]) : json_null(), "dry_run", cli_flag(args, OPT_DRY_RUN),
                  "architecture", s->architecture, "type", s->type, "tokenizer", s->tokenizer, "pre", s->pretokenizer, "n_layers",
                  (int)s->n_layers, "n_vocab", (int)s->n_vocab, "n_merges", (int)s->n_merges);
    json_object_set_new(result, "parameters", cli_json_count(s->n_params));
    json_object_set_new(result, "bytes", cli_json_count(s->bytes));
    json_object_set_new(result, "source_tensors", cli_json_count(s->n_source_tensors));
    json_object_set_new(result, "left_out", cli_json_count(s->n_left_out));
    json_object_set(result, "tensors", c->tensors);
    return result;
}

static int print_summary(const cli_args *args, conversion *c, const smt_convert_summary *s) {
    double seconds = cli_seconds() - c->started;
    bool dry = cli_flag(args, OPT_DRY_RUN);
    if (c->json) return cli_write_json(document(args, c, s), false) ? CLI_DONE : CLI_FAILED;
    cli_print("%s, %u layers, %u tokens (%s%s%s), %.3f billion parameters, %s\n", s->architecture, s->n_layers, s->n_vocab,
              s->tokenizer, s->pretokenizer ? ", " : "", s->pretokenizer ? s->pretokenizer : "", (double)s->n_params * 1e-9,
              s->type);
    cli_print("%" PRIu64 " tensors, %.2f MiB, from %" PRIu64 " tensors of which %" PRIu64 " are left out", s->n_tensors,
              (double)s->bytes / MIB, s->n_source_tensors, s->n_left_out);
    if (dry)
        cli_print("; nothing was written\n");
    else
        cli_print("; %.1f s, %.0f MiB/s\n", seconds, seconds > 0 ? (double)s->bytes / MIB / seconds : 0.0);
    return CLI_DONE;
}

int cmd_convert(const cli_args *args) {
    bool dry = cli_flag(args, OPT_DRY_RUN);
    if (!args->positional[0] || (!args->positional[1] && !dry))
        return cli_fail(CLI_WRONG, "a folder and an output file are needed: seamount convert FOLDER OUT.gguf");
    bool json = cli_flag(args, OPT_JSON);
    conversion c = {.json = json, .list = dry || cli_flag(args, OPT_VERBOSE), .tensors = json_array(), .started = cli_seconds()};
    smt_convert_summary summary;
    smt_convert_options options = {
        .struct_size = sizeof options,
        .folder = args->positional[0],
        .path = args->positional[1],
        .type = cli_text(args, OPT_TYPE),
        .name = cli_text(args, OPT_NAME),
        .pretokenizer = cli_text(args, OPT_PRETOKENIZER),
        .vocab_only = cli_flag(args, OPT_VOCAB_ONLY),
        .dry_run = dry,
        .callbacks = {.user = &c, .log = on_log, .progress = on_progress},
        .report = on_tensor,
        .summary = &summary,
    };
    smt_error err = {0};
    cli_watch_interrupts(NULL);
    smt_status status = smt_convert(&options, &err);
    int result = CLI_DONE;
    if (status == SMT_OK) {
        result = print_summary(args, &c, &summary);
    } else {
        cli_fail_library(status, &err);
        result = status == SMT_INVALID ? CLI_WRONG : CLI_FAILED;
    }
    json_decref(c.tensors);
    return result;
}
