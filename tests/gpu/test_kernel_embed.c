/* test_kernel_embed.c: rows of the token table, in parts, equal to the bit to the C decoder. */
#include "kernel_support.h"

#define ROWS 6 /* of the step */

/* A table of 19 tokens in parts of 9, 9 and 1: each dispatch writes the rows whose token it holds. */
static void check_embed(smt_lab *lab, smt_lab_mode mode, smt_dtype type, uint32_t k) {
    static const uint32_t tokens[ROWS] = {18, 0, 8, 9, 17, 4};
    char label[100];
    snprintf(label, sizeof label, "embed %s k %u", smt_dtype_get((uint32_t)type)->name, k);
    smt_test_random random = {.state = k};
    smt_lab_matrix m = smt_lab_matrix_make(&random, type, 19, k);
    uint32_t stride = (uint32_t)smt_align_up(k, 4) + 8, words = stride * (ROWS + 1);
    for (uint32_t row0 = 0; row0 < m.rows; row0 += 9) {
        const struct embed_params p = {.w_off16 = 2,
                                       .row_bytes = m.row_bytes,
                                       .row0 = row0,
                                       .rows = smt_min_u32(9, m.rows - row0),
                                       .k = k,
                                       .y_stride = stride};
        smt_lab_begin(lab, mode, &(smt_kernel_key){.kernel = SMT_KERNEL_EMBED, .windows = 1, .type = (uint32_t)type});
        uint8_t *bytes = smt_lab_window(lab, 32 + (size_t)p.rows * p.row_bytes + 4);
        smt_lab_matrix_put(lab, &m, row0, p.rows, bytes + 32);
        float *y = smt_lab_output(lab, 1, words), *expected = smt_lab_image(words);
        uint32_t *step = smt_lab_step(lab, 2, ROWS, 0, ROWS + 1);
        for (uint32_t r = 0; r < ROWS; r++) smt_lab_step_set(step, STEP_ARRAY_TOKEN, r, tokens[r]);
        smt_lab_run(lab, &p, ROWS + 1, 1, 1);
        for (uint32_t r = 0; r < ROWS; r++)
            for (uint32_t i = 0; tokens[r] - row0 < p.rows && i < smt_align_up(k, 4); i++)
                expected[r * stride + i] = i < k ? m.values[tokens[r] * k + i] : 0; /* rounded up to a vector, by zeros */
        smt_lab_same(label, y, expected, words);
        smt_free(expected);
    }
    smt_lab_matrix_free(&m);
}

static void test_types(void **state) {
    static const uint32_t lengths[] = {3, 30, 172, 4608}; /* long: more steps than invocations */
    for (int type = smt_lab_next_type(-1); type >= 0; type = smt_lab_next_type(type))
        for (size_t i = 0; i < SMT_COUNT(lengths); i++) {
            uint32_t block = smt_dtype_get((uint32_t)type)->elems;
            if (block > 1 && i > 0 && smt_align_up(lengths[i], block) == smt_align_up(lengths[i - 1], block)) continue;
            check_embed(*state, SMT_LAB_FULL, (smt_dtype)type,
                        block == 1 ? lengths[i] : (uint32_t)smt_align_up(lengths[i], block));
        }
    check_embed(*state, SMT_LAB_MINIMUM, SMT_DTYPE_Q4_K, 512);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
