/* fuzz_gguf.c: any bytes as a file: parse it, describe its model, touch what the result points to.
 *
 * Seeds: the models in tests/data. */
#include "corpus.h"
#include "model/model.h"

#include <stdlib.h>

/* The results land here, so that no compiler drops the reads. */
static volatile float sink;

/* One row of every matrix kind that has its own way of being read. */
static void touch_model(const smt_model *model) {
    const smt_model_layer *last = &model->layers[model->n_layers - 1];
    const smt_matrix *const matrices[] = {&model->token_embd, &model->output, &last->attn_norm,
                                          &last->k_b,         &last->v_b,     &last->down_exps};
    for (size_t i = 0; i < SMT_COUNT(matrices); i++) {
        const smt_matrix *matrix = matrices[i];
        if (!matrix->tensor || matrix->k > 1u << 20) continue;
        float *row = malloc(matrix->k * sizeof *row);
        if (row && smt_matrix_row(matrix, matrix->n_planes - 1, matrix->rows - 1, row)) sink = row[matrix->k - 1];
        free(row);
    }
    sink = (float)smt_model_check_types(model, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    smt_error err = {0};
    smt_gguf *gguf;
    smt_model *model;
    if (smt_gguf_parse(data, size, "fuzz", &gguf, &err) != SMT_OK) return 0;
    for (uint64_t i = 0; i < smt_gguf_tensor_count(gguf); i++) {
        const smt_gguf_tensor *tensor = smt_gguf_tensor_at(gguf, i);
        uint8_t last;
        if (smt_gguf_tensor_read(tensor, tensor->bytes - 1, &last, 1, &err) == SMT_OK) sink = last;
    }
    if (smt_model_create(gguf, &model, &err) == SMT_OK) touch_model(model);
    smt_model_free(model);
    smt_gguf_free(gguf);
    return 0;
}
