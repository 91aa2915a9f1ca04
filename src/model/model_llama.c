/* model_llama.c: dense models of Llama's shape (Llama 2 and 3, DeepSeek-LLM, DeepSeek-Coder): plain or grouped-query
 * attention and one SwiGLU per layer. */
#include "model_internal.h"

/* Such models exist, and route by rules of their own. */
static smt_status refuse_experts(smt_model_reader *r) {
    uint32_t n_experts = 0;
    SMT_TRY(smt_model_get_u32(r, "expert_count", 0, UINT32_MAX, &n_experts, NULL));
    if (n_experts == 0) return SMT_OK;
    return SMT_FAIL(r->err, SMT_UNSUPPORTED, "key llama.expert_count is %u: llama models with experts are not supported",
                    n_experts);
}

smt_status smt_model_read_llama(smt_model_reader *r) {
    smt_model *model = r->model;
    SMT_TRY(smt_model_read_common(r));
    SMT_TRY(smt_model_read_plain(r));
    SMT_TRY(refuse_experts(r));
    SMT_TRY(smt_model_read_experts(r));
    SMT_TRY(smt_model_bind_ends(r));
    for (uint32_t i = 0; i < model->n_layers; i++) {
        SMT_TRY(smt_model_bind_plain(r, i, &model->layers[i]));
        SMT_TRY(smt_model_bind_feed_forward(r, i, &model->layers[i]));
    }
    return SMT_OK;
}
