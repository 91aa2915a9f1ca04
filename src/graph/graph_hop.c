/* graph_hop.c: an activation goes to another device.
 *
 *   device a: scratch -> HOP_OUT | host: HOP_OUT -> HOP_IN | device b: HOP_IN -> scratch
 *
 * Both ends are memory that the host sees, so the way works between any two devices. Kernels of b read their scratch: host memory may be far
 * away, and is read once. Hops of one device lie side by side, so that the host may fill one while another is still being read. */
#include "graph/graph_internal.h"

/* One end, behind those that the device has already. */
static uint32_t make_end(smt_builder *b, smt_value_kind kind, uint64_t bytes, uint64_t *range) {
    uint32_t value = smt_build_value(b, kind, b->layer, bytes);
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    b->graph->values[value].offset = *range;
    *range += b->graph->values[value].bytes;
    return value;
}

uint32_t smt_build_hop(smt_builder *b, uint32_t device, uint32_t x, uint32_t n) {
    uint32_t rows = b->graph->shape.rows;
    uint64_t bytes = 4ull * rows * smt_stride(n);
    uint32_t from = make_end(b, SMT_VALUE_HOP_OUT, bytes, &b->graph->parts[b->device].hop_out);
    smt_build_copy(b, x, from, 0, bytes, "hop out");
    smt_build_enter(b, device);
    uint32_t to = make_end(b, SMT_VALUE_HOP_IN, bytes, &b->graph->parts[device].hop_in), y = smt_build_scratch(b, rows, n);
    smt_build_node(b, &(smt_node){.host = SMT_HOST_HOP,
                                  .copy_bytes = bytes,
                                  .buffers = {from, to},
                                  .n_buffers = 2,
                                  .writes = 1 << 1,
                                  .indirect = SMT_NO_VALUE,
                                  .layer = b->layer,
                                  .label = "hop"});
    smt_build_copy(b, to, y, 0, bytes, "hop in");
    return y;
}
