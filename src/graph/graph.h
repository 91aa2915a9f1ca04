/* graph.h: what a step computes, as data: items of weights, values with shapes, nodes with declared reads and writes, segments.
 *
 * One graph spans all devices that run a model. Each node and each value is of one of them; between two devices stands a node of the host's.
 *
 *   model + caps + shape --graph_items.c--> items: every piece of weight memory, with its device layout and bytes
 *                        --graph_build.c--> nodes (graph_attention.c, graph_ffn.c, graph_sample.c: its parts)
 *                        --graph_hazard.c--> before which nodes a barrier stands, and the count of dependent stages
 *                        --graph_alloc.c--> an offset in the scratch range of its device for every value, by lifetime
 *                        --graph_segment.c--> runs of nodes that one submission carries, bounded by estimated work
 *
 * Everything here is pure: no handle, no device. Barriers are derived from the values that nodes name, never placed by kernels.
 *
 * Invariants
 *   1. No item is larger than the window limit, so one descriptor always covers it. Tall matrices are cut into parts by rows.
 *   2. Experts lie in windows: experts_per_window consecutive experts each, at equal stride; gate, up and down of one expert together.
 *   3. A node names every value it reads or writes; scratch is reused only between values that no stage has in common.
 *   4. A node of a device names values of that device alone. What goes to another one passes through a hop. */
#ifndef SMT_GRAPH_H
#define SMT_GRAPH_H

#include "kernel/kernel.h"
#include "model/model.h"
#include "quant/quant.h"

#include <params.h>

/* ---- items (graph_items.c) ---- */

/* Device bytes of one piece: matrix rows in device layout; for experts gate, up and down one after another. */
typedef struct smt_item {
    const smt_matrix *matrix;  /* NULL for an expert */
    uint32_t layer;            /* UINT32_MAX: outside the layers */
    uint32_t expert;           /* UINT32_MAX: not an expert */
    uint32_t row0, rows, part; /* rows of this part, over all planes together; part counts from 0 */
    uint32_t row_bytes;
    uint64_t bytes;
} smt_item;

/* The experts of one layer. Offsets are bytes inside one expert. */
typedef struct smt_expert_layout {
    uint32_t first_item; /* of the first expert that the device has: see smt_items_expert */
    uint64_t gate, up, down, stride;
    uint32_t per_window, n_windows; /* a plan that spreads experts over several kinds of memory raises n_windows */
    bool from_file; /* a plan leaves some in the file: the host reads those that a step wants, before their products */
} smt_expert_layout;

/* What a device has of a model: layers [first, last), the embedding table, the output head. Where devices share the experts of a layer, the
 * first device has all else, and each has the experts [first_expert, end_expert) of every layer: whole ranges (smt_graph_range_size). */
typedef struct smt_items_range {
    uint32_t first, last;
    bool embedding, head;
    bool shares_experts; /* else it has all experts of its layers */
    bool experts_only;   /* nothing but its share of them: first and last are 0 */
    uint32_t first_expert, end_expert;
} smt_items_range;

typedef struct smt_items {
    smt_items_range range;
    smt_item *items;             /* owned */
    uint32_t n_items, n_experts; /* n_experts: of a layer, one item after another */
    smt_expert_layout *layers;   /* owned, [n_layers]; n_windows 0 for layers without experts on this device */
    uint64_t window_limit;       /* bytes that a storage-buffer window may span */
    uint64_t texel_limit;        /* and one whose weights are read as texels; 0: none are */
    bool codebooks;              /* some matrix has a type whose kernels read the codebooks */
} smt_items;

/* SMT_UNSUPPORTED: a type without kernels, or a layer whose experts need more than 16 windows. */
smt_status smt_items_create(const smt_model *model, const smt_caps *caps, smt_items *out, smt_error *err);
/* The same of one device's part. */
smt_status smt_items_create_range(const smt_model *model, const smt_caps *caps, const smt_items_range *range, smt_items *out,
                                  smt_error *err);
