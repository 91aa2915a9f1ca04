/* graph_hop.c: an activation goes to another device.
 *
 *   device a: scratch -> HOP_OUT | host: HOP_OUT -> HOP_IN | device b: HOP_IN -> scratch     between any two devices
 *   device a: scratch -> HOP_OUT | host: waits             | device b: HOP_PEER -> scratch   where both can have the memory
 *
 * Both ends of the first way are memory that the host sees. Kernels of b read their scratch: host memory may be far
 * away, and is read once. Hops of one device lie side by side, so that the host may fill one while another is still being read.
 *
 * On the second way a must not send again before b has read. Where steps overlap, b's read is a submission of its own, so that a need not
 * wait for more. */
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

/* The sender's end, as the current device sees it. */
static uint32_t make_peer(smt_builder *b, const smt_value *sent) {
    uint32_t value = smt_build_value(b, SMT_VALUE_HOP_PEER, b->layer, sent->bytes);
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    b->graph->values[value].peer = sent->device;
    b->graph->values[value].offset = sent->offset;
    b->graph->parts[sent->device].lends = true;
    return value;
}

uint32_t smt_build_receive(smt_builder *b, uint32_t from) {
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    const smt_value sent = b->graph->values[from];
    bool shared = smt_caps_share_memory(b->caps, b->devices[sent.device].caps);
    uint32_t to = shared ? make_peer(b, &sent) : make_end(b, SMT_VALUE_HOP_IN, sent.bytes);
    smt_build_node(b, &(smt_node){.host = SMT_HOST_HOP,
                                  .copy_bytes = sent.bytes,
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
    if (b->status == SMT_OK && rows > 1)
        b->graph->nodes[b->graph->n_nodes - 1].ends_segment = b->graph->values[to].kind == SMT_VALUE_HOP_PEER;
    return y;
}
