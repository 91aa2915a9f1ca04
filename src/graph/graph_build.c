/* graph_build.c: the common parts of a step: embedding, norms, matrix products, the layer loop, the output head. */
#include "graph/graph_internal.h"

uint32_t smt_build_value(smt_builder *b, smt_value_kind kind, uint32_t layer, uint64_t bytes) {
    smt_graph *g = b->graph;
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    b->status = smt_grow((void **)&g->values, &g->values_capacity, g->n_values + 1, sizeof(smt_value), b->err);
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    g->values[g->n_values] = (smt_value){
        .kind = kind, .device = b->device, .layer = layer, .bytes = smt_align_up(bytes, 16), .first_node = UINT32_MAX};
    return (uint32_t)g->n_values++;
}

uint32_t smt_build_scratch(smt_builder *b, uint32_t rows, uint32_t n) {
    return smt_build_value(b, SMT_VALUE_SCRATCH, b->layer, (uint64_t)rows * smt_stride(n) * 4);
}

static void touch(smt_graph *g, uint32_t value, uint32_t node) {
    if (value == SMT_NO_VALUE) return;
    smt_value *v = &g->values[value];
    if (v->first_node == UINT32_MAX) v->first_node = node;
    v->last_node = node;
}

/* Nodes are built without a thought for codebooks: a type that reads them gets their binding here. */
static void bind_codebooks(const smt_builder *b, smt_node *node) {
    if (node->copy || node->host || !smt_kernel_decodes(node->key.kernel) || !smt_quant_has_codebook((smt_dtype)node->key.type))
        return;
    while (node->n_buffers < CODEBOOK_BINDING) node->buffers[node->n_buffers++] = SMT_NO_VALUE;
    node->buffers[CODEBOOK_BINDING - 1] = b->codebooks;
}

void smt_build_node(smt_builder *b, const smt_node *node) {
    smt_graph *g = b->graph;
    if (b->status != SMT_OK) return;
    b->status = smt_grow((void **)&g->nodes, &g->nodes_capacity, g->n_nodes + 1, sizeof(smt_node), b->err);
    if (b->status != SMT_OK) return;
    uint32_t index = (uint32_t)g->n_nodes++;
    g->nodes[index] = *node;
    g->nodes[index].device = b->device;
    bind_codebooks(b, &g->nodes[index]);
    for (uint32_t i = 0; i < g->nodes[index].n_buffers; i++) touch(g, g->nodes[index].buffers[i], index);
    touch(g, node->indirect, index);
}

void smt_build_copy(smt_builder *b, uint32_t from, uint32_t to, uint64_t at, uint64_t bytes, const char *label) {
    smt_build_node(b, &(smt_node){.copy = true,
                                  .copy_to = at,
                                  .copy_bytes = bytes,
                                  .buffers = {from, to},
                                  .n_buffers = 2,
                                  .writes = 1 << 1,
                                  .indirect = SMT_NO_VALUE,
                                  .layer = b->layer,
                                  .label = label});
}

void smt_build_capture(smt_builder *b, uint32_t value, uint64_t to, uint64_t bytes, uint32_t capture) {
    smt_build_copy(b, value, capture, to, bytes, "capture");
}

static uint32_t find_item(smt_builder *b, const smt_matrix *matrix) {
    uint32_t item = smt_items_find(b->items, matrix);
    if (item == UINT32_MAX && b->status == SMT_OK)
        b->status = SMT_FAIL(b->err, SMT_INTERNAL, "layer %u: a matrix of the graph is not among the items", b->layer);
    return item;
}

uint32_t smt_build_norm(smt_builder *b, const smt_matrix *weight, uint32_t x, bool out_list, const char *label) {
    uint32_t rows = out_list ? b->graph->shape.out_rows : b->graph->shape.rows;
    uint32_t y = smt_build_scratch(b, rows, weight->k), item = find_item(b, weight);
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    smt_build_node(b, &(smt_node){.key = {.kernel = SMT_KERNEL_NORM, .windows = 1},
                                  .windows = SMT_WINDOWS_ITEMS,
                                  .items = {item, SMT_NO_VALUE},
                                  .layer = b->layer,
                                  .buffers = {x, y, b->step},
                                  .n_buffers = 3,
                                  .writes = 1 << 1,
                                  .push.norm = {.k = weight->k,
                                                .x_stride = smt_stride(weight->k),
                                                .y_stride = smt_stride(weight->k),
                                                .use_list = out_list,
                                                .count_word = out_list ? STEP_N_OUT : STEP_N_ROWS,
                                                .eps = b->model->norm_eps},
                                  .groups = {rows, 1, 1},
                                  .indirect = SMT_NO_VALUE,
                                  .label = label});
    return y;
}

