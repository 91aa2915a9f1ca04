/* run_hop.c: the host between two submissions: it waits for one device and brings what that has computed to another one.
 *
 *   device a: ... copy to HOP_OUT | host: wait for a, copy mapped to mapped | device b: copy from HOP_IN ...
 *
 * Or it waits for a device and reads what that wants of it: experts that stay in the file.
 *
 * Nothing is shared between the devices but the host's clock and memory, so any two can work together. What was brought in the step before,
 * device b has read: smt_run_submit waits before a step's first work for it. */
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

static smt_status hop(smt_run *run, const smt_graph *graph, const smt_node *node, smt_error *err) {
    smt_run_part *from = &run->parts[graph->values[node->buffers[0]].device], *to = &run->parts[node->device];
    const smt_vk_range out = smt_run_value_range(run, graph, node->buffers[0]),
                       in = smt_run_value_range(run, graph, node->buffers[1]);
    uint8_t *target = (uint8_t *)smt_vk_buffer_map(in.buffer) + in.offset;
    if (to->idle) return SMT_OK;
    SMT_TRY(smt_run_wait(run, from, UINT64_MAX, err));
    double start = smt_os_seconds();
    SMT_TRY(smt_vk_buffer_invalidate(from->on->vk, out.buffer, out.offset, node->copy_bytes, err));
    if (from->idle)
        memset(target, 0, node->copy_bytes);
    else
        memcpy(target, (const uint8_t *)smt_vk_buffer_map(out.buffer) + out.offset, node->copy_bytes);
    SMT_TRY(smt_vk_buffer_flush(to->on->vk, in.buffer, in.offset, node->copy_bytes, err));
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
    smt_run_part *part = &run->parts[node->device];
    const smt_vk_range captures = smt_run_value_range(run, graph, node->buffers[0]);
    uint32_t n = run->n_rows;
    uint64_t at = captures.offset + node->copy_to;
    SMT_TRY(smt_run_wait(run, part, UINT64_MAX, err));
    SMT_TRY(smt_vk_buffer_invalidate(part->on->vk, captures.buffer, at, 4ull * n * run->model->model->n_used, err));
    const uint8_t *ids = (const uint8_t *)smt_vk_buffer_map(captures.buffer) + at;
    return smt_run_resident_fetch(run, part, node->layer, (const uint32_t *)(const void *)ids, n, err);
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
