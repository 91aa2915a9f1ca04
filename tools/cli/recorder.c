/* recorder.c: a routing trace of what a generator evaluates. The ring holds a whole evaluation, and is emptied after each, so that nothing
 * is lost. */
#include "cli.h"

int cli_recorder_begin(cli_generator *g, cli_recorder *recorder, const char *path, size_t n_prompt) {
    *recorder = (cli_recorder){0};
    const smt_observer_options options = {.struct_size = sizeof options,
                                          .capacity = n_prompt < UINT32_MAX / 2 ? (uint32_t)n_prompt + 1 : 0,
                                          .tokenizer = g->tokenizer};
    smt_error err = {0};
    smt_status status = smt_observer_create(g->engine.runner, &options, &recorder->observer, &err);
    if (status == SMT_OK) status = smt_trace_writer_create(path, smt_observer_model(recorder->observer), &recorder->writer, &err);
    g->recorder = recorder;
    return status == SMT_OK ? CLI_DONE : cli_fail_library(status, &err);
}

int cli_recorder_take(cli_recorder *recorder) {
    const smt_trace_token *token;
    while ((token = smt_observer_next(recorder->observer))) {
        smt_error err = {0};
        smt_status status = smt_trace_writer_add(recorder->writer, token, &err);
        if (status != SMT_OK) return cli_fail_library(status, &err);
        recorder->n_tokens++;
    }
    return CLI_DONE;
}

int cli_recorder_commit(cli_recorder *recorder) {
    int status = cli_recorder_take(recorder);
    if (status != CLI_DONE) return status;
    smt_error err = {0};
    smt_status committed = smt_trace_writer_commit(recorder->writer, smt_observer_dropped(recorder->observer), &err);
    return committed == SMT_OK ? CLI_DONE : cli_fail_library(committed, &err);
}

void cli_recorder_end(cli_recorder *recorder) {
    smt_trace_writer_free(recorder->writer);
    smt_observer_free(recorder->observer);
    *recorder = (cli_recorder){0};
}
