/* graph_ffn.c: the feed-forward half of a layer: dense, or router, expert lists, grouped expert products and the ordered sum.
 * Gate and up run in one kernel where their types agree and neither has a bias; else two products and a swiglu.
 *
 * Nodes stand in the order that lets independent ones share a stage: the shared expert beside router and choice. A step of a single row
 * saves two stages: its expert list follows from the choice alone, and, where the products are those of
 * processors, its experts are summed while their down products are made. */
#include "graph/graph_internal.h"

const smt_matrix smt_no_bias;

uint32_t smt_build_gated(smt_builder *b, const smt_matrix *gate, const smt_matrix *gate_bias, const smt_matrix *up,
                         const smt_matrix *up_bias, uint32_t x, const char *label) {
    uint32_t y = smt_build_scratch(b, b->graph->shape.rows, gate->rows);
    smt_matmul_args args = {.w = gate,
                            .w2 = up,
                            .in = smt_plain(x),
                            .y = y,
                            .x_stride = smt_stride(gate->k),
                            .y_stride = smt_stride(gate->rows),
                            .residual = SMT_NO_VALUE,
                            .label = label};
    if (smt_matrix_dtype(gate) == smt_matrix_dtype(up) && !gate_bias->tensor && !up_bias->tensor) {
        smt_build_matmul(b, &args);
        return y;
    }
    uint32_t g = smt_build_biased(b, gate, gate_bias, x, SMT_NO_VALUE, label);
    uint32_t u = smt_build_biased(b, up, up_bias, x, SMT_NO_VALUE, label);
    smt_build_node(b, &(smt_node){.key = {.kernel = SMT_KERNEL_SWIGLU, .windows = 1},
                                  .layer = b->layer,
                                  .buffers = {g, u, y, b->step},
                                  .n_buffers = 4,
                                  .writes = 1 << 2,
                                  .push.swiglu = {.n = gate->rows, .stride = smt_stride(gate->rows), .per_entry = 1},
                                  .groups = {smt_div_up(gate->rows, 64), b->graph->shape.rows, 1},
                                  .indirect = SMT_NO_VALUE,
                                  .label = "swiglu"});
    return y;
}

smt_stream smt_build_ffn(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm) {
    uint32_t hidden = smt_build_gated(b, &layer->gate, &layer->gate_bias, &layer->up, &layer->up_bias, in.normed, "ffn gate/up");
    return smt_build_with_norm(b, &layer->down, &layer->down_bias, hidden, in.x, norm, "ffn down");
}

static uint32_t expert_bound(const smt_model *m) {
    uint32_t experts = 64;
    while (experts < m->n_experts) experts *= 2;
    return experts;
}

smt_expert_work smt_build_work(smt_builder *b, const smt_model_layer *layer) {
    const smt_model *m = b->model;
    uint32_t rows = b->graph->shape.rows;
    bool gated = smt_matrix_dtype(&layer->gate_exps) == smt_matrix_dtype(&layer->up_exps);
    smt_expert_work w = {.single = rows == 1 && !b->items->range.shares_experts, .entries = rows * m->n_used};
    w.columns = smt_kernel_expert_columns(b->caps, rows, m->n_used, m->n_experts);
    w.tiles_most = smt_min_u32(w.entries, w.entries / w.columns + m->n_experts);
    w.entries_word = WORK_HEAD + WORK_TILE_WORDS * w.entries; /* a tile holds at least one entry */
    w.up_blocks = smt_div_up(layer->gate_exps.rows, smt_kernel_matmul_rows(b->caps, w.columns, gated));
    w.down_blocks = smt_div_up(layer->down_exps.rows, smt_kernel_matmul_rows(b->caps, w.columns, false));
    w.ids = smt_build_scratch(b, 1, w.entries);
    w.weights = smt_build_scratch(b, 1, w.entries);
    w.list = smt_build_scratch(b, 1, w.entries_word + w.entries);
    w.table = smt_build_value(b, SMT_VALUE_EXPERTS, b->layer, 4ull * EXPERT_WORDS * m->n_experts);
    return w;
}

