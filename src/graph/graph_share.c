/* graph_share.c: a feed-forward layer whose experts several devices share.
 *
 *   first device    norm, router, choice | host | shared expert, its own experts -> parts |            | all parts, shared, residual
 *   each other one                       | hop  | its experts -> parts                    | host: hop  |
 *
 * Rows and choices of all go to every device, which makes the entries of its own experts and, for each of its id ranges, the sum that a single
 * device would make on its way (moe_parts.comp). The parts come back, at most one row of floats for each range and row, and are added in the
 * order of the ranges. So the bits are those of one device, whoever has which ranges.
 *
 * Between the two hops all devices work: their submissions do not wait for each other. A device that has none of the experts chosen sits out:
 * where groups are ranges, a token's experts are on few devices. Hops of every layer lie at the same place: the host has
 * waited for all that the layer before sent and brought when it begins to fill it again. */
#include "graph/graph_internal.h"

typedef struct sharing {
    const smt_model_layer *layer;
    uint32_t rows, ids, weights;       /* on their way from the first device */
    uint32_t parts[SMT_GRAPH_DEVICES]; /* and to it; of the first: of all ranges */
} sharing;

static uint64_t row_bytes(const smt_builder *b) { return 4ull * b->graph->shape.rows * smt_stride(b->model->n_embd); }

static uint64_t choice_bytes(const smt_builder *b) { return 4ull * b->graph->shape.rows * b->model->n_used; }

static uint32_t first_range(const smt_builder *b, uint32_t device) {
    return b->devices[device].items->range.first_expert / smt_graph_range_size(b->model);
}

/* Ranges of a device's own. */
static uint32_t count_ranges(const smt_builder *b, uint32_t device) {
    const smt_items_range *range = &b->devices[device].items->range;
    return smt_div_up(range->end_expert - range->first_expert, smt_graph_range_size(b->model));
}

static struct parts_params make_params(const smt_builder *b) {
    uint32_t stride = smt_stride(b->model->n_embd);
    return (struct parts_params){.n_embd = b->model->n_embd,
                                 .n_used = b->model->n_used,
                                 .n_ranges = smt_graph_ranges(b->model),
                                 .range_size = smt_graph_range_size(b->model),
                                 .first_range = first_range(b, b->device),
                                 .y_stride = stride,
                                 .part_rows = b->graph->shape.rows,
                                 .part_stride = stride,
                                 .shared_stride = stride,
                                 .res_stride = stride,
                                 .out_stride = stride};
}

/* The current device's experts, to its parts. */
static void build_parts(smt_builder *b, const smt_model_layer *layer, const smt_expert_work *w, uint32_t normed, uint32_t parts) {
    uint32_t y = smt_build_scratch(b, w->entries, b->model->n_embd);
    smt_build_lists(b, w);
    uint32_t hidden = smt_build_expert_hidden(b, layer, w, normed);
    smt_node down = smt_expert_node(b, w, &layer->down_exps, false, EXPERT_DOWN, hidden, 1, y, "experts down");
    smt_build_node(b, &down);
    smt_build_node(b, &(smt_node){.key = {.kernel = SMT_KERNEL_PARTS, .windows = 1},
                                  .layer = b->layer,
                                  .buffers = {y, parts, w->ids, w->weights, b->step},
                                  .n_buffers = 5,
                                  .writes = 1 << 1,
                                  .push.parts = make_params(b),
                                  .groups = {smt_div_up(b->model->n_embd, 64), b->graph->shape.rows, count_ranges(b, b->device)},
                                  .indirect = SMT_NO_VALUE,
                                  .label = "parts"});
}

/* The host brings those of the current device's experts that are wanted and stay in the file. */
static void build_fetch(smt_builder *b, const sharing *s) {
    if (b->graph->shape.keep_routing && b->items->layers[b->layer].from_file) smt_build_fetch(b, s->ids, 0);
}

