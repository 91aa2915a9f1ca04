/* run_cache.c: cached rows of sessions on the move: to a block of a session's own, out of the device, and back into it.
 *
 * Rows leave and enter through memory that is host-visible on every device and idle between evals: that of the logits, or of captured
 * states; as many as it holds in one submission. Those of several devices follow each other, so that the bytes are the same however
 * layers are split. */
#include "run/run.h"

static uint64_t row_bytes(const smt_run *run) {
    return smt_graph_block_bytes(run->model->model, run->options.cache_f16) / SMT_BLOCK;
}

/* Rows from `row` of a block on, in one layer of the part's. */
static smt_vk_range rows_range(const smt_run *run, const smt_run_part *part, uint32_t layer, uint32_t block, uint32_t row,
                               uint64_t bytes) {
    const smt_items *items = &part->on->items;
    uint64_t block_bytes = row_bytes(run) * SMT_BLOCK;
    uint32_t per_window = smt_graph_blocks_per_window(run->model->model, run->options.cache_f16, items->window_limit);
    uint32_t n_windows = smt_div_up(run->kv.n_blocks, per_window);
    const smt_plan_place *place = &part->plan.cache[(layer - items->range.first) * n_windows + block / per_window];
    return (smt_vk_range){part->buffers[place->buffer], place->offset + block % per_window * block_bytes + row * row_bytes(run),
                          bytes};
}

static smt_status submit(const smt_run_part *part, smt_vk_recording *recording, smt_error *err) {
    uint64_t value;
    SMT_TRY(smt_vk_recording_end(recording, err));
    SMT_TRY(smt_vk_submit(part->on->vk, recording, &value, err));
    return smt_vk_wait(part->on->vk, value, SMT_RUN_WAIT_NS, err);
}

static smt_status copy_block(const smt_run *run, const smt_run_part *part, uint32_t from, uint32_t to, uint32_t n_rows,
                             smt_error *err) {
    const smt_items_range *range = &part->on->items.range;
    smt_vk_recording *recording;
    SMT_TRY(smt_vk_recording_begin(part->on->vk, "copy of a block", &recording, err));
    for (uint32_t layer = range->first; layer < range->last; layer++) {
        const smt_vk_range source = rows_range(run, part, layer, from, 0, n_rows * row_bytes(run)),
                           target = rows_range(run, part, layer, to, 0, source.bytes);
        smt_vk_record_copy(recording, &source, &target);
    }
    smt_status status = submit(part, recording, err);
    smt_vk_recording_destroy(part->on->vk, recording);
    return status;
}

smt_status smt_run_extend(smt_run *run, uint32_t slot, uint32_t length, uint32_t n, smt_error *err) {
    bool shared;
    uint32_t from, to;
    SMT_TRY(smt_kv_shared_tail(&run->kv, slot, length, &shared, &from, &to, err));
    if (shared) {
        for (uint32_t i = 0; i < run->n_parts; i++) SMT_TRY(copy_block(run, &run->parts[i], from, to, length % SMT_BLOCK, err));
        smt_kv_replace_tail(&run->kv, slot, length);
    }
    return smt_kv_resize(&run->kv, slot, length + n, err);
}

/* A slot's rows on one device. */
typedef struct rows {
    const smt_run *run;
    const smt_run_part *part;
    uint32_t slot, length;
} rows;

/* The cached rows as one row of bytes, layer by layer: those from `at` on that lie together, at most n. */
static smt_vk_range bytes_range(const rows *r, uint64_t at, uint64_t n) {
    const smt_kv *kv = &r->run->kv;
    uint64_t one = row_bytes(r->run), layer_bytes = one * r->length, within = at % layer_bytes;
    uint32_t position = (uint32_t)(within / one), row = position % SMT_BLOCK;
    uint32_t block = kv->table[(size_t)r->slot * kv->per_slot + position / SMT_BLOCK];
    uint64_t to_block_end = (SMT_BLOCK - row) * one - within % one;
    n = smt_min_u64(smt_min_u64(n, layer_bytes - within), to_block_end);
    uint32_t layer = r->part->on->items.range.first + (uint32_t)(at / layer_bytes);
    smt_vk_range range = rows_range(r->run, r->part, layer, block, row, n);
    range.offset += within % one;
    return range;
}

static const smt_plan_place *bounce_place(const smt_run_part *part) {
    return part->plan.logits.bytes ? &part->plan.logits : &part->plan.capture;
}

/* Bytes [at, at + n) between cache and bounce memory. */
static smt_status bounce(const rows *r, uint64_t at, uint64_t n, bool to_device, smt_error *err) {
    const smt_plan_place *place = bounce_place(r->part);
    smt_vk_device *device = r->part->on->vk;
    smt_vk_recording *recording;
    SMT_TRY(smt_vk_recording_begin(device, "cached rows", &recording, err));
    for (uint64_t done = 0; done < n;) {
        const smt_vk_range cache = bytes_range(r, at + done, n - done),
                           host = {r->part->buffers[place->buffer], place->offset + done, cache.bytes};
        smt_vk_record_copy(recording, to_device ? &host : &cache, to_device ? &cache : &host);
        done += cache.bytes;
    }
    smt_status status = submit(r->part, recording, err);
    smt_vk_recording_destroy(device, recording);
    return status;
}

static smt_status move_rows(const rows *r, bool to_device, smt_run_bytes_fn each, void *user, smt_error *err) {
    const smt_plan_place *place = bounce_place(r->part);
    const smt_items_range *range = &r->part->on->items.range;
    smt_vk_device *device = r->part->on->vk;
    smt_vk_buffer *buffer = r->part->buffers[place->buffer];
    uint8_t *map = (uint8_t *)smt_vk_buffer_map(buffer) + place->offset;
    uint64_t total = row_bytes(r->run) * r->length * (range->last - range->first);
    for (uint64_t at = 0, n; at < total; at += n) {
        n = smt_min_u64(place->bytes, total - at);
        if (to_device) {
            SMT_TRY(each(user, map, n, err));
            SMT_TRY(smt_vk_buffer_flush(device, buffer, place->offset, n, err));
        }
        SMT_TRY(bounce(r, at, n, to_device, err));
        if (!to_device) {
            SMT_TRY(smt_vk_buffer_invalidate(device, buffer, place->offset, n, err));
            SMT_TRY(each(user, map, n, err));
        }
    }
    return SMT_OK;
}

smt_status smt_run_move_rows(smt_run *run, uint32_t slot, uint32_t length, bool to_device, smt_run_bytes_fn each, void *user,
                             smt_error *err) {
    for (uint32_t i = 0; i < run->n_parts; i++)
        SMT_TRY(move_rows(&(rows){run, &run->parts[i], slot, length}, to_device, each, user, err));
    return SMT_OK;
}