void smt_build_route(smt_builder *b, const smt_model_layer *layer, const smt_expert_work *w, uint32_t logits) {
    const smt_model *m = b->model;
    uint32_t bias = layer->router_bias.tensor ? smt_items_find(b->items, &layer->router_bias) : SMT_NO_VALUE;
    smt_node node = {.key = {.kernel = SMT_KERNEL_ROUTE,
                             .windows = 1,
                             .sigmoid = m->gate == SMT_GATE_SIGMOID,
                             .top2 = m->group_rule == SMT_GROUP_TOP2,
                             .list = w->single,
                             .experts = expert_bound(m)},
                     .windows = SMT_WINDOWS_ITEMS,
                     .items = {bias != SMT_NO_VALUE ? bias : smt_items_find(b->items, &layer->ffn_norm), SMT_NO_VALUE},
                     .layer = b->layer,
                     .buffers = {logits, w->ids, w->weights, b->step, w->list},
                     .n_buffers = w->single ? 5 : 4,
                     .writes = 1 << 1 | 1 << 2 | 1 << 4,
                     .push.route = {.n_experts = m->n_experts,
                                    .n_used = m->n_used,
                                    .n_groups = m->n_groups,
                                    .n_groups_used = m->n_groups_used,
                                    .norm_weights = m->norm_weights,
                                    .has_bias = bias != SMT_NO_VALUE,
                                    .logit_stride = smt_stride(m->n_experts),
                                    .weight_scale = m->weight_scale,
                                    .entries_word = w->entries_word},
                     .groups = {b->graph->shape.rows, 1, 1},
                     .indirect = SMT_NO_VALUE,
                     .label = "route"};
    smt_build_node(b, &node);
}

void smt_build_lists(smt_builder *b, const smt_expert_work *w) {
    const smt_model *m = b->model;
    smt_build_node(b, &(smt_node){.key = {.kernel = SMT_KERNEL_GROUP, .windows = 1, .experts = expert_bound(m)},
                                  .layer = b->layer,
                                  .buffers = {w->ids, w->list, b->step},
                                  .n_buffers = 3,
                                  .writes = 1 << 1,
                                  .push.group = {.first_expert = b->items->range.first_expert,
                                                 .end_expert = b->items->range.end_expert,
                                                 .n_used = m->n_used,
                                                 .columns = w->columns,
                                                 .up_blocks = w->up_blocks,
                                                 .down_blocks = w->down_blocks,
                                                 .entries_word = w->entries_word,
                                                 .max_entries = w->entries},
                                  .groups = {1, 1, 1},
                                  .indirect = SMT_NO_VALUE,
                                  .label = "expert lists"});
}

smt_node smt_expert_node(const smt_builder *b, const smt_expert_work *w, const smt_matrix *matrix, bool gated,
                         uint32_t table_word, uint32_t x, uint32_t x_div, uint32_t y, const char *label) {
    bool down = table_word == EXPERT_DOWN;
    smt_kernel_key key = {.kernel = SMT_KERNEL_MATMUL,
                          .windows = smt_kernel_windows(b->items->layers[b->layer].n_windows),
                          .type = (uint32_t)smt_matrix_dtype(matrix),
                          .columns = w->columns,
                          .gated = gated,
                          .expert = 1};
    smt_build_precision(b, &key);
    return (smt_node){.key = key,
                      .windows = SMT_WINDOWS_EXPERTS,
                      .layer = b->layer,
                      .buffers = {x, y, SMT_NO_VALUE, SMT_NO_VALUE, w->table, w->list},
                      .n_buffers = 6,
                      .writes = 1 << 1,
                      .push.matmul = {.row_bytes = (uint32_t)smt_quant_device_row_bytes(smt_matrix_dtype(matrix), matrix->k),
                                      .k = matrix->k,
                                      .rows = matrix->rows,
                                      .x_stride = smt_stride(matrix->k),
                                      .y_stride = smt_stride(matrix->rows),
                                      .table_word = table_word,
                                      .entries_word = w->entries_word,
                                      .x_div = x_div},
                      .groups = {down ? w->down_blocks : w->up_blocks, w->tiles_most, 1},
                      .indirect = w->single ? SMT_NO_VALUE : w->list,
                      .indirect_word = down ? WORK_GRID_DOWN : WORK_GRID_UP,
                      .work = (double)w->entries * matrix->rows * matrix->k * (gated ? 2 : 1),
                      .label = label};
}

