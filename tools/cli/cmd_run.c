/* cmd_run.c: `run`: continues a text. Only generated text goes to stdout, as soon as its characters are complete; with --json one
 * document at the end. End tokens stop the generation and are not part of it.
 *
 * -n 128, --temp 0.8, --top-k 40, --top-p 0.95 and --min-p 0.05 are the defaults, and the seed is a new one each time. Choices
 * depend on seed, position and logits alone, so the same seed gives the same text on the same device. */
#include "cli.h"
#include "system.h"

#include <stdlib.h>
#include <string.h>

/* The prompt's ids: a text to continue, or one with a gap to fill. */
static smt_status make_tokens(const cli_generator *g, const char *prompt, size_t bytes, int32_t **out, size_t *out_count,
                              smt_error *err) {
    uint32_t flags = SMT_TOKENIZE_BOS | (cli_flag(g->args, OPT_SPECIAL) ? SMT_TOKENIZE_SPECIAL : 0u);
    const char *suffix = cli_text(g->args, OPT_SUFFIX);
    if (!cli_given(g->args, OPT_SUFFIX)) return smt_tokenize(g->tokenizer, prompt, bytes, flags, out, out_count, err);
    smt_fim fim = {
        .struct_size = sizeof fim, .prefix = prompt, .prefix_bytes = bytes, .suffix = suffix, .suffix_bytes = strlen(suffix)};
    const char *notice = smt_fim_notice(smt_engine_file(g->engine.engine));
    if (notice) fprintf(stderr, "notice: %s\n", notice);
    return smt_fim_prompt(g->tokenizer, &fim, out, out_count, err);
}

static int generate(const cli_args *args, cli_generator *g, const char *prompt, size_t bytes) {
    int32_t *tokens;
    size_t n_tokens;
    smt_error err = {0};
    smt_status split = make_tokens(g, prompt, bytes, &tokens, &n_tokens, &err);
    if (split != SMT_OK) return cli_fail_library(split, &err);
    int status = cli_generator_start(g, cli_choose_context(args, &g->model, n_tokens));
    if (status == CLI_DONE) status = cli_generate(g, tokens, n_tokens, cli_int(args, OPT_PREDICT));
    smt_free(tokens);
    if (!cli_flag(args, OPT_JSON) && system_is_terminal(stdout)) cli_write("\n", 1); /* for whatever the terminal shows next */
    if (status == CLI_DONE && g->stop == CLI_STOP_INTERRUPT) return cli_fail(CLI_FAILED, "interrupted");
    return status;
}

/* ---- results ---- */

static int print_json(cli_generator *g) {
    static const char *const stops[] = {[CLI_STOP_EOS] = "eos", [CLI_STOP_LENGTH] = "length", [CLI_STOP_TEXT] = "stop"};
    json_t *tokens = json_array(), *devices = json_array();
    for (size_t i = g->n_prompt; i < g->n_tokens; i++) json_array_append_new(tokens, json_integer(g->tokens[i]));
    for (uint32_t i = 0; i < smt_engine_device_count(g->engine.engine); i++)
        json_array_append_new(devices, cli_json_text(smt_engine_device_name(g->engine.engine, i)));
    json_t *times = json_pack("{s:f, s:f, s:f, s:f}", "load_s", g->load_s, "first_token_s", g->first_token_s, "prefill_tok_s",
                              cli_prefill_speed(g), "decode_tok_s", cli_decode_speed(g));
    json_t *document = json_pack("{s:I, s:o, s:o, s:s, s:o, s:o}", "prompt_tokens", (json_int_t)g->n_prompt, "tokens", tokens,
                                 "text", json_stringn(g->text ? g->text : "", g->text_bytes), "stop", stops[g->stop], "timings",
                                 times, "device", devices);
    if (cli_given(g->args, OPT_LOGPROBS) && document)
        json_object_set_new(document, "logprobs", g->logprobs ? json_incref(g->logprobs) : json_array());
    if (cli_flag(g->args, OPT_EXPERT_USE) && document)
        json_object_set_new(document, "expert_use", cli_expert_use_json(&g->expert_use));
    return cli_write_json(document, false) ? CLI_DONE : CLI_FAILED;
}

int cmd_run(const cli_args *args) {
    if (!cli_need_model(args)) return CLI_WRONG;
    if (cli_given(args, OPT_LOGPROBS) && !cli_flag(args, OPT_JSON))
        return cli_fail(CLI_WRONG, "--logprobs is part of the document of --json");
    if (cli_given(args, OPT_SUFFIX) && cli_flag(args, OPT_SPECIAL))
        return cli_fail(CLI_WRONG, "--suffix takes texts as they are: --special does not go with it");
    char *prompt;
    size_t bytes;
    int status = cli_read_prompt(args, &prompt, &bytes);
    if (status != CLI_DONE) return status;
    cli_generator g = {0};
    status = cli_generator_load(args, bytes + 1, &g); /* at most a token for each byte, and one in front */
    if (status == CLI_DONE) status = generate(args, &g, prompt, bytes);
    free(prompt);
    if (status == CLI_DONE && cli_flag(args, OPT_JSON)) status = print_json(&g);
    if (status == CLI_DONE && cli_flag(args, OPT_VERBOSE)) cli_print_timings(&g);
    if (status == CLI_DONE && cli_flag(args, OPT_EXPERT_USE)) cli_expert_use_print(&g.expert_use);
    cli_generator_close(&g);
    return status;
}
