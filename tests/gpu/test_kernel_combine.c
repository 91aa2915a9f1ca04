/* test_kernel_combine.c: the weighted sum of a row's experts in the order of src/ref/ref.h: ascending id inside each range of
 * ids, then over the ranges, the shared expert, the residual. Equal to the bit. */
#include "kernel_support.h"

typedef struct sum_case {
    uint32_t n_embd, n_rows, n_used, n_experts, n_ranges;
    bool shared;
} sum_case;

/* Slots of one row in ascending expert id: by looking for each id in turn. */
static float combine(const smt_lab *lab, const sum_case *c, const uint32_t *ids, const float *weights, const float *y,
                     uint32_t stride) {
    float total = 0, part = 0;
    uint32_t size = smt_div_up(c->n_experts, c->n_ranges);
    for (uint32_t e = 0; e < c->n_ranges * size; e++) {
        for (uint32_t s = 0; s < c->n_used; s++)
            if (ids[s] == e) part = smt_lab_fma(lab, weights[s], y[s * stride], part);
        if (e % size == size - 1) total += part, part = 0;
    }
    return total;
}

static void check_combine(smt_lab *lab, const sum_case *c) {
    char label[100];
    snprintf(label, sizeof label, "combine %u, %u of %u in %u ranges", c->n_embd, c->n_used, c->n_experts, c->n_ranges);
    smt_test_random random = {.state = c->n_embd};
    uint32_t stride = (uint32_t)smt_align_up(c->n_embd, 4), entries = c->n_rows * c->n_used;
    const struct combine_params p = {.n_embd = c->n_embd,
                                     .n_used = c->n_used,
                                     .n_experts = c->n_experts,
                                     .n_ranges = c->n_ranges,
                                     .y_stride = stride + 4,
                                     .shared_stride = stride + 8,
                                     .res_stride = stride + 12,
                                     .out_stride = stride + 16,
                                     .has_shared = c->shared};
    smt_lab_begin(lab, SMT_LAB_FULL, &(smt_kernel_key){.kernel = SMT_KERNEL_COMBINE, .windows = 1});
    uint32_t words = p.out_stride * (c->n_rows + 1);
    float *y = smt_lab_buffer(lab, 1, 4ull * p.y_stride * entries),
          *shared_y = smt_lab_buffer(lab, 2, 4ull * p.shared_stride * c->n_rows);
    float *residual = smt_lab_buffer(lab, 3, 4ull * p.res_stride * c->n_rows), *out = smt_lab_output(lab, 4, words);
    uint32_t *ids = smt_lab_buffer(lab, 5, 4ull * entries);
    float *weights = smt_lab_buffer(lab, 6, 4ull * entries), *expected = smt_lab_image(words);
    smt_lab_step(lab, 7, c->n_rows, 0, c->n_rows + 1);
    smt_lab_fill(&random, y, entries, p.y_stride, c->n_embd);
    smt_lab_fill(&random, shared_y, c->n_rows, p.shared_stride, c->n_embd);
    smt_lab_fill(&random, residual, c->n_rows, p.res_stride, c->n_embd);
    smt_lab_fill(&random, weights, entries, 1, 1);
    for (uint32_t i = 0; i < entries; i++)
        ids[i] = (i / c->n_used * 3 + i % c->n_used * 7 + 1) % c->n_experts; /* distinct: 7 is prime to n */
    smt_lab_run(lab, &p, smt_div_up(c->n_embd, 64), c->n_rows + 1, 1);
    for (uint32_t r = 0; r < c->n_rows; r++)
        for (uint32_t d = 0; d < c->n_embd; d++) {
            uint32_t first = r * c->n_used;
            float total = combine(lab, c, ids + first, weights + first, y + (size_t)first * p.y_stride + d, p.y_stride);
            if (c->shared) total += shared_y[r * p.shared_stride + d];
            expected[r * p.out_stride + d] = total + residual[r * p.res_stride + d];
        }
    smt_lab_same(label, out, expected, words);
    smt_free(expected);
}

static void test_combine(void **state) {
    const sum_case cases[] = {
        {1, 1, 1, 8, 8, false},    {65, 3, 3, 8, 8, true},    {172, 2, 6, 64, 8, true},
        {100, 2, 5, 20, 8, false}, /* ranges of 3, the last one of 2 */
        {64, 3, 8, 160, 8, true},  {96, 2, 32, 256, 8, true}, {96, 2, 4, 16, 1, true},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) check_combine(*state, &cases[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_combine)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
