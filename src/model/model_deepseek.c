/* model_deepseek.c: DeepSeekMoE (deepseek-moe-16b, the language part of VL2-tiny): plain attention, routed and shared experts.
 *
 * Nothing is its own: attention as in model_llama.c, feed-forward as in model_deepseek2.c. Its files say neither gate nor groups; the
 * defaults, softmax and no groups, are what the model was trained with. */
#include "model_internal.h"

smt_status smt_model_read_deepseek(smt_model_reader *r) {
    smt_model *model = r->model;
    SMT_TRY(smt_model_read_common(r));
    SMT_TRY(smt_model_read_plain(r));
    SMT_TRY(smt_model_read_experts(r));
    SMT_TRY(smt_model_bind_ends(r));
    for (uint32_t i = 0; i < model->n_layers; i++) {
        SMT_TRY(smt_model_bind_plain(r, i, &model->layers[i]));
        SMT_TRY(smt_model_bind_feed_forward(r, i, &model->layers[i]));
    }
    return SMT_OK;
}
