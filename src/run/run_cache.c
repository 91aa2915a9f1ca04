/* run_cache.c: cached rows of sessions on the move: to a block of a session's own, out of the device, and back into it.
 *
 * Rows leave and enter through the memory that logits are read back from, which is host-visible on every device and idle between evals:
 * as many as it holds in one submission. */
#include "run/run.h"

static uint64_t row_bytes(const smt_run *run) {
    return smt_graph_block_bytes(run->model->model, run->options.cache_f16) / SMT_BLOCK;
}

/* Rows from `row` of a block on, in one layer. */
static smt_vk_range rows_range(const smt_run *run, uint32_t layer, uint32_t block, uint32_t row, uint64_t bytes) {
    uint64_t block_bytes = row_bytes(run) * SMT_BLOCK;
    uint32_t per_window = smt_graph_blocks_per_window(run->model->model, run->options.cache_f16, run->model->items.window_limit);
    uint32_t n_windows = smt_div_up(run->kv.n_blocks, per_window);
    const smt_plan_place *place = &run->plan.cache[layer * n_windows + block / per_window];
    return (smt_vk_range){run->buffers[place->buffer], place->offset + block % per_window * block_bytes + row * row_bytes(run),
                          bytes};
}

static smt_status submit(smt_run *run, smt_vk_recording *recording, smt_error *err) {
    uint64_t value;
    SMT_TRY(smt_vk_recording_end(recording, err));
    SMT_TRY(smt_vk_submit(run->model->device, recording, &value, err));
    return smt_vk_wait(run->model->device, value, SMT_RUN_WAIT_NS, err);
}

static smt_status copy_block(smt_run *run, uint32_t from, uint32_t to, uint32_t n_rows, smt_error *err) {
    smt_vk_recording *recording;
    SMT_TRY(smt_vk_recording_begin(run->model->device, "copy of a block", &recording, err));
    for (uint32_t layer = 0; layer < run->model->model->n_layers; layer++) {
        const smt_vk_range source = rows_range(run, layer, from, 0, n_rows * row_bytes(run)),
                           target = rows_range(run, layer, to, 0, source.bytes);
        smt_vk_record_copy(recording, &source, &target);
    }
    smt_status status = submit(run, recording, err);
    smt_vk_recording_destroy(run->model->device, recording);
    return status;
}

smt_status smt_run_extend(smt_run *run, uint32_t slot, uint32_t length, uint32_t n, smt_error *err) {
    bool shared;
    uint32_t from, to;
    SMT_TRY(smt_kv_shared_tail(&run->kv, slot, length, &shared, &from, &to, err));
    if (shared) {
        SMT_TRY(copy_block(run, from, to, length % SMT_BLOCK, err));
        smt_kv_replace_tail(&run->kv, slot, length);
    }
    return smt_kv_resize(&run->kv, slot, length + n, err);
}

/* The cached rows of a slot as one row of bytes, layer by layer: those from `at` on that lie together, at most n. */
static smt_vk_range bytes_range(const smt_run *run, uint32_t slot, uint32_t length, uint64_t at, uint64_t n) {
    uint64_t one = row_bytes(run), layer_bytes = one * length, within = at % layer_bytes;
    uint32_t position = (uint32_t)(within / one), row = position % SMT_BLOCK;
    uint32_t block = run->kv.table[(size_t)slot * run->kv.per_slot + position / SMT_BLOCK];
    uint64_t to_block_end = (SMT_BLOCK - row) * one - within % one;
    n = smt_min_u64(smt_min_u64(n, layer_bytes - within), to_block_end);
    smt_vk_range range = rows_range(run, (uint32_t)(at / layer_bytes), block, row, n);
    range.offset += within % one;
    return range;
}

/* Bytes [at, at + n) between cache and bounce memory. */
static smt_status bounce(smt_run *run, uint32_t slot, uint32_t length, uint64_t at, uint64_t n, bool to_device, smt_error *err) {
    const smt_plan_place *place = &run->plan.logits;
    smt_vk_recording *recording;
    SMT_TRY(smt_vk_recording_begin(run->model->device, "cached rows", &recording, err));
    for (uint64_t done = 0; done < n;) {
        const smt_vk_range cache = bytes_range(run, slot, length, at + done, n - done),
                           host = {run->buffers[place->buffer], place->offset + done, cache.bytes};
        smt_vk_record_copy(recording, to_device ? &host : &cache, to_device ? &cache : &host);
        done += cache.bytes;
    }
    smt_status status = submit(run, recording, err);
    smt_vk_recording_destroy(run->model->device, recording);
    return status;
}

smt_status smt_run_move_rows(smt_run *run, uint32_t slot, uint32_t length, bool to_device, smt_run_bytes_fn each, void *user,
                             smt_error *err) {
    const smt_plan_place *place = &run->plan.logits;
    smt_vk_device *device = run->model->device;
    smt_vk_buffer *buffer = run->buffers[place->buffer];
    uint8_t *map = (uint8_t *)smt_vk_buffer_map(buffer) + place->offset;
    uint64_t total = row_bytes(run) * length * run->model->model->n_layers;
    for (uint64_t at = 0, n; at < total; at += n) {
        n = smt_min_u64(place->bytes, total - at);
        if (to_device) {
            SMT_TRY(each(user, map, n, err));
            SMT_TRY(smt_vk_buffer_flush(device, buffer, place->offset, n, err));
        }
        SMT_TRY(bounce(run, slot, length, at, n, to_device, err));
        if (!to_device) {
            SMT_TRY(smt_vk_buffer_invalidate(device, buffer, place->offset, n, err));
            SMT_TRY(each(user, map, n, err));
        }
    }
    return SMT_OK;
}
