/* run_hop.c: the host between two submissions: it waits for one device and brings what that has computed to another one.
 *
 *   device a: ... copy to HOP_OUT | host: wait for a, copy mapped to mapped | device b: copy from HOP_IN ...
 *   device a: ... copy to HOP_OUT | host: wait for a                        | device b: copy from HOP_OUT, whose memory it has too ...
 *
 * Or it waits for a device and reads what that, or another one, wants then: experts that stay in the file.
 *
 * The first way works between any two devices. What was brought in the step before, device b has read: smt_run_submit waits before a step's
 * first work for it. On the second way it waits besides, before a step's first work for a, until b has read. */
#include "run/run.h"

#include <string.h>

uint32_t smt_run_part_of(const smt_run *run, uint32_t layer) {
    uint32_t i = 0;
    while (!run->parts[i].on->items.range.head && layer >= run->parts[i].on->items.range.last) i++;
    return i;
}

uint32_t smt_run_part_of_expert(const smt_run *run, uint32_t layer, uint32_t expert) {
    uint32_t i = 0;
    if (!run->parts[0].on->items.range.shares_experts) return smt_run_part_of(run, layer);
    while (i + 1 < run->n_parts && expert >= run->parts[i].on->items.range.end_expert) i++;
    return i;
}

smt_status smt_run_borrow(smt_run *run, const smt_graph *graph, smt_error *err) {
    for (size_t i = 0; i < graph->n_values; i++) {
        const smt_value *v = &graph->values[i];
        if (v->kind != SMT_VALUE_HOP_PEER) continue;
        smt_run_part *to = &run->parts[v->device];
        const smt_run_part *from = &run->parts[v->peer];
        if (!to->peers[v->peer])
            SMT_TRY(smt_vk_buffer_import(to->on->vk, from->on->vk, from->buffers[from->plan.hop_out.buffer], "hop",
                                         &to->peers[v->peer], err));
    }
    return SMT_OK;
}

/* Zeros from a device that sits out. */
static smt_status clear(const smt_run_part *part, const smt_vk_range *range, uint64_t bytes, smt_error *err) {
    memset((uint8_t *)smt_vk_buffer_map(range->buffer) + range->offset, 0, bytes);
    return smt_vk_buffer_flush(part->on->vk, range->buffer, range->offset, bytes, err);
}

static smt_status carry(const smt_run_part *from, const smt_vk_range *out, const smt_run_part *to, const smt_vk_range *in,
                        uint64_t bytes, smt_error *err) {
    SMT_TRY(smt_vk_buffer_invalidate(from->on->vk, out->buffer, out->offset, bytes, err));
    memcpy((uint8_t *)smt_vk_buffer_map(in->buffer) + in->offset, (const uint8_t *)smt_vk_buffer_map(out->buffer) + out->offset,
           bytes);
    return smt_vk_buffer_flush(to->on->vk, in->buffer, in->offset, bytes, err);
}

static smt_status hop(smt_run *run, const smt_graph *graph, const smt_node *node, smt_error *err) {
    smt_run_part *from = &run->parts[graph->values[node->buffers[0]].device], *to = &run->parts[node->device];
    const smt_vk_range out = smt_run_value_range(run, graph, node->buffers[0]),
                       in = smt_run_value_range(run, graph, node->buffers[1]);
    bool lent = graph->values[node->buffers[1]].kind == SMT_VALUE_HOP_PEER;
    if (to->idle) return SMT_OK;
    SMT_TRY(smt_run_wait(run, from, UINT64_MAX, err));
    double start = smt_os_seconds();
    if (from->idle)
        SMT_TRY(lent ? clear(from, &out, node->copy_bytes, err) : clear(to, &in, node->copy_bytes, err));
    else if (!lent)
        SMT_TRY(carry(from, &out, to, &in, node->copy_bytes, err));
    to->spent.hop_s += smt_os_seconds() - start;
    to->spent.hop_bytes += from->idle ? 0 : node->copy_bytes;
    return SMT_OK;
}

static smt_status look_at_choice(smt_run *run, const smt_graph *graph, const smt_node *node, smt_error *err) {
    smt_run_part *from = &run->parts[graph->values[node->buffers[0]].device], *to = &run->parts[node->device];
    const smt_items_range *range = &to->on->items.range;
    const smt_vk_range ids = smt_run_value_range(run, graph, node->buffers[0]);
    uint32_t n = run->n_rows * run->model->model->n_used;
    SMT_TRY(smt_run_wait(run, from, UINT64_MAX, err));
    SMT_TRY(smt_vk_buffer_invalidate(from->on->vk, ids.buffer, ids.offset, 4ull * n, err));
    const uint32_t *chosen = (const uint32_t *)((const uint8_t *)smt_vk_buffer_map(ids.buffer) + ids.offset);
    to->idle = true;
    for (uint32_t i = 0; i < n && to->idle; i++) to->idle = chosen[i] < range->first_expert || chosen[i] >= range->end_expert;
    return SMT_OK;
}

static smt_status fetch(smt_run *run, const smt_graph *graph, const smt_node *node, smt_error *err) {
    smt_run_part *from = &run->parts[graph->values[node->buffers[0]].device], *to = &run->parts[node->device];
    const smt_vk_range chosen = smt_run_value_range(run, graph, node->buffers[0]);
    uint32_t n = run->n_rows;
    uint64_t at = chosen.offset + node->copy_to;
    if (to->idle) return SMT_OK;
    SMT_TRY(smt_run_wait(run, from, UINT64_MAX, err));
    SMT_TRY(smt_run_wait(run, to, UINT64_MAX, err));
    SMT_TRY(smt_vk_buffer_invalidate(from->on->vk, chosen.buffer, at, 4ull * n * run->model->model->n_used, err));
    const uint8_t *ids = (const uint8_t *)smt_vk_buffer_map(chosen.buffer) + at;
    return smt_run_resident_fetch(run, to, node->layer, (const uint32_t *)(const void *)ids, n, err);
}

smt_status smt_run_act(smt_run *run, const smt_graph *graph, const smt_node *node, smt_error *err) {
    switch (node->host) {
    case SMT_HOST_HOP:
        return hop(run, graph, node, err);
    case SMT_HOST_CHOICE:
        return look_at_choice(run, graph, node, err);
    case SMT_HOST_EXPERTS:
        return fetch(run, graph, node, err);
    case SMT_HOST_NONE:
        break;
    }
    return SMT_FAIL(err, SMT_INTERNAL, "\"%s\" is no work for the host", node->label);
}
