/* test_kernel_matmul_fold.c: products of a single row that do the work of a neighbour too: the norm of what they wrote, and the joining of a
 * split attention's chunks that they read. Held against the kernels that do it in larger steps, rmsnorm and attend_merge, to the bit; the
 * products against the plain-C dot product. (moe_down and its norm: test_kernel_matmul_expert.c.) */
#include "kernel_support.h"

#include "ref/ref.h"

typedef struct followed {
    smt_dtype type;
    uint32_t k, rows;
    bool residual;
} followed;

#define EPS 1e-2f

/* rmsnorm.comp of one row. smt_free. */
static float *normed_by_kernel(smt_lab *lab, smt_lab_mode mode, uint32_t k, const float *x, const float *weight) {
    const struct norm_params p = {
        .k = k, .x_stride = (uint32_t)smt_align_up(k, 4), .y_stride = k, .count_word = STEP_N_ROWS, .eps = EPS};
    smt_lab_begin(lab, mode, &(smt_kernel_key){.kernel = SMT_KERNEL_NORM, .windows = 1});
    memcpy(smt_lab_window(lab, 4ull * k), weight, 4ull * k);
    memcpy(smt_lab_buffer(lab, 1, 4ull * p.x_stride), x, 4ull * k);
    float *y = smt_lab_output(lab, 2, k), *kept = smt_lab_image(k);
    smt_lab_step(lab, 3, 1, 0, 1);
    smt_lab_run(lab, &p, 1, 1, 1);
    memcpy(kept, y, 4ull * k);
    return kept;
}

static void put_matrix(smt_lab *lab, const smt_lab_matrix *w, uint32_t planes) {
    uint8_t *to = smt_lab_window(lab, (size_t)w->rows * w->row_bytes + 4);
    uint32_t rows = w->rows / planes;
    for (uint32_t i = 0; i < planes; i++) smt_lab_matrix_put(lab, w, i * rows, rows, to + (size_t)i * rows * w->row_bytes);
}

/* Twice, because the counter must end as it began; the second time in two parts, as a tall matrix is cut. */
static void check_norm(smt_lab *lab, smt_lab_mode mode, const followed *f) {
    char label[120];
    snprintf(label, sizeof label, "norm after %s k %u rows %u%s%s", smt_dtype_get((uint32_t)f->type)->name, f->k, f->rows,
             f->residual ? " residual" : "", mode == SMT_LAB_MINIMUM ? " minimum" : "");
    smt_test_random random = {.state = f->k};
    uint32_t group = smt_kernel_matmul_rows(smt_vk_device_caps(lab->devices[mode]), 1, false),
             groups = smt_div_up(f->rows, group);
    uint32_t words = (uint32_t)smt_align_up(f->rows, 4) + 4;
    smt_lab_matrix w = smt_lab_matrix_make(&random, f->type, f->rows, f->k);
    float *x = smt_lab_image(f->k + 3), *weight = smt_lab_image(words), *residual = smt_lab_image(words),
          *result = smt_lab_image(words);
    smt_lab_fill(&random, x, 1, f->k, f->k);
    smt_lab_fill(&random, weight, 1, words, f->rows);
    smt_lab_fill(&random, residual, 1, words, f->rows);
    const smt_kernel_key key = {.kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = (uint32_t)f->type, .columns = 1, .norm = 1};
    smt_lab_begin(lab, mode, &key); /* dot products are those of its device's family */
    for (uint32_t row = 0; row < f->rows; row++) {
        result[row] = smt_lab_dot(lab, w.values + (size_t)row * f->k, x, f->k);
        if (f->residual) result[row] += residual[row];
    }
    float *normed = normed_by_kernel(lab, mode, f->rows, result, weight), *expected = smt_lab_image(words);
    memcpy(expected, normed, 4ull * f->rows);

    smt_lab_begin(lab, mode, &key);
    struct matmul_params p = {.row_bytes = w.row_bytes,
                              .k = f->k,
                              .rows = f->rows,
                              .x_stride = (uint32_t)smt_align_up(f->k, 4),
                              .y_stride = f->rows,
                              .residual = f->residual,
                              .res_stride = f->rows,
                              .count_word = STEP_N_ROWS,
                              .x_div = 1,
                              .norm_k = f->rows,
                              .norm_groups = groups,
                              .eps = EPS};
    put_matrix(lab, &w, 1);
    memcpy(smt_lab_buffer(lab, 1, 4ull * p.x_stride), x, 4ull * f->k);
    memcpy(smt_lab_buffer(lab, 3, 4ull * words), residual, 4ull * words);
    memcpy(smt_lab_buffer(lab, 9, 4ull * words), weight, 4ull * words);
    float *y = smt_lab_output(lab, 2, words), *got = smt_lab_output(lab, 10, words);
    uint32_t *counter = smt_lab_buffer(lab, 11, 4);
    smt_lab_step(lab, 4, 1, 0, 1);
    smt_lab_run(lab, &p, groups, 1, 1);
    smt_lab_same(label, y, result, words);
    smt_lab_same(label, got, expected, words);
    assert_int_equal(*counter, 0);
    for (uint32_t i = 0; i < words; i++) y[i] = got[i] = -5;
    if (groups > 1) {
        p.rows = group;
        smt_lab_run(lab, &p, 1, 1, 1);
        assert_int_equal(*counter, 1);
        assert_true(got[0] == -5);
        p.w_off16 = group * w.row_bytes / 16;
        p.y_row = group;
        p.rows = f->rows - group;
        smt_lab_run(lab, &p, groups - 1, 1, 1);
        smt_lab_same(label, y, result, f->rows);
        smt_lab_same(label, got, expected, f->rows);
        assert_int_equal(*counter, 0);
    }
    smt_free(expected), smt_free(normed), smt_free(x), smt_free(weight), smt_free(residual), smt_free(result);
    smt_lab_matrix_free(&w);
}

