/* quant_layout.c: the layouts in which a device holds rows.
 *
 * The layout follows from the block size alone: a type of one element a block is padded with zeros to whole chunks of 32,
 * so that a kernel needs no test at the end of a row; a block type keeps the file's bytes, since its rows are whole chunks
 * already. Zero bytes are the value zero in every type of the first kind. */
#include "quant.h"

#include <string.h>

#define CHUNK 32 /* elements a kernel reads at a time: see quant.h */

smt_layout smt_quant_layout(smt_dtype type) {
    const smt_dtype_info *info = smt_dtype_get((uint32_t)type);
    return info && info->elems == 1 ? SMT_LAYOUT_PAD32 : SMT_LAYOUT_ROWS;
}

uint64_t smt_quant_device_row_bytes(smt_dtype type, uint64_t n) {
    if (n > UINT64_MAX - CHUNK) return 0;
    return smt_dtype_row_bytes(type, smt_quant_layout(type) == SMT_LAYOUT_PAD32 ? smt_align_up(n, CHUNK) : n);
}

bool smt_quant_same_bytes(smt_dtype type, uint64_t n) {
    uint64_t bytes = smt_quant_device_row_bytes(type, n);
    return bytes && bytes == smt_dtype_row_bytes(type, n);
}

void smt_quant_to_device(smt_dtype type, const void *src, void *dst, uint64_t rows, uint64_t n) {
    uint64_t file_bytes = smt_dtype_row_bytes(type, n), device_bytes = smt_quant_device_row_bytes(type, n);
    if (!device_bytes) return;
    if (smt_quant_same_bytes(type, n)) {
        memcpy(dst, src, rows * file_bytes);
        return;
    }
    for (uint64_t r = 0; r < rows; r++) {
        uint8_t *row = (uint8_t *)dst + r * device_bytes;
        memcpy(row, (const uint8_t *)src + r * file_bytes, file_bytes);
        memset(row + file_bytes, 0, device_bytes - file_bytes);
    }
}