void smt_build_norm_after(smt_builder *b, smt_node *node, const smt_matrix *norm, uint32_t groups, uint32_t normed) {
    node->key.norm = 1;
    while (node->n_buffers < 8) node->buffers[node->n_buffers++] = SMT_NO_VALUE;
    node->buffers[8] = smt_build_value(b, SMT_VALUE_WEIGHT, find_item(b, norm), 0);
    node->buffers[9] = normed;
    node->buffers[10] = b->counter;
    node->n_buffers = 11;
    node->writes |= 1 << 9 | 1 << 10;
    node->push.matmul.norm_k = norm->k;
    node->push.matmul.norm_groups = groups;
    node->push.matmul.eps = b->model->norm_eps;
}

/* Workgroups of all parts of a matrix. */
static uint32_t part_groups(const smt_builder *b, const smt_matrix *w, uint32_t first) {
    uint32_t n = 0;
    for (uint32_t i = first; i < b->items->n_items && b->items->items[i].matrix == w; i++)
        n += smt_div_up(b->items->items[i].rows, smt_kernel_matmul_rows(b->caps, 1, false));
    return n;
}

void smt_build_matmul(smt_builder *b, const smt_matmul_args *a) {
    uint32_t columns_max = a->out_rows ? b->graph->shape.out_rows : b->graph->shape.rows;
    uint32_t columns = smt_kernel_columns(b->caps, columns_max);
    uint32_t rows_per_group = smt_kernel_matmul_rows(b->caps, columns, a->w2 != NULL);
    bool biased = a->bias && a->bias->tensor;
    uint32_t first = find_item(b, a->w), second = a->w2 ? find_item(b, a->w2) : biased ? find_item(b, a->bias) : SMT_NO_VALUE;
    if (b->status != SMT_OK) return;
    const smt_item *items = b->items->items;
    for (uint32_t i = first; i < b->items->n_items && items[i].matrix == items[first].matrix; i++) {
        uint32_t rows = a->w->n_planes > 1 ? a->w->rows : items[i].rows;
        smt_node node = {
            .key = {.kernel = SMT_KERNEL_MATMUL,
                    .windows = second == SMT_NO_VALUE ? 1 : 4,
                    .type = (uint32_t)smt_matrix_dtype(a->w),
                    .columns = columns,
                    .gated = a->w2 != NULL},
            .windows = SMT_WINDOWS_ITEMS,
            .items = {i, a->w2 ? second + (i - first) : second},
            .layer = b->layer,
            .buffers = {a->in.x, a->y, a->residual == SMT_NO_VALUE ? a->in.x : a->residual, b->step}, /* every binding is bound */
            .n_buffers = 4,
            .writes = 1 << 1,
            .push.matmul = {.row_bytes = items[i].row_bytes,
                            .k = a->w->k,
                            .rows = rows,
                            .w_batch_off16 = a->w->n_planes > 1 ? rows * items[i].row_bytes / 16 : 0,
                            .x_stride = a->x_stride,
                            .x_batch = a->x_batch,
                            .y_stride = a->y_stride,
                            .y_batch = a->y_batch,
                            .y_row = a->w->n_planes > 1 ? 0 : items[i].row0,
                            .bias = biased,
                            .residual = a->residual != SMT_NO_VALUE,
                            .res_stride = a->y_stride,
                            .count_word = a->out_rows ? STEP_N_OUT : STEP_N_ROWS,
                            .x_div = 1},
            .groups = {smt_div_up(rows, rows_per_group), smt_div_up(columns_max, columns), a->w->n_planes},
            .indirect = SMT_NO_VALUE,
            .work = (double)rows * a->w->k * a->w->n_planes * columns_max * (a->w2 ? 2 : 1),
            .label = a->label};
        smt_build_precision(b, &node.key);
        if (a->in.merge) {
            node.key.merge = a->w->k / 4;
            node.buffers[node.n_buffers++] = a->in.sums;
            node.push.matmul.max_chunks = b->graph->max_chunks;
        }
        if (a->norm) smt_build_norm_after(b, &node, a->norm, part_groups(b, items[first].matrix, first), a->normed);
        smt_build_node(b, &node);
    }
}

