/* run_record.c: a graph and its places become command buffers, one per segment, kept for as long as the runner lives. What the host does
 * between two of them is a segment without one. */
#include "run/run.h"

#include <string.h>

/* Where a value lies. Weights and tables belong to the model, the rest to the runner. */
smt_vk_range smt_run_value_range(const smt_run *run, const smt_graph *graph, uint32_t id) {
    const smt_value *v = &graph->values[id];
    const smt_run_part *part = &run->parts[v->device];
    const smt_plan_weights *weights = &part->on->plan;
    const smt_plan_runner *own = &part->plan;
    smt_plan_place place = {0};
    smt_vk_buffer **buffers = part->buffers;
    switch (v->kind) {
    case SMT_VALUE_SCRATCH:
        return (smt_vk_range){buffers[own->scratch.buffer], own->scratch.offset + v->offset, v->bytes};
    case SMT_VALUE_STEP:
        place = own->step;
        break;
    case SMT_VALUE_ROPE:
        place = own->rope;
        break;
    case SMT_VALUE_BLOCKS:
        place = own->blocks;
        break;
    case SMT_VALUE_COUNTER:
        place = own->counter;
        break;
    case SMT_VALUE_LOGITS:
        place = own->logits;
        break;
    case SMT_VALUE_CAPTURE:
        place = own->capture;
        place.offset += smt_graph_capture_turn(run->model->model, graph->shape.rows, graph->shape.turn);
        place.bytes = v->bytes;
        break;
    case SMT_VALUE_RING:
        place = own->ring;
        break;
    case SMT_VALUE_HOP_OUT:
        return (smt_vk_range){buffers[own->hop_out.buffer], own->hop_out.offset + v->offset, v->bytes};
    case SMT_VALUE_HOP_IN:
        return (smt_vk_range){buffers[own->hop_in.buffer], own->hop_in.offset + v->offset, v->bytes};
    case SMT_VALUE_HOP_PEER:
        return (smt_vk_range){part->peers[v->peer], run->parts[v->peer].plan.hop_out.offset + v->offset, v->bytes};
    case SMT_VALUE_EXPERTS:
        place = weights->tables[v->layer];
        buffers = part->on->weights.buffers;
        break;
    case SMT_VALUE_CODEBOOKS:
        place = weights->codebooks;
        buffers = part->on->weights.buffers;
        break;
    case SMT_VALUE_WEIGHT:
        place = weights->items[v->layer];
        buffers = part->on->weights.buffers;
        break;
    }
    return (smt_vk_range){buffers[place.buffer], place.offset, place.bytes};
}

static smt_vk_range place_range(smt_vk_buffer *const *buffers, const smt_plan_place *place) {
    return (smt_vk_range){buffers[place->buffer], place->offset, place->bytes};
}

static uint32_t node_windows(const smt_run *run, const smt_graph *graph, const smt_node *node,
                             smt_vk_range out[SMT_MAX_WINDOWS]) {
    const smt_run_part *part = &run->parts[node->device];
    const smt_run_device *on = part->on;
    uint32_t n = 0;
    switch (node->windows) {
    case SMT_WINDOWS_NONE:
        break;
    case SMT_WINDOWS_ITEMS:
        for (uint32_t i = 0; i < 2; i++)
            if (node->items[i] != SMT_NO_VALUE) out[n++] = place_range(on->weights.buffers, &on->plan.items[node->items[i]]);
        break;
    case SMT_WINDOWS_EXPERTS:
        for (; n < on->items.layers[node->layer].n_windows; n++)
            out[n] = place_range(on->weights.buffers, &on->plan.windows[node->layer * SMT_MAX_WINDOWS + n]);
        break;
    case SMT_WINDOWS_CACHE:
        for (uint32_t n_windows = graph->parts[node->device].n_cache_windows; n < n_windows; n++)
            out[n] = place_range(part->buffers, &part->plan.cache[(node->layer - on->items.range.first) * n_windows + n]);
        break;
    }
    return n;
}

/* With what it takes that another device reads what this one writes. */
static void record_copy(const smt_graph *graph, const smt_node *node, const smt_vk_range *buffers, smt_vk_recording *recording) {
    bool enters = graph->values[node->buffers[0]].kind == SMT_VALUE_HOP_PEER,
         leaves = graph->values[node->buffers[1]].kind == SMT_VALUE_HOP_OUT && graph->parts[node->device].lends;
    if (enters) smt_vk_record_acquire(recording, &buffers[0]);
    smt_vk_record_copy(recording, &buffers[0], &buffers[1]);
    if (leaves) smt_vk_record_release(recording, &buffers[1]);
}

