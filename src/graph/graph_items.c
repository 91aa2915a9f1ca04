/* graph_items.c: cuts the model's weights into items, the pieces that a plan places.
 *
 * A dense matrix is one item, or several parts of whole rows where it exceeds a window (the output head of V2-Lite in Q6_K has
 * 172 MB, lavapipe's storage buffers reach 128 MiB). An expert is one item: its gate, up and down matrices one after another, each
 * 256-byte aligned, so that a device table {window, offset} finds all three. */
#include "graph/graph.h"

#define ITEM_ALIGN 256
/* Decoders may read the word, or the vector, after the last one of a row. */
#define ITEM_SLACK 16
/* Byte addresses inside a window are u32; half of that leaves room for sums. */
#define WINDOW_MOST ((uint64_t)1 << 31)

typedef struct builder {
    const smt_model *model;
    smt_items *out;
    size_t capacity;
    smt_error *err;
} builder;

static smt_status check_type(builder *b, const smt_matrix *matrix) {
    smt_dtype type = smt_matrix_dtype(matrix);
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    if (matrix->rows == 1 && type != SMT_DTYPE_F32) /* norms and biases: kernels read them as floats */
        return SMT_FAIL(b->err, SMT_UNSUPPORTED, "tensor %s: a vector of type %s, only F32 is supported", matrix->tensor->name,
                        info ? info->name : "?");
    if (smt_quant_has_codebook(type)) b->out->codebooks = true;
    if (info && info->runs) return SMT_OK;
    return SMT_FAIL(b->err, SMT_UNSUPPORTED, "tensor %s: type %s has no kernels", matrix->tensor->name, info ? info->name : "?");
}

/* Bytes that a window with rows of this type may span. */
static uint64_t reach(const builder *b, smt_dtype type) {
    return b->out->texel_limit && smt_quant_vectors(type) ? b->out->texel_limit : b->out->window_limit;
}

static smt_item *add(builder *b) {
    if (smt_grow((void **)&b->out->items, &b->capacity, b->out->n_items + 1u, sizeof(smt_item), b->err) != SMT_OK) return NULL;
    smt_item *item = &b->out->items[b->out->n_items++];
    *item = (smt_item){.layer = UINT32_MAX, .expert = UINT32_MAX};
    return item;
}

static smt_status add_matrix(builder *b, const smt_matrix *matrix, uint32_t layer) {
    if (!matrix->tensor) return SMT_OK;
    if (smt_items_find(b->out, matrix) != UINT32_MAX) return SMT_OK; /* tied output */
    SMT_TRY(check_type(b, matrix));
    uint64_t row_bytes = smt_quant_device_row_bytes(smt_matrix_dtype(matrix), matrix->k);
    uint64_t n_rows = (uint64_t)matrix->rows * matrix->n_planes;
    uint64_t limit = reach(b, smt_matrix_dtype(matrix)), most = row_bytes ? (limit - ITEM_SLACK) / row_bytes : 0;
    if (most == 0 || row_bytes > UINT32_MAX || n_rows > UINT32_MAX)
        return SMT_FAIL(b->err, SMT_UNSUPPORTED, "tensor %s: a row of %llu bytes does not fit a window of %llu",
                        matrix->tensor->name, (unsigned long long)row_bytes, (unsigned long long)limit);
    if (n_rows > most && matrix->n_planes > 1)
        return SMT_FAIL(b->err, SMT_UNSUPPORTED, "tensor %s: %llu bytes of planes exceed a window of %llu", matrix->tensor->name,
                        (unsigned long long)(n_rows * row_bytes), (unsigned long long)limit);
    if (matrix->n_planes > 1 && matrix->rows * row_bytes % 16) /* kernels step from plane to plane in 16-byte units */
        return SMT_FAIL(b->err, SMT_UNSUPPORTED, "tensor %s: planes of %llu bytes, the kernels need a multiple of 16",
                        matrix->tensor->name, (unsigned long long)(matrix->rows * row_bytes));
    for (uint64_t row = 0; row < n_rows; row += most) {
        smt_item *item = add(b);
        if (!item) return SMT_MEMORY;
        item->matrix = matrix;
        item->layer = layer;
        item->part = (uint32_t)(row / most);
        item->row0 = (uint32_t)row;
        item->rows = (uint32_t)smt_min_u64(most, n_rows - row);
        item->row_bytes = (uint32_t)row_bytes;
        item->bytes = smt_align_up(item->rows * row_bytes + ITEM_SLACK, ITEM_ALIGN);
    }
    return SMT_OK;
}

/* Bytes of one plane of an expert matrix. */
static uint64_t plane_bytes(const smt_matrix *matrix) {
    uint64_t bytes = smt_quant_device_row_bytes(smt_matrix_dtype(matrix), matrix->k) * matrix->rows;
    return smt_align_up(bytes + ITEM_SLACK, ITEM_ALIGN);
}