uint32_t smt_build_linear(smt_builder *b, const smt_matrix *w, uint32_t x, uint32_t residual, const char *label) {
    return smt_build_biased(b, w, NULL, x, residual, label);
}

uint32_t smt_build_biased(smt_builder *b, const smt_matrix *w, const smt_matrix *bias, uint32_t x, uint32_t residual,
                          const char *label) {
    uint32_t y = smt_build_scratch(b, b->graph->shape.rows, w->rows);
    smt_build_matmul(b, &(smt_matmul_args){.w = w,
                                           .bias = bias,
                                           .in = smt_plain(x),
                                           .y = y,
                                           .x_stride = smt_stride(w->k),
                                           .y_stride = smt_stride(w->rows),
                                           .residual = residual,
                                           .label = label});
    return y;
}

smt_stream smt_build_norm_of(smt_builder *b, uint32_t x, const smt_matrix *norm) {
    return (smt_stream){.x = x, .normed = norm ? smt_build_norm(b, norm, x, false, "norm") : SMT_NO_VALUE};
}

smt_stream smt_build_with_norm(smt_builder *b, const smt_matrix *w, const smt_matrix *bias, uint32_t x, uint32_t residual,
                               const smt_matrix *norm, const char *label) {
    uint32_t rows = b->graph->shape.rows;
    if (rows > 1 || !norm) return smt_build_norm_of(b, smt_build_biased(b, w, bias, x, residual, label), norm);
    smt_stream out = {.x = smt_build_scratch(b, rows, w->rows), .normed = smt_build_scratch(b, rows, w->rows)};
    smt_build_matmul(b, &(smt_matmul_args){.w = w,
                                           .bias = bias,
                                           .in = smt_plain(x),
                                           .y = out.x,
                                           .norm = norm,
                                           .normed = out.normed,
                                           .x_stride = smt_stride(w->k),
                                           .y_stride = smt_stride(w->rows),
                                           .residual = residual,
                                           .label = label});
    return out;
}

/* `given`: the capture value with embeddings of some rows, or SMT_NO_VALUE. Rows with a token are written over. */
static uint32_t build_embed(smt_builder *b, uint32_t given) {
    const smt_matrix *w = &b->model->token_embd;
    uint32_t y = smt_build_scratch(b, b->graph->shape.rows, w->k), first = find_item(b, w);
    if (b->status != SMT_OK) return SMT_NO_VALUE;
    const smt_item *items = b->items->items;
    if (given != SMT_NO_VALUE) smt_build_capture(b, given, 0, 4ull * b->graph->shape.rows * w->k, y);
    for (uint32_t i = first; i < b->items->n_items && items[i].matrix == w; i++)
        smt_build_node(b, &(smt_node){.key = {.kernel = SMT_KERNEL_EMBED, .windows = 1, .type = (uint32_t)smt_matrix_dtype(w)},
                                      .windows = SMT_WINDOWS_ITEMS,
                                      .items = {i, SMT_NO_VALUE},
                                      .layer = UINT32_MAX,
                                      .buffers = {y, b->step},
                                      .n_buffers = 2,
                                      .writes = 1 << 0,
                                      .push.embed = {.row_bytes = items[i].row_bytes,
                                                     .row0 = items[i].row0,
                                                     .rows = items[i].rows,
                                                     .k = w->k,
                                                     .y_stride = smt_stride(w->k)},
                                      .groups = {b->graph->shape.rows, 1, 1},
                                      .indirect = SMT_NO_VALUE,
                                      .label = "embed"});
    return y;
}

static void build_head(smt_builder *b, smt_stream in) {
    const smt_model *m = b->model;
    const smt_graph_shape *shape = &b->graph->shape;
    uint32_t logits = smt_build_value(b, shape->sample ? SMT_VALUE_SCRATCH : SMT_VALUE_LOGITS, UINT32_MAX,
                                      (uint64_t)shape->out_rows * m->n_vocab * 4);
    uint32_t normed = in.normed;
    if (normed == SMT_NO_VALUE) normed = smt_build_norm(b, &m->output_norm, in.x, true, "output norm");
    smt_build_matmul(b, &(smt_matmul_args){.w = &m->output,
                                           .in = smt_plain(normed),
                                           .y = logits,
                                           .x_stride = smt_stride(m->n_embd),
                                           .y_stride = m->n_vocab,
                                           .residual = SMT_NO_VALUE,
                                           .out_rows = true,
                                           .label = "output head"});
    if (shape->sample) smt_build_sample(b, logits);
}

