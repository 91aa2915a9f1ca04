/* test_kernel_combine.c: the weighted sum of a row's experts in the order of src/ref/ref.h: ascending id inside each range of
 * ids, then over the ranges, the shared expert, the residual. Equal to the bit, and equal where several devices make the parts. */
#include "kernel_support.h"

#include <math.h>

typedef struct sum_case {
    uint32_t n_embd, n_rows, n_used, n_experts, n_ranges;
    bool shared;
} sum_case;

/* One range of one row, its slots in ascending expert id: by looking for each id in turn. */
static float sum_range(const smt_lab *lab, const sum_case *c, uint32_t range, const uint32_t *ids, const float *weights,
                       const float *y, uint32_t stride) {
    uint32_t size = smt_div_up(c->n_experts, c->n_ranges);
    float part = 0;
    for (uint32_t e = range * size; e < (range + 1) * size; e++)
        for (uint32_t s = 0; s < c->n_used; s++)
            if (ids[s] == e) part = smt_lab_fma(lab, weights[s], y[s * stride], part);
    return part;
}

/* Numbers of one case; strides in floats. */
typedef struct sum_data {
    uint32_t y_stride, shared_stride, res_stride, out_stride, entries, *ids;
    float *y, *shared_y, *residual, *weights; /* all owned */
} sum_data;

static float *fill(smt_test_random *random, uint32_t rows, uint32_t stride, uint32_t n) {
    float *x = smt_alloc((size_t)rows * stride, sizeof *x);
    assert_non_null(x);
    smt_lab_fill(random, x, rows, stride, n);
    return x;
}

static sum_data make_data(const sum_case *c) {
    smt_test_random random = {.state = c->n_embd};
    uint32_t stride = (uint32_t)smt_align_up(c->n_embd, 4);
    sum_data d = {.y_stride = stride + 4,
                  .shared_stride = stride + 8,
                  .res_stride = stride + 12,
                  .out_stride = stride + 16,
                  .entries = c->n_rows * c->n_used};
    d.y = fill(&random, d.entries, d.y_stride, c->n_embd);
    d.shared_y = fill(&random, c->n_rows, d.shared_stride, c->n_embd);
    d.residual = fill(&random, c->n_rows, d.res_stride, c->n_embd);
    d.weights = fill(&random, d.entries, 1, 1);
    d.ids = smt_alloc(d.entries, sizeof *d.ids);
    assert_non_null(d.ids);
    for (uint32_t i = 0; i < d.entries; i++)
        d.ids[i] = (i / c->n_used * 3 + i % c->n_used * 7 + 1) % c->n_experts; /* distinct: 7 is prime to n */
    return d;
}

static void free_data(sum_data *d) {
    float *all[] = {d->y, d->shared_y, d->residual, d->weights};
    for (size_t i = 0; i < SMT_COUNT(all); i++) smt_free(all[i]);
    smt_free(d->ids);
}

static void copy_in(smt_lab *lab, uint32_t binding, const void *from, size_t words) {
    memcpy(smt_lab_buffer(lab, binding, 4 * words), from, 4 * words);
}

/* Part of a range, of row r and value i. */
static float part_of(const smt_lab *lab, const sum_case *c, const sum_data *d, uint32_t range, uint32_t r, uint32_t i) {
    uint32_t first = r * c->n_used;
    return sum_range(lab, c, range, d->ids + first, d->weights + first, d->y + (size_t)first * d->y_stride + i, d->y_stride);
}

/* What the layer gives: smt_free. */
static float *make_result(const smt_lab *lab, const sum_case *c, const sum_data *d) {
    float *out = smt_lab_image((size_t)d->out_stride * (c->n_rows + 1));
    for (uint32_t r = 0; r < c->n_rows; r++)
        for (uint32_t i = 0; i < c->n_embd; i++) {
            float total = 0;
            for (uint32_t range = 0; range < c->n_ranges; range++) total += part_of(lab, c, d, range, r, i);
            if (c->shared) total += d->shared_y[r * d->shared_stride + i];
            out[r * d->out_stride + i] = total + d->residual[r * d->res_stride + i];
        }
    return out;
}

static void name_case(const sum_case *c, const char *what, char label[100]) {
    snprintf(label, 100, "%s %u, %u of %u in %u ranges", what, c->n_embd, c->n_used, c->n_experts, c->n_ranges);
}

static void check_combine(smt_lab *lab, const sum_case *c, const sum_data *d) {
    char label[100];
    const struct combine_params p = {.n_embd = c->n_embd,
                                     .n_used = c->n_used,
                                     .n_experts = c->n_experts,
                                     .n_ranges = c->n_ranges,
                                     .y_stride = d->y_stride,
                                     .shared_stride = d->shared_stride,
                                     .res_stride = d->res_stride,
                                     .out_stride = d->out_stride,
                                     .has_shared = c->shared};
    name_case(c, "combine", label);
    smt_lab_begin(lab, SMT_LAB_FULL, &(smt_kernel_key){.kernel = SMT_KERNEL_COMBINE, .windows = 1});
    copy_in(lab, 1, d->y, (size_t)d->entries * d->y_stride);
    copy_in(lab, 2, d->shared_y, (size_t)c->n_rows * d->shared_stride);
    copy_in(lab, 3, d->residual, (size_t)c->n_rows * d->res_stride);
    copy_in(lab, 5, d->ids, d->entries);
    copy_in(lab, 6, d->weights, d->entries);
    float *out = smt_lab_output(lab, 4, (size_t)p.out_stride * (c->n_rows + 1)), *expected = make_result(lab, c, d);
    smt_lab_step(lab, 7, c->n_rows, 0, c->n_rows + 1);
    smt_lab_run(lab, &p, smt_div_up(c->n_embd, 64), c->n_rows + 1, 1);
    smt_lab_same(label, out, expected, (size_t)p.out_stride * (c->n_rows + 1));
    smt_free(expected);
}