uint32_t smt_build_expert_hidden(smt_builder *b, const smt_model_layer *layer, const smt_expert_work *w, uint32_t normed) {
    uint32_t n_used = b->model->n_used, n_ff = layer->gate_exps.rows, hidden = smt_build_scratch(b, w->entries, n_ff);
    if (smt_matrix_dtype(&layer->gate_exps) == smt_matrix_dtype(&layer->up_exps)) {
        smt_node both = smt_expert_node(b, w, &layer->gate_exps, true, EXPERT_GATE, normed, n_used, hidden, "experts gate/up");
        smt_build_node(b, &both);
        return hidden;
    }
    uint32_t gate = smt_build_scratch(b, w->entries, n_ff), up = smt_build_scratch(b, w->entries, n_ff);
    smt_node nodes[] = {smt_expert_node(b, w, &layer->gate_exps, false, EXPERT_GATE, normed, n_used, gate, "experts gate"),
                        smt_expert_node(b, w, &layer->up_exps, false, EXPERT_UP, normed, n_used, up, "experts up")};
    for (size_t i = 0; i < SMT_COUNT(nodes); i++) smt_build_node(b, &nodes[i]);
    smt_build_node(b, &(smt_node){.key = {.kernel = SMT_KERNEL_SWIGLU, .windows = 1},
                                  .layer = b->layer,
                                  .buffers = {gate, up, hidden, b->step},
                                  .n_buffers = 4,
                                  .writes = 1 << 2,
                                  .push.swiglu = {.n = n_ff, .stride = smt_stride(n_ff), .per_entry = n_used},
                                  .groups = {smt_div_up(n_ff, 64), w->entries, 1},
                                  .indirect = SMT_NO_VALUE,
                                  .label = "experts swiglu"});
    return hidden;
}

/* Down products of the entries, then the ordered sum with shared expert (or SMT_NO_VALUE) and residual. */
static uint32_t build_down_and_combine(smt_builder *b, const smt_model_layer *layer, const smt_expert_work *w, uint32_t hidden,
                                       uint32_t shared_y, uint32_t residual) {
    const smt_model *m = b->model;
    uint32_t y = smt_build_scratch(b, w->entries, m->n_embd), out = smt_build_scratch(b, b->graph->shape.rows, m->n_embd);
    uint32_t stride = smt_stride(m->n_embd);
    smt_node down = smt_expert_node(b, w, &layer->down_exps, false, EXPERT_DOWN, hidden, 1, y, "experts down");
    smt_build_node(b, &down);
    smt_build_node(
        b, &(smt_node){.key = {.kernel = SMT_KERNEL_COMBINE, .windows = 1},
                       .layer = b->layer,
                       .buffers = {y, shared_y == SMT_NO_VALUE ? y : shared_y, residual, out, w->ids, w->weights, b->step},
                       .n_buffers = 7,
                       .writes = 1 << 3,
                       .push.combine = {.n_embd = m->n_embd,
                                        .n_used = m->n_used,
                                        .n_experts = m->n_experts,
                                        .n_ranges = smt_graph_ranges(m),
                                        .y_stride = stride,
                                        .shared_stride = stride,
                                        .res_stride = stride,
                                        .out_stride = stride,
                                        .has_shared = shared_y != SMT_NO_VALUE},
                       .groups = {smt_div_up(m->n_embd, 64), b->graph->shape.rows, 1},
                       .indirect = SMT_NO_VALUE,
                       .label = "combine"});
    return out;
}

