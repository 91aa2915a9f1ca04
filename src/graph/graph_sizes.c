/* graph_sizes.c: byte counts that more than one room must compute alike. */
#include "graph/graph.h"

uint32_t smt_graph_row_words(const smt_model *model, bool f16) {
    uint32_t bytes = smt_model_cache_row(model) * (f16 ? 2u : 4u);
    return (uint32_t)smt_align_up(bytes, 16) / 4;
}

uint64_t smt_graph_block_bytes(const smt_model *model, bool f16) {
    return (uint64_t)smt_graph_row_words(model, f16) * 4 * SMT_BLOCK;
}

uint32_t smt_graph_blocks_per_window(const smt_model *model, bool f16, uint64_t window_limit) {
    return (uint32_t)smt_min_u64(window_limit / smt_graph_block_bytes(model, f16), 1u << 20);
}

uint32_t smt_graph_coarse_words(const smt_model *model, uint32_t n_ctx) {
    return smt_div_up(n_ctx, SMT_BLOCK) * model->rope_dim; /* pairs * {cos, sin} */
}

uint64_t smt_graph_rope_bytes(const smt_model *model, uint32_t n_ctx) {
    return 4 * ((uint64_t)smt_graph_coarse_words(model, n_ctx) + (uint64_t)SMT_BLOCK * model->rope_dim);
}

uint32_t smt_graph_range_size(const smt_model *model) {
    return smt_div_up(model->n_experts, model->n_groups > 1 ? model->n_groups : 8);
}

uint32_t smt_graph_ranges(const smt_model *model) {
    return model->n_experts ? smt_div_up(model->n_experts, smt_graph_range_size(model)) : 0;
}

uint64_t smt_graph_step_bytes(uint32_t max_rows) { return 4 * (STEP_HEAD + (uint64_t)STEP_ARRAYS * max_rows); }

static uint64_t hidden_bytes(const smt_model *model, uint32_t rows) { return (uint64_t)rows * model->n_embd * 4; }
static uint64_t routing_bytes(const smt_model *model, uint32_t rows) { return (uint64_t)rows * model->n_used * 4; }

uint64_t smt_graph_capture_hidden(const smt_model *model, uint32_t rows, uint32_t slot) {
    return hidden_bytes(model, rows) * slot;
}

uint64_t smt_graph_capture_ids(const smt_model *model, uint32_t rows, uint32_t moe_layer) {
    return hidden_bytes(model, rows) * (model->n_layers + 2) + routing_bytes(model, rows) * 2 * moe_layer;
}

uint64_t smt_graph_capture_weights(const smt_model *model, uint32_t rows, uint32_t moe_layer) {
    return smt_graph_capture_ids(model, rows, moe_layer) + routing_bytes(model, rows);
}

uint64_t smt_graph_capture_bytes(const smt_model *model, uint32_t rows) {
    return smt_graph_capture_ids(model, rows, smt_model_moe_layers(model));
}

uint64_t smt_graph_capture_turn(const smt_model *model, uint32_t rows, uint32_t turn) {
    return turn * smt_align_up(smt_graph_capture_bytes(model, rows), 16);
}