void smt_items_free(smt_items *items);
/* The item of an expert that the device has. */
static inline uint32_t smt_items_expert(const smt_items *items, uint32_t layer, uint32_t expert) {
    return items->layers[layer].first_item + expert - items->range.first_expert;
}
/* First item of a matrix; its parts follow. UINT32_MAX: none. */
uint32_t smt_items_find(const smt_items *items, const smt_matrix *matrix);

/* ---- shape of a step ---- */

/* Steps whose captures are kept apart, so that one may run while those of the step before are read. */
#define SMT_GRAPH_TURNS 2

typedef struct smt_graph_shape {
    uint32_t rows;     /* bucket: 1, 2, 4, ... */
    uint32_t out_rows; /* rows of logits at most; 0: no output head */
    uint32_t n_ctx;    /* positions a session may hold */
    uint32_t n_blocks; /* physical cache blocks of SMT_BLOCK positions, over all sessions */
    uint32_t turn;     /* below SMT_GRAPH_TURNS: what is captured lies behind the captures of the turns before */
    bool cache_f16;
    bool fast;                      /* products of fast precision where the type and the device have them */
    bool coop;                      /* with cooperative matrices among them */
    bool split;                     /* split attention: one workgroup per chunk */
    bool keep_hidden, keep_routing; /* copy hidden states and routing into capture values */
    bool embeddings; /* rows without a token begin with what lies where hidden states in front of the first layer are captured */
    bool sample;     /* draw a token from the one row of logits, which then stay on the device */
} smt_graph_shape;

/* ---- values and nodes ---- */

typedef enum smt_value_kind {
    SMT_VALUE_SCRATCH,
    SMT_VALUE_STEP,      /* the step buffer */
    SMT_VALUE_ROPE,      /* rotary tables */
    SMT_VALUE_BLOCKS,    /* block table */
    SMT_VALUE_EXPERTS,   /* expert table of `layer` */
    SMT_VALUE_COUNTER,   /* one word, 0 between kernels: workgroups of one result count themselves there */
    SMT_VALUE_CODEBOOKS, /* quant.h's, the same for all that read them */
    SMT_VALUE_WEIGHT,    /* item `layer`, bound as a plain buffer (small vectors) */
    SMT_VALUE_LOGITS,    /* [out_rows, n_vocab] in host-visible memory */
    SMT_VALUE_CAPTURE,   /* hidden states and routing in host-visible memory */
    SMT_VALUE_RING,      /* tokens drawn on the device, in host-visible memory */
    SMT_VALUE_HOP_OUT,   /* what goes to another device, in host-visible memory */
    SMT_VALUE_HOP_IN,    /* what the host brings from one */
    SMT_VALUE_HOP_PEER   /* a SMT_VALUE_HOP_OUT of device `peer`, whose memory this one has too */
} smt_value_kind;

typedef struct smt_value {
    smt_value_kind kind;
    uint32_t device;
    uint32_t layer;
    uint64_t bytes;
    uint32_t peer;                  /* SMT_VALUE_HOP_PEER: the other device */
    uint32_t first_node, last_node; /* scratch: lifetime */
    uint64_t offset;                /* scratch, hops: bytes from the start of the device's range of them */
} smt_value;

#define SMT_NO_VALUE      UINT32_MAX
#define SMT_COUNTER_BYTES 16

typedef enum smt_node_windows { SMT_WINDOWS_NONE, SMT_WINDOWS_ITEMS, SMT_WINDOWS_EXPERTS, SMT_WINDOWS_CACHE } smt_node_windows;

/* What the host does between two submissions, when the device that it takes from has finished. Ends the segment before it. */
typedef enum smt_node_host {
    SMT_HOST_NONE,
    /* copy_bytes of buffers[0], a SMT_VALUE_HOP_OUT, to buffers[1], a SMT_VALUE_HOP_IN of the node's device; a SMT_VALUE_HOP_PEER is the same
     * bytes already. */
    SMT_HOST_HOP,
    /* See whether buffers[0], the ids that the rows of the step have chosen, names experts of the node's device. Where not, the device sits
     * out: nothing is brought to it or submitted, and what it would have sent is 0, until the next such node. */
    SMT_HOST_CHOICE,
    SMT_HOST_EXPERTS /* those of the device's whose ids stand in buffers[0], which the host sees, at byte copy_to come out of the file */
} smt_node_host;

