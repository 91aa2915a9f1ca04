/* model_count.c: parameters, parameters that one token uses, and the size of the cache, all from the bound matrices.
 *
 * Views count what they show: the two halves of an old attn_kv_b add up to the whole. A tied output head is counted once as a
 * parameter, but is used for every token; the embedding table is not: a token reads one row of it. */
#include "model_internal.h"

static uint64_t elements(const smt_matrix *matrix) {
    return matrix->tensor ? (uint64_t)matrix->k * matrix->rows * matrix->n_planes : 0;
}

static void count_layer(smt_model *model, const smt_model_layer *layer) {
    const smt_matrix *matrices[SMT_MODEL_LAYER_MATRICES];
    bool f32[SMT_MODEL_LAYER_MATRICES];
    uint32_t n = smt_model_layer_matrices(layer, matrices, f32);
    for (uint32_t i = 0; i < n; i++) {
        const smt_matrix *matrix = matrices[i];
        model->n_params += elements(matrix);
        model->n_params_active +=
            smt_model_is_routed(layer, matrix) ? elements(matrix) / model->n_experts * model->n_used : elements(matrix);
    }
}

void smt_model_count(smt_model *model) {
    bool tied = model->output.tensor == model->token_embd.tensor;
    model->n_params = elements(&model->token_embd) + elements(&model->output_norm) + (tied ? 0 : elements(&model->output));
    model->n_params_active = elements(&model->output_norm) + elements(&model->output);
    for (uint32_t i = 0; i < model->n_layers; i++) count_layer(model, &model->layers[i]);
    model->cache_values_per_token = (uint64_t)model->n_layers * smt_model_cache_row(model);
}

uint32_t smt_model_cache_row(const smt_model *model) {
    if (model->mla) return model->kv_rank + model->rope_dim;
    return model->n_kv_heads * (model->nope_dim + model->rope_dim + model->value_dim);
}

uint32_t smt_model_moe_layers(const smt_model *model) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < model->n_layers; i++) n += model->layers[i].moe;
    return n;
}
