/* graph_attention.c: attention of both families: projections, cache write with rotation, scores and values, output projection.
 *
 *   latent (absorbed)   q = Wq a (or through the q rank)        plain   q, k, v = W a
 *                       kv = Wkva a                                     cache <- {rotated k | v}
 *                       q~ = k_b q_nope, per head                       scores, values
 *                       cache <- {norm c | rotated k_rope}              x + Wo o
 *                       scores, values over the latent
 *                       o = v_b o~, per head;  x + Wo o
 *
 * The latent query of a head is {q~ | rotated q_rope}; its halves lie in two values, so that k_b and the cache kernel need not wait for
 * each other. */
#include "graph/graph_internal.h"

static smt_node cache_node(const smt_builder *b, uint32_t kernel) {
    const smt_graph *g = b->graph;
    const smt_model *m = b->model;
    return (smt_node){.key = {.kernel = kernel,
                              .windows = smt_kernel_windows(g->parts[b->device].n_cache_windows),
                              .cache_f16 = g->shape.cache_f16},
                      .windows = SMT_WINDOWS_CACHE,
                      .writes_windows = true,
                      .layer = b->layer,
                      .writes = 1 << 2,
                      .n_buffers = 7,
                      .push.cache = {.n_heads = m->n_heads,
                                     .n_kv_heads = m->n_kv_heads,
                                     .kv_rank = m->kv_rank,
                                     .nope = m->nope_dim,
                                     .rope = m->rope_dim,
                                     .value = m->value_dim,
                                     .row_words = g->cache_row_words,
                                     .blocks_per_window = g->parts[b->device].blocks_per_window,
                                     .table_stride = g->table_stride,
                                     .coarse_words = g->coarse_words,
                                     .eps = m->norm_eps,
                                     .magnitude = (float)m->rope_magnitude},
                      .groups = {g->shape.rows, 1, 1},
                      .indirect = SMT_NO_VALUE,
                      .label = "cache"};
}

smt_input smt_build_attend(smt_builder *b, const smt_attend_args *a) {
    const smt_graph *g = b->graph;
    const smt_model *m = b->model;
    uint32_t rows = g->shape.rows;
    smt_kernel_key key = {.kernel = SMT_KERNEL_ATTEND,
                          .windows = smt_kernel_windows(g->parts[b->device].n_cache_windows),
                          .cache_f16 = g->shape.cache_f16,
                          .key4 = a->key_dim / 4,
                          .query4 = a->q_dim / 4,
                          .value4 = a->value_dim / 4};
    smt_kernel_attend_shape(b->caps, a->heads_per_kv, rows, &key);
    uint32_t o = smt_build_scratch(b, rows, m->n_heads * a->value_dim), partial = SMT_NO_VALUE;
    uint32_t sums =
        smt_build_value(b, SMT_VALUE_SCRATCH, b->layer, g->shape.split ? 8ull * rows * m->n_heads * g->max_chunks : 16);
    if (g->shape.split)
        partial = smt_build_value(b, SMT_VALUE_SCRATCH, b->layer, 4ull * rows * m->n_heads * g->max_chunks * a->value_dim);
    struct attend_params push = {.n_heads = m->n_heads,
                                 .heads_per_kv = a->heads_per_kv,
                                 .q_dim = a->q_dim,
                                 .q_stride = smt_stride(m->n_heads * a->q_dim),
                                 .turned_stride = smt_stride(m->n_heads * (a->key_dim - a->q_dim)),
                                 .o_stride = smt_stride(m->n_heads * a->value_dim),
                                 .value_off = a->value_off,
                                 .key_step = a->key_step,
                                 .value_step = a->value_step,
                                 .row_words = g->cache_row_words,
                                 .blocks_per_window = g->parts[b->device].blocks_per_window,
                                 .table_stride = g->table_stride,
                                 .max_chunks = g->max_chunks,
                                 .split = g->shape.split,
                                 .scale = m->attn_scale};
    smt_build_node(
        b, &(smt_node){.key = key,
                       .windows = SMT_WINDOWS_CACHE,
                       .layer = b->layer,
                       .buffers = {a->q, g->shape.split ? partial : o, sums, b->step, b->blocks, a->turned},
                       .n_buffers = 6,
                       .writes = 1 << 1 | 1 << 2,
                       .push.attend = push,
                       .groups = {m->n_heads / key.heads, smt_div_up(rows, key.rows), g->shape.split ? g->max_chunks : 1},
                       .indirect = g->shape.split ? b->step : SMT_NO_VALUE,
                       .indirect_word = STEP_ATTEND,
                       .work = (double)rows * m->n_heads * (a->key_dim + a->value_dim) * smt_min_u32(g->shape.n_ctx, 2048),
                       .label = "attend"});
    if (g->shape.split && a->merge_later) return (smt_input){.x = partial, .merge = true, .sums = sums};
    if (g->shape.split)
        smt_build_node(b, &(smt_node){.key = {.kernel = SMT_KERNEL_ATTEND_MERGE, .windows = 1, .value4 = a->value_dim / 4},
                                      .layer = b->layer,
                                      .buffers = {partial, sums, o, b->step},
                                      .n_buffers = 4,
                                      .writes = 1 << 2,
                                      .push.attend = push,
                                      .groups = {m->n_heads, rows, 1},
                                      .indirect = SMT_NO_VALUE,
                                      .label = "attend merge"});
    return smt_plain(o);
}