typedef struct smt_node {
    uint32_t device;
    smt_node_host host;
    bool copy; /* buffers[0] -> buffers[1] at byte copy_to, copy_bytes */
    uint64_t copy_to, copy_bytes;
    smt_kernel_key key;
    smt_node_windows windows;
    uint32_t items[2];    /* SMT_WINDOWS_ITEMS: window 0 and, when not SMT_NO_VALUE, window 1 */
    uint32_t layer;       /* SMT_WINDOWS_EXPERTS, _CACHE; and for reports */
    uint32_t buffers[11]; /* value of binding 1 + i, or SMT_NO_VALUE */
    uint16_t writes;      /* bit i: buffers[i] is written */
    bool writes_windows;  /* the cache kernels */
    uint32_t n_buffers;
    union {
        struct embed_params embed;
        struct norm_params norm;
        struct matmul_params matmul;
        struct cache_params cache;
        struct attend_params attend;
        struct route_params route;
        struct group_params group;
        struct combine_params combine;
        struct parts_params parts;
        struct swiglu_params swiglu;
        struct sample_params sample;
    } push;
    uint32_t groups[3]; /* the grid, or the bounds of an indirect one: workgroups beyond that leave no trace */
    uint32_t indirect;  /* value that holds the grid, or SMT_NO_VALUE */
    uint32_t indirect_word;
    bool begins_stage; /* it waits for the nodes before */
    bool ends_segment; /* somebody waits for it alone: see graph_hop.c */
    double work;       /* estimated multiply-adds, for segments */
    const char *label; /* static */
} smt_node;

/* A run of nodes [first, last) of one device; or workgroups [from, to) of a single one along an axis of its grid, where to is not 0; or a
 * single node of the host's. */
typedef struct smt_segment {
    uint32_t device;
    bool host;
    uint32_t first, last;
    uint32_t axis, from, to;
    bool reads_peer; /* what another device writes anew in the next step */
    double work;     /* of its nodes */
} smt_segment;

#define SMT_GRAPH_DEVICES 16 /* that a graph spans at most */

/* What a graph needs on one device. */
typedef struct smt_graph_part {
    uint64_t scratch_bytes;     /* of the range that all scratch values share */
    uint64_t hop_out, hop_in;   /* bytes; 0: nothing comes or goes */
    bool lends;                 /* other devices have the memory of hop_out too */
    uint32_t blocks_per_window; /* of the cache */
    uint32_t n_cache_windows;
} smt_graph_part;

typedef struct smt_graph {
    smt_graph_shape shape;
    smt_graph_part parts[SMT_GRAPH_DEVICES]; /* [n_parts] */
    uint32_t n_parts;
    smt_node *nodes; /* owned */
    size_t n_nodes, nodes_capacity;
    smt_value *values; /* owned */
    size_t n_values, values_capacity;
    smt_segment *segments; /* owned */
    size_t n_segments, segments_capacity;
    uint32_t cache_row_words, table_stride, coarse_words, max_chunks;
} smt_graph;

/* A device that the graph is for: the items say which layers it has. */
typedef struct smt_graph_device {
    const smt_items *items;
    const smt_caps *caps;
} smt_graph_device;

/* Over devices [n_devices] in the order of their layers, of which the first embeds and the last holds the output head. Scratch is laid out
 * and segments are cut on return. */
smt_status smt_graph_create_split(const smt_model *model, const smt_graph_device *devices, uint32_t n_devices,
                                  const smt_graph_shape *shape, smt_graph **out, smt_error *err);
/* The same of one device that has the whole model. */
smt_status smt_graph_create(const smt_model *model, const smt_items *items, const smt_caps *caps, const smt_graph_shape *shape,
                            smt_graph **out, smt_error *err);