/* The whole node, or the part of it that the segment holds. */
static smt_status record_node(const smt_run *run, const smt_graph *graph, const smt_node *node, const smt_segment *segment,
                              smt_vk_recording *recording, smt_error *err) {
    smt_vk_range buffers[SMT_VK_MAX_BUFFERS] = {0}, windows[SMT_MAX_WINDOWS];
    for (uint32_t i = 0; i < node->n_buffers; i++)
        if (node->buffers[i] != SMT_NO_VALUE) buffers[i] = smt_run_value_range(run, graph, node->buffers[i]);
    if (node->copy) {
        buffers[0].bytes = node->copy_bytes;
        buffers[1].offset += node->copy_to;
        buffers[1].bytes = node->copy_bytes;
        record_copy(graph, node, buffers, recording);
        return SMT_OK;
    }
    const smt_run_device *on = run->parts[node->device].on;
    smt_os_mutex_lock(run->model->lock); /* another runner may be adding kernels */
    const smt_vk_kernel *kernel = smt_run_kernel_find(on, &node->key);
    smt_os_mutex_unlock(run->model->lock);
    if (!kernel) return SMT_FAIL(err, SMT_INTERNAL, "layer %u: the kernel of \"%s\" was not compiled", node->layer, node->label);
    smt_kernel_spec spec;
    smt_kernel_describe(smt_vk_device_caps(on->vk), &node->key, &spec);
    smt_vk_dispatch dispatch = {.kernel = kernel,
                                .windows = windows,
                                .n_windows = node_windows(run, graph, node, windows),
                                .buffers = buffers,
                                .n_buffers = node->n_buffers,
                                .push = &node->push,
                                .push_bytes = spec.push_bytes,
                                .groups = {node->groups[0], node->groups[1], node->groups[2]}};
    if (segment->to) {
        dispatch.base[segment->axis] = segment->from;
        dispatch.groups[segment->axis] = segment->to - segment->from;
    } else if (node->indirect != SMT_NO_VALUE) {
        dispatch.indirect = smt_run_value_range(run, graph, node->indirect);
        dispatch.indirect.offset += 4ull * node->indirect_word;
        dispatch.indirect.bytes = 12;
    }
    return smt_vk_record_dispatch(recording, &dispatch, err);
}

smt_status smt_run_record_nodes(const smt_run *run, const smt_graph *graph, const smt_segment *nodes, smt_vk_recording *recording,
                                smt_error *err) {
    for (uint32_t i = nodes->first; i < nodes->last; i++) {
        if (graph->nodes[i].begins_stage && i > nodes->first) smt_vk_record_barrier(recording);
        SMT_TRY(record_node(run, graph, &graph->nodes[i], nodes, recording, err));
    }
    return SMT_OK;
}

static smt_status record_segment(const smt_run *run, const smt_graph *graph, size_t index, smt_vk_recording **out,
                                 smt_error *err) {
    const smt_segment *segment = &graph->segments[index];
    smt_vk_device *device = run->parts[segment->device].on->vk;
    char name[200];
    *out = NULL;
    if (segment->host) return SMT_OK;
    smt_run_segment_name(graph, index, name, sizeof name);
    SMT_TRY(smt_vk_recording_begin(device, name, out, err));
    smt_status status = smt_run_record_nodes(run, graph, segment, *out, err);
    if (status == SMT_OK) status = smt_vk_recording_end(*out, err);
    if (status != SMT_OK) {
        smt_vk_recording_destroy(device, *out);
        *out = NULL;
    }
    return status;
}

/* Before the graph is cut anew: its segments say whose the recordings are. */
static void free_segments(const smt_run *run, smt_run_plan_entry *entry) {
    for (size_t i = 0; i < entry->n_segments; i++)
        smt_vk_recording_destroy(run->parts[entry->graph->segments[i].device].on->vk, entry->segments[i]);
    smt_free(entry->segments);
    entry->segments = NULL;
    entry->n_segments = 0;
}

static void free_entry(const smt_run *run, smt_run_plan_entry *entry) {
    free_segments(run, entry);
    smt_graph_free(entry->graph);
    smt_free(entry);
}

/* Cuts the graph as the pace of each device wants it and records the segments. */
static smt_status record_segments(smt_run *run, smt_run_plan_entry *entry, smt_error *err) {
    smt_graph *graph = entry->graph;
    free_segments(run, entry);
    for (uint32_t i = 0; i < run->n_parts; i++) entry->most[i] = run->parts[i].pace.most[graph->shape.rows > 1];
    SMT_TRY(smt_graph_cut(graph, entry->most, err));
    entry->segments = smt_alloc(graph->n_segments, sizeof *entry->segments);
    if (!entry->segments) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu segments", graph->n_segments);
    for (size_t i = 0; i < graph->n_segments; i++) {
        SMT_TRY(record_segment(run, graph, i, &entry->segments[i], err));
        entry->n_segments++;
    }
    return SMT_OK;
}