static uint32_t build_latent_query(smt_builder *b, const smt_model_layer *layer, uint32_t normed) {
    if (!layer->q_a.tensor) return smt_build_linear(b, &layer->q, normed, SMT_NO_VALUE, "q");
    smt_stream low = smt_build_with_norm(b, &layer->q_a, NULL, normed, SMT_NO_VALUE, &layer->q_a_norm, "q_a");
    return smt_build_linear(b, &layer->q_b, low.normed, SMT_NO_VALUE, "q_b");
}

smt_stream smt_build_mla(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm) {
    const smt_model *m = b->model;
    uint32_t rows = b->graph->shape.rows, head = m->nope_dim + m->rope_dim, wide = m->kv_rank + m->rope_dim;
    uint32_t kv = smt_build_linear(b, &layer->kv_a, in.normed, SMT_NO_VALUE, "kv_a"); /* beside q or q_a, not behind q_b */
    uint32_t q = build_latent_query(b, layer, in.normed);
    uint32_t absorbed = smt_build_scratch(b, rows, m->n_heads * m->kv_rank),
             turned = smt_build_scratch(b, rows, m->n_heads * m->rope_dim);
    smt_build_matmul(b, &(smt_matmul_args){.w = &layer->k_b,
                                           .in = smt_plain(q),
                                           .y = absorbed,
                                           .x_stride = smt_stride(m->n_heads * head),
                                           .x_batch = head,
                                           .y_stride = smt_stride(m->n_heads * m->kv_rank),
                                           .y_batch = m->kv_rank,
                                           .residual = SMT_NO_VALUE,
                                           .label = "absorb k_b"});
    uint32_t kv_norm = smt_build_value(b, SMT_VALUE_WEIGHT, smt_items_find(b->items, &layer->kv_a_norm), 0);
    smt_node cache = cache_node(b, SMT_KERNEL_MLA_CACHE);
    const uint32_t buffers[] = {kv, q, turned, kv_norm, b->step, b->rope, b->blocks};
    for (uint32_t i = 0; i < SMT_COUNT(buffers); i++) cache.buffers[i] = buffers[i];
    cache.push.cache.q_stride = smt_stride(m->n_heads * head);
    cache.push.cache.kv_stride = smt_stride(wide);
    cache.push.cache.turned_stride = smt_stride(m->n_heads * m->rope_dim);
    cache.groups[1] += smt_div_up(m->n_heads * m->rope_dim / 2, SMT_TURN_PAIRS);
    smt_build_node(b, &cache);
    smt_input o = smt_build_attend(b, &(smt_attend_args){.q = absorbed,
                                                         .turned = turned,
                                                         .q_dim = m->kv_rank,
                                                         .key_dim = wide,
                                                         .value_dim = m->kv_rank,
                                                         .heads_per_kv = m->n_heads,
                                                         .merge_later = rows == 1});
    uint32_t values = smt_build_scratch(b, rows, m->n_heads * m->value_dim);
    smt_build_matmul(b, &(smt_matmul_args){.w = &layer->v_b,
                                           .in = o,
                                           .y = values,
                                           .x_stride = smt_stride(m->n_heads * m->kv_rank),
                                           .x_batch = m->kv_rank,
                                           .y_stride = smt_stride(m->n_heads * m->value_dim),
                                           .y_batch = m->value_dim,
                                           .residual = SMT_NO_VALUE,
                                           .label = "value v_b"});
    return smt_build_with_norm(b, &layer->output, NULL, values, in.x, norm, "attention output");
}

smt_stream smt_build_gqa(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm) {
    const smt_model *m = b->model;
    uint32_t head = m->nope_dim + m->rope_dim;
    uint32_t q = smt_build_biased(b, &layer->q, &layer->q_bias, in.normed, SMT_NO_VALUE, "q");
    uint32_t k = smt_build_biased(b, &layer->k, &layer->k_bias, in.normed, SMT_NO_VALUE, "k");
    uint32_t v = smt_build_biased(b, &layer->v, &layer->v_bias, in.normed, SMT_NO_VALUE, "v");
    uint32_t turned = smt_build_scratch(b, b->graph->shape.rows, m->n_heads * head);
    smt_node cache = cache_node(b, SMT_KERNEL_GQA_CACHE);
    const uint32_t buffers[] = {k, q, turned, v, b->step, b->rope, b->blocks};
    for (uint32_t i = 0; i < SMT_COUNT(buffers); i++) cache.buffers[i] = buffers[i];
    cache.push.cache.q_stride = cache.push.cache.turned_stride = smt_stride(m->n_heads * head);
    cache.groups[1] += smt_div_up(m->n_heads * head / 2, SMT_TURN_PAIRS);
    cache.push.cache.kv_stride = smt_stride(m->n_kv_heads * head);
    cache.push.cache.v_stride = smt_stride(m->n_kv_heads * m->value_dim);
    smt_build_node(b, &cache);
    smt_input o = smt_build_attend(b, &(smt_attend_args){.q = turned,
                                                         .turned = turned,
                                                         .q_dim = head,
                                                         .key_dim = head,
                                                         .value_dim = m->value_dim,
                                                         .heads_per_kv = m->n_heads / m->n_kv_heads,
                                                         .key_step = head,
                                                         .value_off = m->n_kv_heads * head,
                                                         .value_step = m->value_dim});
    return smt_build_with_norm(b, &layer->output, &layer->output_bias, o.x, in.x, norm, "attention output");
}
