/* fuzz_trace.c: any bytes as a routing trace: open it, ask for every token, count them. The checksums, which a fuzzer does not find, are
 * made to fit first, wherever a chunk's header could stand.
 *
 * Seeds: small.trace in tests/data. */
#include "corpus.h"
#include "trace/trace.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* As far as the headers lead. */
static void seal(uint8_t *bytes, size_t size) {
    for (size_t at = SMT_TRACE_START; at + SMT_TRACE_HEADER <= size;) {
        uint8_t *header = bytes + at;
        uint64_t stored = smt_trace_get_number(header + 8, 4);
        at += SMT_TRACE_HEADER;
        if (stored > size - at) stored = size - at;
        smt_trace_put(header + 16, XXH3_64bits(bytes + at, stored), 8);
        smt_trace_put(header + 24, XXH3_64bits(header, 24), 8);
        at += stored;
    }
}

static void read_all(smt_trace *trace) {
    const smt_trace_model *model = smt_trace_get_model(trace);
    smt_routing_stats *stats = NULL;
    smt_error err = {0};
    if ((uint64_t)model->n_moe * model->n_experts < 1u << 16 && smt_routing_stats_create(model, true, &stats, &err) != SMT_OK)
        abort();
    for (uint64_t i = 0; i < smt_trace_count(trace); i++) {
        const smt_trace_token *token;
        if (smt_trace_get(trace, i, &token, &err) != SMT_OK) continue;
        if (token->text && strlen(token->text) > token->text_bytes) abort();
        if (stats && smt_routing_stats_add(stats, token, &err) != SMT_OK) abort();
    }
    for (uint32_t l = 0; stats && l < model->n_moe; l++)
        if (!(smt_routing_stats_layer(stats, l)->busiest >= 1)) abort();
    smt_routing_stats_free(stats);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_error err = {0};
    smt_trace *trace;
    uint8_t *bytes = malloc(size ? size : 1);
    if (!bytes) return 0;
    memcpy(bytes, data, size);
    for (int sealed = 0; sealed < 2; sealed++) {
        if (smt_trace_parse(bytes, size, "fuzz", &trace, &err) == SMT_OK) {
            read_all(trace);
            smt_trace_free(trace);
        }
        seal(bytes, size);
    }
    free(bytes);
    return 0;
}
