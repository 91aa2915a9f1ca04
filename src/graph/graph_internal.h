/* graph_internal.h: the builder that the family files share. Every function adds nodes and returns the value it wrote; after a failure the
 * builder's status is set and later calls do nothing, so that a family file reads as the equations do. */
#ifndef SMT_GRAPH_INTERNAL_H
#define SMT_GRAPH_INTERNAL_H

#include "graph/graph.h"

typedef struct smt_builder {
    const smt_model *model;
    const smt_graph_device *devices; /* [graph->n_parts] */
    smt_graph *graph;
    smt_error *err;
    smt_status status;
    uint32_t layer;
    /* The device that nodes and values are made for (smt_build_enter), and what it has. */
    uint32_t device;
    const smt_items *items;
    const smt_caps *caps;
    uint32_t step, rope, blocks, counter;                         /* values every device has */
    uint32_t codebooks;                                           /* SMT_NO_VALUE where no type needs them */
    uint32_t capture;                                             /* SMT_NO_VALUE where nothing is captured */
    uint64_t out_at[SMT_GRAPH_DEVICES], in_at[SMT_GRAPH_DEVICES]; /* where the next hop of a device lies */
} smt_builder;

/* Floats from row to row of an activation of n values. */
static inline uint32_t smt_stride(uint32_t n) { return (n + 3) & ~3u; }

uint32_t smt_build_value(smt_builder *b, smt_value_kind kind, uint32_t layer, uint64_t bytes);
/* Scratch of `rows` rows of `n` floats. */
uint32_t smt_build_scratch(smt_builder *b, uint32_t rows, uint32_t n);
/* Adds a copy of the node, with the codebooks bound where its type reads them, and extends lifetimes. */
void smt_build_node(smt_builder *b, const smt_node *node);

/* Gives the key of a product the form that it has in the precision of this graph. */
static inline void smt_build_precision(const smt_builder *b, smt_kernel_key *key) {
    if (b->graph->shape.fast) smt_kernel_choose_fast(b->caps, b->graph->shape.coop, key);
}

uint32_t smt_build_norm(smt_builder *b, const smt_matrix *weight, uint32_t x, bool out_list, const char *label);

/* Activations for products. */
typedef struct smt_input {
    uint32_t x;
    bool merge; /* x and sums hold the chunks of a split attention, to be joined by the reader. A step of one row alone */
    uint32_t sums;
} smt_input;
static inline smt_input smt_plain(uint32_t x) { return (smt_input){.x = x}; }

typedef struct smt_matmul_args {
    const smt_matrix *w, *w2; /* w2: the up matrix of a gated pair */
    const smt_matrix *bias;   /* [1, rows]; NULL or without a tensor: none. Not with w2 */
    smt_input in;
    uint32_t y;
    const smt_matrix *norm; /* weights of a norm that the same kernel makes of a single row of y, into `normed`; or NULL */
    uint32_t normed;
    uint32_t x_stride, y_stride;
    uint32_t x_batch, y_batch; /* for matrices of several planes */
    uint32_t residual;         /* value or SMT_NO_VALUE */
    bool out_rows;             /* columns are the wanted output rows */
    const char *label;
} smt_matmul_args;
void smt_build_matmul(smt_builder *b, const smt_matmul_args *args);
/* y = W x (+ bias) (+ residual) with plain strides, one plane. */
uint32_t smt_build_biased(smt_builder *b, const smt_matrix *w, const smt_matrix *bias, uint32_t x, uint32_t residual,
                          const char *label);
uint32_t smt_build_linear(smt_builder *b, const smt_matrix *w, uint32_t x, uint32_t residual, const char *label);

/* A result and its norm: of the residual stream, what a half of a layer takes and gives. */
typedef struct smt_stream {
    uint32_t x, normed;
} smt_stream;
/* x and its norm, by a kernel of its own. `norm` is NULL where nobody wants one: normed is SMT_NO_VALUE then, here and below. */
smt_stream smt_build_norm_of(smt_builder *b, uint32_t x, const smt_matrix *norm);
/* y = W x (+ bias) (+ residual) and the norm of y: in one kernel where the step has one row. */
smt_stream smt_build_with_norm(smt_builder *b, const smt_matrix *w, const smt_matrix *bias, uint32_t x, uint32_t residual,
                               const smt_matrix *norm, const char *label);
/* Has the node of a product make the norm of its single row too. */
void smt_build_norm_after(smt_builder *b, smt_node *node, const smt_matrix *norm, uint32_t groups, uint32_t normed);

