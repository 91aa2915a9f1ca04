/* graph_alloc.c: an offset for every scratch value of a device. Values whose node ranges (whole stages) overlap get disjoint bytes; others share. First
 * fit in the order of first use, which is deterministic and near the peak of what lives at once. */
#include "graph/graph_internal.h"

static bool overlap(const smt_value *a, const smt_value *b) {
    return a->first_node <= b->last_node && b->first_node <= a->last_node;
}

/* `placed` is in ascending order of offsets, and stays so. */
static void insert(const smt_value **placed, size_t n, const smt_value *value) {
    size_t at = n;
    for (; at > 0 && placed[at - 1]->offset > value->offset; at--) placed[at] = placed[at - 1];
    placed[at] = value;
}

/* Lowest offset at which `value` collides with none of the `n` placed values that live at the same time. */
static uint64_t first_fit(const smt_value *value, const smt_value **placed, size_t n, uint32_t align) {
    uint64_t offset = 0;
    for (size_t i = 0; i < n; i++) {
        if (!overlap(value, placed[i])) continue;
        if (offset + value->bytes <= placed[i]->offset) break;
        uint64_t end = smt_align_up(placed[i]->offset + placed[i]->bytes, align);
        if (end > offset) offset = end;
    }
    return offset;
}

smt_status smt_graph_alloc(smt_graph *graph, uint32_t device, uint32_t align, uint64_t window_limit, smt_error *err) {
    uint64_t *scratch_bytes = &graph->parts[device].scratch_bytes;
    const smt_value **placed = smt_alloc(graph->n_values, sizeof *placed);
    if (!placed) return SMT_FAIL(err, SMT_MEMORY, "out of memory laying out %zu values", graph->n_values);
    size_t n = 0;
    smt_status status = SMT_OK;
    for (size_t i = 0; i < graph->n_values && status == SMT_OK; i++) {
        smt_value *value = &graph->values[i];
        if (value->kind != SMT_VALUE_SCRATCH || value->device != device) continue;
        if (value->bytes > window_limit)
            status = SMT_FAIL(
                err, SMT_UNSUPPORTED,
                "%u rows at once need %llu bytes for one activation of layer %u, this device binds %llu: use a smaller batch",
                graph->shape.rows, (unsigned long long)value->bytes, value->layer, (unsigned long long)window_limit);
        if (value->first_node == UINT32_MAX) continue;
        value->offset = first_fit(value, placed, n, align);
        insert(placed, n++, value);
        if (value->offset + value->bytes > *scratch_bytes) *scratch_bytes = value->offset + value->bytes;
    }
    smt_free(placed);
    return status;
}
