/* grammar.c: answers that follow a grammar: the options that ask for one, and its state along an answer. Without such an option
 * every call is done at once. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static const struct source {
    cli_option option;
    bool file, schema;
} sources[] = {{OPT_GRAMMAR, false, false},
               {OPT_GRAMMAR_FILE, true, false},
               {OPT_JSON_SCHEMA, false, true},
               {OPT_JSON_SCHEMA_FILE, true, true}};

/* The option that holds: what the command line says goes before the environment. NULL where there is none. */
static int choose(const cli_args *args, const struct source **out) {
    *out = NULL;
    for (cli_source from = FROM_COMMAND_LINE; !*out && from > FROM_NOWHERE; from--)
        for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
            if (args->values[sources[i].option].source != from) continue;
            if (*out) return cli_fail(CLI_WRONG, "only one of --grammar, --json-schema and their files can hold");
            *out = &sources[i];
        }
    return CLI_DONE;
}

static smt_status create(const smt_tokenizer *tokenizer, const struct source *source, const char *text, size_t bytes,
                         smt_grammar **out, smt_error *err) {
    if (!source->schema) return smt_grammar_create(tokenizer, text, bytes, out, err);
    char *grammar;
    smt_status status = smt_schema_to_grammar(text, bytes, NULL, &grammar, &bytes, err);
    if (status == SMT_OK) status = smt_grammar_create(tokenizer, grammar, bytes, out, err);
    smt_free(grammar);
    return status;
}

int cli_grammar_load(const cli_args *args, const smt_tokenizer *tokenizer, cli_grammar *out) {
    const struct source *source;
    *out = (cli_grammar){0};
    int chosen = choose(args, &source);
    if (chosen != CLI_DONE || !source) return chosen;
    const char *text = cli_text(args, source->option);
    char *read = NULL;
    size_t bytes = strlen(text);
    if (source->file && !cli_read_file(text, &read, &bytes)) return CLI_FAILED;
    smt_error err = {0};
    smt_status status = create(tokenizer, source, source->file ? read : text, bytes, &out->grammar, &err);
    free(read);
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

void cli_grammar_close(cli_grammar *g) {
    smt_grammar_state_free(g->state);
    smt_grammar_free(g->grammar);
    *g = (cli_grammar){0};
}

int cli_grammar_begin(cli_grammar *g) {
    smt_error err = {0};
    if (!g->grammar) return CLI_DONE;
    smt_grammar_state_free(g->state);
    smt_status status = smt_grammar_state_create(g->grammar, &g->state, &err);
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

bool cli_grammar_complete(const cli_grammar *g) { return g->state && smt_grammar_must_end(g->state); }
