/* prompt.c: the text that a command continues, and the context that this takes. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define CONTEXT_STEP    256
#define CONTEXT_DEFAULT 4096 /* the library's own default, see smt_runner_options */

int cli_read_prompt(const cli_args *args, char **out, size_t *out_bytes) {
    cli_option which;
    *out = NULL;
    if (!cli_either(args, OPT_PROMPT, OPT_FILE, &which)) return CLI_WRONG;
    if (which == OPT_COUNT) return cli_fail(CLI_WRONG, "a text is needed: -p TEXT or -f FILE");
    if (which == OPT_FILE) return cli_read_file(cli_text(args, OPT_FILE), out, out_bytes) ? CLI_DONE : CLI_FAILED;
    *out_bytes = strlen(cli_text(args, OPT_PROMPT));
    *out = malloc(*out_bytes + 1);
    if (!*out) return cli_no_memory();
    memcpy(*out, cli_text(args, OPT_PROMPT), *out_bytes + 1);
    return CLI_DONE;
}

uint32_t cli_choose_context(const cli_args *args, const smt_model_info *model, size_t n_prompt) {
    if (cli_int(args, OPT_CTX_SIZE)) return (uint32_t)cli_int(args, OPT_CTX_SIZE);
    int64_t n = cli_int(args, OPT_PREDICT);
    uint64_t needed = n_prompt + (n < 0 ? CONTEXT_DEFAULT / 2 : (uint64_t)n);
    if (needed <= CONTEXT_DEFAULT) return 0;
    needed = (needed + CONTEXT_STEP - 1) / CONTEXT_STEP * CONTEXT_STEP;
    if (model->n_ctx_train && needed > model->n_ctx_train) needed = model->n_ctx_train;
    return needed < INT32_MAX ? (uint32_t)needed : INT32_MAX;
}
