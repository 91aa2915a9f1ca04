/* api_trace.c: the calls of the trace room that take a caller's struct. The others are that room's own (trace/). */
#include "api/api_internal.h"
#include "trace/trace.h"

static smt_status copy_model(smt_trace_model *out, const smt_trace_model *given, smt_error *err) {
    return smt_api_copy_options(out, sizeof *out, given, "smt_trace_model", err);
}

static smt_status copy_token(smt_trace_token *out, const smt_trace_token *given, smt_error *err) {
    return smt_api_copy_options(out, sizeof *out, given, "smt_trace_token", err);
}

smt_status smt_trace_writer_create(const char *path, const smt_trace_model *model, smt_trace_writer **out_writer,
                                   smt_error *err) {
    smt_trace_model known;
    *out_writer = NULL;
    SMT_TRY(copy_model(&known, model, err));
    return smt_trace_write_begin(path, &known, out_writer, err);
}

smt_status smt_trace_writer_add(smt_trace_writer *writer, const smt_trace_token *token, smt_error *err) {
    smt_trace_token known;
    SMT_TRY(copy_token(&known, token, err));
    return smt_trace_write_token(writer, &known, err);
}

smt_status smt_routing_stats_create(const smt_trace_model *model, bool caches, smt_routing_stats **out_stats, smt_error *err) {
    smt_trace_model known;
    *out_stats = NULL;
    SMT_TRY(copy_model(&known, model, err));
    return smt_trace_stats_begin(&known, caches, out_stats, err);
}

smt_status smt_routing_stats_add(smt_routing_stats *stats, const smt_trace_token *token, smt_error *err) {
    smt_trace_token known;
    SMT_TRY(copy_token(&known, token, err));
    return smt_trace_stats_token(stats, &known, err);
}
