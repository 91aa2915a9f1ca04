/* load.c: a weight plan made real: its buffers, the model's bytes in them (load_work.c), and the tables that kernels find them by. */
#include "load_internal.h"

#include <string.h>

/* Where each expert of a layer lies, for the device. */
static smt_status load_table(const smt_load_args *args, const smt_weights *weights, smt_upload *upload, uint32_t index,
                             smt_error *err) {
    uint32_t n = args->model->n_experts;
    const smt_plan_place *place = &args->plan->tables[index];
    uint8_t *bytes;
    SMT_TRY(smt_upload_begin(upload, weights->buffers[place->buffer], place->offset, 4ull * EXPERT_WORDS * n, &bytes, err));
    memset(bytes, 0, 4ull * EXPERT_WORDS * n); /* experts of other devices: nothing looks them up */
    for (uint32_t e = args->items->range.first_expert; e < args->items->range.end_expert; e++) {
        uint32_t row[EXPERT_WORDS];
        smt_plan_expert_row(args->plan, args->items, index, &args->plan->items[smt_items_expert(args->items, index, e)], row);
        memcpy(bytes + e * sizeof row, row, sizeof row);
    }
    return smt_upload_commit(upload, weights->buffers[place->buffer], place->offset, 4ull * EXPERT_WORDS * n, err);
}

static smt_status load_codebooks(const smt_load_args *args, const smt_weights *weights, smt_upload *upload, smt_error *err) {
    const smt_plan_place *place = &args->plan->codebooks;
    smt_vk_buffer *buffer = weights->buffers[place->buffer];
    uint8_t *bytes;
    SMT_TRY(smt_upload_begin(upload, buffer, place->offset, sizeof smt_quant_codebooks, &bytes, err));
    memcpy(bytes, smt_quant_codebooks, sizeof smt_quant_codebooks);
    return smt_upload_commit(upload, buffer, place->offset, sizeof smt_quant_codebooks, err);
}

static smt_status load_all(const smt_load_args *args, const smt_weights *weights, smt_upload *upload, uint64_t total,
                           smt_error *err) {
    smt_load_jobs jobs[SMT_LOAD_WAYS];
    smt_status status = smt_load_list(args, weights, upload, jobs, err);
    if (status == SMT_OK) status = smt_load_work(args, jobs, upload, total, err);
    smt_load_list_free(jobs);
    for (uint32_t i = 0; status == SMT_OK && i < args->model->n_layers; i++)
        if (args->items->layers[i].n_windows) status = load_table(args, weights, upload, i, err);
    if (status == SMT_OK && args->plan->codebooks.bytes) status = load_codebooks(args, weights, upload, err);
    return status;
}

bool smt_load_repacks(const smt_load_args *args) {
    const smt_caps *caps = smt_vk_device_caps(args->device);
    const smt_plan *plan = &args->plan->plan;
    bool staged = false; /* experts that are read later pass through a ring too */
    for (uint32_t i = 0; i < args->items->n_items; i++) staged = staged || args->plan->items[i].buffer == SMT_PLAN_FILE;
    for (size_t i = 0; i < plan->n_buffers; i++)
        staged = staged || args->force_staging || !caps->types[plan->buffers[i].memory_type].host_visible;
    for (uint32_t i = 0; staged && i < args->items->n_items; i++) {
        const smt_item *item = &args->items->items[i];
        const smt_model_layer *layer = item->matrix ? NULL : &args->model->layers[item->layer];
        const smt_matrix *parts[] = {layer ? &layer->gate_exps : item->matrix, layer ? &layer->up_exps : item->matrix,
                                     layer ? &layer->down_exps : item->matrix};
        for (size_t j = 0; j < SMT_COUNT(parts); j++)
            if (smt_kernel_weaves(caps, smt_matrix_dtype(parts[j])) ||
                !smt_quant_same_bytes(smt_matrix_dtype(parts[j]), parts[j]->k))
                return true;
    }
    return false;
}

smt_status smt_load_weights(const smt_load_args *args, smt_weights *out, smt_error *err) {
    *out = (smt_weights){0};
    smt_upload upload = {.device = args->device, .force_staging = args->force_staging, .repack = args->repack};
    uint64_t total = 0;
    for (uint32_t i = 0; i < args->items->n_items; i++) total += args->items->items[i].bytes;
    SMT_TRY(smt_load_buffers(args->device, &args->plan->plan, "weights", &out->buffers, err));
    out->n_buffers = args->plan->plan.n_buffers;
    smt_status status = smt_load_report(args, 0, total, err); /* later calls depend on who loads what */
    if (status == SMT_OK) status = load_all(args, out, &upload, total, err);
    smt_status finished = smt_upload_finish(&upload, status == SMT_OK ? err : NULL);
    if (status == SMT_OK) status = finished;
    if (status == SMT_OK) status = smt_load_report(args, total, total, err); /* padding was never uploaded */
    if (status != SMT_OK) smt_weights_free(args->device, out);
    return status;
}

void smt_weights_free(smt_vk_device *device, smt_weights *weights) {
    smt_load_buffers_free(device, weights->buffers, weights->n_buffers);
    *weights = (smt_weights){0};
}

smt_status smt_load_buffers(smt_vk_device *device, const smt_plan *plan, const char *name, smt_vk_buffer ***out, smt_error *err) {
    *out = smt_alloc(plan->n_buffers, sizeof **out);
    if (!*out) return SMT_FAIL(err, SMT_MEMORY, "out of memory for %zu buffers", plan->n_buffers);
    for (size_t i = 0; i < plan->n_buffers; i++) {
        const smt_plan_buffer *b = &plan->buffers[i];
        smt_status status = b->pool == SMT_POOL_LENT
                                ? smt_vk_buffer_create_shared(device, b->memory_type, b->bytes, name, &(*out)[i], err)
                                : smt_vk_buffer_create(device, b->memory_type, b->bytes, name, &(*out)[i], err);
        if (status != SMT_OK) {
            smt_load_buffers_free(device, *out, i);
            *out = NULL;
            return status;
        }
    }
    return SMT_OK;
}

void smt_load_buffers_free(smt_vk_device *device, smt_vk_buffer **buffers, size_t n) {
    for (size_t i = 0; buffers && i < n; i++) smt_vk_buffer_destroy(device, buffers[i]);
    smt_free(buffers);
}

smt_status smt_load_bytes(smt_vk_device *device, smt_vk_buffer *buffer, uint64_t offset, const void *bytes, uint64_t n,
                          smt_error *err) {
    smt_upload upload = {.device = device};
    smt_status status = SMT_OK;
    for (uint64_t at = 0; status == SMT_OK && at < n; at += SMT_UPLOAD_CHUNK) {
        uint64_t count = smt_min_u64(SMT_UPLOAD_CHUNK, n - at);
        uint8_t *to;
        status = smt_upload_begin(&upload, buffer, offset + at, count, &to, err);
        if (status != SMT_OK) break;
        memcpy(to, (const uint8_t *)bytes + at, count);
        status = smt_upload_commit(&upload, buffer, offset + at, count, err);
    }
    smt_status finished = smt_upload_finish(&upload, status == SMT_OK ? err : NULL);
    return status == SMT_OK ? finished : status;
}