static smt_status add_experts(builder *b, const smt_model_layer *layer, uint32_t index) {
    const smt_matrix *parts[] = {&layer->gate_exps, &layer->up_exps, &layer->down_exps};
    uint64_t limit = UINT64_MAX;
    for (size_t i = 0; i < SMT_COUNT(parts); i++) {
        SMT_TRY(check_type(b, parts[i]));
        limit = smt_min_u64(limit, reach(b, smt_matrix_dtype(parts[i])));
    }
    smt_expert_layout *layout = &b->out->layers[index];
    layout->first_item = b->out->n_items;
    layout->up = plane_bytes(parts[0]);
    layout->down = layout->up + plane_bytes(parts[1]);
    layout->stride = layout->down + plane_bytes(parts[2]);
    uint64_t fit = limit / layout->stride;
    uint32_t n_experts = b->out->n_experts;
    if (n_experts == 0) return SMT_OK;
    layout->per_window = (uint32_t)smt_min_u64(fit, n_experts);
    layout->n_windows = layout->per_window ? smt_div_up(n_experts, layout->per_window) : UINT32_MAX;
    if (smt_kernel_windows(layout->n_windows) == 0)
        return SMT_FAIL(b->err, SMT_UNSUPPORTED,
                        "layer %u: %u experts of %llu bytes need more than 16 windows of %llu bytes on this device", index,
                        n_experts, (unsigned long long)layout->stride, (unsigned long long)limit);
    for (uint32_t e = b->out->range.first_expert; e < b->out->range.end_expert; e++) {
        smt_item *item = add(b);
        if (!item) return SMT_MEMORY;
        item->layer = index;
        item->expert = e;
        item->bytes = layout->stride;
    }
    return SMT_OK;
}

static smt_status add_layer(builder *b, uint32_t index) {
    const smt_model_layer *layer = &b->model->layers[index];
    const smt_matrix *matrices[SMT_MODEL_LAYER_MATRICES];
    bool plain_float[SMT_MODEL_LAYER_MATRICES];
    uint32_t n = smt_model_layer_matrices(layer, matrices, plain_float);
    for (uint32_t i = 0; i < n && !b->out->range.experts_only; i++)
        if (!smt_model_is_routed(layer, matrices[i])) SMT_TRY(add_matrix(b, matrices[i], index));
    return layer->moe ? add_experts(b, layer, index) : SMT_OK;
}

smt_status smt_items_create(const smt_model *model, const smt_caps *caps, smt_items *out, smt_error *err) {
    const smt_items_range whole = {.last = model->n_layers, .embedding = true, .head = true};
    return smt_items_create_range(model, caps, &whole, out, err);
}

smt_status smt_items_create_range(const smt_model *model, const smt_caps *caps, const smt_items_range *range, smt_items *out,
                                  smt_error *err) {
    uint64_t storage = smt_min_u64(caps->max_storage_range, caps->max_allocation); /* a window lies in one allocation */
    uint64_t texels = smt_caps_texels(caps) ? smt_min_u64(16ull * caps->max_texels, caps->max_allocation) : 0;
    *out = (smt_items){.range = *range,
                       .window_limit = smt_min_u64(storage, WINDOW_MOST) & ~(uint64_t)(ITEM_ALIGN - 1),
                       .texel_limit = smt_min_u64(texels, WINDOW_MOST) & ~(uint64_t)(ITEM_ALIGN - 1)};
    builder b = {.model = model, .out = out, .err = err};
    if (!range->shares_experts) out->range.end_expert = model->n_experts;
    out->n_experts = out->range.end_expert - out->range.first_expert;
    out->layers = smt_alloc(model->n_layers, sizeof *out->layers);
    smt_status status = out->layers ? SMT_OK : SMT_FAIL(err, SMT_MEMORY, "out of memory for %u layers", model->n_layers);
    if (status == SMT_OK && range->embedding) status = add_matrix(&b, &model->token_embd, UINT32_MAX);
    uint32_t last = range->experts_only ? model->n_layers : range->last;
    for (uint32_t i = range->first; status == SMT_OK && i < last; i++) status = add_layer(&b, i);
    if (status == SMT_OK && range->head) status = add_matrix(&b, &model->output_norm, UINT32_MAX);
    if (status == SMT_OK && range->head) status = add_matrix(&b, &model->output, UINT32_MAX);
    if (status != SMT_OK) smt_items_free(out);
    return status;
}

void smt_items_free(smt_items *items) {
    smt_free(items->items);
    smt_free(items->layers);
    *items = (smt_items){0};
}

/* Two matrices are the same when they view the same rows of the same tensor (a tied output is the embedding table). */
static bool same_view(const smt_matrix *a, const smt_matrix *b) {
    return a->tensor == b->tensor && a->row == b->row && a->transposed == b->transposed && a->rows == b->rows;
}

uint32_t smt_items_find(const smt_items *items, const smt_matrix *matrix) {
    for (uint32_t i = 0; i < items->n_items; i += items->items[i].matrix ? 1 : items->n_experts)
        if (items->items[i].matrix && same_view(items->items[i].matrix, matrix)) return i;
    return UINT32_MAX;
}
