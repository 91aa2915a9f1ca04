/* dump_trace.c: prints what a trace file holds as JSON, so that tests can compare it with what programs make of it.
 *
 *     dump_trace FILE.trace */
#include "seamount.h"

#include <jansson.h>
#include <stdio.h>

static json_t *dump_layers(const smt_trace_model *model) {
    json_t *layers = json_array();
    for (uint32_t l = 0; l < model->n_moe; l++) {
        json_t *places = json_array();
        for (uint32_t e = 0; e < model->n_experts; e++) json_array_append_new(places, json_integer(model->layers[l].places[e]));
        json_array_append_new(layers, json_pack("{s:i, s:o}", "layer", (int)model->layers[l].layer, "places", places));
    }
    return layers;
}

static json_t *dump_token(const smt_trace_model *model, const smt_trace_token *token) {
    json_t *experts = json_array(), *weights = json_array();
    for (uint32_t l = 0; l < model->n_moe; l++) {
        json_t *ids = json_array(), *factors = json_array();
        for (uint32_t k = 0; k < model->n_used; k++) {
            json_array_append_new(ids, json_integer(token->experts[l * model->n_used + k]));
            json_array_append_new(factors, json_real((double)token->weights[l * model->n_used + k]));
        }
        json_array_append_new(experts, ids);
        json_array_append_new(weights, factors);
    }
    json_t *hop_s = json_array(), *hop_bytes = json_array();
    for (uint32_t d = 0; d < model->n_devices; d++) {
        json_array_append_new(hop_s, json_real((double)token->hop_s[d]));
        json_array_append_new(hop_bytes, json_integer(token->hop_bytes[d]));
    }
    double step_s = 0;
    for (int i = 0; i < SMT_PHASE_COUNT; i++) step_s += (double)token->phase_s[i];
    return json_pack("{s:i, s:i, s:i, s:o, s:o, s:f, s:o, s:o}", "id", (int)token->id, "index", (int)token->index, "session",
                     (int)token->session, "experts", experts, "weights", weights, "step_s", step_s, "hop_s", hop_s, "hop_bytes",
                     hop_bytes);
}

int main(int argc, char **argv) {
    smt_trace *trace;
    smt_error err = {0};
    if (argc != 2) return fprintf(stderr, "usage: dump_trace FILE.trace\n"), 2;
    if (smt_trace_open(argv[1], &trace, &err) != SMT_OK) return fprintf(stderr, "%s\n", err.message), 1;
    const smt_trace_model *model = smt_trace_get_model(trace);
    json_t *tokens = json_array();
    for (uint64_t i = 0; i < smt_trace_count(trace); i++) {
        const smt_trace_token *token;
        if (smt_trace_get(trace, i, &token, &err) != SMT_OK) return fprintf(stderr, "%s\n", err.message), 1;
        json_array_append_new(tokens, dump_token(model, token));
    }
    json_t *all = json_pack("{s:i, s:i, s:i, s:o, s:o}", "n_layers", (int)model->n_layers, "n_experts", (int)model->n_experts,
                            "n_used", (int)model->n_used, "layers", dump_layers(model), "tokens", tokens);
    int written = json_dumpf(all, stdout, JSON_COMPACT);
    json_decref(all);
    smt_trace_free(trace);
    return written == 0 ? 0 : 1;
}