/* The plan was made for the same shapes. */
static smt_status check_planned(const smt_run_part *part, const smt_graph_part *needs, const smt_graph_shape *shape,
                                const smt_model *model, smt_error *err) {
    const smt_plan_runner *plan = &part->plan;
    bool captures = shape->keep_hidden || shape->keep_routing || shape->embeddings;
    const struct {
        const char *name;
        uint64_t needed, planned;
    } sizes[] = {
        {"scratch", needs->scratch_bytes, plan->scratch.bytes},
        {"outgoing activations", needs->hop_out, plan->hop_out.bytes},
        {"incoming activations", needs->hop_in, plan->hop_in.bytes},
        {"captures",
         captures ? smt_graph_capture_turn(model, shape->rows, shape->turn) + smt_graph_capture_bytes(model, shape->rows) : 0,
         plan->capture.bytes}};
    for (size_t i = 0; i < SMT_COUNT(sizes); i++)
        if (sizes[i].needed > sizes[i].planned)
            return SMT_FAIL(err, SMT_INTERNAL, "a step of %u rows needs %llu bytes of %s, %llu were planned", shape->rows,
                            (unsigned long long)sizes[i].needed, sizes[i].name, (unsigned long long)sizes[i].planned);
    return SMT_OK;
}

static smt_status make_entry(smt_run *run, const smt_graph_shape *shape, smt_run_plan_entry *entry, smt_error *err) {
    smt_graph_device devices[SMT_GRAPH_DEVICES];
    smt_run_graph_devices(run->model, devices);
    SMT_TRY(smt_graph_create_split(run->model->model, devices, run->n_parts, shape, &entry->graph, err));
    for (uint32_t i = 0; i < run->n_parts; i++)
        SMT_TRY(check_planned(&run->parts[i], &entry->graph->parts[i], shape, run->model->model, err));
    SMT_TRY(smt_run_kernels_prepare(run->model, entry->graph, err));
    SMT_TRY(smt_run_borrow(run, entry->graph, err));
    return record_segments(run, entry, err);
}

smt_status smt_run_shape(smt_run *run, const smt_graph_shape *shape, smt_run_plan_entry **out, smt_error *err) {
    *out = NULL;
    for (size_t i = 0; i < run->n_shapes; i++) {
        smt_run_plan_entry *entry = run->shapes[i];
        if (memcmp(&entry->graph->shape, shape, sizeof *shape) != 0) continue;
        bool whole = entry->n_segments && entry->n_segments == entry->graph->n_segments; /* else recording failed the last time */
        if (!whole || smt_run_is_stale(run, entry)) {
            SMT_TRY(smt_run_drain(run, err));
            SMT_TRY(record_segments(run, entry, err));
        }
        *out = entry;
        return SMT_OK;
    }
    SMT_TRY(smt_grow((void **)&run->shapes, &run->shapes_capacity, run->n_shapes + 1, sizeof *run->shapes, err));
    smt_run_plan_entry *entry = smt_alloc(1, sizeof *entry);
    if (!entry) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a recorded step");
    smt_status status = make_entry(run, shape, entry, err);
    if (status != SMT_OK) {
        free_entry(run, entry);
        return status;
    }
    run->shapes[run->n_shapes++] = entry;
    *out = entry;
    return SMT_OK;
}

static smt_status make_parts(smt_run *run, smt_error *err) {
    smt_run_model *m = run->model;
    run->parts = smt_alloc(m->n_devices, sizeof *run->parts);
    if (!run->parts) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a runner on %u devices", m->n_devices);
    run->n_parts = m->n_devices;
    for (uint32_t i = 0; i < run->n_parts; i++) {
        run->parts[i].on = &m->devices[i];
        smt_run_pace_begin(&run->parts[i].pace, smt_vk_device_caps(m->devices[i].vk), run->options.submission_ms);
    }
    return SMT_OK;
}

smt_status smt_run_create(smt_run_model *model, const smt_run_options *options, smt_run **out, smt_error *err) {
    *out = NULL;
    smt_run *run = smt_alloc(1, sizeof *run);
    if (!run) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a runner");
    run->model = model;
    run->options = *options;
    smt_run_resolve(model->model, &run->options);
    uint32_t per_slot = smt_div_up(run->options.n_ctx, SMT_BLOCK);
    smt_plan_runner_sizes sizes[SMT_GRAPH_DEVICES];
    smt_status status = make_parts(run, err);
    if (status == SMT_OK) status = smt_run_measure(run, sizes, err); /* refuses numbers of blocks that no device binds */
    if (status == SMT_OK)
        status = smt_kv_init(&run->kv, run->options.n_sessions, per_slot, run->options.n_sessions * per_slot, err);
    if (status == SMT_OK) status = smt_run_memory_create(run, sizes, err);
    if (status != SMT_OK)
        smt_run_free(run);
    else
        *out = run;
    return status;
}

void smt_run_free(smt_run *run) {
    if (!run) return;
    for (size_t i = 0; i < run->n_shapes; i++) free_entry(run, run->shapes[i]);
    smt_free(run->shapes);
    for (uint32_t i = 0; i < run->n_parts; i++) {
        smt_run_part *part = &run->parts[i];
        for (uint32_t j = 0; j < SMT_GRAPH_DEVICES; j++) smt_vk_buffer_destroy(part->on->vk, part->peers[j]);
        smt_load_buffers_free(part->on->vk, part->buffers, part->plan.plan.n_buffers);
        smt_plan_runner_free(&part->plan);
    }
    smt_free(run->parts);
    smt_kv_free(&run->kv);
    smt_free(run);
}