void smt_graph_free(smt_graph *graph);
/* Cuts the segments anew: of most[device] work at most, where nodes can be divided. Stages and scratch stay as they are. */
smt_status smt_graph_cut(smt_graph *graph, const double *most, smt_error *err);
/* Work a second that a device of this kind does at least, as long as nothing is measured. */
double smt_graph_slowest(const smt_caps *caps);

/* ---- hazards and stages (graph_hazard.c) ---- */

typedef struct smt_graph_access {
    uint32_t space; /* values of one space may overlap; different spaces never do */
    uint64_t offset, bytes;
    bool write;
} smt_graph_access;
typedef struct smt_graph_hazards {
    smt_graph_access *seen; /* owned: accesses since the last barrier */
    size_t n, capacity;
} smt_graph_hazards;
/* True when the new accesses need a barrier before them; the list then starts afresh. The accesses are added either way. */
smt_status smt_graph_hazard_step(smt_graph_hazards *hazards, const smt_graph_access *accesses, size_t n, bool *out_barrier,
                                 smt_error *err);
void smt_graph_hazards_free(smt_graph_hazards *hazards);

typedef struct smt_graph_effort {
    uint32_t dispatches; /* copies not among them */
    uint32_t stages;     /* runs of nodes with no barrier between them: each waits for the one before */
} smt_graph_effort;
/* Of a whole step, of the part of one device, and of one layer (UINT32_MAX: embedding and output head). A stage counts where it begins; what
 * the host does is none. */
smt_graph_effort smt_graph_stages(const smt_graph *graph);
smt_graph_effort smt_graph_device_stages(const smt_graph *graph, uint32_t device);
smt_graph_effort smt_graph_layer_stages(const smt_graph *graph, uint32_t layer);

/* ---- sizes that graph, plan and cache must agree on (graph_sizes.c) ---- */
uint32_t smt_graph_row_words(const smt_model *model, bool f16);   /* u32 words of one cached row, 16-byte multiple */
uint64_t smt_graph_block_bytes(const smt_model *model, bool f16); /* one cache block of one layer */
uint32_t smt_graph_blocks_per_window(const smt_model *model, bool f16, uint64_t window_limit);
uint32_t smt_graph_coarse_words(const smt_model *model, uint32_t n_ctx);
uint64_t smt_graph_rope_bytes(const smt_model *model, uint32_t n_ctx);
/* Experts are summed in ranges of so many ids: the groups, where the model has them, else an eighth; and how many ranges that makes. */
uint32_t smt_graph_range_size(const smt_model *model);
uint32_t smt_graph_ranges(const smt_model *model);
uint64_t smt_graph_step_bytes(uint32_t max_rows);
/* Bytes of the capture value for `rows` rows: hidden states, then routing ids and weights of every MoE layer. */
uint64_t smt_graph_capture_bytes(const smt_model *model, uint32_t rows);
uint64_t smt_graph_capture_turn(const smt_model *model, uint32_t rows, uint32_t turn);     /* offset of a turn's */
uint64_t smt_graph_capture_hidden(const smt_model *model, uint32_t rows, uint32_t slot);   /* offset; slot < n_layers + 2 */
uint64_t smt_graph_capture_ids(const smt_model *model, uint32_t rows, uint32_t moe_layer); /* offset */
uint64_t smt_graph_capture_weights(const smt_model *model, uint32_t rows, uint32_t moe_layer);

/* ---- bytes that a step reads (graph_bytes.c) ---- */

/* Of the weights of a device, in its layout, each byte once however many rows share it: of the embedding table a row for each token, of the
 * routed experts those used by one row, or as many different ones as n_rows rows choose on average when every choice is as likely. */
double smt_graph_weight_bytes(const smt_model *model, const smt_items *items, uint32_t n_rows);
/* Of the cache over all layers, each byte once: the positions that the last of n_rows rows after `depth` tokens looks at. */
double smt_graph_cache_bytes(const smt_model *model, bool f16, uint32_t depth, uint32_t n_rows);

#endif
