/* run_step.c: one step: the step buffer is filled, the segments of its shape are submitted one after another (cancellation is looked at
 * between them), and what was asked for is read back.
 *
 * After a failed or cancelled step the cache rows it was writing are undefined; the session's length has not moved, so nobody reads them. */
#include "run/run.h"

#include <string.h>

uint32_t smt_run_rows_limit(const smt_run *run, bool all_logits, bool capture) {
    uint32_t limit = run->options.n_batch;
    if (all_logits) limit = smt_min_u32(limit, run->logits_rows);
    if (capture) limit = smt_min_u32(limit, run->capture_rows);
    return limit;
}

static smt_status write_inputs(smt_run *run, const smt_run_rows *rows, const smt_graph *graph, smt_error *err) {
    const smt_plan_place *place = &run->plan.step;
    smt_vk_buffer *buffer = run->buffers[place->buffer];
    uint32_t *words = (uint32_t *)((uint8_t *)smt_vk_buffer_map(buffer) + place->offset), max_rows = graph->shape.rows;
    memset(words, 0, STEP_HEAD * sizeof *words);
    words[STEP_N_ROWS] = rows->n;
    words[STEP_N_OUT] = rows->n_out;
    words[STEP_MAX_ROWS] = max_rows;
    for (uint32_t r = 0; r < rows->n; r++) {
        uint32_t *row = words + STEP_HEAD + r;
        row[STEP_ARRAY_TOKEN * max_rows] = (uint32_t)rows->tokens[r];
        row[STEP_ARRAY_POSITION * max_rows] = (uint32_t)rows->positions[r];
        row[STEP_ARRAY_INDEX * max_rows] = rows->index + r;
        row[STEP_ARRAY_SLOT * max_rows] = rows->slot;
        if (r < rows->n_out) row[STEP_ARRAY_OUT * max_rows] = rows->n - rows->n_out + r;
    }
    if (graph->shape.split)
        for (size_t i = 0; i < graph->n_nodes; i++)
            if (graph->nodes[i].key.kernel == SMT_KERNEL_ATTEND && !graph->nodes[i].copy) {
                words[STEP_ATTEND] = graph->nodes[i].groups[0];
                words[STEP_ATTEND + 1] = rows->n;
                words[STEP_ATTEND + 2] = (rows->index + rows->n - 1) / SMT_BLOCK + 1;
                break;
            }
    SMT_TRY(smt_vk_buffer_flush(run->model->device, buffer, place->offset, place->bytes, err));
    place = &run->plan.blocks;
    buffer = run->buffers[place->buffer];
    memcpy((uint8_t *)smt_vk_buffer_map(buffer) + place->offset, run->kv.table, 4ull * run->kv.n_slots * run->kv.per_slot);
    return smt_vk_buffer_flush(run->model->device, buffer, place->offset, place->bytes, err);
}

/* Mapped bytes of a readback place, made visible first. */
static smt_status readback(const smt_run *run, const smt_plan_place *place, const uint8_t **out, smt_error *err) {
    smt_vk_buffer *buffer = run->buffers[place->buffer];
    *out = (const uint8_t *)smt_vk_buffer_map(buffer) + place->offset;
    return smt_vk_buffer_invalidate(run->model->device, buffer, place->offset, place->bytes, err);
}

static smt_status read_captures(const smt_run *run, const smt_run_rows *rows, uint32_t bucket, smt_error *err) {
    const smt_model *m = run->model->model;
    const uint8_t *bytes;
    SMT_TRY(readback(run, &run->plan.capture, &bytes, err));
    size_t n = rows->n;
    for (uint32_t s = 0; rows->hidden && s < m->n_layers + 2; s++)
        memcpy(rows->hidden + ((size_t)s * rows->total + rows->at) * m->n_embd, bytes + smt_graph_capture_hidden(m, bucket, s),
               n * m->n_embd * sizeof(float));
    for (uint32_t l = 0; l < smt_model_moe_layers(m); l++) {
        size_t to = ((size_t)l * rows->total + rows->at) * m->n_used, count = n * m->n_used;
        if (rows->ids) memcpy(rows->ids + to, bytes + smt_graph_capture_ids(m, bucket, l), count * sizeof(int32_t));
        if (rows->weights) memcpy(rows->weights + to, bytes + smt_graph_capture_weights(m, bucket, l), count * sizeof(float));
    }
    return SMT_OK;
}

/* Two submissions are under way at most: the device never idles between segments, and a cancelled step stops within two. */
static smt_status submit_segments(smt_run *run, const smt_run_plan_entry *entry, smt_error *err) {
    smt_vk_device *device = run->model->device;
    uint64_t values[2] = {0, 0};
    smt_status status = SMT_OK;
    size_t n = entry->graph->n_segments;
    for (size_t i = 0; i < n && status == SMT_OK; i++) {
        if (atomic_load(&run->cancel))
            status = SMT_FAIL(err, SMT_CANCELLED, "cancelled after %zu of %zu submissions of a step", i, n);
        if (status == SMT_OK && i >= 2) status = smt_vk_wait(device, values[i % 2], SMT_RUN_WAIT_NS, err);
        if (status != SMT_OK) break;
        smt_os_mutex_lock(run->model->lock); /* other runners share the queue */
        status = smt_vk_submit(device, entry->segments[i], &values[i % 2], err);
        smt_os_mutex_unlock(run->model->lock);
    }
    uint64_t last = values[0] > values[1] ? values[0] : values[1];
    smt_status waited = last ? smt_vk_wait(device, last, SMT_RUN_WAIT_NS, status == SMT_OK ? err : NULL) : SMT_OK;
    return status == SMT_OK ? waited : status;
}

static bool wants_routing(const smt_run_rows *rows) { return rows->ids || rows->weights; }

smt_status smt_run_ready(smt_run *run, const smt_run_rows *rows, smt_run_plan_entry **out, smt_error *err) {
    uint32_t bucket = smt_run_bucket(rows->n), out_rows = rows->n_out <= 1 ? rows->n_out : bucket;
    smt_graph_shape shape = smt_run_make_shape(run, bucket, out_rows, rows->hidden != NULL, wants_routing(rows));
    SMT_TRY(smt_run_shape(run, &shape, out, err));
    return write_inputs(run, rows, (*out)->graph, err);
}

smt_status smt_run_step(smt_run *run, const smt_run_rows *rows, smt_error *err) {
    smt_run_plan_entry *entry;
    SMT_TRY(smt_run_ready(run, rows, &entry, err));
    SMT_TRY(submit_segments(run, entry, err));
    if (rows->n_out) {
        const uint8_t *bytes;
        SMT_TRY(readback(run, &run->plan.logits, &bytes, err));
        memcpy(rows->logits, bytes, (size_t)rows->n_out * run->model->model->n_vocab * sizeof(float));
    }
    if (rows->hidden || wants_routing(rows)) return read_captures(run, rows, smt_run_bucket(rows->n), err);
    return SMT_OK;
}
