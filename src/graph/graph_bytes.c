/* graph_bytes.c: how many bytes of weights and cache a step has to read, whatever the kernels do: the denominator of every figure that
 * compares a speed with the memory's. Rows count as the device holds them, the
 * gaps between items do not. */
#include "graph/graph_internal.h"

#include <math.h>

static double matrix_bytes(const smt_matrix *matrix) {
    return (double)smt_quant_device_row_bytes(smt_matrix_dtype(matrix), matrix->k) * matrix->rows;
}

/* Of n_experts, how many are chosen by at least one of n_rows rows that choose n_used each. */
static double experts_touched(const smt_model *model, uint32_t n_rows) {
    double missed = 1 - (double)model->n_used / model->n_experts;
    return n_rows == 1 ? model->n_used : model->n_experts * (1 - pow(missed, n_rows));
}

double smt_graph_weight_bytes(const smt_model *model, const smt_items *items, uint32_t n_rows) {
    bool tied = model->output.tensor == model->token_embd.tensor;
    double bytes = 0;
    for (uint32_t i = 0; i < items->n_items; i++) {
        const smt_item *item = &items->items[i];
        if (!item->matrix) continue; /* an expert */
        bool table = item->matrix == &model->token_embd;
        if (table && i == 0) bytes += (double)n_rows * item->row_bytes;
        if (!table || (tied && items->range.head)) bytes += (double)item->rows * item->row_bytes;
    }
    for (uint32_t i = items->range.first; i < items->range.last; i++) {
        const smt_model_layer *layer = &model->layers[i];
        if (!layer->moe) continue;
        double expert = matrix_bytes(&layer->gate_exps) + matrix_bytes(&layer->up_exps) + matrix_bytes(&layer->down_exps);
        bytes += experts_touched(model, n_rows) * expert;
    }
    return bytes;
}

double smt_graph_cache_bytes(const smt_model *model, bool f16, uint32_t depth, uint32_t n_rows) {
    return 4.0 * smt_graph_row_words(model, f16) * model->n_layers * ((double)depth + n_rows);
}
