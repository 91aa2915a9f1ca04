/* graph_segment.c: cuts the node list into segments, so that no submission runs much longer than desktop watchdogs and a cancelling user
 * like. The bound is estimated work: multiply-adds a device of that kind does in roughly a tenth of a second.
 *
 * Segments of one step on unlike devices were tried with lavapipe and SwiftShader in one process, 100 hops through host memory, each device
 * with its own timeline semaphore: submit-after-wait takes 78 to 83 us a hop, segments submitted ahead with the host forwarding one timeline
 * to the other 78 to 87 us, where 100 segments on a single device take 68 to 82 us each. So a hop costs next to nothing on these drivers, and
 * one forwarding thread is enough (one per device made validation layer 1.3.239 stall). */
#include "graph/graph_internal.h"

#define SEGMENT_WORK_CPU 2e9
#define SEGMENT_WORK_GPU 5e10

smt_status smt_graph_cut(smt_graph *graph, const smt_caps *caps, smt_error *err) {
    double limit = caps->kind == SMT_KIND_CPU ? SEGMENT_WORK_CPU : SEGMENT_WORK_GPU, sum = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < graph->n_nodes; i++) {
        sum += graph->nodes[i].work;
        bool last = i + 1 == graph->n_nodes;
        if (!last && sum + graph->nodes[i + 1].work <= limit) continue;
        SMT_TRY(smt_grow((void **)&graph->segments, &graph->segments_capacity, graph->n_segments + 1, sizeof(smt_segment), err));
        graph->segments[graph->n_segments++] = (smt_segment){.first = first, .last = i + 1};
        first = i + 1;
        sum = 0;
    }
    return SMT_OK;
}
