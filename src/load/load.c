/* load.c: items of the plan, one after another, as chunks of whole rows in device layout.
 *
 * Three kinds of item: rows of a file matrix (perhaps a view: the v half of every head in attn_kv_b), the three matrices of an expert, and
 * derived planes: k_b transposed out of an old file's attn_kv_b, decoded to float and stored as smt_matrix_dtype says.
 *
 * Bytes are read, never mapped: straight to their place where the device keeps the file's rows, else by way of one chunk of host memory.
 * So a file that is cut short while it loads is SMT_IO, and loading takes the same little host memory whatever the size of the model. */
#include "load/load.h"

#include "load/load_upload.h"

#include <string.h>

typedef struct loader {
    const smt_load_args *args;
    smt_weights *weights;
    smt_upload upload;
    uint8_t *chunk; /* owned, [SMT_UPLOAD_CHUNK]: file rows that the device keeps in another layout; NULL until the first */
    uint64_t done, total;
    smt_error *err;
} loader;

static smt_status report(loader *l, uint64_t bytes) {
    l->done += bytes;
    const smt_callbacks *c = &l->args->callbacks;
    if (c->progress && !c->progress(c->user, SMT_STAGE_LOAD, l->done, l->total))
        return SMT_FAIL(l->err, SMT_CANCELLED, "loading was cancelled at %llu of %llu bytes", (unsigned long long)l->done,
                        (unsigned long long)l->total);
    return SMT_OK;
}

/* File rows to device rows at `to`: n rows from byte `from` of the tensor on, in one chunk. */
static smt_status read_rows(loader *l, const smt_matrix *m, uint64_t from, uint32_t n, uint8_t *to) {
    smt_dtype type = m->tensor->type;
    uint64_t bytes = n * smt_dtype_row_bytes(type, m->k);
    if (smt_quant_same_bytes(type, m->k)) return smt_gguf_tensor_read(m->tensor, from, to, bytes, l->err);
    if (!l->chunk) l->chunk = smt_alloc(SMT_UPLOAD_CHUNK, 1);
    if (!l->chunk) return SMT_FAIL(l->err, SMT_MEMORY, "out of memory loading %s", m->tensor->name);
    SMT_TRY(smt_gguf_tensor_read(m->tensor, from, l->chunk, bytes, l->err));
    smt_quant_to_device(type, l->chunk, to, n, m->k);
    return SMT_OK;
}

/* Rows [row, row + rows) of one plane of a file matrix to `to` in the buffer. */
static smt_status load_rows(loader *l, const smt_matrix *m, uint32_t plane, uint32_t row, uint32_t rows, smt_vk_buffer *buffer,
                            uint64_t to) {
    smt_dtype type = m->tensor->type;
    uint64_t file_row = smt_dtype_row_bytes(type, m->k), device_row = smt_quant_device_row_bytes(type, m->k);
    uint64_t from = ((uint64_t)plane * m->plane_rows + m->row + row) * file_row;
    uint32_t step = (uint32_t)(SMT_UPLOAD_CHUNK / device_row);
    if (step == 0)
        return SMT_FAIL(l->err, SMT_UNSUPPORTED, "tensor %s: a row has %llu bytes", m->tensor->name,
                        (unsigned long long)device_row);
    for (uint32_t i = 0; i < rows; i += step) {
        uint32_t n = smt_min_u32(step, rows - i);
        uint8_t *to_bytes;
        if (rows - i > n)
            smt_gguf_tensor_expect(m->tensor, from + (i + n) * file_row, smt_min_u32(step, rows - i - n) * file_row);
        SMT_TRY(smt_upload_begin(&l->upload, buffer, to + i * device_row, n * device_row, &to_bytes, l->err));
        SMT_TRY(read_rows(l, m, from + i * file_row, n, to_bytes));
        SMT_TRY(smt_upload_commit(&l->upload, buffer, to + i * device_row, n * device_row, l->err));
        SMT_TRY(report(l, n * device_row));
    }
    return SMT_OK;
}

/* The plane of a derived matrix as it stands in the file, decoded: [k, rows]. */
static smt_status decode_plane(loader *l, const smt_matrix *m, uint32_t plane, float *values) {
    uint64_t file_row = smt_dtype_row_bytes(m->tensor->type, m->rows);
    uint8_t *bytes = smt_alloc(m->k, file_row);
    if (!bytes) return SMT_FAIL(l->err, SMT_MEMORY, "out of memory deriving %s", m->tensor->name);
    smt_status status =
        smt_gguf_tensor_read(m->tensor, ((uint64_t)plane * m->plane_rows + m->row) * file_row, bytes, m->k * file_row, l->err);
    if (status == SMT_OK && !smt_quant_decode(m->tensor->type, bytes, values, (uint64_t)m->k * m->rows))
        status = SMT_FAIL(l->err, SMT_UNSUPPORTED, "tensor %s: no decoder for its type", m->tensor->name);
    smt_free(bytes);
    return status;
}

