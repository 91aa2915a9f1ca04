/* graph_segment.c: cuts the node list into segments, so that no submission runs longer than desktop watchdogs and a cancelling user like. The
 * bound is work: multiply-adds, which the runner derives from how long submissions took. A segment is of one device, and ends where the host
 * has something to do. A node that alone is beyond it is divided along the
 * longest axis of its grid: workgroups know nothing of each other, so the bits stay the same.
 *
 * Segments of one step on unlike devices were tried with lavapipe and SwiftShader in one process, 100 hops through host memory, each device
 * with its own timeline semaphore: submit-after-wait takes 78 to 83 us a hop, segments submitted ahead with the host forwarding one timeline
 * to the other 78 to 87 us, where 100 segments on a single device take 68 to 82 us each. So a hop costs next to nothing on these drivers, and
 * one forwarding thread is enough (one per device made validation layer 1.3.239 stall). */
#include "graph/graph_internal.h"

#define SLOWEST_CPU 2e9
#define SLOWEST_GPU 2e11
#define NODE_LEAST  1e4 /* what a node counts at least: starting it takes time too */

double smt_graph_slowest(const smt_caps *caps) { return caps->kind == SMT_KIND_CPU ? SLOWEST_CPU : SLOWEST_GPU; }

static double node_work(const smt_node *node) { return node->work > NODE_LEAST ? node->work : NODE_LEAST; }

static smt_status add(smt_graph *graph, const smt_segment *segment, smt_error *err) {
    SMT_TRY(smt_grow((void **)&graph->segments, &graph->segments_capacity, graph->n_segments + 1, sizeof *segment, err));
    graph->segments[graph->n_segments++] = *segment;
    return SMT_OK;
}

static bool reads_peer(const smt_graph *graph, const smt_node *node) {
    return node->copy && graph->values[node->buffers[0]].kind == SMT_VALUE_HOP_PEER;
}

/* One node in as many parts as its work is over the bound, or as there are workgroups along its longest axis. */
static smt_status divide(smt_graph *graph, uint32_t i, double most, smt_error *err) {
    const smt_node *node = &graph->nodes[i];
    uint32_t axis = 0;
    for (uint32_t a = 1; a < 3; a++)
        if (node->groups[a] > node->groups[axis]) axis = a;
    uint32_t n = node->groups[axis], per_part = smt_max_u32((uint32_t)(n * (most / node->work)), 1);
    for (uint32_t from = 0; from < n; from += per_part) {
        uint32_t to = smt_min_u32(from + per_part, n);
        const smt_segment part = {.device = node->device,
                                  .first = i,
                                  .last = i + 1,
                                  .axis = axis,
                                  .from = from,
                                  .to = to,
                                  .work = node->work * (to - from) / n};
        SMT_TRY(add(graph, &part, err));
    }
    return SMT_OK;
}

smt_status smt_graph_cut(smt_graph *graph, const double *most, smt_error *err) {
    smt_segment open = {0};
    graph->n_segments = 0;
    for (uint32_t i = 0; i < graph->n_nodes; i++) {
        const smt_node *node = &graph->nodes[i];
        double limit = most[node->device];
        bool divisible = !node->copy && !node->host && node->work > limit, alone = divisible || node->host;
        bool ended = open.last > open.first && graph->nodes[open.last - 1].ends_segment;
        if (open.last > open.first && (alone || ended || node->device != open.device || open.work + node_work(node) > limit)) {
            SMT_TRY(add(graph, &open, err));
            open.first = open.last;
        }
        if (open.first == open.last) open = (smt_segment){.device = node->device, .first = i, .last = i};
        if (divisible) {
            SMT_TRY(divide(graph, i, limit, err));
        } else if (node->host) {
            SMT_TRY(add(graph, &(smt_segment){.device = node->device, .host = true, .first = i, .last = i + 1}, err));
        } else {
            open.last = i + 1;
            open.reads_peer |= reads_peer(graph, node);
            open.work += node_work(node);
        }
    }
    return open.last > open.first ? add(graph, &open, err) : SMT_OK;
}