/* A value that every device has once. */
static uint32_t own_value(smt_builder *b, smt_value_kind kind, uint64_t bytes) {
    for (uint32_t i = 0; b->status == SMT_OK && i < b->graph->n_values; i++)
        if (b->graph->values[i].kind == kind && b->graph->values[i].device == b->device) return i;
    return smt_build_value(b, kind, UINT32_MAX, bytes);
}

void smt_build_enter(smt_builder *b, uint32_t device) {
    const smt_model *m = b->model;
    const smt_graph_shape *shape = &b->graph->shape;
    b->device = device;
    b->items = b->devices[device].items;
    b->caps = b->devices[device].caps;
    b->step = own_value(b, SMT_VALUE_STEP, smt_graph_step_bytes(shape->rows));
    b->rope = own_value(b, SMT_VALUE_ROPE, smt_graph_rope_bytes(m, shape->n_ctx));
    b->blocks = own_value(b, SMT_VALUE_BLOCKS, 4 * (uint64_t)shape->n_blocks);
    b->counter = own_value(b, SMT_VALUE_COUNTER, SMT_COUNTER_BYTES);
    b->codebooks = b->capture = SMT_NO_VALUE;
    if (b->items->codebooks) b->codebooks = own_value(b, SMT_VALUE_CODEBOOKS, sizeof smt_quant_codebooks);
    if (shape->keep_hidden || shape->keep_routing || shape->embeddings)
        b->capture = own_value(b, SMT_VALUE_CAPTURE, smt_graph_capture_bytes(m, shape->rows));
}

/* The hidden states of all rows, as slot `slot` of what is captured. */
static void keep_hidden(smt_builder *b, uint32_t x, uint32_t slot) {
    const smt_graph_shape *shape = &b->graph->shape;
    if (!shape->keep_hidden) return;
    uint64_t bytes = (uint64_t)shape->rows * b->model->n_embd * 4;
    smt_build_capture(b, x, smt_graph_capture_hidden(b->model, shape->rows, slot), bytes, b->capture);
}

/* What follows a layer: the norm of the next one, unless another device makes it; of a step of one row the head's. A step of many rows gives
 * logits for some of them: the head makes the norm of those. */
static const smt_matrix *next_norm(const smt_builder *b, uint32_t layer) {
    const smt_model *m = b->model;
    if (layer + 1 < m->n_layers) return layer + 1 < b->items->range.last ? &m->layers[layer + 1].attn_norm : NULL;
    return b->graph->shape.rows == 1 && b->graph->shape.out_rows ? &m->output_norm : NULL;
}

static smt_stream build_layer(smt_builder *b, uint32_t index, smt_stream s) {
    const smt_model_layer *layer = &b->model->layers[index];
    b->layer = index;
    if (index == b->items->range.last && b->device + 1 < b->graph->n_parts) {
        uint32_t x = smt_build_hop(b, b->device + 1, s.x, b->model->n_embd);
        s = smt_build_norm_of(b, x, &layer->attn_norm);
    }
    s = b->model->mla ? smt_build_mla(b, layer, s, &layer->ffn_norm) : smt_build_gqa(b, layer, s, &layer->ffn_norm);
    s = layer->moe ? smt_build_moe(b, layer, s, next_norm(b, index)) : smt_build_ffn(b, layer, s, next_norm(b, index));
    keep_hidden(b, s.x, index + 1);
    return s;
}

static void build(smt_builder *b) {
    const smt_model *m = b->model;
    const smt_graph_shape *shape = &b->graph->shape;
    b->layer = UINT32_MAX;
    smt_build_enter(b, 0);
    uint32_t embedded = build_embed(b, shape->embeddings ? b->capture : SMT_NO_VALUE);
    smt_stream s = {.x = embedded, .normed = smt_build_norm(b, &m->layers[0].attn_norm, embedded, false, "norm")};
    keep_hidden(b, s.x, 0);
    for (uint32_t i = 0; i < m->n_layers && b->status == SMT_OK; i++) s = build_layer(b, i, s);
    b->layer = UINT32_MAX;
    if (shape->keep_hidden) keep_hidden(b, smt_build_norm(b, &m->output_norm, s.x, false, "output norm"), m->n_layers + 1);
    if (shape->out_rows) build_head(b, s);
}