/* One derived plane: the file holds k rows of `rows` values, the device wants `rows` rows of k values. */
static smt_status load_transposed(loader *l, const smt_matrix *m, uint32_t plane, smt_vk_buffer *buffer, uint64_t to) {
    smt_dtype type = smt_matrix_dtype(m);
    uint64_t device_row = smt_quant_device_row_bytes(type, m->k);
    float *values = smt_alloc((size_t)m->k * m->rows, sizeof *values), *line = smt_alloc(m->k, sizeof *line);
    uint8_t *coded = smt_alloc(m->k, sizeof(float)), *to_bytes;
    smt_status status =
        values && line && coded ? SMT_OK : SMT_FAIL(l->err, SMT_MEMORY, "out of memory deriving %s", m->tensor->name);
    if (status == SMT_OK) status = decode_plane(l, m, plane, values);
    if (status == SMT_OK) status = smt_upload_begin(&l->upload, buffer, to, m->rows * device_row, &to_bytes, l->err);
    for (uint32_t r = 0; status == SMT_OK && r < m->rows; r++) {
        for (uint32_t j = 0; j < m->k; j++) line[j] = values[(size_t)j * m->rows + r];
        smt_quant_encode(type, line, coded, m->k);
        smt_quant_to_device(type, coded, to_bytes + r * device_row, 1, m->k);
    }
    if (status == SMT_OK) status = smt_upload_commit(&l->upload, buffer, to, m->rows * device_row, l->err);
    smt_free(values);
    smt_free(line);
    smt_free(coded);
    return status == SMT_OK ? report(l, m->rows * device_row) : status;
}

static smt_status load_item(loader *l, uint32_t index) {
    const smt_item *item = &l->args->items->items[index];
    const smt_plan_place *place = &l->args->plan->items[index];
    smt_vk_buffer *buffer = l->weights->buffers[place->buffer];
    if (item->matrix) {
        const smt_matrix *m = item->matrix;
        if (m->n_planes == 1 && !m->transposed) return load_rows(l, m, 0, item->row0, item->rows, buffer, place->offset);
        for (uint32_t plane = 0; plane < m->n_planes; plane++) {
            uint64_t to = place->offset + (uint64_t)plane * m->rows * item->row_bytes;
            SMT_TRY(m->transposed ? load_transposed(l, m, plane, buffer, to) : load_rows(l, m, plane, 0, m->rows, buffer, to));
        }
        return SMT_OK;
    }
    const smt_model_layer *layer = &l->args->model->layers[item->layer];
    const smt_expert_layout *layout = &l->args->items->layers[item->layer];
    SMT_TRY(load_rows(l, &layer->gate_exps, item->expert, 0, layer->gate_exps.rows, buffer, place->offset + layout->gate));
    SMT_TRY(load_rows(l, &layer->up_exps, item->expert, 0, layer->up_exps.rows, buffer, place->offset + layout->up));
    return load_rows(l, &layer->down_exps, item->expert, 0, layer->down_exps.rows, buffer, place->offset + layout->down);
}

/* Where each expert of a layer lies, for the device. */
static smt_status load_table(loader *l, uint32_t index) {
    const smt_expert_layout *layout = &l->args->items->layers[index];
    uint32_t n = l->args->model->n_experts;
    const smt_plan_place *place = &l->args->plan->tables[index];
    uint8_t *bytes;
    SMT_TRY(
        smt_upload_begin(&l->upload, l->weights->buffers[place->buffer], place->offset, 4ull * EXPERT_WORDS * n, &bytes, l->err));
    for (uint32_t e = 0; e < n; e++) {
        uint32_t window = smt_plan_window(l->args->plan, l->args->items, index, e);
        uint64_t at =
            l->args->plan->items[layout->first_item + e].offset - l->args->plan->windows[index * SMT_MAX_WINDOWS + window].offset;
        const uint32_t row[EXPERT_WORDS] = {[EXPERT_WINDOW] = window,
                                            [EXPERT_GATE] = (uint32_t)((at + layout->gate) / 16),
                                            [EXPERT_UP] = (uint32_t)((at + layout->up) / 16),
                                            [EXPERT_DOWN] = (uint32_t)((at + layout->down) / 16)};
        memcpy(bytes + e * sizeof row, row, sizeof row);
    }
    return smt_upload_commit(&l->upload, l->weights->buffers[place->buffer], place->offset, 4ull * EXPERT_WORDS * n, l->err);
}

static smt_status load_codebooks(loader *l) {
    const smt_plan_place *place = &l->args->plan->codebooks;
    smt_vk_buffer *buffer = l->weights->buffers[place->buffer];
    uint8_t *bytes;
    SMT_TRY(smt_upload_begin(&l->upload, buffer, place->offset, sizeof smt_quant_codebooks, &bytes, l->err));
    memcpy(bytes, smt_quant_codebooks, sizeof smt_quant_codebooks);
    return smt_upload_commit(&l->upload, buffer, place->offset, sizeof smt_quant_codebooks, l->err);
}

smt_status smt_load_weights(const smt_load_args *args, smt_weights *out, smt_error *err) {
    *out = (smt_weights){0};
    loader l = {
        .args = args, .weights = out, .upload = {.device = args->device, .force_staging = args->force_staging}, .err = err};
    for (uint32_t i = 0; i < args->items->n_items; i++) l.total += args->items->items[i].bytes;
    SMT_TRY(smt_load_buffers(args->device, &args->plan->plan, "weights", &out->buffers, err));
    out->n_buffers = args->plan->plan.n_buffers;
    smt_status status = SMT_OK;
    for (uint32_t i = 0; status == SMT_OK && i < args->items->n_items; i++) status = load_item(&l, i);
    for (uint32_t i = 0; status == SMT_OK && i < args->model->n_layers; i++)
        if (args->items->layers[i].n_windows) status = load_table(&l, i);
    if (status == SMT_OK && args->plan->codebooks.bytes) status = load_codebooks(&l);
    smt_status finished = smt_upload_finish(&l.upload, status == SMT_OK ? err : NULL);
    smt_free(l.chunk);
    if (status == SMT_OK) status = finished;
    if (status == SMT_OK) {
        l.done = 0; /* padding was never uploaded: end at the total all the same */
        status = report(&l, l.total);
    }
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
        smt_status status =
            smt_vk_buffer_create(device, plan->buffers[i].memory_type, plan->buffers[i].bytes, name, &(*out)[i], err);
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
