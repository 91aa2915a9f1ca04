/* model_matrix.c: what a smt_matrix holds, row by row, whatever lies in the file.
 *
 * A plane is a run of file rows, or (attn_kv_b's k half) its transpose: then element j of device row r is element r of file
 * row j, and only the block around it is decoded. */
#include "model_internal.h"
#include "quant/quant.h"

#define MAX_BLOCK  256  /* elements */
#define READ_BYTES 4096 /* of a row at a time: many blocks of any type */

smt_dtype smt_matrix_dtype(const smt_matrix *matrix) {
    smt_dtype type = matrix->tensor->type;
    if (!matrix->transposed) return type;
    return type == SMT_DTYPE_F32 || type == SMT_DTYPE_BF16 ? SMT_DTYPE_F32 : SMT_DTYPE_F16;
}

/* n elements from byte `from` of the tensor on, in whole blocks. */
static bool read_values(const smt_gguf_tensor *tensor, uint64_t from, float *out, uint32_t n) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)tensor->type);
    uint8_t bytes[READ_BYTES];
    uint32_t step = READ_BYTES / info->bytes * info->elems;
    for (uint32_t done = 0; done < n; done += step) {
        uint32_t count = smt_min_u32(step, n - done);
        uint64_t n_bytes = smt_dtype_row_bytes(tensor->type, count);
        if (smt_gguf_tensor_read(tensor, from, bytes, n_bytes, NULL) != SMT_OK) return false;
        if (!smt_quant_decode(tensor->type, bytes, out + done, count)) return false;
        from += n_bytes;
    }
    return true;
}

static bool transposed_row(const smt_matrix *matrix, uint64_t first_row, uint32_t row, float *out) {
    const smt_gguf_tensor *tensor = matrix->tensor;
    const smt_dtype_info *info = smt_dtype_get((uint32_t)tensor->type);
    uint64_t row_bytes = smt_dtype_row_bytes(tensor->type, matrix->rows);
    float block[MAX_BLOCK];
    for (uint32_t j = 0; j < matrix->k; j++) {
        uint64_t from = (first_row + j) * row_bytes + (uint64_t)(row / info->elems) * info->bytes;
        if (!read_values(tensor, from, block, info->elems)) return false;
        out[j] = block[row % info->elems];
    }
    return true;
}

bool smt_matrix_row(const smt_matrix *matrix, uint32_t plane, uint32_t row, float *out) {
    const smt_gguf_tensor *tensor = matrix->tensor;
    if (!tensor || plane >= matrix->n_planes || row >= matrix->rows) return false;
    uint64_t first_row = (uint64_t)plane * matrix->plane_rows + matrix->row;
    if (matrix->transposed) return transposed_row(matrix, first_row, row, out);
    return read_values(tensor, (first_row + row) * smt_dtype_row_bytes(tensor->type, matrix->k), out, matrix->k);
}
