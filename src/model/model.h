/* model.h: the read-only description of one model: numbers and named tensors, whatever family the file belongs to.
 *
 * Each family's file (model_deepseek2.c, model_deepseek.c, model_llama.c) turns keys and tensor names into this one struct,
 * from parts that they share: plain attention (model_plain.c), experts and feed-forward (model_experts.c), rotation (model_rope.c).
 * Everything later is decided from its fields and never from a family name, a layer count or an expert count. model_check.c
 * holds the tensors against the numbers, so that whoever reads a smt_model need not doubt a shape.
 * The model borrows from its smt_gguf, which must outlive it. */
#ifndef SMT_MODEL_H
#define SMT_MODEL_H

#include "gguf/gguf.h"

#define SMT_MODEL_MAX_LAYERS  512
#define SMT_MODEL_MAX_EXPERTS 512
#define SMT_MODEL_MAX_USED    32 /* experts per token */

typedef enum smt_gate { SMT_GATE_SOFTMAX, SMT_GATE_SIGMOID } smt_gate;
/* How a group of experts is scored: its best expert (V2), or the sum of its two best (V3). */
typedef enum smt_group_rule { SMT_GROUP_BEST, SMT_GROUP_TOP2 } smt_group_rule;
/* How positions beyond the trained context are reached; see model_rope.c. */
typedef enum smt_rope_scaling { SMT_ROPE_PLAIN, SMT_ROPE_LINEAR, SMT_ROPE_YARN } smt_rope_scaling;

/* A matrix [rows, k], or n_planes of them one after another; NULL tensor: not in this model. A view into a file tensor:
 * `row` is the first row of the plane, `plane_rows` the rows from one plane to the next (attn_kv_b holds k and v rows of each
 * head, ffn_gate_up_exps gate and up rows of each expert). */
typedef struct smt_matrix {
    const smt_gguf_tensor *tensor; /* borrowed */
    uint32_t k, rows, n_planes;
    uint32_t row, plane_rows;
    bool transposed; /* device plane = transpose of the file's [k rows of `rows` values]; derived at load as F16, or F32 if the
                        file is F32/BF16 */
} smt_matrix;

typedef struct smt_model_layer {
    smt_matrix attn_norm, ffn_norm; /* [1, n_embd] */
    /* latent attention: q, or q_a + q_a_norm + q_b */
    smt_matrix q;                  /* [n_heads * (nope + rope), n_embd]; dense: [n_heads * head, n_embd] */
    smt_matrix q_a, q_a_norm, q_b; /* [q_rank, n_embd], [1, q_rank], [n_heads * (nope + rope), q_rank] */
    smt_matrix kv_a, kv_a_norm;    /* [kv_rank + rope, n_embd], [1, kv_rank] */
    smt_matrix k_b, v_b;           /* planes = heads: [kv_rank, nope], [value, kv_rank] */
    /* plain attention */
    smt_matrix k, v;   /* [n_kv_heads * head, n_embd] */
    smt_matrix output; /* [n_embd, n_heads * value] */
    /* [1, rows of the matrix], F32, added to its product; plain attention and dense feed-forward only, mostly absent */
    smt_matrix q_bias, k_bias, v_bias, output_bias, gate_bias, up_bias, down_bias;
    /* dense feed-forward, or router, experts (planes) and shared expert */
    bool moe;
    smt_matrix gate, up, down; /* [n_ff, n_embd] x2, [n_embd, n_ff] */
    smt_matrix router;         /* [n_experts, n_embd], F32 */
    smt_matrix router_bias;    /* [1, n_experts], F32: selection only (V3) */
    smt_matrix gate_exps, up_exps, down_exps;
    smt_matrix gate_shexp, up_shexp, down_shexp; /* tensor NULL: no shared expert */
} smt_model_layer;

