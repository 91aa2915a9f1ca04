/* run_name.c: what a submission is, in words. A driver that gives up says nothing, so the name of the last submission is all that a message
 * about a lost device can tell: which step, which part of it, which nodes of which layers. */
#include "run/run.h"

#include <stdio.h>

/* `layer 3 "attend"`, or `"embed"` outside of the layers. */
static void name_node(const smt_node *node, char *text, size_t capacity) {
    if (node->layer == UINT32_MAX)
        snprintf(text, capacity, "\"%s\"", node->label);
    else
        snprintf(text, capacity, "layer %u \"%s\"", node->layer, node->label);
}

void smt_run_segment_name(const smt_graph *graph, size_t index, char *text, size_t capacity) {
    const smt_segment *s = &graph->segments[index];
    const smt_graph_shape *shape = &graph->shape;
    char first[80], last[80];
    name_node(&graph->nodes[s->first], first, sizeof first);
    name_node(&graph->nodes[s->last - 1], last, sizeof last);
    int used = snprintf(text, capacity, "step of %u row%s%s, part %zu of %zu: %s", shape->rows, shape->rows == 1 ? "" : "s",
                        shape->sample ? " and a draw" : "", index + 1, graph->n_segments, first);
    if (used < 0 || (size_t)used >= capacity) return;
    if (s->to)
        snprintf(text + used, capacity - (size_t)used, ", workgroups %u to %u", s->from, s->to - 1);
    else if (s->last - s->first > 1)
        snprintf(text + used, capacity - (size_t)used, " to %s", last);
}
