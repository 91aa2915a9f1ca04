/* graph_hop.c: an activation goes to another device.
 *
 *   device a: scratch -> HOP_OUT | host: HOP_OUT -> HOP_IN | device b: HOP_IN -> scratch
 *
 * Both ends are memory that the host sees, so the way works between any two devices. Kernels of b read their scratch: host memory may be far
 * away, and is read once. Hops of one device lie side by side, so that the host may fill one while another is still being read. */
#include "graph/graph_internal.h"

/* One end, behind those that the device has already. */
static uint32_t make_end(smt_builder *b, smt_value_kind kind, uint64_t bytes) {
    smt_graph_part *part = &b->graph->parts[b->device];
    uint64_t *at = kind == SMT_VALUE_HOP_OUT ? &b->out_at[b->device] : &b->in_at[b->device];
    uint64_t *range = kind == SMT_VALUE_HOP_OUT ? &part->hop_out : &part->hop_in;
    uint32_t value = smt_build_value(b, kind, b->layer, bytes);
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    b->graph->values[value].offset = *at;
    *at += b->graph->values[value].bytes;
    if (*at > *range) *range = *at;
    return value;
}

uint32_t smt_build_send(smt_builder *b, uint32_t x, uint64_t bytes) {
    uint32_t from = make_end(b, SMT_VALUE_HOP_OUT, bytes);
    smt_build_copy(b, x, from, 0, bytes, "hop out");
    return from;
}

uint32_t smt_build_receive(smt_builder *b, uint32_t from) {
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    uint64_t bytes = b->graph->values[from].bytes;
    uint32_t to = make_end(b, SMT_VALUE_HOP_IN, bytes);
    smt_build_node(b, &(smt_node){.host = SMT_HOST_HOP,
                                  .copy_bytes = bytes,
                                  .buffers = {from, to},
                                  .n_buffers = 2,
                                  .writes = 1 << 1,
                                  .indirect = SMT_NO_VALUE,
                                  .layer = b->layer,
                                  .label = "hop"});
    return to;
}

void smt_build_reuse_hops(smt_builder *b) {
    for (uint32_t i = 0; i < b->graph->n_parts; i++) b->out_at[i] = b->in_at[i] = 0;
}

uint32_t smt_build_hop(smt_builder *b, uint32_t device, uint32_t x, uint32_t n) {
    uint32_t rows = b->graph->shape.rows;
    uint64_t bytes = 4ull * rows * smt_stride(n);
    uint32_t from = smt_build_send(b, x, bytes);
    smt_build_enter(b, device);
    uint32_t to = smt_build_receive(b, from), y = smt_build_scratch(b, rows, n);
    smt_build_copy(b, to, y, 0, bytes, "hop in");
    return y;
}