typedef struct smt_model {
    const smt_gguf *file; /* borrowed */
    const char *architecture, *name;
    uint32_t n_layers, n_embd, n_vocab, n_heads, n_kv_heads, n_ctx_train;
    float norm_eps;

    bool mla;        /* latent attention; then kv_rank > 0 and n_kv_heads = 1 in the cache's sense */
    uint32_t q_rank; /* 0: q is one matrix */
    uint32_t kv_rank;
    /* Of a head. Latent: [nope | rope], the last rope_dim values rotate. Dense: the first rope_dim values rotate and the other
     * nope_dim = head - rope_dim (usually 0) do not; value_dim = head. */
    uint32_t nope_dim, rope_dim, value_dim;
    float attn_scale; /* multiplies the scores: 1/sqrt(nope + rope), with the YaRN factor squared */

    /* Rotary frequencies of pair (2i, 2i+1) of the rotated values, radians per position, scaling applied: [rope_dim / 2], in
     * double. Cos and sin are multiplied by rope_magnitude (1 in all released models). */
    double *rope_freq; /* owned */
    double rope_magnitude;
    /* What the frequencies were made of, for people to read. */
    smt_rope_scaling rope_scaling;
    double rope_base, rope_factor;
    bool rope_divided; /* by rope_freqs.weight */

    uint32_t n_dense_layers, n_ff, n_ff_expert, n_ff_shared;
    uint32_t n_experts, n_used, n_shared; /* n_experts = 0: dense */
    uint32_t n_groups, n_groups_used;     /* 1 and 1: no group limit */
    smt_gate gate;
    smt_group_rule group_rule;
    bool norm_weights;
    float weight_scale;

    smt_matrix token_embd, output_norm, output; /* output may be token_embd (tied) */
    smt_model_layer *layers;                    /* owned, [n_layers] */

    /* Layers behind the model's own, which predict tokens further ahead and are not run: at the end of the file, or none. */
    uint32_t n_layers_skipped, n_tensors_skipped;
    uint64_t n_params, n_params_active; /* active: weights used for one token, embedding table not counted */
    uint64_t cache_values_per_token;    /* over all layers */
    const char **assumed;               /* owned: "expert_gating_func: softmax" */
    uint32_t n_assumed;
    smt_arena arena; /* owned: every array and text above */
} smt_model;

/* SMT_UNSUPPORTED: an architecture, key value or extra tensor that we cannot compute with (named). SMT_FORMAT: missing key or
 * tensor, wrong shape. Any known tensor type passes, so that any file can be inspected. */
smt_status smt_model_create(const smt_gguf *file, smt_model **out, smt_error *err);
/* SMT_UNSUPPORTED naming the first tensor whose type the engine does not compute with; norms and routers must be F32. */
smt_status smt_model_check_types(const smt_model *model, smt_error *err);
void smt_model_free(smt_model *model);

/* Values one cached token takes in one layer: kv_rank + rope (latent), or n_kv_heads * (key + value). */
uint32_t smt_model_cache_row(const smt_model *model);
/* A number of the tensors (names, types, shapes and a sample of each) and of the rotation. SMT_IO when the file can no longer be read. */
smt_status smt_model_identity(const smt_model *model, uint64_t *out, smt_error *err);
/* Number of layers with a router. */
uint32_t smt_model_moe_layers(const smt_model *model);
/* Every matrix of a layer that has a tensor; where `f32` is true its type must be F32. Returns their number. */
#define SMT_MODEL_LAYER_MATRICES 31
uint32_t smt_model_layer_matrices(const smt_model_layer *layer, const smt_matrix *out[SMT_MODEL_LAYER_MATRICES],
                                  bool f32[SMT_MODEL_LAYER_MATRICES]);
/* One of the three matrices that hold one plane for each routed expert. */
bool smt_model_is_routed(const smt_model_layer *layer, const smt_matrix *matrix);
/* The type that the device holds for a matrix: the file's, except for derived (transposed) planes. */
smt_dtype smt_matrix_dtype(const smt_matrix *matrix);
/* Reads one row of one plane from the file and decodes it to float32 [k], transposition applied. False: no such row, no decoder for its
 * type, or the file can no longer be read. */
bool smt_matrix_row(const smt_matrix *matrix, uint32_t plane, uint32_t row, float *out);

#endif
