/* check_repack.c: rows of a file on their way to the device: bytes move, so plain C gives the same ones. */
#include "check/check_internal.h"

smt_status smt_check_repack(smt_check *c, smt_error *err) {
    enum { ROWS = SMT_WEAVE + 3, K = 96 };
    const smt_dtype type = SMT_DTYPE_Q5_1; /* with two small parts; some rows are woven, some are not */
    const uint32_t file_words = ROWS * (uint32_t)smt_dtype_row_bytes(type, K) / 4,
                   row_words = (uint32_t)smt_quant_device_row_bytes(type, K) / 4;
    const struct repack_params p = smt_quant_repack(type, ROWS, K, true);
    const smt_check_part parts[] = {{1, SMT_CHECK_INPUT, 1, file_words}, {2, SMT_CHECK_WORDS, ROWS, row_words}};
    SMT_TRY(smt_check_begin(c, parts, SMT_COUNT(parts), err));
    uint32_t *file = c->memory[0];
    for (uint32_t i = 0; i < file_words; i++) file[i] = smt_check_random(c, UINT32_MAX);
    smt_quant_to_device(type, file, c->expected[1], ROWS, K, true);
    return smt_check_run(c, &p, (const uint32_t[]){smt_div_up(p.n_vectors, c->spec.group), 1, 1}, 0, err);
}