/* ---- the same on several devices ---- */

static struct parts_params parts_params(const sum_case *c, const sum_data *d) {
    return (struct parts_params){.n_embd = c->n_embd,
                                 .n_used = c->n_used,
                                 .n_ranges = c->n_ranges,
                                 .range_size = smt_div_up(c->n_experts, c->n_ranges),
                                 .y_stride = d->y_stride,
                                 .part_rows = c->n_rows + 1,
                                 .part_stride = (uint32_t)smt_align_up(c->n_embd, 4),
                                 .shared_stride = d->shared_stride,
                                 .res_stride = d->res_stride,
                                 .out_stride = d->out_stride,
                                 .has_shared = c->shared};
}

/* Parts of n ranges, as the device that owns them makes them, to `parts`. Entries of the others' experts are NaN. */
static void check_parts(smt_lab *lab, const sum_case *c, const sum_data *d, uint32_t first, uint32_t n, uint32_t *parts) {
    char label[100];
    struct parts_params p = parts_params(c, d);
    size_t words = (size_t)n * p.part_rows * p.part_stride;
    p.first_range = first;
    name_case(c, "parts", label);
    smt_lab_begin(lab, SMT_LAB_FULL, &(smt_kernel_key){.kernel = SMT_KERNEL_PARTS, .windows = 1});
    float *y = smt_lab_buffer(lab, 1, 4ull * d->entries * d->y_stride), *expected = smt_lab_image(words);
    memcpy(y, d->y, 4ull * d->entries * d->y_stride);
    for (uint32_t i = 0; i < d->entries; i++)
        if (d->ids[i] / p.range_size < first || d->ids[i] / p.range_size >= first + n)
            for (uint32_t j = 0; j < d->y_stride; j++) y[i * d->y_stride + j] = NAN;
    uint32_t *out = smt_lab_output(lab, 2, words);
    copy_in(lab, 3, d->ids, d->entries);
    copy_in(lab, 4, d->weights, d->entries);
    smt_lab_step(lab, 5, c->n_rows, 0, p.part_rows);
    smt_lab_run(lab, &p, smt_div_up(c->n_embd, 64), p.part_rows, n);
    for (uint32_t range = 0; range < n; range++)
        for (uint32_t r = 0; r < c->n_rows; r++)
            for (uint32_t i = 0; i < c->n_embd; i++)
                expected[(range * p.part_rows + r) * p.part_stride + i] = part_of(lab, c, d, first + range, r, i);
    smt_lab_same(label, out, expected, words);
    memcpy(parts, out, 4 * words);
    smt_free(expected);
}

static void check_join(smt_lab *lab, const sum_case *c, const sum_data *d, const uint32_t *parts) {
    char label[100];
    const struct parts_params p = parts_params(c, d);
    name_case(c, "join", label);
    smt_lab_begin(lab, SMT_LAB_FULL, &(smt_kernel_key){.kernel = SMT_KERNEL_JOIN, .windows = 1});
    copy_in(lab, 1, parts, (size_t)p.n_ranges * p.part_rows * p.part_stride);
    copy_in(lab, 2, d->shared_y, (size_t)c->n_rows * d->shared_stride);
    copy_in(lab, 3, d->residual, (size_t)c->n_rows * d->res_stride);
    float *out = smt_lab_output(lab, 4, (size_t)p.out_stride * p.part_rows), *expected = make_result(lab, c, d);
    smt_lab_step(lab, 5, c->n_rows, 0, p.part_rows);
    smt_lab_run(lab, &p, smt_div_up(c->n_embd, 64), p.part_rows, 1);
    smt_lab_same(label, out, expected, (size_t)p.out_stride * p.part_rows);
    smt_free(expected);
}

/* Ranges shared by up to three devices: [0, first), [first, second), [second, all). */
static void check_devices(smt_lab *lab, const sum_case *c, const sum_data *d, uint32_t first, uint32_t second) {
    const struct parts_params p = parts_params(c, d);
    const uint32_t ends[] = {0, first, second, c->n_ranges};
    size_t range_words = (size_t)p.part_rows * p.part_stride;
    uint32_t *parts = smt_alloc(range_words, c->n_ranges * sizeof *parts);
    assert_non_null(parts);
    for (int i = 0; i < 3; i++)
        if (ends[i] < ends[i + 1]) check_parts(lab, c, d, ends[i], ends[i + 1] - ends[i], parts + ends[i] * range_words);
    check_join(lab, c, d, parts);
    smt_free(parts);
}

static void test_combine(void **state) {
    const sum_case cases[] = {
        {1, 1, 1, 8, 8, false},    {65, 3, 3, 8, 8, true},    {172, 2, 6, 64, 8, true},
        {100, 2, 5, 20, 8, false}, /* ranges of 3, the last one of 2 */
        {64, 3, 8, 160, 8, true},  {96, 2, 32, 256, 8, true}, {96, 2, 4, 16, 1, true},
    };
    for (size_t i = 0; i < SMT_COUNT(cases); i++) {
        sum_data d = make_data(&cases[i]);
        check_combine(*state, &cases[i], &d);
        check_devices(*state, &cases[i], &d, smt_div_up(cases[i].n_ranges, 2), cases[i].n_ranges);
        check_devices(*state, &cases[i], &d, cases[i].n_ranges / 3, cases[i].n_ranges / 2);
        free_data(&d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_combine)};
    return cmocka_run_group_tests(tests, smt_lab_setup, smt_lab_teardown);
}