/* The same for a single row, in one kernel; a norm may follow in it. */
static smt_stream build_down_summed(smt_builder *b, const smt_model_layer *layer, const smt_expert_work *w, uint32_t hidden,
                                    uint32_t shared_y, uint32_t residual, const smt_matrix *norm) {
    const smt_model *m = b->model;
    smt_stream out = {.x = smt_build_scratch(b, 1, m->n_embd), .normed = SMT_NO_VALUE};
    smt_node node = smt_expert_node(b, w, &layer->down_exps, false, EXPERT_DOWN, hidden, 1, out.x, "experts down and sum");
    node.key.kernel = SMT_KERNEL_MOE_DOWN;
    node.buffers[2] = residual;
    node.buffers[3] = w->weights;
    node.buffers[6] = SMT_NO_VALUE; /* of the codebooks */
    node.buffers[7] = shared_y == SMT_NO_VALUE ? residual : shared_y;
    node.n_buffers = 8;
    node.push.matmul.range_size = smt_graph_range_size(m);
    node.push.matmul.has_shared = shared_y != SMT_NO_VALUE;
    node.groups[1] = 1;
    if (norm) {
        out.normed = smt_build_scratch(b, 1, m->n_embd);
        smt_build_norm_after(b, &node, norm, w->down_blocks, out.normed);
    }
    smt_build_node(b, &node);
    return out;
}

/* The current layer's place among those with experts. */
static uint32_t moe_index(const smt_builder *b) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->layer; i++) n += b->model->layers[i].moe;
    return n;
}

void smt_build_routing(smt_builder *b, const smt_expert_work *w) {
    const smt_model *m = b->model;
    uint32_t moe_layer = moe_index(b), rows = b->graph->shape.rows;
    if (b->status != SMT_OK || !b->graph->shape.keep_routing) return;
    uint64_t bytes = 4ull * rows * m->n_used;
    smt_build_capture(b, w->ids, smt_graph_capture_ids(m, rows, moe_layer), bytes, b->capture);
    smt_build_capture(b, w->weights, smt_graph_capture_weights(m, rows, moe_layer), bytes, b->capture);
}

void smt_build_fetch(smt_builder *b, uint32_t ids, uint64_t at) {
    smt_build_node(b, &(smt_node){.host = SMT_HOST_EXPERTS,
                                  .copy_to = at,
                                  .buffers = {ids},
                                  .n_buffers = 1,
                                  .indirect = SMT_NO_VALUE,
                                  .layer = b->layer,
                                  .label = "experts from the file"});
}

smt_stream smt_build_moe(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm) {
    if (b->items->range.shares_experts) return smt_build_shared_moe(b, layer, in, norm);
    uint32_t shared_hidden = SMT_NO_VALUE, shared_y = SMT_NO_VALUE;
    smt_expert_work w = smt_build_work(b, layer);
    uint32_t logits = smt_build_linear(b, &layer->router, in.normed, SMT_NO_VALUE, "router");
    if (layer->gate_shexp.tensor)
        shared_hidden =
            smt_build_gated(b, &layer->gate_shexp, &smt_no_bias, &layer->up_shexp, &smt_no_bias, in.normed, "shared gate/up");
    smt_build_route(b, layer, &w, logits);
    if (layer->gate_shexp.tensor) shared_y = smt_build_linear(b, &layer->down_shexp, shared_hidden, SMT_NO_VALUE, "shared down");
    if (!w.single) smt_build_lists(b, &w);
    bool fetch = b->graph->shape.keep_routing && b->items->layers[b->layer].from_file;
    if (fetch) { /* the routing goes to the host first */
        smt_build_routing(b, &w);
        smt_build_fetch(b, b->capture, smt_graph_capture_ids(b->model, b->graph->shape.rows, moe_index(b)));
    }
    uint32_t hidden = smt_build_expert_hidden(b, layer, &w, in.normed);
    /* In one kernel a row's experts come one after another; a GPU has the lanes to take them side by side. */
    bool summed = w.single && b->caps->family == SMT_FAMILY_ROWS;
    smt_stream out = {.x = SMT_NO_VALUE, .normed = SMT_NO_VALUE};
    if (summed)
        out = build_down_summed(b, layer, &w, hidden, shared_y, in.x, norm);
    else
        out.x = build_down_and_combine(b, layer, &w, hidden, shared_y, in.x);
    if (!fetch) smt_build_routing(b, &w);
    if (!summed) out = smt_build_norm_of(b, out.x, norm);
    return out;
}