/* What a submission takes where the caller cuts no finer (smt_graph_cut). */
#define SEGMENT_SECONDS 0.1

/* Kernels move activations and cached values four at a time. */
static smt_status check_multiples(const smt_model *m, smt_error *err) {
    const struct {
        const char *name;
        uint32_t value;
    } sizes[] = {{"the hidden size", m->n_embd},
                 {"the size of a query head", m->nope_dim + m->rope_dim},
                 {"the size of a value head", m->value_dim},
                 {"the latent rank", m->kv_rank}};
    for (size_t i = 0; i < SMT_COUNT(sizes); i++)
        if (sizes[i].value % 4)
            return SMT_FAIL(err, SMT_UNSUPPORTED, "%s is %u, the kernels need a multiple of 4", sizes[i].name, sizes[i].value);
    return SMT_OK;
}

/* How each device binds the cache. */
static smt_status divide_cache(const smt_builder *b, smt_error *err) {
    smt_graph *g = b->graph;
    const smt_graph_shape *shape = &g->shape;
    for (uint32_t i = 0; i < g->n_parts; i++) {
        uint64_t limit = b->devices[i].items->window_limit;
        smt_graph_part *part = &g->parts[i];
        part->blocks_per_window = smt_graph_blocks_per_window(b->model, shape->cache_f16, limit);
        part->n_cache_windows = smt_div_up(shape->n_blocks, smt_max_u32(part->blocks_per_window, 1));
        if (part->blocks_per_window == 0 || smt_kernel_windows(part->n_cache_windows) == 0)
            return SMT_FAIL(err, SMT_UNSUPPORTED, "a cache of %u blocks of %llu bytes a layer exceeds 16 windows of %llu bytes",
                            shape->n_blocks, (unsigned long long)smt_graph_block_bytes(b->model, shape->cache_f16),
                            (unsigned long long)limit);
    }
    return SMT_OK;
}

/* What follows from the nodes. */
static smt_status lay_out(const smt_builder *b, smt_error *err) {
    double most[SMT_GRAPH_DEVICES];
    SMT_TRY(smt_graph_find_stages(b->graph, err));
    for (uint32_t i = 0; i < b->graph->n_parts; i++) {
        const smt_graph_device *device = &b->devices[i];
        SMT_TRY(smt_graph_alloc(b->graph, i, smt_max_u32(device->caps->storage_align, 16), device->items->window_limit, err));
        most[i] = smt_graph_slowest(device->caps) * SEGMENT_SECONDS;
    }
    return smt_graph_cut(b->graph, most, err);
}

smt_status smt_graph_create_split(const smt_model *model, const smt_graph_device *devices, uint32_t n_devices,
                                  const smt_graph_shape *shape, smt_graph **out, smt_error *err) {
    *out = NULL;
    SMT_TRY(check_multiples(model, err));
    if (n_devices > SMT_GRAPH_DEVICES)
        return SMT_FAIL(err, SMT_UNSUPPORTED, "%u devices, a step runs on %d at most", n_devices, SMT_GRAPH_DEVICES);
    smt_graph *g = smt_alloc(1, sizeof *g);
    if (!g) return SMT_FAIL(err, SMT_MEMORY, "out of memory for a graph");
    g->shape = *shape;
    g->n_parts = n_devices;
    g->cache_row_words = smt_graph_row_words(model, shape->cache_f16);
    g->table_stride = smt_div_up(shape->n_ctx, SMT_BLOCK);
    g->coarse_words = smt_graph_coarse_words(model, shape->n_ctx);
    g->max_chunks = g->table_stride;
    smt_builder b = {.model = model, .devices = devices, .graph = g, .err = err};
    b.status = divide_cache(&b, err);
    if (b.status == SMT_OK) build(&b);
    if (b.status == SMT_OK) b.status = lay_out(&b, err);
    if (b.status != SMT_OK)
        smt_graph_free(g);
    else
        *out = g;
    return b.status;
}

smt_status smt_graph_create(const smt_model *model, const smt_items *items, const smt_caps *caps, const smt_graph_shape *shape,
                            smt_graph **out, smt_error *err) {
    return smt_graph_create_split(model, &(smt_graph_device){items, caps}, 1, shape, out, err);
}

void smt_graph_free(smt_graph *graph) {
    if (!graph) return;
    smt_free(graph->nodes);
    smt_free(graph->values);
    smt_free(graph->segments);
    smt_free(graph);
}
