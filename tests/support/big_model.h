/* big_model.h: the released models in full size, as files whose tensors are holes: right shapes, keys and types, no bytes on
 * disk. What is pure (model, items, plan, graph) can be tested with them on any machine whose file system knows holes. */
#ifndef SMT_BIG_MODEL_H
#define SMT_BIG_MODEL_H

#include "model/model.h"

typedef struct smt_big_shape { /* zero: not there */
    const char *name;
    uint32_t n_embd, n_layers, n_heads, n_ff, n_vocab, n_ctx;
    bool latent;         /* deepseek2, with the head sizes that all such models share; else plain attention */
    uint32_t q_rank;     /* latent */
    uint32_t n_kv_heads; /* plain */
    uint32_t n_dense, n_experts, n_used, n_shared, n_ff_expert; /* plain without experts: llama, with experts: deepseek */
    bool v3;                                                    /* sigmoid gate with a selection bias, normalized weights */
    bool split;          /* latent: attn_k_b and attn_v_b, as in files from 2025 on, in place of attn_kv_b */
    float theta, linear; /* plain: base, factor of linear scaling */
    smt_dtype type;      /* of matrices whose rows 256 divides; others are Q4_0. Norms and routers are F32. */
} smt_big_shape;

extern const smt_big_shape smt_big_v2_lite, smt_big_v2, smt_big_v3;
/* Those three among the others; the last one has no name. */
extern const smt_big_shape smt_big_models[];

/* False where the file cannot be made (no holes, no room): skip the case. */
bool smt_big_write(const smt_big_shape *shape, const char *path);
/* False where the file cannot be made or mapped: skip the case. It is gone from the folder on return, the mapping keeps it. */
bool smt_big_open(const smt_big_shape *shape, smt_gguf **out);

#endif
