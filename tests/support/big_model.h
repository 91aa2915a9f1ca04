/* big_model.h: the released models in full size, as files whose tensors are holes: right shapes, keys and types, no bytes on
 * disk. What is pure (model, items, plan, graph) can be tested with them on any machine whose file system knows holes. */
#ifndef SMT_BIG_MODEL_H
#define SMT_BIG_MODEL_H

#include "model/model.h"

typedef struct smt_big_shape {
    uint32_t n_embd, n_layers, n_heads, q_rank, n_ff, n_dense, n_experts, n_used, n_shared, n_ff_expert, n_vocab;
    bool v3;        /* sigmoid gate with a selection bias */
    smt_dtype type; /* of matrices whose rows 256 divides; others are Q4_0. Norms and routers are F32. */
} smt_big_shape;

extern const smt_big_shape smt_big_v2_lite, smt_big_v2, smt_big_v3;

/* False where the file cannot be made or mapped (no holes, no room): skip the case. The file is gone from the folder on return,
 * the mapping keeps it. */
bool smt_big_open(const smt_big_shape *shape, smt_gguf **out);

#endif
