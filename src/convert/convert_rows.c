/* convert_rows.c: rows of a checkpoint's matrix as float32, whatever type they have there.
 *
 * F8_E4M3 is one sign, four exponent bits (bias 7), three of mantissa; there is no infinity, and all exponent and mantissa bits
 * set is not a number. Such matrices come with a float32 factor for each block of rows and columns. */
#include "convert_internal.h"

#include <math.h>
#include <string.h>

float smt_convert_f8_e4m3(uint8_t bits) {
    int exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (exponent == 15 && mantissa == 7) return NAN;
    float value = exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    return bits & 0x80 ? -value : value;
}

/* The factors of a matrix, kept while its rows are read. */
static smt_status load_scales(smt_convert_rows *rows, const smt_st_tensor *scale, smt_error *err) {
    if (rows->scales_of == scale) return SMT_OK;
    rows->scales_of = NULL;
    size_t n = (size_t)(scale->bytes / sizeof *rows->scales);
    SMT_TRY(smt_grow((void **)&rows->scales, &rows->scale_capacity, n, sizeof *rows->scales, err));
    SMT_TRY(smt_st_read(rows->st, scale, 0, rows->scales, n * sizeof *rows->scales, err));
    rows->scales_of = scale;
    return SMT_OK;
}

static void decode_f8(const smt_convert_rows *rows, uint64_t first, uint64_t n, uint64_t k, float *out) {
    uint64_t scale_columns = (k + rows->block_columns - 1) / rows->block_columns;
    float values[256];
    for (int i = 0; i < 256; i++) values[i] = smt_convert_f8_e4m3((uint8_t)i);
    for (uint64_t r = 0; r < n; r++) {
        const float *scales = rows->scales + (first + r) / rows->block_rows * scale_columns;
        for (uint64_t c = 0; c < k; c++) out[r * k + c] = values[rows->raw[r * k + c]] * scales[c / rows->block_columns];
    }
}

static void decode_plain(smt_st_kind kind, const uint8_t *raw, uint64_t n, float *out) {
    for (uint64_t i = 0; i < n; i++) {
        if (kind == SMT_ST_F32) {
            memcpy(&out[i], raw + 4 * i, 4);
            continue;
        }
        uint16_t bits;
        memcpy(&bits, raw + 2 * i, 2);
        out[i] = kind == SMT_ST_F16 ? smt_half_to_float(bits) : smt_bf16_to_float(bits);
    }
}

static smt_status check_finite(const smt_st_tensor *tensor, uint64_t first, uint64_t n, uint64_t k, const float *values,
                               smt_error *err) {
    for (uint64_t i = 0; i < n * k; i++)
        if (!isfinite(values[i]))
            return SMT_FAIL(err, SMT_FORMAT, "tensor %.200s: row %llu, column %llu is %s", tensor->name,
                            (unsigned long long)(first + i / k), (unsigned long long)(i % k),
                            isnan(values[i]) ? "not a number" : "infinite");
    return SMT_OK;
}

smt_status smt_convert_rows_read(smt_convert_rows *rows, const smt_convert_source *source, uint64_t first, uint64_t n, float *out,
                                 smt_error *err) {
    const smt_st_tensor *matrix = source->matrix;
    uint64_t k = matrix->dims[matrix->n_dims - 1], row_bytes = k * smt_st_value_bytes(matrix);
    size_t bytes = (size_t)(n * row_bytes);
    SMT_TRY(smt_grow((void **)&rows->raw, &rows->raw_capacity, bytes, 1, err));
    if (source->scale) SMT_TRY(load_scales(rows, source->scale, err));
    SMT_TRY(smt_st_read(rows->st, matrix, first * row_bytes, rows->raw, bytes, err));
    if (source->scale)
        decode_f8(rows, first, n, k, out);
    else
        decode_plain(matrix->kind, rows->raw, n * k, out);
    return check_finite(matrix, first, n, k, out, err);
}

void smt_convert_rows_free(smt_convert_rows *rows) {
    smt_free(rows->raw);
    smt_free(rows->scales);
    *rows = (smt_convert_rows){0};
}