static void test_norm(void **state) {
    const followed cases[] = {
        {SMT_DTYPE_F32, 64, 2048, true}, {SMT_DTYPE_F32, 3, 1, false},    {SMT_DTYPE_F16, 40, 173, true},
        {SMT_DTYPE_F16, 48, 7168, true}, {SMT_DTYPE_Q8_0, 96, 31, false}, {SMT_DTYPE_Q4_K, 512, 1536, false},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_norm(*state, SMT_LAB_FULL, &cases[i]);
    for (size_t i = 0; i < 3; i++) check_norm(*state, SMT_LAB_MINIMUM, &cases[i]);
    for (size_t i = 2; i < 6; i++) check_norm(*state, SMT_LAB_OTHER, &cases[i]);
}

/* ---- the chunks of a split attention ---- */

typedef struct merged {
    smt_dtype type;
    uint32_t value_dim, rows, heads;
    uint32_t chunks, max_chunks;
} merged;

/* attend_merge.comp of one row: [heads][value_dim]. smt_free. */
static float *merged_by_kernel(smt_lab *lab, smt_lab_mode mode, const merged *m, const float *partial, const float *sums) {
    size_t parts = (size_t)m->heads * m->max_chunks, words = (size_t)m->heads * m->value_dim;
    const struct attend_params p = {.n_heads = m->heads, .o_stride = (uint32_t)words, .max_chunks = m->max_chunks};
    smt_lab_begin(lab, mode, &(smt_kernel_key){.kernel = SMT_KERNEL_ATTEND_MERGE, .windows = 1, .value4 = m->value_dim / 4});
    memcpy(smt_lab_buffer(lab, 1, 4 * parts * m->value_dim), partial, 4 * parts * m->value_dim);
    memcpy(smt_lab_buffer(lab, 2, 8 * parts), sums, 8 * parts);
    float *o = smt_lab_output(lab, 3, words), *kept = smt_lab_image(words);
    smt_lab_step_set(smt_lab_step(lab, 4, 1, 0, 1), STEP_ARRAY_INDEX, 0, m->chunks * SMT_BLOCK - 1);
    smt_lab_run(lab, &p, m->heads, 1, 1);
    memcpy(kept, o, 4 * words);
    return kept;
}

static void check_merge(smt_lab *lab, smt_lab_mode mode, const merged *m) {
    char label[120];
    snprintf(label, sizeof label, "%u of %u chunks of %u merged into %s rows %u%s", m->chunks, m->max_chunks, m->value_dim,
             smt_dtype_get((uint32_t)m->type)->name, m->rows, mode == SMT_LAB_MINIMUM ? " minimum" : "");
    smt_test_random random = {.state = m->value_dim};
    size_t parts = (size_t)m->heads * m->max_chunks;
    float *partial = smt_lab_image(parts * m->value_dim), *sums = smt_lab_image(2 * parts);
    for (uint32_t h = 0; h < m->heads; h++) { /* the chunks that no position has reached stay untouched */
        size_t first = (size_t)h * m->max_chunks;
        smt_lab_fill(&random, partial + first * m->value_dim, 1, m->chunks * m->value_dim, m->chunks * m->value_dim);
        for (uint32_t c = 0; c < m->chunks; c++) {
            sums[2 * (first + c)] = smt_test_uniform(&random, -20, 20);
            sums[2 * (first + c) + 1] = smt_test_uniform(&random, 1, 256);
        }
    }
    float *columns = merged_by_kernel(lab, mode, m, partial, sums);
    smt_lab_matrix w = smt_lab_matrix_make(&random, m->type, m->rows * m->heads, m->value_dim);
    smt_lab_begin(
        lab, mode,
        &(smt_kernel_key){
            .kernel = SMT_KERNEL_MATMUL, .windows = 1, .type = (uint32_t)m->type, .columns = 1, .merge = m->value_dim / 4});
    const struct matmul_params p = {.row_bytes = w.row_bytes,
                                    .k = m->value_dim,
                                    .rows = m->rows,
                                    .w_batch_off16 = m->rows * w.row_bytes / 16,
                                    .y_stride = m->rows * m->heads,
                                    .y_batch = m->rows,
                                    .count_word = STEP_N_ROWS,
                                    .x_div = 1,
                                    .max_chunks = m->max_chunks};
    uint32_t words = m->rows * m->heads + 1;
    put_matrix(lab, &w, m->heads);
    memcpy(smt_lab_buffer(lab, 1, 4 * parts * m->value_dim), partial, 4 * parts * m->value_dim);
    memcpy(smt_lab_buffer(lab, 5, 8 * parts), sums, 8 * parts);
    float *y = smt_lab_output(lab, 2, words), *expected = smt_lab_image(words);
    smt_lab_buffer(lab, 3, 4);
    smt_lab_step_set(smt_lab_step(lab, 4, 1, 0, 1), STEP_ARRAY_INDEX, 0, m->chunks * SMT_BLOCK - 1);
    smt_lab_run(lab, &p, smt_div_up(m->rows, smt_kernel_matmul_rows(smt_vk_device_caps(lab->devices[mode]), 1, false)), 1,
                m->heads);
    for (uint32_t i = 0; i < m->rows * m->heads; i++)
        expected[i] = smt_lab_dot(lab, w.values + (size_t)i * m->value_dim, columns + i / m->rows * m->value_dim, m->value_dim);
    smt_lab_same(label, y, expected, words);
    smt_free(expected), smt_free(columns), smt_free(partial), smt_free(sums);
    smt_lab_matrix_free(&w);
}

static void test_merge(void **state) {
    const merged cases[] = {
        {SMT_DTYPE_F16, 512, 128, 2, 3, 5}, {SMT_DTYPE_F16, 72, 40, 3, 1, 1},    {SMT_DTYPE_Q8_0, 256, 48, 2, 6, 6},
        {SMT_DTYPE_F32, 20, 4, 3, 2, 4},    {SMT_DTYPE_Q5_0, 96, 64, 1, 33, 40},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_merge(*state, SMT_LAB_FULL, &cases[i]);
    check_merge(*state, SMT_LAB_MINIMUM, &cases[0]);
    check_merge(*state, SMT_LAB_OTHER, &cases[0]);
    check_merge(*state, SMT_LAB_MINIMUM, &cases[3]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_norm), cmocka_unit_test(test_merge)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