/* All that a device other than the first does for the layer. */
static void build_elsewhere(smt_builder *b, uint32_t device, sharing *s) {
    smt_build_enter(b, device);
    smt_expert_work w = smt_build_work(b, s->layer);
    smt_build_node(b, &(smt_node){.host = SMT_HOST_CHOICE,
                                  .buffers = {s->ids},
                                  .n_buffers = 1,
                                  .indirect = SMT_NO_VALUE,
                                  .layer = b->layer,
                                  .label = "choice"});
    build_fetch(b, s);
    uint32_t rows = smt_build_receive(b, s->rows), ids = smt_build_receive(b, s->ids), weights = smt_build_receive(b, s->weights);
    uint32_t normed = smt_build_scratch(b, b->graph->shape.rows, b->model->n_embd);
    smt_build_copy(b, rows, normed, 0, row_bytes(b), "hop in");
    smt_build_copy(b, ids, w.ids, 0, choice_bytes(b), "hop in");
    smt_build_copy(b, weights, w.weights, 0, choice_bytes(b), "hop in");
    uint64_t bytes = row_bytes(b) * count_ranges(b, device);
    uint32_t parts = smt_build_value(b, SMT_VALUE_SCRATCH, b->layer, bytes);
    build_parts(b, s->layer, &w, normed, parts);
    s->parts[device] = smt_build_send(b, parts, bytes);
}

/* Brings the others' parts to the first device's, behind its own. */
static void gather(smt_builder *b, const sharing *s) {
    uint32_t arrived[SMT_GRAPH_DEVICES];
    for (uint32_t i = 1; i < b->graph->n_parts; i++) arrived[i] = smt_build_receive(b, s->parts[i]);
    for (uint32_t i = 1; i < b->graph->n_parts; i++)
        smt_build_copy(b, arrived[i], s->parts[0], first_range(b, i) * row_bytes(b), count_ranges(b, i) * row_bytes(b), "hop in");
}

static uint32_t build_join(smt_builder *b, uint32_t parts, uint32_t shared_y, uint32_t residual) {
    uint32_t out = smt_build_scratch(b, b->graph->shape.rows, b->model->n_embd);
    smt_node node = {.key = {.kernel = SMT_KERNEL_JOIN, .windows = 1},
                     .layer = b->layer,
                     .buffers = {parts, shared_y == SMT_NO_VALUE ? residual : shared_y, residual, out, b->step},
                     .n_buffers = 5,
                     .writes = 1 << 3,
                     .push.parts = make_params(b),
                     .groups = {smt_div_up(b->model->n_embd, 64), b->graph->shape.rows, 1},
                     .indirect = SMT_NO_VALUE,
                     .label = "join"};
    node.push.parts.has_shared = shared_y != SMT_NO_VALUE;
    smt_build_node(b, &node);
    return out;
}

smt_stream smt_build_shared_moe(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm) {
    sharing s = {.layer = layer};
    uint32_t shared_y = SMT_NO_VALUE;
    smt_build_reuse_hops(b);
    smt_expert_work w = smt_build_work(b, layer);
    smt_build_route(b, layer, &w, smt_build_linear(b, &layer->router, in.normed, SMT_NO_VALUE, "router"));
    s.rows = smt_build_send(b, in.normed, row_bytes(b));
    s.ids = smt_build_send(b, w.ids, choice_bytes(b));
    s.weights = smt_build_send(b, w.weights, choice_bytes(b));
    for (uint32_t i = 1; i < b->graph->n_parts; i++) build_elsewhere(b, i, &s);
    smt_build_enter(b, 0);
    if (layer->gate_shexp.tensor) {
        uint32_t hidden =
            smt_build_gated(b, &layer->gate_shexp, &smt_no_bias, &layer->up_shexp, &smt_no_bias, in.normed, "shared gate/up");
        shared_y = smt_build_linear(b, &layer->down_shexp, hidden, SMT_NO_VALUE, "shared down");
    }
    s.parts[0] = smt_build_value(b, SMT_VALUE_SCRATCH, b->layer, row_bytes(b) * smt_graph_ranges(b->model));
    build_fetch(b, &s);
    if (count_ranges(b, 0)) build_parts(b, layer, &w, in.normed, s.parts[0]);
    smt_build_routing(b, &w);
    gather(b, &s);
    return smt_build_norm_of(b, build_join(b, s.parts[0], shared_y, in.x), norm);
}
