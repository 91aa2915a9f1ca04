/* cmd_trace.c: `trace record`: continues a text as `run` does, and writes which experts every token went to into a file, the prompt's
 * tokens among them. `trace report`: what such a file says (trace_report.c). Reports need neither model nor Vulkan. */
#include "cli.h"
#include "system.h"

#include <stdlib.h>
#include <string.h>

static int print_recorded(const cli_args *args, const cli_generator *g, uint64_t n_recorded) {
    const char *path = cli_text(args, OPT_OUT);
    if (!cli_flag(args, OPT_JSON)) {
        fprintf(stderr, "%s: %llu tokens, %zu of them the prompt's\n", path, (unsigned long long)n_recorded, g->n_prompt);
        return CLI_DONE;
    }
    json_t *tokens = json_array();
    for (size_t i = g->n_prompt; i < g->n_tokens; i++) json_array_append_new(tokens, json_integer(g->tokens[i]));
    json_t *document = json_pack("{s:o, s:o, s:I, s:o, s:o}", "file", cli_json_text(path), "recorded", cli_json_count(n_recorded),
                                 "prompt_tokens", (json_int_t)g->n_prompt, "tokens", tokens, "text",
                                 json_stringn(g->text ? g->text : "", g->text_bytes));
    return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
}

static int generate(const cli_args *args, cli_generator *g, const int32_t *tokens, size_t n_tokens) {
    cli_recorder recorder = {0};
    int status = cli_generator_start(g, cli_choose_context(args, &g->model, n_tokens));
    if (status == CLI_DONE) status = cli_recorder_begin(g, &recorder, cli_text(args, OPT_OUT), n_tokens);
    if (status == CLI_DONE) status = cli_generate(g, tokens, n_tokens, cli_int(args, OPT_PREDICT));
    if (status == CLI_DONE && !cli_flag(args, OPT_JSON) && system_is_terminal(stdout)) cli_write("\n", 1);
    if (status == CLI_DONE) status = cli_recorder_commit(&recorder);
    uint64_t n_recorded = recorder.n_tokens;
    cli_recorder_end(&recorder);
    if (status == CLI_DONE && g->stop == CLI_STOP_INTERRUPT)
        return cli_fail(CLI_FAILED, "interrupted: %s holds %llu tokens", cli_text(args, OPT_OUT), (unsigned long long)n_recorded);
    if (status == CLI_DONE && cli_flag(args, OPT_VERBOSE)) cli_print_timings(g);
    return status == CLI_DONE ? print_recorded(args, g, n_recorded) : status;
}

static int record(const cli_args *args) {
    char *prompt;
    size_t bytes, n_tokens;
    int32_t *tokens = NULL;
    if (!cli_given(args, OPT_OUT)) return cli_fail(CLI_WRONG, "a file to write is needed: -o OUT");
    if (!cli_need_model(args)) return CLI_WRONG;
    int status = cli_read_prompt(args, &prompt, &bytes);
    if (status != CLI_DONE) return status;
    cli_generator g = {0};
    smt_error err = {0};
    status = cli_generator_load(args, bytes + 1, &g); /* at most a token for each byte, and one in front */
    if (status == CLI_DONE) {
        uint32_t flags = SMT_TOKENIZE_BOS | (cli_flag(args, OPT_SPECIAL) ? SMT_TOKENIZE_SPECIAL : 0u);
        smt_status split = smt_tokenize(g.tokenizer, prompt, bytes, flags, &tokens, &n_tokens, &err);
        status = split == SMT_OK ? generate(args, &g, tokens, n_tokens) : cli_fail_library(split, &err);
    }
    smt_free(tokens);
    free(prompt);
    cli_generator_close(&g);
    return status;
}

int cmd_trace(const cli_args *args) {
    const char *what = args->positional[0], *path = args->positional[1];
    if (what && !strcmp(what, "record")) {
        if (path) return cli_fail(CLI_WRONG, "\"%s\" is one argument too many: trace record -o OUT", path);
        return record(args);
    }
    if (!what || strcmp(what, "report")) return cli_fail(CLI_WRONG, "trace record or trace report?");
    if (!path) return cli_fail(CLI_WRONG, "a file is needed: seamount trace report TRACE");
    return cli_trace_report(path, cli_flag(args, OPT_JSON));
}
