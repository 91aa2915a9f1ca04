/* graph_hazard.c: where barriers stand, and how many dependent stages that makes.
 *
 * A barrier is due when something touched since the last one overlaps and either side writes. Two nodes that write different parts of
 * one result therefore write two values. A stage is a run of nodes with no barrier between them: the device may run them side by side.
 * Segments, which may be cut anew, add barriers at their borders and take none away.
 *
 * The search goes by values, before they have offsets. Scratch then lives for whole stages, so that bytes which change hands do so across a
 * barrier that stands anyway. */
#include "graph/graph_internal.h"

static bool conflict(const smt_graph_access *a, const smt_graph_access *b) {
    return (a->write || b->write) && a->space == b->space && a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

smt_status smt_graph_hazard_step(smt_graph_hazards *hazards, const smt_graph_access *accesses, size_t n, bool *out_barrier,
                                 smt_error *err) {
    *out_barrier = false;
    for (size_t i = 0; i < n && !*out_barrier; i++)
        for (size_t j = 0; j < hazards->n && !*out_barrier; j++) *out_barrier = conflict(&accesses[i], &hazards->seen[j]);
    if (*out_barrier) hazards->n = 0;
    SMT_TRY(smt_grow((void **)&hazards->seen, &hazards->capacity, hazards->n + n, sizeof *hazards->seen, err));
    for (size_t i = 0; i < n; i++) hazards->seen[hazards->n++] = accesses[i];
    return SMT_OK;
}

void smt_graph_hazards_free(smt_graph_hazards *hazards) {
    smt_free(hazards->seen);
    *hazards = (smt_graph_hazards){0};
}

#define MAX_ACCESSES (SMT_COUNT(((smt_node *)0)->buffers) + 2)

/* Spaces: each value is one, and the cache of each layer. */
static size_t node_accesses(const smt_graph *graph, const smt_node *node, smt_graph_access out[MAX_ACCESSES]) {
    size_t n = 0;
    for (uint32_t i = 0; i <= node->n_buffers; i++) {
        uint32_t id = i < node->n_buffers ? node->buffers[i] : node->indirect;
        if (id == SMT_NO_VALUE) continue;
        bool write = i < node->n_buffers && (node->writes >> i & 1);
        out[n++] =
            (smt_graph_access){.space = id, .bytes = graph->values[id].bytes ? graph->values[id].bytes : 1, .write = write};
        if (node->copy && i == 1) { /* copies to different parts of the capture value do not meet */
            out[n - 1].offset = node->copy_to;
            out[n - 1].bytes = node->copy_bytes;
        }
    }
    if (node->windows == SMT_WINDOWS_CACHE)
        out[n++] = (smt_graph_access){.space = UINT32_MAX - node->layer, .bytes = 1, .write = node->writes_windows};
    return n;
}

static void widen_lifetimes(smt_graph *graph) {
    for (size_t i = 0; i < graph->n_values; i++) {
        smt_value *v = &graph->values[i];
        if (v->kind != SMT_VALUE_SCRATCH || v->first_node == UINT32_MAX) continue;
        while (!graph->nodes[v->first_node].begins_stage) v->first_node--;
        while (v->last_node + 1 < graph->n_nodes && !graph->nodes[v->last_node + 1].begins_stage) v->last_node++;
    }
}

smt_status smt_graph_find_stages(smt_graph *graph, smt_error *err) {
    smt_graph_hazards hazards = {0};
    smt_status status = SMT_OK;
    for (size_t i = 0; i < graph->n_nodes && status == SMT_OK; i++) {
        smt_graph_access accesses[MAX_ACCESSES];
        bool barrier;
        size_t n = node_accesses(graph, &graph->nodes[i], accesses);
        status = smt_graph_hazard_step(&hazards, accesses, n, &barrier, err);
        graph->nodes[i].begins_stage = barrier || i == 0;
    }
    smt_graph_hazards_free(&hazards);
    if (status == SMT_OK) widen_lifetimes(graph);
    return status;
}

static void count(const smt_node *node, smt_graph_effort *effort) {
    if (node->host) return;
    effort->dispatches += !node->copy;
    effort->stages += node->begins_stage;
}

smt_graph_effort smt_graph_stages(const smt_graph *graph) {
    smt_graph_effort effort = {0};
    for (size_t i = 0; i < graph->n_nodes; i++) count(&graph->nodes[i], &effort);
    return effort;
}

smt_graph_effort smt_graph_device_stages(const smt_graph *graph, uint32_t device) {
    smt_graph_effort effort = {0};
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i].device == device) count(&graph->nodes[i], &effort);
    return effort;
}

smt_graph_effort smt_graph_layer_stages(const smt_graph *graph, uint32_t layer) {
    smt_graph_effort effort = {0};
    for (size_t i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i].layer == layer) count(&graph->nodes[i], &effort);
    return effort;
}