/* Attention of one layer; `norm` follows. */
smt_stream smt_build_mla(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm);
smt_stream smt_build_gqa(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm);
/* Scores and values over the cache, whole or split and merged: -> [rows, n_heads * value_dim]. Of the key_dim values of a head's query the
 * first q_dim lie in q [rows, n_heads * q_dim], the others in turned (q again where there are none). */
typedef struct smt_attend_args {
    uint32_t q, turned, q_dim, key_dim, value_dim, heads_per_kv;
    uint32_t key_step, value_off, value_step; /* in values of the cached row */
    bool merge_later;                         /* leave the chunks of a split attention to the product that reads them, per head */
} smt_attend_args;
smt_input smt_build_attend(smt_builder *b, const smt_attend_args *args);

/* Feed-forward of one layer, dense or mixture of experts; `norm` follows. */
smt_stream smt_build_ffn(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm);
smt_stream smt_build_moe(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm);
/* The same where several devices share the experts (graph_share.c). */
smt_stream smt_build_shared_moe(smt_builder *b, const smt_model_layer *layer, smt_stream in, const smt_matrix *norm);

/* ---- parts of a feed-forward layer (graph_ffn.c) ---- */

/* What the expert kernels of one layer share on one device. */
typedef struct smt_expert_work {
    uint32_t ids, weights, list, table, columns, entries;
    uint32_t entries_word, up_blocks, down_blocks;
    bool single;         /* the router makes the list of the only row: grids are known beforehand */
    uint32_t tiles_most; /* each expert has one tile that is not full, at most */
} smt_expert_work;
smt_expert_work smt_build_work(smt_builder *b, const smt_model_layer *layer);
extern const smt_matrix smt_no_bias;
/* silu(gate x) * (up x) of one dense pair. */
uint32_t smt_build_gated(smt_builder *b, const smt_matrix *gate, const smt_matrix *gate_bias, const smt_matrix *up,
                         const smt_matrix *up_bias, uint32_t x, const char *label);
void smt_build_route(smt_builder *b, const smt_model_layer *layer, const smt_expert_work *w, uint32_t logits);
void smt_build_lists(smt_builder *b, const smt_expert_work *w);
/* One product of all chosen experts. x_div: entries per row of x. */
smt_node smt_expert_node(const smt_builder *b, const smt_expert_work *w, const smt_matrix *matrix, bool gated,
                         uint32_t table_word, uint32_t x, uint32_t x_div, uint32_t y, const char *label);
/* silu(gate x) * (up x) of every entry. */
uint32_t smt_build_expert_hidden(smt_builder *b, const smt_model_layer *layer, const smt_expert_work *w, uint32_t normed);
/* Keeps ids and weights, where the graph does. */
void smt_build_routing(smt_builder *b, const smt_expert_work *w);
/* The host brings those of the current device's experts that stay in the file and whose ids stand in value `ids`, which it sees, at a byte. */
void smt_build_fetch(smt_builder *b, uint32_t ids, uint64_t at);

/* Draws the next token from one row of logits. */
void smt_build_sample(smt_builder *b, uint32_t logits);

/* Copies the first bytes of a value to a place in another one; _capture: into the capture value, or out of it. */
void smt_build_copy(smt_builder *b, uint32_t from, uint32_t to, uint64_t at, uint64_t bytes, const char *label);
void smt_build_capture(smt_builder *b, uint32_t value, uint64_t to, uint64_t bytes, uint32_t capture);

/* What the current device makes next is for another: brings a row-wise activation of n floats there (graph_hop.c). */
uint32_t smt_build_hop(smt_builder *b, uint32_t device, uint32_t x, uint32_t n);
/* The same in steps. The bytes of a value leave the current device: the value that holds them on their way. */
uint32_t smt_build_send(smt_builder *b, uint32_t x, uint64_t bytes);
/* What another device has sent: the value that holds it where it arrives, to be copied before the device hears of others. */
uint32_t smt_build_receive(smt_builder *b, uint32_t from);
/* Hops that follow lie where the former ones did: none of those is under way when they begin. */
void smt_build_reuse_hops(smt_builder *b);
/* Turns to a device. */
void smt_build_enter(smt_builder *b, uint32_t device);

/* Scratch of one device. */
smt_status smt_graph_alloc(smt_graph *graph, uint32_t device, uint32_t align, uint64_t window_limit, smt_error *err);
smt_status smt_graph_find_stages(smt_graph *graph, smt_error *err); /* before offsets are given */

#endif
